"""Drawing tokens from logits: temperature, and the nucleus of the most probable ones.

Holtzman, Buys, Du, Forbes & Choi (2020). The curious case of neural text degeneration. ICLR.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from neuropil.errors import UsageError


def nucleus(logits: Float[Tensor, "*batch token"], top_p: float) -> Float[Tensor, "*batch token"]:
    """Logits with minus infinity outside of the nucleus: the fewest most probable tokens that hold a probability of `top_p` or more.

    The most probable token always stays.

    Examples
    --------
    >>> nucleus(torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), 0.7).exp()
    tensor([0.5000, 0.3000, 0.0000, 0.0000])
    """
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p must be a probability above 0 and up to 1, got {top_p}.")
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probability = torch.softmax(ordered, dim=-1)
    outside = probability.cumsum(dim=-1) - probability >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), float("-inf"))


def sample_tokens(
    logits: Float[Tensor, "batch token"],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: Generator | None = None,
) -> Int[Tensor, " batch"]:
    """One token a row, from the nucleus of the softmax of ``logits / temperature``.

    Parameters
    ----------
    logits : Tensor of shape (batch, token)
        Minus infinity excludes a token.
    temperature : float, default 1.0
        Below 1 the probable tokens become more probable still.
    top_p : float, default 1.0
        Probability of the nucleus; 1 keeps all tokens.
    generator : torch.Generator, optional

    Examples
    --------
    >>> sample_tokens(torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]]), top_p=0.5)
    tensor([1, 0])
    """
    if not temperature > 0:
        raise UsageError(f"The temperature must be positive, got {temperature}.")
    scaled = logits / temperature
    if top_p != 1.0:
        scaled = nucleus(scaled, top_p)
    return torch.multinomial(torch.softmax(scaled, dim=-1), 1, generator=generator)[:, 0]
