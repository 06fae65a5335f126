"""Tensors as `cp` reads them: a matrix of all other modes by the longest one, block by block, with a smaller tensor of weights.

Without missing entries the longest mode can be reduced to few dimensions by a random sketch.

Halko, Martinsson & Tropp (2011). Finding structure with randomness. SIAM Review 53(2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from neuropil.errors import DataError, UsageError
from neuropil.stats.cp_kernels import measure

OVERSAMPLING, LEAST_ENTRIES = 10, 2_000_000
Factors = Sequence[Float[ndarray, "_ rank"]]


class Blocks:
    """A tensor that is computed block by block along its last mode.

    Parameters
    ----------
    shape : tuple of int
        Of the whole tensor.
    block : callable
        ``block(start, stop) -> ndarray (*shape[:-1], stop - start)``, non-negative, float32 or float64; the same at every call. Entries of
        weight 0 may hold anything finite.
    size : int
        Entries of the last mode a block.

    Examples
    --------
    >>> tensor = np.random.default_rng(0).random((5, 4, 300))
    >>> from neuropil.stats.cp import nonnegative_cp
    >>> blocks = Blocks(tensor.shape, lambda start, stop: tensor[..., start:stop], size=100)
    >>> np.allclose(nonnegative_cp(blocks, 2, random_state=0).error, nonnegative_cp(tensor, 2, random_state=0).error)
    True
    """

    def __init__(self, shape: tuple[int, ...], block: Callable[[int, int], ndarray], size: int) -> None:
        if size < 1:
            raise UsageError(f"A block needs one entry or more, got size={size}.")
        self.shape, self.block, self.size = tuple(int(n) for n in shape), block, int(size)


def khatri_rao(factors: Factors) -> Float[ndarray, "_ rank"]:
    """Products of all rows of one factor with all of the next, the last one's running fastest.

    Examples
    --------
    >>> khatri_rao([np.array([[1.0], [2.0]]), np.array([[3.0], [5.0]])]).ravel().tolist()
    [3.0, 5.0, 6.0, 10.0]
    """
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None, :] * factor[None, :, :]).reshape(-1, product.shape[1])
    return product


class Sketch(NamedTuple):
    """A tensor whose longest mode was reduced: `left` @ `basis`' stands for the matrix (others, longest)."""

    left: ndarray
    """Coordinates, shape (others, dimension)."""
    basis: ndarray
    """Orthonormal columns, shape (longest, dimension)."""
    square: float
    """Sum of squares of `left`."""


class Source:
    """A checked tensor, read as a matrix (all other modes, longest mode) by blocks of columns.

    Parameters
    ----------
    tensor : ndarray or Blocks
    weights : ndarray or None
        Of the tensor's shape or of length 1 in some modes.

    Attributes
    ----------
    shape : tuple of int
    long : int
        The mode that is read by blocks.
    others : list of int
    weights : ndarray
        The longest mode last; of length 1 throughout where all entries count alike.
    square : float
        Weighted sum of squares.
    dtype : dtype
        Of the large products.
    """

    def __init__(self, tensor: Any, weights: Any) -> None:
        self._blocks = tensor if isinstance(tensor, Blocks) else None
        if self._blocks is None:
            tensor = np.asarray(tensor)
            if tensor.dtype.kind not in "biuf":
                raise DataError(f"Expected a tensor of numbers, got values of type {tensor.dtype}.")
        self.shape = tuple(tensor.shape)
        if len(self.shape) < 2 or 0 in self.shape:
            raise DataError(f"Expected a tensor of two modes or more, none of them empty, got shape {self.shape}.")
        self.long = len(self.shape) - 1 if self._blocks is not None else _long_mode(self.shape)
        self.others = [mode for mode in range(len(self.shape)) if mode != self.long]
        self.n_left = int(np.prod([self.shape[mode] for mode in self.others]))
        self.weights = self._read_weights(weights)
        self.weighted = self.weights.size > 1
        if self._blocks is not None:
            self.dtype = np.dtype(self._blocks.block(0, 1).dtype)
        else:
            self._matrix = self._columns(tensor)
            self.dtype = self._matrix.dtype
        self.square = self._measure()

    def _read_weights(self, weights: Any) -> ndarray:
        if weights is None:
            return np.ones((1,) * len(self.shape))
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != len(self.shape) or any(
            w not in (1, n) for w, n in zip(weights.shape, self.shape, strict=True)
        ):
            raise UsageError(
                f"Weights must have the tensor's shape {self.shape}, or length 1 in some modes, got {weights.shape}."
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise DataError("Weights must be finite and not negative: 0 where an entry is missing.")
        for mode in range(weights.ndim):
            rest = tuple(axis for axis in range(weights.ndim) if axis != mode)
            empty = np.flatnonzero(~(weights > 0).any(axis=rest))
            if len(empty):
                raise DataError(
                    f"{len(empty)} slices of mode {mode} have no observed entry (the first is number {empty[0]}), so nothing can be "
                    "said of them; leave them out."
                )
        if (weights == weights.flat[0]).all():
            return np.ones((1,) * len(self.shape))
        return np.moveaxis(weights, self.long, -1)

    def _columns(self, array: ndarray) -> ndarray:
        """The matrix (others, longest), a view where the memory allows."""
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
        if self.weighted:
            observed = np.moveaxis(self.weights, -1, self.long) > 0
            array = np.where(observed, array, np.zeros((), array.dtype))
        if self.long == 0 and array.flags.c_contiguous:
            return array.reshape(len(array), -1).T
        return np.ascontiguousarray(np.moveaxis(array, self.long, -1)).reshape(-1, self.shape[self.long])

    def _measure(self) -> float:
        """Weighted sum of squares; every observed entry is looked at, and weights are multiplied in."""
        total = 0.0
        for _, block, weight in self._raw():
            dense = self._dense(weight, block) if self.weighted else np.ones((1, 1))
            if block.flags.c_contiguous:
                square, low = measure(block, dense)
            else:
                square, low = measure(np.ascontiguousarray(block.T), np.ascontiguousarray(dense.T))
            if not (np.isfinite(square) and low >= 0):
                raise DataError(
                    "Entries of the tensor must be finite and not negative; mark what is missing by a weight of 0."
                )
            total += square
        if not total > 0:
            raise DataError("All observed entries of the tensor are 0; there is nothing to decompose.")
        if self._blocks is None and self.weighted:
            matrix = self._matrix  # weighed once here instead of at every product
            self._matrix = (matrix * self._dense(self.weights, matrix)).astype(self.dtype)
        return total

    def _dense(self, weight: ndarray, block: ndarray) -> ndarray:
        """Weights of all entries of a block."""
        left = [self.shape[mode] for mode in self.others]
        return np.broadcast_to(weight, (*left, block.shape[1])).reshape(block.shape)

    def _raw(self) -> Iterator[tuple[slice, ndarray, ndarray]]:
        n = self.shape[self.long]
        if self._blocks is None:
            yield slice(0, n), self._matrix, self.weights
            return
        for start in range(0, n, self._blocks.size):
            rows = slice(start, min(n, start + self._blocks.size))
            block = self._blocks.block(rows.start, rows.stop)
            expected = (*self.shape[:-1], rows.stop - rows.start)
            if block.shape != expected:
                raise DataError(
                    f"The block from {rows.start} to {rows.stop} must have shape {expected}, got {block.shape}."
                )
            yield (
                rows,
                block.reshape(self.n_left, -1),
                self.weights[..., rows] if self.weights.shape[-1] > 1 else self.weights,
            )

    def blocks(self) -> Iterator[tuple[slice, ndarray, ndarray]]:
        """Columns of the matrix, the weighted block (others, columns), and its weights (others or 1, columns or 1)."""
        for rows, block, weight in self._raw():
            if self._blocks is not None and self.weighted:
                block = (block * self._dense(weight, block)).astype(self.dtype)
            yield rows, block, weight.reshape(-1, weight.shape[-1])

    def sketch(self, rank: int, rng: Generator) -> Sketch | None:
        """Reduce the longest mode to random combinations of what it holds, where that pays."""
        n, dimension = self.shape[self.long], rank + OVERSAMPLING
        if self.weighted or self.n_left * n < LEAST_ENTRIES or n < 4 * dimension or self.n_left < dimension:
            return None
        left = rng.standard_normal((self.n_left, dimension), dtype=np.float32).astype(self.dtype)
        # the second round turns the basis towards what is strong in all combinations, which noise is not
        for _ in range(2):
            found = np.concatenate([block.T @ left for _, block, _ in self.blocks()])
            basis = np.linalg.qr(found.astype(np.float64))[0]
            narrow, left = basis.astype(self.dtype), np.zeros((self.n_left, dimension), self.dtype)
            for rows, block, _ in self.blocks():
                left += block @ narrow[rows]
        return Sketch(left, basis, float(np.sum(left.astype(np.float64) ** 2)))


def _long_mode(shape: tuple[int, ...]) -> int:
    """The first or the last mode, which need no copy, unless one between is far longer."""
    end = 0 if shape[0] > shape[-1] else len(shape) - 1
    longest = int(np.argmax(shape))
    return longest if shape[longest] > 4 * shape[end] else end
