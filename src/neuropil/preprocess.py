"""Filters and other rates for whole recordings: the pure functions of `neuropil.signal` applied to a stream.

`bandpass` uses the past only, so what follows it can run live; `bandpass_zero_phase` looks ahead and is for analyses after the fact.
Integers and single precision come back as float32, everything else as float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.signal import filters
from neuropil.streams import is_regular, regular_stream


def bandpass(
    recording: Recording, low: float | None, high: float | None, *, stream: str | None = None, order: int = 4
) -> Recording:
    """Butterworth filter that uses the past only.

    Parameters
    ----------
    recording : Recording
    low, high : float or None
        Edges of the pass band in Hz; without `low` a low-pass, without `high` a high-pass.
    stream : str, optional
        Stream to filter; the first regular one without. The others stay as they are.
    order : int, default 4
        Order of each edge.

    Examples
    --------
    >>> recording = Recording({"eeg": regular_stream(np.random.default_rng(0).normal(size=(1000, 2)), 100.0)})
    >>> bandpass(recording, 8.0, 30.0).stream().shape
    (1000, 2)
    """
    return _filtered(recording, low, high, stream, order, lambda data, sos: filters.causal_filter(data, sos, axis=0)[0])


def bandpass_zero_phase(
    recording: Recording, low: float | None, high: float | None, *, stream: str | None = None, order: int = 4
) -> Recording:
    """The same filter run forwards and backwards: no delay, but every sample depends on the future; see `bandpass`."""
    return _filtered(
        recording, low, high, stream, order, lambda data, sos: filters.zero_phase_filter(data, sos, axis=0)
    )


def decimate(recording: Recording, factor: int, *, stream: str | None = None) -> Recording:
    """Every `factor`-th sample of a stream, low-passed before.

    Examples
    --------
    >>> recording = Recording({"eeg": regular_stream(np.zeros((1000, 2)) + np.arange(2), 100.0)})
    >>> decimate(recording, 2).stream().attrs["sfreq"]
    50.0
    """
    name, chosen = _chosen(recording, stream)
    data = filters.decimate(_values(chosen), factor, axis=0)
    return _with(recording, name, chosen, data, chosen.attrs["sfreq"] / factor)


def resample(recording: Recording, sfreq: float, *, stream: str | None = None) -> Recording:
    """A stream at another rate, low-passed below half of the lower one; it looks ahead. A stream at that rate already stays as it is.

    Examples
    --------
    >>> recording = Recording({"eeg": regular_stream(np.zeros((1000, 2)) + np.arange(2), 250.0)})
    >>> resample(recording, 64.0).stream().shape
    (256, 2)
    """
    name, chosen = _chosen(recording, stream)
    if chosen.attrs["sfreq"] == sfreq:
        return recording
    return _with(
        recording, name, chosen, filters.resample(_values(chosen), chosen.attrs["sfreq"], sfreq, axis=0), sfreq
    )


def _chosen(recording: Recording, stream: str | None) -> tuple[str, xr.DataArray]:
    chosen = recording.stream(stream)
    if not is_regular(chosen) or chosen.dims != ("time", "channel"):
        raise DataError(
            f"Filters work on a regular stream with dims (time, channel), got dims {chosen.dims}; bin or select it first."
        )
    return next(name for name, value in recording.streams.items() if value is chosen), chosen


def _values(stream: xr.DataArray) -> ndarray:
    values = stream.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(
            "Expected finite samples to filter, got NaN or infinity; interpolate or cut out these stretches first."
        )
    return values


def _filtered(
    recording: Recording,
    low: float | None,
    high: float | None,
    stream: str | None,
    order: int,
    apply: Callable[[ndarray, ndarray], ndarray],
) -> Recording:
    name, chosen = _chosen(recording, stream)
    sfreq = chosen.attrs["sfreq"]
    data = apply(_values(chosen), filters.butterworth(low, high, sfreq, order=order))
    return _with(recording, name, chosen, data, sfreq)


def _with(recording: Recording, name: str, stream: xr.DataArray, data: ndarray, sfreq: float) -> Recording:
    """The recording with one stream exchanged; channels and their coordinates are kept, a mask only at the same rate."""
    data = data.astype(np.float64 if stream.dtype == np.float64 else np.float32)
    made = regular_stream(
        data,
        sfreq,
        channels=stream["channel"].values.tolist(),
        unit=stream.attrs.get("unit", ""),
        modality=stream.attrs.get("modality", ""),
        t0=float(stream.time[0]),
    )
    channelwise = {key: coord for key, coord in stream.coords.items() if coord.dims == ("channel",)}
    made = made.assign_coords(channelwise)
    if "mask" in stream.coords and len(data) == stream.sizes["time"]:
        made = made.assign_coords(mask=(("time", "channel"), stream["mask"].values))
    made.attrs.update({**stream.attrs, "sfreq": sfreq})
    return recording.copy(streams={**recording.streams, name: made})
