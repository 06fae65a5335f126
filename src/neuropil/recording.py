"""The labelled container: streams over time, events, and who was recorded when.

A `Recording` is a thin convention over xarray. Each stream is a `DataArray` whose first dimension is `time`:

- a *regular* stream has a sampling rate (`attrs["sfreq"]`, Hz) and a lazy `time` coordinate in seconds that costs no memory;
- an *irregular* stream (spikes, pupil events) has a float64 `time` coordinate, one entry a sample.

Channels carry `channel` (unique names), `kind` ("eeg", "eog", "mag" ...), `bad`, and where known `x`, `y`, `z` in metres. A boolean
coordinate `mask` (time x channel) is false where samples are missing. Events are a pandas table with `onset` and `duration` in seconds
and a `label`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neuropil.errors import DataError, UsageError
from neuropil.streams import bin_spikes, check_channels, check_clock, is_regular, stream_bounds

EVENT_COLUMNS = ("onset", "duration", "label")
REPR_MAX_LABELS = 12


def _check_events(events: pd.DataFrame | None) -> pd.DataFrame:
    if events is None:
        return pd.DataFrame({"onset": np.zeros(0), "duration": np.zeros(0), "label": np.zeros(0, dtype=object)})
    missing = [column for column in EVENT_COLUMNS if column not in events.columns]
    if missing:
        raise DataError(f"Events need the columns onset, duration and label, got a table without {', '.join(missing)}.")
    events = events.reset_index(drop=True)
    for column in ("onset", "duration"):
        values = pd.to_numeric(events[column], errors="coerce").to_numpy(dtype=float)
        if not np.isfinite(values).all():
            raise DataError(
                f"Every event needs a finite {column} in seconds, row {int(np.flatnonzero(~np.isfinite(values))[0])} has none."
            )
        events[column] = values
    return events


class Recording:
    """Everything that was recorded together: streams, events, subject and session.

    Parameters
    ----------
    streams : mapping of str to DataArray
        Made by `regular_stream` or `irregular_stream`; the first dimension is `time`.
    events : DataFrame, optional
        Columns `onset` and `duration` (s), `label`, and any further ones.
    subject, session, dataset : str
        Labels that windows inherit, so that cross-validation can respect them.
    info : mapping, optional
        Further facts that fit into JSON, such as `meas_date` (ISO 8601).

    Examples
    --------
    >>> from neuropil.streams import regular_stream
    >>> rng = np.random.default_rng(0)
    >>> eeg = regular_stream(rng.normal(size=(1000, 2)), 250.0, channels=["C3", "C4"])
    >>> events = pd.DataFrame({"onset": [1.0], "duration": [2.0], "label": ["left"]})
    >>> recording = Recording({"eeg": eeg}, events, subject="01")
    >>> recording.duration
    4.0
    """

    def __init__(
        self,
        streams: Mapping[str, xr.DataArray],
        events: pd.DataFrame | None = None,
        *,
        subject: str = "",
        session: str = "",
        dataset: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        for name, stream in streams.items():
            if not isinstance(stream, xr.DataArray) or not stream.dims or stream.dims[0] != "time":
                raise DataError(
                    f"Stream {name!r} must be a DataArray whose first dimension is 'time'; make it with regular_stream()."
                )
            if is_regular(stream) and "sfreq" not in stream.attrs:
                raise DataError(
                    f"Stream {name!r} has no sampling rate; set attrs['sfreq'] in Hz or make it with regular_stream()."
                )
            if is_regular(stream):
                check_clock(name, stream)
            if "channel" in stream.coords:
                check_channels(stream["channel"].values.tolist(), stream.sizes["channel"])
        self.streams = dict(streams)
        self.events = _check_events(events)
        self.subject, self.session, self.dataset = str(subject), str(session), str(dataset)
        self.info = dict(info or {})

    def stream(self, name: str | None = None) -> xr.DataArray:
        """The stream of that name; without a name, the first regular stream."""
        if name is None:
            for stream in self.streams.values():
                if is_regular(stream):
                    return stream
            raise UsageError(
                "The recording has no regular stream; name one of: " + (", ".join(self.streams) or "none") + "."
            )
        if name not in self.streams:
            raise UsageError(f"The recording has no stream {name!r}; it has: {', '.join(self.streams) or 'none'}.")
        return self.streams[name]

    @property
    def duration(self) -> float:
        """Seconds from the earliest to the latest sample of any stream."""
        bounds = [stream_bounds(stream) for stream in self.streams.values()]
        return max((b[1] for b in bounds), default=0.0) - min((b[0] for b in bounds), default=0.0)

    def bin(self, stream: str, width: float) -> xr.DataArray:
        """Counts of an irregular stream in bins of `width` seconds, shape (n_bins, n_units)."""
        return bin_spikes(self.stream(stream), width)

    def copy(self, **changes: Any) -> Recording:
        """The same recording with some of its parts exchanged; data are shared, not copied."""
        parts: dict[str, Any] = {
            "streams": dict(self.streams),
            "events": self.events.copy(),
            "subject": self.subject,
            "session": self.session,
            "dataset": self.dataset,
            "info": dict(self.info),
        }
        unknown = sorted(set(changes) - set(parts))
        if unknown:
            raise UsageError(f"A recording has the parts {', '.join(parts)}, got {', '.join(unknown)}.")
        return Recording(**(parts | changes))

    def identical(self, other: Recording) -> bool:
        """True if everything is equal to the last bit: samples, coordinates, attributes, events, labels."""
        return (
            self.streams.keys() == other.streams.keys()
            and all(stream.identical(other.streams[name]) for name, stream in self.streams.items())
            and self.events.equals(other.events)
            and (self.subject, self.session, self.dataset, self.info)
            == (other.subject, other.session, other.dataset, other.info)
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write one Zarr v3 group; it appears whole or not at all."""
        from neuropil.storage import save_recording

        return save_recording(self, path, overwrite=overwrite)

    @classmethod
    def open(cls, path: str | Path) -> Recording:
        """Open what `save` wrote; samples are read when they are used."""
        from neuropil.storage import open_recording

        return open_recording(path)

    def _counts(self) -> str:
        labels = self.events["label"].astype(str).value_counts(sort=False)
        shown = [f"{label} × {count}" for label, count in labels.iloc[:REPR_MAX_LABELS].items()]
        return ", ".join(shown) + (
            f" and {len(labels) - REPR_MAX_LABELS} more" if len(labels) > REPR_MAX_LABELS else ""
        )

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name, stream in self.streams.items():
            start, stop = stream_bounds(stream)
            size = " × ".join(f"{n} {dim}" for dim, n in stream.sizes.items() if dim != "time")
            rate = f"{stream.attrs['sfreq']:g} Hz" if is_regular(stream) else f"{stream.sizes['time']} time stamps"
            channels = ""
            if "channel" in stream.coords:
                names = [str(c) for c in stream["channel"].values]
                channels = ": " + ", ".join(names[:6]) + (" …" if len(names) > 6 else "")
                bad = int(stream["bad"].values.sum()) if "bad" in stream.coords else 0
                channels += f" ({bad} bad)" if bad else ""
            unit = stream.attrs.get("unit", "")
            rows.append(
                (name, f"{stop - start:.1f} s at {rate}" if is_regular(stream) else rate, size + channels, unit)
            )
        return rows

    def _title(self) -> str:
        parts = [("data set", self.dataset), ("subject", self.subject), ("session", self.session)]
        return ", ".join(f"{key} {value}" for key, value in parts if value) or "no labels"

    def __repr__(self) -> str:
        lines = [f"<Recording: {self._title()}, {self.duration:.1f} s>"]
        lines += [f"  {name}: {time}, {what}{f', {unit}' if unit else ''}" for name, time, what, unit in self._rows()]
        lines.append(f"  events: {len(self.events)}" + (f" ({self._counts()})" if len(self.events) else ""))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from neuropil.display import recording_html

        return recording_html(self)
