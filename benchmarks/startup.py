"""How long `import neuropil` and `neuropil --help` take, beside an interpreter that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks import measure
from benchmarks.rows import Row, below
from benchmarks.settings import Settings

RUNS_A_REPEAT = 5


def command_line() -> list[str]:
    """The command `neuropil` of this environment."""
    installed = Path(sys.executable).with_name("neuropil")
    return [str(installed)] if installed.exists() else [sys.executable, "-c", "from neuropil.cli import main; main()"]


def _once(command: list[str], cpu: list[float]) -> float:
    """Milliseconds of one run; its processor time is appended to `cpu`."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = 1e3 * (time.perf_counter() - began)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}.")
    cpu.append(1e3 * (usage.ru_utime + usage.ru_stime))
    return wall


def run(settings: Settings) -> list[Row]:
    """Rows on start-up, in milliseconds of the whole process."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import neuropil": [sys.executable, "-c", "import neuropil"],
        "neuropil --help": [*command_line(), "--help"],
    }
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    turns = {name: partial(_once, command, cpu[name]) for name, command in commands.items()}
    walls = measure.interleaved(turns, RUNS_A_REPEAT * settings.repeats)
    wall = {name: measure.median(values) for name, values in walls.items()}
    bare = wall["python -c pass"]
    return [
        below(
            name,
            wall[name],
            limit,
            "ms",
            peer=bare,
            peer_name="python -c pass",
            ratio=wall[name] / bare,
            note=f"median of {len(walls[name])} interleaved processes; processor time {measure.median(cpu[name]):.0f} ms, "
            f"of the empty interpreter {measure.median(cpu['python -c pass']):.0f} ms",
        )
        for name, limit in (("import neuropil", 100.0), ("neuropil --help", 300.0))
    ]
