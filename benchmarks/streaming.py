"""Latency of live decoding with DBConformer: 22 channels at 250 Hz, windows of 4 s, on one core."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.rows import Row, below
from benchmarks.settings import Settings
from benchmarks.training import N_CHANNELS, N_TIMES, SFREQ, trials
from neuropil import StreamingDecoder
from neuropil.decoding.dbconformer import DBConformerClassifier

STEP, CHUNK, WARM_UP = 0.2, 10, 20.0
GOAL_MS = 5.0


def _latencies(decoder: StreamingDecoder, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Milliseconds of wall and processor time of every push, and how many decisions it gave."""
    starts = range(0, len(samples), CHUNK)
    wall, cpu, n_decisions = np.zeros(len(starts)), np.zeros(len(starts)), np.zeros(len(starts), dtype=int)
    for k, start in enumerate(starts):
        chunk = samples[start : start + CHUNK]
        spent, began = time.thread_time(), time.perf_counter()
        decisions = decoder.push(chunk)
        wall[k] = time.perf_counter() - began
        cpu[k], n_decisions[k] = time.thread_time() - spent, len(decisions)
    return 1e3 * wall, 1e3 * cpu, n_decisions


def run(settings: Settings) -> list[Row]:
    """Rows on latency, per decision and per push."""
    torch.set_num_threads(1)
    X, y = trials(32)
    classifier = DBConformerClassifier(max_epochs=1, sfreq=SFREQ, random_state=0, progress=False).fit(X, y)
    decoder = StreamingDecoder(classifier, SFREQ, window=N_TIMES / SFREQ, step=STEP, filter=(8.0, 32.0))
    samples = np.random.default_rng(1).normal(size=(round((WARM_UP + settings.seconds) * SFREQ), N_CHANNELS))
    wall, cpu, n_decisions = _latencies(decoder, samples)
    warm = np.arange(len(wall)) >= WARM_UP * SFREQ / CHUNK
    rows = []
    for name, chosen in (
        ("a push that decides", warm & (n_decisions > 0)),
        ("any push", warm),
    ):
        p50, p99 = np.percentile(wall[chosen], [50, 99])
        cpu50, cpu99 = np.percentile(cpu[chosen], [50, 99])
        note = (
            f"{int(chosen.sum())} pushes of {CHUNK} samples (40 ms), decision every {STEP:g} s, filter and running alignment included; "
            f"processor time of the same pushes: p50 {cpu50:.2f} ms, p99 {cpu99:.2f} ms"
        )
        rows.append(Row(f"latency of {name}, p50", float(p50), "ms", note=note))
        rows.append(below(f"latency of {name}, p99", float(p99), GOAL_MS, "ms"))
    return rows
