"""Several starts of one fit."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.restarts import best_of, start_seeds


def wobble(seed):
    return seed, float(np.sin(seed))


def test_the_best_start_is_kept_and_all_scores_reported():
    found = best_of(wobble, 5, 3)
    assert found.seeds[0] == 3
    np.testing.assert_allclose(found.scores, np.sin(found.seeds))
    assert found.best == found.seeds[np.argmax(found.scores)]


def test_processes_do_not_change_the_result():
    one, two = best_of(wobble, 4, 0), best_of(wobble, 4, 0, n_jobs=2)
    assert one.best == two.best
    np.testing.assert_array_equal(one.scores, two.scores)


def test_a_start_that_failed_is_never_the_best():
    seeds = start_seeds(3, 0)
    found = best_of(lambda seed: (seed, np.nan if seed != seeds[1] else -5.0), 3, 0)
    assert found.best == seeds[1]


def test_starts_that_all_failed_are_said():
    with pytest.raises(UsageError, match="None of the 2 starts"):
        best_of(lambda seed: (seed, np.nan), 2, 0)


@pytest.mark.parametrize("n_init", [0, 1.5])
def test_a_number_of_starts_is_needed(n_init):
    with pytest.raises(UsageError, match="n_init"):
        best_of(wobble, n_init, 0)
