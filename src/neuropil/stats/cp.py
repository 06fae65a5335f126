r"""Non-negative CP decomposition: a tensor as a sum of few products of non-negative vectors, one vector a mode.

.. math:: \min_{F \ge 0} \sum_{i j k} w_{ijk} \Big(x_{ijk} - \sum_r \lambda_r a_{ir} b_{jr} c_{kr}\Big)^2

for any number of modes, where w is 1, or 0 for entries that are missing, or any weight. Factors are improved in turns by hierarchical
alternating least squares, several inner steps to each large product, and pushed on along their last step as long as that helps; a sweep
after which the error would be larger is taken back and done without, so that the error never rises, with missing entries as without.

A sweep reads the tensor once or twice, however many modes there are: its longest mode is updated block by block, and each block then
goes into a partial product (all other modes, rank) that serves all other modes. A tensor too large for memory is hence given as blocks
(`Blocks`), computed when they are needed. Without missing entries the longest mode is first compressed to few dimensions by a random
sketch, the factors are brought near the end on the small tensor, and only the last sweeps see the whole one. Beside the tensor it
keeps (entries / longest mode) x (2 rank), and twice that for the sketch: memory and time grow linearly with every mode.

A weight that is the same along a mode (an animal in which a neuron was never seen) is given with length 1 in that mode, and costs next to
nothing; weights of every entry cost (rank + 1) / 2 times as much as the tensor itself.

Cichocki & Phan (2009). Fast local algorithms for large scale nonnegative matrix and tensor factorizations. IEICE Transactions E92-A(3).
Gillis & Glineur (2012). Accelerated multiplicative updates and hierarchical ALS algorithms for nonnegative matrix factorization. Neural
Computation 24(4). Ang & Gillis (2019). Accelerating nonnegative matrix factorization algorithms using extrapolation. Neural Computation
31(2). Phan, Tichavsky & Cichocki (2013). Fast alternating LS algorithms for high order CANDECOMP/PARAFAC tensor factorizations. IEEE
Transactions on Signal Processing 61(19). Cohen, Farias & Comon (2015). Fast decomposition of large nonnegative tensors. IEEE Signal
Processing Letters 22(7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed
from numpy import ndarray
from numpy.random import Generator, default_rng

from neuropil.errors import DataError, UsageError
from neuropil.stats.cp_kernels import contract_first, contract_rest, descend, quadratic, squares
from neuropil.stats.cp_source import Blocks, Factors, Sketch, Source, khatri_rao

__all__ = ["Blocks", "CPResult", "khatri_rao", "nonnegative_cp", "nonnegative_cp_starts", "random_factors"]

N_INNER, PATIENCE, FLOOR, VANISHED = 10, 0.05, 1e-16, 1e-13
TINY = 1e-100
SKETCH_TOL = 1e-4
STEP, STEP_GROWTH, CEILING_GROWTH, STEP_FALL = 0.5, 1.1, 1.02, 2.0


class CPResult(NamedTuple):
    r"""A sum of products.

    Attributes
    ----------
    weights : ndarray of shape (rank,)
        :math:`\lambda_r`, falling.
    factors : tuple of ndarray of shape (n_mode, rank)
        Non-negative columns of unit norm; one that had to vanish is 0, with weight 0.
    errors : ndarray of shape (n_kept + 1,)
        :math:`\sqrt{\sum w (x - \hat x)^2 / \sum w x^2}` before the first sweep through the whole tensor and after every sweep that was
        kept; never rises. It is a difference of sums, and not resolved below 1e-8 (float64) or 1e-4 (float32).
    n_iter : int
        Sweeps through the whole tensor, those taken back included.
    converged : bool
        Whether two sweeps in a row brought less than the tolerance.
    """

    weights: Float[ndarray, " rank"]
    factors: tuple[Float[ndarray, "_ rank"], ...]
    errors: Float[ndarray, " step"]
    n_iter: int
    converged: bool

    @property
    def error(self) -> float:
        """Relative error at the end."""
        return float(self.errors[-1])

    def full(self) -> ndarray:
        """The sum of products as a tensor."""
        shape = [len(factor) for factor in self.factors]
        return ((self.factors[0] * self.weights) @ khatri_rao(self.factors[1:]).T).reshape(shape)


def random_factors(
    shape: Sequence[int], rank: int, random_state: int | Generator | None = None
) -> tuple[Float[ndarray, "_ rank"], ...]:
    """Uniform factors to start from."""
    rng = default_rng(random_state)
    return tuple(rng.random((n, rank)) for n in shape)


def nonnegative_cp(
    tensor: Any,
    rank: int,
    *,
    weights: Any = None,
    init: Factors | None = None,
    fixed: Sequence[int] = (),
    n_iter: int = 500,
    tol: float = 1e-5,
    target: float = 0.0,
    sort: bool = True,
    random_state: int | Generator | None = None,
) -> CPResult:
    """Decompose a non-negative tensor from one start.

    Parameters
    ----------
    tensor : ndarray of shape (n_1, ..., n_N), or Blocks
        Two modes or more, non-negative, float32 or float64; what is large is computed in its own precision, all else in float64. NaN only
        where `weights` is 0. Contiguous arrays whose first or last mode is the longest are not copied.
    rank : int
    weights : ndarray, optional
        Non-negative weights of the entries, boolean for a mask (True where observed); of the tensor's shape, or of length 1 in modes along
        which they do not change.
    init : sequence of ndarray of shape (n_mode, rank), optional
        Factors to start from, whose common scale does not matter; uniform ones otherwise.
    fixed : sequence of int
        Modes whose factors stay as in `init`, for projecting new data; their columns are normalised only.
    n_iter : int, default 500
    tol : float, default 1e-5
        Smallest decrease of the relative error, as a part of it, that two sweeps in a row may bring.
    target : float, default 0
        Relative error at which to stop.
    sort : bool, default True
        Strongest component first; otherwise in the order of `init`.
    random_state : int, Generator or None

    Raises
    ------
    DataError
        If an observed entry is negative or not finite, or a slice holds no observed entry.
    UsageError
        If the rank, the factors or the weights do not fit.

    Examples
    --------
    >>> truth = random_factors((6, 7, 8), 2, random_state=0)
    >>> tensor = np.einsum("ir,jr,kr->ijk", *truth)
    >>> found = nonnegative_cp(tensor, 2, random_state=1, tol=1e-9, n_iter=2000)
    >>> bool(found.error < 1e-4), [factor.shape for factor in found.factors]
    (True, [(6, 2), (7, 2), (8, 2)])
    """
    return nonnegative_cp_starts(
        tensor, rank, weights=weights, inits=[init], fixed=fixed, n_iter=n_iter, tol=tol, target=target,
        sort=sort, random_state=random_state,
    )[0]  # fmt: skip


def nonnegative_cp_starts(
    tensor: Any,
    rank: int,
    n_init: int = 10,
    *,
    weights: Any = None,
    inits: Sequence[Factors | None] | None = None,
    fixed: Sequence[int] = (),
    n_iter: int = 500,
    tol: float = 1e-5,
    target: float = 0.0,
    sort: bool = True,
    random_state: int | Generator | None = None,
    n_jobs: int | None = None,
    after: Callable[[CPResult], Any] | None = None,
) -> list[CPResult]:
    """Decompose from several starts, which share the checks and the compression of the tensor; in order of the starts.

    Parameters
    ----------
    n_init : int, default 10
        Random starts; of no account where `inits` are given, of which None stands for a random one.
    n_jobs : int, optional
        Threads for the starts; one by default. The result does not depend on it.
    after : callable, optional
        Called with every result, to show progress.

    Others as in `nonnegative_cp`.
    """
    source = Source(tensor, weights)
    most = int(np.prod(source.shape, dtype=np.int64)) // max(source.shape)
    if not 1 <= rank <= most:
        size = " x ".join(map(str, source.shape))
        raise UsageError(f"A tensor of {size} has a rank between 1 and {most}, got {rank}; ask for fewer components.")
    if n_iter < 1 or not tol >= 0:
        raise UsageError(f"n_iter must be 1 or more and tol not negative, got {n_iter} and {tol}.")
    starts = list(inits) if inits is not None else [None] * n_init
    free = sorted(set(range(len(source.shape))) - {int(mode) % len(source.shape) for mode in fixed})
    if not starts or not free or (fixed and any(init is None for init in starts)):
        raise UsageError(
            "Give one start or more, leave one mode free or more, and give fixed modes their factors in init."
        )
    rng = default_rng(random_state)
    sketch = source.sketch(rank, rng) if len(free) == len(source.shape) else None
    begins = [
        list(random_factors(source.shape, rank, rng)) if init is None else _checked(init, source.shape, rank)
        for init in starts
    ]

    def descend(factors: list[ndarray]) -> CPResult:
        whole = _Sweeps(source, None, free)
        if sketch is None:
            begun = _scaled(whole, factors)
        else:
            small = _Sweeps(source, sketch, free)
            near = _descent(small, *_scaled(small, factors), n_iter, max(tol, SKETCH_TOL), 0.0)
            begun = min((_scaled(whole, start) for start in (near.factors, factors)), key=lambda pair: pair[1])
        return _normalised(_descent(whole, *begun, n_iter, tol, target), sort)

    found = []
    # Threads: the kernels and products of matrices release the interpreter's lock, and the tensor is not copied.
    for result in Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(delayed(descend)(f) for f in begins):
        found.append(result)
        if after is not None:
            after(result)
    return found


def _checked(init: Factors, shape: tuple[int, ...], rank: int) -> list[ndarray]:
    factors = [np.array(factor, dtype=np.float64, order="C") for factor in init]
    if [factor.shape for factor in factors] != [(n, rank) for n in shape]:
        raise UsageError(
            f"Factors to start from must have the shapes {[(n, rank) for n in shape]}, got {[f.shape for f in factors]}."
        )
    if not all(np.isfinite(factor).all() and (factor >= 0).all() for factor in factors):
        raise DataError("Factors to start from must be finite and not negative.")
    return factors


class _Sweeps:
    """One sweep after another through a tensor or its sketch; the longest mode comes first."""

    def __init__(self, source: Source, sketch: Sketch | None, free: Sequence[int]) -> None:
        self.source, self.sketch = source, sketch
        self.square = source.square if sketch is None else sketch.square
        self.order = [mode for mode in (source.long, *source.others) if mode in free]
        self.kept = source.weights.shape

    def sweep(
        self, factors: list[ndarray], previous: list[ndarray], step: float
    ) -> tuple[list[ndarray], list[ndarray], float]:
        """Update every free mode once, from `factors`; each but the last goes on by `step` times its way from `previous`.

        Returns the factors reached, those before they went on, and the squared error of the former.
        """
        reached, exact = list(factors), list(factors)

        def update(mode: int, products: ndarray, grams: ndarray, rows: slice = slice(None)) -> None:
            found = reached[mode][rows].copy()
            descend(found, products, grams, N_INNER, PATIENCE, FLOOR)
            exact[mode][rows] = found
            if mode != self.order[-1] and step > 0:
                found = np.maximum(found + step * (found - previous[mode][rows]), FLOOR)
            reached[mode][rows] = found

        for mode in self.order:
            reached[mode], exact[mode] = factors[mode].copy(), factors[mode].copy()
        partial, grams = self._through(reached, update)
        error = np.nan
        others = self.source.others
        for place, mode in enumerate(others):
            rest = others[place + 1 :]
            columns = khatri_rao([reached[m] for m in rest]) if rest else None
            pairs = khatri_rao([self._pairs(reached[m], p) for p, m in enumerate(rest, place + 1)]) if rest else None
            products = _contracted(partial, columns, len(reached[mode]))
            matrix = _contracted(grams, pairs, self.kept[place])
            if mode in self.order:
                update(mode, products, matrix)
            if not rest or mode == self.order[-1]:
                inner = float(np.einsum("ir,ir->", products, reached[mode]))
                error = self.square - 2 * inner + float(quadratic(reached[mode], matrix))
            if rest:
                partial = _advanced(partial, reached[mode])
                grams = _advanced(grams, self._pairs(reached[mode], place))
        return reached, exact, max(error, 0.0)

    def fit(self, factors: list[ndarray]) -> tuple[float, float]:
        """Weighted inner product of the tensor and the sum of products, and the latter's sum of squares."""
        still = _Sweeps(self.source, self.sketch, [])
        partial, grams = still._through(list(factors), _no_update)
        others = self.source.others
        products = khatri_rao([factors[mode] for mode in others])
        pairs = khatri_rao([self._pairs(factors[mode], place) for place, mode in enumerate(others)])
        rank = products.shape[1]
        doubled = np.array([1.0 if r == s else 2.0 for r in range(rank) for s in range(r + 1)])
        inner = float(np.einsum("ir,ir->", partial, products, dtype=np.float64))
        return inner, float(np.einsum("ip,ip,p->", grams, pairs, doubled))

    def _pairs(self, factor: ndarray, place: int) -> ndarray:
        """Products of columns, summed where the weights do not change along the mode."""
        pairs = squares(factor)
        return pairs if self.kept[place] > 1 else pairs.sum(axis=0, keepdims=True)

    def _through(self, factors: list[ndarray], update: Callable[..., None]) -> tuple[ndarray, ndarray]:
        """Update the longest mode and contract it: sums over it of entries (others, rank) and of weights (others or 1, pairs)."""
        source = self.source
        long, free = source.long, source.long in self.order
        combined = khatri_rao([factors[mode] for mode in source.others])
        pairs = khatri_rao([self._pairs(factors[mode], place) for place, mode in enumerate(source.others)])
        narrow = combined.astype(source.dtype)
        if self.sketch is not None:
            update(long, self.sketch.basis @ (self.sketch.left.T @ narrow).astype(np.float64), pairs)
            partial = self.sketch.left @ (self.sketch.basis.T @ factors[long]).astype(source.dtype)
            return partial, squares(factors[long]).sum(axis=0, keepdims=True)
        partial = np.zeros_like(narrow)
        grams = np.zeros_like(pairs)
        for rows, block, weight in source.blocks():
            if free:
                update(long, (block.T @ narrow).astype(np.float64), weight.T @ pairs, rows)
            moved = factors[long][rows]
            partial += block @ moved.astype(source.dtype)
            products = squares(moved)
            grams += weight @ (products if weight.shape[1] > 1 else products.sum(axis=0, keepdims=True))
        return partial, grams


def _no_update(*given: Any) -> None:
    """Leave the factors as they are."""


def _contracted(partial: ndarray, columns: ndarray | None, n: int) -> ndarray:
    """Sum over all modes but the first."""
    if columns is None:
        return partial.astype(np.float64)
    out = np.empty((n, partial.shape[1]))
    contract_rest(partial.reshape(n, -1, partial.shape[1]), columns, out)
    return out


def _advanced(partial: ndarray, rows: ndarray) -> ndarray:
    """Sum over the first mode."""
    rank = partial.shape[1]
    out = np.empty((len(partial) // len(rows), rank))
    contract_first(partial.reshape(len(rows), -1, rank), rows, out)
    return out


class _Descent(NamedTuple):
    factors: list[ndarray]
    errors: list[float]
    n_iter: int
    converged: bool


def _descent(sweeps: _Sweeps, factors: list[ndarray], error: float, n_iter: int, tol: float, target: float) -> _Descent:
    """Sweeps with extrapolation; one that would raise the error is taken back and repeated without."""
    reached = point = previous = factors
    step, ceiling, n_small, plain = STEP, 1.0, 0, False
    errors = [np.sqrt(error / sweeps.square)]
    if errors[0] <= target:
        return _Descent(reached, errors, 0, True)
    for n_sweeps in range(1, n_iter + 1):
        ahead, exact, found = sweeps.sweep(point, previous, 0.0 if plain else step)
        if found > error:
            if plain:
                # a plain sweep cannot raise the error: what is left is rounding
                return _Descent(reached, errors, n_sweeps, True)
            ceiling, step = step, step / STEP_FALL
            point, previous, plain = reached, reached, True
            continue
        reached, error = ahead, found
        errors.append(np.sqrt(error / sweeps.square))
        n_small = n_small + 1 if errors[-2] - errors[-1] <= tol * errors[-2] else 0
        if n_small == 2 or errors[-1] <= target:
            return _Descent(reached, errors, n_sweeps, True)
        reached, exact, previous = _balanced(sweeps.order, reached, exact, previous)
        last = sweeps.order[-1]
        point = list(reached)
        point[last] = np.maximum(exact[last] + step * (exact[last] - previous[last]), FLOOR)
        previous, plain = exact, False
        step, ceiling = min(ceiling, STEP_GROWTH * step), min(1.0, CEILING_GROWTH * ceiling)
    return _Descent(reached, errors, n_iter, False)


def _balanced(order: Sequence[int], *several: list[ndarray]) -> Iterator[list[ndarray]]:
    """Share the strength of every component evenly among the free modes, by the norms of the first of `several` lists of factors."""
    norms = np.array([np.maximum(np.linalg.norm(several[0][mode], axis=0), TINY) for mode in order])
    scales = np.exp(np.log(norms).mean(axis=0)) / norms
    for factors in several:
        balanced = list(factors)
        for scale, mode in zip(scales, order, strict=True):
            balanced[mode] = factors[mode] * scale
        yield balanced


def _scaled(sweeps: _Sweeps, factors: list[ndarray]) -> tuple[list[ndarray], float]:
    """Factors whose sum of products has the best common scale, shared evenly by the free modes, and its squared error."""
    inner, fitted = sweeps.fit(factors)
    factors = list(factors)
    if not fitted > 0 or not inner > 0:
        raise DataError("The factors to start from have nothing in common with the tensor; start from others.")
    norms = np.array([np.linalg.norm(factors[mode], axis=0) for mode in sweeps.order])
    even = np.exp(np.log(np.maximum(norms, FLOOR)).mean(axis=0)) * (inner / fitted) ** (1 / len(norms))
    for norm, mode in zip(norms, sweeps.order, strict=True):
        factors[mode] = np.maximum(factors[mode] * (even / np.maximum(norm, FLOOR)), FLOOR)
    return factors, max(sweeps.square - inner**2 / fitted, 0.0)


def _normalised(found: _Descent, sort: bool) -> CPResult:
    norms = [np.linalg.norm(factor, axis=0) for factor in found.factors]
    weights = np.prod(norms, axis=0)
    weights[weights <= VANISHED * weights.max()] = 0.0
    order = np.argsort(-weights, kind="stable") if sort else np.arange(len(weights))
    cleaned = []
    for factor, norm in zip(found.factors, norms, strict=True):
        unit = factor / np.where(norm > 0, norm, 1.0)
        cleaned.append(np.where((unit <= VANISHED) | (weights == 0), 0.0, unit))
    return CPResult(
        weights[order],
        tuple(factor[:, order] for factor in cleaned),
        np.array(found.errors),
        found.n_iter,
        found.converged,
    )
