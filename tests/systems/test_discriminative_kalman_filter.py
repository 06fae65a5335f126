"""Discriminative Kalman filter: trials, lag, online steps, held-out blocks, regressors, saving, scikit-learn's contract, messages."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

from neuropil.claims.core import claims_of
from neuropil.decoding.discriminative_kalman_filter import (
    DiscriminativeKalmanFilter,
    KalmanFilterDecoder,
    discriminative_kalman_filter,
    held_out,
)
from neuropil.decoding.state_decoder import linear_dynamics
from neuropil.decoding.state_regressors import GaussianProcess, NeighbouringCovariance, OneHiddenLayer
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model
from neuropil.simulate.populations import simulate_place_fields
from neuropil.stats import kalman

DECODERS = [
    DiscriminativeKalmanFilter(random_state=0),
    DiscriminativeKalmanFilter(correction="robust", lag=2, random_state=0),
    KalmanFilterDecoder(),
    KalmanFilterDecoder(lag=1, stationary=True),
]


def population(n=700, seed=0, decay=0.85):
    found = simulate_place_fields(n, 40, peak=3.0, decay=decay, random_state=seed)
    roots = np.sqrt(found.counts) - np.sqrt(found.counts).mean(axis=0)
    return roots @ np.linalg.svd(roots)[2][:6].T, 3 * found.states + [10, -5]


X, Z = population()
GROUPS = np.repeat([f"trial {k}" for k in range(7)], 100)


@pytest.fixture(scope="module", params=range(len(DECODERS)))
def fitted(request):
    return clone(DECODERS[request.param]).fit(X, Z, GROUPS)


def test_beats_the_mean_and_gives_covariances(fitted):
    test_X, test_Z = X[600:], Z[600:]
    mean, cov = fitted.predict(test_X, return_cov=True)
    assert mean.shape == (100, 2)
    assert cov.shape == (100, 2, 2)
    np.linalg.cholesky(cov)
    np.testing.assert_array_equal(mean, fitted.predict(test_X))
    error = ((mean - test_Z) ** 2).sum(axis=0)
    expected = 1 - error / ((test_Z - test_Z.mean(axis=0)) ** 2).sum(axis=0)
    assert fitted.score(test_X, test_Z) == pytest.approx(expected.mean(), rel=1e-12)
    assert fitted.score(test_X, test_Z) > 0.2


def test_online_equals_batch_and_starts_anew_at_trials(fitted):
    mean, cov = fitted.predict(X, GROUPS, return_cov=True)
    for trial in (0, 3):
        state = None
        for t in range(100 * trial, 100 * trial + 40):
            state = fitted.filter_step(X[t], state)
            np.testing.assert_allclose(state.mean, mean[t], rtol=0, atol=1e-10)
            np.testing.assert_allclose(state.covariance, cov[t], rtol=0, atol=1e-10)
    assert len(state.recent) == fitted.lag


def test_the_future_changes_nothing(fitted):
    other = X.copy()
    other[350:] = np.random.default_rng(1).standard_normal(other[350:].shape)
    mean = fitted.predict(X, GROUPS)
    np.testing.assert_array_equal(fitted.predict(other, GROUPS)[:350], mean[:350])
    assert not np.allclose(fitted.predict(other, GROUPS)[355:], mean[355:])


def test_trials_are_groups_or_a_list_of_any_lengths(fitted):
    cuts = [0, 150, 151, 400, 700]
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    groups = np.repeat(np.arange(4), np.diff(cuts))
    as_groups = clone(fitted).fit(X, Z, groups)
    as_list = clone(fitted).fit([X[p] for p in parts], [Z[p] for p in parts])
    mean = as_groups.predict(X, groups)
    for part, single in zip(parts, as_list.predict([X[p] for p in parts]), strict=True):
        np.testing.assert_allclose(single, mean[part], rtol=0, atol=1e-12)
        np.testing.assert_allclose(as_groups.predict(X[part]), mean[part], rtol=0, atol=1e-12)
    listed = as_list.score([X[p] for p in parts], [Z[p] for p in parts])
    assert listed == pytest.approx(as_groups.score(X, Z, groups), rel=1e-12)


def test_saving_cloning_and_repeating(fitted, tmp_path):
    loaded = load_model(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(X[:50]), fitted.predict(X[:50]))
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(clone(fitted).fit(X, Z, GROUPS).predict(X[:50]), fitted.predict(X[:50]))
    step = loaded.filter_step(X[0])
    np.testing.assert_array_equal(step.mean, fitted.filter_step(X[0]).mean)


def test_units_and_places_of_states_do_not_matter(fitted):
    moved = clone(fitted).fit(X, 1e3 * Z - 7e3, GROUPS)
    np.testing.assert_allclose(moved.predict(X[:80]), 1e3 * fitted.predict(X[:80]) - 7e3, rtol=1e-6)


def test_a_lag_pairs_activity_with_later_states():
    distinct = X + 1e-6 * np.random.default_rng(0).standard_normal(X.shape)
    early = np.concatenate([distinct[2:], distinct[:2]])  # tells of the state two bins later
    part = slice(0, 500)
    lagged = DiscriminativeKalmanFilter(lag=2, random_state=0).fit(early[part], Z[part])
    fitted_on = np.concatenate([lagged.regressor_.X_, lagged.covariance_.X_])
    np.testing.assert_array_equal(np.unique(fitted_on, axis=0), np.unique(distinct[2:500], axis=0))
    pairs = {tuple(x): z for x, z in zip(distinct, Z - lagged.state_mean_, strict=True)}
    np.testing.assert_array_equal(lagged.regressor_.y_, [pairs[tuple(x)] for x in lagged.regressor_.X_])
    mean, cov = lagged.predict(early[500:], return_cov=True)
    np.testing.assert_allclose(mean[:2], np.tile(lagged.state_mean_, (2, 1)), atol=1e-12)
    np.testing.assert_allclose(cov[0], lagged.state_cov_, rtol=1e-12)
    np.testing.assert_array_equal(lagged.predict_unfiltered(early[500:])[:2], [lagged.state_mean_] * 2)
    plain = DiscriminativeKalmanFilter(random_state=0).fit(early[part], Z[part])
    assert lagged.score(early[500:698], Z[500:698]) > plain.score(early[500:698], Z[500:698]) + 0.1


def test_says_when_filtering_makes_things_worse():
    few, slow = population(decay=0.95)
    with pytest.warns(UserWarning, match="Filtering makes the error on held-out bins larger"):
        pushed = DiscriminativeKalmanFilter(random_state=0).fit(few, slow, GROUPS)
    assert pushed.held_out_errors_["filtered"] > pushed.held_out_errors_["regression"]
    assert pushed.n_clipped_ > 30
    held = held_out([100] * 7, 0.3, np.random.RandomState(0))
    pieces = [slice(100 * k, 100 * k + 100) for k in range(7) if held[100 * k]]
    errors = np.concatenate([pushed.predict(few[p]) - slow[p] for p in pieces])
    assert pushed.held_out_errors_["filtered"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)


def test_the_best_correction_is_that_of_the_least_error_on_held_out_bins():
    few, slow = population(decay=0.95)
    chosen = DiscriminativeKalmanFilter(correction="best", random_state=0).fit(few, slow, GROUPS)
    with pytest.warns(UserWarning, match="Filtering makes the error"):
        errors = {
            name: DiscriminativeKalmanFilter(correction=name, random_state=0)
            .fit(few, slow, GROUPS)
            .held_out_errors_["filtered"]
            for name in ("clip", "additive", "robust")
        }
    assert chosen.correction_ == min(errors, key=errors.get) != "clip"
    assert chosen.held_out_errors_["filtered"] == min(errors.values())
    plain = DiscriminativeKalmanFilter(correction=chosen.correction_, random_state=0).fit(few, slow, GROUPS)
    np.testing.assert_array_equal(plain.predict(few[:50]), chosen.predict(few[:50]))


def test_filters_what_its_parts_say():
    decoder = DiscriminativeKalmanFilter(correction="additive", random_state=0).fit(X, Z)
    f, Q = decoder.regressor_.predict(X[:60]), decoder.covariance_.predict(X[:60])
    found = discriminative_kalman_filter(
        f[None], Q[None], decoder.transition_, decoder.transition_cov_, decoder.state_cov_, "additive"
    )
    np.testing.assert_allclose(decoder.predict(X[:60]), found.means[0] + decoder.state_mean_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(decoder.predict_unfiltered(X[:60]), f + decoder.state_mean_, rtol=0, atol=1e-12)
    assert set(decoder.bandwidths_) == {"mean", "covariance"}


def test_n_clipped_counts_where_the_errors_exceed_the_states():
    rng = np.random.default_rng(0)
    blind = DiscriminativeKalmanFilter("nw", "constant", random_state=0).fit(rng.standard_normal((400, 3)), Z[:400])
    values = np.linalg.eigvals(np.linalg.solve(blind.state_cov_, blind.covariance_.average_))
    assert blind.n_clipped_ == (120 if values.max() > 1 else 0)
    assert DiscriminativeKalmanFilter("nw", "constant", random_state=0).fit(X, Z).n_clipped_ == 0


def test_linear_gaussian_data_with_a_linear_regressor_are_decoded_as_by_the_kalman_filter():
    rng = np.random.default_rng(3)
    A, S = 0.9 * np.eye(2), np.eye(2)
    model = kalman.LinearGaussian(np.zeros(2), S, A, S - A @ A, rng.standard_normal((5, 2)), 2 * np.eye(5))
    made = kalman.simulate(model, 1, 20_000, rng)
    x, z = made.observations[0], made.states[0]
    learned = DiscriminativeKalmanFilter(Ridge(1e-6), "constant", random_state=0).fit(x, z)
    exact = kalman.filter(model, x[None]).means[0]
    np.testing.assert_allclose(learned.predict(x), exact, atol=0.15)
    np.testing.assert_allclose(KalmanFilterDecoder().fit(x, z).predict(x), exact, atol=0.15)


def test_dynamics_by_hand_and_only_within_trials():
    trials = [np.array([[8.0], [4.0], [2.0]]), np.array([[-100.0]]), np.array([[1.0], [0.5]])]
    A, G, S = linear_dynamics(trials)
    assert A.item() == pytest.approx(0.5, rel=1e-14)
    assert G.item() == pytest.approx(0.0, abs=1e-14)
    assert S.item() == pytest.approx((64 + 16 + 4 + 10_000 + 1.25) / 6)
    rng = np.random.default_rng(0)
    z = kalman.simulate(
        kalman.LinearGaussian(np.zeros(2), np.eye(2), np.diag([0.9, 0.5]), np.eye(2), np.eye(2), np.eye(2)),
        1,
        5000,
        rng,
    ).states[0]
    A, G, S = linear_dynamics([z], stationary=True)
    np.testing.assert_allclose(A, np.diag([0.9, 0.5]), atol=0.03)
    np.testing.assert_allclose(A @ S @ A.T + G, S, atol=1e-10)


@pytest.mark.parametrize("lengths", [[1000], [300, 700], [100] * 10, [5, 500, 20, 300, 50, 125]])
def test_blocks_or_trials_are_held_out_never_single_bins(lengths):
    mask = held_out(lengths, 0.3, np.random.RandomState(0))
    assert 0.3 <= mask.mean() < 0.85
    edges = np.flatnonzero(np.diff(mask.astype(int))) + 1
    if len(lengths) >= 5:
        assert set(edges) <= set(np.cumsum(lengths))
    else:
        assert mask.mean() < 0.34
        assert min(np.diff([0, *sorted({*edges, *np.cumsum(lengths)})])) >= 25
    assert not np.array_equal(mask, held_out(lengths, 0.3, np.random.RandomState(1)))


@pytest.mark.parametrize("regressor", ["gp", "nn", Ridge(), SVR()])
@pytest.mark.parametrize("covariance", ["nw", "constant"])
def test_other_regressors(regressor, covariance, tmp_path):
    decoder = DiscriminativeKalmanFilter(regressor, covariance, random_state=0).fit(X[:400], Z[:400])
    assert decoder.score(X[600:], Z[600:]) > 0.1
    assert ("covariance" in decoder.bandwidths_) == (covariance == "nw")
    if isinstance(regressor, str):
        loaded = load_model(decoder.save(tmp_path / "model"))
        np.testing.assert_array_equal(loaded.predict(X[600:]), decoder.predict(X[600:]))


def test_the_gaussian_process_and_the_network_learn_a_curve():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (500, 1))
    y = np.column_stack([np.sin(3 * x[:, 0]), x[:, 0] ** 2])
    grid = np.linspace(-1.8, 1.8, 50)[:, None]
    truth = np.column_stack([np.sin(3 * grid[:, 0]), grid[:, 0] ** 2])
    noisy = y + 0.1 * rng.standard_normal(y.shape)
    process = GaussianProcess().fit(x, noisy)
    assert np.abs(process.predict(grid) - truth).max() < 0.15
    assert process.length_scales_.shape == (2,)
    assert np.abs(OneHiddenLayer(random_state=0).fit(x, noisy).predict(grid) - truth).mean() < 0.15


def test_covariance_of_errors_follows_the_features_and_is_never_certain():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4000, 1))
    residuals = rng.standard_normal((4000, 2)) * np.column_stack([1 + x[:, 0], np.full(4000, 0.5)])
    fitted = NeighbouringCovariance().fit(x, residuals)
    found = fitted.predict(np.array([[-0.5], [0.5]]))
    np.testing.assert_allclose(found, [np.diag([0.25, 0.25]), np.diag([2.25, 0.25])], atol=0.2)
    far = fitted.predict(np.array([[1e6]]))[0]
    assert np.linalg.cond(far) < 1e3
    np.testing.assert_array_equal(far, far.T)


def test_one_state_as_a_vector():
    decoder = DiscriminativeKalmanFilter(random_state=0).fit(X, Z[:, 0])
    mean, cov = decoder.predict(X[:30], return_cov=True)
    assert mean.shape == (30,)
    assert cov.shape == (30, 1, 1)
    column = DiscriminativeKalmanFilter(random_state=0).fit(X, Z[:, :1])
    np.testing.assert_array_equal(column.predict(X[:30])[:, 0], mean)


def test_silent_features_are_left_out_with_a_warning():
    silent = np.column_stack([X[:, :3], np.zeros(len(X)), X[:, 3:]])
    for decoder in (DiscriminativeKalmanFilter(random_state=0), KalmanFilterDecoder()):
        with pytest.warns(UserWarning, match="1 of 7 columns of X are constant"):
            found = clone(decoder).fit(silent, Z)
        np.testing.assert_array_equal(found.predict(silent[:50]), clone(decoder).fit(X, Z).predict(X[:50]))
        assert found.features_.tolist() == [0, 1, 2, 4, 5, 6]


def test_doubled_features_do_the_kalman_filter_no_harm():
    doubled = KalmanFilterDecoder().fit(np.hstack([X, X]), Z)
    np.testing.assert_allclose(
        doubled.predict(np.hstack([X, X])), KalmanFilterDecoder().fit(X, Z).predict(X), atol=1e-2
    )


def test_labelled_streams_and_searches_over_whole_trials():
    stream = xr.DataArray(X, dims=("time", "channel"))
    plain = KalmanFilterDecoder().fit(X, Z)
    np.testing.assert_array_equal(KalmanFilterDecoder().fit(stream, Z).predict(stream), plain.predict(X))
    search = GridSearchCV(DiscriminativeKalmanFilter(random_state=0), {"lag": [0, 3]}, cv=GroupKFold(3))
    assert search.fit(X, Z, groups=GROUPS).best_params_ == {"lag": 0}


@pytest.mark.parametrize("decoder", [KalmanFilterDecoder(), DiscriminativeKalmanFilter(random_state=0)])
def test_scikit_learns_contract(decoder):
    named = "states are called Z, as in the paper"
    order = "a filter depends on the order of its bins"
    check_estimator(
        decoder,
        expected_failed_checks={
            "check_fit_score_takes_y": named,
            "check_n_features_in_after_fitting": named,
            "check_dtype_object": "the sentence about objects in Z is another one",
            "check_methods_sample_order_invariance": order,
            "check_methods_subset_invariance": order,
            **(
                {"check_regressor_multioutput": "five states need more than its ten bins"}
                if len(decoder.get_params()) > 2
                else {}
            ),
        },
        on_skip=None,
    )


@pytest.mark.parametrize("cls", [DiscriminativeKalmanFilter, KalmanFilterDecoder])
def test_messages_about_data(cls):
    hole = X.copy()
    hole[3, 2] = np.inf
    with pytest.raises(DataError, match="X has infinity, first in bin 3, feature 2; put NaN"):
        cls().fit(hole, Z)
    with pytest.raises(DataError, match="Z has NaN or infinity"):
        cls().fit(X, np.where(Z > 12, np.nan, Z))
    with pytest.raises(DataError, match="X has 700 bins and Z 650"):
        cls().fit(X, Z[:650])
    with pytest.raises(DataError, match="the states of the bins as Z"):
        cls().fit(X)
    with pytest.raises(DataError, match="Column 1 of Z is constant"):
        cls().fit(X, Z * [1, 0])
    with pytest.raises(DataError, match="A column of Z is a sum of the others"):
        cls().fit(X, np.column_stack([Z, Z.sum(axis=1)]))
    with pytest.raises(DataError, match="All columns of X are constant"):
        cls().fit(np.ones_like(X), Z)
    with pytest.raises(DataError, match=r"as groups, got shape \(699,\)"):
        cls().fit(X, Z, GROUPS[1:])
    with pytest.raises(DataError, match="comes back after another"):
        cls().fit(X, Z, np.arange(700) % 7)
    with pytest.raises(DataError, match="Trial 1 has 300 bins in X and 299 in Z"):
        cls().fit([X[:400], X[400:]], [Z[:400], Z[401:]])
    with pytest.raises(DataError, match="X has 2 trials, Z must have as many"):
        cls().fit([X[:400], X[400:]], [Z[:400]])
    with pytest.raises(DataError, match="trial 1 has"):
        cls().fit([X[:400], X[400:, :3]], [Z[:400], Z[400:]])
    with pytest.raises(DataError, match="must both be lists"):
        cls().fit([X], Z)
    with pytest.raises(UsageError, match="groups belong to one array"):
        cls().fit([X], [Z], GROUPS)
    with pytest.raises(DataError, match="need more than 2 pairs"):
        cls().fit(X, Z, np.arange(700))
    with pytest.raises(DataError, match="No trial is longer than the lag of 200"):
        cls(lag=200).fit(X, Z, GROUPS)
    with pytest.raises(UsageError, match="lag must be a whole number"):
        cls(lag=-1).fit(X, Z)
    ready = cls().fit(X, Z)
    with pytest.raises(ValueError, match="6 features"):
        ready.predict(X[:, :4])
    empty = X.copy()
    empty[::2, 1], empty[1::2, 2] = np.nan, np.nan
    with pytest.raises(DataError, match="No bin has all features; feature 1 is missing in 50% of the bins"):
        cls().fit(empty, Z)
    with pytest.raises(DataError, match="A bin must be 6 finite numbers"):
        ready.filter_step(X[0, :4])
    with pytest.raises(DataError, match="Sparse data"):
        ready.predict(csr_array(X))


def test_messages_about_arguments():
    for arguments, message in (
        ({"regressor": "forest"}, "regressor must be 'nw', 'gp', 'nn' or a scikit-learn regressor, got 'forest'"),
        ({"regressor": 3}, "regressor must be 'nw', 'gp', 'nn' or a scikit-learn regressor, got int"),
        ({"covariance": "full"}, "covariance must be one of 'nw', 'constant', got 'full'"),
        ({"correction": "none"}, "correction must be one of 'clip', 'additive', 'robust'"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1, got 1.0"),
    ):
        with pytest.raises(UsageError, match=message):
            DiscriminativeKalmanFilter(**arguments).fit(X, Z)
    with pytest.raises(DataError, match="bins, 3 are held out"):
        DiscriminativeKalmanFilter().fit(X[:8], Z[:8])
    growing = np.column_stack([1.05 ** np.arange(100), 1.04 ** np.arange(100)])
    with pytest.raises(UsageError, match="settles only if"):
        DiscriminativeKalmanFilter(stationary=True).fit(X[:100], growing)


def test_claims_are_declared_with_the_linear_filter_beside():
    names = [claim.name for claim in claims_of("discriminative-kalman-filter")]
    assert names == [
        "exact_regression",
        "linear_filter_is_blind",
        "generative_filters_are_blind",
        "place_fields",
        "cosine_tuning",
        "other_decoders",
        "reduces_to_kalman",
        "guard",
    ]
