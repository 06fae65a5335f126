"""The tensor (time, animal, pair) of a dynamic connectome: affinities of measured pairs, in memory or computed block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.latent.connectome_affinities import (
    affinity_of_pairs,
    normalised_derivative,
    observed_pairs,
    pairs_of,
    windowed_correlation,
)
from neuropil.stats.cp import Blocks

AFFINITIES = ("differential", "windowed_correlation")
MAX_ENTRIES = 200_000_000
BLOCK_ENTRIES = 8_000_000


class AffinityTensor(NamedTuple):
    """Affinities of the pairs that were measured together somewhere.

    Attributes
    ----------
    tensor : ndarray of shape (n_times, n_animals, n_measured_pairs), or Blocks
    weights : ndarray or None
        1 where both neurons of a pair were measured and 0 elsewhere, of length 1 in time if that never changes; None where all were.
    measured : ndarray of bool, shape (n_pairs,)
        Pairs that were measured together in an animal or more.
    """

    tensor: Any
    weights: Float[ndarray, "time_or_1 animal measured"] | None
    measured: Bool[ndarray, " pair"]


def affinity_tensor(
    traces: Float[ndarray, "animal time neuron"],
    affinity: str | Callable[[ndarray], ndarray],
    *,
    sigma: float = 3.0,
    bandwidth: float = 1.0,
    sign: str = "both",
    window: int = 15,
    max_entries: int = MAX_ENTRIES,
) -> AffinityTensor:
    """Affinities of all pairs; arguments as those of `neuropil.latent.functional_connectome.DynamicConnectome`.

    Differential affinities of more than `max_entries` are computed whenever a block of pairs is read.
    """
    source = normalised_derivative(traces, sigma) if affinity == "differential" else traces
    observed = observed_pairs(np.isfinite(source))
    measured: ndarray = np.any(observed, axis=(0, 1))
    if not measured.any():
        raise DataError("No two neurons were measured together in any animal; there is nothing to relate.")
    for axis, what in enumerate(("frame", "animal")):
        nothing = np.flatnonzero(~np.any(observed, axis=(1 - axis, 2)))
        if len(nothing):
            raise DataError(
                f"No two neurons were measured together in {len(nothing)} {what}(s), the first being {what} {nothing[0]}; leave out such "
                f"{what}s."
            )
    weights = None if observed.all() else observed[..., measured].astype(np.float64)
    first, second = (index[measured] for index in pairs_of(traces.shape[2]))
    shape = (traces.shape[1], traces.shape[0], len(first))
    if affinity == "differential":

        def block(start: int, stop: int) -> ndarray:
            return affinity_of_pairs(source, first[start:stop], second[start:stop], bandwidth=bandwidth, sign=sign)

        if np.prod(shape, dtype=np.int64) > max_entries:
            size = max(1, BLOCK_ENTRIES // (shape[0] * shape[1]))
            return AffinityTensor(Blocks(shape, block, size), weights, measured)
        return AffinityTensor(block(0, len(first)), weights, measured)
    if isinstance(affinity, str):
        return AffinityTensor(windowed_correlation(traces, window=window)[..., measured], weights, measured)
    tensor = np.asarray(affinity(traces))
    expected = (*shape[:2], len(measured))
    if tensor.shape != expected:
        raise UsageError(f"The affinity must give (n_times, n_animals, n_pairs) = {expected}, it gave {tensor.shape}.")
    return AffinityTensor(tensor[..., measured], weights, measured)
