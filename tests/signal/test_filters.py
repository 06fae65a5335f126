"""Filters: gain at known frequencies, causality, the same bits in chunks, and what is refused."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as reference

from neuropil.errors import DataError, UsageError
from neuropil.signal.filters import (
    StreamingFilter,
    butterworth,
    causal_filter,
    decimate,
    initial_state,
    resample,
    settling_length,
    zero_phase_filter,
)

SFREQ = 250.0
SOS = butterworth(8.0, 30.0, SFREQ)


def recording(n_times=1000, n_channels=3, seed=0):
    """Noise on an offset a thousand times as large, as amplifiers deliver it."""
    rng = np.random.default_rng(seed)
    return 1e-5 * rng.standard_normal((n_times, n_channels)) + 1e-2 * rng.standard_normal(n_channels)


def sine(frequency, sfreq=SFREQ, seconds=8.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * sfreq)) / sfreq)


class TestDesign:
    @pytest.mark.parametrize(("low", "high"), [(8.0, 30.0), (0.5, None), (None, 40.0)])
    def test_half_the_power_at_the_edges(self, low, high):
        edges = [edge for edge in (low, high) if edge is not None]
        _, gain = reference.freqz_sos(butterworth(low, high, SFREQ), worN=edges, fs=SFREQ)
        np.testing.assert_allclose(np.abs(gain) ** 2, 0.5, rtol=1e-6)

    def test_slope(self):
        """Order 2: 12 dB an octave, far from the edge and from the Nyquist frequency."""
        _, gain = reference.freqz_sos(butterworth(None, 1.0, 1000.0, order=2), worN=[10.0, 20.0], fs=1000.0)
        assert 20 * np.log10(np.abs(gain[0] / gain[1])) == pytest.approx(12.04, abs=0.1)

    @pytest.mark.parametrize("high", [125.0, 130.0, 0.0, -1.0])
    def test_edge_outside(self, high):
        with pytest.raises(UsageError, match=r"must lie above 0 and below 125 Hz, half the sampling rate of 250 Hz"):
            butterworth(None, high, SFREQ)

    def test_messages(self):
        with pytest.raises(UsageError, match="low < high, got low=30 Hz and high=8 Hz"):
            butterworth(30.0, 8.0, SFREQ)
        with pytest.raises(UsageError, match="got neither"):
            butterworth(None, None, SFREQ)
        with pytest.raises(UsageError, match="order=0"):
            butterworth(8.0, 30.0, SFREQ, order=0)
        with pytest.raises(UsageError, match=r"positive number in Hz, got 0\.0"):
            butterworth(8.0, 30.0, 0.0)


class TestSettling:
    def test_of_one_real_pole(self):
        """h_n = r^n: the rest of the energy after n samples is r^(2n), below 1e-6 from n = 66 on for r = 0.9."""
        sos = np.array([[1.0, 0.0, 0.0, 1.0, -0.9, 0.0]])
        assert settling_length(sos) == int(np.ceil(np.log(1e-3) / np.log(0.9)))

    def test_of_a_finite_response(self):
        assert settling_length(np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]])) == 3

    def test_noise_before_it_does_not_matter(self):
        n = settling_length(SOS)
        rng = np.random.default_rng(1)
        x = rng.standard_normal((200, 1000 + n + 1))
        x[:, 1000:] = 0
        after = causal_filter(x, SOS)[0]
        assert after[:, 1000 + n].std() < 1e-3 * after[:, 500:1000].std()
        assert after[:, 1000 + n // 4].std() > 1e-3 * after[:, 500:1000].std()

    def test_slower_for_lower_edges(self):
        lengths = [settling_length(butterworth(low, 30.0, SFREQ)) for low in (4.0, 1.0, 0.25)]
        assert lengths == sorted(lengths)
        assert lengths[2] > 8 * lengths[0]

    def test_an_unstable_filter_never_settles(self):
        with pytest.raises(UsageError, match="never settles, its slowest pole has radius 1"):
            settling_length(np.array([[1.0, 0.0, 0.0, 1.0, -1.0, 0.0]]))


class TestCausal:
    def test_is_scipys(self):
        x = recording()
        zi = initial_state(SOS, np.zeros(3), axis=0)
        expected, zf = reference.sosfilt(SOS, x, axis=0, zi=zi)
        ours, state = causal_filter(x, SOS, zi, axis=0)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(state, zf)

    def test_an_offset_causes_no_step(self):
        flat = np.broadcast_to([[0.3], [-2.0]], (2, 500))
        assert np.abs(causal_filter(flat, SOS)[0]).max() < 1e-10
        np.testing.assert_allclose(causal_filter(flat, butterworth(None, 30.0, SFREQ))[0], flat)

    def test_what_comes_after_has_no_influence(self):
        x = recording()
        y = x.copy()
        y[600:] += 1.0
        np.testing.assert_array_equal(causal_filter(x, SOS, axis=0)[0][:600], causal_filter(y, SOS, axis=0)[0][:600])

    def test_pass_band_and_stop_band(self):
        """After settling, a sine of 15 Hz passes and one of 50 Hz is damped as the design says."""
        for frequency in (15.0, 50.0):
            out = causal_filter(sine(frequency), SOS)[0][500:]
            _, gain = reference.freqz_sos(SOS, worN=[frequency], fs=SFREQ)
            assert np.sqrt(2) * out.std() == pytest.approx(abs(gain[0]), rel=1e-2)

    @pytest.mark.parametrize(("shape", "axis"), [((50,), -1), ((2, 3, 50), -1), ((50, 4), 0), ((2, 50, 3), 1)])
    def test_any_axis(self, shape, axis):
        x = np.random.default_rng(2).standard_normal(shape)
        ours, state = causal_filter(x, SOS, axis=axis)
        expected = np.apply_along_axis(lambda row: causal_filter(row, SOS)[0], axis, x)
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        assert state.shape == (len(SOS), *[2 if k == axis % len(shape) else n for k, n in enumerate(shape)])

    def test_counts_are_filtered_in_double_precision(self):
        x = np.random.default_rng(3).integers(-3000, 3000, size=(2, 300)).astype(np.int16)
        np.testing.assert_array_equal(causal_filter(x, SOS)[0], causal_filter(x.astype(float), SOS)[0])

    def test_state_of_other_data(self):
        with pytest.raises(DataError, match=r"must have shape \(4, 3, 2\) for these data, got \(4, 2, 2\)"):
            causal_filter(np.ones((3, 20)), SOS, np.zeros((4, 2, 2)))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, value):
        x = np.ones((2, 20))
        x[0, 3] = x[1, 5] = value
        with pytest.raises(DataError, match="got 2 of them; interpolate or mask them first"):
            causal_filter(x, SOS)

    def test_nothing_and_no_such_axis(self):
        with pytest.raises(DataError, match="1 samples or more, got 0"):
            causal_filter(np.ones((2, 0)), SOS)
        with pytest.raises(UsageError, match="2 axes, none of them is axis 2"):
            causal_filter(np.ones((2, 9)), SOS, axis=2)


class TestZeroPhase:
    def test_is_scipys(self):
        x = recording()
        for sos in (SOS, butterworth(0.5, None, SFREQ, order=3), butterworth(None, 40.0, SFREQ)):
            np.testing.assert_array_equal(zero_phase_filter(x, sos, axis=0), reference.sosfiltfilt(sos, x, axis=0))

    def test_no_delay_where_the_causal_filter_has_one(self):
        x = sine(15.0)
        middle = slice(500, -500)
        assert np.corrcoef(zero_phase_filter(x, SOS)[middle], x[middle])[0, 1] > 0.9999
        assert np.corrcoef(causal_filter(x, SOS)[0][middle], x[middle])[0, 1] < 0.99

    def test_it_looks_ahead(self):
        x = recording()
        y = x.copy()
        y[600:] += 1e-5
        change = np.abs(zero_phase_filter(x, SOS, axis=0) - zero_phase_filter(y, SOS, axis=0))
        assert change[590:600].max() > 1e-7

    def test_reversing_time(self):
        """Exactly symmetric in the middle; near the ends the two passes start from different approximations."""
        x = recording(3000)
        there, back = zero_phase_filter(x, SOS, axis=0), zero_phase_filter(x[::-1], SOS, axis=0)[::-1]
        np.testing.assert_allclose(there[1000:-1000], back[1000:-1000], atol=1e-13)

    def test_too_short(self):
        for shortest in range(2, 40):
            try:
                reference.sosfiltfilt(SOS, np.ones(shortest))
                break
            except ValueError:
                continue
        with pytest.raises(
            DataError, match=f"needs {shortest} samples or more, got {shortest - 1}; filter before cutting"
        ):
            zero_phase_filter(np.ones(shortest - 1), SOS)
        assert zero_phase_filter(np.ones(shortest), SOS).shape == (shortest,)


class TestStreaming:
    @pytest.mark.parametrize("size", [1, 7, 250])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_chunks_give_the_same_bits(self, size, dtype):
        x = recording(1003).astype(dtype)
        whole = causal_filter(x, SOS, axis=0)[0]
        stream = StreamingFilter(SOS)
        pieces = [stream.push(x[k : k + size]) for k in range(0, len(x), size)]
        assert np.concatenate(pieces).tobytes() == whole.tobytes()

    @given(
        st.lists(st.integers(0, 60), min_size=1, max_size=12), st.sampled_from([(8.0, 30.0), (0.1, None), (None, 5.0)])
    )
    def test_any_chunks_also_empty_ones(self, sizes, band):
        sos = butterworth(*band, SFREQ)
        x = recording(sum(sizes), seed=4)
        stream = StreamingFilter(sos)
        pieces = [stream.push(chunk) for chunk in np.split(x, np.cumsum(sizes)[:-1])]
        if len(x):
            np.testing.assert_array_equal(np.concatenate(pieces), causal_filter(x, sos, axis=0)[0])
        assert [len(piece) for piece in pieces] == sizes

    def test_other_memory_layouts_give_the_same_bits(self):
        x = recording()
        stream = StreamingFilter(SOS)
        ours = [stream.push(np.asfortranarray(x[k : k + 7])) for k in range(0, len(x), 7)]
        np.testing.assert_array_equal(np.concatenate(ours), causal_filter(x, SOS, axis=0)[0])

    def test_branching_off_with_the_state(self):
        x = recording()
        stream, branch = StreamingFilter(SOS), StreamingFilter(SOS)
        stream.push(x[:500])
        branch.state = stream.state.copy()
        np.testing.assert_array_equal(stream.push(x[500:]), branch.push(x[500:]))

    def test_reset_begins_anew(self):
        x = recording()
        stream = StreamingFilter(SOS)
        first = stream.push(x)
        stream.reset()
        np.testing.assert_array_equal(stream.push(x), first)

    def test_a_refused_chunk_leaves_the_state_alone(self):
        x = recording()
        stream = StreamingFilter(SOS)
        first = stream.push(x[:500])
        broken = x[500:600].copy()
        broken[3, 1] = np.nan
        with pytest.raises(DataError, match="interpolate or mask"):
            stream.push(broken)
        whole = causal_filter(x, SOS, axis=0)[0]
        np.testing.assert_array_equal(np.concatenate([first, stream.push(x[500:])]), whole)

    def test_other_channels(self):
        stream = StreamingFilter(SOS)
        stream.push(recording())
        with pytest.raises(DataError, match=r"began with 3 channels, this chunk has 2; call reset"):
            stream.push(recording(n_channels=2))
        with pytest.raises(DataError, match=r"shape \(samples, channels\), got \(5,\)"):
            unwrap(StreamingFilter.push)(stream, np.ones(5))


class TestResampling:
    def test_a_sine_keeps_its_shape(self):
        x = sine(11.0, 512.0)
        y = resample(x, 512.0, 200.0)
        np.testing.assert_allclose(y[100:-100], sine(11.0, 200.0)[100:-100], atol=2e-3)

    def test_frequencies_above_the_new_nyquist_are_gone(self):
        y = resample(sine(90.0, 500.0), 500.0, 100.0)
        assert np.abs(y[50:-50]).max() < 0.01

    def test_a_line_stays_a_line(self):
        """Also at both ends: an offset leaves no transient."""
        t = np.arange(1000) / 500.0
        np.testing.assert_allclose(resample(3.0 + 2.0 * t, 500.0, 200.0), 3.0 + 2.0 * np.arange(400) / 200.0, atol=1e-3)

    @given(st.integers(300, 700), st.sampled_from([128.0, 160.0, 250.0, 512.0]), st.sampled_from([100.0, 128.0, 256.0]))
    def test_number_of_samples(self, n_times, sfreq, new_sfreq):
        assert resample(np.ones((2, n_times)), sfreq, new_sfreq).shape == (2, int(np.ceil(n_times * new_sfreq / sfreq)))

    def test_same_rate_is_the_same(self):
        x = recording()
        np.testing.assert_array_equal(resample(x, SFREQ, SFREQ, axis=0), x)

    def test_decimation_is_resampling(self):
        x = recording()
        np.testing.assert_array_equal(decimate(x, 5, axis=0), resample(x, SFREQ, 50.0, axis=0))
        np.testing.assert_array_equal(decimate(x, 1, axis=0), x)

    def test_fractional_rates(self):
        assert resample(np.ones(1000), 2048 / 7, 128.0).shape == (int(np.ceil(1000 * 128 * 7 / 2048)),)

    def test_messages(self):
        with pytest.raises(UsageError, match="no ratio of integers up to 10000"):
            resample(np.ones(1000), 250.0, 100.0 * np.pi)
        with pytest.raises(DataError, match="needs 51 samples or more, got 50"):
            decimate(np.ones(50), 5)
        with pytest.raises(UsageError, match="whole number, 1 or more, got 0"):
            decimate(np.ones(50), 0)
        with pytest.raises(DataError, match="got 1 of them"):
            decimate(np.r_[np.ones(99), np.nan], 5)
        with pytest.raises(UsageError, match="positive number in Hz, got -1"):
            resample(np.ones(100), 250.0, -1.0)
