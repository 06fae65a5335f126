"""Pooling of tokens into one vector, with weights that can be asked for.

Ilse, Tomczak & Welling (2018). Attention-based deep multiple instance learning. ICML (the form of the attention scores).
Hu, Shen & Sun (2018). Squeeze-and-excitation networks. CVPR.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    r"""Weighted mean of tokens, the weights computed from the tokens themselves.

    :math:`a = \mathrm{softmax}_n\, w_2^\top \tanh(W_1 h_n + b_1) + b_2`, pooled :math:`= \sum_n a_n h_n`. The result does not depend on
    the order of the tokens.

    Parameters
    ----------
    emb_size : int
        Features of a token.
    hidden_size : int, optional
        Units of the score's hidden layer; by default `emb_size`.

    Examples
    --------
    >>> AttentionPooling(40).weights(torch.zeros(2, 4, 40))[0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, emb_size: int, *, hidden_size: int | None = None) -> None:
        super().__init__()
        hidden_size = emb_size if hidden_size is None else hidden_size
        self.score = nn.Sequential(nn.Linear(emb_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, 1))

    def weights(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token"]:
        """Weights of the tokens; positive, sum 1."""
        return torch.softmax(self.score(tokens).squeeze(-1), dim=-1)

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch feature"]:
        return torch.einsum("bt,btf->bf", self.weights(tokens), tokens)


class MeanPooling(nn.Module):
    """Mean over the tokens."""

    def weights(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token"]:
        """Equal weights, 1 / number of tokens."""
        return torch.full_like(tokens[..., 0], 1 / tokens.shape[1])

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch feature"]:
        return tokens.mean(dim=1)


class SqueezeExcitationPooling(nn.Module):
    """Mean over tokens after scaling each by a gate, computed from the means of all of them.

    Parameters
    ----------
    n_tokens : int
        Tokens, for example electrodes; their order matters.
    reduction : int, default 16
        The hidden layer of the gates has ``n_tokens // reduction`` units, at least one.
    """

    def __init__(self, n_tokens: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, n_tokens // reduction)
        self.gates = nn.Sequential(nn.Linear(n_tokens, hidden), nn.ReLU(), nn.Linear(hidden, n_tokens), nn.Sigmoid())

    def weights(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token"]:
        """Gates of the tokens, scaled to sum 1."""
        gates = self.gates(tokens.mean(dim=-1))
        return gates / gates.sum(dim=-1, keepdim=True)

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch feature"]:
        return torch.einsum("bt,btf->bf", self.gates(tokens.mean(dim=-1)), tokens) / tokens.shape[1]
