"""Connectomes as their authors publish them: workbooks with matrices (Cook 2019) or lists of edges (Witvliet 2021), and matrices as text.

A matrix has the names of neurons in one row and one column, wherever these are in the sheet; a row is a presynaptic cell, a column a
postsynaptic one. Workbooks need the package openpyxl; sheets that were saved as text need nothing.

Cook et al. (2019). Whole-animal connectomes of both Caenorhabditis elegans sexes. Nature 571, supplementary information 5. Witvliet et al.
(2021). Connectomes across development reveal principles of brain maturation. Nature 596.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuropil.datasets.worm_files import EDGE_COLUMNS, EDGE_TYPES, check_edges, read_edges
from neuropil.datasets.worm_names import clean_label
from neuropil.errors import DataError, UsageError, require

FEWEST_NAMES = 2
WORKBOOKS = (".xlsx", ".xlsm")


def read_connectome_file(source: str | Path | Mapping[str, str | Path]) -> pd.DataFrame:
    """A table of edges (pre, post, type, synapses) from a table of edges, a workbook, or matrices by type.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError, UsageError
        If it holds no connectome.
    MissingExtraError
        If it is a workbook and openpyxl is not installed.
    """
    if isinstance(source, Mapping):
        unknown = [kind for kind in source if kind not in EDGE_TYPES]
        if unknown or not source:
            raise UsageError(
                f"Matrices are named {' and '.join(EDGE_TYPES)}, got {', '.join(map(repr, unknown)) or 'none'}."
            )
        return pd.concat([edges_of_matrix(_text(Path(path)), kind, str(path)) for kind, path in source.items()])
    path = Path(source)
    return _of_workbook(path) if path.suffix.lower() in WORKBOOKS else read_edges(path)


def edges_of_matrix(cells: list[list[Any]], kind: str, name: str = "The matrix") -> pd.DataFrame:
    """Edges of a sheet's cells, where one row and one column hold the names of neurons; empty cells are 0.

    Raises
    ------
    DataError
        If there is no such row and column, or a weight is no number of 0 or more.

    Examples
    --------
    >>> edges_of_matrix([["", "ADAL", "AVBR"], ["ADAL", "", 7], ["AVBR", 1, ""]], "chemical").values.tolist()
    [['ADAL', 'AVBR', 'chemical', 7.0], ['AVBR', 'ADAL', 'chemical', 1.0]]
    """
    width = max((len(row) for row in cells), default=0)
    grid = np.full((len(cells), width), None, dtype=object)
    for k, row in enumerate(cells):
        grid[k, : len(row)] = row
    named = np.array([[bool(clean_label(cell).neuron) for cell in row] for row in grid], dtype=bool).reshape(grid.shape)
    if not named.size or named.sum(axis=1).max() < FEWEST_NAMES or named.sum(axis=0).max() < FEWEST_NAMES:
        raise DataError(
            f"{name} must have a row and a column with the names of neurons, as a matrix of a connectome has, or be a table with the "
            f"columns {', '.join(EDGE_COLUMNS)}."
        )
    top, left = int(named.sum(axis=1).argmax()), int(named.sum(axis=0).argmax())
    rows = [k for k in range(top + 1, len(grid)) if _is_name(grid[k, left])]
    columns = [k for k in range(left + 1, width) if _is_name(grid[top, k])]
    edges = []
    for i in rows:
        for j in columns:
            weight = _weight(grid[i, j])
            if weight is None:
                raise DataError(
                    f"{name} needs a number of 0 or more from {grid[i, left]} to {grid[top, j]}, it has {grid[i, j]!r}."
                )
            if weight:
                edges.append((str(grid[i, left]), str(grid[top, j]), kind, weight))
    return pd.DataFrame(edges, columns=list(EDGE_COLUMNS))


def _of_workbook(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"Expected a workbook at {path}, found no file there; check the path.")
    openpyxl: Any = require("openpyxl", "worm")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no readable workbook; fetch it again.") from error
    sheets = {sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}
    book.close()
    return edges_of_sheets(sheets, str(path))


def edges_of_sheets(sheets: Mapping[str, list[list[Any]]], name: str) -> pd.DataFrame:
    """Edges of a workbook's sheets: one with a list of edges, or matrices whose names tell their type.

    Of several, sheets of the hermaphrodite go before those of the male, and symmetric gap junctions before asymmetric ones.
    """
    for cells in sheets.values():
        if cells and {str(cell).strip().lower() for cell in cells[0]} >= set(EDGE_COLUMNS):
            header = [str(cell).strip().lower() for cell in cells[0]]
            rows = [row for row in cells[1:] if any(cell is not None for cell in row)]
            return check_edges(pd.DataFrame(rows, columns=header)[list(EDGE_COLUMNS)], name)
    chosen = {
        "chemical": _best(sheets, ("chem",)),
        "electrical": _best(sheets, ("gap", "electr")),
    }
    if not any(chosen.values()):
        raise DataError(
            f"{name} must have a sheet with the columns {', '.join(EDGE_COLUMNS)}, or matrices whose names say chemical or gap; its "
            f"sheets are {', '.join(sheets) or 'none'}."
        )
    return pd.concat(
        [
            edges_of_matrix(sheets[sheet], kind, f"The sheet {sheet!r} of {name}")
            for kind, sheet in chosen.items()
            if sheet
        ]
    )


def _best(sheets: Mapping[str, Any], words: tuple[str, ...]) -> str | None:
    fitting = [title for title in sheets if any(word in title.lower() for word in words)]
    return min(fitting, key=lambda title: (_is_male(title), "asym" in title.lower()), default=None)


def _is_male(title: str) -> bool:
    return "male" in title.lower() and "herm" not in title.lower()


def _is_name(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip()) and _weight(cell) is None


def _weight(cell: Any) -> float | None:
    """A cell as a weight; None if it is none."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return 0.0
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) and value >= 0 else None


def _text(path: Path) -> list[list[Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected a matrix of a connectome at {path}, found no file there; check the path.")
    text = path.read_text(encoding="utf-8-sig")
    first = max(text.splitlines()[:5] or [""], key=len)
    return list(csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count)))
