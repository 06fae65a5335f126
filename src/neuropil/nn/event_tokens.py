"""Spikes as tokens: which neuron, and in which bin of a window.

Every spike of a window becomes a pair of integers, its neuron and its bin counted from the window's start, ordered by bin and then by
neuron; a count of c in one bin gives c tokens. Both vocabularies end with three marks: start of sequence (SOS), end of sequence (EOS) and
padding (PAD). Written without a loop over windows or spikes.

Antoniades, Yu, Canzano, Wang & Smith (2024). Neuroformer: multimodal and multitask generative pretraining for brain data. ICLR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.random import Generator

from neuropil.errors import DataError, UsageError


class EventTokens(NamedTuple):
    """Windows of spikes as tokens.

    Attributes
    ----------
    ids : ndarray of int32, shape (n_windows, n_tokens)
        Neurons and marks, padded behind.
    bins : ndarray of int32, shape (n_windows, n_tokens)
        Bins from the window's start, and marks.
    lengths : ndarray of int, shape (n_windows,)
        Tokens of every window that are not padding.
    n_spikes : int
        Spikes of all windows before truncation.
    n_truncated : int
        Spikes left out since a window had more than fit in.
    """

    ids: Int[ndarray, "window token"]
    bins: Int[ndarray, "window token"]
    lengths: Int[ndarray, " window"]
    n_spikes: int
    n_truncated: int


class SpikeTokenizer:
    """Turns counts into tokens and back.

    Parameters
    ----------
    n_neurons : int
    n_bins : int
        Bins of the longest window; the vocabulary of bins has one more, for spikes at its very end.

    Attributes
    ----------
    n_ids, n_bin_tokens : int
        Sizes of the two vocabularies, with their three marks.
    sos, eos, pad : int
        Marks among the ids.
    bin_sos, bin_eos, bin_pad : int
        Marks among the bins.

    Examples
    --------
    >>> tokenizer = SpikeTokenizer(n_neurons=3, n_bins=2)
    >>> tokens = tokenizer.encode(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]), np.array([0, 2]), 2, 10)
    >>> tokens.ids.tolist(), tokens.bins.tolist()
    ([[3, 1, 1, 0, 4], [3, 4, 5, 5, 5]], [[3, 0, 0, 1, 4], [3, 4, 5, 5, 5]])
    >>> tokenizer.decode(tokens.ids, tokens.bins, 2).tolist()
    [[[0, 2, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    """

    def __init__(self, n_neurons: int, n_bins: int) -> None:
        if n_neurons < 1 or n_bins < 1:
            raise UsageError(f"Tokens need one neuron and one bin or more, got {n_neurons=} and {n_bins=}.")
        self.n_neurons, self.n_bins = n_neurons, n_bins
        self.sos, self.eos, self.pad = n_neurons, n_neurons + 1, n_neurons + 2
        self.bin_sos, self.bin_eos, self.bin_pad = n_bins + 1, n_bins + 2, n_bins + 3
        self.n_ids, self.n_bin_tokens = n_neurons + 3, n_bins + 4

    def encode(
        self,
        counts: Any,
        starts: Int[ndarray, " window"],
        width: int,
        max_tokens: int,
        *,
        marks: bool = True,
        shuffle: Generator | None = None,
    ) -> EventTokens:
        """Tokens of the windows that begin at `starts` and last `width` bins; they may overlap.

        Parameters
        ----------
        counts : array-like of int, shape (n_times, n_neurons)
        starts : ndarray of int, shape (n_windows,)
        width : int
            Bins of a window.
        max_tokens : int
            Longest sequence, marks included; of windows with more spikes the last ones are kept.
        marks : bool, default True
            Put SOS in front and EOS behind.
        shuffle : Generator, optional
            Draw the order of the spikes of one bin instead of counting neurons up.

        Raises
        ------
        DataError
            If counts are negative, no integers, of another number of neurons, or a window leaves the data.
        UsageError
            If a window has more bins than the vocabulary, or no spike fits beside the marks.
        """
        counts = self._check(counts)
        starts = np.asarray(starts, dtype=np.int64)
        room = max_tokens - 2 * marks
        if not 1 <= width <= self.n_bins:
            raise UsageError(f"A window must have between 1 and {self.n_bins} bins, got {width}.")
        if room < 1:
            raise UsageError(
                f"A sequence must have room for a spike{' beside its two marks' * marks}, got {max_tokens=}."
            )
        if len(starts) and not (starts.min() >= 0 and starts.max() + width <= len(counts)):
            raise DataError(
                f"Windows of {width} bins must lie within the {len(counts)} bins of the data, got starts from {starts.min()} to "
                f"{starts.max()}."
            )
        times, neurons = np.nonzero(counts)
        repeats = counts[times, neurons]
        times, neurons = np.repeat(times, repeats), np.repeat(neurons, repeats)
        if shuffle is not None:
            neurons = neurons[np.lexsort((shuffle.random(len(times)), times))]
        first, last = np.searchsorted(times, starts), np.searchsorted(times, starts + width)
        n_spikes = last - first
        kept = np.minimum(n_spikes, room)
        rows, columns = _ragged(kept)
        events = (last - kept)[rows] + columns
        n_tokens = int(kept.max(initial=0)) + 2 * marks
        ids = np.full((len(starts), n_tokens), self.pad, dtype=np.int32)
        bins = np.full((len(starts), n_tokens), self.bin_pad, dtype=np.int32)
        ids[rows, columns + marks] = neurons[events]
        bins[rows, columns + marks] = times[events] - starts[rows]
        if marks:
            ids[:, 0], bins[:, 0] = self.sos, self.bin_sos
            every = np.arange(len(starts))
            ids[every, kept + 1], bins[every, kept + 1] = self.eos, self.bin_eos
        return EventTokens(ids, bins, kept + 2 * marks, int(n_spikes.sum()), int((n_spikes - kept).sum()))

    def decode(
        self, ids: Int[ndarray, "window token"], bins: Int[ndarray, "window token"], width: int
    ) -> Int[ndarray, "window {width} neuron"]:
        """Counts of windows of `width` bins; marks are passed over.

        Raises
        ------
        DataError
            If a spike's bin lies outside of the window.
        """
        spikes = (ids >= 0) & (ids < self.n_neurons)
        rows, _ = np.nonzero(spikes)
        counts = np.zeros((len(ids), width, self.n_neurons), dtype=np.int64)
        when = bins[spikes]
        if len(when) and not (when.min() >= 0 and when.max() < width):
            raise DataError(
                f"Spikes of a window of {width} bins must lie in bins from 0 to {width - 1}, got {when.max()}."
            )
        np.add.at(counts, (rows, when, ids[spikes]), 1)
        return counts

    def _check(self, counts: Any) -> ndarray:
        values = np.asarray(counts)
        if values.ndim != 2 or values.shape[1] != self.n_neurons:
            raise DataError(f"Expected counts of shape (n_times, {self.n_neurons}), got shape {values.shape}.")
        if values.dtype.kind not in "iub":
            whole = values.astype(np.int64) if np.isfinite(values).all() else None
            if whole is None or not np.array_equal(whole, values):
                raise DataError(
                    "Spikes must be whole numbers without gaps; bin them, or leave the missing stretches out."
                )
            values = whole
        if values.min(initial=0) < 0:
            raise DataError(f"Spikes must not be negative, got a count of {values.min()}.")
        return values


def _ragged(lengths: ndarray) -> tuple[ndarray, ndarray]:
    """Row, and place in the row, of every element of rows of these lengths."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
