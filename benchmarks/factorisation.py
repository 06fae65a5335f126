"""Non-negative CP decomposition beside tensorly's HALS: time to the same error, and memory that grows with time.

A tensor (300, 300, time) of ten gamma-distributed components and half-normal noise, ten components, the same random factors to start
from, one thread. tensorly's HALS runs until it stops by itself (its decrease of the relative error below 1e-7); neuropil's time is that
until its error is as low as tensorly's, checked on the tensor itself. Both in single and double precision. Compilation comes before.
"""

from __future__ import annotations

import importlib.util
import time
import tracemalloc
from typing import Any

import numpy as np

from benchmarks.rows import Row, against, skipped
from benchmarks.settings import Settings
from neuropil.stats.cp import CPResult, khatri_rao, nonnegative_cp, random_factors

SEED, SIDE, RANK, NOISE = 7, 300, 10, 0.5
STEPS_A_FRAME = 50
INSTALL = "pip install -r benchmarks/requirements.txt"


def planted(n_times: int, dtype: Any) -> np.ndarray:
    """A tensor of ten components and noise that is half as large as they vary."""
    rng = np.random.default_rng(SEED)
    truth = [rng.gamma(0.5, size=(n, RANK)).astype(dtype) for n in (SIDE, SIDE, n_times)]
    matrix = khatri_rao(truth[:2]) @ truth[2].T
    scale = NOISE * float(matrix[:: SIDE // 10].std())
    for row in range(0, len(matrix), SIDE):
        matrix[row : row + SIDE] += scale * np.abs(rng.standard_normal((SIDE, n_times), dtype=dtype))
    return matrix.reshape(SIDE, SIDE, n_times)


def error_of(tensor: np.ndarray, result: CPResult) -> float:
    """Relative error by subtraction, in double precision."""
    left = khatri_rao([result.factors[0] * result.weights, result.factors[1]])
    matrix, right = tensor.reshape(len(left), -1), result.factors[2].T
    squares = np.zeros(2)
    for row in range(0, len(matrix), SIDE):
        part = matrix[row : row + SIDE].astype(np.float64)
        squares += np.sum((part - left[row : row + SIDE] @ right) ** 2), np.sum(part**2)
    return float(np.sqrt(squares[0] / squares[1]))


def tensorlys(tensor: np.ndarray, factors: tuple[np.ndarray, ...]) -> tuple[float, float, int]:
    """Seconds, relative error and iterations of tensorly's HALS."""
    from tensorly.decomposition import non_negative_parafac_hals

    init = (None, [factor.astype(tensor.dtype) for factor in factors])
    began = time.perf_counter()
    (weights, found), errors = non_negative_parafac_hals(
        tensor, RANK, init=init, n_iter_max=500, tol=1e-7, return_errors=True
    )
    seconds = time.perf_counter() - began
    result = CPResult(np.asarray(weights, dtype=float), tuple(f.astype(float) for f in found), np.zeros(1), 0, True)
    return seconds, error_of(tensor, result), len(errors)


def _compile(dtype: Any) -> None:
    small = planted(60, dtype)
    nonnegative_cp(small, RANK, n_iter=2, random_state=0)


def _beside_tensorly(n_times: int, dtype: Any, peers: bool) -> Row:
    name = f"non-negative CP of {SIDE} x {SIDE} x {n_times:,}, rank {RANK}, {np.dtype(dtype).name}"
    if peers and not importlib.util.find_spec("tensorly"):
        return skipped(name, f"no tensorly; {INSTALL}")
    _compile(dtype)
    tensor = planted(n_times, dtype)
    factors = random_factors(tensor.shape, RANK, 1)
    theirs, target, n_iterations = tensorlys(tensor, factors) if peers else (None, 0.0, 0)
    began = time.perf_counter()
    found = nonnegative_cp(tensor, RANK, init=factors, target=target, n_iter=500, tol=1e-7, random_state=0)
    ours = time.perf_counter() - began
    if theirs is None:
        return Row(name, ours, "s", note=f"one thread, relative error {found.error:.5f}")
    reached = error_of(tensor, found)
    # single precision tells errors apart to some 1e-6
    if reached > target * (1 + 1e-5):
        raise RuntimeError(
            f"neuropil stopped at an error of {reached:.6f}, tensorly at {target:.6f}: not the same work."
        )
    note = (
        f"one thread, same start; relative error {reached:.5f} after {found.n_iter} sweeps of the whole tensor, tensorly "
        f"{target:.5f} after {n_iterations} iterations"
    )
    return against(name, ours, theirs, "s", "tensorly", at_most=1 / 3, note=note)


def _memory(n_times: int) -> list[Row]:
    rows = []
    for part in (n_times // 4, n_times // 2, n_times):
        tensor = planted(part, np.float32)
        tracemalloc.start()
        nonnegative_cp(tensor, RANK, n_iter=2, random_state=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            Row(
                f"memory beside the tensor, {SIDE} x {SIDE} x {part:,}",
                peak / 1e6,
                "MB",
                note=f"the tensor takes {tensor.nbytes / 1e6:.0f} MB in single precision",
            )
        )
    return rows


def run(settings: Settings) -> list[Row]:
    """Rows on tensor factorisation."""
    from threadpoolctl import threadpool_limits

    n_times = max(200, settings.n_steps // STEPS_A_FRAME)
    with threadpool_limits(1):
        rows = [_beside_tensorly(n_times, dtype, settings.peers) for dtype in (np.float32, np.float64)]
        return rows + _memory(n_times)
