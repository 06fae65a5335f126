"""What commands print: tables for people, JSON for programs, one sentence for errors."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer


def fail(message: str, code: int = 2) -> NoReturn:
    """One sentence on standard error, and out."""
    typer.echo("neuropil: " + " ".join(message.split()), err=True)
    sys.exit(code)


def strict(value: Any) -> Any:
    """The same value with NaN and infinity as null, as strict JSON asks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def print_json(value: Any) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(strict(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """A table as wide as the terminal; piped, as wide as its content."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row])
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
