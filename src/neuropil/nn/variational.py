"""Terms of evidence lower bounds that have a closed form: Gaussian posteriors against Gaussian priors, and expected log-likelihoods."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def diagonal_gaussian_kl(
    mean: Float[Tensor, "*shape"], log_sd: Float[Tensor, "*shape"], prior_variance: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Divergence of N(mean, exp(2 log_sd)) from N(0, prior_variance), element by element; shapes broadcast.

    .. math:: \tfrac12 \left[ (m^2 + e^{2s}) / \kappa + \log \kappa - 2 s - 1 \right]

    Examples
    --------
    >>> diagonal_gaussian_kl(torch.tensor([0.0, 1.0]), torch.zeros(2), torch.ones(1))
    tensor([0.0000, 0.5000])
    """
    return 0.5 * ((mean**2 + torch.exp(2 * log_sd)) / prior_variance + torch.log(prior_variance) - 2 * log_sd - 1)


def full_gaussian_kl(
    mean: Float[Tensor, "*batch time"],
    log_sd: Float[Tensor, "*batch time"],
    prior_root: Float[Tensor, "*#batch time time"],
) -> Float[Tensor, "*batch"]:
    """Divergence of independent N(mean, exp(2 log_sd)) from N(0, L L'), summed over the last axis.

    Parameters
    ----------
    mean, log_sd : Tensor of shape (..., n_times)
    prior_root : Tensor of shape (..., n_times, n_times)
        Lower Cholesky factor L of the prior's covariance.
    """
    inverse = torch.cholesky_inverse(prior_root)
    distance = torch.einsum("...i,...ij,...j->...", mean, inverse, mean)
    trace = (torch.exp(2 * log_sd) * inverse.diagonal(dim1=-2, dim2=-1)).sum(-1)
    log_determinant = 2 * prior_root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (distance + trace + log_determinant - 2 * log_sd.sum(-1) - mean.shape[-1])


def expected_poisson(
    counts: Float[Tensor, "*shape"], log_rate: Float[Tensor, "*shape"], log_rate_variance: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    r"""Expected log-likelihood of counts whose log-rate is Gaussian.

    .. math:: E[\log p(y)] = y \mu - e^{\mu + \sigma^2 / 2} - \log y!

    Examples
    --------
    >>> expected_poisson(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([0.0]))
    tensor([-1.])
    """
    return counts * log_rate - torch.exp(log_rate + 0.5 * log_rate_variance) - torch.lgamma(counts + 1)


def expected_gaussian(
    values: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    mean_variance: Float[Tensor, "*shape"],
    log_noise: Float[Tensor, "*#shape"],
) -> Float[Tensor, "*shape"]:
    """Expected log-likelihood of values with Gaussian noise of variance exp(log_noise) around a Gaussian mean.

    Examples
    --------
    >>> expected_gaussian(torch.zeros(1), torch.zeros(1), torch.ones(1), torch.zeros(1))
    tensor([-1.4189])
    """
    error = ((values - mean) ** 2 + mean_variance) * torch.exp(-log_noise)
    return -0.5 * (math.log(2 * math.pi) + log_noise + error)
