"""Peak memory of iterating shuffled batches: `python -m benchmarks.memory RECORDING N_WINDOWS` prints it as JSON."""

from __future__ import annotations

import gc
import json
import sys
import time

import numpy as np

from benchmarks.data import LENGTH, OVERLAP
from benchmarks.measure import reset_peak, resident
from neuropil import Recording, iter_batches, sliding_windows

BATCH_SIZE, PREFETCH = 64, 2


def iterate(path: str, n_windows: int) -> dict[str, float]:
    """Bytes before cutting, after cutting, at the peak of iterating, and of the queue; windows a second."""
    recording = Recording.open(path)
    opened = resident("VmRSS")
    X = sliding_windows(recording, length=LENGTH, overlap=OVERLAP)
    gc.collect()
    cut = resident("VmRSS")
    reset_peak()
    n, total, began = 0, 0.0, time.perf_counter()
    for _, batch in iter_batches(X, BATCH_SIZE, shuffle=True, generator=np.random.default_rng(0), prefetch=PREFETCH):
        n, total = n + len(batch), total + float(batch[0, 0, 0])
        if n >= n_windows:
            break
    seconds = time.perf_counter() - began
    window = X.shape[1] * X.shape[2] * X.dtype.itemsize
    return {
        "n_windows": X.shape[0],
        "index": cut - opened,
        "growth": resident("VmHWM") - cut,
        "queue": (PREFETCH + 1) * BATCH_SIZE * window + window,
        "rate": n / seconds,
    }


if __name__ == "__main__":
    print(json.dumps(iterate(sys.argv[1], int(sys.argv[2]))))
