"""Plain arrays and .npz files.

A continuous array has shape (n_channels, n_times), as in MNE-Python; a cut one (n_trials, n_channels, n_times). Trials are laid end
to end on the time axis, each an event of its own, and `info["concatenated_trials"]` says so: `neuropil.windows` then gives back exactly
the array of trials, but nothing may be read across their borders.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuropil.errors import DataError
from neuropil.io.files import check_beginning, damaged, existing_file
from neuropil.recording import Recording
from neuropil.streams import is_regular, regular_stream

OPTIONAL = (
    "channel",
    "unit",
    "modality",
    "kind",
    "bad",
    "positions",
    "gain",
    "t0",
    "onset",
    "duration",
    "label",
    "subject",
)


def from_array(data: Any, sfreq: float, *, stream: str | None = None, **labels: Any) -> Recording:
    """A recording of one continuous array.

    Parameters
    ----------
    data : array-like of shape (n_channels, n_times)
        Samples in `unit` (V without).
    sfreq : float
        Sampling rate in Hz.
    stream : str, optional
        Name of the stream; its modality without.
    **labels
        `events`, `subject`, `session`, `dataset`, `info` of `Recording`; everything else goes to `regular_stream`.

    Examples
    --------
    >>> from_array(np.zeros((3, 500)), 250.0, subject="01").stream().shape
    (500, 3)
    """
    data = np.asarray(data)
    if data.ndim != 2:
        raise DataError(f"A continuous array needs shape (n_channels, n_times), got shape {data.shape}.")
    parts = {name: labels.pop(name) for name in ("events", "subject", "session", "dataset", "info") if name in labels}
    made = regular_stream(data.T, sfreq, **labels)
    return Recording({stream or str(made.attrs["modality"]) or "data": made}, **parts)


def from_trials(
    data: Any,
    sfreq: float,
    labels: Sequence[Any],
    *,
    columns: Mapping[str, Sequence[Any]] | None = None,
    info: Mapping[str, Any] | None = None,
    **options: Any,
) -> Recording:
    """A recording of trials that were cut already, laid end to end in the order of the array.

    Parameters
    ----------
    data : array-like of shape (n_trials, n_channels, n_times)
        Samples in `unit` (V without).
    sfreq : float
        Sampling rate in Hz.
    labels : sequence of length n_trials
        Label of every trial.
    columns : mapping of str to sequence of length n_trials, optional
        Further columns of the events, such as `split`.
    info : mapping, optional
        Further facts; `concatenated_trials` is added.
    **options
        As in `from_array`.

    Returns
    -------
    Recording
        `neuropil.windows(recording).values` equals `data`; the column `trial` counts from 0.

    Examples
    --------
    >>> recording = from_trials(np.zeros((4, 2, 100)), 100.0, ["left", "right"] * 2)
    >>> recording.events["onset"].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    data = np.asarray(data)
    if data.ndim != 3:
        raise DataError(f"Cut trials need shape (n_trials, n_channels, n_times), got shape {data.shape}.")
    n_trials, n_channels, n_times = data.shape
    columns = {"label": list(labels), **{name: list(values) for name, values in (columns or {}).items()}}
    for name, values in columns.items():
        if len(values) != n_trials:
            raise DataError(f"Expected one {name} for each of the {n_trials} trials, got {len(values)}.")
    trial = np.arange(n_trials)
    onset = options.get("t0", 0.0) + trial * (n_times / sfreq)
    events = pd.DataFrame({"onset": onset, "duration": n_times / sfreq, "trial": trial} | columns)
    return from_array(
        data.transpose(1, 0, 2).reshape(n_channels, n_trials * n_times),
        sfreq,
        events=events,
        info={**(info or {}), "concatenated_trials": True},
        **options,
    )


def read_npz(path: str | Path) -> Recording:
    """Read an .npz file with at least `signal` and `sfreq`.

    `signal` has shape (n_channels, n_times), or (n_trials, n_channels, n_times) with one `label` a trial. Optional are `channel`,
    `unit`, `modality`, `kind`, `bad`, `positions` (n_channels, 3), `gain` (the signal is multiplied by it), `t0`, `subject`, and for
    continuous signals `onset`, `duration`, `label` of the events. Of cut trials, further arrays of length n_trials become columns.
    """
    path = existing_file(path, "an .npz file")
    check_beginning(path, "an .npz file", (b"PK",))
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise damaged(path, "an .npz file", error) from error
    missing = [name for name in ("signal", "sfreq") if name not in arrays]
    if missing:
        raise DataError(
            f"{path} needs the arrays signal and sfreq, it lacks {' and '.join(missing)}; it has {', '.join(arrays) or 'none'}."
        )
    signal, sfreq = arrays.pop("signal"), arrays.pop("sfreq")
    if signal.ndim not in (2, 3) or signal.dtype.kind not in "iufb" or sfreq.size != 1:
        raise DataError(
            f"{path} needs a signal of shape (n_channels, n_times) or (n_trials, n_channels, n_times) and one sfreq, "
            f"got {signal.dtype} of shape {signal.shape} and {sfreq.size} rates."
        )
    given = {name: arrays.pop(name) for name in OPTIONAL if name in arrays}
    try:
        return _assemble(signal, float(sfreq), given, arrays)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _assemble(signal: np.ndarray, sfreq: float, given: dict[str, np.ndarray], rest: dict[str, np.ndarray]) -> Recording:
    channels = [str(c) for c in given["channel"]] if "channel" in given else None
    modality = str(given.get("modality", "eeg"))
    options: dict[str, Any] = {
        "channels": channels,
        "unit": str(given.get("unit", "V")),
        "modality": modality,
        "positions": given.get("positions"),
        "t0": float(given.get("t0", 0.0)),
        "subject": str(given.get("subject", "")),
    }
    kind = given.get("kind")
    options["kind"] = (
        {"meg": "mag"}.get(modality, modality) if kind is None else str(kind) if kind.ndim == 0 else kind.tolist()
    )
    if "bad" in given and channels is not None:
        options["bads"] = [name for name, bad in zip(channels, given["bad"], strict=True) if bad]
    signal = signal * given["gain"] if "gain" in given else signal
    if signal.ndim == 3:
        columns = {name: values.tolist() for name, values in rest.items() if values.shape == (len(signal),)}
        return from_trials(
            signal, sfreq, given.get("label", np.full(len(signal), "trial")).tolist(), columns=columns, **options
        )
    events = None
    if "onset" in given:
        n_events = len(given["onset"])
        events = pd.DataFrame(
            {
                "onset": given["onset"],
                "duration": given.get("duration", np.zeros(n_events)),
                "label": given.get("label", np.full(n_events, "event")).tolist(),
            }
        )
    return from_array(signal, sfreq, events=events, **options)


def write_npz(recording: Recording, path: str | Path, stream: str | None = None) -> Path:
    """Write one regular stream and the events to an .npz file that `read_npz` reads."""
    data = recording.stream(stream)
    if not is_regular(data) or data.dims != ("time", "channel"):
        raise DataError(f"Only a regular stream with dims (time, channel) fits an .npz file, got dims {data.dims}.")
    arrays: dict[str, Any] = {
        "signal": data.values.T,
        "sfreq": data.attrs["sfreq"],
        "channel": data["channel"].values.astype(str),
        "unit": data.attrs.get("unit", ""),
        "modality": data.attrs.get("modality", ""),
        "t0": float(data.time[0]),
        "subject": recording.subject,
        "onset": recording.events["onset"].to_numpy(),
        "duration": recording.events["duration"].to_numpy(),
        "label": recording.events["label"].to_numpy(dtype=object).astype(str),
    }
    arrays |= {
        name: data[name].values.astype(str if name == "kind" else bool)
        for name in ("kind", "bad")
        if name in data.coords
    }
    if all(axis in data.coords for axis in "xyz"):
        arrays["positions"] = np.stack([data[axis].values for axis in "xyz"], axis=1)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
