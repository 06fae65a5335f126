"""What DBConformer, EEGNet, ShallowConvNet and AGTCNet share as estimators: learning, repeating, alignment, saving."""

import inspect

import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from neuropil.alignment import align, align_online
from neuropil.decoding.agtcnet import AGTCNetClassifier
from neuropil.decoding.dbconformer import DBConformerClassifier
from neuropil.decoding.eegnet import EEGNetClassifier
from neuropil.decoding.shallow_convnet import ShallowConvNetClassifier
from neuropil.errors import DataError, UsageError

SFREQ, N_CHANS, N_TIMES = 100.0, 4, 100
DECODERS = {
    "dbconformer": DBConformerClassifier(
        emb_size=20, depth_temporal=1, depth_spatial=1, num_heads=5, patch_size=0.25, drop_prob=0.1, lr=3e-3
    ),
    "eegnet": EEGNetClassifier(lr=1e-2, batch_size=16),
    "shallow_convnet": ShallowConvNetClassifier(n_filters=8, lr=5e-3),
    "agtcnet": AGTCNetClassifier(
        adjacency="full", n_filters_global=16, norm_momentum=0.1, lr=1e-2, batch_size=16, validation=0.0
    ),
}


@pytest.fixture(params=DECODERS)
def decoder(request):
    return clone(DECODERS[request.param]).set_params(sfreq=SFREQ, random_state=0, max_epochs=30)


def rhythms(n=64, seed=0, scales=(1.0, 1.0)):
    """Left or right: a 12 Hz rhythm in the first or second channel; two subjects whose channels mix and scale differently."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.tile(["left", "right"], n // 2))
    time = np.arange(N_TIMES) / SFREQ
    X = rng.normal(size=(n, N_CHANS, N_TIMES))
    for window, label in zip(X, y, strict=True):
        window[0 if label == "left" else 1] += 2.5 * np.sin(2 * np.pi * (12 * time + rng.random()))
    subjects = np.repeat(["a", "b"], n // 2)
    X[subjects == "a"] *= scales[0]
    X[subjects == "b"] *= scales[1]
    return X, y, subjects


def labelled(X, y, subjects, **attrs):
    coords = {"label": ("window", y), "subject": ("window", subjects), "channel": [f"c{k}" for k in range(N_CHANS)]}
    return xr.DataArray(X, dims=("window", "channel", "time"), coords=coords, attrs=attrs)


def test_learns_and_transfers_to_windows_it_has_not_seen(decoder):
    X, y, subjects = rhythms()
    decoder.fit(X, y, groups=subjects)
    new, truth, groups = rhythms(seed=1)
    assert decoder.score(new, truth, groups=groups) > 0.85
    assert decoder.history_[-1]["loss"] < 0.7 * decoder.history_[0]["loss"]
    probabilities = decoder.predict_proba(new, groups)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(decoder.predict(new, groups), decoder.classes_[probabilities.argmax(axis=1)])
    assert decoder.transform(new, groups).shape[0] == len(new)


def test_same_seed_same_numbers_also_after_saving(decoder, tmp_path):
    X, y, subjects = rhythms(24)
    first = decoder.set_params(max_epochs=2).fit(X, y, subjects)
    second = clone(decoder).fit(X, y, subjects)
    other = clone(decoder).set_params(random_state=1).fit(X, y, subjects)
    np.testing.assert_array_equal(second.predict_proba(X, subjects), first.predict_proba(X, subjects))
    assert np.abs(other.predict_proba(X, subjects) - first.predict_proba(X, subjects)).max() > 1e-4
    loaded = type(decoder).load(first.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(X, subjects), first.predict_proba(X, subjects))
    np.testing.assert_array_equal(loaded.transform(X, subjects), first.transform(X, subjects))
    assert loaded.get_params() == first.get_params()
    assert set(loaded.reference_) == {"a", "b"}


def test_windows_are_aligned_per_subject_at_fit(decoder):
    X, y, subjects = rhythms(24)
    decoder.set_params(max_epochs=1)
    plain = clone(decoder).fit(X, y, subjects)
    scaled = clone(decoder).fit(rhythms(24, scales=(1e-6, 30.0))[0], y, subjects)
    for name, n in (("a", 1e-6), ("b", 30.0)):
        np.testing.assert_allclose(scaled.reference_[name], n**2 * plain.reference_[name], rtol=1e-6, atol=1e-20)
    np.testing.assert_allclose(
        [row["loss"] for row in scaled.history_], [row["loss"] for row in plain.history_], rtol=1e-4
    )


def test_online_alignment_of_a_window_ignores_what_follows_and_other_subjects(decoder):
    X, y, subjects = rhythms(24)
    decoder.set_params(max_epochs=1).fit(X, y, subjects)
    before = decoder.predict_proba(X, subjects)
    later = X.copy()
    later[7] *= 20
    after = decoder.predict_proba(later, subjects)
    np.testing.assert_array_equal(after[:7], before[:7])
    np.testing.assert_array_equal(after[12:], before[12:])
    assert np.abs(after[8:12] - before[8:12]).max() > 1e-6
    one_by_one = np.concatenate([decoder.predict_proba(X[: k + 1], subjects[: k + 1])[-1:] for k in range(5)])
    np.testing.assert_allclose(one_by_one, before[:5], atol=1e-6)


def test_each_way_of_alignment_prepares_windows_as_named(decoder):
    X, y, _ = rhythms(24)
    ways = {"euclidean": align_online(X), "transductive": align(X)[0], "none": X / X.std()}
    for alignment, expected in ways.items():
        fitted = clone(decoder).set_params(max_epochs=1, alignment=alignment).fit(X, y)
        np.testing.assert_allclose(fitted.prepare_predict(X, None), expected, atol=1e-10)
        prepared = fitted.prepare_fit(X, None)
        np.testing.assert_allclose(prepared, ways["transductive"] if alignment != "none" else expected, atol=1e-10)


def test_labelled_windows_bring_rate_labels_and_subjects(decoder):
    X, y, subjects = rhythms(24)
    windows = labelled(X, y, subjects, sfreq=SFREQ)
    decoder.set_params(max_epochs=1)
    by_hand = clone(decoder).fit(X, y, subjects)
    fitted = clone(decoder).set_params(sfreq=None).fit(windows)
    np.testing.assert_array_equal(fitted.predict_proba(windows), by_hand.predict_proba(X, subjects))
    assert fitted.score(windows) == by_hand.score(X, y, groups=subjects)
    with pytest.raises(DataError, match=r"channels in another order \(channel 0 was c0, is c3\)"):
        fitted.predict(windows[:, ::-1])


def test_rare_classes_weigh_more(decoder):
    X, y, _ = rhythms(24)
    rare = np.r_[np.flatnonzero(y == "left"), np.flatnonzero(y == "right")[:4]]
    decoder.set_params(max_epochs=1).fit(X[rare], y[rare])
    np.testing.assert_allclose(decoder.class_weights_, [16 / (2 * 12), 16 / (2 * 4)])
    assert not hasattr(clone(decoder).set_params(class_weight=None).fit(X[rare], y[rare]), "class_weights_")


@pytest.mark.parametrize("decoder", ["shallow_convnet"], indirect=True)
def test_cross_validation_splits_and_fits_clones(decoder):
    X, y, _ = rhythms(72)
    scores = cross_val_score(decoder, X, y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.8


def test_parameters_come_back_as_given(decoder):
    default = type(decoder)()
    assert clone(decoder).get_params() == decoder.get_params()
    assert default.set_params(**decoder.get_params()).get_params() == decoder.get_params()
    assert set(inspect.signature(type(decoder).__init__).parameters) - {"self"} == set(decoder.get_params())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sfreq": None}, UsageError, r"do not know their sampling rate; pass sfreq \(in Hz\)"),
        (
            {"alignment": "riemann"},
            UsageError,
            "alignment must be one of 'euclidean', 'transductive', 'riemannian', 'none', got 'riemann'",
        ),
    ],
)
def test_arguments_that_do_not_fit(decoder, change, error, message):
    X, y, _ = rhythms(8)
    with pytest.raises(error, match=message):
        decoder.set_params(**change).fit(X, y)


def test_data_that_do_not_fit(decoder):
    X, y, subjects = rhythms(24)
    decoder.set_params(max_epochs=1)
    with pytest.raises(UsageError, match="The windows have 250 Hz, but sfreq=100 was given"):
        decoder.fit(labelled(X, y, subjects, sfreq=250.0))
    decoder.fit(X, y)
    with pytest.raises(DataError, match="fitted on windows of 100 samples, got 90"):
        decoder.predict(X[..., :90])
    with pytest.raises(DataError, match="one group for each of the 24 windows, got 23"):
        decoder.predict(X, groups=subjects[1:])
    with pytest.raises(DataError, match="Expected labels, got none"):
        decoder.score(X)


def test_dbconformer_weighs_electrodes():
    X, y, subjects = rhythms(24)
    decoder = clone(DECODERS["dbconformer"]).set_params(sfreq=SFREQ, random_state=0, max_epochs=1).fit(X, y, subjects)
    weights = decoder.channel_attention(X, subjects)
    assert weights.shape == (24, N_CHANS)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert decoder.transform(X, subjects).shape == (24, 40)
    even = clone(decoder).set_params(channel_pooling="mean").fit(X, y, subjects)
    np.testing.assert_allclose(even.channel_attention(X, subjects), 0.25)
