"""A decoder for everyday use: fit it on everything and save it, then predict on recordings that are cut in the same way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy import ndarray

from neuropil.decoding import make
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.experiments.evaluation import make_decoders, prepared
from neuropil.experiments.inputs import load_material, load_recordings
from neuropil.persistence import read_model, save_model
from neuropil.recording import Recording
from neuropil.signature import Signature
from neuropil.windowing import cut, windows

if TYPE_CHECKING:
    from neuropil.explain.explanation import Explanation


def fit(
    system: Any,
    data: Any,
    out: str | Path,
    *,
    tmin: float = 0.0,
    tmax: float | None = None,
    labels: Sequence[str] | None = None,
    stream: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit a decoder on all windows of a data set or recording and save it, with how the windows were cut.

    Parameters
    ----------
    system : str or estimator
        A decoder by name, or an estimator of windows.
    data
        As in `neuropil.compare`.
    out : path-like
        Folder for the model; appears whole or not at all.
    tmin, tmax, labels, stream
        As in `neuropil.windows`.
    seed : int
        Of everything random.
    overwrite : bool
        Replace a model that is there.

    Returns
    -------
    dict
        `system`, `data`, `model`, `n_windows`, `classes`, `windows` (how they were cut), `fit_seconds`.

    Raises
    ------
    DataError, UsageError
        If the data or the name do not fit, or `out` is there already; before any work.
    """
    if Path(out).exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another name or pass --overwrite.")
    # The paper's settings, not those of a comparison within minutes.
    decoder = make_decoders({system: make(system)} if isinstance(system, str) else [system])[0]
    cutting: dict[str, Any] = {"tmin": tmin or None, "tmax": tmax, "labels": labels, "stream": stream}
    material = load_material(data, **{name: value for name, value in cutting.items() if value is not None})
    model, X = prepared(decoder.estimator, seed), material.X.load()
    began = time.perf_counter()
    model.fit(input_for(model, X), material.y)
    facts = {
        "system": decoder.name,
        "data": material.name,
        "seed": seed,
        "n_windows": len(X),
        "classes": material.classes.tolist(),
        "windows": material.cut or {"mode": "offline"},
        "fit_seconds": time.perf_counter() - began,
    }
    extra = {**facts, "signature": asdict(Signature.of(X)), "stream": stream}
    save_model(model, out, overwrite=overwrite, extra=extra)
    return {**facts, "model": str(out)}


def predict(model: str | Path, recording: Any, *, step: float | None = None) -> pd.DataFrame:
    """Predict with a model that `fit` saved, on a recording that is cut as the training windows were.

    Parameters
    ----------
    model : path-like
        Folder of the model.
    recording : str, path, Recording or sequence of Recording
        With the channels and the rate of the training data.
    step : float, optional
        Slide over the whole recording in steps of so many seconds; without, one window an event.

    Returns
    -------
    DataFrame
        `onset` (s), `label` (predicted) and `p_<class>`, one row a window; `event` (its label in the recording) where windows follow
        events, and `recording` where there are several.

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        If the model is damaged or the recording differs in channels, their order, rate or length.
    """
    estimator, X, n_recordings = windows_for(model, recording, step=step)
    inputs = input_for(estimator, X)
    table = {"onset": X["onset"].values, "label": np.asarray(estimator.predict(inputs))}
    if step is None:
        table["event"] = X["label"].values
    if hasattr(estimator, "predict_proba"):
        proba = np.asarray(estimator.predict_proba(inputs))
        table |= {f"p_{name}": proba[:, k] for k, name in enumerate(np.asarray(estimator.classes_).tolist())}
    first = {"recording": X["recording"].values} if n_recordings > 1 else {}
    return pd.DataFrame({**first, **table})


def windows_for(model: str | Path, recording: Any, *, step: float | None = None) -> tuple[Any, xr.DataArray, int]:
    """A model that `fit` saved, recordings cut as its training windows were and read into memory, and their number; see `predict`."""
    estimator, facts = read_model(model)
    if "windows" not in facts or "signature" not in facts:
        raise UsageError(
            f"{model} was saved without saying how its windows were cut; make it with `neuropil fit`, or load it with "
            "neuropil.load_model() and cut windows yourself."
        )
    if step is not None and not step > 0:
        raise UsageError(f"The step must be a positive number of seconds, got {step}.")
    _, recordings, _ = load_recordings(recording)
    X = _windows(recordings, facts, step)
    saved = {k: _tuples(v) for k, v in facts["signature"].items()}
    Signature(**saved).check(X)
    return estimator, X.load(), len(recordings)


def explain(
    model: str | Path,
    recording: Any,
    *,
    sanity: bool = False,
    max_windows: int | None = None,
    progress: bool | None = None,
) -> Explanation:
    """Explain a model that `fit` saved by the windows of a recording, cut as its training windows were.

    Parameters
    ----------
    model : path-like
        Folder of the model.
    recording : str, path, Recording or sequence of Recording
        With the channels and the rate of the training data, and with events; best one that the model was not fitted on.
    sanity : bool
        Fit the decoder again on true and on shuffled labels, see `neuropil.explain.check_sanity`.
    max_windows : int, optional
        Look at no more windows than that; 200 without.
    progress : bool, optional

    Returns
    -------
    Explanation

    Raises
    ------
    DataError, UsageError, FileNotFoundError
        As `predict`.
    """
    from neuropil.explain.explanation import MAX_WINDOWS
    from neuropil.explain.explanation import explain as run

    estimator, X, _ = windows_for(model, recording)
    known = np.isin(X["label"].values.astype(str), np.asarray(estimator.classes_).astype(str))
    X = X[known] if known.any() else X
    return run(estimator, X, sanity=sanity, max_windows=max_windows or MAX_WINDOWS, progress=progress)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _windows(recordings: list[Recording], facts: dict[str, Any], step: float | None) -> xr.DataArray:
    """The windows of every event (whatever its label), or every `step` seconds."""
    settings, stream = facts["windows"], facts.get("stream")
    signature = facts["signature"]
    tmin = float(settings.get("tmin", 0.0))
    if step is None:
        if not any(len(r.events) for r in recordings):
            raise UsageError(
                "The recording has no events to predict at; slide over it in steps instead (--step SECONDS)."
            )
        if "tmax" not in settings:
            raise UsageError(
                "The model was fitted on windows cut by hand; slide over the recording in steps (--step SECONDS)."
            )
        return windows(recordings, stream, tmin=tmin, tmax=float(settings["tmax"]))
    streams = [recording.stream(stream) for recording in recordings]
    sfreq = float(streams[0].attrs["sfreq"])
    seconds = signature["n_times"] / signature["sfreq"] if signature["sfreq"] else signature["n_times"] / sfreq
    n_times = round(seconds * sfreq)
    starts = [np.arange(0, s.sizes["time"] - n_times + 1, max(1, round(step * sfreq))) for s in streams]
    if not sum(map(len, starts)):
        raise DataError(f"The recording is shorter than the {seconds:g} s windows of the model; record more.")
    onsets = [float(s.time[0]) + k / sfreq - tmin for s, k in zip(streams, starts, strict=True)]
    source: ndarray = np.repeat(np.arange(len(streams)), [len(k) for k in starts])
    return cut(
        recordings, stream, source, np.concatenate(starts), n_times, {"onset": np.concatenate(onsets)}, tmin=tmin
    )
