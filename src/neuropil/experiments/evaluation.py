"""One decoder, one fold: fit on the training windows, predict the test windows, keep everything that any metric needs."""

from __future__ import annotations

import hashlib
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray
from sklearn.base import clone

from neuropil.errors import UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.experiments.insight import insight
from neuropil.experiments.runner import single_threaded
from neuropil.experiments.store import digest
from neuropil.persistence import Encoder

MAX_WARNINGS = 3


@dataclass(frozen=True)
class Decoder:
    """A decoder to compare.

    Attributes
    ----------
    name : str
        In tables; the slug of one from the registry.
    estimator : estimator
        Unfitted.
    registered : bool
        Whether `name` can be typed on the command line.
    """

    name: str
    estimator: Any
    registered: bool

    @property
    def network(self) -> bool:
        """Whether it is trained in epochs."""
        return any(cls.__name__ == "TorchEstimator" for cls in type(_last_step(self.estimator)).__mro__)

    @property
    def random(self) -> bool:
        """Whether its result depends on a seed."""
        return any(_is_seed(name) for name in self.estimator.get_params(deep=True))

    def identity(self) -> str:
        """Digest of the class and every parameter."""
        encoder = Encoder()
        try:
            structure = encoder.encode(self.estimator, self.name)
        except UsageError:
            from joblib.externals import cloudpickle

            return hashlib.sha256(cloudpickle.dumps(self.estimator)).hexdigest()
        arrays = {
            key: [list(a.shape), a.dtype.str, hashlib.sha256(a.data).hexdigest()] for key, a in encoder.arrays.items()
        }
        return digest([structure, arrays])


def _last_step(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _is_seed(name: str) -> bool:
    return name == "random_state" or name.endswith("__random_state")


def make_decoders(systems: Any, align: str | None = None) -> list[Decoder]:
    """Decoders from slugs, estimators, or a mapping of names to either; with `align`, behind that alignment (see `with_alignment`).

    Raises
    ------
    UsageError
        If a name is unknown, given twice, or something is no classifier.
    """
    if isinstance(systems, str):
        systems = [systems]
    if isinstance(systems, Mapping):
        pairs = list(systems.items())
    elif isinstance(systems, list | tuple):
        pairs = [(s if isinstance(s, str) else type(s).__name__, s) for s in systems]
    else:
        pairs = [(type(systems).__name__, systems)]
    if not pairs:
        raise UsageError("A comparison needs one decoder or more, got none.")
    decoders = [_decoder(str(name), system) for name, system in pairs]
    names = [decoder.name for decoder in decoders]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UsageError(
            f"Every decoder needs a name of its own, got {', '.join(doubled)} more than once; pass a dict of names."
        )
    if align is None:
        return decoders
    from neuropil.decoding.with_alignment import with_alignment

    return [replace(decoder, estimator=with_alignment(decoder.estimator, align)) for decoder in decoders]


def _decoder(name: str, system: Any) -> Decoder:
    if isinstance(system, str):
        from neuropil.decoding import get, make

        return Decoder(name, make(system, **get(system).laptop), registered=name == system)
    if isinstance(system, type) or not (
        hasattr(system, "fit") and hasattr(system, "predict") and hasattr(system, "get_params")
    ):
        raise UsageError(
            f"A decoder is a name from the registry or an estimator with fit, predict and get_params; got {system!r} for {name!r}."
        )
    return Decoder(name, clone(system), registered=False)


def fold_seed(seed: int, split: str, fold: int) -> int:
    """The random seed of one fit: it depends on the seed, the split and the fold, on nothing else."""
    return int(np.random.SeedSequence([seed, fold, zlib.crc32(split.encode())]).generate_state(1)[0] >> 1)


def prepared(estimator: Any, random_seed: int) -> Any:
    """A clone with that seed everywhere and without progress bars."""
    made = clone(estimator)
    params = made.get_params(deep=True)
    settings: dict[str, Any] = {name: random_seed for name in params if _is_seed(name)}
    settings |= {name: False for name in params if name.split("__")[-1] == "progress" and params[name] is None}
    return made.set_params(**settings)


def evaluate(
    windows: tuple[xr.DataArray, ndarray, ndarray],
    estimator: Any,
    train: ndarray,
    test: ndarray,
    random_seed: int,
    train_per_class: int | None = None,
    look: bool = False,
) -> dict[str, Any]:
    """Fit and predict once.

    Parameters
    ----------
    windows : (X, codes, classes)
        All windows, the position of every window's label in `classes`, and the labels of the classes.
    estimator : estimator
        Cloned and seeded before use.
    train, test : ndarray of int
        Window indices.
    random_seed : int
        For every `random_state` in the estimator.
    train_per_class : int, optional
        Use only so many training windows of every class, the first in order.
    look : bool
        Note what a network made its output of.

    Returns
    -------
    dict
        `test`, `y_true` and `y_pred` (codes), `proba` (n_test, n_classes) or None, `n_train`, `fit_seconds`, `predict_seconds`,
        `history` (a network's, else None), `n_parameters`, `insight` (see `neuropil.experiments.insight`, or None), `warnings`.
    """
    X, codes, classes = windows
    if train_per_class is not None:
        train = np.sort(np.concatenate([train[codes[train] == c][:train_per_class] for c in np.unique(codes[train])]))
    model = prepared(estimator, random_seed)
    inputs, outputs = input_for(model, X[train].load()), input_for(model, X[test].load())
    with single_threaded(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.perf_counter()
        model.fit(inputs, classes[codes[train]])
        fitted = time.perf_counter()
        proba = _probabilities(model, outputs, classes)
        y_pred = model.predict(outputs) if proba is None else None
        done = time.perf_counter()
        if y_pred is None:
            y_pred = model.predict(outputs)
        seen = insight(model, outputs, classes[codes[test]]) if look else None
    last = _last_step(model)
    said = list(
        dict.fromkeys(
            " ".join(str(w.message).split()) for w in caught if not issubclass(w.category, DeprecationWarning)
        )
    )
    return {
        "test": test,
        "y_true": codes[test],
        "y_pred": np.searchsorted(classes, np.asarray(y_pred)),
        "proba": proba,
        "n_train": len(train),
        "fit_seconds": fitted - began,
        "predict_seconds": done - fitted,
        "history": getattr(last, "history_", None),
        "n_parameters": getattr(last, "n_parameters_", None),
        "insight": seen,
        "warnings": said[:MAX_WARNINGS],
    }


def _probabilities(model: Any, X: Any, classes: ndarray) -> ndarray | None:
    """Probabilities in the order of all classes, 0 for a class that training did not have; None if the decoder gives none."""
    if not hasattr(model, "predict_proba"):
        return None
    known = np.asarray(model.predict_proba(X), dtype=float)
    proba = np.zeros((len(known), len(classes)))
    proba[:, np.searchsorted(classes, model.classes_)] = known
    return proba
