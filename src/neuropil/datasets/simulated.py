"""The simulated data sets of the registry: recordings from `neuropil.simulate.eeg` whose events are ready to be cut into windows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuropil.errors import UsageError
from neuropil.recording import Recording


def load_motor_imagery(
    n_subjects: int = 4,
    n_sessions: int = 1,
    n_trials: int = 40,
    classes: tuple[str, ...] = ("left_hand", "right_hand"),
    ch_names: str = "bci2a",
    sfreq: float = 125.0,
    seed: int = 0,
    preset: str = "default",
) -> list[Recording]:
    """Simulated continuous sessions, one recording each."""
    from neuropil.simulate.eeg import simulate_motor_imagery

    recordings, _ = simulate_motor_imagery(
        n_subjects=n_subjects,
        n_sessions=n_sessions,
        n_trials=n_trials,
        classes=classes,
        ch_names=ch_names,
        sfreq=sfreq,
        seed=seed,
        preset=preset,
    )
    return [recording.copy(dataset="sim-motor-imagery") for recording in recordings]


def load_emotion(
    n_subjects: int = 4,
    n_sessions: int = 1,
    n_trials: int = 24,
    eff: float | None = None,
    inter: float | None = None,
    drift: float | None = None,
    stimulus_s: float = 28.0,
    window_s: float | None = 4.0,
    step_s: float | None = None,
    ch_names: str = "deap",
    sfreq: float = 128.0,
    seed: int = 0,
    preset: str = "default",
) -> list[Recording]:
    """Simulated sessions of emotional stimuli, one recording each.

    Parameters
    ----------
    eff, inter : float, optional
        Marginal effect of the state on the rhythms, and interaction of the two temporal sources, as log-gains; the preset's without.
    drift : float, optional
        SD of what changes from trial to trial, whatever the state; the preset's without.
    stimulus_s : float
        Length of a stimulus in s.
    window_s : float, optional
        Every stimulus becomes events of so many seconds, end to end, with its number in the column `trial`; what is left of it, the
        baselines and the breaks carry no event. None keeps one event a baseline and one a stimulus.
    step_s : float, optional
        Time between the onsets of these events in s, if shorter than `window_s`: they then overlap.
    n_subjects, n_sessions, n_trials, ch_names, sfreq, seed, preset
        As in `neuropil.simulate.eeg.simulate_emotion`.
    """
    from neuropil.simulate.eeg import simulate_emotion

    given = {name: value for name, value in (("eff", eff), ("inter", inter), ("drift", drift)) if value is not None}
    recordings, _ = simulate_emotion(
        n_subjects=n_subjects,
        n_sessions=n_sessions,
        n_trials=n_trials,
        ch_names=ch_names,
        sfreq=sfreq,
        seed=seed,
        preset=preset,
        stimulus_s=stimulus_s,
        **given,
    )
    named = [recording.copy(dataset="sim-emotion") for recording in recordings]
    if window_s is None:
        return named
    if not 0 < window_s <= stimulus_s:
        raise UsageError(
            f"window_s must lie between 0 and the {stimulus_s:g} s of a stimulus, got {window_s!r}; None keeps whole stimuli."
        )
    return [
        recording.copy(events=pieces(recording.events[recording.events["label"] != "baseline"], window_s, step_s))
        for recording in named
    ]


def pieces(events: pd.DataFrame, seconds: float, step: float | None = None) -> pd.DataFrame:
    """Every event as events of `seconds`, end to end or every `step` seconds from its onset; a shorter rest is left out.

    Examples
    --------
    >>> events = pd.DataFrame({"onset": [3.0], "duration": [9.0], "label": ["low"], "trial": [0]})
    >>> pieces(events, 4.0)[["onset", "duration", "trial"]].values.tolist()
    [[3.0, 4.0, 0.0], [7.0, 4.0, 0.0]]
    """
    step = seconds if step is None else step
    if not 0 < step <= seconds:
        raise UsageError(
            f"The step between events of {seconds:g} s must lie between 0 and their length, got {step!r} s."
        )
    durations = events["duration"].to_numpy(dtype=float)
    counts = np.maximum(0, np.floor((durations - seconds) / step + 1e-9).astype(int) + 1)
    rows = np.repeat(np.arange(len(events)), counts)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    cut = events.iloc[rows].reset_index(drop=True)
    return cut.assign(onset=cut["onset"].to_numpy(dtype=float) + number * step, duration=seconds)


def load_eeg_bold(
    n_subjects: int = 4,
    n_sessions: int = 1,
    n_volumes: int = 300,
    ch_names: str = "bold10",
    sfreq: float = 64.0,
    seed: int = 0,
    tr: float = 2.0,
    preset: str = "default",
) -> list[Recording]:
    """Simulated scans with the streams "eeg" and "bold", one recording each."""
    from neuropil.simulate.eeg import simulate_eeg_bold

    recordings, _ = simulate_eeg_bold(
        n_subjects=n_subjects,
        n_sessions=n_sessions,
        n_volumes=n_volumes,
        ch_names=ch_names,
        sfreq=sfreq,
        seed=seed,
        tr=tr,
        preset=preset,
    )
    return [recording.copy(dataset="sim-eeg-bold") for recording in recordings]
