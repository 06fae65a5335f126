"""The linear counterpart of a multi-modal autoencoder: factors of smoothed activity, split by canonical correlation.

Every step has its settings chosen on the training trials: length-scales and noise by the evidence of Gaussian-process regression, the
number of image components by cross-validated canonical correlation, the ridge of the map from neurons to images by leave-one-out error.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LinearRegression, PoissonRegressor, RidgeCV

from neuropil.stats.fourier_gp import FourierRegression, fourier_basis, regress

LENGTHSCALES = (5.0, 7.0, 10.0, 14.0, 20.0)
SIGNAL_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
KERNELS = tuple(product(LENGTHSCALES, SIGNAL_SHARES))
COMPONENTS = (2, 5, 10, 20)
ALPHAS = tuple(10.0**k for k in range(-2, 5))


class Smoother:
    """Gaussian-process smoothing of every feature of trials, with the kernel that explains it best.

    Attributes
    ----------
    chosen_ : ndarray of shape (n_features,)
        Index of the kernel in `KERNELS`.
    """

    def fit(self, values: ndarray) -> Smoother:
        """Choose kernels for features of trials (trial, time, feature)."""
        self.basis_ = fourier_basis(values.shape[1], min(LENGTHSCALES), extension=0.5)
        self.mean_, self.sd_ = values.mean(axis=(0, 1)), values.std(axis=(0, 1))
        shape = (len(values), values.shape[2])
        evidence = [self._regress(values, kernel).log_evidence.reshape(shape).sum(axis=0) for kernel in KERNELS]
        self.chosen_ = np.argmax(evidence, axis=0)
        return self

    def transform(self, values: ndarray) -> ndarray:
        """Smoothed features of trials, of the same shape."""
        smooth = np.empty(values.shape)
        for k in np.unique(self.chosen_):
            mean = self._regress(values, KERNELS[k]).mean.reshape(values.shape[1], len(values), -1).swapaxes(0, 1)
            smooth[..., self.chosen_ == k] = mean[..., self.chosen_ == k]
        return smooth * self.sd_ + self.mean_

    def _regress(self, values: ndarray, kernel: tuple[float, float]) -> FourierRegression:
        """All features of all trials at once, as series (time, trial x feature)."""
        length, share = kernel
        series = ((values - self.mean_) / self.sd_).swapaxes(0, 1).reshape(values.shape[1], -1)
        return regress(self.basis_, series, length, 1 - share, variance=share)


class LinearPartition(NamedTuple):
    """What the linear method makes of test trials."""

    latents: ndarray
    """Of neurons alone, shared, of images alone; shape (n_trials, n_times, 3)."""
    rates: ndarray
    """Of Poisson regressions on the neural factors."""
    images: ndarray
    """From all three latents."""
    images_from_neurons: ndarray
    """By ridge regression on smoothed counts."""


def _flat(values: ndarray) -> ndarray:
    return values.reshape(-1, values.shape[-1])


def _canonical(neural: ndarray, images: ndarray, n_components: int) -> CCA:
    return CCA(1, max_iter=2000).fit(neural, images[:, :n_components])


def _choose_components(neural: ndarray, images: ndarray) -> int:
    """Number of image components whose first canonical correlation is highest in held-out trials (trial, time, feature)."""
    folds = np.arange(len(neural)) % 4
    scores = []
    for n_components in COMPONENTS:
        found = []
        for fold in range(4):
            fitted = _canonical(_flat(neural[folds != fold]), _flat(images[folds != fold]), n_components)
            a, b = fitted.transform(_flat(neural[folds == fold]), _flat(images[folds == fold])[:, :n_components])
            found.append(np.corrcoef(a[:, 0], b[:, 0])[0, 1])
        scores.append(np.mean(found))
    return COMPONENTS[int(np.argmax(scores))]


def linear_partition(counts: ndarray, images: ndarray, test_counts: ndarray, test_images: ndarray) -> LinearPartition:
    """Split the smoothed factors of both modalities into one shared latent and what is left of each.

    1. Two factors of the square roots of counts, and principal components of images; all smoothed over time.
    2. The first pair of canonical variates, averaged, is the shared latent.
    3. What is left of the factors without it, and of the components, give the others: their first principal components.
    """
    factors = FactorAnalysis(2).fit(_flat(np.sqrt(counts)))
    pictures = PCA(max(COMPONENTS), random_state=0).fit(_flat(images))

    def reduced(model: FactorAnalysis | PCA, values: ndarray) -> ndarray:
        return model.transform(_flat(values)).reshape(*values.shape[:2], -1)

    raw = {"neural": reduced(factors, np.sqrt(counts)), "images": reduced(pictures, images)}
    smoothers = {name: Smoother().fit(values) for name, values in raw.items()}
    neural, pixels = (smoothers[name].transform(raw[name]) for name in ("neural", "images"))
    n_components = _choose_components(neural, pixels)
    canonical = _canonical(_flat(neural), _flat(pixels), n_components)

    def shared(neural: ndarray, pixels: ndarray) -> ndarray:
        return np.mean(canonical.transform(neural, pixels[:, :n_components]), axis=0)

    common = shared(_flat(neural), _flat(pixels))
    without = [LinearRegression().fit(common, _flat(values)) for values in (neural, pixels)]
    own = [PCA(1).fit(_flat(v) - r.predict(common)) for v, r in zip((neural, pixels), without, strict=True)]

    def latents(neural: ndarray, pixels: ndarray) -> ndarray:
        common = shared(neural, pixels)
        parts = [p.transform(v - r.predict(common)) for p, v, r in zip(own, (neural, pixels), without, strict=True)]
        return np.hstack([parts[0], common, parts[1]])

    test = [
        smoothers["neural"].transform(reduced(factors, np.sqrt(test_counts))),
        smoothers["images"].transform(reduced(pictures, test_images)),
    ]
    found, known = latents(*map(_flat, test)), latents(_flat(neural), _flat(pixels))
    shape = test_counts.shape[:2]
    flat_counts = _flat(counts)
    rates = np.stack(
        [
            PoissonRegressor(alpha=1e-3, solver="newton-cholesky")
            .fit(known[:, :2], flat_counts[:, k])
            .predict(found[:, :2])
            for k in range(counts.shape[2])
        ],
        axis=1,
    )
    seen = LinearRegression().fit(known[:, 1:], _flat(images))
    smooth_counts = Smoother().fit(np.sqrt(counts))
    ridge = RidgeCV(ALPHAS).fit(_flat(smooth_counts.transform(np.sqrt(counts))), _flat(images))
    from_neurons = ridge.predict(_flat(smooth_counts.transform(np.sqrt(test_counts))))
    return LinearPartition(
        found.reshape(*shape, 3),
        rates.reshape(test_counts.shape),
        seen.predict(found[:, 1:]).reshape(test_images.shape),
        from_neurons.reshape(test_images.shape),
    )
