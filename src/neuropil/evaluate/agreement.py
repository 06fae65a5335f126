"""How far predicted labels agree with the true ones, defined for every test set, also for one that lacks a class.

None of these scores returns NaN. What a class does that is absent from the test set:

- accuracy, kappa, MCC: its row of the confusion matrix is empty; its column counts as errors of the classes present.
- balanced accuracy: the mean is over the classes present. Recall of an absent class is reported as 0, beside its count of 0.
- macro F1: a class that is neither present nor predicted is left out; one that is predicted only has F1 = 0.
- kappa and MCC are 0 where they are 0/0 (one class predicted throughout, or one class present): no agreement beyond chance was shown.

Gorodkin (2004). Comparing two K-category assignments by a K-category correlation coefficient. Computational Biology and Chemistry 28.
Cohen (1960). A coefficient of agreement for nominal scales. Educational and Psychological Measurement 20.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from neuropil.errors import DataError


def confusion_matrix(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> Int[ndarray, "class class"]:
    """Count the windows of every true class (row) that got every label (column).

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_windows,)
        Labels: numbers or strings.
    classes : ndarray of shape (n_classes,), optional
        The order of rows and columns; classes without a window keep an empty row. Default: the sorted labels that occur.

    Raises
    ------
    DataError
        If there is nothing to score, the lengths differ, or a label is not one of `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> confusion_matrix(np.array(["left", "left", "right"]), np.array(["left", "right", "right"]))
    array([[1, 1],
           [0, 1]])
    """
    check_labels(y_true, y_pred)
    classes = np.unique(np.concatenate([y_true, y_pred])) if classes is None else classes
    rows, columns = label_codes(y_true, classes, "y_true"), label_codes(y_pred, classes, "y_pred")
    return np.bincount(rows * len(classes) + columns, minlength=len(classes) ** 2).reshape(len(classes), -1)


def accuracy(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    """Share of windows that got their label. Misleading where classes are unbalanced; never rank by it there."""
    cm = confusion_matrix(y_true, y_pred, classes)
    return float(np.trace(cm) / cm.sum())


def recall_per_class(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> Float[ndarray, " class"]:
    """Share of the windows of every class that got their label; 0 for a class without a window."""
    cm = confusion_matrix(y_true, y_pred, classes)
    return np.diag(cm) / np.maximum(cm.sum(axis=1), 1)


def balanced_accuracy(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    """Mean recall of the classes present in `y_true`; 1 / their number for any decoder that ignores the data."""
    cm = confusion_matrix(y_true, y_pred, classes)
    n_per_class = cm.sum(axis=1)
    present = n_per_class > 0
    return float(np.mean(np.diag(cm)[present] / n_per_class[present]))


def macro_f1(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    """Mean over classes of the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), over classes that occur or are predicted."""
    cm = confusion_matrix(y_true, y_pred, classes)
    occurrences = cm.sum(axis=0) + cm.sum(axis=1)
    occurs = occurrences > 0
    return float(np.mean(2 * np.diag(cm)[occurs] / occurrences[occurs]))


def cohen_kappa(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    """Cohen's kappa, (p_o - p_e) / (1 - p_e): agreement beyond that of independent raters with the same class frequencies; 0 for 0/0."""
    cm = confusion_matrix(y_true, y_pred, classes).astype(np.float64)
    expected, n = cm.sum(axis=1) @ cm.sum(axis=0), cm.sum()
    return float((np.trace(cm) * n - expected) / (n**2 - expected)) if expected < n**2 else 0.0


def mcc(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    r"""Matthews correlation for any number of classes (Gorodkin's R_K); 0 if undefined.

    With n windows, c of them right, t_k of class k and p_k predicted as class k,

    .. math:: R_K = \frac{c n - \sum_k p_k t_k}{\sqrt{(n^2 - \sum_k p_k^2)(n^2 - \sum_k t_k^2)}} .

    Returns
    -------
    float
        1 for a perfect decoder, 0 for one that ignores the data whatever the class frequencies, -1 only for two classes.
        Unstable where a class has few windows: report their number with it.
    """
    cm = confusion_matrix(y_true, y_pred, classes).astype(np.float64)
    true, predicted, n = cm.sum(axis=1), cm.sum(axis=0), cm.sum()
    spread = (n**2 - predicted @ predicted) * (n**2 - true @ true)
    return float(np.clip((np.trace(cm) * n - predicted @ true) / np.sqrt(spread), -1, 1)) if spread > 0 else 0.0


def nmcc(
    y_true: Shaped[ndarray, " window"],
    y_pred: Shaped[ndarray, " window"],
    classes: Shaped[ndarray, " class"] | None = None,
) -> float:
    """Normalised Matthews correlation, (`mcc` + 1) / 2: 0.5 for a decoder that ignores the data, 1 for a perfect one.

    Examples
    --------
    >>> import numpy as np
    >>> nmcc(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])), nmcc(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]))
    (1.0, 0.5)
    """
    return (mcc(y_true, y_pred, classes) + 1) / 2


def label_codes(labels: ndarray, classes: ndarray, name: str) -> ndarray:
    """Position of every label in `classes`."""
    if len(np.unique(classes)) != len(classes) or not len(classes):
        raise DataError(f"classes must name every class once, got {classes.tolist()}.")
    if (labels.dtype.kind in "biuf") != (classes.dtype.kind in "biuf"):
        raise DataError(
            f"{name} and classes must both be numbers or both be names, got {labels.dtype} and {classes.dtype}."
        )
    order = np.argsort(classes, kind="stable")
    codes = order[np.minimum(np.searchsorted(classes[order], labels), len(classes) - 1)]
    unknown = labels[classes[codes] != labels]
    if len(unknown):
        raise DataError(
            f"{name} holds the label {unknown[0].item() if hasattr(unknown[0], 'item') else unknown[0]!r}, which is not one of the "
            f"classes {classes.tolist()}; pass all classes of the task."
        )
    return codes


def check_labels(y_true: ndarray, y_pred: ndarray) -> None:
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise DataError(
            f"True and predicted labels must be one a window, got shapes {y_true.shape} and {y_pred.shape}; predict the same windows."
        )
    if not len(y_true):
        raise DataError("There is no window to score; the test set is empty.")
