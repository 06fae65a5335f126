"""The scores of a classifier by name, and one way to compute any of them.

A score is a function of the true labels and either the predicted labels (``needs = "label"``) or the predicted probabilities
(``needs = "proba"``); none returns NaN, see `neuropil.evaluate.agreement` and `neuropil.evaluate.probability` for what a class does
that is absent from the test set. What a score is worth shows beside `chance_level`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.evaluate.agreement import (
    accuracy,
    balanced_accuracy,
    check_labels,
    cohen_kappa,
    confusion_matrix,
    label_codes,
    macro_f1,
    mcc,
    nmcc,
    recall_per_class,
)
from neuropil.evaluate.information import itr_mutual_information, itr_wolpaw
from neuropil.evaluate.probability import calibration_error, log_loss, roc_auc

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "balanced_accuracy",
    "calibration_error",
    "chance_level",
    "cohen_kappa",
    "confusion_matrix",
    "find_metric",
    "itr_mutual_information",
    "itr_wolpaw",
    "log_loss",
    "macro_f1",
    "mcc",
    "nmcc",
    "recall_per_class",
    "roc_auc",
    "score",
]


@dataclass(frozen=True)
class Metric:
    """A score with what one needs to know to use it.

    Attributes
    ----------
    name : str
        Key in `METRICS` and column name in result tables.
    function : callable
        ``function(y_true, y_pred, classes)`` or ``function(y_true, proba, classes)``; a rate takes ``seconds`` as fourth argument.
    needs : "label" or "proba"
        Whether it judges predicted labels or predicted probabilities.
    greater_is_better : bool
    chance : float or None
        Score of a decoder that ignores the data, where it does not depend on the class frequencies; else None, see `chance_level`.
    label, unit : str
        For tables and axes; the unit is empty for a pure number.
    rate : bool
        Whether it is per unit of time and needs the time of a decision.
    """

    name: str
    function: Callable[..., float]
    needs: Literal["label", "proba"]
    greater_is_better: bool
    chance: float | None
    label: str
    unit: str = ""
    rate: bool = False


def _itr_wolpaw(y_true: ndarray, y_pred: ndarray, classes: ndarray, seconds: float) -> float:
    return itr_wolpaw(accuracy(y_true, y_pred, classes), len(classes), seconds)


def _itr_mi(y_true: ndarray, y_pred: ndarray, classes: ndarray, seconds: float) -> float:
    return itr_mutual_information(confusion_matrix(y_true, y_pred, classes), seconds)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, "label", True, None, "Accuracy"),
        Metric("balanced_accuracy", balanced_accuracy, "label", True, None, "Balanced accuracy"),
        Metric("macro_f1", macro_f1, "label", True, None, "Macro F1"),
        Metric("kappa", cohen_kappa, "label", True, 0.0, "Cohen's kappa"),
        Metric("mcc", mcc, "label", True, 0.0, "Matthews correlation"),
        Metric("nmcc", nmcc, "label", True, 0.5, "Normalised Matthews correlation"),
        Metric("itr_wolpaw", _itr_wolpaw, "label", True, None, "Information transfer rate (Wolpaw)", "bits/min", True),
        Metric(
            "itr_mi", _itr_mi, "label", True, 0.0, "Information transfer rate (mutual information)", "bits/min", True
        ),
        Metric("roc_auc", roc_auc, "proba", True, 0.5, "Area under the ROC curve"),
        Metric("log_loss", log_loss, "proba", False, None, "Log loss", "nats"),
        Metric("calibration_error", calibration_error, "proba", False, None, "Expected calibration error"),
    )
}


def score(
    metric: str | Metric,
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"] | None,
    proba: Float[ndarray, "window class"] | None,
    classes: Shaped[ndarray, " class"],
    seconds: float | None = None,
) -> float:
    """Score predictions by the name of a metric.

    Parameters
    ----------
    metric : str or Metric
        A key of `METRICS`, or a metric of your own.
    y_true : ndarray of shape (n_windows,)
        True labels.
    y_pred : ndarray of shape (n_windows,) or None
        Predicted labels; needed by metrics with ``needs == "label"``.
    proba : ndarray of shape (n_windows, n_classes) or None
        Predicted probabilities in the order of `classes`; needed by metrics with ``needs == "proba"``.
    classes : ndarray of shape (n_classes,)
        All classes of the task, also those absent from this test set.
    seconds : float, optional
        Time of one decision in s; needed by rates.

    Raises
    ------
    UsageError
        For an unknown name, or if what the metric needs is None.
    DataError
        For data that it cannot score.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array(["left", "right", "left"])
    >>> score("itr_wolpaw", y, y, None, np.array(["left", "right"]), seconds=2.0)
    30.0
    """
    metric = find_metric(metric)
    judged = y_pred if metric.needs == "label" else proba
    if judged is None:
        what, method = ("labels", "predict") if metric.needs == "label" else ("probabilities", "predict_proba")
        raise UsageError(f"The metric {metric.name!r} needs predicted {what}, got None; pass what `{method}` returns.")
    if not metric.rate:
        return float(metric.function(y_true, judged, classes))
    if seconds is None:
        raise UsageError(
            f"The metric {metric.name!r} is in {metric.unit} and needs the time of a decision; pass seconds=..."
        )
    return float(metric.function(y_true, judged, classes, seconds))


def chance_level(
    metric: str | Metric,
    y_true: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"],
    seconds: float | None = None,
) -> float:
    """Score of the best decoder that knows the class frequencies of the test set and ignores the data.

    It always answers with the most frequent class and states the class frequencies as probabilities. A fair level to beat: with
    half of the windows idle, the accuracy of such a decoder is 0.5 however many classes there are.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array(["idle", "idle", "idle", "left"])
    >>> chance_level("accuracy", y, np.array(["idle", "left", "right"])), chance_level("nmcc", y, np.array(["idle", "left"]))
    (0.75, 0.5)
    """
    check_labels(y_true, y_true)
    shares = np.bincount(label_codes(y_true, classes, "y_true"), minlength=len(classes)) / len(y_true)
    y_pred = np.full(len(y_true), classes[shares.argmax()], dtype=classes.dtype)
    return score(metric, y_true, y_pred, np.tile(shares, (len(y_true), 1)), classes, seconds)


def find_metric(metric: str | Metric) -> Metric:
    """The metric of that name; a `Metric` is returned as it is."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise UsageError(f"There is no metric {metric!r}; choose one of {', '.join(METRICS)}.")
    return METRICS[metric]
