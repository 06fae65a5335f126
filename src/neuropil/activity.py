"""Activity for models of hidden structure: whatever a user has becomes sequences of bins, with NaN where nothing was measured.

A sequence has the axes (time, unit). Trials are sequences of their own, across whose borders nothing is read. Counts and traces are
checked here, once, in one sentence each.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float64
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import bin_spikes, is_regular, stream_bounds

BIN_WIDTH = 0.02
TRIAL = "trial"


class Activity(NamedTuple):
    """Sequences of bins of the same units.

    Attributes
    ----------
    sequences : list of ndarray of shape (n_times_i, n_units)
        Float64; NaN where nothing was measured.
    names : tuple of str
        Of the units.
    sfreq : float or None
        Bins a second, where known.
    starts : ndarray of shape (n_sequences,)
        Time of the first bin of every sequence in s; 0 where unknown.
    """

    sequences: list[ndarray]
    names: tuple[str, ...]
    sfreq: float | None
    starts: Float64[ndarray, " sequence"]

    @property
    def lengths(self) -> list[int]:
        """Bins of every sequence."""
        return [len(sequence) for sequence in self.sequences]

    @property
    def stacked(self) -> ndarray:
        """All sequences end to end, shape (n_bins, n_units)."""
        return self.sequences[0] if len(self.sequences) == 1 else np.concatenate(self.sequences)


def read_activity(X: Any, *, stream: str | None = None, bin_width: float | None = None) -> Activity:
    """Sequences of activity from arrays, streams or recordings.

    Parameters
    ----------
    X : ndarray (time, unit) or (sequence, time, unit), list of ndarray (time, unit), DataArray (time, channel), Recording or list of them
        Recordings must have the same units. A recording whose events have a column `trial`, or are labelled "trial", gives one sequence a
        trial; any other gives one. Samples where a stream's `mask` is false become NaN.
    stream : str, optional
        Stream of the recordings; without, one of spikes or calcium if there is one, else the first.
    bin_width : float, optional
        Seconds; irregular spikes are counted in bins of that width, 0.02 s without. Regular streams keep their rate.

    Raises
    ------
    DataError, UsageError
        If there is nothing to read, or recordings differ in units or rate.

    Examples
    --------
    >>> activity = read_activity(np.ones((3, 100, 5)))
    >>> activity.lengths, activity.names[:2]
    ([100, 100, 100], ('unit000', 'unit001'))
    """
    if isinstance(X, Activity):
        return X
    if isinstance(X, Recording):
        X = [X]
    if isinstance(X, xr.DataArray):
        return _of_stream(X, None, bin_width)
    if isinstance(X, Sequence) and len(X) and all(isinstance(part, Recording) for part in X):
        parts = [_of_recording(recording, stream, bin_width) for recording in X]
        first = parts[0]
        for k, part in enumerate(parts):
            if part.names != first.names or part.sfreq != first.sfreq:
                raise DataError(
                    f"Recordings must have the same units in one order and one rate; number {k} has {_units(part)}, "
                    f"number 0 {_units(first)}."
                )
        sequences = [sequence for part in parts for sequence in part.sequences]
        return Activity(sequences, first.names, first.sfreq, np.concatenate([part.starts for part in parts]))
    if isinstance(X, ndarray | pd.DataFrame | Sequence) and (stream is not None or bin_width is not None):
        raise UsageError("stream and bin_width belong to recordings; arrays are taken as they are: leave both out.")
    return _of_arrays(X)


def check_counts(activity: Activity, *, missing: bool = False, held_out: bool = False) -> None:
    """Refuse what cannot be spike counts: negative or fractional numbers, units that never fire, and NaN unless `missing`.

    Sequences without a single spike are legal but warned about. In `held_out` data units may be silent.
    """
    _check_finite(activity, "counts", missing, held_out)
    for k, sequence in enumerate(activity.sequences):
        for wrong, what, advice in (
            (sequence < 0, "negative", "give spikes a bin"),
            (sequence != np.floor(sequence), "not whole", "give spikes a bin, not rates"),
        ):
            wrong &= np.isfinite(sequence)
            if wrong.any():
                time, unit = np.argwhere(wrong)[0].tolist()
                raise DataError(
                    f"Counts must be whole numbers, 0 or more; {_place(activity, k, time, unit)} is {what} "
                    f"({sequence[time, unit]:g}): {advice}."
                )
    if held_out:
        return
    total = np.nansum([np.nansum(sequence, axis=0) for sequence in activity.sequences], axis=0)
    silent = np.flatnonzero(total == 0)
    if len(silent):
        raise DataError(
            f"{_these(activity, silent)} never {'fires' if len(silent) == 1 else 'fire'}, so nothing can be learned of "
            f"{'it' if len(silent) == 1 else 'them'}; leave {'it' if len(silent) == 1 else 'them'} out."
        )
    empty = [k for k, sequence in enumerate(activity.sequences) if not np.nansum(sequence)]
    if empty:
        some = ", ".join(map(str, empty[:5])) + (" ..." if len(empty) > 5 else "")
        warnings.warn(
            f"{len(empty)} of {len(activity.sequences)} sequences hold no spike at all (number {some}); leave them out if the "
            "recording dropped out there.",
            stacklevel=3,
        )


def check_traces(activity: Activity, *, missing: bool = False, held_out: bool = False) -> None:
    """Refuse traces that are infinite, units that never change (unless `held_out`), and NaN unless `missing`."""
    _check_finite(activity, "traces", missing, held_out)
    if held_out:
        return
    values = activity.stacked
    seen = np.isfinite(values)
    low = np.where(seen, values, np.inf).min(axis=0)
    high = np.where(seen, values, -np.inf).max(axis=0)
    constant = np.flatnonzero(low >= high)
    if len(constant):
        raise DataError(
            f"{_these(activity, constant)} never {'changes' if len(constant) == 1 else 'change'}, so nothing can be learned; "
            f"leave {'it' if len(constant) == 1 else 'them'} out."
        )


def check_same_length(activity: Activity) -> Float64[ndarray, "sequence time unit"]:
    """All sequences as one array, or one sentence that says which differ."""
    lengths = np.array(activity.lengths)
    if len(np.unique(lengths)) > 1:
        other = int(np.flatnonzero(lengths != lengths[0])[0])
        raise DataError(
            f"All sequences must have the same number of bins; number 0 has {lengths[0]}, number {other} has {lengths[other]}: "
            f"cut them to {lengths.min()}."
        )
    return np.stack(activity.sequences)


def _of_arrays(X: Any) -> Activity:
    if isinstance(X, ndarray) and X.dtype != object:
        if X.ndim not in (2, 3) or 0 in X.shape:
            raise DataError(
                f"Expected activity of shape (time, unit) or (sequence, time, unit), none of them empty, got shape {X.shape}."
            )
        arrays = [X] if X.ndim == 2 else list(X)
    elif isinstance(X, pd.DataFrame):
        return Activity([_floats(X.to_numpy())], tuple(map(str, X.columns)), None, np.zeros(1))
    elif isinstance(X, list | tuple | ndarray):
        arrays = [np.asarray(part) for part in X]
    else:
        raise DataError(
            f"Expected arrays (time, unit), a stream, or recordings, got {type(X).__name__}; see neuropil.activity.read_activity."
        )
    if not arrays:
        raise DataError("Expected one sequence of activity or more, got none.")
    for k, array in enumerate(arrays):
        if array.ndim != 2 or 0 in array.shape or array.shape[1] != arrays[0].shape[-1]:
            raise DataError(
                f"Every sequence must have shape (time, unit) with the same units; number {k} has shape {array.shape}, "
                f"number 0 {arrays[0].shape}."
            )
    names = tuple(f"unit{k:03d}" for k in range(arrays[0].shape[1]))
    return Activity([_floats(array) for array in arrays], names, None, np.zeros(len(arrays)))


def _of_recording(recording: Recording, name: str | None, bin_width: float | None) -> Activity:
    return _of_stream(_chosen(recording, name), _trials(recording), bin_width)


def _chosen(recording: Recording, name: str | None) -> xr.DataArray:
    if name is not None:
        return recording.stream(name)
    for modality in ("spikes", "calcium"):
        for key, stream in recording.streams.items():
            if key == modality or stream.attrs.get("modality") == modality:
                return stream
    if not recording.streams:
        raise DataError("The recording has no stream; there is no activity to read.")
    return next(iter(recording.streams.values()))


def _of_stream(stream: xr.DataArray, trials: list[tuple[float, float]] | None, bin_width: float | None) -> Activity:
    if stream.ndim == 1 and not is_regular(stream):
        spikes, (first, last), width = stream, stream_bounds(stream), bin_width or BIN_WIDTH
        if trials is None:
            return _of_stream(bin_spikes(spikes, width, start=first, stop=last), None, None)
        whole = bin_spikes(spikes, width, start=first, stop=last)
        names = whole["channel"].values.tolist()
        cut = [bin_spikes(spikes, width, start=a, stop=b) for a, b in trials]
        sequences = [part.reindex(channel=names, fill_value=0).values.astype(float) for part in cut]
        return Activity(sequences, tuple(names), 1 / width, np.array([a for a, _ in trials]))
    if stream.ndim != 2 or not is_regular(stream):
        raise DataError(
            f"Expected a regular stream (time, channel) or spikes (times and unit ids), got dimensions {tuple(stream.dims)}; "
            "bring it to an even rate first."
        )
    if bin_width is not None and "sfreq" in stream.attrs and not np.isclose(bin_width * stream.attrs["sfreq"], 1):
        raise UsageError(
            f"The stream has {stream.attrs['sfreq']:g} bins a second already, not 1 / {bin_width:g}; "
            "leave bin_width out or bin the spikes anew."
        )
    values = _floats(stream.values)
    if "mask" in stream.coords:
        values = np.where(stream["mask"].values, values, np.nan)
    sfreq = float(stream.attrs["sfreq"]) if "sfreq" in stream.attrs else None
    has_names = "channel" in stream.coords
    names = (
        tuple(map(str, stream["channel"].values))
        if has_names
        else tuple(f"unit{k:03d}" for k in range(values.shape[1]))
    )
    start = float(stream["time"].values[0]) if "time" in stream.coords else 0.0
    if trials is None or sfreq is None:
        return Activity([values], names, sfreq, np.array([start]))
    edges = [(round((a - start) * sfreq), round((b - start) * sfreq)) for a, b in trials]
    for (a, b), (first, last) in zip(trials, edges, strict=True):
        if first < 0 or last > len(values) or last <= first:
            raise DataError(
                f"The trial from {a:g} to {b:g} s reaches beyond the stream or holds no bin; correct the events."
            )
    return Activity([values[a:b] for a, b in edges], names, sfreq, np.array([a for a, _ in trials]))


def _trials(recording: Recording) -> list[tuple[float, float]] | None:
    events = recording.events
    if not len(events):
        return None
    if TRIAL in events.columns:
        key = events[TRIAL]
    elif recording.info.get("concatenated_trials"):
        key = pd.Series(np.arange(len(events)), index=events.index)
    else:
        events = events[events["label"].astype(str) == TRIAL]
        key = pd.Series(np.arange(len(events)), index=events.index)
    if not len(events):
        return None
    stops = events["onset"] + events["duration"]
    spans = (
        pd.DataFrame({"start": events["onset"], "stop": stops})
        .groupby(key.to_numpy())
        .agg({"start": "min", "stop": "max"})
    )
    return sorted((float(a), float(b)) for a, b in spans.to_numpy())


def _floats(values: Any) -> ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise DataError(f"Expected numbers, got values of type {values.dtype}.")
    return np.ascontiguousarray(values, dtype=np.float64)


def _check_finite(activity: Activity, what: str, missing: bool, held_out: bool) -> None:
    for k, sequence in enumerate(activity.sequences):
        wrong = np.isinf(sequence) if missing else ~np.isfinite(sequence)
        if wrong.any():
            time, unit = np.argwhere(wrong)[0].tolist()
            advice = (
                "replace it by NaN" if missing else "leave out or fill in what is missing, this model cannot skip it"
            )
            raise DataError(
                f"The {what} must be finite; {_place(activity, k, time, unit)} is {sequence[time, unit]}: {advice}."
            )
    if missing and not held_out:
        unseen = np.flatnonzero(np.all([np.isnan(sequence).all(axis=0) for sequence in activity.sequences], axis=0))
        if len(unseen):
            raise DataError(
                f"{_these(activity, unseen)} {'was' if len(unseen) == 1 else 'were'} never measured; leave out such units."
            )


def _place(activity: Activity, sequence: int, time: int, unit: int) -> str:
    where = f"bin {time}" if len(activity.sequences) == 1 else f"bin {time} of sequence {sequence}"
    return f"{activity.names[unit]} at {where}"


def _these(activity: Activity, units: ndarray) -> str:
    names = [activity.names[k] for k in units]
    if len(names) == 1:
        return f"The unit {names[0]}"
    return f"{len(names)} of {len(activity.names)} units ({', '.join(names[:5])}{' ...' if len(names) > 5 else ''})"


def _units(activity: Activity) -> str:
    rate = "" if activity.sfreq is None else f" at {activity.sfreq:g} Hz"
    return f"{len(activity.names)} units ({', '.join(activity.names[:3])} ...){rate}"
