"""Does an explanation say anything of what was learned? The same decoder is trained on shuffled labels and explained in the same way.

A map that looks the same whatever a model has learned is a picture of the data, not an explanation. Labels are shuffled between whole
trials (between whole groups, where a group has one label only), so that windows of one trial stay together. Every model is fitted on
the training windows and asked on held-out windows with their true labels: how far does the probability of the right class fall when
electrodes are taken away? For the model of the true labels it must fall; for those of shuffled labels the fall is about zero, since they
know nothing that could be lost. Two intervals say how large a fall chance makes: rearranged labels of the held-out windows (for the
model as it is), and the models of shuffled labels: the order of labels that such a model was taught agrees with the true one a little by
luck, for better or worse, and where classes differ strongly a decoder makes much of little. By symmetry their effects have the mean zero,
so that their mean square gives the interval.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt & Kim (2018). Sanity checks for saliency maps. NeurIPS.
Ojala & Garriga (2010). Permutation tests for studying classifier performance. Journal of Machine Learning Research 11.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from numpy.random import Generator
from sklearn.base import clone

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.predicting import input_for
from neuropil.evaluate.purge import WindowTable
from neuropil.evaluate.splits import default_split
from neuropil.explain.occlusion import N_REPEATS, Occlusion, occlude_channels
from neuropil.explain.saliency import network_saliency
from neuropil.progress import bar
from neuropil.signature import check_labels, coordinate
from neuropil.stats.resampling import permute_within

N_RANDOM = 5
N_PERMUTATIONS = 999
ALPHA = 0.05
METHODS = ("occlusion", "gradients")


@dataclass(frozen=True)
class SanityCheck:
    """The model of the true labels beside those of shuffled labels, on held-out windows.

    Attributes
    ----------
    saliency : DataArray of shape (n_models, n_channels)
        What the similarity is computed of; the first model is that of the true labels.
    accuracy : ndarray of shape (n_models,)
        On held-out windows.
    effect : ndarray of shape (n_models,)
        Fall of the probability of the right class when an electrode is taken away, summed over electrodes.
    low, high, pvalue : ndarray of shape (n_models,)
        Central 95 % of the effect under rearranged held-out labels, and the one-sided p-value.
    random_high : float
        What the effect of one more model of shuffled labels exceeds with a probability of 5 %: Student's t times their root mean square.
    similarity : ndarray of shape (n_random,)
        Spearman's correlation of the saliency of every shuffled model with that of the true one.
    concentration : ndarray of shape (n_models,)
        Gini coefficient of the saliency's magnitude over electrodes: 0 if all are alike, near 1 if one has everything.
    n_test : int
        Held-out windows.
    method : {"occlusion", "gradients"}
        Of the saliency.
    """

    saliency: xr.DataArray
    accuracy: Float[ndarray, " model"]
    effect: Float[ndarray, " model"]
    low: Float[ndarray, " model"]
    high: Float[ndarray, " model"]
    pvalue: Float[ndarray, " model"]
    random_high: float
    similarity: Float[ndarray, " random"]
    concentration: Float[ndarray, " model"]
    n_test: int
    method: str

    @property
    def passed(self) -> bool:
        """Whether the effect lies above what rearranged labels and models of shuffled labels give."""
        return bool(self.pvalue[0] <= ALPHA and self.effect[0] > self.random_high)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        figures = f"taking electrodes away costs {self.effect[0]:.3f} of the right class's probability on {self.n_test} held-out windows"
        others = f"{len(self.similarity)} models of shuffled labels lose {self.effect[1:].mean():.3f} (95 % up to {self.random_high:.3f})"
        if self.passed:
            return f"Passes: {figures}, {others}; their maps correlate {self.similarity.mean():.2f} with the one of the true labels."
        if self.pvalue[0] > ALPHA:
            return f"Fails: {figures}, no more than with rearranged labels (p = {self.pvalue[0]:.2g}); {others}."
        return f"Fails: {figures}, but {others}, which is no less; the map may be one of the data rather than of the classes."

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "effect": self.effect.tolist(),
            "interval": np.stack([self.low, self.high], axis=1).tolist(),
            "pvalue": self.pvalue.tolist(),
            "random_high": self.random_high,
            "accuracy": self.accuracy.tolist(),
            "similarity": self.similarity.tolist(),
            "concentration": self.concentration.tolist(),
            "n_test": self.n_test,
            "method": self.method,
        }


def check_sanity(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    split: Any = None,
    n_random: int = N_RANDOM,
    method: str = "occlusion",
    n_repeats: int = N_REPEATS,
    random_state: int = 0,
    progress: bool | None = None,
) -> SanityCheck:
    """Fit a decoder on true and on shuffled labels and explain all models on the same held-out windows.

    Parameters
    ----------
    estimator : classifier
        Fitted or not; cloned for every fit.
    X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
    y : array-like of shape (n_windows,), optional
        Labels; the coordinate `label` without.
    groups : array-like of shape (n_windows,), optional
        Subjects; the coordinate `subject` without. Labels are shuffled within them.
    split : splitter or (train, test) indices, optional
        Its first fold is used. By default `default_split`, and for windows that do not know their time the last third of every class.
    n_random : int, default 5
        Models of shuffled labels, three or more.
    method : {"occlusion", "gradients"}
        Of the saliency that is compared; the effect is always that of occlusion.
    n_repeats : int
        Exchanges of every electrode, see `occlude_channels`.
    random_state : int
    progress : bool, optional

    Returns
    -------
    SanityCheck

    Raises
    ------
    DataError
        If there are no labels, or held-out windows of one class only.
    UsageError
        If fewer than three shuffled models are asked for.
    """
    if n_random < 3:
        raise UsageError(f"An interval of shuffled models needs three or more, got n_random={n_random}.")
    if method not in METHODS:
        raise UsageError(f"The saliency is that of 'occlusion' or 'gradients', got {method!r}.")
    y = coordinate(X, "label") if y is None else y
    if y is None:
        raise DataError(
            "A sanity check fits the decoder again and needs labels; pass y or windows with a coordinate 'label'."
        )
    labels = check_labels(y, len(X))
    X = X.load() if isinstance(X, xr.DataArray) else np.asarray(X)
    subjects = coordinate(X, "subject") if groups is None else np.asarray(groups)
    train, test = _fold(split, X, labels, groups)
    if len(np.unique(labels[test])) < 2:
        raise DataError("The held-out windows are of one class only, so no effect can be tested; choose another split.")
    units = _units(X, labels, subjects)
    rng = np.random.default_rng(random_state)
    found: list[Occlusion] = []
    maps: list[ndarray] = []
    with bar("sanity check", n_random + 1, progress) as advance:
        for number in range(n_random + 1):
            taught = labels[train] if number == 0 else shuffled(labels[train], units[train], _of(subjects, train), rng)
            model = _fitted(estimator, X[train], taught, _of(groups, train))
            found.append(
                occlude_channels(
                    model,
                    X[test],
                    labels[test],
                    groups=_of(groups, test),
                    n_repeats=n_repeats,
                    random_state=random_state,
                    progress=False,
                )
            )
            if method == "gradients":
                saliency = network_saliency(model, X[test], labels[test], groups=_of(groups, test))
                maps.append(np.nanmean(saliency.electrode_sums(magnitude=True).values, axis=0))
            else:
                maps.append(found[-1].drop().values)
            advance("true labels" if number == 0 else f"shuffled {number}", 1)
    return _judge(found, np.stack(maps), units[test], _of(subjects, test), method)


def shuffled(
    labels: Shaped[ndarray, " window"],
    units: Int[ndarray, " window"],
    groups: Shaped[ndarray, " window"] | None,
    rng: Generator,
) -> Shaped[ndarray, " window"]:
    """Labels exchanged between units (trials) of the same group; windows of a unit keep a common label.

    Examples
    --------
    >>> shuffled(np.array(list("aabbcc")), np.array([0, 0, 1, 1, 2, 2]), None, np.random.default_rng(5)).tolist()
    ['b', 'b', 'c', 'c', 'a', 'a']
    """
    _, first, member = np.unique(units, return_index=True, return_inverse=True)
    within = None if groups is None else groups[first]
    if within is not None and len(np.unique(within)) == len(within):
        within = None
    return permute_within(labels[first], within, rng)[member]


def _units(X: Any, labels: ndarray, subjects: ndarray | None) -> Int[ndarray, " window"]:
    """What is shuffled as a whole: trials, or subjects where each of them has one label only."""
    if subjects is not None and len(np.unique(subjects)) > 2:
        names, member = np.unique(subjects.astype(str), return_inverse=True)
        if all(len(np.unique(labels[member == k])) == 1 for k in range(len(names))):
            return member
    return np.unique(WindowTable.of(X, labels).unit, return_inverse=True)[1]


def _fold(split: Any, X: Any, labels: ndarray, groups: Any) -> tuple[ndarray, ndarray]:
    if isinstance(split, tuple):
        train, test = split
        return np.asarray(train), np.asarray(test)
    if split is not None:
        return next(iter(split.split(X, labels, groups)))
    if isinstance(X, xr.DataArray) and "onset" in X.coords:
        return next(iter(default_split(X, labels).split(X, labels)))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        held[mine[len(mine) - max(1, len(mine) // 3) :]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _of(values: ndarray | None, rows: ndarray) -> ndarray | None:
    return None if values is None else np.asarray(values)[rows]


def _fitted(estimator: Any, X: Any, labels: ndarray, groups: ndarray | None) -> Any:
    model = clone(estimator)
    if "progress" in model.get_params(deep=False):
        model.set_params(progress=False)
    if isinstance(X, xr.DataArray) and "label" in X.coords:
        X = X.assign_coords(label=("window", labels.astype(object)))
    options = {"groups": groups} if groups is not None and "groups" in inspect.signature(model.fit).parameters else {}
    with warnings.catch_warnings():
        # what a fit has to say it has said to the user already, when the decoder was fitted
        warnings.simplefilter("ignore")
        return model.fit(input_for(model, X), labels, **options)


def _judge(
    found: list[Occlusion], maps: Float[ndarray, "model channel"], units: ndarray, subjects: ndarray | None, method: str
) -> SanityCheck:
    from scipy.stats import spearmanr, t

    tests = [_permutation_test(one, units, subjects) for one in found]
    effect = np.array([test.observed for test in tests])
    random = effect[1:]
    spread = np.sqrt(np.mean(random**2))
    similarity = [spearmanr(maps[0], one).statistic if np.ptp(maps[0]) and np.ptp(one) else 0.0 for one in maps[1:]]
    models = ["true labels", *[f"shuffled {k}" for k in range(1, len(found))]]
    return SanityCheck(
        saliency=xr.DataArray(maps, dims=("model", "channel"), coords={"model": models, "channel": found[0].parts}),
        accuracy=np.array([one.accuracy for one in found]),
        effect=effect,
        low=np.array([test.low for test in tests]),
        high=np.array([test.high for test in tests]),
        pvalue=np.array([test.pvalue for test in tests]),
        random_high=float(t.ppf(1 - ALPHA, len(random)) * spread),
        similarity=np.array(similarity, dtype=np.float64),
        concentration=np.array([gini(np.abs(one)) for one in maps]),
        n_test=len(found[0].codes),
        method=method,
    )


class _Test(NamedTuple):
    observed: float
    low: float
    high: float
    pvalue: float


def _permutation_test(found: Occlusion, units: ndarray, subjects: ndarray | None) -> _Test:
    """The effect against rearranged labels of held-out trials."""
    falls = (found.before - found.after.mean(axis=0)).sum(axis=0)
    _, first, member = np.unique(units, return_index=True, return_inverse=True)

    def effect(codes: ndarray, falls: ndarray) -> float:
        return float(falls[np.arange(len(falls)), codes[member]].mean())

    rng = np.random.default_rng(0)
    within = None if subjects is None or len(np.unique(subjects)) == len(first) else subjects[first]
    codes = found.codes[first]
    observed = effect(codes, falls)
    null = np.array([effect(permute_within(codes, within, rng), falls) for _ in range(N_PERMUTATIONS)])
    low, high = np.quantile(null, [0.025, 0.975])
    return _Test(observed, float(low), float(high), (1 + int((null >= observed - 1e-12).sum())) / (1 + len(null)))


def gini(values: Float[ndarray, " part"]) -> float:
    """Gini coefficient of values from 0 on: 0 if all are alike, 1 - 1/n if one has everything.

    Examples
    --------
    >>> gini(np.ones(4)), gini(np.array([0.0, 0.0, 0.0, 2.0]))
    (0.0, 0.75)
    """
    total = float(values.sum())
    if not total > 0:
        return 0.0
    ordered = np.sort(values)
    n = len(ordered)
    return float(2 * (np.arange(1, n + 1) @ ordered) / (n * total) - (n + 1) / n)
