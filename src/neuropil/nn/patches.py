"""The patch encoder of LaBraM: a second of one electrode becomes a token by three small convolutions.

Jiang, Zhao & Lu (2024). Large brain model for learning generic representations with tremendous EEG data in BCI. ICLR.
"""

from __future__ import annotations

from math import gcd

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from neuropil.errors import UsageError


class PatchConvolution(nn.Module):
    """Tokens of patches by three convolutions over time, each with group normalisation and GELU.

    The first convolution strides over the patch, the other two mix three neighbours; a token is what all filters say at all steps, in
    the order of steps. The filters are those that fill the token: ``emb_size`` divided by the number of steps. A patch sees nothing of
    its neighbours, but the normalisation is over all patches of a window together, so that amplitudes within it stay comparable.

    Parameters
    ----------
    patch_size : int
        Samples of a patch.
    emb_size : int
        Features of a token.
    kernel_size, stride : int, default 15 and 8
        Length and step of the first filters in samples (75 and 40 ms at 200 Hz).

    Raises
    ------
    UsageError
        If the steps of a patch do not divide `emb_size`.

    Examples
    --------
    >>> import torch
    >>> encoder = PatchConvolution(200, 200)
    >>> sum(p.numel() for p in encoder.parameters()), encoder(torch.zeros(2, 26, 16, 200)).shape
    (576, torch.Size([2, 26, 16, 200]))
    """

    def __init__(self, patch_size: int, emb_size: int, *, kernel_size: int = 15, stride: int = 8) -> None:
        super().__init__()
        padding = kernel_size // 2
        n_steps = (patch_size + 2 * padding - kernel_size) // stride + 1
        if n_steps < 1 or emb_size % n_steps:
            raise UsageError(
                f"A patch of {patch_size} samples gives {max(n_steps, 0)} steps of {stride}, which must divide the {emb_size} "
                "features of a token; change the patch, the stride or the number of features."
            )
        n_filters = emb_size // n_steps
        n_groups = gcd(4, n_filters)
        self.layers = nn.Sequential(
            nn.Conv2d(1, n_filters, (1, kernel_size), stride=(1, stride), padding=(0, padding)),
            nn.GroupNorm(n_groups, n_filters),
            nn.GELU(),
            nn.Conv2d(n_filters, n_filters, (1, 3), padding=(0, 1)),
            nn.GroupNorm(n_groups, n_filters),
            nn.GELU(),
            nn.Conv2d(n_filters, n_filters, (1, 3), padding=(0, 1)),
            nn.GroupNorm(n_groups, n_filters),
            nn.GELU(),
        )

    def forward(
        self, patches: Float[Tensor, "batch channel patch sample"]
    ) -> Float[Tensor, "batch channel patch feature"]:
        rows = rearrange(patches, "batch channel patch sample -> batch 1 (channel patch) sample")
        return rearrange(
            self.layers(rows),
            "batch filter (channel patch) step -> batch channel patch (step filter)",
            channel=patches.shape[1],
        )
