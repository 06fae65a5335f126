"""What several claim files need: simulated windows ready for decoding, and the tuned linear baselines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.decoding.tuned import tuned_linear_baselines
from neuropil.preprocess import bandpass, decimate
from neuropil.simulate.eeg import MotorImageryTruth, simulate_motor_imagery
from neuropil.windowing import windows


@lru_cache(maxsize=4)
def motor_imagery(
    seed: int,
    *,
    n_subjects: int = 14,
    n_sessions: int = 1,
    n_trials: int = 96,
    classes: Sequence[str] = ("left_hand", "right_hand"),
    band: tuple[float, float] | None = (8.0, 30.0),
    factor: int = 1,
    tmin: float = 0.0,
    tmax: float = 4.0,
    preset: str = "default",
) -> tuple[xr.DataArray, list[MotorImageryTruth]]:
    """Windows of simulated motor imagery (22 electrodes, 125 Hz / `factor`), band-passed causally, and the truth of every subject."""
    recordings, truths = simulate_motor_imagery(
        n_subjects=n_subjects, n_sessions=n_sessions, n_trials=n_trials, classes=classes, seed=seed, preset=preset
    )
    if band is not None:
        recordings = [bandpass(recording, *band) for recording in recordings]
    if factor > 1:
        recordings = [decimate(recording, factor) for recording in recordings]
    return windows(recordings, tmin=tmin, tmax=tmax).load(), truths


def split_subjects(X: xr.DataArray, n_train: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Windows of the first `n_train` subjects, and those of the others."""
    names = np.unique(X["subject"].values)
    known = np.isin(X["subject"].values, names[:n_train])
    return X[np.flatnonzero(known)], X[np.flatnonzero(~known)]


def tuned_linear() -> dict[str, Any]:
    """The linear decoders of oscillations with their settings chosen by inner cross-validation, not fitted: "csp_lda", "tangent_space"."""
    baselines = tuned_linear_baselines()
    return {name: baselines[name] for name in ("csp_lda", "tangent_space")}


def accuracy(estimator: Any, X: xr.DataArray) -> float:
    """Share of the windows whose class a fitted estimator predicts."""
    return float(np.mean(estimator.predict(X) == X["label"].values))


def accuracy_by_subject(estimator: Any, X: xr.DataArray) -> ndarray:
    """The same for every subject, in the order of their names."""
    right = estimator.predict(X) == X["label"].values
    subjects = X["subject"].values
    return np.array([right[subjects == name].mean() for name in np.unique(subjects)])
