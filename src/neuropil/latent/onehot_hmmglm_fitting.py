r"""Expectation maximisation of switching regressions: with exact Newton steps, and by gradients where connections have classes.

The E step is a forward-backward recursion over the log-likelihoods of every bin in every state. The M step raises

.. math:: Q = \sum_t \sum_s \gamma_t(s) \sum_i \log \text{Poisson}(x_{t,i} \mid f_{t,i|s}) + \log p(W)

by one Newton step where the prior on W is Gaussian or absent, and by steps of Adam on samples of relaxed classes under the one-hot prior.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import softplus

from neuropil.progress import bar
from neuropil.stats import markov
from neuropil.stats.glm import log_likelihoods
from neuropil.stats.glm_inputs import check_family
from neuropil.stats.glm_solver import Part, Point, Problem, maximise, propose

NEGLIGIBLE = 1e-12
MAX_PRODUCTS = 8
LEAST_STRENGTH, LEAST_WEIGHT, LEAST_LOG_CLASS = 0.3, 0.4, -20.0


class Sequences(NamedTuple):
    """What the fits see: all bins end to end.

    Attributes
    ----------
    design : ndarray of shape (n_bins, n_features)
        Filtered history: first of the couplings, (pre, basis), then of every neuron's own past, (neuron, lag), where that is separate.
    counts : ndarray of shape (n_bins, n_neurons)
    lengths : list of int
    constants : ndarray of shape (n_bins,)
        Terms of the log-likelihood without parameters.
    n_coupling : int
        Features that are couplings.
    free : ndarray of shape (n_neurons, n_features) or None
        1 where a neuron may have a coefficient.
    """

    design: Float[ndarray, "bin feature"]
    counts: Float[ndarray, "bin neuron"]
    lengths: list[int]
    constants: Float[ndarray, " bin"]
    n_coupling: int
    free: Float[ndarray, "neuron feature"] | None


class Parameters(NamedTuple):
    """Coefficients (state, neuron, feature), intercepts (state or 1, neuron), transition (state, state)."""

    coefficients: Float[ndarray, "state neuron feature"]
    intercepts: Float[ndarray, "bias neuron"]
    transition: Float[ndarray, "state state"]


class Expectation(NamedTuple):
    """Posteriors (bin, state), expected transitions (state, state), log-likelihood of all sequences."""

    posterior: Float[ndarray, "bin state"]
    transitions: Float[ndarray, "state state"]
    log_likelihood: float


class Settings(NamedTuple):
    """What a fit is told; see `SwitchingGLM`."""

    link: str
    transition_prior: float
    precision: float
    max_iter: int
    tol: float


class Fitted(NamedTuple):
    """Where a fit ended."""

    parameters: Parameters
    centre: Float[ndarray, "neuron feature"] | None
    objective: list[float]
    converged: bool


def emissions(sequences: Sequences, parameters: Parameters, link: str) -> list[Float[ndarray, "_ state"]]:
    """Log-likelihoods of every bin in every state, sequence by sequence."""
    n_states, n_neurons = parameters.coefficients.shape[:2]
    values = log_likelihoods(
        sequences.design, sequences.counts, parameters.coefficients,
        np.broadcast_to(parameters.intercepts, (n_states, n_neurons)), link=link, constants=sequences.constants,
    )  # fmt: skip
    return np.split(values, np.cumsum(sequences.lengths)[:-1])


def expect(sequences: Sequences, parameters: Parameters, link: str) -> Expectation:
    """The E step: chains that start in any state alike."""
    n_states = len(parameters.transition)
    found = markov.smooth(
        np.full(n_states, 1 / n_states), parameters.transition, emissions(sequences, parameters, link)
    )
    return Expectation(np.concatenate(found.probabilities), found.transitions, float(found.log_likelihood.sum()))


def moved_transition(
    transitions: Float[ndarray, "state state"], transition: Float[ndarray, "state state"], prior: float
) -> Float[ndarray, "state state"]:
    """Transition probabilities of the highest posterior; rows of states that are never left stay as they were."""
    counts = transitions + prior
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), transition)


def _transition_log_prior(transition: ndarray, prior: float) -> float:
    return float(prior * np.log(transition).sum()) if prior > 0 else 0.0


def weighted_problem(
    sequences: Sequences, posterior: Float[ndarray, "bin state"], link: str, ridge: ndarray, centre: Any
) -> Problem:
    """The M step as regressions on bins weighted by the probability of their state; bins of none are left out."""
    family_code, link_code = check_family("poisson", link)
    parts = []
    for weights in posterior.T:
        rows = np.flatnonzero(weights > NEGLIGIBLE)
        everything = len(rows) == len(weights)
        parts.append(Part(None if everything else rows, np.ascontiguousarray(weights[rows, None])))
    return Problem(
        sequences.design, sequences.counts, None, parts, family_code, link_code, np.ones(sequences.counts.shape[1]),
        ridge, centre, sequences.free,
    )  # fmt: skip


def fit_newton(sequences: Sequences, start: Parameters, settings: Settings, title: str) -> Fitted:
    """Expectation maximisation whose M step is a Newton step, for no prior on couplings (precision 0) or a Gaussian one.

    The Gaussian prior of every state's couplings has one mean, which is learned: the mean over states. The objective is the
    log-likelihood of the data plus the log-densities of couplings and transitions under their priors. It never falls: a step that would
    lower it is replaced by one that is shortened neuron by neuron until Q rises.
    """
    n_features = sequences.design.shape[1]
    ridge = np.where(np.arange(n_features) < sequences.n_coupling, settings.precision, 0.0)

    def log_prior(parameters: Parameters, centre: ndarray) -> float:
        value = _transition_log_prior(parameters.transition, settings.transition_prior)
        if settings.precision > 0:
            away = (parameters.coefficients - centre)[..., : sequences.n_coupling]
            density = 0.5 * np.log(settings.precision / (2 * np.pi)) - 0.5 * settings.precision * away**2
            value += float(density.sum())
        return value

    def mean(parameters: Parameters) -> ndarray:
        return parameters.coefficients.mean(axis=0) if settings.precision > 0 else np.zeros((1, 1))

    parameters, centre = start, mean(start)
    found = expect(sequences, parameters, settings.link)
    objective = [found.log_likelihood + log_prior(parameters, centre)]
    converged = False
    with bar(title, settings.max_iter) as advance:
        for _ in range(settings.max_iter):
            centre = mean(parameters)
            transition = moved_transition(found.transitions, parameters.transition, settings.transition_prior)
            problem = weighted_problem(
                sequences,
                found.posterior,
                settings.link,
                ridge,
                np.broadcast_to(centre, (1, *parameters.coefficients.shape[1:])),
            )
            here = Point(parameters.coefficients, parameters.intercepts)
            moved = Parameters(*propose(problem, here, MAX_PRODUCTS), transition)
            after = expect(sequences, moved, settings.link)
            value = after.log_likelihood + log_prior(moved, centre)
            if not value >= objective[-1]:
                safe = maximise(problem, here, max_iter=1, tol=0.0, max_products=MAX_PRODUCTS).point
                moved = Parameters(*safe, transition)
                after = expect(sequences, moved, settings.link)
                value = after.log_likelihood + log_prior(moved, centre)
                if not value >= objective[-1]:
                    converged = True
                    break
            gain = value - objective[-1]
            parameters, found = moved, after
            objective.append(value)
            advance(f"log-likelihood {found.log_likelihood:.6g}", 1)
            if gain <= settings.tol * len(sequences.counts):
                converged = True
                break
    return Fitted(parameters, mean(parameters) if settings.precision > 0 else None, objective, converged)


class Classes(NamedTuple):
    """What the one-hot prior learns beside coefficients.

    Attributes
    ----------
    probabilities : ndarray of shape (n_states, n_neurons, n_neurons, 3)
        Of a connection being inhibitory, absent, excitatory.
    strength : ndarray of shape (n_states, n_neurons, n_neurons)
    prior : ndarray of shape (n_neurons, n_neurons, 3)
        The same probabilities as all states share them.
    """

    probabilities: Float[ndarray, "state neuron neuron 3"]
    strength: Float[ndarray, "state neuron neuron"]
    prior: Float[ndarray, "neuron neuron 3"]


class ClassSettings(NamedTuple):
    """How classes are learned; see `SwitchingGLM`."""

    weight: float
    tau: float
    sharpen: float
    density: str
    inner_steps: int
    lr: float


def relaxed_log_density(log_classes: Tensor, log_prior: Tensor, tau: float) -> Tensor:
    r"""Log-density of relaxed categorical variables (Gumbel-softmax) of temperature `tau`, over the last axis.

    :math:`\log \Gamma(C) + (C - 1) \log \tau - C \log \sum_c \pi_c a_c^{-\tau} + \sum_c (\log \pi_c - (\tau + 1) \log a_c)`; where
    `tau` is below 1 it grows without bound towards the corners.
    """
    n = log_classes.shape[-1]
    constant = float(np.log(np.arange(1, n)).sum() + (n - 1) * np.log(tau))
    mixed = torch.logsumexp(log_prior - tau * log_classes, dim=-1)
    return constant - n * mixed + (log_prior - (tau + 1) * log_classes).sum(dim=-1)


def class_log_prior(logits: Tensor, prior_logits: Tensor, settings: ClassSettings) -> Tensor:
    """What the one-hot prior adds to the objective: `weight` times its log-density, less `sharpen` times the entropy of the classes."""
    log_classes, log_prior = logits.log_softmax(-1), prior_logits.log_softmax(-1)
    classes = log_classes.exp()
    if settings.density == "gumbel":
        density = relaxed_log_density(log_classes, log_prior.expand_as(log_classes), settings.tau).sum()
    else:
        density = (classes * log_prior).sum()
    return settings.weight * density + settings.sharpen * (classes * log_classes).sum()


def fit_classes(
    sequences: Sequences, start: Parameters, settings: Settings, classes: ClassSettings, rng: Generator, title: str
) -> tuple[Parameters, Classes, list[float]]:
    """Expectation maximisation under the one-hot prior, from couplings fitted without it.

    Connections start as absent where the fitted weight is below 0.4: one that starts with a sign hardly ever loses it, since a small
    strength does as well. Every round takes one E step with the expected couplings, then `inner_steps` steps of Adam on couplings made
    from a fresh sample of relaxed classes each. These steps are noisy and climb another function than the recorded objective, which is
    the log-likelihood under the expected couplings plus `class_log_prior`: it may fall, and comparing it between models says nothing.

    Returns
    -------
    Parameters, Classes, list of float
        Couplings are those of the most probable classes.
    """
    n_coupling = sequences.n_coupling
    weights = start.coefficients[..., :n_coupling]
    logits = torch.tensor(np.stack([-4 * weights, 8 * LEAST_WEIGHT - 4 * np.abs(weights), 4 * weights], axis=-1))
    prior_logits = logits.softmax(-1).mean(dim=0).log()
    raw = torch.tensor(np.log(np.expm1(np.maximum(np.abs(weights), LEAST_STRENGTH))))
    own = torch.tensor(start.coefficients[..., n_coupling:])
    bias, transition = torch.tensor(start.intercepts), start.transition
    learned = [logits, prior_logits, raw, own, bias]
    for tensor in learned:
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(learned, lr=classes.lr)
    every: Any = slice(None)

    def point(a: Tensor) -> Parameters:
        coupled = (a[..., 2] - a[..., 0]) * softplus(raw)
        whole = torch.cat([coupled, own], dim=-1).detach().numpy()
        free = whole if sequences.free is None else whole * sequences.free
        return Parameters(free, bias.detach().numpy().copy(), transition)

    objective = []
    with bar(title, settings.max_iter) as advance:
        for _ in range(settings.max_iter):
            found = expect(sequences, point(logits.softmax(-1)), settings.link)
            prior = float(class_log_prior(logits, prior_logits, classes).detach())
            objective.append(
                found.log_likelihood + prior + _transition_log_prior(transition, settings.transition_prior)
            )
            transition = moved_transition(found.transitions, transition, settings.transition_prior)
            problem = weighted_problem(sequences, found.posterior, settings.link, np.zeros(1), 0.0)
            for _ in range(classes.inner_steps):
                noise = torch.from_numpy(rng.gumbel(size=tuple(logits.shape)))
                a = ((logits + noise) / classes.tau).softmax(-1)
                coupled = torch.cat([(a[..., 2] - a[..., 0]) * softplus(raw), own], dim=-1)
                now = point(a)
                slope = problem.evaluate(Point(now.coefficients, now.intercepts), every).gradient.masked(sequences.free)
                # The data's part of the gradient enters where couplings and biases do; torch carries it on to the classes.
                climbed = (coupled * torch.from_numpy(slope.coefficients)).sum()
                climbed = climbed + (bias * torch.from_numpy(slope.intercepts)).sum()
                optimizer.zero_grad()
                (-climbed - class_log_prior(logits, prior_logits, classes)).backward()
                optimizer.step()
                with torch.no_grad():
                    for tensor in (logits, prior_logits):
                        tensor.copy_(tensor.log_softmax(-1).clamp(min=LEAST_LOG_CLASS))
            advance(f"log-likelihood {found.log_likelihood:.6g}", 1)
    with torch.no_grad():
        probabilities = logits.softmax(-1)
        hard = torch.nn.functional.one_hot(probabilities.argmax(-1), 3).double()
        result = point(hard)
        learned_classes = Classes(probabilities.numpy(), softplus(raw).numpy(), prior_logits.softmax(-1).numpy())
    return result, learned_classes, objective
