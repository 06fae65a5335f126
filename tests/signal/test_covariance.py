"""Covariances: scikit-learn window by window, whitening with and without full rank, invariances, and what is refused."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from sklearn import covariance as reference

from neuropil.errors import DataError, UsageError
from neuropil.signal import covariance as module
from neuropil.signal.covariance import (
    covariances,
    euclidean_mean,
    inv_sqrtm,
    ledoit_wolf,
    oas,
    rank,
    shrunk_covariances,
)


def recordings(n_windows=6, n_channels=8, n_times=50, scale=1e-5, seed=0):
    """Mixed noise of the size of EEG in volts, with an offset."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((n_channels, n_channels)) * np.linspace(0.2, 2, n_channels)
    x = mixing @ rng.standard_normal((n_windows, n_channels, n_times))
    return scale * (x + 20 * rng.standard_normal((n_windows, n_channels, 1)))


def symmetric(rng, n, rank_wanted):
    factor = rng.standard_normal((n, rank_wanted))
    return factor @ factor.T


seeds = st.integers(0, 2**31)


class TestSampleCovariance:
    def test_by_hand(self):
        x = np.array([[[1.0, 3.0], [0.0, 4.0]]])
        np.testing.assert_array_equal(covariances(x), [[[1.0, 2.0], [2.0, 4.0]]])
        np.testing.assert_array_equal(covariances(x, centred=True), [[[5.0, 6.0], [6.0, 8.0]]])

    @pytest.mark.parametrize("centred", [False, True])
    def test_is_sklearns(self, centred):
        x = recordings()
        expected = [reference.empirical_covariance(window.T, assume_centered=centred) for window in x]
        np.testing.assert_allclose(covariances(x, centred=centred), expected, rtol=1e-10)

    def test_blocks_change_nothing(self, monkeypatch):
        x = recordings(n_windows=23)
        whole = ledoit_wolf(x)
        monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 8 * 50 * 5)
        np.testing.assert_array_equal(ledoit_wolf(x).covariances, whole.covariances)
        np.testing.assert_array_equal(ledoit_wolf(x).shrinkage, whole.shrinkage)

    def test_exactly_symmetric(self):
        for c in (covariances(recordings()), ledoit_wolf(recordings()).covariances, oas(recordings()).covariances):
            np.testing.assert_array_equal(c, c.swapaxes(1, 2))

    def test_no_window_gives_no_covariance(self):
        assert covariances(np.empty((0, 3, 10))).shape == (0, 3, 3)
        assert ledoit_wolf(np.empty((0, 3, 10))).shrinkage.shape == (0,)

    def test_amplifier_counts(self):
        x = np.random.default_rng(1).integers(-30000, 30000, size=(2, 4, 300)).astype(np.int16)
        np.testing.assert_allclose(covariances(x), [np.cov(window, bias=True) for window in x])

    def test_messages(self, monkeypatch):
        with pytest.raises(DataError, match=r"\(windows, channels, times\), got \(3, 10\)"):
            unwrap(covariances)(np.ones((3, 10)))
        with pytest.raises(DataError, match=r"one sample or more, got windows of shape \(2, 3, 0\)"):
            covariances(np.ones((2, 3, 0)))
        x = recordings()
        x[4, 2, 7] = np.nan
        monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 8 * 50 * 3)
        for estimate in (covariances, ledoit_wolf, oas):
            with pytest.raises(DataError, match="NaN or infinity in window 4; interpolate or leave it out"):
                estimate(x)


class TestShrinkage:
    @pytest.mark.parametrize("centred", [False, True])
    @pytest.mark.parametrize("n_times", [5, 40, 400])
    @pytest.mark.parametrize(("ours", "theirs"), [(ledoit_wolf, reference.ledoit_wolf), (oas, reference.oas)])
    def test_is_sklearns_window_by_window(self, ours, theirs, n_times, centred):
        x = recordings(n_times=n_times, scale=1.0)
        result = ours(x, centred=centred)
        for k, window in enumerate(x):
            expected, shrinkage = theirs(window.T, assume_centered=centred)
            assert result.shrinkage[k] == pytest.approx(shrinkage, rel=1e-9)
            np.testing.assert_allclose(result.covariances[k], expected, rtol=1e-9, atol=1e-12)

    def test_fixed_is_sklearns(self):
        x = recordings(scale=1.0)
        for c, window in zip(shrunk_covariances(x, 0.3), x, strict=True):
            expected = reference.shrunk_covariance(reference.empirical_covariance(window.T), shrinkage=0.3)
            np.testing.assert_allclose(c, expected, rtol=1e-9)

    def test_ends_of_fixed_shrinkage(self):
        x = recordings()
        np.testing.assert_array_equal(shrunk_covariances(x, 0.0), covariances(x))
        variance = np.trace(covariances(x), axis1=1, axis2=2) / 8
        np.testing.assert_allclose(shrunk_covariances(x, 1.0), variance[:, None, None] * np.eye(8), atol=1e-25)

    @pytest.mark.parametrize("estimate", [ledoit_wolf, oas])
    @pytest.mark.parametrize("scale", [1e-13, 1e-6, 1e6])
    def test_units_do_not_matter(self, estimate, scale):
        """Tesla, volts or counts, also in single precision, whose range a fourth power of 1e-13 leaves."""
        one = estimate(recordings(scale=1.0))
        other = estimate((recordings(scale=1.0) * scale).astype(np.float32))
        np.testing.assert_allclose(other.shrinkage, one.shrinkage, rtol=1e-4)
        np.testing.assert_allclose(other.covariances / scale**2, one.covariances, rtol=1e-3, atol=1e-3)

    @given(seeds, st.integers(1, 6), st.integers(1, 30))
    def test_bounds_trace_and_definiteness(self, seed, n_channels, n_times):
        x = np.random.default_rng(seed).standard_normal((3, n_channels, n_times))
        sample = covariances(x)
        for estimate in (ledoit_wolf, oas):
            c, shrinkage = estimate(x)
            assert ((shrinkage >= 0) & (shrinkage <= 1)).all()
            np.testing.assert_allclose(
                np.trace(c, axis1=1, axis2=2), np.trace(sample, axis1=1, axis2=2), rtol=1e-9, atol=1e-12
            )
            assert (np.linalg.eigvalsh(c) >= -1e-12).all()

    @given(seeds)
    def test_permuting_channels(self, seed):
        x = recordings(seed=seed, scale=1.0)
        order = np.random.default_rng(seed).permutation(8)
        for estimate in (ledoit_wolf, oas):
            before, after = estimate(x), estimate(x[:, order])
            np.testing.assert_allclose(
                after.covariances, before.covariances[:, order][:, :, order], rtol=1e-9, atol=1e-9
            )

    def test_more_samples_shrink_less(self):
        for estimate in (ledoit_wolf, oas):
            means = [estimate(recordings(20, n_times=n)).shrinkage.mean() for n in (10, 50, 500)]
            assert means == sorted(means, reverse=True)

    def test_closer_to_the_truth_than_the_sample(self):
        rng = np.random.default_rng(2)
        x = rng.standard_normal((50, 20, 25))
        error = [
            np.mean((c - np.eye(20)) ** 2) for c in (covariances(x), ledoit_wolf(x).covariances, oas(x).covariances)
        ]
        assert error[1] < error[0] / 10
        assert error[2] < error[1]

    def test_flat_windows(self):
        """No variance: the zero matrix, and a number for the shrinkage."""
        for estimate in (ledoit_wolf, oas):
            c, shrinkage = estimate(np.ones((2, 3, 10)))
            assert not c.any()
            assert np.isfinite(shrinkage).all()

    def test_shrinkage_outside(self):
        with pytest.raises(UsageError, match=r"between 0 and 1, got 1\.5"):
            shrunk_covariances(recordings(), 1.5)


class TestWhitening:
    def test_is_scipys_power(self):
        c = covariances(recordings(scale=1.0))
        for ours, matrix in zip(inv_sqrtm(c), c, strict=True):
            np.testing.assert_allclose(ours, fractional_matrix_power(matrix, -0.5), rtol=1e-7, atol=1e-9)

    @given(seeds, st.integers(1, 7))
    def test_whitens_what_there_is(self, seed, full):
        """W M W is the projection onto the span of M, for every rank."""
        rng = np.random.default_rng(seed)
        matrix = symmetric(rng, 7, full)
        kept = int(rank(matrix))
        whitening = inv_sqrtm(matrix)
        projection = whitening @ matrix @ whitening
        assert kept == full
        np.testing.assert_allclose(projection @ projection, projection, atol=1e-6)
        np.testing.assert_allclose(projection @ matrix, matrix, atol=1e-6 * np.abs(matrix).max())
        assert np.trace(projection) == pytest.approx(full, abs=1e-6)

    def test_pseudo_inverse_of_the_square_root(self):
        matrix = symmetric(np.random.default_rng(3), 6, 4)
        whitening = inv_sqrtm(matrix)
        np.testing.assert_allclose(
            whitening @ whitening, np.linalg.pinv(matrix, hermitian=True, rcond=1e-10), atol=1e-9
        )

    @given(seeds, st.floats(-26, 6))
    def test_scaling(self, seed, exponent):
        matrix, factor = symmetric(np.random.default_rng(seed), 5, 3), 10.0**exponent
        np.testing.assert_allclose(
            inv_sqrtm(factor * matrix) * np.sqrt(factor), inv_sqrtm(matrix), rtol=1e-6, atol=1e-6
        )

    @given(seeds)
    def test_rotating(self, seed):
        rng = np.random.default_rng(seed)
        matrix = symmetric(rng, 5, 5) + 0.1 * np.eye(5)
        rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        turned = rotation @ matrix @ rotation.T
        np.testing.assert_allclose(
            inv_sqrtm((turned + turned.T) / 2), rotation @ inv_sqrtm(matrix) @ rotation.T, atol=1e-8
        )

    def test_average_reference_in_single_precision_is_one_rank_less(self):
        """The direction taken out must not be blown up: its rounding noise has a relative power of 1e-14."""
        rng = np.random.default_rng(4)
        x = rng.standard_normal((5, 32, 500)).astype(np.float32)
        x -= x.mean(axis=1, keepdims=True)
        c = covariances(x)
        np.testing.assert_array_equal(rank(c), 31)
        assert np.abs(inv_sqrtm(c)).max() < 10
        assert np.abs(inv_sqrtm(c).sum(axis=1)).max() < 1e-3

    def test_a_weak_channel_is_kept(self):
        np.testing.assert_array_equal(rank(np.diag([1.0, 1e-9])), 2)
        assert inv_sqrtm(np.diag([1.0, 1e-9]))[1, 1] == pytest.approx(1e-9**-0.5, rel=1e-6)
        np.testing.assert_array_equal(rank(np.diag([1.0, 1e-9]), rtol=1e-6), 1)

    def test_rank_is_numpys(self):
        rng = np.random.default_rng(5)
        matrices = np.stack([symmetric(rng, 6, k) for k in range(1, 7)])
        np.testing.assert_array_equal(rank(matrices), np.linalg.matrix_rank(matrices, hermitian=True))

    def test_fewer_samples_than_channels(self):
        x = np.random.default_rng(6).standard_normal((3, 10, 6))
        np.testing.assert_array_equal(rank(covariances(x)), 5)
        np.testing.assert_array_equal(rank(covariances(x, centred=True)), 6)
        np.testing.assert_array_equal(rank(ledoit_wolf(x).covariances), 10)

    def test_any_leading_axes(self):
        c = covariances(recordings()).reshape(2, 3, 8, 8)
        np.testing.assert_array_equal(inv_sqrtm(c)[1, 2], inv_sqrtm(c[1, 2]))
        assert rank(c).shape == (2, 3)

    def test_messages(self):
        for function in (inv_sqrtm, rank):
            with pytest.raises(DataError, match="got one that is not; pass"):
                function(np.array([[1.0, 2.0], [0.0, 1.0]]))
            with pytest.raises(DataError, match=r"an eigenvalue of -1 times the largest"):
                function(np.diag([1.0, -1.0]))
            with pytest.raises(DataError, match="leave out windows in which all channels are flat"):
                function(np.zeros((2, 2)))
            with pytest.raises(DataError, match="broken channels"):
                function(np.diag([1.0, np.nan]))
            with pytest.raises(DataError, match=r"square matrices, got shape \(2, 3\)"):
                unwrap(function)(np.ones((2, 3)))
            with pytest.raises(UsageError, match=r"rtol lies between 0 and 1, got 0\.0"):
                function(np.eye(2), 0.0)


class TestMean:
    def test_weighted_and_not(self):
        c = covariances(recordings())
        np.testing.assert_allclose(euclidean_mean(c), sum(c) / 6)
        np.testing.assert_allclose(euclidean_mean(c, np.array([2, 0, 0, 1, 0, 0])), (2 * c[0] + c[3]) / 3)

    def test_single_precision_is_summed_in_double(self):
        c = np.full((100_000, 1, 1), 0.1, dtype=np.float32)
        assert euclidean_mean(c)[0, 0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)

    def test_messages(self):
        with pytest.raises(DataError, match="one matrix or more, got none"):
            euclidean_mean(np.empty((0, 2, 2)))
        with pytest.raises(UsageError, match="one weight a matrix, none negative"):
            euclidean_mean(np.ones((2, 1, 1)), np.array([1.0, -0.5]))
