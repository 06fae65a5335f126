"""An explanation as one HTML page, and the frame of such pages, that open anywhere, need no network and run no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import neuropil
from neuropil.explain.plots import Panel, data_uri

if TYPE_CHECKING:
    from neuropil.explain.explanation import Explanation

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5b6675; --line: #d8dde4; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181e; --ink: #e6e9ee; --soft: #9aa6b5; --line: #323b47; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .45rem 0; max-width: 48rem; }
figure { margin: .6rem 0; } figure img { max-width: 100%; background: #fff; border-radius: .3rem; }
th { text-align: left; font-weight: 500; color: var(--soft); padding-right: 1.5rem; vertical-align: top; }
figcaption, footer, li { color: var(--soft); font-size: .875rem; max-width: 48rem; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(explanation: Explanation) -> str:
    """The page as text; everything from data is escaped."""
    figures = explanation.figures()
    parts = [_section(panel, data_uri(figures[panel.name])) for panel in explanation.panels()]
    title = f"What {explanation.decoder} uses"
    accuracy = float(explanation.electrodes.attrs["accuracy"])
    lead = (
        f"{explanation.n_windows} windows of {len(explanation.channels)} channels; classes {', '.join(explanation.classes)}; "
        f"accuracy {accuracy:.2f} on these windows."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in explanation.notes)
    return document(title, lead, f"{f'<ul>{notes}</ul>' if notes else ''}{''.join(parts)}")


def document(title: str, lead: str, body: str) -> str:
    """A whole page from its title and lead (text) and its body (HTML)."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p>{escape(lead)}</p>{body}"
        f"<footer><p>neuropil {escape(neuropil.__version__)}</p></footer></main></body></html>\n"
    )


def _section(panel: Panel, source: str) -> str:
    return (
        f"<section><h2>{escape(panel.title)}</h2>"
        f'<figure><img src="{source}" alt="{escape(panel.summary)}"><figcaption>{escape(panel.caption)}</figcaption></figure></section>'
    )
