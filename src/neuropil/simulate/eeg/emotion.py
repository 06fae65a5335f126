"""Emotion: states that change the power of rhythms while a stimulus is watched.

Every trial is a baseline followed by a stimulus, in one of two states ("low" and "high"). Six sources carry a rhythm: alpha under F3,
F4 and Pz, gamma (38 Hz) under T7 and T8, theta under Fz. The state acts in one of two ways, or in both:

- *marginal*: the log-amplitudes change by +-eff x (-1, 1, 0.8, 0.8, 0, 0.4), a frontal alpha asymmetry and a gamma gain;
- *interaction*: the log-gains of T7 and T8 are inter x (q, q s) with a random sign q a trial and s = +1 in the state "high", -1 in
  "low": the two move together or in opposition, and neither says anything by itself.

All sources, those of the background too, also drift in log-amplitude from trial to trial, whatever the state: windows of one trial
resemble each other, so that a split that does not keep trials together measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from numpy import ndarray
from numpy.random import Generator

from neuropil.recording import Recording
from neuropil.signal.montage import channel_names, montage_1010
from neuropil.signal.noise import narrow_band_noise
from neuropil.simulate.eeg.artefacts import ArtefactMasks, add_artefacts, apply_gains
from neuropil.simulate.eeg.head import Dipoles, cortical_dipoles, rotate_cap, unit_leadfield
from neuropil.simulate.eeg.ongoing import ALPHA_SITES, Head, draw_head, ongoing_activity
from neuropil.simulate.eeg.params import (
    SimParams,
    check_balance,
    check_counts,
    check_rate,
    check_seed,
    generator,
    provenance,
)
from neuropil.simulate.eeg.schedule import draw_schedule, sum_of_windows
from neuropil.streams import regular_stream

STATES = ("low", "high")
EMOTION_SOURCES = ("F3", "F4", "T7", "T8", "Pz", "Fz")
EMOTION_SITES = [(60.0, 130.0), (60.0, 50.0), (88.0, 180.0), (88.0, 0.0), (46.0, -90.0), (46.0, 90.0)]
MARGINAL_WEIGHTS = (-1.0, 1.0, 0.8, 0.8, 0.0, 0.4)
TEMPORAL = (2, 3)
THETA, GAMMA = 6.0, 38.0
WIDTHS = (2.0, 2.0, 8.0, 8.0, 2.0, 2.0)


@dataclass(frozen=True)
class EmotionTruth:
    """What generated one session of emotional states.

    Attributes
    ----------
    subject, session : str
        As in the recording.
    sources : tuple of str
        Electrodes above the six sources.
    source_positions, source_orientations : ndarray of shape (6, 3)
        In m and as unit vectors.
    frequencies : ndarray of shape (6,)
        Frequencies of the rhythms in Hz.
    leadfields : ndarray of shape (n_channels, 6)
        Topographies of unit root mean square over channels, before the channel gains.
    head : Head
        The subject.
    sensors : ndarray of shape (n_channels, 3)
        True positions of the electrodes in this session in m.
    labels : ndarray of shape (n_trials,)
        State of every trial, "low" or "high".
    state_gains : ndarray of shape (n_trials, 6)
        Log-gain of every source during the stimulus that comes from the state.
    drift : ndarray of shape (n_trials, 6)
        Log-gain of every source during baseline and stimulus, whatever the state.
    background_drift : ndarray of shape (n_trials, n_bg + 4)
        The same for the sources of the background and of the posterior alpha rhythm.
    interaction_sign : ndarray of shape (n_trials,)
        The sign q of T7's gain in the interaction.
    artefacts : ArtefactMasks
        Samples with blinks, eye movements, muscle bursts.
    gains : ndarray of shape (n_channels,)
        Gains of the channels.
    """

    subject: str
    session: str
    sources: tuple[str, ...]
    source_positions: Float64[ndarray, "source 3"]
    source_orientations: Float64[ndarray, "source 3"]
    frequencies: Float64[ndarray, " source"]
    leadfields: Float64[ndarray, "channel source"]
    head: Head
    sensors: Float64[ndarray, "channel 3"]
    labels: ndarray
    state_gains: Float64[ndarray, "trial source"]
    drift: Float64[ndarray, "trial source"]
    background_drift: Float64[ndarray, "trial background"]
    interaction_sign: Int[ndarray, " trial"]
    artefacts: ArtefactMasks
    gains: Float64[ndarray, " channel"]


def _amplitudes(log_gains: ndarray, starts: ndarray, stops: ndarray, n_times: int, sfreq: float) -> ndarray:
    """Factor on the amplitude of every source over time: exp(log-gain) inside the trials' windows, 1 outside."""
    return np.exp(sum_of_windows(log_gains, starts, stops, n_times, sfreq))


def _simulate_session(
    rng: Generator,
    head: Head,
    dipoles: Dipoles,
    labels: tuple[str, str],
    ch_names: list[str],
    n_trials: int,
    sfreq: float,
    seed: int,
    params: SimParams,
) -> tuple[Recording, EmotionTruth]:
    sensors = rotate_cap(rng, head.sensors, params.sess_deg)
    trial_s = params.baseline_s + params.stimulus_s
    onsets, states, n_times = draw_schedule(rng, n_trials, len(STATES), trial_s, params.breaks, sfreq)
    signs = rng.choice([-1, 1], n_trials)
    drift = params.drift * rng.standard_normal((n_trials, len(EMOTION_SOURCES)))
    background_drift = params.drift * rng.standard_normal((n_trials, params.n_bg + len(ALPHA_SITES)))
    state_sign = 2 * states - 1
    state_gains = params.eff * np.outer(state_sign, MARGINAL_WEIGHTS)
    state_gains[:, TEMPORAL] += params.inter * np.stack([signs, signs * state_sign], axis=1)

    stimulus, stops = onsets + params.baseline_s, onsets + trial_s
    frequencies = np.array([head.f_alpha, head.f_alpha, GAMMA, GAMMA, head.f_alpha, THETA])
    rhythms = narrow_band_noise(rng, frequencies, WIDTHS, n_times, sfreq)
    activity = np.float32(params.rhythm_uV) * rhythms.T
    activity *= _amplitudes(drift, onsets, stops, n_times, sfreq) * _amplitudes(
        state_gains, stimulus, stops, n_times, sfreq
    )
    leadfields = unit_leadfield(sensors, dipoles)
    background_gains = _amplitudes(background_drift, onsets, stops, n_times, sfreq)
    data = ongoing_activity(rng, head, sensors, n_times, sfreq, params, background_gains)
    data += activity @ leadfields.T.astype(np.float32)
    masks = add_artefacts(rng, data, sensors, sfreq, params)
    gains = apply_gains(rng, data, params.gain_sd)

    trial_labels = np.array(STATES, dtype=object)[states]
    baselines = pd.DataFrame({"onset": onsets, "duration": params.baseline_s, "label": "baseline"})
    stimuli = pd.DataFrame({"onset": stimulus, "duration": params.stimulus_s, "label": trial_labels})
    events = pd.concat([table.assign(trial=np.arange(n_trials)) for table in (baselines, stimuli)])
    eeg = regular_stream(data, sfreq, channels=ch_names, kind="eeg", unit="uV", positions=montage_1010(ch_names))
    recording = Recording(
        {"eeg": eeg},
        events.sort_values("onset", kind="stable"),
        subject=labels[0],
        session=labels[1],
        dataset="simulated emotion",
        info=provenance("simulate_emotion", seed, params),
    )
    truth = EmotionTruth(
        subject=labels[0],
        session=labels[1],
        sources=EMOTION_SOURCES,
        source_positions=dipoles.positions,
        source_orientations=dipoles.orientations,
        frequencies=frequencies,
        leadfields=leadfields,
        head=head,
        sensors=sensors,
        labels=trial_labels,
        state_gains=state_gains,
        drift=drift,
        background_drift=background_drift,
        interaction_sign=signs,
        artefacts=masks,
        gains=gains,
    )
    return recording, truth


def simulate_emotion(
    n_subjects: int = 4,
    n_sessions: int = 1,
    n_trials: int = 24,
    ch_names: str | Sequence[str] = "deap",
    sfreq: float = 128.0,
    seed: int = 0,
    preset: str = "default",
    **params: Any,
) -> tuple[list[Recording], list[EmotionTruth]]:
    """Continuous EEG of people in one of two emotional states a trial, with known effects.

    Parameters
    ----------
    n_subjects, n_sessions : int
        Subjects, and sessions of every subject; the first ones do not change when there are more.
    n_trials : int
        Trials of a session, half of them in each state, shuffled.
    ch_names : str or sequence of str
        A montage ("bci2a", "deap", "seed", "neurobolt", "bold10") or electrodes of the 10-10 system.
    sfreq : float
        Sampling rate in Hz.
    seed : int
        Everything random follows from it.
    preset : str
        "easy", "default", "hard" or "null" (no information about the state).
    **params
        Single values of `SimParams` to change: `eff` sets the marginal effect, `inter` the interaction (`eff=0, inter=0.6` is the
        interaction alone), `drift` the class-free change between trials, `baseline_s` and `stimulus_s` the trial.

    Returns
    -------
    recordings : list of Recording
        One a subject and session; stream "eeg" in µV. Each trial has an event "baseline" and, right after it, an event "low" or
        "high" for the stimulus; the column `trial` joins them.
    truths : list of EmotionTruth
        What generated each of them.

    Raises
    ------
    UsageError
        If a name is unknown, a number makes no sense, or there are fewer than two trials.

    Examples
    --------
    >>> recordings, truths = simulate_emotion(n_subjects=1, n_trials=2, stimulus_s=4.0)
    >>> recordings[0].events[["duration", "trial"]].values.tolist()
    [[3.0, 0.0], [4.0, 0.0], [3.0, 1.0], [4.0, 1.0]]
    """
    check_counts(n_subjects=n_subjects, n_sessions=n_sessions, n_trials=n_trials)
    check_balance(n_trials, STATES)
    check_rate(sfreq, 45.0)
    seed, names, settings = check_seed(seed), channel_names(ch_names), SimParams.preset(preset, **params)
    recordings, truths = [], []
    for number in range(n_subjects):
        rng = generator(seed, number)
        head = draw_head(rng, names, settings)
        dipoles = cortical_dipoles(rng, EMOTION_SITES)
        for session in range(n_sessions):
            labels = (f"{number + 1:02d}", f"{session + 1:02d}")
            recording, truth = _simulate_session(
                generator(seed, number, session), head, dipoles, labels, names, n_trials, sfreq, seed, settings
            )
            recordings.append(recording)
            truths.append(truth)
    return recordings, truths
