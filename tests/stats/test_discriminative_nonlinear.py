"""The discriminative filter with nonlinear dynamics: the linear one for lines, closer to the truth for curves, and what it refuses."""

import numpy as np
import pytest

from neuropil.errors import DataError
from neuropil.stats import kalman
from neuropil.stats.discriminative import discriminative_kalman_filter
from neuropil.stats.discriminative_nonlinear import nonlinear_discriminative_filter


@pytest.mark.parametrize("correction", ["clip", "additive", "robust"])
@pytest.mark.parametrize("going_on", [False, True])
def test_linear_dynamics_are_filtered_as_by_the_linear_filter(correction, going_on):
    rng = np.random.default_rng(0)
    A = 0.9 * np.linalg.qr(rng.standard_normal((3, 3)))[0]
    S = kalman.stationary_covariance(A, 0.2 * np.eye(3))
    f = [rng.standard_normal((40, 3)), rng.standard_normal((15, 3))]
    f[0][5:8] = np.nan
    roots = [rng.standard_normal((len(x), 3, 3)) * 0.6 for x in f]
    Q = [root @ root.swapaxes(1, 2) + 0.1 * np.eye(3) for root in roots]
    initial = (np.ones(3), 0.5 * np.eye(3)) if going_on else None
    expected = discriminative_kalman_filter(f, Q, A, 0.2 * np.eye(3), S, correction, initial=initial)
    found = nonlinear_discriminative_filter(f, Q, lambda z: z @ A.T, 0.2 * np.eye(3), S, correction, initial=initial)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_a_rotation_by_the_radius_is_followed_better_than_by_a_line():
    rng = np.random.default_rng(0)

    def turned(z):
        angle = (z**2).sum(axis=-1, keepdims=True)
        return 0.95 * np.concatenate(
            [np.cos(angle) * z[:, :1] - np.sin(angle) * z[:, 1:], np.sin(angle) * z[:, :1] + np.cos(angle) * z[:, 1:]],
            axis=1,
        )

    z = np.zeros((1500, 2))
    for t in range(1, 1500):
        z[t] = turned(z[None, t - 1])[0] + 0.15 * rng.standard_normal(2)
    S = np.cov(z.T)
    f = z + 0.4 * rng.standard_normal(z.shape)
    gain = S @ np.linalg.inv(S + 0.16 * np.eye(2))
    f, Q = f @ gain.T, np.tile(S - gain @ S, (len(z), 1, 1))
    Q = (Q + Q.swapaxes(1, 2)) / 2
    A = np.linalg.lstsq(z[:-1], z[1:], rcond=None)[0].T
    residual = z[1:] - z[:-1] @ A.T
    line = discriminative_kalman_filter([f], [Q], A, residual.T @ residual / len(residual), S)
    curve = nonlinear_discriminative_filter([f], [Q], turned, 0.0225 * np.eye(2), S)
    errors = [np.sqrt(np.mean((found.means[0] - z) ** 2)) for found in (curve, line)]
    assert errors[0] < errors[1]


def test_shapes_that_do_not_fit():
    f, Q = [np.zeros((3, 1))], [np.ones((3, 1, 1))]
    with pytest.raises(DataError, match="as many sequences as f"):
        nonlinear_discriminative_filter(f, Q * 2, lambda z: z, np.eye(1), np.eye(1))
    with pytest.raises(DataError, match="one covariance for each step of f, got 2 for 3"):
        nonlinear_discriminative_filter(f, [Q[0][:2]], lambda z: z, np.eye(1), np.eye(1))
