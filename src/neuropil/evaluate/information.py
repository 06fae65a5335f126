"""How many bits a decoder passes on: Wolpaw's rate and the mutual information of its confusion matrix.

Both are stated per decision and turned into bits per minute with the time that one decision takes. Wolpaw's rate needs only an accuracy
but assumes that all classes are equally frequent and all errors equally likely; where classes are unbalanced (a continuous recording
with an idle class) it credits a decoder that always answers with the most frequent class. The mutual information assumes neither.

Wolpaw, Ramoser, McFarland & Pfurtscheller (1998). EEG-based communication: improved accuracy by response verification. IEEE
Transactions on Rehabilitation Engineering 6(3), 326-333.
Miller (1955). Note on the bias of information estimates. In: Information Theory in Psychology.
"""

from __future__ import annotations

from math import isfinite, log2

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from neuropil.errors import DataError, UsageError

SECONDS_PER_MINUTE = 60.0


def bits_wolpaw(p: float, n_classes: int) -> float:
    """Bits per decision of a decoder with accuracy `p`, after Wolpaw: log2 N + p log2 p + (1-p) log2[(1-p)/(N-1)].

    At or below the accuracy of a uniform guess, p <= 1/N, it is 0: the formula's rise towards p = 0 belongs to a decoder that
    knows what it gets wrong.

    Parameters
    ----------
    p : float
        Accuracy, between 0 and 1.
    n_classes : int
        Number of classes N that the decoder chooses from, idle included.

    Examples
    --------
    >>> round(bits_wolpaw(0.9, 2), 3)
    0.531
    """
    if not 0 <= p <= 1:
        raise UsageError(f"An accuracy lies between 0 and 1, got p={p}.")
    if n_classes < 2:
        raise UsageError(f"An information rate needs two classes or more, got n_classes={n_classes}.")
    if p <= 1 / n_classes:
        return 0.0
    bits = log2(n_classes) + p * log2(p)
    return bits if p == 1 else bits + (1 - p) * log2((1 - p) / (n_classes - 1))


def itr_wolpaw(p: float, n_classes: int, seconds: float) -> float:
    """Information transfer rate after Wolpaw in bits per minute.

    Parameters
    ----------
    p : float
        Accuracy, between 0 and 1.
    n_classes : int
        Number of classes that the decoder chooses from, idle included.
    seconds : float
        Time that one decision takes in s: the length of the window. Overlapping windows come more often than that, but consecutive
        decisions then share data; a rate with the step in place of the window has to be labelled as such.

    Returns
    -------
    float
        Bits per minute; 0 for p <= 1/n_classes.

    Notes
    -----
    The formula assumes equally frequent classes. With three classes of shares 1/2, 1/4, 1/4, always answering with the first has
    p = 1/2 > 1/3 and is credited 0.085 bit a decision, although it says nothing: use `itr_mutual_information` for such data.

    Examples
    --------
    >>> itr_wolpaw(1.0, 2, 2.0)
    30.0
    """
    return bits_wolpaw(p, n_classes) * _decisions_per_minute(seconds)


def mutual_information(cm: Int[ndarray, "true predicted"]) -> float:
    """Mutual information of the true and the predicted class in bits per decision, I = sum_kl p_kl log2[p_kl / (p_k. p_.l)].

    It is the plug-in estimate from the counts, which is on average too high by about `mutual_information_bias(cm)`.

    Parameters
    ----------
    cm : ndarray of int, shape (n_classes, n_classes)
        Confusion matrix: row = true class, column = predicted class. Empty rows and columns contribute nothing.

    Returns
    -------
    float
        Between 0 and log2 of the number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> mutual_information(np.array([[5, 0], [0, 5]])), mutual_information(np.array([[5, 0], [5, 0]]))
    (1.0, 0.0)
    """
    _check_counts(cm)
    n = cm.sum()
    occurs = cm > 0
    joint = cm[occurs] / n
    independent = (np.outer(cm.sum(1), cm.sum(0))[occurs] / n) / n
    return max(0.0, float(np.sum(joint * np.log2(joint / independent))))


def mutual_information_bias(cm: Int[ndarray, "true predicted"]) -> float:
    """Expected surplus of `mutual_information` for independent classes, to first order: (R - 1)(C - 1) / (2 n ln 2) bits.

    R and C are the numbers of classes that occur in the truth and in the predictions, n the number of decisions. With three classes
    and 60 decisions it is 0.048 bit, 1.4 bits/min for windows of 2 s: subtract it before a small rate is called one.

    Parameters
    ----------
    cm : ndarray of int, shape (n_classes, n_classes)
        Confusion matrix: row = true class, column = predicted class.

    Examples
    --------
    >>> import numpy as np
    >>> round(mutual_information_bias(np.array([[10, 20], [15, 15]])), 4)
    0.012
    """
    _check_counts(cm)
    n_true, n_predicted = int(np.any(cm, axis=1).sum()), int(np.any(cm, axis=0).sum())
    return (n_true - 1) * (n_predicted - 1) / (2 * float(cm.sum()) * float(np.log(2)))


def itr_mutual_information(cm: Int[ndarray, "true predicted"], seconds: float) -> float:
    """Information transfer rate in bits per minute from the mutual information of a confusion matrix.

    Parameters
    ----------
    cm : ndarray of int, shape (n_classes, n_classes)
        Confusion matrix: row = true class, column = predicted class.
    seconds : float
        Time that one decision takes in s.

    Returns
    -------
    float
        Bits per minute, at class frequencies as they were in the test data.

    Examples
    --------
    >>> import numpy as np
    >>> itr_mutual_information(np.array([[5, 0], [0, 5]]), 2.0)
    30.0
    """
    return mutual_information(cm) * _decisions_per_minute(seconds)


def _decisions_per_minute(seconds: float) -> float:
    if not (seconds > 0 and isfinite(seconds)):
        raise UsageError(f"A decision takes a positive, finite time in seconds, got seconds={seconds}.")
    return SECONDS_PER_MINUTE / seconds


def _check_counts(cm: ndarray) -> None:
    if cm.ndim != 2 or cm.shape[0] != cm.shape[1]:
        raise DataError(f"A confusion matrix is square (true class, predicted class), got shape {cm.shape}.")
    if (cm < 0).any() or not cm.any():
        raise DataError(
            "A confusion matrix holds counts, none negative and at least one positive; pass counts, not rates."
        )
