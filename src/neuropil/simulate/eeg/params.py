"""Parameters of the EEG simulator, their presets, and the checks on what a caller asks for."""

# ruff: noqa: N815 (units are part of the names: mu_uV is an amplitude in microvolt)

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator, SeedSequence, default_rng

from neuropil.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    "easy": {"mu_uV": 4.0, "beta_uV": 1.6, "erd": (0.35, 0.85)},
    "default": {},
    "hard": {"cap_deg": 10.0, "sess_deg": 5.0, "gain_sd": 0.35, "lapse": 0.2},
    "null": {"erd": (0.0, 0.0), "eff": 0.0, "inter": 0.0},
}


@dataclass(frozen=True)
class SimParams:
    """What the simulated heads, sessions and trials are like.

    Parameters
    ----------
    mu_uV, beta_uV : float
        Amplitude of the motor rhythms: root mean square over channels of all five sources together, in µV.
    erd : (float, float)
        Range of the subjects' depth of event-related desynchronisation; (0, 0) takes the class information away.
    bg_uV, alpha_uV, noise_uV, line_uV : float
        Root mean square of the 1/f background, of the posterior alpha rhythm and of sensor noise, and amplitude of the line, in µV.
    line_hz : float
        Frequency of the line; left out where it is not below half the sampling rate.
    blink_rate, eye_rate, emg_rate : float
        Blinks, horizontal eye movements, and muscle bursts (at each temple) a second.
    blink_uV, eye_uV, emg_uV : float
        Their amplitudes in µV: of a blink at Fpz, of an eye movement at the outer canthus, root mean square of a burst at the temple.
    cap_deg, sess_deg : float
        Misplacement of the cap, of the subject and of every session, in degrees.
    gain_sd : float
        SD of the logarithm of the channels' gains.
    lapse : float
        Probability that the subject does nothing in a trial.
    ipsi : float
        Desynchronisation of the ipsilateral hand area relative to the contralateral one.
    n_bg : int
        Dipoles of the background.
    trial_s : float
        Length of a motor imagery trial in s.
    breaks : (float, float)
        Range of the breaks between trials in s.
    eff, inter : float
        Log-gains of the emotional states: the marginal effect, and the interaction of the two temporal sources.
    drift : float
        SD of the log-amplitude of every source over emotion trials, whatever the state.
    baseline_s, stimulus_s : float
        Parts of an emotion trial in s.
    rhythm_uV : float
        Amplitude of every rhythm of the emotion and EEG-BOLD modes, in µV.
    bold_snr : float
        Signal over noise (standard deviations) of the simulated BOLD regions.

    Examples
    --------
    >>> SimParams.preset("hard", lapse=0.3).lapse
    0.3
    """

    mu_uV: float = 3.2
    beta_uV: float = 1.2
    erd: tuple[float, float] = (0.25, 0.80)
    bg_uV: float = 9.0
    alpha_uV: float = 6.0
    noise_uV: float = 1.0
    line_uV: float = 1.5
    line_hz: float = 50.0
    blink_rate: float = 0.1
    eye_rate: float = 0.1
    emg_rate: float = 0.03
    blink_uV: float = 100.0
    eye_uV: float = 30.0
    emg_uV: float = 8.0
    cap_deg: float = 4.0
    sess_deg: float = 2.0
    gain_sd: float = 0.1
    lapse: float = 0.1
    ipsi: float = 0.35
    n_bg: int = 60
    trial_s: float = 4.0
    breaks: tuple[float, float] = (2.0, 3.0)
    eff: float = 0.2
    inter: float = 0.0
    drift: float = 0.25
    baseline_s: float = 3.0
    stimulus_s: float = 28.0
    rhythm_uV: float = 2.5
    bold_snr: float = 1.3

    def __post_init__(self) -> None:
        positive = ("trial_s", "baseline_s", "stimulus_s", "bold_snr", "line_hz")
        ranges = ("erd", "breaks")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ranges:
                if len(value) != 2 or not 0 <= value[0] <= value[1]:
                    raise UsageError(f"{field.name} must be a range (low, high) with 0 <= low <= high, got {value!r}.")
            elif field.name in positive and not value > 0:
                raise UsageError(f"{field.name} must be positive, got {value!r}.")
            elif field.name not in ("eff", "inter") and not value >= 0:
                raise UsageError(f"{field.name} must not be negative, got {value!r}.")
        if self.lapse > 1 or self.erd[1] > 1:
            raise UsageError(f"lapse and erd must not exceed 1, got lapse={self.lapse!r} and erd={self.erd!r}.")
        if self.n_bg < 1 or self.n_bg != int(self.n_bg):
            raise UsageError(f"n_bg must be a whole number of at least one dipole, got {self.n_bg!r}.")

    @classmethod
    def preset(cls, name: str = "default", **changes: Any) -> SimParams:
        """Parameters of the preset "easy", "default", "hard" or "null", with single values changed.

        Raises
        ------
        UsageError
            If there is no such preset or parameter, or a value makes no sense.
        """
        if name not in PRESETS:
            raise UsageError(f"A preset is one of {', '.join(PRESETS)}, got {name!r}.")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise UsageError(f"The simulator has no parameter {unknown[0]!r}; it has: {', '.join(sorted(known))}.")
        return cls(**(PRESETS[name] | changes))


def check_counts(**counts: int) -> None:
    """Refuse numbers of subjects, sessions, trials ... that are not whole and positive."""
    for name, count in counts.items():
        if isinstance(count, bool) or count != int(count) or count < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, got {count!r}.")


def check_balance(n_trials: int, classes: Sequence[str]) -> None:
    """Refuse fewer trials than classes, fewer than two classes, and doubled classes."""
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UsageError(f"At least two different classes are needed, got {tuple(classes)!r}.")
    if n_trials < len(classes):
        raise UsageError(f"n_trials must be at least the number of classes ({len(classes)}), got {n_trials}.")


def check_rate(sfreq: float, highest: float) -> None:
    """Refuse sampling rates at which the highest rhythm cannot be represented."""
    if not sfreq > 2 * highest:
        raise UsageError(f"sfreq must be above {2 * highest:g} Hz to hold rhythms up to {highest:g} Hz, got {sfreq!r}.")


def check_seed(seed: int) -> int:
    """Refuse seeds that are not whole numbers from 0 on."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
        raise UsageError(f"seed must be a whole number from 0 on, got {seed!r}.")
    return int(seed)


def generator(seed: int, *path: int) -> Generator:
    """Independent random numbers for (subject,) or (subject, session): others are the same however many there are."""
    return default_rng(SeedSequence(seed, spawn_key=path))


def provenance(simulator: str, seed: int, params: SimParams) -> dict[str, Any]:
    """What it takes to simulate the same again, as a `Recording.info`."""
    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(params).items()
    }
    return {"simulator": simulator, "seed": seed, "params": values}
