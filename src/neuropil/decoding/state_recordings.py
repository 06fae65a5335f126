"""Recordings as decoders of states take them: for every trial the activity of bins, and the state that belongs to each."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.activity import Activity, check_counts, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import is_regular

BIN_WIDTH = 0.1
STATES = ("state", "velocity")


class StateTrials(NamedTuple):
    """Trials of activity and of states.

    Attributes
    ----------
    features : list of ndarray of shape (n_times_i, n_units)
        One array a trial; counts a bin of spikes, NaN where the stream's mask says so.
    states : list of ndarray of shape (n_times_i, d), or None
        Mean of the state's samples within the bin.
    names : tuple of str
        Of the units.
    sfreq : float
        Bins a second.
    """

    features: list[ndarray]
    states: list[ndarray] | None
    names: tuple[str, ...]
    sfreq: float


def is_recorded(X: Any) -> bool:
    """Whether it is a recording, or a list that begins with one."""
    return isinstance(X, Recording) or (isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], Recording))


def state_trials(
    recordings: Any,
    *,
    stream: str | None = None,
    state: str | None = None,
    bin_width: float | None = None,
    with_states: bool = True,
) -> StateTrials:
    """Bins of activity and the states that belong to them, trial by trial.

    Parameters
    ----------
    recordings : Recording or list of Recording
        Of the same units. Events with a column `trial`, or labelled "trial", cut a recording into trials; one without is one trial.
    stream : str, optional
        Activity; the stream "spikes" or another one of spikes without.
    state : str, optional
        Regular stream of what is to be decoded; "state" or "velocity" without.
    bin_width : float, optional
        Seconds; irregular spikes are counted in bins of 0.1 s without, regular streams keep their rate.
    with_states : bool
        False reads activity only.

    Raises
    ------
    DataError, UsageError
        If a stream is missing, counts are negative or not whole, units differ between recordings, or a bin holds no sample of the state.

    Examples
    --------
    >>> from neuropil.streams import irregular_stream, regular_stream
    >>> recording = Recording({
    ...     "spikes": irregular_stream([0.0, 0.05, 0.12, 0.39, 0.4], ["a", "b", "a", "a", "b"]),
    ...     "velocity": regular_stream(np.arange(40.0)[:, None], 100.0),
    ... })
    >>> found = state_trials(recording)
    >>> found.features[0].tolist(), found.states[0][:, 0].tolist()
    ([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [4.5, 14.5, 24.5, 34.5])
    """
    listed = [recordings] if isinstance(recordings, Recording) else list(recordings)
    if not listed or not all(isinstance(recording, Recording) for recording in listed):
        raise DataError("Expected a recording or a list of recordings only.")
    parts = [_activity(recording, stream, bin_width) for recording in listed]
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    counted = all(_is_counted(_chosen(recording, stream)) for recording in listed)
    if not counted and any(part.names != names for part in parts):
        raise DataError(
            "Recordings that are decoded together must have the same units in one order; decode them one by one."
        )
    rates = {part.sfreq for part in parts}
    if len(rates) > 1 or None in rates:
        raise DataError(
            f"Recordings must have one rate, got {', '.join(f'{rate} Hz' for rate in sorted(map(str, rates)))}."
        )
    features = [trial for part in parts for trial in on_units(part.sequences, part.names, names)]
    sfreq = float(parts[0].sfreq or 0.0)
    if counted:
        check_counts(Activity(features, names, sfreq, np.zeros(len(features))), missing=True, held_out=True)
        silent = [str(k) for k, trial in enumerate(features) if not np.nansum(trial)]
        if silent and with_states:
            warnings.warn(
                f"{len(silent)} of {len(features)} trials hold no spike at all (number {', '.join(silent[:5])}"
                + (" ...); " if len(silent) > 5 else "); ")
                + "leave them out if the recording dropped out there.",
                stacklevel=4,
            )
    states = None
    if with_states:
        states = [
            _binned(_state(recording, state), start, len(trial), sfreq)
            for recording, part in zip(listed, parts, strict=True)
            for start, trial in zip(part.starts, part.sequences, strict=True)
        ]
    return StateTrials(features, states, names, sfreq)


def on_units(trials: list[ndarray], names: tuple[str, ...], wanted: tuple[str, ...]) -> list[ndarray]:
    """Columns of these units; a unit that did not fire is not in a stream of spikes, and its counts are 0."""
    if names == wanted:
        return trials
    strange = [name for name in names if name not in wanted]
    if strange:
        raise DataError(
            f"The recording has the unit {strange[0]} that the decoder was not fitted on; leave its spikes out or fit a new one."
        )
    columns = [wanted.index(name) for name in names]
    made = []
    for trial in trials:
        full = np.zeros((len(trial), len(wanted)))
        full[:, columns] = trial
        made.append(full)
    return made


def _chosen(recording: Recording, stream: str | None) -> xr.DataArray:
    if stream is not None:
        return recording.stream(stream)
    for name, found in recording.streams.items():
        if name == "spikes" or found.attrs.get("modality") == "spikes":
            return found
    raise UsageError(
        f"Name the stream to decode from; the recording has no stream of spikes but {', '.join(recording.streams) or 'none'}."
    )


def _is_counted(stream: xr.DataArray) -> bool:
    return not is_regular(stream) or stream.attrs.get("unit") == "count"


def _activity(recording: Recording, stream: str | None, bin_width: float | None) -> Activity:
    chosen = _chosen(recording, stream)
    name = next(key for key, found in recording.streams.items() if found is chosen)
    if not is_regular(chosen):
        bin_width = BIN_WIDTH if bin_width is None else bin_width
        if not chosen.sizes["time"]:
            raise DataError("The recording holds no spike at all; there is nothing to decode from.")
    return read_activity(recording, stream=name, bin_width=bin_width)


def _state(recording: Recording, name: str | None) -> xr.DataArray:
    if name is None:
        name = next((known for known in STATES if known in recording.streams), None)
        if name is None:
            raise UsageError(
                f"Name the stream to decode; the recording has none called {' or '.join(STATES)} but "
                f"{', '.join(recording.streams) or 'none'}."
            )
    stream = recording.stream(name)
    if stream.ndim != 2 or not is_regular(stream):
        raise DataError(
            f"The states need a regular stream (time, channel), {name!r} has the dimensions {tuple(stream.dims)}."
        )
    return stream


def _binned(stream: xr.DataArray, start: float, n_bins: int, sfreq: float) -> ndarray:
    """Means of the samples within every bin."""
    rate, first = float(stream.attrs["sfreq"]), float(stream["time"].values[0])
    edges = np.ceil((start + np.arange(n_bins + 1) / sfreq - first) * rate - 1e-6).astype(int)
    if edges[0] < 0 or edges[-1] > stream.sizes["time"]:
        raise DataError(
            f"The states last from {first:g} to {first + stream.sizes['time'] / rate:g} s and do not cover the bins from {start:g} to "
            f"{start + n_bins / sfreq:g} s; cut the activity to them by events."
        )
    if (np.diff(edges) < 1).any():
        raise DataError(
            f"The states have {rate:g} samples a second and the activity {sfreq:g} bins; choose bins of {1 / rate:g} s or more."
        )
    values = np.asarray(stream.values[edges[0] : edges[-1]], dtype=float)
    if "mask" in stream.coords:
        values = np.where(stream["mask"].values[edges[0] : edges[-1]], values, np.nan)
    return np.add.reduceat(values, edges[:-1] - edges[0], axis=0) / np.diff(edges)[:, None]
