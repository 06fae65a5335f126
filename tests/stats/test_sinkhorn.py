"""Optimal transport against a linear programme, against iterations written independently, and against what is known of it."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import linear_sum_assignment, linprog
from scipy.special import logsumexp

from neuropil.errors import DataError, UsageError
from neuropil.stats.sinkhorn import match_points, sinkhorn_divergence, squared_cost, transport_plan


def points(seed, *shape, dtype=torch.float64):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def half_squares(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(axis=2) / 2


def transport_cost(x, y, a, b):
    """Exact optimal transport by a linear programme."""
    n, m = len(x), len(y)
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    solved = linprog(half_squares(x, y).ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    return solved.fun


def entropic_potentials(x, y, epsilon):
    """Alternating updates in logarithms until they stand still."""
    cost, f, g = half_squares(x, y), np.zeros(len(x)), np.zeros(len(y))
    for _ in range(int(300 / epsilon)):
        f = -epsilon * (logsumexp((g - cost) / epsilon, axis=1) - np.log(len(y)))
        g = -epsilon * (logsumexp((f[:, None] - cost) / epsilon, axis=0) - np.log(len(x)))
    return f, g


def reference_divergence(x, y, blur):
    values = []
    for one, other in ((x, y), (x, x), (y, y)):
        f, g = entropic_potentials(one, other, blur**2)
        values.append(f.mean() + g.mean())
    return values[0] - values[1] / 2 - values[2] / 2


@pytest.mark.parametrize("blur", [0.3, 1.0])
def test_the_divergence_is_that_of_converged_iterations(blur):
    x, y = points(0, 25, 3), points(1, 30, 3) + 0.7
    expected = reference_divergence(x.numpy(), y.numpy(), blur)
    assert_allclose(float(sinkhorn_divergence(x, y, blur=blur, scaling=0.98)), expected, rtol=3e-3)
    assert_allclose(float(sinkhorn_divergence(x, y, blur=blur)), expected, rtol=0.1)


def test_a_small_blur_gives_half_the_squared_wasserstein_distance_also_with_weights():
    x, y = points(2, 12, 2), points(3, 9, 2) + 1.0
    a, b = np.random.default_rng(4).dirichlet(np.ones(12)), np.random.default_rng(5).dirichlet(np.ones(9))
    found = sinkhorn_divergence(
        x, y, blur=0.02, scaling=0.98, x_weights=torch.as_tensor(a), y_weights=torch.as_tensor(b)
    )
    assert_allclose(float(found), transport_cost(x.numpy(), y.numpy(), a, b), rtol=5e-3)


def test_weights_count_as_repeated_points():
    x, y = points(6, 4, 2), points(7, 5, 2)
    doubled = torch.cat([x, x[:1], x[:1]])
    weights = torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64) / 6
    assert_allclose(
        sinkhorn_divergence(x, y, blur=0.2, x_weights=weights).item(), sinkhorn_divergence(doubled, y, blur=0.2).item()
    )


def test_the_divergence_is_zero_for_equal_sets_positive_otherwise_and_symmetric():
    x, y = points(8, 40, 4), points(9, 40, 4)
    assert abs(float(sinkhorn_divergence(x, x[torch.randperm(40, generator=torch.Generator().manual_seed(0))]))) < 1e-12
    there, back = float(sinkhorn_divergence(x, y, blur=0.2)), float(sinkhorn_divergence(y, x, blur=0.2))
    assert there > 0.1
    assert_allclose(there, back)


def test_a_shift_costs_half_its_square():
    x = points(10, 30, 3)
    shift = torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64)
    assert_allclose(float(sinkhorn_divergence(x, x + shift, blur=0.05, scaling=0.9)), 12.5, rtol=1e-3)


def test_the_gradient_of_a_shift_is_the_shift():
    x = points(11, 30, 3).requires_grad_()
    shift = torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)
    sinkhorn_divergence(x, x.detach() + shift, blur=0.05, scaling=0.95).backward()
    assert_allclose(x.grad.sum(dim=0).numpy(), -shift.numpy(), atol=1e-3)


def test_the_gradient_is_that_of_finite_differences_where_iterations_have_converged():
    x, y = (2 * points(12, 8, 2)).requires_grad_(), points(13, 7, 2).requires_grad_()
    sinkhorn_divergence(x, y, blur=1.0, scaling=0.998).backward()
    assert x.grad.abs().max() > 0.1
    for which, of in ((0, x), (1, y)):
        for at in ((0, 0), (5, 1)):
            moved = []
            for sign in (1, -1):
                sets = [x.detach().numpy().copy(), y.detach().numpy().copy()]
                sets[which][at] += sign * 1e-5
                moved.append(reference_divergence(*sets, 1.0))
            assert_allclose(float(of.grad[at]), (moved[0] - moved[1]) / 2e-5, atol=2e-3)


def test_batches_are_the_single_sets_on_one_schedule():
    x, y = points(14, 3, 10, 2), points(15, 3, 12, 2)
    together = sinkhorn_divergence(x, y, blur=0.3, scaling=0.95)
    alone = [float(sinkhorn_divergence(x[k], y[k], blur=0.3, scaling=0.95)) for k in range(3)]
    assert together.shape == (3,)
    assert_allclose(together.numpy(), alone, rtol=2e-3)


def test_single_precision_agrees_with_double():
    x, y = points(16, 60, 30), points(17, 50, 30)
    single = sinkhorn_divergence(x.float(), y.float(), blur=0.2)
    assert single.dtype == torch.float32
    assert_allclose(float(single), float(sinkhorn_divergence(x, y, blur=0.2)), rtol=1e-5)


@pytest.mark.parametrize("blur", [0.3, 1.0])
def test_a_plan_has_the_sums_asked_for_and_is_the_entropic_one(blur):
    x, y = points(18, 10, 2), points(19, 14, 2)
    plan = transport_plan(x, y, blur=blur, tolerance=1e-8).numpy()
    assert_allclose(plan.sum(axis=1), np.full(10, 0.1), rtol=1e-7)
    assert_allclose(plan.sum(axis=0), np.full(14, 1 / 14), rtol=1e-7)
    f, g = entropic_potentials(x.numpy(), y.numpy(), blur**2)
    expected = np.exp((f[:, None] + g - half_squares(x.numpy(), y.numpy())) / blur**2) / 140
    assert_allclose(plan, expected, atol=1e-7)


def test_a_plan_of_a_small_blur_is_the_best_assignment():
    x, y = points(20, 15, 3), points(21, 15, 3)
    plan = transport_plan(x, y, blur=0.03)
    best = linear_sum_assignment(half_squares(x.numpy(), y.numpy()))[1]
    assert plan.argmax(dim=1).tolist() == best.tolist()


def test_a_plan_that_does_not_converge_warns():
    with pytest.warns(RuntimeWarning, match="raise max_iter or the blur"):
        transport_plan(points(22, 20, 2), points(23, 20, 2), blur=0.01, max_iter=1, tolerance=1e-12)


def test_points_are_matched_one_to_one_at_the_least_cost():
    x, y = points(24, 30, 4), points(25, 30, 4)
    partners, distances = match_points(x, y)
    best = linear_sum_assignment(half_squares(x.numpy(), y.numpy()))[1]
    assert partners.tolist() == best.tolist()
    assert_allclose(distances.numpy(), np.linalg.norm(x.numpy() - y.numpy()[best], axis=1))


def test_costs_are_half_squared_distances():
    x, y = points(26, 5, 7), points(27, 6, 7)
    assert_allclose(squared_cost(x, y).numpy(), half_squares(x.numpy(), y.numpy()))


def test_bad_input_is_refused_in_a_sentence():
    x = points(28, 5, 2)
    with pytest.raises(UsageError, match="positive blur"):
        sinkhorn_divergence(x, x, blur=0.0)
    with pytest.raises(UsageError, match="scaling between 0 and 1"):
        sinkhorn_divergence(x, x, scaling=1.0)
    with pytest.raises(DataError, match="x holds values that are not finite"):
        sinkhorn_divergence(x * torch.nan, x)
    with pytest.raises(DataError, match="y holds no points"):
        sinkhorn_divergence(x, x[:0])
    with pytest.raises(UsageError, match="one weight a point"):
        sinkhorn_divergence(x, x, x_weights=torch.ones(3, dtype=torch.float64))
    with pytest.raises(UsageError, match="sum to one"):
        sinkhorn_divergence(x, x, y_weights=torch.ones(5, dtype=torch.float64))
    with pytest.raises(DataError, match="as many points"):
        match_points(x, x[:3])
