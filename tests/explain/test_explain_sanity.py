"""The sanity check: true labels pass, random labels do not."""

import numpy as np
import pytest
import xarray as xr
from explained import SETTINGS, LinearNetwork, labelled, motor_imagery, steps

from neuropil.decoding import make
from neuropil.errors import DataError, UsageError
from neuropil.explain import check_sanity
from neuropil.explain.sanity import gini, shuffled


def test_what_was_learned_passes():
    X, y = steps(n=90)
    found = check_sanity(make("binned-lda"), X, y)
    assert found.passed
    assert found.verdict.startswith("Passes: ")
    assert found.n_test == 30
    assert found.pvalue[0] == 0.001
    assert found.effect[0] > found.high[0]
    assert found.low[0] < 0 < found.high[0]
    assert found.effect[0] > found.random_high > np.abs(found.effect[1:]).mean()
    assert found.concentration[0] > found.concentration[1:].mean()
    assert int(found.saliency.sel(model="true labels").values.argmax()) == 1
    assert found.to_json()["passed"] is True


def test_labels_that_mean_nothing_fail_but_for_one_in_twenty():
    passed = []
    for seed in range(20):
        X, _ = steps(n=90, n_times=32, effect=0.0, seed=seed)
        y = np.random.default_rng(seed).permutation(np.repeat(["left", "right"], 45))
        found = check_sanity(make("binned-lda"), X, y, n_random=3, n_repeats=1, random_state=seed)
        passed.append(found.passed)
        assert found.verdict.startswith("Passes: " if found.passed else "Fails: ")
    assert sum(passed) <= 4, "more than four of twenty at a level of 5 % happen in 3 of 1000 runs"


def test_shuffled_labels_of_real_effects_fail():
    X, y = steps(n=90)
    found = check_sanity(make("binned-lda"), X, np.random.default_rng(1).permutation(y))
    assert not found.passed


def test_imagery_passes_with_gradients_too():
    train, test, _ = motor_imagery()
    X = xr.concat([train, test], dim="window")
    split = (np.arange(90), np.arange(90, 150))
    found = check_sanity(make("csp-lda", **SETTINGS["csp-lda"]), X, split=split)
    assert found.passed
    network = make("shallow-convnet", **SETTINGS["shallow-convnet"])
    found = check_sanity(network, X, split=split, n_random=3, n_repeats=1, method="gradients")
    assert found.method == "gradients"
    assert found.saliency.shape == (4, 8)
    assert (found.saliency > 0).all()
    assert found.effect[0] > np.abs(found.effect[1:]).max()


def test_windows_of_a_trial_keep_a_common_label():
    labels, units = np.repeat(["a", "b"], 12), np.repeat(np.arange(8), 3)
    groups = np.tile(np.repeat(["s1", "s2"], 3), 4)
    found = shuffled(labels, units, groups, np.random.default_rng(0))
    assert (found != labels).any()
    for unit in range(8):
        assert len(set(found[units == unit])) == 1
    for group in ("s1", "s2"):
        np.testing.assert_array_equal(np.sort(found[groups == group]), np.sort(labels[groups == group]))


def test_groups_with_one_label_are_shuffled_as_wholes():
    X, _ = steps(n=80)
    subjects = np.repeat(np.arange(8).astype(str), 10)
    y = np.repeat(["patient", "control"] * 4, 10)
    windows = labelled(X, y, subject=subjects)
    from neuropil.explain.sanity import _units

    units = _units(windows, y, subjects)
    assert len(np.unique(units)) == 8
    found = shuffled(y, units, subjects, np.random.default_rng(1))
    assert (found != y).any()
    assert all(len(set(found[subjects == s])) == 1 for s in np.unique(subjects))


def test_gini_of_known_shares():
    assert gini(np.array([1.0, 1.0, 1.0])) == pytest.approx(0)
    assert gini(np.array([0.0, 0.0, 0.0, 0.0, 3.0])) == pytest.approx(0.8)
    assert gini(np.array([1.0, 3.0])) == pytest.approx(0.25)
    assert gini(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_random": 2}, UsageError, "three or more, got n_random=2"),
        ({"method": "lime"}, UsageError, "got 'lime'"),
        ({"split": (np.arange(30), np.arange(30, 60, 2))}, DataError, "one class only"),
    ],
)
def test_messages(options, error, words):
    X, y = steps()
    with pytest.raises(error, match=words):
        check_sanity(make("binned-lda"), X, y, **options)
    with pytest.raises(DataError, match="needs labels"):
        check_sanity(LinearNetwork(), X)
