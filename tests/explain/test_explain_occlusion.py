"""Occlusion: exact for linear decoders, blind to what a decoder does not use."""

import numpy as np
import pytest
from explained import LinearNetwork, imagery_decoder, labelled, motor_imagery, steps, weights_of

from neuropil.decoding import make
from neuropil.errors import DataError, UsageError
from neuropil.explain import occlude_bands, occlude_channels, occlude_times
from neuropil.explain.bands import band_members, band_part, covering_bands


def linear():
    X, y = steps()
    return LinearNetwork(max_epochs=3, random_state=0, progress=False).fit(X, y), X, y


def test_removing_from_a_linear_decoder_takes_weight_times_input():
    decoder, X, y = linear()
    sign = (2 * (y == "right") - 1)[:, None]
    weighted = weights_of(decoder) * (X - X.mean(axis=(0, 2))[:, None])
    channels = occlude_channels(decoder, X, y, replace="remove").window_drops("log_odds")
    np.testing.assert_allclose(channels.T, sign * weighted.sum(axis=2), atol=1e-4)
    times = occlude_times(decoder, X, y, n_stretches=4, replace="remove").window_drops("log_odds")
    np.testing.assert_allclose(times.T, sign * weighted.reshape(60, 4, 4, 20).sum(axis=(1, 3)), atol=1e-4)
    bands = covering_bands(100.0)
    found = occlude_bands(decoder, labelled(X, y), replace="remove")
    assert list(found.parts) == list(bands)
    expected = [(weights_of(decoder) * band_part(X, row)).sum(axis=(1, 2)) for row in band_members(80, 100.0, bands)]
    np.testing.assert_allclose(found.window_drops("log_odds").T, sign * np.stack(expected, axis=1), atol=1e-4)


def test_what_is_used_is_missed_and_nothing_else():
    X, y = steps(n=120)
    decoder = make("binned-lda").fit(X[:60], y[:60])
    channels = occlude_channels(decoder, X[60:], y[60:]).to_dataset()
    assert int(channels["probability"].values.argmax()) == 1
    assert float(channels["accuracy"][1]) > 0.3
    assert np.abs(np.delete(channels["accuracy"].values, 1)).max() < 0.1
    times = occlude_times(decoder, X[60:], y[60:], n_stretches=4).drop("probability").values
    assert times[2:].min() > 5 * np.abs(times[:2]).max()


@pytest.mark.parametrize("slug", ["csp-lda", "eegnet", "shallow-convnet"])
def test_imagery_decoders_miss_the_mu_band(slug):
    lost = occlude_bands(imagery_decoder(slug), motor_imagery()[1]).drop("log_odds")
    assert str(lost["band"].values[int(lost.values.argmax())]) == "alpha"
    assert lost.values.max() > 3 * np.sort(lost.values)[-2]


def test_networks_miss_the_hand_areas():
    for slug in ("eegnet", "shallow-convnet"):
        lost = occlude_channels(imagery_decoder(slug), motor_imagery()[1]).drop("log_odds")
        assert set(lost["channel"].values[np.argsort(-lost.values)[:2]]) == {"C3", "C4"}


def test_regions_are_taken_away_together():
    decoder, X, y = linear()
    windows = labelled(X, y)
    alone = occlude_channels(decoder, windows, replace="remove").window_drops("log_odds")
    regions = {"left": ["C3", "Cz"], "right": ["C4", "Pz"]}
    both = occlude_channels(decoder, windows, regions=regions, replace="remove").window_drops("log_odds")
    np.testing.assert_allclose(both, [alone[:2].sum(axis=0), alone[2:].sum(axis=0)], atol=1e-4)
    with pytest.raises(UsageError, match="no channel 'Oz'"):
        occlude_channels(decoder, windows, regions={"back": ["Oz"]})


def test_permuted_channels_permute_the_drops():
    X, y = steps()
    order = np.array([2, 0, 3, 1])
    plain = occlude_channels(make("binned-lda").fit(X, y), X, y).drop().values
    mixed = occlude_channels(make("binned-lda").fit(X[:, order], y), X[:, order], y).drop().values
    np.testing.assert_allclose(mixed, plain[order], atol=1e-9)


def test_the_same_seed_gives_the_same_and_windows_stay_as_they_are():
    decoder, X, y = linear()
    before = X.copy()
    first, again = (occlude_channels(decoder, X, y, random_state=3).drop() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - occlude_channels(decoder, X, y, random_state=4).drop()).max() > 0
    np.testing.assert_array_equal(X, before)


def test_without_labels_the_prediction_is_judged():
    decoder, X, _ = linear()
    found = occlude_channels(decoder, X)
    assert found.accuracy == 1.0
    np.testing.assert_array_equal(found.codes, decoder.predict_proba(X).argmax(axis=1))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d, X, y: occlude_channels(d, X, y, replace="noise"), UsageError, "'shuffle' or 'remove', got 'noise'"),
        (lambda d, X, y: occlude_channels(d, X[:1], y[:1]), UsageError, "no other to exchange parts with"),
        (lambda d, X, y: occlude_channels(d, X, y, n_repeats=0), UsageError, "n_repeats=0"),
        (lambda d, X, y: occlude_times(d, X, y, n_stretches=0), UsageError, "got 0"),
        (lambda d, X, y: occlude_bands(d, X, y), UsageError, "do not know their sampling rate"),
        (lambda d, X, y: occlude_channels(d, X, np.full(60, "up")), DataError, "got the label 'up'"),
        (lambda d, X, y: occlude_channels(d, X, y[:5]), DataError, "one label for each of the 60 windows, got 5"),
        (lambda d, X, y: occlude_channels(d, X, y).drop("loss"), UsageError, "got 'loss'"),
    ],
)
def test_messages(call, error, words):
    with pytest.raises(error, match=words):
        call(*linear())
