"""The report of a comparison: one HTML file that opens anywhere, needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import neuropil
from neuropil.experiments import report_sections as sections
from neuropil.experiments.comparison import Comparison
from neuropil.experiments.inputs import environment
from neuropil.experiments.leaderboard import Board
from neuropil.experiments.report_sections import paragraph
from neuropil.storage import atomic_write_text

MAX_WARNINGS = 12
MAX_NAMED = 3


@cache
def _template(name: str) -> str:
    return resources.files("neuropil.experiments").joinpath("templates", name).read_text(encoding="utf-8")


def write_report(comparison: Comparison, path: str | Path) -> Path:
    """Write the report, whole or not at all.

    Raises
    ------
    DataError
        If the place cannot be written.
    """
    return atomic_write_text(path, render(comparison))


def render(comparison: Comparison) -> str:
    """The report as text."""
    return Template(_template("report.html")).substitute(
        version=escape(neuropil.__version__),
        style=_template("report.css"),
        title=escape(f"Decoders compared on {comparison.material.name}"),
        lead=_lead(comparison),
        data=_data(comparison),
        leaderboards="".join(
            sections.leaderboard(comparison, plan, board)
            for plan, board in zip(comparison.plans, comparison.boards, strict=True)
        )
        + sections.left_out(comparison),
        points=sections.points_section(comparison),
        confusion=sections.confusion_section(comparison),
        curves=sections.curves_section(comparison),
        patterns=sections.patterns_section(comparison),
        provenance=_provenance(comparison),
    )


def _listing(names: Iterable[str], conjunction: str = "and") -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {conjunction} {names[-1]}"


def _definitions(pairs: Iterable[tuple[str, Any]]) -> str:
    rows = [(name, value) for name, value in pairs if value not in ("", None, [], ())]
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows) + "</dl>"


def _lead(comparison: Comparison) -> str:
    sentences = [_verdict(comparison, board) for board in comparison.boards]
    if comparison.reference is not None:
        value, source = comparison.reference
        own = comparison.own_accuracy
        best = max(own, key=lambda name: own[name])
        sentences.append(
            f"Published on the data set's own split: accuracy {value:.3f} ({source}); here {best} reaches {own[best]:.3f}."
        )
    return "".join(paragraph(sentence, "lead") for sentence in sentences)


def _verdict(comparison: Comparison, board: Board) -> str:
    first, *others = board.standings
    said = (
        f"On the split “{board.split}”, {first.system} scores best: {comparison.metric.label.lower()} {first.score:.3f} "
        f"(95 % interval {first.low:.3f} to {first.high:.3f})"
    )
    alike = [s.system for s in others if set(s.letters) & set(first.letters)]
    if alike:
        who = _listing(alike) if len(alike) <= MAX_NAMED else f"{len(alike)} others"
        said += f"; {who} cannot be told apart from it ({board.brief})"
    missing = comparison.missing(board.split)
    lost = [s.system for s in board.standings if not s.above_chance]
    if lost:
        said += f"; not above chance: {_listing(lost)}"
    if missing:
        said += f"; not applicable here: {_listing(missing)}"
    return said + "."


def _data(comparison: Comparison) -> str:
    material, facts = comparison.material, comparison.material.facts
    X, y = material.X, material.y
    counts = ", ".join(f"{c} {int((y == c).sum())}" for c in material.classes)
    sfreq, seconds = X.attrs.get("sfreq"), material.seconds
    subjects = len(np.unique(X["subject"].values.astype(str))) if "subject" in X.coords else None
    channels = [str(c) for c in X["channel"].values] if "channel" in X.coords else []
    shown = ", ".join(channels[:32]) + (f" … ({len(channels)})" if len(channels) > 32 else "")
    rows = [
        ("Title", facts.get("title", "")),
        ("What", facts.get("description", "")),
        ("Modality", facts.get("modality") or X.attrs.get("modality", "")),
        ("Windows", f"{len(X)} ({counts})"),
        (
            "Window",
            f"{seconds:g} s, {X.sizes['time']} samples at {sfreq:g} Hz" if seconds else f"{X.sizes['time']} samples",
        ),
        ("Options", ", ".join(f"{k} {v}" for k, v in material.options.items())),
        ("Cut", ", ".join(f"{k} {v}" for k, v in material.cut.items())),
        (
            "Alignment",
            f"{comparison.align}, by subject and session, online for test windows" if comparison.align else "",
        ),
        ("Channels", f"{X.sizes['channel']}: {shown}" if shown else X.sizes["channel"]),
        ("Subjects", subjects),
        ("Source", facts.get("provenance", "")),
        ("Licence", facts.get("licence", "")),
        ("Cite", " ".join(map(str, facts.get("citations", ())))),
        ("DOI", facts.get("doi", "")),
    ]
    note = str(facts.get("notes") or "")
    warning = f'<p class="warn"><b>Before you believe a result:</b> {escape(note)}</p>' if note else ""
    return f'<div class="card">{_definitions(rows)}</div>{warning}'


def _provenance(comparison: Comparison) -> str:
    versions = environment()
    fits = [r for split in comparison.results.values() for folds in split.values() for seeds in folds for r in seeds]
    spent = sum(r["fit_seconds"] + r["predict_seconds"] for r in fits)
    said = list(dict.fromkeys(f"{name}: {message}" for name, message in _warnings(comparison)))
    rows = [
        ("Fits", f"{comparison.n_fits}, of which {comparison.n_stored} were stored by an earlier run"),
        (
            "Time",
            f"{comparison.seconds:.0f} s for this run; {spent:.0f} s of fitting and predicting on the leaderboards",
        ),
        ("Decoders", "; ".join(f"{d.name} = {' '.join(repr(d.estimator).split())}" for d in comparison.decoders)),
        ("Seeds", comparison.seeds),
        ("Metric", comparison.metric.label + (f" ({comparison.metric.unit})" if comparison.metric.unit else "")),
        ("Results", comparison.root),
        ("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
    ]
    warned = "".join(f"<li>{escape(text)}</li>" for text in said[:MAX_WARNINGS])
    return (
        f'{paragraph("To repeat it:")}<pre>{escape(comparison.command)}</pre><div class="card">{_definitions(rows)}</div>'
        + (
            f"<details><summary>Warnings while fitting ({len(said)})</summary><ul>{warned}</ul></details>"
            if said
            else ""
        )
    )


def _warnings(comparison: Comparison) -> list[tuple[str, str]]:
    return [
        (system, message)
        for split in comparison.results.values()
        for system, folds in split.items()
        for seeds in folds
        for result in seeds
        for message in result["warnings"]
    ]
