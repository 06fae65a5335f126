"""How AT-AT is trained: the autoencoder alone, then the transformer on what the autoencoder leaves, at last against an adversary.

Clean segments are mixed with other noise, at another ratio, in every epoch. The transformer's loss is the squared error plus a small
multiple of the mean difference of log spectra and, after three epochs, of the adversary's judgement (hinge loss, one step each in turn).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, pi

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from neuropil import adversarial, train
from neuropil.decoding.at_at_networks import (
    Autoencoder,
    SpectralDiscriminator,
    TargetedTransformer,
    smoothed_log_spectrum,
)
from neuropil.errors import DataError
from neuropil.networks import validation_split
from neuropil.signal.mixing import amplitude_ratio, mix, rms

WARM_UP = 3
VALIDATION_MIXES = 400
ADVERSARY_LR = 2e-4
ADVERSARY_BETAS = (0.5, 0.9)

Batch = dict[str, Tensor]
Mixes = Callable[[Batch], tuple[Tensor, Tensor]]
History = list[dict[str, float]]


def standardise(noisy: Float[Tensor, "batch time"], clean: Float[Tensor, "batch time"]) -> tuple[Tensor, Tensor]:
    """Both segments minus the mean of the noisy one, divided by its standard deviation, which is known where it is applied."""
    mean, scale = noisy.mean(dim=1, keepdim=True), noisy.std(dim=1, keepdim=True, correction=0)
    return (noisy - mean) / scale, (clean - mean) / scale


class FreshMixes:
    """Clean segments of a batch with noise drawn by torch's generator: another mix at every call.

    Parameters
    ----------
    noise : Tensor of shape (n, n_times)
        Noise of unit root mean square.
    snr_range : (float, float)
        In dB, drawn uniformly.
    convention : str
        See `neuropil.signal.mixing`.
    """

    def __init__(self, noise: Tensor, snr_range: tuple[float, float], convention: str) -> None:
        self.noise, self.snr_range, self.convention = noise, snr_range, convention

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Standardised noisy and clean segments; the batch's entry `clean` has unit root mean square."""
        clean = batch["clean"]
        low, high = self.snr_range
        level = low + (high - low) * torch.rand(len(clean))
        ratio = torch.as_tensor(amplitude_ratio(level.numpy(), self.convention), dtype=torch.float32)
        noise = self.noise[torch.randint(len(self.noise), (len(clean),))] / ratio[:, None]
        return standardise(clean + noise.to(clean.device), clean)


def fresh_mixes(
    clean: Float[ndarray, "clean time"],
    noise: Float[ndarray, "noise time"],
    groups: ndarray | None,
    validation: float,
    snr_range: tuple[float, float],
    convention: str,
    seed: int,
) -> tuple[Batch, FreshMixes, ndarray, ndarray]:
    """Divide clean segments and noise, then mix: what to train on, what mixes it, and noisy and clean segments for validation.

    Whole groups of clean segments are held out, and the last of the noise: an artefact must not be known from the training either. The
    validation mixes cover the range of ratios evenly; clean segments are used several times until there are 400 or more.
    """
    rng = np.random.default_rng(seed)
    chosen, held = validation_split(np.zeros(len(clean)), groups, validation, rng)
    n_noise = len(noise) - max(1, round(validation * len(noise)))
    if not n_noise:
        raise DataError(f"At least two noise segments are needed, got {len(noise)}.")
    truth = np.tile(clean[held], (-(-VALIDATION_MIXES // len(held)), 1))
    unheard = noise[n_noise + np.arange(len(truth)) % (len(noise) - n_noise)]
    levels = rng.permutation(np.linspace(*snr_range, len(truth)))
    noisy = mix(truth, unheard, levels, convention)
    data = {"clean": _unit(clean[chosen])}
    return data, FreshMixes(_unit(noise[:n_noise]), snr_range, convention), noisy, truth


def _unit(rows: ndarray) -> Tensor:
    return torch.as_tensor((rows / rms(rows)[:, None]).astype(np.float32))


@dataclass(frozen=True)
class Training:
    """Data and settings of one training.

    Parameters
    ----------
    data : dict of Tensor
        Clean segments, for pairs also the noisy ones.
    mixes : callable
        Standardised noisy and clean segments of a batch.
    max_epochs, batch_size, lr, seed, device, progress :
        Of either phase; see `neuropil.train.fit`.
    """

    data: Batch
    mixes: Mixes
    max_epochs: int
    batch_size: int
    lr: float
    seed: int
    device: str
    progress: bool | None

    def autoencoder(self, network: Autoencoder) -> History:
        """Train to the clean segments by the squared error; the learning rate falls along a cosine."""

        def losses(module: nn.Module, batch: Batch) -> Batch:
            noisy, clean = self.mixes(batch)
            return {"loss": functional.mse_loss(module(noisy), clean)}

        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr, fused=True)
        return self._fit(network, losses, optimizer, self.max_epochs, "autoencoder")

    def transformer(
        self,
        first: Autoencoder,
        network: TargetedTransformer,
        adversary: SpectralDiscriminator | None,
        *,
        sfreq: float,
        adversarial_weight: float,
        spectral_weight: float,
        limit: float = inf,
    ) -> History:
        """Train on segments whose noise proxy is at most `limit`, with the autoencoder frozen."""
        first.to(Fabric(accelerator=self.device, devices=1).device).eval().requires_grad_(False)

        def routed(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
            noisy, clean = self.mixes(batch)
            with torch.no_grad():
                cleaned = first(noisy)
            proxy = functional.cosine_similarity(noisy, cleaned - cleaned.mean(dim=1, keepdim=True))
            keep = proxy <= max(limit, float(proxy.min()))  # at least the noisiest, so that no batch is empty
            return noisy[keep], clean[keep], cleaned[keep]

        def losses(module: nn.Module, batch: Batch) -> Batch:
            noisy, clean, cleaned = routed(batch)
            refined = module(noisy, cleaned)
            terms = {"mse": functional.mse_loss(refined, clean)}
            loss = terms["mse"]
            if spectral_weight:
                terms["spectral"] = functional.l1_loss(
                    smoothed_log_spectrum(refined, sfreq), smoothed_log_spectrum(clean, sfreq)
                )
                loss = loss + spectral_weight * terms["spectral"]
            if judged and adversary is not None:
                terms["adversarial"] = -adversary(refined).mean()
                loss = loss + adversarial_weight * terms["adversarial"]
            return {"loss": loss, **terms}

        def judge(module: nn.Module, batch: Batch) -> Batch:
            noisy, clean, cleaned = routed(batch)
            with torch.no_grad():
                refined = network(noisy, cleaned)
            return {"loss": functional.relu(1 - module(clean)).mean() + functional.relu(1 + module(refined)).mean()}

        judged = False
        alone = self.max_epochs if adversary is None else min(WARM_UP, self.max_epochs)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr, fused=True)
        history = self._fit(network, losses, optimizer, alone, "transformer")
        if adversary is not None and self.max_epochs > alone:
            judged = True
            opposed = torch.optim.Adam(adversary.parameters(), lr=ADVERSARY_LR, betas=ADVERSARY_BETAS, fused=True)

            def slower(epoch: int) -> None:
                for group in optimizer.param_groups:
                    group["lr"] = self.lr * self._rate(alone + epoch + 1)

            game = adversarial.alternate(
                {
                    "adversary": adversarial.Player(adversary, judge, opposed),
                    "transformer": adversarial.Player(network, losses, optimizer),
                },
                self.data,
                max_epochs=self.max_epochs - alone,
                batch_size=self.batch_size,
                each_epoch=slower,
                seed=self.seed,
                device=self.device,
                progress=self.progress,
                title="transformer against its adversary",
            )
            history = history + [{**row, "epoch": alone + row["epoch"]} for row in game.history]
            adversary.eval()
        first.cpu().requires_grad_(True)
        network.eval()
        return history

    def _fit(
        self, network: nn.Module, losses: train.Losses, optimizer: torch.optim.Optimizer, epochs: int, title: str
    ) -> History:
        n_batches = -(-len(self.data["clean"]) // self.batch_size)
        return train.fit(
            network,
            losses,
            self.data,
            max_epochs=epochs,
            batch_size=self.batch_size,
            make_optimizer=lambda module: optimizer,
            make_scheduler=lambda made, n_steps: torch.optim.lr_scheduler.LambdaLR(
                made, lambda step: self._rate(step / n_batches)
            ),
            seed=self.seed,
            device=self.device,
            progress=self.progress,
            title=title,
        ).history

    def _rate(self, epoch: float) -> float:
        """Factor of the learning rate after so many of all epochs."""
        return (1 + cos(pi * min(1.0, epoch / self.max_epochs))) / 2
