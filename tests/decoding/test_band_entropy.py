"""Band entropies of windows: normalisation, baselines, labelled windows, and what is refused."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.decoding.band_entropy import (
    BANDS,
    BandDifferentialEntropy,
    baseline_entropy,
    window_entropy,
    with_baseline,
)
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model

SFREQ = 128.0
LOWEST = 0.5 * np.log2(2 * np.pi * np.e * 1e-12)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def labelled(n=12, n_channels=4, n_times=256, sfreq=SFREQ):
    coords = {"channel": [f"E{k}" for k in range(n_channels)], "time": np.arange(n_times) / sfreq}
    X = 1e-5 * noise(n, n_channels, n_times) * np.arange(1, n_channels + 1)[:, None]
    return xr.DataArray(X, dims=("window", "channel", "time"), coords=coords, attrs={"sfreq": sfreq, "unit": "V"})


def plain(windows):
    parts = [
        sosfilt(butter(5, band, "bandpass", fs=SFREQ, output="sos"), windows, axis=-1).var(axis=-1)
        for band in BANDS.values()
    ]
    return 0.5 * np.log2(2 * np.pi * np.e * np.stack(parts, axis=-1))


class TestWindowEntropy:
    def test_normalisations_are_what_they_say(self):
        x = 5.0 + noise(3, 4, 256) * np.array([1.0, 2.0, 4.0, 8.0])[:, None]
        per_window = (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True)
        per_channel = (x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True)
        for normalize, expected in (
            ("window", per_window),
            ("channel", per_channel),
            (None, x - x.mean(axis=2, keepdims=True)),
        ):
            measured = window_entropy(x, SFREQ, normalize=normalize)
            np.testing.assert_allclose(measured, plain(expected), rtol=0, atol=1e-9)

    @given(st.integers(0, 2**31), st.floats(1e-9, 1e6), st.floats(-10, 10))
    def test_scale_and_offset(self, seed, scale, offset):
        x = noise(2, 3, 256, seed=seed)
        for normalize in ("window", "channel"):
            measured = window_entropy(scale * (x + offset), SFREQ, normalize=normalize)
            np.testing.assert_allclose(measured, window_entropy(x, SFREQ, normalize=normalize), atol=1e-7)
        measured = window_entropy(scale * (x + offset), SFREQ, normalize=None)
        np.testing.assert_allclose(measured, window_entropy(x, SFREQ, normalize=None) + np.log2(scale), atol=1e-7)

    def test_only_the_window_keeps_the_relations_of_channels(self):
        x = noise(1, 2, 2560)
        x[0, 1] *= 8
        kept, lost = (window_entropy(x, SFREQ, normalize=normalize)[0] for normalize in ("window", "channel"))
        np.testing.assert_allclose(kept[1] - kept[0], 3.0, atol=0.5)
        np.testing.assert_allclose(lost[1] - lost[0], 0.0, atol=0.5)

    @pytest.mark.parametrize("normalize", ["window", "channel", None])
    @pytest.mark.parametrize("level", [0.0, 3e-5])
    def test_a_flat_channel_gets_the_floor_whatever_its_level(self, normalize, level):
        x = 1e-6 * noise(2, 3, 256)
        x[1, 2] = level
        h = window_entropy(x, SFREQ, normalize=normalize)
        scale = np.log2(np.sqrt(x[1].var(axis=-1).mean())) if normalize is None else 0.0
        np.testing.assert_allclose(h[1, 2], LOWEST + scale)
        assert (h[0] > LOWEST + 10 + scale).all()
        assert np.isfinite(window_entropy(np.full((1, 2, 256), level), SFREQ, normalize=normalize)).all()

    def test_microvolts_in_volts_lie_above_the_floor(self):
        """1 µV has a variance of 1e-12 V²: an absolute floor of that size would flatten every gamma band."""
        x = 1e-7 * noise(2, 3, 1280)
        np.testing.assert_allclose(
            window_entropy(x, SFREQ, normalize=None), window_entropy(1e7 * x, SFREQ, normalize=None) - np.log2(1e7)
        )


class TestBaseline:
    @pytest.mark.parametrize("n", [3, 61])
    def test_averaging_pieces_shifts_by_half_the_logarithm_of_their_number(self, n):
        rest = noise(400, 2, n * 128)
        one = window_entropy(rest[..., :128], SFREQ, normalize=None)
        shift = (baseline_entropy(rest, SFREQ, normalize=None) - one).mean(axis=(0, 1))
        np.testing.assert_allclose(shift, -0.5 * np.log2(n), atol=0.08)
        shift = (baseline_entropy(rest, SFREQ) - window_entropy(rest[..., :128], SFREQ)).mean(axis=(0, 1))
        np.testing.assert_allclose(shift, 0.0, atol=0.08)

    def test_what_is_locked_to_the_pieces_keeps_its_power(self):
        piece = noise(5, 2, 128)
        repeated = np.concatenate([piece, piece, piece, noise(5, 2, 100)], axis=-1)
        np.testing.assert_allclose(
            baseline_entropy(repeated, SFREQ, normalize=None), window_entropy(piece, SFREQ, normalize=None)
        )

    def test_is_subtracted_and_goes_with_the_windows(self):
        X, rest = labelled(), baseline_entropy(noise(12, 4, 384, seed=1), SFREQ)
        encoder = BandDifferentialEntropy()
        bare = encoder.fit_transform(X)
        np.testing.assert_array_equal(encoder.transform(X, baseline=rest), bare - rest)
        X = with_baseline(X, rest, name="rest")
        encoder = BandDifferentialEntropy(baseline="rest").fit(X[:6])
        np.testing.assert_array_equal(encoder.transform(X[[7, 3]]), (bare - rest)[[7, 3]])
        np.testing.assert_array_equal(encoder.transform(X.values, baseline=rest), bare - rest)

    def test_bands_without_names_are_carried_by_their_edges(self):
        bands = [(4.0, 8.0), (8.0, 13.5)]
        X, rest = labelled(), noise(12, 4, 2)
        carrying = with_baseline(X, rest, bands)
        np.testing.assert_array_equal(carrying["baseline_8-13.5"].values, rest[..., 1])
        encoder = BandDifferentialEntropy(bands, baseline="baseline")
        expected = BandDifferentialEntropy(bands).fit_transform(X) - rest
        np.testing.assert_array_equal(encoder.fit_transform(carrying), expected)

    def test_removes_what_trials_have_of_their_own(self):
        """Trials differ by a gain that the rest before them shares: without normalisation the difference is free of it."""
        gain = np.exp(noise(40, 1, 1))
        X, rest = gain * noise(40, 2, 512), gain * noise(40, 2, 128, seed=1)
        encoder = BandDifferentialEntropy(sfreq=SFREQ, normalize=None).fit(X)
        corrected = encoder.transform(X, baseline=baseline_entropy(rest, SFREQ, normalize=None))
        assert corrected.std(axis=0).max() < 0.5 < encoder.transform(X).std(axis=0).min()

    def test_messages(self):
        X = labelled()
        with pytest.raises(DataError, match=r"do not carry .* under the name 'rest'; add them with with_baseline\(\)"):
            BandDifferentialEntropy(baseline="rest").fit_transform(X)
        with pytest.raises(
            DataError, match=r"of shape \(12, 4, 4\), .* got shape \(12, 4, 3\); index those of the trials"
        ):
            with_baseline(X, np.zeros((12, 4, 3)))
        encoder = BandDifferentialEntropy().fit(X)
        for wrong in (np.zeros((12, 4, 3)), np.full((12, 4, 4), np.nan), np.zeros((3, 4, 4))):
            with pytest.raises(
                DataError, match=r"baseline of shape \(12, 4, 4\), one for each window, channel and band"
            ):
                encoder.transform(X, baseline=wrong)
        with pytest.raises(DataError, match=r"a piece of 1 s, 128 samples at 128 Hz, got 100; set piece"):
            baseline_entropy(noise(2, 3, 100), SFREQ)
        with pytest.raises(DataError, match="from 4 Hz on need windows of 64 samples"):
            baseline_entropy(noise(2, 3, 384), SFREQ, piece=0.4)


class TestEstimator:
    def test_labelled_windows_bring_their_rate_and_plain_ones_need_it(self):
        X = labelled()
        features = BandDifferentialEntropy().fit_transform(X)
        assert features.shape == (12, 4, 4)
        assert features.dtype == np.float64
        np.testing.assert_array_equal(BandDifferentialEntropy(sfreq=SFREQ).fit_transform(X.values), features)
        np.testing.assert_array_equal(features, window_entropy(X.values, SFREQ))
        with pytest.raises(UsageError, match="pass sfreq"):
            BandDifferentialEntropy().fit(X.values)
        with pytest.raises(UsageError, match="have 128 Hz, but sfreq=200 was given"):
            BandDifferentialEntropy(sfreq=200.0).fit(X)

    def test_a_window_by_itself_and_channels_in_any_order(self):
        X = labelled().values
        encoder = BandDifferentialEntropy(sfreq=SFREQ).fit(X)
        features, order = encoder.transform(X), [2, 0, 3, 1]
        np.testing.assert_array_equal(encoder.transform(X[5:6]), features[5:6])
        np.testing.assert_allclose(encoder.transform(X[:, order]), features[:, order], rtol=0, atol=1e-9)

    def test_bands_and_order_are_used(self):
        X = labelled()
        bands = {"gamma": (31.0, 49.0), "alpha": (8.0, 13.0)}
        features = BandDifferentialEntropy(bands, order=3).fit_transform(X)
        np.testing.assert_array_equal(features, window_entropy(X.values, SFREQ, bands, order=3))
        np.testing.assert_array_equal(BandDifferentialEntropy(list(bands.values()), order=3).fit_transform(X), features)

    def test_clones_saves_and_works_in_a_pipeline(self, tmp_path):
        X, y = labelled(40), np.arange(40) % 2
        t = np.arange(256) / SFREQ
        X[y == 1, 0] += 2e-5 * np.sin(2 * np.pi * 11 * t)
        encoder = clone(BandDifferentialEntropy(normalize="channel")).fit(X)
        loaded = load_model(encoder.save(tmp_path / "encoder"))
        np.testing.assert_array_equal(loaded.transform(X), encoder.transform(X))
        table = FunctionTransformer(lambda features: features.reshape(len(features), -1))
        decoder = make_pipeline(BandDifferentialEntropy(), table, LogisticRegression(C=0.1))
        assert cross_val_score(decoder, X, y, cv=4).mean() > 0.95

    def test_a_flat_channel_in_new_windows(self):
        X = labelled()
        encoder = BandDifferentialEntropy().fit(X)
        broken = X.copy()
        broken[3, 1] = 2e-5
        np.testing.assert_allclose(encoder.transform(broken)[3, 1], LOWEST)

    def test_messages(self):
        X = labelled()
        with pytest.raises(UsageError, match="too low for the band gamma 31-49 Hz: half of 90 Hz is 45 Hz"):
            BandDifferentialEntropy(sfreq=90.0).fit(X.values)
        with pytest.raises(DataError, match="need windows of 64 samples at 128 Hz or more"):
            BandDifferentialEntropy().fit(X[..., :63])
        with pytest.raises(UsageError, match="normalize must be 'window', 'channel' or None, got 'zscore'"):
            BandDifferentialEntropy(normalize="zscore").fit(X)
        broken = X.copy()
        broken[2, 1, 7] = np.nan
        with pytest.raises(DataError, match="window 2, channel E1"):
            BandDifferentialEntropy().fit(broken)
        with pytest.raises(DataError, match="window 2, channel E1"):
            BandDifferentialEntropy().fit(X).transform(broken)
        with pytest.raises(DataError, match="fitted on 4 channels"):
            BandDifferentialEntropy().fit(X).transform(X.values[:, :3])
