"""Learning rates that differ by layer, and change with time: for fine-tuning Transformers.

Layers near the input change slower than those near the output (layer-wise decay); the rate rises from 0 and falls along a cosine.

Clark, Luong, Le & Manning (2020). ELECTRA: pre-training text encoders as discriminators rather than generators. ICLR (layer-wise decay).
Loshchilov & Hutter (2017). SGDR: stochastic gradient descent with warm restarts. ICLR (cosine).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import cos, pi
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from neuropil.errors import UsageError


def layer_decay_groups(
    module: nn.Module,
    depth_of: Callable[[str], int],
    *,
    lr: float,
    layer_decay: float = 1.0,
    weight_decay: float = 0.0,
    no_weight_decay: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser whose learning rate is ``lr * layer_decay ** depth_of(name)``.

    Parameters
    ----------
    module : nn.Module
        Its trainable parameters are grouped.
    depth_of : callable
        Layers between a parameter (by its name) and the output; 0 keeps the full rate.
    lr : float
        Rate at the output.
    layer_decay : float, default 1.0
        Factor of every layer away from it.
    weight_decay : float, default 0.0
        Of all parameters with two dimensions or more, but those of `no_weight_decay`.
    no_weight_decay : collection of str
        Names of parameters that are not pulled to 0 (embeddings).

    Returns
    -------
    list of dict
        `params`, `lr`, `weight_decay`.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    >>> groups = layer_decay_groups(network, lambda name: 1 - int(name[0]), lr=0.1, layer_decay=0.5, weight_decay=0.01)
    >>> [(g["lr"], g["weight_decay"], len(g["params"])) for g in groups]
    [(0.05, 0.01, 1), (0.05, 0.0, 1), (0.1, 0.01, 1), (0.1, 0.0, 1)]
    """
    if not 0 < layer_decay <= 1:
        raise UsageError(f"The layer-wise decay is a factor above 0 and up to 1, got {layer_decay}.")
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and name not in no_weight_decay
        depth = depth_of(name)
        group = groups.setdefault(
            (depth, decayed),
            {"params": [], "lr": lr * layer_decay**depth, "weight_decay": weight_decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    return list(groups.values())


def warmup_cosine(
    optimizer: torch.optim.Optimizer, n_steps: int, *, warmup_steps: int = 0, floor: float = 0.0
) -> LambdaLR:
    """A schedule, stepped once a batch: from 0 in a straight line to every group's rate, then along a cosine down to a share of it.

    Parameters
    ----------
    optimizer : Optimizer
    n_steps : int
        Steps in all.
    warmup_steps : int, default 0
        Steps of the rise; the last of them has the full rate.
    floor : float, default 0.0
        Share of the full rate at the end.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = warmup_cosine(optimizer, 6, warmup_steps=3)
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.0, 0.5, 1.0, 1.0, 0.75, 0.25]
    """
    if not 0 <= warmup_steps <= n_steps:
        raise UsageError(f"The warm-up must be part of the {n_steps} steps, got {warmup_steps}.")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / max(warmup_steps - 1, 1)
        share = min(1.0, (step - warmup_steps) / max(n_steps - warmup_steps, 1))
        return floor + (1 - floor) * 0.5 * (1 + cos(pi * share))

    return LambdaLR(optimizer, factor)


def token_warmup_cosine(
    optimizer: torch.optim.Optimizer,
    n_steps: int,
    *,
    tokens_per_step: float,
    warmup_tokens: float = 0.0,
    floor: float = 0.0,
) -> LambdaLR:
    """A schedule, stepped once a batch, that counts tokens: up in a straight line over the first of them, then along a cosine to 0.

    The rate does not fall below a share of the full one. Where the whole training has fewer tokens than the warm-up, the full rate is
    never reached, so that networks of one family can share a warm-up whatever their batches.

    Parameters
    ----------
    optimizer : Optimizer
    n_steps : int
        Steps in all.
    tokens_per_step : float
        Tokens of a batch.
    warmup_tokens : float
        Tokens of the rise.
    floor : float
        Smallest share of the full rate after the warm-up.

    References
    ----------
    Brown et al. (2020). Language models are few-shot learners. NeurIPS (Appendix B).

    Examples
    --------
    >>> optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = token_warmup_cosine(optimizer, 6, tokens_per_step=50, warmup_tokens=100, floor=0.2)
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.5, 1.0, 0.85, 0.5, 0.2, 0.2]
    """
    if not tokens_per_step > 0 or warmup_tokens < 0 or not 0 <= floor <= 1:
        raise UsageError(
            "A warm-up of tokens needs a positive number of tokens a step, no negative number of tokens and a floor in [0, 1], "
            f"got {tokens_per_step=}, {warmup_tokens=}, {floor=}."
        )
    final = n_steps * tokens_per_step

    def factor(step: int) -> float:
        seen = (step + 1) * tokens_per_step
        if seen < warmup_tokens:
            return seen / warmup_tokens
        share = min(1.0, (seen - warmup_tokens) / max(final - warmup_tokens, 1.0))
        return max(floor, 0.5 * (1 + cos(pi * share)))

    return LambdaLR(optimizer, factor)
