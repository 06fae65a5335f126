"""From EEG to fMRI regions: NeuroBOLT beside the linear baseline, within scans and on unseen subjects, with intervals and a null."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
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
from neuropil.evaluate.volumes import region_table, scan_correlations, scans_of
from neuropil.experiments.inputs import load_recordings
from neuropil.lagged import make_lagged_epochs, targets
from neuropil.nn.electrodes import LABRAM_ELECTRODES
from neuropil.persistence import save_model
from neuropil.preprocess import resample
from neuropil.progress import bar
from neuropil.recording import Recording
from neuropil.signature import Signature
from neuropil.storage import atomic_write_text

Setting = Literal["laptop", "paper"]
SYSTEMS = ("neurobolt", "ridge")
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


@dataclass(frozen=True)
class Translation:
    """What a translation measured.

    Attributes
    ----------
    name : str
        The data.
    table : DataFrame
        `split`, `system`, `region`, `r`, `low`, `high`, `n_scans`, `null_95`, `p`; the last region is the mean over regions.
    courses : DataFrame
        Measured and predicted values of every tested volume: `split`, `scan`, `onset`, `region`, `measured` and one column a system.
    settings : dict
        How it was done.
    """

    name: str
    table: pd.DataFrame
    courses: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the courses."""
        return {"data": self.name, "settings": self.settings, "table": self.table.to_dict(orient="records")}

    def save_courses(self, path: str | Path) -> Path:
        """Write the measured and predicted courses to a CSV file."""
        atomic_write_text(Path(path), self.courses.to_csv(index=False))
        return Path(path)

    def plot(self, path: str | Path) -> Path:
        """Draw measured and predicted courses of the scan that is tested first, one panel a region and split."""
        from matplotlib.figure import Figure

        from neuropil.display import COLOURS

        check_picture(path)
        splits = list(dict.fromkeys(self.courses["split"]))
        regions = list(dict.fromkeys(self.courses["region"]))[:8]
        systems = [name for name in SYSTEMS if name in self.courses]
        figure = Figure(figsize=(5.6 * len(splits) + 0.6, 1.6 * len(regions) + 1.0), layout="constrained")
        axes = figure.subplots(len(regions), len(splits), sharex="col", squeeze=False)
        for column, split in enumerate(splits):
            mine = self.courses[self.courses["split"] == split]
            mine = mine[mine["scan"] == mine["scan"].iloc[0]]
            for row, region in enumerate(regions):
                axis, course = axes[row, column], mine[mine["region"] == region]
                axis.plot(course["onset"], course["measured"], color="0.55", linewidth=2.2, label="measured")
                for k, system in enumerate(systems):
                    r = scan_correlations(course["measured"], course[system])[0, 0]
                    axis.plot(
                        course["onset"], course[system], color=COLOURS[k], linewidth=1.3, label=f"{system}, r {r:.2f}"
                    )
                axis.set_title(region, fontsize=9, loc="left", pad=2)
                axis.tick_params(labelsize=7)
                axis.legend(fontsize=6.5, ncols=3, loc="lower right", framealpha=0.6)
            axes[-1, column].set_xlabel(f"time (s), scan {course['scan'].iloc[0]}, {TITLES[split]}", fontsize=8)
        figure.suptitle(f"Regions predicted from EEG: {self.name}", fontsize=10)
        figure.savefig(path, dpi=110)
        return Path(path)


TITLES = {"scan": "its last part, trained on its beginning", "subject": "an unseen subject"}


def check_picture(path: str | Path) -> None:
    """Refuse, before any work, a name that is no picture's or lies in no folder."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg") or path.is_dir():
        raise UsageError(f"A picture's name ends in .png, .pdf or .svg, got {path}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {path.absolute().parent} to write {path.name} into; make it first.")


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
    name, recordings = _recordings(data)
    ready = [_ready(recording, k, stream, RATE[setting]) for k, recording in enumerate(recordings)]
    ready = _common_channels(ready)
    X = make_lagged_epochs(ready, window=window, stream="eeg", target=target, scaling=scaling)
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


def _recordings(data: Any) -> tuple[str, list[Recording]]:
    if isinstance(data, Sequence) and not isinstance(data, str) and any(isinstance(part, str | Path) for part in data):
        loaded = [load_recordings(part) for part in data]
        return ", ".join(Path(part[0]).name for part in loaded), [r for part in loaded for r in part[1]]
    name, recordings, _ = load_recordings(data)
    return name, recordings


def _ready(recording: Recording, number: int, stream: str | None, sfreq: float) -> Recording:
    """The recording with one stream "eeg": good EEG channels that LaBraM's list has, at the rate of the setting."""
    eeg = recording.stream(stream)
    names = [str(name) for name in eeg["channel"].values]
    known = {name.upper() for name in LABRAM_ELECTRODES}
    kind = eeg["kind"].values if "kind" in eeg.coords else np.full(len(names), "eeg")
    bad = eeg["bad"].values if "bad" in eeg.coords else np.zeros(len(names), dtype=bool)
    usable = np.array([name.upper() in known for name in names]) & (kind == "eeg") & ~bad
    if not usable.any():
        raise DataError(
            f"Recording {number} has no good EEG channel with a name of the 10-10 system, it has {', '.join(names[:8])}; "
            "rename its channels."
        )
    left_out = [name for name, fine in zip(names, (kind != "eeg") | bad | usable, strict=True) if not fine]
    if left_out:
        warnings.warn(
            f"Recording {number}: channels without a known electrode name were left out: {', '.join(left_out)}.",
            stacklevel=3,
        )
    others = {name: value for name, value in recording.streams.items() if value is not eeg and name != "eeg"}
    chosen = eeg if usable.all() else eeg[:, np.flatnonzero(usable)]
    return resample(recording.copy(streams={"eeg": chosen, **others}), sfreq, stream="eeg")


def _common_channels(recordings: list[Recording]) -> list[Recording]:
    """All recordings with the electrodes that every one of them has, in the order of the first."""
    names = [[str(name).upper() for name in recording.stream("eeg")["channel"].values] for recording in recordings]
    common = [name for name in names[0] if all(name in other for other in names)]
    if not common:
        raise DataError("The recordings have no electrode in common; pass recordings of one montage.")
    if all(other == common for other in names):
        return recordings
    made = []
    for recording, mine in zip(recordings, names, strict=True):
        eeg = recording.stream("eeg")[:, [mine.index(name) for name in common]]
        eeg = eeg.assign_coords(
            channel=recordings[0].stream("eeg")["channel"].values[[names[0].index(c) for c in common]]
        )
        made.append(recording.copy(streams={**recording.streams, "eeg": eeg}))
    return made


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
    return (
        NeuroBOLTRegressor(**{**network, **extra}, progress=False).fit(train, eval_set=(validation, None)).predict(test)
    )


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
