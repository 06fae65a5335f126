"""From predictions to a leaderboard: scores, intervals, chance, and who is better than whom.

What is resampled is what was repeated. Over several splits of one data set: the corrected resampled t-test and its interval, since
training sets overlap. Over subjects: tests of independent pairs. On one test set (a data set's own split): windows are resampled for
the interval, and the predictions of two decoders are swapped window by window for their difference. Every test over pairs or over
decoders is corrected by Holm's method. Scores of several seeds are averaged before anything else, they are no new evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.evaluate.metrics import Metric, confusion_matrix, score
from neuropil.experiments.inference import (
    bootstrap_interval,
    clipped,
    corrected_interval,
    exact_pvalue,
    letters,
    normal_pvalue,
    swap_test,
)
from neuropil.stats.combination import holm
from neuropil.stats.resampling import ChanceTest, permutation_chance, permute_within, rotate_within, student_interval
from neuropil.stats.tests_of_difference import paired_test, pairwise

ALPHA = 0.05
N_PERMUTATIONS = 1000
MIN_SWAPS_PER_PAIR = 40
"""So that the smallest p-value survives the correction for the number of pairs."""
Result = Mapping[str, Any]


class Standing(NamedTuple):
    """One decoder on one split."""

    system: str
    score: float
    low: float
    high: float
    chance: float
    """Mean score against labels rearranged within folds."""
    chance_low: float
    chance_high: float
    """The central 95 % of these scores."""
    p_chance: float
    """Corrected for the number of decoders."""
    above_chance: bool
    letters: str
    """Decoders that share a letter cannot be told apart."""
    fit_seconds: float
    predict_ms: float
    """Per window."""


class Difference(NamedTuple):
    """Two decoders on one split."""

    first: str
    second: str
    difference: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Board:
    """The leaderboard of one split.

    Attributes
    ----------
    split : str
    standings : list of Standing
        Best first.
    differences : list of Difference
        Every pair.
    scores : dict of str to ndarray of shape (n_folds, n_seeds)
        Of every decoder.
    confusion : dict of str to ndarray of shape (n_classes, n_classes)
        Counts, rows true; summed over folds, averaged over seeds.
    method : str
        How intervals and differences were found, in words.
    n_test : int
        Test windows in all.
    """

    split: str
    standings: list[Standing]
    differences: list[Difference]
    scores: dict[str, ndarray]
    confusion: dict[str, ndarray]
    method: str
    n_test: int

    @property
    def brief(self) -> str:
        """How much evidence the differences rest on."""
        n_folds, n_pairs = len(next(iter(self.scores.values()))), len(self.differences)
        pairs = f"{n_pairs} pair{'s' if n_pairs > 1 else ''}, Holm"
        return f"{self.n_test} test windows, {pairs}" if n_folds == 1 else f"{n_folds} folds, {pairs}"


class Judge:
    """A metric on the classes of a task, by codes 0 ... n_classes - 1.

    A metric of labels is a function of the confusion matrix, so it is computed once for each that occurs: resampling asks for the same
    few again and again.

    Parameters
    ----------
    metric : Metric
    n_classes : int
    seconds : float, optional
        Length of a window, for rates.
    """

    def __init__(self, metric: Metric, n_classes: int, seconds: float | None = None) -> None:
        self.metric, self.n_classes, self.seconds = metric, n_classes, seconds
        self.classes = np.arange(n_classes)
        self._known: dict[bytes, float] = {}

    def judged(self, result: Result) -> ndarray | None:
        """Predicted codes or probabilities, whichever the metric needs."""
        if self.metric.needs == "label":
            return np.asarray(result["y_pred"], dtype=int)
        return None if result["proba"] is None else np.asarray(result["proba"], dtype=float)

    def truth(self, result: Result) -> ndarray:
        """True codes."""
        return np.asarray(result["y_true"], dtype=int)

    def __call__(self, y_true: ndarray, judged: ndarray | None) -> float:
        if judged is None or self.metric.needs != "label":
            return score(self.metric, y_true, None, judged, self.classes, self.seconds)
        counts = np.bincount(y_true * self.n_classes + judged, minlength=self.n_classes**2).tobytes()
        if counts not in self._known:
            self._known[counts] = score(self.metric, y_true, judged, None, self.classes, self.seconds)
        return self._known[counts]

    def of(self, result: Result) -> float:
        """The score of one stored result."""
        return self(self.truth(result), self.judged(result))


def make_board(
    split: str,
    results: Mapping[str, Sequence[Sequence[Result]]],
    judge: Judge,
    *,
    independent: bool = False,
    in_time: bool = False,
    n_permutations: int = N_PERMUTATIONS,
) -> Board:
    """The leaderboard of one split.

    Parameters
    ----------
    split : str
    results : mapping of system to [fold][seed] -> stored result
        Every system with the same folds; systems without randomness have one seed.
    judge : Judge
    independent : bool
        Folds test independent subjects, or share no training window.
    in_time : bool
        Windows follow each other (pseudo-online): chance keeps the order of labels, and runs of windows are resampled as one.
    n_permutations : int
        For chance and for differences on one test set.
    """
    systems = list(results)
    scores = {name: np.array([[judge.of(r) for r in seeds] for seeds in folds]) for name, folds in results.items()}
    per_fold = np.stack([scores[name].mean(axis=1) for name in systems], axis=1)
    n_folds = len(per_fold)
    first = [folds[0] for folds in results[systems[0]]]
    n_test = sum(len(r["y_true"]) for r in first)
    ratio = n_test / sum(r["n_train"] for r in first)
    sign = 1 if judge.metric.greater_is_better else -1
    order = [systems[k] for k in np.argsort(-sign * per_fold.mean(axis=0), kind="stable")]
    if n_folds == 1:
        intervals, pairs = _one_test_set(results, judge, in_time, n_permutations)
        method = (
            f"one test set of {n_test} windows: intervals by resampling windows within classes, differences by swapping predictions "
            "window by window at random"
        )
    else:
        intervals, pairs = _several_folds(systems, per_fold, ratio, independent)
        method = (
            f"{n_folds} independent folds: Student's intervals, exact or Wilcoxon tests of paired differences"
            if independent
            else f"{n_folds} splits with overlapping training sets: corrected resampled t-test and interval (Nadeau & Bengio 2003)"
        )
    adjusted = holm(np.array([p for *_, p in pairs])).tolist() if pairs else []
    differences = [Difference(*pair, p) for pair, p in zip(pairs, adjusted, strict=True)]
    different = {frozenset((d.first, d.second)) for d in differences if d.p_holm <= ALPHA}
    marks = letters(order, different)
    chances = {name: _chance(results[name], judge, in_time, n_permutations) for name in systems}
    p_chance = dict(zip(systems, holm(np.array([chances[name].pvalue for name in systems])).tolist(), strict=True))
    standings = [
        Standing(
            name,
            float(scores[name].mean()),
            *clipped(judge.metric, intervals[name]),
            chances[name].mean,
            chances[name].low,
            chances[name].high,
            p_chance[name],
            p_chance[name] <= ALPHA,
            marks[name],
            *_times(results[name]),
        )
        for name in order
    ]
    confusion = {name: _confusion(results[name], judge.classes) for name in order}
    return Board(split, standings, differences, {name: scores[name] for name in order}, confusion, method, n_test)


def _several_folds(
    systems: list[str], per_fold: ndarray, ratio: float, independent: bool
) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str, float, float]]]:
    intervals = {}
    for k, name in enumerate(systems):
        if independent:
            interval = student_interval(per_fold[:, k])
            intervals[name] = (interval.low, interval.high)
        else:
            intervals[name] = corrected_interval(per_fold[:, k], ratio)
    if len(systems) < 2:
        return intervals, []
    if not independent:
        found = pairwise(per_fold, ratio)
        return intervals, [(systems[d.first], systems[d.second], d.difference, d.pvalue) for d in found]
    pairs = []
    for a, b in combinations(range(len(systems)), 2):
        test = paired_test(per_fold[:, a] - per_fold[:, b])
        pairs.append((systems[a], systems[b], test.mean, test.pvalue))
    return intervals, pairs


def _one_test_set(
    results: Mapping[str, Sequence[Sequence[Result]]], judge: Judge, in_time: bool, n_permutations: int
) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str, float, float]]]:
    any_result = next(iter(results.values()))[0][0]
    truth, codes = judge.truth(any_result), np.asarray(any_result["y_true"], dtype=int)
    units = np.concatenate([[0], np.cumsum(np.diff(codes) != 0)]) if in_time else np.arange(len(truth))
    n_seeds = max(len(folds[0]) for folds in results.values())
    judged = {name: _stack(folds[0], judge, n_seeds) for name, folds in results.items()}

    def mean_score(predictions: ndarray, rows: ndarray | slice = slice(None)) -> float:
        return float(np.mean([judge(truth[rows], predictions[rows, k]) for k in range(predictions.shape[1])]))

    intervals = {
        name: bootstrap_interval(lambda rows, p=p: mean_score(p, rows), codes, units, n_permutations)  # type: ignore[misc]
        for name, p in judged.items()
    }
    pairs, names = [], list(combinations(judged, 2))
    exact = judge.metric.needs == "label"
    n_swaps = max(n_permutations, MIN_SWAPS_PER_PAIR * len(names)) if exact else n_permutations // 5
    for a, b in names:
        difference, null = swap_test(mean_score, judged[a], judged[b], units, n_swaps)
        pairs.append((a, b, difference, (exact_pvalue if exact else normal_pvalue)(difference, null)))
    return intervals, pairs


def _stack(seeds: Sequence[Result], judge: Judge, n_seeds: int) -> ndarray:
    """Predictions of all seeds, shape (n_windows, n_seeds, ...); a decoder without randomness repeats its one."""
    columns = [judge.judged(seeds[k % len(seeds)]) for k in range(n_seeds)]
    return np.stack([c for c in columns if c is not None], axis=1)


def _chance(folds: Sequence[Sequence[Result]], judge: Judge, in_time: bool, n_permutations: int) -> ChanceTest:
    """The mean score over folds (and seeds) against labels rearranged within folds."""
    n_seeds = len(folds[0])
    truth = np.concatenate([judge.truth(seeds[0]) for seeds in folds])
    judged = np.concatenate([_stack(seeds, judge, n_seeds) for seeds in folds])
    group = np.repeat(np.arange(len(folds)), [len(seeds[0]["y_true"]) for seeds in folds])
    rows = [np.flatnonzero(group == k) for k in range(len(folds))]

    def mean_score(y_true: ndarray, predictions: ndarray) -> float:
        return float(np.mean([judge(y_true[r], predictions[r, k]) for r in rows for k in range(n_seeds)]))

    return permutation_chance(
        mean_score,
        truth,
        judged,
        group,
        rearrange=rotate_within if in_time else permute_within,
        n_permutations=n_permutations if judge.metric.needs == "label" else n_permutations // 5,
        greater_is_better=judge.metric.greater_is_better,
    )


def _times(folds: Sequence[Sequence[Result]]) -> tuple[float, float]:
    every = [r for seeds in folds for r in seeds]
    fit = float(np.median([r["fit_seconds"] for r in every]))
    return fit, float(np.median([1000 * r["predict_seconds"] / len(r["y_true"]) for r in every]))


def _confusion(folds: Sequence[Sequence[Result]], classes: ndarray) -> ndarray:
    codes = np.arange(len(classes))
    counts = [
        np.mean([confusion_matrix(np.asarray(r["y_true"]), np.asarray(r["y_pred"]), codes) for r in seeds], axis=0)
        for seeds in folds
    ]
    return np.sum(counts, axis=0)
