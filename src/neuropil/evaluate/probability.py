"""How good predicted probabilities are: whether they rank, are likely, and mean what they say.

None of these scores returns NaN. A class that is absent from the test set takes no part in the mean of the ROC AUC; where no class is
both present and not alone, there is no ranking to be judged and the area is 0.5. Log loss and calibration need no special case.

Fawcett (2006). An introduction to ROC analysis. Pattern Recognition Letters 27(8), 861-874.
Nixon, Dusenberry, Zhang, Jerfel & Tran (2019). Measuring calibration in deep learning. CVPR workshops.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.agreement import label_codes

N_CALIBRATION_BINS = 10


def roc_auc(
    y_true: Shaped[ndarray, " window"], proba: Float[ndarray, "window class"], classes: Shaped[ndarray, " class"]
) -> float:
    """Area under the ROC curve: the chance that a window of the class scores higher than one of another class, ties counting one half.

    Two classes: of the second column. More: one against the rest, averaged over the classes that are present and not alone.

    Parameters
    ----------
    y_true : ndarray of shape (n_windows,)
    proba : ndarray of shape (n_windows, n_classes)
        Probabilities or any finite scores that grow with them.
    classes : ndarray of shape (n_classes,)
        The labels of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> roc_auc(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]), np.array([0, 1]))
    1.0
    """
    _check_scores(y_true, proba, classes)
    codes = label_codes(y_true, classes, "y_true")
    columns = [1] if len(classes) == 2 else range(len(classes))
    areas = [_area(codes == k, proba[:, k]) for k in columns if 0 < np.sum(codes == k) < len(codes)]
    return float(np.mean(areas)) if areas else 0.5


def log_loss(
    y_true: Shaped[ndarray, " window"], proba: Float[ndarray, "window class"], classes: Shaped[ndarray, " class"]
) -> float:
    """Mean negative log-probability (nats) of the true class, with probabilities below the resolution of their dtype raised to it.

    Examples
    --------
    >>> import numpy as np
    >>> round(log_loss(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1])), 4)
    0.6931
    """
    _check_scores(y_true, proba, classes)
    _check_probabilities(proba)
    resolution = float(np.finfo(proba.dtype).eps)
    of_true = proba[np.arange(len(proba)), label_codes(y_true, classes, "y_true")].astype(np.float64)
    return -float(np.mean(np.log(np.clip(of_true, resolution, 1.0)))) + 0.0


def calibration_error(
    y_true: Shaped[ndarray, " window"],
    proba: Float[ndarray, "window class"],
    classes: Shaped[ndarray, " class"],
    n_bins: int = N_CALIBRATION_BINS,
) -> float:
    """Expected calibration error: mean distance between the confidence of the likeliest class and how often it was right.

    The windows are sorted by confidence into bins of equal *number*, since bins of equal width leave most of them empty in a small test
    set; windows of equal confidence share a bin. Within a bin, |mean confidence - accuracy|; over bins, the mean weighted by
    windows. Its expectation is above 0 for a calibrated decoder too, by up to 0.4 / sqrt(windows a bin): compare like with like.

    Parameters
    ----------
    y_true : ndarray of shape (n_windows,)
    proba : ndarray of shape (n_windows, n_classes)
        Rows sum to 1. Of equal probabilities the first counts as the likeliest.
    classes : ndarray of shape (n_classes,)
        The labels of the columns.
    n_bins : int, default 10
        Number of bins; no more than there are windows are used.
    """
    _check_scores(y_true, proba, classes)
    _check_probabilities(proba)
    if n_bins < 1:
        raise UsageError(f"Calibration needs one bin or more, got n_bins={n_bins}.")
    confidence = proba.max(axis=1).astype(np.float64)
    right = proba.argmax(axis=1) == label_codes(y_true, classes, "y_true")
    n_bins = min(n_bins, len(confidence))
    bins = np.minimum(((_ranks(confidence) - 0.5) / len(confidence) * n_bins).astype(int), n_bins - 1)
    surplus = np.bincount(bins, weights=confidence - right, minlength=n_bins)
    return float(np.abs(surplus).sum() / len(confidence))


def _ranks(values: ndarray) -> ndarray:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _area(is_class: ndarray, scores: ndarray) -> float:
    n_in, n_out = int(is_class.sum()), int((~is_class).sum())
    return (_ranks(scores)[is_class].sum() - n_in * (n_in + 1) / 2) / (n_in * n_out)


def _check_scores(y_true: ndarray, proba: ndarray, classes: ndarray) -> None:
    if proba.shape != (len(y_true), len(classes)):
        raise DataError(
            f"Probabilities need one row a window and one column a class, {(len(y_true), len(classes))}, got shape {proba.shape}."
        )
    if not len(y_true):
        raise DataError("There is no window to score; the test set is empty.")
    if not np.isfinite(proba).all():
        raise DataError(
            "Predicted probabilities must be finite, got NaN or infinity; look at the training of the decoder."
        )


def _check_probabilities(proba: ndarray) -> None:
    tolerance = max(1e-6, 32 * float(np.finfo(proba.dtype).eps))
    worst = np.abs(proba.astype(np.float64).sum(axis=1) - 1).max()
    if worst > tolerance or (proba < -tolerance).any():
        raise DataError(
            f"Every row of probabilities must be non-negative and sum to 1, one is off by {worst:.2g}; pass what `predict_proba` "
            "returns, not decision values."
        )
