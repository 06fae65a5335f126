"""A cleaner of segments, run over recordings of any length and rate in constant memory.

Samples are resampled to the cleaner's rate, cleaned in half-overlapping segments that are cross-faded, and resampled back: rate, length
and channels stay what they were, and what lies above half of the lower rate is gone. At the cleaner's own rate nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.signal.overlap_add import OverlapAdd
from neuropil.signal.resampling import StreamingResampler
from neuropil.streams import is_regular

BLOCK_SAMPLES = 1 << 18


class StreamingCleaner:
    """A cleaner of segments for samples that arrive in chunks, at any rate.

    Parameters
    ----------
    transform : callable
        Takes and returns segments of shape (n_segments, n_channels, n_times) at `model_sfreq`.
    sfreq : float
        Sampling rate of the samples in Hz.
    n_times : int
        Samples of a segment.
    model_sfreq : float
        Rate of the segments in Hz.

    Examples
    --------
    >>> x = np.sin(np.arange(3000) / 50)[:, None]
    >>> cleaner = StreamingCleaner(lambda segments: segments, 500.0, 512, 256.0)
    >>> cleaned = np.concatenate([cleaner.push(x[:1000]), cleaner.push(x[1000:]), cleaner.flush()])
    >>> cleaned.shape, bool(np.abs(cleaned - x)[20:-20].max() < 1e-3)
    ((3000, 1), True)
    """

    def __init__(self, transform: Callable[[ndarray], ndarray], sfreq: float, n_times: int, model_sfreq: float) -> None:
        self._down = StreamingResampler(sfreq, model_sfreq)
        self._segments = OverlapAdd(transform, n_times)
        self._up = StreamingResampler(model_sfreq, sfreq)
        self._left = 0

    def push(self, chunk: Float[ndarray, "time channel"]) -> Float[ndarray, "done channel"]:
        """Take the next samples and return those that are finished, perhaps none."""
        self._left += len(chunk)
        return self._given(self._up.push(self._segments.push(self._down.push(chunk))))

    def flush(self) -> Float[ndarray, "done channel"]:
        """The samples that are left, once the data have ended: as many come out as went in."""
        rest = self._segments.push(self._down.flush())
        done = [self._up.push(rest), self._up.push(self._segments.flush())]
        return self._given(np.concatenate([*done, self._up.flush()]))

    def _given(self, finished: ndarray) -> ndarray:
        finished = finished[: self._left]
        self._left -= len(finished)
        return finished


def eeg_channels(stream: xr.DataArray) -> ndarray:
    """Which channels are cleaned: those of the kind "eeg" that are not marked bad; all, where kinds are not known.

    Raises
    ------
    DataError
        If the stream has none, or is none of channels at a constant rate.
    """
    if not is_regular(stream) or stream.dims != ("time", "channel"):
        raise DataError(
            f"Only a regular stream of channels can be cleaned, got dims {stream.dims}; bin or select it first."
        )
    chosen: ndarray = np.ones(stream.sizes["channel"], dtype=bool)
    if "kind" in stream.coords:
        chosen &= stream["kind"].values.astype(str) == "eeg"
    if "bad" in stream.coords:
        chosen &= ~stream["bad"].values.astype(bool)
    if not chosen.any():
        kinds = sorted(set(stream["kind"].values.astype(str))) if "kind" in stream.coords else []
        raise DataError(f"The stream has no good EEG channel to clean (kinds: {', '.join(kinds) or 'unknown'}).")
    return chosen


def clean_blocks(
    denoise: Callable[[ndarray], ndarray], stream: xr.DataArray, n_times: int, model_sfreq: float
) -> Iterator[ndarray]:
    """The samples of a stream with its EEG channels cleaned, block by block, shape (n_samples, n_channels).

    Parameters
    ----------
    denoise : callable
        Cleaner of segments of shape (n_segments, n_eeg_channels, n_times).
    stream : DataArray
        Regular, dims (time, channel), read block by block.
    n_times, model_sfreq :
        Length of a segment and its rate.

    Yields
    ------
    ndarray
        float64 for a stream of float64, else float32. Channels that are not cleaned pass through.

    Raises
    ------
    DataError
        If a sample of a channel to clean is not finite.
    """
    chosen = eeg_channels(stream)
    dtype = np.float64 if stream.dtype == np.float64 else np.float32
    cleaner = StreamingCleaner(denoise, float(stream.attrs["sfreq"]), n_times, model_sfreq)
    size = max(1, BLOCK_SAMPLES // len(chosen))
    total, start = stream.sizes["time"], 0
    waiting = np.zeros((0, len(chosen)), dtype=dtype)
    while start < total:
        block = stream[start : start + size].values.astype(dtype)
        if not np.isfinite(block[:, chosen]).all():
            row, column = (int(k[0]) for k in np.nonzero(~np.isfinite(block[:, chosen])))
            name = stream["channel"].values[np.flatnonzero(chosen)[column]]
            raise DataError(
                f"Samples to clean must be finite, got NaN or infinity in channel {name} at "
                f"{(start + row) / stream.attrs['sfreq']:.3f} s; mark the channel bad, or interpolate the gap."
            )
        start += len(block)
        waiting = np.concatenate([waiting, block])
        finished = cleaner.push(block[:, chosen].astype(np.float64))
        if start == total:
            finished = np.concatenate([finished, cleaner.flush()])
        done, waiting = waiting[: len(finished)], waiting[len(finished) :]
        done[:, chosen] = finished
        yield done


def clean_recording(cleaner: Any, recording: Recording, *, stream: str | None = None) -> Recording:
    """The recording with the EEG channels of one stream cleaned.

    Parameters
    ----------
    cleaner : estimator
        With `transform`, `segment_length` and `sfreq`, such as a fitted `ATATDenoiser`.
    recording : Recording
    stream : str, optional
        The first regular one without; the others stay as they are.
    """
    chosen = recording.stream(stream)
    name = next(key for key, value in recording.streams.items() if value is chosen)
    blocks = list(clean_blocks(cleaner.transform, chosen, cleaner.segment_length, cleaner.sfreq))
    if not blocks:
        raise DataError(f"The stream {name!r} holds no sample; there is nothing to clean.")
    return recording.copy(streams={**recording.streams, name: chosen.copy(data=np.concatenate(blocks))})
