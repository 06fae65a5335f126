"""A network that emulates a hidden Markov model: exact properties of the model, of its training and of its interface."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn.functional import one_hot

import neuropil
from neuropil import train
from neuropil.errors import DataError, UsageError
from neuropil.learning.rnn_hmm import LAPTOP, HMMEmulatorRNN, NoiseDrivenRNN
from neuropil.learning.rnn_hmm_findings import kick_table
from neuropil.learning.rnn_hmm_symbols import read_symbols, symbol_statistics
from neuropil.nn.recurrent import relu_scan
from neuropil.simulate.symbols import cyclic, linear_chain
from neuropil.stats.rnn_dynamics import trajectories

SMALL = {"n_hidden": 12, "n_inputs": 4, "batch_size": 64, "max_epochs": 6, "validation": 0.25, "random_state": 0}


@pytest.fixture(scope="module")
def symbols():
    return linear_chain(2).simulate(160, 15, random_state=0).symbols


@pytest.fixture(scope="module")
def fitted(symbols):
    return HMMEmulatorRNN(**SMALL).fit(symbols)


def test_the_scan_is_that_of_torch_forwards_and_backwards():
    torch.manual_seed(0)
    reference = nn.RNN(5, 7, nonlinearity="relu", bias=False, dtype=torch.float64)
    inputs = torch.randn(20, 3, 5, dtype=torch.float64)
    weigh = torch.randn(20, 3, 7, dtype=torch.float64)
    expected, _ = reference(inputs)
    (expected * weigh).sum().backward()
    inner = reference.weight_hh_l0.detach().clone().requires_grad_()
    outer = reference.weight_ih_l0.detach().clone().requires_grad_()
    found = relu_scan(inputs @ outer.T, inner, torch.zeros(3, 7, dtype=torch.float64))
    (found * weigh).sum().backward()
    assert_allclose(found.detach(), expected.detach(), atol=1e-12)
    assert_allclose(inner.grad, reference.weight_hh_l0.grad, atol=1e-10)
    assert_allclose(outer.grad, reference.weight_ih_l0.grad, atol=1e-10)


def test_the_gradient_of_the_scan_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((6, 2, 4), (4, 4), (2, 4))]
    assert torch.autograd.gradcheck(relu_scan, [part.requires_grad_() for part in parts])


def test_the_published_size():
    module = NoiseDrivenRNN(150, 100, 3)
    assert sum(p.numel() for p in module.parameters()) == 37_950
    assert all(float(p.detach().abs().max()) <= 150**-0.5 for p in module.parameters())
    defaults = HMMEmulatorRNN().get_params()
    published = {"n_hidden": 150, "n_inputs": 100, "blur": 0.2, "tau": 1.0, "lr": 1e-3, "grad_clip": 0.9}
    assert published.items() <= defaults.items()
    assert (defaults["batch_size"], defaults["max_epochs"]) == (4096, 500)
    assert set(LAPTOP) <= set(defaults)


@pytest.mark.parametrize("scale", [0.25, 2.0, 1024.0])
def test_noise_scales_states_and_logits_exactly(fitted, scale):
    """Without biases and from rest the network is homogeneous; powers of two leave no rounding."""
    one, other = (fitted.sample(10, 50, noise_scale=s, random_state=3) for s in (1.0, scale))
    assert (other.hidden == scale * one.hidden).all()
    assert (other.logits == scale * one.logits).all()
    assert (other.logits.argmax(axis=-1) == one.logits.argmax(axis=-1)).all()


def test_without_noise_nothing_happens(fitted):
    silent = fitted.sample(2000, 5, noise_scale=0.0, random_state=0)
    assert not silent.hidden.any()
    assert_allclose(symbol_statistics(silent.symbols, 3).frequencies, 1 / 3, atol=0.03)


def test_symbols_are_drawn_from_the_softmax_of_the_logits(fitted):
    drawn = fitted.sample(4000, 15, random_state=1)
    odds = torch.softmax(torch.as_tensor(drawn.logits), dim=-1).numpy()
    assert_allclose(symbol_statistics(drawn.symbols, 3).frequencies, odds.mean(axis=(0, 1)), atol=0.01)


def test_the_step_for_dynamics_is_the_network(fitted):
    noise = np.random.default_rng(0).standard_normal((2, 6, 4))
    paths = trajectories(fitted.step(), np.zeros((2, 12)), noise)
    with torch.no_grad():
        expected = fitted.module_.states(torch.as_tensor(noise, dtype=torch.float32))
    assert_allclose(paths, expected.numpy(), atol=1e-5)
    assert_allclose(fitted.readout(paths), paths @ fitted.W_out_.T)


def test_gains_act_on_what_reaches_a_neuron(fitted):
    gain = np.ones(12)
    gain[3] = 0.0
    h, x = np.random.default_rng(1).random((1, 12)), np.zeros((1, 1, 4))
    quiet = trajectories(fitted.step(recurrent_gain=gain), h, x)[0, 0]
    loud = trajectories(fitted.step(), h, x)[0, 0]
    assert quiet[3] == 0
    assert_allclose(np.delete(quiet, 3), np.delete(loud, 3))
    driven = np.ones((1, 1, 4))
    only_recurrent = trajectories(fitted.step(input_gain=0.0), h, driven)[0, 0]
    assert_allclose(only_recurrent, loud)


def test_the_weights_of_the_best_epoch_are_kept(symbols, monkeypatch):
    """The weights at the end are those that the module had when its validation loss was lowest, not those of the last epoch."""
    seen, fit = [], train.fit

    def watching(module, losses, data, **settings):
        settings["each_epoch"] = lambda m, epoch: seen.append([p.detach().clone() for p in m.parameters()]) or {}
        return fit(module, losses, data, **settings)

    monkeypatch.setattr(train, "fit", watching)
    model = HMMEmulatorRNN(**{**SMALL, "lr": 0.05, "max_epochs": 12}).fit(symbols)
    best = int(np.argmin(model.objective_))
    assert model.best_epoch_ == best < 11
    for kept, then, last in zip(model.module_.parameters(), seen[best], seen[-1], strict=True):
        assert torch.equal(kept, then)
        assert not torch.equal(kept, last)


def test_the_same_seed_gives_the_same_network_whatever_the_global_state(symbols, fitted):
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    again = HMMEmulatorRNN(**SMALL).fit(symbols)
    assert torch.equal(torch.get_rng_state(), state)
    for mine, theirs in zip(fitted.module_.parameters(), again.module_.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert (again.sample(3, 5, random_state=1).symbols == fitted.sample(3, 5, random_state=1).symbols).all()
    other = HMMEmulatorRNN(**{**SMALL, "random_state": 1}).fit(symbols)
    assert not np.array_equal(other.W_rec_, fitted.W_rec_)


def test_training_brings_sequences_nearer_to_the_data(symbols):
    model = HMMEmulatorRNN(**{**SMALL, "n_hidden": 32, "max_epochs": 60}).fit(symbols)
    assert model.objective_.min() < 0.8 * model.objective_[0]
    untrained = HMMEmulatorRNN(**{**SMALL, "n_hidden": 32, "max_epochs": 1, "lr": 1e-9}).fit(symbols)
    assert model.score(symbols) > untrained.score(symbols)


def test_the_marginal_loss_learns_frequencies_but_no_order():
    data = cyclic().simulate(400, 20, random_state=0).symbols
    model = HMMEmulatorRNN(**{**SMALL, "loss": "marginal", "lr": 0.01, "max_epochs": 60}).fit(data)
    made, true = (symbol_statistics(s, 3) for s in (model.sample(1000, random_state=0).symbols, data))
    assert_allclose(made.frequencies, true.frequencies, atol=0.06)
    assert made.volatility > 1.8 * true.volatility


def test_a_saved_network_is_loaded_as_it_was(fitted, symbols, tmp_path):
    path = fitted.save(tmp_path / "emulator")
    loaded = neuropil.load_model(path)
    assert type(loaded) is HMMEmulatorRNN
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.sample(4, 9, random_state=2).symbols == fitted.sample(4, 9, random_state=2).symbols).all()
    assert loaded.score(symbols) == fitted.score(symbols)
    assert_allclose(loaded.objective_, fitted.objective_)


def test_scores_are_repeatable_and_higher_for_the_own_kind(symbols, fitted):
    assert fitted.score(symbols) == fitted.score(symbols)
    assert fitted.score(fitted.sample(160, random_state=5).symbols) > fitted.score(np.ones((160, 15), dtype=int))


def test_arrays_one_hot_and_recordings_are_the_same_data(symbols, fitted):
    one = one_hot(torch.as_tensor(symbols), 3).numpy()
    drawn = linear_chain(2).simulate(160, 15, random_state=0)
    assert (read_symbols(one) == symbols).all()
    assert (read_symbols(drawn.recording()) == symbols).all()
    assert (read_symbols(symbols.astype(float)) == symbols).all()
    same = HMMEmulatorRNN(**SMALL).fit(drawn.recording())
    assert np.array_equal(same.W_rec_, fitted.W_rec_)


def test_more_symbols_may_be_declared_than_seen(symbols):
    model = HMMEmulatorRNN(**{**SMALL, "max_epochs": 1, "n_symbols": 5}).fit(symbols)
    assert model.W_out_.shape == (5, 12)
    assert model.sample(3, random_state=0).logits.shape == (3, 15, 5)


def test_the_dynamics_are_tracked_while_training(symbols):
    model = HMMEmulatorRNN(**{**SMALL, "track_every": 3}).fit(symbols)
    tracked = [row["epoch"] for row in model.history_ if "switch_rate" in row]
    assert tracked == [0, 3]
    assert all(row["n_unstable"] >= 0 for row in model.history_ if "n_unstable" in row)


@pytest.mark.filterwarnings("ignore:No kick neurons")
def test_findings_are_figures_tables_and_panels(fitted, symbols):
    found = fitted.findings(symbols)
    assert found.summary["divergence"] == -fitted.score(symbols)
    assert found.summary["n_parameters"] == 12 * 4 + 12 * 12 + 3 * 12
    assert {"objective", "orbit", "transitions", "transition_errors"} == set(found.panels)
    assert_allclose(found.tables["symbols"]["data"], symbol_statistics(symbols, 3).frequencies)
    assert list(found.tables["kick_neurons"].columns) == ["from", "to", "neuron", "score"]
    assert found.summary["spectral_radius"] == pytest.approx(np.abs(np.linalg.eigvals(fitted.W_rec_)).max())
    assert 0 <= found.summary["orbit_variance"] <= 1
    assert 0.5 <= found.summary["turning_one_way"] <= 1


def test_a_network_that_never_dwells_has_no_kick_neurons():
    restless = np.resize([0, 1], (2, 60))
    with pytest.warns(UserWarning, match="No state is 8 steps away"):
        assert len(kick_table(np.ones((2, 60, 12)), restless)) == 0


def test_an_unfitted_network_and_its_clone():
    model = HMMEmulatorRNN(n_hidden=20, blur=0.3)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.sample(3)
    with pytest.raises(AttributeError, match="call fit first"):
        _ = model.W_rec_


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([[0.5, 1.0], [1.0, 0.0]]), "whole numbers from 0"),
        (np.array([[0, -1], [1, 0]]), "whole numbers from 0"),
        (np.array([[0, np.nan], [1, 0]]), "some not finite"),
        (np.zeros((5, 4, 3)), "one-hot"),
        (np.zeros(7, dtype=int), "none empty"),
        (np.zeros((0, 7), dtype=int), "none empty"),
        (np.zeros((5, 1), dtype=int), "no order to learn"),
        ([np.zeros((5, 1)), np.zeros((6, 1))], "same number of bins"),
        (np.array([["a", "b"]]), "none empty"),
    ],
)
def test_bad_sequences_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        HMMEmulatorRNN(**SMALL).fit(data)


def test_too_few_sequences_and_unknown_symbols_are_refused(symbols, fitted):
    with pytest.raises(DataError, match="two sequences or more to train"):
        HMMEmulatorRNN(**SMALL).fit(symbols[:3])
    with pytest.raises(DataError, match="these data hold symbol 4"):
        fitted.score(symbols + 2)
    with pytest.raises(DataError, match="raise it or leave it out"):
        HMMEmulatorRNN(**{**SMALL, "n_symbols": 2}).fit(symbols)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loss": "likelihood"}, "loss must be one of"),
        ({"n_hidden": 0}, "n_hidden must be a whole number, 2 or more"),
        ({"tau": 0.0}, "tau must be positive"),
        ({"validation": 1.0}, "validation must be a share"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(symbols, setting, message):
    with pytest.raises(UsageError, match=message):
        HMMEmulatorRNN(**{**SMALL, **setting}).fit(symbols)


def test_samples_need_a_step(fitted):
    with pytest.raises(UsageError, match="one step or more"):
        fitted.sample(3, 0)
    with pytest.raises(UsageError, match="noise_scale"):
        fitted.sample(3, 5, noise_scale=-1.0)


def test_statistics_of_symbols_by_hand():
    statistics = symbol_statistics(np.array([[0, 0, 1], [2, 0, 0]]), 4)
    assert_allclose(statistics.frequencies, [4 / 6, 1 / 6, 1 / 6, 0])
    assert_allclose(statistics.transition[0], [2 / 3, 1 / 3, 0, 0])
    assert_allclose(statistics.transition[3], 0)
    assert statistics.volatility == 1.0
