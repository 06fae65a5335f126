"""What every classical decoder of the registry does alike: labelled windows, saving, repeating, refusing."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil import decoding
from neuropil.decoding.tuned import tuned_linear_baselines
from neuropil.errors import DataError, UsageError
from neuropil.persistence import load_model

CLASSICAL = [entry.slug for entry in decoding.DECODERS if entry.method != "network"]
TUNED = sorted(tuned_linear_baselines())


def make(name):
    if name in TUNED:
        return tuned_linear_baselines(n_folds=3)[name]
    return decoding.make(name)


def windows(n=60, n_classes=2, seed=0):
    """Two things tell the classes apart: a potential in one channel, the power of another."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 5, 150))
    t = np.arange(150) / 125.0
    for k in range(n_classes):
        X[y == k, k] += 0.6 * np.sin(np.pi * t / 1.2)
        X[y == k, k] += 1.5 * np.sin(2 * np.pi * 18 * t + rng.uniform(0, 6, ((y == k).sum(), 1)))
    coords = {
        "label": ("window", np.array(["left", "right", "feet"])[y]),
        "channel": ["C3", "Cz", "C4", "Pz", "Fz"],
        "time": t,
    }
    return xr.DataArray(
        1e-6 * X, dims=("window", "channel", "time"), coords=coords, attrs={"sfreq": 125.0, "unit": "V"}
    )


@pytest.mark.parametrize("name", CLASSICAL + TUNED)
def test_fits_labelled_windows_repeats_and_survives_saving(name, tmp_path):
    X = windows()
    fitted = make(name).fit(X[:40])
    assert fitted.score(X[40:]) > 0.8
    assert fitted.classes_.tolist() == ["left", "right"]
    probability = fitted.predict_proba(X[40:])
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fitted.classes_[probability.argmax(axis=1)], fitted.predict(X[40:]))
    np.testing.assert_array_equal(clone(fitted).fit(X[:40]).predict_proba(X[40:]), probability)
    loaded = load_model(fitted.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(X[40:]), probability)
    np.testing.assert_array_equal(loaded.predict(X[40:41]), fitted.predict(X[40:])[:1])
    assert loaded.get_params().keys() == fitted.get_params().keys()


@pytest.mark.parametrize("name", CLASSICAL + TUNED)
def test_refuses_what_it_was_not_fitted_on_and_what_cannot_be_fitted(name):
    X = windows(30)
    fitted = make(name).fit(X)
    with pytest.raises(DataError, match="another order"):
        fitted.predict(X[:, ::-1])
    with pytest.raises(DataError, match="windows of 150 samples, got 100"):
        fitted.predict(X[..., :100])
    constant = X.copy()
    constant[:, 2] = 1e-6
    with pytest.raises(DataError, match="channel C4 is constant in all 30 windows"):
        make(name).fit(constant)
    with pytest.raises(DataError, match="only one class"):
        make(name).fit(X[:1])


@pytest.mark.parametrize("name", CLASSICAL)
def test_several_classes_in_cross_validation(name):
    X = windows(60, 3)
    assert cross_val_score(make(name), X, X["label"].values, cv=2).mean() > 0.7


def test_grid_search_and_pipelines_take_windows():
    X = windows()
    y = X["label"].values
    search = GridSearchCV(make("csp-lda"), {"n_components": [2, 4]}, cv=2).fit(X, y)
    assert search.best_params_["n_components"] in (2, 4)
    pipeline = make_pipeline(FunctionTransformer(), make("tangent-space"))
    assert cross_val_score(pipeline, X, y, cv=2).mean() > 0.8


def test_windows_alone_know_their_rate():
    X = windows()
    with pytest.raises(UsageError, match="do not know their sampling rate"):
        make("fbcsp").fit(X.values, X["label"].values)
    assert decoding.make("fbcsp", sfreq=125.0).fit(X.values, X["label"].values).predict(X.values).shape == (60,)


def test_the_registry_imports_nothing_heavy_and_finds_every_class():
    code = (
        "import sys, neuropil.decoding as d; assert d.default_decoders(); "
        "print([m for m in ('numpy', 'sklearn', 'torch', 'mne', 'pyriemann') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    for entry in decoding.DECODERS:
        assert entry.load().__name__ == entry.import_path.split(":")[1]
    slugs = [entry.slug for entry in decoding.DECODERS]
    assert len(set(slugs)) == len(slugs)
    assert set(decoding.DEFAULT_DECODERS) <= set(slugs)


def test_defaults_by_signal():
    assert "binned-lda" in decoding.default_decoders("potentials")
    assert "csp-lda" not in decoding.default_decoders("potentials")
    assert set(decoding.default_decoders("oscillations")) >= {"csp-lda", "tangent-space", "auto"}
    assert tuple(decoding.default_decoders()) == decoding.DEFAULT_DECODERS
    with pytest.raises(UsageError, match="'potentials' or 'oscillations', got 'spikes'"):
        decoding.default_decoders("spikes")


def test_make_names_what_it_does_not_know():
    with pytest.raises(UsageError, match="no decoder 'binned_ldaa'; choose 'binned-lda'"):
        decoding.make("binned_ldaa")
    with pytest.raises(UsageError, match="binned-lda has no argument bins; it takes n_bins, shrinkage"):
        decoding.make("binned-lda", bins=3)
