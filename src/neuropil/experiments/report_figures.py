"""The drawings of the report: SVG that follows the page's colours, with a text alternative each. Everything from data is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy import ndarray

N_COLOURS = 10


class Scale(NamedTuple):
    """A linear map of values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, -0.02), 1.02) * (self.stop - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """About `n` round values inside."""
        step = (self.high - self.low) / max(n, 1)
        if not step > 0:
            return [self.low]
        power = 10.0 ** np.floor(np.log10(step))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= step - 1e-12)
        first = np.ceil(self.low / step - 1e-9) * step
        return [float(v) for v in np.arange(first, self.high + step * 1e-6, step)]


def colour(index: int) -> str:
    """The CSS colour of the decoder at that place."""
    return f"var(--c{index % N_COLOURS})"


def svg(width: float, height: float, label: str, body: str) -> str:
    """A drawing that scales with the page; `label` is read out instead of it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" aria-label="{escape(label)}">'
        f"{body}</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str = 'class="axis"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def text(x: float, y: float, content: str, anchor: str = "start", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(content)}</text>'


def number(value: float) -> str:
    """A tick's label."""
    return f"{value:.10g}" if abs(value) < 1e5 else f"{value:.2g}"


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names beside their colours."""
    items = "".join(f'<li><i style="background:{c}"></i>{escape(name)}</li>' for name, c in entries)
    return f'<ul class="legend">{items}</ul>'


def interval_cell(
    score: float, low: float, high: float, chance: tuple[float, float], scale: Scale, reference: float | None
) -> str:
    """Score and interval on a common axis, the range of chance as a grey band, a published score as a dashed line."""
    a, b = sorted(scale(v) for v in chance)
    body = f'<rect class="chance" x="{a:.1f}" y="3" width="{max(b - a, 1.5):.1f}" height="24"/>'
    if reference is not None:
        body += line(
            scale(reference), 2, scale(reference), 28, 'stroke="var(--warn)" stroke-width="1.5" stroke-dasharray="3 3"'
        )
    body += line(
        scale(low), 15, scale(high), 15, 'stroke="var(--accent)" stroke-width="3" stroke-linecap="round" opacity=".55"'
    )
    body += f'<circle cx="{scale(score):.1f}" cy="15" r="5" fill="var(--accent)"/>'
    label = f"{score:.3f}, 95 % interval {low:.3f} to {high:.3f}, chance up to {chance[1]:.3f}"
    return f'<svg viewBox="0 0 240 30" role="img" aria-label="{escape(label)}">{body}</svg>'


def points_figure(
    rows: Sequence[str],
    splits: Sequence[str],
    scores: Mapping[tuple[str, str], ndarray],
    chance: Mapping[str, tuple[float, float]],
    metric: str,
) -> str:
    """One row a decoder, one dot a fold, one colour a split; the line is the mean."""
    values = np.concatenate(list(scores.values()))
    edges = [edge for pair in chance.values() for edge in pair]
    low, high = min(values.min(), *edges), max(values.max(), *edges)
    pad = 0.04 * (high - low or 1)
    left, width, step = 190, 860, 18 * len(splits) + 12
    height = step * len(rows) + 46
    x = Scale(low - pad, high + pad, left, width - 20)
    parts = [
        f'<rect class="chance" x="{x(a):.1f}" y="6" width="{max(x(b) - x(a), 1):.1f}" height="{height - 44}"/>'
        for a, b in [(min(edges), max(edges))]
    ]
    for tick in x.ticks(7):
        parts += [line(x(tick), 6, x(tick), height - 38), text(x(tick), height - 22, number(tick), "middle", "soft")]
    parts.append(text((left + width) / 2, height - 4, metric, "middle", "soft"))
    for k, name in enumerate(rows):
        top = 10 + k * step
        parts += [
            text(left - 12, top + step / 2, shorten(name), "end"),
            line(left, top + step - 4, width - 20, top + step - 4),
        ]
        for j, split in enumerate(splits):
            if (name, split) not in scores:
                continue
            y, dots = top + 8 + 18 * j, scores[name, split]
            mean = x(float(dots.mean()))
            parts.append(line(mean, y - 8, mean, y + 8, f'stroke="{colour(j)}" stroke-width="2.5"'))
            parts += [
                f'<circle cx="{x(float(v)):.1f}" cy="{y}" r="4.5" fill="{colour(j)}" fill-opacity=".6"><title>{escape(name)}, '
                f"{escape(split)}: {v:.3f}</title></circle>"
                for v in dots
            ]
    label = f"{metric} of every fold; " + "; ".join(
        f"{name} on {split}: " + ", ".join(f"{v:.3f}" for v in dots) for (name, split), dots in scores.items()
    )
    return svg(width, height, label, "".join(parts))


def confusion_figure(name: str, counts: ndarray, classes: Sequence[str]) -> str:
    """Rows are true classes; every cell holds the share of its row, and is darker the larger it is."""
    n = len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell, left, top = min(78.0, 200 / n), 92, 34
    size = cell * n
    parts = [text(left + size / 2, 12, "predicted", "middle", "soft")]
    for i, true in enumerate(classes):
        parts.append(text(left - 6, top + cell * (i + 0.5) + 4, shorten(true, 13), "end"))
        parts.append(text(left + cell * (i + 0.5), top - 4, shorten(true, max(3, int(cell / 7))), "middle"))
        for j in range(n):
            x, y, share = left + cell * j, top + cell * i, float(shares[i, j])
            tone = "var(--accent)" if i == j else "var(--red)"
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2:.1f}" height="{cell - 2:.1f}" rx="3" fill="{tone}" '
                f'fill-opacity="{0.06 + 0.94 * share:.3f}"><title>{escape(true)} taken for {escape(classes[j])}: {counts[i, j]:g} windows'
                "</title></rect>"
            )
            if cell >= 26:
                strong = "on" if share > 0.55 else ""
                parts.append(text(x + cell / 2, y + cell / 2 + 4, f"{100 * share:.0f} %", "middle", strong))
    label = f"{name}: " + "; ".join(
        f"true {t}: " + ", ".join(f"{100 * shares[i, j]:.0f} % {p}" for j, p in enumerate(classes))
        for i, t in enumerate(classes)
    )
    return svg(left + size + 8, top + size + 6, label, "".join(parts))


class Curve(NamedTuple):
    """A line of a chart, with a band around it where several fits were averaged."""

    name: str
    colour: str
    x: ndarray
    y: ndarray
    low: ndarray | None = None
    high: ndarray | None = None
    dashed: bool = False


def curves_figure(
    curves: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    *,
    logarithmic: bool = False,
    level: float | None = None,
    width: float = 520,
) -> str:
    """Lines over a common axis; `level` is a dashed line across (chance)."""
    to_x = np.log2 if logarithmic else np.asarray
    xs = np.concatenate([to_x(c.x) for c in curves])
    ys = np.concatenate(
        [v for c in curves for v in (c.y, c.low, c.high) if v is not None]
        + ([np.array([level])] if level is not None else [])
    )
    pad = 0.05 * (np.ptp(ys) or 1)
    height = 300.0
    x, y = Scale(xs.min(), xs.max(), 58, width - 16), Scale(ys.min() - pad, ys.max() + pad, height - 46, 24)
    ticks = sorted({float(v) for c in curves for v in c.x}) if logarithmic else x.ticks(6)
    parts = []
    for tick in y.ticks(7):
        parts += [line(58, y(tick), width - 16, y(tick)), text(50, y(tick) + 4, number(tick), "end", "soft")]
    last = -np.inf
    for tick in ticks:
        place = x(float(to_x(tick)))
        if place - last > 34:
            parts.append(
                text(place, height - 28, number(round(tick)) if logarithmic else number(tick), "middle", "soft")
            )
            last = place
    if level is not None:
        parts.append(line(58, y(level), width - 16, y(level), 'stroke="var(--soft)" stroke-dasharray="5 4"'))
        parts.append(text(62, y(level) + 14, "chance", "start", "soft"))
    for c in curves:
        if c.low is not None and c.high is not None and len(c.x) > 1:
            outline = [*zip(c.x, c.high, strict=True), *reversed(list(zip(c.x, c.low, strict=True)))]
            points = " ".join(f"{x(float(to_x(a))):.1f},{y(float(b)):.1f}" for a, b in outline)
            parts.append(f'<polygon points="{points}" fill="{c.colour}" fill-opacity=".15"/>')
    for c in curves:
        points = " ".join(f"{x(float(to_x(a))):.1f},{y(float(b)):.1f}" for a, b in zip(c.x, c.y, strict=True))
        dash = ' stroke-dasharray="6 4"' if c.dashed else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{c.colour}" stroke-width="2"{dash}><title>{escape(c.name)}</title></polyline>'
        )
        if len(c.x) <= 12:
            parts += [
                f'<circle cx="{x(float(to_x(a))):.1f}" cy="{y(float(b)):.1f}" r="3.5" fill="{c.colour}"><title>{escape(c.name)}: {b:.3f} '
                f"at {a:g}</title></circle>"
                for a, b in zip(c.x, c.y, strict=True)
            ]
    parts += [text((58 + width) / 2, height - 6, xlabel, "middle", "soft"), text(58, 12, ylabel, "start", "soft")]
    label = f"{ylabel} over {xlabel}; " + "; ".join(
        f"{c.name}: {float(c.y[0]):.3g} to {float(c.y[-1]):.3g}" for c in curves
    )
    return svg(width, height, label, "".join(parts))


def heatmap(
    values: ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    limit: float,
    label: str,
    *,
    last_apart: bool = True,
    digits: int = 2,
) -> str:
    """Red is positive, blue negative, stronger further from 0; the last column stands apart, if it is of another sort."""
    cell = max(34.0, 6.5 * max(map(len, columns)) + 6)
    tall, left, top = max(12.0, min(24.0, 260 / len(rows))), 96.0, 22.0
    parts = []
    for j, column in enumerate(columns):
        apart = 10 if last_apart and j == len(columns) - 1 else 0
        parts.append(text(left + cell * (j + 0.5) + apart, 14, column, "middle", "soft"))
        for i, row in enumerate(rows):
            value = float(values[i, j])
            strength = min(abs(value) / limit, 1.0) if limit > 0 else 0.0
            tone = "var(--red)" if value > 0 else "var(--blue)"
            x, y = left + cell * j + apart + 0.5, top + tall * i + 0.5
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{tall - 1:.1f}" fill="{tone}" '
                f'fill-opacity="{0.04 + 0.96 * strength:.3f}"><title>{escape(row)}, {escape(column)}: {value:+.{digits}f}</title></rect>'
            )
    parts += [text(left - 6, top + tall * (i + 0.5) + 4, shorten(row, 13), "end") for i, row in enumerate(rows)]
    return svg(left + cell * len(columns) + 14, top + tall * len(rows) + 4, label, "".join(parts))


def shorten(name: str, length: int = 26) -> str:
    """A long name with its middle left out."""
    if len(name) <= length:
        return name
    return f"{name[: (length + 1) // 2 - 1]}…{name[len(name) - length // 2 :]}" if length > 4 else name[:length]
