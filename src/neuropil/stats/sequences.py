"""Sequences of unequal length as one array: packed for a kernel, given back in the form in which they came, spread over threads.

Callers hand over either a padded array (sequence, time, ...) with the number of valid steps of every sequence, or a list of arrays
(time, ...). Kernels see one array of all steps with the first step and the length of every sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int, Shaped
from numpy import ndarray

from neuropil.errors import DataError, UsageError

N_RANGES = 16
LEAST_WORK = 1_000_000
Result = TypeVar("Result")


class Packed(NamedTuple):
    """All steps of all sequences in one C-contiguous float64 array.

    Attributes
    ----------
    values : ndarray of shape (n_steps, ...)
        A view of the caller's array where that is padded, float64 and contiguous already.
    starts, lengths : ndarray of shape (n_sequences,)
        Sequence s is ``values[starts[s] : starts[s] + lengths[s]]``.
    n_times : int or None
        Length with padding; None if a list was given.
    """

    values: Shaped[ndarray, "step ..."]
    starts: Int[ndarray, " sequence"]
    lengths: Int[ndarray, " sequence"]
    n_times: int | None

    def unpack(self, steps: Shaped[ndarray, "step ..."]) -> Any:
        """One row a step, given back as a padded array (sequence, time, ...) or as a list of arrays (time, ...)."""
        if self.n_times is not None:
            return steps.reshape(len(self.starts), self.n_times, *steps.shape[1:])
        return [steps[start : start + n] for start, n in zip(self.starts, self.lengths, strict=True)]

    def blank(self, steps: Shaped[ndarray, "step ..."], value: float) -> None:
        """Set the rows of the padding to `value`, in place."""
        if self.n_times is not None:
            for start, n in zip(self.starts, self.lengths, strict=True):
                steps[start + n : start + self.n_times] = value


def pack(sequences: Any, lengths: Any, name: str, trailing: tuple[str, ...]) -> Packed:
    """Check sequences and lay them end to end.

    Parameters
    ----------
    sequences : ndarray of shape (n_sequences, n_times, ...) or list of ndarray of shape (n_times_i, ...)
    lengths : None or ndarray of shape (n_sequences,)
        Valid steps of every sequence of a padded array; all of them if None.
    name : str
        What they are called in messages.
    trailing : tuple of str
        Names of the axes after time.
    """
    axes = ", ".join(("time", *trailing))
    if isinstance(sequences, ndarray):
        if sequences.ndim != 2 + len(trailing) or 0 in sequences.shape:
            raise DataError(
                f"{name} must have the axes (sequence, {axes}), none of them empty, got shape {sequences.shape}; "
                "one sequence by itself is given as x[None]."
            )
        n_sequences, n_times = sequences.shape[:2]
        values = np.ascontiguousarray(sequences, dtype=np.float64).reshape(n_sequences * n_times, *sequences.shape[2:])
        starts = n_times * np.arange(n_sequences)
        if lengths is None:
            return Packed(values, starts, np.full(n_sequences, n_times), n_times)
        lengths = np.asarray(lengths)
        if lengths.shape != (n_sequences,) or lengths.dtype.kind not in "iu":
            raise UsageError(
                f"lengths must be {n_sequences} whole numbers, one a sequence, got shape {lengths.shape}, {lengths.dtype}."
            )
        if lengths.min() < 1 or lengths.max() > n_times:
            raise UsageError(f"lengths must lie between 1 and {n_times} steps, got {lengths.min()} to {lengths.max()}.")
        return Packed(values, starts, lengths.astype(np.int64), n_times)
    if lengths is not None:
        raise UsageError(
            "lengths belong to a padded array; the arrays of a list have lengths of their own: leave it out."
        )
    arrays = [np.asarray(sequence, dtype=np.float64) for sequence in sequences]
    if not arrays:
        raise DataError(f"{name} holds no sequence.")
    for k, array in enumerate(arrays):
        if array.ndim != 1 + len(trailing) or 0 in array.shape or array.shape[1:] != arrays[0].shape[1:]:
            raise DataError(
                f"Every sequence of {name} must have the axes ({axes}), none of them empty and all but time alike; "
                f"number {k} has shape {array.shape}, number 0 {arrays[0].shape}."
            )
    counts = np.array([len(array) for array in arrays])
    values = np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)
    return Packed(values, np.cumsum(counts) - counts, counts, None)


def over_sequences(run: Callable[[slice], Result], lengths: Int[ndarray, " sequence"], work: int) -> list[Result]:
    """Call `run` on up to 16 ranges of sequences with about as many steps each, in as many threads as numba may use.

    The ranges depend on the lengths only, so that sums over them come out alike with any number of threads. `run` has to release the
    interpreter's lock to gain from it.

    Parameters
    ----------
    run : callable
        ``run(slice over sequences) -> result``.
    lengths : ndarray of shape (n_sequences,)
    work : int
        Operations a step, to tell whether threads are worth their start.
    """
    from numba import config

    total = np.cumsum(lengths)
    targets = total[-1] * np.arange(1, N_RANGES) / N_RANGES
    cuts = np.unique(np.concatenate([[0], np.searchsorted(total, targets) + 1, [len(lengths)]]))
    ranges = [slice(int(a), int(b)) for a, b in pairwise(cuts)]
    n_threads = min(config.NUMBA_NUM_THREADS, len(ranges))  # type: ignore[attr-defined]
    if n_threads == 1 or total[-1] * work < LEAST_WORK:
        return [run(part) for part in ranges]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(run, ranges))
