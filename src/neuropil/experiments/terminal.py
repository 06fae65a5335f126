"""A comparison on the terminal: one leaderboard a split, with a bar for every score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from neuropil.experiments.comparison import Comparison
    from neuropil.experiments.event_scores import EventSummary
    from neuropil.experiments.leaderboard import Board, Standing

BAR = 24


def interval_bar(standing: Standing, low: float, high: float, width: int = BAR) -> Text:
    """Score (●), interval (─) and chance level (┊) between `low` and `high`, `width` characters wide."""

    def column(value: float) -> int:
        share = 0.0 if high <= low else (value - low) / (high - low)
        return min(width - 1, max(0, round(share * (width - 1))))

    cells = [" "] * width
    cells[column(standing.chance)] = "┊"
    for k in range(column(standing.low), column(standing.high) + 1):
        cells[k] = "─"
    cells[column(standing.score)] = "●"
    return Text("".join(cells), style="" if standing.above_chance else "dim")


def seconds_text(seconds: float) -> str:
    """Seconds with as many digits as matter.

    Examples
    --------
    >>> seconds_text(0.0314), seconds_text(2.345), seconds_text(74.2)
    ('31 ms', '2.3 s', '74 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Every leaderboard, what is missing, and how to repeat it."""
    for plan, board in zip(comparison.plans, comparison.boards, strict=True):
        aligned = f", {comparison.align} alignment" if comparison.align else ""
        title = f"{comparison.material.name}, split {plan.name}{aligned}: {comparison.metric.label}"
        console.print(Text(title, style="bold"))
        console.print(Text(f"{plan.description}", style="dim"))
        console.print(_table(comparison, board))
        if comparison.events:
            console.print(_events_table(comparison, board))
    if comparison.reference is not None:
        value, source = comparison.reference
        own = comparison.own_accuracy
        best = max(own, key=lambda name: own[name])
        console.print(Text(f"Accuracy on the own split: {best} {own[best]:.3f}; {source}: {value:.3f}."))
    for line in not_applicable_lines(comparison):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    console.print(
        Text(
            "● score, ─ 95 % interval, ┊ chance; decoders that share a letter cannot be told apart (Holm, 5 %).",
            style="dim",
        )
    )
    console.print(Text(f"Again: {comparison.command}", style="dim"), soft_wrap=True)


def _table(comparison: Comparison, board: Board) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("decoder", "score", "95 % interval", "", "above chance?", "letters", "fit", "predict a window"):
        table.add_column(
            name, justify="left" if name in ("decoder", "", "letters", "above chance?") else "right", no_wrap=True
        )
    standings = board.standings
    low = min(min(s.low, s.chance) for s in standings)
    high = max(max(s.high, s.chance) for s in standings)
    for standing in standings:
        verdict = (
            f"yes (p {p_text(standing.p_chance)})" if standing.above_chance else f"no (p {p_text(standing.p_chance)})"
        )
        table.add_row(
            escape(standing.system),
            f"{standing.score:.3f}",
            f"{standing.low:.3f} to {standing.high:.3f}",
            interval_bar(standing, low, high),
            verdict,
            standing.letters,
            seconds_text(standing.fit_seconds),
            f"{standing.predict_ms:.2f} ms",
        )
    for system in comparison.missing(board.split):
        table.add_row(escape(system), "", "", Text("not applicable", style="dim"))
    return table


def _events_table(comparison: Comparison, board: Board) -> Table:
    """What a user of the decoder would notice: trials and idle time instead of windows."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("decoder", "trials", "hit", "wrong class", "latency", "false activations", "idle time active"):
        table.add_column(name, justify="left" if name == "decoder" else "right", no_wrap=True)
    for standing in board.standings:
        table.add_row(escape(standing.system), *event_cells(comparison.events[board.split, standing.system]))
    return table


def event_cells(events: EventSummary) -> list[str]:
    """The figures of a row about whole trials, in the order of the table's columns.

    Examples
    --------
    >>> from neuropil.experiments.event_scores import EventSummary
    >>> event_cells(EventSummary(20, 0.75, 0.1, 1.52, 2.345, float("nan")))
    ['20', '75 %', '10 %', '1.5 s', '2.3 a minute', '-']
    """

    def shown(value: float, form: str, scale: float = 1.0) -> str:
        return form.format(scale * value) if math.isfinite(value) else "-"

    return [
        shown(events.n_trials, "{:.0f}"),
        shown(events.hits, "{:.0f} %", 100),
        shown(events.wrong, "{:.0f} %", 100),
        shown(events.latency_s, "{:.1f} s"),
        shown(events.false_per_min, "{:.1f} a minute"),
        shown(events.idle_active, "{:.0f} %", 100),
    ]


def not_applicable_lines(comparison: Comparison) -> list[str]:
    """Decoders that could not be fitted and why; one line for one reason, whatever the splits."""
    where: dict[tuple[str, str], list[str]] = {}
    for (system, split), reason in comparison.not_applicable.items():
        where.setdefault((system, reason), []).append(split)
    everywhere = len(comparison.splits)
    return [
        f"Not applicable: {system}{'' if len(splits) == everywhere else ' on ' + ', '.join(splits)}. {reason}"
        for (system, reason), splits in where.items()
    ]


def p_text(p: float) -> str:
    """A p-value as one prints it.

    Examples
    --------
    >>> p_text(0.00012), p_text(0.034), p_text(1.0)
    ('< 0.001', '0.034', '1.000')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
