"""Overlap-add: exact for the identity, the same for any chunks, right where segments meet; resampling chunk by chunk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.signal.filters import resample
from neuropil.signal.overlap_add import OverlapAdd, fade_in, overlap_add
from neuropil.signal.resampling import StreamingResampler


def in_chunks(stream, data, size):
    pieces = [stream.push(data[k : k + size]) for k in range(0, len(data), size)]
    return np.concatenate([*pieces, stream.flush()])


@given(st.integers(1, 300), st.integers(1, 40), st.floats(0, 0.5), st.integers(1, 9), st.sampled_from(["f4", "f8"]))
def test_identity_gives_the_data_back_to_the_last_bit(n, n_times, overlap, batch, dtype):
    x = np.random.default_rng(n).normal(size=(n, 2)).astype(dtype)
    out = overlap_add(x, lambda segments: segments, n_times, int(overlap * n_times), batch=batch)
    assert out.dtype == x.dtype
    np.testing.assert_array_equal(out, x)


@given(st.integers(1, 200), st.integers(1, 80), st.integers(1, 5))
def test_chunks_do_not_matter_to_the_last_bit(n, size, batch):
    x = np.random.default_rng(n).normal(size=(n, 3))

    def transform(segments):
        """Depends on the rest of the segment and on the others of its group."""
        return np.cumsum(segments, axis=-1) * segments.mean() + len(segments)

    whole = overlap_add(x, transform, 20, 8, batch=batch)
    np.testing.assert_array_equal(in_chunks(OverlapAdd(transform, 20, 8, batch=batch), x, size), whole)


def test_segments_meet_in_a_fade_and_the_last_one_ends_with_the_data():
    numbers = iter(range(100))

    def numbered(segments):
        return np.stack([np.full(segment.shape, float(next(numbers))) for segment in segments])

    out = overlap_add(np.zeros((27, 1)), numbered, 10, 4)[:, 0]
    fade = fade_in(4)
    np.testing.assert_allclose(fade + fade[::-1], 1.0)
    # segments begin at 0, 6, 12 and, the last whole one, 17 instead of 18
    np.testing.assert_allclose(out[:6], 0)
    np.testing.assert_allclose(out[6:10], fade)
    np.testing.assert_allclose(out[10:12], 1)
    np.testing.assert_allclose(out[12:16], 1 + fade)
    np.testing.assert_allclose(out[18:22], 2 + fade)
    np.testing.assert_allclose(out[22:], 3)


def test_memory_does_not_grow_with_the_data():
    stream = OverlapAdd(lambda segments: segments, 16, batch=4)
    for _ in range(200):
        stream.push(np.zeros((50, 1)))
    assert len(stream._waiting) + len(stream._past) < 200
    assert stream.n_seen == 10_000


def test_short_data_are_mirrored_and_cut():
    seen = []

    def keep(segments):
        seen.append(segments.copy())
        return segments

    np.testing.assert_array_equal(overlap_add(np.arange(3.0)[:, None], keep, 8), np.arange(3.0)[:, None])
    np.testing.assert_array_equal(seen[0][0, 0], [0, 1, 2, 2, 1, 0, 0, 1])


def test_what_does_not_fit():
    with pytest.raises(UsageError, match="at most half of them"):
        OverlapAdd(lambda segments: segments, 10, 6)
    stream = OverlapAdd(lambda segments: segments[:, :, :-1], 4)
    stream.push(np.zeros((3, 2)))
    with pytest.raises(DataError, match="began with 2 channels, this chunk has 3"):
        stream.push(np.zeros((3, 3)))
    with pytest.raises(DataError, match="must keep their shape"):
        stream.flush()
    with pytest.raises(DataError, match="no sample was pushed"):
        OverlapAdd(lambda segments: segments, 4).flush()


@pytest.mark.parametrize("rates", [(250, 256), (1000, 256), (256, 1000), (256, 256)])
def test_resampling_in_chunks_equals_resampling_the_whole(rates):
    x = np.random.default_rng(0).normal(size=(12_345, 1))
    whole = resample(x, *rates, axis=0)
    first = in_chunks(StreamingResampler(*rates), x, 777)
    assert first.shape == whole.shape
    inner = slice(200, -200)
    np.testing.assert_allclose(first[inner], whole[inner], atol=1e-12)
    for size in (1, 5000, 20_000):
        n = 3000 if size == 1 else len(x)
        expected = first if size > 1 else in_chunks(StreamingResampler(*rates), x[:n], 777)
        np.testing.assert_array_equal(in_chunks(StreamingResampler(*rates), x[:n], size), expected)


def test_rates_that_are_no_ratio():
    with pytest.raises(UsageError, match="no ratio of integers"):
        StreamingResampler(256.0, 256.0 * np.pi)
    with pytest.raises(UsageError, match="positive numbers"):
        StreamingResampler(0.0, 256.0)
