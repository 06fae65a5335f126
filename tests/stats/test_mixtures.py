"""Coefficients of mixtures of finite mixtures: recursion, normalisation over all partitions, closed forms; partitions from draws."""

import numpy as np
import pytest
from scipy.special import gammaln

from neuropil.errors import UsageError
from neuropil.stats.mixtures import (
    co_clustering,
    first_occurrence,
    least_squares_partition,
    log_mixture_coefficients,
)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("geometric", [0.2, 0.415, 0.9])
def test_recursion(gamma, geometric):
    """V_N(t) = (N + gamma t) V_{N+1}(t) + gamma V_{N+1}(t+1): one more item joins a cluster or founds one."""
    for n_items in (1, 10, 60):
        now = np.exp(log_mixture_coefficients(n_items, 9, gamma=gamma, geometric=geometric))
        then = np.exp(log_mixture_coefficients(n_items + 1, 10, gamma=gamma, geometric=geometric))
        t = np.arange(1, 10)
        np.testing.assert_allclose(now, (n_items + gamma * t) * then[:9] + gamma * then[1:], rtol=1e-8)


def test_partitions_of_four_items_have_probability_one():
    gamma = 0.7
    v = np.exp(log_mixture_coefficients(4, 4, gamma=gamma, geometric=0.3))
    shapes = {(4,): 1, (3, 1): 4, (2, 2): 3, (2, 1, 1): 6, (1, 1, 1, 1): 1}
    total = 0.0
    for sizes, number in shapes.items():
        rising = np.exp(sum(gammaln(gamma + n) - gammaln(gamma) for n in sizes))
        total += number * v[len(sizes) - 1] * rising
    assert total == pytest.approx(1.0, abs=1e-10)


def test_partitions_drawn_by_their_definition():
    """Pairs are together as often as the coefficients say: gamma (gamma + 1) V_2(1)."""
    rng = np.random.default_rng(0)
    together = 0
    for _ in range(20_000):
        weights = rng.dirichlet(np.full(rng.geometric(0.4), 1.0))
        one, two = rng.choice(len(weights), 2, p=weights)
        together += one == two
    expected = 2 * np.exp(log_mixture_coefficients(2, 2, gamma=1.0, geometric=0.4)[0])
    assert together / 20_000 == pytest.approx(expected, abs=0.012)


def test_many_items_stay_finite():
    now, then = log_mixture_coefficients(500, 250), log_mixture_coefficients(501, 251)
    assert np.isfinite(now).all()
    recursion = np.logaddexp(np.log(500 + np.arange(1, 251)) + then[:-1], then[1:])
    np.testing.assert_allclose(now, recursion, rtol=1e-10)


def test_partitions():
    draws = np.array([[2, 2, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [5, 5, 3, 3]])
    similarity = co_clustering(draws)
    assert similarity[0, 1] == 1
    assert similarity[1, 2] == 0.25
    np.testing.assert_array_equal(similarity, similarity.T)
    assert first_occurrence(draws[least_squares_partition(draws)]).tolist() == [0, 0, 1, 1]


def test_names_do_not_matter():
    rng = np.random.default_rng(1)
    draws = rng.integers(0, 3, (20, 6))
    renamed = np.stack([rng.permutation(7)[row] for row in draws])
    np.testing.assert_allclose(co_clustering(draws), co_clustering(renamed))
    assert least_squares_partition(draws) == least_squares_partition(renamed)


def test_messages():
    with pytest.raises(UsageError, match="0 < geometric < 1"):
        log_mixture_coefficients(3, 3, geometric=1.0)
    with pytest.raises(UsageError, match="one draw of labels or more"):
        co_clustering(np.empty((0, 3), dtype=int))
