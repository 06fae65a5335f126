"""MNE-Python's Raw to recordings and back, without losing a bit.

A Raw becomes one stream for each kind of channel ("eeg", "eog", "mag", "grad", "stim" ...), so that every stream has one unit and no
trigger line ends up in a decoder; `to_mne` puts the channels back in their order. The clock of the recording is that of the
annotations: the first sample stands at `first_samp` / sfreq. What MNE-Python's `Info` knows beyond the coordinates (all twelve numbers
of `loc`, digitised points, projectors, filters, the subject) travels as text in `recording.info["mne"]`; names, bad channels, kinds and
positions are taken from the stream, so a change made there wins. Epochs are in `neuropil.io.epochs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import xarray as xr
from mne.io.constants import FIFF
from xarray.backends import BackendArray
from xarray.core import indexing

from neuropil.errors import UsageError
from neuropil.io.files import readable
from neuropil.recording import EVENT_COLUMNS, Recording
from neuropil.streams import is_regular, regular_stream

DATA_KINDS = ("mag", "grad", "eeg", "csd", "seeg", "ecog", "dbs", "hbo", "hbr", "fnirs_cw_amplitude", "fnirs_od")
MODALITIES = {
    **dict.fromkeys(("mag", "grad", "ref_meg"), "meg"),
    **dict.fromkeys(("eeg", "csd"), "eeg"),
    **dict.fromkeys(("seeg", "ecog", "dbs"), "ieeg"),
    **dict.fromkeys(("hbo", "hbr", "fnirs_cw_amplitude", "fnirs_fd_ac_amplitude", "fnirs_od"), "nirs"),
    **dict.fromkeys(("eyegaze", "pupil"), "eyetrack"),
}
UNITS = {
    FIFF.FIFF_UNIT_V: "V",
    FIFF.FIFF_UNIT_T: "T",
    FIFF.FIFF_UNIT_T_M: "T/m",
    FIFF.FIFF_UNIT_MOL: "M",
    FIFF.FIFF_UNIT_M: "m",
    FIFF.FIFF_UNIT_S: "S",
    FIFF.FIFF_UNIT_CEL: "C",
    FIFF.FIFF_UNIT_AM: "A m",
    FIFF.FIFF_UNIT_V_M2: "V/m2",
}
TO_SI = {
    "": 1.0,
    "au": 1.0,
    "count": 1.0,
    "V": 1.0,
    "mV": 1e-3,
    "uV": 1e-6,
    "µV": 1e-6,
    "μV": 1e-6,
    "nV": 1e-9,
    "T": 1.0,
}
TO_SI |= {"pT": 1e-12, "fT": 1e-15, "T/m": 1.0, "fT/cm": 1e-13, "M": 1.0, "uM": 1e-6, "m": 1.0, "S": 1.0, "uS": 1e-6}
TO_SI |= {"C": 1.0, "A m": 1.0, "V/m2": 1.0, "SI": 1.0}


class RawRows(BackendArray):
    """Some channels of a Raw as a lazy array of shape (n_times, n_channels)."""

    def __init__(self, raw: mne.io.BaseRaw, picks: Sequence[int]) -> None:
        self.raw, self.picks = raw, list(picks)
        self.shape, self.dtype = (raw.n_times, len(self.picks)), np.dtype(np.float64)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time, channel = key
        rows = np.atleast_1d(np.arange(self.shape[0])[time])
        picks = np.atleast_1d(np.asarray(self.picks)[channel])
        if not rows.size or not picks.size:
            block = np.empty((rows.size, picks.size))
        else:
            first, last = int(rows.min()), int(rows.max()) + 1
            with readable(Path(str((self.raw.filenames or ("",))[0] or "the recording")), "samples"):
                block = self.raw[picks, first:last][0].T
            whole = len(rows) == last - first and (np.diff(rows) == 1).all()
            block = block if whole else block[rows - first]
        block = block[0] if isinstance(time, int | np.integer) else block
        return np.ascontiguousarray(block[..., 0] if isinstance(channel, int | np.integer) else block)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)


def kind_groups(info: mne.Info) -> dict[str, list[int]]:
    """Indices of the channels of every kind; kinds of brain activity first, each in order of appearance."""
    kinds = info.get_channel_types()
    order = sorted(dict.fromkeys(kinds), key=lambda kind: kind not in DATA_KINDS)
    return {kind: [k for k, other in enumerate(kinds) if other == kind] for kind in order}


def unit_of(info: mne.Info, picks: Sequence[int]) -> str:
    """The unit that these channels share, "SI" if they do not."""
    units = {UNITS.get(int(info["chs"][k]["unit"]), "") for k in picks}
    return units.pop() if len(units) == 1 else "SI"


def positions_of(info: mne.Info, picks: Sequence[int]) -> np.ndarray | None:
    """Sensor positions in metres, shape (n_channels, 3), NaN where unknown; None if none is known."""
    xyz = np.stack([np.asarray(info["chs"][k]["loc"][:3], dtype=float) for k in picks])
    xyz[(xyz == 0).all(axis=1)] = np.nan
    return xyz if np.isfinite(xyz).any() else None


def common_info(info: mne.Info) -> dict[str, Any]:
    """What everybody may want to read of an `Info`, as JSON."""
    facts: dict[str, Any] = {"highpass": float(info["highpass"]), "lowpass": float(info["lowpass"])}
    if info["meas_date"] is not None:
        facts["meas_date"] = info["meas_date"].isoformat()
    if info["line_freq"] is not None:
        facts["line_freq"] = float(info["line_freq"])
    facts["reference"] = "custom" if int(info["custom_ref_applied"]) else ""
    return facts


def subject_of(info: mne.Info) -> str:
    """The subject's identifier in the file, if any."""
    return str((info["subject_info"] or {}).get("his_id") or "")


def from_mne(
    inst: mne.io.BaseRaw | mne.BaseEpochs, *, dataset: str = "", session: str = "", subject: str | None = None
) -> Recording:
    """A recording of a Raw; of Epochs, trial after trial (see `neuropil.io.epochs`).

    Parameters
    ----------
    inst : mne.io.Raw or mne.Epochs
        Samples of a Raw that is not preloaded are read when they are used.
    dataset, session, subject : str
        Labels; the subject is the file's own without.

    Returns
    -------
    Recording
        One stream for each kind of channel, in SI units; annotations as events, with `ch_names` and the extras as further columns.
    """
    if isinstance(inst, mne.BaseEpochs):
        from neuropil.io.epochs import recording_of_epochs

        return recording_of_epochs(inst, dataset=dataset, session=session, subject=subject)
    if not isinstance(inst, mne.io.BaseRaw):
        raise UsageError(f"Expected MNE-Python's Raw or Epochs, got {type(inst).__name__}.")
    info, streams = inst.info, {}
    for kind, picks in kind_groups(info).items():
        if inst.preload:
            data: Any = inst.get_data(picks=picks).T
        else:
            data = indexing.LazilyIndexedArray(RawRows(inst, picks))
        streams[kind] = regular_stream(
            data,
            info["sfreq"],
            channels=[info["ch_names"][k] for k in picks],
            kind=kind,
            unit=unit_of(info, picks),
            modality=MODALITIES.get(kind, kind),
            positions=positions_of(info, picks),
            t0=inst.first_samp / info["sfreq"],
            bads=[info["ch_names"][k] for k in picks if info["ch_names"][k] in info["bads"]],
        )
    events, extras = events_of(inst.annotations)
    details = {"info": info.to_json_dict(), "first_samp": int(inst.first_samp), "extras": extras}
    facts = {**common_info(info), "first_samp": int(inst.first_samp), "mne": json.dumps(details)}
    subject = subject_of(info) if subject is None else subject
    return Recording(streams, events, subject=subject, session=session, dataset=dataset, info=facts)


def events_of(annotations: mne.Annotations) -> tuple[pd.DataFrame, dict[str, str]]:
    """Annotations as a table of events, and which of its columns hold which key of their extras."""
    table: dict[str, Any] = {
        "onset": np.asarray(annotations.onset, dtype=float),
        "duration": np.asarray(annotations.duration, dtype=float),
        "label": np.asarray(annotations.description, dtype=object),
    }
    if any(len(names) for names in annotations.ch_names):
        table["ch_names"] = pd.Series([list(names) for names in annotations.ch_names], dtype=object)
    columns: dict[str, str] = {}
    extras = getattr(annotations, "extras", None) or []
    for key in dict.fromkeys(key for extra in extras for key in (extra or {})):
        name = key if key not in (*EVENT_COLUMNS, "ch_names") else f"extra_{key}"
        values = pd.Series([(extra or {}).get(key) for extra in extras], dtype=object)
        columns[name] = key
        table[name] = values.infer_objects() if len({type(v) for v in values}) == 1 else values
    return pd.DataFrame(table), columns


def annotations_of(events: pd.DataFrame, extras: Mapping[str, str], orig_time: datetime | None) -> mne.Annotations:
    """Events as annotations: `extras` says which columns become which key of the extras."""
    chosen = {name: key for name, key in extras.items() if name in events.columns}
    rows = [
        {key: _plain(value) for name, key in chosen.items() if not _missing(value := events[name].iloc[k])}
        for k in range(len(events))
    ]
    names = (
        [tuple(v) if isinstance(v, list | tuple) else () for v in events["ch_names"]] if "ch_names" in events else None
    )
    return mne.Annotations(
        events["onset"].to_numpy(),
        events["duration"].to_numpy(),
        [str(label) for label in events["label"]],
        orig_time=orig_time,
        ch_names=names if len(events) else None,
        extras=rows if chosen and len(events) else None,
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def restore_info(details: Mapping[str, Any] | None, streams: Sequence[xr.DataArray]) -> mne.Info:
    """The `Info` of these streams' channels, in their order: kept details where there are any, the coordinates above them."""
    names = [str(name) for stream in streams for name in stream["channel"].values]
    kinds = [str(kind) for stream in streams for kind in stream["kind"].values]
    sfreq = float(streams[0].attrs["sfreq"])
    known = mne.Info.from_json_dict(details["info"]) if details else None
    if known is not None and set(names) <= set(known["ch_names"]):
        info = mne.pick_info(known, [known["ch_names"].index(name) for name in names])
        if info["sfreq"] != sfreq:
            with info._unlock():
                info["sfreq"], info["lowpass"] = sfreq, min(info["lowpass"], sfreq / 2)
        changed = {n: k for n, k, old in zip(names, kinds, info.get_channel_types(), strict=True) if k != old}
        if changed:
            info.set_channel_types(changed, verbose="ERROR")
    else:
        try:
            info = mne.create_info(names, sfreq, kinds)
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"MNE-Python does not know every kind of channel in {', '.join(sorted(set(kinds)))}: {error}"
            ) from error
    bads = {str(n) for s in streams for n, bad in zip(s["channel"].values, s["bad"].values, strict=True) if bad}
    info["bads"] = [n for n in info["bads"] if n in bads] + [n for n in names if n in bads - set(info["bads"])]
    _place(info, streams)
    return info


def _place(info: mne.Info, streams: Sequence[xr.DataArray]) -> None:
    start = 0
    for stream in streams:
        channels = range(start, start + stream.sizes["channel"])
        start = channels.stop
        if not all(axis in stream.coords for axis in "xyz"):
            continue
        xyz = np.stack([stream[axis].values for axis in "xyz"], axis=1)
        kept = positions_of(info, channels)
        for k, position in zip(channels, xyz, strict=True):
            if kept is None or not np.array_equal(kept[k - channels.start], position, equal_nan=True):
                info["chs"][k]["loc"][:3] = position
                info["chs"][k]["coord_frame"] = FIFF.FIFFV_COORD_HEAD


def details_of(info: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `from_mne` kept in `recording.info` (or the attributes of windows), decoded."""
    return json.loads(info["mne"]) if "mne" in info else None


def factor_of(stream: xr.DataArray) -> float:
    """By which the samples are multiplied to become SI units, as MNE-Python keeps them."""
    unit = str(stream.attrs.get("unit", "")).split(" (")[0]
    if unit not in TO_SI:
        raise UsageError(
            f"The unit {unit!r} has no known factor to SI units; set attrs['unit'] to one of {', '.join(filter(None, TO_SI))}."
        )
    return TO_SI[unit]


def _alike(streams: Mapping[str, xr.DataArray]) -> list[xr.DataArray]:
    regular = [s for s in streams.values() if is_regular(s) and s.dims == ("time", "channel")]
    clock = [(s.attrs["sfreq"], s.sizes["time"], float(s.time[0])) for s in regular]
    return [s for s, c in zip(regular, clock, strict=True) if c == clock[0]]


def to_mne(recording: Recording, stream: str | None = None) -> mne.io.RawArray:
    """A Raw of a recording.

    Parameters
    ----------
    recording : Recording
        Events become annotations; the time of the first sample becomes `first_samp`.
    stream : str, optional
        Only this stream; without, every stream that shares rate and length with the first, in the order of the file they came from.

    Raises
    ------
    UsageError
        If no stream fits, a unit has no factor to SI, or MNE-Python does not know a kind of channel.
    """
    chosen = _alike(recording.streams) if stream is None else [recording.stream(stream)]
    if not chosen or not is_regular(chosen[0]) or chosen[0].dims != ("time", "channel"):
        raise UsageError("MNE-Python needs a regular stream with dims (time, channel); bin irregular streams first.")
    details = details_of(recording.info)
    info = restore_info(details, chosen)
    data = np.concatenate(
        [s.values.T if factor_of(s) == 1 else s.values.T * factor_of(s) for s in chosen], dtype=np.float64
    )
    if details:
        order = [name for name in (c["ch_name"] for c in details["info"]["chs"]) if name in info["ch_names"]]
        if len(order) == len(info["ch_names"]):
            picks = [info["ch_names"].index(name) for name in order]
            data, info = data[picks], mne.pick_info(info, picks)
    date = recording.info.get("meas_date")
    if date and info["meas_date"] != datetime.fromisoformat(date):
        info.set_meas_date(datetime.fromisoformat(date))
    if recording.subject and not subject_of(info):
        info["subject_info"] = {**(info["subject_info"] or {}), "his_id": recording.subject}
    first_samp = round(float(chosen[0].time[0]) * info["sfreq"])
    raw = mne.io.RawArray(data, info, first_samp=first_samp, copy=None, verbose="ERROR")
    return _annotate(raw, recording.events, details)


def _annotate(raw: mne.io.RawArray, events: pd.DataFrame, details: Mapping[str, Any] | None) -> mne.io.RawArray:
    plain = [
        name
        for name in events.columns
        if name not in (*EVENT_COLUMNS, "ch_names") and events[name].map(np.isscalar).all()
    ]
    extras = details["extras"] if details and "extras" in details else {str(name): str(name) for name in plain}
    date = raw.info["meas_date"]
    shift = 0.0 if date is not None else raw.first_time
    wanted = annotations_of(events.assign(onset=events["onset"] - shift), extras, date)
    raw.set_annotations(wanted, on_missing="ignore")
    exact, kept = annotations_of(events, extras, date), raw.annotations
    if len(kept) == len(exact) and np.allclose(kept.onset, exact.onset) and np.allclose(kept.duration, exact.duration):
        kept.onset[:], kept.duration[:] = exact.onset, exact.duration
    return raw
