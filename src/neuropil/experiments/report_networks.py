"""The part of the report that looks into networks: what their output is made of, and where they attend."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from neuropil.experiments import report_figures as figures
from neuropil.experiments.comparison import Comparison
from neuropil.experiments.leaderboard import Board
from neuropil.explain import plots

MAX_NETWORKS = 4
CAPTION = (
    "Integrated gradients (Sundararajan et al. 2017) of the first fold's network: what every channel adds to the log-odds of the right "
    "class on the way from other windows to its own, summed over stretches of time (s) and over frequency bands; red adds, blue "
    "takes away, full colour at the largest. Attention: from which token (column) each token (row) takes what it passes on, mean over "
    "windows and heads. A network that scores at chance level draws maps too: they mean nothing."
)


def networks_part(comparison: Comparison, board: Board, info: Any) -> str:
    """HTML of the best networks of a leaderboard; empty without one."""
    noted = [(standing.system, _noted(comparison, board, standing.system)) for standing in board.standings]
    networks = [(name, found) for name, found in noted if found][:MAX_NETWORKS]
    if not networks:
        return ""
    grid = "".join(_gradients(name, found, info) + _attention(name, found, info) for name, found in networks)
    return (
        '<h3>What networks make their output of</h3><div class="grid wide">'
        f'{grid}</div><p class="soft small">{escape(CAPTION)}</p>'
    )


def _noted(comparison: Comparison, board: Board, name: str) -> dict[str, Any] | None:
    folds = comparison.results[board.split].get(name, [])
    return next((r["insight"] for seeds in folds for r in seeds if r.get("insight")), None)


def _gradients(name: str, found: dict[str, Any], info: Any) -> str:
    gradients = found["gradients"]
    drawn = ""
    for part, title in (("times", "time"), ("bands", "frequency"), ("features", "features")):
        if part not in gradients:
            continue
        values, columns = np.array(gradients[part]["values"]), gradients[part]["columns"]
        if part == "times":
            columns = [f"{column} s" for column in columns]
        drawn += _channels(f"{name}: {title}", values, gradients["channels"], columns, info)
    return drawn


def _channels(title: str, values: np.ndarray, channels: list[str], columns: list[str], info: Any) -> str:
    limit = float(np.abs(values).max()) or 1.0
    label = f"{title}; {plots.strongest(values, channels, columns)} nat"
    if info is None or len(channels) != len(info.ch_names):
        drawing = figures.heatmap(values, channels, columns, limit, label, last_apart=False, digits=3)
    else:
        chosen = plots.chosen_stretches(len(columns)) if len(columns) > 7 else list(range(len(columns)))
        source = plots.topographies(values[:, chosen], [columns[k] for k in chosen], info, limit)
        drawing = f'<img src="{source}" alt="{escape(label)}">'
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>"


def _attention(name: str, found: dict[str, Any], info: Any) -> str:
    drawn = ""
    for part, entry in found["attention"].items():
        if entry["maps"][0][0] == "rollout":
            continue
        matrices = [(title, np.array(values)) for title, values in entry["maps"]]
        figure = plots.new_figure(max(3.0, 2.6 * len(matrices)), 2.7)
        figure.set_layout_engine("constrained")
        plots.draw_matrices(figure, matrices, entry["tokens"])
        last = matrices[-1][1]
        row, column = np.unravel_index((last - np.eye(len(last))).argmax(), last.shape)
        tokens = entry["tokens"]
        title = f"{name}: attention, {part}"
        label = f"{title}; {tokens[row]} attends most to {tokens[column]}, {last[row, column]:.3f}"
        drawn += (
            f'<figure><figcaption>{escape(title)}</figcaption><img src="{plots.data_uri(figure)}" alt="{escape(label)}">'
            "</figure>"
        )
    if found["weights"]:
        weights = np.array(found["weights"])[:, None]
        drawn += _channels(f"{name}: weights of channels", weights, found["gradients"]["channels"], ["weight"], info)
    return drawn
