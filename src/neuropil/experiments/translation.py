"""From EEG to fMRI regions: NeuroBOLT beside the linear baseline, within scans and on unseen subjects, with intervals and a null."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy import ndarray

from neuropil.decoding.bold_ridge import BoldRidge
from neuropil.decoding.neurobolt import LAPTOP, NeuroBOLTRegressor
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.gapped import GappedSplit
from neuropil.evaluate.splits import SubjectGroups
from neuropil.evaluate.volumes import region_table, scans_of
from neuropil.experiments.runner import single_threaded
from neuropil.experiments.translation_data import common_channels, ready, scans_from
from neuropil.experiments.translation_result import SYSTEMS, Translation, check_picture
from neuropil.lagged import make_lagged_epochs, targets
from neuropil.persistence import read_model, save_model
from neuropil.progress import bar
from neuropil.signature import Signature
from neuropil.windowing import cut

__all__ = ["SYSTEMS", "Translation", "apply_translation", "check_picture", "translate"]

Setting = Literal["laptop", "paper"]
SPLITS = ("scan", "subject")
RATE = {"laptop": 64.0, "paper": 200.0}
MAX_FOLDS = 5
# one scan has few windows: smaller batches and more epochs, as many steps as over several scans
WITHIN_SCAN = {"laptop": {"max_epochs": 24, "batch_size": 16, "warmup_epochs": 3}, "paper": {"batch_size": 16}}


class Job(NamedTuple):
    """One fit: windows to train on, to choose the epoch by, and to test."""

    split: str
    name: str
    train: ndarray
    validation: ndarray
    test: ndarray


def translate(
    data: Any,
    *,
    splits: Sequence[str] | None = None,
    systems: Sequence[str] = SYSTEMS,
    setting: Setting = "laptop",
    stream: str | None = None,
    target: str = "bold",
    scaling: str = "scan",
    window: float = 16.0,
    regions: Sequence[str] | None = None,
    pretrained: Any = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    save: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Translation:
    """Predict fMRI regions from EEG, within scans and across subjects, by NeuroBOLT and by ridge regression.

    Within a scan, one model a scan learns from its first 80 %, the epoch is chosen on the next 10 %, the last 10 % are tested, with gaps of
    20 s. Across subjects, whole subjects are tested in turn, and one more chooses the epoch. Nothing is chosen on tested volumes.

    Parameters
    ----------
    data : str, path, Recording, or sequence of them
        Name of a data set ("sim-eeg-bold"), or recordings with a stream of regions, one a scan.
    splits : sequence of {"scan", "subject"}, optional
        By default both, "subject" from three subjects on.
    systems : sequence of {"neurobolt", "ridge"}
        What is compared.
    setting : {"laptop", "paper"}
        Size of NeuroBOLT and rate of the EEG: small at 64 Hz, or the paper's at 200 Hz.
    stream, target, scaling, window
        As in `make_lagged_epochs`.
    regions : sequence of str, optional
        Regions to predict; all without.
    pretrained : path-like, optional
        LaBraM-base weights in safetensors; needs the paper's setting.
    epochs : int, optional
        Epochs of the network instead of those of the setting.
    seed : int
        Of everything random.
    device : str
        Where the network is trained: "cpu", "cuda", "auto".
    save : path-like, optional
        Folder for a NeuroBOLT model trained on all scans (the last 10 % of each choose the epoch).
    overwrite : bool
        Replace a model that is there.
    progress : bool, optional
        Show a bar; by default if somebody is watching.

    Returns
    -------
    Translation

    Raises
    ------
    DataError, UsageError
        If data or arguments do not fit; before any work.

    Examples
    --------
    >>> from neuropil.simulate.eeg import simulate_eeg_bold
    >>> recordings, _ = simulate_eeg_bold(n_subjects=1, n_volumes=200)
    >>> result = translate(recordings, splits=["scan"], systems=["ridge"], progress=False)
    >>> result.table["region"].tolist()
    ['region_1', 'region_2', 'region_3', 'region_4', 'mean']
    """
    if setting not in get_args(Setting):
        raise UsageError(f"The setting is laptop or paper, got {setting!r}.")
    for what, given, known in (("split", splits or (), SPLITS), ("system", systems, SYSTEMS)):
        unknown = [name for name in given if name not in known]
        if unknown or (what == "system" and not given):
            raise UsageError(f"Choose a {what} among {', '.join(known)}, got {', '.join(unknown) or 'none'}.")
    if pretrained is not None and setting != "paper":
        raise UsageError("LaBraM's weights fit the paper's sizes only; choose the setting paper.")
    if save is not None and Path(save).exists() and not overwrite:
        raise DataError(f"{save} exists already; choose another name or pass --overwrite.")
    name, recordings = scans_from(data)
    scans = [ready(recording, k, stream, RATE[setting]) for k, recording in enumerate(recordings)]
    scans = common_channels(scans)
    X = make_lagged_epochs(scans, window=window, stream="eeg", target=target, scaling=scaling)
    X = _chosen_regions(X, regions).load()
    names, measured = targets(X)
    jobs = list(_jobs(X, splits))
    network = _network_settings(setting, window, pretrained, epochs, seed, device)
    parts: list[pd.DataFrame] = []
    total = len(jobs) * len(systems) + (save is not None)
    with bar("translating", total, progress) as advance:
        for job in jobs:
            predicted = {}
            for system in systems:
                predicted[system] = _fit_and_predict(system, job, X, network, setting, epochs)
                advance(f"{system}, {job.name}", 1)
            parts.append(_courses(job, X, names, measured, predicted))
        if save is not None:
            _save_final(X, network, save, overwrite, window, name)
            advance("model of all scans", 1)
    courses = pd.concat(parts, ignore_index=True)
    settings = {
        "setting": setting,
        "sfreq": RATE[setting],
        "window": window,
        "scaling": scaling,
        "seed": seed,
        "n_scans": len(recordings),
        "n_volumes": len(X),
        "channels": [str(channel) for channel in X["channel"].values],
    }
    return Translation(name, _table(courses, names, systems, seed), courses, settings)


def _chosen_regions(X: xr.DataArray, regions: Sequence[str] | None) -> xr.DataArray:
    names, _ = targets(X)
    unknown = [name for name in regions or () if name not in names]
    if unknown:
        raise UsageError(f"There is no region {unknown[0]!r}; choose among {', '.join(names)}.")
    return X.drop_vars([f"bold:{name}" for name in names if regions and name not in regions])


def _jobs(X: xr.DataArray, splits: Sequence[str] | None) -> Iterator[Job]:
    subjects = np.unique(X["subject"].values.astype(str))
    wanted = splits or (["scan", "subject"] if len(subjects) >= 3 else ["scan"])
    if "scan" in wanted:
        for parts in GappedSplit().parts(X):
            yield Job("scan", parts.name, parts.train, parts.validation, parts.test)
    if "subject" in wanted:
        if len(subjects) < 3:
            raise UsageError(
                "Unseen subjects need three subjects or more (to learn from, to choose the epoch, to test), "
                f"the data have {len(subjects)}; use the split scan."
            )
        for fold in SubjectGroups(min(MAX_FOLDS, len(subjects))).folds(X, np.zeros(len(X))):
            of_fold = X["subject"].values.astype(str)[fold.train]
            held = of_fold == np.unique(of_fold)[-1]
            yield Job("subject", fold.name, fold.train[~held], fold.train[held], fold.test)


def _network_settings(
    setting: Setting, window: float, pretrained: Any, epochs: int | None, seed: int, device: str
) -> dict[str, Any]:
    chosen = LAPTOP if setting == "laptop" else {} if pretrained is not None else {"layer_decay": 1.0}
    chosen = {**chosen, "window": window, "pretrained": pretrained, "random_state": seed, "device": device}
    return chosen if epochs is None else {**chosen, "max_epochs": epochs, "warmup_epochs": min(1, epochs / 4)}


def _fit_and_predict(
    system: str, job: Job, X: xr.DataArray, network: dict[str, Any], setting: Setting, epochs: int | None
) -> ndarray:
    train, validation, test = X[job.train], X[job.validation], X[job.test]
    if system == "ridge":
        # a scan that is trained on has no features of its own for a later part: those of training are used
        model: Any = BoldRidge(scaling="training" if job.split == "scan" else "scan")
        return model.fit(X[np.concatenate([job.train, job.validation])]).predict(test)
    extra = WITHIN_SCAN[setting] if job.split == "scan" else {}
    if epochs is not None:
        extra = {k: v for k, v in extra.items() if k == "batch_size"}
    model = NeuroBOLTRegressor(**{**network, **extra}, progress=False)
    with single_threaded() if setting == "laptop" else nullcontext():
        return model.fit(train, eval_set=(validation, None)).predict(test)


def _courses(
    job: Job, X: xr.DataArray, names: list[str], measured: ndarray, predicted: dict[str, ndarray]
) -> pd.DataFrame:
    test = X[job.test]
    scans = scans_of(test)
    assert scans is not None
    tables = []
    for k, region in enumerate(names):
        columns = {system: values[:, k] for system, values in predicted.items()}
        facts = {"split": job.split, "scan": scans, "onset": test["onset"].values, "region": region}
        tables.append(pd.DataFrame({**facts, "measured": measured[job.test, k], **columns}))
    return pd.concat(tables, ignore_index=True)


def _table(courses: pd.DataFrame, names: list[str], systems: Sequence[str], seed: int) -> pd.DataFrame:
    tables = []
    for split in dict.fromkeys(courses["split"]):
        mine = courses[courses["split"] == split]
        first = mine[mine["region"] == names[0]]
        for system in systems:
            true, predicted = (
                np.stack([mine.loc[mine["region"] == region, column].to_numpy() for region in names], axis=1)
                for column in ("measured", system)
            )
            table = region_table(true, predicted, first["scan"].to_numpy(), names, random_state=seed)
            table.insert(0, "system", system)
            table.insert(0, "split", split)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _save_final(
    X: xr.DataArray, network: dict[str, Any], path: str | Path, overwrite: bool, window: float, name: str
) -> None:
    parts = list(GappedSplit(validation=0.0).parts(X))
    train, held = (np.concatenate([getattr(part, which) for part in parts]) for which in ("train", "test"))
    model = NeuroBOLTRegressor(**network, progress=False).fit(X[train], eval_set=(X[held], None))
    facts = {"system": "neurobolt", "data": name, "regions": targets(X)[0], "window": window}
    save_model(model, path, overwrite=overwrite, extra={**facts, "signature": asdict(Signature.of(X))})


def apply_translation(model: str | Path, data: Any, *, every: float = 2.0, stream: str | None = None) -> pd.DataFrame:
    """Regions that a saved model predicts from EEG alone, every so many seconds.

    Parameters
    ----------
    model : path-like
        Folder that `translate(save=...)` wrote.
    data
        As in `translate`; no stream of regions is needed. Electrodes that the model does not know are left out.
    every : float, default 2.0
        Seconds between predicted volumes.
    stream : str, optional
        Stream of the EEG.

    Returns
    -------
    DataFrame
        `recording`, `onset` (s; the EEG before it is used), and one column a region.
    """
    estimator, facts = read_model(model)
    if not isinstance(estimator, NeuroBOLTRegressor) or "regions" not in facts:
        raise UsageError(f"{model} holds no translation; make one with `neuropil translate --save-model`.")
    if not every > 0:
        raise UsageError(f"Volumes lie a positive number of seconds apart, got {every}.")
    sfreq, n_times = float(estimator.signature_.sfreq or estimator.sfreq), int(estimator.signature_.n_times or 0)
    tables = []
    for number, recording in enumerate(scans_from(data)[1]):
        eeg_only = ready(recording, number, stream, sfreq, known=estimator.ch_names_)
        eeg = eeg_only.stream("eeg")
        starts = np.arange(0, eeg.sizes["time"] - n_times + 1, max(1, round(every * sfreq)))
        if not len(starts):
            raise DataError(
                f"Recording {number} is shorter than the {n_times / sfreq:g} s that a volume is predicted from."
            )
        onsets = float(eeg.time[0]) + (starts + n_times) / sfreq
        X = cut(
            eeg_only,
            "eeg",
            np.zeros(len(starts), dtype=np.int64),
            starts,
            n_times,
            {"onset": onsets},
            tmin=-n_times / sfreq,
        )
        values = estimator.predict(X.load()).reshape(len(X), -1)
        regions = dict(zip(facts["regions"], values.T, strict=True))
        tables.append(pd.DataFrame({"recording": number, "onset": onsets, **regions}))
    return pd.concat(tables, ignore_index=True)
