"""What a model of hidden structure found, as plain records: numbers to print, tables to write, panels to draw.

A model fills in the records; `neuropil.explain.structure` draws them, so that a raster or a connectivity matrix looks alike everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from numpy import ndarray


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str


@dataclass(frozen=True)
class Raster(Panel):
    """Activity of all units over time, with the decoded states behind it.

    `counts` has shape (n_times, n_units), `states` (n_times,); `order` lists units from the top, `communities` one number a unit.
    """

    counts: ndarray
    names: Sequence[str]
    states: ndarray | None = None
    sfreq: float | None = None
    order: ndarray | None = None
    communities: ndarray | None = None


@dataclass(frozen=True)
class TransitionGraph(Panel):
    """States as circles, probabilities of moving on as arrows; `transition` has shape (from, to)."""

    transition: ndarray
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Connectivity(Panel):
    """Weights of shape (post, pre), units ordered by their community where there are any; symmetric ones are not `directed`."""

    weights: ndarray
    names: Sequence[str]
    communities: ndarray | None = None
    label: str = "weight"
    directed: bool = True


@dataclass(frozen=True)
class Trajectories(Panel):
    """Paths (n_times, n_dimensions) over time, with bands (lower, upper) of the same shape and true paths where known."""

    paths: Mapping[str, ndarray]
    bands: Mapping[str, tuple[ndarray, ndarray]] | None = None
    truth: Mapping[str, ndarray] | None = None
    sfreq: float | None = None


@dataclass(frozen=True)
class Curves(Panel):
    """Lines over `x`: filters, objectives, time courses."""

    x: ndarray
    lines: Mapping[str, ndarray]
    xlabel: str
    ylabel: str
    bands: Mapping[str, tuple[ndarray, ndarray]] | None = None


@dataclass(frozen=True)
class Heatmap(Panel):
    """A matrix of shape (row, column) whose rows and columns have names."""

    values: ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    label: str
    xlabel: str = ""
    ylabel: str = ""


@dataclass(frozen=True)
class Intervals(Panel):
    """Estimates with intervals, one a name."""

    names: Sequence[str]
    centre: ndarray
    lower: ndarray
    upper: ndarray
    label: str


@dataclass(frozen=True)
class Findings:
    """What a model found.

    Attributes
    ----------
    summary : dict
        Plain values: sizes, scores, whether the fit converged.
    tables : dict of str to DataFrame
        Written as CSV under their names.
    panels : dict of str to Panel
        Drawn as pictures under their names.
    """

    summary: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    panels: dict[str, Panel] = field(default_factory=dict)
