"""The three data sets that emotion recognition is scored on, from the files that their owners hand out under a licence.

DEAP (Koelstra et al. 2012), DREAMER (Katsigiannis & Ramzan 2018) and SEED (Zheng & Lu 2015) are given to those who sign for them; the
loaders here read the files as they are distributed and fetch nothing. Trials that were cut already are laid end to end. Every trial has
an event "baseline", where one was recorded, and an event for the stimulus, joined by the column `trial`; ratings and the number of the
video are further columns, so that windows can be split by trial, by subject and by video.

Koelstra et al. (2012). DEAP: a database for emotion analysis using physiological signals. IEEE Trans. Affective Computing 3(1):18-31.
Katsigiannis & Ramzan (2018). DREAMER: a database for emotion recognition through EEG and ECG signals from wireless low-cost
off-the-shelf devices. IEEE J. Biomedical and Health Informatics 22(1):98-107.
Zheng & Lu (2015). Investigating critical frequency bands and channels for EEG-based emotion recognition with deep neural networks. IEEE
Trans. Autonomous Mental Development 7(3):162-175.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuropil.datasets.simulated import pieces
from neuropil.errors import DataError, UsageError
from neuropil.io.matlab import read_version_7
from neuropil.recording import Recording
from neuropil.signal.montage import DEAP32, SEED62, montage_1010
from neuropil.streams import regular_stream

BASELINE = "baseline"
DEAP_RATINGS = ("valence", "arousal", "dominance", "liking")
DEAP_PERIPHERAL = {"hEOG": "eog", "vEOG": "eog", "zEMG": "emg", "tEMG": "emg", "GSR": "gsr", "resp": "resp"} | {
    "plethysmograph": "misc",
    "temperature": "temperature",
}
DEAP_SFREQ, DEAP_BASELINE_S = 128.0, 3.0
DREAMER_RATINGS = {"valence": "ScoreValence", "arousal": "ScoreArousal", "dominance": "ScoreDominance"}
SEED_SFREQ = 200.0
SEED_EMOTIONS = {-1: "negative", 0: "neutral", 1: "positive"}


def load_deap(
    folder: str | Path,
    subjects: Sequence[int] | int | None = None,
    rating: str = "valence",
    threshold: float | None = 5.0,
    window_s: float | None = 4.0,
    step_s: float | None = None,
) -> list[Recording]:
    """DEAP, Matlab version: 32 people watch 40 music videos; 32 electrodes and 8 peripheral channels at 128 Hz.

    Parameters
    ----------
    folder : path-like
        With the files s01.mat to s32.mat, or with the folder `data_preprocessed_matlab` that holds them.
    subjects : int or sequence of int, optional
        Numbers of the people; all whose files are there without.
    rating : {"valence", "arousal", "dominance", "liking"}
        What the label comes from. All ratings (real numbers from 1 to 9) are columns of the events.
    threshold : float or None
        "high" from this rating on, "low" below; None labels by the rating's whole number, "1" to "9".
    window_s, step_s : float, optional
        Every stimulus becomes events of `window_s`, every `step_s` seconds (end to end without); the baselines then carry no event.
        None keeps one event of 3 s a baseline and one of 60 s a stimulus.

    Returns
    -------
    list of Recording
        One a person; streams "eeg" (µV, average reference, 4-45 Hz as distributed) and "peripheral".

    Raises
    ------
    DataError
        If a file is missing, damaged, or the Python version, which is a pickle.
    UsageError
        If there is no such rating.
    """
    _check_rating(rating, DEAP_RATINGS)
    place = _inside(folder, "data_preprocessed_matlab")
    files = {int(path.stem[1:]): path for path in place.glob("s*.mat") if path.stem[1:].isdecimal()}
    if not files:
        pickles = sorted(Path(folder).rglob("s*.dat"))
        if pickles:
            raise DataError(
                f"{pickles[0]} belongs to the Python version of DEAP, which is a pickle, and nothing is unpickled here since that can "
                "run any program; use the Matlab version, data_preprocessed_matlab/s01.mat to s32.mat."
            )
        raise DataError(f"Expected DEAP's Matlab files s01.mat to s32.mat in {place}, found none; name their folder.")
    recordings = []
    for number in _chosen(files, subjects, "DEAP"):
        path = files[number]
        content = _read(path, "data", "labels", simplify=False)
        data, ratings = np.asarray(content["data"]), np.asarray(content["labels"], dtype=float)
        if data.ndim != 3 or data.shape[1] != 40 or ratings.shape != (len(data), len(DEAP_RATINGS)):
            raise DataError(
                f"{path} must hold data of shape (trials, 40, samples) and labels of shape (trials, 4), got {data.shape} and "
                f"{ratings.shape}; is it a file of DEAP?"
            )
        n_baseline = round(DEAP_BASELINE_S * DEAP_SFREQ)
        lengths = [(n_baseline, data.shape[2] - n_baseline)] * len(data)
        columns = dict(zip(DEAP_RATINGS, ratings.T, strict=True))
        events = _trial_events(lengths, DEAP_SFREQ, _levels(columns[rating], threshold), columns)
        samples = data.transpose(0, 2, 1).reshape(-1, 40).astype(np.float32)
        recordings.append(
            Recording(
                {
                    "eeg": _eeg(samples[:, :32], DEAP_SFREQ, DEAP32),
                    "peripheral": regular_stream(
                        samples[:, 32:],
                        DEAP_SFREQ,
                        channels=list(DEAP_PERIPHERAL),
                        kind=list(DEAP_PERIPHERAL.values()),
                        unit="as distributed",
                        modality="peripheral",
                    ),
                },
                _cut(events, window_s, step_s),
                subject=f"{number:02d}",
                dataset="deap",
                info=_facts(path, rating),
            )
        )
    return recordings


def load_dreamer(
    path: str | Path,
    subjects: Sequence[int] | int | None = None,
    rating: str = "valence",
    threshold: float | None = 3.0,
    window_s: float | None = 4.0,
    step_s: float | None = None,
) -> list[Recording]:
    """DREAMER: 23 people watch 18 film clips; 14 electrodes at 128 Hz, a baseline of 61 s before every clip.

    Parameters
    ----------
    path : path-like
        DREAMER.mat, or its folder.
    subjects, window_s, step_s
        As in `load_deap`.
    rating : {"valence", "arousal", "dominance"}
        What the label comes from. All ratings (1 to 5) are columns of the events.
    threshold : float or None
        "high" from this rating on, "low" below; None labels by the rating, "1" to "5".

    Returns
    -------
    list of Recording
        One a person; stream "eeg" in µV. The electrocardiogram is not read.

    Raises
    ------
    DataError
        If the file is missing, damaged or another one.
    UsageError
        If there is no such rating.
    """
    _check_rating(rating, tuple(DREAMER_RATINGS))
    file = Path(path) / "DREAMER.mat" if Path(path).is_dir() else Path(path)
    content = _read(file, "DREAMER")["DREAMER"]
    try:
        people = _cells(content["Data"])
        names, sfreq = [str(name) for name in content["EEG_Electrodes"]], float(content["EEG_SamplingRate"])
        recordings = []
        for number in _chosen(dict(enumerate(people, start=1)), subjects, "DREAMER"):
            person = people[number - 1]
            baselines, stimuli = (_cells(person["EEG"][part]) for part in ("baseline", "stimuli"))
            ratings = {name: np.atleast_1d(person[key]).astype(float) for name, key in DREAMER_RATINGS.items()}
            lengths = [(len(before), len(during)) for before, during in zip(baselines, stimuli, strict=True)]
            samples = np.concatenate([part for pair in zip(baselines, stimuli, strict=True) for part in pair])
            events = _trial_events(lengths, sfreq, _levels(ratings[rating], threshold), ratings)
            recordings.append(
                Recording(
                    {"eeg": _eeg(samples.astype(np.float32), sfreq, names)},
                    _cut(events, window_s, step_s),
                    subject=f"{number:02d}",
                    dataset="dreamer",
                    info=_facts(file, rating),
                )
            )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError | UsageError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{file} is not built as DREAMER.mat is ({reason}); take the file as distributed.") from error
    return recordings


def load_seed(
    folder: str | Path,
    subjects: Sequence[int] | int | None = None,
    window_s: float | None = 4.0,
    step_s: float | None = None,
) -> list[Recording]:
    """SEED: 15 people watch 15 film clips on three days each; 62 electrodes at 200 Hz, no baseline.

    Parameters
    ----------
    folder : path-like
        `Preprocessed_EEG` with files such as 1_20131027.mat and label.mat, or the folder that holds it.
    subjects, window_s, step_s
        As in `load_deap`.

    Returns
    -------
    list of Recording
        One a person and day, the days as sessions "1" to "3" in order of their dates; stream "eeg" in µV. Labels "negative", "neutral",
        "positive"; the column `valence` has them as -1, 0, 1.

    Raises
    ------
    DataError
        If a file is missing, damaged or another one.
    """
    place = _inside(folder, "Preprocessed_EEG")
    days: dict[int, list[tuple[str, Path]]] = {}
    for path in place.glob("*_*.mat"):
        match = re.fullmatch(r"(\d+)_(\d+)", path.stem)
        if match:
            days.setdefault(int(match[1]), []).append((match[2], path))
    if not days:
        raise DataError(f"Expected SEED's files such as 1_20131027.mat in {place}, found none; name their folder.")
    codes = np.ravel(_read(place / "label.mat", "label")["label"]).astype(int)
    unknown = sorted(set(codes.tolist()) - set(SEED_EMOTIONS))
    if unknown:
        raise DataError(f"{place / 'label.mat'} must hold -1, 0 and 1, got {unknown[0]}; is it the file of SEED?")
    recordings = []
    for number in _chosen(days, subjects, "SEED"):
        for session, (_, path) in enumerate(sorted(days[number]), start=1):
            clips = _seed_clips(path, len(codes))
            labels = [SEED_EMOTIONS[code] for code in codes.tolist()]
            events = _trial_events([(0, len(clip)) for clip in clips], SEED_SFREQ, labels, {"valence": codes})
            recordings.append(
                Recording(
                    {"eeg": _eeg(np.concatenate(clips), SEED_SFREQ, SEED62)},
                    _cut(events, window_s, step_s),
                    subject=f"{number:02d}",
                    session=str(session),
                    dataset="seed",
                    info=_facts(path, "valence"),
                )
            )
    return recordings


def _seed_clips(path: Path, n_clips: int) -> list[np.ndarray]:
    """Samples of every clip, each (n_times, 62); the variables are called by the person's initials and _eeg1, _eeg2 ..."""
    content = _read(path)
    found = {int(match[1]): value for key, value in content.items() if (match := re.search(r"_eeg(\d+)$", key))}
    if sorted(found) != list(range(1, n_clips + 1)) or any(value.shape[0] != 62 for value in found.values()):
        raise DataError(
            f"{path} must hold {n_clips} arrays ..._eeg1 to ..._eeg{n_clips} of shape (62, samples), got "
            f"{', '.join(key for key in content) or 'nothing'}; is it a file of SEED?"
        )
    return [found[k].T.astype(np.float32) for k in range(1, n_clips + 1)]


def _read(path: Path, *names: str, simplify: bool = True) -> dict[str, Any]:
    """Variables of a Matlab file; simplified, structures are dictionaries and single entries stand for themselves."""
    if not path.is_file():
        raise DataError(f"Expected a file at {path}, found none; check the folder.")
    content = read_version_7(path, simplify=simplify)
    missing = [name for name in names if name not in content]
    if missing:
        held = ", ".join(content) or "nothing"
        raise DataError(f"{path} must hold {' and '.join(names)}, it holds {held}; is it the right file?")
    return content


def _cells(value: Any) -> list[Any]:
    """Entries of a Matlab cell array; a cell array of one entry arrives as that entry."""
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return list(value)
    return [value]


def _inside(folder: str | Path, name: str) -> Path:
    place = Path(folder)
    return place / name if (place / name).is_dir() else place


def _chosen(known: dict[int, Any], subjects: Sequence[int] | int | None, name: str) -> list[int]:
    wanted = sorted(known) if subjects is None else [int(k) for k in np.atleast_1d(np.asarray(subjects)).tolist()]
    missing = [number for number in wanted if number not in known]
    if missing:
        raise UsageError(f"{name} has the subjects {', '.join(map(str, sorted(known)))} here, got {missing[0]}.")
    return wanted


def _check_rating(rating: str, known: tuple[str, ...]) -> None:
    if rating not in known:
        raise UsageError(f"rating must be one of {', '.join(known)}, got {rating!r}.")


def _levels(ratings: np.ndarray, threshold: float | None) -> list[str]:
    if threshold is None:
        return [str(int(value)) for value in ratings]
    return ["high" if value >= threshold else "low" for value in ratings]


def _trial_events(
    lengths: Sequence[tuple[int, int]], sfreq: float, labels: Sequence[str], columns: dict[str, Any]
) -> pd.DataFrame:
    """Baseline (if it has samples) and stimulus of every trial, laid end to end."""
    rows, start = [], 0
    for k, (n_baseline, n_stimulus) in enumerate(lengths):
        shared = {"trial": k, "video": f"{k + 1:02d}", **{name: values[k] for name, values in columns.items()}}
        if n_baseline:
            rows.append({"onset": start / sfreq, "duration": n_baseline / sfreq, "label": BASELINE, **shared})
        start += n_baseline
        rows.append({"onset": start / sfreq, "duration": n_stimulus / sfreq, "label": labels[k], **shared})
        start += n_stimulus
    return pd.DataFrame(rows)


def _cut(events: pd.DataFrame, window_s: float | None, step_s: float | None) -> pd.DataFrame:
    if window_s is None:
        return events
    if not window_s > 0:
        raise UsageError(f"window_s must be a positive number of seconds, got {window_s!r}; None keeps whole stimuli.")
    return pieces(events[events["label"] != BASELINE], window_s, step_s)


def _eeg(samples: np.ndarray, sfreq: float, names: Sequence[str]) -> Any:
    return regular_stream(samples, sfreq, channels=list(names), kind="eeg", unit="uV", positions=montage_1010(names))


def _facts(path: Path, rating: str) -> dict[str, Any]:
    return {"source": path.name, "label_from": rating, "concatenated_trials": True}
