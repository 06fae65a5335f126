"""What pseudo-online evaluation cuts: filtered recordings, single-trial epochs and idle epochs of breaks, runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.signal.filters import butterworth, causal_filter, zero_phase_filter
from neuropil.streams import stream_bounds
from neuropil.windowing import windows


def filtered(
    recording: Recording,
    stream: str | None = None,
    filter: str | None = "causal",
    band: tuple[float | None, float | None] = (8.0, 30.0),
    order: int = 4,
) -> Recording:
    """The recording with that one stream, filtered as a whole: causally as in a live stream, or with zero phase, looking ahead.

    Parameters
    ----------
    recording : Recording
    stream : str, optional
        The first regular one without.
    filter : {"causal", "zero-phase"} or None
    band : (low, high)
        Pass band in Hz; None leaves an edge out.
    order : int
        Order of each edge.
    """
    data = recording.stream(stream)
    if filter is not None:
        sos = butterworth(*band, float(data.attrs["sfreq"]), order=order)
        values = np.asarray(data.values)
        changed = (
            causal_filter(values, sos, axis=0)[0] if filter == "causal" else zero_phase_filter(values, sos, axis=0)
        )
        data = data.copy(data=changed)
    return recording.copy(streams={stream or "stream": data})


def task_events(recording: Recording, labels: Sequence[str] | None = None, idle: str = "idle") -> pd.DataFrame:
    """Events of the task classes in order of time: all but those labelled `idle`, or those named."""
    events = recording.events[recording.events["label"] != idle]
    events = events if labels is None else events[events["label"].isin(list(labels))]
    return events.sort_values("onset", kind="stable")


def offline_epochs(
    recordings: Sequence[Recording],
    window: float,
    tmin: float = 0.5,
    labels: Sequence[str] | None = None,
    idle: str = "idle",
    *,
    breaks: bool = False,
) -> xr.DataArray:
    """One window a trial, from `tmin` s after its onset, and with `breaks` one idle window in the middle of every break.

    Breaks are what no trial covers, from the first sample to the last; those shorter than a window are left out.

    Returns
    -------
    DataArray of shape (n_windows, n_channels, n_times)
        Lazy; `onset` is the start of the window in s.
    """
    parts = []
    for recording in recordings:
        events = task_events(recording, labels, idle)
        onset = events["onset"].to_numpy(dtype=float)
        rows = pd.DataFrame(
            {"onset": onset + tmin, "duration": window, "label": events["label"].to_numpy(dtype=object)}
        )
        if breaks:
            start, stop = stream_bounds(recording.stream())
            offset = np.maximum.accumulate(onset + events["duration"].to_numpy(dtype=float))
            begin, end = np.append(start, offset), np.append(onset, stop)
            long = end - begin >= window
            middle = ((begin + end - window) / 2)[long]
            rows = pd.concat([rows, pd.DataFrame({"onset": middle, "duration": window, "label": idle})])
        start, stop = stream_bounds(recording.stream())
        inside = (rows["onset"] >= start) & (rows["onset"] + window <= stop)
        parts.append(recording.copy(events=rows[inside].sort_values("onset", kind="stable")))
    if not any(len(part.events) for part in parts):
        raise DataError(
            f"No trial leaves room for a window of {window:g} s from {tmin:g} s on; choose a shorter window."
        )
    return windows(parts, tmin=0.0, tmax=window)


def with_runs(X: xr.DataArray, recordings: Sequence[Recording]) -> xr.DataArray:
    """Sliding windows with a coordinate `run` if the events of all recordings have that column: the run of the nearest event."""
    if not all("run" in recording.events and len(recording.events) for recording in recordings):
        return X
    middle = X["onset"].values + X.sizes["time"] / X.attrs["sfreq"] / 2
    run = np.empty(X.shape[0], dtype=object)
    for k, recording in enumerate(recordings):
        events = recording.events.sort_values("onset", kind="stable")
        centre = (events["onset"] + events["duration"] / 2).to_numpy(dtype=float)
        mine = np.flatnonzero(X["recording"].values == k)
        between = (centre[1:] + centre[:-1]) / 2
        run[mine] = events["run"].astype(str).to_numpy(dtype=object)[np.searchsorted(between, middle[mine])]
    return X.assign_coords(run=("window", run))
