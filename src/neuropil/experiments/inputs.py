"""What is compared on: any name, path, recording or windows become labelled windows, their facts and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.experiments.code import code_digest
from neuropil.experiments.store import readable_name
from neuropil.recording import Recording
from neuropil.windowing import iter_batches, sliding_windows, trial_numbers, windows

Mode = Literal["offline", "pseudo-online"]
Band = tuple[float | None, float | None]
ONLINE_BAND: Band = (None, 40.0)
ORDER = 4
IDLE = "idle"
NO_CLASSES = {
    "regression": "load it with neuropil.load() and fit a regressor on its streams",
    "structure": "fit a model of hidden structure to it with `neuropil fit`",
}
SETTINGS: dict[str, tuple[str, ...]] = {
    "offline": ("tmin", "tmax", "labels", "stream", "band"),
    "pseudo-online": ("length", "overlap", "labels", "stream", "band"),
}


@dataclass(frozen=True)
class Material:
    """Windows to compare decoders on.

    Attributes
    ----------
    name : str
        As the user named it.
    X : DataArray of shape (n_windows, n_channels, n_times)
    y : ndarray of shape (n_windows,)
        Labels, all of one type.
    classes : ndarray of shape (n_classes,)
    mode : {"offline", "pseudo-online"}
    cut : dict
        How the windows were cut, for the command to repeat and for predicting.
    facts : dict
        Title, provenance, licence, citation, reference score, as far as known.
    named : bool
        Whether `name` can be typed on the command line.
    by_hand : dict
        Settings of the windows that the caller gave.
    options : dict
        Of the data set, as the caller gave them.
    trials : dict of int to DataFrame
        Of every recording, whole trials with `onset`, `duration` and `label`; in the pseudo-online mode only.
    """

    name: str
    X: xr.DataArray
    y: ndarray
    classes: ndarray
    mode: Mode
    cut: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    named: bool = True
    by_hand: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    trials: dict[int, pd.DataFrame] = field(default_factory=dict)

    @property
    def codes(self) -> ndarray:
        """Position of every label in `classes`, shape (n_windows,)."""
        return np.searchsorted(self.classes, self.y)

    @property
    def seconds(self) -> float | None:
        """Length of a window, where the rate is known."""
        sfreq = self.X.attrs.get("sfreq")
        return self.X.sizes["time"] / float(sfreq) if sfreq else None


def load_material(
    data: Any, *, mode: Mode = "offline", options: Mapping[str, Any] | None = None, **settings: Any
) -> Material:
    """Windows from whatever a user calls data.

    Parameters
    ----------
    data : str, path, Recording, sequence of Recording, or DataArray
        Name of a data set, path of a recording with events, recordings, or windows with the coordinate `label`.
    mode : {"offline", "pseudo-online"}
        One window an event, or sliding windows over everything, with what is no task as the class idle.
    options : mapping, optional
        Of a named data set, such as `n_sessions`.
    **settings
        `labels` and `stream`; `band` (low, high) in Hz of a causal filter over the whole recording; `tmin` and `tmax` offline, `length`
        and `overlap` pseudo-online.

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        If there is nothing usable, in one sentence.
    """
    if mode not in get_args(Mode):
        raise UsageError(f"The mode is offline or pseudo-online, got {mode!r}.")
    settings = {name: value for name, value in settings.items() if value is not None}
    unknown = sorted(set(settings) - set(SETTINGS[mode]))
    if unknown:
        raise UsageError(
            f"In the mode {mode}, windows are cut with the settings {', '.join(SETTINGS[mode])}; got {', '.join(unknown)}."
        )
    options = dict(options or {})
    if isinstance(data, xr.DataArray):
        if mode != "offline" or settings or options:
            raise UsageError("These windows are cut already; pass a recording to cut them in another way.")
        return _material(data.attrs.get("dataset") or "windows", data, "offline", {}, {}, named=False)
    name, recordings, facts = load_recordings(data, options)
    for task, instead in NO_CLASSES.items():
        if facts.get("task") == task:
            raise UsageError(f"{name} has no classes to tell apart, it is for {task}; {instead}.")
    X, cut = cut_windows(recordings, mode, settings)
    material = _material(name, X, mode, cut, facts, named=isinstance(data, str | Path))
    trials = {}
    if mode == "pseudo-online":
        trials = {k: whole_trials(recording, settings.get("labels")) for k, recording in enumerate(recordings)}
    return replace(material, by_hand=settings, options=options, trials=trials)


def load_recordings(data: Any, options: Mapping[str, Any] | None = None) -> tuple[str, list[Recording], dict[str, Any]]:
    """Name, recordings and facts of a data set's name (with options), a path, or recordings."""
    options = dict(options or {})
    if isinstance(data, str | Path):
        return _by_name(str(data), options)
    if options:
        raise UsageError(f"Only a named data set has options, got {', '.join(options)} for {type(data).__name__}.")
    if isinstance(data, Recording):
        return data.dataset or "recording", [data], {}
    if isinstance(data, Sequence) and data and all(isinstance(part, Recording) for part in data):
        return data[0].dataset or "recordings", list(data), {}
    raise UsageError(
        "Expected the name of a data set, the path of a recording, a Recording or several, or windows from neuropil.windows(); "
        f"got {type(data).__name__}."
    )


def _by_name(name: str, options: dict[str, Any]) -> tuple[str, list[Recording], dict[str, Any]]:
    from neuropil import datasets, io

    known = name in datasets.names() or name.startswith("moabb:")
    if not known and options and Path(name).exists():
        raise UsageError(f"Only a named data set has options, got {', '.join(options)} for the file {name}.")
    if not known and Path(name).exists():
        loaded: Recording | list[Recording] = io.open(name)
        facts: dict[str, Any] = {}
    elif not known and (Path(name).suffix or "/" in name):
        raise FileNotFoundError(f"Expected a recording at {name}, found nothing there; check the path.")
    else:
        loaded, facts = datasets.load(name, **options), datasets.describe(name)
    return name, [loaded] if isinstance(loaded, Recording) else list(loaded), dict(facts)


def cut_windows(
    recordings: Sequence[Recording], mode: str, settings: Mapping[str, Any]
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Cut windows and say how, so that the same can be done to other recordings."""
    from neuropil.evaluate.epochs import filtered

    stream, band = settings.get("stream"), settings.get("band", ONLINE_BAND if mode == "pseudo-online" else None)
    how = {name: settings[name] for name in ("labels", "stream") if name in settings}
    if band is not None:
        how["band"] = list(check_band(band))
        whole = [not recording.info.get("concatenated_trials") for recording in recordings]
        if mode == "offline" and not all(whole):
            raise UsageError(
                "These trials lie end to end, so a filter over the recording would run across their borders; leave out band."
            )
        recordings = [filtered(recording, stream, "causal", check_band(band), ORDER) for recording in recordings]
        stream = None
    if mode == "offline":
        chosen = {k: settings[k] for k in ("tmin", "tmax", "labels") if k in settings}
        X = windows(list(recordings), stream, **chosen)
        tmin = float(X["time"][0])
        exact = {"tmin": tmin, "tmax": tmin + X.sizes["time"] / float(X.attrs["sfreq"])}
        return X, {"mode": mode, **how, **exact}
    sliding = {"length": 2.0, "overlap": 0.5} | {k: settings[k] for k in ("length", "overlap") if k in settings}
    X = sliding_windows(list(recordings), stream, labels=settings.get("labels"), idle=IDLE, **sliding)
    return X, {"mode": mode, **sliding, **how}


def check_band(band: Any) -> Band:
    """The two edges of a pass band in Hz, either of which may be None."""
    if not isinstance(band, list | tuple) or len(band) != 2:
        raise UsageError(f"A band has two edges in Hz, for example (8, 30) or (None, 40), got {band!r}.")
    low, high = (None if edge is None else float(edge) for edge in band)
    return low, high


def whole_trials(recording: Recording, labels: Sequence[str] | None = None) -> pd.DataFrame:
    """The task's events in order of time; those that share a trial's number and follow each other as one.

    Examples
    --------
    >>> from neuropil.io import from_array
    >>> events = pd.DataFrame({"onset": [3.0, 7.0, 20.0], "duration": 4.0, "label": "low", "trial": [0, 0, 1]})
    >>> whole_trials(from_array([[0.0] * 30], 1.0, events=events))[["onset", "duration"]].values.tolist()
    [[3.0, 8.0], [20.0, 4.0]]
    """
    from neuropil.evaluate.epochs import task_events

    events = task_events(recording, labels, IDLE)
    number, label = trial_numbers(events), events["label"].to_numpy(dtype=object)
    begins = np.ones(len(events), dtype=bool)
    begins[1:] = (number[1:] != number[:-1]) | (label[1:] != label[:-1])
    table = pd.DataFrame({"onset": events["onset"], "stop": events["onset"] + events["duration"], "label": label})
    merged = table.groupby(np.cumsum(begins)).agg({"onset": "first", "stop": "max", "label": "first"})
    return merged.assign(duration=merged["stop"] - merged["onset"])[["onset", "duration", "label"]]


def _material(
    name: str, X: xr.DataArray, mode: Mode, cut: dict[str, Any], facts: dict[str, Any], *, named: bool
) -> Material:
    from neuropil.signature import check_labels

    if X.ndim != 3 or 0 in X.shape:
        raise DataError(f"Expected windows of shape (n_windows, n_channels, n_times), got shape {X.shape}.")
    if "label" not in X.coords:
        raise DataError("The windows have no labels; cut them from a recording with labelled events.")
    y = check_labels(X["label"].values, len(X))
    return Material(name, X, y, np.unique(y), mode, cut, facts, named)


def fingerprint(material: Material) -> str:
    """SHA-256 of everything in the windows that can change a result: samples, labels, coordinates, rate, channels."""
    X, seen = material.X, hashlib.sha256()
    seen.update(repr((X.shape, X.dtype.str, X.attrs.get("sfreq"), material.mode)).encode())
    for name in sorted(map(str, X.coords)):
        if name in ("label", "mask"):
            continue
        values = X[name].values
        seen.update(name.encode())
        seen.update(
            repr(values.tolist()).encode() if values.dtype == object else np.ascontiguousarray(values).tobytes()
        )
    seen.update(repr(material.y.tolist()).encode())
    for _, batch in iter_batches(X, 256):
        seen.update(np.ascontiguousarray(batch).data)
    return seen.hexdigest()


def data_slug(material: Material) -> str:
    """Folder name of the data's results."""
    name = readable_name(Path(material.name).name if material.named else material.name)
    return name if material.mode == "offline" else f"{name}-pseudo-online"[:80]


NOT_IN_RESULTS = ("cli", "experiments", "claims", "web", "assistant", "stream", "explain")


@cache
def environment() -> dict[str, str]:
    """Versions of everything that results depend on, and a digest of this package's own code."""
    import platform
    from importlib.metadata import version

    import neuropil

    packages = ("numpy", "scipy", "scikit-learn", "pyriemann", "mne", "torch")
    return {
        "neuropil": neuropil.__version__,
        "code": code_digest(*NOT_IN_RESULTS),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
