"""`python -m benchmarks --all | NAME ... [--json FILE] [--record FILE]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.rows import Row, record, show, to_json
from benchmarks.settings import Settings

NAMES = {
    "startup": "benchmarks.startup",
    "training": "benchmarks.training",
    "networks": "benchmarks.networks",
    "streaming": "benchmarks.streaming",
    "windows": "benchmarks.windows",
    "statespace": "benchmarks.statespace",
    "switching": "benchmarks.switching",
    "factorisation": "benchmarks.factorisation",
    "entropy": "benchmarks.entropy",
    "compare": "benchmarks.comparison",
}
README = Path(__file__).with_name("README.md")
SMALL = {
    "n_windows": 2000,
    "n_iterated": 512,
    "repeats": 2,
    "sparse_gigabytes": 1.0,
    "n_trials": 64,
    "n_epochs": 2,
    "n_steps": 3000,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure speed and memory beside the peers."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(NAMES)}")
    parser.add_argument("--all", action="store_true", help="measure everything")
    parser.add_argument("--small", action="store_true", help="sizes that only show that everything runs")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--repeats", type=int, help="interleaved passes of every contender")
    parser.add_argument("--iterated", type=int, help="windows that every pass reads")
    parser.add_argument("--folder", type=Path, help="where recordings are written, 11 GB; a temporary folder without")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows and the machine as JSON")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="merge the rows into FILE and the table into the README"
    )
    return parser


def _settings(arguments: argparse.Namespace, folder: Path) -> Settings:
    sizes = dict(SMALL, seconds=10.0, entropy_seconds=60.0) if arguments.small else {}
    given = {"repeats": arguments.repeats, "n_iterated": arguments.iterated}
    sizes |= {name: value for name, value in given.items() if value is not None}
    return Settings(folder, peers=not arguments.no_peers, **sizes)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for; 1 if a goal was missed, else 0."""
    parser = _parser()
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown or not (given.names or given.all):
        parser.error(
            f"name one or more of {', '.join(NAMES)}, or --all" + (f"; got {', '.join(unknown)}" if unknown else "")
        )
    console, results = Console(), {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as temporary:
        settings = _settings(given, given.folder or Path(temporary))
        for name in list(NAMES) if given.all else given.names:
            with console.status(f"measuring {name} ..."):
                rows: list[Row] = importlib.import_module(NAMES[name]).run(settings)
            results[name] = rows
            show(rows, name, console)
    if given.json:
        given.json.write_text(json.dumps(to_json(results), indent=1, ensure_ascii=False) + "\n")
    if given.record:
        record(results, given.record, README)
    missed = [row.name for rows in results.values() for row in rows if row.met is False]
    if missed:
        console.print(f"Missed: {'; '.join(missed)}.", style="red")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
