"""Multi-head attention and the pre-norm Transformer encoder.

Written out rather than taken from `torch.nn.TransformerEncoderLayer` because the published brain decoders differ in just
the places that the latter fixes: the divisor of the attention logits, heads whose widths do not add up to the embedding,
projections without bias, normalised queries and keys, scaled residuals. At the sizes of most of these networks (tens of tokens,
heads of 4 to 32 features) the plain matrix products are also faster on a processor than the fused kernel, which takes over where there
are more tokens.

Vaswani et al. (2017). Attention is all you need. NeurIPS.
Xiong et al. (2020). On layer normalization in the Transformer architecture. ICML (pre-norm blocks).
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from neuropil.nn.dropout import Dropout, DropPath

FUSED_TOKENS = 96
"""Tokens from which attention without dropout of its weights goes through the fused kernel: half the time at 160 tokens."""


class MultiHeadAttention(nn.Module):
    r"""Scaled dot-product attention in `num_heads` heads, of tokens among themselves or to a context.

    For every head, :math:`\mathrm{softmax}(s\, Q K^\top)\, V` with `Q` from the tokens, `K` and `V` from the context (by
    default the tokens themselves), then one linear map of the concatenated heads.

    Parameters
    ----------
    emb_size : int
        Features of a token.
    num_heads : int
        Heads; must divide `emb_size` unless `head_size` is given.
    head_size : int, optional
        Features of a head; by default ``emb_size // num_heads``.
    scale : float, optional
        Factor of the logits; by default ``head_size ** -0.5``.
    qkv_bias : bool, default True
        Whether the query, key and value projections have a bias.
    qk_norm : bool, default False
        Normalise queries and keys of every head (LayerNorm, eps 1e-6).
    drop_prob : float, default 0.0
        Dropout of the attention weights.
    null_key : bool, default False
        Add a key and a value of zeros, behind the others, that no mask hides: a token that finds nothing in its context, or an empty
        one, then takes nothing from it.

    Examples
    --------
    >>> attention = MultiHeadAttention(40, num_heads=10, scale=40**-0.5)
    >>> attention(torch.zeros(2, 8, 40)).shape
    torch.Size([2, 8, 40])
    >>> attention.attention_maps(torch.zeros(2, 8, 40)).shape
    torch.Size([2, 10, 8, 8])
    """

    def __init__(
        self,
        emb_size: int,
        *,
        num_heads: int,
        head_size: int | None = None,
        scale: float | None = None,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        drop_prob: float = 0.0,
        null_key: bool = False,
    ) -> None:
        super().__init__()
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}.")
        if head_size is None:
            if emb_size % num_heads:
                raise ValueError(
                    f"emb_size must be a multiple of num_heads, got emb_size={emb_size} and num_heads={num_heads}; "
                    "change one of them or give head_size."
                )
            head_size = emb_size // num_heads
        self.num_heads = num_heads
        self.null_key = null_key
        self.scale = head_size**-0.5 if scale is None else scale
        width = num_heads * head_size
        self.query_key_value = nn.Linear(emb_size, 3 * width, bias=qkv_bias)
        self.query_norm = nn.LayerNorm(head_size, eps=1e-6) if qk_norm else nn.Identity()
        self.key_norm = nn.LayerNorm(head_size, eps=1e-6) if qk_norm else nn.Identity()
        self.dropout = Dropout(drop_prob)
        self.output = nn.Linear(width, emb_size)

    def forward(
        self,
        tokens: Float[Tensor, "batch token feature"],
        context: Float[Tensor, "batch other feature"] | None = None,
        mask: Bool[Tensor, "#batch #head #token other"] | None = None,
    ) -> Float[Tensor, "batch token feature"]:
        """Attend to the context (the tokens themselves without); `mask` is True where a token may look."""
        if tokens.shape[1] >= FUSED_TOKENS and not (self.training and self.dropout.p):
            query, key, value = self._heads(tokens, context)
            mask = self._with_null(mask)
            heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scale)
        else:
            maps, values = self._maps_and_values(tokens, context, mask)
            heads = torch.matmul(self.dropout(maps), values)
        return self.output(rearrange(heads, "batch head token width -> batch token (head width)"))

    def attention_maps(
        self,
        tokens: Float[Tensor, "batch token feature"],
        context: Float[Tensor, "batch other feature"] | None = None,
        mask: Bool[Tensor, "#batch #head #token other"] | None = None,
    ) -> Float[Tensor, "batch head token key"]:
        """The softmax weights (without dropout): how much each token takes from each token of the context, and from the null key."""
        return self._maps_and_values(tokens, context, mask)[0]

    def _maps_and_values(
        self, tokens: Tensor, context: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        query, key, value = self._heads(tokens, context)
        logits = torch.matmul(query * self.scale, key.transpose(-1, -2))
        mask = self._with_null(mask)
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf"))
        return torch.softmax(logits, dim=-1), value

    def _with_null(self, mask: Tensor | None) -> Tensor | None:
        return functional.pad(mask, (0, 1), value=True) if self.null_key and mask is not None else mask

    def _heads(self, tokens: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (batch, head, token, width)."""
        if context is None:
            query, key, value = self.query_key_value(tokens).chunk(3, dim=-1)
        else:
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            width = weight.shape[0] // 3
            query = functional.linear(tokens, weight[:width], None if bias is None else bias[:width])
            key_value = functional.linear(context, weight[width:], None if bias is None else bias[width:])
            key, value = key_value.chunk(2, dim=-1)
        query, key, value = (
            rearrange(part, "batch token (head width) -> batch head token width", head=self.num_heads)
            for part in (query, key, value)
        )
        query, key = self.query_norm(query), self.key_norm(key)
        if self.null_key:
            key, value = functional.pad(key, (0, 0, 0, 1)), functional.pad(value, (0, 0, 0, 1))
        return query, key, value


class TransformerBlock(nn.Module):
    """Pre-norm encoder block: attention and a two-layer perceptron, each added to what came in.

    ``x + drop(attention(norm(x)))``, then ``x + drop(linear(drop(gelu(linear(norm(x))))))``.

    Parameters
    ----------
    emb_size, num_heads, head_size, scale, qkv_bias, qk_norm
        As in `MultiHeadAttention`.
    mlp_size : int, optional
        Hidden units of the perceptron; by default ``4 * emb_size``.
    drop_prob : float, default 0.0
        Dropout behind the attention, inside the perceptron and behind it.
    attention_drop_prob : float, optional
        Dropout of the attention weights; by default `drop_prob`.
    layer_scale : float, optional
        Initial value of a learned factor per feature on both residual paths (Touvron et al. 2021); None: no factors.
    drop_path : float, default 0.0
        Probability of leaving out a residual path for a whole batch member while training (stochastic depth).
    hidden_drop_prob : float, optional
        Dropout inside the perceptron; by default `drop_prob`.
    norm_eps : float, default 1e-5
        Added to the variance by the block's normalisations.
    output_norm : bool, default False
        Normalise what the block returns as well.
    null_key : bool, default False
        As in `MultiHeadAttention`.
    """

    def __init__(
        self,
        emb_size: int,
        *,
        num_heads: int,
        head_size: int | None = None,
        scale: float | None = None,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        mlp_size: int | None = None,
        drop_prob: float = 0.0,
        attention_drop_prob: float | None = None,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        hidden_drop_prob: float | None = None,
        norm_eps: float = 1e-5,
        output_norm: bool = False,
        null_key: bool = False,
    ) -> None:
        super().__init__()
        mlp_size = 4 * emb_size if mlp_size is None else mlp_size
        hidden_drop_prob = drop_prob if hidden_drop_prob is None else hidden_drop_prob
        self.attention_norm = nn.LayerNorm(emb_size, eps=norm_eps)
        self.attention = MultiHeadAttention(
            emb_size,
            num_heads=num_heads,
            head_size=head_size,
            scale=scale,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            drop_prob=drop_prob if attention_drop_prob is None else attention_drop_prob,
            null_key=null_key,
        )
        self.attention_residual = _residual_path(emb_size, drop_prob, layer_scale, drop_path)
        self.mlp_norm = nn.LayerNorm(emb_size, eps=norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(emb_size, mlp_size), nn.GELU(), Dropout(hidden_drop_prob), nn.Linear(mlp_size, emb_size)
        )
        self.mlp_residual = _residual_path(emb_size, drop_prob, layer_scale, drop_path)
        self.output_norm = nn.LayerNorm(emb_size, eps=norm_eps) if output_norm else nn.Identity()

    def forward(
        self,
        tokens: Float[Tensor, "batch token feature"],
        context: Float[Tensor, "batch other feature"] | None = None,
        mask: Bool[Tensor, "#batch #head #token other"] | None = None,
    ) -> Float[Tensor, "batch token feature"]:
        """Attend to the tokens themselves, normalised, or to a context as it comes; `mask` is True where a token may look."""
        tokens = tokens + self.attention_residual(self.attention(self.attention_norm(tokens), context, mask))
        return self.output_norm(tokens + self.mlp_residual(self.mlp(self.mlp_norm(tokens))))

    def attention_maps(
        self,
        tokens: Float[Tensor, "batch token feature"],
        context: Float[Tensor, "batch other feature"] | None = None,
        mask: Bool[Tensor, "#batch #head #token other"] | None = None,
    ) -> Float[Tensor, "batch head token key"]:
        """The softmax weights of this block's attention (without dropout)."""
        return self.attention.attention_maps(self.attention_norm(tokens), context, mask)


class TransformerEncoder(nn.Module):
    """`depth` pre-norm blocks in a row, without a final normalisation.

    Parameters
    ----------
    depth : int
        Number of blocks; 0 passes the tokens on unchanged.
    emb_size : int
        Features of a token.
    drop_path : float, default 0.0
        Stochastic depth of the last block; it rises linearly from 0 at the first.
    **block
        Further arguments of `TransformerBlock`.

    Examples
    --------
    >>> encoder = TransformerEncoder(2, 40, num_heads=10, scale=40**-0.5, drop_prob=0.5)
    >>> sum(parameter.numel() for parameter in encoder.parameters())
    39440
    """

    def __init__(self, depth: int, emb_size: int, *, drop_path: float = 0.0, **block) -> None:
        super().__init__()
        if depth < 0:
            raise ValueError(f"depth must be 0 or more blocks, got {depth}.")
        self.blocks = nn.ModuleList(
            TransformerBlock(emb_size, drop_path=drop_path * number / max(depth - 1, 1), **block)
            for number in range(depth)
        )

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def attention_maps(
        self, tokens: Float[Tensor, "batch token feature"]
    ) -> Float[Tensor, "depth batch head token token"]:
        """The softmax weights of every block, for tokens that enter the first one."""
        maps = []
        for block in self.blocks:
            maps.append(cast("TransformerBlock", block).attention_maps(tokens))
            tokens = block(tokens)
        if not maps:
            raise ValueError("An encoder without blocks has no attention maps; use a depth of 1 or more.")
        return torch.stack(maps)


class LayerScale(nn.Module):
    """A learned factor per feature (Touvron et al. 2021, Going deeper with image Transformers)."""

    def __init__(self, n_features: int, initial: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((n_features,), initial))

    def forward(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        return features * self.gain


def _residual_path(emb_size: int, drop_prob: float, layer_scale: float | None, drop_path: float) -> nn.Sequential:
    steps: list[nn.Module] = [Dropout(drop_prob)]
    if layer_scale is not None:
        steps.append(LayerScale(emb_size, layer_scale))
    if drop_path:
        steps.append(DropPath(drop_path))
    return nn.Sequential(*steps)
