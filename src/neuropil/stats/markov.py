r"""Inference in hidden Markov models whose emissions are anybody's: everything starts from log-likelihoods of every step under every state.

A chain of states :math:`z_1 \dots z_T` starts with p(z_1 = i) = `initial[i]` and moves with p(z_{t+1} = j | z_t = i) =
`transition[i, j]`; step t was observed with :math:`\log p(y_t \mid z_t = i)` = `log_likelihoods[sequence, t, i]`. That array comes from
whatever emits: Gaussians, Poisson regressions, a network. Sequences come as a padded array (sequence, time, state) with their `lengths`,
or as a list of arrays (time, state); results have the same form, padding filled with 0 (probabilities) or -1 (states).

The recursions run in probabilities relative to the best state of each step (compiled, float64, one thread a range of sequences) and
agree with logarithms to 1e-10. A sequence in which a probability gets lost that could matter again (forbidden transitions, together
with emissions that contradict each other by hundreds of nats or states that fade out) is run on logarithms instead, 20 to 60 times slower.
Beside its result, a call keeps nothing that grows with time: `filter` and `smooth` take 8 n_states bytes a step, which they return;
`viterbi` the same as working memory, and 8 bytes a step for the path.

Emissions with parameters in torch need no recursion there: by Fisher's identity the gradient of the log-likelihood is that of
:math:`\sum_t \sum_i \gamma_t(i) \log p(y_t \mid z_t = i)` with the posterior `smooth(...).probabilities` held constant.

Rabiner (1989). A tutorial on hidden Markov models and selected applications in speech recognition. Proceedings of the IEEE 77(2).
Cappé, Moulines & Rydén (2005). Inference in Hidden Markov Models. Springer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError
from neuropil.stats import markov_kernels as kernels
from neuropil.stats import markov_log_kernels as log_kernels
from neuropil.stats.markov_inputs import Chain, check
from neuropil.stats.sequences import Packed, over_sequences

Steps = Float[ndarray, "sequence time state"] | Sequence[Float[ndarray, "_ state"]]
Transitions = (
    Float[ndarray, "state state"]
    | Float[ndarray, "sequence step state state"]
    | Sequence[Float[ndarray, "_ state state"]]
)
Lengths = Int[ndarray, " sequence"] | None


class Filtered(NamedTuple):
    r"""What is known of the states from the past.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n_sequences,)
        :math:`\log p(y_{1:T})`.
    probabilities : ndarray of shape (n_sequences, n_times, n_states) or list of ndarray of shape (n_times_i, n_states)
        :math:`\alpha_t(i) = p(z_t = i \mid y_{1:t})`.
    """

    log_likelihood: Float[ndarray, " sequence"]
    probabilities: Any


class Smoothed(NamedTuple):
    r"""What is known of the states from the whole sequence.

    Attributes
    ----------
    log_likelihood : ndarray of shape (n_sequences,)
        :math:`\log p(y_{1:T})`.
    probabilities : ndarray of shape (n_sequences, n_times, n_states) or list of ndarray of shape (n_times_i, n_states)
        :math:`\gamma_t(i) = p(z_t = i \mid y_{1:T})`.
    transitions : ndarray of shape (n_states, n_states) or (n_sequences, n_states, n_states)
        :math:`\sum_{t=1}^{T-1} \xi_t(i, j)` with :math:`\xi_t(i, j) = p(z_t = i, z_{t+1} = j \mid y_{1:T})`, the expected number of
        transitions from i to j, summed over sequences unless asked for one by one.
    """

    log_likelihood: Float[ndarray, " sequence"]
    probabilities: Any
    transitions: Float[ndarray, "*sequence state state"]


class Decoded(NamedTuple):
    r"""The most probable path.

    Attributes
    ----------
    paths : ndarray of int, shape (n_sequences, n_times), or list of ndarray of shape (n_times_i,)
        :math:`\arg\max_{z_{1:T}} p(z_{1:T}, y_{1:T})`; of two that are equally probable the one with the lower states, from the end.
    log_probability : ndarray of shape (n_sequences,)
        :math:`\max_{z_{1:T}} \log p(z_{1:T}, y_{1:T})`.
    """

    paths: Any
    log_probability: Float[ndarray, " sequence"]


def filter(
    initial: Float[ndarray, " state"], transition: Transitions, log_likelihoods: Steps, lengths: Lengths = None
) -> Filtered:
    """Forward recursion: the log-likelihood of every sequence and its states given the past.

    Parameters
    ----------
    initial : ndarray of shape (n_states,)
        Probabilities of the first state.
    transition : ndarray of shape (n_states, n_states) or (n_sequences, n_times - 1, n_states, n_states), or list of the latter's kind
        Row i holds the probabilities of the states that follow i; one matrix, or one for each step from t to t + 1.
    log_likelihoods : ndarray of shape (n_sequences, n_times, n_states) or list of ndarray of shape (n_times_i, n_states)
        Log density of the observation of a step in a state, natural logarithm; -inf where the state is impossible.
    lengths : ndarray of int, shape (n_sequences,), optional
        Valid steps of every sequence of a padded array.

    Returns
    -------
    Filtered

    Raises
    ------
    DataError
        If a log-likelihood is NaN or +inf, or a sequence is impossible.
    UsageError
        If probabilities do not sum to one or shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.log([[[0.9, 0.5], [0.9, 0.5], [0.1, 0.5]]])  # heads, heads, tails under a biased and a fair coin
    >>> result = filter(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]]), coins)
    >>> result.probabilities[0, :, 0].round(3).tolist()
    [0.643, 0.741, 0.311]
    >>> result.log_likelihood.round(3).tolist()
    [-2.152]
    """
    chain, packed = check(initial, transition, log_likelihoods, lengths)
    rows, log_likelihood, on_logarithms = _forward(chain, packed)
    for s in np.flatnonzero(on_logarithms).tolist():
        part = _part(packed, s)
        rows[part] = np.exp(rows[part])
    return Filtered(log_likelihood, packed.unpack(rows))


def smooth(
    initial: Float[ndarray, " state"],
    transition: Transitions,
    log_likelihoods: Steps,
    lengths: Lengths = None,
    *,
    per_sequence: bool = False,
) -> Smoothed:
    """Forward and backward recursion: all that the E step of expectation maximisation needs.

    Parameters
    ----------
    initial, transition, log_likelihoods, lengths
        As for `filter`.
    per_sequence : bool, default False
        Give the expected transitions of every sequence by itself.

    Returns
    -------
    Smoothed

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.log([[[0.9, 0.5], [0.9, 0.5], [0.1, 0.5]]])
    >>> result = smooth(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]]), coins)
    >>> result.probabilities[0, :, 0].round(3).tolist()
    [0.528, 0.466, 0.311]
    >>> result.transitions.sum().round(3)
    np.float64(2.0)
    """
    chain, packed = check(initial, transition, log_likelihoods, lengths)
    rows, log_likelihood, on_logarithms = _forward(chain, packed)
    n_states = chain.n_states

    def run(part: slice) -> ndarray:
        counts = np.zeros((part.stop - part.start if per_sequence else 1, n_states, n_states))
        kernels.backward(
            chain.transitions, chain.transposed, chain.firsts[part], rows, packed.starts[part], packed.lengths[part],
            on_logarithms[part], counts,
        )  # fmt: skip
        return counts

    parts = over_sequences(run, packed.lengths, 3 * n_states**2)
    counts = np.concatenate(parts) if per_sequence else np.sum(parts, axis=0)
    log_transitions = chain.log_transitions if on_logarithms.any() else None
    for s in np.flatnonzero(on_logarithms).tolist():
        log_kernels.log_backward(
            log_transitions, chain.firsts[s], rows[_part(packed, s)], counts[s if per_sequence else 0]
        )
    return Smoothed(log_likelihood, packed.unpack(rows), counts if per_sequence else counts[0])


def viterbi(
    initial: Float[ndarray, " state"], transition: Transitions, log_likelihoods: Steps, lengths: Lengths = None
) -> Decoded:
    """The most probable path of states; parameters as for `filter`.

    Returns
    -------
    Decoded

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.log([[[0.9, 0.5], [0.9, 0.5], [0.1, 0.5]]])
    >>> result = viterbi(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]]), coins)
    >>> result.paths.tolist(), result.log_probability.round(3).tolist()
    ([[1, 1, 1]], [-2.983])
    """
    chain, packed = check(initial, transition, log_likelihoods, lengths)
    rows, log_probability = _relative(packed, -np.inf)
    states = np.full(len(rows), -1)
    with np.errstate(divide="ignore"):
        log_initial, log_transitions = np.log(chain.initial), chain.log_transitions

    def run(part: slice) -> None:
        where = chain.firsts[part], rows, packed.starts[part], packed.lengths[part]
        kernels.best_scores(log_initial, log_transitions, *where)
        kernels.trace_back(log_transitions, *where, states, log_probability[part])

    over_sequences(run, packed.lengths, chain.n_states**2)
    if not np.isfinite(log_probability).all():
        raise DataError(_impossible(int(np.argmin(log_probability))))
    return Decoded(packed.unpack(states), log_probability)


def sample_paths(
    initial: Float[ndarray, " state"],
    transition: Transitions,
    log_likelihoods: Steps,
    lengths: Lengths = None,
    *,
    n_samples: int = 1,
    random_state: int | Generator | None = None,
) -> Any:
    """Draw paths of states from p(z_{1:T} | y_{1:T}): filtering forward, sampling backward.

    Parameters
    ----------
    initial, transition, log_likelihoods, lengths
        As for `filter`.
    n_samples : int, default 1
        Paths a sequence; 16 bytes a step and path are needed.
    random_state : int, Generator or None

    Returns
    -------
    ndarray of int, shape (n_samples, n_sequences, n_times), or list of ndarray of shape (n_samples, n_times_i)

    Examples
    --------
    >>> import numpy as np
    >>> certain = np.log(np.array([[[1.0, 0.1], [0.1, 1.0]]])) * 1000
    >>> sample_paths(np.array([0.5, 0.5]), np.full((2, 2), 0.5), certain, n_samples=3, random_state=0)[:, 0].tolist()
    [[0, 1], [0, 1], [0, 1]]
    """
    if n_samples < 1:
        raise UsageError(f"Expected one sample or more, got n_samples={n_samples}.")
    chain, packed = check(initial, transition, log_likelihoods, lengths)
    rows, _, on_logarithms = _forward(chain, packed)
    uniforms = default_rng(random_state).random((len(rows), n_samples))
    states = np.full(uniforms.shape, -1)

    def run(part: slice) -> None:
        kernels.sample_backward(
            chain.transitions, chain.firsts[part], rows, packed.starts[part], packed.lengths[part], on_logarithms[part],
            uniforms, states,
        )  # fmt: skip

    over_sequences(run, packed.lengths, n_samples * chain.n_states)
    log_transitions = chain.log_transitions if on_logarithms.any() else None
    for s in np.flatnonzero(on_logarithms).tolist():
        part = _part(packed, s)
        log_kernels.log_sample_backward(log_transitions, chain.firsts[s], rows[part], uniforms[part], states[part])
    paths = packed.unpack(states)
    return np.moveaxis(paths, -1, 0) if isinstance(paths, ndarray) else [path.T for path in paths]


def _relative(packed: Packed, floor: float) -> tuple[ndarray, ndarray]:
    """Log-likelihoods relative to the best state of their step, -inf in the padding, and the sums of the best."""
    rows = np.empty_like(packed.values)
    packed.blank(rows, -np.inf)
    total = np.empty(len(packed.starts))
    parts = over_sequences(
        lambda part: kernels.relative(packed.values, floor, packed.starts[part], packed.lengths[part], rows, total[part]),
        packed.lengths, packed.values.shape[1],
    )  # fmt: skip
    flawed = [row for row in parts if row >= 0]
    if flawed:
        s = int(np.searchsorted(packed.starts, flawed[0], side="right")) - 1
        where = f"sequence {s}, step {flawed[0] - packed.starts[s]}"
        raise DataError(
            f"log_likelihoods of {where} are {packed.values[flawed[0]]}: expected numbers or -inf, at least one of them finite; "
            "look at the observation of that step."
        )
    return rows, total


def _forward(chain: Chain, packed: Packed) -> tuple[ndarray, ndarray, ndarray]:
    """Filtered probabilities, or their logarithms for the sequences that are marked, and log-likelihoods."""
    rows, log_likelihood = _relative(packed, kernels.LOWEST)
    np.exp(rows, out=rows)
    on_logarithms = np.zeros(len(packed.starts), dtype=np.bool_)
    shared = chain.transitions, chain.transposed
    over_sequences(
        lambda part: kernels.forward(
            chain.initial, *shared, chain.firsts[part], chain.fragile, rows, packed.starts[part], packed.lengths[part],
            log_likelihood[part], on_logarithms[part],
        ),
        packed.lengths, chain.n_states**2,
    )  # fmt: skip
    log_transitions = chain.log_transitions if on_logarithms.any() else None
    for s in np.flatnonzero(on_logarithms).tolist():
        part = _part(packed, s)
        best = packed.values[part].max(axis=1, keepdims=True)
        rows[part] = packed.values[part] - best
        with np.errstate(divide="ignore"):
            log_initial = np.log(chain.initial)
        total, step = log_kernels.log_forward(log_initial, log_transitions, chain.firsts[s], rows[part])
        if step >= 0:
            raise DataError(_impossible(s, int(step)))
        log_likelihood[s] = best.sum() + total
    return rows, log_likelihood, on_logarithms


def _part(packed: Packed, s: int) -> slice:
    return slice(int(packed.starts[s]), int(packed.starts[s] + packed.lengths[s]))


def _impossible(sequence: int, step: int | None = None) -> str:
    where = "" if step is None else f" from step {step} on"
    return (
        f"Sequence {sequence} is impossible{where}: no path of states has allowed transitions and finite log-likelihoods throughout; "
        "allow more transitions, or emissions with heavier tails."
    )
