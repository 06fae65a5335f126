"""Euclidean alignment: the mean covariance becomes the identity, and the future is never used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from neuropil.alignment import EuclideanAlignment, RiemannianAlignment, shrunk_covariances
from neuropil.errors import DataError
from neuropil.persistence import load_model, save_model


def windows(n=12, n_channels=4, n_times=100, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_channels, n_channels)) @ rng.normal(size=(n, n_channels, n_times)) * 1e-5


def covariances(X):
    return np.stack([np.cov(x) for x in X])


def test_training_windows_get_identity_mean_covariance_in_every_group():
    X, groups = windows(), np.repeat(["a", "b"], 6)
    aligned = EuclideanAlignment().fit_transform(X, groups=groups)
    for group in ("a", "b"):
        np.testing.assert_allclose(covariances(aligned[groups == group]).mean(axis=0), np.eye(4), atol=1e-8)


def test_new_windows_are_whitened_by_the_running_mean():
    X = windows()
    aligned = EuclideanAlignment().fit(X).transform(X)
    for k in range(len(X)):
        expected = np.linalg.inv(sqrtm(covariances(X[: k + 1]).mean(axis=0))).real @ X[k]
        np.testing.assert_allclose(aligned[k], expected, rtol=1e-4, atol=1e-6)


@given(st.integers(1, 11))
def test_the_future_changes_nothing(k):
    X = windows()
    changed = X.copy()
    changed[k:] *= 7
    alignment = EuclideanAlignment().fit(X)
    np.testing.assert_array_equal(alignment.transform(X)[:k], alignment.transform(changed)[:k])
    transductive = EuclideanAlignment(transductive=True).fit(X)
    assert not np.allclose(transductive.transform(X)[:k], transductive.transform(changed)[:k])


def test_streaming_is_the_same_one_by_one():
    X = windows()
    alignment = EuclideanAlignment().fit(X)
    running = alignment.streaming()
    np.testing.assert_allclose(np.stack([running.push(x) for x in X]), alignment.transform(X), rtol=1e-9)


def test_channel_scale_does_not_matter():
    X = windows()
    scaled = X * np.array([1.0, 10.0, 0.1, 5.0])[:, None]
    a, b = EuclideanAlignment().fit_transform(X), EuclideanAlignment().fit_transform(scaled)
    # Whitening is unique up to a rotation: Gram matrices over time agree.
    np.testing.assert_allclose(np.einsum("wct,wcs->wts", a, a), np.einsum("wct,wcs->wts", b, b), rtol=1e-5, atol=1e-6)


def test_an_average_reference_is_named_and_survives():
    X = windows()
    X -= X.mean(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="rank 3 in 4 channels"):
        aligned = EuclideanAlignment().fit_transform(X)
    assert np.isfinite(aligned).all()
    eigenvalues = np.linalg.eigvalsh(covariances(aligned).mean(axis=0))
    np.testing.assert_allclose(eigenvalues, [0, 1, 1, 1], atol=1e-6)


def test_saving_keeps_the_references(tmp_path):
    X, groups = windows(), np.repeat(["a", "b"], 6)
    alignment = EuclideanAlignment().fit(X, groups=groups)
    loaded = load_model(save_model(alignment, tmp_path / "model"))
    np.testing.assert_array_equal(loaded.reference_["b"], alignment.reference_["b"])


def test_riemannian_training_windows_get_identity_geometric_mean_in_every_group():
    from pyriemann.geometry.mean import mean_riemann

    X, groups = windows(n=40), np.repeat(["a", "b"], 20)
    alignment = RiemannianAlignment()
    aligned = alignment.fit_transform(X, groups=groups)
    for group in ("a", "b"):
        shrunk = shrunk_covariances(X[groups == group])
        np.testing.assert_allclose(alignment.reference_[group], mean_riemann(shrunk), rtol=1e-8)
        whitening = np.linalg.inv(sqrtm(alignment.reference_[group])).real
        np.testing.assert_allclose(mean_riemann(whitening @ shrunk @ whitening), np.eye(4), atol=1e-6)
        np.testing.assert_allclose(aligned[groups == group], whitening @ X[groups == group], rtol=1e-4, atol=1e-7)


@given(st.integers(1, 11))
def test_riemannian_alignment_never_looks_ahead(k):
    X = windows()
    changed = X.copy()
    changed[k:] *= 7
    alignment = RiemannianAlignment().fit(X)
    np.testing.assert_array_equal(alignment.transform(X)[:k], alignment.transform(changed)[:k])
    running = alignment.streaming()
    np.testing.assert_allclose(np.stack([running.push(x) for x in X]), alignment.transform(X), rtol=1e-9)


def test_one_loud_window_moves_the_geometric_mean_less():
    X = windows(n=30)
    loud = X.copy()
    loud[3] *= 100
    for transformer, largest in ((EuclideanAlignment(), np.inf), (RiemannianAlignment(), 2.0)):
        clean, moved = (np.trace(transformer.fit(data).reference_[""]) for data in (X, loud))
        assert moved / clean < largest
        if transformer.__class__ is EuclideanAlignment:
            assert moved / clean > 50


def test_riemannian_alignment_refuses_missing_rank():
    X = windows()
    with pytest.raises(DataError, match="have rank 3 in 4 channels"):
        RiemannianAlignment().fit(X - X.mean(axis=1, keepdims=True))
