"""How well the worm's wiring predicts which neurons are active together.

The correlation of activity knows no direction, so a prediction counts both; worms see different neurons, so every pair is averaged over the
worms that measured both. Neurons share their pairs: the interval comes from a bootstrap over neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.stats import rankdata

from neuropil.datasets.worm import Connectome
from neuropil.errors import DataError, UsageError
from neuropil.latent.structure_function import KINDS, interval
from neuropil.stats.resampling import Interval


def activity_correlation(recordings: Any, min_samples: int = 30) -> tuple[Float64[ndarray, "neuron neuron"], ndarray]:
    """Correlation of homogenised activity, mean over worms that measured both neurons, and the number of these worms.

    Parameters
    ----------
    recordings : list of Recording
        From `WormHomogenizer.transform`; only identified neurons count.
    min_samples : int, default 30
        Samples that both neurons must share in a worm.

    Returns
    -------
    correlation : ndarray of shape (300, 300)
        NaN where no worm measured both.
    n_worms : ndarray of shape (300, 300), int
    """
    recordings = list(recordings)
    if not recordings or any("named" not in recording.stream("calcium").coords for recording in recordings):
        raise DataError("Correlations need homogenised recordings; transform them with WormHomogenizer first.")
    n = recordings[0].stream("calcium").sizes["channel"]
    total, n_worms = np.zeros((n, n)), np.zeros((n, n), dtype=np.int64)
    for recording in recordings:
        stream = recording.stream("calcium")
        columns = np.flatnonzero(stream["named"].values)
        x, there = stream.values[:, columns].astype(np.float64), stream["mask"].values[:, columns].astype(np.float64)
        r = _pairwise(x, there, min_samples)
        grid, seen = np.ix_(columns, columns), np.isfinite(r)
        total[grid] += np.where(seen, r, 0.0)
        n_worms[grid] += seen
    return np.where(n_worms > 0, total / np.maximum(n_worms, 1), np.nan), n_worms


def _pairwise(x: ndarray, there: ndarray, min_samples: int) -> ndarray:
    """Pearson correlation of columns over the samples that both have."""
    x = np.where(there > 0, x, 0.0)
    count = there.T @ there
    safe = np.maximum(count, 1)
    mean = (x.T @ there) / safe  # of the row's neuron, over the samples it shares with the column's
    square = (x**2).T @ there / safe - mean**2
    covariance = x.T @ x / safe - mean * mean.T
    power = np.sqrt(np.maximum(square * square.T, 0.0))
    known = (count >= min_samples) & (power > 1e-12)
    return np.divide(covariance, power, out=np.full(power.shape, np.nan), where=known)


class StructureActivity(NamedTuple):
    """How well a connectome predicts which neurons are active together."""

    kind: str
    """Prediction."""
    spearman: Interval
    """Rank correlation of the predicted and the observed (absolute) correlation, with a bootstrap interval over neurons."""
    n_pairs: int
    """Pairs of neurons."""


def structure_activity_score(
    connectome: Connectome,
    correlation: Float64[ndarray, "neuron neuron"],
    kind: str = "direct",
    n_boot: int = 200,
    *,
    random_state: int = 0,
) -> StructureActivity:
    """Rank correlation, over pairs of neurons, of what a connectome predicts in both directions with the strength of their correlation.

    Parameters
    ----------
    connectome : Connectome
        On the 300 neurons of the canonical order.
    correlation : ndarray of shape (300, 300)
        From `activity_correlation`; NaN where no worm measured both neurons.
    kind : {"direct", "paths", "resolvent", "degree"}
    n_boot : int, default 200
        Resamples of the neurons.
    random_state : int

    Raises
    ------
    DataError
        If fewer than four annotated neurons were measured together.
    """
    if kind not in KINDS:
        raise UsageError(f"Structure predicts activity by one of {', '.join(KINDS)}; got {kind!r}.")
    if n_boot < 20:
        raise UsageError(f"An interval needs 20 resamples or more, got n_boot={n_boot}.")
    if correlation.shape != connectome.chem.shape:
        raise DataError(
            f"Correlations and connectome must have the same neurons, got shapes {correlation.shape} and {connectome.chem.shape}."
        )
    together = np.isfinite(correlation) & ~np.eye(len(correlation), dtype=bool)
    together &= np.outer(connectome.annotated, connectome.annotated)
    neurons = np.flatnonzero(together.any(axis=0))
    if len(neurons) < 4:
        raise DataError(
            f"Only {len(neurons)} neurons of this connectome were measured together; four or more are needed to compare."
        )
    predicted = KINDS[kind](connectome)
    predicted = (predicted + predicted.T)[np.ix_(neurons, neurons)]
    strength, together = np.abs(correlation)[np.ix_(neurons, neurons)], together[np.ix_(neurons, neurons)]

    def score(drawn: ndarray) -> float:
        first, second = np.triu_indices(len(drawn), 1)
        i, j = drawn[first], drawn[second]
        known = together[i, j]
        x, y = rankdata(predicted[i, j][known]), rankdata(strength[i, j][known])
        return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else np.nan

    everyone = np.arange(len(neurons))
    estimate = score(everyone)
    if not np.isfinite(estimate):
        raise DataError(
            "Structure or activity is the same for every pair of these neurons; there is nothing to compare."
        )
    rng = np.random.default_rng(random_state)
    values = [score(rng.choice(everyone, len(everyone))) for _ in range(n_boot)]
    return StructureActivity(kind, interval(estimate, values, len(neurons)), int(together.sum()) // 2)
