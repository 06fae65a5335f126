"""The other decoders of states: extended and unscented filters, the recurrent network; recordings and missing bins in all of them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from neuropil.decoding.discriminative_kalman_filter import DiscriminativeKalmanFilter, KalmanFilterDecoder
from neuropil.decoding.nonlinear_kalman import ExtendedKalmanDecoder, UnscentedKalmanDecoder
from neuropil.decoding.recurrent_states import RecurrentDecoder
from neuropil.decoding.state_observations import NetworkObservation, PoissonObservation
from neuropil.decoding.state_recordings import state_trials
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model
from neuropil.recording import Recording
from neuropil.simulate.populations import simulate_cosine_tuning, simulate_place_fields
from neuropil.streams import irregular_stream, regular_stream

FOUND = simulate_cosine_tuning(900, 20, baseline=0.6, random_state=0)
X, Z = FOUND.counts.astype(float), 2 * FOUND.states + [5, -3]
GROUPS = np.repeat(np.arange(9), 100)
DECODERS = {
    "ekf, network": ExtendedKalmanDecoder(random_state=0),
    "ekf, poisson": ExtendedKalmanDecoder("poisson", lag=1, random_state=0),
    "ukf, network": UnscentedKalmanDecoder(random_state=0),
    "ukf, poisson": UnscentedKalmanDecoder("poisson", random_state=0),
    "lstm": RecurrentDecoder(max_epochs=30, lag=1, random_state=0),
    "kalman": KalmanFilterDecoder(),
    "dkf": DiscriminativeKalmanFilter(random_state=0),
    "dkf, network for the dynamics": DiscriminativeKalmanFilter(dynamics="nn", random_state=0),
}


@pytest.fixture(scope="module", params=list(DECODERS))
def fitted(request):
    return clone(DECODERS[request.param]).fit(X[:700], Z[:700], GROUPS[:700])


def test_states_are_decoded(fitted):
    mean, cov = fitted.predict(X[700:], GROUPS[700:], return_cov=True)
    assert fitted.score(X[700:], Z[700:], GROUPS[700:]) > 0.6
    np.linalg.cholesky(cov)
    z = np.linalg.solve(np.linalg.cholesky(cov), (Z[700:] - mean)[..., None])
    assert 0.3 < np.mean(z**2) < 3


def test_online_equals_batch_also_where_bins_are_missing(fitted):
    holes = X[:150].copy()
    holes[20:24] = np.nan
    holes[60, 3] = np.nan
    holes[0] = np.nan
    mean, cov = fitted.predict(holes, np.repeat([0, 1], 75), return_cov=True)
    assert np.isfinite(mean).all()
    for trial in (0, 75):
        state = None
        for t in range(trial, trial + 40):
            state = fitted.filter_step(holes[t], state)
            np.testing.assert_allclose(state.mean, mean[t], rtol=0, atol=1e-6)
            np.testing.assert_allclose(state.covariance, cov[t], rtol=0, atol=1e-6)
    np.linalg.cholesky(cov)


def test_the_future_changes_nothing(fitted):
    other = X[:100].copy()
    other[50:] = np.nan
    np.testing.assert_allclose(fitted.predict(other)[:50], fitted.predict(X[:100])[:50], rtol=0, atol=1e-6)


def test_saving_and_repeating(fitted, tmp_path):
    loaded = load_model(fitted.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict(X[:50]), fitted.predict(X[:50]), rtol=1e-12)
    again = clone(fitted).fit(X[:700], Z[:700], GROUPS[:700])
    np.testing.assert_array_equal(again.predict(X[:50]), fitted.predict(X[:50]))


@pytest.mark.parametrize("name", list(DECODERS))
def test_missing_bins_are_skipped_when_fitting(name):
    holes = X[:700].copy()
    holes[np.random.default_rng(0).random(700) < 0.15] = np.nan
    decoder = clone(DECODERS[name]).fit(holes, Z[:700], GROUPS[:700])
    assert decoder.score(X[700:], Z[700:]) > 0.5


def test_a_bin_that_was_not_observed_leaves_the_prediction():
    decoder = DiscriminativeKalmanFilter(random_state=0).fit(X, Z)
    holes = X[:100].copy()
    holes[50:] = np.nan
    mean, cov = decoder.predict(holes, return_cov=True)
    centred = mean - decoder.state_mean_
    np.testing.assert_allclose(centred[51:], centred[50:-1] @ decoder.transition_.T, atol=1e-10)
    assert (np.trace(cov[60]) > np.trace(cov[49])).all()


def test_the_network_knows_its_slope():
    held = np.arange(len(X)) % 3 == 0
    centred = Z - Z.mean(axis=0)
    for made in (NetworkObservation(random_state=0), PoissonObservation()):
        found = made.fit(centred, X, held)
        at, step = centred[:20], 1e-5
        differences = [(found.expected(at + step * e) - found.expected(at - step * e)) / (2 * step) for e in np.eye(2)]
        np.testing.assert_allclose(found.slope(at), np.stack(differences, axis=2), rtol=1e-4, atol=1e-6)


def test_a_poisson_observation_finds_the_rates_of_place_fields():
    found = simulate_place_fields(6000, 12, width=1.0, peak=4.0, baseline=0.0, random_state=0)
    rates = PoissonObservation().fit(found.states, found.counts.astype(float), np.arange(6000) % 3 == 0)
    error = np.sqrt(np.mean((rates.expected(found.states) - found.rates) ** 2))
    assert error < 0.1 * found.rates.std()


def recording(part=slice(None), *, trials=True):
    counts, states = FOUND.counts[part].copy(), FOUND.states[part].copy()
    events = pd.DataFrame({"onset": 10.0 * np.arange(len(counts) // 100), "duration": 10.0, "label": "trial"})
    return Recording(
        {
            "spikes": regular_stream(counts, 10.0, kind="spikes", unit="count", modality="spikes"),
            "velocity": regular_stream(states, 10.0, kind="misc", unit="m/s", modality="behaviour"),
        },
        events if trials else None,
    )


def test_recordings_are_their_arrays():
    decoder = DiscriminativeKalmanFilter(random_state=0).fit(recording(slice(0, 700)))
    arrays = DiscriminativeKalmanFilter(random_state=0).fit(FOUND.counts[:700], FOUND.states[:700], GROUPS[:700])
    means = decoder.predict(recording(slice(700, 900)))
    assert [mean.shape for mean in means] == [(100, 2), (100, 2)]
    np.testing.assert_array_equal(np.concatenate(means), arrays.predict(FOUND.counts[700:], GROUPS[700:]))
    two = [recording(slice(0, 300)), recording(slice(300, 700))]
    np.testing.assert_array_equal(
        DiscriminativeKalmanFilter(random_state=0).fit(two, "velocity").predict(FOUND.counts[700:]),
        arrays.predict(FOUND.counts[700:]),
    )
    assert decoder.score(recording(slice(700, 900))) == arrays.score(
        FOUND.counts[700:], FOUND.states[700:], GROUPS[700:]
    )
    assert decoder.sfreq_ == 10.0
    assert decoder.unit_names_[0] == "ch000"
    whole = decoder.predict(FOUND.recording())
    assert whole[0].shape == (900, 2)
    np.testing.assert_array_equal(
        decoder.predict_unfiltered(recording(slice(700, 900))),
        arrays.predict_unfiltered(FOUND.counts[700:], GROUPS[700:]),
    )


def spiking(counts, names):
    """The same counts as spikes at random times within bins of 0.1 s, and states at 100 Hz."""
    rng = np.random.default_rng(0)
    bins, units = np.repeat(np.argwhere(counts > 0), counts[counts > 0], axis=0).T
    times = 0.1 * (bins + rng.uniform(0.01, 0.99, len(bins)))
    order = np.argsort(times)
    return times[order], np.array(names)[units[order]]


def test_spikes_are_counted_and_states_averaged():
    names = [f"n{k}" for k in range(20)]
    times, units = spiking(FOUND.counts[:300], names)
    fine = np.repeat(FOUND.states[:300], 10, axis=0)
    fine[5::10] += 10.0
    events = pd.DataFrame({"onset": [0.0, 10.0, 20.0], "duration": 10.0, "label": "reach", "trial": [1, 2, 3]})
    made = Recording(
        {"spikes": irregular_stream(times, units), "velocity": regular_stream(fine, 100.0, unit="m/s")}, events
    )
    found = state_trials(made, bin_width=0.1)
    order = [found.names.index(name) for name in names]
    np.testing.assert_array_equal(np.concatenate(found.features)[:, order], FOUND.counts[:300])
    np.testing.assert_allclose(np.concatenate(found.states), FOUND.states[:300] + 1.0)
    wide = state_trials(made, bin_width=0.2)
    np.testing.assert_array_equal(wide.features[0][0], found.features[0][:2].sum(axis=0))
    decoder = KalmanFilterDecoder().fit(made)
    few = Recording({"spikes": irregular_stream(times[units != "n3"], units[units != "n3"])}, events)
    without = [trial.copy() for trial in found.features]
    for trial in without:
        trial[:, found.names.index("n3")] = 0
    for a, b in zip(decoder.predict(few), decoder.predict(without), strict=True):
        np.testing.assert_allclose(a, b)
    with pytest.raises(DataError, match="the unit stranger that the decoder was not fitted on"):
        decoder.predict(Recording({"spikes": irregular_stream([*times, 30.0], [*units, "stranger"])}, events))


def test_trials_without_a_spike_and_neurons_that_never_fire_are_told():
    silent = recording(slice(0, 300))
    silent.streams["spikes"].values[100:200] = 0
    silent.streams["spikes"].values[:, 4] = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        KalmanFilterDecoder().fit(silent)
    said = [str(w.message) for w in caught]
    assert any("1 of 3 trials hold no spike at all (number 1)" in text for text in said)
    assert any("1 of 20 columns of X are constant and are left out: ch004." in text for text in said)
    silent.streams["spikes"].values[:] = 0
    with pytest.raises(DataError, match="All columns of X are constant"), pytest.warns(UserWarning, match="no spike"):
        KalmanFilterDecoder().fit(silent)


def broken(change):
    made = recording(slice(0, 300), trials=False)
    change(made)
    return made


def stretch(name, values, rate=10.0, unit="count"):
    return lambda made: made.streams.update({name: regular_stream(values, rate, kind="misc", unit=unit, modality=name)})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (stretch("spikes", FOUND.counts[:300] - 1), DataError, "ch000 at bin 0 is negative"),
        (stretch("spikes", FOUND.counts[:300] * 0.5), DataError, "is not whole"),
        (stretch("velocity", FOUND.states[:200]), DataError, "do not cover the bins from 0 to 30 s"),
        (stretch("velocity", FOUND.states[:300], 5.0), DataError, "5 samples a second and the activity 10 bins"),
        (lambda made: made.streams.pop("velocity"), UsageError, "none called state or velocity but spikes"),
        (lambda made: made.streams.pop("spikes"), UsageError, "no stream of spikes but velocity"),
        (
            lambda made: made.streams.update(velocity=irregular_stream([0.0, 1.0], [[1.0], [2.0]])),
            DataError,
            "need a regular stream",
        ),
        (lambda made: made.streams.update(spikes=irregular_stream([], [])), DataError, "no spike at all"),
    ],
)
def test_bad_recordings_are_refused_in_one_sentence(change, error, words):
    with pytest.raises(error, match=words) as caught:
        KalmanFilterDecoder().fit(broken(change))
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_together_is_refused():
    one = recording(slice(0, 300))
    with pytest.raises(UsageError, match="bring their states and trials"):
        KalmanFilterDecoder().fit(one, Z[:300])
    with pytest.raises(UsageError, match="no stream 'hand'"):
        KalmanFilterDecoder().fit(one, "hand")
    fewer = one.copy(
        streams={name: stream[:, :15] if name == "spikes" else stream for name, stream in one.streams.items()}
    )
    with pytest.raises(DataError, match="fitted on 10 bins a second, the recording has 20"):
        KalmanFilterDecoder().fit(one).predict(
            Recording({"spikes": regular_stream(X[:300], 20.0, unit="count", modality="spikes")})
        )
    assert KalmanFilterDecoder().fit([one, fewer]).n_features_in_ == 20
    with pytest.raises(DataError, match="only"):
        KalmanFilterDecoder().fit([one, X])
    with pytest.raises(DataError, match=r"feature 2 has -1: give spikes a bin, or choose observation='network'"):
        ExtendedKalmanDecoder("poisson").fit(np.where(np.arange(20) == 2, -1 - X, X), Z)
    with pytest.raises(UsageError, match="observation must be 'network' or 'poisson'"):
        UnscentedKalmanDecoder("gaussian").fit(X, Z)
    with pytest.raises(UsageError, match="dynamics must be 'nw', 'gp', 'nn' or a scikit-learn regressor, got 'curved'"):
        DiscriminativeKalmanFilter(dynamics="curved").fit(X, Z)
    with pytest.raises(UsageError, match="n_bins must be a whole number"):
        RecurrentDecoder(n_bins=0).fit(X, Z)
    with pytest.raises(UsageError, match="validation_fraction must lie between"):
        RecurrentDecoder(validation_fraction=0).fit(X, Z)
    with pytest.raises(DataError, match="are held out"):
        ExtendedKalmanDecoder().fit(X[:12], Z[:12])
