"""What users of an asynchronous decoder ask: was my action detected, when, and how often does it go off by itself?

Decisions come at the ends of windows. A task class is *emitted* where it won the last `dwell` decisions. To every trial belong the
decisions after its onset and up to half a window after its end, since until then most of a window may be task; all others are idle.

- A trial is a *hit* if its class is emitted, *wrong* if only other classes are, a *miss* if none is. Latency runs from its onset to the
  first emission of its class.
- A *false activation* is the beginning of an emission in idle time. Both its rate and the share of idle time spent in an emitted class
  are reported: a decoder that switches on once and stays on has a low rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped
from numpy import ndarray

from neuropil.errors import DataError, UsageError

# Decision times are decimal seconds that rounding may shift
TOLERANCE = 1e-6


class Decision(NamedTuple):
    """What a decoder said, and when.

    Attributes
    ----------
    time : float
        End of the window in s: nothing later was looked at.
    label : object
        The class chosen.
    proba : ndarray of shape (n_classes,) or None
        Probabilities in the order of the decoder's classes.
    """

    time: float
    label: Any
    proba: ndarray | None = None


@dataclass(frozen=True)
class EventScore:
    """Outcome of trials and of idle time; add the scores of several recordings.

    Attributes
    ----------
    hits, misses, wrong : int
        Trials; their sum is the number of trials that were decoded from beginning to end.
    latencies : tuple of float
        Of every hit, in s from the onset of the trial to the first decision for its class.
    false_activations : int
        Emissions that began in idle time.
    idle_minutes, active_minutes : float
        Idle time, and how much of it was spent in an emitted class.
    """

    hits: int = 0
    misses: int = 0
    wrong: int = 0
    latencies: tuple[float, ...] = ()
    false_activations: int = 0
    idle_minutes: float = 0.0
    active_minutes: float = 0.0

    def __add__(self, other: EventScore) -> EventScore:
        return EventScore(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})

    @property
    def latency_s(self) -> float:
        """Median latency of the hits in s; NaN without a hit."""
        return float(np.median(self.latencies)) if self.latencies else float("nan")

    @property
    def false_per_min(self) -> float:
        """False activations a minute of idle time; NaN without idle time."""
        return self.false_activations / self.idle_minutes if self.idle_minutes else float("nan")

    @property
    def idle_active(self) -> float:
        """Share of idle time spent in an emitted class; NaN without idle time."""
        return self.active_minutes / self.idle_minutes if self.idle_minutes else float("nan")


def emissions(
    labels: Shaped[ndarray, " decision"],
    dwell: int,
    idle: Any = "idle",
    breaks: Bool[ndarray, " decision"] | None = None,
) -> Shaped[ndarray, " decision"]:
    """The class that won the last `dwell` decisions, else `idle`.

    Parameters
    ----------
    labels : ndarray of shape (n_decisions,)
        In order of time.
    dwell : int
        Decisions in a row that a class has to win; 1 changes nothing.
    idle : object
        Name of the class that stands for no action.
    breaks : ndarray of bool, shape (n_decisions,), optional
        True where a decision does not follow the one before it.

    Examples
    --------
    >>> emissions(np.array(["left", "left", "idle", "right", "right", "right"]), dwell=2).tolist()
    ['idle', 'left', 'idle', 'idle', 'right', 'right']
    """
    if dwell < 1:
        raise UsageError(f"A class has to win at least one decision, got dwell={dwell}.")
    if not len(labels):
        return labels.copy()
    changes = np.concatenate([[True], labels[1:] != labels[:-1]])
    if breaks is not None:
        changes |= breaks
    position = np.arange(len(labels))
    run = position - np.maximum.accumulate(np.where(changes, position, 0)) + 1
    out = np.empty(len(labels), dtype=object)
    out[:] = np.where(run >= dwell, labels.astype(object), idle)
    return out


def event_metrics(
    decisions: Iterable[Decision],
    annotations: pd.DataFrame,
    *,
    window: float | int,
    step: float | int | None = None,
    dwell: int = 1,
    idle: Any = "idle",
) -> EventScore:
    """Score the decisions of one recording against its trials.

    Parameters
    ----------
    decisions : iterable of Decision
        In order of time; where they leave a gap, a new stretch begins.
    annotations : DataFrame
        Columns `onset`, `duration` (s) and `label`; rows labelled `idle` do not count. Trials that the decisions do not cover from
        beginning to end are neither scored nor counted as idle.
    window : float
        Length of a window in s.
    step : float, optional
        Time between decisions in s; the median difference without.
    dwell : int
        Decisions in a row that a class has to win.
    idle : object
        Name of the idle class.

    Raises
    ------
    DataError
        If there is no decision, or they are not in order.

    Examples
    --------
    >>> trials = pd.DataFrame({"onset": [4.0], "duration": [4.0], "label": ["left"]})
    >>> said = [Decision(float(t), "left" if t in (2, 6, 7) else "idle") for t in range(2, 13)]
    >>> score = event_metrics(said, trials, window=2.0)
    >>> score.hits, score.latency_s, score.false_activations
    (1, 2.0, 1)
    """
    decisions = list(decisions)
    if not decisions:
        raise DataError("There is no decision to score; the recording is shorter than one window.")
    time = np.asarray([d.time for d in decisions], dtype=float)
    labels = np.empty(len(decisions), dtype=object)
    labels[:] = [d.label for d in decisions]
    if (np.diff(time) <= 0).any():
        raise DataError("Decisions must be in order of time; sort them, and score every recording by itself.")
    if step is None:
        step = float(np.median(np.diff(time))) if len(time) > 1 else window
    breaks = np.concatenate([[True], np.diff(time) > 1.5 * step])
    emitted = emissions(labels, dwell, idle, breaks)
    active = emitted != idle

    trials = annotations[annotations["label"] != idle].sort_values("onset", kind="stable")
    onset = trials["onset"].to_numpy(dtype=float)
    offset = onset + trials["duration"].to_numpy(dtype=float)
    trial = _trial_of(time, onset, offset, window)
    counted = _covered(time, breaks, onset, offset, window)

    begins = active & (breaks | (emitted != np.concatenate([[idle], emitted[:-1]])))
    free = trial < 0
    return EventScore(
        *_outcomes(time, emitted, active, trial, counted, onset, trials["label"].to_numpy(dtype=object)),
        int((begins & free).sum()),
        float(free.sum() * step / 60),
        float((active & free).sum() * step / 60),
    )


def _trial_of(time: ndarray, onset: ndarray, offset: ndarray, window: float) -> Int[ndarray, " decision"]:
    """The trial that a decision belongs to, -1 in idle time."""
    if not len(onset):
        return np.full(len(time), -1)
    until = np.minimum(offset + window / 2, np.maximum(np.append(onset[1:], np.inf), offset))
    before = np.searchsorted(onset, time - TOLERANCE, side="left") - 1
    inside = (before >= 0) & (time <= until[np.maximum(before, 0)] + TOLERANCE)
    return np.where(inside, before, -1)


def _covered(time: ndarray, breaks: ndarray, onset: ndarray, offset: ndarray, window: float) -> Bool[ndarray, " trial"]:
    """Trials that lie inside one stretch of windows without a gap."""
    first = time[breaks] - window
    last = time[np.append(np.flatnonzero(breaks)[1:] - 1, len(time) - 1)]
    stretch = np.searchsorted(first, onset + TOLERANCE, side="right") - 1
    return (stretch >= 0) & (offset <= last[np.maximum(stretch, 0)] + TOLERANCE)


def _outcomes(
    time: ndarray, emitted: ndarray, active: ndarray, trial: ndarray, counted: ndarray, onset: ndarray, label: ndarray
) -> tuple[int, int, int, tuple[float, ...]]:
    """Hits, misses, wrong ones, and the latencies of the hits."""
    in_trial = trial >= 0
    correct = np.zeros(len(time), dtype=bool)
    correct[in_trial] = active[in_trial] & (emitted[in_trial] == label[trial[in_trial]])
    first = np.full(len(onset), np.inf)
    np.minimum.at(first, trial[correct], time[correct])
    any_active = np.bincount(trial[in_trial & active], minlength=len(onset)) > 0
    hit = np.isfinite(first)
    return (
        int((hit & counted).sum()),
        int((~any_active & counted).sum()),
        int((any_active & ~hit & counted).sum()),
        tuple((first - onset)[hit & counted].tolist()),
    )
