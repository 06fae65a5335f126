"""Evidence for the multi-modal Gaussian-process autoencoder: latents are told apart, and what the prior and both modalities do for it.

Everything is measured on trials that were not used for fitting, on neurons and images whose latents are known. A latent is identified up to
its sign and scale, so every R² is that of one straight line through all bins of all test trials, from posterior means.

Gondur, Sikandar, Schaffer, Aoi & Keeley (2024). Multi-modal Gaussian process variational autoencoders for neural and behavioral data. ICLR.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.claims.core import at_least, at_most, claim
from neuropil.claims.latent.mm_gpvae_linear import linear_partition
from neuropil.latent.mm_gpvae import LAPTOP, MMGPVAE
from neuropil.simulate.multimodal import MultimodalTrials, simulate_multimodal

GROUPS = ("neural", "shared", "behaviour")
TEST = 0.2
TRIAL_EPOCHS = 8
FEW_NEURONS_LR = (1e-3, 3e-3, 1e-2)
DATA = (
    "120 simulated trials of 60 bins to fit and 30 to test: 60 Poisson neurons; images of 24 x 24 pixels of a handwritten three, another "
    "in every bin; one latent each of neurons alone (log-rates), of both (log-rates, and the images' turn), of images alone (their size)"
)
SIMULATION = (
    "Simulation of the paper (neurons and turning, growing digits), here with small images that need no download."
)


def _r2(estimate: ndarray, truth: ndarray) -> float:
    """Of one straight line through all bins; 0 for an estimate that is constant."""
    return 0.0 if np.ptp(estimate) == 0 else float(np.corrcoef(estimate.ravel(), truth.ravel())[0, 1] ** 2)


def _correlation(rates: Any, truth: ndarray) -> float:
    return float(np.corrcoef(rates.ravel(), truth.ravel())[0, 1])


def _split(seed: int, n_trials: int = 150, **options: Any) -> tuple[MultimodalTrials, MultimodalTrials]:
    trials = simulate_multimodal(n_trials, random_state=seed, **options)
    n_fit = round((1 - TEST) * n_trials)
    return trials.take(slice(0, n_fit)), trials.take(slice(n_fit, n_trials))


def _fitted(fit: MultimodalTrials, seed: int, **options: Any) -> MMGPVAE:
    model = MMGPVAE(**{**LAPTOP, "fusion": "poe", "random_state": seed, "progress": False, **options})
    return model.fit(fit.counts, fit.images)


def _recovery(latents: ndarray, truth: ndarray, prefix: str = "") -> dict[str, float]:
    """R² of every latent with its own truth, their mean, and the largest with another one's."""
    table = np.array([[_r2(latents[..., i], truth[..., j]) for j in range(3)] for i in range(3)])
    row = {prefix + name: float(table[k, k]) for k, name in enumerate(GROUPS)}
    return row | {
        prefix + "mean": float(np.diag(table).mean()),
        prefix + "leakage": float(table[~np.eye(3, dtype=bool)].max()),
    }


def _explained(images: Any, fit: MultimodalTrials, test: MultimodalTrials) -> float:
    """Share of the squared error of the mean training image that a prediction of the test images avoids."""
    mean = fit.images.mean(axis=(0, 1))
    return float(1 - np.sum((test.images - images) ** 2) / np.sum((test.images - mean) ** 2))


@claim(
    sentence="Three latents are found and told apart: R² of each with its own truth is at least 0.90, with the others' at most 0.10. "
    "Without the images, the shared latent is found with 0.60 or more, and images are predicted better than by their mean.",
    source=SIMULATION,
    data=DATA,
    system="mean",
    baselines=("shared_from_neurons", "shared_from_images"),
    linear=("linear_mean",),
    holds=(
        at_least("neural", 0.90),
        at_least("shared", 0.90),
        at_least("behaviour", 0.90),
        at_most("leakage", 0.10),
        at_least("shared_from_neurons", 0.60),
        at_least("images_from_neurons", 0.0),
    ),
    unit="R²",
    note="Smoothing with kernels chosen by evidence, then canonical correlation, comes close: it finds the latent of neurons alone at "
    "least as well and loses on the images' own, which is where the deep network pays.",
)
def partition(seed: int, scale: str) -> dict[str, float]:
    """Latents from both modalities, from one, and by a linear method."""
    fit, test = _split(seed)
    model = _fitted(fit, seed)
    row = _recovery(model.transform(test.counts, test.images), test.latents)
    predicted, from_neurons = model.predict(test.counts, test.images), model.predict(test.counts)
    row |= {
        "shared_from_neurons": _r2(model.transform(test.counts)[..., 1], test.latents[..., 1]),
        "shared_from_images": _r2(model.transform(X=test.images)[..., 1], test.latents[..., 1]),
        "rate_correlation": _correlation(predicted.neural, test.rates),
        "images": _explained(predicted.behaviour, fit, test),
        "images_from_neurons": _explained(from_neurons.behaviour, fit, test),
    }
    linear = linear_partition(fit.counts, fit.images, test.counts, test.images)
    row |= _recovery(linear.latents, test.latents, "linear_")
    row["linear_rate_correlation"] = _correlation(linear.rates, test.rates)
    row["linear_images"] = _explained(linear.images, fit, test)
    row["linear_images_from_neurons"] = _explained(linear.images_from_neurons, fit, test)
    return row


@claim(
    sentence="At equal processor time, a smooth prior in the Fourier domain finds the latents better than one on bins with a full "
    "covariance (mean R² higher by 0.01, better rates), and better than no smooth prior (R² of the shared latent higher by 0.04, "
    "correlation with the true rates by 0.03); it needs 13 variances a latent instead of 60 bins.",
    source=f"{SIMULATION} Ablations: time domain, and a plain variational autoencoder with the same networks.",
    data=DATA,
    system="mean",
    baselines=("time_mean", "none_mean"),
    linear=("linear_mean",),
    holds=(
        at_least("mean", "time_mean", 0.01),
        at_least("rate_correlation", "time_rate_correlation"),
        at_least("shared", "none_shared", 0.04),
        at_least("rate_correlation", "none_rate_correlation", 0.03),
        at_most("coefficients", 13),
    ),
    unit="R²",
)
def smooth_prior(seed: int, scale: str) -> dict[str, float]:
    """The same networks under three priors; the second and third train as many epochs as fit into the time of the first."""
    fit, test = _split(seed)
    row: dict[str, float] = {}
    seconds = 0.0
    for domain, prefix in (("fourier", ""), ("time", "time_"), ("none", "none_")):
        n_epochs = LAPTOP["max_epochs"]
        if seconds:
            began = time.process_time()
            _fitted(fit, seed, domain=domain, max_epochs=TRIAL_EPOCHS)
            n_epochs = max(1, round(seconds / (time.process_time() - began) * TRIAL_EPOCHS))
        began = time.process_time()
        model = _fitted(fit, seed, domain=domain, max_epochs=n_epochs)
        spent = time.process_time() - began
        seconds = seconds or spent
        row |= _recovery(model.transform(test.counts, test.images), test.latents, prefix)
        predicted = model.predict(test.counts, test.images)
        row[prefix + "rate_correlation"] = _correlation(predicted.neural, test.rates)
        row[prefix + "images"] = _explained(predicted.behaviour, fit, test)
        row[prefix + "seconds"], row[prefix + "epochs"] = spent, n_epochs
        row[prefix + "coefficients"] = model.module_.prior.n_coefficients
    linear = linear_partition(fit.counts, fit.images, test.counts, test.images)
    return row | _recovery(linear.latents, test.latents, "linear_")


@claim(
    sentence="With ten neurons both modalities matter: rates of held-out trials correlate with the true ones better by 0.02 than those of "
    "the same factor analysis without images, and the shared latent is found less well (yet with an R² of 0.60) when images are withheld.",
    source="Ablation of the paper: each modality alone.",
    data=DATA.replace("60 Poisson neurons", "10 Poisson neurons"),
    system="rate_correlation",
    baselines=("gpfa_rate_correlation", "neurons_only_rate_correlation"),
    linear=("linear_rate_correlation",),
    holds=(
        at_least("rate_correlation", "gpfa_rate_correlation", 0.02),
        at_most("shared_from_neurons", "shared"),
        at_least("shared_from_neurons", 0.60),
    ),
    unit="correlation with the true rates",
    note="Loadings are strong here: on a calibration seed (with fewer trials) a model of neurons alone already reached 0.98 with ten "
    "of them, which leaves no room for a gain of 0.02. The neural rates of learning are raised, because with those of the other claims few "
    "neurons pull so weakly that the shared latent can end in an optimum where images do not share it (R² 0.14 on a calibration seed, 0.89 "
    "with the raised ones).",
)
def few_neurons(seed: int, scale: str) -> dict[str, float]:
    """Both modalities, one of them withheld, and a model of neurons alone."""
    fit, test = _split(seed, n_neurons=10)
    model = _fitted(fit, seed, lr=FEW_NEURONS_LR)
    alone = MMGPVAE(2, 0, 0, **{**LAPTOP, "lr": FEW_NEURONS_LR}, random_state=seed, progress=False).fit(fit.counts)
    latents = model.transform(test.counts, test.images)
    linear = linear_partition(fit.counts, fit.images, test.counts, test.images)
    return {
        "rate_correlation": _correlation(model.predict(test.counts, test.images).neural, test.rates),
        "neurons_only_rate_correlation": _correlation(model.predict(test.counts).neural, test.rates),
        "gpfa_rate_correlation": _correlation(alone.predict(test.counts).neural, test.rates),
        "linear_rate_correlation": _correlation(linear.rates, test.rates),
        "shared": _r2(latents[..., 1], test.latents[..., 1]),
        "neural": _r2(latents[..., 0], test.latents[..., 0]),
        "shared_from_neurons": _r2(model.transform(test.counts)[..., 1], test.latents[..., 1]),
    }
