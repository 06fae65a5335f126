"""Early exit: a cheap model for everything, an expensive one only where a proxy says that it is worth while.

The proxy is computed from the cheap model alone, so that the decision costs nothing; here a small value means a hard case. The routers:

- ``"proxy"``: the hard cases, below a threshold of the proxy (targeting);
- ``"gain"``: the cases of the largest gain that a monotone fit of the validation gains on the proxy expects, be they hard or easy;
- ``"random"``: as many cases by lot, the control that targeting has to beat;
- ``"reversed"``: the easy cases, the control on the other side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Real
from numpy import ndarray
from sklearn.base import BaseEstimator

from neuropil.errors import UsageError

ROUTERS = ("proxy", "gain", "random", "reversed")


class EarlyExitRouter(BaseEstimator):
    """Decides which cases go on to the expensive model.

    Parameters
    ----------
    router : {"proxy", "gain", "random", "reversed"}
    threshold : float or "auto"
        A number: route where the proxy is below ("proxy") or above it ("reversed"), where the expected gain exceeds it ("gain"), or
        that share of all cases ("random"). "auto": route as few as keep the mean validation score within `tolerance` of routing
        everything.
    tolerance : float, default 0.005
    random_state : int
        Seed of the lots of "random".

    Attributes
    ----------
    threshold_ : float
        The threshold in use, in the same sense; infinite where everything is routed.
    routed_fraction_ : float
        Share of the validation cases that were routed.

    Examples
    --------
    >>> proxy, cheap = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.5, 0.5, 0.9, 0.9])
    >>> router = EarlyExitRouter().fit(proxy, cheap, np.array([0.7, 0.6, 0.9, 0.9]))
    >>> router.route(np.array([0.15, 0.85])).tolist(), router.routed_fraction_
    ([True, False], 0.5)
    """

    def __init__(
        self, router: str = "proxy", threshold: Any = "auto", tolerance: float = 0.005, random_state: int = 0
    ) -> None:
        self.router = router
        self.threshold = threshold
        self.tolerance = tolerance
        self.random_state = random_state

    def fit(
        self, proxy: Real[ndarray, " case"], cheap: Real[ndarray, " case"], expensive: Real[ndarray, " case"]
    ) -> EarlyExitRouter:
        """Choose the threshold on validation cases: their proxies, and their scores under the two models."""
        check_router(self.router, self.threshold)
        gain = np.asarray(expensive, dtype=np.float64) - cheap
        self._fit_expected_gain(proxy, gain)
        priority = self.priority(proxy)
        if self.threshold != "auto":
            self._cut = self._to_cut(float(self.threshold))
        else:
            order = np.argsort(-priority, kind="stable")
            means = np.mean(cheap) + np.concatenate([[0.0], np.cumsum(gain[order])]) / len(gain)
            fewest = int(np.flatnonzero(means >= means[-1] - self.tolerance)[0])
            self._cut = float(priority[order[fewest]]) if fewest < len(order) else -np.inf
        self.routed_fraction_ = float(np.mean(priority > self._cut))
        self.threshold_ = self._to_cut(self._cut)
        return self

    def route(self, proxy: Real[ndarray, "*cases"]) -> Bool[ndarray, "*cases"]:
        """True for the cases that go on to the expensive model."""
        return self.priority(proxy) > self._cut

    def priority(self, proxy: Real[ndarray, "*cases"]) -> Float64[ndarray, "*cases"]:
        """Larger for cases that are routed earlier."""
        proxy = np.asarray(proxy, dtype=np.float64)
        if self.router == "gain":
            # cases of equal expected gain in the direction in which it grows
            return np.interp(proxy, *self.expected_gain_) + 1e-9 * self.direction_ * proxy
        if self.router == "random":
            return np.random.default_rng(self.random_state).random(proxy.shape)
        return proxy if self.router == "reversed" else -proxy

    def curve(
        self, proxy: Real[ndarray, " case"], cheap: Real[ndarray, " case"], expensive: Real[ndarray, " case"]
    ) -> tuple[Float64[ndarray, " share"], Float64[ndarray, " share"]]:
        """Share of cases routed, from none to all, and the mean score at each."""
        order = np.argsort(-self.priority(proxy), kind="stable")
        gain = (np.asarray(expensive, dtype=np.float64) - cheap)[order]
        return np.linspace(0.0, 1.0, len(gain) + 1), np.mean(cheap) + np.concatenate([[0.0], np.cumsum(gain)]) / len(
            gain
        )

    def _fit_expected_gain(self, proxy: ndarray, gain: ndarray) -> None:
        from sklearn.isotonic import IsotonicRegression

        errors, fits = [], []
        for increasing in (False, True):
            fit = IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(proxy, gain)
            errors.append(float(np.square(fit.predict(proxy) - gain).sum()))
            fits.append((np.asarray(fit.X_thresholds_), np.asarray(fit.y_thresholds_)))
        self.direction_ = 1 if errors[1] < errors[0] else -1
        self.expected_gain_ = fits[int(self.direction_ == 1)]

    def _to_cut(self, value: float) -> float:
        """From the threshold's own meaning to a cut of the priorities, and back."""
        return {"proxy": -value, "random": 1 - value}.get(self.router, value)


def check_router(router: str, threshold: Any) -> None:
    """Refuse a router that does not exist and a threshold that is no number."""
    if router not in ROUTERS:
        raise UsageError(f"The router is one of {', '.join(ROUTERS)}, got {router!r}.")
    if threshold != "auto" and (
        isinstance(threshold, bool | str) or not isinstance(threshold, int | float | np.number)
    ):
        raise UsageError(f"The threshold is a number or 'auto', got {threshold!r}.")
