"""Resting EEG together with the haemodynamic responses of four regions to its rhythms.

Five slow latent states drive the rhythms of the EEG, each by its amplitude exp(0.6 z): two occipital rhythms 2 Hz apart, frontal
theta, a central 20 Hz rhythm, and the rate of short 26 Hz bursts. Every region follows a weighted sum of the states, convolved with
the subject's haemodynamic response, plus 1/f noise: the first needs fine frequency resolution (a difference of the two occipital
rhythms), the second theta and beta, the third fine time resolution (bursts), the fourth all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64
from numpy import ndarray
from numpy.random import Generator
from scipy.signal import fftconvolve

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.signal.hrf import double_gamma_hrf
from neuropil.signal.montage import channel_names, montage_1010
from neuropil.signal.noise import narrow_band_noise, power_law_noise
from neuropil.simulate.eeg.artefacts import ArtefactMasks, add_artefacts, apply_gains
from neuropil.simulate.eeg.head import Dipoles, cortical_dipoles, rotate_cap, unit_leadfield
from neuropil.simulate.eeg.ongoing import Head, draw_head, ongoing_activity
from neuropil.simulate.eeg.params import SimParams, check_counts, check_rate, check_seed, generator, provenance
from neuropil.streams import regular_stream

LATENTS = ("occipital_low", "occipital_high", "frontal_theta", "central_beta", "burst_rate")
LATENT_SITES = [(80.0, -90.0), (46.0, 90.0), (10.0, 90.0), (46.0, -90.0)]
SITE_OF_LATENT = (0, 0, 1, 2, 3)
REGIONS = ("region_1", "region_2", "region_3", "region_4")
WEIGHTS = (
    (-1.0, 1.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, 0.6, -0.8, 0.0),
    (0.0, 0.0, 0.0, 0.0, 1.0),
    (-0.6, -0.2, 0.5, -0.4, 0.3),
)
LATENT_BAND = (0.01, 0.12)
LOG_GAIN, BURST_LOG_GAIN, BURST_RATE = 0.6, 0.9, 0.6
BURST_HZ, BURST_S = 26.0, 0.35
OCCIPITAL_STEP, RHYTHM_WIDTH = 2.0, 1.0
TR = 2.0
HRF_PEAK = (4.6, 6.2)
HISTORY = 32.0
MIN_VOLUMES = 30


@dataclass(frozen=True)
class EegBoldTruth:
    """What generated one simultaneous EEG-BOLD scan.

    Attributes
    ----------
    subject, session : str
        As in the recording.
    latents : tuple of str
        Names of the five latent states.
    states : ndarray of shape (n_times, 5)
        Latent states z at the rate of the EEG, of unit variance.
    frequencies : ndarray of shape (5,)
        Frequencies of the rhythms that they drive, in Hz.
    burst_onsets : ndarray of shape (n_bursts,)
        Beginnings of the bursts in s.
    hrf_peak : float
        Peak of the subject's haemodynamic response in s.
    hrf : ndarray of shape (n_lags,)
        The response at the rate of the EEG, of unit sum.
    weights : ndarray of shape (4, 5)
        Weight of every state in every region.
    bold_clean : ndarray of shape (n_volumes, 4)
        Regions without noise, of unit variance.
    bold_ceiling : float
        Correlation of a region with its noise-free course that the noise allows, SNR / sqrt(SNR^2 + 1).
    source_positions, source_orientations : ndarray of shape (4, 3)
        Occipital, frontal, central and parietal source, in m and as unit vectors.
    leadfields : ndarray of shape (n_channels, 4)
        Their topographies, of unit root mean square over channels.
    head : Head
        The subject.
    sensors : ndarray of shape (n_channels, 3)
        True positions of the electrodes in this scan in m.
    artefacts : ArtefactMasks
        Samples with blinks, eye movements, muscle bursts.
    gains : ndarray of shape (n_channels,)
        Gains of the channels.
    """

    subject: str
    session: str
    latents: tuple[str, ...]
    states: Float32[ndarray, "time latent"]
    frequencies: Float64[ndarray, " latent"]
    burst_onsets: Float64[ndarray, " burst"]
    hrf_peak: float
    hrf: Float64[ndarray, " lag"]
    weights: Float64[ndarray, "region latent"]
    bold_clean: Float64[ndarray, "volume region"]
    bold_ceiling: float
    source_positions: Float64[ndarray, "source 3"]
    source_orientations: Float64[ndarray, "source 3"]
    leadfields: Float64[ndarray, "channel source"]
    head: Head
    sensors: Float64[ndarray, "channel 3"]
    artefacts: ArtefactMasks
    gains: Float64[ndarray, " channel"]


@dataclass(frozen=True)
class _Subject:
    head: Head
    dipoles: Dipoles
    f_occipital: float
    hrf_peak: float


def _bursts(rng: Generator, state: ndarray, sfreq: float) -> tuple[ndarray, ndarray]:
    """26 Hz bursts of 0.35 s at the rate 0.6 exp(0.9 z) a second, of unit SD, and the samples at which they begin."""
    counts = rng.poisson(BURST_RATE * np.exp(BURST_LOG_GAIN * state) / sfreq)
    starts = np.repeat(np.arange(len(state)), counts)
    impulses = np.zeros(len(state), dtype=complex)
    np.add.at(impulses, starts, np.exp(2j * np.pi * rng.random(len(starts))))
    n_burst = max(3, round(BURST_S * sfreq))
    envelope = np.sin(np.pi * (np.arange(n_burst) + 0.5) / n_burst) ** 2
    carrier = np.exp(2j * np.pi * BURST_HZ * np.arange(len(state)) / sfreq)
    course = (fftconvolve(impulses, envelope)[: len(state)] * carrier).real
    return course / course.std(), starts


def _regions(
    rng: Generator, states: ndarray, hrf: ndarray, first: int, n_volumes: int, tr: float, sfreq: float, snr: float
) -> tuple[ndarray, ndarray]:
    """Region courses with and without noise at the volumes, both (volume, region); `first` is the sample of the first volume."""
    driven = fftconvolve(states, hrf[:, None], axes=0)[: len(states)] @ np.array(WEIGHTS).T
    samples = first + np.round(np.arange(n_volumes) * tr * sfreq).astype(int)
    clean = driven[samples]
    clean = (clean - clean.mean(axis=0)) / clean.std(axis=0)
    noise = power_law_noise(rng, np.ones(len(REGIONS)), n_volumes, 1 / tr, low=1 / (n_volumes * tr)).T
    return clean, clean + noise / snr


def _simulate_session(
    rng: Generator,
    subject: _Subject,
    labels: tuple[str, str],
    ch_names: list[str],
    n_volumes: int,
    tr: float,
    sfreq: float,
    seed: int,
    params: SimParams,
) -> tuple[Recording, EegBoldTruth]:
    sensors = rotate_cap(rng, subject.head.sensors, params.sess_deg)
    first, n_times = round(HISTORY * sfreq), round(n_volumes * tr * sfreq)
    states = power_law_noise(
        rng, np.ones(len(LATENTS)), first + n_times, sfreq, low=LATENT_BAND[0], high=LATENT_BAND[1]
    ).T
    f_low = subject.f_occipital
    frequencies = np.array([f_low, f_low + OCCIPITAL_STEP, 6.0, 20.0, BURST_HZ])
    rhythms = narrow_band_noise(rng, frequencies[:4], RHYTHM_WIDTH, first + n_times, sfreq).T
    bursts, burst_starts = _bursts(rng, states[:, 4].astype(float), sfreq)
    activity = np.concatenate([rhythms * np.exp(LOG_GAIN * states[:, :4]), bursts[:, None]], axis=1)[first:]
    leadfields = unit_leadfield(sensors, subject.dipoles)
    mixing = params.rhythm_uV * leadfields[:, SITE_OF_LATENT]
    hrf = double_gamma_hrf(sfreq, subject.hrf_peak)
    clean, bold = _regions(rng, states, hrf, first, n_volumes, tr, sfreq, params.bold_snr)

    data = ongoing_activity(rng, subject.head, sensors, n_times, sfreq, params)
    data += (activity @ mixing.T).astype(np.float32)
    masks = add_artefacts(rng, data, sensors, sfreq, params)
    gains = apply_gains(rng, data, params.gain_sd)

    eeg = regular_stream(data, sfreq, channels=ch_names, kind="eeg", unit="uV", positions=montage_1010(ch_names))
    regions = regular_stream(bold.astype(np.float32), 1 / tr, channels=REGIONS, kind="bold", unit="z", modality="fmri")
    volumes = np.arange(n_volumes)
    events = pd.DataFrame({"onset": volumes * tr, "duration": tr, "label": "volume", "volume": volumes})
    recording = Recording(
        {"eeg": eeg, "bold": regions},
        events,
        subject=labels[0],
        session=labels[1],
        dataset="simulated EEG-BOLD",
        info=provenance("simulate_eeg_bold", seed, params),
    )
    truth = EegBoldTruth(
        subject=labels[0],
        session=labels[1],
        latents=LATENTS,
        states=states[first:],
        frequencies=frequencies,
        burst_onsets=(burst_starts[burst_starts >= first] - first) / sfreq,
        hrf_peak=subject.hrf_peak,
        hrf=hrf,
        weights=np.array(WEIGHTS),
        bold_clean=clean,
        bold_ceiling=float(params.bold_snr / np.hypot(params.bold_snr, 1)),
        source_positions=subject.dipoles.positions,
        source_orientations=subject.dipoles.orientations,
        leadfields=leadfields,
        head=subject.head,
        sensors=sensors,
        artefacts=masks,
        gains=gains,
    )
    return recording, truth


def simulate_eeg_bold(
    n_subjects: int = 8,
    n_sessions: int = 1,
    n_volumes: int = 300,
    ch_names: str | Sequence[str] = "bold10",
    sfreq: float = 64.0,
    seed: int = 0,
    tr: float = TR,
    preset: str = "default",
    **params: Any,
) -> tuple[list[Recording], list[EegBoldTruth]]:
    """Resting EEG and the BOLD signal of four regions that follow its rhythms, with known states and responses.

    Parameters
    ----------
    n_subjects, n_sessions : int
        Subjects, and scans of every subject; the first ones do not change when there are more.
    n_volumes : int
        Volumes of a scan.
    ch_names : str or sequence of str
        A montage ("bold10", "neurobolt", "bci2a" ...) or electrodes of the 10-10 system.
    sfreq : float
        Sampling rate of the EEG in Hz.
    seed : int
        Everything random follows from it.
    tr : float
        Time between volumes in s.
    preset : str
        "easy", "default", "hard" or "null"; the effects of the classes do not matter here.
    **params
        Single values of `SimParams` to change; the posterior alpha rhythm, which no state drives, is off (`alpha_uV=0`) unless given.

    Returns
    -------
    recordings : list of Recording
        One a scan; streams "eeg" (µV) and "bold" (volumes x 4 regions, in units of the SD of the noise-free course), one event
        "volume" a volume.
    truths : list of EegBoldTruth
        What generated each of them.

    Raises
    ------
    UsageError
        If a name is unknown, a number makes no sense, or a scan has fewer than 30 volumes.

    Examples
    --------
    >>> recordings, truths = simulate_eeg_bold(n_subjects=1, n_volumes=60)
    >>> dict(recordings[0].stream("bold").sizes), truths[0].bold_clean.shape
    ({'time': 60, 'channel': 4}, (60, 4))
    """
    check_counts(n_subjects=n_subjects, n_sessions=n_sessions, n_volumes=n_volumes)
    if n_volumes < MIN_VOLUMES or not tr > 0:
        raise UsageError(
            f"A scan needs at least {MIN_VOLUMES} volumes and a positive tr, got {n_volumes} and tr={tr!r}."
        )
    check_rate(sfreq, 30.0)
    seed, names = check_seed(seed), channel_names(ch_names)
    settings = SimParams.preset(preset, **({"alpha_uV": 0.0} | params))
    recordings, truths = [], []
    for number in range(n_subjects):
        rng = generator(seed, number)
        head = draw_head(rng, names, settings)
        dipoles = cortical_dipoles(rng, LATENT_SITES)
        subject = _Subject(head, dipoles, float(rng.uniform(8.8, 9.4)), float(rng.uniform(*HRF_PEAK)))
        for session in range(n_sessions):
            labels = (f"{number + 1:02d}", f"{session + 1:02d}")
            recording, truth = _simulate_session(
                generator(seed, number, session), subject, labels, names, n_volumes, tr, sfreq, seed, settings
            )
            recordings.append(recording)
            truths.append(truth)
    return recordings, truths
