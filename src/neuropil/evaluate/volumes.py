"""How well the course of a region is predicted: Pearson r over whole scans, with intervals over scans and a null that keeps slowness.

Haemodynamic courses are smooth, so that two of them that have nothing to do with each other correlate by chance far beyond what the number
of volumes suggests. The null therefore keeps the spectrum: surrogate courses have the amplitudes of the measured one and random phases.

Theiler, Eubank, Longtin, Galdrikian & Farmer (1992). Testing for nonlinearity in time series: the method of surrogate data. Physica D 58.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Real, Shaped
from numpy import ndarray
from numpy.random import Generator

from neuropil.decoding.volumes import scan_correlations, scans_of
from neuropil.stats.resampling import permutation_chance, rotate_within, student_interval

__all__ = ["randomise_phases", "region_table", "rotate_within", "scan_correlations", "scans_of"]


def randomise_phases(
    courses: Real[ndarray, " volume"], scans: Shaped[ndarray, " volume"] | None, rng: Generator
) -> Real[ndarray, " volume"]:
    """Courses with the same amplitude spectrum and random phases, scan by scan; goes where `rotate_within` goes.

    Examples
    --------
    >>> course = np.random.default_rng(0).normal(size=64).cumsum()
    >>> surrogate = randomise_phases(course, None, np.random.default_rng(1))
    >>> bool(np.allclose(np.abs(np.fft.rfft(surrogate)), np.abs(np.fft.rfft(course))))
    True
    """
    out = np.array(courses, dtype=np.float64)
    names = np.zeros(len(out), dtype=int) if scans is None else scans
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        spectrum = np.fft.rfft(out[rows])
        turned = spectrum * np.exp(2j * np.pi * rng.random(len(spectrum)))
        turned[0] = spectrum[0]
        if len(rows) % 2 == 0:
            turned[-1] = spectrum[-1]
        out[rows] = np.fft.irfft(turned, len(rows))
    return out


def region_table(
    y_true: Any,
    y_pred: Any,
    scans: Any,
    regions: list[str],
    *,
    n_surrogates: int = 500,
    random_state: int = 0,
) -> pd.DataFrame:
    """One row a region, and one for their mean: r over whole scans with a 95 % interval over scans, and against the null.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_volumes, n_regions)
    scans : array-like of shape (n_volumes,)
    regions : list of str
    n_surrogates : int, default 500
        Measured courses with random phases that the predictions are compared with.
    random_state : int, default 0

    Returns
    -------
    DataFrame
        `region`, `r` (mean over scans), `low`, `high` (Student's interval of Fisher's z; NaN with one scan), `n_scans`, `null_95` (the
        95 % quantile of |r| of surrogates), `p` (of so high an r by chance).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(100, 1))
    >>> table = region_table(y, y + rng.normal(size=(100, 1)), np.repeat(["a", "b"], 50), ["thalamus"], n_surrogates=50)
    >>> table["region"].tolist(), bool(table["r"][0] > table["null_95"][0])
    (['thalamus', 'mean'], True)
    """
    true, predicted = (np.asarray(values, dtype=float).reshape(len(values), -1) for values in (y_true, y_pred))
    names, rng = np.asarray(scans), np.random.default_rng(random_state)
    by_scan = scan_correlations(true, predicted, names)
    rows, nulls = [], []
    for k, region in enumerate(regions):
        test = permutation_chance(
            lambda a, b: float(scan_correlations(a, b, names).mean()),
            true[:, k],
            predicted[:, k],
            names,
            rearrange=randomise_phases,
            n_permutations=n_surrogates,
            random_state=rng,
        )
        nulls.append(test.null)
        rows.append(_row(region, by_scan[:, k], test.null))
    if len(regions) > 0:
        rows.append(_row("mean", by_scan.mean(axis=1), np.mean(nulls, axis=0)))
    return pd.DataFrame(rows)


def _row(region: str, r: ndarray, null: ndarray) -> dict[str, Any]:
    # on Fisher's scale, on which correlations are nearly normal and cannot leave [-1, 1]
    interval = student_interval(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))) if len(r) > 1 and np.ptp(r) > 0 else None
    return {
        "region": region,
        "r": float(r.mean()),
        "low": float("nan") if interval is None else float(np.tanh(interval.low)),
        "high": float("nan") if interval is None else float(np.tanh(interval.high)),
        "n_scans": len(r),
        "null_95": float(np.quantile(np.abs(null), 0.95)),
        "p": float((1 + (null >= r.mean()).sum()) / (1 + len(null))),
    }
