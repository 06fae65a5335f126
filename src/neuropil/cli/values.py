"""Values that commands take as text: NAME=VALUE pairs, candidates, bands."""

from __future__ import annotations

from typing import Any

from neuropil.errors import UsageError

WORDS = {"none": None, "true": True, "false": False}


def named_values(
    given: list[str], what: str = "An option of a data set", example: str = "n_sessions=2"
) -> dict[str, Any]:
    """NAME=VALUE pairs; values are numbers where they look like it, lists at commas, and None for "none".

    Examples
    --------
    >>> named_values(["n_sessions=2", "preset=hard", "classes=left_hand,feet", "window_s=none"])
    {'n_sessions': 2, 'preset': 'hard', 'classes': ('left_hand', 'feet'), 'window_s': None}
    """
    options = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not name or not sign:
            raise UsageError(f"{what} is NAME=VALUE, for example {example}, got {pair!r}.")
        options[name] = tuple(map(_value, value.split(","))) if "," in value else _value(value)
    return options


def candidates(given: list[str]) -> dict[str, tuple[Any, ...]]:
    """NAME=A,B,C: candidates of parameters, one or more.

    Examples
    --------
    >>> candidates(["n_states=2,3,4"])
    {'n_states': (2, 3, 4)}
    """
    named = named_values(given, "A choice", "n_states=2,3,4")
    return {name: values if isinstance(values, tuple) else (values,) for name, values in named.items()}


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def band_edges(text: str | None) -> tuple[float | None, float | None] | None:
    """LOW-HIGH in Hz, either of which may be empty.

    Examples
    --------
    >>> band_edges("8-30"), band_edges("-40"), band_edges(None)
    ((8.0, 30.0), (None, 40.0), None)
    """
    if text is None:
        return None
    low, sign, high = text.partition("-")
    try:
        edges = tuple(float(edge) if edge.strip() else None for edge in (low, high))
    except ValueError:
        edges = (None, None)
    if not sign or edges == (None, None):
        raise UsageError(f"A band is LOW-HIGH in Hz, for example 8-30 or -40, got {text!r}.")
    return edges[0], edges[1]
