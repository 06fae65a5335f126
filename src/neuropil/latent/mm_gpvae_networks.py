r"""Networks of the multi-modal Gaussian-process variational autoencoder: priors on paths, recognition, two decoders, the bound.

Paths come in three groups, in this order: of neurons alone, shared, of behaviour alone. The neural decoder reads the first two, linearly;
the behaviour decoder the last two, through a deep network. In the heads of both encoders the shared group comes last.

Three priors describe the same posterior, independent Gaussians, in other coordinates: Fourier coefficients (`FourierPrior`), bins of a
smooth path (`TimePrior`), and bins of no path at all (`IndependentPrior`, a plain variational autoencoder).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from neuropil.nn.mlp import MLP
from neuropil.nn.variational import diagonal_gaussian_kl, expected_gaussian, expected_poisson, full_gaussian_kl
from neuropil.stats.fourier_gp import fourier_basis, spectral_variances, to_time, variance_in_time

LOG_2PI = math.log(2 * math.pi)
NEURAL_HIDDEN = (80, 40, 20)


class Posterior(NamedTuple):
    """Independent Gaussians: means and logarithms of standard deviations, both of shape (batch, n_coefficients, n_latents)."""

    mean: Tensor
    log_sd: Tensor


class FourierPrior(nn.Module):
    r"""Smooth paths by a few sines and cosines, whose coefficients are independent with variance :math:`\kappa_f + \epsilon`.

    Parameters
    ----------
    n_times, n_latents : int
    lengthscale : float
        To start with, in bins; learned for every latent.
    min_lengthscale, condition : float
        Which frequencies are kept (`neuropil.stats.fourier_gp.fourier_basis`).
    floor : float
        Added to every variance.
    """

    basis: Tensor
    frequencies: Tensor

    def __init__(
        self,
        n_times: int,
        n_latents: int,
        *,
        lengthscale: float,
        min_lengthscale: float,
        condition: float,
        floor: float,
    ) -> None:
        super().__init__()
        basis = fourier_basis(n_times, min_lengthscale, condition=condition)
        self.register_buffer("basis", torch.as_tensor(basis.basis, dtype=torch.float32), persistent=False)
        self.register_buffer("frequencies", torch.as_tensor(basis.frequencies, dtype=torch.float32), persistent=False)
        self.log_lengthscale = nn.Parameter(torch.full((n_latents,), math.log(lengthscale)))
        self.n_coefficients, self.floor = len(basis.frequencies), floor

    def variances(self) -> Float[Tensor, "frequency latent"]:
        """Of the coefficients."""
        lengthscales = torch.exp(self.log_lengthscale)[:, None]
        return spectral_variances(self.frequencies, lengthscales).T + self.floor

    def divergence(self, posterior: Posterior) -> Float[Tensor, " batch"]:
        """Of the posterior from the prior, summed over latents."""
        return diagonal_gaussian_kl(*posterior, self.variances()).sum(dim=(1, 2))

    def to_time(self, coefficients: Float[Tensor, "batch frequency latent"]) -> Float[Tensor, "batch time latent"]:
        """Paths in bins."""
        return to_time(self.basis, coefficients)

    def variance_in_time(
        self, variances: Float[Tensor, "*batch frequency latent"]
    ) -> Float[Tensor, "*batch time latent"]:
        """Variances in bins from those of the coefficients."""
        return variance_in_time(self.basis, variances)

    def draw(self, n_trials: int) -> Float[Tensor, "trial frequency latent"]:
        """Coefficients from the prior."""
        scales = self.variances().sqrt()
        return torch.randn(n_trials, *scales.shape) * scales


class IndependentPrior(nn.Module):
    """A standard normal variable in every bin, without any smoothness."""

    ones: Tensor

    def __init__(self, n_times: int, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(n_times, n_latents), persistent=False)
        self.n_coefficients = n_times

    def variances(self) -> Float[Tensor, "time latent"]:
        """Of the bins."""
        return self.ones

    def divergence(self, posterior: Posterior) -> Float[Tensor, " batch"]:
        """Of the posterior from the prior, summed over latents."""
        return diagonal_gaussian_kl(*posterior, self.ones).sum(dim=(1, 2))

    def to_time(self, coefficients: Float[Tensor, "batch time latent"]) -> Float[Tensor, "batch time latent"]:
        """The same: coefficients are bins."""
        return coefficients

    def variance_in_time(self, variances: Float[Tensor, "*batch time latent"]) -> Float[Tensor, "*batch time latent"]:
        """The same: coefficients are bins."""
        return variances

    def draw(self, n_trials: int) -> Float[Tensor, "trial time latent"]:
        """Bins from the prior."""
        return torch.randn(n_trials, *self.ones.shape)


class TimePrior(IndependentPrior):
    """Smooth paths by their bins, whose covariance is a full matrix: a squared-exponential kernel plus `floor` on the diagonal."""

    steps: Tensor

    def __init__(self, n_times: int, n_latents: int, *, lengthscale: float, floor: float) -> None:
        super().__init__(n_times, n_latents)
        bins = torch.arange(n_times)
        self.register_buffer("steps", (bins[:, None] - bins).float(), persistent=False)
        self.log_lengthscale = nn.Parameter(torch.full((n_latents,), math.log(lengthscale)))
        self.floor = floor

    def roots(self) -> Float[Tensor, "latent time time"]:
        """Lower Cholesky factors of the covariances."""
        scaled = self.steps / torch.exp(self.log_lengthscale)[:, None, None]
        kernel = torch.exp(-0.5 * scaled**2)
        return torch.linalg.cholesky(kernel + self.floor * torch.eye(len(self.steps), device=kernel.device))

    def variances(self) -> Float[Tensor, "time latent"]:
        return super().variances() + self.floor

    def divergence(self, posterior: Posterior) -> Float[Tensor, " batch"]:
        mean, log_sd = (part.transpose(1, 2) for part in posterior)
        return full_gaussian_kl(mean, log_sd, self.roots()).sum(dim=1)

    def draw(self, n_trials: int) -> Float[Tensor, "trial time latent"]:
        return torch.einsum("lts,nsl->ntl", self.roots(), super().draw(n_trials))


Prior = FourierPrior | IndependentPrior


class PathEncoder(nn.Module):
    """A network on every bin, and a linear map along time from bins to coefficients where the prior's are fewer.

    Parameters
    ----------
    n_features : int
        Of a bin.
    hidden : sequence of int
        Widths of the hidden layers.
    n_latents, n_times : int
    n_coefficients : int, optional
        Of the prior; without, coefficients are bins and there is no map along time.
    """

    def __init__(
        self, n_features: int, hidden: Sequence[int], n_latents: int, n_times: int, n_coefficients: int | None
    ) -> None:
        super().__init__()
        self.bins = MLP([n_features, *hidden], last=nn.ELU)
        self.mean, self.log_sd = nn.Linear(hidden[-1], n_latents), nn.Linear(hidden[-1], n_latents)
        self.mean_in_time: nn.Module = nn.Identity()
        self.log_sd_in_time: nn.Module = nn.Identity()
        if n_coefficients is not None:
            self.mean_in_time = nn.Linear(n_times, n_coefficients)
            self.log_sd_in_time = nn.Linear(n_times, n_coefficients, bias=False)

    def forward(self, values: Float[Tensor, "batch time feature"]) -> Posterior:
        features = self.bins(values)
        mean, log_sd = self.mean(features).transpose(1, 2), self.log_sd(features).transpose(1, 2)
        return Posterior(self.mean_in_time(mean).transpose(1, 2), self.log_sd_in_time(log_sd).transpose(1, 2))


class Bound(NamedTuple):
    """Terms of the evidence lower bound, one number a trial."""

    neural: Float[Tensor, " batch"]
    """Expected log-likelihood of the neural data; 0 without them."""
    behaviour: Float[Tensor, " batch"]
    """Expected log-likelihood of the behaviour, by one draw; 0 without it."""
    divergence: Float[Tensor, " batch"]
    """Of the posterior from the prior."""

    def total(self) -> Float[Tensor, " batch"]:
        """The bound."""
        return self.neural + self.behaviour - self.divergence


class MMGPVAENetwork(nn.Module):
    """Neural data and behaviour, explained by smooth paths that are shared or belong to one of them alone.

    1. Each modality's encoder gives, for its own and for the shared latents, Gaussians of the coefficients.
    2. `fuse` joins both opinions about the shared ones.
    3. Coefficients become paths; the neural decoder is linear and its likelihood has a closed form, the behaviour decoder is an MLP that
       reads one draw.

    Parameters
    ----------
    n_neurons, n_features, n_times : int
        Sizes of a trial; 0 neurons or features where a modality does not exist.
    n_latents : tuple of int
        Of neurons alone, shared, of behaviour alone.
    prior : FourierPrior, TimePrior or IndependentPrior
        Of all latents.
    hidden : sequence of int
        Widths of the behaviour encoder; the decoder's are the same, backwards.
    neural_hidden : sequence of int
        Widths of the neural encoder.
    neural_likelihood : {"poisson", "gaussian"}
    fusion : {"mean", "poe"}
        Average of means and of log standard deviations, or product of the prior and both opinions.
    bounded : bool
        End the behaviour decoder in an ELU, for data that are never far below 0.
    noise_variance : float
        Of the behaviour, to start with.
    """

    prior: Prior
    neural_encoder: PathEncoder
    behaviour_encoder: PathEncoder

    def __init__(
        self,
        n_neurons: int,
        n_features: int,
        n_times: int,
        n_latents: tuple[int, int, int],
        prior: Prior,
        *,
        hidden: Sequence[int] = (784, 512, 256, 256),
        neural_hidden: Sequence[int] = NEURAL_HIDDEN,
        neural_likelihood: str = "poisson",
        fusion: str = "mean",
        bounded: bool = True,
        noise_variance: float = 0.4,
    ) -> None:
        super().__init__()
        self.n_alone, self.n_shared, self.n_behaviour = n_latents
        self.prior, self.fusion, self.neural_likelihood = prior, fusion, neural_likelihood
        coefficients = prior.n_coefficients if isinstance(prior, FourierPrior) else None
        if n_neurons:
            n_mine = self.n_alone + self.n_shared
            self.neural_encoder = PathEncoder(n_neurons, neural_hidden, n_mine, n_times, coefficients)
            self.neural_decoder = nn.Linear(n_mine, n_neurons)
            if neural_likelihood == "gaussian":
                self.log_neural_noise = nn.Parameter(torch.zeros(n_neurons))
        if n_features:
            n_mine = self.n_shared + self.n_behaviour
            self.behaviour_encoder = PathEncoder(n_features, hidden, n_mine, n_times, coefficients)
            sizes = [n_mine, *reversed(tuple(hidden)), n_features]
            self.behaviour_decoder = MLP(sizes, last=nn.ELU if bounded else None)
            self.log_noise = nn.Parameter(torch.tensor([math.log(noise_variance)]))

    def fuse(self, opinions: Sequence[Posterior], prior_variances: Float[Tensor, "coefficient latent"]) -> Posterior:
        """One posterior from those of several encoders."""
        if self.fusion == "mean":
            return Posterior(*(torch.stack(parts).mean(dim=0) for parts in zip(*opinions, strict=True)))
        precisions = [torch.exp(-2 * opinion.log_sd) for opinion in opinions]
        precision = torch.stack(precisions).sum(dim=0) + 1 / prior_variances
        weighted = [weight * opinion.mean for weight, opinion in zip(precisions, opinions, strict=True)]
        return Posterior(torch.stack(weighted).sum(dim=0) / precision, -0.5 * precision.log())

    def encode(
        self,
        neural: Float[Tensor, "batch time neuron"] | None = None,
        behaviour: Float[Tensor, "batch time feature"] | None = None,
    ) -> Posterior:
        """Posterior of the coefficients of all latents: of neurons alone, shared, of behaviour alone; the prior where nothing is known."""
        given = neural if neural is not None else behaviour
        if given is None:
            raise ValueError("encode needs neural data, behaviour, or both; got neither.")
        variances = self.prior.variances()
        a, s, b = self.n_alone, self.n_shared, self.n_behaviour
        from_neurons = None if neural is None else self.neural_encoder(neural)
        from_behaviour = None if behaviour is None else self.behaviour_encoder(behaviour)
        opinions: list[list[Posterior]] = [[], [], []]
        if from_neurons is not None:
            opinions[0].append(Posterior(*(part[..., :a] for part in from_neurons)))
            opinions[1].append(Posterior(*(part[..., a:] for part in from_neurons)))
        if from_behaviour is not None:
            opinions[1].append(Posterior(*(part[..., b:] for part in from_behaviour)))
            opinions[2].append(Posterior(*(part[..., :b] for part in from_behaviour)))
        groups = []
        for mine, columns in zip(opinions, (slice(a), slice(a, a + s), slice(a + s, a + s + b)), strict=True):
            prior = variances[:, columns].expand(len(given), -1, -1)
            unknown = Posterior(torch.zeros_like(prior), 0.5 * prior.log())
            groups.append(self.fuse(mine, variances[:, columns]) if mine else unknown)
        return Posterior(*(torch.cat(parts, dim=-1) for parts in zip(*groups, strict=True)))

    def rates(
        self, posterior: Posterior
    ) -> tuple[Float[Tensor, "batch time neuron"], Float[Tensor, "batch time neuron"]]:
        """Mean and variance of what the neural decoder makes of the posterior: log-rates, or means of traces."""
        mine = self.n_alone + self.n_shared
        mean = self.prior.to_time(posterior.mean[..., :mine])
        variance = self.prior.variance_in_time(torch.exp(2 * posterior.log_sd[..., :mine]))
        return self.neural_decoder(mean), variance @ self.neural_decoder.weight.T**2

    def behaviour(self, coefficients: Float[Tensor, "batch coefficient latent"]) -> Float[Tensor, "batch time feature"]:
        """Expected behaviour for coefficients of all latents."""
        return self.behaviour_decoder(self.prior.to_time(coefficients[..., self.n_alone :]))

    def forward(
        self,
        neural: Float[Tensor, "batch time neuron"] | None = None,
        behaviour: Float[Tensor, "batch time feature"] | None = None,
    ) -> Bound:
        """Terms of the evidence lower bound of trials."""
        posterior = self.encode(neural, behaviour)
        none = torch.zeros(len(posterior.mean), device=posterior.mean.device)
        of_neurons = none if neural is None else self._neural_log_likelihood(posterior, neural)
        of_behaviour = none
        if behaviour is not None:
            drawn = posterior.mean + torch.exp(posterior.log_sd) * torch.randn_like(posterior.mean)
            squares = ((self.behaviour(drawn) - behaviour) ** 2).sum(dim=(1, 2))
            size = behaviour[0].numel()
            of_behaviour = -0.5 * (squares * torch.exp(-self.log_noise) + size * (LOG_2PI + self.log_noise))
        return Bound(of_neurons, of_behaviour, self.prior.divergence(posterior))

    def _neural_log_likelihood(
        self, posterior: Posterior, neural: Float[Tensor, "batch time neuron"]
    ) -> Float[Tensor, " batch"]:
        mean, variance = self.rates(posterior)
        if self.neural_likelihood == "poisson":
            return expected_poisson(neural, mean, variance).sum(dim=(1, 2))
        return expected_gaussian(neural, mean, variance, self.log_neural_noise).sum(dim=(1, 2))


def three_rates(module: nn.Module, lr: Sequence[float], max_grad_norm: float) -> torch.optim.Adam:
    """Adam with a rate, and a largest norm of the gradient, for each of behaviour networks (and prior), neural encoder, neural decoder."""
    parts: list[list[nn.Parameter]] = [[], [], []]
    for name, parameter in module.named_parameters():
        of = 1 if name.startswith("neural_encoder") else 2 if name.startswith(("neural_decoder", "log_neural")) else 0
        parts[of].append(parameter)
    groups = [{"params": part, "lr": rate} for part, rate in zip(parts, lr, strict=True) if part]
    optimizer = torch.optim.Adam(groups, fused=True)

    def clip(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            clip_grad_norm_(group["params"], max_grad_norm)

    optimizer.register_step_pre_hook(clip)
    return optimizer
