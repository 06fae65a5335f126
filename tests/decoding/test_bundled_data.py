"""What the classical decoders reach on the bundled recordings, on the competitions' own test trials."""

import warnings

import numpy as np
import pytest

import neuropil
from neuropil import decoding
from neuropil.stats.resampling import binomial_interval


def halves(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = neuropil.windows(neuropil.load(name)).load()
    return (X[np.flatnonzero(X["split"].values == part)] for part in ("train", "test"))


@pytest.mark.parametrize(("name", "at_least"), [("scp-healthy", 0.87), ("hand-direction-meg", 0.55)])
def test_binned_lda_reaches_the_level_of_the_competitions(name, at_least):
    train, test = halves(name)
    assert decoding.make("binned-lda").fit(train).score(test) >= at_least


def test_the_default_decoder_beats_the_winner_of_the_competition():
    train, test = halves("scp-healthy")
    assert decoding.make("auto").fit(train).score(test) > 0.887


def test_the_negative_control_is_not_above_chance():
    train, test = halves("scp-als")
    right = int((decoding.make("binned-lda").fit(train).predict(test) == test["label"].values).sum())
    assert binomial_interval(right, len(test)).low < 0.5
