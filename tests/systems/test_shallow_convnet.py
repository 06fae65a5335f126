"""ShallowConvNet: sizes, agreement with its two convolutions one after the other, band power, failure messages."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from neuropil.decoding.shallow_convnet import ShallowConvNet
from neuropil.errors import UsageError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


LAWHERN = {"sfreq": 128.0, "kernel_size": 13 / 128, "pool_size": 35 / 128, "pool_stride": 7 / 128}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"n_chans": 22, "n_outputs": 4, "n_times": 1000, "sfreq": 250.0}, 46_084),
        # as Lawhern et al. (2018) adapt it to 128 Hz
        ({"n_chans": 64, "n_outputs": 2, "n_times": 128, **LAWHERN}, 104_002),
        ({"n_chans": 56, "n_outputs": 2, "n_times": 160, **LAWHERN}, 91_602),
        ({"n_chans": 64, "n_outputs": 2, "n_times": 192, **LAWHERN}, 104_722),
        ({"n_chans": 22, "n_outputs": 4, "n_times": 256, **LAWHERN}, 40_644),
    ],
)
def test_parameters(arguments, expected):
    assert sum(p.numel() for p in ShallowConvNet(**arguments).parameters()) == expected


@pytest.mark.parametrize("training", [False, True])
def test_agrees_with_two_convolutions_one_after_the_other(training):
    network = ShallowConvNet(n_chans=6, n_outputs=3, n_times=300, sfreq=250.0, n_filters=8, drop_prob=0.0).train(
        training
    )
    torch.nn.init.normal_(network.temporal_bias)
    x = torch.randn(4, 6, 300)
    out = functional.conv2d(x[:, None], network.temporal_filters[:, None, None], network.temporal_bias)
    out = functional.conv2d(out, network.spatial_filters[..., None])[:, :, 0]
    out = functional.avg_pool1d(network.norm(out) ** 2, 75, 15).clamp(min=1e-6).log().flatten(1)
    torch.testing.assert_close(network.features(x), out, atol=1e-4, rtol=1e-4)


def test_features_follow_the_logarithm_of_power():
    network = ShallowConvNet(n_chans=4, n_outputs=2, n_times=400, sfreq=250.0).eval()
    x = torch.randn(3, 4, 400)
    louder = network.features(10 * x) - network.features(x)
    torch.testing.assert_close(louder, torch.full_like(louder, np.log(100)), atol=1e-3, rtol=0)
    torch.testing.assert_close(network.features(-x), network.features(x), atol=1e-5, rtol=1e-5)
    silent = network.features(torch.zeros(1, 4, 400))
    torch.testing.assert_close(silent, torch.full_like(silent, np.log(1e-6)))


def test_a_window_does_not_depend_on_the_others_of_its_batch():
    network = ShallowConvNet(n_chans=5, n_outputs=2, n_times=200, sfreq=250.0).eval()
    x = torch.randn(4, 5, 200)
    torch.testing.assert_close(network(x), torch.cat([network(window[None]) for window in x]), atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="Filter and mean take 25 and 75 samples at 250 Hz, but windows have 98"):
        ShallowConvNet(n_chans=5, n_outputs=2, n_times=98, sfreq=250.0)
    assert ShallowConvNet(n_chans=5, n_outputs=2, n_times=99, sfreq=250.0)(torch.zeros(1, 5, 99)).shape == (1, 2)
    with pytest.raises(UsageError, match="built for 5 channels of 200 samples, got 5 of 99"):
        ShallowConvNet(n_chans=5, n_outputs=2, n_times=200, sfreq=250.0)(torch.zeros(1, 5, 99))
