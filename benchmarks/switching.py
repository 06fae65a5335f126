"""Poisson regressions that switch with a hidden state, beside NeMoS, and how memory grows with time.

Both run expectation maximisation from one start on one design matrix, in double precision on one thread, for the same number of rounds:
neuropil with a Newton step a round, NeMoS with its L-BFGS at its own settings. The log-likelihood of what either ends with is taken by
neuropil's forward-backward recursion; ours must not be more than 1e-3 nats a bin below, and both within 1e-2 of each other (NeMoS's
L-BFGS stops at its own tolerance, a little short of the maximum). Compilation (numba's, XLA's) comes before. Memory is the growth of the
resident peak while a process of its own fits `SwitchingGLM` (`python -m benchmarks.switching N_BINS` prints it as JSON).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.measure import can_measure_memory, in_process, reset_peak, resident
from benchmarks.rows import Row, against, below, skipped
from benchmarks.settings import Settings
from neuropil.latent import onehot_hmmglm_fitting as fitting
from neuropil.stats import chains
from neuropil.stats.bases import coupling_design, exponential_basis
from neuropil.stats.glm import log_likelihood_constants
from neuropil.stats.spike_trains import sample_spike_trains

SEED, N_STATES, N_ROUNDS, AT_LEAST, SHORT, AGREE = 7, 4, 10, 3.0, 1e-3, 1e-2
INSTALL = "pip install -r benchmarks/requirements.txt"


@cache
def population(n_bins: int, n_neurons: int) -> tuple[np.ndarray, fitting.Parameters]:
    """Counts of neurons with sparse couplings that differ between states, and the truth."""
    rng = np.random.default_rng(SEED)
    shape = (N_STATES, n_neurons, n_neurons)
    weights = np.where(rng.random(shape) < 0.2, 1.2 / np.sqrt(n_neurons) * rng.standard_normal(shape), 0.0)
    bias = np.tile(rng.normal(-1.8, 0.3, n_neurons), (N_STATES, 1)) + 0.2 * rng.standard_normal((N_STATES, n_neurons))
    transition = np.where(np.eye(N_STATES, dtype=bool), 0.98, 0.02 / (N_STATES - 1))
    states = chains.simulate(np.full(N_STATES, 1 / N_STATES), transition, 1, n_bins, rng)
    counts, _ = sample_spike_trains(weights, bias, exponential_basis(5), states, random_state=rng)
    return counts[0], fitting.Parameters(weights, bias, transition)


def problem(n_bins: int, n_neurons: int) -> tuple[fitting.Sequences, fitting.Parameters]:
    """What both fit, and where both start: halfway between nothing and the truth, so that they climb the same hill."""
    counts, truth = population(n_bins, n_neurons)
    x = counts.astype(float)
    design = coupling_design([x], exponential_basis(5))
    constants = log_likelihood_constants("poisson", x, np.ones(n_neurons)).sum(axis=1)
    sequences = fitting.Sequences(design, x, [n_bins], constants, design.shape[1], None)
    bias = np.tile(np.log(x.mean(axis=0)), (N_STATES, 1))
    return sequences, fitting.Parameters(0.5 * truth.coefficients, bias, truth.transition)


def ours(sequences: fitting.Sequences, start: fitting.Parameters) -> fitting.Parameters:
    """Ten rounds with Newton steps."""
    settings = fitting.Settings("exp", 0.0, 0.0, N_ROUNDS, -np.inf)
    return fitting.fit_newton(sequences, start, settings, "").parameters


def nemos(sequences: fitting.Sequences, start: fitting.Parameters) -> Callable[[], fitting.Parameters]:
    """The same by NeMoS, compiled for these shapes."""
    import jax
    import jax.numpy as jnp
    import nemos as nmo
    from nemos.glm.params import GLMParams
    from nemos.glm_hmm import algorithm_configs, expectation_maximization
    from nemos.glm_hmm.params import GLMHMMParams, GLMScale, HMMParams

    jax.config.update("jax_enable_x64", True)
    n_neurons = sequences.counts.shape[1]
    poisson = nmo.observation_models.PoissonObservations()
    objective = algorithm_configs.prepare_mstep_nll_objective_param(True, poisson, jnp.exp)
    log_likelihood = algorithm_configs.prepare_estep_log_likelihood(True, poisson)
    regressions = GLMParams(
        coef=jnp.asarray(start.coefficients.transpose(2, 1, 0)), intercept=jnp.asarray(start.intercepts.T)
    )
    first = GLMHMMParams(
        glm_params=regressions,
        glm_scale=GLMScale(jnp.zeros((n_neurons, N_STATES))),
        hmm_params=HMMParams(jnp.full(N_STATES, -np.log(N_STATES)), jnp.log(jnp.asarray(start.transition))),
    )
    solver = nmo.solvers.get_solver("LBFGS").implementation(
        objective, nmo.regularizer.UnRegularized(), None, has_aux=False, init_params=regressions
    )
    X, y = jnp.asarray(sequences.design), jnp.asarray(sequences.counts)
    run = solver.run

    def rounds(X: Any, y: Any) -> Any:
        return expectation_maximization.em_glm_hmm(
            first, X, y, jnp.exp, log_likelihood, run, None, None, N_ROUNDS, -1.0
        )[0]

    compiled = jax.jit(rounds).lower(X, y).compile()

    def call() -> fitting.Parameters:
        found = jax.block_until_ready(compiled(X, y))
        transition = np.exp(np.asarray(found.hmm_params.log_transition_prob))
        coefficients = np.asarray(found.glm_params.coef).transpose(2, 1, 0).copy()
        return fitting.Parameters(
            coefficients,
            np.asarray(found.glm_params.intercept).T.copy(),
            transition / transition.sum(axis=1, keepdims=True),
        )

    return call


def memory(n_bins: int, n_neurons: int = 100) -> dict[str, float]:
    """Bytes by which a fit of a few rounds raises the peak of this process, and those of its counts as float64."""
    import warnings

    from neuropil.latent.onehot_hmmglm import SwitchingGLM

    counts = population(n_bins, n_neurons)[0]
    model = SwitchingGLM(N_STATES, prior=None, link="exp", shared_bias=False, n_init=1, max_iter=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(counts[:500])
        reset_peak()
        before = resident("VmRSS")
        model.fit(counts)
    return {"growth": resident("VmHWM") - before, "counts": 8 * counts.size}


def _timed(call: Callable[[], Any], kept: dict[str, Any], name: str) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        kept[name] = call()
        return time.perf_counter() - began

    return run


def _speed(n_bins: int, n_neurons: int, settings: Settings) -> list[Row]:
    sequences, start = problem(n_bins, n_neurons)
    title = f"switching Poisson regressions, {n_neurons} neurons, {n_bins:,} bins, {N_STATES} states, {N_ROUNDS} rounds"
    small, small_start = problem(1000, 10)
    ours(small, small_start)
    there = bool(settings.peers and importlib.util.find_spec("nemos"))
    kept: dict[str, Any] = {}
    calls = {"neuropil": _timed(lambda: ours(sequences, start), kept, "neuropil")}
    if there:
        calls["nemos"] = _timed(nemos(sequences, start), kept, "nemos")
    figures = measure.interleaved(calls, min(settings.repeats, 2))
    mine = measure.median(figures["neuropil"])
    if not there:
        row = Row(title, mine, "s", note="one thread, float64")
        return [row, skipped(f"{title}, beside NeMoS", f"no nemos; {INSTALL}")] if settings.peers else [row]
    levels = {
        name: fitting.expect(sequences, parameters, "exp").log_likelihood / n_bins for name, parameters in kept.items()
    }
    if not -SHORT <= levels["neuropil"] - levels["nemos"] <= AGREE:
        raise RuntimeError(f"The fits end at different log-likelihoods a bin, {levels}: they did not do the same work.")
    note = (
        "one thread, float64, one start; log-likelihood a bin "
        f"{levels['neuropil']:.5f} (NeMoS {levels['nemos']:.5f}); peer's time over ours must be 3 or more"
    )
    return [against(title, mine, measure.median(figures["nemos"]), "s", "NeMoS", at_most=1 / AT_LEAST, note=note)]


def _memory(n_bins: int) -> Row:
    name = "memory of a switching fit, four times the bins over one time"
    if not can_measure_memory():
        return skipped(name, "only Linux lets a process reset its peak")
    sizes = (n_bins // 2, n_bins, 2 * n_bins)
    grown = [in_process("benchmarks.switching", str(size))["growth"] / 1e6 for size in sizes]
    listed = ", ".join(f"{size:,} bins {value:.0f} MB" for size, value in zip(sizes, grown, strict=True))
    return below(name, grown[2] / grown[0], 4.4, "times", note=f"100 neurons, {N_STATES} states; {listed}")


def run(settings: Settings) -> list[Row]:
    """Rows on switching regressions."""
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    small = settings.n_steps < 20_000
    n_bins, n_neurons = (settings.n_steps, 20) if small else (20_000, 100)
    with threadpool_limits(1):
        return [*_speed(n_bins, n_neurons, settings), _memory(n_bins)]


if __name__ == "__main__":
    print(json.dumps(memory(int(sys.argv[1]))))
