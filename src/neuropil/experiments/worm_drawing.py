"""The picture of `neuropil worm`: the wiring, the responses in the same order of neurons, and what one predicts of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.datasets.worm import Connectome, SignalPropagation
from neuropil.datasets.worm_neurons import KINDS
from neuropil.display import COLOURS
from neuropil.latent.structure_function import ALPHA, contacts

WORDS = {
    "direct": "direct\ncontacts",
    "paths": "two\nsteps",
    "resolvent": "all paths\n(resolvent)",
    "degree": "degrees\nonly",
}


class Matrices(NamedTuple):
    """Wiring and responses in one order."""

    name: str
    """Of the connectome."""
    wiring: ndarray
    """Logarithm of one plus all contacts, (post, pre)."""
    responses: ndarray
    """1 where the neuron of the row responds to that of the column, 0 where not, NaN where it was not measured."""
    kinds: list[str]
    """Of every neuron, in the order of rows and columns."""


def arranged(name: str, connectome: Connectome, atlas: SignalPropagation) -> Matrices:
    """Neurons by kind and, within a kind, from head to tail; those of the atlas that a connectome does not name are left out."""
    neurons = connectome.neurons()
    rank = {kind: k for k, kind in enumerate(KINDS)}
    order = np.lexsort([neurons["y"].to_numpy(), neurons["kind"].map(rank).to_numpy()])
    names = [connectome.order[k] for k in order]
    known = {neuron: k for k, neuron in enumerate(atlas.order)}
    responses = np.full((len(names), len(names)), np.nan)
    there = np.array([k for k, neuron in enumerate(names) if neuron in known], dtype=np.int64)
    of_atlas = np.array([known[names[k]] for k in there], dtype=np.int64)
    measured = np.where(atlas.measured, (atlas.q < ALPHA) * 1.0, np.nan)
    responses[np.ix_(there, there)] = measured[np.ix_(of_atlas, of_atlas)]
    return Matrices(name, contacts(connectome)[np.ix_(order, order)], responses, neurons["kind"].iloc[order].tolist())


def draw(table: pd.DataFrame, matrices: Matrices, titles: dict[str, str]) -> Any:
    """A figure with both matrices and one panel of scores for what the wiring is compared with."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(table["against"]))
    figure = Figure(figsize=(8.6 + 4.6 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, 2 + len(panels), squeeze=False, width_ratios=[1, 1, *[1.05] * len(panels)])[0]
    wiring = _matrix(axes[0], matrices.wiring, matrices.kinds, "Greys")
    axes[0].set_title(f"Contacts ({Path(matrices.name).name})", fontsize=10, loc="left")
    figure.colorbar(wiring, ax=axes[0], shrink=0.6, label="log(1 + contacts)")
    shown = np.where(np.isnan(matrices.responses), 0, 1 + np.nan_to_num(matrices.responses))
    _matrix(axes[1], shown, matrices.kinds, ListedColormap(["#e7e7ea", "#ffffff", COLOURS[1]]), top=2)
    axes[1].set_title("Responses to stimulation", fontsize=10, loc="left")
    for colour, words, height in ((COLOURS[1], "responds", -0.13), ("#9a9aa2", "grey: not measured", -0.185)):
        axes[1].text(1.0, height, words, transform=axes[1].transAxes, color=colour, fontsize=8, ha="right")
    for axis, against in zip(axes[2:], panels, strict=True):
        _scores(axis, table[table["against"] == against], titles[against], 0.5 if against == "propagation" else 0.0)
    figure.suptitle("What the worm's wiring predicts", fontsize=12)
    return figure


def _matrix(axis: Any, values: ndarray, kinds: list[str], colours: Any, top: float | None = None) -> Any:
    image = axis.imshow(values, cmap=colours, vmin=0, vmax=top, interpolation="nearest", aspect="equal")
    present = [kind for kind in KINDS if kind in kinds]
    starts = [kinds.index(kind) for kind in present]
    stops = [*starts[1:], len(kinds)]
    for edge in starts[1:]:
        axis.axhline(edge - 0.5, color=COLOURS[0], linewidth=0.6)
        axis.axvline(edge - 0.5, color=COLOURS[0], linewidth=0.6)
    wide = [(a, b, kind) for a, b, kind in zip(starts, stops, present, strict=True) if b - a > 20]
    at, words = [(a + b) / 2 for a, b, _ in wide], [kind for _, _, kind in wide]
    axis.set_xticks(at, words, fontsize=8)
    axis.set_yticks(at, words, fontsize=8, rotation=90, va="center")
    axis.tick_params(length=0)
    axis.set_xlabel("from", fontsize=9)
    axis.set_ylabel("to", fontsize=9)
    return image


def _scores(axis: Any, rows: pd.DataFrame, title: str, chance: float) -> None:
    names, kinds = list(dict.fromkeys(rows["connectome"])), list(dict.fromkeys(rows["prediction"]))
    width = min(0.22, 0.8 / len(names))
    for k, name in enumerate(names):
        mine = rows[rows["connectome"] == name].set_index("prediction").loc[kinds]
        at = [position + (k - (len(names) - 1) / 2) * width for position in range(len(kinds))]
        spread = [(mine["score"] - mine["low"]).clip(lower=0), (mine["high"] - mine["score"]).clip(lower=0)]
        axis.errorbar(
            at, mine["score"], yerr=spread, fmt="o", markersize=5, linewidth=1.4, color=COLOURS[k % len(COLOURS)],
            label=Path(name).name,
        )  # fmt: skip
    axis.axhline(chance, color="0.55", linewidth=1, linestyle="--", zorder=0)
    axis.text(len(kinds) - 0.45, chance, " chance", color="0.45", fontsize=8, ha="right", va="bottom")
    axis.set_xlim(-0.5, len(kinds) - 0.45)
    axis.set_xticks(range(len(kinds)), [WORDS.get(kind, kind) for kind in kinds], fontsize=8)
    axis.tick_params(axis="y", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    pairs = ", ".join(sorted({f"{n:,}" for n in rows["n_pairs"]}))
    axis.set_title(f"{title}\n{pairs} pairs, 95 % intervals", fontsize=9, loc="left")
    axis.legend(fontsize=8, frameon=False, loc="upper left", ncols=min(len(names), 3))
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.12 * (high - low))
