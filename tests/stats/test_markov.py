"""Hidden Markov models: every quantity against the sum over all paths, and against recursions written out in logarithms."""

from inspect import unwrap
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from neuropil.errors import DataError, UsageError
from neuropil.stats import markov
from neuropil.stats import markov_log_kernels as log_kernels
from neuropil.stats.chains import simulate, stationary_distribution

T, S = 5, 3


def model(seed, n_sequences=1, n_times=T, n_states=S, spread=2.0, sparse=False):
    """Initial probabilities, transitions and log-likelihoods."""
    rng = np.random.default_rng(seed)
    initial, transition = rng.dirichlet(np.ones(n_states)), rng.dirichlet(np.ones(n_states), size=n_states)
    if sparse:
        transition = transition * (rng.random((n_states, n_states)) < 0.6) + 0.1 * np.eye(n_states)
        transition /= transition.sum(axis=1, keepdims=True)
    return initial, transition, spread * rng.standard_normal((n_sequences, n_times, n_states))


def all_paths(initial, transition, log_likelihoods):
    """Every path of one sequence and its log joint probability, (path, time) and (path,)."""
    n_times, n_states = log_likelihoods.shape
    steps = np.broadcast_to(transition, (n_times - 1, n_states, n_states))
    paths = np.array(list(product(range(n_states), repeat=n_times)))
    with np.errstate(divide="ignore"):
        joint = np.log(initial)[paths[:, 0]] + log_likelihoods[np.arange(n_times), paths].sum(axis=1)
        for t in range(n_times - 1):
            joint = joint + np.log(steps[t])[paths[:, t], paths[:, t + 1]]
    return paths, joint


def enumerated(initial, transition, log_likelihoods):
    """log p(y), gamma and summed xi of one sequence, by the sum over all paths."""
    n_states = log_likelihoods.shape[1]
    paths, joint = all_paths(initial, transition, log_likelihoods)
    total = logsumexp(joint)
    weights = np.exp(joint - total)
    states = np.eye(n_states)[paths]
    gamma = np.einsum("p,pti->ti", weights, states)
    return total, gamma, np.einsum("p,pti,ptj->ij", weights, states[:, :-1], states[:, 1:])


def in_logarithms(initial, transition, log_likelihoods):
    """The same by the textbook's alpha and beta recursions on logarithms, each step's alpha and beta brought to a common size."""
    with np.errstate(divide="ignore"):
        log_initial, log_transition = np.log(initial), np.log(transition)
    n_times, n_states = log_likelihoods.shape
    alpha, beta, scale = np.empty_like(log_likelihoods), np.zeros_like(log_likelihoods), np.empty(n_times)
    for t in range(n_times):
        before = log_initial if t == 0 else logsumexp(alpha[t - 1][:, None] + log_transition, axis=0)
        alpha[t] = log_likelihoods[t] + before
        scale[t] = logsumexp(alpha[t])
        alpha[t] -= scale[t]
    for t in range(n_times - 2, -1, -1):
        beta[t] = logsumexp(log_transition + log_likelihoods[t + 1] + beta[t + 1], axis=1)
        beta[t] -= beta[t].max()
    xi = alpha[:-1, :, None] + log_transition + (log_likelihoods[1:] + beta[1:])[:, None]
    xi = softmax(xi.reshape(n_times - 1, -1), axis=1).sum(axis=0).reshape(n_states, n_states)
    return scale.sum(), softmax(alpha + beta, axis=1), xi


def agree(found, expected, s=0, rtol=1e-10):
    total, gamma, xi = expected
    np.testing.assert_allclose(found.log_likelihood[s], total, rtol=rtol)
    np.testing.assert_allclose(found.probabilities[s][: len(gamma)], gamma, atol=1e-10)
    np.testing.assert_allclose(
        found.transitions if found.transitions.ndim == 2 else found.transitions[s], xi, atol=1e-9
    )


class TestSmooth:
    @given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 5), st.booleans())
    def test_is_the_sum_over_all_paths(self, seed, n_states, n_times, sparse):
        """Also with more states than steps, with one state, with one step, with forbidden transitions."""
        initial, transition, log_likelihoods = model(seed, 1, n_times, n_states, sparse=sparse)
        agree(
            markov.smooth(initial, transition, log_likelihoods),
            enumerated(initial, transition, log_likelihoods[0]),
        )

    def test_transitions_of_every_step(self):
        rng = np.random.default_rng(0)
        initial, _, log_likelihoods = model(0, 3)
        steps = rng.dirichlet(np.ones(S), size=(3, T - 1, S))
        lengths = np.array([5, 1, 3])
        found = markov.smooth(initial, steps, log_likelihoods, lengths, per_sequence=True)
        for s, n in enumerate(lengths):
            agree(found, enumerated(initial, steps[s, : n - 1], log_likelihoods[s, :n]), s)
        ragged = markov.smooth(
            initial,
            [steps[s, : n - 1] for s, n in enumerate(lengths)],
            [log_likelihoods[s, :n] for s, n in enumerate(lengths)],
            per_sequence=True,
        )
        np.testing.assert_allclose(ragged.transitions, found.transitions, atol=1e-14)
        np.testing.assert_allclose(ragged.probabilities[2], found.probabilities[2, :3], atol=1e-14)

    def test_equal_transitions_of_every_step_are_one_matrix(self):
        initial, transition, log_likelihoods = model(1, 2, 30)
        one = markov.smooth(initial, transition, log_likelihoods)
        many = markov.smooth(initial, np.broadcast_to(transition, (2, 29, S, S)).copy(), log_likelihoods)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)

    @pytest.mark.parametrize("n_states", [1, 2, 5, 7, 8, 50])
    def test_is_the_textbooks_recursion_on_logarithms(self, n_states):
        initial, transition, log_likelihoods = model(2, 1, 400, n_states, spread=20.0)
        found = markov.smooth(initial, transition, log_likelihoods)
        agree(found, in_logarithms(initial, transition, log_likelihoods[0]))

    def test_a_hundred_thousand_steps_of_extreme_log_likelihoods(self):
        rng = np.random.default_rng(3)
        initial, transition, _ = model(3, n_states=5)
        log_likelihoods = -1e4 + 30 * rng.standard_normal((1, 100_000, 5))
        log_likelihoods[0, rng.random((100_000, 5)) < 0.3] = -2e4
        found = markov.smooth(initial, transition, log_likelihoods)
        rows, counts = log_likelihoods[0] + 1e4, np.zeros((5, 5))
        total, _ = log_kernels.log_forward(np.log(initial), np.log(transition)[None], 0, rows)
        log_kernels.log_backward(np.log(transition)[None], 0, rows, counts)
        agree(found, (total - 1e9, rows, counts), rtol=1e-13)
        np.testing.assert_allclose(found.transitions.sum(), 99_999, rtol=1e-10)
        short = markov.smooth(initial, transition, log_likelihoods[:, :1000])
        agree(short, in_logarithms(initial, transition, log_likelihoods[0, :1000]))

    def test_lost_probabilities_that_matter_again_are_kept(self):
        """Two states that never change: the second is worse by 1000 nats at first and better by 2000 later."""
        log_likelihoods = np.array([[[0.0, -1000.0], [0.0, -10.0], [-2000.0, 0.0]]])
        found = markov.smooth(np.array([0.5, 0.5]), np.eye(2), log_likelihoods)
        np.testing.assert_allclose(found.log_likelihood, np.log(0.5) - 1010, rtol=1e-14)
        np.testing.assert_allclose(found.probabilities, np.tile([0.0, 1.0], (1, 3, 1)), atol=1e-14)
        np.testing.assert_allclose(found.transitions, [[0, 0], [0, 2]], atol=1e-14)

    def test_lost_probabilities_with_transitions_of_every_step(self):
        """Two sequences; in the first the states are locked until the last step, in the second they are not."""
        steps = np.stack([np.stack([np.eye(2), np.eye(2), np.full((2, 2), 0.5)]), np.full((3, 2, 2), 0.5)])
        log_likelihoods = np.array([[[0.0, -1000.0], [0.0, -10.0], [-2000.0, 0.0], [-3.0, 0.0]]] * 2)
        initial = np.array([0.5, 0.5])
        found = markov.smooth(initial, steps, log_likelihoods, per_sequence=True)
        drawn = markov.sample_paths(initial, steps, log_likelihoods, n_samples=50, random_state=0)
        for s in range(2):
            agree(found, enumerated(initial, steps[s], log_likelihoods[s]), s)
        assert (drawn[:, 0, :3] == 1).all()
        assert (drawn[:, 1, :3] == [0, 0, 1]).all()

    @given(st.integers(0, 2**31), st.sampled_from([30.0, 300.0, 3000.0]), st.booleans())
    def test_surprises_of_any_size(self, seed, spread, sparse):
        initial, transition, log_likelihoods = model(seed, 1, 60, 4, spread, sparse)
        transition = 0.5 * transition + 0.5 * np.eye(4)
        agree(
            markov.smooth(initial, transition, log_likelihoods),
            in_logarithms(initial, transition, log_likelihoods[0]),
            rtol=1e-12,
        )

    @pytest.mark.parametrize("least", [1e-20, 1e-29, 1e-31, 1e-120, 1e-300])
    def test_transitions_as_good_as_forbidden(self, least):
        initial, transition = np.array([1 - least, least]), np.array([[1 - least, least], [least, 1 - least]])
        log_likelihoods = np.random.default_rng(4).standard_normal((1, 50, 2)) * 100
        agree(
            markov.smooth(initial, transition, log_likelihoods),
            in_logarithms(initial, transition, log_likelihoods[0]),
            rtol=1e-12,
        )

    def test_left_to_right(self):
        transition = 0.7 * np.eye(6) + 0.3 * np.eye(6, k=1)
        transition[-1, -1] = 1.0
        log_likelihoods = 2 * np.random.default_rng(5).standard_normal((2, 1000, 6))
        found = markov.smooth(np.eye(6)[0], transition, log_likelihoods, per_sequence=True)
        for s in range(2):
            agree(found, in_logarithms(np.eye(6)[0], transition, log_likelihoods[s]), s)

    def test_reversed_time(self):
        """A stationary chain read backwards is a chain with pi_j A_ji / pi_i."""
        _, transition, log_likelihoods = model(6, 2, 200, 4)
        stationary = stationary_distribution(transition)
        reverse = transition.T * stationary / stationary[:, None]
        forth = markov.smooth(stationary, transition, log_likelihoods)
        back = markov.smooth(stationary, reverse, log_likelihoods[:, ::-1])
        np.testing.assert_allclose(back.log_likelihood, forth.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(back.probabilities[:, ::-1], forth.probabilities, atol=1e-11)
        np.testing.assert_allclose(back.transitions.T, forth.transitions, atol=1e-9)

    @given(st.integers(0, 2**31))
    def test_names_of_states_do_not_matter(self, seed):
        initial, transition, log_likelihoods = model(seed, 2, 20, 5)
        order = np.random.default_rng(seed).permutation(5)
        plain = markov.smooth(initial, transition, log_likelihoods)
        moved = markov.smooth(initial[order], transition[np.ix_(order, order)], log_likelihoods[..., order])
        np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(moved.probabilities, plain.probabilities[..., order], atol=1e-12)
        np.testing.assert_allclose(moved.transitions, plain.transitions[np.ix_(order, order)], atol=1e-12)

    @given(st.integers(0, 2**31), st.floats(-1e4, 1e4))
    def test_a_constant_of_every_step_moves_the_log_likelihood_only(self, seed, shift):
        initial, transition, log_likelihoods = model(seed, 1, 15)
        plain = markov.smooth(initial, transition, log_likelihoods)
        moved = markov.smooth(initial, transition, log_likelihoods + shift)
        np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood + 15 * shift, rtol=1e-11, atol=1e-9)
        np.testing.assert_allclose(moved.probabilities, plain.probabilities, atol=1e-8)

    def test_forbidden_states(self):
        initial, transition, log_likelihoods = model(7)
        log_likelihoods[0, 2, :2] = -np.inf
        log_likelihoods[0, 4, 0] = -np.inf
        found = markov.smooth(initial, transition, log_likelihoods)
        agree(found, enumerated(initial, transition, log_likelihoods[0]))
        assert found.probabilities[0, 2].tolist() == [0, 0, 1]

    def test_expectation_maximisation_climbs(self):
        """Gaussian emissions; the recovered means are those the data were made with."""
        rng = np.random.default_rng(8)
        transition, means = np.array([[0.95, 0.05], [0.1, 0.9]]), np.array([-1.0, 1.5])
        states = simulate(np.array([0.5, 0.5]), transition, 20, 200, 0)
        observed = means[states] + 0.7 * rng.standard_normal(states.shape)
        guess, scale, move, start = np.array([-0.1, 0.1]), np.ones(2), np.full((2, 2), 0.5), np.array([0.5, 0.5])
        climbed = []
        for _ in range(40):
            found = markov.smooth(start, move, norm.logpdf(observed[..., None], guess, scale))
            climbed.append(found.log_likelihood.sum())
            gamma = found.probabilities
            weight = gamma.sum(axis=(0, 1))
            guess = np.einsum("st,sti->i", observed, gamma) / weight
            scale = np.sqrt(np.einsum("sti,sti->i", (observed[..., None] - guess) ** 2, gamma) / weight)
            move = found.transitions / found.transitions.sum(axis=1, keepdims=True)
            start = gamma[:, 0].mean(axis=0)
        assert (np.diff(climbed) >= -1e-8).all()
        np.testing.assert_allclose(guess, means, atol=0.1)
        np.testing.assert_allclose(move, transition, atol=0.03)

    def test_expected_states_and_transitions_add_up(self):
        initial, transition, log_likelihoods = model(9, 4, 50)
        found = markov.smooth(initial, transition, log_likelihoods, per_sequence=True)
        np.testing.assert_allclose(found.transitions.sum(axis=2), found.probabilities[:, :-1].sum(axis=1), atol=1e-12)
        np.testing.assert_allclose(found.transitions.sum(axis=1), found.probabilities[:, 1:].sum(axis=1), atol=1e-12)
        total = markov.smooth(initial, transition, log_likelihoods)
        np.testing.assert_allclose(total.transitions, found.transitions.sum(axis=0), rtol=1e-13)


class TestSequences:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_unequal_lengths_are_single_runs(self, threads, monkeypatch):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        monkeypatch.setattr("neuropil.stats.sequences.LEAST_WORK", 0)
        lengths = np.random.default_rng(0).integers(1, 40, size=25)
        initial, transition, padded = model(10, 25, 40)
        ragged = [padded[s, :n] for s, n in enumerate(lengths)]
        padded[np.arange(40) >= lengths[:, None]] = np.nan
        together = markov.smooth(initial, transition, padded, lengths, per_sequence=True)
        listed = markov.smooth(initial, transition, ragged, per_sequence=True)
        paths, drawn = (f(initial, transition, padded, lengths) for f in (markov.viterbi, markov.sample_paths))
        for s, n in enumerate(lengths):
            alone = markov.smooth(initial, transition, ragged[s][None])
            for found in (together, listed):
                np.testing.assert_array_equal(found.probabilities[s][:n], alone.probabilities[0])
                assert found.log_likelihood[s] == alone.log_likelihood[0]
                np.testing.assert_array_equal(found.transitions[s], alone.transitions)
            np.testing.assert_array_equal(together.probabilities[s, n:], 0)
            np.testing.assert_array_equal(paths.paths[s, :n], markov.viterbi(initial, transition, [ragged[s]]).paths[0])
            for states in (paths.paths[s], drawn[0, s]):
                assert (states[n:] == -1).all()
                assert (states[:n] >= 0).all()

    def test_sums_do_not_depend_on_the_number_of_threads(self, monkeypatch):
        initial, transition, log_likelihoods = model(11, 60, 50)
        monkeypatch.setattr("neuropil.stats.sequences.LEAST_WORK", 0)
        found = []
        for threads in (1, 2, 5):
            monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
            found.append(markov.smooth(initial, transition, log_likelihoods).transitions)
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])

    def test_the_log_likelihoods_given_are_left_alone(self):
        initial, transition, log_likelihoods = model(12)
        before = log_likelihoods.copy()
        for function in (markov.filter, markov.smooth, markov.viterbi, markov.sample_paths):
            function(initial, transition, log_likelihoods)
        np.testing.assert_array_equal(log_likelihoods, before)

    def test_single_precision_and_any_layout_are_taken(self):
        initial, transition, log_likelihoods = model(13, 2, 9)
        single = np.asfortranarray(log_likelihoods.astype(np.float32))
        found, expected = (markov.filter(initial, transition, x) for x in (single, single.astype(np.float64)))
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        assert found.probabilities.dtype == np.float64


class TestFilter:
    def test_is_the_smoother_of_the_past(self):
        initial, transition, log_likelihoods = model(14, 1, 12)
        found = markov.filter(initial, transition, log_likelihoods)
        for t in range(1, 13):
            past = markov.smooth(initial, transition, log_likelihoods[:, :t])
            np.testing.assert_allclose(found.probabilities[0, t - 1], past.probabilities[0, -1], atol=1e-12)
        np.testing.assert_allclose(found.log_likelihood, past.log_likelihood, rtol=1e-13)

    def test_on_logarithms_too(self):
        log_likelihoods = np.array([[[0.0, -1000.0], [0.0, -10.0], [-2000.0, 0.0]]])
        found = markov.filter(np.array([0.5, 0.5]), np.eye(2), log_likelihoods)
        np.testing.assert_allclose(found.probabilities[0], [[1, 0], [1, 0], [0, 1]], atol=1e-14)


class TestViterbi:
    @given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 5), st.booleans())
    def test_is_the_best_of_all_paths(self, seed, n_states, n_times, sparse):
        initial, transition, log_likelihoods = model(seed, 1, n_times, n_states, sparse=sparse)
        paths, joint = all_paths(initial, transition, log_likelihoods[0])
        found = markov.viterbi(initial, transition, log_likelihoods)
        np.testing.assert_array_equal(found.paths[0], paths[np.argmax(joint)])
        np.testing.assert_allclose(found.log_probability[0], joint.max(), rtol=1e-12)

    def test_extreme_log_likelihoods_over_many_steps(self):
        rng = np.random.default_rng(15)
        initial, transition, _ = model(15, n_states=4)
        states = simulate(initial, transition, 1, 100_000, 0)
        log_likelihoods = np.where(np.arange(4) == states[..., None], -1e4, -1.2e4) + rng.standard_normal(
            (1, 100_000, 4)
        )
        found = markov.viterbi(initial, transition, log_likelihoods)
        np.testing.assert_array_equal(found.paths, states)
        chain = np.log(initial)[states[0, 0]] + np.log(transition)[states[0, :-1], states[0, 1:]].sum()
        emitted = np.take_along_axis(log_likelihoods, states[..., None], axis=2).sum()
        np.testing.assert_allclose(found.log_probability[0], chain + emitted, rtol=1e-12)

    def test_of_two_equal_paths_the_lower_states(self):
        found = markov.viterbi(np.array([0.5, 0.5]), np.full((2, 2), 0.5), np.zeros((1, 4, 2)))
        assert found.paths.tolist() == [[0, 0, 0, 0]]


class TestSamplePaths:
    def test_frequencies_are_those_of_the_paths(self):
        initial, transition, log_likelihoods = model(16, 1, 3, 2)
        paths, joint = all_paths(initial, transition, log_likelihoods[0])
        drawn = markov.sample_paths(initial, transition, log_likelihoods, n_samples=40_000, random_state=0)[:, 0]
        counts = np.array([(drawn == path).all(axis=1).mean() for path in paths])
        np.testing.assert_allclose(counts, softmax(joint), atol=4 * 0.5 / np.sqrt(40_000))

    @pytest.mark.parametrize("per_step", [False, True])
    def test_marginals_are_those_of_the_smoother(self, per_step):
        initial, transition, log_likelihoods = model(17, 2, 30)
        if per_step:
            transition = np.random.default_rng(0).dirichlet(np.ones(S), size=(2, 29, S))
        drawn = markov.sample_paths(initial, transition, log_likelihoods, n_samples=5000, random_state=0)
        gamma = markov.smooth(initial, transition, log_likelihoods).probabilities
        np.testing.assert_allclose((drawn[..., None] == np.arange(S)).mean(axis=0), gamma, atol=0.04)

    def test_on_logarithms_too(self):
        """Left to right with one jump: where the jump may lie has known probabilities."""
        log_likelihoods = np.full((1, 4, 2), -1e4)
        log_likelihoods[0, 3, 0] = -2e4
        drawn = markov.sample_paths(
            np.array([1.0, 0.0]), np.array([[0.5, 0.5], [0.0, 1.0]]), log_likelihoods, n_samples=8000, random_state=0
        )[:, 0]
        np.testing.assert_array_equal(np.sort(drawn, axis=1), drawn)
        np.testing.assert_allclose(drawn.mean(axis=0), [0, 4 / 7, 6 / 7, 1], atol=0.02)

    def test_repeats_with_its_seed_and_in_lists(self):
        initial, transition, log_likelihoods = model(18, 3, 9)
        arrays = [markov.sample_paths(initial, transition, log_likelihoods, random_state=k) for k in (1, 1, 2)]
        np.testing.assert_array_equal(arrays[0], arrays[1])
        assert (arrays[0] != arrays[2]).any()
        listed = markov.sample_paths(initial, transition, list(log_likelihoods), n_samples=2, random_state=1)
        assert [path.shape for path in listed] == [(2, 9)] * 3


class TestMessages:
    def call(self, initial=None, transition=None, log_likelihoods=None, lengths=None, function=markov.smooth):
        plain = model(0, 2)
        given_ = (initial, transition, log_likelihoods)
        arguments = [value if default is None else default for value, default in zip(plain, given_, strict=True)]
        return unwrap(function)(*arguments, lengths)

    def test_probabilities(self):
        with pytest.raises(UsageError, match=r"sum to one; got shape \(3,\), sum 1.5"):
            self.call(initial=np.full(3, 0.5))
        with pytest.raises(UsageError, match=r"row 1 sums to 1.2.*transition\[i, j\] is the probability of j after i"):
            self.call(transition=np.array([[0.5, 0.5, 0], [0.5, 0.5, 0.2], [1, 0, 0]]))
        with pytest.raises(UsageError, match=r"least entry is -0\.5"):
            self.call(transition=np.array([[1.5, -0.5, 0], [0, 1, 0], [0, 0, 1]]))
        with pytest.raises(UsageError, match="row 2 sums to nan"):
            self.call(transition=np.array([[1, 0, 0], [0, 1, 0], [0, np.nan, 1]]))

    def test_shapes(self):
        with pytest.raises(UsageError, match="initial has 2 states, log_likelihoods has 3"):
            self.call(initial=np.array([0.5, 0.5]))
        with pytest.raises(UsageError, match="initial has 3 states, transition 2"):
            self.call(transition=np.full((2, 2), 0.5))
        with pytest.raises(UsageError, match=r"\(2, 4, n_states, n_states\), got \(2, 5, 3, 3\)"):
            self.call(transition=np.full((2, 5, 3, 3), 1 / 3))
        steps = np.full((5, 3, 3), 1 / 3)
        with pytest.raises(UsageError, match=r"every sequence: \[4, 4\] of them, got \[4, 5\]"):
            self.call(transition=[steps[:4], steps], log_likelihoods=list(model(0, 2)[2]))
        with pytest.raises(DataError, match=r"got shape \(5, 3\); one sequence by itself is given as x\[None\]"):
            self.call(log_likelihoods=np.zeros((5, 3)))
        with pytest.raises(DataError, match=r"number 1 has shape \(4, 2\), number 0 \(5, 3\)"):
            self.call(log_likelihoods=[np.zeros((5, 3)), np.zeros((4, 2))])
        with pytest.raises(DataError, match="holds no sequence"):
            self.call(log_likelihoods=[])

    def test_lengths(self):
        with pytest.raises(UsageError, match="between 1 and 5 steps, got 2 to 6"):
            self.call(lengths=np.array([2, 6]))
        with pytest.raises(UsageError, match="2 whole numbers, one a sequence"):
            self.call(lengths=np.array([2.0, 3.0]))
        with pytest.raises(UsageError, match="leave it out"):
            self.call(log_likelihoods=list(model(0, 2)[2]), lengths=np.array([5, 5]))

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_log_likelihoods_that_are_none(self, wrong):
        log_likelihoods = model(0, 2)[2]
        log_likelihoods[1, 3, 0] = wrong
        for function in (markov.filter, markov.viterbi):
            with pytest.raises(DataError, match=r"of sequence 1, step 3 are .* at least one of them finite"):
                self.call(log_likelihoods=log_likelihoods, function=function)

    def test_impossible_sequences(self):
        log_likelihoods = model(0, 2)[2]
        log_likelihoods[1, 2] = -np.inf
        with pytest.raises(DataError, match="sequence 1, step 2"):
            self.call(log_likelihoods=log_likelihoods)
        log_likelihoods[1, 2] = [0, -np.inf, -np.inf]
        log_likelihoods[1, 3] = [-np.inf, 0, -np.inf]
        with pytest.raises(DataError, match="Sequence 1 is impossible from step 3 on"):
            self.call(transition=np.eye(3), log_likelihoods=log_likelihoods)
        with pytest.raises(DataError, match="Sequence 1 is impossible: no path"):
            self.call(transition=np.eye(3), log_likelihoods=log_likelihoods, function=markov.viterbi)

    def test_number_of_samples(self):
        with pytest.raises(UsageError, match="one sample or more, got n_samples=0"):
            markov.sample_paths(*model(0), n_samples=0)
