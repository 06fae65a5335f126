"""A decoder for windows of which nothing is known yet: an ensemble of ridge classifiers on descriptions that it chooses itself.

What separates classes may be slow potentials, the power of fast or slow rhythms, or how channels vary together. Every window is
described in about ten ways (`neuropil.decoding.features`). Ridge regression on class indicators is tried on each description and on
mixtures of a slow one and a rhythmic one, with its penalty, in inner cross-validation on the training windows that keeps groups whole
and time in order. Those that do as well as the best, within one standard error, are averaged; the outputs that the folds did not see
calibrate the probabilities. Mixing descriptions by weights is banded ridge regression with few bands.

Mensh, Werfel & Seung (2004). BCI competition 2003, data set Ia: combining gamma-band power with slow cortical potentials to improve
single-trial classification of electroencephalographic signals. IEEE TBME 51(6) - the idea that both sorts of features add up.
Nunez-Elizalde, Huth & Gallant (2019). Voxelwise encoding models with non-spherical multivariate normal priors. NeuroImage 197.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from neuropil.decoding.features import log_covariances, potentials, rhythms
from neuropil.decoding.folds import Folds, inner_folds, spans
from neuropil.decoding.preparation import SignalSubspace, check_not_flat
from neuropil.errors import DataError, UsageError
from neuropil.estimators import Classifier
from neuropil.signal.covariance import inv_sqrtm

PENALTIES = tuple(float(p) for p in np.logspace(-7.5, -0.5, 15))
RHYTHM_SHARES = (0.1, 0.3)
MAX_FEATURES = 256
SHORTEST_RHYTHM = 16

Mixture = tuple[tuple[str, float], ...]


class Candidate(NamedTuple):
    """A mixture of descriptions, tried in cross-validation.

    Attributes
    ----------
    blocks : tuple of (str, float)
        Names of the descriptions and their shares of the prior variance.
    penalty : float
        The best one.
    errors : ndarray of shape (n_held,)
        Squared error of every held-out window, summed over classes.
    outputs : ndarray of shape (n_held, n_classes)
        Predictions for these windows.
    """

    blocks: Mixture
    penalty: float
    errors: ndarray
    outputs: ndarray


def ridge_path(
    features: Float[ndarray, "window feature"],
    targets: Float[ndarray, "window target"],
    penalties: tuple[float, ...],
) -> tuple[Float[ndarray, "penalty feature target"], Float[ndarray, "penalty target"]]:
    r"""Ridge regression with an intercept for many penalties from one eigendecomposition.

    Minimises :math:`\frac{1}{n} \|Y - X B - 1 b^\top\|^2 + \lambda \|B\|^2`, in the smaller of features and windows.

    Returns
    -------
    coefficients : ndarray of shape (n_penalties, n_features, n_targets)
    intercepts : ndarray of shape (n_penalties, n_targets)
    """
    n_windows, n_features = features.shape
    middle, target_mean = features.mean(axis=0), targets.mean(axis=0)
    centred, residual = features - middle, targets - target_mean
    wide = n_features > n_windows
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    loadings = vectors.T @ (residual if wide else centred.T @ residual)
    back = centred.T @ vectors if wide else vectors
    values = np.maximum(values, 0)
    coefficients = np.stack([back @ (loadings / (values + penalty * n_windows)[:, None]) for penalty in penalties])
    return coefficients, target_mean - middle @ coefficients


class Description(BaseEstimator):
    """One description made comparable: at most 256 principal components, a mean square of one a window.

    Tables of features are standardised. Covariances become tangent vectors at the mean of the training windows, whose entries are in one
    unit already and are centred only.

    Attributes
    ----------
    whitening_ : ndarray of shape (n_octaves, n_directions, n_directions) or None
        For covariances: inverse square roots of the training windows' means.
    scaler_ : StandardScaler
    components_ : PCA or None
    length_ : float
        Root mean square of a training window before it is made one.
    """

    def fit_transform(self, raw: Float[ndarray, ...]) -> Float[ndarray, "window component"]:
        """Learn from training windows, without labels, and describe them.

        `raw` is a table (window, feature) or holds covariances (octave, window, direction, direction).
        """
        self.whitening_ = inv_sqrtm(raw.mean(axis=1)) if raw.ndim == 4 else None
        features = self._vectors(raw)
        self.scaler_, self.components_ = StandardScaler(with_std=raw.ndim == 2).fit(features), None
        scaled = self.scaler_.transform(features)
        self.length_ = float(np.sqrt(scaled.var(axis=0).sum())) or 1.0
        if features.shape[1] > MAX_FEATURES and len(features) > MAX_FEATURES:
            self.components_ = PCA(MAX_FEATURES, random_state=0).fit(scaled)
        return self._compress(features)

    def transform(self, raw: Float[ndarray, ...]) -> Float[ndarray, "window component"]:
        """Describe windows."""
        return self._compress(self._vectors(raw))

    def _vectors(self, raw: ndarray) -> ndarray:
        if self.whitening_ is None:
            return raw
        return np.concatenate([log_covariances(c, w) for c, w in zip(raw, self.whitening_, strict=True)], axis=1)

    def _compress(self, features: ndarray) -> ndarray:
        scaled = self.scaler_.transform(features)
        if self.components_ is not None:
            scaled = self.components_.transform(scaled)
        return scaled / self.length_


class AutoDecoder(Classifier):
    """An ensemble of ridge classifiers on slow potentials, power and covariances, chosen by inner cross-validation.

    Takes unfiltered windows of any sort and rate; rhythms are looked at in windows of 16 samples or more. A fit takes seconds.

    Parameters
    ----------
    n_members : int, default 8
        At most so many classifiers are averaged.
    n_folds : int, default 5
        Of the inner cross-validation, see `inner_folds`.
    max_directions : int, default 40
        Covariances are taken between at most so many principal directions of the channels.

    Attributes
    ----------
    members_ : list of dict
        Of every classifier in the ensemble, best first: "blocks" (descriptions and their shares), "penalty", "squared_error" (mean over
        held-out windows).
    accuracy_ : float
        Of the ensemble on held-out windows of the inner cross-validation. Optimistic, since the members were chosen by them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["rest", "move"], 30)
    >>> X = rng.normal(size=(60, 3, 64)) + (y == "move")[:, None, None] * np.linspace(0, 1, 64)
    >>> AutoDecoder().fit(X, y).score(X, y)
    1.0
    """

    def __init__(self, n_members: int = 8, n_folds: int = 5, max_directions: int = 40) -> None:
        self.n_members = n_members
        self.n_folds = n_folds
        self.max_directions = max_directions

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> AutoDecoder:
        """Choose and fit on windows of shape (n_windows, n_channels, n_times), labels and, where given, groups."""
        if self.n_members < 1 or self.max_directions < 1:
            raise UsageError(
                f"n_members and max_directions must be 1 or more, got {self.n_members} and {self.max_directions}."
            )
        array, labels, groups = self._fit_data(X, y, groups)
        targets = (labels[:, None] == self.classes_).astype(float)
        folds = inner_folds(labels, groups, self.n_folds, spans(X))
        held = labels[np.concatenate([test for _, test in folds])]
        lonely = self.classes_[~np.isin(self.classes_, held)]
        if len(lonely):
            raise DataError(
                f"Calibration needs every class in two groups or more, class {lonely[0].item()!r} is in one; pass other groups."
            )
        slow, rhythmic = self._describe(np.asarray(array, dtype=float), fitting=True)
        self.descriptions_ = {name: Description() for name in slow | rhythmic}
        tables = {name: self.descriptions_[name].fit_transform(values) for name, values in (slow | rhythmic).items()}
        chosen = self._choose(list(slow), list(rhythmic), tables, targets, folds)
        self._fit_members(chosen, tables, targets)
        outputs = np.mean([candidate.outputs for candidate in chosen], axis=0)
        self.calibration_ = LogisticRegression(C=1e3, max_iter=5000).fit(outputs, held)
        self.accuracy_ = float(np.mean(self.calibration_.predict(outputs) == held))
        return self

    def predict_proba(self, X: Any) -> ndarray:
        """Probability of every class, shape (n_windows, n_classes)."""
        slow, rhythmic = self._describe(np.asarray(self._predict_data(X), dtype=float), fitting=False)
        raw = slow | rhythmic
        tables = {name: description.transform(raw[name]) for name, description in self.descriptions_.items()}
        outputs = np.mean(
            [
                _mix(tables, member["blocks"]) @ coefficients + intercept
                for member, coefficients, intercept in zip(
                    self.members_, self.coefficients_, self.intercepts_, strict=True
                )
            ],
            axis=0,
        )
        return self.calibration_.predict_proba(outputs)

    def predict(self, X: Any) -> ndarray:
        """Class of every window, shape (n_windows,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _describe(self, windows: ndarray, *, fitting: bool) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
        if fitting:
            self.scale_ = float(windows.std()) or 1.0
        if windows.shape[-1] < SHORTEST_RHYTHM:
            return potentials(windows / self.scale_), {}
        if fitting:
            self.subspace_ = SignalSubspace(max_rank=self.max_directions).fit(windows)
            self.scale_ = self.subspace_.scale_
        scaled = windows / self.scale_
        slow = potentials(scaled)
        if not fitting and slow.keys() >= self.descriptions_.keys():
            return slow, {}
        check_not_flat(windows)
        return slow, rhythms(scaled, self.subspace_.transform(windows))

    def _choose(
        self, slow: list[str], rhythmic: list[str], tables: dict[str, ndarray], targets: ndarray, folds: Folds
    ) -> list[Candidate]:
        """The candidates whose squared error lies within one standard error of the best one's."""

        def attempt(*blocks: tuple[str, float]) -> Candidate:
            return _cross_validate(blocks, _mix(tables, blocks), targets, folds)

        alone = {name: attempt((name, 1.0)) for name in [*slow, *rhythmic]}
        slow = sorted(slow, key=lambda name: float(alone[name].errors.mean()))
        rhythmic = sorted(rhythmic, key=lambda name: float(alone[name].errors.mean()))
        candidates = list(alone.values())
        for potential in slow[:3]:
            for rhythm in rhythmic[:2]:
                candidates += [attempt((potential, 1 - share), (rhythm, share)) for share in RHYTHM_SHARES]
        if len(rhythmic) > 1:
            candidates.append(attempt((rhythmic[0], 0.5), (rhythmic[1], 0.5)))
        candidates.sort(key=lambda candidate: float(candidate.errors.mean()))
        best = candidates[0].errors
        kept = []
        for candidate in candidates[: self.n_members]:
            excess = candidate.errors - best
            if excess.mean() <= excess.std() / np.sqrt(len(excess)):
                kept.append(candidate)
        return kept

    def _fit_members(self, chosen: list[Candidate], tables: dict[str, ndarray], targets: ndarray) -> None:
        """Fit the chosen candidates on all training windows, and forget descriptions that none of them uses."""
        self.members_: list[dict[str, Any]] = []
        self.coefficients_: list[ndarray] = []
        self.intercepts_: list[ndarray] = []
        for candidate in chosen:
            coefficients, intercepts = ridge_path(_mix(tables, candidate.blocks), targets, (candidate.penalty,))
            self.coefficients_.append(coefficients[0])
            self.intercepts_.append(intercepts[0])
            error = float(candidate.errors.mean())
            self.members_.append({"blocks": candidate.blocks, "penalty": candidate.penalty, "squared_error": error})
        used = {name for candidate in chosen for name, _ in candidate.blocks}
        self.descriptions_ = {name: fitted for name, fitted in self.descriptions_.items() if name in used}


def _mix(tables: dict[str, ndarray], blocks: Mixture) -> ndarray:
    return np.concatenate([np.sqrt(share) * tables[name] for name, share in blocks], axis=1)


def _cross_validate(blocks: Mixture, features: ndarray, targets: ndarray, folds: Folds) -> Candidate:
    parts = []
    for train, test in folds:
        coefficients, intercepts = ridge_path(features[train], targets[train], PENALTIES)
        parts.append(features[test] @ coefficients + intercepts[:, None])
    outputs = np.concatenate(parts, axis=1)
    errors = np.sum((outputs - targets[np.concatenate([test for _, test in folds])]) ** 2, axis=2)
    best = int(errors.mean(axis=1).argmin())
    return Candidate(blocks, PENALTIES[best], errors[best], outputs[best])
