"""Artefacts of a simulated recording: blinks, eye movements, muscle bursts, line and sensor noise, and the channels' gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from numpy.random import Generator

from neuropil.signal.montage import montage_1010, sphere_point
from neuropil.signal.noise import power_law_noise
from neuropil.simulate.eeg.params import SimParams

EYE_SITE = (100.0, 90.0)
CANTHI = ((100.0, 40.0), (100.0, 140.0))
TEMPLES = ((100.0, 15.0), (100.0, 165.0))
EYE_DECAY, EMG_DECAY = 22.0, 25.0


@dataclass(frozen=True)
class ArtefactMasks:
    """True where an artefact is present, one entry a sample."""

    blink: Bool[ndarray, " time"]
    eye: Bool[ndarray, " time"]
    emg: Bool[ndarray, " time"]

    @property
    def any(self) -> Bool[ndarray, " time"]:
        """True where any of the three is present."""
        return self.blink | self.eye | self.emg


def _falloff(sensors: ndarray, site: tuple[float, float], decay: float) -> ndarray:
    """exp(-angle / decay) of every electrode from a site, in degrees."""
    directions = sensors / np.linalg.norm(sensors, axis=1, keepdims=True)
    angles = np.rad2deg(np.arccos(np.clip(directions @ sphere_point(*site), -1, 1)))
    return np.exp(-angles / decay)


def _poisson_times(rng: Generator, rate: float, n_times: int, sfreq: float) -> ndarray:
    """Samples at which events of a Poisson process begin."""
    return np.sort(rng.integers(0, n_times, rng.poisson(rate * n_times / sfreq)))


def _add_shapes(course: ndarray, mask: ndarray, starts: ndarray, shapes: list[ndarray]) -> None:
    for start, shape in zip(starts, shapes, strict=True):
        part = slice(start, min(start + len(shape), len(course)))
        course[part] += shape[: part.stop - start]
        mask[part] = True


def half_sine_squared(seconds: float, sfreq: float) -> Float64[ndarray, " time"]:
    """A blink: one arch of a squared sine, of unit height."""
    n = max(3, round(seconds * sfreq))
    return np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2


def saccade(seconds: float, sfreq: float) -> Float64[ndarray, " time"]:
    """A look to the side and back: a plateau of unit height between two ramps of 40 ms."""
    n = max(3, round(seconds * sfreq))
    time = np.arange(n) / sfreq
    return np.clip(np.minimum(time, time[-1] - time) / 0.04, 0, 1)


def _blinks(rng: Generator, sensors: ndarray, n_times: int, sfreq: float, params: SimParams) -> tuple[ndarray, ndarray]:
    course, mask = np.zeros(n_times), np.zeros(n_times, dtype=bool)
    starts = _poisson_times(rng, params.blink_rate, n_times, sfreq)
    heights = params.blink_uV * np.exp(0.3 * rng.standard_normal(len(starts)))
    lengths = rng.uniform(0.2, 0.4, len(starts))
    shapes = [height * half_sine_squared(length, sfreq) for height, length in zip(heights, lengths, strict=True)]
    _add_shapes(course, mask, starts, shapes)
    at_fpz = _falloff(montage_1010(["Fpz"]), EYE_SITE, EYE_DECAY)
    return np.outer(course, _falloff(sensors, EYE_SITE, EYE_DECAY) / at_fpz), mask


def _eye_movements(
    rng: Generator, sensors: ndarray, n_times: int, sfreq: float, params: SimParams
) -> tuple[ndarray, ndarray]:
    course, mask = np.zeros(n_times), np.zeros(n_times, dtype=bool)
    starts = _poisson_times(rng, params.eye_rate, n_times, sfreq)
    heights = params.eye_uV * rng.choice([-1.0, 1.0], len(starts)) * np.exp(0.3 * rng.standard_normal(len(starts)))
    lengths = rng.uniform(0.3, 1.0, len(starts))
    _add_shapes(course, mask, starts, [h * saccade(s, sfreq) for h, s in zip(heights, lengths, strict=True)])
    right, left = (_falloff(sensors, site, EYE_DECAY) for site in CANTHI)
    return np.outer(course, right - left), mask


def _muscle(rng: Generator, sensors: ndarray, n_times: int, sfreq: float, params: SimParams) -> tuple[ndarray, ndarray]:
    noise = power_law_noise(rng, np.zeros(len(TEMPLES)), n_times, sfreq, low=20.0)
    mask = np.zeros(n_times, dtype=bool)
    total = np.zeros((n_times, len(sensors)))
    for row, site in zip(noise, TEMPLES, strict=True):
        envelope = np.zeros(n_times)
        starts = _poisson_times(rng, params.emg_rate, n_times, sfreq)
        lengths = rng.uniform(0.4, 1.5, len(starts))
        _add_shapes(envelope, mask, starts, [half_sine_squared(length, sfreq) for length in lengths])
        total += np.outer(params.emg_uV * envelope * row, _falloff(sensors, site, EMG_DECAY))
    return total, mask


def add_artefacts(
    rng: Generator, data: Float32[ndarray, "time channel"], sensors: ndarray, sfreq: float, params: SimParams
) -> ArtefactMasks:
    """Add blinks, eye movements, muscle bursts, line and sensor noise to `data` (µV) in place, in this order.

    A blink is a squared half-sine of 0.2 to 0.4 s with a log-normal (0.3) height, and falls off from a point below Fpz as
    exp(-angle / 22 degrees); an eye movement is a plateau of 0.3 to 1 s with opposite signs at the two outer canthi; a muscle burst
    at a temple is noise from 20 Hz upwards under a Hann window of 0.4 to 1.5 s, falling off as exp(-angle / 25 degrees).
    """
    n_times, n_channels = data.shape
    masks = []
    for source in (_blinks, _eye_movements, _muscle):
        potential, mask = source(rng, sensors, n_times, sfreq, params)
        data += potential.astype(np.float32)
        masks.append(mask)
    strengths, phase = params.line_uV * rng.uniform(0.5, 1.5, n_channels), rng.uniform(0, 2 * np.pi)
    if params.line_hz < sfreq / 2:
        line = np.sin(2 * np.pi * params.line_hz * np.arange(n_times) / sfreq + phase)
        data += np.outer(line, strengths).astype(np.float32)
    data += np.float32(params.noise_uV) * rng.standard_normal(data.shape, dtype=np.float32)
    return ArtefactMasks(*masks)


def apply_gains(rng: Generator, data: Float32[ndarray, "time channel"], gain_sd: float) -> Float64[ndarray, " channel"]:
    """Multiply every channel of `data` in place by exp(`gain_sd` N(0, 1)); returns the gains."""
    gains = np.exp(gain_sd * rng.standard_normal(data.shape[1]))
    data *= gains.astype(np.float32)
    return gains
