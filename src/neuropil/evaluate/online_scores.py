"""One fit of a pseudo-online evaluation: what goes in, and the rows of scores that come out."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy import ndarray
from sklearn.base import clone

from neuropil.errors import DataError
from neuropil.evaluate.agreement import confusion_matrix, recall_per_class
from neuropil.evaluate.events import Decision, EventScore, event_metrics
from neuropil.evaluate.metrics import find_metric, score
from neuropil.evaluate.predicting import input_for, outputs

CONTINUOUS = ("pseudo_online", "task_trained")
SCORES = ("nmcc", "accuracy", "balanced_accuracy", "kappa")
RATES = ("itr_wolpaw", "itr_mi")
EVENT_COLUMNS = ("hits", "misses", "wrong", "latency_s", "false_per_min", "idle_active")


@dataclass(frozen=True)
class Settings:
    """Arguments of the evaluation that every fit needs."""

    window: float
    overlap: float
    rule: str
    idle: str
    balance_idle: bool
    dwell: int
    metrics: tuple[str, ...]
    transductive: bool
    seed: int


class Job(NamedTuple):
    """One fit: the windows are in memory and labelled."""

    mode: str
    fold: str
    train: xr.DataArray
    test: xr.DataArray


def fit_and_score(
    name: str, pipeline: Any, job: Job, events: dict[int, pd.DataFrame], settings: Settings
) -> tuple[str, str, list[dict[str, Any]]]:
    """Fit one pipeline on one fold and score every subject and session that it tests."""
    model = clone(pipeline)
    y = np.asarray(job.train["label"].values.tolist())
    began = perf_counter()
    model.fit(input_for(model, job.train), y)
    fit_s = perf_counter() - began
    rows = []
    who = pd.MultiIndex.from_arrays([job.test["subject"].values, job.test["session"].values])
    for subject, session in who.unique():
        mine = job.test[np.flatnonzero(who == (subject, session))]
        _refuse_looking_ahead(name, model, job.mode, mine, settings)
        began = perf_counter()
        predicted = np.asarray(model.predict(input_for(model, mine)))
        predict_ms = 1e3 * (perf_counter() - began) / len(mine)
        sizes = {"n_train": len(job.train), "n_test": len(mine)}
        row: dict[str, Any] = {
            "dataset": job.test.attrs.get("dataset", ""),
            "subject": subject,
            "session": session,
            "split": job.fold,
            "pipeline": name,
            "mode": job.mode,
            **sizes,
        }
        truth = np.asarray(mine["label"].values.tolist())
        row |= _scores(model, mine, truth, predicted, np.unique(np.concatenate([y, truth])), settings)
        if job.mode in CONTINUOUS:
            row |= _event_row(mine, predicted, events, settings)
        rows.append(row | {"fit_s": fit_s, "predict_ms": predict_ms})
    return name, job.mode, rows


def _scores(
    model: Any, X: xr.DataArray, truth: ndarray, predicted: ndarray, classes: ndarray, settings: Settings
) -> dict[str, Any]:
    counts = confusion_matrix(truth, predicted, classes).sum(axis=1)
    row: dict[str, Any] = {"n_per_class": dict(zip(classes.tolist(), counts.tolist(), strict=True))}
    row |= {metric: score(metric, truth, predicted, None, classes) for metric in SCORES}
    recalls = recall_per_class(truth, predicted, classes)
    row |= {f"recall_{label}": recall for label, recall in zip(classes.tolist(), recalls.tolist(), strict=True)}
    row |= {rate: score(rate, truth, predicted, None, classes, seconds=settings.window) for rate in RATES}
    for metric in settings.metrics:
        proba = None
        if find_metric(metric).needs == "proba":
            proba = np.zeros((len(truth), len(classes)))
            proba[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(input_for(model, X))
        row[metric] = score(metric, truth, predicted, proba, classes, seconds=settings.window)
    return row


def _event_row(
    X: xr.DataArray, predicted: ndarray, events: dict[int, pd.DataFrame], settings: Settings
) -> dict[str, Any]:
    total = EventScore()
    ends = X["onset"].values + X.sizes["time"] / X.attrs["sfreq"]
    step = max(1, round(X.sizes["time"] * (1 - settings.overlap))) / X.attrs["sfreq"]
    for k in np.unique(X["recording"].values):
        mine = np.flatnonzero(X["recording"].values == k)
        decisions = [Decision(t, label) for t, label in zip(ends[mine].tolist(), predicted[mine].tolist(), strict=True)]
        total += event_metrics(
            decisions, events[int(k)], window=settings.window, step=step, dwell=settings.dwell, idle=settings.idle
        )
    return {name: getattr(total, name) for name in EVENT_COLUMNS}


def _refuse_looking_ahead(name: str, model: Any, mode: str, X: xr.DataArray, settings: Settings) -> None:
    if settings.transductive or mode not in CONTINUOUS or len(X) < 2:
        return
    values, half = np.array(X.values), len(X) // 2
    values[half:] = 3 * values[half:][::-1, :, ::-1]
    changed = X.copy(data=values)
    if not np.array_equal(outputs(model, X)[:half], outputs(model, changed)[:half]):
        raise DataError(
            f"Pipeline {name!r} predicts a window differently when later windows change, so it cannot run live; let it adapt to past "
            "windows only, or pass transductive=True to evaluate it all the same."
        )


def ordered(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Columns in the order of the docstring; classes by name, event metrics present even if no mode has them."""
    head = ["dataset", "subject", "session", "split", "pipeline", "mode", "n_train", "n_test", "n_per_class", *SCORES]
    recalls = sorted(c for c in table.columns if str(c).startswith("recall_"))
    order = [*head, *recalls, *RATES, *settings.metrics, *EVENT_COLUMNS, "fit_s", "predict_ms"]
    return table.reindex(columns=list(dict.fromkeys(order)))
