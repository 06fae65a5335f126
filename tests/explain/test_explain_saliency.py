"""Integrated gradients: complete, exact where they are known, in the coordinates of the electrodes."""

import numpy as np
import pytest
import torch
from explained import (
    Calibrated,
    LinearNetwork,
    SquaredNetwork,
    WhitenedNetwork,
    imagery_decoder,
    labelled,
    motor_imagery,
    steps,
    weights_of,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.decoding import make
from neuropil.errors import UsageError
from neuropil.explain import integrated_gradients, network_saliency
from neuropil.explain.bands import band_part, covering_bands


def fitted(network, X, y):
    return network(max_epochs=3, random_state=0, progress=False).fit(X, y)


def test_analytic_functions():
    x = np.random.default_rng(0).normal(size=(5, 3))
    zeros = np.zeros(5, dtype=int)
    cubic = integrated_gradients(lambda v: (v**3).sum(1, keepdim=True), x, zeros, n_steps=4)
    np.testing.assert_allclose(cubic.attributions, x**3, rtol=1e-9)
    product = integrated_gradients(lambda v: v.prod(1, keepdim=True), x, zeros, n_steps=4)
    np.testing.assert_allclose(product.attributions, np.repeat(x.prod(1, keepdims=True) / 3, 3, axis=1), rtol=1e-9)
    start = np.full_like(x, 0.5)
    shifted = integrated_gradients(lambda v: (v**2).sum(1, keepdim=True), x, zeros, start, n_steps=2)
    np.testing.assert_allclose(shifted.attributions, x**2 - 0.25, rtol=1e-9, atol=1e-12)
    assert max(cubic.error, product.error, shifted.error) < 1e-9


def test_more_steps_come_closer():
    x = 3 * np.random.default_rng(1).normal(size=(20, 4))

    def kinked(v):
        return torch.relu(v @ torch.arange(-2.0, 2.0, dtype=v.dtype) - 0.7)[:, None]

    errors = [integrated_gradients(kinked, x, np.zeros(20, dtype=int), n_steps=n).error for n in (2, 16, 256)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_each_window_is_explained_for_its_own_output():
    x = np.ones((2, 2))
    outputs = integrated_gradients(
        lambda v: v * torch.tensor([1.0, 5.0], dtype=v.dtype), x, np.array([0, 1]), n_steps=1
    )
    np.testing.assert_allclose(outputs.attributions, [[1, 0], [0, 5]])


@pytest.mark.parametrize("network", [LinearNetwork, WhitenedNetwork])
def test_of_a_linear_network_they_are_weight_times_input(network):
    X, y = steps()
    decoder = fitted(network, X, y)
    weights = weights_of(decoder)
    if network is WhitenedNetwork:
        weights = network.mixture.T @ weights
    codes = (y == "right").astype(int)
    for baseline, start in (("zero", 0.0), ("mean", X.mean(axis=0))):
        found = network_saliency(decoder, X, y, baseline=baseline, n_steps=2)
        expected = (2 * codes - 1)[:, None, None] * weights * (X - start)
        np.testing.assert_allclose(found.found.attributions, expected, atol=1e-5)
        assert found.electrodes
        assert found.error < 1e-4
        assert found.found.change[codes == 1].mean() == pytest.approx(
            expected[codes == 1].sum(axis=(1, 2)).mean(), rel=1e-3
        )


def test_frequencies_add_up_to_the_samples():
    X, y = steps()
    decoder = fitted(LinearNetwork, X, y)
    found = network_saliency(decoder, labelled(X, y))
    spectral = found.spectral()
    np.testing.assert_allclose(spectral.sum("band"), found.temporal().sum("time"), atol=1e-9)
    members = np.stack([band_part(weights_of(decoder), row) for row in _members(X.shape[2])])
    expected = np.einsum("bct,wct->wcb", members, X)[y == "right"].mean(axis=0)
    np.testing.assert_allclose(spectral.sel({"class": "right"}), expected, atol=1e-5)


def _members(n_times):
    from neuropil.explain.bands import band_members

    return band_members(n_times, 100.0, covering_bands(100.0))


@pytest.mark.parametrize("slug", ["eegnet", "shallow-convnet"])
def test_complete_on_trained_networks_and_back_at_the_electrodes(slug):
    _, X, _ = motor_imagery()
    decoder = imagery_decoder(slug)
    found = network_saliency(decoder, X, baseline="windows", n_steps=32)
    assert found.electrodes, "Euclidean alignment is a matrix for every window"
    assert found.error < 0.01
    spectral = found.spectral()
    np.testing.assert_allclose(
        spectral.sum(["channel", "band"]), found.temporal().sum(["channel", "time"]), rtol=1e-6, atol=1e-9
    )
    bands = spectral.mean("class").sum("channel")
    assert str(bands["band"].values[int(bands.values.argmax())]) == "alpha"
    channels = found.electrode_sums().mean("class")
    best = channels["channel"].values[np.argsort(-channels.values)[:2]]
    assert set(best) == {"C3", "C4"}


def test_from_silence_eegnet_is_complete():
    found = network_saliency(imagery_decoder("eegnet"), motor_imagery()[1], n_steps=64)
    assert found.error < 1e-3


def test_permuted_channels_permute_the_attributions():
    X, y = steps()
    order = np.array([2, 0, 3, 1])
    plain = fitted(LinearNetwork, X, y)
    mixed = fitted(LinearNetwork, X[:, order], y)
    weight = plain.module_.map.weight.detach().reshape(2, 4, -1)[:, order].reshape(2, -1)
    mixed.module_.map.weight.data.copy_(weight)
    mixed.module_.map.bias.data.copy_(plain.module_.map.bias.data)
    first = network_saliency(plain, X, y).found.attributions
    np.testing.assert_allclose(network_saliency(mixed, X[:, order], y).found.attributions, first[:, order], atol=1e-5)


def test_a_preparation_that_is_no_matrix_is_said():
    X, y = steps()
    found = network_saliency(fitted(SquaredNetwork, X, y), X, y)
    assert not found.electrodes
    assert found.error < 1e-4


def test_through_a_pipeline():
    X, y = steps()
    decoder = make_pipeline(FunctionTransformer(lambda v: 3.0 * np.asarray(v)), fitted(LinearNetwork, 3 * X, y))
    found = network_saliency(decoder, X, y)
    expected = (2 * (y == "right") - 1)[:, None, None] * 3 * weights_of(decoder[-1]) * X
    np.testing.assert_allclose(found.found.attributions, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("decoder", "options", "words"),
    [
        (lambda X, y: make("binned-lda").fit(X, y), {}, "BinnedLDA has none at its end"),
        (lambda X, y: fitted(Calibrated, X, y), {}, "makes its probabilities of more than its network's output"),
        (lambda X, y: fitted(LinearNetwork, X, y), {"baseline": "noise"}, "got 'noise'"),
        (lambda X, y: fitted(LinearNetwork, X, y), {"n_steps": 0}, "got n_steps=0"),
    ],
)
def test_what_gradients_cannot_explain(decoder, options, words):
    X, y = steps()
    with pytest.raises(UsageError, match=words):
        network_saliency(decoder(X, y), X, y, **options)
