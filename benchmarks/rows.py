"""A measured figure, and how a list of them is shown and kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PEERS = ("braindecode", "torch-brain", "h5py", "hmmlearn", "dynamax", "jax", "pykalman", "nemos", "tensorly")
PACKAGES = ("neuropil", "numpy", "scipy", "numba", "torch", "xarray", "zarr", "mne", *PEERS)
START, END = "<!-- measured figures: start -->", "<!-- measured figures: end -->"


@dataclass(frozen=True)
class Row:
    """One figure of ours and, where there is one, the peer's beside it.

    Parameters
    ----------
    name : str
        What was measured.
    ours : float or None
        Our figure in `unit`; None if it could not be measured, with the reason in `note`.
    unit : str
    peer : float, optional
        The peer's figure in the same unit and run.
    peer_name : str
    ratio : float, optional
        `ours` / `peer`; for a goal without a peer, `ours` / limit.
    goal : str
        The goal in words; empty for a figure that is only reported.
    met : bool, optional
        None where there is no goal, or nothing could be measured.
    note : str
        What one has to know to read the figure.
    """

    name: str
    ours: float | None
    unit: str
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""


def against(
    name: str,
    ours: float,
    peer: float,
    unit: str,
    peer_name: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """A row beside a peer whose goal, if any, is a bound on the ratio `ours` / `peer`."""
    ratio = ours / peer
    if at_least is not None:
        return Row(name, ours, unit, peer, peer_name, ratio, f"≥ {at_least:g} × peer", ratio >= at_least, note)
    if at_most is not None:
        return Row(name, ours, unit, peer, peer_name, ratio, f"≤ {at_most:g} × peer", ratio <= at_most, note)
    return Row(name, ours, unit, peer, peer_name, ratio, note=note)


def below(name: str, ours: float, limit: float, unit: str, *, note: str = "", **peer: Any) -> Row:
    """A row whose goal is an absolute limit in its own unit."""
    return Row(name, ours, unit, goal=f"< {limit:.3g} {unit}", met=ours < limit, note=note, **peer)


def skipped(name: str, reason: str) -> Row:
    """A row for what could not be measured, and what would make it possible."""
    return Row(name, None, "", note=f"skipped: {reason}")


def number(value: float | None) -> str:
    """Three significant digits, with thousands separated."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def verdict(row: Row) -> str:
    """`yes`, `no`, or nothing where there is no goal."""
    return "" if row.met is None else "yes" if row.met else "no"


def cells(row: Row) -> list[str]:
    """The row as texts, for either table."""
    figures = [number(row.ours), number(row.peer), number(row.ratio)]
    return [row.name, *(f if f != "–" else "" for f in figures), row.unit, row.goal, verdict(row)]


def notes(rows: Sequence[Row]) -> list[str]:
    """What one has to know to read the rows, one sentence a row."""
    said = [
        f"{row.name}: " + "; ".join(filter(None, (row.peer_name and f"peer: {row.peer_name}", row.note)))
        for row in rows
    ]
    return [text for text, row in zip(said, rows, strict=True) if row.note or row.peer_name]


HEADER = ("figure", "neuropil", "peer", "ratio", "unit", "goal", "met")


def show(rows: Sequence[Row], title: str, console: Console | None = None) -> None:
    """Print the rows as a table."""
    console = console or Console()
    table = Table(title=title, title_justify="left")
    for name in HEADER:
        table.add_column(name, justify="right" if name in {"neuropil", "peer", "ratio"} else "left", overflow="fold")
    for row in rows:
        style = "red" if row.met is False else "dim" if row.ours is None else None
        table.add_row(*cells(row), style=style)
    console.print(table)
    for text in notes(rows):
        console.print(f"  {text}", style="dim", highlight=False, markup=False)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": load,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def to_json(results: dict[str, list[Row]]) -> dict[str, Any]:
    """Rows of every benchmark and the machine, ready for a file."""
    return {"machine": machine(), "results": {name: [asdict(row) for row in rows] for name, rows in results.items()}}


def markdown(document: dict[str, Any]) -> str:
    """The recorded figures as a Markdown table, under a line that says where they come from."""
    where = document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    lines = [
        f"{where['date']}, {where['cpu']}, {where['cores']} cores (load {where['load']:.1f} at the end), {where['system']}, "
        f"Python {where['python']}; {versions}.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    rows = [Row(**row) for rows in document["results"].values() for row in rows]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in cells(row)) + " |" for row in rows]
    lines += ["", *(f"- {text}" for text in notes(rows))]
    return "\n".join(lines)


def record(results: dict[str, list[Row]], path: Path, readme: Path) -> None:
    """Write `results` to the JSON file `path`, beside what it holds of other benchmarks, and their table into `readme`."""
    document = to_json(results)
    if path.exists():
        document["results"] = json.loads(path.read_text())["results"] | document["results"]
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    text = readme.read_text()
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{START}\n{markdown(document)}\n{END}{after}")
