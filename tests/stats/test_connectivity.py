"""Scores of directed edges against scikit-learn, direction, lagged correlation against numpy, communities."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from neuropil.errors import DataError, UsageError
from neuropil.stats.connectivity import communities, direction_test, edge_auroc, lagged_correlation


def random_graph(rng, n=12):
    edges = rng.random((n, n)) < 0.2
    np.fill_diagonal(edges, False)
    return edges


def test_the_area_is_scikit_learns_without_the_diagonal():
    rng = np.random.default_rng(0)
    edges = random_graph(rng)
    scores = rng.integers(0, 4, edges.shape) + 0.0
    off = ~np.eye(12, dtype=bool)
    assert edge_auroc(scores, edges) == pytest.approx(roc_auc_score(edges[off], scores[off]))
    loops = scores + 99 * np.eye(12)
    assert edge_auroc(loops, edges) == edge_auroc(scores, edges)


def test_direction_is_found_only_where_scores_know_it():
    rng = np.random.default_rng(1)
    edges = random_graph(rng)
    noisy = edges + 0.3 * rng.random(edges.shape)
    found = direction_test(noisy, edges, random_state=0)
    assert found.auroc == 1.0
    assert found.p_value < 0.01
    assert found.difference == pytest.approx(found.auroc - edge_auroc(noisy.T, edges))
    blind = direction_test(noisy + noisy.T, edges, random_state=0)
    assert blind.difference == pytest.approx(0.0)
    assert blind.p_value > 0.5
    backwards = direction_test(noisy.T, edges, random_state=0)
    assert backwards.p_value > 0.99
    assert direction_test(noisy, edges, random_state=0) == found


def test_lagged_correlation_is_numpys_and_knows_who_leads():
    rng = np.random.default_rng(2)
    activity = rng.poisson(1.0, (400, 4))
    activity[3:, 1] += 2 * activity[:-3, 0]
    found = lagged_correlation(activity, [0, 3])
    np.testing.assert_allclose(found[0], np.corrcoef(activity.T), atol=1e-12)
    for post in range(4):
        for pre in range(4):
            assert found[1, post, pre] == pytest.approx(np.corrcoef(activity[3:, post], activity[:-3, pre])[0, 1])
    assert found[1, 1, 0] > 0.8 > 0.2 > abs(found[1, 0, 1])


def test_a_silent_unit_correlates_with_nothing():
    activity = np.random.default_rng(0).random((50, 3))
    activity[:, 2] = 0
    found = lagged_correlation(activity, [1])
    assert (found[0, 2] == 0).all()
    assert (found[0, :, 2] == 0).all()


def test_communities_of_planted_blocks_are_found_and_numbered_by_size():
    rng = np.random.default_rng(3)
    planted = np.repeat([0, 1, 2], [9, 6, 4])
    weights = rng.random((19, 19)) * np.where(planted[:, None] == planted, 1.0, 0.1)
    order = rng.permutation(19)
    np.testing.assert_array_equal(communities(weights[np.ix_(order, order)]), planted[order])
    assert (communities(np.zeros((4, 4))) == 0).all()


def test_messages():
    edges = np.eye(3, k=1, dtype=bool)
    with pytest.raises(DataError, match="finite"):
        edge_auroc(np.full((3, 3), np.nan), edges)
    with pytest.raises(DataError, match="all or none"):
        edge_auroc(np.zeros((3, 3)), np.zeros((3, 3), dtype=bool))
    with pytest.raises(UsageError, match="permutation"):
        direction_test(np.zeros((3, 3)), edges, n_permutations=0)
    with pytest.raises(UsageError, match="Lags"):
        lagged_correlation(np.zeros((5, 2)), [-1])
    with pytest.raises(DataError, match="square"):
        communities(-np.ones((2, 2)))
