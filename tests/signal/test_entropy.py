"""Differential entropy: agreement with scipy, known values, what must not change it, and what is refused."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt, sosfreqz

from neuropil.errors import DataError, UsageError
from neuropil.signal import entropy as module
from neuropil.signal.entropy import differential_entropy, sliding_differential_entropy

SFREQ = 200.0
BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 14.0), "beta": (14.0, 31.0), "gamma": (31.0, 49.0)}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def plain(data, window, stride, bands=BANDS, order=5, sfreq=SFREQ):
    """scipy's filter over the whole, then numpy's variance of every window, shape (window, channel, band)."""
    parts = []
    for band in bands.values():
        filtered = sosfilt(butter(order, band, "bandpass", fs=sfreq, output="sos"), data, axis=-1)
        views = np.lib.stride_tricks.sliding_window_view(filtered, window, axis=-1)[:, ::stride]
        parts.append(0.5 * np.log2(2 * np.pi * np.e * views.var(axis=-1)).T)
    return np.stack(parts, axis=-1)


class TestWindows:
    @pytest.mark.parametrize("order", [1, 2, 5, 8])
    def test_is_scipys_filter_and_numpys_variance(self, order):
        x = noise(3, 7, 700)
        expected = [plain(window, 700, 700, order=order)[0] for window in x]
        np.testing.assert_allclose(differential_entropy(x, SFREQ, BANDS, order), expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("rows", [1, 8, 9, 63, 64, 65, 130])
    def test_any_number_of_rows(self, rows):
        x = noise(rows, 601, seed=rows)
        np.testing.assert_allclose(differential_entropy(x, SFREQ, BANDS), plain(x, 601, 601)[0], rtol=0, atol=1e-9)

    def test_batches_of_any_shape_and_views(self, monkeypatch):
        x = noise(2, 5, 3, 640)
        whole = differential_entropy(x, SFREQ, BANDS)
        assert whole.shape == (2, 5, 3, 5)
        np.testing.assert_array_equal(differential_entropy(x[1, 2, 0], SFREQ, BANDS), whole[1, 2, 0])
        np.testing.assert_array_equal(differential_entropy(x.transpose(2, 0, 1, 3), SFREQ, BANDS)[1], whole[:, :, 1])
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 15)
        np.testing.assert_array_equal(differential_entropy(x, SFREQ, BANDS), whole)
        assert differential_entropy(x[:0], SFREQ, BANDS).shape == (0, 5, 3, 5)

    def test_white_noise_has_the_power_that_the_filter_lets_through(self):
        """Variance of filtered white noise: the mean of the squared gain over frequency."""
        x = 3.0 * noise(64, 20_000)
        frequencies = 200_000
        for (low, high), measured in zip(
            BANDS.values(), differential_entropy(x, SFREQ, BANDS).mean(axis=0), strict=True
        ):
            _, gain = sosfreqz(butter(5, (low, high), "bandpass", fs=SFREQ, output="sos"), worN=frequencies)
            expected = 0.5 * np.log2(2 * np.pi * np.e * 9.0 * np.mean(np.abs(gain) ** 2))
            assert measured == pytest.approx(expected, abs=0.02)

    def test_a_sine_in_its_band_keeps_its_power(self):
        x = 2e-5 * np.sin(2 * np.pi * 11 * np.arange(40_000) / SFREQ)
        expected = 0.5 * np.log2(2 * np.pi * np.e * 2e-10)
        assert differential_entropy(x, SFREQ, BANDS)[2] == pytest.approx(expected, abs=0.01)

    @example(0, 1e-13)
    @given(st.integers(0, 2**31), st.floats(1e-13, 1e6))
    def test_scale_adds_its_logarithm(self, seed, scale):
        """Down to femtotesla in tesla: the floor lies below."""
        x = noise(2, 640, seed=seed)
        np.testing.assert_allclose(
            differential_entropy(scale * x, SFREQ, BANDS),
            differential_entropy(x, SFREQ, BANDS) + np.log2(scale),
            atol=1e-9,
        )

    def test_channels_do_not_meet(self):
        x = noise(21, 640)
        order = np.random.default_rng(1).permutation(21)
        np.testing.assert_array_equal(
            differential_entropy(x[order], SFREQ, BANDS), differential_entropy(x, SFREQ, BANDS)[order]
        )

    def test_causal(self):
        """A window's entropy does not know what comes after it."""
        x = noise(4, 1200)
        longer = sliding_differential_entropy(x, SFREQ, BANDS, window=4.0, stride=1.0)
        np.testing.assert_allclose(longer[0], differential_entropy(x[:, :800], SFREQ, BANDS), rtol=0, atol=1e-12)

    def test_flat_windows_get_the_floor(self):
        x = noise(2, 640)
        x[1] = 0.0
        h = differential_entropy(x, SFREQ, BANDS, floor=1e-12)
        np.testing.assert_allclose(h[1], 0.5 * np.log2(2 * np.pi * np.e * 1e-12))
        assert np.isfinite(differential_entropy(x, SFREQ, BANDS)).all()

    def test_integers_and_single_precision(self):
        x = np.round(1000 * noise(3, 640))
        expected = differential_entropy(x, SFREQ, BANDS)
        for dtype in (np.int16, np.float32):
            np.testing.assert_array_equal(differential_entropy(x.astype(dtype), SFREQ, BANDS), expected)


class TestSliding:
    @example(200, 200, 62, 1)
    @example(64, 64, 3, 1)
    @example(1000, 1, 1, 1)
    @example(2, 1, 1, 1)
    @given(st.integers(20, 900), st.integers(1, 1000), st.integers(1, 70), st.integers(1, 3))
    def test_equals_cutting_the_filtered_whole(self, window, stride, channels, jobs):
        x = noise(channels, 1300, seed=window)
        measured = sliding_differential_entropy(
            x, SFREQ, BANDS, window=window / SFREQ, stride=stride / SFREQ, n_jobs=jobs
        )
        np.testing.assert_allclose(measured, plain(x, window, stride), rtol=0, atol=1e-9 if window > 2 else 1e-7)

    @pytest.mark.parametrize("chunk", [4, 64, 200, 4096])
    def test_chunks_change_nothing(self, chunk, monkeypatch):
        x = noise(5, 2999)
        whole = sliding_differential_entropy(x, SFREQ, BANDS, window=0.7, stride=0.11)
        monkeypatch.setattr(module, "CHUNK", chunk)
        pieces = sliding_differential_entropy(x, SFREQ, BANDS, window=0.7, stride=0.11)
        np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11)

    def test_an_offset_of_the_amplifier_costs_few_digits(self):
        x = 1e4 + noise(2, 4000)
        measured = sliding_differential_entropy(x, SFREQ, BANDS, window=1.0)
        np.testing.assert_allclose(measured, plain(x, 200, 200), rtol=0, atol=1e-6)

    def test_shorter_signals_give_the_same_windows(self):
        x = noise(3, 4000)
        whole = sliding_differential_entropy(x, SFREQ, BANDS, window=1.0, stride=0.5)
        part = sliding_differential_entropy(x[:, :1099], SFREQ, BANDS, window=1.0, stride=0.5)
        assert len(part) == 9
        np.testing.assert_array_equal(part, whole[:9])

    def test_a_channel_that_falls_silent_decays_to_the_floor(self):
        x = noise(2, 40_000)
        x[0, 4000:] = 0.0
        h = sliding_differential_entropy(x, SFREQ, BANDS, window=1.0)
        np.testing.assert_allclose(h[-1, 0], 0.5 * np.log2(2 * np.pi * np.e * 1e-40))
        np.testing.assert_array_equal(h[:, 1], sliding_differential_entropy(x[1:], SFREQ, BANDS, window=1.0)[:, 0])

    def test_memory_does_not_grow_with_the_length(self):
        def used(n_times):
            x = np.broadcast_to(noise(8, 1), (8, n_times))
            tracemalloc.start()
            h = sliding_differential_entropy(x, SFREQ, BANDS, window=1000.0)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak - h.nbytes

        used(200_000)
        short, long = used(200_000), used(2_000_000)
        assert long < short + 20_000  # the signal itself has 128 MB
        assert long < 1_000_000

    def test_reads_a_memory_map(self, tmp_path):
        x = noise(4, 3000).astype(np.float32)
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_array_equal(
            sliding_differential_entropy(mapped, SFREQ, BANDS, window=1.0),
            sliding_differential_entropy(x, SFREQ, BANDS, window=1.0),
        )


class TestMessages:
    def test_bands(self):
        with pytest.raises(
            UsageError,
            match=r"too low for the band gamma 31-49 Hz: half of 90 Hz is 45 Hz; take data of a higher rate or leave out the band",
        ):
            differential_entropy(noise(900), 90.0, BANDS)
        with pytest.raises(UsageError, match=r"too low for the band 31-45 Hz"):
            sliding_differential_entropy(noise(1, 900), 90.0, [(31.0, 45.0)], window=1.0)
        with pytest.raises(UsageError, match="one band or more, got none"):
            differential_entropy(noise(900), 90.0, [])
        with pytest.raises(UsageError, match="low < high"):
            differential_entropy(noise(900), 90.0, [(10.0, 8.0)])
        with pytest.raises(UsageError, match="positive number in Hz"):
            differential_entropy(noise(900), 0.0, [(1.0, 8.0)])
        with pytest.raises(UsageError, match="order 1 or more"):
            differential_entropy(noise(900), 90.0, [(1.0, 8.0)], 0)
        with pytest.raises(UsageError, match="floor is the smallest variance"):
            differential_entropy(noise(900), 90.0, [(1.0, 8.0)], floor=0.0)

    def test_lengths(self):
        with pytest.raises(
            DataError,
            match=r"from 1 Hz on need windows of 400 samples at 200 Hz or more \(2 periods\), got 399; cut longer",
        ):
            differential_entropy(noise(399), SFREQ, BANDS)
        with pytest.raises(DataError, match="need windows of 11 samples"):
            differential_entropy(noise(10), SFREQ, [(80.0, 90.0)])
        with pytest.raises(DataError, match="A window of 2 s needs 400 samples, the signal has 399"):
            sliding_differential_entropy(noise(1, 399), SFREQ, BANDS, window=2.0)
        with pytest.raises(UsageError, match=r"two samples or more, got 0\.005 s"):
            sliding_differential_entropy(noise(1, 399), SFREQ, BANDS, window=0.005)
        with pytest.raises(UsageError, match="one sample or more, got 0 s"):
            sliding_differential_entropy(noise(1, 399), SFREQ, BANDS, window=1.0, stride=0.0)
        with pytest.raises(UsageError, match="number of threads, 1 or more, got 0"):
            sliding_differential_entropy(noise(1, 399), SFREQ, BANDS, window=1.0, n_jobs=0)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("sample", [0, 1500, 2998, 2999])
    def test_not_finite(self, bad, sample):
        x = noise(70, 3000)
        x[66, sample] = bad
        with pytest.raises(DataError, match=rf"first: row 66, sample {sample}\); interpolate"):
            sliding_differential_entropy(x, SFREQ, BANDS, window=1.0)

    def test_overflow(self):
        with pytest.raises(DataError, match="overflow the filters; take a larger unit"):
            differential_entropy(1e305 * noise(3000), SFREQ, BANDS)
