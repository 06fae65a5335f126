"""Linear-Gaussian models: filter, smoother and draws against conditioning of one large Gaussian, and against scipy's equations."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag, solve_discrete_are
from scipy.stats import multivariate_normal

from neuropil.errors import DataError, UsageError
from neuropil.stats import kalman
from neuropil.stats.kalman import LinearGaussian

D, N, T = 3, 4, 6


def spd(rng, n, *batch):
    factor = rng.standard_normal((*batch, n, n))
    return factor @ factor.swapaxes(-1, -2) / n + 0.3 * np.eye(n)


def random_model(seed, d=D, n=N):
    rng = np.random.default_rng(seed)
    transition = rng.standard_normal((d, d))
    transition *= 0.9 / np.abs(np.linalg.eigvals(transition)).max()
    return LinearGaussian(
        rng.standard_normal(d), spd(rng, d), transition, spd(rng, d), rng.standard_normal((n, d)), spd(rng, n)
    )


def dense(model, y, R=None):
    """log p(y), posterior mean (time, state) and covariance (time state, time state) by conditioning the joint Gaussian."""
    n_times, d = len(y), len(model.initial_mean)
    A, C = model.transition, model.observation
    R = np.broadcast_to(model.observation_covariance, (n_times, len(C), len(C))) if R is None else R
    mean, blocks = [model.initial_mean], [[model.initial_covariance]]
    for _ in range(1, n_times):
        mean.append(A @ mean[-1])
        blocks.append([A @ block for block in blocks[-1]])
        blocks[-1].append(A @ blocks[-2][-1] @ A.T + model.transition_covariance)
    prior = np.zeros((n_times, d, n_times, d))
    for i in range(n_times):
        for j in range(i + 1):
            prior[i, :, j], prior[j, :, i] = blocks[i][j], blocks[i][j].T
    prior, mean = prior.reshape(n_times * d, -1), np.concatenate(mean)
    seen = ~np.isnan(y.ravel())
    H, noise = block_diag(*[C] * n_times)[seen], block_diag(*R)[np.ix_(seen, seen)]
    S = H @ prior @ H.T + noise
    gain = np.linalg.solve(S, H @ prior).T
    residual = y.ravel()[seen] - H @ mean
    posterior = prior - gain @ S @ gain.T
    total = multivariate_normal(cov=S).logpdf(residual) if seen.any() else 0.0
    return total, (mean + gain @ residual).reshape(n_times, d), posterior


def block(posterior, i, j, d=D):
    return posterior[i * d : (i + 1) * d, j * d : (j + 1) * d]


def agree(found, expected, s=0, tol=1e-9):
    total, mean, posterior = expected
    n_times, d = mean.shape
    np.testing.assert_allclose(found.log_likelihood[s], total, rtol=tol, atol=tol)
    np.testing.assert_allclose(found.means[s][:n_times], mean, atol=tol)
    for t in range(n_times):
        np.testing.assert_allclose(found.covariances[s][t], block(posterior, t, t, d), atol=tol)
        if t + 1 < n_times:
            np.testing.assert_allclose(found.cross_covariances[s][t], block(posterior, t + 1, t, d), atol=tol)


class TestSmooth:
    @given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.floats(0, 0.9))
    def test_is_the_conditional_of_one_large_gaussian(self, seed, d, n, n_times, missing):
        """Fewer and more channels than states, correlated noise, any entries missing, also all of them."""
        model = random_model(seed, d, n)
        rng = np.random.default_rng(seed)
        y = 2 * rng.standard_normal((1, n_times, n))
        y[rng.random(y.shape) < missing] = np.nan
        agree(kalman.smooth(model, y), dense(model, y[0]))

    def test_noise_of_every_step(self):
        model, rng = random_model(0), np.random.default_rng(0)
        R = spd(rng, N, 2, T)
        y = rng.standard_normal((2, T, N))
        y[1, 2, :2] = y[0, 3] = np.nan
        found = kalman.smooth(model._replace(observation_covariance=R), y, np.array([T, 4]))
        listed = kalman.smooth(model._replace(observation_covariance=[R[0], R[1, :4]]), [y[0], y[1, :4]])
        for s, n_times in enumerate((T, 4)):
            for result in (found, listed):
                agree(result, dense(model, y[s, :n_times], R[s, :n_times]), s)

    def test_states_without_variance(self):
        """A constant that is known, one that is not, and a walk: V and Q are singular."""
        model = LinearGaussian(
            np.array([1.0, 0.0, 0.0]),
            np.diag([0.0, 1.0, 0.0]),
            np.eye(3),
            np.diag([0.0, 0.0, 1.0]),
            np.ones((2, 3)),
            np.diag([1.0, 2.0]),
        )
        y = np.random.default_rng(1).standard_normal((1, T, 2))
        found = kalman.smooth(model, y)
        agree(found, dense(model, y[0]))
        np.testing.assert_array_equal(found.means[0, :, 0], 1.0)
        np.testing.assert_allclose(found.means[0, :, 1], found.means[0, 0, 1], atol=1e-12)

    def test_scales_of_states_may_differ_by_many_orders(self):
        model, y = random_model(2), np.random.default_rng(2).standard_normal((1, T, N))
        units = np.array([1e-6, 1.0, 1e6])
        outer = np.outer(units, units)
        scaled = LinearGaussian(
            model.initial_mean * units, model.initial_covariance * outer, model.transition * units[:, None] / units,
            model.transition_covariance * outer, model.observation / units, model.observation_covariance,
        )  # fmt: skip
        plain, found = kalman.smooth(model, y), kalman.smooth(scaled, y)
        np.testing.assert_allclose(found.log_likelihood, plain.log_likelihood, rtol=1e-10)
        np.testing.assert_allclose(found.means / units, plain.means, atol=1e-9)
        np.testing.assert_allclose(found.covariances / outer, plain.covariances, atol=1e-9)

    def test_reversed_time(self):
        """A stationary process read backwards has the transition S A' S^-1."""
        model = random_model(3)
        S = kalman.stationary_covariance(model.transition, model.transition_covariance)
        forth = model._replace(initial_mean=np.zeros(D), initial_covariance=S)
        A = S @ model.transition.T @ np.linalg.inv(S)
        back = forth._replace(transition=A, transition_covariance=S - A @ S @ A.T)
        y = np.random.default_rng(3).standard_normal((2, 40, N))
        one, other = kalman.smooth(forth, y), kalman.smooth(back, y[:, ::-1])
        np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-9)
        np.testing.assert_allclose(other.means[:, ::-1], one.means, atol=1e-9)
        np.testing.assert_allclose(other.covariances[:, ::-1], one.covariances, atol=1e-9)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_unequal_lengths_are_single_runs(self, threads, monkeypatch):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        monkeypatch.setattr("neuropil.stats.sequences.LEAST_WORK", 0)
        model, rng = random_model(4), np.random.default_rng(4)
        lengths = rng.integers(1, 15, size=20)
        padded = rng.standard_normal((20, 15, N))
        padded[np.arange(15) >= lengths[:, None]] = np.inf
        ragged = [padded[s, :n] for s, n in enumerate(lengths)]
        together, listed = kalman.smooth(model, padded, lengths), kalman.smooth(model, ragged)
        for s, n in enumerate(lengths):
            alone = kalman.smooth(model, [ragged[s]])
            for found in (together, listed):
                np.testing.assert_allclose(found.log_likelihood[s], alone.log_likelihood[0], rtol=1e-13)
                np.testing.assert_allclose(found.means[s][:n], alone.means[0], atol=1e-12)
                np.testing.assert_allclose(found.covariances[s][:n], alone.covariances[0], atol=1e-12)
                np.testing.assert_allclose(found.cross_covariances[s][: n - 1], alone.cross_covariances[0], atol=1e-12)
            assert np.isnan(together.means[s, n:]).all()
            assert np.isnan(together.covariances[s, n:]).all()
            assert np.isnan(together.cross_covariances[s, n - 1 :]).all()

    def test_expectation_maximisation_climbs(self):
        model = random_model(5)
        y = kalman.simulate(model, 10, 60, 0).observations
        guess, climbed = model._replace(transition=0.3 * np.eye(D), observation_covariance=2 * np.eye(N)), []
        for _ in range(15):
            found = kalman.smooth(guess, y)
            climbed.append(found.log_likelihood.sum())
            second = found.covariances + found.means[..., None] * found.means[..., None, :]
            cross = (found.cross_covariances + found.means[:, 1:, :, None] * found.means[:, :-1, None]).sum(axis=(0, 1))
            A = cross @ np.linalg.inv(second[:, :-1].sum(axis=(0, 1)))
            Q = (second[:, 1:].sum(axis=(0, 1)) - A @ cross.T) / (10 * 59)
            residual = y - found.means @ guess.observation.T
            R = np.einsum("stn,stm->nm", residual, residual)
            R = (R + guess.observation @ found.covariances.sum(axis=(0, 1)) @ guess.observation.T) / 600
            guess = guess._replace(
                transition=A, transition_covariance=(Q + Q.T) / 2, observation_covariance=(R + R.T) / 2
            )
        assert (np.diff(climbed) > 0).all()


class TestFilter:
    def test_is_the_smoother_of_the_past(self):
        model, y = random_model(6), np.random.default_rng(6).standard_normal((1, T, N))
        found = kalman.filter(model, y)
        for t in range(1, T + 1):
            past = kalman.smooth(model, y[:, :t])
            np.testing.assert_allclose(found.means[0, t - 1], past.means[0, -1], atol=1e-12)
            np.testing.assert_allclose(found.covariances[0, t - 1], past.covariances[0, -1], atol=1e-12)
        np.testing.assert_allclose(found.log_likelihood, past.log_likelihood, rtol=1e-13)

    def test_settles_on_the_solution_of_the_riccati_equation(self):
        model = random_model(7)
        found = kalman.filter(model, np.random.default_rng(7).standard_normal((1, 300, N)))
        A, C, R = model.transition, model.observation, model.observation_covariance
        predicted = solve_discrete_are(A.T, C.T, model.transition_covariance, R)
        gain = predicted @ C.T @ np.linalg.inv(C @ predicted @ C.T + R)
        np.testing.assert_allclose(found.covariances[0, -1], predicted - gain @ C @ predicted, atol=1e-10)
        ahead = kalman.predict(found.means[0, -1], found.covariances[0, -1], A, model.transition_covariance)
        np.testing.assert_allclose(ahead[1], predicted, atol=1e-10)

    def test_many_channels_are_their_sufficient_statistics(self):
        """200 channels of two states are the two states observed with the inverse of their information."""
        model = random_model(8, 2, 200)
        y = kalman.simulate(model, 1, 50, 0).observations
        weights = np.linalg.solve(model.observation_covariance, model.observation)
        noise = np.linalg.inv(model.observation.T @ weights)
        small = model._replace(observation=np.eye(2), observation_covariance=(noise + noise.T) / 2)
        found, expected = kalman.filter(model, y), kalman.filter(small, y @ weights @ noise)
        np.testing.assert_allclose(found.means, expected.means, atol=1e-9)
        np.testing.assert_allclose(found.covariances, expected.covariances, atol=1e-9)

    @pytest.mark.parametrize("noise", [1e-12, 1.0])
    def test_covariances_stay_positive_definite_over_many_steps(self, noise):
        """Slow states, of which one is all but observed directly: where P - K C P loses its definiteness."""
        model = LinearGaussian(
            np.zeros(3),
            1e6 * np.eye(3),
            np.eye(3) + 0.1 * np.eye(3, k=1),
            np.diag([0, 0, 1e-6]),
            np.eye(3)[:1],
            np.array([[noise]]),
        )
        y = np.cumsum(np.random.default_rng(9).standard_normal((1, 100_000, 1)), axis=1)
        for found in (kalman.filter(model, y), kalman.smooth(model, y)):
            sample = found.covariances[0, ::997]
            np.testing.assert_array_equal(sample, sample.swapaxes(1, 2))
            scale = np.sqrt(np.einsum("tii->ti", sample))
            assert (np.linalg.eigvalsh(sample / scale[:, :, None] / scale[:, None]) > -1e-14).all()
            assert np.isfinite(found.log_likelihood).all()

    @given(st.integers(0, 2**31))
    def test_coordinates_of_the_states_do_not_matter(self, seed):
        model, rng = random_model(seed), np.random.default_rng(seed)
        turn = rng.standard_normal((D, D)) + 2 * np.eye(D)
        inverse = np.linalg.inv(turn)
        y = rng.standard_normal((1, T, N))
        V, Q = (turn @ P @ turn.T for P in (model.initial_covariance, model.transition_covariance))
        turned = LinearGaussian(
            turn @ model.initial_mean, (V + V.T) / 2, turn @ model.transition @ inverse, (Q + Q.T) / 2,
            model.observation @ inverse, model.observation_covariance,
        )  # fmt: skip
        plain, found = kalman.filter(model, y), kalman.filter(turned, y)
        tolerance = 1e-9 * np.linalg.cond(turn) ** 2
        np.testing.assert_allclose(found.log_likelihood, plain.log_likelihood, rtol=tolerance)
        np.testing.assert_allclose(found.means @ inverse.T, plain.means, atol=tolerance)

    def test_the_observations_given_are_left_alone(self):
        model, y = random_model(10), np.random.default_rng(10).standard_normal((2, T, N))
        y[0, 1, 2] = np.nan
        before = y.copy()
        for function in (kalman.filter, kalman.smooth, kalman.sample_posterior):
            function(model, y)
        np.testing.assert_array_equal(y, before)


class TestDraws:
    def test_simulations_have_the_moments_of_the_model(self):
        model = random_model(11)
        S = kalman.stationary_covariance(model.transition, model.transition_covariance)
        settled = model._replace(initial_mean=np.zeros(D), initial_covariance=S)
        states, observations = kalman.simulate(settled, 20_000, 4, 0)
        for t in (0, 3):
            np.testing.assert_allclose(np.cov(states[:, t].T), S, atol=0.05 * S.max())
        lagged = np.einsum("si,sj->ij", states[:, 3], states[:, 2]) / 20_000
        np.testing.assert_allclose(lagged, model.transition @ S, atol=0.05 * S.max())
        spread = model.observation @ S @ model.observation.T + model.observation_covariance
        np.testing.assert_allclose(np.cov(observations[:, 2].T), spread, atol=0.05 * spread.max())

    def test_posterior_draws_have_the_moments_of_the_conditional(self):
        model, y = random_model(12), np.random.default_rng(12).standard_normal((1, T, N))
        y[0, 2] = np.nan
        _, mean, posterior = dense(model, y[0])
        drawn = kalman.sample_posterior(model, y, n_samples=20_000, random_state=0)[:, 0].reshape(20_000, -1)
        scale = np.sqrt(np.diag(posterior))
        np.testing.assert_allclose((drawn.mean(axis=0) - mean.ravel()) / scale, 0, atol=0.04)
        np.testing.assert_allclose(
            np.cov(drawn.T) / np.outer(scale, scale), posterior / np.outer(scale, scale), atol=0.04
        )

    def test_repeat_with_their_seed_and_in_lists(self):
        model, y = random_model(13), np.random.default_rng(13).standard_normal((2, T, N))
        runs = [kalman.sample_posterior(model, y, random_state=k) for k in (0, 0, 1)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).all()
        listed = kalman.sample_posterior(model, [y[0], y[1, :3]], n_samples=2, random_state=0)
        assert [path.shape for path in listed] == [(2, T, D), (2, 3, D)]
        np.testing.assert_array_equal(*(kalman.simulate(model, 1, 5, 3).states for _ in range(2)))


class TestStationary:
    def test_stays_where_it_is(self):
        model = random_model(14)
        S = kalman.stationary_covariance(model.transition, model.transition_covariance)
        means, covariances = kalman.predict(
            np.zeros((2, D)), np.stack([S, S]), model.transition, model.transition_covariance
        )
        np.testing.assert_allclose(covariances, [S, S], rtol=1e-10)
        assert (means == 0).all()

    def test_walks_never_settle(self):
        with pytest.raises(UsageError, match="smaller than 1 in absolute value, the largest is 1"):
            kalman.stationary_covariance(np.eye(2), np.eye(2))


class TestMessages:
    def call(self, y=None, lengths=None, **parts):
        y = np.zeros((2, T, N)) if y is None else y
        return unwrap(kalman.filter)(random_model(0)._replace(**parts), y, lengths)

    def test_shapes(self):
        with pytest.raises(
            UsageError, match=r"transition must have shape \(3, 3\), as initial_mean has 3 entries; got \(2, 3\)"
        ):
            self.call(transition=np.ones((2, 3)))
        with pytest.raises(UsageError, match=r"observation must have shape \(n_channels, 3\), got \(4, 2\)"):
            self.call(observation=np.ones((4, 2)))
        with pytest.raises(UsageError, match=r"observation_covariance must have shape \(4, 4\), got \(3, 3\)"):
            self.call(observation_covariance=np.eye(3))
        with pytest.raises(UsageError, match=r"got \(4, 4\) for 10 steps, the observations have 12"):
            self.call(observation_covariance=np.ones((2, 5, 1, 1)) * np.eye(4))
        with pytest.raises(DataError, match=r"observes 4 channels .* the observations have 3"):
            self.call(np.zeros((2, T, 3)))

    def test_covariances(self):
        with pytest.raises(
            UsageError, match=r"transition_covariance must not have negative eigenvalues, the least is -1"
        ):
            self.call(transition_covariance=np.diag([1.0, 1.0, -1.0]))
        with pytest.raises(UsageError, match="initial_covariance must be symmetric"):
            self.call(initial_covariance=np.eye(3) + np.eye(3, k=1))
        with pytest.raises(UsageError, match="positive definite; a channel without noise"):
            self.call(observation_covariance=np.zeros((4, 4)))
        with pytest.raises(UsageError, match="symmetric and finite at every step"):
            self.call(observation_covariance=np.ones((2, T, 1, 1)) * (np.eye(4) + np.eye(4, k=1)))

    def test_values(self):
        with pytest.raises(UsageError, match="transition must be finite"):
            self.call(transition=np.full((3, 3), np.nan))
        y = np.zeros((2, T, N))
        y[1, 3, 0] = np.inf
        with pytest.raises(DataError, match="sequence 1 are infinite at step 3; NaN stands for a missing one"):
            self.call(y)
        with pytest.raises(UsageError, match="n_samples=0"):
            kalman.sample_posterior(random_model(0), np.zeros((1, T, N)), n_samples=0)
        with pytest.raises(UsageError, match="got 1 and 0"):
            kalman.simulate(random_model(0), 1, 0)
