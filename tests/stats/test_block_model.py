"""The weighted block model: its objective against a slow direct formula, groups that are found, and graphs that are refused."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.special import betaln, comb, gammaln
from sklearn.metrics import adjusted_rand_score

from neuropil.errors import DataError, UsageError
from neuropil.simulate.motifs import simulate_block_graph
from neuropil.stats.block_model import description_length, fit_block_model


def directly(graph, labels, weighted, corrected):
    """The description length by loops over pairs of groups."""
    n, groups = len(graph), np.unique(labels)
    measured = ~np.isnan(graph)
    edges = (np.nan_to_num(graph) > 0).astype(float)
    upper = np.triu(np.ones((n, n), dtype=bool), 1)
    rate = graph[upper & (edges > 0)].mean()
    degrees = edges.sum(axis=0)
    total = 0.0
    for a, r in enumerate(groups):
        for s in groups[: a + 1]:
            inside = upper & ((labels[:, None] == r) & (labels == s) | (labels[:, None] == s) & (labels == r))
            e, m, w = edges[inside].sum(), (measured & inside).sum(), np.nansum(graph[inside])
            if corrected:
                total += gammaln(e + 1) + (e * np.log(2) if r == s else 0)
            elif m:
                total += betaln(1 + e, 1 + m - e)
            if weighted and m:
                total += np.log(rate) + gammaln(1 + e) - (1 + e) * np.log(rate + w)
        size, degree = (labels == r).sum(), degrees[labels == r].sum()
        total += gammaln(size + 1)
        if corrected:
            total += -gammaln(degree + 1) - np.log(comb(size + degree - 1, degree, exact=False))
    blocks, n_edges = len(groups) * (len(groups) + 1) / 2, edges.sum() / 2
    if corrected:
        total += gammaln(degrees + 1).sum()
        total -= gammaln(blocks + n_edges) - gammaln(n_edges + 1) - gammaln(blocks)
    return -(total - np.log(comb(n - 1, len(groups) - 1)) - gammaln(n + 1) - np.log(n))


def random_graph(seed, n=12, missing=0.0):
    rng = np.random.default_rng(seed)
    graph = np.triu(rng.exponential(2.0, (n, n)) * (rng.random((n, n)) < 0.6), 1)
    gone = np.triu(rng.random((n, n)) < missing, 1)
    graph[gone] = np.nan
    return graph + graph.T


@settings(phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 100), missing=st.sampled_from([0.0, 0.3]), weighted=st.booleans(), corrected=st.booleans())
def test_the_objective_is_the_direct_formula(seed, missing, weighted, corrected):
    graph = random_graph(seed, missing=missing)
    labels = np.random.default_rng(seed).integers(0, 4, 12)
    found = description_length(
        graph, labels, weights="exponential" if weighted else "binary", degree_corrected=corrected
    )
    assert found == pytest.approx(directly(graph, labels, weighted, corrected), rel=1e-9)


@settings(phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 20), weighted=st.booleans(), corrected=st.booleans())
def test_what_is_found_has_the_length_that_is_told_and_no_move_helps(seed, weighted, corrected):
    graph = random_graph(seed, n=10, missing=0.1)
    options = {"weights": "exponential" if weighted else "binary", "degree_corrected": corrected}
    found = fit_block_model(graph, random_state=seed, **options)
    assert found.description_length == pytest.approx(description_length(graph, found.labels, **options), rel=1e-9)
    assert found.description_length == pytest.approx(found.starts.min())
    for node in range(10):
        for group in range(found.n_groups + 1):
            moved = found.labels.copy()
            moved[node] = group
            assert description_length(graph, moved, **options) >= found.description_length - 1e-6


@pytest.mark.parametrize(("inside", "outside"), [(4.0, 1.0), (1.0, 4.0)])
def test_weights_alone_make_groups(inside, outside):
    truth = simulate_block_graph(80, 4, inside=inside, outside=outside, random_state=1)
    found = fit_block_model(truth.weights, random_state=0)
    assert found.n_groups == 4
    assert adjusted_rand_score(truth.labels, found.labels) > 0.95
    assert fit_block_model(truth.weights, weights="binary", random_state=0).n_groups == 1


def test_equal_weights_make_one_group():
    truth = simulate_block_graph(80, 4, inside=1.0, outside=1.0, random_state=0)
    assert fit_block_model(truth.weights, random_state=0).n_groups == 1


@pytest.mark.parametrize("corrected", [False, True])
def test_the_order_of_nodes_does_not_matter(corrected):
    truth = simulate_block_graph(60, 3, inside=5.0, random_state=2)
    order = np.random.default_rng(0).permutation(60)
    found = fit_block_model(truth.weights, degree_corrected=corrected, random_state=0)
    turned = fit_block_model(truth.weights[np.ix_(order, order)], degree_corrected=corrected, random_state=0)
    assert adjusted_rand_score(found.labels[order], turned.labels) == 1.0
    assert turned.description_length == pytest.approx(found.description_length)


def test_the_unit_of_weights_does_not_matter():
    graph = random_graph(0, n=20)
    labels = np.arange(20) % 3
    other = np.arange(20) % 2
    difference = description_length(graph, labels) - description_length(graph, other)
    scaled = description_length(1000 * graph, labels) - description_length(1000 * graph, other)
    assert scaled == pytest.approx(difference)


def test_parts_without_a_connection_are_groups():
    graph = np.zeros((30, 30))
    graph[:15, :15] = graph[15:25, 15:25] = 1.0
    found = fit_block_model(graph, random_state=0)
    # two complete parts, and nodes without any edge
    assert adjusted_rand_score(np.repeat([0, 1, 2], [15, 10, 5]), found.labels) == 1.0


def test_pairs_that_were_not_measured_are_not_pairs_without_edges():
    truth = simulate_block_graph(60, 2, probability=0.9, inside=3.0, outside=3.0, random_state=0)
    absent = truth.labels[:, None] != truth.labels
    unmeasured = fit_block_model(np.where(absent, np.nan, truth.weights), random_state=0)
    assert unmeasured.n_groups == 1
    assert fit_block_model(np.where(absent, 0.0, truth.weights), random_state=0).n_groups == 2


def test_levels_end_in_one_group_and_nest():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(9), 16)
    chance = np.where(groups[:, None] == groups, 0.95, np.where(groups[:, None] // 3 == groups // 3, 0.4, 0.02))
    graph = np.triu(rng.random((144, 144)) < chance, 1).astype(float)
    found = fit_block_model(graph + graph.T, weights="binary", nested=True, random_state=0)
    flat = fit_block_model(graph + graph.T, weights="binary", random_state=0)
    assert adjusted_rand_score(groups, found.labels) > 0.95
    assert len(found.levels) >= 3
    assert set(found.levels[-1]) == {0}
    for below, above in zip(found.levels[:-1], found.levels[1:], strict=True):
        assert all(len(set(above[below == group])) == 1 for group in set(below))
    assert adjusted_rand_score(groups // 3, found.levels[1]) == 1.0
    # counts between groups of groups need fewer words than counts between groups
    assert found.description_length < flat.description_length


def test_one_group_is_as_long_nested_as_flat():
    graph = simulate_block_graph(40, 1, random_state=0).weights
    flat, nested = (fit_block_model(graph, nested=n, random_state=0) for n in (False, True))
    assert nested.description_length == pytest.approx(flat.description_length)


@pytest.mark.parametrize(
    ("graph", "arguments", "error", "words"),
    [
        (np.zeros((5, 5)), {}, DataError, "no edge"),
        (np.ones((5, 4)), {}, DataError, "square"),
        (-np.ones((5, 5)), {}, DataError, "not negative"),
        (np.full((5, 5), np.inf), {}, DataError, "finite"),
        (np.triu(np.ones((5, 5))), {}, DataError, "symmetric"),
        (np.ones((5, 5)), {"weights": "normal"}, UsageError, "exponential, binary"),
        (np.ones((5, 5)), {"starts": (0,)}, UsageError, "1 group or more"),
    ],
)
def test_what_is_refused(graph, arguments, error, words):
    with pytest.raises(error, match=words):
        fit_block_model(graph, **arguments)
