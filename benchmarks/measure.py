"""Time and memory: interleaved repeats, medians, and the peak of a process by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

K = TypeVar("K")
ROOT = Path(__file__).resolve().parents[1]


class Pass(NamedTuple):
    """One pass over batches of windows."""

    rate: float
    """Windows a second, wall clock, after the first batch."""
    cpu: float
    """Microseconds of processor time a window in this process, all threads."""
    first: float
    """Seconds until the first batch was there."""


def median(values: list[float]) -> float:
    """The median as a plain number."""
    return float(np.median(values))


def interleaved(contenders: Mapping[K, Callable[[], float]], repeats: int) -> dict[K, list[float]]:
    """Every contender's figures, measured in turns (A B C, C B A, ...) so that the machine's moods meet all alike."""
    names = list(contenders)
    figures: dict[K, list[float]] = {name: [] for name in names}
    for k in range(repeats):
        for name in names if k % 2 == 0 else names[::-1]:
            figures[name].append(contenders[name]())
    return figures


def timed_pass(batches: Callable[[], Iterator[Any]], n_windows: int) -> Pass:
    """Read at least `n_windows` windows after the first batch, or all that there are."""
    began = time.perf_counter()
    iterator = iter(batches())
    next(iterator)
    first = time.perf_counter() - began
    n, cpu, began = 0, time.process_time(), time.perf_counter()
    while n < n_windows and (batch := next(iterator, None)) is not None:
        n += len(batch)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
    return Pass(n / wall, 1e6 * cpu / n, first)


def can_measure_memory() -> bool:
    """True on Linux, where a process can reset its own peak."""
    return Path("/proc/self/clear_refs").exists()


def resident(entry: str) -> int:
    """`VmRSS` (now) or `VmHWM` (peak) of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no entry {entry}.")


def reset_peak() -> None:
    """Set the peak of this process's resident memory back to its present size."""
    Path("/proc/self/clear_refs").write_text("5")


def in_process(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m module arguments` prints as JSON in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])
