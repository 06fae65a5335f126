"""Classical removal of artefacts: what each method can and cannot do, on mixes with a known truth."""

import numpy as np
import pytest
import xarray as xr

from neuropil.decoding.artefacts import (
    AverageWienerFilter,
    ICARemoval,
    ReferenceRegression,
    WaveletDenoiser,
    segment_rows,
)
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model
from neuropil.signal.mixing import mix


def channels(n=12, n_channels=4, n_times=256, seed=0):
    """Independent super-Gaussian brain sources in all channels, and one artefact with its electrode."""
    rng = np.random.default_rng(seed)
    sources = rng.laplace(size=(n, n_channels - 1, n_times))
    brain = np.einsum("cs,nst->nct", rng.normal(size=(n_channels, n_channels - 1)), sources)
    artefact = rng.laplace(size=(n, 1, n_times)) * 5
    return brain, brain + rng.normal(size=(n_channels, 1)) * artefact, artefact + 0.1 * brain[:, :1]


def error(cleaned, truth):
    return np.sqrt(np.mean((cleaned - truth) ** 2) / np.mean(truth**2))


def test_regression_subtracts_least_squares_weights():
    brain, noisy, electrode = channels()
    both = np.concatenate([noisy, electrode], axis=1)
    model = ReferenceRegression().fit(both)
    cleaned = model.transform(both)
    assert error(cleaned[:, :4], brain) < 0.2 < error(noisy, brain)
    np.testing.assert_array_equal(cleaned[:, 4], both[:, 4])
    centred = (both - both.mean(axis=-1, keepdims=True)).transpose(0, 2, 1).reshape(-1, 5)
    weights = np.linalg.solve(centred[:, 4:].T @ centred[:, 4:], centred[:, 4:].T @ centred[:, :4])
    np.testing.assert_allclose(model.weights_[:, :4], weights)
    residual = (cleaned - cleaned.mean(axis=-1, keepdims=True))[:, :4].transpose(0, 2, 1).reshape(-1, 4)
    assert np.abs(centred[:, 4] @ residual).max() < 1e-6 * len(residual)


def test_components_of_the_artefact_are_left_out():
    brain, noisy, electrode = channels()
    both = np.concatenate([noisy, electrode], axis=1)
    model = ICARemoval(128.0, references=(4,), random_state=0).fit(both)
    assert len(model.excluded_) == 1
    cleaned = model.transform(both)
    assert error(cleaned[:, :4], brain) < 0.2 < error(noisy, brain)
    np.testing.assert_allclose(cleaned[:, 4], both[:, 4])
    np.testing.assert_allclose(cleaned.mean(axis=-1), both.mean(axis=-1), atol=1e-9)
    again = ICARemoval(128.0, references=(4,), random_state=0).fit(1e-6 * both)
    np.testing.assert_allclose(again.projection_, model.projection_, atol=1e-6)


def test_components_with_the_spectrum_of_muscles_are_found_without_references():
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.laplace(size=(10, 3, 512)), axis=-1)
    slow -= slow.mean(axis=-1, keepdims=True)
    slow /= slow.std()
    burst = np.diff(rng.laplace(size=(10, 1, 513)), axis=-1)
    weights = rng.normal(size=(4, 4))
    noisy = np.einsum("cs,nst->nct", weights, np.concatenate([slow, burst], axis=1))
    brain = np.einsum("cs,nst->nct", weights[:, :3], slow)
    cleaned = ICARemoval(256.0, random_state=0).fit_transform(noisy)
    assert error(cleaned, brain) < 0.5 * error(noisy, brain)


def test_wavelets_are_tuned_on_pairs():
    rng = np.random.default_rng(0)
    clean = np.cumsum(rng.normal(size=(40, 256)), axis=1)
    noise = rng.normal(size=(40, 256)) * (1 + 8 * (rng.random((40, 1)) < 0.5))
    noisy = mix(clean, noise, -3.0)
    plain, tuned = WaveletDenoiser().fit(noisy), WaveletDenoiser().fit(noisy, clean)
    assert (plain.levels_, plain.factor_) == (3, 1.0)
    scores = [
        np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, clean, strict=True)])
        for x in (noisy, plain.transform(noisy), tuned.transform(noisy))
    ]
    assert scores[0] < scores[1] <= scores[2]


def test_the_wiener_filter_is_the_best_fixed_filter():
    rng = np.random.default_rng(0)
    clean, noise = np.cumsum(rng.normal(size=(200, 128)), axis=1), rng.normal(size=(200, 128))
    clean -= clean.mean(axis=1, keepdims=True)
    noisy = mix(clean, noise, 0.0)
    wiener = AverageWienerFilter().fit(noisy, clean)
    scale = noisy.std(axis=1, keepdims=True)
    best = np.mean(((wiener.transform(noisy) - clean) / scale) ** 2)
    for change in (0.8, 1.2):
        other = AverageWienerFilter().fit(noisy, clean)
        other.gain_ = wiener.gain_**change
        assert np.mean(((other.transform(noisy) - clean) / scale) ** 2) > best
    assert wiener.gain_.max() <= 1
    np.testing.assert_allclose(AverageWienerFilter().fit(clean, clean).transform(noisy), noisy, atol=1e-9)


@pytest.mark.parametrize("name", ["regression", "ica", "wavelet", "wiener"])
def test_all_keep_units_and_labels_and_survive_saving(name, tmp_path):
    brain, noisy, electrode = channels()
    both = np.concatenate([noisy, electrode], axis=1)
    model = {
        "regression": lambda: ReferenceRegression().fit(both),
        "ica": lambda: ICARemoval(128.0, (4,), random_state=0).fit(both),
        "wavelet": lambda: WaveletDenoiser().fit(both),
        "wiener": lambda: AverageWienerFilter().fit(noisy, brain),
    }[name]()
    X = noisy if name == "wiener" else both
    cleaned = model.transform(X)
    np.testing.assert_allclose(model.transform(1e-6 * X), 1e-6 * cleaned, atol=1e-15)
    labelled = xr.DataArray(
        X, dims=("window", "channel", "time"), coords={"channel": [f"E{k}" for k in range(X.shape[1])]}
    )
    assert model.transform(labelled).identical(labelled.copy(data=cleaned))
    loaded = load_model(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.transform(X), cleaned)


def test_what_does_not_fit():
    brain, noisy, _ = channels()
    with pytest.raises(DataError, match="works across channels"):
        ReferenceRegression().fit(noisy[:, 0])
    with pytest.raises(UsageError, match=r"numbers of the 4 channels, at least one, got \(7,\)"):
        ReferenceRegression((7,)).fit(noisy)
    with pytest.raises(UsageError, match="All channels are references"):
        ReferenceRegression((0, 1, 2, 3)).fit(noisy)
    with pytest.raises(DataError, match="need two channels or more, got 1"):
        ICARemoval(references=(1,)).fit(noisy[:, :2])
    with pytest.raises(DataError, match="fitted on 4 channels, got 3"):
        ReferenceRegression().fit(noisy).transform(noisy[:, :3])
    with pytest.raises(DataError, match="got object of shape"):
        segment_rows(np.array([[None, 1.0]]))
    with pytest.raises(DataError, match="of the shape"):
        AverageWienerFilter().fit(noisy, brain[:2])
