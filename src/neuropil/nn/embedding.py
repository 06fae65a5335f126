"""From feature maps to tokens: pooling over patches of time, learned embeddings of places."""

from __future__ import annotations

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn


def pool_patches(
    features: Float[Tensor, "batch feature time"], patch_size: int
) -> Float[Tensor, "batch patch feature"]:
    """Average features over consecutive patches of `patch_size` samples; a remainder shorter than a patch is left out at the end.

    Raises
    ------
    ValueError
        If not even one patch fits.

    Examples
    --------
    >>> pool_patches(torch.arange(7.0).reshape(1, 1, 7), 3).flatten()
    tensor([1., 4.])
    """
    n_times = features.shape[-1]
    if not 1 <= patch_size <= n_times:
        raise ValueError(f"A patch must have between 1 and the {n_times} samples of a window, got {patch_size}.")
    whole = features[..., : n_times // patch_size * patch_size]
    return reduce(whole, "batch feature (patch sample) -> batch patch feature", "mean", sample=patch_size)


class TokenEmbedding(nn.Module):
    """Adds a learned vector to every token: where in time, or on the head, it comes from.

    Parameters
    ----------
    n_tokens, emb_size : int
        Tokens, and features of each.
    std : float, default 1.0
        Standard deviation of the normal distribution of the initial values.

    Raises
    ------
    ValueError
        In `forward`, if the number of tokens is not `n_tokens`.
    """

    def __init__(self, n_tokens: int, emb_size: int, *, std: float = 1.0) -> None:
        super().__init__()
        self.embedding = nn.Parameter(std * torch.randn(1, n_tokens, emb_size))

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        if tokens.shape[1] != self.embedding.shape[1]:
            raise ValueError(
                f"Embeddings were made for {self.embedding.shape[1]} tokens, got {tokens.shape[1]}; "
                "give windows with the channels and the length that the model was built for."
            )
        return tokens + self.embedding
