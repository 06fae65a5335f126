"""The three networks of AT-AT: the autoencoder that cleans every segment, the transformer that works on what is left, the adversary.

All take segments of one channel, divided by their standard deviation: tensors of shape (batch, n_times).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from neuropil.errors import UsageError
from neuropil.nn.attention import TransformerEncoder
from neuropil.nn.conv import same_padding
from neuropil.nn.embedding import TokenEmbedding

SPECTRUM_FLOOR = 1e-3
SPECTRAL_BAND = (1.0, 80.0)


class _ConvBlock(nn.Sequential):
    """Convolution of unchanged length, batch normalisation, ReLU."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int) -> None:
        super().__init__(
            nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=same_padding(kernel_size)[0]),
            nn.BatchNorm1d(n_outputs),
            nn.ReLU(),
        )


class Autoencoder(nn.Module):
    """Convolutional bottleneck: segments in, cleaned segments out.

    1. For every width: convolution, batch normalisation, ReLU, max-pooling by 2 -> the code.
    2. As often: upsampling by 2, convolution, batch normalisation, ReLU; widths mirrored.
    3. A linear convolution to one channel.

    The output is not the input minus something: the pooled code cannot carry fast noise, which is what makes the difference between
    input and output tell how noisy a segment is.

    Parameters
    ----------
    n_times : int
        Samples of a segment; a multiple of 2 for every pooling.
    channels : sequence of int, default (8, 16, 16)
        Widths of the encoder.
    kernel_size : int, default 9
        Taps of all convolutions; odd.

    Examples
    --------
    >>> network = Autoencoder(512)
    >>> sum(p.numel() for p in network.parameters()), network(torch.zeros(2, 512)).shape
    (7849, torch.Size([2, 512]))
    """

    def __init__(self, n_times: int, channels: Sequence[int] = (8, 16, 16), kernel_size: int = 9) -> None:
        super().__init__()
        if not channels or n_times % 2 ** len(channels):
            raise UsageError(
                f"The autoencoder halves a segment {len(channels)} times, so that its length must be a multiple of {2 ** len(channels)}, "
                f"got {n_times} samples; change the length or the number of widths."
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UsageError(f"The kernel must be an odd number of samples, got {kernel_size}.")
        down, up = [1, *channels], [*channels[::-1], channels[0]]
        self.encoder = nn.ModuleList(_ConvBlock(a, b, kernel_size) for a, b in pairwise(down))
        self.decoder = nn.ModuleList(_ConvBlock(a, b, kernel_size) for a, b in pairwise(up))
        self.output = nn.Conv1d(channels[0], 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        features = x[:, None]
        for block in self.encoder:
            features = functional.max_pool1d(block(features), 2)
        for block in self.decoder:
            features = block(functional.interpolate(features, scale_factor=2.0))
        return self.output(features)[:, 0]


class TargetedTransformer(nn.Module):
    """Corrects the autoencoder's output, with the raw segment beside it.

    1. Patches of the raw and of the cleaned segment side by side, a linear map -> tokens.
    2. Learned positions added, pre-norm Transformer blocks with MLPs of twice the width.
    3. A linear map of every token to a patch, zero at first, added to the cleaned segment.

    Parameters
    ----------
    n_times : int
        Samples of a segment; a multiple of `patch`.
    patch : int, default 16
        Samples of a patch.
    embed_dim, num_layers, num_heads : int, default 32, 2 and 4

    Examples
    --------
    >>> network = TargetedTransformer(512)
    >>> x = torch.randn(2, 512)
    >>> sum(p.numel() for p in network.parameters()), torch.equal(network(x, x / 2), x / 2)
    (19696, True)
    """

    def __init__(
        self, n_times: int, patch: int = 16, embed_dim: int = 32, num_layers: int = 2, num_heads: int = 4
    ) -> None:
        super().__init__()
        if patch < 1 or n_times % patch:
            raise UsageError(
                f"A segment of {n_times} samples does not divide into patches of {patch}; change one of them."
            )
        self.patch = patch
        self.tokens = nn.Linear(2 * patch, embed_dim)
        self.positions = TokenEmbedding(n_times // patch, embed_dim, std=0.02)
        self.encoder = TransformerEncoder(num_layers, embed_dim, num_heads=num_heads, mlp_size=2 * embed_dim)
        self.correction = nn.Linear(embed_dim, patch)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(
        self, x: Float[Tensor, "batch time"], cleaned: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time"]:
        patches = [
            rearrange(part, "batch (token sample) -> batch token sample", sample=self.patch) for part in (x, cleaned)
        ]
        tokens = self.encoder(self.positions(self.tokens(torch.cat(patches, dim=-1))))
        return cleaned + rearrange(self.correction(tokens), "batch token sample -> batch (token sample)")


class SpectralDiscriminator(nn.Module):
    """Tells EEG from what a network made, by spectrum and waveform; larger is more like EEG.

    1. Log amplitude spectrum from 1 to 80 Hz (at most to half the sampling rate).
    2. Waveform: three convolutions of 15 taps and stride 4, leaky ReLU, averaged over time.
    3. Both side by side, a linear map to one number. All weights have a spectral norm of one.

    Parameters
    ----------
    n_times : int
    sfreq : float
        In Hz.

    Examples
    --------
    >>> network = SpectralDiscriminator(512, 256.0)
    >>> network.n_frequencies, network(torch.randn(3, 512)).shape
    (159, torch.Size([3]))
    """

    def __init__(self, n_times: int, sfreq: float) -> None:
        super().__init__()
        frequencies = torch.fft.rfftfreq(n_times, 1 / sfreq)
        inside = torch.nonzero((frequencies >= SPECTRAL_BAND[0]) & (frequencies <= SPECTRAL_BAND[1])).ravel()
        if not len(inside):
            raise UsageError(f"A segment of {n_times / sfreq:g} s at {sfreq:g} Hz holds no frequency from 1 to 80 Hz.")
        self.first, self.n_frequencies = int(inside[0]), len(inside)
        widths = (1, 8, 16, 16)
        self.waveform = nn.ModuleList(
            spectral_norm(nn.Conv1d(a, b, 15, stride=4, padding=7)) for a, b in pairwise(widths)
        )
        self.judgement = spectral_norm(nn.Linear(self.n_frequencies + widths[-1], 1))

    def forward(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
        spectrum = log_amplitude(x)[:, self.first : self.first + self.n_frequencies]
        features = x[:, None]
        for layer in self.waveform:
            features = functional.leaky_relu(layer(features), 0.2)
        return self.judgement(torch.cat([spectrum, features.mean(dim=-1)], dim=-1))[:, 0]


def log_amplitude(x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frequency"]:
    """Logarithm of the amplitude spectrum, normalised by the length's square root; what is below 0.001 counts as 0.001."""
    power = torch.fft.rfft(x, norm="ortho").abs().square()
    return 0.5 * torch.log(power + SPECTRUM_FLOOR**2)


def smoothed_log_spectrum(x: Float[Tensor, "batch time"], sfreq: float) -> Float[Tensor, "batch frequency"]:
    """Logarithm of the power density from 1 to 80 Hz by Welch's method: Hann windows of a quarter segment, half overlapping."""
    length = x.shape[-1] // 4
    pieces = x.unfold(-1, length, length // 2) * torch.hann_window(length, dtype=x.dtype, device=x.device)
    power = torch.fft.rfft(pieces, norm="ortho").abs().square().mean(dim=1)
    frequencies = torch.fft.rfftfreq(length, 1 / sfreq, device=x.device)
    inside = (frequencies >= SPECTRAL_BAND[0]) & (frequencies <= SPECTRAL_BAND[1])
    return torch.log(power[:, inside] + SPECTRUM_FLOOR**2)
