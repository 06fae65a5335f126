"""Any data set of MOABB by its name, subject by subject, session by session, run by run.

MOABB's `interval` is respected: an event begins where the task begins, not at the cue, and lasts as long as MOABB says. Annotations that
are no class of the task (artefacts) stand in `info["other_annotations"]`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuropil.datasets.registry import MOABB_PREFIX, DatasetInfo
from neuropil.errors import DataError, UsageError, require
from neuropil.recording import Recording


def _classes() -> dict[str, type]:
    catalogue = require("moabb.datasets", "moabb")
    base = require("moabb.datasets.base", "moabb").BaseDataset
    return {
        name: value
        for name, value in vars(catalogue).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and not name.startswith("Base")
    }


def _dataset(name: str, options: dict[str, Any]) -> Any:
    known, wanted = _classes(), name.removeprefix(MOABB_PREFIX)
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see moabb.datasets for the names."
        raise UsageError(f"MOABB has no data set {wanted!r}; {hint}")
    try:
        return known[wanted](**options)
    except TypeError as error:
        raise UsageError(f"{name} does not take these options: {error}.") from error


def information(name: str) -> DatasetInfo:
    """What MOABB knows of a data set; nothing is fetched."""
    dataset = _dataset(name, {})
    metadata = getattr(dataset, "metadata", None)
    about, acquisition = getattr(metadata, "documentation", None), getattr(metadata, "acquisition", None)
    classes = tuple(str(label) for label in dataset.event_id)
    doc = inspect.getdoc(type(dataset)) or dataset.code
    return DatasetInfo(
        name=dataset.code,
        title=doc.splitlines()[0].strip(),
        modality="eeg",
        description=str(getattr(about, "description", "") or ""),
        provenance=f"fetched by MOABB from its source when loaded; {getattr(about, 'repository', '') or ''}".rstrip(
            "; "
        ),
        licence=str(getattr(about, "license", "") or "see the publication"),
        citations=(str(dataset.doi),) if dataset.doi else (),
        doi=str(dataset.doi or ""),
        n_subjects=len(dataset.subject_list),
        sfreq=getattr(acquisition, "sampling_rate", None),
        channels=tuple(map(str, getattr(acquisition, "sensors", None) or ())),
        classes=classes,
        chance=1 / len(classes) if classes else None,
        task=str(dataset.paradigm),
        notes=f"Task interval {list(dataset.interval)} s after the cue.",
        where="internet",
    )


def load(name: str, *, subjects: Sequence[int] | int | None = None, **options: Any) -> list[Recording]:
    """Recordings of a MOABB data set.

    Parameters
    ----------
    name : str
        "moabb:" and the name of a class in `moabb.datasets`.
    subjects : sequence of int, optional
        Subjects; all without.
    **options
        Arguments of the class.

    Returns
    -------
    list of Recording
        One a run, with the column `run` in its events (and `windows`), `info["run"]`, and subject and session as labels.
    """
    dataset = _dataset(name, options)
    chosen = list(dataset.subject_list) if subjects is None else list(np.atleast_1d(subjects).tolist())
    unknown = [subject for subject in chosen if subject not in dataset.subject_list]
    if unknown or not chosen:
        known = dataset.subject_list
        raise UsageError(f"{name} has the subjects {known[0]} to {known[-1]}, got {unknown or 'none'}.")
    try:
        data = dataset.get_data(subjects=chosen)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{name} could not be fetched or read ({type(error).__name__}: {reason}); check the connection and the disk, then try again."
        ) from error
    return [
        _recording(raw, dataset, name, str(subject), str(session), str(run))
        for subject, sessions in data.items()
        for session, runs in sessions.items()
        for run, raw in runs.items()
    ]


def _recording(raw: Any, dataset: Any, name: str, subject: str, session: str, run: str) -> Recording:
    from neuropil.io.mne import from_mne

    recording = from_mne(raw, dataset=name.removeprefix(MOABB_PREFIX), subject=subject, session=session)
    events = recording.events
    task = events["label"].isin([str(label) for label in dataset.event_id])
    others = events.loc[~task, ["onset", "duration", "label"]].values.tolist()
    events = events[task].reset_index(drop=True).assign(run=run)
    facts = {**recording.info, "run": run, "interval": [float(edge) for edge in dataset.interval]}
    return recording.copy(events=events, info=facts | ({"other_annotations": others} if others else {}))
