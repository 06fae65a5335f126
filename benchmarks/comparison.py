"""Wall time of `neuropil compare scp-healthy` on two cores."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from benchmarks.measure import ROOT
from benchmarks.rows import Row, below, skipped
from benchmarks.settings import Settings
from benchmarks.startup import command_line

LIMIT = 180.0


def run(settings: Settings) -> list[Row]:
    """One row: the whole command, with its report, from nothing."""
    name = "neuropil compare scp-healthy"
    folder = settings.folder / "comparison"
    shutil.rmtree(folder, ignore_errors=True)
    places = ["--results", str(folder), "--report", str(folder / "report.html")]
    command = [*command_line(), "compare", "scp-healthy", "--jobs", "2", *places]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    errors = process.stderr.read().strip() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    shutil.rmtree(folder, ignore_errors=True)
    if process.returncode:
        return [
            skipped(
                name, f"it ended with code {process.returncode}: {errors.splitlines()[-1] if errors else 'no message'}"
            )
        ]
    note = f"two processes, nothing computed before, HTML report included; processor time {cpu:.0f} s, half of it {cpu / 2:.0f} s"
    return [below(name, seconds, LIMIT, "s", note=note)]
