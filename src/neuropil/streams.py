"""Streams: labelled arrays over time, sampled at a constant rate or with a time stamp of their own for every sample.

A regular stream's `time` coordinate is computed when asked for (`SampleIndex`), so that hours at kilohertz cost no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import RangeIndex

from neuropil.errors import DataError, UsageError


class SampleIndex(RangeIndex):
    """Evenly spaced sample times in seconds, computed when asked for; slices of labels are closed, as in pandas."""

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> Any:
        label = labels[self.dim]
        if isinstance(label, slice) and label.step is None:
            start, stop = (
                None if edge is None else (edge - self.start) / self.step for edge in (label.start, label.stop)
            )
            first = 0 if start is None else max(0, int(np.ceil(start - 1e-6)))
            last = self.size if stop is None else max(first, min(self.size, int(np.floor(stop + 1e-6)) + 1))
            return xr.core.indexing.IndexSelResult({self.dim: slice(first, last)})
        return super().sel(labels, method=method or "nearest", tolerance=tolerance)

    def isel(self, indexers: Mapping[Any, Any]) -> Any:
        index = super().isel(indexers)
        return SampleIndex(index.transform) if isinstance(index, RangeIndex) else index


def sample_times(start: float, stop: float, n_times: int, step: float | None = None) -> xr.Coordinates:
    """Lazy coordinate `time` of `n_times` samples from `start` (included) to `stop` (excluded), both in seconds.

    A stretch cut from a longer stream keeps that stream's `step`, which (stop - start) / n_times would miss by the last bit.
    """
    index = SampleIndex.linspace(start, stop, n_times, endpoint=False, dim="time")
    if step is not None and index.step != step:
        index.transform._step = step
    return xr.Coordinates.from_xindex(index)


def check_channels(names: Sequence[str], n_channels: int) -> list[str]:
    names = [str(name) for name in names]
    if len(names) != n_channels:
        raise DataError(f"Expected one name for each of the {n_channels} channels, got {len(names)} names.")
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise DataError(
            f"Channel names must be unique, got {', '.join(doubled)} more than once; rename the doubled channels."
        )
    return names


def _channel_coords(
    n_channels: int,
    channels: Sequence[str] | None,
    kind: str | Sequence[str],
    positions: Any,
    bads: Iterable[str],
) -> dict[str, Any]:
    width = max(3, len(str(max(n_channels - 1, 0))))
    names = check_channels(
        channels if channels is not None else [f"ch{k:0{width}d}" for k in range(n_channels)], n_channels
    )
    unknown = sorted(set(bads) - set(names))
    if unknown:
        raise DataError(f"Bad channels must be among the channels of the stream, got {', '.join(unknown)}.")
    kinds = [kind] * n_channels if isinstance(kind, str) else [str(k) for k in kind]
    if len(kinds) != n_channels:
        raise DataError(f"Expected one kind for each of the {n_channels} channels, got {len(kinds)} kinds.")
    coords: dict[str, Any] = {
        "channel": ("channel", np.asarray(names, dtype=object)),
        "kind": ("channel", np.asarray(kinds, dtype=object)),
        "bad": ("channel", np.isin(names, list(bads))),
    }
    if positions is not None:
        positions = np.asarray(positions, dtype=float)
        if positions.shape != (n_channels, 3):
            raise DataError(f"Positions must have shape ({n_channels}, 3) in metres, got {positions.shape}.")
        coords |= {axis: ("channel", positions[:, k]) for k, axis in enumerate("xyz")}
    return coords


def regular_stream(
    data: Any,
    sfreq: float,
    *,
    channels: Sequence[str] | None = None,
    kind: str | Sequence[str] = "eeg",
    unit: str = "V",
    modality: str = "eeg",
    positions: Any = None,
    t0: float = 0.0,
    bads: Iterable[str] = (),
    mask: Any = None,
) -> xr.DataArray:
    """A stream that is sampled at a constant rate.

    Parameters
    ----------
    data : array-like of shape (n_times, n_channels)
        Samples in `unit`; a lazily indexed array stays lazy.
    sfreq : float
        Sampling rate in Hz.
    channels : sequence of str, optional
        Unique names; "ch000", "ch001" ... without.
    kind : str or sequence of str
        Sort of every channel, in MNE-Python's words ("eeg", "eog", "mag", "grad", "misc" ...).
    unit, modality : str
        Unit of the samples ("V", "uV", "T") and modality ("eeg", "meg", "ieeg", "fmri" ...).
    positions : array-like of shape (n_channels, 3), optional
        Sensor positions in metres; NaN where unknown.
    t0 : float
        Time of the first sample in seconds.
    bads : iterable of str
        Names of bad channels.
    mask : array-like of shape (n_times, n_channels), optional
        True where a sample is valid.

    Raises
    ------
    DataError
        If the shapes, the rate or the names do not fit.

    Examples
    --------
    >>> stream = regular_stream(np.zeros((500, 2)), 250.0, channels=["C3", "C4"], unit="uV")
    >>> float(stream.time[-1])
    1.996
    """
    data = data if hasattr(data, "ndim") and hasattr(data, "dtype") else np.asarray(data)
    if data.ndim != 2:
        raise DataError(f"A regular stream needs data of shape (n_times, n_channels), got shape {tuple(data.shape)}.")
    sfreq = float(sfreq)
    if not np.isfinite(sfreq) or sfreq <= 0:
        raise DataError(f"The sampling rate must be a positive number in Hz, got {sfreq}.")
    n_times, n_channels = data.shape
    if n_times == 0 or n_channels == 0:
        raise DataError(f"A stream needs at least one sample and one channel, got shape {tuple(data.shape)}.")
    coords = _channel_coords(n_channels, channels, kind, positions, bads)
    if mask is not None:
        coords["mask"] = (("time", "channel"), np.asarray(mask, dtype=bool))
    stream = xr.DataArray(
        xr.Variable(("time", "channel"), data),
        coords=coords,
        attrs={"sfreq": sfreq, "unit": unit, "modality": modality},
    )
    return stream.assign_coords(sample_times(t0, t0 + n_times / sfreq, n_times))


def irregular_stream(times: Any, values: Any, *, unit: str = "", modality: str = "spikes") -> xr.DataArray:
    """A stream with a time stamp of its own for every sample, such as spikes (`values` are then the unit ids).

    Parameters
    ----------
    times : array-like of shape (n_samples,)
        Times in seconds, not decreasing, float64.
    values : array-like of shape (n_samples, ...)
        One entry a time stamp.

    Examples
    --------
    >>> irregular_stream([0.1, 0.2, 0.25], [3, 1, 3]).sizes["time"]
    3
    """
    times = np.asarray(times, dtype=np.float64)
    values = np.asarray(values)
    if times.ndim != 1 or values.shape[:1] != times.shape:
        raise DataError(
            f"Expected one time stamp for every value, got times of shape {times.shape} and values of {values.shape}."
        )
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise DataError("The time stamps of an irregular stream must be finite and must not decrease; sort them first.")
    dims = ("time", *[f"dim_{k}" for k in range(1, values.ndim)])
    attrs = {"irregular": True, "unit": unit, "modality": modality}
    return xr.DataArray(values, dims=dims, coords={"time": ("time", times)}, attrs=attrs)


def is_regular(stream: xr.DataArray) -> bool:
    """True for a stream with a constant sampling rate."""
    return not stream.attrs.get("irregular", False)


def stream_bounds(stream: xr.DataArray) -> tuple[float, float]:
    """First sample's time and the end of the last sample (of the last event, for an irregular stream), in seconds."""
    if stream.sizes["time"] == 0:
        return 0.0, 0.0
    start = float(stream.time[0])
    return start, (
        start + stream.sizes["time"] / stream.attrs["sfreq"] if is_regular(stream) else float(stream.time[-1])
    )


def check_clock(name: str, stream: xr.DataArray) -> None:
    if "time" not in stream.coords or stream.sizes["time"] < 2:
        return
    period, index = 1 / stream.attrs["sfreq"], stream.xindexes.get("time")
    steps = np.asarray([index.step]) if isinstance(index, SampleIndex) else np.diff(stream["time"].values)
    wrong = steps[np.abs(steps - period) > 1e-3 * period]
    if len(wrong):
        raise DataError(
            f"Stream {name!r} is labelled {stream.attrs['sfreq']:g} Hz, but samples lie {wrong[0]:g} s apart; "
            "take contiguous samples, resample it, or make it an irregular stream."
        )


def bin_spikes(
    stream: xr.DataArray, width: float, *, start: float | None = None, stop: float | None = None
) -> xr.DataArray:
    """Count the events of every unit in bins of `width` seconds.

    Returns
    -------
    DataArray of shape (n_bins, n_units), int64
        A regular stream at 1 / `width` Hz; channel names are the unit ids. A last bin that is not full is left out.
    """
    if is_regular(stream):
        raise UsageError(
            "Only an irregular stream (times and unit ids) can be binned; this stream is sampled regularly."
        )
    if not width > 0:
        raise UsageError(f"The bin width must be a positive number of seconds, got {width}.")
    first, last = stream_bounds(stream)
    start, stop = first if start is None else start, last if stop is None else stop
    n_bins = int(np.floor((stop - start) / width + 1e-9))
    if n_bins < 1:
        raise DataError(f"A bin of {width} s is longer than the {stop - start:.3f} s of the stream; use narrower bins.")
    units, codes = np.unique(stream.values, return_inverse=True)
    bins = np.floor((stream.time.values - start) / width + 1e-9).astype(int)
    inside = (bins >= 0) & (bins < n_bins)
    counts = np.zeros((n_bins, len(units)), dtype=np.int64)
    np.add.at(counts, (bins[inside], codes[inside]), 1)
    return regular_stream(
        counts, 1 / width, channels=[str(u) for u in units], kind="spikes", unit="count", modality="spikes", t0=start
    )
