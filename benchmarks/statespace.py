"""Hidden Markov models, Kalman filters and the discriminative Kalman filter beside hmmlearn, dynamax and pykalman, on one long sequence.

Everybody gets the same numbers in double precision, one thread, and gives back the same result, which is checked before anything is
measured: for the forward-backward recursion the log-likelihood, the posterior of every step and the expected transitions, from
log-likelihoods that are there already; for the Kalman filter all filtered means and covariances, which
the discriminative one finds from the regression that is exact for the same sequence. Compilation (neuropil's by numba,
dynamax's by XLA) comes before. hmmlearn has two implementations, on rescaled probabilities and on logarithms (which also sums in
logarithms and agrees to 1e-6, all else to 1e-8); the faster one counts, by the steps that its own `fit` takes. pykalman is timed on a
shorter stretch of the same sequence, its time a step being constant.

Memory is measured without a peer, in a process of its own: of half, once and twice as many steps. It is linear in time if a
step takes no more of it in the longest sequence than in the shortest.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.rows import Row, against, skipped
from benchmarks.settings import Settings
from neuropil.stats import kalman, markov
from neuropil.stats.discriminative import discriminative_kalman_filter
from neuropil.stats.kalman import LinearGaussian

SEED, N_CHANNELS, STEPS_OF_PYKALMAN = 7, 10, 5000
RECURSIONS = ("forward-backward", "Kalman filter", "discriminative Kalman filter")
LINEAR = 1.25  # the operating system hands out large pages, so that a fourfold length may take a little more than four times as much
INSTALL = "pip install -r benchmarks/requirements.txt"
Result = tuple[float, np.ndarray, np.ndarray]


def chain(n_steps: int, n_states: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Initial probabilities, transitions and log-likelihoods (1, n_steps, n_states) of sticky states that can be told apart."""
    rng = np.random.default_rng(SEED)
    transition = 0.9 * np.eye(n_states) + 0.1 * rng.dirichlet(np.ones(n_states), size=n_states)
    return np.full(n_states, 1 / n_states), transition, 2 * rng.standard_normal((1, n_steps, n_states)) - 3


def ours(initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray) -> Result:
    """Log-likelihood, posterior, expected transitions."""
    found = markov.smooth(initial, transition, log_likelihoods)
    return float(found.log_likelihood[0]), found.probabilities[0], found.transitions


def hmmlearns(initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray, scaling: bool) -> Result:
    """What hmmlearn's `fit` does with the log-likelihoods of a sequence."""
    from hmmlearn import _hmmc
    from hmmlearn.utils import log_normalize, normalize

    frames = log_likelihoods[0]
    if scaling:
        frames = np.exp(frames)
        total, forward, scale = _hmmc.forward_scaling(initial, transition, frames)
        backward = _hmmc.backward_scaling(initial, transition, frames, scale)
        posterior = forward * backward
        normalize(posterior, axis=1)
        counts = _hmmc.compute_scaling_xi_sum(forward, transition, backward, frames)
        return total, posterior, counts
    total, forward = _hmmc.forward_log(initial, transition, frames)
    backward = _hmmc.backward_log(initial, transition, frames)
    posterior = forward + backward
    log_normalize(posterior, axis=1)
    return total, np.exp(posterior), np.exp(_hmmc.compute_log_xi_sum(forward, transition, backward, frames))


def dynamaxs(initial: np.ndarray, transition: np.ndarray, log_likelihoods: np.ndarray) -> Callable[[], Result]:
    """dynamax's smoother, compiled for these shapes; its expected transitions are summed over time."""
    import jax
    from dynamax.hidden_markov_model import hmm_smoother

    jax.config.update("jax_enable_x64", True)

    def smooth(*given: Any) -> Any:
        posterior = hmm_smoother(*given)
        return posterior.marginal_loglik, posterior.smoothed_probs, posterior.trans_probs

    compiled, given = jax.jit(smooth), tuple(jax.numpy.asarray(x) for x in (initial, transition, log_likelihoods[0]))

    def call() -> Result:
        total, posterior, counts = jax.block_until_ready(compiled(*given))
        return float(total), np.asarray(posterior), np.asarray(counts)

    return call


def walk(n_steps: int, n_states: int) -> tuple[LinearGaussian, np.ndarray]:
    """A slowly turning state of `n_states` numbers behind ten noisy channels, and its observations (1, n_steps, 10)."""
    rng = np.random.default_rng(SEED)
    transition = 0.95 * np.linalg.qr(rng.standard_normal((n_states, n_states)))[0]
    model = LinearGaussian(
        np.zeros(n_states), np.eye(n_states), transition, 0.1 * np.eye(n_states),
        rng.standard_normal((N_CHANNELS, n_states)), np.eye(N_CHANNELS),
    )  # fmt: skip
    return model, kalman.simulate(model, 1, n_steps, SEED).observations


def pykalmans(model: LinearGaussian, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filtered means and covariances."""
    from pykalman import KalmanFilter

    peer = KalmanFilter(
        transition_matrices=model.transition, observation_matrices=model.observation,
        transition_covariance=model.transition_covariance, observation_covariance=model.observation_covariance,
        initial_state_mean=model.initial_mean, initial_state_covariance=model.initial_covariance,
    )  # fmt: skip
    return peer.filter(observations[0])


def _same(name: str, found: Any, expected: Any) -> None:
    tolerance = 1e-6 if name == "hmmlearn, logarithms" else 1e-8
    for a, b in zip(found, expected, strict=True):
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance):
            raise RuntimeError(f"{name} gives another result than neuropil: they did not do the same work.")


def _milliseconds(call: Callable[[], Any]) -> Callable[[], float]:
    def timed() -> float:
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)

    return timed


def _forward_backward(n_states: int, settings: Settings) -> list[Row]:
    n_steps = settings.n_steps
    given = chain(n_steps, n_states)
    title = f"forward-backward, {n_steps:,} steps of {n_states} states"
    expected = ours(*given)
    calls: dict[str, Callable[[], Any]] = {"neuropil": lambda: ours(*given)}
    absent = [name for name in ("hmmlearn", "dynamax") if not (settings.peers and importlib.util.find_spec(name))]
    if "hmmlearn" not in absent:
        calls["hmmlearn, scaling"] = lambda: hmmlearns(*given, scaling=True)
        calls["hmmlearn, logarithms"] = lambda: hmmlearns(*given, scaling=False)
    if "dynamax" not in absent:
        calls["dynamax"] = dynamaxs(*given)
    for name, call in calls.items():
        _same(name, call(), expected)
    figures = measure.interleaved({name: _milliseconds(call) for name, call in calls.items()}, settings.repeats)
    medians = {name: measure.median(values) for name, values in figures.items()}
    note = f"one thread, float64, equal to 1e-8; medians of {settings.repeats} runs in turns"
    rows = []
    if "hmmlearn" not in absent:
        both = {name: value for name, value in medians.items() if name.startswith("hmmlearn")}
        best = min(both, key=lambda name: both[name])
        listed = ", ".join(f"{name} {value:,.1f} ms" for name, value in both.items())
        rows.append(
            against(
                f"{title}, beside hmmlearn",
                medians["neuropil"],
                both[best],
                "ms",
                best,
                at_most=1.0,
                note=f"{note}; {listed}",
            )
        )
    if "dynamax" not in absent:
        rows.append(
            against(
                f"{title}, beside dynamax",
                medians["neuropil"],
                medians["dynamax"],
                "ms",
                "dynamax",
                at_most=1.0,
                note=f"{note}, compiled before",
            )
        )
    if absent:
        rows.append(Row(title, medians["neuropil"], "ms", note=note))
        rows += [skipped(f"{title}, beside {name}", f"no {name}; {INSTALL}") for name in absent if settings.peers]
    return rows


def regression(model: LinearGaussian, observations: np.ndarray) -> tuple[np.ndarray, ...]:
    """f, Q (one a step), A, G, S of the exact p(state | observation) of a model that is stationary."""
    S, C = model.initial_covariance, model.observation
    gain = np.linalg.solve(C @ S @ C.T + model.observation_covariance, C @ S).T
    covariance = S - gain @ C @ S
    Q = np.tile((covariance + covariance.T) / 2, (*observations.shape[:2], 1, 1))
    return observations @ gain.T, Q, model.transition, model.transition_covariance, S


def _filters(n_states: int, settings: Settings) -> list[Row]:
    n_steps = settings.n_steps
    model, observations = walk(n_steps, n_states)
    settled = kalman.stationary_covariance(model.transition, model.transition_covariance)
    model = model._replace(initial_covariance=settled)
    regressed = regression(model, observations)
    size = f"{n_steps:,} steps of {n_states} states"
    ours: dict[str, Callable[[], Any]] = {
        f"Kalman filter, {size} and {N_CHANNELS} channels": lambda: kalman.filter(model, observations),
        f"discriminative Kalman filter, {size}": lambda: discriminative_kalman_filter(*regressed),
    }
    calls = dict(ours)
    short = observations[:, :STEPS_OF_PYKALMAN]
    steps = short.shape[1]
    there = bool(settings.peers and importlib.util.find_spec("pykalman"))
    expected = pykalmans(model, short) if there else None
    for call in ours.values():
        found = call()
        if expected is not None:
            _same("pykalman", expected, (found.means[0, :steps], found.covariances[0, :steps]))
    if there:
        calls["pykalman"] = lambda: pykalmans(model, short)
    figures = measure.interleaved({name: _milliseconds(call) for name, call in calls.items()}, settings.repeats)
    medians = {title: measure.median(figures[title]) for title in ours}
    if not there:
        rows = [Row(title, mine, "ms", note="one thread, float64") for title, mine in medians.items()]
        absent = [skipped(f"{title}, beside pykalman", f"no pykalman; {INSTALL}") for title in ours]
        return rows + (absent if settings.peers else [])
    peer = measure.median(figures["pykalman"]) * n_steps / steps
    note = f"one thread, float64, means and covariances equal to 1e-8; pykalman on {steps:,} steps, times {n_steps / steps:g}"
    return [against(title, mine, peer, "ms", "pykalman", at_most=0.1, note=note) for title, mine in medians.items()]


def _memory(settings: Settings) -> list[Row]:
    """Peak memory of twice the steps, and whether a step takes as much of it in shorter sequences."""
    lengths = [settings.n_steps // 2, settings.n_steps, 2 * settings.n_steps]
    titles = {name: f"memory of the {name}, {lengths[-1]:,} steps of 5 states" for name in RECURSIONS}
    if not measure.can_measure_memory():
        return [skipped(title, "peak memory of a process is measured on Linux only") for title in titles.values()]
    found = measure.in_process("benchmarks.statespace_memory", *map(str, lengths))
    return [_linear(title, lengths, found[name]) for name, title in titles.items()]


def _linear(title: str, lengths: list[int], grown: list[float]) -> Row:
    if not all(grown):
        return skipped(title, "the sequences are too short for the process to grow; give more steps")
    ratio = (grown[-1] / lengths[-1]) / (grown[0] / lengths[0])
    listed = ", ".join(f"{n:,}: {size / 1e6:.1f} MB" for n, size in zip(lengths, grown, strict=True))
    return Row(
        title,
        grown[-1] / 1e6,
        "MB",
        ratio=ratio,
        goal=f"≤ {LINEAR:g} × a step of {lengths[0]:,}",
        met=ratio <= LINEAR,
        note=f"growth of the process to its peak, results included, by steps: {listed}",
    )


def run(settings: Settings) -> list[Row]:
    """Rows on hidden Markov models and Kalman filters, their time and their memory."""
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    with threadpool_limits(1):
        rows = [row for n_states in (5, 50) for row in _forward_backward(n_states, settings)]
        rows += [row for n_states in (2, 10) for row in _filters(n_states, settings)]
        return rows + _memory(settings)
