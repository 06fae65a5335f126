"""Cutting windows of 2 s out of a long recording on disk and reading shuffled batches of 64, beside braindecode and torch_brain.

All contenders read the same samples from files that the operating system holds in memory (each contender's files are read once before
every pass), in turns. A pass reads the same number of windows from all over the recording; the time until its first batch, in
which windows are cut and orders drawn, is reported by itself. Memory is measured in a process of its own: the growth of its resident
memory while it iterates, over what it has after cutting, against the queue of `prefetch` + 1 batches and the reader's one window.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import measure, peers
from benchmarks.data import (
    LENGTH,
    N_CHANNELS,
    OVERLAP,
    SFREQ,
    n_samples,
    warm,
    write_noise,
    write_recording,
    write_sparse,
)
from benchmarks.rows import Row, against, below, skipped
from benchmarks.settings import Settings
from neuropil import Recording, iter_batches, sliding_windows

GOALS = {"braindecode": 3.0, "torch_brain": 1.5}
BYTES_A_SAMPLE = N_CHANNELS * (4 + 4 + 4 + 4 + 8)
MEMORY_WINDOWS = 6400


def _cut_neuropil(path: Path) -> peers.Batches:
    X = sliding_windows(Recording.open(path), length=LENGTH, overlap=OVERLAP)

    def batches() -> Iterator[Any]:
        for _, batch in iter_batches(X, peers.BATCH_SIZE, shuffle=True):
            yield batch

    return batches


def _contenders(folder: Path, n_windows: int, with_peers: bool) -> tuple[list[peers.Contender], list[Row]]:
    samples = write_noise(folder, n_windows)
    ours = write_recording(folder, samples)
    contenders = [peers.Contender("neuropil", "Zarr", 0, (ours,), partial(_cut_neuropil, ours))]
    rows = []
    for peer, modules, make in (
        ("braindecode", ("braindecode",), peers.braindecode_contenders),
        ("torch_brain", ("torch_brain", "h5py"), peers.torch_brain_contenders),
    ):
        if not with_peers:
            continue
        if absent := peers.missing(*modules):
            rows.append(skipped(f"windows beside {peer}", f"{', '.join(absent)} not installed; {peers.INSTALL}"))
        else:
            contenders += make(folder, samples)
    (folder / "noise.npy").unlink()
    return contenders, rows


def _one_pass(contender: peers.Contender, n_windows: int, passes: list[tuple[float, measure.Pass]]) -> float:
    for file in contender.files:
        warm(file)
    began = time.perf_counter()
    batches = contender.cut()
    cutting = time.perf_counter() - began
    passes.append((cutting, measure.timed_pass(batches, n_windows)))
    return passes[-1][1].rate


def _speed(settings: Settings, folder: Path) -> list[Row]:
    contenders, rows = _contenders(folder, settings.n_windows, settings.peers)
    passes: dict[peers.Contender, list[tuple[float, measure.Pass]]] = {contender: [] for contender in contenders}
    turns = {c: partial(_one_pass, c, settings.n_iterated, done) for c, done in passes.items()}
    rates = {c: measure.median(values) for c, values in measure.interleaved(turns, settings.repeats).items()}
    until_first = {c: measure.median([cut + one.first for cut, one in done]) for c, done in passes.items()}
    cpu = {c: measure.median([one.cpu for _, one in done]) for c, done in passes.items()}
    ours, what = contenders[0], f"{settings.n_windows:,} windows of 2 s"
    size = f"median of {settings.repeats} passes of {settings.n_iterated:,} windows"
    note = f"{size}; {cpu[ours]:.0f} µs of processor time a window"
    result = [Row(f"shuffled batches of 64 from {what}", rates[ours], "windows/s", note=note)]
    ways: dict[str, list[peers.Contender]] = {}
    for contender in contenders[1:]:
        ways.setdefault(f"{contender.peer}, {contender.way}", []).append(contender)
    for way, several in ways.items():
        best = max(several, key=rates.__getitem__)
        speeds = ", ".join(f"{c.n_workers} workers {rates[c]:,.0f}/s" for c in several)
        note = "; ".join(filter(None, (speeds, f"{cpu[several[0]]:.0f} µs of processor time a window", best.note)))
        goal = GOALS[best.peer]
        result.append(
            against(f"windows beside {way}", rates[ours], rates[best], "windows/s", way, at_least=goal, note=note)
        )
    for way, several in ways.items():
        best = max(several, key=rates.__getitem__)
        name = f"cutting {what}, beside {way}"
        note = "opening, cutting and the first batch, not in the windows/s"
        result.append(against(name, until_first[ours], until_first[best], "s", way, note=note))
    return result + rows


def memory_row(path: Path, n_windows: int, what: str) -> Row:
    """Growth of resident memory while shuffled batches are read from the recording at `path`."""
    found = measure.in_process("benchmarks.memory", str(path), str(n_windows))
    growth, queue = found["growth"] / 1e6, found["queue"] / 1e6
    index = found["index"] / found["n_windows"]
    return below(
        f"memory while iterating {what}",
        growth,
        1.2 * queue,
        "MB",
        ratio=growth / queue,
        note=f"ratio to the queue of 3 batches and 1 window, {queue:.2f} MB; before that, the labels and onsets of the "
        f"{found['n_windows']:,} windows took {index:.0f} bytes a window ({index / (N_CHANNELS * 4 * SFREQ):.2%} of the data)",
    )


def _memory(settings: Settings, folder: Path) -> list[Row]:
    if not measure.can_measure_memory():
        return [skipped("memory while iterating", "needs Linux, where a process can reset its own peak")]
    rows = []
    if (folder / "recording.zarr").exists():
        gigabytes = n_samples(settings.n_windows) * N_CHANNELS * 4 / 1e9
        rows.append(memory_row(folder / "recording.zarr", MEMORY_WINDOWS, f"a recording of {gigabytes:.2g} GB"))
    sparse = write_sparse(folder, settings.sparse_gigabytes)
    rows.append(memory_row(sparse, MEMORY_WINDOWS, f"a recording of {settings.sparse_gigabytes:g} GB (sparse file)"))
    return rows


def run(settings: Settings) -> list[Row]:
    """Rows on speed and memory of windows."""
    folder = settings.folder / "windows"
    needed = n_samples(settings.n_windows) * BYTES_A_SAMPLE
    settings.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.folder).free
    if free < 1.1 * needed:
        return [
            skipped(
                "windows",
                f"{needed / 1e9:.0f} GB needed in {settings.folder}, {free / 1e9:.0f} GB free; choose --folder",
            )
        ]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        return _speed(settings, folder) + _memory(settings, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
