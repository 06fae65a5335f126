"""Motor imagery: rhythms of the sensorimotor areas that weaken while a movement of one body part is imagined.

Five sources carry a mu and a beta rhythm each: the hand areas of the left and the right hemisphere (under C3 and C4), the foot area
(near Cz) and the tongue areas of both sides. During a trial the amplitude of source s falls to 1 - depth x table[class, s], between a
reaction time of 0.3 to 0.8 s after the cue and 0 to 0.4 s after the trial's end (event-related desynchronisation, ERD); in a share
of the trials the subject does nothing. The depth is the subject's skill.

Pfurtscheller & Lopes da Silva (1999). Event-related EEG/MEG synchronization and desynchronization: basic principles. Clinical
Neurophysiology 110(11), 1842-1857.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from numpy.random import Generator

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.signal.montage import channel_names, montage_1010
from neuropil.signal.noise import narrow_band_noise
from neuropil.simulate.eeg.artefacts import ArtefactMasks, add_artefacts, apply_gains
from neuropil.simulate.eeg.head import Dipoles, cortical_dipoles, rotate_cap, unit_leadfield
from neuropil.simulate.eeg.ongoing import Head, draw_head, ongoing_activity
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

SOURCES = ("left_hand_area", "right_hand_area", "foot_area", "left_tongue_area", "right_tongue_area")
SOURCE_SITES = [(46.0, 180.0), (46.0, 0.0), (8.0, 90.0), (66.0, 180.0), (66.0, 0.0)]
LATERAL = (False, False, True, False, False)
MU_WIDTH, BETA_WIDTH = 2.0, 4.0
BETA_SHARE = 0.8
FACTOR_RANGE = (0.05, 2.0)
DEEPEST = 0.95
FEET_TONGUE = 0.3
PARTS = {"early": (0.0, 0.5), "late": (0.5, 1.0)}


def class_table(classes: Sequence[str], ipsi: float = 0.35) -> Float64[ndarray, "class source"]:
    """Desynchronisation of every source in every class, relative to the subject's depth; negative values are synchronisation.

    Parameters
    ----------
    classes : sequence of str
        Of "left_hand", "right_hand", "feet", "tongue", and "early" and "late": both hands, in the first or the second half of the
        trial only, so that time alone tells them apart.
    ipsi : float
        Desynchronisation of the ipsilateral hand area.

    Returns
    -------
    ndarray of shape (n_classes, 5)
        Columns are the sources: left and right hand area, foot area, left and right tongue area.

    Raises
    ------
    UsageError
        If a class is unknown.

    Notes
    -----
    Feet and tongue desynchronise their sources by 0.3. The value was calibrated once: CSP(8) with shrinkage LDA, within subject, on 15
    subjects of 120 four-class trials, reaches 0.79 with 0.6, 0.75 with 0.45, 0.69 with 0.3, 0.64 with 0.2 and 0.62 with 0.1, where
    real four-class data give 0.50 to 0.75.

    Examples
    --------
    >>> class_table(["left_hand", "right_hand"])[:, :2].tolist()
    [[0.35, 1.0], [1.0, 0.35]]
    """
    table = {
        "left_hand": (ipsi, 1.0, -0.1, 0.0, 0.0),
        "right_hand": (1.0, ipsi, -0.1, 0.0, 0.0),
        "feet": (-0.15, -0.15, FEET_TONGUE, 0.0, 0.0),
        "tongue": (-0.15, -0.15, 0.0, FEET_TONGUE, FEET_TONGUE),
        "early": (1.0, 1.0, 0.0, 0.0, 0.0),
        "late": (1.0, 1.0, 0.0, 0.0, 0.0),
    }
    unknown = [name for name in classes if name not in table]
    if unknown:
        raise UsageError(f"A motor imagery class is one of {', '.join(table)}, got {unknown[0]!r}.")
    return np.array([table[name] for name in classes])


@dataclass(frozen=True)
class MotorImageryTruth:
    """What generated one motor imagery session.

    Attributes
    ----------
    subject, session : str
        As in the recording.
    classes : tuple of str
        Classes in the order of the rows of `class_table`.
    class_table : ndarray of shape (n_classes, 5)
        Desynchronisation of every source in every class: the ground truth for interpretations.
    sources : tuple of str
        Names of the five motor sources.
    source_positions, source_orientations : ndarray of shape (5, 3)
        In m and as unit vectors.
    leadfields : ndarray of shape (n_channels, 5)
        Topographies of the motor sources, of unit root mean square over channels, before the channel gains.
    head : Head
        The subject: true electrodes before the session's shift, frequencies, background sources.
    sensors : ndarray of shape (n_channels, 3)
        True positions of the electrodes in this session; the recording carries the nominal ones.
    skill : float
        The subject's depth of desynchronisation.
    mu_amplitude, beta_amplitude : float
        Root mean square over channels of every source's rhythm at rest, in µV.
    labels : ndarray of shape (n_trials,)
        Class of every trial.
    erd_depth, latency, release : ndarray of shape (n_trials,)
        Depth of a trial (0 in a lapse), and its beginning and end in s from the cue.
    lapses : ndarray of bool of shape (n_trials,)
        Trials in which the subject does nothing.
    mu_envelopes, beta_envelopes : ndarray of shape (n_times, 5)
        Factor on the amplitude of every source's rhythm over time; 1 at rest.
    artefacts : ArtefactMasks
        Samples with blinks, eye movements, muscle bursts.
    gains : ndarray of shape (n_channels,)
        Gains of the channels.
    """

    subject: str
    session: str
    classes: tuple[str, ...]
    class_table: Float64[ndarray, "class source"]
    sources: tuple[str, ...]
    source_positions: Float64[ndarray, "source 3"]
    source_orientations: Float64[ndarray, "source 3"]
    leadfields: Float64[ndarray, "channel source"]
    head: Head
    sensors: Float64[ndarray, "channel 3"]
    skill: float
    mu_amplitude: float
    beta_amplitude: float
    labels: ndarray
    erd_depth: Float64[ndarray, " trial"]
    latency: Float64[ndarray, " trial"]
    release: Float64[ndarray, " trial"]
    lapses: Bool[ndarray, " trial"]
    mu_envelopes: Float32[ndarray, "time source"]
    beta_envelopes: Float32[ndarray, "time source"]
    artefacts: ArtefactMasks
    gains: Float64[ndarray, " channel"]


class _Subject(NamedTuple):
    head: Head
    motor: Dipoles
    skill: float
    amplitude: float


class _Trials(NamedTuple):
    onsets: ndarray
    classes: ndarray
    depth: ndarray
    latency: ndarray
    release: ndarray
    lapses: ndarray
    n_times: int


def _draw_subject(rng: Generator, ch_names: list[str], params: SimParams) -> _Subject:
    head = draw_head(rng, ch_names, params)
    skill = float(rng.uniform(*params.erd))
    amplitude = float(np.exp(0.35 * rng.standard_normal()))
    return _Subject(head, cortical_dipoles(rng, SOURCE_SITES, lateral=LATERAL), skill, amplitude)


def _draw_trials(
    rng: Generator, subject: _Subject, n_trials: int, n_classes: int, sfreq: float, params: SimParams
) -> _Trials:
    onsets, classes, n_times = draw_schedule(rng, n_trials, n_classes, params.trial_s, params.breaks, sfreq)
    depth = np.clip(subject.skill * np.exp(0.3 * rng.standard_normal(n_trials)), 0, DEEPEST)
    latency, release = rng.uniform(0.3, 0.8, n_trials), rng.uniform(0.0, 0.4, n_trials)
    lapses = rng.random(n_trials) < params.lapse
    return _Trials(onsets, classes, np.where(lapses, 0.0, depth), latency, release, lapses, n_times)


def _simulate_session(
    rng: Generator,
    subject: _Subject,
    labels: tuple[str, str],
    classes: tuple[str, ...],
    ch_names: list[str],
    n_trials: int,
    sfreq: float,
    seed: int,
    params: SimParams,
) -> tuple[Recording, MotorImageryTruth]:
    sensors = rotate_cap(rng, subject.head.sensors, params.sess_deg)
    amplitude = subject.amplitude * float(np.exp(0.15 * rng.standard_normal())) / np.sqrt(len(SOURCES))
    trials = _draw_trials(rng, subject, n_trials, len(classes), sfreq, params)
    table = class_table(classes, params.ipsi)

    part = np.array([PARTS.get(classes[c], (0.0, 1.0)) for c in trials.classes]) * params.trial_s
    latency, release = part[:, 0] + trials.latency, part[:, 1] + trials.release
    loss = sum_of_windows(
        trials.depth[:, None] * table[trials.classes],
        trials.onsets + latency,
        trials.onsets + release,
        trials.n_times,
        sfreq,
    )
    mu_envelopes, beta_envelopes = (np.clip(1 - share * loss, *FACTOR_RANGE) for share in (1.0, BETA_SHARE))

    n_sources = len(SOURCES)
    rhythms = narrow_band_noise(
        rng,
        np.repeat([subject.head.f_mu, subject.head.f_beta], n_sources),
        np.repeat([MU_WIDTH, BETA_WIDTH], n_sources),
        trials.n_times,
        sfreq,
    )
    mu_amplitude, beta_amplitude = params.mu_uV * amplitude, params.beta_uV * amplitude
    activity = np.float32(mu_amplitude) * rhythms[:n_sources].T * mu_envelopes
    activity += np.float32(beta_amplitude) * rhythms[n_sources:].T * beta_envelopes
    leadfields = unit_leadfield(sensors, subject.motor)
    data = ongoing_activity(rng, subject.head, sensors, trials.n_times, sfreq, params)
    data += activity @ leadfields.T.astype(np.float32)
    masks = add_artefacts(rng, data, sensors, sfreq, params)
    gains = apply_gains(rng, data, params.gain_sd)

    trial_labels = np.array(classes, dtype=object)[trials.classes]
    events = pd.DataFrame(
        {"onset": trials.onsets, "duration": params.trial_s, "label": trial_labels, "trial": np.arange(n_trials)}
    )
    eeg = regular_stream(data, sfreq, channels=ch_names, kind="eeg", unit="uV", positions=montage_1010(ch_names))
    recording = Recording(
        {"eeg": eeg},
        events,
        subject=labels[0],
        session=labels[1],
        dataset="simulated motor imagery",
        info=provenance("simulate_motor_imagery", seed, params),
    )
    truth = MotorImageryTruth(
        subject=labels[0],
        session=labels[1],
        classes=classes,
        class_table=table,
        sources=SOURCES,
        source_positions=subject.motor.positions,
        source_orientations=subject.motor.orientations,
        leadfields=leadfields,
        head=subject.head,
        sensors=sensors,
        skill=subject.skill,
        mu_amplitude=float(mu_amplitude),
        beta_amplitude=float(beta_amplitude),
        labels=trial_labels,
        erd_depth=trials.depth,
        latency=latency,
        release=release,
        lapses=trials.lapses,
        mu_envelopes=mu_envelopes,
        beta_envelopes=beta_envelopes,
        artefacts=masks,
        gains=gains,
    )
    return recording, truth


def simulate_motor_imagery(
    n_subjects: int = 8,
    n_sessions: int = 1,
    n_trials: int = 96,
    classes: Sequence[str] = ("left_hand", "right_hand"),
    ch_names: str | Sequence[str] = "bci2a",
    sfreq: float = 125.0,
    seed: int = 0,
    preset: str = "default",
    **params: Any,
) -> tuple[list[Recording], list[MotorImageryTruth]]:
    """Continuous EEG of people who imagine movements, with known sources.

    Parameters
    ----------
    n_subjects, n_sessions : int
        Subjects, and sessions of every subject; the first ones do not change when there are more.
    n_trials : int
        Trials of a session, balanced over the classes and shuffled.
    classes : sequence of str
        Of "left_hand", "right_hand", "feet", "tongue", "early", "late" (see `class_table`).
    ch_names : str or sequence of str
        A montage ("bci2a", "deap", "seed", "neurobolt", "bold10") or electrodes of the 10-10 system.
    sfreq : float
        Sampling rate in Hz.
    seed : int
        Everything random follows from it.
    preset : str
        "easy", "default", "hard" or "null" (no class information).
    **params
        Single values of `SimParams` to change.

    Returns
    -------
    recordings : list of Recording
        One a subject and session; stream "eeg" in µV with the nominal electrode positions, one event a trial from the cue on, with
        the columns `label` and `trial`. What is not covered by an event is idle.
    truths : list of MotorImageryTruth
        What generated each of them.

    Raises
    ------
    UsageError
        If a name is unknown, a number makes no sense, or there are fewer trials than classes.

    Notes
    -----
    Amplitudes of brain activity are scaled to their root mean square over the channels that are asked for, so that absolute power does
    not identify a subject. Simulate a whole montage and pick channels from it, rather than ask for a few.

    Examples
    --------
    >>> recordings, truths = simulate_motor_imagery(n_subjects=1, n_trials=4, seed=0)
    >>> recordings[0].stream("eeg").sizes["channel"], sorted(recordings[0].events["label"])
    (22, ['left_hand', 'left_hand', 'right_hand', 'right_hand'])
    >>> truths[0].mu_envelopes.shape[1]
    5
    """
    check_counts(n_subjects=n_subjects, n_sessions=n_sessions, n_trials=n_trials)
    classes = tuple(classes)
    check_balance(n_trials, classes)
    class_table(classes)
    check_rate(sfreq, 25.0)
    seed, names, settings = check_seed(seed), channel_names(ch_names), SimParams.preset(preset, **params)
    recordings, truths = [], []
    for number in range(n_subjects):
        subject = _draw_subject(generator(seed, number), names, settings)
        for session in range(n_sessions):
            labels = (f"{number + 1:02d}", f"{session + 1:02d}")
            recording, truth = _simulate_session(
                generator(seed, number, session), subject, labels, classes, names, n_trials, sfreq, seed, settings
            )
            recordings.append(recording)
            truths.append(truth)
    return recordings, truths
