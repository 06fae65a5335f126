"""MNE-Python's Epochs to windows (or a recording of trials laid end to end) and back, without losing a bit.

Every window carries the numbers of its event (`event_sample`, `event_previous`, `event_code`), its place among all events
(`selection`) and the columns of the metadata; what holds for all of them (`Info`, event names, baseline) travels as text in
`attrs["mne"]`. Windows may be selected, reordered and sliced in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import mne
import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from neuropil.errors import DataError, UsageError
from neuropil.io.mne import (
    MODALITIES,
    common_info,
    details_of,
    factor_of,
    kind_groups,
    positions_of,
    restore_info,
    subject_of,
    unit_of,
)
from neuropil.recording import Recording
from neuropil.streams import regular_stream

EVENT_COORDS = ("event_sample", "event_previous", "event_code", "selection")
RESERVED = {
    "window",
    "channel",
    "time",
    "kind",
    "bad",
    "x",
    "y",
    "z",
    "label",
    "onset",
    "trial",
    "subject",
    "session",
    "recording",
    "mask",
}


class EpochRows(BackendArray):
    """Epochs laid end to end, lazily: shape (n_epochs * n_times, n_channels)."""

    def __init__(self, epochs: mne.BaseEpochs, picks: list[int]) -> None:
        self.epochs, self.picks, self.n_times = epochs, picks, len(epochs.times)
        self.shape, self.dtype = (len(epochs.events) * self.n_times, len(picks)), np.dtype(np.float64)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time, channel = key
        rows = np.atleast_1d(np.arange(self.shape[0])[time])
        wanted = np.unique(rows // self.n_times)
        picks = np.atleast_1d(np.asarray(self.picks)[channel])
        if not len(wanted) or not len(picks):
            block = np.empty((len(rows), len(picks)))
        else:
            data = self.epochs[wanted].get_data(picks=picks, copy=False)
            block = data[np.searchsorted(wanted, rows // self.n_times), :, rows % self.n_times]
        block = block[0] if isinstance(time, int | np.integer) else block
        return block[..., 0] if isinstance(channel, int | np.integer) else block

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)


def _samples(epochs: mne.BaseEpochs, picks: list[int]) -> Any:
    if not epochs.preload:
        return indexing.LazilyIndexedArray(EpochRows(epochs, picks))
    return epochs.get_data(picks=picks, copy=False).transpose(0, 2, 1).reshape(-1, len(picks))


def _checked(epochs: Any) -> mne.BaseEpochs:
    if not isinstance(epochs, mne.BaseEpochs):
        raise UsageError(f"Expected MNE-Python's Epochs, got {type(epochs).__name__}.")
    epochs = epochs if epochs.preload else epochs.copy().drop_bad()
    if not len(epochs.events):
        raise DataError("The epochs are empty, every trial was dropped; loosen the rejection.")
    return epochs


def _details(epochs: mne.BaseEpochs) -> dict[str, Any]:
    metadata = epochs.metadata
    columns = [] if metadata is None else [str(name) for name in metadata.columns]
    return {
        "info": epochs.info.to_json_dict(),
        "event_id": {str(name): int(code) for name, code in epochs.event_id.items()},
        "baseline": None if epochs.baseline is None else [float(edge) for edge in epochs.baseline],
        "drop_log": [list(reasons) for reasons in epochs.drop_log],
        "metadata": None if metadata is None else {_column(name): name for name in columns},
        "dtypes": [] if metadata is None else [str(dtype) for dtype in metadata.dtypes],
        "index": metadata is not None and metadata.index.equals(pd.Index(epochs.selection)),
    }


def _column(name: str) -> str:
    return f"metadata_{name}" if name in RESERVED or name in EVENT_COORDS else name


def _events(epochs: mne.BaseEpochs) -> pd.DataFrame:
    names = {code: name for name, code in reversed(list(epochs.event_id.items()))}
    n_epochs, sfreq = len(epochs.events), epochs.info["sfreq"]
    duration = len(epochs.times) / sfreq
    table: dict[str, Any] = {
        "onset": np.arange(n_epochs) * duration,
        "duration": np.full(n_epochs, duration),
        "label": [names[int(code)] for code in epochs.events[:, 2]],
        "event_sample": epochs.events[:, 0].astype(np.int64),
        "event_previous": epochs.events[:, 1].astype(np.int64),
        "event_code": epochs.events[:, 2].astype(np.int64),
        "selection": np.asarray(epochs.selection, dtype=np.int64),
    }
    if epochs.metadata is not None:
        table |= {_column(str(name)): epochs.metadata[name].to_numpy() for name in epochs.metadata.columns}
    return pd.DataFrame(table)


def _stream(epochs: mne.BaseEpochs, picks: list[int], modality: str) -> xr.DataArray:
    info = epochs.info
    kinds = info.get_channel_types()
    return regular_stream(
        _samples(epochs, picks),
        info["sfreq"],
        channels=[info["ch_names"][k] for k in picks],
        kind=[kinds[k] for k in picks],
        unit=unit_of(info, picks),
        modality=modality,
        positions=positions_of(info, picks),
        bads=[info["ch_names"][k] for k in picks if info["ch_names"][k] in info["bads"]],
    )


def recording_of_epochs(
    epochs: mne.BaseEpochs, *, dataset: str = "", session: str = "", subject: str | None = None
) -> Recording:
    """Epochs laid end to end: one event for every trial, one stream for every kind of channel, `info["tmin"]` in seconds."""
    epochs = _checked(epochs)
    streams = {
        kind: _stream(epochs, picks, MODALITIES.get(kind, kind)) for kind, picks in kind_groups(epochs.info).items()
    }
    facts = {
        **common_info(epochs.info),
        "concatenated_trials": True,
        "tmin": float(epochs.tmin),
        "mne": json.dumps(_details(epochs)),
    }
    subject = subject_of(epochs.info) if subject is None else subject
    return Recording(streams, _events(epochs), subject=subject, session=session, dataset=dataset, info=facts)


def epochs_to_windows(epochs: mne.BaseEpochs, *, subject: str | None = None, session: str = "") -> xr.DataArray:
    """Epochs as windows of shape (n_epochs, n_channels, n_times), all kinds of channels together.

    `time` is that of the epochs, `onset` the time of the event in the recording that the epochs were cut from (event sample / sfreq).
    Epochs that are not preloaded are read when they are used.
    """
    from neuropil.windowing import windows

    epochs = _checked(epochs)
    kinds = list(kind_groups(epochs.info))
    stream = _stream(epochs, list(range(len(epochs.ch_names))), MODALITIES.get(kinds[0], kinds[0]))
    events = _events(epochs)
    subject = subject_of(epochs.info) if subject is None else subject
    X = windows(Recording({"epochs": stream}, events, subject=subject, session=session))
    coords = {
        str(name): ("window", events[name].to_numpy())
        for name in events.columns
        if name not in ("duration", "label", "onset")
    }
    onset = epochs.events[:, 0] / epochs.info["sfreq"]
    X = X.assign_coords(coords | {"onset": ("window", onset), "time": epochs.times})
    return X.assign_attrs(mne=json.dumps(_details(epochs)))


def _numbers(X: xr.DataArray, details: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, int]]:
    label = np.asarray(X["label"].values).astype(str)
    if all(name in X.coords for name in EVENT_COORDS[:3]):
        events = np.stack([X[name].values for name in EVENT_COORDS[:3]], axis=1).astype(int)
        event_id = details.get("event_id", {})
        if all(event_id.get(name) == code for name, code in zip(label, events[:, 2], strict=True)):
            return events, {name: code for name, code in event_id.items() if code in events[:, 2]}
        samples = events[:, 0]
    else:
        samples = np.rint(X["onset"].values * X.attrs["sfreq"]).astype(int)
    if len(np.unique(samples)) < len(samples):
        samples = np.arange(len(samples)) * X.sizes["time"]
    names, codes = np.unique(label, return_inverse=True)
    events = np.stack([samples, np.zeros_like(samples), codes + 1], axis=1)
    return events, {str(name): k + 1 for k, name in enumerate(names)}


def _metadata(X: xr.DataArray, details: Mapping[str, Any]) -> pd.DataFrame | None:
    columns = details.get("metadata")
    if columns is None or not all(name in X.coords for name in columns):
        return None
    table = pd.DataFrame({key: X[name].values for name, key in columns.items()})
    table = table.astype(dict(zip(columns.values(), details["dtypes"], strict=True)))
    return table.set_axis(pd.Index(X["selection"].values), axis=0) if details["index"] else table


def to_mne_epochs(X: xr.DataArray) -> mne.EpochsArray:
    """MNE-Python's Epochs of windows; those of `epochs_to_windows` come back as they were.

    Windows without event numbers get them from `onset` (counted up where onsets repeat, as over several recordings) and from their
    labels in alphabetical order, from 1 on.
    """
    if not isinstance(X, xr.DataArray) or X.dims != ("window", "channel", "time") or not X.sizes["window"]:
        raise UsageError(
            "Expected windows with dims (window, channel, time) and at least one window; cut them with neuropil.windows()."
        )
    details = details_of(X.attrs) or {}
    info = restore_info(details if "info" in details else None, [X])
    data = X.values if factor_of(X) == 1 else X.values * factor_of(X)
    data = np.array(data, dtype=np.float64)
    events, event_id = _numbers(X, details)
    baseline = details.get("baseline")
    tmin = float(X["time"].values[0])
    if baseline is not None and not (tmin - 1e-9 <= baseline[0] and baseline[1] <= float(X["time"].values[-1]) + 1e-9):
        baseline = None
    options: dict[str, Any] = {}
    if "selection" in X.coords and "drop_log" in details:
        kept = X["selection"].values.astype(int)
        log = [
            reasons or (() if k in set(kept.tolist()) else ("IGNORED",))
            for k, reasons in enumerate(details["drop_log"])
        ]
        if len(set(kept.tolist())) == len(kept) and all(not log[k] for k in kept):
            options = {"selection": kept, "drop_log": tuple(tuple(reasons) for reasons in log)}
    epochs = mne.EpochsArray(
        data.copy(),
        info,
        events,
        tmin,
        event_id,
        baseline=None if baseline is None else tuple(baseline),
        proj=False,
        metadata=_metadata(X, details),
        on_outside="ignore",
        verbose="ERROR",
        **options,
    )
    # A second baseline correction moves the last bits of data that were corrected before.
    epochs.get_data(copy=False)[:] = data
    return epochs
