"""Drawings of hidden structure: rasters with decoded states, transition graphs, connectivity by community, trajectories, intervals.

`draw` puts one record of `neuropil.findings` into a matplotlib figure, `save` into a file, `page` all of them into one HTML page.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.display import COLOURS
from neuropil.errors import UsageError
from neuropil.explain.page import document
from neuropil.explain.plots import data_uri, new_figure
from neuropil.findings import (
    Connectivity,
    Curves,
    Findings,
    Heatmap,
    Intervals,
    Panel,
    Raster,
    Trajectories,
    TransitionGraph,
)

MAX_NAMES = 48
MAX_BINS = 1500
MAX_PATHS = 8
LEAST_ARROW = 0.005
INK, SOFT = "#1c2430", "#5b6675"


def save(panel: Panel, path: str | Path) -> Path:
    """Draw one record into a picture (.png, .pdf, .svg)."""
    figure = drawn(panel)
    figure.savefig(path, facecolor="white")
    return Path(path)


def drawn(panel: Panel, *, titled: bool = True) -> Any:
    """One record as a matplotlib figure, with its title unless that stands elsewhere."""
    figure = new_figure(*size(panel))
    figure.set_layout_engine("constrained")
    if titled:
        figure.suptitle(panel.title, fontsize=10.5, x=0.01, ha="left", color=INK)
    draw(panel, figure)
    return figure


def page(title: str, lead: str, findings: Findings) -> str:
    """All pictures of what a model found, and its numbers, as one HTML page that needs no network and runs no script."""
    numbers = (
        f"<tr><th>{escape(str(k).replace('_', ' '))}</th><td>{escape(_plain(v))}</td></tr>"
        for k, v in findings.summary.items()
    )
    pictures = "".join(_section(panel) for panel in findings.panels.values())
    return document(title, lead, f"<table>{''.join(numbers)}</table>{pictures}")


def _section(panel: Panel) -> str:
    title, source = escape(panel.title), data_uri(drawn(panel, titled=False))
    return f'<section><h2>{title}</h2><figure><img src="{source}" alt="{title}"></figure></section>'


@singledispatch
def size(panel: Panel) -> tuple[float, float]:
    """Width and height of a record's picture in inches."""
    return 7.0, 3.2


@size.register
def _(panel: Raster) -> tuple[float, float]:
    return 9.0, 1.6 + 0.08 * min(max(panel.counts.shape[1], 8), 60)


@size.register
def _(panel: TransitionGraph) -> tuple[float, float]:
    return 4.6, 4.6


@size.register
def _(panel: Connectivity) -> tuple[float, float]:
    return 5.6, 5.0


@size.register
def _(panel: Heatmap) -> tuple[float, float]:
    rows, columns = panel.values.shape
    return float(np.clip(2.5 + 0.14 * columns, 4.5, 9.0)), float(np.clip(1.6 + 0.14 * rows, 2.4, 8.0))


@size.register
def _(panel: Trajectories) -> tuple[float, float]:
    return 8.0, 0.9 + 1.4 * min(len(panel.paths), MAX_PATHS)


@size.register
def _(panel: Intervals) -> tuple[float, float]:
    return float(np.clip(2 + 0.16 * len(panel.names), 5.0, 11.0)), 3.2


@singledispatch
def draw(panel: Panel, figure: Any) -> None:
    """Draw one record of `neuropil.findings` into a matplotlib figure."""
    raise UsageError(f"There is no drawing of a {type(panel).__name__}; use the records of neuropil.findings.")


@draw.register
def _(panel: Raster, figure: Any) -> None:
    axis = figure.subplots()
    counts = np.asarray(panel.counts, dtype=float)
    order = np.arange(counts.shape[1]) if panel.order is None else np.asarray(panel.order)
    if panel.order is None and panel.communities is not None:
        order = np.argsort(panel.communities, kind="stable")
    step, unit = (1.0, "bin") if not panel.sfreq else (1 / panel.sfreq, "time (s)")
    shown = counts[:MAX_BINS, order]
    end = len(shown) * step
    if panel.states is not None:
        _states_behind(axis, np.asarray(panel.states)[:MAX_BINS], step, len(order))
    whole = np.isfinite(shown) & (shown == np.floor(shown)) | ~np.isfinite(shown)
    if whole.all() and np.nanmin(shown) >= 0:
        time, unit_index = np.nonzero(np.nan_to_num(shown) > 0)
        height = np.clip(shown[time, unit_index], 1, 4)
        axis.vlines(
            (time + 0.5) * step,
            unit_index - 0.1 - 0.1 * height,
            unit_index + 0.1 + 0.1 * height,
            color=INK,
            linewidth=0.7,
        )
    else:
        limit = np.nanpercentile(np.abs(shown), 99) or 1.0
        axis.imshow(
            shown.T,
            aspect="auto",
            cmap="Greys",
            vmin=0 if np.nanmin(shown) >= 0 else -limit,
            vmax=limit,
            alpha=0.75,
            extent=(0, end, len(order) - 0.5, -0.5),
            interpolation="nearest",
        )
    axis.set(xlim=(0, end), ylim=(len(order) - 0.4, -0.6), xlabel=unit)
    _named(axis.yaxis, [panel.names[int(k)] for k in order])
    if len(counts) > MAX_BINS:
        axis.set_title(f"the first {MAX_BINS} of {len(counts)} bins", fontsize=8, loc="right", color=SOFT)
    if panel.communities is not None:
        _borders(axis, np.asarray(panel.communities)[order], vertical=False)


def _states_behind(axis: Any, states: ndarray, step: float, n_units: int) -> None:
    edges = np.flatnonzero(np.diff(states)) + 1
    for first, last in zip([0, *edges], [*edges, len(states)], strict=True):
        axis.axvspan(
            first * step, last * step, color=COLOURS[int(states[first]) % len(COLOURS)], alpha=0.28, linewidth=0
        )
    from matplotlib.patches import Patch

    seen = np.unique(states)[: 2 * len(COLOURS)]
    patches = [Patch(color=COLOURS[int(k) % len(COLOURS)], alpha=0.45, label=f"state {k}") for k in seen]
    axis.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(len(seen), 8), fontsize=7.5, frameon=False
    )


@draw.register
def _(panel: TransitionGraph, figure: Any) -> None:
    from matplotlib.patches import FancyArrowPatch

    axis = figure.subplots()
    transition = np.asarray(panel.transition, dtype=float)
    n = len(transition)
    names = list(panel.names) if panel.names is not None else [str(k) for k in range(n)]
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1) if n > 1 else np.zeros((1, 2))
    away = transition.copy()
    np.fill_diagonal(away, 0)
    largest = away.max(initial=0) or 1.0
    for a, b in np.argwhere(away >= LEAST_ARROW):
        share = away[a, b] / largest
        axis.add_patch(
            FancyArrowPatch(
                places[a],
                places[b],
                connectionstyle="arc3,rad=0.16",
                arrowstyle="-|>",
                mutation_scale=9 + 6 * share,
                shrinkA=24,
                shrinkB=24,
                linewidth=0.6 + 2.6 * share,
                color=SOFT,
                alpha=0.35 + 0.6 * share,
            )
        )
        middle = 0.5 * (places[a] + places[b])
        side = np.array([places[b][1] - places[a][1], places[a][0] - places[b][0]])
        if n <= 6 or share > 0.5:
            axis.text(*(middle + 0.12 * side), f"{away[a, b]:.2f}", fontsize=7.5, ha="center", va="center", color=INK)
    for k, place in enumerate(places):
        axis.scatter(
            *place,
            s=1100 if len(names[k]) < 4 else 1800,
            color=COLOURS[k % len(COLOURS)],
            zorder=3,
            edgecolor="white",
            linewidth=1.5,
        )
        axis.text(
            *place,
            f"{names[k]}\n{transition[k, k]:.2f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="white",
            zorder=4,
        )
    axis.set(xlim=(-1.45, 1.45), ylim=(-1.4, 1.4), aspect="equal")
    axis.axis("off")
    axis.set_title("in the circles: probability of staying", fontsize=8, loc="left", color=SOFT)


@draw.register
def _(panel: Connectivity, figure: Any) -> None:
    axis = figure.subplots()
    weights = np.asarray(panel.weights, dtype=float)
    n = len(weights)
    order = np.arange(n) if panel.communities is None else np.argsort(panel.communities, kind="stable")
    signed = np.nanmin(weights) < 0
    limit = np.nanpercentile(np.abs(weights), 99.5) or np.nanmax(np.abs(weights)) or 1.0
    image = axis.imshow(
        weights[np.ix_(order, order)],
        cmap="RdBu_r" if signed else "magma_r",
        vmin=-limit if signed else 0,
        vmax=limit,
        interpolation="nearest",
    )
    names = [panel.names[int(k)] for k in order]
    _named(axis.xaxis, names, rotate=True)
    _named(axis.yaxis, names)
    if panel.directed:
        axis.set(xlabel="from (pre)", ylabel="to (post)")
    if panel.communities is not None:
        for vertical in (False, True):
            _borders(axis, np.asarray(panel.communities)[order], vertical=vertical)
    figure.colorbar(image, ax=axis, shrink=0.8, label=panel.label)


@draw.register
def _(panel: Heatmap, figure: Any) -> None:
    axis = figure.subplots()
    values = np.asarray(panel.values, dtype=float)
    signed = np.nanmin(values) < 0
    limit = np.nanmax(np.abs(values)) or 1.0
    image = axis.imshow(
        values,
        aspect="auto",
        cmap="RdBu_r" if signed else "magma_r",
        vmin=-limit if signed else 0,
        vmax=limit,
        interpolation="nearest",
    )
    _named(axis.xaxis, list(panel.columns), rotate=True)
    _named(axis.yaxis, list(panel.rows))
    axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    figure.colorbar(image, ax=axis, label=panel.label)


@draw.register
def _(panel: Trajectories, figure: Any) -> None:
    names = list(panel.paths)[:MAX_PATHS]
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    step, unit = (1.0, "bin") if not panel.sfreq else (1 / panel.sfreq, "time (s)")
    for axis, name in zip(axes, names, strict=True):
        path = np.asarray(panel.paths[name], dtype=float)
        path = path[:, None] if path.ndim == 1 else path
        time = np.arange(len(path)) * step
        for k in range(path.shape[1]):
            colour = COLOURS[k % len(COLOURS)]
            if panel.bands and name in panel.bands:
                lower, upper = (np.asarray(edge).reshape(path.shape) for edge in panel.bands[name])
                axis.fill_between(time, lower[:, k], upper[:, k], color=colour, alpha=0.22, linewidth=0)
            axis.plot(time, path[:, k], color=colour, linewidth=1.1)
            if panel.truth and name in panel.truth:
                axis.plot(
                    time,
                    np.asarray(panel.truth[name]).reshape(path.shape)[:, k],
                    color=INK,
                    linewidth=0.8,
                    linestyle="--",
                )
        axis.set_ylabel(name, fontsize=8.5)
        _quiet(axis)
    axes[-1].set_xlabel(unit, fontsize=8.5)
    axes[-1].set_xlim(0, max(time[-1], step))
    notes = ["bands: 95 % of the posterior"] * bool(panel.bands) + ["dashed: truth"] * bool(panel.truth)
    notes += [f"{len(names)} of {len(panel.paths)} shown"] * (len(panel.paths) > len(names))
    if notes:
        axes[0].set_title("; ".join(notes), fontsize=8, loc="right", color=SOFT)


@draw.register
def _(panel: Curves, figure: Any) -> None:
    axis = figure.subplots()
    for k, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[k % len(COLOURS)]
        style = "-" if k < len(COLOURS) else "--"
        if panel.bands and name in panel.bands:
            axis.fill_between(panel.x, *panel.bands[name], color=colour, alpha=0.2, linewidth=0)
        marker = "o" if len(panel.x) <= 12 else None
        axis.plot(panel.x, values, style, color=colour, linewidth=1.4, marker=marker, markersize=4, label=name)
    axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    if len(panel.lines) > 1:
        axis.legend(fontsize=7.5, frameon=False, ncols=2 if len(panel.lines) > 6 else 1)
    _quiet(axis)


@draw.register
def _(panel: Intervals, figure: Any) -> None:
    axis = figure.subplots()
    centre, lower, upper = (np.asarray(v, dtype=float) for v in (panel.centre, panel.lower, panel.upper))
    at = np.arange(len(centre))
    axis.vlines(at, lower, upper, color=COLOURS[0], linewidth=2.0, alpha=0.5)
    axis.plot(at, centre, "o", color=COLOURS[0], markersize=4)
    _named(axis.xaxis, list(panel.names), rotate=True)
    axis.set(ylabel=panel.label, xlim=(-0.7, len(at) - 0.3))
    axis.set_title("lines: 95 % intervals", fontsize=8, loc="right", color=SOFT)
    _quiet(axis)


def _quiet(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _named(side: Any, names: list[str], *, rotate: bool = False) -> None:
    """Names beside their rows or columns; of many, as many as can be read."""
    every = int(np.ceil(len(names) / MAX_NAMES))
    ticks = np.arange(0, len(names), every)
    side.set_ticks(ticks, [str(names[k]) for k in ticks], fontsize=7 if len(names) <= 30 else 5.5)
    if rotate:
        side.set_tick_params(rotation=90 if max(map(len, map(str, names)), default=0) > 2 else 0)


def _borders(axis: Any, communities: ndarray, *, vertical: bool) -> None:
    line = axis.axvline if vertical else axis.axhline
    for k in np.flatnonzero(np.diff(communities)):
        line(k + 0.5, color=INK, linewidth=0.8)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)
