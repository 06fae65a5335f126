"""One Markov chain of the bi-clustering sampler: the order of its steps, and what is kept of the draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from numpy.random import default_rng

from neuropil.latent.biclustering_labels import update_labels
from neuropil.latent.biclustering_model import ChainState, Priors, log_likelihood
from neuropil.latent.biclustering_starts import k_means_labels, start_labels, start_state, start_states
from neuropil.latent.biclustering_states import update_dynamics, update_states, update_transitions
from neuropil.latent.biclustering_trajectories import update_dispersion, update_location, update_trajectories

KEPT = 200  # draws of a chain, evenly spaced, from which posterior means and intervals are taken
WARM_UP = 25  # sweeps at first in which labels and states stay as they start
N_START_STATES = 2


@dataclass(frozen=True)
class Settings:
    """How to sample; see `BiClusteringSLDS`. `hold` names what stays as it starts: "labels", "states", "path"."""

    n_iter: int
    burn_in: int
    init: str = "evidence"
    n_start: int | None = None
    n_candidates: int = 4
    block_lengths: tuple[int, int] = (10, 30)
    temperature: float = 1.0
    births: bool = True
    hold: tuple[str, ...] = ()


@dataclass
class ChainDraws:
    """Draws of one chain after burn-in, and its trace over all sweeps.

    Attributes
    ----------
    trace : ndarray of shape (n_sweeps, 3)
        Clusters, states in use, log-likelihood of the counts.
    labels, states : ndarray of int, shape (n_draws, n_neurons) and (n_draws, n_times)
        Of every sweep after burn-in.
    quantities : ndarray of shape (n_draws, 6)
        Of every sweep after burn-in, the same under any naming of clusters: clusters, states, log-likelihood, mean rate, median and 90 %
        quantile of the dispersions.
    kept : ndarray of int, shape (n_kept,)
        Which of the draws are kept in full, below.
    log_means : ndarray of shape (n_kept, n_times, n_neurons)
    dispersion : ndarray of shape (n_kept, n_neurons)
    loadings : ndarray of shape (n_kept, n_neurons, n_factors)
    blocks : list of ndarray of shape (n_clusters, n_times, n_factors + 1)
    acceptance : float
        Share of the proposals of labels that were accepted.
    """

    trace: Float[ndarray, "sweep 3"]
    labels: Int[ndarray, "draw neuron"]
    states: Int[ndarray, "draw time"]
    quantities: Float[ndarray, "draw 6"]
    kept: Int[ndarray, " kept"]
    log_means: Float32[ndarray, "kept time neuron"]
    dispersion: Float[ndarray, "kept neuron"]
    loadings: Float[ndarray, "kept neuron factor"]
    blocks: list[ndarray]
    acceptance: float


def start_chain(counts: Float[ndarray, "time neuron"], priors: Priors, settings: Settings, seed: int) -> ChainState:
    """Where a chain starts: labels by evidence or k-means, trajectories of the smoothed counts, states by energy."""
    rng = default_rng([seed, 1])
    if settings.init == "evidence":
        labels = start_labels(counts, priors, rng, n_clusters=settings.n_start)
    else:
        labels = k_means_labels(counts, min(settings.n_start or 3, priors.max_clusters), rng)
    state = start_state(counts, labels, priors)
    state.states = start_states(state.path, min(N_START_STATES, priors.max_states), rng)
    return state


def run_chain(
    counts: Float[ndarray, "time neuron"],
    priors: Priors,
    settings: Settings,
    seed: int,
    state: ChainState | None = None,
    advance: Callable[[str, int], None] | None = None,
) -> ChainDraws:
    """Sample; the same seed gives the same draws.

    Parameters
    ----------
    counts : ndarray of shape (n_times, n_neurons)
        NaN where missing.
    priors : Priors
    settings : Settings
    seed : int
    state : ChainState, optional
        Where to start; by `start_chain` without.
    advance : callable, optional
        Told after every sweep.
    """
    state = start_chain(counts, priors, settings, seed) if state is None else state
    rng = default_rng([seed, 2])
    update_dynamics(state, priors, rng)
    update_transitions(state, priors, rng)
    n_draws = settings.n_iter - settings.burn_in
    kept = np.unique(np.linspace(0, n_draws - 1, min(KEPT, n_draws)).round().astype(np.int64))
    wanted = set(kept.tolist())
    trace, quantities = np.empty((settings.n_iter, 3)), np.empty((n_draws, 6))
    labels = np.empty((n_draws, counts.shape[1]), dtype=np.int64)
    states = np.empty((n_draws, len(counts)), dtype=np.int64)
    full: list[tuple[ndarray, ndarray, ndarray, ndarray]] = []
    accepted: list[float] = []
    for sweep in range(settings.n_iter):
        rate = sweep_once(counts, state, priors, settings, sweep, rng)
        if rate is not None:
            accepted.append(rate)
        trace[sweep] = state.n_clusters, len(np.unique(state.states)), log_likelihood(counts, state, priors)
        draw = sweep - settings.burn_in
        if draw >= 0:
            log_means = state.log_means()
            quantities[draw] = *trace[sweep], np.exp(log_means).mean(), *np.quantile(state.dispersion, [0.5, 0.9])
            labels[draw], states[draw] = state.labels, state.states
            if draw in wanted:
                full.append(
                    (log_means.astype(np.float32), state.dispersion.copy(), state.loadings.copy(), state.blocks())
                )
        if advance is not None:
            advance(f"{state.n_clusters} clusters, {int(trace[sweep, 1])} states", 1)
    return ChainDraws(
        trace=trace,
        labels=labels,
        states=states,
        quantities=quantities,
        kept=kept,
        log_means=np.stack([draw[0] for draw in full]),
        dispersion=np.stack([draw[1] for draw in full]),
        loadings=np.stack([draw[2] for draw in full]),
        blocks=[draw[3] for draw in full],
        acceptance=float(np.mean(accepted)) if accepted else 1.0,
    )


def sweep_once(
    counts: ndarray, state: ChainState, priors: Priors, settings: Settings, sweep: int, rng: np.random.Generator
) -> float | None:
    """Every step once; returns the share of accepted labels, None where labels stay."""
    warm = sweep < min(WARM_UP, settings.burn_in // 2)
    free_states = not warm and "states" not in settings.hold and priors.max_states > 1
    if "path" not in settings.hold:
        update_trajectories(
            counts, state, priors, rng, n_candidates=settings.n_candidates if free_states else 1,
            block_lengths=settings.block_lengths,
        )  # fmt: skip
        update_location(state, rng)
    update_dynamics(state, priors, rng)
    if free_states:
        update_states(state, rng)
    update_transitions(state, priors, rng)
    update_dispersion(counts, state, priors, rng)
    if warm or "labels" in settings.hold or priors.max_clusters == 1:
        return None
    progress = sweep / max(settings.burn_in / 2, 1)
    temperature = max(1.0, settings.temperature + (1.0 - settings.temperature) * progress)
    return update_labels(counts, state, priors, rng, temperature=temperature, births=settings.births)
