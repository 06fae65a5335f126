"""Attention against torch's own, and the Transformer encoder built from it."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from neuropil.nn.attention import LayerScale, MultiHeadAttention, TransformerBlock, TransformerEncoder
from neuropil.nn.dropout import Dropout, DropPath


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_torch(attention, tokens, context, scale):
    weight, bias = attention.query_key_value.weight.chunk(3), attention.query_key_value.bias.chunk(3)
    query, key, value = (
        (source @ w.T + b).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for source, w, b in zip((tokens, context, context), weight, bias, strict=True)
    )
    heads = scaled_dot_product_attention(query, key, value, scale=scale)
    return attention.output(heads.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("scale", [None, 40**-0.5, 1.0])
def test_attention_equals_torchs_at_the_same_scale(scale):
    attention = MultiHeadAttention(40, num_heads=10, scale=scale)
    tokens, context = torch.randn(3, 7, 40), torch.randn(3, 5, 40)
    expected = 4**-0.5 if scale is None else scale
    torch.testing.assert_close(attention(tokens), by_torch(attention, tokens, tokens, expected))
    torch.testing.assert_close(attention(tokens, context), by_torch(attention, tokens, context, expected))


def test_attention_maps_are_the_weights_of_the_values():
    attention = MultiHeadAttention(12, num_heads=3).eval()
    tokens = torch.randn(2, 6, 12)
    maps = attention.attention_maps(tokens)
    assert maps.shape == (2, 3, 6, 6)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 3, 6))
    value = attention.query_key_value(tokens)[..., 24:].unflatten(-1, (3, 4)).transpose(1, 2)
    torch.testing.assert_close(attention(tokens), attention.output((maps @ value).transpose(1, 2).flatten(2)))


def test_heads_of_a_width_of_their_own():
    attention = MultiHeadAttention(128, num_heads=6, head_size=32, qkv_bias=False)
    assert sum(p.numel() for p in attention.parameters()) == 73_728 + 24_704
    assert attention(torch.randn(2, 14, 128)).shape == (2, 14, 128)
    assert attention(torch.randn(2, 14, 128), torch.randn(2, 3, 128)).shape == (2, 14, 128)


def test_normalised_queries_and_keys_ignore_their_length():
    attention = MultiHeadAttention(16, num_heads=2, qkv_bias=False, qk_norm=True)
    tokens = torch.randn(2, 5, 16)
    torch.testing.assert_close(
        attention.attention_maps(10 * tokens), attention.attention_maps(tokens), atol=1e-4, rtol=0
    )
    plain = MultiHeadAttention(16, num_heads=2, qkv_bias=False)
    assert (plain.attention_maps(10 * tokens) - plain.attention_maps(tokens)).abs().max() > 0.01


def test_attention_permutes_with_its_tokens():
    encoder = TransformerEncoder(2, 12, num_heads=3).eval()
    tokens, order = torch.randn(2, 6, 12), torch.randperm(6)
    torch.testing.assert_close(encoder(tokens[:, order]), encoder(tokens)[:, order])


def test_encoder_is_its_blocks_in_a_row_and_counts_its_parameters():
    encoder = TransformerEncoder(2, 40, num_heads=10, scale=40**-0.5, drop_prob=0.5).eval()
    assert sum(p.numel() for p in encoder.parameters()) == 2 * 19_720
    tokens = torch.randn(3, 8, 40)
    first, second = encoder.blocks
    torch.testing.assert_close(encoder(tokens), second(first(tokens)))
    maps = encoder.attention_maps(tokens)
    assert maps.shape == (2, 3, 10, 8, 8)
    torch.testing.assert_close(maps[1], second.attention_maps(first(tokens)))
    assert torch.equal(TransformerEncoder(0, 40, num_heads=10)(tokens), tokens)


def test_block_written_out():
    block = TransformerBlock(8, num_heads=2, mlp_size=20, layer_scale=0.1)
    tokens = torch.randn(2, 4, 8)
    middle = tokens + 0.1 * block.attention(block.attention_norm(tokens))
    expected = middle + 0.1 * block.mlp(block.mlp_norm(middle))
    torch.testing.assert_close(block(tokens), expected)
    assert block.mlp[0].out_features == 20
    assert isinstance(block.attention_residual[1], LayerScale)


def test_stochastic_depth_rises_over_the_blocks_and_drops_whole_members():
    encoder = TransformerEncoder(3, 8, num_heads=2, drop_path=0.4)
    chances = [[m.p for m in block.modules() if isinstance(m, DropPath)] for block in encoder.blocks]
    assert chances == [[], [0.2, 0.2], [0.4, 0.4]]
    out = DropPath(0.4).train()(torch.ones(20_000, 3))
    assert torch.equal(out.min(dim=1).values, out.max(dim=1).values)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(DropPath(0.4).eval()(torch.ones(5)), torch.ones(5))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_dropout_has_torchs_distribution(p):
    ones = torch.ones(200_000)
    ours, theirs = Dropout(p)(ones), torch.nn.Dropout(p)(ones)
    torch.testing.assert_close(ours.unique(), theirs.unique())
    assert (ours == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert torch.equal(Dropout(p).eval()(ones), ones)


def test_dropout_repeats_with_torchs_seed_and_passes_gradients_where_it_kept():
    values = torch.ones(50, requires_grad=True)
    torch.manual_seed(3)
    first = Dropout(0.5)(values)
    first.sum().backward()
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(values), first)
    assert torch.equal(values.grad, first.detach())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="emb_size must be a multiple of num_heads, got emb_size=40 and num_heads=7"):
        MultiHeadAttention(40, num_heads=7)
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        MultiHeadAttention(40, num_heads=0)
    with pytest.raises(ValueError, match="depth must be 0 or more blocks, got -1"):
        TransformerEncoder(-1, 40, num_heads=10)
    with pytest.raises(ValueError, match="without blocks has no attention maps"):
        TransformerEncoder(0, 40, num_heads=10).attention_maps(torch.zeros(1, 2, 40))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1"):
        DropPath(1.0)
