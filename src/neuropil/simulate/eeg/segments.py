"""Single-channel segments of clean EEG, of muscle and of eye artefacts, to be mixed into contaminated EEG.

Parameters such as slopes and frequencies are drawn once for every block of 20 segments, which stands for a subject; each segment adds
its own variation. Mix clean segments of one set with artefacts of another, and keep blocks together when data are split.

Zhang, Zhao, Wei, Mantini, Li & Liu (2021). EEGdenoiseNet: a benchmark dataset for deep learning solutions of EEG denoising. Journal of
Neural Engineering 18(5), 056057.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64
from numpy import ndarray
from numpy.random import Generator

from neuropil.errors import UsageError
from neuropil.recording import Recording
from neuropil.signal.noise import narrow_band_noise, power_law_noise
from neuropil.simulate.eeg.artefacts import half_sine_squared, saccade
from neuropil.simulate.eeg.params import check_counts, check_rate, check_seed, generator
from neuropil.streams import regular_stream

BLOCK = 20
EEG_BAND, EMG_BAND, EOG_BAND = (1.0, 80.0), (15.0, 110.0), (0.3, 10.0)
EMG_FLOOR = 0.25


@dataclass(frozen=True)
class SegmentTruth:
    """What generated one block of segments.

    Attributes
    ----------
    kind : str
        "eeg", "emg" or "eog".
    block : int
        Number of the block; the recording's `subject` carries it too.
    parameters : dict of str to float
        Parameters of the block: exponents, frequencies (Hz), relative amplitudes.
    event_centres : list of ndarray
        Per segment: centres of the muscle bursts, or of the blinks and eye movements, in s from the segment's beginning; empty for EEG.
    event_widths : list of ndarray
        Per segment: SD of the bursts, or lengths of the blinks and eye movements, in s.
    envelopes : ndarray of shape (n_segments, n_times)
        Amplitude of the muscle noise over time; 1 for EEG, the noise-free course for eye artefacts.
    """

    kind: str
    block: int
    parameters: dict[str, float]
    event_centres: list[ndarray]
    event_widths: list[ndarray]
    envelopes: Float32[ndarray, "segment time"]


class _Block:
    """Samples and truth of one block while it is made."""

    def __init__(self, n_times: int, **parameters: float) -> None:
        self.parameters = {name: float(value) for name, value in parameters.items()}
        self.data = np.zeros((BLOCK, n_times))
        self.envelopes = np.ones((BLOCK, n_times), dtype=np.float32)
        self.centres: list[ndarray] = [np.zeros(0)] * BLOCK
        self.widths: list[ndarray] = [np.zeros(0)] * BLOCK


def _eeg_block(rng: Generator, n_times: int, sfreq: float) -> _Block:
    """1 / f^b background with alpha and beta rhythms, 1 to 80 Hz."""
    block = _Block(
        n_times,
        exponent=rng.uniform(0.9, 1.8),
        alpha_hz=rng.uniform(8.5, 11.5),
        beta_hz=rng.uniform(16.0, 26.0),
        alpha=rng.uniform(0.3, 1.0),
        beta=rng.uniform(0.1, 0.4),
        rms_uV=15.0 * np.exp(0.3 * rng.standard_normal()),
    )
    p = block.parameters
    background = power_law_noise(rng, np.full(BLOCK, p["exponent"]), n_times, sfreq, low=EEG_BAND[0], high=EEG_BAND[1])
    alpha = narrow_band_noise(rng, np.full(BLOCK, p["alpha_hz"]), 2.0, n_times, sfreq)
    beta = narrow_band_noise(rng, np.full(BLOCK, p["beta_hz"]), 5.0, n_times, sfreq)
    own = np.exp(0.3 * rng.standard_normal((3, BLOCK, 1)))
    mixture = background + own[0] * p["alpha"] * alpha + own[1] * p["beta"] * beta
    block.data = p["rms_uV"] * own[2] * mixture / mixture.std(axis=1, keepdims=True)
    return block


def _emg_block(rng: Generator, n_times: int, sfreq: float) -> _Block:
    """Noise of 15 to 110 Hz under one to three Gaussian bursts on a floor of a quarter."""
    block = _Block(n_times, exponent=rng.uniform(0.0, 0.8), rms_uV=20.0 * np.exp(0.5 * rng.standard_normal()))
    p = block.parameters
    noise = power_law_noise(rng, np.full(BLOCK, p["exponent"]), n_times, sfreq, low=EMG_BAND[0], high=EMG_BAND[1])
    time, seconds = np.arange(n_times) / sfreq, n_times / sfreq
    for k in range(BLOCK):
        n_bursts = rng.integers(1, 4)
        block.centres[k], block.widths[k] = rng.uniform(0, seconds, n_bursts), rng.uniform(0.08, 0.4, n_bursts)
        bursts = np.exp(-(((time[:, None] - block.centres[k]) / block.widths[k]) ** 2) / 2)
        block.envelopes[k] = EMG_FLOOR + (bursts * rng.uniform(0.5, 1.5, n_bursts)).sum(axis=1)
    block.data = p["rms_uV"] * np.exp(0.3 * rng.standard_normal((BLOCK, 1))) * noise * block.envelopes
    return block


def _eog_block(rng: Generator, n_times: int, sfreq: float) -> _Block:
    """One to three blinks or looks to the side on slow drifts, 0.3 to 10 Hz."""
    block = _Block(
        n_times, exponent=rng.uniform(1.5, 2.5), blink_uV=rng.uniform(70.0, 150.0), blink_share=rng.uniform(0.3, 0.9)
    )
    p = block.parameters
    drifts = power_law_noise(rng, np.full(BLOCK, p["exponent"]), n_times, sfreq, low=EOG_BAND[0], high=EOG_BAND[1])
    for k in range(BLOCK):
        course = np.zeros(n_times)
        n_events = rng.integers(1, 4)
        starts = rng.uniform(0, n_times / sfreq, n_events)
        blinks = rng.random(n_events) < p["blink_share"]
        lengths = np.where(blinks, rng.uniform(0.2, 0.4, n_events), rng.uniform(0.3, 1.0, n_events))
        heights = (
            p["blink_uV"]
            * np.exp(0.3 * rng.standard_normal(n_events))
            * np.where(blinks, 1.0, rng.choice([-0.4, 0.4], n_events))
        )
        for start, blink, length, height in zip(starts, blinks, lengths, heights, strict=True):
            shape = height * (half_sine_squared if blink else saccade)(length, sfreq)
            first = int(start * sfreq)
            course[first : first + len(shape)] += shape[: n_times - first]
        block.centres[k], block.widths[k], block.envelopes[k] = starts + lengths / 2, lengths, course
    block.data = block.envelopes + 10.0 * drifts
    block.data -= block.data.mean(axis=1, keepdims=True)
    return block


_BLOCKS: dict[str, Callable[[Generator, int, float], _Block]] = {
    "eeg": _eeg_block,
    "emg": _emg_block,
    "eog": _eog_block,
}
_LOWEST_RATE = {"eeg": 2 * 30.0, "emg": 2 * 60.0, "eog": 2 * EOG_BAND[1]}


def simulate_segments(
    kind: str = "eeg", n: int = 200, sfreq: float = 256.0, seed: int = 0, *, seconds: float = 2.0
) -> tuple[list[Recording], list[SegmentTruth]]:
    """Single-channel segments, in blocks of 20 that share their parameters.

    Parameters
    ----------
    kind : str
        "eeg": 1/f background with alpha and beta, 1-80 Hz; "emg": muscle bursts, 15-110 Hz; "eog": blinks and eye movements.
    n : int
        Segments; the first ones do not change when there are more.
    sfreq : float
        Sampling rate in Hz; bands end at half of it.
    seed : int
        Everything random follows from it. Take different seeds for training and test data.
    seconds : float
        Length of a segment.

    Returns
    -------
    recordings : list of Recording
        One a block ("subject"); stream "eeg" with the single channel "signal" in µV, in which the segments follow each other without
        belonging together, and one event a segment, labelled "clean" (EEG) or "noise", with the column `segment`.
    truths : list of SegmentTruth
        What generated each block.

    Raises
    ------
    UsageError
        If the kind is unknown or a number makes no sense.

    See Also
    --------
    stack_segments : the segments as one array.

    Examples
    --------
    >>> recordings, truths = simulate_segments("emg", n=30, seed=1)
    >>> [recording.subject for recording in recordings], stack_segments(recordings).shape
    (['001', '002'], (30, 512))
    """
    if kind not in _BLOCKS:
        raise UsageError(f"The kind of the segments is one of {', '.join(_BLOCKS)}, got {kind!r}.")
    check_counts(n=n)
    check_rate(sfreq, _LOWEST_RATE[kind] / 2)
    if not seconds >= 0.5:
        raise UsageError(f"A segment must last at least 0.5 s, got {seconds!r}.")
    seed, n_times = check_seed(seed), round(seconds * sfreq)
    recordings, truths = [], []
    for number in range(-(-n // BLOCK)):
        block = _BLOCKS[kind](generator(seed, list(_BLOCKS).index(kind), number), n_times, sfreq)
        n_segments = min(BLOCK, n - number * BLOCK)
        segments = np.arange(n_segments)
        data = block.data[:n_segments].reshape(-1, 1).astype(np.float32)
        events = pd.DataFrame(
            {
                "onset": segments * n_times / sfreq,
                "duration": n_times / sfreq,
                "label": "clean" if kind == "eeg" else "noise",
                "segment": number * BLOCK + segments,
            }
        )
        stream = regular_stream(data, sfreq, channels=["signal"], kind=kind, unit="uV")
        info = {"simulator": "simulate_segments", "kind": kind, "seed": seed}
        recordings.append(
            Recording({"eeg": stream}, events, subject=f"{number + 1:03d}", dataset="simulated segments", info=info)
        )
        truths.append(
            SegmentTruth(
                kind,
                number,
                block.parameters,
                block.centres[:n_segments],
                block.widths[:n_segments],
                block.envelopes[:n_segments],
            )
        )
    return recordings, truths


def stack_segments(recordings: Sequence[Recording]) -> Float64[ndarray, "segment time"]:
    """All segments of `simulate_segments` as one array of shape (n_segments, n_times), in µV.

    Examples
    --------
    >>> recordings, _ = simulate_segments("eog", n=3)
    >>> stack_segments(recordings).shape
    (3, 512)
    """
    return np.concatenate(
        [
            recording.stream("eeg").values.reshape(len(recording.events), -1).astype(np.float64)
            for recording in recordings
        ]
    )
