"""Regressions of a state on features, for filters that learn p(state | features): kernel averages, Gaussian processes, a small network.

All take features (n_samples, n_features) and states (n_samples, d), and hold arrays and numbers only once fitted.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from sklearn.base import BaseEstimator, RegressorMixin, clone

from neuropil.errors import UsageError
from neuropil.stats.kernel_regression import leave_one_out_bandwidth, nadaraya_watson

N_FOR_LIKELIHOOD = 400
N_FOR_PROCESS = 3000
PENALTIES = (1e-3, 1e-1, 1e1)


class NadarayaWatson(RegressorMixin, BaseEstimator):
    """Gaussian kernel average with a bandwidth chosen by leaving one sample out.

    Attributes
    ----------
    bandwidth_ : float
        In the unit of the features.
    """

    def fit(self, X: Any, y: Any) -> NadarayaWatson:
        """Keep the samples, choose the bandwidth."""
        self.X_, self.y_ = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self.bandwidth_ = leave_one_out_bandwidth(self.X_, self.y_)
        return self

    def predict(self, X: Any) -> ndarray:
        """Averages, shape (n_samples, d)."""
        return nadaraya_watson(self.X_, self.y_, X, self.bandwidth_).values


class GaussianProcess(RegressorMixin, BaseEstimator):
    """One Gaussian process a state, with an isotropic squared-exponential kernel.

    Length scale and noise maximise the marginal likelihood, on 400 samples at equal distances; the posterior mean then rests on all of
    up to 3,000 samples, on as many at equal distances of more.

    Attributes
    ----------
    length_scales_ : ndarray of shape (d,)
    """

    def fit(self, X: Any, y: Any) -> GaussianProcess:
        """Hyperparameters and posterior mean of every state."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self.scale_ = float(np.sqrt(X.var(axis=0).mean()))
        self.X_ = X[_spread_out(len(X), N_FOR_PROCESS)] / self.scale_
        few, targets = _spread_out(len(X), N_FOR_LIKELIHOOD), y[_spread_out(len(X), N_FOR_PROCESS)]
        self.mean_ = y.mean(axis=0)
        lengths, weights = [], []
        for k in range(y.shape[1]):
            found = []
            for length in (1.0, 3.0):
                kernel = ConstantKernel(float(y[:, k].var())) * RBF(length, (0.05, 50)) + WhiteKernel(
                    0.3 * float(y[:, k].var())
                )
                with warnings.catch_warnings():  # a bound reached is an answer, too
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    found.append(GaussianProcessRegressor(kernel).fit(X[few] / self.scale_, y[few, k] - self.mean_[k]))
            best = max(found, key=lambda process: process.log_marginal_likelihood_value_)
            whole = GaussianProcessRegressor(best.kernel_, optimizer=None).fit(self.X_, targets[:, k] - self.mean_[k])
            lengths.append(float(best.kernel_.k1.k2.length_scale))
            weights.append(float(best.kernel_.k1.k1.constant_value) * whole.alpha_)
        self.length_scales_, self.weights_ = np.array(lengths), np.stack(weights, axis=1)
        return self

    def predict(self, X: Any) -> ndarray:
        """Posterior means, shape (n_samples, d)."""
        from scipy.spatial.distance import cdist

        squares = cdist(np.asarray(X, dtype=float) / self.scale_, self.X_, "sqeuclidean")
        means = [
            np.exp(-squares / (2 * length**2)) @ w
            for length, w in zip(self.length_scales_, self.weights_.T, strict=True)
        ]
        return np.stack(means, axis=1) + self.mean_


class OneHiddenLayer(RegressorMixin, BaseEstimator):
    """A network with one hidden layer of tanh units on standardised features; its penalty is chosen over five stretches of time.

    Parameters
    ----------
    n_units : int, default 10
    random_state : int, optional

    Attributes
    ----------
    penalty_ : float
    """

    def __init__(self, n_units: int = 10, random_state: int | None = None) -> None:
        self.n_units = n_units
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> OneHiddenLayer:
        """Choose the penalty, train on everything."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import KFold
        from sklearn.neural_network import MLPRegressor

        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        spread = X.std(axis=0)
        self.mean_, self.scale_ = X.mean(axis=0), np.where(spread > 0, spread, 1.0)
        inputs, targets = (X - self.mean_) / self.scale_, y[:, 0] if y.shape[1] == 1 else y

        def trained(rows: Any, penalty: float) -> Any:
            network = MLPRegressor(
                hidden_layer_sizes=(self.n_units,),
                activation="tanh",
                solver="lbfgs",
                alpha=penalty,
                max_iter=200,
                random_state=self.random_state,
            )
            with warnings.catch_warnings():  # stopping early is a penalty by itself
                warnings.simplefilter("ignore", ConvergenceWarning)
                return network.fit(inputs[rows], targets[rows])

        errors = np.zeros(len(PENALTIES))
        for rows, held in KFold(5).split(inputs):
            for k, penalty in enumerate(PENALTIES):
                errors[k] += ((trained(rows, penalty).predict(inputs[held]) - targets[held]) ** 2).sum()
        self.penalty_ = PENALTIES[int(errors.argmin())]
        network = trained(slice(None), self.penalty_)
        self.weights_, self.biases_ = list(network.coefs_), list(network.intercepts_)
        return self

    def predict(self, X: Any) -> ndarray:
        """Outputs of the network, shape (n_samples, d)."""
        hidden = np.tanh((np.asarray(X, dtype=float) - self.mean_) / self.scale_ @ self.weights_[0] + self.biases_[0])
        return hidden @ self.weights_[1] + self.biases_[1]


class NeighbouringCovariance(BaseEstimator):
    """Covariance of a regression's errors around a point: kernel averages of outer products of residuals.

    Far from all data a kernel average rests on one residual, and a matrix of rank one would claim certainty. So `d + 1` pseudo-residuals
    with the average covariance are added to every average, which count little where many residuals do.

    Attributes
    ----------
    bandwidth_ : float
    average_ : ndarray of shape (d, d)
    """

    def fit(self, X: Any, residuals: Any) -> NeighbouringCovariance:
        """From features and residuals that the regression was not fitted on."""
        d = residuals.shape[1]
        self.X_ = np.asarray(X, dtype=float)
        self.products_ = (residuals[:, :, None] * residuals[:, None, :]).reshape(-1, d * d)
        self.average_ = average_covariance(residuals)
        self.bandwidth_ = leave_one_out_bandwidth(self.X_, self.products_)
        return self

    def predict(self, X: Any) -> ndarray:
        """Covariances, shape (n_samples, d, d)."""
        found, d = nadaraya_watson(self.X_, self.products_, X, self.bandwidth_), len(self.average_)
        n = found.n_effective[:, None, None]
        return (n * found.values.reshape(-1, d, d) + (d + 1) * self.average_) / (n + d + 1)


class ConstantCovariance(BaseEstimator):
    """One covariance of a regression's errors for all points."""

    def fit(self, X: Any, residuals: Any) -> ConstantCovariance:
        """From residuals that the regression was not fitted on."""
        self.average_ = average_covariance(residuals)
        return self

    def predict(self, X: Any) -> ndarray:
        """Covariances, shape (n_samples, d, d)."""
        return np.broadcast_to(self.average_, (len(X), *self.average_.shape))


def average_covariance(residuals: Float[ndarray, "sample state"]) -> Float[ndarray, "state state"]:
    """Mean outer product, with a millionth of its mean variance added to the diagonal so that no direction is certain."""
    average = residuals.T @ residuals / len(residuals)
    floor = max(1e-6 * float(np.trace(average)) / len(average), np.finfo(float).tiny ** 0.5)
    return average + floor * np.eye(len(average))


def make_regressor(regressor: Any, n_states: int, random_state: int | None, name: str = "regressor") -> Any:
    """A regressor that is not fitted yet: of a name, or a clone of the one given, made able to predict `n_states` at once.

    Raises
    ------
    UsageError
        If it is neither a known name nor a regressor.
    """
    if isinstance(regressor, str):
        named: dict[str, Any] = {
            "nw": NadarayaWatson(), "gp": GaussianProcess(), "nn": OneHiddenLayer(random_state=random_state),
        }  # fmt: skip
        if regressor not in named:
            raise UsageError(f"{name} must be 'nw', 'gp', 'nn' or a scikit-learn regressor, got {regressor!r}.")
        return named[regressor]
    if not (hasattr(regressor, "fit") and hasattr(regressor, "predict") and hasattr(regressor, "get_params")):
        raise UsageError(
            f"{name} must be 'nw', 'gp', 'nn' or a scikit-learn regressor, got {type(regressor).__name__}."
        )
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.utils import get_tags

    made = clone(regressor)
    return made if n_states == 1 or get_tags(made).target_tags.multi_output else MultiOutputRegressor(made)


def _spread_out(n: int, most: int) -> ndarray:
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(int)
