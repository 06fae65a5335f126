"""Spatial covariances of windows, batched: estimates, shrinkage, whitening.

Everything is computed in double precision whatever the data's: squares of covariances of signals in volts or tesla fall below the range
of single precision. Windows are worked through in blocks, so that memory beyond the result stays small.

Ledoit & Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal of Multivariate Analysis 88(2).
Chen, Wiesel, Eldar & Hero (2010). Shrinkage algorithms for MMSE covariance estimation. IEEE Transactions on Signal Processing 58(10).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

BLOCK_BYTES = 2**21
RTOL = 1e-10


class Shrunk(NamedTuple):
    r"""Covariances drawn towards a multiple of the identity.

    Attributes
    ----------
    covariances : ndarray of shape (n_windows, n_channels, n_channels)
        :math:`(1 - \rho) S + \rho\, \mu I` with the sample covariance :math:`S` and its mean variance :math:`\mu = \mathrm{tr}(S) / C`.
    shrinkage : ndarray of shape (n_windows,)
        :math:`\rho`, between 0 and 1.
    """

    covariances: Float64[ndarray, "window channel channel"]
    shrinkage: Float64[ndarray, " window"]


def covariances(
    windows: Real[ndarray, "window channel time"], *, centred: bool = False
) -> Float64[ndarray, "window channel channel"]:
    """Covariance of the channels over the time of every window, divided by the number of samples.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
    centred : bool, default False
        The channels' means are known to be zero (band-passed data) and are not subtracted: second moments. That keeps the rank of a
        short window and saves a copy.

    Returns
    -------
    ndarray of shape (n_windows, n_channels, n_channels), float64
        Exactly symmetric, in the squared unit of the data.

    Examples
    --------
    >>> import numpy as np
    >>> covariances(np.array([[[1.0, -1.0], [2.0, -2.0]]]))
    array([[[1., 2.],
            [2., 4.]]])
    """
    _check_windows(windows)
    n_windows, n_channels, n_times = windows.shape
    out = np.empty((n_windows, n_channels, n_channels))
    for rows, block in _blocks(windows, centred):
        np.matmul(block, block.swapaxes(1, 2), out=out[rows])
    out /= n_times
    return _symmetrise(out)


def shrunk_covariances(
    windows: Real[ndarray, "window channel time"], shrinkage: float, *, centred: bool = False
) -> Float64[ndarray, "window channel channel"]:
    """Covariances with a fixed share of their mean variance: (1 - shrinkage) S + shrinkage tr(S)/C I.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
    shrinkage : float
        Between 0 (none) and 1 (a multiple of the identity).
    centred : bool, default False
        As in `covariances`.
    """
    if not 0 <= shrinkage <= 1:
        raise UsageError(f"Shrinkage lies between 0 and 1, got {shrinkage}.")
    sample = covariances(windows, centred=centred)
    return _shrink(sample, np.full(len(sample), float(shrinkage)))


def ledoit_wolf(windows: Real[ndarray, "window channel time"], *, centred: bool = False) -> Shrunk:
    r"""Covariances shrunk by what Ledoit and Wolf found best for samples of any distribution.

    With samples :math:`x_t` of C channels and T times, :math:`\rho = \min(\beta, \delta) / \delta`, where
    :math:`\delta = \|S - \mu I\|_F^2` and :math:`\beta = \frac{1}{T^2} \sum_t \|x_t x_t^\top - S\|_F^2`. Samples that follow each other
    in time depend on each other, so that it shrinks less than their true number would ask for.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
    centred : bool, default False
        As in `covariances`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((5, 8, 20))
    >>> bool(ledoit_wolf(x).shrinkage.min() > 0.5)
    True
    """
    _check_windows(windows)
    n_windows, n_channels, n_times = windows.shape
    sample = np.empty((n_windows, n_channels, n_channels))
    fourth = np.empty(n_windows)
    for rows, block in _blocks(windows, centred):
        np.matmul(block, block.swapaxes(1, 2), out=sample[rows])
        fourth[rows] = np.einsum("wt,wt->w", *[np.einsum("wct,wct->wt", block, block)] * 2)
    sample = _symmetrise(sample / n_times)
    squared = np.einsum("wij,wij->w", sample, sample)
    delta = squared - np.trace(sample, axis1=1, axis2=2) ** 2 / n_channels
    beta = np.minimum((fourth / n_times - squared) / n_times, delta)
    shrinkage = np.divide(beta, delta, out=np.zeros(n_windows), where=(beta > 0) & (delta > 0))
    return Shrunk(_shrink(sample, shrinkage), shrinkage)


def oas(windows: Real[ndarray, "window channel time"], *, centred: bool = False) -> Shrunk:
    r"""Covariances by oracle approximating shrinkage: better than Ledoit-Wolf where Gaussian samples are few.

    :math:`\rho = \min\{1, (m + \mu^2) / [(T + 1)(m - \mu^2 / C)]\}` with m the mean of the squared entries of S.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
    centred : bool, default False
        As in `covariances`.
    """
    sample = covariances(windows, centred=centred)
    n_channels, n_times = windows.shape[1:]
    mean_square = np.mean(sample**2, axis=(1, 2))
    mean_variance = np.trace(sample, axis1=1, axis2=2) / n_channels
    spread = (n_times + 1) * (mean_square - mean_variance**2 / n_channels)
    shrinkage = np.divide(mean_square + mean_variance**2, spread, out=np.ones(len(sample)), where=spread > 0)
    shrinkage = np.minimum(shrinkage, 1.0)
    return Shrunk(_shrink(sample, shrinkage), shrinkage)


def euclidean_mean(
    matrices: Real[ndarray, "matrix channel channel"], weights: Real[ndarray, " matrix"] | None = None
) -> Float64[ndarray, "channel channel"]:
    """Arithmetic mean of matrices, weighted or not.

    Parameters
    ----------
    matrices : ndarray of shape (n_matrices, n_channels, n_channels)
    weights : ndarray of shape (n_matrices,), optional
        Not negative, not all zero; only their ratios count.
    """
    if not len(matrices):
        raise DataError("A mean needs one matrix or more, got none.")
    if weights is None:
        return np.asarray(np.mean(matrices, axis=0, dtype=np.float64))
    if len(weights) != len(matrices) or (weights < 0).any() or not (weights.sum() > 0):
        raise UsageError(
            f"A weighted mean needs one weight a matrix, none negative and one positive, got {weights.tolist()}."
        )
    return np.tensordot(weights / weights.sum(), matrices.astype(np.float64, copy=False), axes=1)


def rank(matrices: Real[ndarray, "*batch channel channel"], rtol: float = RTOL) -> Int[ndarray, "*batch"]:
    """Numerical rank of symmetric positive semi-definite matrices: their eigenvalues above `rtol` times the largest.

    The default tells apart what is zero but for rounding from what is weak: a direction taken out of single-precision data by an average
    reference, ICA or interpolation keeps about 1e-14 of the largest eigenvalue, weak directions of EEG and MEG 1e-9 or more. In single
    precision *with an offset* far larger than the signal rounding leaves more: remove the offset first.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((1, 8, 500))
    >>> rank(covariances(x - x.mean(axis=1, keepdims=True)))
    array([7])
    """
    values, _ = _eigh(matrices, rtol)
    return np.asarray(_kept(values, rtol).sum(axis=-1))


def inv_sqrtm(
    matrices: Real[ndarray, "*batch channel channel"], rtol: float = RTOL
) -> Float64[ndarray, "*batch channel channel"]:
    r"""Symmetric inverse square root :math:`M^{-1/2}` of positive semi-definite matrices, the whitening matrix.

    With :math:`M = U \Lambda U^\top`, it is :math:`U \Lambda^{-1/2} U^\top` over the eigenvalues above `rtol` times the largest. The
    others count as zero and are left out, so that of a rank-deficient matrix it is the pseudo-inverse square root: whitening does not
    blow up directions that hold no signal.

    Parameters
    ----------
    matrices : ndarray of shape (..., n_channels, n_channels)
        Symmetric, without eigenvalues below -1e-7 times the largest.
    rtol : float, default 1e-10
        See `rank`. Covariances that were computed in single precision themselves need 1e-6.

    Raises
    ------
    DataError
        If a matrix is not finite, not symmetric, not positive semi-definite, or zero.

    Examples
    --------
    >>> import numpy as np
    >>> inv_sqrtm(np.diag([4.0, 0.25, 0.0]))
    array([[0.5, 0. , 0. ],
           [0. , 2. , 0. ],
           [0. , 0. , 0. ]])
    """
    values, vectors = _eigh(matrices, rtol)
    kept = _kept(values, rtol)
    scale = np.divide(1.0, np.sqrt(np.where(kept, values, 1.0)), out=np.zeros_like(values), where=kept)
    return _symmetrise((vectors * scale[..., None, :]) @ vectors.swapaxes(-1, -2))


def _kept(values: ndarray, rtol: float) -> ndarray:
    return values > rtol * values[..., -1:]


def _eigh(matrices: ndarray, rtol: float) -> tuple[ndarray, ndarray]:
    """Eigenvalues (ascending) and eigenvectors of matrices that have been looked at."""
    if not 0 < rtol < 1:
        raise UsageError(f"rtol lies between 0 and 1, got {rtol}.")
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise DataError(f"Expected square matrices, got shape {matrices.shape}.")
    matrices = np.asarray(matrices, dtype=np.float64)
    if not np.isfinite(matrices).all():
        raise DataError("Covariances must be finite, got NaN or infinity; look for broken channels in the data.")
    size = np.abs(matrices).max(axis=(-1, -2), initial=0.0, keepdims=True)
    asymmetry = np.abs(matrices - matrices.swapaxes(-1, -2))
    if (asymmetry > 1e-6 * size).any():
        raise DataError(
            "Expected symmetric matrices such as covariances, got one that is not; pass (M + M') / 2 if that is meant."
        )
    values, vectors = np.linalg.eigh((matrices + matrices.swapaxes(-1, -2)) / 2)
    if (values[..., -1] <= 0).any():
        raise DataError("A covariance has no positive eigenvalue; leave out windows in which all channels are flat.")
    if (values[..., 0] < -max(rtol, 1e-7) * values[..., -1]).any():
        worst = float((values[..., 0] / values[..., -1]).min())
        raise DataError(
            f"Expected positive semi-definite matrices, got an eigenvalue of {worst:.2g} times the largest."
        )
    return values, vectors


def _blocks(windows: ndarray, centred: bool) -> Iterator[tuple[slice, ndarray]]:
    """The windows in double precision and, unless they are centred already, without their channels' means, a block at a time."""
    per_block = max(1, BLOCK_BYTES // max(1, 8 * windows.shape[1] * windows.shape[2]))
    for start in range(0, len(windows), per_block):
        rows = slice(start, start + per_block)
        block = windows[rows].astype(np.float64, copy=False)
        if not np.isfinite(block).all():
            bad = start + int(np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))[0])
            raise DataError(
                f"Covariances need finite data, got NaN or infinity in window {bad}; interpolate or leave it out."
            )
        yield rows, block if centred else block - block.mean(axis=2, keepdims=True)


def _symmetrise(matrices: ndarray) -> ndarray:
    return (matrices + matrices.swapaxes(-1, -2)) / 2


def _shrink(sample: ndarray, shrinkage: ndarray) -> ndarray:
    n_channels = sample.shape[1]
    target = shrinkage * np.trace(sample, axis1=1, axis2=2) / n_channels
    shrunk = (1 - shrinkage)[:, None, None] * sample
    diagonal = np.arange(n_channels)
    shrunk[:, diagonal, diagonal] += target[:, None]
    return shrunk


def _check_windows(windows: ndarray) -> None:
    if windows.ndim != 3:
        raise DataError(
            f"Expected windows of shape (windows, channels, times), got {windows.shape}; add the missing axis."
        )
    if not windows.shape[1] or not windows.shape[2]:
        raise DataError(f"A covariance needs one channel and one sample or more, got windows of shape {windows.shape}.")
