"""Recordings of several animals on one list of neurons: matched by name, with NaN where a neuron was not measured."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neuropil.activity import Activity, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording


def read_animals(
    X: Any, mask: Any = None, stream: str | None = None, order: Sequence[str] | None = None
) -> tuple[Activity, tuple[str, ...]]:
    """One sequence an animal, all with the same neurons, and the animals' names.

    Parameters
    ----------
    X : Recording or list of Recording, or arrays as in `neuropil.activity.read_activity`
        Recordings are matched by the names of their channels, those of unidentified neurons being their own. Where the stream's `mask` or
        the channels' `named` is false, nothing was measured.
    mask : ndarray of bool, shape (n_animals, n_neurons), optional
        True where a neuron was measured; for arrays.
    stream : str, optional
        "calcium" if there is one, else the first, without.
    order : sequence of str, optional
        Neurons of a fitted model; others are left out, absent ones are NaN. Without, all that were measured in an animal or more.
    """
    recordings = [X] if isinstance(X, Recording) else X
    if not (isinstance(recordings, list | tuple) and recordings and all(isinstance(r, Recording) for r in recordings)):
        if stream is not None:
            raise UsageError("stream belongs to recordings; arrays are taken as they are: leave it out.")
        return _of_arrays(read_activity(X), mask, order)
    if mask is not None:
        raise UsageError("mask belongs to arrays; recordings carry their own.")
    parts = [_of_recording(recording, stream) for recording in recordings]
    rates = sorted({rate for _, _, rate, _ in parts})
    if len(rates) > 1:
        raise DataError(
            f"All animals must have one rate, got {', '.join(f'{rate:g}' for rate in rates)} frames a second; resample them."
        )
    seen = dict.fromkeys(
        name
        for values, names, _, _ in parts
        for name, there in zip(names, np.isfinite(values).any(axis=0), strict=True)
        if there
    )
    names = tuple(seen) if order is None else tuple(order)
    if not seen or not set(names) & set(seen):
        raise DataError("No neuron of the model was measured in these recordings; check the names of their channels.")
    sequences = []
    for values, columns, _, _ in parts:
        place = {name: k for k, name in enumerate(columns)}
        sequence = np.full((len(values), len(names)), np.nan)
        both = [(k, place[name]) for k, name in enumerate(names) if name in place]
        sequence[:, [k for k, _ in both]] = values[:, [k for _, k in both]]
        sequences.append(sequence)
    animals = tuple(recording.subject or str(k) for k, recording in enumerate(recordings))
    return Activity(sequences, names, rates[0], np.array([start for _, _, _, start in parts])), animals


def _of_recording(recording: Recording, name: str | None) -> tuple[ndarray, list[str], float, float]:
    if name is None and "calcium" in recording.streams:
        name = "calcium"
    stream = recording.stream(name)
    # trials are no sequences here: an animal is one
    activity = read_activity(stream)
    values = activity.sequences[0]
    if "named" in stream.coords:
        values = np.where(stream["named"].values, values, np.nan)
    if activity.sfreq is None:
        raise DataError("The stream has no rate; bring it to an even rate first.")
    return values, list(activity.names), activity.sfreq, float(activity.starts[0])


def _of_arrays(activity: Activity, mask: Any, order: Sequence[str] | None) -> tuple[Activity, tuple[str, ...]]:
    sequences, names = activity.sequences, activity.names
    if mask is not None:
        measured = np.asarray(mask)
        if measured.dtype != bool or measured.shape != (len(sequences), len(names)):
            raise DataError(
                f"mask must be boolean with one row an animal and one column a neuron, ({len(sequences)}, {len(names)}), "
                f"got {measured.dtype} of shape {measured.shape}."
            )
        sequences = [np.where(row, sequence, np.nan) for sequence, row in zip(sequences, measured, strict=True)]
    wanted = names
    if order is None:
        seen = np.any([np.isfinite(sequence).any(axis=0) for sequence in sequences], axis=0)
        # infinite values are refused later, by name
        seen |= np.any([np.isinf(sequence).any(axis=0) for sequence in sequences], axis=0)
        wanted = tuple(name for name, there in zip(names, seen, strict=True) if there)
    elif set(order) <= set(names):
        wanted = tuple(order)
    if wanted != names:
        columns = [names.index(name) for name in wanted]
        sequences = [sequence[:, columns] for sequence in sequences]
    if not wanted:
        raise DataError("No neuron was measured in any animal: all values are NaN.")
    return activity._replace(sequences=sequences, names=wanted), tuple(map(str, range(len(sequences))))


def aligned(activity: Activity, animals: Sequence[str]) -> Float[ndarray, "animal time neuron"]:
    """Traces of the length of the shortest; one that never changes in an animal says nothing there and counts as missing."""
    shortest = min(activity.lengths)
    if shortest != max(activity.lengths):
        warnings.warn(
            f"Animals have {shortest} to {max(activity.lengths)} frames; the first {shortest} of each are used, taken as aligned.",
            stacklevel=4,
        )
    traces = np.stack([sequence[:shortest] for sequence in activity.sequences])
    low = np.where(np.isnan(traces), np.inf, traces).min(axis=1)
    high = np.where(np.isnan(traces), -np.inf, traces).max(axis=1)
    constant = np.argwhere(low == high)
    if len(constant):
        animal, neuron = constant[0]
        warnings.warn(
            f"{len(constant)} traces never change within an animal ({activity.names[neuron]} of {animals[animal]} is the first) and are "
            "treated as missing there.",
            stacklevel=4,
        )
        traces[constant[:, 0], :, constant[:, 1]] = np.nan
    return traces
