"""A transform of segments, run over data of any length: overlapping segments, cross-faded where they meet.

Segments of `n_times` samples follow each other every ``n_times - n_overlap`` samples; over an overlap the earlier one fades out and the
later one fades in with weights that sum to one. The fade is computed as earlier + weight (later - earlier), so that a transform that
changes nothing gives the data back to the last bit. The last segment is moved back to end with the data; data shorter than a segment
are continued by their mirror image.

Segments reach the transform in groups of a fixed number, which depends on their position only: the result does not depend on how the
data are cut into chunks, to the last bit, and memory not on their length.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

SegmentTransform = Callable[[ndarray], ndarray]
BATCH = 32


def fade_in(n_times: int) -> Float64[ndarray, " time"]:
    """Squared-sine weights that rise from 0 to 1; reversed, they add up to one with themselves.

    Examples
    --------
    >>> fade_in(3).round(3)
    array([0.067, 0.5  , 0.933])
    """
    return np.sin(np.pi * (np.arange(n_times) + 0.5) / (2 * n_times)) ** 2


class OverlapAdd:
    """A transform of segments for data that arrive in chunks.

    Parameters
    ----------
    transform : callable
        Takes segments of shape (n_segments, n_channels, n_times) and returns as many of the same shape.
    n_times : int
        Samples of a segment.
    n_overlap : int, optional
        Samples that two neighbours share, at most half a segment (the default).
    batch : int, default 32
        Segments that the transform gets at once; the last group may be smaller.

    Raises
    ------
    UsageError
        If the numbers make no sense.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((100, 2))
    >>> stream = OverlapAdd(lambda segments: segments, n_times=16)
    >>> pieces = [stream.push(x[k : k + 7]) for k in range(0, 100, 7)] + [stream.flush()]
    >>> np.array_equal(np.concatenate(pieces), x)
    True
    """

    def __init__(
        self, transform: SegmentTransform, n_times: int, n_overlap: int | None = None, *, batch: int = BATCH
    ) -> None:
        n_overlap = n_times // 2 if n_overlap is None else n_overlap
        if n_times < 1 or not 0 <= n_overlap <= n_times // 2 or batch < 1:
            raise UsageError(
                f"Segments need a sample or more, an overlap of at most half of them and groups of one or more, got n_times={n_times}, "
                f"n_overlap={n_overlap}, batch={batch}."
            )
        self.transform, self.n_times, self.n_overlap, self.batch = transform, n_times, n_overlap, batch
        self._fade = fade_in(n_overlap)[:, None]
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next chunk begins new data."""
        self._waiting: ndarray | None = None
        self._past: ndarray | None = None
        self._tail: ndarray | None = None
        self.n_seen = 0

    def push(self, chunk: Float[ndarray, "time channel"]) -> Float[ndarray, "done channel"]:
        """Take the next samples, shape (n_times, n_channels), and return those that are finished by them, perhaps none.

        Raises
        ------
        DataError
            If the number of channels has changed.
        """
        if self._waiting is not None and chunk.shape[1:] != self._waiting.shape[1:]:
            raise DataError(f"The data began with {self._waiting.shape[1]} channels, this chunk has {chunk.shape[1]}.")
        self._waiting = chunk.copy() if self._waiting is None else np.concatenate([self._waiting, chunk])
        self.n_seen += len(chunk)
        hop, done = self.n_times - self.n_overlap, []
        reach = self.n_times + (self.batch - 1) * hop
        while (
            len(self._waiting) > reach
        ):  # more than a group: what follows shows that its last segment is not the last of all
            done.append(self._joined(self._waiting[:reach]))
            used = self._waiting[: self.batch * hop]
            self._past = np.concatenate([self._past, used])[-self.n_times :] if self._past is not None else used
            self._waiting = self._waiting[self.batch * hop :]
        return np.concatenate(done) if done else chunk[:0]

    def flush(self) -> Float[ndarray, "done channel"]:
        """The samples that are left, once the data have ended; the next chunk begins new data.

        Raises
        ------
        DataError
            If no sample was pushed.
        """
        if self._waiting is None or not self.n_seen:
            raise DataError("There is nothing to finish: no sample was pushed.")
        waiting, hop = self._waiting, self.n_times - self.n_overlap
        if self.n_seen < self.n_times:
            padded = np.pad(waiting, ((0, self.n_times - len(waiting)), (0, 0)), mode="symmetric")
            finished = self._transformed(padded.T[None])[0].T[: len(waiting)]
            self.reset()
            return finished
        n_whole = (len(waiting) - self.n_times) // hop + 1
        used = self.n_times + (n_whole - 1) * hop
        done = [self._joined(waiting[:used])] if n_whole else []
        tail, rest = self._tail, len(waiting) - n_whole * hop
        assert tail is not None
        if rest > len(tail):
            # the last segment, moved back to end with the data, overlaps the one before by more than usual
            known = waiting if self._past is None else np.concatenate([self._past, waiting])
            last = self._transformed(known[len(known) - self.n_times :].T[None])[0].T[self.n_times - rest :]
            done.append(_crossfade(tail, last[: len(tail)], self._fade))
            done.append(last[len(tail) :])
        else:
            done.append(tail)
        self.reset()
        return np.concatenate(done)

    def _joined(self, samples: ndarray) -> ndarray:
        """Transform a whole number of segments; what the next one may still change stays behind as the tail."""
        hop = self.n_times - self.n_overlap
        segments = np.lib.stride_tricks.sliding_window_view(samples, self.n_times, axis=0)[::hop]
        out = self._transformed(np.ascontiguousarray(segments)).transpose(0, 2, 1)
        joined = np.empty((len(out) * hop, *samples.shape[1:]), dtype=out.dtype)
        for k, segment in enumerate(out):
            piece = joined[k * hop : (k + 1) * hop]
            piece[:] = segment[:hop]
            if self._tail is not None:
                piece[: self.n_overlap] = _crossfade(self._tail, segment[: self.n_overlap], self._fade)
            self._tail = segment[hop:]
        return joined

    def _transformed(self, segments: ndarray) -> ndarray:
        out = np.asarray(self.transform(segments))
        if out.shape != segments.shape:
            raise DataError(
                f"The transform of segments must keep their shape {segments.shape}, it returned {out.shape}."
            )
        return out


def _crossfade(earlier: ndarray, later: ndarray, weight: ndarray) -> ndarray:
    return (earlier + weight * (later - earlier)).astype(earlier.dtype, copy=False)


def overlap_add(
    data: Real[ndarray, "time channel"],
    transform: SegmentTransform,
    n_times: int,
    n_overlap: int | None = None,
    *,
    batch: int = BATCH,
) -> Float[ndarray, "time channel"]:
    """The same for data that are there as a whole: shape (n_times, n_channels) in and out; see `OverlapAdd`.

    Examples
    --------
    >>> overlap_add(np.ones((50, 1)), lambda segments: 2 * segments, n_times=16).ravel()[:3]
    array([2., 2., 2.])
    """
    stream = OverlapAdd(transform, n_times, n_overlap, batch=batch)
    samples = data if data.dtype.kind == "f" else data.astype(np.float64)
    first = stream.push(samples)
    return np.concatenate([first, stream.flush()])
