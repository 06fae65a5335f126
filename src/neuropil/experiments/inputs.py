"""What is compared on: any name, path, recording or windows become labelled windows, their facts and a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.experiments.code import code_digest
from neuropil.experiments.store import readable_name
from neuropil.recording import Recording
from neuropil.windowing import iter_batches, sliding_windows, windows

Mode = Literal["offline", "pseudo-online"]
ONLINE_BAND = (None, 40.0)
SETTINGS = ("tmin", "tmax", "labels", "stream", "length", "overlap", "band")


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

    @property
    def codes(self) -> ndarray:
        """Position of every label in `classes`, shape (n_windows,)."""
        return np.searchsorted(self.classes, self.y)

    @property
    def seconds(self) -> float | None:
        """Length of a window, where the rate is known."""
        sfreq = self.X.attrs.get("sfreq")
        return self.X.sizes["time"] / float(sfreq) if sfreq else None


def load_material(data: Any, *, mode: Mode = "offline", **settings: Any) -> Material:
    """Windows from whatever a user calls data.

    Parameters
    ----------
    data : str, path, Recording, sequence of Recording, or DataArray
        Name of a data set, path of a recording with events, recordings, or windows with the coordinate `label`.
    mode : {"offline", "pseudo-online"}
        One window an event, or sliding windows over everything, with what is no task as the class idle.
    **settings
        `tmin`, `tmax`, `labels`, `stream` of `neuropil.windows`; `length`, `overlap` and `band` (Hz, causal filter) of the
        pseudo-online mode.

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        If there is nothing usable, in one sentence.
    """
    if mode not in get_args(Mode):
        raise UsageError(f"The mode is offline or pseudo-online, got {mode!r}.")
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise UsageError(f"Windows are cut with the settings {', '.join(SETTINGS)}; got {', '.join(unknown)}.")
    settings = {name: value for name, value in settings.items() if value is not None}
    if isinstance(data, xr.DataArray):
        if mode != "offline" or settings:
            raise UsageError("These windows are cut already; pass a recording to cut them in another way.")
        return _material(data.attrs.get("dataset") or "windows", data, "offline", {}, {}, named=False)
    name, recordings, facts = load_recordings(data)
    X, cut = cut_windows(recordings, mode, settings)
    material = _material(name, X, mode, cut, facts, named=isinstance(data, str | Path))
    return replace(material, by_hand=settings)


def load_recordings(data: Any) -> tuple[str, list[Recording], dict[str, Any]]:
    """Name, recordings and facts of a data set's name, a path, or recordings."""
    if isinstance(data, Recording):
        return data.dataset or "recording", [data], {}
    if isinstance(data, str | Path):
        return _by_name(str(data))
    if isinstance(data, Sequence) and data and all(isinstance(part, Recording) for part in data):
        return data[0].dataset or "recordings", list(data), {}
    raise UsageError(
        "Expected the name of a data set, the path of a recording, a Recording or several, or windows from neuropil.windows(); "
        f"got {type(data).__name__}."
    )


def _by_name(name: str) -> tuple[str, list[Recording], dict[str, Any]]:
    from neuropil import datasets, io

    known = name in datasets.names() or name.startswith("moabb:")
    if not known and Path(name).exists():
        loaded: Recording | list[Recording] = io.open(name)
        facts: dict[str, Any] = {}
    elif not known and (Path(name).suffix or "/" in name):
        raise FileNotFoundError(f"Expected a recording at {name}, found nothing there; check the path.")
    else:
        loaded, facts = datasets.load(name), datasets.describe(name)
    return name, [loaded] if isinstance(loaded, Recording) else list(loaded), dict(facts)


def cut_windows(
    recordings: Sequence[Recording], mode: str, settings: Mapping[str, Any]
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Cut windows and say how, so that the same can be done to other recordings."""
    if mode == "offline":
        chosen = {k: settings[k] for k in ("tmin", "tmax", "labels", "stream") if k in settings}
        X = windows(list(recordings), **chosen)
        tmin = float(X["time"][0])
        exact = {"tmin": tmin, "tmax": tmin + X.sizes["time"] / float(X.attrs["sfreq"])}
        return X, {"mode": mode, **chosen, **exact}
    from neuropil.evaluate.epochs import filtered

    chosen = {"length": 2.0, "overlap": 0.5, "band": ONLINE_BAND, **settings}
    band, stream = tuple(chosen.pop("band")), chosen.pop("stream", None)
    chosen = {k: v for k, v in chosen.items() if k in ("length", "overlap", "labels")}
    ready = [filtered(recording, stream, "causal", band, 4) for recording in recordings]
    X = sliding_windows(ready, stream, **chosen)
    return X, {"mode": mode, **chosen, "band": list(band), **({"stream": stream} if stream else {})}


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


NOT_IN_RESULTS = ("cli", "experiments", "claims", "web", "assistant", "stream")


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
