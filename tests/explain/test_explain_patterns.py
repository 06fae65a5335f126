"""Patterns: Haufe's formula from outputs alone, and sources where the simulator put them."""

import numpy as np
import pytest
from explained import HEAD, imagery_decoder, labelled, motor_imagery, steps
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.decoding import make
from neuropil.explain import decoder_patterns, output_patterns
from neuropil.explain.patterns import pattern_of
from neuropil.signal.spatial import activation_patterns


def test_covariance_with_the_output_is_haufes_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5))
    w = rng.normal(size=(5, 2))
    for k in range(2):
        output = x @ w[:, k]
        expected = activation_patterns(w[:, k : k + 1], np.cov(x.T, bias=True))[:, 0] * output.std()
        np.testing.assert_allclose(pattern_of(x, output[:, None]).pattern[0], expected, rtol=1e-9)


def test_binned_lda_keeps_the_pattern_that_its_output_shows():
    X, y = steps(n=200, effect=0.2)
    decoder = make("binned-lda", n_bins=8).fit(X, y)
    found = output_patterns(decoder, labelled(X, y))["potential"]
    np.testing.assert_allclose(found.sel({"class": "right"}).values, decoder.patterns_[0], rtol=1e-6)
    np.testing.assert_allclose(found.sel({"class": "left"}).values, -decoder.patterns_[0], rtol=1e-6)
    assert found.attrs["unit"] == "uV"
    own = decoder_patterns(decoder, labelled(X, y))
    np.testing.assert_allclose(own.values, decoder.patterns_)
    np.testing.assert_allclose(own["time"], found["time"])


def test_a_channel_that_cancels_noise_has_weight_but_no_pattern():
    rng = np.random.default_rng(1)
    y = np.tile(["left", "right"], 100)
    noise = 3 * rng.normal(size=(200, 1, 1))
    X = np.concatenate([noise + (y == "right")[:, None, None], noise], axis=1) + 0.1 * rng.normal(size=(200, 2, 50))
    means = FunctionTransformer(np.mean, kw_args={"axis": 2})
    decoder = make_pipeline(means, LinearDiscriminantAnalysis()).fit(X, y)
    weights = np.abs(decoder[-1].coef_[0])
    assert weights[1] > 0.9 * weights[0]
    found = (
        output_patterns(decoder, labelled(X, y, names=("Cz", "Pz")))["potential"].mean("time").sel({"class": "right"})
    )
    assert abs(found[1]) < 0.05 * abs(found[0]) + 0.2


@pytest.mark.parametrize("slug", ["csp-lda", "eegnet", "shallow-convnet"])
def test_the_hand_areas_and_their_rhythm_are_found(slug):
    _, X, _ = motor_imagery()
    found = output_patterns(imagery_decoder(slug), X).sel({"class": "right_hand"})
    alpha = found["power_correlation"].sel(band="alpha")
    order = [HEAD[k] for k in np.argsort(-np.abs(alpha.values))]
    assert set(order[:2]) == {"C3", "C4"}
    assert float(alpha.sel(channel="C3")) < -0.5, "the right hand is said where the left hemisphere's rhythm is weak"
    assert float(alpha.sel(channel="C4")) > 0.5
    strength = np.abs(found["power_correlation"]).sel(channel=["C3", "C4"]).mean("channel")
    assert str(strength["band"].values[int(strength.values.argmax())]) == "alpha"


def test_permuted_channels_permute_the_pattern():
    X, y = steps()
    order = np.array([2, 0, 3, 1])
    names = np.array(["C3", "Cz", "C4", "Pz"])
    plain = output_patterns(make("binned-lda").fit(X, y), labelled(X, y))
    mixed = output_patterns(
        make("binned-lda").fit(X[:, order], y), labelled(X[:, order], y, names=names[order].tolist())
    )
    for name in plain.data_vars:
        np.testing.assert_allclose(mixed[name].sel(channel=names), plain[name], atol=1e-8)


def test_a_decoder_that_always_says_the_same_has_no_pattern():
    assert not pattern_of(np.random.default_rng(0).normal(size=(10, 3)), np.full((10, 2), 0.3)).pattern.any()


def test_decoders_without_filters_have_no_patterns_of_their_own():
    X, y = steps()
    assert decoder_patterns(make("tangent-space").fit(X, y), X) is None
    assert decoder_patterns(make("csp-lda").fit(X, y), X).dims == ("component", "channel")
