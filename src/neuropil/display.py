"""How a recording shows itself in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from neuropil.recording import Recording

COLOURS = ("#3b6fb6", "#d1495b", "#3a9278", "#e8a33d", "#7b5ea7", "#5b8c9d", "#a05a2c", "#6b7280")
MAX_DRAWN_EVENTS = 2000


def _timeline(recording: Recording) -> str:
    """Events over time as one strip of SVG; beyond `MAX_DRAWN_EVENTS`, every n-th."""
    events, duration = recording.events, recording.duration
    if not len(events) or duration <= 0:
        return ""
    labels = list(dict.fromkeys(events["label"].astype(str)))
    colour = {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(labels)}
    start = min((float(s.time[0]) for s in recording.streams.values() if s.sizes["time"]), default=0.0)
    step = int(np.ceil(len(events) / MAX_DRAWN_EVENTS))
    bars = "".join(
        f'<rect x="{100 * (onset - start) / duration:.3f}%" width="{max(100 * length / duration, 0.15):.3f}%" y="0" height="18" '
        f'fill="{colour[str(label)]}"><title>{escape(str(label))} at {onset:.2f} s</title></rect>'
        for onset, length, label in events[["onset", "duration", "label"]].iloc[::step].itertuples(index=False)
    )
    legend = " ".join(
        f'<span style="color:{colour[label]}">&#9632;</span> {escape(label)} × {int((events["label"].astype(str) == label).sum())}'
        for label in labels[: len(COLOURS)]
    )
    return (
        f'<svg width="100%" height="18" style="background:#8881;border-radius:3px">{bars}</svg>'
        f'<div style="font-size:85%">{legend}</div>'
    )


def recording_html(recording: Recording) -> str:
    """Streams, durations, channels and events of a recording as a fragment of HTML; everything from the data is escaped."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("stream", "time", "content", "unit"))
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in recording._rows()
    )
    return (
        f"<div><b>Recording</b>: {escape(recording._title())}, {recording.duration:.1f} s, {len(recording.events)} events"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{_timeline(recording)}</div>"
    )
