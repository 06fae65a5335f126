"""From windows to trials: what the windows of a trial say together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.evaluate.purge import WindowTable


class TrialVotes(NamedTuple):
    """Probabilities of whole trials, in the order in which trials first appear."""

    probabilities: Float64[ndarray, "trial class"]
    """Mean over the windows of a trial; rows sum to 1 where those of the windows do."""
    first_window: Int[ndarray, " trial"]
    """Index of the first window of every trial: `y[first_window]` are the labels of the trials."""
    n_windows: Int[ndarray, " trial"]
    """Windows that voted."""


def vote(probabilities: Float[ndarray, "window class"], trials: Any) -> TrialVotes:
    """Decide for whole trials by the mean probability of their windows.

    Parameters
    ----------
    probabilities : ndarray of shape (n_windows, n_classes)
        As `predict_proba` gives them.
    trials : array-like of shape (n_windows,), or Windows
        Trial of every window. Of labelled windows, those of one `trial` of one recording vote together, and trials of the same number in
        different recordings stay apart; the windows of a break between two trials count as a trial.

    Returns
    -------
    TrialVotes

    Raises
    ------
    DataError
        If there is not one trial for each window, or a probability is not finite.

    Examples
    --------
    >>> votes = vote(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]), ["first", "first", "second"])
    >>> votes.probabilities.round(2).tolist(), votes.first_window.tolist()
    ([[0.65, 0.35], [0.2, 0.8]], [0, 2])
    """
    names = WindowTable.of(trials).unit if isinstance(trials, xr.DataArray) else np.asarray(trials)
    if names.shape != (len(probabilities),):
        raise DataError(
            f"Expected one trial for each of the {len(probabilities)} windows, got trials of shape {names.shape}."
        )
    if not np.isfinite(probabilities).all():
        raise DataError("Probabilities to average must be finite, some are NaN or infinite; leave these windows out.")
    _, first, trial, counts = np.unique(
        names.astype(str) if names.dtype == object else names,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    order = np.argsort(first)
    sums = np.zeros((len(first), probabilities.shape[1]))
    np.add.at(sums, trial, probabilities.astype(np.float64))
    return TrialVotes((sums / counts[:, None])[order], first[order], counts[order])
