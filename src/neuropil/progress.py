"""Progress that a person sees: a bar with time left, on standard error, only where somebody is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_shown = 0


def watched() -> bool:
    """True if standard error is a terminal."""
    return bool(getattr(sys.stderr, "isatty", lambda: False)())


def _silent(text: str = "", steps: int = 1) -> None:
    """Nobody is watching."""


@contextmanager
def bar(title: str, total: int, show: bool | None = None, *, done: int = 0) -> Iterator[Callable[[str, int], None]]:
    """A progress bar; call what it yields with a short text and the number of steps made.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        Steps in all.
    show : bool, optional
        By default shown if standard error is a terminal and no other bar is on the screen.
    done : int
        Steps made already.
    """
    global _shown
    if not (watched() and not _shown if show is None else show):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    _shown += 1
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as screen:
            task = screen.add_task(title, total=total, completed=done, note="")

            def advance(text: str = "", steps: int = 1) -> None:
                screen.update(task, advance=steps, note=text)

            yield advance
    finally:
        _shown -= 1


@contextmanager
def epochs_bar(
    title: str, total: int, show: bool | None = None, *, done: int = 0
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A bar over epochs that shows the last row of the history beside the time left."""
    with bar(title, total, show, done=done) as advance:
        yield lambda row: advance("  ".join(f"{name} {value:.4g}" for name, value in row.items()), 1)
