"""What a spatial filter responds to: activation patterns.

The weights of a filter tell how to extract a source, not where it is: a channel without any signal gets a large weight if it helps to
cancel noise. Only the pattern, how the source projects to the channels, may be drawn on a head and interpreted.

Haufe, Meinecke, Görgen, Dähne, Haynes, Blankertz & Bießmann (2014). On the interpretation of weight vectors of linear models in
multivariate neuroimaging. NeuroImage 87, 96-110.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.signal.covariance import RTOL


def activation_patterns(
    filters: Real[ndarray, "channel component"], covariance: Real[ndarray, "channel channel"]
) -> Float64[ndarray, "channel component"]:
    r"""Patterns of linear filters, :math:`A = \Sigma_x W \Sigma_s^{-1}` with :math:`\Sigma_s = W^\top \Sigma_x W`.

    The columns of A are how a unit of each extracted source :math:`s = W^\top x` shows in the channels: the least-squares solution of
    :math:`x \approx A s`. For as many independent filters as channels it is :math:`W^{-\top}`.

    Parameters
    ----------
    filters : ndarray of shape (n_channels, n_components)
        One filter a column (for a classifier, ``coef_.T``).
    covariance : ndarray of shape (n_channels, n_channels)
        Covariance of the data that the filters act on, over all classes together.

    Returns
    -------
    ndarray of shape (n_channels, n_components), float64
        In the unit of the data per unit of the source. Filters that depend on each other share their pattern (pseudo-inverse).

    Raises
    ------
    DataError
        If the shapes do not fit or the filters pass none of the data.

    Examples
    --------
    A filter that cancels the noise of channel 1 with channel 2, which sees no signal:

    >>> import numpy as np
    >>> signal, noise = np.eye(2)[:, :1], np.ones((2, 1))
    >>> covariance = signal @ signal.T + noise @ noise.T
    >>> activation_patterns(np.array([[1.0], [-1.0]]), covariance).ravel()
    array([1., 0.])
    """
    if filters.ndim != 2 or covariance.shape != (len(filters), len(filters)):
        raise DataError(
            f"Filters of shape (channels, components) and a covariance (channels, channels) must fit, got {filters.shape} and "
            f"{covariance.shape}."
        )
    filters, covariance = np.asarray(filters, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if not (np.isfinite(filters).all() and np.isfinite(covariance).all()):
        raise DataError(
            "Filters and covariance must be finite, got NaN or infinity; look for broken channels in the data."
        )
    of_channels = covariance @ filters
    of_sources = filters.T @ of_channels
    deviation = np.sqrt(np.diag(of_sources).clip(min=0))
    if not (deviation > 0).all():
        raise DataError(
            f"Filter {int(np.argmin(deviation > 0))} passes none of the data, its source has no variance and hence no pattern."
        )
    correlation = of_sources / np.outer(deviation, deviation)
    return (of_channels / deviation) @ np.linalg.pinv(correlation, rcond=RTOL, hermitian=True) / deviation
