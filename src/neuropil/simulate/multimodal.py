"""Neurons and images that share one of three smooth latents.

In every trial three independent Gaussian processes run: one only neurons follow, one both follow, one only images follow. Images show, in
every bin another, handwritten threes, turned by the shared latent and enlarged by that of the images alone; so what a latent changes is
small beside what changes by itself. Neurons fire Poisson counts whose log-rates are linear in their two latents.

The design follows the simulation of Gondur, Sikandar, Schaffer, Aoi & Keeley (2024), Multi-modal Gaussian process variational
autoencoders for neural and behavioral data, ICLR; its digits are those of scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.random import Generator, default_rng
from scipy.linalg import cholesky
from scipy.ndimage import map_coordinates, zoom
from sklearn.datasets import load_digits

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.streams import regular_stream

VARIANCES = (0.5, 0.3, 0.2)
DEGREES = 120.0
ENLARGEMENT, SMALLEST, LARGEST = 0.6, 0.5, 1.8
SIZE = 24


class MultimodalTrials(NamedTuple):
    """Trials of two modalities, and the truth behind them.

    Attributes
    ----------
    counts : ndarray of int, shape (n_trials, n_times, n_neurons)
        Spikes a bin.
    images : ndarray of shape (n_trials, n_times, 24 * 24)
        Brightness between 0 and 1, row after row.
    latents : ndarray of shape (n_trials, n_times, 3)
        Of neurons alone, shared, of images alone.
    rates : ndarray of shape (n_trials, n_times, n_neurons)
        Expected spikes a bin.
    loadings : ndarray of shape (n_neurons, 2)
        Of the first two latents.
    biases : ndarray of shape (n_neurons,)
    angles, zooms : ndarray of shape (n_trials, n_times)
        Turn in degrees, anticlockwise, and enlargement of every image.
    """

    counts: Int[ndarray, "trial time neuron"]
    images: Float[ndarray, "trial time pixel"]
    latents: Float[ndarray, "trial time 3"]
    rates: Float[ndarray, "trial time neuron"]
    loadings: Float[ndarray, "neuron 2"]
    biases: Float[ndarray, " neuron"]
    angles: Float[ndarray, "trial time"]
    zooms: Float[ndarray, "trial time"]

    def take(self, trials: slice) -> MultimodalTrials:
        """Some of the trials."""
        per_trial = {"counts", "images", "latents", "rates", "angles", "zooms"}
        return self._replace(**{name: getattr(self, name)[trials] for name in per_trial})

    def recording(self, bin_width: float = 0.02) -> Recording:
        """A recording with the streams "spikes" (counts a bin) and "behaviour" (images); events are trials, `bin_width` in s."""
        if not bin_width > 0:
            raise UsageError(f"bin_width must be a positive number of seconds, got {bin_width}.")
        n_trials, n_times, _ = self.counts.shape
        length = n_times * bin_width
        events = pd.DataFrame(
            {
                "onset": np.arange(n_trials) * length,
                "duration": length,
                "label": "trial",
                "trial": np.arange(n_trials),
            }
        )
        counts, images = (values.reshape(n_trials * n_times, -1) for values in (self.counts, self.images))
        return Recording(
            {
                "spikes": regular_stream(counts, 1 / bin_width, kind="misc", unit="count", modality="spikes"),
                "behaviour": regular_stream(images, 1 / bin_width, kind="misc", unit="1", modality="behaviour"),
            },
            events,
        )


def smooth_paths(
    n_paths: int,
    n_times: int,
    lengthscale: float,
    *,
    variance: float = 1.0,
    random_state: int | Generator | None = None,
) -> Float[ndarray, "path time"]:
    """Draws of a Gaussian process with squared-exponential kernel on a line.

    Parameters
    ----------
    n_paths, n_times : int
    lengthscale : float
        In bins.
    variance : float, default 1.0
    random_state : int, Generator or None

    Examples
    --------
    >>> smooth_paths(3, 60, 10.0, random_state=0).shape
    (3, 60)
    """
    if n_paths < 1 or n_times < 1 or not lengthscale > 0 or not variance > 0:
        raise UsageError(
            "Smooth paths need one path and one bin or more, a positive length-scale and a positive variance; got "
            f"{n_paths}, {n_times}, {lengthscale} and {variance}."
        )
    steps = np.subtract.outer(np.arange(n_times), np.arange(n_times))
    kernel = np.exp(-0.5 * (steps / lengthscale) ** 2) + 1e-9 * np.eye(n_times)
    draws = default_rng(random_state).standard_normal((n_paths, n_times))
    return np.sqrt(variance) * draws @ cholesky(kernel, lower=True).T


def turn_and_zoom(
    images: Float[ndarray, "image row column"], angles: Float[ndarray, " image"], zooms: Float[ndarray, " image"]
) -> Float[ndarray, "image row column"]:
    """Every image turned by its angle (degrees, anticlockwise) and enlarged about its centre, with linear interpolation; 0 from outside.

    Examples
    --------
    >>> bar = np.zeros((1, 5, 5)); bar[0, 2] = 1
    >>> turn_and_zoom(bar, np.array([90.0]), np.array([1.0]))[0, :, 2].round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    n_images, n_rows, n_columns = images.shape
    if angles.shape != (n_images,) or zooms.shape != (n_images,) or (zooms <= 0).any():
        raise UsageError(
            f"Expected an angle and a positive zoom for each of {n_images} images, got shapes {angles.shape} and {zooms.shape}."
        )
    down = np.arange(n_rows)[:, None] - (n_rows - 1) / 2
    right = np.arange(n_columns) - (n_columns - 1) / 2
    turn = np.radians(angles)[:, None, None]
    cosine, sine = np.cos(turn) / zooms[:, None, None], np.sin(turn) / zooms[:, None, None]
    # where in its original a pixel comes from; rows count downwards, so that anticlockwise is to the viewer's eye
    rows = cosine * down + sine * right + (n_rows - 1) / 2
    columns = -sine * down + cosine * right + (n_columns - 1) / 2
    which = np.broadcast_to(np.arange(n_images)[:, None, None], rows.shape)
    return map_coordinates(images, [which, rows, columns], order=1, mode="constant")


def simulate_multimodal(
    n_trials: int = 150,
    n_times: int = 60,
    n_neurons: int = 60,
    *,
    lengthscale: float = 10.0,
    random_state: int | Generator | None = None,
) -> MultimodalTrials:
    """Trials of neurons and images with one latent of neurons, one of both, one of images.

    Parameters
    ----------
    n_trials, n_times, n_neurons : int
    lengthscale : float, default 10.0
        Of the latents, in bins. Their variances are 0.5, 0.3 and 0.2.
    random_state : int, Generator or None

    Returns
    -------
    MultimodalTrials

    Examples
    --------
    >>> trials = simulate_multimodal(2, 20, 5, random_state=0)
    >>> trials.counts.shape, trials.images.shape
    ((2, 20, 5), (2, 20, 576))
    """
    if n_neurons < 1:
        raise UsageError(f"A population needs one neuron or more, got {n_neurons}.")
    rng = default_rng(random_state)
    latents = np.stack(
        [smooth_paths(n_trials, n_times, lengthscale, variance=v, random_state=rng) for v in VARIANCES], axis=2
    )
    loadings, biases = 1.5 * rng.uniform(-1, 1, (n_neurons, 2)), 0.5 * rng.uniform(-1, 1, n_neurons)
    rates = np.exp(latents[..., :2] @ loadings.T + biases)
    angles = DEGREES * latents[..., 1]
    zooms = np.clip(1 + ENLARGEMENT * latents[..., 2], SMALLEST, LARGEST)
    threes = _threes()
    images = np.empty((n_trials, n_times, SIZE * SIZE))
    for trial in range(n_trials):  # a trial at a time, so that coordinates stay small
        chosen = threes[rng.integers(len(threes), size=n_times)]
        images[trial] = turn_and_zoom(chosen, angles[trial], zooms[trial]).reshape(n_times, -1)
    return MultimodalTrials(rng.poisson(rates), images, latents, rates, loadings, biases, angles, zooms)


def _threes() -> Float[ndarray, "image 24 24"]:
    """Every three among scikit-learn's digits, of twice the size, with a black margin."""
    digits = load_digits()
    doubled = zoom(digits.images[digits.target == 3] / 16, (1, 2, 2), order=1)
    margin = (SIZE - doubled.shape[1]) // 2
    return np.pad(doubled, ((0, 0), (margin, margin), (margin, margin)))
