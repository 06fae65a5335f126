"""A tiny recording and tiny settings for every model of hidden structure, shared by the tests of what all of them do alike."""

import functools
from typing import Any, NamedTuple

import numpy as np

from neuropil.experiments.structure import make_structure
from neuropil.simulate.symbols import linear_chain

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.8, (160, 6)).astype(float)
HIDDEN = np.where(RNG.random(COUNTS.shape) < 0.15, np.nan, COUNTS)
TRIALS = RNG.poisson(1.0, (6, 24, 6)).astype(float)
LIMBS = RNG.normal(size=(6, 24, 2)).cumsum(axis=1)
TRACES = RNG.normal(size=(3, 90, 6)).cumsum(axis=1)
SYMBOLS = linear_chain(2).simulate(24, 12, random_state=0).symbols


class Case(NamedTuple):
    """A recording as `fit` takes it, tiny settings, two sizes to choose from, the recording for `score` where it is another."""

    data: tuple[Any, ...]
    options: dict[str, Any]
    sizes: dict[str, tuple[int, int]]
    scored: tuple[Any, ...] | None = None


CASES = {
    "bayesian-biclustering": Case(
        (HIDDEN,),
        {"n_factors": 1, "max_states": 2, "n_iter": 14, "burn_in": 6, "block_lengths": (5, 10)},
        {"max_clusters": (1, 2)},
        (COUNTS,),
    ),
    "functional-connectome": Case(
        (TRACES,), {"n_components": 2, "n_init": 2, "tol": 1e-4}, {"n_components": (1, 2)}
    ),
    "mm-gpvae": Case(
        (TRIALS, LIMBS),
        {
            "behaviour_kind": "continuous", "hidden": (8,), "neural_hidden": [8], "lengthscale": 8.0, "min_lengthscale": 5.0,
            "max_epochs": 2, "progress": False,
        },
        {"n_shared": (1, 2)},
    ),
    "onehot-hmmglm": Case(
        (TRIALS,),
        {"n_states": 2, "link": "logistic", "n_init": 2, "max_iter": 60, "class_iter": 2, "tol": 1e-3},
        {"n_states": (1, 2)},
    ),
    "neuroformer": Case(
        (np.minimum(COUNTS, 3),),
        {
            "emb_size": 8, "num_heads": 2, "n_self": 1, "n_past": 1, "n_frames": 1, "n_behaviour": 1, "gap": 0.0, "batch_size": 8,
            "current_tokens": 60, "past_tokens": 90, "max_epochs": 2, "validation": 0.0, "progress": False,
        },
        {"n_past": (0, 1)},
    ),
    "rnn-hmm": Case(
        (SYMBOLS,), {"n_hidden": 6, "n_inputs": 3, "batch_size": 16, "max_epochs": 2, "progress": False}, {"n_hidden": (4, 6)}
    ),
}  # fmt: skip
POPULATIONS = ("bayesian-biclustering", "mm-gpvae", "neuroformer", "onehot-hmmglm")


def made(system, **changes):
    return make_structure(system, **{**CASES[system].options, "seed": 0, **changes})


@functools.cache
def fitted(system):
    return made(system).fit(*CASES[system].data)


def score(system, model):
    return model.score(*(CASES[system].scored or CASES[system].data))


def findings(system, model, data=None):
    data = CASES[system].data if data is None else data
    return model.findings(data if len(data) > 1 else data[0])
