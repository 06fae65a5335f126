"""Riemannian decoders: known covariance classes, pyRiemann's own pipelines, missing rank, the choice of the penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from neuropil.decoding.riemann import RiemannMDM, TangentSpaceLR, XdawnTangentSpace
from neuropil.errors import DataError, UsageError

COVARIANCES = np.array([[[2.0, 0.9], [0.9, 1.0]], [[1.0, -0.6], [-0.6, 2.0]]])


def gaussian(n=80, n_times=200, seed=0, covariances=COVARIANCES):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(covariances)
    return np.linalg.cholesky(covariances)[y] @ rng.normal(size=(n, covariances.shape[1], n_times)), y


def average_referenced(n=80, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 5, 120))
    X[y == 1, 0] *= 1.8
    return X - X.mean(axis=1, keepdims=True), y


def test_mdm_finds_the_class_covariances():
    X, y = gaussian(n_times=2000)
    fitted = RiemannMDM(estimator="scm").fit(X, y)
    scale = fitted.pipeline_[0].scale_
    np.testing.assert_allclose(fitted.means_ * scale**2, COVARIANCES, rtol=0.05)
    assert fitted.score(X, y) == 1.0


def test_mdm_does_not_care_how_channels_are_mixed():
    X, y = gaussian(n_times=40)
    mixed = np.array([[1.0, 0.7], [-0.2, 2.0]]) @ X
    plain = RiemannMDM(estimator="scm").fit(X[:40], y[:40])
    np.testing.assert_allclose(
        RiemannMDM(estimator="scm").fit(mixed[:40], y[:40]).predict_proba(mixed[40:]),
        plain.predict_proba(X[40:]),
        atol=1e-5,
    )


def test_agree_with_pyriemann_written_out():
    from pyriemann.classification import MDM
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace

    X, y = gaussian(n_times=30)
    hand = make_pipeline(Covariances("oas"), MDM()).fit(X[:60], y[:60])
    np.testing.assert_allclose(
        RiemannMDM().fit(X[:60], y[:60]).predict_proba(X[60:]), hand.predict_proba(X[60:]), atol=1e-6
    )
    hand = make_pipeline(Covariances("lwf"), TangentSpace(), LogisticRegression(C=0.5)).fit(X[:60], y[:60])
    ours = TangentSpaceLR(estimator="lwf", C=0.5).fit(X[:60], y[:60])
    np.testing.assert_allclose(ours.predict_proba(X[60:]), hand.predict_proba(X[60:]), atol=1e-4)


@pytest.mark.parametrize(
    "decoder", [TangentSpaceLR(), RiemannMDM(), TangentSpaceLR(estimator="scm"), XdawnTangentSpace(n_filters=2)]
)
def test_missing_rank_gives_finite_results_and_one_warning_that_names_it(decoder):
    X, y = average_referenced()
    with pytest.warns(UserWarning, match="rank 4 in 5 channels") as caught:
        decoder.fit(X[:60], y[:60])
    assert len(caught) == 1
    assert np.isfinite(decoder.predict_proba(X[60:])).all()
    if not isinstance(decoder, XdawnTangentSpace):
        assert decoder.score(X[60:], y[60:]) > 0.9


def test_missing_rank_decodes_as_well_as_the_channels_without_one():
    X, y = average_referenced()
    with pytest.warns(UserWarning, match="rank 4"):
        referenced = RiemannMDM(estimator="scm").fit(X[:60], y[:60]).predict_proba(X[60:])
    without = RiemannMDM(estimator="scm").fit(X[:60, :4], y[:60]).predict_proba(X[60:, :4])
    np.testing.assert_allclose(referenced, without, atol=1e-5)


def test_the_penalty_is_chosen_by_what_held_out_windows_say():
    rng = np.random.default_rng(0)
    X, y = gaussian(n=60, n_times=60)
    assert TangentSpaceLR().fit(X, y).C_ >= 1.0
    noise = rng.normal(size=(60, 6, 30))
    assert TangentSpaceLR().fit(noise, y).C_ == 0.001
    assert TangentSpaceLR(C=3.0).fit(X, y).C_ == 3.0


def test_xdawn_sees_when_it_happens_and_tangent_space_alone_does_not():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 4, 60))
    bump = np.exp(-(((np.arange(60) - 20) / 4) ** 2))
    X[y == 0, 1] += 1.2 * bump
    X[y == 1, 1] += 1.2 * bump[::-1]
    assert cross_val_score(XdawnTangentSpace(n_filters=2), X, y, cv=3).mean() > 0.85
    assert cross_val_score(TangentSpaceLR(), X, y, cv=3).mean() < 0.65


def test_three_classes_above_chance():
    covariances = np.stack([np.diag([3.0, 1, 1]), np.diag([1.0, 3, 1]), np.diag([1.0, 1, 3])])
    X, y = gaussian(n=90, n_times=60, covariances=covariances)
    for decoder in (TangentSpaceLR(), RiemannMDM()):
        assert cross_val_score(decoder, X, y, cv=3).mean() > 0.9


def test_messages():
    X, y = gaussian()
    with pytest.raises(UsageError, match="must be one of oas, lwf, scm, got 'mcd'"):
        RiemannMDM(estimator="mcd").fit(X, y)
    with pytest.raises(UsageError, match="must be one of oas, lwf, scm, got 'mcd'"):
        XdawnTangentSpace(estimator="mcd").fit(X, y)
    with pytest.raises(UsageError, match="positive number or None, got -1"):
        TangentSpaceLR(C=-1.0).fit(X, y)
    with pytest.raises(UsageError, match="penalties must be positive"):
        TangentSpaceLR(penalties=(0.0, 1.0)).fit(X, y)
    with pytest.raises(DataError, match="class 1 has 1 of 3 windows"):
        TangentSpaceLR().fit(X[[0, 2, 1]], y[[0, 2, 1]])
    with pytest.raises(DataError, match="two samples a window or more, got 1"):
        TangentSpaceLR().fit(X[..., :1], y)
    with pytest.raises(UsageError, match="two folds or more, got 1"):
        TangentSpaceLR(n_folds=1).fit(X, y)


def test_windows_that_are_white_already_have_a_covariance():
    """The first window of an online alignment is whitened by itself: the usual shrinkage would divide zero by zero."""
    from neuropil.alignment import align_online
    from neuropil.decoding.preparation import WindowCovariances

    rng = np.random.default_rng(0)
    white = align_online(rng.normal(size=(3, 5, 100)))
    for estimator in ("oas", "lwf", "scm"):
        assert (np.linalg.eigvalsh(WindowCovariances(estimator).transform(white)) > 0).all()
