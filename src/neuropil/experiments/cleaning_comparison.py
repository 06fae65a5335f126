"""AT-AT beside the classical methods, on mixes whose truth is known, at every signal-to-noise ratio from -7 to 2 dB.

Regression and independent components need several channels, and regression also electrodes on the muscles. So segments are mixed to a
recording of many channels: more brain sources than channels, each a run of clean segments; a few muscles, each a run of noise segments,
seen by every channel with another weight; and two electrodes on the muscles that see all of them, and a little of the brain. The ratio
(amplitude convention of EEGdenoiseNet) is that of every channel over the whole recording. Single-channel methods get one channel at a
time and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.decoding.artefacts import AverageWienerFilter, ICARemoval, ReferenceRegression, WaveletDenoiser
from neuropil.decoding.at_at import ATATDenoiser
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.denoising import correlation_with_truth, relative_rmse, relative_rmse_spectrum
from neuropil.experiments.cleaning import (
    check_picture,
    load_segments,
    obtain_model,
    save_picture,
    simulated_segments,
    train_model,
)
from neuropil.progress import bar
from neuropil.signal.mixing import amplitude_ratio, mix, rms

LEVELS = tuple(float(s) for s in range(-7, 3))
N_CHANNELS = 16
N_MUSCLES = 4
LEAK = 0.1
N_EPOCHS = 60
N_TUNING = 200
N_TEST = 400
TEST_SEED = 1_000_003
METRICS = {
    "cc": "correlation with the truth",
    "rrmse_time": "relative RMSE, time",
    "rrmse_spectrum": "relative RMSE, spectrum",
}
USES = {
    "noisy": "nothing is done",
    "at-at": "one channel at a time; trained on other segments",
    "autoencoder": "one channel at a time; AT-AT without its transformer",
    "wavelet": "one channel at a time; tuned on training segments at this ratio",
    "regression": "two electrodes on the muscles",
    "ica": "all channels; components chosen by two electrodes on the muscles",
    "wiener-oracle": "the true mean spectra of the test data at this ratio",
}


class Montage(NamedTuple):
    """A recording of many channels, cut into epochs, before brain and muscles are added up."""

    brain: ndarray
    """Clean EEG, shape (n_epochs, n_channels, n_times)."""
    muscles: ndarray
    """Muscle noise of every channel, of the same shape, each channel at the rms of its EEG."""
    electrodes: ndarray
    """Muscle noise at the electrodes on the muscles, shape (n_epochs, 2, n_times)."""
    leak: ndarray
    """Brain activity at those electrodes, of the same shape."""

    def at(self, level: float) -> tuple[ndarray, ndarray]:
        """Contaminated channels and the electrodes on the muscles at a ratio in dB."""
        ratio = float(amplitude_ratio(level))
        return self.brain + self.muscles / ratio, self.electrodes / ratio + self.leak


def make_montage(
    clean: ndarray, noise: ndarray, *, n_epochs: int = N_EPOCHS, n_channels: int = N_CHANNELS, seed: int = 0
) -> Montage:
    """Spread single-channel segments over many channels with random weights that stay the same throughout.

    Parameters
    ----------
    clean, noise : ndarray of shape (n, n_times)
    n_epochs, n_channels, seed : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> montage = make_montage(rng.normal(size=(50, 64)), rng.normal(size=(50, 64)), n_epochs=5, n_channels=4)
    >>> [x.shape for x in montage.at(-7.0)]
    [(5, 4, 64), (5, 2, 64)]
    """
    rng = np.random.default_rng(seed)
    n_sources = 2 * n_channels
    sources = (clean / rms(clean)[:, None])[rng.integers(len(clean), size=(n_epochs, n_sources))]
    bursts = (noise / rms(noise)[:, None])[rng.integers(len(noise), size=(n_epochs, N_MUSCLES))]
    brain = np.einsum("cs,nst->nct", rng.normal(size=(n_channels, n_sources)), sources)
    muscles = np.einsum("cm,nmt->nct", rng.normal(size=(n_channels, N_MUSCLES)), bursts)
    electrodes = np.einsum("rm,nmt->nrt", rng.uniform(0.3, 1.0, size=(2, N_MUSCLES)), bursts)
    leak = np.einsum("rs,nst->nrt", rng.normal(size=(2, n_sources)), sources)

    def level(x: ndarray) -> ndarray:
        return rms(np.moveaxis(x, 1, 0).reshape(x.shape[1], -1))[None, :, None]

    brain, muscles, electrodes, leak = (x / level(x) for x in (brain, muscles, electrodes, leak))
    return Montage(brain, muscles, electrodes, LEAK * leak)


@dataclass
class CleaningComparison:
    """Scores of every method at every ratio.

    Attributes
    ----------
    table : DataFrame
        Columns `method`, `snr_db`, the three metrics (means over channels and epochs) and their standard errors over epochs.
    facts : dict
        Data, sizes and seed.
    """

    table: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def pivot(self, metric: str) -> pd.DataFrame:
        """One metric: methods as rows, ratios as columns."""
        wide = self.table.pivot_table(index="method", columns="snr_db", values=metric, sort=False)
        return wide[sorted(wide.columns)]

    def to_json(self) -> dict[str, Any]:
        """Plain values: facts, what each method used, and one row a method and ratio."""
        return {**self.facts, "uses": USES, "rows": self.table.to_dict(orient="records")}

    def plot(self, path: str | Path) -> Path:
        """Draw the three metrics over the ratio, one line a method."""
        from matplotlib.figure import Figure

        from neuropil.display import COLOURS

        figure = Figure(figsize=(13, 4.2), layout="constrained")
        for axis, (metric, label) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
            for k, (method, row) in enumerate(self.pivot(metric).iterrows()):
                dashed = method in ("noisy", "wiener-oracle")
                axis.plot(
                    row.index,
                    row.values,
                    marker="o",
                    ms=3,
                    color=COLOURS[k],
                    ls="--" if dashed else "-",
                    label=str(method),
                )
            axis.set_title(label, loc="left", fontsize="medium")
            axis.set_xlabel("signal-to-noise ratio (dB of amplitude)")
            axis.spines[["top", "right"]].set_visible(False)
            if metric == "rrmse_spectrum":
                axis.set_yscale("log")
        figure.axes[0].legend(frameon=False, fontsize="small")
        return save_picture(figure, path)


def compare_cleaning(
    denoiser: ATATDenoiser,
    clean: ndarray,
    noise: ndarray,
    *,
    train: tuple[ndarray, ndarray],
    data: str = "",
    n_epochs: int = N_EPOCHS,
    n_channels: int = N_CHANNELS,
    seed: int = 0,
) -> CleaningComparison:
    """Score AT-AT beside the classical methods on the same multi-channel mixes.

    Parameters
    ----------
    denoiser : ATATDenoiser
        Trained on other segments than those of the test.
    clean, noise : ndarray of shape (n, n_times)
        Test segments.
    train : (ndarray, ndarray)
        Clean and noise segments to tune the wavelet method on.
    data : str
        What the segments are, for the table.
    n_epochs, n_channels, seed : int
        Size of the recording that is mixed, and its seed.
    """
    if clean.shape[-1] != denoiser.segment_length or noise.shape[-1] != denoiser.segment_length:
        raise DataError(
            f"The model was trained on segments of {denoiser.segment_length} samples, got {clean.shape[-1]} and {noise.shape[-1]}."
        )
    montage = make_montage(clean, noise, n_epochs=n_epochs, n_channels=n_channels, seed=seed)
    rng = np.random.default_rng(seed)
    known = [part[rng.integers(len(part), size=N_TUNING)] for part in train]
    rows = []
    with bar("comparing", len(LEVELS)) as advance:
        for level in LEVELS:
            for method, cleaned in _cleaned_by_all(denoiser, montage, level, known, seed).items():
                rows.append({"method": method, "snr_db": level, **_scores(cleaned, montage.brain, denoiser.sfreq)})
            advance(f"{level:g} dB", 1)
    facts = {
        "data": data,
        "snr_convention": "amplitude10",
        "n_channels": n_channels,
        "n_brain_sources": 2 * n_channels,
        "n_muscles": N_MUSCLES,
        "n_epochs": n_epochs,
        "seed": seed,
    }
    return CleaningComparison(pd.DataFrame(rows), facts)


def compare_models(
    model: str | Path | None = None,
    *,
    clean: str | Path | None = None,
    noise: str | Path | None = None,
    n_epochs: int = N_EPOCHS,
    picture: str | Path | None = None,
    seed: int = 0,
    **training: Any,
) -> CleaningComparison:
    """Train or load a denoiser as `neuropil.experiments.cleaning.obtain_model` does, and compare it on segments it has not seen.

    Of the user's own clean segments and artefacts the last fifth is held out before the training; with simulated ones, other subjects are
    simulated for the test. With `model` and the user's own files that last fifth is tested: the model must not have been trained on it.

    Parameters
    ----------
    model, clean, noise, seed :
        See `neuropil.experiments.cleaning.obtain_model`.
    n_epochs : int
        Epochs of the recording that is mixed.
    picture : path-like, optional
        Where to draw the comparison.
    **training
        Further arguments of `obtain_model`.
    """
    check_picture(picture)
    if (clean is None) != (noise is None):
        raise UsageError(
            "A comparison needs both clean segments and noise (--clean and --noise), got only one of them."
        )
    if clean is not None and noise is not None:
        known, unseen = zip(*(_divided(load_segments(path)) for path in (clean, noise)), strict=True)
        if model is None:
            denoiser = train_model(*known, seed=seed, **training)
        else:
            denoiser, _ = obtain_model(model)
        data = f"{clean} and {noise}, the last fifth of each"
    else:
        denoiser, _ = obtain_model(model, seed=seed, **training)
        known = simulated_segments(seed=seed)[:2]
        unseen = simulated_segments(N_TEST, seed=seed + TEST_SEED)[:2]
        data = "simulated EEG and muscle noise of subjects that were not trained on"
    comparison = compare_cleaning(denoiser, *unseen, train=known, data=data, n_epochs=n_epochs, seed=seed)
    if picture is not None:
        comparison.plot(picture)
    return comparison


def _divided(segments: ndarray) -> tuple[ndarray, ndarray]:
    """The first four fifths and the last one, one channel a row."""
    rows = segments.reshape(-1, segments.shape[-1]).astype(np.float64)
    n_known = round(0.8 * len(rows))
    if not 0 < n_known < len(rows):
        raise DataError(f"A comparison needs a few segments to train on and some to test, got {len(rows)}.")
    return rows[:n_known], rows[n_known:]


def _cleaned_by_all(
    denoiser: ATATDenoiser, montage: Montage, level: float, known: list[ndarray], seed: int
) -> dict[str, ndarray]:
    noisy, electrodes = montage.at(level)
    n_channels = noisy.shape[1]
    both, references = np.concatenate([noisy, electrodes], axis=1), (n_channels, n_channels + 1)
    tuning = mix(known[0], known[1], level)
    return {
        "noisy": noisy,
        "at-at": denoiser.transform(noisy),
        "autoencoder": denoiser.stages(noisy)[0],
        "wavelet": WaveletDenoiser().fit(tuning, known[0]).transform(noisy),
        "regression": ReferenceRegression(references).fit_transform(both)[:, :n_channels],
        "ica": ICARemoval(denoiser.sfreq, references, random_state=seed).fit_transform(both)[:, :n_channels],
        "wiener-oracle": AverageWienerFilter().fit(noisy, montage.brain).transform(noisy),
    }


def _scores(cleaned: ndarray, truth: ndarray, sfreq: float) -> dict[str, float]:
    values = {
        "cc": correlation_with_truth(cleaned, truth),
        "rrmse_time": relative_rmse(cleaned, truth),
        "rrmse_spectrum": relative_rmse_spectrum(cleaned, truth, sfreq),
    }
    errors = {f"{name}_se": float(v.mean(axis=1).std(ddof=1) / np.sqrt(len(v))) for name, v in values.items()}
    return {name: float(v.mean()) for name, v in values.items()} | errors
