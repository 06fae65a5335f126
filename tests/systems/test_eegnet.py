"""EEGNet: the paper's sizes, agreement with two-dimensional convolutions, limits on its weights, failure messages."""

import pytest
import torch
from torch.nn import functional

from neuropil.decoding.eegnet import EEGNet
from neuropil.errors import UsageError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("n_filters", "arguments", "expected"),
    [
        # the paper's data at 128 Hz: 1 s of P300, 1.5 s of movement-related potentials, 2 s of sensorimotor rhythms (4 classes)
        (8, {"n_chans": 64, "n_times": 128, "n_outputs": 2}, 2_258),
        (4, {"n_chans": 64, "n_times": 128, "n_outputs": 2}, 1_066),
        (8, {"n_chans": 64, "n_times": 192, "n_outputs": 2}, 2_322),
        (4, {"n_chans": 64, "n_times": 192, "n_outputs": 2}, 1_098),
        (4, {"n_chans": 22, "n_times": 256, "n_outputs": 4, "kernel_size": 0.25}, 796),
        # 4 s of 22 channels at 62.5 Hz, filters of 31 and 15 samples
        (8, {"n_chans": 22, "n_times": 250, "n_outputs": 2, "sfreq": 62.5, "separable_kernel_size": 15}, 1_402),
    ],
)
def test_parameters(n_filters, arguments, expected):
    network = EEGNet(**{"sfreq": 128.0, "n_filters": n_filters, **arguments})
    assert sum(p.numel() for p in network.parameters()) == expected


def plain_forward(network, x):
    """With two-dimensional convolutions over (electrode, time), as the paper writes it."""
    n_chans = x.shape[1]
    filters = network.temporal.weight
    out = functional.pad(x[:, None], ((filters.shape[-1] - 1) // 2, filters.shape[-1] // 2))
    out = network.temporal_norm(functional.conv2d(out, filters))
    spatial = network.spatial.weight.reshape(-1, 1, n_chans, 1)
    spatial = spatial * (1 / spatial.norm(dim=2, keepdim=True)).clamp(max=1)
    out = functional.conv2d(out, spatial, groups=len(filters))[:, :, 0]
    out = functional.avg_pool1d(functional.elu(network.spatial_norm(out)), 4)
    taps = network.separable.depthwise.weight
    out = functional.conv1d(functional.pad(out, (7, 8)), taps, groups=len(taps))
    out = functional.conv1d(out, network.separable.pointwise.weight)
    out = functional.avg_pool1d(functional.elu(network.separable_norm(out)), 8).flatten(1)
    head = network.head.weight * (0.25 / network.head.weight.norm(dim=1, keepdim=True)).clamp(max=1)
    return out @ head.T + network.head.bias


@pytest.mark.parametrize("training", [False, True])
def test_agrees_with_two_dimensional_convolutions(training):
    network = EEGNet(n_chans=7, n_outputs=3, n_times=130, sfreq=128.0, drop_prob=0.0).train(training)
    with torch.no_grad():
        network.spatial.weight *= 3
        network.head.weight *= 3
    x = torch.randn(5, 7, 130)
    plain = plain_forward(network, x)
    torch.testing.assert_close(network(x), plain, atol=1e-5, rtol=1e-4)


def test_norms_stay_limited_through_training():
    network = EEGNet(n_chans=7, n_outputs=2, n_times=64, sfreq=128.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    x, y = torch.randn(16, 7, 64), torch.arange(16) % 2
    for _ in range(5):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    network(x)
    assert network.spatial.weight.norm(dim=-1).max() <= 1 + 1e-5
    assert network.head.weight.norm(dim=-1).max() <= 0.25 + 1e-5


def test_initial_weights_are_glorot_uniform_and_norms_slow():
    network = EEGNet(n_chans=64, n_outputs=2, n_times=128, sfreq=128.0)
    assert network.spatial.weight.abs().max().item() == pytest.approx((6 / (64 * (8 + 2))) ** 0.5, rel=0.02)
    assert network.temporal.weight.abs().max().item() == pytest.approx((6 / (64 * 9)) ** 0.5, rel=0.02)
    assert {
        (m.eps, m.momentum) for m in network.modules() if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))
    } == {(1e-3, 0.01)}


def test_a_window_does_not_depend_on_the_others_of_its_batch():
    network = EEGNet(n_chans=5, n_outputs=2, n_times=64, sfreq=128.0).eval()
    x = torch.randn(4, 5, 64)
    torch.testing.assert_close(network(x), torch.cat([network(window[None]) for window in x]), atol=1e-6, rtol=1e-5)


def test_renaming_the_electrodes_changes_nothing_with_renamed_spatial_filters():
    network, order = EEGNet(n_chans=5, n_outputs=2, n_times=64, sfreq=128.0).eval(), torch.tensor([3, 0, 4, 1, 2])
    x = torch.randn(4, 5, 64)
    logits = network(x)
    with torch.no_grad():
        network.spatial.weight.copy_(network.spatial.weight[..., order].clone())
    torch.testing.assert_close(network(x[:, order]), logits, atol=1e-6, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="averages over 4 x 8 samples, but windows have 31; cut longer windows"):
        EEGNet(n_chans=5, n_outputs=2, n_times=31, sfreq=128.0)
    with pytest.raises(UsageError, match=r"A temporal filter of 0\.001 s is less than one sample at 128 Hz"):
        EEGNet(n_chans=5, n_outputs=2, n_times=64, sfreq=128.0, kernel_size=0.001)
    with pytest.raises(UsageError, match="built for 5 channels of 64 samples, got 4 of 64"):
        EEGNet(n_chans=5, n_outputs=2, n_times=64, sfreq=128.0)(torch.zeros(1, 4, 64))
