"""Objectives that must not fall, chains that have to mix."""

import numpy as np
import pytest

from neuropil.errors import DataError
from neuropil.stats.convergence import chain_diagnostics, check_never_falls, not_converged, warn_unless_converged

RNG = np.random.default_rng(0)
MIXED = RNG.standard_normal((4, 1000))


def test_a_falling_objective_is_found():
    check_never_falls(np.array([-3.0, -2.0, -2.0, -1.0]))
    with pytest.raises(ArithmeticError, match="at step 2"):
        check_never_falls(np.array([-3.0, -2.0, -2.5]))
    with pytest.raises(ArithmeticError, match="not finite"):
        check_never_falls(np.array([-3.0, np.nan]))


def test_independent_draws_have_converged():
    table = chain_diagnostics({"x": MIXED, "two": RNG.standard_normal((4, 1000, 2))})
    assert list(table.index) == ["x", "two[0]", "two[1]"]
    assert abs(table.loc["x", "mean"]) < 0.1
    assert table["r_hat"].max() < 1.01
    assert table["ess_bulk"].between(2500, 6000).all()
    assert table.loc["x", "lower"] == pytest.approx(-1.96, abs=0.15)
    assert warn_unless_converged(table, 4)


def test_chains_apart_are_said():
    table = chain_diagnostics({"x": MIXED + np.arange(4)[:, None]})
    assert not_converged(table, 4) == ["x"]
    with pytest.warns(UserWarning, match="have not converged in 1 of 1"):
        assert not warn_unless_converged(table, 4)


def test_chains_that_stay_at_values_of_their_own_never_mix():
    table = chain_diagnostics({"k": np.repeat([[3.0], [4.0]], 50, axis=1)})
    assert table.loc["k", "r_hat"] == np.inf
    assert table.loc["k", "ess_bulk"] == 2
    with pytest.warns(UserWarning, match="largest R-hat inf"):
        assert not warn_unless_converged(table, 2)


def test_slow_chains_are_said():
    slow = np.cumsum(RNG.standard_normal((2, 400)), axis=1)
    with pytest.warns(UserWarning, match="smallest effective sample"):
        assert not warn_unless_converged(chain_diagnostics({"x": slow}), 2)


def test_a_single_chain_shows_nothing():
    with pytest.warns(UserWarning, match="single chain"):
        assert not warn_unless_converged(chain_diagnostics({"x": MIXED[:1]}), 1)


def test_what_never_moves_is_not_held_against_the_chains():
    table = chain_diagnostics({"x": MIXED, "k": np.ones((4, 1000))})
    assert warn_unless_converged(table, 4)


def test_too_few_draws_are_refused():
    with pytest.raises(DataError, match="4 draws"):
        chain_diagnostics({"x": np.zeros((2, 3))})
