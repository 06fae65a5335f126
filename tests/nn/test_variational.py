"""Closed forms of evidence lower bounds against Monte Carlo and torch's distributions; chains of layers."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, Poisson, kl_divergence

from neuropil.nn.mlp import MLP
from neuropil.nn.variational import diagonal_gaussian_kl, expected_gaussian, expected_poisson, full_gaussian_kl


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_diagonal_divergence_is_torchs_and_the_mean_of_draws():
    mean, log_sd, variance = torch.randn(5, 3), 0.5 * torch.randn(5, 3), torch.rand(3) + 0.1
    posterior, prior = Normal(mean, log_sd.exp()), Normal(torch.zeros(3), variance.sqrt())
    found = diagonal_gaussian_kl(mean, log_sd, variance)
    torch.testing.assert_close(found, kl_divergence(posterior, prior))
    draws = posterior.sample((200_000,))
    sampled = (posterior.log_prob(draws) - prior.log_prob(draws)).mean(dim=0)
    torch.testing.assert_close(found, sampled, atol=0.05, rtol=0.02)


def test_full_divergence_is_torchs():
    mean, log_sd = torch.randn(4, 2, 6, dtype=torch.float64), 0.3 * torch.randn(4, 2, 6, dtype=torch.float64)
    root = torch.linalg.cholesky(torch.stack([torch.eye(6), torch.eye(6) + 0.5]).double())
    posterior = MultivariateNormal(mean, torch.diag_embed(torch.exp(2 * log_sd)))
    expected = kl_divergence(posterior, MultivariateNormal(torch.zeros(2, 6, dtype=torch.float64), scale_tril=root))
    torch.testing.assert_close(full_gaussian_kl(mean, log_sd, root), expected)


def test_expected_log_likelihoods_are_means_over_draws():
    counts, mean, variance = torch.tensor([0.0, 2, 5, 1]), torch.randn(4), torch.rand(4) + 0.05
    draws = mean + variance.sqrt() * torch.randn(400_000, 4)
    sampled = Poisson(draws.exp()).log_prob(counts).mean(dim=0)
    torch.testing.assert_close(expected_poisson(counts, mean, variance), sampled, atol=0.02, rtol=0.01)
    values, log_noise = torch.randn(4), torch.randn(4)
    sampled = Normal(draws, torch.exp(0.5 * log_noise)).log_prob(values).mean(dim=0)
    torch.testing.assert_close(expected_gaussian(values, mean, variance, log_noise), sampled, atol=0.02, rtol=0.02)


def test_layers_of_a_chain():
    network = MLP([4, 6, 2], activation=torch.nn.Tanh)
    x = torch.randn(3, 5, 4)
    first, _, second = network
    torch.testing.assert_close(network(x), torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert [type(layer).__name__ for layer in MLP([4, 6, 2], last=torch.nn.ELU)] == ["Linear", "ELU", "Linear", "ELU"]
    assert sum(p.numel() for p in network.parameters()) == 4 * 6 + 6 + 6 * 2 + 2
    with pytest.raises(ValueError, match="two sizes or more, all of them positive"):
        MLP([4])
    with pytest.raises(ValueError, match=r"got \[4, 0\]"):
        MLP(np.array([4, 0]).tolist())
