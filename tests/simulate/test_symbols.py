"""Sequences of symbols agree with the matrices that they come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from neuropil.activity import read_activity
from neuropil.errors import UsageError
from neuropil.simulate.symbols import cyclic, fully_connected, linear_chain

MODELS = [linear_chain(2), linear_chain(3), linear_chain(5), fully_connected(), fully_connected(5), cyclic()]


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_probabilities(model):
    assert_allclose(model.transition.sum(axis=1), 1)
    assert_allclose(model.emission.sum(axis=1), 1)
    assert (model.transition >= 0).all()
    assert (model.emission >= 0).all()
    assert_allclose(model.initial, 1 / len(model.initial))


@pytest.mark.parametrize("n_states", [2, 3, 4, 5])
def test_a_chain_is_run_through_with_the_same_probability_whatever_its_length(n_states):
    transition = linear_chain(n_states).transition
    assert np.prod(np.diag(transition, 1)) == pytest.approx(0.05)
    assert np.prod(np.diag(transition, -1)) == pytest.approx(0.05)


def test_published_numbers():
    assert_allclose(linear_chain(2).transition, [[0.95, 0.05], [0.05, 0.95]])
    assert_allclose(np.diag(linear_chain(4).transition, 1), 0.368, atol=5e-4)
    assert_allclose(np.diag(linear_chain(5).transition, 1), 0.473, atol=5e-4)
    assert_allclose(linear_chain(3).emission, [[0.99, 0.01, 0], [0.495, 0.01, 0.495], [0, 0.01, 0.99]])
    assert_allclose(fully_connected().transition, [[0.95, 0.025, 0.025], [0.025, 0.95, 0.025], [0.025, 0.025, 0.95]])
    assert_allclose(
        cyclic().transition,
        [[0.95, 0.025, 0, 0.025], [0.025, 0.95, 0.025, 0], [0, 0.025, 0.95, 0.025], [0.025, 0, 0.025, 0.95]],
    )


@pytest.mark.parametrize("model", [linear_chain(2), linear_chain(3), fully_connected(), cyclic()])
def test_sequences_have_the_frequencies_and_transitions_worked_out(model):
    drawn = model.simulate(4000, 60, random_state=0)
    n_states, n_symbols = model.emission.shape
    assert_allclose(np.bincount(drawn.symbols.ravel()) / drawn.symbols.size, model.symbol_frequencies(), atol=0.01)
    counts = np.zeros((n_symbols, n_symbols))
    np.add.at(counts, (drawn.symbols[:, :-1], drawn.symbols[:, 1:]), 1)
    pairs = model.symbol_frequencies()[:, None] * model.symbol_transition()
    assert_allclose(counts / counts.sum(), pairs, atol=0.006)
    shown = np.zeros((n_states, n_symbols))
    np.add.at(shown, (drawn.states, drawn.symbols), 1)
    assert_allclose(shown / shown.sum(axis=1, keepdims=True), model.emission, atol=0.01)
    assert not shown[model.emission == 0].any()


def test_the_same_seed_draws_the_same():
    first, second, other = (cyclic().simulate(5, 20, seed).symbols for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_a_recording_has_one_trial_a_sequence():
    drawn = fully_connected().simulate(4, 25, random_state=0)
    recording = drawn.recording(bin_width=0.05)
    activity = read_activity(recording)
    assert activity.names == ("symbol",)
    assert activity.sfreq == pytest.approx(20.0)
    assert_allclose(np.stack(activity.sequences)[..., 0], drawn.symbols)
    assert_allclose(activity.starts, np.arange(4) * 1.25)
    assert_allclose(recording.stream("state").values[:, 0], drawn.states.ravel())


def test_models_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="lower the traversal"):
        linear_chain(6)
    with pytest.raises(UsageError, match="two states"):
        linear_chain(1)
    with pytest.raises(UsageError, match="two states or more"):
        fully_connected(1)
    with pytest.raises(UsageError, match="fewer than 100"):
        fully_connected(101)
    with pytest.raises(UsageError, match="probability"):
        cyclic(stay=1.5)
    with pytest.raises(UsageError, match="positive number of seconds"):
        cyclic().simulate(1, 5, 0).recording(0.0)
