"""Evidence for pseudo-online evaluation: the bookkeeping, the gap to offline scores, leaks through overlap, causality, and idle.

Continuous simulated sessions: 5 subjects, 80 trials of 4 s with breaks of 3 to 5 s, so that about half of the windows are idle;
22 electrodes, 125 Hz, 8-30 Hz, windows of 2 s with 50 % overlap, the first 60 % of a session to train and the rest to test.

Carrara & Papadopoulo (2024). Pseudo-online framework for BCI evaluation. Journal of Neural Engineering 21(1):016003.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy import ndarray
from sklearn.metrics import matthews_corrcoef

from neuropil.claims.core import at_least, at_most, between, claim
from neuropil.decoding.riemann import RiemannMDM, TangentSpaceLR
from neuropil.evaluate.information import bits_wolpaw, itr_wolpaw
from neuropil.evaluate.metrics import nmcc
from neuropil.evaluate.online_split import PseudoOnlineSplit
from neuropil.evaluate.pseudo_online import evaluate_pseudo_online
from neuropil.evaluate.purge import WindowTable
from neuropil.preprocess import bandpass, bandpass_zero_phase
from neuropil.recording import Recording
from neuropil.simulate.eeg import simulate_motor_imagery
from neuropil.stream import StreamingDecoder
from neuropil.streams import regular_stream
from neuropil.windowing import sliding_windows

SESSIONS = "simulated continuous motor imagery, 5 subjects x 80 trials of 4 s, half of the windows idle"
MODES = ("offline2", "offline3", "pseudo_online", "task_trained", "leaky")


@lru_cache(maxsize=4)
def _sessions(seed: int, n_subjects: int = 5) -> list[Recording]:
    return simulate_motor_imagery(n_subjects, n_trials=80, breaks=(3.0, 5.0), seed=seed)[0]


def _decoders() -> dict[str, object]:
    return {"tangent_space": TangentSpaceLR(C=1.0), "mdm": RiemannMDM()}


@lru_cache(maxsize=4)
def _scores(seed: int) -> pd.DataFrame:
    """Every mode and decoder on every subject; means over the folds of a subject."""
    table = evaluate_pseudo_online(_decoders(), _sessions(seed), modes=MODES, random_state=seed, show_progress=False)
    return table.groupby(["pipeline", "mode", "subject"])[["nmcc", "accuracy", "itr_mi", "false_per_min"]].mean()


def _mean(seed: int, pipeline: str, mode: str, column: str = "nmcc") -> float:
    return float(_scores(seed).loc[(pipeline, mode), column].mean())


@claim(
    sentence="The scores are their formulae, and windows are booked as the paper describes: a minute gives 59 windows of 2 s, and a "
    "trial of 4 s three task windows.",
    source="Definitions of normalised MCC and Wolpaw's rate; labels by majority, a tie is idle.",
    data="200 random confusion matrices of 2 to 5 classes; one recording with one trial",
    system="largest_error",
    holds=(at_most("largest_error", 1e-9), *between("windows_a_minute", 59, 59), *between("task_windows", 3, 3)),
)
def formulae(seed: int, scale: str) -> dict[str, float]:
    """Compare with scikit-learn and with values worked out by hand."""
    rng = np.random.default_rng(seed)
    errors = [abs(bits_wolpaw(1.0, 2) * 30 - itr_wolpaw(1.0, 2, 2.0)), abs(itr_wolpaw(1.0, 2, 2.0) - 30.0)]
    errors += [abs(bits_wolpaw(0.9, 2) - (1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))), bits_wolpaw(0.25, 4)]
    for _ in range(200):
        n_classes = int(rng.integers(2, 6))
        true, predicted = rng.integers(0, n_classes, (2, 60))
        errors.append(abs(nmcc(true, predicted) - (matthews_corrcoef(true, predicted) + 1) / 2))
    events = pd.DataFrame({"onset": [20.0], "duration": [4.0], "label": ["left_hand"]})
    minute = Recording({"eeg": regular_stream(rng.normal(size=(60 * 125, 2)), 125.0)}, events)
    X = sliding_windows(minute, length=2.0, overlap=0.5)
    task = int((X["label"].values == "left_hand").sum())
    return {"largest_error": float(max(errors)), "windows_a_minute": float(len(X)), "task_windows": float(task)}


@claim(
    sentence="What a decoder scores offline overstates what it would score live: two-class offline > three-class offline >= "
    "pseudo-online, by at least 0.03 from the first to the last.",
    source="Central result of the paper (offline scores are higher, rankings change).",
    data=SESSIONS,
    system="tangent_space_pseudo_online",
    baselines=("mdm_pseudo_online",),
    holds=(
        at_least("tangent_space_offline2", "tangent_space_pseudo_online", margin=0.03),
        at_least("mdm_offline2", "mdm_pseudo_online", margin=0.03),
        at_least("tangent_space_offline2", "tangent_space_offline3"),
        at_least("mdm_offline2", "mdm_offline3"),
        at_least("tangent_space_offline3", "tangent_space_pseudo_online"),
        at_least("mdm_offline3", "mdm_pseudo_online"),
    ),
    unit="normalised MCC, mean over subjects",
    note="Both decoders score lower pseudo-online than offline on average. Offline with two and with three classes cannot be told apart "
    "here, so that the strict order is not confirmed.",
    seeds=10,
    full_seeds=20,
)
def offline_overstates(seed: int, scale: str) -> dict[str, float]:
    """Normalised MCC of two decoders in three modes on the same sessions, split at the same times."""
    modes = ("offline2", "offline3", "pseudo_online")
    scores = {f"{name}_{mode}": _mean(seed, name, mode) for name in _decoders() for mode in modes}
    return scores | {f"{name}_bits_a_minute": _mean(seed, name, "pseudo_online", "itr_mi") for name in _decoders()}


def _shuffled_score(seed: int, recording: Recording) -> float:
    """Normalised MCC on the purged split when whole trials and breaks exchange their labels."""
    X = sliding_windows(bandpass(recording, 8.0, 30.0)).load()
    segment = WindowTable.of(X).unit
    first = np.unique(segment, return_index=True)[1]
    labels = np.random.default_rng(seed).permutation(X["label"].values.astype(str)[first])[segment]
    (fold,) = PseudoOnlineSplit().folds(X)
    fitted = TangentSpaceLR(C=1.0).fit(X[fold.train], labels[fold.train])
    return nmcc(labels[fold.test], fitted.predict(X[fold.test]))


@claim(
    sentence="Random folds over overlapping windows leak: they score at least 0.04 above the purged chronological split; with the "
    "purge, labels shuffled by trial and break score at chance.",
    source="Follows from the overlap: neighbours of a test window share half of its samples.",
    data=SESSIONS,
    system="leak",
    baselines=("leaky", "purged", "shuffled"),
    holds=(at_least("leak", 0.04), *between("shuffled", 0.47, 0.53)),
    unit="normalised MCC",
    note="Exchanging the labels of trials alone would leave idle decodable; whole trials and breaks exchange theirs.",
    seeds=10,
    full_seeds=20,
)
def overlap_leaks(seed: int, scale: str) -> dict[str, float]:
    """Leaky against purged folds, and the purged split with shuffled labels."""
    shuffled = np.mean([_shuffled_score(10 * seed + repeat, r) for r in _sessions(seed) for repeat in range(4)])
    leaky, purged = _mean(seed, "tangent_space", "leaky"), _mean(seed, "tangent_space", "pseudo_online")
    return {"leaky": leaky, "purged": purged, "leak": leaky - purged, "shuffled": float(shuffled)}


def _decisions(decoder: StreamingDecoder, data: ndarray, chunk: int) -> list[str]:
    decoder.reset()
    made = [decoder.push(data[start : start + chunk]) for start in range(0, len(data), chunk)]
    return [str(decision.label) for several in made for decision in several]


@claim(
    sentence="Streamed in chunks of 1, 7 or 250 samples, a decoder decides exactly as in the batch evaluation; samples after a decision "
    "never change it, and with a zero-phase filter they do.",
    source="What live use requires.",
    data="one simulated session; 8-30 Hz",
    system="differing_decisions",
    holds=(
        at_most("differing_decisions", 0),
        at_most("changed_by_the_future_causal", 0),
        at_least("changed_by_the_future_zero_phase", 1),
    ),
)
def causality(seed: int, scale: str) -> dict[str, float]:
    """Count decisions that differ from the batch, and windows whose samples change when the future does."""
    recording = _sessions(seed)[0]
    X = sliding_windows(bandpass(recording, 8.0, 30.0))
    estimator = RiemannMDM().fit(X[: len(X) // 2])
    batch = [str(label) for label in estimator.predict(X)]
    raw = recording.stream().values
    decoder = StreamingDecoder(estimator, 125.0, window=2.0, step=1.0, filter=(8.0, 30.0))
    # One sample at a time is slow: the first two minutes tell.
    short = raw[: 120 * 125]
    differing = sum(a != b for a, b in zip(_decisions(decoder, short, 1), batch, strict=False))
    for chunk in (7, 250):
        differing += sum(a != b for a, b in zip(_decisions(decoder, raw, chunk), batch, strict=True))
    half = len(raw) // 2
    changed = raw.copy()
    changed[half:] += 100 * np.random.default_rng(seed).normal(size=changed[half:].shape)
    other = recording.copy(streams={"eeg": recording.stream().copy(data=changed)})
    before = np.flatnonzero(X["onset"].values + 2.0 <= half / 125.0)

    def changed_windows(filtered: Recording, filtered_other: Recording) -> float:
        a, b = (sliding_windows(r)[before].values for r in (filtered, filtered_other))
        return float((np.abs(a - b).max(axis=(1, 2)) > 0).sum())

    return {
        "differing_decisions": float(differing),
        "changed_by_the_future_causal": changed_windows(bandpass(recording, 8.0, 30.0), bandpass(other, 8.0, 30.0)),
        "changed_by_the_future_zero_phase": changed_windows(
            bandpass_zero_phase(recording, 8.0, 30.0), bandpass_zero_phase(other, 8.0, 30.0)
        ),
    }


@claim(
    sentence="Idle has to be trained: a decoder fitted on task epochs alone and run over the continuous signal acts falsely more than ten "
    "times a minute of idle, and scores at least 0.10 below the same decoder trained with idle windows.",
    source="Motivation of the paper for the idle class.",
    data=SESSIONS,
    system="trained_with_idle",
    baselines=("trained_on_tasks",),
    holds=(
        at_least("false_activations_a_minute", 10.0),
        at_least("trained_with_idle", "trained_on_tasks", margin=0.10),
    ),
    unit="normalised MCC",
    note="That a decoder without idle training acts falsely more than ten times a minute is confirmed at every seed, and it scores lower "
    "at every seed; but it loses less in normalised MCC, whose normalisation halves every difference of MCC, than the margin claimed.",
    seeds=10,
    full_seeds=20,
)
def idle_matters(seed: int, scale: str) -> dict[str, float]:
    """The tangent-space decoder with and without idle windows in training."""
    return {
        "trained_with_idle": _mean(seed, "tangent_space", "pseudo_online"),
        "trained_on_tasks": _mean(seed, "tangent_space", "task_trained"),
        "false_activations_a_minute": _mean(seed, "tangent_space", "task_trained", "false_per_min"),
        "false_activations_trained_with_idle": _mean(seed, "tangent_space", "pseudo_online", "false_per_min"),
    }
