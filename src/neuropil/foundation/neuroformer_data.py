"""From recordings to the samples of Neuroformer: windows of spikes as tokens, with the frames and the behaviour of the same time.

Current windows follow each other without overlap; each has a past window before it. Frames are those up to the end of the current
window, so that nothing comes from the future. Training and validation windows lie in stretches of time of their own, with a gap between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from neuropil.activity import Activity
from neuropil.errors import DataError, UsageError
from neuropil.nn.event_tokens import EventTokens, SpikeTokenizer
from neuropil.recording import Recording

MANY_TRIALS = 5


class Series(NamedTuple):
    """A modality beside the spikes: samples of every sequence at one rate.

    Attributes
    ----------
    values : list of ndarray of shape (n_samples, ...)
        One a sequence.
    sfreq : float
        Samples a second.
    """

    values: list[ndarray]
    sfreq: float


class Places(NamedTuple):
    """Where current windows lie.

    Attributes
    ----------
    sequences : ndarray of int, shape (n_windows,)
        Sequence of every window.
    starts : ndarray of int, shape (n_windows,)
        Its first bin there.
    """

    sequences: Int[ndarray, " window"]
    starts: Int[ndarray, " window"]


class Samples(NamedTuple):
    """Windows ready for the network.

    Attributes
    ----------
    rows : dict of str to Tensor
        One row a window: "ids" and "bins" of the current window, "past_ids" and "past_bins"; where given "frame", the first of its frames
        in `movie`, and "inputs" and "targets", behaviour in standard deviations.
    movie : Tensor of shape (n_frames, n_rows, n_columns), or None
    n_frames : int
        Frames of a window.
    places : Places
    n_spikes, n_truncated : int
        Of the current windows.
    """

    rows: dict[str, Tensor]
    movie: Tensor | None
    n_frames: int
    places: Places
    n_spikes: int
    n_truncated: int

    def take(self, chosen: ndarray) -> Samples:
        """Some of the windows."""
        rows = {name: values[torch.as_tensor(chosen)] for name, values in self.rows.items()}
        return self._replace(rows=rows, places=Places(self.places.sequences[chosen], self.places.starts[chosen]))

    def batches(self, pad: int, size: int = 512) -> Iterator[dict[str, Tensor]]:
        """All windows in their order, trimmed batch by batch."""
        for first in range(0, len(self.places.starts), size):
            yield trimmed({name: values[first : first + size] for name, values in self.rows.items()}, pad)

    def frames(self, batch: dict[str, Tensor]) -> Tensor | None:
        """The frames of a batch's windows."""
        if self.movie is None:
            return None
        movie, first = self.movie.to(batch["frame"].device), batch["frame"]
        return movie[first[:, None] + torch.arange(self.n_frames, device=first.device)]


def trimmed(batch: dict[str, Tensor], pad: int) -> dict[str, Tensor]:
    """The same batch without the columns in which every window is padding."""
    out = dict(batch)
    for ids, bins in (("ids", "bins"), ("past_ids", "past_bins")):
        longest = int((batch[ids] != pad).any(dim=0).sum())
        out[ids], out[bins] = batch[ids][:, :longest], batch[bins][:, :longest]
    return out


def place_windows(lengths: Sequence[int], width: int, past: int) -> Places:
    """Current windows of `width` bins one after the other, the first of a sequence behind a whole past window.

    Raises
    ------
    DataError
        If no sequence is long enough.

    Examples
    --------
    >>> place_windows([22, 9], 5, 10).starts.tolist()
    [10, 15]
    """
    starts = [np.arange(past, length - width + 1, width) for length in lengths]
    if not sum(map(len, starts)):
        raise DataError(
            f"A sequence needs {past + width} bins for a past and a current window, the longest has {max(lengths)}; "
            "give longer sequences or shorten the windows."
        )
    return Places(np.repeat(np.arange(len(starts)), [len(s) for s in starts]), np.concatenate(starts))


def hold_out(
    places: Places, lengths: Sequence[int], width: int, past: int, share: float, gap: int
) -> tuple[Int[ndarray, " train"], Int[ndarray, " held"]]:
    """Training and validation windows: whole sequences where there are five or more, else the end of each, `gap` bins apart.

    Examples
    --------
    >>> train, held = hold_out(place_windows([100], 5, 10), [100], 5, 10, 0.2, gap=10)
    >>> train.tolist()[-1], held.tolist()
    (11, [16, 17])
    """
    if not 0 <= share < 1:
        raise UsageError(f"The share of windows held out for validation must lie in [0, 1), got {share}.")
    every = np.arange(len(places.starts))
    if not share:
        return every, every[:0]
    if len(lengths) >= MANY_TRIALS:
        first = len(lengths) - max(1, round(share * len(lengths)))
        held, kept = places.sequences >= first, places.sequences < first
    else:
        border = np.round((1 - share) * np.asarray(lengths))[places.sequences]
        held = places.starts - past >= border
        kept = places.starts + width + gap <= border
    if not held.any() or not kept.any():
        raise DataError(
            f"Holding out {share:.0%} with a gap of {gap} bins leaves no window for training or none for validation; give longer "
            "sequences or set validation to 0."
        )
    return every[kept], every[held]


def encode_windows(
    activity: Activity,
    places: Places,
    tokenizer: SpikeTokenizer,
    width: int,
    past: int,
    current_tokens: int,
    past_tokens: int,
    shuffle: np.random.Generator | None = None,
) -> tuple[EventTokens, EventTokens]:
    """Tokens of all current windows (with marks) and of their past windows (without)."""
    current, before = [], []
    for k, sequence in enumerate(activity.sequences):
        starts = places.starts[places.sequences == k]
        current.append(tokenizer.encode(sequence, starts, width, current_tokens, shuffle=shuffle))
        before.append(tokenizer.encode(sequence, starts - past, past, past_tokens, marks=False))
    return _joined(current, tokenizer), _joined(before, tokenizer)


def _joined(parts: list[EventTokens], tokenizer: SpikeTokenizer) -> EventTokens:
    n_tokens = max(part.ids.shape[1] for part in parts)

    def padded(values: ndarray, mark: int) -> ndarray:
        return np.pad(values, ((0, 0), (0, n_tokens - values.shape[1])), constant_values=mark)

    return EventTokens(
        np.concatenate([padded(part.ids, tokenizer.pad) for part in parts]),
        np.concatenate([padded(part.bins, tokenizer.bin_pad) for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        sum(part.n_spikes for part in parts),
        sum(part.n_truncated for part in parts),
    )


def read_series(name: str, X: Any, values: Any, sfreq: float, stream: str | None, activity: Activity) -> Series | None:
    """A modality from arrays (one, or a list with one a sequence) or, without, from the stream of that name of the recordings.

    Raises
    ------
    DataError
        If its length is not that of the spikes.
    """
    if values is None:
        if stream is None:
            return None
        return _of_recordings(name, X, stream, activity)
    arrays = list(values) if isinstance(values, list | tuple) else [values]
    arrays = [np.asarray(array, dtype=np.float32) for array in arrays]
    if len(arrays) != len(activity.sequences):
        raise DataError(
            f"Expected {name} for each of the {len(activity.sequences)} sequences of spikes, got {len(arrays)}; give a list with one "
            "array a sequence."
        )
    return Series([_checked(name, array) for array in arrays], sfreq)


def check_lengths(name: str, series: Series, activity: Activity, dt: float) -> None:
    """Refuse a modality that is longer or shorter than the spikes by more than one of its samples."""
    for k, (samples, counts) in enumerate(zip(series.values, activity.sequences, strict=True)):
        spikes, other = len(counts) * dt, len(samples) / series.sfreq
        if abs(spikes - other) > max(dt, 1 / series.sfreq) * (1 + 1e-6):
            where = "" if len(activity.sequences) == 1 else f" of sequence {k}"
            raise DataError(
                f"The spikes{where} last {spikes:g} s and the {name} {other:g} s ({len(samples)} samples at {series.sfreq:g} Hz); cut "
                "them to one length or correct the rate."
            )


def window_samples(series: Series, places: Places, width: int, dt: float) -> Float[ndarray, "window sample *axes"]:
    """The samples that lie in every current window; at least the one in which it begins."""
    n = max(1, round(width * dt * series.sfreq))
    first = np.floor(places.starts * dt * series.sfreq + 1e-6).astype(np.int64)
    parts = []
    for k, samples in enumerate(series.values):
        index = first[places.sequences == k][:, None] + np.arange(n)
        parts.append(samples[np.minimum(index, len(samples) - 1)])
    return np.concatenate(parts)


def last_frames(
    series: Series, places: Places, width: int, dt: float, n_frames: int
) -> tuple[Float[ndarray, "frame row column"], Int[ndarray, " window"]]:
    """All frames end to end, the first repeated before each sequence where a window reaches back beyond it, and each window's first one."""
    stop = np.floor((places.starts + width) * dt * series.sfreq + 1e-6).astype(np.int64)
    movies, firsts, offset = [], np.zeros(len(stop), dtype=np.int64), 0
    for k, samples in enumerate(series.values):
        mine = places.sequences == k
        firsts[mine] = offset + np.minimum(stop[mine], len(samples))
        movies += [np.repeat(samples[:1], n_frames, axis=0), samples]
        offset += n_frames + len(samples)
    return np.concatenate(movies), firsts


def name_variables(behaviour: Any, sequences: int) -> tuple[Any, tuple[str, ...] | None]:
    """Behaviour as one array (n_samples, n_variables) a sequence, and the names of the variables where it is a mapping."""
    if behaviour is None:
        return None, None
    parts = list(behaviour) if isinstance(behaviour, list | tuple) else [behaviour]
    if not all(isinstance(part, Mapping) for part in parts):
        return [_columns(part) for part in parts], None
    names = tuple(map(str, parts[0]))
    for part in parts:
        if tuple(map(str, part)) != names:
            raise DataError(
                f"Every sequence must have the same behaviour, got {', '.join(names)} and {', '.join(map(str, part))}."
            )
        lengths = {str(key): len(np.asarray(values)) for key, values in part.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} {n}" for key, n in lengths.items())
            raise DataError(
                f"All behavioural variables must have one length, got samples of {told}; bring them to one rate."
            )
    return [
        np.stack([np.asarray(values, dtype=np.float32) for values in part.values()], axis=1) for part in parts
    ], names


def _columns(values: Any) -> ndarray:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim not in (1, 2):
        raise DataError(f"Expected behaviour of shape (n_samples,) or (n_samples, n_variables), got {array.shape}.")
    return array.reshape(len(array), -1)


def _checked(name: str, array: ndarray) -> ndarray:
    if not len(array) or not np.isfinite(array).all():
        raise DataError(
            f"The {name} must be finite and not empty, got shape {array.shape} with {int((~np.isfinite(array)).sum())} gaps."
        )
    return array


def _of_recordings(name: str, X: Any, stream: str, activity: Activity) -> Series:
    """The stream of that name, cut to the time of every sequence."""
    recordings = [X] if isinstance(X, Recording) else X
    if not isinstance(recordings, list | tuple) or not all(isinstance(part, Recording) for part in recordings):
        raise UsageError(
            f"The {name} can only be read from a stream of recordings; with arrays of spikes, give the {name} as well."
        )
    if activity.sfreq is None or (len(recordings) > 1 and len(recordings) != len(activity.sequences)):
        raise UsageError(
            f"The {name} of several recordings with trials cannot be told apart; fit recordings one sequence each."
        )
    streams = [recording.stream(stream) for recording in recordings]
    streams = streams * len(activity.sequences) if len(streams) == 1 else streams
    values = []
    for samples, start, counts in zip(streams, activity.starts, activity.sequences, strict=True):
        rate = float(samples.attrs["sfreq"])
        first = round((start - float(samples["time"][0])) * rate)
        n_samples = round(len(counts) / activity.sfreq * rate)
        if first < 0 or first + n_samples > samples.sizes["time"] + 1:
            raise DataError(
                f"The stream {stream!r} does not last as long as the spikes, which are read from {start:g} s for "
                f"{len(counts) / activity.sfreq:g} s; cut both to the same time."
            )
        values.append(_checked(name, np.asarray(samples.values[first : first + n_samples], dtype=np.float32)))
    return Series(values, float(streams[0].attrs["sfreq"]))


def variable_names(X: Any, streams: Sequence[str]) -> tuple[str, ...]:
    """Names of the behavioural variables in the streams: the stream's where it has one channel, else those of its channels."""
    recording = X[0] if isinstance(X, list | tuple) else X
    names: list[str] = []
    for stream in streams:
        data: xr.DataArray = recording.stream(stream)
        several = data.sizes.get("channel", 1) > 1
        names += [str(channel) for channel in data["channel"].values] if several else [stream]
    return tuple(names)


def evenly(n_windows: int, fraction: float) -> Bool[ndarray, " window"]:
    """A share of all windows, spread evenly: those that are labelled in few-shot decoding."""
    if not 0 < fraction <= 1:
        raise UsageError(f"The fraction of labelled windows must lie in (0, 1], got {fraction}.")
    chosen = np.zeros(n_windows, dtype=bool)
    chosen[np.round(np.linspace(0, n_windows - 1, max(2, round(fraction * n_windows)))).astype(int)] = True
    return chosen


def side_by_side(parts: list[Series]) -> Series:
    """Variables of several streams of one rate as columns."""
    if len({part.sfreq for part in parts}) > 1:
        raise DataError(
            f"Behaviour must have one rate, got {', '.join(f'{p.sfreq:g} Hz' for p in parts)}; resample the streams."
        )
    values = [
        np.concatenate([v.reshape(len(v), -1) for v in same], axis=1)
        for same in zip(*(p.values for p in parts), strict=True)
    ]
    return Series(values, parts[0].sfreq)
