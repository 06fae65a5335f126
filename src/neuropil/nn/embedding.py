"""From feature maps to tokens: pooling over patches of time, learned embeddings of places."""

from __future__ import annotations

import torch
from einops import reduce
from jaxtyping import Float, Shaped
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


def sinusoidal_positions(n_tokens: int, emb_size: int) -> Float[Tensor, "token feature"]:
    """Sinusoids of wavelengths from 2 pi to 10000 * 2 pi tokens: the sines of all of them first, then the cosines.

    Sine and cosine k have the wavelength 2 pi * 10000 ** (2 k / emb_size); with an odd size there is one sine more.

    Vaswani et al. (2017). Attention is all you need. NeurIPS (there sines and cosines take turns).

    Examples
    --------
    >>> sinusoidal_positions(2, 4)
    tensor([[0.0000, 0.0000, 1.0000, 1.0000],
            [0.8415, 0.0100, 0.5403, 0.9999]])
    """
    return sinusoidal_times(torch.arange(n_tokens), emb_size)


def sinusoidal_times(times: Shaped[Tensor, "*shape"], emb_size: int) -> Float[Tensor, "*shape feature"]:
    """`sinusoidal_positions` of places or times that need not be integers.

    Parameters
    ----------
    times : Tensor of any shape
        In units of the shortest time that should still be told apart, such as bins: the fastest sinusoid turns once in 2 pi of them.
    emb_size : int

    Examples
    --------
    >>> sinusoidal_times(torch.tensor([0.5]), 4)
    tensor([[0.4794, 0.0050, 0.8776, 1.0000]])
    """
    pairs = torch.arange((emb_size + 1) // 2, device=times.device)
    angles = times[..., None] * 10_000.0 ** (-2 * pairs / emb_size)
    return torch.cat([angles.sin(), angles[..., : emb_size // 2].cos()], dim=-1)


class SinusoidalPositions(nn.Module):
    """Adds `sinusoidal_positions` to tokens, times one learned number that starts at 0 and stays between 0 and 1.

    While training, the number itself is brought back into its range before it is used, as `neuropil.nn.conv.limit_norm` does.
    """

    table: Tensor

    def __init__(self, n_tokens: int, emb_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("table", sinusoidal_positions(n_tokens, emb_size), persistent=False)

    def forward(self, tokens: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        if self.training:
            with torch.no_grad():
                self.scale.clamp_(0.0, 1.0)
        return tokens + self.scale.clamp(0.0, 1.0) * self.table
