"""Windows: stretches of a recording as one labelled, lazy array of shape (window, channel, time).

A window is two numbers, a recording and a start, until somebody reads it: cutting 100,000 windows costs no copy, and indexing,
cross-validation and shuffled batches stay lazy. Per-window coordinates carry what honest evaluation needs: `label`, `subject`,
`session`, `recording`, `trial`, and `onset` in seconds, so that the span of a window in its recording is
[`onset` + `time[0]`, `onset` + `time[-1]` + 1/sfreq).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from numpy import ndarray
from xarray.core import indexing

from neuropil.batches import WindowArray, iter_batches, lazy_windows
from neuropil.errors import DataError, UsageError
from neuropil.recording import EVENT_COLUMNS, Recording
from neuropil.streams import is_regular

__all__ = ["WindowArray", "cut", "iter_batches", "lazy_windows", "sliding_windows", "windows"]

CHANNEL_COORDS = ("channel", "kind", "bad", "x", "y", "z", "region")


def _as_list(recordings: Recording | Sequence[Recording]) -> list[Recording]:
    recordings = [recordings] if isinstance(recordings, Recording) else list(recordings)
    if not recordings:
        raise DataError("Expected one recording or more to cut windows from, got none.")
    return recordings


def _streams(recordings: list[Recording], name: str | None) -> list[xr.DataArray]:
    streams = [recording.stream(name) for recording in recordings]
    first = streams[0]
    for k, stream in enumerate(streams):
        if not is_regular(stream) or stream.dims != ("time", "channel"):
            raise DataError(
                f"Windows are cut from a regular stream with dims (time, channel), got dims {stream.dims}; bin or select it first."
            )
        if stream.attrs["sfreq"] != first.attrs["sfreq"]:
            raise DataError(
                f"All recordings need one sampling rate, got {first.attrs['sfreq']:g} Hz and {stream.attrs['sfreq']:g} Hz "
                f"(recording {k}); resample them first."
            )
        if list(stream["channel"].values) != list(first["channel"].values):
            raise DataError(
                f"All recordings need the same channels in the same order, recording {k} differs from the first; "
                "select common channels, or cut each by itself and pass a list of windows."
            )
    return streams


def cut(
    recordings: Recording | Sequence[Recording],
    stream: str | None,
    source: Int[ndarray, " window"],
    starts: Int[ndarray, " window"],
    n_times: int,
    coords: Mapping[str, Any],
    *,
    tmin: float = 0.0,
) -> xr.DataArray:
    """Windows of `n_times` samples from given start samples, lazily.

    Parameters
    ----------
    recordings : Recording or sequence of Recording
        With the same channels and rate.
    stream : str or None
        Name of the stream; None takes the first regular one.
    source, starts : ndarray of int, shape (n_windows,)
        Which recording, and which of its samples, every window starts at.
    n_times : int
        Samples a window.
    coords : mapping of str to array-like of shape (n_windows,)
        Per-window coordinates.
    tmin : float
        Time of the first sample of a window relative to its `onset`, in seconds.

    Raises
    ------
    DataError
        If a window lies outside its recording, or the recordings do not match.
    """
    recordings = _as_list(recordings)
    streams = _streams(recordings, stream)
    source, starts = np.asarray(source, dtype=np.int64), np.asarray(starts, dtype=np.int64)
    lengths = np.asarray([s.sizes["time"] for s in streams])
    if n_times < 1:
        raise UsageError(f"A window needs at least one sample, got {n_times}.")
    if len(starts) and ((starts < 0) | (starts + n_times > lengths[source])).any():
        raise DataError("A window reaches beyond its recording; leave out events too close to its edges.")
    first = streams[0]
    sfreq = first.attrs["sfreq"]
    array = WindowArray([s.variable for s in streams], source, starts, int(n_times))
    labels: dict[str, Any] = {
        "subject": np.asarray([r.subject for r in recordings], dtype=object)[source],
        "session": np.asarray([r.session for r in recordings], dtype=object)[source],
        "recording": source,
        **coords,
    }
    all_coords: dict[str, Any] = {name: ("window", np.asarray(values)) for name, values in labels.items()}
    all_coords |= {name: ("channel", first[name].values) for name in CHANNEL_COORDS if name in first.coords}
    all_coords["time"] = tmin + np.arange(n_times) / sfreq
    if all("mask" in s.coords for s in streams):
        masks = WindowArray([s["mask"].variable for s in streams], source, starts, int(n_times))
        all_coords["mask"] = (("window", "channel", "time"), indexing.LazilyIndexedArray(masks))
    return xr.DataArray(
        xr.Variable(("window", "channel", "time"), indexing.LazilyIndexedArray(array)),
        coords=all_coords,
        attrs={**first.attrs, "dataset": recordings[0].dataset},
    )


def windows(
    recordings: Recording | Sequence[Recording],
    stream: str | None = None,
    *,
    tmin: float = 0.0,
    tmax: float | None = None,
    labels: Sequence[str] | None = None,
) -> xr.DataArray:
    """One window an event, from `tmin` to `tmax` seconds after its onset.

    Parameters
    ----------
    recordings : Recording or sequence of Recording
        With the same channels and rate.
    stream : str, optional
        Name of the stream; the first regular one without.
    tmin, tmax : float
        Edges of the window in seconds after the onset; `tmax` is the shortest duration of the chosen events without.
    labels : sequence of str, optional
        Events to use; all without. The order of `labels` does not matter, windows follow the recordings.

    Returns
    -------
    DataArray of shape (n_windows, n_channels, n_times)
        Lazy; further columns of the events become per-window coordinates. The coordinate `trial` is the events' column of that
        name, if it holds whole numbers, so that several events of one trial stay together; else the row of the event.

    Raises
    ------
    DataError
        If no event fits.

    Examples
    --------
    >>> from neuropil.recording import Recording
    >>> from neuropil.streams import regular_stream
    >>> eeg = regular_stream(np.zeros((1000, 2)), 250.0)
    >>> events = pd.DataFrame({"onset": [0.5, 2.0], "duration": [1.0, 1.0], "label": ["left", "right"]})
    >>> windows(Recording({"eeg": eeg}, events)).shape
    (2, 2, 250)
    """
    recordings = _as_list(recordings)
    streams = _streams(recordings, stream)
    chosen = [_chosen_events(recording, labels) for recording in recordings]
    if not sum(map(len, chosen)):
        known = sorted({str(label) for recording in recordings for label in recording.events["label"]})
        raise DataError(
            f"Expected events labelled {', '.join(labels or []) or 'anything'}, the recordings have: {', '.join(known) or 'no events'}."
        )
    sfreq = streams[0].attrs["sfreq"]
    if tmax is None:
        tmax = float(min(events["duration"].min() for events in chosen if len(events)))
    n_times = round((tmax - tmin) * sfreq)
    if n_times < 1:
        raise UsageError(f"The window from {tmin} to {tmax} s holds no sample at {sfreq:g} Hz; choose tmax above tmin.")
    tables = []
    for k, (events, data) in enumerate(zip(chosen, streams, strict=True)):
        starts = np.rint((events["onset"].to_numpy(dtype=float) + tmin - float(data.time[0])) * sfreq).astype(np.int64)
        fits = (starts >= 0) & (starts + n_times <= data.sizes["time"])
        if not fits.all():
            warnings.warn(
                f"{int((~fits).sum())} of {len(fits)} events lie too close to the edge of recording {k} and were left out.",
                stacklevel=2,
            )
        tables.append(events.assign(trial=trial_numbers(events), _start=starts, _source=k)[fits])
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise DataError(f"No event leaves room for a window from {tmin} to {tmax} s; choose a shorter window.")
    extra = [
        c for c in table.columns if c not in {*EVENT_COLUMNS, "trial", "_start", "_source"} and table[c].notna().all()
    ]
    coords = {
        "label": table["label"].to_numpy(dtype=object),
        "onset": table["onset"].to_numpy(dtype=float),
        "trial": table["trial"].to_numpy(),
        **{str(c): table[c].to_numpy(dtype=None if table[c].dtype.kind in "biuf" else object) for c in extra},
    }
    return cut(recordings, stream, table["_source"].to_numpy(), table["_start"].to_numpy(), n_times, coords, tmin=tmin)


def trial_numbers(events: pd.DataFrame) -> Int[ndarray, " event"]:
    """Number of the trial that every event belongs to: the column `trial`, if it holds whole numbers, else the row."""
    if "trial" in events and events["trial"].dtype.kind in "iu":
        return events["trial"].to_numpy()
    return events.index.to_numpy()


def _chosen_events(recording: Recording, labels: Sequence[str] | None) -> pd.DataFrame:
    events = recording.events
    return events if labels is None else events[events["label"].isin(list(labels))]


def _coverage(
    edges: Int[ndarray, " edge"], begin: Int[ndarray, " event"], end: Int[ndarray, " event"]
) -> Float[ndarray, " edge"]:
    """Samples before every edge that lie inside an event; overlapping events of one class count once."""
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    begin = np.maximum(begin, np.concatenate([[begin[0]], end[:-1]]))
    knots = np.stack([begin, np.maximum(begin, end)], axis=1).ravel()
    height = np.repeat(np.cumsum(knots[1::2] - knots[::2]), 2)
    height = np.concatenate([[0], height[:-1]])
    return np.interp(edges, knots, height)


def sliding_windows(
    recordings: Recording | Sequence[Recording],
    stream: str | None = None,
    *,
    length: float = 2.0,
    overlap: float = 0.5,
    rule: str = "majority",
    labels: Sequence[str] | None = None,
    idle: str = "idle",
) -> xr.DataArray:
    """Overlapping windows over the whole recording, labelled by the events below them; what is no task is idle.

    Window k starts at sample k * step. With the rule "majority" it carries the class that covers most of it, and `idle` unless
    the task covers more than half; with "end", the class at its last sample.

    Parameters
    ----------
    recordings, stream
        As in `windows`.
    length : float
        Seconds a window.
    overlap : float
        Share of a window that the next one repeats, from 0 to below 1.
    rule : {"majority", "end"}
        How a window that spans two classes is labelled.
    labels : sequence of str, optional
        Task classes; every label but `idle` without.
    idle : str
        Name of the class outside the task.

    Returns
    -------
    DataArray of shape (n_windows, n_channels, n_times)
        Lazy; coordinates `share` (of the window covered by its label), `pure` (one class all through), `trial` (as in `windows`, -1
        in idle), and `onset` (start of the window, s).

    References
    ----------
    Carrara & Papadopoulo (2024). Pseudo-online framework for BCI evaluation. J. Neural Eng. 21(1):016003.
    """
    recordings = _as_list(recordings)
    streams = _streams(recordings, stream)
    if rule not in ("majority", "end"):
        raise UsageError(f"The rule must be 'majority' or 'end', got {rule!r}.")
    if not 0 <= overlap < 1:
        raise UsageError(f"The overlap must be a share from 0 to below 1, got {overlap}.")
    sfreq = streams[0].attrs["sfreq"]
    n_times = round(length * sfreq)
    step = max(1, round(n_times * (1 - overlap)))
    tables = []
    for k, (recording, data) in enumerate(zip(recordings, streams, strict=True)):
        if n_times < 1 or n_times > data.sizes["time"]:
            raise DataError(
                f"A window of {length} s does not fit into recording {k} of {data.sizes['time'] / sfreq:.3f} s."
            )
        starts = np.arange(0, data.sizes["time"] - n_times + 1, step)
        events = _chosen_events(recording, labels)
        events = events[events["label"] != idle]
        start_time = float(data.time[0])
        table = {"start": starts, "source": np.broadcast_to(k, len(starts)), "onset": start_time + starts / sfreq}
        tables.append(table | _label_windows(starts, n_times, events, start_time, sfreq, rule, idle))
    joined = tables[0] if len(tables) == 1 else {c: np.concatenate([t[c] for t in tables]) for c in tables[0]}
    source, starts = joined.pop("source"), joined.pop("start")
    return cut(recordings, stream, source, starts, n_times, joined)


def _label_windows(
    starts: ndarray, n_times: int, events: pd.DataFrame, start_time: float, sfreq: float, rule: str, idle: str
) -> dict[str, ndarray]:
    n_windows = len(starts)
    if events.empty:
        alike: dict[str, Any] = {"label": np.asarray(idle, dtype=object), "trial": -1, "share": 1.0, "pure": True}
        return {name: np.broadcast_to(value, n_windows) for name, value in alike.items()}
    begin = np.rint((events["onset"].to_numpy(dtype=float) - start_time) * sfreq).astype(np.int64)
    end = begin + np.rint(events["duration"].to_numpy(dtype=float) * sfreq).astype(np.int64)
    label = events["label"].to_numpy(dtype=object)
    classes = list(dict.fromkeys(label.tolist()))
    first = starts + n_times - 1 if rule == "end" else starts
    width = 1 if rule == "end" else n_times
    covered = np.stack(
        [
            _coverage(first + width, begin[label == c], end[label == c])
            - _coverage(first, begin[label == c], end[label == c])
            for c in classes
        ],
        axis=1,
    )
    best = covered.argmax(axis=1)
    task = covered.sum(axis=1) > width / 2
    whole = (
        covered
        if rule == "majority"
        else np.stack(
            [
                _coverage(starts + n_times, begin[label == c], end[label == c])
                - _coverage(starts, begin[label == c], end[label == c])
                for c in classes
            ],
            axis=1,
        )
    )
    share = np.where(task, whole[np.arange(n_windows), best], n_times - whole.sum(axis=1)) / n_times
    names = np.where(task, np.asarray(classes, dtype=object)[best], idle)
    order = np.argsort(begin, kind="stable")
    numbers, trial = trial_numbers(events), np.full(n_windows, -1)
    reference = starts + (n_times - 1 if rule == "end" else n_times // 2)
    for c, name in enumerate(classes):
        mine, chosen = order[label[order] == name], task & (best == c)
        at = np.maximum(np.searchsorted(begin[mine], reference[chosen], side="right") - 1, 0)
        over = (end[mine][at] <= starts[chosen]) & (at + 1 < len(mine))
        trial[chosen] = numbers[mine][np.where(over, at + 1, at)]
    return {"label": names, "trial": trial, "share": share, "pure": share >= 1 - 1e-12}
