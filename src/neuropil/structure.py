"""The base class of models that find hidden structure in activity: states, factors, communities, trajectories, connectivity.

A model takes recordings or arrays (`neuropil.activity`), remembers its units, refuses others in one sentence, says what it found as plain
records (`neuropil.findings`) and is saved as numbers and JSON.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuropil.activity import Activity, check_counts, check_traces, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.persistence import Saved
from neuropil.restarts import LARGEST_SEED


class StructureModel(Saved, BaseEstimator):
    """Base of the models of hidden structure.

    Attributes
    ----------
    unit_names_ : tuple of str
        Units that the model was fitted on, in their order.
    n_units_ : int
    sfreq_ : float or None
        Bins a second, where known.
    """

    unit_names_: tuple[str, ...]
    n_units_: int
    sfreq_: float | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        return tags

    def _read(
        self,
        X: Any,
        *,
        fitting: bool,
        kind: Literal["counts", "traces"] = "counts",
        missing: bool = False,
        stream: str | None = None,
        bin_width: float | None = None,
    ) -> Activity:
        """Checked sequences; at fit they are remembered, later they have to be of the same units at the same rate.

        Parameters
        ----------
        X : arrays, streams or recordings
            As in `neuropil.activity.read_activity`.
        fitting : bool
            A unit that never fires is refused at fit only: held-out data may hold such.
        kind : {"counts", "traces"}
        missing : bool
            Whether NaN is legal.
        stream, bin_width
            As in `read_activity`.
        """
        if not fitting:
            check_is_fitted(self)
            # Counted as the training data were, unless the caller says otherwise.
            if bin_width is None and self.sfreq_ is not None and not isinstance(X, Activity) and _is_recorded(X):
                bin_width = 1 / self.sfreq_
        activity = read_activity(X, stream=stream, bin_width=bin_width)
        check = check_counts if kind == "counts" else check_traces
        if fitting:
            check(activity, missing=missing)
            self.unit_names_, self.n_units_, self.sfreq_ = activity.names, len(activity.names), activity.sfreq
            return activity
        if len(activity.names) != self.n_units_:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.n_units_} units, these data have {len(activity.names)}; give the same units."
            )
        named = [a != b for a, b in zip(activity.names, self.unit_names_, strict=True)]
        if any(named) and _is_recorded(X):
            k = named.index(True)
            raise DataError(
                f"Unit {k} is {activity.names[k]!r} here and {self.unit_names_[k]!r} in the training data; bring the units into one order."
            )
        if activity.sfreq and self.sfreq_ and abs(activity.sfreq / self.sfreq_ - 1) > 1e-6:
            raise DataError(
                f"{type(self).__name__} was fitted at {self.sfreq_:g} bins a second, these data have {activity.sfreq:g}; bin them alike."
            )
        check(activity, missing=missing, held_out=True)
        return activity

    def _check_random_state(self, *others: type) -> None:
        """Refuse what is no seed, before any work; `others` may draw one."""
        seed: Any = getattr(self, "random_state", None)
        is_seed = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= seed <= LARGEST_SEED
        if not (seed is None or is_seed or isinstance(seed, others)):
            raise UsageError(f"random_state must be None or a whole number from 0 to {LARGEST_SEED}, got {seed!r}.")

    def _check_whole(self, least: int, *names: str) -> None:
        """Refuse sizes that are no whole numbers from `least` on; None is one only where it is the default."""
        defaults = signature(type(self)).parameters
        for name in names:
            value = getattr(self, name)
            if value is None and defaults[name].default is None:
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise UsageError(f"{name} must be a whole number, {least} or more, got {value!r}.")

    def findings(self, X: Any) -> Findings:
        """What the fitted model found in the data that it was fitted on, or in others of the same units."""
        raise NotImplementedError(f"{type(self).__name__} must define findings(X).")


def _is_recorded(X: Any) -> bool:
    from xarray import DataArray

    from neuropil.recording import Recording

    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return isinstance(first, DataArray | Recording)
