"""Non-negative CP decomposition: exact recovery, an error that never rises, missing entries, blocks, sketches, and what is refused."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from neuropil.errors import DataError, UsageError
from neuropil.stats import cp_source
from neuropil.stats.cp import Blocks, khatri_rao, nonnegative_cp, nonnegative_cp_starts, random_factors
from neuropil.stats.factors import choose_rank, match_components, match_factors, stability


def composed(factors):
    return (factors[0] @ khatri_rao(factors[1:]).T).reshape([len(f) for f in factors])


def relative_error(found, tensor, weights=1.0):
    weights = np.broadcast_to(weights, tensor.shape)
    observed = np.where(weights > 0, tensor, 0.0)
    return np.sqrt((weights * (found.full() - observed) ** 2).sum() / (weights * observed**2).sum())


@pytest.mark.parametrize("shape", [(20, 15, 30), (30, 7, 8), (6, 70, 5), (8, 7, 6, 9), (5, 4, 3, 4, 5)])
def test_a_tensor_without_noise_is_recovered(shape):
    rng = np.random.default_rng(0)
    truth = [rng.gamma(0.5, size=(n, 3)) for n in shape]
    tensor = composed(truth)
    starts = nonnegative_cp_starts(tensor, 3, 4, random_state=1, tol=1e-10, n_iter=5000)
    found = min(starts, key=lambda result: result.error)
    assert relative_error(found, tensor) < 1e-6
    order, cosine = match_components(truth, found.factors)
    assert cosine.min() > 1 - 1e-6
    np.testing.assert_allclose(
        found.weights[order], np.prod([np.linalg.norm(f, axis=0) for f in truth], axis=0), rtol=1e-4
    )
    assert (np.diff(found.weights) <= 0).all()
    for factor in found.factors:
        np.testing.assert_allclose(np.linalg.norm(factor, axis=0), 1.0)


@settings(phases=[Phase.explicit, Phase.generate])
@given(
    tensor=arrays(np.float64, (5, 4, 6), elements=st.floats(0, 1)),
    weights=arrays(np.float64, (5, 4, 6), elements=st.sampled_from([0.0, 0.5, 1.0])),
    rank=st.integers(1, 6),
    seed=st.integers(0, 5),
)
def test_the_error_never_rises_and_is_the_error(tensor, weights, rank, seed):
    tensor = tensor + 0.01
    weights[0] = weights[:, 0] = weights[:, :, 0] = 1.0
    for weight in (None, weights):
        found = nonnegative_cp(tensor, rank, weights=weight, n_iter=30, tol=0, random_state=seed)
        assert (np.diff(found.errors) <= 0).all()
        assert found.error == pytest.approx(relative_error(found, tensor, 1.0 if weight is None else weight), abs=1e-6)
        assert all((factor >= 0).all() and np.isfinite(factor).all() for factor in found.factors)


@pytest.mark.parametrize("shape", [(1, 1, 1), (12, 1, 1), (1, 10, 14), (12, 10, 1), (12, 10, 14)])
def test_missing_nothing_is_the_same_as_complete(shape):
    tensor = np.random.default_rng(0).random((12, 10, 14))
    complete = nonnegative_cp(tensor, 3, random_state=0, n_iter=20, tol=0)
    # weights that differ in the last digits take the weighted path
    weights = np.ones(shape)
    weights.flat[-1] = 1 + 1e-13
    weighted = nonnegative_cp(tensor, 3, weights=weights, random_state=0, n_iter=20, tol=0)
    np.testing.assert_allclose(weighted.errors, complete.errors, rtol=1e-9)
    for a, b in zip(weighted.factors, complete.factors, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    masked = nonnegative_cp(tensor, 3, weights=np.ones(shape, dtype=bool), random_state=0, n_iter=20, tol=0)
    np.testing.assert_array_equal(masked.errors, complete.errors)


@pytest.mark.parametrize("shape", [(1, 10, 30), (20, 10, 1), (20, 10, 30)])
def test_missing_entries_are_filled_in(shape):
    rng = np.random.default_rng(0)
    truth = [rng.gamma(0.5, size=(n, 2)) + 0.05 for n in (20, 10, 30)]
    tensor, observed = composed(truth), rng.random(shape) < 0.7
    given_tensor = np.where(observed, tensor, np.nan)
    starts = nonnegative_cp_starts(given_tensor, 2, 3, weights=observed, random_state=0, tol=1e-10, n_iter=5000)
    found = min(starts, key=lambda result: result.error)
    # nothing of the missing part was seen
    np.testing.assert_allclose(found.full(), tensor, atol=1e-4 * tensor.max())
    zeros = nonnegative_cp(np.where(observed, tensor, 0.0), 2, random_state=0)
    assert np.abs(zeros.full() - tensor).max() > 0.1 * tensor.max()


def test_one_component_of_a_matrix_is_its_leading_pair():
    matrix = np.random.default_rng(0).random((40, 25))
    found = nonnegative_cp(matrix, 1, random_state=0, tol=1e-12, n_iter=1000)
    u, s, v = np.linalg.svd(matrix)
    assert found.weights[0] == pytest.approx(s[0], rel=1e-6)
    assert abs(u[:, 0] @ found.factors[0][:, 0]) > 1 - 1e-6
    assert abs(v[0] @ found.factors[1][:, 0]) > 1 - 1e-6


def test_fixed_modes_give_non_negative_least_squares():
    rng = np.random.default_rng(0)
    pair, animal = rng.random((30, 3)), rng.random((5, 3))
    tensor = rng.random((12, 5, 30))
    found = nonnegative_cp(
        tensor, 3, init=(rng.random((12, 3)), animal, pair), fixed=(1, 2), tol=0, n_iter=300, sort=False
    )
    design = khatri_rao([animal, pair])
    expected = np.array([nnls(design, row.ravel())[0] for row in tensor])
    scale = np.linalg.norm(animal, axis=0) * np.linalg.norm(pair, axis=0)
    np.testing.assert_allclose(found.factors[0] * found.weights / scale, expected, atol=1e-6)


@pytest.mark.parametrize("layout", ["longest last", "longest first", "longest between", "reversed memory"])
def test_the_layout_of_memory_does_not_matter(layout):
    rng = np.random.default_rng(0)
    tensor = rng.random({"longest first": (50, 6, 7), "longest between": (6, 90, 7)}.get(layout, (6, 7, 50)))
    init = random_factors(tensor.shape, 2, 0)
    found = nonnegative_cp(
        np.asfortranarray(tensor) if layout == "reversed memory" else tensor, 2, init=init, tol=1e-9, n_iter=2000
    )
    assert relative_error(found, tensor) == pytest.approx(found.error, abs=1e-9)
    order = np.argsort(tensor.shape)
    turned = nonnegative_cp(tensor.transpose(order), 2, init=[init[k] for k in order], tol=1e-9, n_iter=2000)
    assert turned.error == pytest.approx(found.error, rel=1e-4)


def test_blocks_are_the_same_tensor():
    rng = np.random.default_rng(0)
    tensor = rng.random((8, 5, 60)).astype(np.float32)
    weights = (rng.random((1, 5, 60)) < 0.8) | (np.arange(60) % 7 == 0)
    blocks = Blocks(tensor.shape, lambda a, b: tensor[..., a:b], size=13)
    for given_weights in (None, weights, np.repeat(weights, 8, axis=0)):
        whole = nonnegative_cp(tensor, 3, weights=given_weights, random_state=0, n_iter=10, tol=0)
        streamed = nonnegative_cp(blocks, 3, weights=given_weights, random_state=0, n_iter=10, tol=0)
        np.testing.assert_allclose(streamed.errors, whole.errors, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sketch_of_a_long_tensor_leads_to_the_same_place(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    truth = [rng.gamma(0.5, size=(n, 4)) for n in (20, 25, 400)]
    tensor = composed(truth)
    tensor = (tensor + 0.5 * tensor.std() * np.abs(rng.standard_normal(tensor.shape))).astype(dtype)
    plain = nonnegative_cp(tensor, 4, random_state=0, tol=1e-7)
    monkeypatch.setattr(cp_source, "LEAST_ENTRIES", 1)
    sketched = nonnegative_cp(tensor, 4, init=random_factors(tensor.shape, 4, 0), random_state=0, tol=1e-7)
    assert sketched.n_iter < plain.n_iter
    assert sketched.error == pytest.approx(plain.error, rel=1e-3)
    assert sketched.error == pytest.approx(relative_error(sketched, tensor.astype(float)), rel=1e-4)
    assert (np.diff(sketched.errors) <= 0).all()


def test_starts_share_and_repeat():
    tensor = np.random.default_rng(0).random((9, 8, 10))
    seen = []
    first = nonnegative_cp_starts(tensor, 2, 3, random_state=4, after=seen.append)
    second = nonnegative_cp_starts(tensor, 2, 3, random_state=4)
    assert len(seen) == 3
    assert all(np.array_equal(a.errors, b.errors) for a, b in zip(first, second, strict=True))
    assert first[0].errors[0] != first[1].errors[0]


@pytest.mark.parametrize(
    ("tensor", "arguments", "error", "words"),
    [
        (np.ones((3, 4, 5)), {"rank": 13}, UsageError, "between 1 and 12"),
        (np.ones((3, 4, 5)), {"rank": 0}, UsageError, "between 1 and 12"),
        (np.ones(5), {"rank": 1}, DataError, "two modes"),
        (-np.ones((3, 4, 5)), {"rank": 1}, DataError, "not negative"),
        (np.full((3, 4, 5), np.nan), {"rank": 1}, DataError, "weight of 0"),
        (np.zeros((3, 4, 5)), {"rank": 1}, DataError, "nothing to decompose"),
        (np.ones((3, 4, 5)), {"rank": 1, "weights": np.ones((3, 4))}, UsageError, "tensor's shape"),
        (np.ones((3, 4, 5)), {"rank": 1, "weights": -np.ones((3, 4, 5))}, DataError, "not negative"),
        (np.ones((3, 4, 5)), {"rank": 1, "weights": np.eye(3, 4)[:, :, None]}, DataError, "no observed entry"),
        (np.ones((3, 4, 5)), {"rank": 1, "init": [np.ones((3, 1))]}, UsageError, "shapes"),
        (np.ones((3, 4, 5)), {"rank": 1, "fixed": (0,)}, UsageError, "init"),
        (np.array([["a"]]), {"rank": 1}, DataError, "numbers"),
        (Blocks((3, 4, 5), lambda a, b: np.ones((3, 4)), 2), {"rank": 1}, DataError, "block from 0 to 2"),
    ],
)
def test_what_cannot_be_decomposed(tensor, arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        nonnegative_cp(tensor, **arguments)
    assert str(caught.value).count(". ") == 0


def test_matching_undoes_order_and_scale():
    rng = np.random.default_rng(0)
    a = rng.random((20, 4))
    shuffled = rng.permutation(4)
    order, cosine = match_factors(a, 3.0 * a[:, shuffled])
    assert np.array_equal(shuffled[order], np.arange(4))
    np.testing.assert_allclose(cosine, 1.0)
    with pytest.raises(UsageError, match="larger set second"):
        match_factors(a, a[:, :2])
    np.testing.assert_allclose(stability([[a, a], [a[:, ::-1], a[:, ::-1]]]), 1.0)
    with pytest.raises(UsageError, match="two starts"):
        stability([[a]])
    # what is unstable is passed over, even before the bend
    assert choose_rank([1, 2, 3, 4], [0.9, 0.5, 0.2, 0.19], [1.0, 0.9, 0.4, 0.2]) == 2


def test_starts_in_threads_come_out_alike():
    tensor = np.random.default_rng(3).random((12, 9, 30))
    one, two = (nonnegative_cp_starts(tensor, 3, 4, random_state=0, n_jobs=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.errors, b.errors)
        np.testing.assert_array_equal(a.factors[2], b.factors[2])
