"""Attention whose cost grows with the number of tokens, not with its square.

Shen, Zhang, Zhao, Yi & Li (2021). Efficient attention: attention with linear complexities. WACV.
Katharopoulos, Vyas, Pappas & Fleuret (2020). Transformers are RNNs: fast autoregressive Transformers with linear attention. ICML.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from neuropil.errors import UsageError
from neuropil.nn.dropout import Dropout


class LinearAttention(nn.Module):
    r"""Efficient attention of tokens among themselves.

    For every head of width `d`, :math:`d^{-1/2}\, \mathrm{softmax}_{features}(Q) \left(\mathrm{softmax}_{tokens}(K)^\top V\right)`:
    the keys gather the values into `d` summaries of all tokens, from which every query takes a mixture. The order of the tokens does
    not matter.

    Parameters
    ----------
    emb_size, num_heads : int
        Features of a token, and heads; the first a multiple of the second.
    drop_prob : float, default 0.0
        Dropout of what comes out.

    Examples
    --------
    >>> attention = LinearAttention(200, num_heads=8)
    >>> sum(p.numel() for p in attention.parameters()), attention(torch.zeros(2, 832, 200)).shape
    (160200, torch.Size([2, 832, 200]))
    """

    def __init__(self, emb_size: int, *, num_heads: int, drop_prob: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or emb_size % num_heads:
            raise UsageError(f"The {emb_size} features of a token must be a multiple of the heads, got {num_heads}.")
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(emb_size, 3 * emb_size, bias=False)
        self.output = nn.Linear(emb_size, emb_size)
        self.dropout = Dropout(drop_prob)

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        # tokens last in memory: the softmax over many tokens, and the one over few features, then both run along rows
        query, key, value = rearrange(
            self.query_key_value(tokens),
            "batch token (part head width) -> part batch head width token",
            part=3,
            head=self.num_heads,
        ).contiguous()
        query = torch.softmax(query, dim=-2) * query.shape[-2] ** -0.5
        summaries = torch.matmul(value, torch.softmax(key, dim=-1).transpose(-1, -2))
        heads = torch.matmul(summaries, query)
        return self.dropout(self.output(rearrange(heads, "batch head width token -> batch token (head width)")))


class LinearTransformer(nn.Module):
    """`depth` pre-norm blocks of linear attention and a two-layer perceptron, without a final normalisation.

    Parameters
    ----------
    depth, emb_size, num_heads : int
        Blocks, features of a token, heads.
    mlp_size : int, optional
        Hidden units of the perceptron; by default ``4 * emb_size``.
    drop_prob : float, default 0.0
        Dropout behind the attention.

    Examples
    --------
    >>> sum(p.numel() for p in LinearTransformer(4, 200, num_heads=8).parameters())
    1928000
    """

    def __init__(
        self, depth: int, emb_size: int, *, num_heads: int, mlp_size: int | None = None, drop_prob: float = 0.0
    ) -> None:
        super().__init__()
        hidden = 4 * emb_size if mlp_size is None else mlp_size
        self.attention = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(emb_size), LinearAttention(emb_size, num_heads=num_heads, drop_prob=drop_prob))
            for _ in range(depth)
        )
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(emb_size), nn.Linear(emb_size, hidden), nn.GELU(), nn.Linear(hidden, emb_size))
            for _ in range(depth)
        )

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + mlp(tokens)
        return tokens
