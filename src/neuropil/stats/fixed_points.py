r"""Fixed and slow points of a recurrent network, and how states move near them.

A network :math:`h \mapsto F(h)` stands still where its speed :math:`q(h) = \tfrac12\|F(h) - h\|^2` is zero, and is slow where q has a
minimum that is not. Both are found by descending q from many states at once (Gauss-Newton steps, damped where they would not descend), and
told apart by their q; points that are the same are merged, and the eigenvalues of the Jacobian say in how many directions a point repels.

Sussillo & Barak (2013). Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural networks. Neural
Computation 25(3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from numpy import ndarray
from torch import Tensor

from neuropil.errors import DataError, UsageError

Map = Callable[[Tensor], Tensor]
MAX_DAMPING = 1e12


class FixedPoints(NamedTuple):
    """Points where a network stands still or is slow, slowest first.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_units)
    speeds : ndarray of shape (n_points,)
        q at the points; those above the tolerance of the search are slow points only.
    eigenvalues : ndarray of complex, shape (n_points, n_units)
        Of the Jacobian, by falling modulus.
    n_unstable : ndarray of int, shape (n_points,)
        Eigenvalues outside of the unit circle; 0 for a stable point, 1 for a saddle between two basins.
    counts : ndarray of int, shape (n_points,)
        Starts that ended at the point.
    n_lost : int
        Starts that ended nowhere: at a value that is not finite, or still fast.
    """

    points: Float[ndarray, "point unit"]
    speeds: Float[ndarray, " point"]
    eigenvalues: Complex[ndarray, "point unit"]
    n_unstable: Int[ndarray, " point"]
    counts: Int[ndarray, " point"]
    n_lost: int


def jacobians(step: Map, states: Float[ndarray, "state unit"]) -> Float[ndarray, "state post pre"]:
    """Derivative of the next state by the state, for many states at once.

    Parameters
    ----------
    step : callable
        Takes and returns a Tensor of shape (n_states, n_units), float64; row by row, differentiable by torch.
    states : ndarray of shape (n_states, n_units)

    Returns
    -------
    ndarray of shape (n_states, n_units, n_units)
        ``[state, post, pre]``.

    Examples
    --------
    >>> weights = torch.tensor([[0.5, 1.0], [0.0, 2.0]], dtype=torch.float64)
    >>> jacobians(lambda h: h @ weights.T, np.zeros((1, 2)))[0].tolist()
    [[0.5, 1.0], [0.0, 2.0]]
    """
    return _jacobians(step, torch.as_tensor(states))[1].numpy()


def _jacobians(step: Map, states: Tensor) -> tuple[Tensor, Tensor]:
    """The next states and their derivatives."""
    with torch.enable_grad():
        h = states.detach().requires_grad_()
        after = step(h)
        if after.shape != h.shape:
            raise UsageError(
                f"step must return states of the shape it takes, {tuple(h.shape)}, it returned {tuple(after.shape)}."
            )
        picks = torch.eye(h.shape[1], dtype=h.dtype)[:, None].expand(-1, *h.shape)
        rows = torch.autograd.grad(after, h, picks, is_grads_batched=True)[0]
    return after.detach(), rows.transpose(0, 1).contiguous()


def eigenvalues(matrices: Float[ndarray, "matrix unit unit"]) -> Complex[ndarray, "matrix unit"]:
    """Eigenvalues of every matrix, by falling modulus.

    Examples
    --------
    >>> eigenvalues(np.diag([0.5, -2.0])[None]).tolist()
    [[(-2+0j), (0.5+0j)]]
    """
    values = np.linalg.eigvals(matrices).astype(np.complex128)
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1)


def find_fixed_points(
    step: Map,
    starts: Float[ndarray, "start unit"],
    *,
    tolerance: float = 1e-12,
    slow: float = 1e-4,
    merge_distance: float = 1e-3,
    max_iter: int = 200,
) -> FixedPoints:
    """Fixed points that many states lead to by descending the speed of the network.

    Parameters
    ----------
    step : callable
        Takes and returns a Tensor of shape (n_states, n_units), float64; inputs held constant are the caller's. Differentiable by torch.
    starts : ndarray of shape (n_starts, n_units)
        States to search from, such as those that the network visits; saddles are found from states near to them.
    tolerance : float, default 1e-12
        q at which a search ends, relative to the mean squared norm of the starts (or absolute below one).
    slow : float, default 1e-4
        Minima of q above the tolerance but below this are returned as slow points, faster ones are lost.
    merge_distance : float, default 1e-3
        Points nearer than this, relative to the root mean squared norm of the starts (or absolute below one), are one.
    max_iter : int, default 200

    Returns
    -------
    FixedPoints

    Raises
    ------
    DataError
        If starts are not finite.

    Examples
    --------
    >>> starts = np.linspace(-2, 2, 9)[:, None]
    >>> found = find_fixed_points(lambda h: torch.tanh(2 * h), starts)
    >>> np.sort(found.points[:, 0]).round(3).tolist(), int(found.n_unstable.sum())
    ([-0.958, 0.0, 0.958], 1)
    """
    starts = np.asarray(starts, dtype=np.float64)
    if starts.size == 0 or not np.isfinite(starts).all():
        raise DataError("Expected one finite state or more to search from; leave out states that are not finite.")
    unit = max(float((starts**2).sum(axis=1).mean()), 1.0)
    points, speeds = _descend(step, torch.as_tensor(starts.copy()), tolerance * unit, max_iter)
    kept = np.isfinite(speeds) & (speeds <= slow * unit)
    order = np.flatnonzero(kept)[np.argsort(speeds[kept], kind="stable")]
    merged, counts = _merge(points[order], merge_distance * np.sqrt(unit))
    points, speeds = points[order][merged], speeds[order][merged]
    spectra = (
        eigenvalues(jacobians(step, points)) if len(points) else np.empty((0, starts.shape[1]), dtype=np.complex128)
    )
    return FixedPoints(points, speeds, spectra, (np.abs(spectra) > 1).sum(axis=1), counts, int((~kept).sum()))


def _descend(step: Map, states: Tensor, tolerance: float, max_iter: int) -> tuple[ndarray, ndarray]:
    """Levenberg-Marquardt on the speed, every state with a damping of its own."""
    identity = torch.eye(states.shape[1], dtype=states.dtype)
    damping = torch.full((len(states),), 1e-3, dtype=states.dtype)
    after, slopes = _jacobians(step, states)
    error, slopes = after - states, slopes - identity
    speed = error.square().sum(dim=1) / 2
    for _ in range(max_iter):
        moving = torch.isfinite(speed) & (speed > tolerance) & (damping < MAX_DAMPING)
        if not bool(moving.any()):
            break
        h, J, e = states[moving], slopes[moving], error[moving]
        gram = J.transpose(1, 2) @ J
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
        left = gram + (damping[moving] * scale)[:, None, None] * identity
        proposal = h - torch.linalg.solve(left, J.transpose(1, 2) @ e[..., None])[..., 0]
        after, J_new = _jacobians(step, proposal)
        e_new = after - proposal
        speed_new = e_new.square().sum(dim=1) / 2
        better = speed_new < speed[moving]
        index = torch.nonzero(moving)[:, 0]
        damping[index] *= torch.where(better, 0.1, 10.0).to(damping.dtype)
        accepted = index[better]
        states[accepted], error[accepted], speed[accepted] = proposal[better], e_new[better], speed_new[better]
        slopes[accepted] = J_new[better] - identity
    return states.numpy(), speed.numpy()


def _merge(points: ndarray, distance: float) -> tuple[ndarray, ndarray]:
    """The first of every group of points that are nearer to it than `distance`, and how many each stands for."""
    first: list[int] = []
    counts: list[int] = []
    for k, point in enumerate(points):
        if first:
            apart = np.linalg.norm(points[first] - point, axis=1)
            nearest = int(apart.argmin())
            if apart[nearest] <= distance:
                counts[nearest] += 1
                continue
        first.append(k)
        counts.append(1)
    return np.array(first, dtype=np.int64), np.array(counts, dtype=np.int64)
