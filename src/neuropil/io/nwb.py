"""Neurodata Without Borders: acquired series, units, trials and behaviour, there and back.

Samples are read lazily and straight from HDF5 when they are used. A voltage whose factor to V is that of mV, uV or nV keeps its numbers and
is labelled with that unit; every other factor is applied. Positions stand in micrometres in the file and in metres in a recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from neuropil.errors import DataError, UsageError, require
from neuropil.io.files import check_beginning, existing_file, readable
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, is_regular, regular_stream

WHAT = "an NWB file"
UNIT_OF_FACTOR = {1.0: "V", 1e-3: "mV", 1e-6: "uV", 1e-9: "nV"}
VOLTS = {"V", "mV", "uV", "nV"}
LABEL_COLUMNS = ("label", "trial_type", "condition", "stimulus", "type", "outcome")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = 1e6


class H5Rows(BackendArray):
    """A dataset of an HDF5 file as a lazy array of shape (n_times, n_channels), times `factor` plus `offset`."""

    def __init__(
        self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, factor: float, offset: float
    ) -> None:
        self.path, self.name, self.factor, self.offset = path, name, factor, offset
        self.stored_shape, self.shape = shape, shape if len(shape) > 1 else (*shape, 1)
        self.scaled = factor != 1.0 or offset != 0.0
        self.dtype = np.dtype(np.float64) if self.scaled else np.dtype(dtype)
        self._file: Any = None

    def _dataset(self) -> Any:
        if self._file is None or not self._file:
            self._file = require("h5py", "nwb").File(self.path, "r")
        return self._file[self.name]

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time, rest = key[0], key[1:]
        with readable(self.path, WHAT):
            if isinstance(time, slice) and time.step in (None, 1):
                block = np.asarray(self._dataset()[time])
            else:
                rows = np.atleast_1d(np.arange(self.shape[0])[time])
                unique, inverse = np.unique(rows, return_inverse=True)
                block = np.asarray(self._dataset()[unique])[inverse]
        block = block.reshape(len(block), *self.shape[1:])
        block = block * self.factor + self.offset if self.scaled else block
        return block[(0 if isinstance(time, int | np.integer) else slice(None), *rest)]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}


def read_nwb(path: str | Path, *, events: str = "trials") -> Recording:
    """Read an NWB file.

    Parameters
    ----------
    path : path-like
        The file.
    events : str
        Table of intervals that becomes the events; the trials without.

    Returns
    -------
    Recording
        Every acquired or behavioural series is a stream; the sorted units are the irregular stream "units" (times, unit ids).
    """
    path = existing_file(path, WHAT)
    check_beginning(path, WHAT, (b"\x89HDF\r\n\x1a\n",))
    pynwb = require("pynwb", "nwb")
    with readable(path, WHAT), pynwb.NWBHDF5IO(path, mode="r", load_namespaces=True) as io:
        nwb = io.read()
        streams = {name: _read_series(path, series, pynwb) for name, series in _all_series(nwb, pynwb)}
        if nwb.units is not None and len(nwb.units):
            streams["units"] = _read_units(nwb.units)
        intervals = nwb.trials if events == "trials" else (nwb.intervals or {}).get(events)
        if intervals is None and events != "trials":
            known = ", ".join(["trials", *(nwb.intervals or {})])
            raise UsageError(f"{path} has no table of intervals {events!r}; it has {known}.")
        table = None if intervals is None else _read_intervals(intervals.to_dataframe())
        facts: dict[str, Any] = {"meas_date": nwb.session_start_time.isoformat(), "identifier": str(nwb.identifier)}
        facts["description"] = str(nwb.session_description)
        subject = "" if nwb.subject is None else str(nwb.subject.subject_id or "")
        session = str(nwb.session_id or "")
    if not streams:
        raise DataError(f"{path} holds no series and no units; there is nothing to make a recording of.")
    return Recording(streams, table, subject=subject, session=session, info=facts)


def _all_series(nwb: Any, pynwb: Any) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    places = [("", nwb.acquisition), *((f"{name}/", module.data_interfaces) for name, module in nwb.processing.items())]
    for place, objects in places:
        for name, item in objects.items():
            inner = [(name, item)] if isinstance(item, pynwb.TimeSeries) else _inner_series(name, item, pynwb)
            for inner_name, series in inner:
                if _usable(series, pynwb):
                    unique = inner_name if inner_name not in seen else f"{place}{inner_name}"
                    seen.add(unique)
                    yield unique, series


def _inner_series(name: str, item: Any, pynwb: Any) -> list[tuple[str, Any]]:
    for field in ("electrical_series", "spatial_series", "time_series", "roi_response_series"):
        series = getattr(item, field, None)
        if series:
            return [(inner if len(series) == 1 else f"{name}/{inner}", s) for inner, s in series.items()]
    return []


def _usable(series: Any, pynwb: Any) -> bool:
    if isinstance(series, pynwb.image.ImageSeries) or not hasattr(series.data, "shape"):
        return False
    return 1 <= len(series.data.shape) <= 2 and series.data.shape[0] > 0 and np.dtype(series.data.dtype).kind in "biuf"


def _read_series(path: Path, series: Any, pynwb: Any) -> xr.DataArray:
    electrical = isinstance(series, pynwb.ecephys.ElectricalSeries)
    factor, offset, unit = float(series.conversion), float(getattr(series, "offset", 0.0) or 0.0), str(series.unit)
    unit = {"volts": "V", "unknown": "", "n.a.": ""}.get(unit, unit)
    if unit == "V" and factor in UNIT_OF_FACTOR and offset == 0:
        factor, unit = 1.0, UNIT_OF_FACTOR[factor]
    data = H5Rows(path, series.data.name, series.data.shape, series.data.dtype, factor, offset)
    modality = (
        str(series.comments)
        if str(series.comments) not in ("no comments", "")
        else "ephys"
        if electrical
        else "behaviour"
    )
    n_channels = data.shape[1]
    coords = _electrodes(series, n_channels) if electrical else {}
    if not coords and str(series.description).startswith("channels: "):
        coords = {"channels": str(series.description)[len("channels: ") :].split("\t")}
    kind = coords.pop("kind", "misc" if not electrical else "ecog" if modality == "ieeg" else "eeg")
    if series.rate is None:
        times = np.asarray(series.timestamps[:], dtype=np.float64)
        values = data[indexing.BasicIndexer((slice(None), slice(None)))]
        values = values[:, 0] if len(series.data.shape) == 1 else values
        return irregular_stream(times, values, unit=unit, modality=modality)
    start = float(series.starting_time or 0.0)
    lazy = indexing.LazilyIndexedArray(data)
    return regular_stream(lazy, float(series.rate), kind=kind, unit=unit, modality=modality, t0=start, **coords)


def _electrodes(series: Any, n_channels: int) -> dict[str, Any]:
    table = series.electrodes.table.to_dataframe(index=True).iloc[list(series.electrodes.data[:])]
    if len(table) != n_channels:
        return {}
    names = next((table[c] for c in ("label", "channel_name", "electrode_name") if c in table), table.index)
    coords: dict[str, Any] = {"channels": [str(name) for name in names]}
    if len(set(coords["channels"])) < n_channels:
        coords["channels"] = [str(k) for k in table.index]
    if all(axis in table for axis in "xyz"):
        xyz = table[list("xyz")].to_numpy(dtype=float) / MICRO
        if np.isfinite(xyz).any():
            coords["positions"] = xyz
    if "kind" in table:
        coords["kind"] = [str(kind) for kind in table["kind"]]
    if "bad" in table:
        coords["bads"] = [name for name, bad in zip(coords["channels"], table["bad"], strict=True) if bad]
    return coords


def _read_units(units: Any) -> xr.DataArray:
    ids = np.asarray(units.id[:])
    times = [np.asarray(units["spike_times"][k], dtype=np.float64) for k in range(len(ids))]
    values = np.repeat(ids, [len(t) for t in times])
    flat = np.concatenate(times) if times else np.zeros(0)
    order = np.argsort(flat, kind="stable")
    return irregular_stream(flat[order], values[order], modality="spikes")


def _read_intervals(table: pd.DataFrame) -> pd.DataFrame:
    table = table.reset_index(drop=True)
    label = next((name for name in LABEL_COLUMNS if name in table), None)
    events = pd.DataFrame({"onset": table["start_time"].to_numpy(dtype=float)})
    stop = table["stop_time"].to_numpy(dtype=float)
    events["duration"] = table["duration"].to_numpy(dtype=float) if "duration" in table else stop - events["onset"]
    events["label"] = "trial" if label is None else table[label].astype(str).to_numpy(dtype=object)
    skipped = {"start_time", "stop_time", "duration", "tags", "tags_index", "timeseries", "timeseries_index", label}
    for name in table.columns:
        if name not in skipped:
            events[str(name)] = table[name].to_numpy()
    return events


def write_nwb(recording: Recording, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a recording to an NWB file; it appears whole or not at all.

    Voltages of regular streams with kinds of electrodes become `ElectricalSeries`, an irregular stream of modality "spikes" the units,
    streams of modality "behaviour" a processing module, everything else a `TimeSeries`; events become trials.

    Raises
    ------
    DataError
        If the file exists already, or a stream has more than two dimensions.
    """
    pynwb = require("pynwb", "nwb")
    path = Path(path)
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists already; choose another name or pass overwrite=True.")
    nwb = _nwb_file(recording, pynwb)
    for name, stream in recording.streams.items():
        if stream.ndim > 2:
            raise DataError(f"Stream {name!r} has dims {stream.dims}; an NWB series here has time and channels only.")
        if not is_regular(stream) and stream.attrs.get("modality") == "spikes" and stream.ndim == 1:
            _write_units(nwb, stream)
        elif is_regular(stream) and stream.attrs.get("unit") in VOLTS:
            nwb.add_acquisition(_electrical(nwb, name, stream, pynwb))
        elif stream.attrs.get("modality") == "behaviour":
            module = nwb.processing.get("behavior") or nwb.create_processing_module("behavior", "behaviour")
            module.add(_time_series(name, stream, pynwb))
        else:
            nwb.add_acquisition(_time_series(name, stream, pynwb))
    _write_events(nwb, recording.events)
    temporary = path.with_name(f".{path.stem}.partial.nwb")
    try:
        with pynwb.NWBHDF5IO(temporary, mode="w") as io:
            io.write(nwb)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _nwb_file(recording: Recording, pynwb: Any) -> Any:
    date = recording.info.get("meas_date")
    start = datetime.fromisoformat(date) if date else EPOCH
    nwb = pynwb.NWBFile(
        session_description=str(recording.info.get("description") or recording.dataset or "recording"),
        identifier=str(
            recording.info.get("identifier") or f"{recording.dataset}/{recording.subject}/{recording.session}"
        ),
        session_start_time=start if start.tzinfo else start.replace(tzinfo=UTC),
        session_id=recording.session or None,
    )
    if recording.subject:
        nwb.subject = pynwb.file.Subject(subject_id=recording.subject)
    return nwb


def _clock(stream: xr.DataArray) -> dict[str, Any]:
    if is_regular(stream):
        return {"rate": float(stream.attrs["sfreq"]), "starting_time": float(stream.time[0])}
    return {"timestamps": stream.time.values}


def _electrical(nwb: Any, name: str, stream: xr.DataArray, pynwb: Any) -> Any:
    device = nwb.devices.get("device") or nwb.create_device(name="device")
    group = nwb.create_electrode_group(name=name, description=name, location="unknown", device=device)
    if nwb.electrodes is None:
        for column, what in (("label", "channel name"), ("kind", "kind of channel"), ("bad", "bad channel")):
            nwb.add_electrode_column(name=column, description=what)
    first = 0 if nwb.electrodes is None else len(nwb.electrodes)
    known = all(axis in stream.coords for axis in "xyz")
    region = stream["region"].values if "region" in stream.coords else ["unknown"] * stream.sizes["channel"]
    for k in range(stream.sizes["channel"]):
        place = {axis: float(stream[axis].values[k]) * MICRO if known else np.nan for axis in "xyz"}
        channel = {"label": str(stream["channel"].values[k]), "kind": str(stream["kind"].values[k])}
        nwb.add_electrode(group=group, location=str(region[k]), bad=bool(stream["bad"].values[k]), **channel, **place)
    rows = list(range(first, first + stream.sizes["channel"]))
    factors = {unit: factor for factor, unit in UNIT_OF_FACTOR.items()}
    return pynwb.ecephys.ElectricalSeries(
        name=name,
        data=stream.values,
        electrodes=nwb.create_electrode_table_region(region=rows, description=name),
        conversion=factors[stream.attrs["unit"]],
        comments=str(stream.attrs.get("modality") or "no comments"),
        **_clock(stream),
    )


def _time_series(name: str, stream: xr.DataArray, pynwb: Any) -> Any:
    channels = [str(c) for c in stream["channel"].values] if "channel" in stream.coords else []
    return pynwb.TimeSeries(
        name=name,
        data=stream.values,
        unit=str(stream.attrs.get("unit") or "n.a."),
        comments=str(stream.attrs.get("modality") or "no comments"),
        description="channels: " + "\t".join(channels) if channels else "no description",
        **_clock(stream),
    )


def _write_units(nwb: Any, stream: xr.DataArray) -> None:
    values, times = stream.values, stream.time.values
    for unit in np.unique(values).tolist():
        if not isinstance(unit, int):
            raise DataError(f"NWB needs whole numbers as unit ids, got {unit!r}.")
        nwb.add_unit(spike_times=times[values == unit], id=unit)


def _write_events(nwb: Any, events: pd.DataFrame) -> None:
    if not len(events):
        return
    columns: Mapping[str, pd.Series] = {str(name): events[name] for name in events.columns if name != "onset"}
    for name, values in columns.items():
        nwb.add_trial_column(name=name, description=name)
        if values.isna().any() and values.dtype.kind not in "f":
            raise DataError(f"NWB cannot hold events with a missing {name}; fill the column or leave it out.")
    for k, onset in enumerate(events["onset"].tolist()):
        row = {name: values.iloc[k] for name, values in columns.items()}
        nwb.add_trial(start_time=onset, stop_time=onset + row["duration"], **row)
