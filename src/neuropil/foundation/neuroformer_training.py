"""Training Neuroformer: the losses of a batch, the optimiser, heads for more behaviour."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neuropil.foundation.neuroformer_data import Samples, trimmed
from neuropil.foundation.neuroformer_networks import NeuroformerNetwork, initialise, token_entropy
from neuropil.foundation.neuroformer_reading import network_inputs
from neuropil.nn.event_tokens import SpikeTokenizer

ID_WEIGHT, BIN_WEIGHT = 0.45, 0.30
BETAS = (0.9, 0.95)


def make_losses(
    network: NeuroformerNetwork, samples: Samples, tokenizer: SpikeTokenizer, contrastive: float, temperature: float
) -> Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]:
    """The losses of a batch: neurons, bins, behaviour where there are targets, alignment where it has a weight."""

    def losses(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        batch = trimmed(batch, tokenizer.pad)
        output = module(*network_inputs(batch), samples.frames(batch), batch.get("inputs"))
        terms = {
            "ids": token_entropy(output.id_logits, batch["ids"][:, 1:], tokenizer.pad),
            "bins": token_entropy(output.bin_logits, batch["bins"][:, 1:], tokenizer.bin_pad),
        }
        loss = ID_WEIGHT * terms["ids"] + BIN_WEIGHT * terms["bins"]
        if "targets" in batch:
            terms["behaviour"] = (output.behaviour - batch["targets"]).square().mean(dim=0).sum()
            loss = loss + terms["behaviour"]
        if contrastive:
            terms["contrastive"] = network.contrast(output.aligned, temperature)
            loss = loss + contrastive * terms["contrastive"]
        return {"loss": loss, **terms}

    return losses


def adamw(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that pulls the weights of linear maps to 0, and nothing else."""
    decayed = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear)}
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)


def wider_head(head: nn.Linear | None, emb_size: int, n_targets: int, initial_sd: float) -> nn.Linear:
    """A linear head for more behavioural variables, that keeps what it knows of the first ones."""
    wider = nn.Linear(emb_size, n_targets)
    initialise(wider, initial_sd)
    if head is not None:
        with torch.no_grad():
            wider.weight[: head.out_features] = head.weight
            wider.bias[: head.out_features] = head.bias
    return wider
