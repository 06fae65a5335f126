"""Convolutions over time and over electrodes for compact EEG networks, and weights of limited norm.

Lawhern et al. (2018). EEGNet: a compact convolutional neural network for EEG-based brain-computer interfaces. J. Neural Eng. 15.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

FFT_KERNEL = 24
"""Taps from which a depthwise convolution on a processor goes through the Fourier transform."""


def odd_samples(seconds: float, sfreq: float) -> int:
    """The odd number of samples nearest to a duration: a kernel with a middle.

    Examples
    --------
    >>> odd_samples(0.25, 250.0), odd_samples(0.25, 125.0), odd_samples(0.25, 62.5)
    (63, 31, 15)
    """
    return max(1, 2 * round((seconds * sfreq - 1) / 2) + 1)


def same_padding(kernel_size: int) -> tuple[int, int]:
    """Zeros left and right that keep the length: of an even kernel the longer side lies right.

    Examples
    --------
    >>> same_padding(5), same_padding(16)
    ((2, 2), (7, 8))
    """
    return (kernel_size - 1) // 2, kernel_size // 2


class DepthwiseConv1d(nn.Module):
    """One kernel (or `multiplier` kernels) per feature over time, length kept, no bias.

    On a processor, long kernels are applied as a product of Fourier transforms, which has the same result up to rounding
    and takes about a tenth of the time at 63 taps and 1,000 samples.

    Parameters
    ----------
    n_features : int
        Features that come in.
    kernel_size : int
        Taps.
    multiplier : int, default 1
        Kernels per feature; feature `i` becomes features ``multiplier * i`` to ``multiplier * (i + 1) - 1``.
    """

    def __init__(self, n_features: int, kernel_size: int, *, multiplier: int = 1) -> None:
        super().__init__()
        self.n_features, self.kernel_size, self.multiplier = n_features, kernel_size, multiplier
        self.weight = nn.Parameter(torch.empty(n_features * multiplier, 1, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, features: Float[Tensor, "batch feature time"]) -> Float[Tensor, "batch out time"]:
        left, right = same_padding(self.kernel_size)
        if self.kernel_size >= FFT_KERNEL and features.device.type == "cpu" and features.dtype == self.weight.dtype:
            repeated = features if self.multiplier == 1 else features.repeat_interleave(self.multiplier, dim=1)
            return _FourierConv.apply(repeated.transpose(0, 1), self.weight, left).transpose(0, 1)
        return functional.conv1d(functional.pad(features, (left, right)), self.weight, groups=self.n_features)


class _FourierConv(torch.autograd.Function):
    """Correlation of rows with kernels of shape (feature, 1, tap), length kept, with real transforms in both directions.

    Torch's own derivative of the real transform goes through a complex one of twice the work; here it is written out.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernels: Tensor, left: int) -> Tensor:
        n_times, kernel_size = rows.shape[-1], kernels.shape[-1]
        n_padded = next_fast_len(n_times + kernel_size - 1, real=True)
        first = kernel_size - 1 - left
        spectrum = torch.fft.rfft(rows, n_padded)
        response = torch.fft.rfft(kernels.flip(-1), n_padded)
        result = torch.fft.irfft(spectrum * response, n_padded)[..., first : first + n_times]
        ctx.save_for_backward(spectrum.conj_physical_(), response.conj_physical_())
        ctx.sizes = n_times, kernel_size, n_padded, first
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        spectrum, response = ctx.saved_tensors
        n_times, kernel_size, n_padded, first = ctx.sizes
        gradient = torch.fft.rfft(functional.pad(gradient, (first, n_padded - first - n_times)), n_padded)
        to_rows = to_kernels = None
        if ctx.needs_input_grad[1]:
            summed = (gradient * spectrum).sum(dim=1, keepdim=True)
            to_kernels = torch.fft.irfft(summed, n_padded)[..., :kernel_size].flip(-1)
        if ctx.needs_input_grad[0]:
            to_rows = torch.fft.irfft(gradient.mul_(response), n_padded)[..., :n_times]
        return to_rows, to_kernels, None


class SeparableConv1d(nn.Module):
    """Depthwise convolution over time, then a mixing of the features sample by sample; length kept, no biases.

    With nothing between the two they are one convolution, whose kernels are products (`kernel`). With several kernels per feature it
    is computed as this one convolution, which has the same result up to rounding and takes about a tenth of the time.

    Parameters
    ----------
    n_features, n_outputs : int
        Features that come in and go out.
    kernel_size : int
        Taps of the depthwise kernels.
    multiplier : int, default 1
        Kernels per feature.
    """

    def __init__(self, n_features: int, n_outputs: int, kernel_size: int, *, multiplier: int = 1) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv1d(n_features, kernel_size, multiplier=multiplier)
        self.pointwise = nn.Conv1d(n_features * multiplier, n_outputs, 1, bias=False)

    def forward(self, features: Float[Tensor, "batch feature time"]) -> Float[Tensor, "batch out time"]:
        if self.depthwise.multiplier == 1:
            return self.pointwise(self.depthwise(features))
        padded = functional.pad(features, same_padding(self.depthwise.kernel_size))
        return functional.conv1d(padded, self.kernel())

    def kernel(self) -> Float[Tensor, "out feature tap"]:
        """The one convolution that both amount to."""
        n_features = self.depthwise.n_features
        taps = self.depthwise.weight.squeeze(1).unflatten(0, (n_features, -1))
        mixing = self.pointwise.weight.squeeze(-1).unflatten(1, (n_features, -1))
        return torch.einsum("ofm,fmk->ofk", mixing, taps)


class SpatialDepthwiseConv(nn.Module):
    """`multiplier` spatial filters over all electrodes for each feature, no bias.

    Parameters
    ----------
    n_features : int
        Features that come in; feature `i` becomes features ``multiplier * i`` to ``multiplier * (i + 1) - 1``.
    n_channels : int
        Electrodes.
    multiplier : int, default 1
        Spatial filters per feature.
    max_norm : float, optional
        Largest Euclidean norm of a spatial filter (see `limit_norm`); None: no limit.
    """

    def __init__(self, n_features: int, n_channels: int, *, multiplier: int = 1, max_norm: float | None = None) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.weight = nn.Parameter(torch.empty(n_features, multiplier, n_channels))
        bound = n_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, features: Float[Tensor, "batch feature channel time"]) -> Float[Tensor, "batch out time"]:
        weight = self.weight if self.max_norm is None else limit_norm(self.weight, self.max_norm, self.training)
        return rearrange(torch.matmul(weight, features), "batch feature filter time -> batch (feature filter) time")


class MaxNormLinear(nn.Linear):
    """Linear map in which the weights of every output have at most the Euclidean norm `max_norm` (see `limit_norm`)."""

    def __init__(self, in_features: int, out_features: int, *, max_norm: float, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.max_norm = max_norm

    def forward(self, input: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch out"]:
        return functional.linear(input, limit_norm(self.weight, self.max_norm, self.training), self.bias)


def limit_norm(weight: Float[Tensor, "*rows column"], max_norm: float, training: bool) -> Float[Tensor, "*rows column"]:
    """Project weights on the ball of norm `max_norm` along their last axis.

    While training, the parameter itself is overwritten before it is used, so that every optimiser step starts from a
    projected point (projected gradient descent, as Keras' max-norm constraint does it); otherwise the parameter stays as
    it is and its projection is returned.

    Examples
    --------
    >>> limit_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0, training=False)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    with torch.no_grad():
        factor = (max_norm / weight.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        exceeds = bool((factor < 1.0).any())
    if not exceeds:
        return weight
    if not training:
        return weight * factor
    with torch.no_grad():
        weight.mul_(factor)
    return weight
