"""A simulated head and what it does all the time: 1/f background and posterior alpha."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from numpy.random import Generator

from neuropil.signal.montage import montage_1010
from neuropil.signal.noise import narrow_band_noise, power_law_noise
from neuropil.simulate.eeg.head import (
    HEAD_RADIUS,
    Dipoles,
    cortical_dipoles,
    random_directions,
    rotate_cap,
    sphere_leadfield,
)
from neuropil.simulate.eeg.params import SimParams

ALPHA_SITES = [(85.0, -70.0), (85.0, -110.0), (65.0, -70.0), (65.0, -110.0)]
EXPONENTS = (0.8, 1.6)
LOWEST_DIRECTION = -0.35


@dataclass(frozen=True)
class Head:
    """A subject: the electrodes as the cap really sits, the own rhythms, and the sources of the ongoing activity.

    Attributes
    ----------
    sensors : ndarray of shape (n_channels, 3)
        True positions of the electrodes in m.
    f_mu, f_beta, f_alpha : float
        Frequencies of the subject's rhythms in Hz.
    background : Dipoles
        Sources of the 1/f background.
    background_amplitudes, background_exponents : ndarray of shape (n_bg,)
        Relative amplitudes of these sources and the exponents b of their 1 / f^b power spectra.
    alpha : Dipoles
        The four sources of the posterior alpha rhythm.
    """

    sensors: Float64[ndarray, "channel 3"]
    f_mu: float
    f_beta: float
    f_alpha: float
    background: Dipoles
    background_amplitudes: Float64[ndarray, " source"]
    background_exponents: Float64[ndarray, " source"]
    alpha: Dipoles


def draw_head(rng: Generator, ch_names: list[str], params: SimParams) -> Head:
    """Draw a subject's head: cap, frequencies, background and alpha sources, in this order."""
    sensors = rotate_cap(rng, montage_1010(ch_names), params.cap_deg)
    f_mu, f_beta, f_alpha = rng.uniform(9.0, 12.5), rng.uniform(18.0, 24.0), rng.uniform(8.5, 11.5)
    directions = random_directions(rng, params.n_bg, LOWEST_DIRECTION)
    background = Dipoles(
        HEAD_RADIUS * rng.uniform(0.5, 0.85, (params.n_bg, 1)) * directions, random_directions(rng, params.n_bg)
    )
    amplitudes = np.exp(0.6 * rng.standard_normal(params.n_bg))
    exponents = rng.uniform(*EXPONENTS, params.n_bg)
    return Head(sensors, f_mu, f_beta, f_alpha, background, amplitudes, exponents, cortical_dipoles(rng, ALPHA_SITES))


def _scaled(leadfield: ndarray, sources: ndarray, rms_uv: float) -> Float32[ndarray, "time channel"]:
    potential = sources.T @ leadfield.T.astype(np.float32)
    rms = np.sqrt(np.square(potential, dtype=np.float64).mean())
    potential *= np.float32(rms_uv / rms)
    return potential


def ongoing_activity(
    rng: Generator,
    head: Head,
    sensors: ndarray,
    n_times: int,
    sfreq: float,
    params: SimParams,
    gains: ndarray | None = None,
) -> Float32[ndarray, "time channel"]:
    """1/f background and, where `params.alpha_uV` is above zero, the posterior alpha rhythm, in µV.

    Parameters
    ----------
    gains : ndarray of shape (n_times, n_bg + 4), optional
        Amplitude of every background and every alpha source over time.
    """
    n_bg = len(head.background_exponents)
    noise = power_law_noise(rng, head.background_exponents, n_times, sfreq)
    noise *= head.background_amplitudes[:, None].astype(np.float32)
    if gains is not None:
        noise *= gains[:, :n_bg].T
    data = _scaled(sphere_leadfield(sensors, *head.background), noise, params.bg_uV)
    if params.alpha_uV > 0:
        alpha = narrow_band_noise(rng, np.full(len(ALPHA_SITES), head.f_alpha), 2.0, n_times, sfreq)
        if gains is not None:
            alpha *= gains[:, n_bg:].T
        data += _scaled(sphere_leadfield(sensors, *head.alpha), alpha, params.alpha_uV)
    return data
