"""Recordings made ready for translation: known electrodes, common to all scans, at the rate of the setting."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.errors import DataError
from neuropil.experiments.inputs import load_recordings
from neuropil.nn.electrodes import LABRAM_ELECTRODES
from neuropil.preprocess import resample
from neuropil.recording import Recording


def scans_from(data: Any) -> tuple[str, list[Recording]]:
    """Name and recordings of a data set, recordings, or paths."""
    if isinstance(data, Sequence) and not isinstance(data, str) and any(isinstance(part, str | Path) for part in data):
        loaded = [load_recordings(part) for part in data]
        return ", ".join(Path(part[0]).name for part in loaded), [r for part in loaded for r in part[1]]
    name, recordings, _ = load_recordings(data)
    return name, recordings


def ready(
    recording: Recording, number: int, stream: str | None, sfreq: float, known: Sequence[str] = LABRAM_ELECTRODES
) -> Recording:
    """The recording with one stream "eeg": its good EEG channels among `known` ones, at the rate `sfreq`."""
    eeg = recording.stream(stream)
    names = [str(name) for name in eeg["channel"].values]
    wanted = {name.upper() for name in known}
    kind = eeg["kind"].values if "kind" in eeg.coords else np.full(len(names), "eeg")
    bad = eeg["bad"].values if "bad" in eeg.coords else np.zeros(len(names), dtype=bool)
    usable = np.array([name.upper() in wanted for name in names]) & (kind == "eeg") & ~bad
    if not usable.any():
        raise DataError(
            f"Recording {number} has no good EEG channel with a known electrode name ({', '.join(known[:5])} ...), it has "
            f"{', '.join(names[:8])}; rename its channels."
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


def common_channels(recordings: list[Recording]) -> list[Recording]:
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
