"""Tokens of spikes and back, marks, truncation, messages; the pieces of a generative network around them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.nn.attention import MultiHeadAttention, TransformerBlock
from neuropil.nn.contrastive import info_nce
from neuropil.nn.embedding import sinusoidal_positions, sinusoidal_times
from neuropil.nn.event_tokens import SpikeTokenizer
from neuropil.nn.sampling import nucleus, sample_tokens
from neuropil.nn.schedules import token_warmup_cosine


def by_hand(tokenizer, window, max_spikes):
    """Tokens of one window by loops over bins, neurons and repeats."""
    spikes = [(n, t) for t in range(len(window)) for n in range(window.shape[1]) for _ in range(window[t, n])]
    spikes = spikes[max(0, len(spikes) - max_spikes) :]
    ids = [tokenizer.sos, *(n for n, _ in spikes), tokenizer.eos]
    return ids, [tokenizer.bin_sos, *(t for _, t in spikes), tokenizer.bin_eos]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(3, 12), st.floats(0.05, 2.0))
def test_tokens_equal_loops_over_spikes_and_come_back(seed, width, max_tokens, rate):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, (4 * width, 5))
    tokenizer, starts = SpikeTokenizer(5, 6), np.arange(4) * width
    tokens = tokenizer.encode(counts, starts, width, max_tokens)
    for k, start in enumerate(starts):
        ids, bins = by_hand(tokenizer, counts[start : start + width], max_tokens - 2)
        assert tokens.ids[k, : tokens.lengths[k]].tolist() == ids
        assert tokens.bins[k, : tokens.lengths[k]].tolist() == bins
        assert (tokens.ids[k, tokens.lengths[k] :] == tokenizer.pad).all()
    assert tokens.n_spikes == counts.sum()
    back = tokenizer.decode(tokens.ids, tokens.bins, width)
    assert counts.sum() - back.sum() == tokens.n_truncated
    if not tokens.n_truncated:
        np.testing.assert_array_equal(back.reshape(counts.shape), counts)


def test_overlapping_windows_empty_windows_and_sequences_without_marks():
    counts = np.zeros((6, 3), dtype=int)
    counts[2, 1] = counts[3, 0] = 1
    tokenizer = SpikeTokenizer(3, 4)
    tokens = tokenizer.encode(counts, np.array([0, 2, 1]), 4, 10, marks=False)
    np.testing.assert_array_equal(tokens.ids, [[1, 0], [1, 0], [1, 0]])
    np.testing.assert_array_equal(tokens.bins, [[2, 3], [0, 1], [1, 2]])
    empty = tokenizer.encode(np.zeros((8, 3), dtype=int), np.array([0, 4]), 4, 10, marks=False)
    assert empty.ids.shape == (2, 0)
    assert empty.lengths.tolist() == [0, 0]


def test_shuffling_changes_the_order_within_bins_only():
    counts = np.ones((4, 30), dtype=int)
    tokenizer = SpikeTokenizer(30, 2)
    plain = tokenizer.encode(counts, np.array([0, 2]), 2, 100)
    shuffled = tokenizer.encode(counts, np.array([0, 2]), 2, 100, shuffle=np.random.default_rng(0))
    np.testing.assert_array_equal(plain.bins, shuffled.bins)
    assert (plain.ids != shuffled.ids).mean() > 0.8
    np.testing.assert_array_equal(tokenizer.decode(shuffled.ids, shuffled.bins, 2).reshape(4, 30), counts)


def test_floats_that_are_whole_are_counts():
    tokenizer = SpikeTokenizer(2, 2)
    whole = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert tokenizer.encode(whole, np.array([0]), 2, 9).ids.tolist() == [[2, 0, 1, 1, 3]]
    with pytest.raises(DataError, match="whole numbers"):
        tokenizer.encode(whole / 2, np.array([0]), 2, 9)
    with pytest.raises(DataError, match="whole numbers"):
        tokenizer.encode(whole * np.nan, np.array([0]), 2, 9)
    with pytest.raises(DataError, match="negative"):
        tokenizer.encode(-whole, np.array([0]), 2, 9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((4, 3), int), np.array([0]), 2, 9), DataError, r"shape \(n_times, 2\)"),
        ((np.zeros((4, 2), int), np.array([3]), 2, 9), DataError, "within the 4 bins"),
        ((np.zeros((4, 2), int), np.array([0]), 3, 9), UsageError, "between 1 and 2 bins"),
        ((np.zeros((4, 2), int), np.array([0]), 2, 2), UsageError, "room for a spike beside its two marks"),
    ],
)
def test_messages_of_the_tokeniser(arguments, error, message):
    with pytest.raises(error, match=message):
        SpikeTokenizer(2, 2).encode(*arguments)


def test_vocabularies_must_hold_something_and_bins_lie_in_the_window():
    with pytest.raises(UsageError, match="one neuron"):
        SpikeTokenizer(0, 2)
    with pytest.raises(DataError, match="bins from 0 to 1"):
        SpikeTokenizer(2, 5).decode(np.array([[0]]), np.array([[3]]), 2)


def test_masked_attention_equals_torchs_and_a_null_key_takes_the_rest():
    torch.manual_seed(0)
    for n_tokens in (5, 120):
        attention = MultiHeadAttention(12, num_heads=3, null_key=True).eval()
        tokens, context = torch.randn(2, n_tokens, 12), torch.randn(2, 7, 12)
        seen = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])[:, None, None]
        out = attention(tokens, context, seen)
        torch.testing.assert_close(out[:1], attention(tokens[:1], context[:1, :4]))
        torch.testing.assert_close(out[1], attention.output.bias.expand(n_tokens, 12))
        maps = attention.attention_maps(tokens, context, seen)
        assert maps.shape == (2, 3, n_tokens, 8)
        torch.testing.assert_close(maps[1, ..., -1], torch.ones(3, n_tokens))
        assert (maps[0, ..., 4:7] == 0).all()
        assert attention(tokens, context[:, :0]).isfinite().all()


def test_a_block_reads_contexts_as_they_come_and_normalises_its_output():
    torch.manual_seed(0)
    block = TransformerBlock(8, num_heads=2, output_norm=True).eval()
    tokens, context = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    hidden = tokens + block.attention(block.attention_norm(tokens), context)
    hidden = hidden + block.mlp(block.mlp_norm(hidden))
    torch.testing.assert_close(block(tokens, context), torch.layer_norm(hidden, (8,)))


def test_times_between_places():
    torch.testing.assert_close(sinusoidal_times(torch.arange(9), 7), sinusoidal_positions(9, 7))
    half = sinusoidal_times(torch.tensor([[0.5]]), 6)
    assert half.shape == (1, 1, 6)
    torch.testing.assert_close(half[0, 0, 0], torch.tensor(0.5).sin())


def test_info_nce_by_hand_and_at_chance():
    torch.manual_seed(0)
    queries, keys = torch.randn(5, 4), torch.randn(5, 4)
    cosine = torch.stack([torch.cosine_similarity(q[None], keys) for q in queries]) / 0.3
    expected = -(cosine.diag() - cosine.logsumexp(dim=1)).mean()
    torch.testing.assert_close(info_nce(queries, keys, temperature=0.3), expected)
    same = torch.ones(8, 3)
    torch.testing.assert_close(info_nce(same, same), torch.tensor(8.0).log())
    with pytest.raises(UsageError, match="positive"):
        info_nce(same, same, temperature=0.0)


@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_the_nucleus_is_the_smallest_set_of_enough_probability(seed, top_p):
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))
    probability, kept = torch.softmax(logits, dim=-1), nucleus(logits, top_p).isfinite()
    for p, inside in zip(probability, kept, strict=True):
        assert inside[p.argmax()]
        assert p[inside].sum() >= top_p - 1e-6
        assert p[inside].sum() - p[inside].min() < top_p
        assert not inside.all() or p.min() > 0
        assert p[inside].min() >= p[~inside].max() if (~inside).any() else True


def test_drawn_tokens_follow_temperature_and_seed():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    drawn = sample_tokens(logits, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(torch.bincount(drawn) / 20_000, [0.5, 0.3, 0.2], atol=0.015)
    cold = sample_tokens(logits, temperature=0.5, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(torch.bincount(cold) / 20_000, np.array([25, 9, 4]) / 38, atol=0.015)
    assert torch.equal(drawn, sample_tokens(logits, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(UsageError, match="top_p"):
        sample_tokens(logits, top_p=0.0)
    with pytest.raises(UsageError, match="temperature"):
        sample_tokens(logits, temperature=0.0)


def test_a_warm_up_longer_than_the_training_never_reaches_the_full_rate():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = token_warmup_cosine(optimizer, 10, tokens_per_step=10, warmup_tokens=1000)
    for _ in range(9):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    with pytest.raises(UsageError, match="tokens"):
        token_warmup_cosine(optimizer, 10, tokens_per_step=0)
