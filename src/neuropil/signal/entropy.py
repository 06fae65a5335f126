"""Differential entropy in frequency bands: half the binary logarithm of the power that a causal filter lets through.

A Gaussian signal of variance s^2 has the differential entropy h = 1/2 log2(2 pi e s^2) bits. Per channel and band, s^2 is the variance of
the band-passed samples of a window, so that h is the logarithm of band power: one more means twice the amplitude. Filters are causal
Butterworth band-passes that start from rest, as `scipy.signal.sosfilt` runs them; a constant offset therefore acts as a step at the first
sample and should be taken off before.

`differential_entropy` filters every window by itself, `sliding_differential_entropy` a continuous signal once. Both run through compiled
code (`signal.cascade`) that keeps no filtered copy: memory does not grow with the length of the signal beyond the result.

Duan, Zhu & Lu (2013). Differential entropy feature for EEG-based emotion classification. 6th International IEEE/EMBS Conference on Neural
Engineering, 81-84.
Shi, Jiao & Lu (2013). Differential entropy feature for EEG-based vigilance estimation. 35th Annual International Conference of the IEEE
EMBS, 6627-6630.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import ceil, e, log2, pi

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.signal.filters import butterworth

CHUNK = 1024
ROWS_AT_ONCE = 1024
PERIODS = 2
FLOOR = 1e-40

Bands = Mapping[str, tuple[float, float]] | Sequence[tuple[float, float]]


def differential_entropy(
    windows: Real[ndarray, "*batch time"],
    sfreq: float,
    bands: Bands,
    order: int = 5,
    *,
    floor: float = FLOOR,
    n_jobs: int | None = None,
) -> Float64[ndarray, "*batch band"]:
    """Differential entropy of every window in every band, each window filtered by itself, causally and from rest.

    Parameters
    ----------
    windows : ndarray of shape (..., n_times)
        Finite, for example (n_windows, n_channels, n_times); two periods of the lowest band edge or longer.
    sfreq : float
        Sampling rate in Hz.
    bands : mapping or sequence of (low, high)
        Edges in Hz, 0 < low < high < sfreq/2.
    order : int, default 5
        Of the Butterworth filters, at each edge.
    floor : float, default 1e-40
        Smallest variance, in the squared unit of the data: what a flat window has. Far below any signal, also in volts or tesla.
    n_jobs : int, optional
        Threads; by default as many as numba may use (NUMBA_NUM_THREADS).

    Returns
    -------
    ndarray of shape (..., n_bands)
        In bits, in the order of `bands`; `a` times the data adds log2(a).

    Raises
    ------
    UsageError
        If a band does not fit the sampling rate.
    DataError
        If windows are too short or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.sin(2 * np.pi * 10 * np.arange(4000) / 200.0)
    >>> differential_entropy(x, 200.0, {"alpha": (8.0, 14.0), "beta": (14.0, 31.0)}).round(1)
    array([ 1.5, -3.1])
    """
    filters = _filters(bands, sfreq, order)
    n_times = windows.shape[-1]
    lowest = min(low for low, _ in _edges(bands))
    needed = max(ceil(PERIODS * sfreq / lowest), 2 * order + 1)
    if n_times < needed:
        raise DataError(
            f"Bands from {lowest:g} Hz on need windows of {needed} samples at {sfreq:g} Hz or more ({PERIODS} periods), got {n_times}; "
            "cut longer windows or leave out the lowest band."
        )
    entropies = np.empty((*windows.shape[:-1], len(filters)))
    if windows.ndim == 1:
        _variances(windows[None], filters, n_times, n_times, entropies[None, None], n_jobs)
        return _entropies(entropies, filters, floor)
    rows_an_item = int(np.prod(windows.shape[1:-1]))
    items = max(1, ROWS_AT_ONCE // max(1, rows_an_item))
    for start in range(0, len(windows), items):
        block = windows[start : start + items].reshape(-1, n_times)
        result = entropies[start : start + items].reshape(1, len(block), len(filters))
        _variances(block, filters, n_times, n_times, result, n_jobs)
    return _entropies(entropies, filters, floor)


def sliding_differential_entropy(
    data: Real[ndarray, "channel time"],
    sfreq: float,
    bands: Bands,
    *,
    window: float,
    stride: float | None = None,
    order: int = 5,
    floor: float = FLOOR,
    n_jobs: int | None = None,
) -> Float64[ndarray, "window channel band"]:
    """Differential entropy of a continuous signal, filtered once as a whole, in windows that may overlap.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
        Finite; a memory map is read piece by piece.
    sfreq : float
        Sampling rate in Hz.
    bands : mapping or sequence of (low, high)
        Edges in Hz, 0 < low < high < sfreq/2.
    window : float
        Length of a window in s. The filters know what came before it, so that it may be shorter than a period of the lowest edge.
    stride : float, optional
        From the beginning of a window to that of the next, in s; by default windows lie end to end.
    order, floor, n_jobs
        As in `differential_entropy`.

    Returns
    -------
    ndarray of shape (n_windows, n_channels, n_bands)
        In bits. Window k covers the samples from k times the stride on; samples behind the last whole window are left out.

    Raises
    ------
    UsageError
        If a band does not fit the sampling rate, or a window or stride holds too few samples.
    DataError
        If the signal is shorter than a window or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((2, 2000))
    >>> sliding_differential_entropy(x, 200.0, [(8.0, 14.0)], window=1.0, stride=0.5).shape
    (19, 2, 1)
    """
    filters = _filters(bands, sfreq, order)
    n_window = round(window * sfreq)
    n_stride = n_window if stride is None else round(stride * sfreq)
    if n_window < 2:
        raise UsageError(f"A window needs two samples or more, got {window:g} s at {sfreq:g} Hz; make it longer.")
    if n_stride < 1:
        raise UsageError(f"The stride needs one sample or more, got {stride:g} s at {sfreq:g} Hz; make it longer.")
    n_channels, n_times = data.shape
    if n_times < n_window:
        raise DataError(
            f"A window of {window:g} s needs {n_window} samples, the signal has {n_times}; use shorter ones."
        )
    entropies = np.empty(((n_times - n_window) // n_stride + 1, n_channels, len(filters)))
    _variances(data, filters, n_window, n_stride, entropies, n_jobs)
    return _entropies(entropies, filters, floor)


def _edges(bands: Bands) -> list[tuple[float, float]]:
    return list(bands.values() if isinstance(bands, Mapping) else bands)


def _filters(bands: Bands, sfreq: float, order: int) -> ndarray:
    """Second-order sections of all bands, shape (band, section, 6)."""
    edges = _edges(bands)
    if not edges:
        raise UsageError("Differential entropy needs one band or more, got none.")
    for name, (low, high) in zip(bands if isinstance(bands, Mapping) else [""] * len(edges), edges, strict=True):
        if high >= sfreq / 2 > 0:
            raise UsageError(
                f"The sampling rate is too low for the band {name}{' ' if name else ''}{low:g}-{high:g} Hz: half of {sfreq:g} Hz is "
                f"{sfreq / 2:g} Hz; take data of a higher rate or leave out the band."
            )
    return np.stack([_band_pass(float(low), float(high), float(sfreq), order) for low, high in edges])


@lru_cache(maxsize=64)
def _band_pass(low: float, high: float, sfreq: float, order: int) -> Float64[ndarray, "section 6"]:
    """The filter of a band, designed once: of a single window, the design would take most of the time."""
    return butterworth(low, high, sfreq, order=order)


def _variances(data: ndarray, filters: ndarray, window: int, stride: int, result: ndarray, n_jobs: int | None) -> None:
    """Variances of the rows of `data`, but for the filters' gains, into `result` of shape (window, row, band)."""
    from neuropil.signal.cascade import LANES, N_THREADS, ROWS

    if n_jobs is not None and n_jobs < 1:
        raise UsageError(f"n_jobs is a number of threads, 1 or more, got {n_jobs}.")
    n_threads = n_jobs or N_THREADS
    rows = min(ROWS, max(ROWS // 2, LANES * ceil(len(data) / n_threads / LANES)))
    blocks = [slice(start, start + rows) for start in range(0, len(data), rows)]

    def run(block: slice) -> None:
        _block_variances(data, block, filters, window, stride, result[:, block])

    if n_threads == 1 or len(blocks) == 1:
        for block in blocks:
            run(block)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(run, blocks))


def _block_variances(data: ndarray, block: slice, filters: ndarray, window: int, stride: int, result: ndarray) -> None:
    from neuropil.signal.cascade import add, new_state

    denominators = np.ascontiguousarray(filters[:, :, 4:])
    room = np.empty(result.shape[1] * min(CHUNK, data.shape[1]))
    state = new_state(result.shape[1], len(filters), filters.shape[1], window, stride)
    for start in range(0, data.shape[1], CHUNK):
        part = data[block, start : start + CHUNK]
        chunk = room[: part.size].reshape(part.shape)
        chunk[:] = part
        add(chunk, start, denominators, window, stride, *state, result)
        if not np.isfinite(state.memory).all():
            bad = ~np.isfinite(chunk)
            if not bad.any():
                raise DataError(f"Values of up to {np.abs(chunk).max():g} overflow the filters; take a larger unit.")
            row, sample = (int(k[0]) for k in np.nonzero(bad))
            raise DataError(
                "A filter spreads NaN and infinity over all later samples, got some "
                f"(first: row {block.start + row}, sample {start + sample}); interpolate or leave them out first."
            )


def _entropies(variances: ndarray, filters: ndarray, floor: float) -> ndarray:
    """Entropies in place of the variances before the gains of the filters."""
    if floor <= 0:
        raise UsageError(f"floor is the smallest variance and lies above 0, got {floor}.")
    variances *= np.prod(filters[:, :, 0], axis=1) ** 2
    np.maximum(variances, floor, out=variances)
    np.log2(variances, out=variances)
    variances += log2(2 * pi * e)
    variances *= 0.5
    return variances
