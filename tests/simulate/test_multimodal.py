"""Trials of neurons and images: the truth is what was asked for, images turn and grow as they should, recordings hold the trials."""

import numpy as np
import pytest
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from neuropil.activity import read_activity
from neuropil.errors import UsageError
from neuropil.simulate.multimodal import simulate_multimodal, smooth_paths, turn_and_zoom


@pytest.fixture(scope="module")
def trials():
    return simulate_multimodal(40, 60, 20, random_state=0)


def test_truth_is_what_made_the_data(trials):
    expected = np.exp(trials.latents[..., :2] @ trials.loadings.T + trials.biases)
    np.testing.assert_allclose(trials.rates, expected)
    np.testing.assert_allclose(trials.angles, 120 * trials.latents[..., 1])
    np.testing.assert_allclose(trials.zooms, np.clip(1 + 0.6 * trials.latents[..., 2], 0.5, 1.8))
    residual = (trials.counts - trials.rates) / np.sqrt(trials.rates)
    assert abs(residual.mean()) < 0.02
    assert residual.var() == pytest.approx(1, abs=0.03)
    assert np.abs(trials.loadings).max() <= 1.5
    assert np.abs(trials.biases).max() <= 0.5


def test_latents_are_smooth_and_independent():
    paths = smooth_paths(4000, 60, 10.0, variance=0.3, random_state=1)
    covariance = paths.T @ paths / len(paths)
    steps = np.subtract.outer(np.arange(60), np.arange(60))
    np.testing.assert_allclose(covariance, 0.3 * np.exp(-0.5 * (steps / 10) ** 2), atol=0.03)
    latents = simulate_multimodal(400, 30, 2, random_state=2).latents.reshape(-1, 3)
    np.testing.assert_allclose(np.cov(latents.T), np.diag([0.5, 0.3, 0.2]), atol=0.06)


def test_turning_is_that_of_scipy_and_zooming_enlarges():
    image = load_digits().images[3][None] / 16
    for angle in (0.0, 30.0, 90.0, -75.0):
        ours = turn_and_zoom(image, np.array([angle]), np.array([1.0]))[0]
        np.testing.assert_allclose(ours, rotate(image[0], angle, reshape=False, order=1), atol=1e-6)
    place = np.arange(24) - 11.5
    spot = np.exp(-np.add.outer(place**2, place**2) / 18)[None]
    for zoom in (0.7, 1.5):
        brightness = turn_and_zoom(spot, np.array([20.0]), np.array([zoom])).sum()
        assert brightness == pytest.approx(spot.sum() * zoom**2, rel=0.02)
    both = turn_and_zoom(np.tile(spot, (2, 1, 1)), np.array([10.0, 50.0]), np.array([1.2, 0.8]))
    np.testing.assert_allclose(both[1], turn_and_zoom(spot, np.array([50.0]), np.array([0.8]))[0])


def test_every_bin_shows_another_three(trials):
    still = np.abs(np.diff(trials.images, axis=1)).mean(axis=2)
    assert still.min() > 0.005
    assert trials.images.min() >= 0
    assert trials.images.max() <= 1


def test_recording_holds_the_trials(trials):
    recording = trials.recording(0.05)
    for stream, values in (("spikes", trials.counts), ("behaviour", trials.images)):
        activity = read_activity(recording, stream=stream)
        assert activity.sfreq == pytest.approx(20)
        np.testing.assert_array_equal(np.stack(activity.sequences), values)
    np.testing.assert_allclose(activity.starts, 3.0 * np.arange(40))


def test_same_seed_same_trials_and_some_of_them(trials):
    again = simulate_multimodal(40, 60, 20, random_state=0)
    for ours, theirs in zip(trials, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    some = trials.take(slice(3, 5))
    np.testing.assert_array_equal(some.images, trials.images[3:5])
    assert some.loadings is trials.loadings


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_multimodal(n_neurons=0), "one neuron or more, got 0"),
        (lambda: simulate_multimodal(0), "one path and one bin or more"),
        (lambda: smooth_paths(1, 10, 0.0), "a positive length-scale"),
        (lambda: turn_and_zoom(np.zeros((1, 3, 3)), np.zeros(1), np.zeros(1)), "a positive zoom for each of 1 images"),
        (lambda: simulate_multimodal(1, 5, 2, random_state=0).recording(0.0), "positive number of seconds"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
