"""Convolutions against torch's own, and the limit on the norm of weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv1d, conv2d, pad

from neuropil.nn import conv
from neuropil.nn.conv import (
    DepthwiseConv1d,
    MaxNormLinear,
    SeparableConv1d,
    SpatialDepthwiseConv,
    limit_norm,
    odd_samples,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@given(
    n_times=st.integers(1, 120),
    kernel_size=st.integers(1, 90),
    multiplier=st.integers(1, 3),
    features_first=st.booleans(),
)
def test_depthwise_equals_torchs_whichever_way_it_goes(n_times, kernel_size, multiplier, features_first):
    layer = DepthwiseConv1d(3, kernel_size, multiplier=multiplier).double()
    x = torch.randn(3, 2, n_times, dtype=torch.float64)
    x = (x.transpose(0, 1) if features_first else x.reshape(2, 3, n_times)).requires_grad_()
    expected = conv1d(pad(x, ((kernel_size - 1) // 2, kernel_size // 2)), layer.weight, groups=3)
    torch.testing.assert_close(layer(x), expected)
    toward = torch.randn_like(expected)
    ours = torch.autograd.grad(layer(x), [x, layer.weight], toward)
    theirs = torch.autograd.grad(expected, [x, layer.weight], toward)
    torch.testing.assert_close(ours, theirs)


def test_the_fourier_way_is_taken_for_long_kernels_and_precise_in_single_precision(monkeypatch):
    layer, x = DepthwiseConv1d(40, 63), torch.randn(4, 40, 1000)
    through_fourier = layer(x)
    monkeypatch.setattr(conv, "FFT_KERNEL", 64)
    direct = layer(x)
    assert not torch.equal(direct, through_fourier)
    torch.testing.assert_close(direct, through_fourier, atol=1e-5, rtol=0)


def test_a_frozen_kernel_still_passes_gradients_on():
    layer, x = DepthwiseConv1d(2, 31), torch.randn(1, 2, 40, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    expected = conv1d(torch.ones(1, 2, 40), layer.weight.flip(-1), padding=15, groups=2)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize(("kernel_size", "multiplier"), [(8, 4), (4, 4), (1, 1), (3, 8)])
def test_separable_is_depthwise_then_pointwise(kernel_size, multiplier):
    layer = SeparableConv1d(16, 96, kernel_size, multiplier=multiplier).double()
    x = torch.randn(2, 16, 42, dtype=torch.float64, requires_grad=True)
    assert sum(p.numel() for p in layer.parameters()) == 16 * multiplier * (kernel_size + 96)
    padded = pad(x, ((kernel_size - 1) // 2, kernel_size // 2))
    wide = conv1d(padded, layer.depthwise.weight, groups=16)
    expected = torch.einsum("of,bft->bot", layer.pointwise.weight[..., 0], wide)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(conv1d(padded, layer.kernel()), expected)
    wanted, toward = [x, *layer.parameters()], torch.randn_like(expected)
    ours = torch.autograd.grad(layer(x), wanted, toward)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, wanted, toward))


def test_spatial_filters_equal_a_depthwise_convolution_over_electrodes():
    layer, x = SpatialDepthwiseConv(8, 22, multiplier=2), torch.randn(3, 8, 22, 50)
    expected = conv2d(x, layer.weight.reshape(16, 1, 22, 1), groups=8)[:, :, 0]
    torch.testing.assert_close(layer(x), expected)


def test_norms_are_limited_in_training_and_seen_limited_in_evaluation():
    layer = MaxNormLinear(10, 3, max_norm=0.25)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 10))
        layer.weight[2] *= 0.01
    free, small = layer.weight.detach().clone(), layer.weight[2].detach().clone()
    x = torch.randn(4, 10)
    seen = layer.eval()(x)
    assert torch.equal(layer.weight, free)
    torch.testing.assert_close(layer.train()(x), seen)
    torch.testing.assert_close(layer.weight.norm(dim=1)[:2], torch.full((2,), 0.25))
    assert torch.equal(layer.weight[2], small)
    torch.testing.assert_close(layer.eval()(x), seen)


def test_training_with_a_limit_is_projected_gradient_descent():
    layer = MaxNormLinear(4, 1, max_norm=1.0, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.9, 0.0, 0.0, 0.0]]))
    x, optimizer = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        (-layer(x).sum() - layer(2 * x).sum()).backward()  # twice in one graph
        optimizer.step()
    torch.testing.assert_close(layer.eval()(x), torch.tensor([[2**0.5]]))


def test_limit_keeps_directions():
    weight = torch.randn(5, 2, 7)
    limited = limit_norm(weight, 0.5, training=False)
    assert limited.norm(dim=-1).max() <= 0.5 + 1e-6
    torch.testing.assert_close(limited / limited.norm(dim=-1, keepdim=True), weight / weight.norm(dim=-1, keepdim=True))
    assert torch.equal(limit_norm(torch.zeros(2, 3), 0.5, training=False), torch.zeros(2, 3))


@given(seconds=st.floats(0.001, 2), sfreq=st.floats(20, 1000))
def test_odd_samples_are_odd_and_nearest(seconds, sfreq):
    n = odd_samples(seconds, sfreq)
    assert n % 2 == 1
    assert abs(n - max(seconds * sfreq, 1)) <= 1 + 1e-9
