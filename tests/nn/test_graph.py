"""Attention over graphs, by hand and against the dense way of computing it."""

import pytest
import torch

from neuropil.nn import graph
from neuropil.nn.graph import GraphAttention

CHAIN = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)
DIRECTED = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 0]], dtype=torch.bool)
FULL = torch.ones(5, 5, dtype=torch.bool)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def inputs(n_nodes, heads=2, batch=3, times=4, width=6):
    def draw(*shape):
        return torch.randn(batch, times, n_nodes, heads, *shape, dtype=torch.float64, requires_grad=True)

    return draw(), draw(), draw(width)


def attention(adjacency, **options):
    layer = GraphAttention(adjacency, num_heads=2, **options).double()
    torch.nn.init.uniform_(layer.slopes, -0.5, 0.5)
    return layer


def dense(layer, adjacency, sources, destinations, values):
    """All pairs, masked before the softmax over sources."""
    scores = sources[:, :, None] + destinations[:, :, :, None]
    slopes = layer.slopes.permute(1, 2, 0)
    scores = torch.where(scores > 0, scores, slopes * scores)
    links = adjacency | torch.eye(len(adjacency), dtype=torch.bool)
    weights = torch.softmax(scores.masked_fill(~links[:, :, None], -1e10), dim=3)
    return torch.einsum("btjih,btihf->btjf", weights, values) / layer.num_heads, weights


def test_a_chain_by_hand():
    layer = GraphAttention(CHAIN, num_heads=1, slope=0.5)
    sources = torch.log(torch.tensor([2.0, 3.0, 5.0])).reshape(1, 1, 3, 1)
    nothing = torch.zeros(1, 1, 3, 1)
    weights = layer.maps(sources, nothing)[0, 0, 0]
    expected = torch.tensor([[2 / 5, 3 / 5, 0], [2 / 10, 3 / 10, 5 / 10], [0, 3 / 8, 5 / 8]])
    torch.testing.assert_close(weights, expected)
    values = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 1, 3, 1, 1)
    torch.testing.assert_close(layer(sources, nothing, values).flatten(), expected @ values.flatten())
    negative = layer.maps(-2 * sources, nothing)[0, 0, 0, 0]
    torch.testing.assert_close(negative[:2], torch.tensor([1 / 2, 1 / 3]) / (1 / 2 + 1 / 3))


@pytest.mark.parametrize("adjacency", [CHAIN, DIRECTED, FULL, torch.zeros(4, 4, dtype=torch.bool)])
def test_agrees_with_the_dense_way_also_in_its_gradients(adjacency):
    layer, given = attention(adjacency), inputs(len(adjacency))
    expected, weights = dense(layer, adjacency, *given)
    torch.testing.assert_close(layer(*given), expected)
    torch.testing.assert_close(layer.maps(*given[:2]), weights.permute(0, 1, 4, 2, 3))
    toward = torch.randn_like(expected)
    wanted = [*given, layer.slopes]
    torch.testing.assert_close(
        torch.autograd.grad(layer(*given), wanted, toward), torch.autograd.grad(expected, wanted, toward)
    )


def test_a_node_without_links_takes_its_own_value():
    layer, (sources, destinations, values) = attention(torch.zeros(4, 4, dtype=torch.bool)), inputs(4)
    torch.testing.assert_close(layer(sources, destinations, values), values.mean(dim=-2))


def test_weights_sum_to_one_over_sources_and_vanish_off_the_graph():
    layer, (sources, destinations, _) = attention(DIRECTED), inputs(4)
    weights = layer.maps(100 * sources, 100 * destinations)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1], dtype=torch.float64))
    assert (weights[..., ~(DIRECTED | torch.eye(4, dtype=torch.bool))] == 0).all()


def test_parts_give_the_same_numbers_gradients_and_dropout(monkeypatch):
    layer, given = attention(DIRECTED, drop_prob=0.3), inputs(4)
    wanted = [*given, layer.slopes]
    torch.testing.assert_close(layer(*given).shape, (3, 4, 4, 6))
    whole = layer.eval()(*given)
    toward = torch.randn_like(whole)
    gradients = torch.autograd.grad(whole, wanted, toward)
    monkeypatch.setattr(graph, "LARGEST_MAPS", 100)
    parts = layer(*given)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, wanted, toward), gradients)
    values = given[2]
    dropped = layer.train()(*given)
    # with the same drawn links the output is linear in the values: the gradient must see the links that the output saw
    (gradient,) = torch.autograd.grad(dropped, values, toward)
    torch.testing.assert_close((gradient * values).sum(), (dropped * toward).sum())
    assert (dropped - whole).abs().max() > 0.01


def test_dropout_keeps_the_mean():
    layer = GraphAttention(CHAIN, num_heads=1, drop_prob=0.4)
    nothing, values = torch.zeros(1, 20_000, 3, 1), torch.ones(1, 20_000, 3, 1, 1)
    outcome = layer(nothing, nothing, values)
    assert outcome.mean().item() == pytest.approx(1, abs=0.01)
    assert outcome.std().item() > 0.3


def test_an_adjacency_is_square():
    with pytest.raises(ValueError, match=r"square matrix, got shape \(3, 2\)"):
        GraphAttention(torch.zeros(3, 2, dtype=torch.bool), num_heads=1)
