r"""Integrated gradients: how much every sample, and every frequency, of a window adds to a network's log-odds.

The gradient of the output is averaged along the straight line from a baseline to the window and multiplied by their difference. The
attributions are complete: they add up to f(window) - f(baseline), up to the error of the quadrature, which is returned. With
:math:`\bar g` the averaged gradient and :math:`\Delta` the difference, the attribution of a sample is :math:`\bar g_{ct} \Delta_{ct}`.
Since the cosine transform keeps inner products, :math:`\sum_t \bar g_{ct} \Delta_{ct} = \sum_k \hat{g}_{ck} \hat{\Delta}_{ck}`:
the right-hand terms are the attributions of frequencies, complete as well, from the same gradients.

A network sees prepared windows. Where the preparation multiplies the channels of a window by a matrix (whitening by Euclidean alignment,
scaling), x' = M x, the chain rule leads back to the electrodes: their gradient is M^T times the network's, and completeness stays. The
matrix is found by comparing windows before and after, taken as it is (how it depends on the windows is not differentiated), and checked
to rounding. Otherwise attributions stay in the coordinates that the network sees, and the result says so.

Where the path starts is part of the question. From silence (zero), attributions say what makes the answer at all; for a network that takes
logarithms of power silence is far from anything it has seen, and its distance outweighs all else. From other windows, attributions say
what tells a window from the others (expected gradients); they add up to f(window) minus the mean of f over those.

Sundararajan, Taly & Yan (2017). Axiomatic attribution for deep networks. ICML.
Erion, Janizek, Sturmfels, Lundberg & Lee (2021). Improving performance of deep learning models with axiomatic attribution priors and
expected gradients. Nature Machine Intelligence 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int
from numpy import ndarray
from numpy.random import default_rng
from sklearn.pipeline import Pipeline

from neuropil.errors import UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.explain.asking import (
    channel_names,
    check_decoder,
    class_coordinate,
    codes_of,
    mean_by_class,
    partners,
    probabilities,
    sample_times,
    sampling_rate,
)
from neuropil.explain.bands import Bands, band_members, cosine_transform, resolved_bands
from neuropil.signature import coordinate

if TYPE_CHECKING:
    import torch

BASELINES = ("zero", "mean", "windows")
N_STEPS = 32
N_PAIRS = 3
EXACT = 1e-5
"""Share of the prepared windows that a matrix may miss and still count as the preparation (single precision)."""


class IntegratedGradients(NamedTuple):
    r"""Integrated gradients of windows.

    Attributes
    ----------
    gradient : ndarray of shape (n_windows, ...)
        :math:`\bar g = \int_0^1 \nabla f(x_0 + \alpha (x - x_0))\, d\alpha`.
    difference : ndarray of shape (n_windows, ...)
        :math:`\Delta = x - x_0`.
    change : ndarray of shape (n_windows,)
        :math:`f(x) - f(x_0)`.
    """

    gradient: Float64[ndarray, "window ..."]
    difference: Float64[ndarray, "window ..."]
    change: Float64[ndarray, " window"]

    @property
    def attributions(self) -> Float64[ndarray, "window ..."]:
        r""":math:`\bar g \Delta`, in units of the output."""
        return self.gradient * self.difference

    @property
    def error(self) -> float:
        """Completeness: mean over windows of |sum of attributions - change|, relative to the mean |change|."""
        total = self.attributions.reshape(len(self.change), -1).sum(axis=1)
        return float(np.abs(total - self.change).mean() / max(float(np.abs(self.change).mean()), 1e-12))


def integrated_gradients(
    function: Callable[[Any], Any],
    inputs: Float[ndarray, "window ..."],
    chosen: Int[ndarray, " window"],
    baseline: Float[ndarray, "window ..."] | None = None,
    *,
    n_steps: int = N_STEPS,
    batch_size: int = 256,
) -> IntegratedGradients:
    """Integrated gradients of one output a window, by Gauss-Legendre quadrature, for batches of windows.

    Parameters
    ----------
    function : callable
        From a tensor (batch, ...) to outputs (batch, n_outputs); differentiable, each row by itself.
    inputs : ndarray of shape (n_windows, ...)
    chosen : ndarray of int, shape (n_windows,)
        The output that is explained for every window.
    baseline : ndarray of shape (n_windows, ...), optional
        Where the path starts; zero without.
    n_steps : int, default 32
        Gradients along the path; exact for polynomials up to the order 2 n_steps.

    Examples
    --------
    >>> square = lambda x: (x**2).sum(dim=1, keepdim=True)
    >>> found = integrated_gradients(square, np.array([[1.0, 2.0]]), np.array([0]), n_steps=4)
    >>> found.attributions.round(6).tolist(), found.error < 1e-6
    ([[1.0, 4.0]], True)
    """
    import torch

    if n_steps < 1:
        raise UsageError(f"A path is followed in one step or more, got n_steps={n_steps}.")
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    start = np.zeros_like(inputs) if baseline is None else np.asarray(baseline, dtype=inputs.dtype)
    gradient, change = np.zeros(inputs.shape, dtype=np.float64), np.zeros(len(inputs))
    for first in range(0, len(inputs), batch_size):
        rows = slice(first, first + batch_size)
        low, high = torch.as_tensor(start[rows]), torch.as_tensor(inputs[rows])
        picked = torch.as_tensor(chosen[rows])[:, None]
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            place = (low + float(node) * (high - low)).requires_grad_()
            total = function(place).gather(1, picked).sum()
            gradient[rows] += weight * torch.autograd.grad(total, place)[0].double().numpy()
        with torch.no_grad():
            ends = [function(end).gather(1, picked)[:, 0].double().numpy() for end in (high, low)]
        change[rows] = ends[0] - ends[1]
    return IntegratedGradients(gradient, inputs.astype(np.float64) - start, change)


def network_of(estimator: Any) -> Any:
    """The network at the end of a decoder (through pipelines and searches), or None."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        return network_of(estimator.steps[-1][1])
    return estimator if hasattr(estimator, "module_") and hasattr(estimator, "_run") else None


def seen_by_network(estimator: Any, X: Any, groups: Any = None) -> Float[ndarray, "window ..."]:
    """The windows as the network sees them: through the steps of a pipeline and the network's own preparation."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    X = input_for(estimator, X)
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            X = X if step in (None, "passthrough") else step.transform(X)
        return seen_by_network(estimator.steps[-1][1], X, groups)
    return estimator._run(X, groups, lambda batch: batch)


def channel_matrices(
    windows: Float[ndarray, "window channel time"], prepared: Float[ndarray, "window ..."]
) -> Float64[ndarray, "window row channel"] | None:
    """The matrix of every window that makes the prepared one of it; None if there is none, or windows are too short to tell."""
    if prepared.ndim != 3 or prepared.shape[2] != windows.shape[2] or windows.shape[2] <= windows.shape[1]:
        return None
    before, after = np.asarray(windows, dtype=np.float64), np.asarray(prepared, dtype=np.float64)
    matrices = after @ np.linalg.pinv(before, rcond=1e-7)
    missed = np.linalg.norm(matrices @ before - after)
    return matrices if missed <= EXACT * np.linalg.norm(after) else None


@dataclass(frozen=True)
class NetworkSaliency:
    """Integrated gradients of a network's log-odds, window by window.

    Attributes
    ----------
    found : IntegratedGradients
        In the coordinates of `channels`.
    codes : ndarray of int, shape (n_windows,)
        Class whose log-odds are explained; with the baseline "windows" every window comes once a partner.
    classes, channels, times : ndarray
    sfreq : float or None
        In Hz, where the last axis is time.
    electrodes : bool
        Whether attributions belong to the electrodes themselves, by the chain rule, or to the rows that the network sees.
    """

    found: IntegratedGradients
    codes: Int[ndarray, " window"]
    classes: ndarray
    channels: ndarray
    times: ndarray
    sfreq: float | None
    electrodes: bool

    @property
    def error(self) -> float:
        """Relative error of completeness."""
        return self.found.error

    def temporal(self) -> xr.DataArray:
        """Mean attribution of every sample over the windows of a class, in nats: (class, channel, time)."""
        return self._by_class(self.found.attributions, "time", self.times)

    def spectral(self, bands: Bands | None = None) -> xr.DataArray:
        """Mean attribution of every frequency band over the windows of a class, in nats: (class, channel, band).

        Over bands that cover everything (the default) they add up to what the samples add up to.
        """
        if self.sfreq is None:
            raise UsageError("The network's input has no sampling rate, so it has no spectrum; see `temporal`.")
        n_times = self.found.gradient.shape[-1]
        bands = resolved_bands(n_times, self.sfreq, bands)
        members = band_members(n_times, self.sfreq, bands).astype(np.float64)
        products = cosine_transform(self.found.gradient) * cosine_transform(self.found.difference)
        return self._by_class(products @ members.T, "band", list(bands))

    def electrode_sums(self, magnitude: bool = False) -> xr.DataArray:
        """Attribution of every channel: summed over time, or the sum of magnitudes, which shows use of either sign: (class, channel)."""
        values = np.abs(self.found.attributions) if magnitude else self.found.attributions
        return self._by_class(values.sum(axis=-1))

    def _by_class(self, values: ndarray, last: str = "", names: Any = None) -> xr.DataArray:
        coords = {"class": self.classes, "channel": self.channels} | ({last: names} if last else {})
        mean = mean_by_class(values, self.codes, len(self.classes))
        return xr.DataArray(mean, dims=tuple(coords), coords=coords, attrs={"unit": "nat"})


def network_saliency(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    baseline: str = "zero",
    n_steps: int = N_STEPS,
    n_pairs: int = N_PAIRS,
    random_state: int = 0,
) -> NetworkSaliency:
    """Integrated gradients of a network decoder, for the class of every window.

    Parameters
    ----------
    estimator : classifier
        Fitted; a network (`TorchEstimator`), alone or at the end of a pipeline.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    y : array-like of shape (n_windows,), optional
        Labels; the coordinate `label`, or else what the decoder predicts.
    groups : array-like of shape (n_windows,), optional
        For decoders that align groups.
    baseline : {"zero", "mean", "windows"}
        Where the path starts: silence, the mean window, or other windows of the same group, `n_pairs` for each.
    n_steps : int, default 32
    n_pairs : int, default 3
    random_state : int
        Of the choice of other windows.

    Raises
    ------
    UsageError
        If the decoder has no network at its end, or more than softmax stands between the network and the probabilities.
    """
    check_decoder(estimator, X)
    network = network_of(estimator)
    if network is None:
        raise UsageError(
            f"Gradients are of networks, and {type(estimator).__name__} has none at its end; use occlusion and patterns."
        )
    if baseline not in BASELINES:
        raise UsageError(f"The baseline is one of {', '.join(map(repr, BASELINES))}, got {baseline!r}.")
    windows, prepared = np.asarray(X, dtype=np.float64), seen_by_network(estimator, X, groups)
    function = _log_odds_of(network.module_)
    _check_outputs(function, prepared, probabilities(estimator, X, groups), type(network).__name__)
    codes = codes_of(estimator, X, y, groups)
    matrices = channel_matrices(windows, prepared)
    own, others = np.arange(len(windows)), None
    if baseline == "windows":
        within, rng = coordinate(X, "subject") if groups is None else np.asarray(groups), default_rng(random_state)
        own = np.tile(own, n_pairs)
        others = np.concatenate([partners(len(windows), within, rng) for _ in range(n_pairs)])
    if matrices is None:
        start = _baseline(prepared, baseline, others)
        found = integrated_gradients(function, prepared[own], codes[own], start, n_steps=n_steps)
        flat = (*found.gradient.shape[:2], -1)
        found = IntegratedGradients(found.gradient.reshape(flat), found.difference.reshape(flat), found.change)
    else:
        start = _baseline(windows, baseline, others)
        matrices = matrices[own]
        ends = (matrices @ place for place in (windows[own], start))
        inner, outer = (end.astype(prepared.dtype) for end in ends)
        found = integrated_gradients(function, inner, codes[own], outer, n_steps=n_steps)
        gradient = matrices.swapaxes(1, 2) @ found.gradient
        found = IntegratedGradients(gradient, windows[own] - start, found.change)
    n_rows, n_times = found.gradient.shape[1:]
    names = channel_names(estimator, X)
    same_rows = n_rows == len(names)
    in_time = n_times == X.shape[2]
    sfreq = sampling_rate(estimator, X) if in_time else None
    return NetworkSaliency(
        found,
        codes[own],
        class_coordinate(estimator),
        np.asarray(names if same_rows else [f"row {k + 1}" for k in range(n_rows)], dtype=object),
        sample_times(X, sampling_rate(estimator, X)) if in_time else np.arange(n_times, dtype=float),
        sfreq,
        matrices is not None,
    )


def _baseline(windows: ndarray, baseline: str, others: ndarray | None) -> ndarray:
    """Where the path of every window starts."""
    if others is not None:
        return windows[others]
    return np.broadcast_to(windows.mean(axis=0), windows.shape) if baseline == "mean" else np.zeros_like(windows)


def _log_odds_of(module: torch.nn.Module) -> Callable[[Any], Any]:
    """From a batch to log-odds: a class's logit against the others' together."""
    import torch

    module = module.eval()

    def function(batch: Any) -> Any:
        logits = module(batch)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            raise UsageError(
                f"{type(module).__name__} does not return logits of shape (batch, class); use occlusion and patterns instead."
            )
        own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        others = torch.logsumexp(logits[:, None].masked_fill(own, -torch.inf), dim=-1)
        return logits - others

    return function


def _check_outputs(function: Callable[[Any], Any], prepared: ndarray, proba: ndarray, name: str) -> None:
    """The network's output must be the decoder's: gradients of something else would explain something else."""
    import torch

    with torch.no_grad():
        odds = np.concatenate([function(part).numpy() for part in torch.as_tensor(prepared).split(256)])
    if odds.shape != proba.shape or np.abs(1 / (1 + np.exp(-odds.astype(np.float64))) - proba).max() > 1e-3:
        raise UsageError(
            f"{name} makes its probabilities of more than its network's output, which gradients would not explain; "
            "use occlusion and patterns instead."
        )
