"""What decoders of fMRI volumes share: targets that travel with the windows, scans, units, and the correlation over whole scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray

from neuropil import lagged
from neuropil.errors import DataError
from neuropil.signature import coordinate
from neuropil.stats.correlation import row_correlation

MICROVOLTS = {"V": 1e6, "mV": 1e3, "uV": 1.0, "µV": 1.0, "nV": 1e-3}


def in_microvolts(array: ndarray, X: Any) -> ndarray:
    """Windows in µV, float32: what labelled windows say of their unit counts, plain arrays are taken as they are."""
    unit = str(X.attrs.get("unit", "uV")) if isinstance(X, xr.DataArray) else "uV"
    if unit not in MICROVOLTS:
        raise DataError(
            f"EEG must be in {', '.join(MICROVOLTS)}, got windows in {unit!r}; choose the stream of the EEG."
        )
    if array.dtype.kind not in "fiu":
        return array
    return (array * MICROVOLTS[unit]).astype(np.float32)


def targets_of(X: Any, y: Any = None) -> Any:
    """`y`, or the targets that windows from `make_lagged_epochs` carry."""
    if y is None and isinstance(X, xr.DataArray) and lagged.targets(X)[0]:
        return lagged.targets(X)[1]
    if y is None:
        raise DataError("Expected targets, got none; pass y, or windows from make_lagged_epochs, which carry them.")
    return y


def scans_of(X: Any, groups: Any = None) -> ndarray | None:
    """One name a scan for every window: `groups`, or subject, session and recording of labelled windows; None if nobody knows."""
    if groups is not None:
        return np.asarray(groups)
    columns = [coordinate(X, name) for name in ("subject", "session", "recording")]
    parts = [column.astype(str) for column in columns if column is not None]
    return np.array([" ".join(row) for row in zip(*parts, strict=True)]) if parts else None


def scan_correlations(y_true: Any, y_pred: Any, scans: Any = None) -> Float[ndarray, "scan region"]:
    """Pearson correlation of every region over every whole scan; never averaged over shorter pieces, which would bias it.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_volumes,) or (n_volumes, n_regions)
    scans : array-like of shape (n_volumes,), optional
        Scan of every volume; one scan without.

    Returns
    -------
    ndarray of shape (n_scans, n_regions)
        Scans in the order of their names; 0 where a course is constant.

    Examples
    --------
    >>> scan_correlations([[1.0], [2.0], [1.0], [2.0]], [[0.0], [3.0], [2.0], [1.0]], ["a", "a", "b", "b"])
    array([[ 1.],
           [-1.]])
    """
    true, predicted = (np.asarray(values, dtype=float) for values in (y_true, y_pred))
    true, predicted = (values.reshape(len(values), -1) for values in (true, predicted))
    if true.shape != predicted.shape:
        raise DataError(f"Expected predictions of the shape of the targets, got {predicted.shape} for {true.shape}.")
    names = np.zeros(len(true), dtype=int) if scans is None else np.asarray(scans)
    if len(names) != len(true):
        raise DataError(f"Expected one scan for each of the {len(true)} volumes, got {len(names)}.")
    return np.stack([row_correlation(true[names == name].T, predicted[names == name].T) for name in np.unique(names)])
