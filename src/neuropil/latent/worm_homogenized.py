"""One format for the calcium recordings of many worm laboratories.

Laboratories image *C. elegans* at different and uneven rates, identify different neurons, and write their names in different ways. Here
every worm becomes a table of 300 columns, one for each neuron that makes synapses, in one order, with masks that say which were seen and
identified, in even steps and one unit, so that models train across worms and laboratories and structure is compared with function:

1. labels are cleaned (`neuropil.datasets.worm_names`); a trace without a certain name goes into a block of its own,
2. every trace is normalised, at its own rate, and its derivative taken on its own times,
3. both may be smoothed from the past,
4. both are brought to an even grid that ends where the recording ends.

What differs from the published pipeline: an unidentified trace is not put under the name of a neuron that was not seen (unless asked for,
then reproducibly), time is in double precision, interpolation does not go on beyond the end, labels in lower case, with question marks or
without their side are recognised and reported, and normalisation may come from the past only, as forecasts need it.

Simeon, Astrom, Kashyap, Kording & Boyden (2024). Homogenized C. elegans neural activity and connectivity data. arXiv:2411.12091.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float32, Float64, Int
from numpy import ndarray
from sklearn.base import BaseEstimator, TransformerMixin

from neuropil.datasets.worm_names import CleanLabel, clean_labels, neuron_order, slots
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.signal.irregular import exponential_past, gaussian_past, moving_average, standardize_past, to_even_grid
from neuropil.streams import irregular_stream, regular_stream

NORMALIZATIONS = ("none", "zscore", "robust", "causal", "power")
SMOOTHERS = {"moving_average": moving_average, "gaussian": gaussian_past, "exponential": exponential_past}
UNKNOWN = ("separate", "random_slot", "drop")
ORDERS = ("celegans300",)
MAD_OF_NORMAL = 0.6744897501960817
FLAT = "never changes"


def normalize_traces(
    x: Float64[ndarray, "time trace"], method: str, reference: slice | None = None
) -> Float64[ndarray, "time trace"]:
    """Traces in units of their own spread over `reference` ("zscore", "robust", "power") or the past ("causal"); constant ones become 0."""
    if method == "none":
        return x
    if method == "causal":
        return standardize_past(x)
    part = x[reference or slice(None)]
    if method == "power":
        return _yeo_johnson(x, part)
    seen = np.isfinite(part).any(axis=0)
    part = np.where(seen, part, 0.0)
    if method == "zscore":
        centre, spread = np.nanmean(part, axis=0), np.nanstd(part, axis=0)
    else:
        centre = np.nanmedian(part, axis=0)
        spread = np.nanmedian(np.abs(part - centre), axis=0) / MAD_OF_NORMAL
    flat = spread <= 1e-12 * np.nanmax(np.abs(part), axis=0)
    return np.where(flat & np.isfinite(x), 0.0, (x - centre) / np.where(flat, 1.0, spread))


def _yeo_johnson(x: ndarray, part: ndarray) -> ndarray:
    """Traces after the power transform that makes the values of `part` most like a normal distribution."""
    from sklearn.preprocessing import PowerTransformer

    done = np.where(np.isfinite(x), 0.0, x)
    lively = np.nanmax(np.where(np.isfinite(part), part, np.nan), axis=0, initial=-np.inf) > np.nanmin(
        np.where(np.isfinite(part), part, np.nan), axis=0, initial=np.inf
    )
    if lively.any():
        done[:, lively] = PowerTransformer().fit(part[:, lively]).transform(x[:, lively])
    return done


class WormHomogenizer(TransformerMixin, BaseEstimator):
    """Recordings of any laboratory -> recordings on one order of neurons, one time step, one unit.

    Parameters
    ----------
    dt : float, default 1/3
        Time step in seconds. Below the recording's own step traces are interpolated, above it they are averaged over the step, half of
        which lies ahead.
    normalize : {"zscore", "robust", "causal", "power", "none"}
        Per neuron and recording: mean and SD, median and MAD, or the power transform of Yeo and Johnson, of the whole recording (which
        tells a forecaster about the future) or of its first `normalize_until` seconds; or mean and SD of the past.
    smooth : {None, "moving_average", "gaussian", "exponential"}
        Adds the streams `smooth_calcium` and `smooth_residual`, smoothed over past samples at the recording's own rate.
    interpolate : {"linear", "pchip"}
    unknown : {"separate", "random_slot", "drop"}
        Where traces without a certain name go: into the stream `unknown`; into free columns drawn with `random_state` (as published; the
        mask `named` tells them); nowhere.
    neuron_order : {"celegans300"}
    min_named : int, default 1
        Worms with fewer identified neurons are left out.
    normalize_until : float, optional
        Seconds from the start of the recording.
    random_state : int, default 0
        For "random_slot" only.
    keep_original : bool, default False
        Adds the same streams at the recording's own times, irregular, as `original_calcium` and so on.

    Attributes
    ----------
    report_ : DataFrame
        One row a trace of the recordings given to `fit`: `dataset`, `worm`, `trace`, `label`, `neuron` (empty for unidentified ones),
        `reason`.
    dropped_ : list of str
        Worms with fewer than `min_named` identified neurons.
    order_ : tuple of str
        Names of the columns.

    Examples
    --------
    >>> from neuropil.datasets.worm_files import worm_recording
    >>> time = np.arange(0, 60, 0.6)
    >>> raw = worm_recording(np.stack([np.sin(time), np.cos(time)], axis=1), time, ["as01", "AVAL?"], worm="w1")
    >>> homogenizer = WormHomogenizer(dt=1 / 3).fit([raw])
    >>> homogenizer.report_[["neuron", "reason"]].values.tolist()
    [['AS1', 'spelling'], ['', 'uncertain label']]
    >>> homogenizer.transform([raw])[0].stream("calcium").shape
    (179, 300)
    """

    def __init__(
        self,
        dt: float = 1 / 3,
        normalize: str = "zscore",
        smooth: str | None = None,
        interpolate: str = "linear",
        unknown: str = "separate",
        neuron_order: str = "celegans300",
        min_named: int = 1,
        normalize_until: float | None = None,
        random_state: int = 0,
        keep_original: bool = False,
    ) -> None:
        self.dt = dt
        self.normalize = normalize
        self.smooth = smooth
        self.interpolate = interpolate
        self.unknown = unknown
        self.neuron_order = neuron_order
        self.min_named = min_named
        self.normalize_until = normalize_until
        self.random_state = random_state
        self.keep_original = keep_original

    def fit(self, X: Any, y: Any = None) -> WormHomogenizer:
        """Read the labels of recordings and report what becomes of every trace.

        Parameters
        ----------
        X : Recording or list of Recording
            With an irregular or regular stream "calcium" (the first stream otherwise), whose channels carry `label`, or are named
            after neurons; see `neuropil.datasets.worm_files.worm_recording`.
        y : ignored
        """
        self._check()
        rows, self.dropped_ = [], []
        for number, recording in enumerate(_recordings(X)):
            stream = _calcium(recording)
            raw, cleaned = _labels(stream)
            worm = recording.subject or str(number)
            facts = {"dataset": recording.dataset, "worm": worm}
            rows += [
                {**facts, "trace": k, "label": label, "neuron": entry.neuron, "reason": entry.reason}
                for k, (label, entry) in enumerate(zip(raw, cleaned, strict=True))
            ]
            if sum(bool(entry.neuron) for entry in cleaned) < self.min_named:
                self.dropped_.append(worm)
        self.report_ = pd.DataFrame(rows, columns=["dataset", "worm", "trace", "label", "neuron", "reason"])
        self.order_ = neuron_order()
        flat = [row for row in rows if row["reason"] == FLAT]
        if flat:
            warnings.warn(
                f"{len(flat)} trace(s) never change and count as not identified, first {flat[0]['label'] or 'one without a name'} of worm "
                f"{flat[0]['worm']}.",
                stacklevel=2,
            )
        return self

    def transform(self, X: Any) -> list[Recording]:
        """Homogenise recordings; those with fewer than `min_named` identified neurons are left out.

        Returns
        -------
        list of Recording
            Streams of shape (n_times, 300), float32: `calcium`, `residual` (its derivative, per second), with `smooth` the smoothed ones;
            their channels carry `named` (seen and identified) and `measured` (seen), and `mask` says which samples are there. Where
            nothing was measured they are 0. Stream `unknown` has the traces without a name. `info` has `dt`, `median_dt_raw`, `labels` (of
            the columns, as the laboratory wrote them) and `reasons` (how many traces were changed or not identified, and why).
        """
        self._check()
        recordings = enumerate(_recordings(X))
        done = [self._homogenize(recording, number) for number, recording in recordings]
        return [recording for recording in done if recording is not None]

    def _check(self) -> None:
        choices = {
            "normalize": (self.normalize, NORMALIZATIONS),
            "smooth": (self.smooth, (None, *SMOOTHERS)),
            "interpolate": (self.interpolate, ("linear", "pchip")),
            "unknown": (self.unknown, UNKNOWN),
            "neuron_order": (self.neuron_order, ORDERS),
        }
        for name, (given, known) in choices.items():
            if given not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(str, known))}; got {given!r}.")
        if not (np.isfinite(self.dt) and self.dt > 0):
            raise UsageError(f"dt must be a positive number of seconds, got {self.dt}.")
        if self.normalize_until is not None and not self.normalize_until > 0:
            raise UsageError(f"normalize_until must be a positive number of seconds, got {self.normalize_until}.")

    def _homogenize(self, recording: Recording, number: int) -> Recording | None:
        stream = _calcium(recording)
        raw, cleaned = _labels(stream)
        named = [k for k, entry in enumerate(cleaned) if entry.neuron]
        if len(named) < self.min_named:
            return None
        times, traces = stream["time"].values.astype(np.float64), stream.values.astype(np.float64)
        times = times - times[0]
        reference = None
        if self.normalize_until is not None:
            reference = slice(0, max(2, int(np.searchsorted(times, self.normalize_until))))
        x = normalize_traces(traces, self.normalize, reference)
        # gradient on true times; a missing sample makes its neighbours' derivative missing, too
        signals = {"calcium": x, "residual": np.gradient(x, times, axis=0)}
        if self.smooth is not None:
            filled = {name: _joined(signal, times) for name, signal in signals.items()}
            for name, signal in filled.items():
                signals[f"smooth_{name}"] = np.where(np.isfinite(signals[name]), SMOOTHERS[self.smooth](signal), np.nan)
        columns = np.array(slots(cleaned[k].neuron for k in named), dtype=np.int64)
        others = np.array([k for k in range(len(cleaned)) if k not in set(named)], dtype=np.int64)
        chosen = np.array(named, dtype=np.int64)
        is_named = np.zeros(len(neuron_order()), dtype=bool)
        is_named[columns] = True
        if self.unknown == "random_slot" and len(others):
            chosen, columns, others = self._into_free_slots(chosen, columns, others, number)
        streams: dict[str, xr.DataArray] = {}
        for name, signal in signals.items():
            values, valid = to_even_grid(signal, times, self.dt, self.interpolate)
            streams[name] = self._stream(values[:, chosen], valid[:, chosen], columns, is_named)
            if name == "calcium" and self.unknown == "separate" and len(others):
                streams["unknown"] = _block(values[:, others], valid[:, others], others, 1 / self.dt)
        facts = {
            "dt": float(self.dt),
            "median_dt_raw": float(np.median(np.diff(times))),
            "labels": {cleaned[k].neuron: raw[k] for k in named},
            "reasons": _counts(cleaned),
            "normalize": self.normalize,
        }
        if self.keep_original:
            streams |= {
                f"original_{name}": self._original(signal[:, chosen], times, columns, is_named)
                for name, signal in signals.items()
            }
        order = ["calcium", *[name for name in streams if name != "calcium"]]
        return recording.copy(streams={name: streams[name] for name in order}, info={**recording.info, **facts})

    def _into_free_slots(
        self, named: ndarray, columns: ndarray, others: ndarray, number: int
    ) -> tuple[Int[ndarray, " trace"], Int[ndarray, " trace"], Int[ndarray, " left"]]:
        free = np.setdiff1d(np.arange(len(neuron_order())), columns)
        if len(others) > len(free):
            raise DataError(
                f"{len(others)} unidentified traces do not fit into {len(free)} free columns; use unknown='separate'."
            )
        drawn = np.random.default_rng([self.random_state, number]).choice(free, len(others), replace=False)
        return np.r_[named, others], np.r_[columns, drawn], np.zeros(0, dtype=np.int64)

    def _original(self, values: ndarray, times: ndarray, columns: ndarray, is_named: ndarray) -> xr.DataArray:
        names = neuron_order()
        data = np.zeros((len(values), len(names)), dtype=np.float32)
        mask = np.zeros(data.shape, dtype=bool)
        valid = np.isfinite(values)
        data[:, columns], mask[:, columns] = np.where(valid, values, 0.0), valid
        stream = irregular_stream(times, data, unit="1", modality="calcium").rename(dim_1="channel")
        measured = mask.any(axis=0)
        return stream.assign_coords(
            channel=("channel", np.array(names, dtype=object)),
            mask=(("time", "channel"), mask),
            named=("channel", is_named & measured),
            measured=("channel", measured),
        )

    def _stream(self, values: ndarray, valid: ndarray, columns: ndarray, is_named: ndarray) -> xr.DataArray:
        names = neuron_order()
        data = np.zeros((len(values), len(names)), dtype=np.float32)
        mask = np.zeros(data.shape, dtype=bool)
        data[:, columns], mask[:, columns] = np.where(valid, values, 0.0), valid
        stream = regular_stream(
            data, 1 / self.dt, channels=names, kind="neuron", unit="1", modality="calcium", mask=mask
        )
        measured = mask.any(axis=0)
        return stream.assign_coords(named=("channel", is_named & measured), measured=("channel", measured))


def _recordings(X: Any) -> list[Recording]:
    recordings = [X] if isinstance(X, Recording) else list(X)
    if not recordings or not all(isinstance(recording, Recording) for recording in recordings):
        raise DataError(
            "Expected one recording or a list of them, with one worm's calcium traces each; see worm_recording()."
        )
    return recordings


def _calcium(recording: Recording) -> xr.DataArray:
    if "calcium" not in recording.streams:
        raise DataError(
            f"Expected a stream 'calcium' with the traces, the recording has: {', '.join(recording.streams) or 'none'}."
        )
    stream = recording.streams["calcium"]
    if stream.ndim != 2 or "channel" not in stream.coords:
        raise DataError("The stream 'calcium' needs the dimensions time and channel with names of its channels.")
    if stream.sizes["time"] < 2:
        raise DataError(f"A worm's traces need two samples or more, got {stream.sizes['time']}.")
    return stream


def _labels(stream: xr.DataArray) -> tuple[list[str], list[CleanLabel]]:
    raw = [str(label) for label in stream["label" if "label" in stream.coords else "channel"].values]
    values = np.asarray(stream.values)
    cleaned = clean_labels(raw, len(raw))
    seen = np.isfinite(values)
    there = seen.sum(axis=0) >= 2
    flat = np.where(seen, values, -np.inf).max(axis=0) <= np.where(seen, values, np.inf).min(axis=0)
    return raw, [
        CleanLabel("", "no samples") if not ok else CleanLabel("", FLAT) if same else entry
        for entry, ok, same in zip(cleaned, there, flat, strict=True)
    ]


def _joined(x: ndarray, times: ndarray) -> ndarray:
    """Missing samples joined by straight lines, so that a smoother has something to hold on to."""
    filled = np.zeros(x.shape)
    for k in range(x.shape[1]):
        there = np.isfinite(x[:, k])
        if there.any():
            filled[:, k] = np.interp(times, times[there], x[there, k])
    return filled


def _block(values: ndarray, valid: ndarray, traces: ndarray, sfreq: float) -> xr.DataArray:
    data = np.where(valid, values, 0.0).astype(np.float32)
    names = [f"unknown{k}" for k in traces]
    return regular_stream(data, sfreq, channels=names, kind="neuron", unit="1", modality="calcium", mask=valid)


def _counts(cleaned: Sequence[CleanLabel]) -> dict[str, int]:
    reasons = pd.Series([entry.reason for entry in cleaned if entry.reason], dtype=object)
    return {str(reason): int(count) for reason, count in reasons.value_counts(sort=False).items()}


class Stack(NamedTuple):
    """Worms in one array, as networks take them."""

    X: Float32[ndarray, "worm time 300"]
    """Traces, 0 after a worm's end and where nothing was measured."""
    mask: Bool[ndarray, "worm 300"]
    """Neurons that were seen and identified: losses count only these."""
    lengths: Int[ndarray, " worm"]
    """Samples of every worm."""


def stack(recordings: Any, stream: str = "calcium") -> Stack:
    """Homogenised recordings in one array, filled up with zeros to the longest.

    Raises
    ------
    DataError
        If they were not homogenised, or with different time steps.
    """
    recordings = _recordings(recordings)
    streams = [recording.stream(stream) for recording in recordings]
    if any("named" not in s.coords or s.sizes["channel"] != len(neuron_order()) for s in streams):
        raise DataError("Only homogenised recordings can be stacked; transform them with WormHomogenizer first.")
    rates = sorted({float(s.attrs["sfreq"]) for s in streams})
    if len(rates) > 1:
        raise DataError(f"Worms in one array need one time step, got {', '.join(f'{1 / r:g} s' for r in rates)}.")
    lengths = np.array([s.sizes["time"] for s in streams], dtype=np.int64)
    X = np.zeros((len(streams), lengths.max(), len(neuron_order())), dtype=np.float32)
    for k, s in enumerate(streams):
        X[k, : lengths[k]] = s.values
    return Stack(X, np.stack([s["named"].values for s in streams]), lengths)


def trace_table(recordings: Any, stream: str = "calcium") -> pd.DataFrame:
    """One row for every worm and identified neuron: `dataset`, `worm`, `neuron`, `slot`, `label`, `dt`, `trace` (a float32 array)."""
    rows = []
    for recording in _recordings(recordings):
        data = recording.stream(stream)
        for slot in np.flatnonzero(data["named"].values):
            neuron = str(data["channel"].values[slot])
            rows.append(
                {
                    "dataset": recording.dataset,
                    "worm": recording.subject,
                    "neuron": neuron,
                    "slot": int(slot),
                    "label": recording.info["labels"][neuron],
                    "dt": 1 / float(data.attrs["sfreq"]),
                    "trace": data.values[:, slot],
                }
            )
    return pd.DataFrame(rows)
