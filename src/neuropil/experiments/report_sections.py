"""The parts of the report that show figures: leaderboards, folds, confusion, learning curves, patterns."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from neuropil.experiments import report_figures as figures
from neuropil.experiments import report_missed as missing
from neuropil.experiments import report_patterns as patterns
from neuropil.experiments.comparison import Comparison
from neuropil.experiments.leaderboard import Board, Standing
from neuropil.experiments.plan import Plan
from neuropil.experiments.report_networks import networks_part
from neuropil.experiments.terminal import event_cells, p_text, seconds_text
from neuropil.explain.plots import strongest, topographies

MAX_PATTERN_CLASSES = 4


def paragraph(content: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(content)}</p>' if kind else f"<p>{escape(content)}</p>"


def leaderboard(comparison: Comparison, plan: Plan, board: Board) -> str:
    standings = board.standings
    reference = comparison.reference if plan.name == "own" and comparison.metric.name == "accuracy" else None
    edges = [v for s in standings for v in (s.low, s.high, s.chance_low, s.chance_high)]
    edges += [reference[0]] if reference else []
    scale = figures.Scale(min(edges), max(edges), 8, 232)
    rows = "".join(
        _row(rank, s, scale, None if reference is None else reference[0]) for rank, s in enumerate(standings, 1)
    ) + "".join(_missing_row(system, why) for system, why in comparison.missing(plan.name).items())
    names = (
        "",
        "decoder",
        comparison.metric.label,
        "95 % interval",
        "score, interval, chance",
        "above chance",
        "letters",
        "fit",
        "a window",
    )
    head = "".join(
        f'<th scope="col"{" class=text" if name in ("decoder", "letters", "above chance", "score, interval, chance") else ""}>'
        f"{escape(name)}</th>"
        for name in names
    )
    direction = "higher" if comparison.metric.greater_is_better else "lower"
    caption = (
        f"{_upper(board.method)}. A {direction} score is better. Grey band: the central 95 % of scores when labels are "
        "rearranged within folds. Decoders that share a letter cannot be told apart (5 %, Holm's correction over pairs); “above chance” "
        f"is corrected over decoders. Times are medians on one thread{'; dashed: published score' if reference else ''}."
    )
    return (
        f"<h3>Split “{escape(plan.name)}”</h3>{paragraph(_upper(plan.description) + f'; {board.n_test} test windows in all.', 'soft')}"
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        + _events(comparison, board)
        + _pairs(comparison, board)
    )


def _missing_row(system: str, why: str) -> str:
    return (
        f'<tr class="chance"><td></td><th scope="row">{escape(system)}</th>'
        f'<td class="reason" colspan="7">not applicable: {escape(why)}</td></tr>'
    )


def _events(comparison: Comparison, board: Board) -> str:
    """Whole trials and idle time, for sliding windows."""
    if not comparison.events:
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(s.system)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in event_cells(comparison.events[board.split, s.system]))
        + "</tr>"
        for s in board.standings
    )
    names = ("trials", "hit", "wrong class", "latency", "false activations", "idle time active")
    head = '<th scope="col" class="text">decoder</th>' + "".join(f'<th scope="col">{name}</th>' for name in names)
    caption = (
        "Whole trials and idle time, from the same predictions: a class is emitted by every window that it wins. A trial is hit if its "
        "class is emitted (latency: median time from its onset to that), wrong if only others are; a false activation is an emission that "
        "begins in idle time."
    )
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _row(rank: int, s: Standing, scale: figures.Scale, reference: float | None) -> str:
    bar = figures.interval_cell(s.score, s.low, s.high, (s.chance_low, s.chance_high), scale, reference)
    verdict = f"{'yes' if s.above_chance else 'no'}, p {p_text(s.p_chance)}"
    kind = "chance" if not s.above_chance else "best" if rank == 1 else ""
    return (
        f'<tr class="{kind}"><td>{rank}</td><th scope="row">{escape(s.system)}</th><td class="score">{s.score:.3f}</td>'
        f'<td>{s.low:.3f} – {s.high:.3f}</td><td class="bar">{bar}</td><td class="text">{verdict}</td>'
        f'<td class="text">{escape(s.letters)}</td><td>{seconds_text(s.fit_seconds)}</td><td>{s.predict_ms:.2f} ms</td></tr>'
    )


def _pairs(comparison: Comparison, board: Board) -> str:
    """The matrix of differences, row minus column, folded away."""
    if not board.differences:
        return ""
    names = [s.system for s in board.standings]
    found = {(d.first, d.second): (d.difference, d.p_holm) for d in board.differences}
    found |= {(d.second, d.first): (-d.difference, d.p_holm) for d in board.differences}
    sign = 1 if comparison.metric.greater_is_better else -1
    body = ""
    for row in names:
        cells = ""
        for column in names:
            if row == column:
                cells += "<td></td>"
                continue
            difference, p = found[row, column]
            kind = "same" if p > 0.05 else "up" if sign * difference > 0 else "down"
            cells += f'<td class="{kind}" title="p {p_text(p)}">{difference:+.3f}</td>'
        body += f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>'
    head = '<th scope="col" class="text">row − column</th>' + "".join(
        f'<th scope="col">{escape(n)}</th>' for n in names
    )
    caption = "Differences of mean scores; coloured where they are significant (5 %, Holm). The p-value shows under the pointer."
    return (
        f"<details><summary>All {len(board.differences)} pairs</summary>"
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "</details>"
    )


def left_out(comparison: Comparison) -> str:
    """Splits on which no decoder was applicable."""
    ranked = {board.split for board in comparison.boards}
    items = "".join(
        f"<li><b>{escape(system)}</b> on “{escape(split)}”: {escape(reason)}</li>"
        for (system, split), reason in comparison.not_applicable.items()
        if split not in ranked
    )
    return f'<h3 class="warn">Not applicable</h3><ul>{items}</ul>' if items else ""


def _order(comparison: Comparison) -> list[str]:
    """Decoders as the first leaderboard ranks them, then those that are on another only."""
    return list(dict.fromkeys(s.system for board in comparison.boards for s in board.standings))


def _colours(comparison: Comparison) -> dict[str, str]:
    return {name: figures.colour(k) for k, name in enumerate(_order(comparison))}


def points_section(comparison: Comparison) -> str:
    scores = {
        (name, board.split): values.mean(axis=1) if comparison.plans[k].units[0].seed is None else values.ravel()
        for k, board in enumerate(comparison.boards)
        for name, values in board.scores.items()
    }
    chance = {
        b.split: (min(s.chance_low for s in b.standings), max(s.chance_high for s in b.standings))
        for b in comparison.boards
    }
    splits = [board.split for board in comparison.boards]
    figure = figures.points_figure(_order(comparison), splits, scores, chance, comparison.metric.label)
    legend = figures.legend([(f"split “{split}”", figures.colour(k)) for k, split in enumerate(splits)])
    caption = "One dot a fold, averaged over seeds; the stroke is the mean; the grey band is chance."
    return f"<figure>{legend}{figure}<figcaption>{caption}</figcaption></figure>"


def confusion_section(comparison: Comparison) -> str:
    classes = [str(c) for c in comparison.material.classes]
    parts = []
    for k, board in enumerate(comparison.boards):
        grid = "".join(
            f"<figure><figcaption>{escape(s.system)}</figcaption>"
            f"{figures.confusion_figure(s.system, board.confusion[s.system], classes)}</figure>"
            for s in board.standings
        )
        grid = f'<div class="grid">{grid}</div>'
        title = f"Split “{escape(board.split)}”"
        parts.append(f"<h3>{title}</h3>{grid}" if k == 0 else f"<details><summary>{title}</summary>{grid}</details>")
    return "".join(parts)


def curves_section(comparison: Comparison) -> str:
    """Score over the number of training windows for fast decoders, training epochs for networks; nothing if there is neither."""
    parts = [part for part in (_size_curves(comparison), _epoch_curves(comparison)) if part]
    if not parts:
        return ""
    return f'<section aria-labelledby="curves"><h2 id="curves">Learning curves</h2>{"".join(parts)}</section>'


def _size_curves(comparison: Comparison) -> str:
    colours, curves = _colours(comparison), []
    for name in _order(comparison):
        points = [p for p in comparison.curves if p.system == name]
        if len(points) > 1:
            x, y = np.array([p.n_train for p in points]), np.array([p.score for p in points])
            curves.append(figures.Curve(name, colours[name], x, y))
    if not curves:
        return ""
    chance = float(np.mean([s.chance for s in comparison.boards[0].standings]))
    label = comparison.metric.label
    figure = figures.curves_figure(curves, "training windows", label, logarithmic=True, level=chance, width=760)
    caption = (
        f"{label} on the split “{comparison.boards[0].split}” after training on the first windows of every class only (the "
        "rightmost: on all). A curve that still rises says that more data would help. Networks are left out."
    )
    return (
        f"<h3>How much training data is needed</h3><figure>{figures.legend([(c.name, c.colour) for c in curves])}{figure}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _epoch_curves(comparison: Comparison) -> str:
    grid = ""
    for name in _order(comparison):
        histories = [
            r["history"]
            for split in comparison.results.values()
            for seeds in split.get(name, [])
            for r in seeds
            if r["history"]
        ]
        if not histories:
            continue
        length = min(map(len, histories))
        for quantity in ("loss", "accuracy"):
            curves = _epochs(histories, quantity, length)
            if curves:
                figure = figures.curves_figure(curves, "epoch", quantity, width=430)
                title = f"{name}: {quantity}"
                legend = figures.legend([(c.name, c.colour) for c in curves])
                grid += f"<figure><figcaption>{escape(title)}</figcaption>{legend}{figure}</figure>"
    if not grid:
        return ""
    caption = (
        "Mean over all fits of the network; the band spans the fits. How well a network does on its training windows says nothing of the "
        "test windows."
    )
    return (
        f'<h3>How the networks were trained</h3><div class="grid wide">{grid}</div>{paragraph(caption, "soft small")}'
    )


def _epochs(histories: list[Any], quantity: str, length: int) -> list[figures.Curve]:
    curves = []
    for k, (key, title) in enumerate(((quantity, "training"), (f"validation_{quantity}", "validation"))):
        if all(key in row for history in histories for row in history):
            values = np.array([[row[key] for row in history[:length]] for history in histories], dtype=float)
            if np.isfinite(values).all():
                x = np.arange(1, length + 1)
                edges = (values.min(axis=0), values.max(axis=0))
                curves.append(figures.Curve(title, figures.colour(k), x, values.mean(axis=0), *edges))
    return curves


def patterns_section(comparison: Comparison) -> str:
    """Maps on the head where sensor positions are known, else channels by time."""
    material = comparison.material
    board = max(comparison.boards, key=lambda b: b.n_test)
    results = comparison.results[board.split]
    features, columns = patterns.channel_features(material), patterns.stretch_names(material)
    rows = [str(c) for c in material.X["channel"].values] if "channel" in material.X.coords else []
    rows = rows or [str(k) for k in range(material.X.sizes["channel"])]
    binary = len(material.classes) == 2
    codes = [1] if binary else list(range(min(len(material.classes), MAX_PATTERN_CLASSES)))
    maps = {
        (s.system, code): patterns.correlations(features, results[s.system], code)
        for s in board.standings
        for code in codes
    }
    limit = max(float(np.abs(values).max()) for values in maps.values()) or 1.0
    info = patterns.head_positions(material)
    grid = "".join(
        _pattern_figure(f"{name}: {material.classes[code]}", values, rows, columns, limit, info)
        for (name, code), values in maps.items()
    )
    caption = (
        "Correlation over test windows between a decoder's log-odds of a class and every channel's mean in a stretch of the window "
        f"(seconds above), and with the logarithm of its variance (power); red positive, blue negative, full colour at ±{limit:.2f}. "
        "These are patterns in the sense of Haufe et al. (2014): they show where the activity is that the decoder's output goes with, "
        f"not its weights. From the split “{board.split}”."
    )
    return (
        f'<h3>What goes with the output</h3><div class="grid wide">{grid}</div>{paragraph(caption, "soft small")}'
        + _missed(comparison, info, rows)
        + networks_part(comparison, board, info)
    )


def _missed(comparison: Comparison, info: Any, rows: list[str]) -> str:
    """What the best decoders lose without an electrode, a stretch of time, a band."""
    found = missing.missed_by_the_best(comparison)
    if not found.losses:
        return paragraph(found.left_out, "soft small") if found.left_out else ""
    colours = _colours(comparison)
    names = [loss.name for loss in found.losses]
    electrodes = np.stack([loss.electrodes.values for loss in found.losses], axis=1)
    limit = float(np.abs(electrodes).max()) or 1.0
    label = f"fall of probability without each electrode; {strongest(electrodes, rows, names)}"
    if info is None:
        short = [figures.shorten(name, 14) for name in names]
        drawing = figures.heatmap(electrodes, rows, short, limit, label, last_apart=False, digits=3)
    else:
        titles = [figures.shorten(name, 18) for name in names]
        drawing = f'<img src="{topographies(electrodes, titles, info, limit)}" alt="{escape(label)}">'
    grid = f"<figure><figcaption>electrodes</figcaption>{drawing}</figure>"
    curves = [
        figures.Curve(loss.name, colours[loss.name], loss.times["time"].values, loss.times.values)
        for loss in found.losses
    ]
    legend = figures.legend([(c.name, c.colour) for c in curves])
    chart = figures.curves_figure(curves, "time (s)", "fall of probability", width=430)
    grid += f"<figure><figcaption>stretches of time</figcaption>{legend}{chart}</figure>"
    banded = {loss.name: loss.bands for loss in found.losses if loss.bands is not None}
    if banded:
        values, decoders = np.stack([bands.values for bands in banded.values()]), list(banded)
        columns = [str(b) for b in banded[decoders[0]]["band"].values]
        top = float(np.abs(values).max()) or 1.0
        label = f"fall of probability without each band; {strongest(values, decoders, columns)}"
        drawing = figures.heatmap(values, decoders, columns, top, label, last_apart=False, digits=3)
        grid += f"<figure><figcaption>frequency bands</figcaption>{drawing}</figure>"
    caption = (
        "How far the probability of the right class falls when a part is exchanged between test windows, mean over up to "
        f"{found.n_windows} windows of “{found.fold}”; full colour of the electrodes at {limit:.3f}. An electrode that others can stand in "
        f"for is not missed. {found.left_out}"
    )
    return f'<h3>What is missed when it is taken away</h3><div class="grid wide">{grid}</div>{paragraph(caption, "soft small")}'


def _pattern_figure(title: str, values: Any, rows: list[str], columns: list[str], limit: float, info: Any) -> str:
    strongest = np.unravel_index(np.abs(values).argmax(), values.shape)
    label = f"{title}; strongest: {rows[strongest[0]]}, {columns[strongest[1]]}, correlation {values[strongest]:+.2f}"
    if info is None:
        drawing = figures.heatmap(values, rows, columns, limit, label)
    else:
        chosen = patterns.chosen_maps(values.shape[1])
        titles = [columns[k] if k == values.shape[1] - 1 else f"{columns[k]} s" for k in chosen]
        source = topographies(values[:, chosen], titles, info, limit)
        drawing = f'<img src="{source}" alt="{escape(label)}">'
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>"
