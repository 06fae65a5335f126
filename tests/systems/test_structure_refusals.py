"""What models of hidden structure refuse, in one sentence and before they train, and what is small or torn and legal all the same."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from neuropil import train
from neuropil.datasets.worm import load_connectome
from neuropil.datasets.worm_names import slots
from neuropil.errors import NeuropilError
from neuropil.experiments.structure import plain
from neuropil.explain.structure import drawn
from neuropil.latent import bayesian_biclustering, onehot_hmmglm
from neuropil.stats import cp
from structure_cases import (
    CASES,
    COUNTS,
    HIDDEN,
    LIMBS,
    POPULATIONS,
    RNG,
    SYMBOLS,
    TRACES,
    TRIALS,
    findings,
    fitted,
    made,
    score,
)

pytestmark = pytest.mark.filterwarnings("ignore:The chains have not converged", "ignore:No kick neurons")


def refused(call, words):
    """The call must end in one sentence of ours, of a length that is read."""
    with pytest.raises(NeuropilError, match=words) as caught:
        call()
    said = str(caught.value)
    assert len(said) <= 300
    assert "\n" not in said
    assert said.endswith((".", "?"))
    assert not re.search(r"[.!?] [A-Z]", said)


@pytest.fixture
def no_training(monkeypatch):
    """Whatever begins to learn here has come too far."""

    def begun(*given, **options):
        pytest.fail("training began before the input was checked")

    for module, name in (
        (train, "fit"), (onehot_hmmglm, "best_of"), (cp, "_descent"), (bayesian_biclustering, "run_chain"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, begun)


def one_value(value):
    """Replace one value that is there."""

    def change(array):
        flat = array.reshape(-1)
        flat[np.flatnonzero(np.isfinite(flat))[7]] = value
        return array

    return change


def unit(value):
    def change(array):
        array[..., 1] = value
        return array

    return change


ALL = tuple(CASES)
MUTED = {"silent": unit(0), "negative": one_value(-1), "half": one_value(1.5), "nan": one_value(np.nan)}
WRONG = [
    *((system, MUTED["silent"], "unit001 never fires") for system in POPULATIONS),
    *((system, MUTED["negative"], r"whole numbers, 0 or more; unit00\d at bin \d+.* is negative \(-1\)") for system in POPULATIONS),
    *((system, MUTED["half"], r"is not whole \(1.5\)") for system in POPULATIONS),
    *((system, MUTED["nan"], "must be finite; .* is nan: .* cannot skip it") for system in POPULATIONS[1:]),
    *((system, one_value(np.inf), "finite") for system in ALL),
    *((system, lambda array: array[..., :0], "empty, got shape") for system in ALL),
    *((system, lambda array: [], "got none") for system in ALL),
    *((system, lambda array: np.full(array.shape, "x"), "<U1") for system in ALL),
    *((system, lambda array: {"a": 1}, "got dict") for system in ALL),
    ("functional-connectome", unit(2.0), "unit001 never changes"),
    ("functional-connectome", lambda array: array * [[[0]], [[1]], [[1]]], "together in 1 animal.* leave out"),
    ("functional-connectome", lambda array: array[..., :1], "two neurons or more, got 1"),
    ("rnn-hmm", MUTED["negative"], "whole numbers from 0, got values from -1"),
    ("rnn-hmm", MUTED["half"], "whole numbers from 0"),
    ("rnn-hmm", MUTED["nan"], "some not finite"),
    ("rnn-hmm", lambda array: array[:1], "two sequences or more to train"),
    ("rnn-hmm", lambda array: array[:, :1], "give two steps or more"),
    ("rnn-hmm", lambda array: [row[: 12 - k % 2] for k, row in enumerate(array)], "same number of bins"),
    ("bayesian-biclustering", lambda array: [array[:80], array[80:]], "one long sequence, got 2"),
    ("neuroformer", lambda array: array[:12] + 1, "needs 20 bins"),
    ("mm-gpvae", lambda array: array[:5], "5 of neural data and 6 of behaviour"),
    ("mm-gpvae", lambda array: array[:, :20], "trial 0 has 20 bins of neural data and 24 of behaviour"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.* treated as missing there")
@pytest.mark.parametrize(("system", "change", "words"), WRONG)
def test_bad_data_are_refused_in_a_sentence_before_training(system, change, words, no_training):
    first, *rest = CASES[system].data
    wrong = change(np.array(first, dtype=float))
    refused(
        lambda: made(system, max_states=1).fit(wrong) if system.startswith("bayes") else made(system).fit(wrong, *rest),
        words,
    )


def test_modalities_must_go_together(no_training):
    cut = [np.arange(24 - k) for k in range(6)]
    trials, limbs = ([part[rows] for part, rows in zip(array, cut, strict=True)] for array in (TRIALS, LIMBS))
    refused(lambda: made("mm-gpvae").fit(trials, limbs), "same number of bins; number 0 has 24, number 1 has 23")
    refused(lambda: made("mm-gpvae").fit(TRIALS), "Without behaviour there is nothing")
    speed = {"speed": np.arange(20.0)}
    refused(
        lambda: made("neuroformer").fit(CASES["neuroformer"].data[0], behaviour=speed), "spikes last 1.6 s and .* 1 s"
    )


SIZES = [
    ("onehot-hmmglm", {"n_states": 145}, "145 states cannot be told apart in 144 bins"),
    ("bayesian-biclustering", {"n_factors": 7}, "n_factors=7 is more than 6 units"),
    ("bayesian-biclustering", {"max_states": 161}, "max_states=161 is more than 160 bins"),
    ("functional-connectome", {"n_components": 46}, "rank between 1 and 45, got 46"),
    ("functional-connectome", {"n_components": 1.5}, "whole number, 1 or more, got 1.5"),
    ("mm-gpvae", {"n_neural": 0.5}, "whole number, 0 or more, got 0.5"),
    ("mm-gpvae", {"n_neural": 0, "n_shared": 0, "n_behaviour": 0}, "not all be 0"),
    ("neuroformer", {"num_heads": 3}, "multiple of num_heads, got 8 and 3"),
    ("neuroformer", {"max_epochs": 0}, "max_epochs must be a whole number"),
    ("neuroformer", {"gap": -1.0}, "lr and gap must not be negative"),
    ("rnn-hmm", {"n_hidden": 1}, "n_hidden must be a whole number, 2 or more, got 1"),
    ("rnn-hmm", {"n_symbols": 2}, "hold symbol 2, but n_symbols is 2"),
    *((system, {"random_state": seed}, "random_state must be None or a whole number") for system in ALL for seed in ("x", -1, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("system", "options", "words"), SIZES)
def test_sizes_that_cannot_be_are_refused_before_training(system, options, words, no_training):
    refused(lambda: made(system).set_params(**options).fit(*CASES[system].data), words)


@pytest.mark.parametrize("system", [*POPULATIONS, "functional-connectome"])
def test_other_units_than_the_fitted_ones_are_refused(system):
    model, (first, *rest) = fitted(system), CASES[system].scored or CASES[system].data
    for use in (model.score, lambda *data: findings(system, model, data)):
        refused(lambda use=use: use(first[..., :5], *rest), "fitted on 6 units, these data have 5")
    if first.ndim == 2:
        strange = xr.DataArray(first, dims=("time", "channel"), coords={"channel": list("abcdef"), "time": np.arange(160) / 100},
                               attrs={"sfreq": 100.0})  # fmt: skip
        refused(lambda: model.score(strange), "Unit 0 is 'a' here and 'unit000' in the training data")


HALVES = np.repeat(RNG.normal(size=(3, 90, 2)).cumsum(axis=1), 4, axis=2) + 0.01 * RNG.normal(size=(3, 90, 8))
LEGAL = [
    ("onehot-hmmglm", {"n_states": 1}, (TRIALS,)),
    ("onehot-hmmglm", {}, ([TRIALS[0], TRIALS[1][:9]],)),
    ("bayesian-biclustering", {"max_states": 1, "max_clusters": 1, "n_chains": 1}, (HIDDEN,)),
    ("functional-connectome", {"n_components": 1, "n_init": 1}, (TRACES,)),
    ("functional-connectome", {}, (np.where(RNG.random(TRACES.shape) < 0.02, np.nan, TRACES),)),
    ("functional-connectome", {"n_components": 1}, (HALVES,)),
    ("mm-gpvae", {"n_shared": 0, "n_behaviour": 0}, (TRIALS,)),
    ("mm-gpvae", {"n_neural": 0, "n_shared": 0}, (None, LIMBS)),
    ("neuroformer", {"n_past": 0}, (np.minimum(COUNTS, 3),)),
    ("neuroformer", {}, (np.minimum(COUNTS[:, :1], 3),)),
    ("rnn-hmm", {"n_hidden": 2, "n_inputs": 1}, (SYMBOLS,)),
    ("rnn-hmm", {}, (list(0 * SYMBOLS),)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*Cross-correlation", "ignore:The factorisation was stopped")
@pytest.mark.parametrize(("system", "options", "data"), LEGAL)
def test_the_smallest_and_the_torn_are_legal(system, options, data):
    model = made(system, **options).fit(*data)
    found = findings(system, model, data)
    json.dumps(plain(found.summary), allow_nan=False)
    assert all(isinstance(drawn(panel), Figure) for panel in found.panels.values())


def test_a_graph_in_two_pieces_has_two_communities():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = made("functional-connectome", n_components=1, edge_quantile=0.5).fit(HALVES).communities_[0]
    assert labels[:4].tolist() == [labels[0]] * 4
    assert labels[4:].tolist() == [1 - labels[0]] * 4


@pytest.mark.parametrize("system", ["onehot-hmmglm", "mm-gpvae"])
def test_a_silent_trial_is_legal_and_told(system):
    first, *rest = CASES[system].data
    with pytest.warns(UserWarning, match="1 of 6 sequences hold no spike at all"):
        model = made(system).fit(first * (np.arange(6) > 0)[:, None, None], *rest)
    assert np.isfinite(score(system, model))


def test_a_neuron_that_no_connectome_has_is_refused():
    refused(lambda: slots(["AVAX"]), "no neuron 'AVAX'")
    wiring = pd.DataFrame({"pre": ["AVAX"], "post": ["AVAL"], "type": ["chemical"], "synapses": [1]})
    refused(lambda: load_connectome(wiring), "AVAX")
