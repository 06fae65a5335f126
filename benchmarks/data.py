"""The recordings that the window benchmarks read: noise in everybody's own format, and an almost empty very long one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import zarr

from neuropil import Recording, regular_stream

N_CHANNELS, SFREQ = 22, 250.0
LENGTH, OVERLAP = 2.0, 0.5
N_TIMES = round(LENGTH * SFREQ)
STEP = round(N_TIMES * (1 - OVERLAP))
BLOCK = 1 << 18


def n_samples(n_windows: int) -> int:
    """Samples of a recording that holds exactly so many windows."""
    return N_TIMES + (n_windows - 1) * STEP


def write_noise(folder: Path, n_windows: int) -> np.memmap:
    """Samples of every contender's recording, float32 of shape (n_samples, 22) in V: two million random ones, repeated with shifts."""
    samples = np.lib.format.open_memmap(
        folder / "noise.npy", mode="w+", dtype=np.float32, shape=(n_samples(n_windows), N_CHANNELS)
    )
    noise = np.random.default_rng(0).normal(scale=1e-5, size=(BLOCK, N_CHANNELS)).astype(np.float32)
    for k, start in enumerate(range(0, len(samples), BLOCK)):
        rows = samples[start : start + BLOCK]
        rows[:] = np.roll(noise, (997 * k, k), axis=(0, 1))[: len(rows)]
    samples.flush()
    return samples


def write_recording(folder: Path, samples: np.ndarray) -> Path:
    """The samples as a neuropil recording."""
    return Recording({"eeg": regular_stream(samples, SFREQ)}).save(folder / "recording.zarr", overwrite=True)


def write_sparse(folder: Path, gigabytes: float, *, n_channels: int = N_CHANNELS) -> Path:
    """A recording of zeros of that size (10^9 bytes) whose files take no room on disk.

    One chunk is saved the usual way; the array is then made longer, and its other chunks become files that consist of a hole.
    """
    path = folder / "sparse.zarr"
    row_bytes = 4 * n_channels
    rows = (4 << 20) // row_bytes
    Recording({"eeg": regular_stream(np.ones((rows, n_channels), np.float32), SFREQ)}).save(path, overwrite=True)
    stream = zarr.open_group(path, mode="r+")["streams/0"]
    array = stream["data"]
    n_times = max(rows, round(gigabytes * 1e9 / row_bytes))
    array.resize((n_times, n_channels))
    stream.attrs["time"] = [0.0, n_times / SFREQ]
    chunk_bytes = array.chunks[0] * row_bytes
    first = path / "streams" / "0" / "data" / "c" / "0" / "0"
    for k in range(1, -(-n_times // array.chunks[0])):
        file = first.parent.parent / str(k) / "0"
        file.parent.mkdir()
        file.touch()
        os.truncate(file, chunk_bytes)
    return path


def warm(path: Path) -> None:
    """Read a file, or all files of a folder, so that the operating system has them in memory."""
    buffer = bytearray(8 << 20)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb", buffering=0) as handle:
                while handle.readinto(buffer):
                    pass
