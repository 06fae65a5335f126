"""What stored predictions of sliding windows say about whole trials and idle time: hits, false activations, latency.

Only predicted labels and the times of the windows are needed, so that results which are stored already get these figures as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuropil.evaluate.events import Decision, EventScore, event_metrics
from neuropil.experiments.inputs import IDLE, Material
from neuropil.experiments.leaderboard import Result


class EventSummary(NamedTuple):
    """A decoder over whole trials and idle time; counts are means over seeds."""

    n_trials: float
    """Trials that test windows cover from beginning to end."""
    hits: float
    """Share of them in which their class was emitted."""
    wrong: float
    """Share in which only other classes were."""
    latency_s: float
    """Median time from the onset of a trial to the first emission of its class, over all hits; NaN without a hit."""
    false_per_min: float
    """Emissions a minute that began in idle time; NaN without idle time."""
    idle_active: float
    """Share of idle time spent in an emitted class."""


def summarise_events(material: Material, folds: Sequence[Sequence[Result]]) -> EventSummary:
    """Sum over the folds and seeds of one decoder on one split.

    Parameters
    ----------
    material : Material
        Of the pseudo-online mode.
    folds : [fold][seed] -> stored result
    """
    n_seeds = max(map(len, folds))
    total = sum((_score(material, result) for seeds in folds for result in seeds), EventScore())
    n_trials = total.hits + total.misses + total.wrong
    share = 1 / n_trials if n_trials else float("nan")
    return EventSummary(
        n_trials / n_seeds,
        total.hits * share,
        total.wrong * share,
        total.latency_s,
        total.false_per_min,
        total.idle_active,
    )


def _score(material: Material, result: Result) -> EventScore:
    X, test = material.X, np.asarray(result["test"], dtype=int)
    sfreq, n_times = float(X.attrs["sfreq"]), X.sizes["time"]
    step = max(1, round(n_times * (1 - float(material.cut["overlap"])))) / sfreq
    said, source = material.classes[np.asarray(result["y_pred"], dtype=int)], X["recording"].values[test]
    end = X["onset"].values[test] + n_times / sfreq
    total = EventScore()
    for recording in np.unique(source):
        mine = np.flatnonzero(source == recording)
        mine = mine[np.argsort(end[mine], kind="stable")]
        decisions = [Decision(time, label) for time, label in zip(end[mine].tolist(), said[mine].tolist(), strict=True)]
        total += event_metrics(decisions, material.trials[int(recording)], window=n_times / sfreq, step=step, idle=IDLE)
    return total
