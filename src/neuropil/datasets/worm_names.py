"""Names of the worm's neurons: the order of 300 slots that all data share, and labels of laboratories brought to it.

The hermaphrodite of *C. elegans* has 302 neurons; CANL and CANR make no synapses, so that 300 are left, in alphabetical order. Of the
pair AWC anatomy knows the sides, AWCL and AWCR, physiology the states AWCON and AWCOFF, which either side may take: the latter
name a neuron, but no side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from neuropil.errors import DataError, UsageError

CONNECTOMES_FILE = "worm-connectomes.npz"
WITHOUT_SYNAPSES = ("CANL", "CANR")
STATES_OF_AWC = ("AWCON", "AWCOFF", "AWCOF")


class CleanLabel(NamedTuple):
    """What became of a laboratory's label."""

    neuron: str
    """Canonical name, empty for a trace that is not identified."""
    reason: str
    """Why it is not identified, or how the label was changed; empty where it was right as it came."""


@cache
def neuron_order() -> tuple[str, ...]:
    """The 300 neurons that make synapses, in alphabetical order.

    Examples
    --------
    >>> order = neuron_order()
    >>> len(order), order[0], order[-1]
    (300, 'ADAL', 'VD9')
    """
    source = resources.files("neuropil.datasets") / "bundled" / CONNECTOMES_FILE
    with resources.as_file(source) as path, np.load(path, allow_pickle=False) as archive:
        return tuple(str(name) for name in archive["order"])


@cache
def _slots() -> dict[str, int]:
    return {name: k for k, name in enumerate(neuron_order())}


@cache
def _stems() -> frozenset[str]:
    """Names without their sides: SMDD of SMDDL, SMD of SMDD, RME of RMED."""
    names = neuron_order()
    return frozenset(
        stem for name in names for cut in (1, 2) if len(stem := name[:-cut]) >= 2 and set(name[-cut:]) <= set("LRDV")
    ) - set(names)


def clean_label(label: Any) -> CleanLabel:
    """The canonical name of a neuron, or why the label names none.

    Zeros that only fill up a number go ("AS01"), case and blanks do not matter. A label with a question mark, without its side ("SMDD"),
    of a state instead of a side ("AWCON") or of no neuron among the 300 leaves the trace unidentified.

    Examples
    --------
    >>> clean_label("as01").neuron, clean_label("VB10").neuron
    ('AS1', 'VB10')
    >>> clean_label("SMDD").reason
    'the side is not told'
    """
    if not isinstance(label, str):
        return CleanLabel("", "no label")
    name = label.strip().upper()
    if not name or name in ("NAN", "NONE") or name.replace(".", "").isdigit():
        return CleanLabel("", "no label")
    if "?" in name:
        return CleanLabel("", "uncertain label")
    name = re.sub(r"^([A-Z]+)0+(?=[1-9])", r"\1", name)
    if name in _slots():
        return CleanLabel(name, "" if name == label else "spelling")
    if name in WITHOUT_SYNAPSES:
        return CleanLabel("", "makes no synapses")
    if name in _stems() or name in STATES_OF_AWC:
        return CleanLabel("", "the side is not told")
    return CleanLabel("", "no such neuron")


def clean_labels(labels: Sequence[Any] | None, n_traces: int) -> list[CleanLabel]:
    """Clean the labels of one recording; the second trace of a name stays unidentified, since two traces are not one neuron.

    Parameters
    ----------
    labels : sequence or None
        One entry a trace: a name, or None (or anything that is no name) where the neuron is not identified.
    n_traces : int

    Raises
    ------
    DataError
        If there is not one label a trace.
    """
    if labels is None:
        return [CleanLabel("", "no label")] * n_traces
    if len(labels) != n_traces:
        raise DataError(
            f"Expected one label for each of the {n_traces} traces (None where it is not known), got {len(labels)} labels."
        )
    cleaned: list[CleanLabel] = []
    taken: set[str] = set()
    for label in labels:
        entry = clean_label(label)
        cleaned.append(CleanLabel("", "doubled label") if entry.neuron in taken else entry)
        taken |= {entry.neuron} - {""}
    return cleaned


def nearest(name: Any, order: Iterable[str] | None = None) -> list[str]:
    """Up to three neurons whose names resemble this one.

    Examples
    --------
    >>> nearest("avax")
    ['AVAR', 'AVAL']
    """
    from difflib import get_close_matches

    return get_close_matches(str(name).strip().upper(), list(neuron_order() if order is None else order), n=3)


def slots(names: Iterable[str], order: Sequence[str] | None = None) -> list[int]:
    """Positions of neurons in the canonical order, or in another one.

    Raises
    ------
    UsageError
        If a name is not among them; the sentence offers the nearest ones.

    Examples
    --------
    >>> slots(["ADAL", "AVBR"])
    [0, 56]
    """
    known = _slots() if order is None else {name: k for k, name in enumerate(order)}
    positions = []
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {' or '.join(near)}?" if near else f"names are like {next(iter(known))}."
            raise UsageError(f"There is no neuron {name!r} among the {len(known)} of the connectome; {hint}")
        positions.append(known[name])
    return positions
