"""The drawings of an explanation: maps on the head (bars where no places are known), time courses, spectra, matrices."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

ON_THE_HEAD = ("eeg", "mag", "grad", "meg")
N_MAPS = 4
MAX_NAMES = 40
BLUE, RED, GREY = "#2f6db5", "#c8453b", "#5b6675"


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes
    ----------
    name : str
        Key among the figures.
    title, caption : str
        Above and below it.
    size : (float, float)
        Width and height in inches.
    draw : callable
        Draws into a matplotlib Figure or SubFigure.
    summary : str
        What it shows in words, for those who do not see it.
    """

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Any], None]
    summary: str


def head_info(names: Sequence[str], positions: Any, kinds: Sequence[str] = ()) -> Any:
    """MNE-Python's info with the sensors' places, or None where they are not all known or do not lie on a head.

    Parameters
    ----------
    names : sequence of str
    positions : array-like of shape (n_channels, 3) or None
        In m.
    kinds : sequence of str
        Sorts of the channels, if known.
    """
    if positions is None or len(names) < 4:
        return None
    xyz = np.asarray(positions, dtype=float)
    if not np.isfinite(xyz).all() or not set(map(str, kinds)) <= set(ON_THE_HEAD):
        return None
    if len(np.unique(xyz, axis=0)) < len(xyz) or len(set(names)) < len(names):
        return None
    import mne

    info = mne.create_info(list(names), 100.0, "eeg")
    places = dict(zip(names, xyz, strict=True))
    return info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose="error")


def new_figure(width: float, height: float, dpi: int = 130) -> Any:
    """A matplotlib figure that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def data_uri(figure: Any) -> str:
    """A figure as the data URI of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def topographies(values: Float[ndarray, "channel map"], titles: Sequence[str], info: Any, limit: float) -> str:
    """Maps on the head beside each other on one scale from -limit to limit, as the data URI of a PNG."""
    figure = new_figure(1.35 * len(titles), 1.6)
    draw_topographies(figure, values, titles, info, limit)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.86, wspace=0.05)
    return data_uri(figure)


def draw_topographies(
    figure: Any, values: Float[ndarray, "channel map"], titles: Sequence[str], info: Any, limit: float, unit: str = ""
) -> None:
    """Maps on the head beside each other; with a unit, a bar of colours at the right."""
    import mne

    axes = np.atleast_1d(figure.subplots(1, len(titles)))
    image = None
    for k, (title, place) in enumerate(zip(titles, axes, strict=True)):
        image, _ = mne.viz.plot_topomap(
            values[:, k], info, axes=place, show=False, cmap="RdBu_r", vlim=(-limit, limit), contours=4, sensors=True
        )
        place.set_title(plain(title), fontsize=9)
    if unit:
        colours = figure.colorbar(image, ax=list(axes), shrink=0.7, fraction=0.03, pad=0.02)
        colours.set_label(unit, fontsize=8)
        colours.ax.tick_params(labelsize=7)


def draw_channels(
    figure: Any,
    values: Float[ndarray, "channel map"],
    titles: Sequence[str],
    names: Sequence[str],
    info: Any,
    unit: str,
    limit: float | None = None,
) -> None:
    """Values of channels: maps on the head, or bars with names where no places are known."""
    shown = np.nan_to_num(values)
    limit = limit or float(np.abs(shown).max()) or 1.0
    if info is not None:
        draw_topographies(figure, shown, titles, info, limit, unit)
        return
    axes = np.atleast_1d(figure.subplots(1, len(titles), sharey=True))
    rows = np.arange(len(names))
    for k, (title, place) in enumerate(zip(titles, axes, strict=True)):
        place.barh(rows, shown[:, k], color=np.where(shown[:, k] >= 0, RED, BLUE))
        place.set_xlim(-1.05 * limit if (shown < 0).any() else 0.0, 1.05 * limit)
        place.set_title(plain(title), fontsize=9)
        place.set_xlabel(unit, fontsize=8)
        place.tick_params(labelsize=7)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    if len(names) <= MAX_NAMES:
        axes[0].set_yticks(rows, [plain(name) for name in names])


def draw_lines(
    figure: Any, curves: Sequence[tuple[str, Any, Any]], xlabel: str, ylabel: str, *, markers: bool = True
) -> None:
    """Curves (name, x, y) over a common axis, with the zero line."""
    place = figure.subplots()
    for name, x, y in curves:
        place.plot(x, y, marker="o" if markers else "", markersize=4, linewidth=1.5, label=plain(name))
    place.axhline(0, color=GREY, linewidth=0.8)
    _label(place, xlabel, ylabel, legend=len(curves) > 1)


def draw_bars(figure: Any, bars: Sequence[tuple[str, Any]], names: Sequence[str], ylabel: str) -> None:
    """Groups of bars (name, values), one group a name."""
    place = figure.subplots()
    width = 0.8 / len(bars)
    for k, (name, values) in enumerate(bars):
        place.bar(
            np.arange(len(names)) + (k - (len(bars) - 1) / 2) * width, np.nan_to_num(values), width, label=plain(name)
        )
    place.axhline(0, color=GREY, linewidth=0.8)
    place.set_xticks(np.arange(len(names)), names, rotation=20 if max(map(len, names)) > 6 else 0)
    _label(place, "", ylabel, legend=len(bars) > 1)


def draw_matrices(
    figure: Any, matrices: Sequence[tuple[str, Float[ndarray, "target source"]]], names: Sequence[str]
) -> None:
    """Matrices beside each other, one scale each: from column to row."""
    axes = np.atleast_1d(figure.subplots(1, len(matrices)))
    for (title, matrix), place in zip(matrices, axes, strict=True):
        image = place.imshow(matrix, cmap="viridis", vmin=0)
        place.set_title(plain(title), fontsize=9)
        place.set_xlabel("attended", fontsize=8)
        if len(names) <= MAX_NAMES:
            shown = [plain(name) for name in names]
            size = 6 if len(names) > 16 else 7
            place.set_xticks(np.arange(len(names)), shown, rotation=90, fontsize=size)
            place.set_yticks(np.arange(len(names)), shown, fontsize=size)
        figure.colorbar(image, ax=place, shrink=0.7).ax.tick_params(labelsize=6)
    axes[0].set_ylabel("receives", fontsize=8)


def draw_intervals(
    figure: Any,
    names: Sequence[str],
    values: Float[ndarray, " row"],
    low: Float[ndarray, " row"],
    high: Float[ndarray, " row"],
    xlabel: str,
) -> None:
    """A point a row beside the interval that chance gives, the first row in colour."""
    place = figure.subplots()
    rows = np.arange(len(names))
    place.barh(rows, high - low, left=low, height=0.5, color="#7a869633")
    place.plot(values[1:], rows[1:], "o", color=GREY)
    place.plot(values[:1], rows[:1], "o", color=RED)
    place.axvline(0, color=GREY, linewidth=0.8)
    place.set_yticks(rows, names)
    place.set_ylim(len(names) - 0.5, -0.5)
    _label(place, xlabel, "", legend=False)


def _label(place: Any, xlabel: str, ylabel: str, *, legend: bool) -> None:
    place.set_xlabel(xlabel, fontsize=8)
    place.set_ylabel(ylabel, fontsize=8)
    place.tick_params(labelsize=7)
    for side in ("top", "right"):
        place.spines[side].set_visible(False)
    if legend:
        place.legend(fontsize=7, frameon=False)


def plain(text: str) -> str:
    r"""Text that matplotlib draws as it stands, dollars and all.

    Examples
    --------
    >>> plain("$x$")
    '\\$x\\$'
    """
    return text.replace("$", r"\$")


def chosen_stretches(n_stretches: int) -> list[int]:
    """Stretches to draw: `N_MAPS` over the window.

    Examples
    --------
    >>> chosen_stretches(8), chosen_stretches(2)
    ([0, 2, 5, 7], [0, 1])
    """
    return list(dict.fromkeys(np.linspace(0, n_stretches - 1, min(N_MAPS, n_stretches)).round().astype(int).tolist()))


def strongest(values: Float[ndarray, "channel map"], names: Sequence[str], titles: Sequence[str]) -> str:
    """The channel and the map with the largest magnitude, in words."""
    shown = np.nan_to_num(values)
    channel, column = np.unravel_index(np.abs(shown).argmax(), shown.shape)
    return f"strongest: {names[channel]}, {titles[column]}, {shown[channel, column]:+.3g}"
