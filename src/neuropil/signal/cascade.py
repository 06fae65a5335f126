"""Variance of band-passed signals in windows, compiled: what `signal.entropy` computes with, and nothing else.

A Butterworth band-pass of order n has its zeros at z = 1 and z = -1, n of each, so that it can be written as n sections
(1 - z^-2) / (1 + a1 z^-1 + a2 z^-2) and one gain. `add` pushes tiles of samples of up to 64 rows (channels) through the sections of one
band after the other, rows side by side so that one instruction serves eight of them, and adds the output to the variances of all windows
that are open. A tile stays in the processor's cache and no filtered signal is ever kept.

Variances are sums about the first sample of a piece (a stretch of a tile that no window's beginning or end divides), and pieces are put
together by their means: nothing cancels, whatever the length of a window.

Chan, Golub & LeVeque (1983). Algorithms for computing the sample variance. The American Statistician 37(3), 242-247.
"""

from __future__ import annotations

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import config, njit
from numpy import ndarray

ROWS = 64
TILE = 64
STEP = 4
LANES = 8
NEGLIGIBLE = 1e-200
N_THREADS: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


class State(NamedTuple):
    """What is remembered between calls of `add`, for a block of rows padded to `width`."""

    memory: ndarray
    """Of the sections, shape (band, section, 2, width)."""
    opened: ndarray
    """Mean and sum of squares about it of the windows that are open, shape (slot, band, 2, width)."""
    tile: ndarray
    """Room for a tile on its way, shape (3, TILE, width)."""
    sums: ndarray
    """Room for the sums over a piece, shape (2, width)."""


def new_state(n_rows: int, n_bands: int, n_sections: int, window: int, stride: int) -> State:
    """The state before the first sample."""
    width = LANES * -(-n_rows // LANES)
    return State(
        _zeros(n_bands, n_sections, 2, width),
        _zeros(-(-window // stride), n_bands, 2, width),
        _zeros(3, TILE, width),
        _zeros(2, width),
    )


def _zeros(*shape: int) -> ndarray:
    """Zeros that begin at a multiple of 64 bytes, as the widest instructions like it (a fifth faster)."""
    size = int(np.prod(shape))
    room = np.zeros(size + LANES)
    first = -(room.ctypes.data // room.itemsize) % LANES
    return room[first : first + size].reshape(shape)


def compiled(function: Any) -> Any:
    """Machine code, kept on disk; products and sums may be fused, and other threads run meanwhile."""
    return njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")(function)


@compiled
@no_type_check
def _section(source, target, memory, a1, a2, n_times):
    """One section over the first `n_times` samples of a tile, four at a time: y = x + u, u = v - a1 y, v = -x - a2 y."""
    u, v = memory[0], memory[1]
    for t in range(0, n_times, STEP):
        x0, x1, x2, x3 = source[t], source[t + 1], source[t + 2], source[t + 3]
        y0, y1, y2, y3 = target[t], target[t + 1], target[t + 2], target[t + 3]
        for k in range(u.shape[0]):
            p, q = u[k], v[k]
            y = x0[k] + p
            p, q, y0[k] = q - a1 * y, -x0[k] - a2 * y, y
            y = x1[k] + p
            p, q, y1[k] = q - a1 * y, -x1[k] - a2 * y, y
            y = x2[k] + p
            p, q, y2[k] = q - a1 * y, -x2[k] - a2 * y, y
            y = x3[k] + p
            p, q, y3[k] = q - a1 * y, -x3[k] - a2 * y, y
            u[k], v[k] = p, q


@compiled
@no_type_check
def _sum_piece(filtered, first, last, sums):
    """Mean and sum of squares about it of the samples from `first` to before `last`, into `sums`."""
    origin, total, squares = filtered[first], sums[0], sums[1]
    width, n_times = total.shape[0], last - first
    for k in range(width):
        total[k] = 0.0
        squares[k] = 0.0
    for t in range(first + 1, last):
        x = filtered[t]
        for k in range(width):
            difference = x[k] - origin[k]
            total[k] += difference
            squares[k] += difference * difference
    for k in range(width):
        squares[k] = max(squares[k] - total[k] * total[k] / n_times, 0.0)
        total[k] = origin[k] + total[k] / n_times


@compiled
@no_type_check
def _merge(opened, sums, n_before, n_more):
    """Put a piece of `n_more` samples to the `n_before` that a window has already."""
    mean, squares, piece_mean, piece_squares = opened[0], opened[1], sums[0], sums[1]
    share = n_more / (n_before + n_more)
    weight = n_before * share
    if n_before == 0:
        for k in range(mean.shape[0]):
            mean[k] = piece_mean[k]
            squares[k] = piece_squares[k]
        return
    for k in range(mean.shape[0]):
        difference = piece_mean[k] - mean[k]
        mean[k] += difference * share
        squares[k] += piece_squares[k] + difference * difference * weight


@compiled
@no_type_check
def add(chunk, start, denominators, window, stride, memory, opened, tile, sums, variances):
    """Filter the samples of `chunk`, the first of which is number `start`, and write the variances of the windows that they complete.

    chunk : (row, time), float64; a number of samples that is no multiple of 4 ends the signal.
    denominators : (band, section, 2), the a1 and a2 of the sections.
    memory, opened, tile, sums : of the State.
    variances : (window, row, band), without the gain of the filters.
    """
    n_rows, n_times = chunk.shape
    n_bands, n_sections = denominators.shape[:2]
    n_windows, n_slots = variances.shape[0], opened.shape[0]
    for begin in range(0, n_times, TILE):
        size = min(TILE, n_times - begin)
        padded = STEP * ((size + STEP - 1) // STEP)
        raw = tile[0]
        for k in range(n_rows):
            for t in range(size):
                raw[t, k] = chunk[k, begin + t]
            for t in range(size, padded):
                raw[t, k] = 0.0
        for band in range(n_bands):
            source, target, other = raw, tile[1], tile[2]
            for section in range(n_sections):
                a1, a2 = denominators[band, section, 0], denominators[band, section, 1]
                _section(source, target, memory[band, section], a1, a2, padded)
                source, target, other = target, other, target
            now, end = start + begin, start + begin + size
            while now < end:
                next_end = window if now < window else ((now - window) // stride + 1) * stride + window
                following = min((now // stride + 1) * stride, next_end, end)
                oldest = 0 if now < window else (now - window) // stride + 1
                newest = min(now // stride, n_windows - 1)
                if oldest <= newest:
                    _sum_piece(source, now - start - begin, following - start - begin, sums)
                for number in range(oldest, newest + 1):
                    slot = opened[number % n_slots, band]
                    _merge(slot, sums, now - number * stride, following - now)
                    if following == number * stride + window:
                        for k in range(n_rows):
                            variances[number, k, band] = slot[1, k] / window
                now = following
    settle = memory.reshape(-1)
    for k in range(settle.size):
        if abs(settle[k]) < NEGLIGIBLE:
            settle[k] = 0.0
