"""Dropout, and stochastic depth, that are cheap on a processor.

`torch.nn.Dropout` draws Bernoulli numbers, which outside a GPU is slow enough to show in the training step of a small
Transformer. Comparing uniform numbers with the probability draws the same distribution in a third of the time.

Srivastava et al. (2014). Dropout: a simple way to prevent neural networks from overfitting. JMLR 15.
Huang et al. (2016). Deep networks with stochastic depth. ECCV.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Inverted dropout: while training, each value is zeroed with probability `p`, the rest divided by ``1 - p``.

    Examples
    --------
    >>> Dropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or self.p == 0:
            return input
        if self.p == 1:
            return torch.zeros_like(input)
        return input * ((torch.rand_like(input) >= self.p) * (1 / (1 - self.p)))


class DropPath(nn.Module):
    """Stochastic depth: dropout of all values of a batch member at once."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"The probability of leaving out a path must lie in [0, 1), got {p}.")
        self.p = p

    def forward(self, paths: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        if not self.training or self.p == 0:
            return paths
        shape = (len(paths),) + (1,) * (paths.ndim - 1)
        kept = torch.rand(shape, device=paths.device, dtype=paths.dtype) >= self.p
        return paths * (kept * (1 / (1 - self.p)))
