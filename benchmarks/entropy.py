"""Differential entropy in five bands of an hour of EEG, beside the plain ways with scipy and with MNE-Python."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import measure
from benchmarks.rows import Row, against
from benchmarks.settings import Settings

BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 14.0), "beta": (14.0, 31.0), "gamma": (31.0, 49.0)}
N_CHANNELS, SFREQ, WINDOW, ORDER = 62, 200.0, 200, 5
AT_LEAST = 5.0
TOLERANCE = 1e-6


def recording(seconds: float) -> np.ndarray:
    """Noise in microvolts, shape (channel, time)."""
    rng = np.random.default_rng(0)
    return 10 * rng.standard_normal((N_CHANNELS, round(seconds * SFREQ)))


def ours(data: np.ndarray, n_jobs: int) -> np.ndarray:
    """`sliding_differential_entropy`, shape (window, channel, band)."""
    from neuropil.signal.entropy import sliding_differential_entropy

    return sliding_differential_entropy(
        data, SFREQ, BANDS, window=WINDOW / SFREQ, order=ORDER, floor=1e-12, n_jobs=n_jobs
    )


def _of_filtered(data: np.ndarray, band_pass: Callable[[tuple[float, float]], np.ndarray]) -> np.ndarray:
    n_windows = data.shape[1] // WINDOW
    bands = []
    for band in BANDS.values():
        windows = band_pass(band)[:, : n_windows * WINDOW].reshape(N_CHANNELS, n_windows, WINDOW)
        bands.append(0.5 * np.log2(2 * np.pi * np.e * np.maximum(windows.var(axis=-1), 1e-12)).T)
    return np.stack(bands, axis=-1)


def with_scipy(data: np.ndarray) -> np.ndarray:
    """scipy's `sosfilt` of the whole recording band by band, numpy's variance of the windows."""
    from scipy.signal import butter, sosfilt

    return _of_filtered(data, lambda band: sosfilt(butter(ORDER, band, "bandpass", fs=SFREQ, output="sos"), data))


def with_mne(data: np.ndarray) -> np.ndarray:
    """MNE-Python's `filter_data` of the whole recording band by band, numpy's variance of the windows."""
    from mne.filter import filter_data

    iir = {"order": ORDER, "ftype": "butter", "output": "sos"}
    return _of_filtered(
        data,
        lambda band: filter_data(
            data, SFREQ, *band, method="iir", iir_params=dict(iir), phase="forward", n_jobs=1, verbose="error"
        ),
    )


def _timed(compute: Callable[[], np.ndarray], expected: np.ndarray, cpu: list[float]) -> float:
    """Seconds of one run, whose processor time is appended to `cpu`; the result must be everybody's."""
    wall, processor = time.perf_counter(), time.process_time()
    entropies = compute()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    difference = float(np.abs(entropies - expected).max())
    if difference > TOLERANCE:
        raise RuntimeError(f"The entropies differ by up to {difference:.2g} bits; the comparison would mean nothing.")
    cpu.append(processor)
    return wall


def run(settings: Settings) -> list[Row]:
    """Rows on a whole recording, in seconds; compiled before, as from the second use on."""
    data = recording(settings.entropy_seconds)
    ways: dict[str, Callable[[], np.ndarray]] = {"one thread": partial(ours, data, 1)}
    if (os.cpu_count() or 1) > 1:
        ways["two threads"] = partial(ours, data, 2)
    if settings.peers:
        ways |= {"scipy": partial(with_scipy, data), "MNE-Python": partial(with_mne, data)}
    expected = ours(data, 1)
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    walls = measure.interleaved(
        {name: partial(_timed, way, expected, cpu[name]) for name, way in ways.items()}, settings.repeats
    )
    seconds = {name: measure.median(values) for name, values in walls.items()}
    busy = {name: measure.median(values) for name, values in cpu.items()}
    hours = settings.entropy_seconds / 3600
    what = f"{N_CHANNELS} channels at {SFREQ:g} Hz, {len(BANDS)} bands, windows of 1 s; medians of {settings.repeats} runs in turns"
    rows = []
    for threads in (name for name in ways if "thread" in name):
        name = f"band entropies of {hours:.3g} h of EEG on {threads}"
        note = f"{what}; processor time {busy[threads]:.3g} s"
        if not settings.peers:
            rows.append(Row(name, seconds[threads], "s", note=note))
            continue
        for peer in ("scipy", "MNE-Python"):
            goal = 1 / AT_LEAST if threads == "one thread" else None
            both = f"{note} and {busy[peer]:.3g} s; the peer on one thread, entropies equal to {TOLERANCE:g} bits"
            rows.append(
                against(f"{name}, beside {peer}", seconds[threads], seconds[peer], "s", peer, at_most=goal, note=both)
            )
    return rows
