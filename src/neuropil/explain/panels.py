"""Which drawings an explanation has, and what is said below each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.explain import plots
from neuropil.explain.plots import Panel

if TYPE_CHECKING:
    from neuropil.explain.explanation import Explanation

MAX_CLASSES = 4
MAX_MATRICES = 4


def panels(explanation: Explanation) -> list[Panel]:
    """The drawings in order: patterns, electrodes, time, spectrum, gradients, attention, sanity."""
    info = plots.head_info(explanation.channels, explanation.positions, explanation.kinds)
    found = [
        _potentials(explanation, info),
        _power(explanation, info),
        _electrodes(explanation, info),
        _times(explanation),
        _spectrum(explanation),
        _gradients(explanation, info),
        *_attention(explanation, info),
        _sanity(explanation),
    ]
    return [panel for panel in found if panel is not None]


def _shown_classes(explanation: Explanation) -> list[int]:
    """Of two classes the second: the patterns of the first are its negative."""
    n = len(explanation.classes)
    return [1] if n == 2 else list(range(min(n, MAX_CLASSES)))


def _size(n_maps: int, n_channels: int, info: Any) -> tuple[float, float]:
    width = max(4.5, 1.6 * n_maps + 0.9)
    return (width, 2.1) if info is not None else (max(4.5, 1.5 * n_maps + 1), 1.0 + 0.16 * min(n_channels, 64))


def _channel_panel(
    explanation: Explanation,
    info: Any,
    name: str,
    title: str,
    caption: str,
    values: ndarray,
    titles: list[str],
    unit: str,
) -> Panel:
    names = explanation.channels

    def draw(figure: Any) -> None:
        plots.draw_channels(figure, values, titles, names, info, unit)

    summary = f"{title}; {plots.strongest(values, names, titles)} {unit}"
    return Panel(name, title, caption, _size(len(titles), len(names), info), draw, summary)


def _potentials(explanation: Explanation, info: Any) -> Panel:
    patterns = explanation.patterns["potential"]
    places = plots.chosen_stretches(patterns.sizes["time"])
    codes = _shown_classes(explanation)
    columns = [patterns.values[code][:, k] for code in codes for k in places]
    times = patterns["time"].values
    titles = [_title(explanation, code, f"{times[k]:.2g} s") for code in codes for k in places]
    unit = patterns.attrs["unit"] or "data unit"
    caption = (
        "Patterns in the sense of Haufe et al. (2014): how much every channel's mean in a stretch of time changes with one "
        "standard deviation of the decoder's log-odds of the class. They show where the activity is that the output goes with."
    )
    title = "Voltage that goes with the output"
    return _channel_panel(explanation, info, "patterns", title, caption, np.stack(columns, axis=1), titles, unit)


def _power(explanation: Explanation, info: Any) -> Panel | None:
    if "power" not in explanation.patterns:
        return None
    patterns = explanation.patterns["power"]
    codes = _shown_classes(explanation)
    names = [str(b) for b in patterns["band"].values]
    columns = [patterns.values[code][:, k] for code in codes for k in range(len(names))]
    titles = [_title(explanation, code, band) for code in codes for band in names]
    caption = (
        "The same for the power in frequency bands, in decibels a standard deviation of the log-odds. Blue: the class is "
        "said where the rhythm is weak."
    )
    title = "Power that goes with the output"
    return _channel_panel(explanation, info, "power", title, caption, np.stack(columns, axis=1), titles, "dB")


def _title(explanation: Explanation, code: int, what: str) -> str:
    return what if len(explanation.classes) == 2 else f"{explanation.classes[code]}, {what}"


def _electrodes(explanation: Explanation, info: Any) -> Panel:
    lost = explanation.electrodes
    values = [lost["probability"].values]
    titles = ["all classes"]
    for code in _classes_with_windows(explanation):
        values.append(lost["probability_by_class"].values[code])
        titles.append(explanation.classes[code])
    caption = (
        f"How far the probability of the right class falls when an electrode is {_taken(lost)} "
        f"(accuracy {lost.attrs['accuracy']:.2f} before). An electrode that others can stand in for is not missed; one that helps to "
        "cancel noise is."
    )
    title = "Electrodes that are missed"
    return _channel_panel(
        explanation, info, "electrodes", title, caption, np.stack(values, axis=1), titles, "probability"
    )


def _classes_with_windows(explanation: Explanation) -> list[int]:
    known = np.isfinite(explanation.electrodes["probability_by_class"].values).all(axis=1)
    return [int(k) for k in np.flatnonzero(known)[:MAX_CLASSES]]


def _taken(lost: xr.Dataset) -> str:
    return "exchanged between windows" if lost.attrs["replace"] == "shuffle" else "replaced by its mean"


def _times(explanation: Explanation) -> Panel:
    lost = explanation.times["probability"]
    by_class = explanation.times["probability_by_class"]
    curves = [("all classes", lost["time"].values, lost.values)]
    curves += [
        (explanation.classes[k], lost["time"].values, by_class.values[k]) for k in _classes_with_windows(explanation)
    ]

    def draw(figure: Any) -> None:
        plots.draw_lines(figure, curves, "time (s)", "fall of probability")

    best = int(lost.values.argmax())
    caption = f"How far the probability of the right class falls when a stretch of time is {_taken(explanation.times)}."
    summary = f"largest fall {lost.values[best]:.3f} around {lost['time'].values[best]:.2g} s"
    return Panel("time", "Stretches of time that are missed", caption, (6.0, 2.4), draw, summary)


def _spectrum(explanation: Explanation) -> Panel | None:
    if explanation.bands is None:
        return None
    lost = explanation.bands["probability"]
    names = [str(b) for b in lost["band"].values]
    by_class = explanation.bands["probability_by_class"].values
    bars = [("all classes", lost.values)]
    bars += [(explanation.classes[k], by_class[k]) for k in _classes_with_windows(explanation)]

    def draw(figure: Any) -> None:
        plots.draw_bars(figure, bars, names, "fall of probability")

    best = int(lost.values.argmax())
    how = "exchanged between windows" if explanation.bands.attrs["replace"] == "shuffle" else "cut out"
    caption = f"How far the probability of the right class falls when a frequency band is {how} in all channels."
    summary = f"largest fall {lost.values[best]:.3f} in {names[best]}"
    return Panel("spectrum", "Frequencies that are missed", caption, (6.0, 2.4), draw, summary)


def _gradients(explanation: Explanation, info: Any) -> Panel | None:
    temporal, spectral = explanation.temporal, explanation.spectral
    if temporal is None or tuple(temporal["channel"].values) != explanation.channels:
        return None
    codes = _classes_with_windows(explanation)
    sums = np.stack([temporal.values[code].sum(axis=-1) for code in codes], axis=1)
    titles = [explanation.classes[code] for code in codes]
    widths = [1.6 * len(codes) + 1.0, 3.2, 3.2 if spectral is not None else 0.0]

    def draw(figure: Any) -> None:
        shares = [width for width in widths if width]
        parts = figure.subfigures(1, len(shares), width_ratios=shares)
        plots.draw_channels(parts[0], sums, titles, explanation.channels, info, "nat")
        curves = [(explanation.classes[k], temporal["time"].values, temporal.values[k].sum(axis=0)) for k in codes]
        plots.draw_lines(parts[1], curves, "time (s)", "nat a sample", markers=False)
        if spectral is not None:
            bars = [(explanation.classes[k], spectral.values[k].sum(axis=0)) for k in codes]
            plots.draw_bars(parts[2], bars, [str(b) for b in spectral["band"].values], "nat")

    start = {"zero": "from silence", "mean": "from the mean window", "windows": "from other windows"}
    caption = (
        "Integrated gradients (Sundararajan et al. 2017) of the network: what every channel, sample and frequency adds to the log-odds of "
        f"the class on the way {start[temporal.attrs['baseline']]} to its windows; they add up to the whole but for "
        f"{explanation.completeness_error:.1%}."
    )
    summary = f"integrated gradients; {plots.strongest(sums, explanation.channels, titles)} nat"
    height = 2.4 if info is not None else 1.2 + 0.16 * min(len(explanation.channels), 64)
    return Panel("gradients", "What adds to the output", caption, (sum(widths), height), draw, summary)


def _attention(explanation: Explanation, info: Any) -> list[Panel]:
    found = []
    for name, maps in explanation.attention.items():
        if maps.dims == ("channel",):
            caption = "Weight of every electrode in the network's summary, mean over windows; the weights add up to 1."
            title = "Weights of electrodes"
            values = maps.values[:, None]
            found.append(_channel_panel(explanation, info, name, title, caption, values, ["mean"], "weight"))
            continue
        first = maps.dims[0]
        if "head" in maps.dims:
            mean = maps.mean("head")
            steps = np.unique(np.linspace(0, len(mean) - 1, min(MAX_MATRICES, len(mean))).round().astype(int)).tolist()
            matrices = [(f"{first} {int(mean[first].values[k])}", mean.values[k]) for k in steps]
        else:
            matrices = [("rollout", maps.values)]
        names = [str(k) for k in maps["target"].values]

        def draw(figure: Any, matrices: Any = matrices, names: Any = names) -> None:
            plots.draw_matrices(figure, matrices, names)

        caption = "Attention, mean over windows and heads: every row shows from where a token takes what it passes on."
        if "head" not in maps.dims:
            caption = "Attention rollout through all layers (Abnar & Zuidema 2020): from where every token has its information."
        last = matrices[-1][1]
        row, column = np.unravel_index((last - np.eye(len(last))).argmax(), last.shape)
        summary = f"attention {name}; {names[row]} attends most to {names[column]}, {last[row, column]:.3f}"
        size = (max(3.6, 3.0 * len(matrices)), 3.1)
        found.append(Panel(f"attention {name}", f"Attention: {name}", caption, size, draw, summary))
    return found


def _sanity(explanation: Explanation) -> Panel | None:
    check = explanation.sanity
    if check is None:
        return None
    names = [str(name) for name in check.saliency["model"].values]

    def draw(figure: Any) -> None:
        label = "fall of probability, summed over electrodes"
        plots.draw_intervals(figure, names, check.effect, check.low, check.high, label)

    caption = f"{check.verdict} Grey: 95 % under rearranged held-out labels."
    return Panel("sanity", "Is it learned?", caption, (6.0, 0.9 + 0.28 * len(names)), draw, check.verdict)
