r"""Distances between two sets of points by optimal transport that gradients can flow through.

Entropic transport moves the points of one set onto those of another at the least cost :math:`\tfrac12\|x_i - y_j\|^2`, softened by
:math:`\varepsilon = \text{blur}^2`. Its dual potentials are

.. math::
    f_i = -\varepsilon \log \sum_j b_j \exp\frac{g_j - C_{ij}}{\varepsilon}, \qquad
    g_j = -\varepsilon \log \sum_i a_i \exp\frac{f_i - C_{ij}}{\varepsilon},

and the divergence takes off what a set costs against itself, so that it is zero for equal sets:
:math:`S(x, y) = \langle a, f - f^{xx} \rangle + \langle b, g - g^{yy} \rangle`. The potentials are found while the blur falls from the
diameter of the data to its final value, both updated at once and averaged with their last value; gradients pass through the last update
alone, which is all that is needed at the optimum.

Feydy, Séjourné, Vialard, Amari, Trouvé & Peyré (2019). Interpolating between optimal transport and MMD using Sinkhorn divergences. AISTATS.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuropil.errors import DataError, UsageError

Weights = Float[Tensor, "*batch point"] | None


def squared_cost(
    x: Float[Tensor, "*batch n feature"], y: Float[Tensor, "*batch m feature"]
) -> Float[Tensor, "*batch n m"]:
    """Half the squared distance between every two points.

    Examples
    --------
    >>> squared_cost(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[12.5, 0.0]]
    """
    squares = x.square().sum(dim=-1)[..., :, None] + y.square().sum(dim=-1)[..., None, :]
    return (squares / 2 - x @ y.transpose(-1, -2)).clamp_min(0)


def _softmin(epsilon: float, cost: Tensor, log_weights: Tensor, potential: Tensor | float, over: int = -1) -> Tensor:
    """The update of a potential: a soft minimum over columns (or rows) of cost less the other potential.

    The sum of exponentials comes by way of `log_softmax`, ten times as fast as `logsumexp` where most terms vanish: the two differ by the
    sum everywhere, with the least rounding at the largest term. A gradient must know which term that is, a value need not.
    """
    shifted = (log_weights + potential / epsilon).unsqueeze(-3 - over) - cost / epsilon
    relative = shifted.log_softmax(dim=over)
    if not shifted.requires_grad:
        return -epsilon * (shifted.amax(dim=over) - relative.amax(dim=over))
    best = shifted.argmax(dim=over, keepdim=True)
    return -epsilon * (shifted.gather(over, best) - relative.gather(over, best)).squeeze(over)


def _schedule(x: Tensor, y: Tensor, blur: float, scaling: float) -> list[float]:
    """Values of epsilon from the squared diameter of the data down to that of the blur, by the square of `scaling` a step."""
    points = torch.cat([x.flatten(0, -2), y.flatten(0, -2)])
    diameter = max(float((points.amax(dim=0) - points.amin(dim=0)).norm()), blur)
    n_steps = math.ceil(math.log(diameter / blur) / -math.log(scaling) - 1e-9)
    return [diameter**2, *(diameter**2 * scaling ** (2 * k) for k in range(n_steps)), blur**2]


def _log_weights(points: Tensor, weights: Tensor | None, name: str) -> Tensor:
    if weights is None:
        return torch.full(points.shape[:-1], -math.log(points.shape[-2]), dtype=points.dtype, device=points.device)
    if weights.shape != points.shape[:-1]:
        raise UsageError(
            f"{name}_weights must have one weight a point, {tuple(points.shape[:-1])}, got {tuple(weights.shape)}."
        )
    total = weights.sum(dim=-1)
    if not (bool((weights >= 0).all()) and bool(((total - 1).abs() < 1e-4).all())):
        raise UsageError(f"{name}_weights must be non-negative and sum to one, got sums from {float(total.min()):.6g}.")
    return weights.log()


def _check(x: Tensor, y: Tensor, blur: float, scaling: float) -> None:
    if not (blur > 0 and 0 < scaling < 1):
        raise UsageError(f"Transport needs a positive blur and a scaling between 0 and 1, got {blur} and {scaling}.")
    for name, points in (("x", x), ("y", y)):
        if points.shape[-2] == 0:
            raise DataError(f"{name} holds no points; give at least one.")
        if not bool(torch.isfinite(points).all()):
            raise DataError(f"{name} holds values that are not finite; remove those points first.")


def sinkhorn_divergence(
    x: Float[Tensor, "*batch n feature"],
    y: Float[Tensor, "*batch m feature"],
    *,
    blur: float = 0.05,
    scaling: float = 0.5,
    x_weights: Any = None,
    y_weights: Any = None,
) -> Float[Tensor, "*batch"]:
    """Debiased Sinkhorn divergence between sets of points, differentiable in the points.

    Parameters
    ----------
    x : Tensor of shape (..., n_points, n_features)
        float32 or float64; every leading index is a set of its own.
    y : Tensor of shape (..., m_points, n_features)
    blur : float, default 0.05
        Scale below which points are not told apart, in the unit of the points.
    scaling : float, default 0.5
        Factor by which the blur falls from one step to the next; nearer to one is slower and closer to the optimum.
    x_weights, y_weights : Tensor of shape (..., n_points) and (..., m_points), optional
        Non-negative, sum one over the points; equal by default.

    Returns
    -------
    Tensor of shape (...)
        In the unit of the points, squared; the limit of a small blur is half the squared Wasserstein distance.

    Raises
    ------
    DataError
        If a set is empty or a value is not finite.
    UsageError
        If blur, scaling or weights cannot be.

    Examples
    --------
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sinkhorn_divergence(x, x + 2.0, blur=0.01).round(decimals=3).item()
    2.0
    """
    _check(x, y, blur, scaling)
    log_a, log_b = _log_weights(x, x_weights, "x"), _log_weights(y, y_weights, "y")
    with torch.no_grad():
        xy, xx, yy = squared_cost(x, y), squared_cost(x, x), squared_cost(y, y)
        epsilons = _schedule(x, y, blur, scaling)
        epsilon = epsilons[0]
        f, g = _softmin(epsilon, xy, log_b, 0.0), _softmin(epsilon, xy, log_a, 0.0, over=-2)
        fx, gy = _softmin(epsilon, xx, log_a, 0.0), _softmin(epsilon, yy, log_b, 0.0)
        for epsilon in epsilons:
            f, g = (f + _softmin(epsilon, xy, log_b, g)) / 2, (g + _softmin(epsilon, xy, log_a, f, over=-2)) / 2
            fx = (fx + _softmin(epsilon, xx, log_a, fx)) / 2
            gy = (gy + _softmin(epsilon, yy, log_b, gy)) / 2
    fixed_a, fixed_b = log_a.detach(), log_b.detach()
    if x.requires_grad:
        to_y, to_x = squared_cost(x, y.detach()), squared_cost(x, x.detach())
    else:
        to_y, to_x = xy, xx
    from_x = _softmin(epsilon, to_y, fixed_b, g) - _softmin(epsilon, to_x, fixed_a, fx)
    if y.requires_grad:
        to_x, to_y = squared_cost(x.detach(), y), squared_cost(y.detach(), y)
    else:
        to_x, to_y = xy, yy
    from_y = _softmin(epsilon, to_x, fixed_a, f, over=-2) - _softmin(epsilon, to_y, fixed_b, gy, over=-2)
    return (log_a.exp() * from_x).sum(dim=-1) + (log_b.exp() * from_y).sum(dim=-1)


def transport_plan(
    x: Float[Tensor, "*batch n feature"],
    y: Float[Tensor, "*batch m feature"],
    *,
    blur: float = 0.05,
    scaling: float = 0.5,
    x_weights: Any = None,
    y_weights: Any = None,
    tolerance: float = 1e-4,
    max_iter: int = 10_000,
) -> Float[Tensor, "*batch n m"]:
    """How much of every point of x goes to every point of y, with the right sums over both.

    Parameters
    ----------
    x, y, blur, scaling, x_weights, y_weights :
        As for `sinkhorn_divergence`.
    tolerance : float, default 1e-4
        Largest relative error of a sum over y; sums over x are exact.
    max_iter : int, default 10000
        Updates at the final blur; a small blur needs many.

    Returns
    -------
    Tensor of shape (..., n_points, m_points)
        Sums to `x_weights` over the last axis and to `y_weights` over the one before. No gradients.

    Warns
    -----
    RuntimeWarning
        If `max_iter` updates do not reach the tolerance.

    Examples
    --------
    >>> points = torch.tensor([[0.0], [1.0]])
    >>> transport_plan(points, points.flip(0), blur=0.1).round(decimals=3).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    _check(x, y, blur, scaling)
    log_a, log_b = _log_weights(x, x_weights, "x"), _log_weights(y, y_weights, "y")
    with torch.no_grad():
        cost = squared_cost(x, y)
        f, g = torch.zeros_like(log_a), torch.zeros_like(log_b)
        for epsilon in _schedule(x, y, blur, scaling):
            f = _softmin(epsilon, cost, log_b, g)
            g = _softmin(epsilon, cost, log_a, f, over=-2)
        for _ in range(max_iter):
            new = _softmin(epsilon, cost, log_b, g)
            error = float(torch.expm1((f - new)[log_a > -math.inf] / epsilon).abs().max())
            if error <= tolerance:
                break
            f = new
            g = _softmin(epsilon, cost, log_a, f, over=-2)
        else:
            warnings.warn(
                f"The transport plan has sums that are off by {error:.1e} after {max_iter} updates (tolerance {tolerance:.1e}); "
                "raise max_iter or the blur.",
                RuntimeWarning,
                stacklevel=2,
            )
        dual = (f[..., :, None] + g[..., None, :] - cost) / epsilon
        return torch.exp(dual + log_a[..., :, None] + log_b[..., None, :])


def match_points(
    x: Float[Tensor, "n feature"], y: Float[Tensor, "m feature"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The partner in y of every point of x, one to one, at the least total squared distance: the plan of a vanishing blur.

    Parameters
    ----------
    x, y : Tensor of shape (n_points, n_features)
        y may hold more points than x.

    Returns
    -------
    partners : Tensor of int, shape (n_points,)
        ``y[partners]`` lies beside ``x``.
    distances : Tensor of shape (n_points,)
        Euclidean.

    Examples
    --------
    >>> partners, distances = match_points(torch.tensor([[0.0], [5.0]]), torch.tensor([[5.5], [0.0]]))
    >>> partners.tolist(), distances.tolist()
    ([1, 0], [0.0, 0.5])
    """
    from scipy.optimize import linear_sum_assignment

    x, y = x.detach(), y.detach()
    _check(x, y, 1.0, 0.5)
    if len(x) > len(y):
        raise DataError(
            f"Every point needs a partner of its own: y must have at least as many points as x, {len(x)}, got {len(y)}."
        )
    rows, columns = linear_sum_assignment(squared_cost(x, y).double().numpy())
    partners = torch.empty(len(x), dtype=torch.long)
    partners[torch.as_tensor(rows)] = torch.as_tensor(columns)
    return partners, (x - y[partners]).norm(dim=-1)
