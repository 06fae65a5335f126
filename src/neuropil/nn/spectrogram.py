"""Short-time spectra as tokens, at several lengths of the window at once.

Long windows resolve neighbouring rhythms, short ones say when something happened; the sum of all scales lets a network have both.

Yang, Westover & Sun (2023). BIOT: biosignal transformer for cross-data learning in the wild. NeurIPS (one scale).
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from neuropil.errors import UsageError


def stft_magnitudes(x: Float[Tensor, "*batch time"], n_fft: int) -> Float[Tensor, "*batch window frequency"]:
    """Magnitudes of the Fourier transforms of windows that follow each other without overlap (rectangular, from the first sample).

    A remainder shorter than a window is left out at the end.

    Examples
    --------
    >>> stft_magnitudes(torch.ones(2, 10), 4)[0]
    tensor([[4., 0., 0.],
            [4., 0., 0.]])
    """
    n_windows = x.shape[-1] // n_fft
    if n_windows < 1:
        raise UsageError(f"A window of {n_fft} samples does not fit into {x.shape[-1]}; take shorter windows.")
    stretches = rearrange(x[..., : n_windows * n_fft], "... (window sample) -> ... window sample", sample=n_fft)
    return torch.fft.rfft(stretches).abs()


class MultiScaleSpectralEmbedding(nn.Module):
    """Tokens of every channel from short-time spectra at scales that double.

    At scale l the spectra of windows of ``base * 2**l`` samples are mapped to `emb_size` features, and the windows to as many tokens as
    the shortest scale has windows; the scales are added.

    Parameters
    ----------
    n_times : int
        Samples; a multiple of the longest window.
    base : int
        Samples of the shortest window.
    n_scales : int
        Scales.
    emb_size : int
        Features of a token.
    log : bool, default False
        Take log(1 + magnitude), which keeps large artefacts from dominating.

    Examples
    --------
    >>> embedding = MultiScaleSpectralEmbedding(3200, 100, 4, 200)
    >>> sum(p.numel() for p in embedding.parameters()), embedding(torch.zeros(2, 26, 3200)).shape
    (153648, torch.Size([2, 26, 32, 200]))
    """

    def __init__(self, n_times: int, base: int, n_scales: int, emb_size: int, *, log: bool = False) -> None:
        super().__init__()
        longest = base * 2 ** (n_scales - 1)
        if base < 2 or n_scales < 1 or n_times % longest or n_times < longest:
            raise UsageError(
                f"{n_scales} scales from {base} samples on need a window of a multiple of {max(longest, 2)} samples, got {n_times}; "
                "cut other windows or take fewer scales."
            )
        self.sizes = [base * 2**scale for scale in range(n_scales)]
        self.log = log
        self.of_frequencies = nn.ModuleList(nn.Linear(size // 2 + 1, emb_size) for size in self.sizes)
        self.of_windows = nn.ModuleList(nn.Linear(n_times // size, n_times // base) for size in self.sizes)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel token feature"]:
        tokens = []
        for size, of_frequencies, of_windows in zip(self.sizes, self.of_frequencies, self.of_windows, strict=True):
            magnitudes = stft_magnitudes(x, size)
            features = of_frequencies(magnitudes.log1p() if self.log else magnitudes)
            tokens.append(of_windows(features.transpose(-1, -2)).transpose(-1, -2))
        return torch.stack(tokens).sum(dim=0)
