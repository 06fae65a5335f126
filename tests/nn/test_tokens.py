"""Tokens: patches, embeddings, pooling."""

import pytest
import torch
from torch.nn.functional import avg_pool1d

from neuropil.nn.embedding import SinusoidalPositions, TokenEmbedding, pool_patches, sinusoidal_positions
from neuropil.nn.pooling import AttentionPooling, MeanPooling, SqueezeExcitationPooling


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("n_times", [125, 249, 250, 1001])
def test_patches_are_averages_without_the_remainder(n_times):
    features = torch.randn(2, 5, n_times)
    torch.testing.assert_close(pool_patches(features, 125), avg_pool1d(features, 125, 125).transpose(1, 2))
    whole = n_times // 125 * 125
    assert torch.equal(pool_patches(features, 125), pool_patches(features[..., :whole], 125))


def test_embeddings_start_normal_and_are_added():
    layer = TokenEmbedding(500, 40)
    assert layer.embedding.std().item() == pytest.approx(1, abs=0.02)
    assert TokenEmbedding(500, 40, std=0.02).embedding.std().item() == pytest.approx(0.02, abs=0.001)
    tokens = torch.randn(3, 500, 40)
    torch.testing.assert_close(layer(tokens) - tokens, layer.embedding.expand(3, -1, -1), atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="made for 500 tokens, got 499"):
        layer(tokens[:, 1:])


@pytest.mark.parametrize("n_times", [0, 124])
def test_a_window_without_a_whole_patch_is_refused(n_times):
    with pytest.raises(ValueError, match=f"between 1 and the {n_times} samples of a window, got 125"):
        pool_patches(torch.zeros(1, 2, n_times), 125)


@pytest.mark.parametrize("make", [lambda: AttentionPooling(12, hidden_size=5), MeanPooling])
def test_pooling_is_the_weighted_mean_in_any_order(make):
    pool, tokens = make(), torch.randn(4, 9, 12)
    weights = pool.weights(tokens)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(pool(tokens), (weights[..., None] * tokens).sum(dim=1))
    order = torch.randperm(9)
    torch.testing.assert_close(pool.weights(tokens[:, order]), weights[:, order])
    torch.testing.assert_close(pool(tokens[:, order]), pool(tokens))


def test_attention_pooling_written_out():
    pool, tokens = AttentionPooling(40), torch.randn(2, 5, 40)
    assert sum(p.numel() for p in pool.parameters()) == 1681
    hidden, _, score = pool.score
    for window, weights in zip(tokens, pool.weights(tokens), strict=True):
        scores = torch.stack([score.weight[0] @ torch.tanh(hidden.weight @ h + hidden.bias) for h in window])
        torch.testing.assert_close(weights, scores.exp() / scores.exp().sum())


def test_squeeze_excitation_gates_every_token():
    pool, tokens = SqueezeExcitationPooling(22), torch.randn(3, 22, 8)
    gates = pool.gates(tokens.mean(dim=-1))
    assert pool.gates[0].out_features == 1
    assert 0 < gates.min() < gates.max() < 1
    torch.testing.assert_close(pool(tokens), (gates[..., None] * tokens).mean(dim=1))
    torch.testing.assert_close(pool.weights(tokens), gates / gates.sum(dim=1, keepdim=True))


def test_sinusoidal_positions_have_the_sines_first():
    table = sinusoidal_positions(50, 7).double()
    assert table.shape == (50, 7)
    tokens = torch.arange(50, dtype=torch.float64)
    for feature, (function, pair) in enumerate([(torch.sin, k) for k in range(4)] + [(torch.cos, k) for k in range(3)]):
        expected = function(tokens / 10_000 ** (2 * pair / 7))
        torch.testing.assert_close(table[:, feature], expected, atol=1e-5, rtol=0)


def test_scaled_positions_start_at_nothing_and_stay_in_their_range():
    layer, tokens = SinusoidalPositions(5, 4), torch.randn(2, 5, 4)
    assert torch.equal(layer(tokens), tokens)
    layer(tokens).sum().backward()
    assert layer.scale.grad.item() == pytest.approx(2 * sinusoidal_positions(5, 4).sum().item(), rel=1e-5)
    for value, kept in ((1.5, 1.0), (-0.5, 0.0)):
        layer.scale.data.fill_(value)
        torch.testing.assert_close(
            layer.eval()(tokens) - tokens, kept * layer.table.expand(2, -1, -1), atol=1e-6, rtol=0
        )
        assert layer.scale.item() == value
        layer.train()(tokens)
        assert layer.scale.item() == kept
