r"""Taking a recurrent network apart that noise keeps moving: where it rests, how it turns, where it dwells.

A network is a map `step(states, inputs)` from states (row, unit) and what drives them (row, input) to the next states, and, where symbols
are read off it, a map `readout(states)` to logits. Nothing else is asked of it, so that any recurrent network can be examined. States go
in and come out as arrays. Which neurons throw it from one place to another: `neuropil.stats.rnn_neurons`.

Torre, Viscione, Pompe, Grewe & Mante (2025). Mechanistic interpretability of RNNs emulating hidden Markov models. NeurIPS.
arXiv:2510.25674.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng
from torch import Tensor

from neuropil.errors import DataError, UsageError
from neuropil.stats.fixed_points import eigenvalues, jacobians

Step = Callable[[Tensor, Tensor], Tensor]
Readout = Callable[[ndarray], ndarray]
CRITICAL_REAL, CRITICAL_IMAGINARY = 0.1, 0.05
TRANSITION, CLUSTER, SURE = 2.0, 8.0, 0.8


def trajectories(
    step: Step, starts: Float[ndarray, "path unit"], inputs: Float[ndarray, "path time input"]
) -> Float[ndarray, "path time unit"]:
    """States after every step from `starts` under `inputs`.

    Examples
    --------
    >>> trajectories(lambda h, x: h / 2 + x, np.ones((1, 1)), np.zeros((1, 3, 1))).ravel().tolist()
    [0.5, 0.25, 0.125]
    """
    if len(starts) != len(inputs):
        raise UsageError(f"Expected inputs for each of the {len(starts)} starts, got {len(inputs)}.")
    states, driven = torch.as_tensor(starts), torch.as_tensor(inputs)
    after = np.empty((*inputs.shape[:2], starts.shape[1]), dtype=starts.dtype)
    with torch.no_grad():
        for t in range(inputs.shape[1]):
            states = step(states, driven[:, t])
            after[:, t] = states.numpy()
    return after


class Endpoints(NamedTuple):
    """Where states come to rest without input.

    Attributes
    ----------
    points : ndarray of shape (n_starts, n_units)
    norms : ndarray of shape (n_steps + 1,)
        Root mean squared norm of the states, from the start on.
    relative_norm, relative_spread : float
        Of the end points: root mean squared norm, and root mean squared distance from their mean, both relative to the norm at the start.
    """

    points: Float[ndarray, "start unit"]
    norms: Float[ndarray, " step"]
    relative_norm: float
    relative_spread: float


def autonomous_endpoints(
    step: Step, starts: Float[ndarray, "start unit"], n_inputs: int, n_steps: int = 500
) -> Endpoints:
    """Let states go without input and see where they end: one point, several, or nowhere.

    Parameters
    ----------
    step : callable
    starts : ndarray of shape (n_starts, n_units)
        Such as states that noise leads to.
    n_inputs : int
        Channels of the input, which is zero.
    n_steps : int, default 500

    Examples
    --------
    >>> ends = autonomous_endpoints(lambda h, x: torch.tanh(2 * h), np.array([[-0.1], [0.1], [1.0]]), 1)
    >>> ends.points.ravel().round(3).tolist()
    [-0.958, 0.958, 0.958]
    """
    if n_steps < 1:
        raise UsageError(f"Expected one step or more, got {n_steps}.")
    states, nothing = torch.as_tensor(starts), torch.zeros(len(starts), n_inputs, dtype=torch.as_tensor(starts).dtype)
    norms = [_rms(states.numpy())]
    with torch.no_grad():
        for _ in range(n_steps):
            states = step(states, nothing)
            norms.append(_rms(states.numpy()))
    points = states.numpy()
    if norms[0] == 0:
        raise DataError("All states start at zero; start from states that the network visits.")
    return Endpoints(points, np.array(norms), norms[-1] / norms[0], _rms(points - points.mean(axis=0)) / norms[0])


def _rms(rows: ndarray) -> float:
    return float(np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1).mean()))


class Orbit(NamedTuple):
    """The plane in which a network moves most, and how it turns there.

    Attributes
    ----------
    paths : ndarray of shape (n_paths, n_times, n_components)
        In principal components.
    components : ndarray of shape (n_components, n_units)
    mean : ndarray of shape (n_units,)
    variance_ratio : ndarray of shape (n_components,)
        Share of the variance of every component.
    turns : ndarray of shape (n_paths,)
        Times that each path goes round the mean in the first two components, anticlockwise positive.
    consistency : float
        Share of the paths that turn the way most of them do, 0.5 to 1; paths that do not turn count as half.
    radius : float
        Root mean squared distance from the mean in the first two components.
    """

    paths: Float[ndarray, "path time component"]
    components: Float[ndarray, "component unit"]
    mean: Float[ndarray, " unit"]
    variance_ratio: Float[ndarray, " component"]
    turns: Float[ndarray, " path"]
    consistency: float
    radius: float


def noise_orbit(states: Float[ndarray, "path time unit"], n_components: int = 3) -> Orbit:
    """Principal components of trajectories, and their turning about the mean.

    Parameters
    ----------
    states : ndarray of shape (n_paths, n_times, n_units)
    n_components : int, default 3
        Two or more.

    Examples
    --------
    >>> angle = np.linspace(0, 4 * np.pi, 101)
    >>> orbit = noise_orbit(np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None], n_components=2)
    >>> abs(orbit.turns.round(6)).tolist(), round(orbit.radius, 2)
    ([2.0], 1.0)
    """
    n_paths, n_times, n_units = states.shape
    if not 2 <= n_components <= min(n_units, n_paths * n_times):
        raise UsageError(
            f"n_components must lie between 2 and {min(n_units, n_paths * n_times)} (units and states), got {n_components}."
        )
    flat = states.reshape(-1, n_units).astype(np.float64)
    mean = flat.mean(axis=0)
    centred = flat - mean
    values, vectors = np.linalg.eigh(centred.T @ centred)
    components = vectors[:, ::-1][:, :n_components].T
    components = components * np.where(
        np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1) < 0, -1.0, 1.0
    )
    paths = (centred @ components.T).reshape(n_paths, n_times, n_components)
    turned = turns(paths[..., :2])
    total = max(float(values.clip(0).sum()), np.finfo(float).tiny)
    return Orbit(
        paths,
        components,
        mean,
        values[::-1][:n_components].clip(0) / total,
        turned,
        consistency(turned),
        _rms(paths[..., :2].reshape(-1, 2)),
    )


def turns(paths: Float[ndarray, "path time 2"]) -> Float[ndarray, " path"]:
    """Times that paths in the plane go round its origin, anticlockwise positive; a step is less than half a turn.

    Examples
    --------
    >>> turns(np.array([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])).tolist()
    [0.5]
    """
    angles = np.diff(np.arctan2(paths[..., 1], paths[..., 0]), axis=1)
    return ((angles + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / (2 * np.pi)


def consistency(turned: Float[ndarray, " path"]) -> float:
    """Share of paths that turn the way most of them do; those that do not turn count as half.

    Examples
    --------
    >>> consistency(np.array([1.0, 2.0, 0.1, -1.0]))
    0.75
    """
    share = float((np.sign(turned) + 1).mean() / 2)
    return max(share, 1 - share)


class Residency(NamedTuple):
    """How long a network keeps to its symbol from a state on.

    Attributes
    ----------
    times : ndarray of shape (n_states,)
        Mean steps until the highest logit is another, over draws of the noise.
    sign_changes : ndarray of shape (n_states,)
        Mean number of times that the increment of the highest logit changes its sign before.
    groups : ndarray of int, shape (n_states,)
        0 in a transition (fewer than 2 steps), 1 in the zone before one (2 to 8), 2 in a cluster (more than 8 steps, and the symbol has a
        probability above 0.8), -1 for the rest.
    """

    times: Float[ndarray, " state"]
    sign_changes: Float[ndarray, " state"]
    groups: Int[ndarray, " state"]


def residency_times(
    step: Step,
    readout: Readout,
    states: Float[ndarray, "state unit"],
    n_inputs: int,
    *,
    noise_scale: float = 1.0,
    n_draws: int = 20,
    max_steps: int = 50,
    random_state: int | Generator | None = None,
) -> Residency:
    """Run on from every state under several draws of noise until the symbol changes.

    Parameters
    ----------
    step, readout : callable
    states : ndarray of shape (n_states, n_units)
    n_inputs : int
    noise_scale : float, default 1.0
    n_draws : int, default 20
    max_steps : int, default 50
        Runs that last longer count as so many.
    random_state : int, Generator or None

    Examples
    --------
    >>> read = lambda h: np.concatenate([h, 1 - h], axis=-1)
    >>> residency_times(lambda h, x: h - 0.25, read, np.array([[1.1], [0.6]]), 1, n_draws=2).times.tolist()
    [3.0, 1.0]
    """
    rng = default_rng(random_state)
    n_states = len(states)
    h = np.repeat(states, n_draws, axis=0)
    rows = np.arange(len(h))
    logits = readout(h)
    symbol = logits.argmax(axis=-1)
    last, sign = logits[rows, symbol], np.zeros(len(h))
    staying, times, changes = np.ones(len(h), dtype=bool), np.full(len(h), float(max_steps)), np.zeros(len(h))
    for t in range(max_steps):
        noise = noise_scale * rng.standard_normal((len(h), 1, n_inputs)).astype(h.dtype)
        h = trajectories(step, h, noise)[:, 0]
        logits = readout(h)
        left = staying & (logits.argmax(axis=-1) != symbol)
        times[left] = t + 1
        staying &= ~left
        now = np.sign(logits[rows, symbol] - last)
        changes += staying & (sign != 0) & (now != 0) & (now != sign)
        last, sign = logits[rows, symbol], np.where(now != 0, now, sign)
        if not staying.any():
            break
    times, changes = (values.reshape(n_states, n_draws).mean(axis=1) for values in (times, changes))
    odds = readout(states)
    odds = np.exp(odds - odds.max(axis=-1, keepdims=True))
    sure = (odds / odds.sum(axis=-1, keepdims=True)).max(axis=-1) > SURE
    groups = np.where(times < TRANSITION, 0, np.where(times <= CLUSTER, 1, np.where(sure, 2, -1)))
    return Residency(times, changes, groups)


class Spectrum(NamedTuple):
    r"""Local stability along a trajectory.

    Attributes
    ----------
    eigenvalues : ndarray of complex, shape (n_states, n_units)
        Of the Jacobian, by falling modulus.
    n_unstable : ndarray of int, shape (n_states,)
        Outside of the unit circle, which :math:`(\lambda - 1) / (\lambda + 1)` maps to a positive real part.
    n_critical : ndarray of int, shape (n_states,)
        Complex pairs near the circle: real part within 0.1 of zero and imaginary part above 0.05 after that map.
    """

    eigenvalues: Complex[ndarray, "state unit"]
    n_unstable: Int[ndarray, " state"]
    n_critical: Int[ndarray, " state"]


def jacobian_spectrum(step: Step, states: Float[ndarray, "state unit"], n_inputs: int, inputs: Any = None) -> Spectrum:
    """Eigenvalues of the Jacobian at states, under no input or that given.

    Parameters
    ----------
    step : callable
    states : ndarray of shape (n_states, n_units)
    n_inputs : int
    inputs : ndarray of shape (n_states, n_inputs), optional

    Examples
    --------
    >>> turn = torch.tensor([[0.0, -1.01], [1.01, 0.0]], dtype=torch.float64)
    >>> spectrum = jacobian_spectrum(lambda h, x: h @ turn.T, np.zeros((1, 2)), 1)
    >>> spectrum.n_unstable.tolist(), spectrum.n_critical.tolist()
    ([2], [1])
    """
    states = np.asarray(states, dtype=np.float64)
    drive = torch.zeros(len(states), n_inputs, dtype=torch.float64) if inputs is None else torch.as_tensor(inputs)
    values = eigenvalues(jacobians(lambda h: step(h, drive), states))
    with np.errstate(divide="ignore", invalid="ignore"):
        mapped = (values - 1) / (values + 1)
    critical = (np.abs(mapped.real) < CRITICAL_REAL) & (mapped.imag > CRITICAL_IMAGINARY)
    return Spectrum(values, (np.abs(values) > 1).sum(axis=1), critical.sum(axis=1))


def noise_sensitivity(
    step: Step,
    state: Float[ndarray, " unit"],
    inputs: Float[ndarray, "time input"],
    fresh: Sequence[float] = (0.0, 0.5, 1.0),
    *,
    n_replays: int = 100,
    random_state: int | Generator | None = None,
) -> Float[ndarray, "share time"]:
    """How far replays from one state part when a share of their noise is fresh: the trace of the covariance after every step.

    Parameters
    ----------
    step : callable
    state : ndarray of shape (n_units,)
    inputs : ndarray of shape (n_times, n_inputs)
        Noise as it was recorded from that state on.
    fresh : sequence of float, default (0, 0.5, 1)
        Replays run on ``(1 - share) * recorded + share * fresh``.
    n_replays : int, default 100
    random_state : int, Generator or None
        The fresh noise, of unit variance, is the same for all shares.

    Returns
    -------
    ndarray of shape (n_shares, n_times)

    Examples
    --------
    >>> spread = noise_sensitivity(lambda h, x: h + x, np.zeros(1), np.zeros((2, 1)), (0.0, 1.0), random_state=0)
    >>> spread.round().tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    noise = default_rng(random_state).standard_normal((n_replays, *inputs.shape))
    starts = np.repeat(np.asarray(state, dtype=np.float64)[None], n_replays, axis=0)
    spread = []
    for share in fresh:
        paths = trajectories(step, starts, (1 - share) * inputs[None] + share * noise)
        spread.append(paths.var(axis=0, ddof=1).sum(axis=-1))
    return np.array(spread)
