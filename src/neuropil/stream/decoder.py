"""Decoding live: chunks of samples go in, decisions come out as soon as a window is complete.

A `StreamingDecoder` holds everything that has to be remembered between chunks: the state of a causal filter, the last window of
samples, the memory of a decoder that adapts to what it sees, and how often a class has won in a row. Its decisions do not depend on how the
stream is cut into chunks and equal those of the batch evaluation (`neuropil.evaluate.pseudo_online`) on the same recording.

The last window of n samples lies in a buffer of length 2 n in which every sample is written twice, n samples apart. Whatever the
position, the last n samples are then one contiguous stretch of every channel: a window is a view, and no chunk copies or allocates one.
"""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.events import Decision
from neuropil.evaluate.predicting import LivePredictor
from neuropil.recording import Recording
from neuropil.signal.filters import StreamingFilter, butterworth
from neuropil.streams import is_regular

Band = tuple[float | int | None, float | int | None]


class RingBuffer:
    """The last `n_times` samples of a stream, always as one view.

    Parameters
    ----------
    n_channels, n_times : int
    dtype : dtype

    Examples
    --------
    >>> buffer = RingBuffer(1, 3, float)
    >>> buffer.write(np.array([[1.0], [2.0], [3.0], [4.0]]))
    >>> buffer.view().tolist()
    [[2.0, 3.0, 4.0]]
    """

    def __init__(self, n_channels: int, n_times: int, dtype: Any) -> None:
        self.n_times = n_times
        self._samples = np.zeros((n_channels, 2 * n_times), dtype=dtype)
        self._position = 0

    def write(self, chunk: Real[ndarray, "time channel"]) -> None:
        """Take the next samples."""
        chunk = chunk[-self.n_times :]
        first = min(len(chunk), self.n_times - self._position)
        for part, start in ((chunk[:first], self._position), (chunk[first:], 0)):
            if len(part):
                self._samples[:, start : start + len(part)] = part.T
                self._samples[:, start + self.n_times : start + self.n_times + len(part)] = part.T
        self._position = (self._position + len(chunk)) % self.n_times

    def view(self) -> Real[ndarray, "channel time"]:
        """The last `n_times` samples in order, not copied: valid until the next `write`."""
        return self._samples[:, self._position : self._position + self.n_times]


class StreamingDecoder:
    """A fitted decoder of windows that runs over a live stream.

    Parameters
    ----------
    estimator : classifier
        Fitted on windows of `window` s. If it adapts to what it sees, it says so by `streaming()` (see
        `neuropil.evaluate.predicting`), also as a step of a pipeline.
    sfreq : float
        Sampling rate of the stream in Hz.
    window, step : float
        Length of a window and time between decisions in s; the step is half a window without.
    filter : (low, high) or ndarray of shape (n_sections, 6) or None
        Pass band in Hz of a causal Butterworth filter of fourth order, or second-order sections of a filter of your own. It has to be
        the one that the training data went through.
    channels : sequence of str, optional
        Names of the stream's channels; checked against those that the estimator was fitted on.
    dwell : int
        Windows in a row that a class has to win before it is decided; until then the decision is `idle`.
    idle : object
        The label of no action, for `dwell`.
    t0 : float
        Time of the first sample in s.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        Classes in the order of a decision's probabilities.
    n_seen : int
        Samples taken so far.

    Raises
    ------
    UsageError
        If rate, window or channels differ from what the estimator was fitted on, or the filter cannot run live.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> model = DummyClassifier().fit(np.zeros((4, 1)), ["left", "right", "right", "right"])
    >>> decoder = StreamingDecoder(model, sfreq=100.0, window=1.0, step=0.5)
    >>> decoder.push(np.zeros((90, 2)))
    []
    >>> [(d.time, str(d.label)) for d in decoder.push(np.zeros((90, 2)))]
    [(1.0, 'right'), (1.5, 'right')]
    """

    def __init__(
        self,
        estimator: Any,
        sfreq: float,
        window: float = 2.0,
        step: float | None = None,
        filter: Band | ndarray | str | None = None,
        *,
        channels: Sequence[str] | None = None,
        dwell: int = 1,
        idle: Any = "idle",
        t0: float = 0.0,
    ) -> None:
        if not (sfreq > 0 and np.isfinite(sfreq)):
            raise UsageError(f"The sampling rate must be a positive number in Hz, got {sfreq}.")
        if dwell < 1:
            raise UsageError(f"A class has to win at least one window, got dwell={dwell}.")
        self.estimator = estimator
        self.sfreq = float(sfreq)
        self.n_times = round(window * sfreq)
        self.n_step = round((window / 2 if step is None else step) * sfreq)
        if self.n_times < 1 or self.n_step < 1:
            raise UsageError(
                f"Window and step must hold a sample or more at {sfreq:g} Hz, got window={window} s and step={step} s."
            )
        self.channels = None if channels is None else [str(name) for name in channels]
        self.dwell = dwell
        self.idle = idle
        self.t0 = float(t0)
        self._n_channels = _check_signature(estimator, self.sfreq, self.n_times, self.channels)
        self._sos = _sections(filter, self.sfreq)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next chunk begins a new session."""
        self._predictor = LivePredictor(self.estimator)
        self.classes = self._predictor.classes
        self._filter = None if self._sos is None else StreamingFilter(self._sos)
        self._buffer: RingBuffer | None = None
        self._recent: deque[Any] = deque(maxlen=self.dwell)
        self.n_seen = 0
        self._next = self.n_times

    def push(self, chunk: Any) -> list[Decision]:
        """Take the next samples and return the decisions that they complete.

        Parameters
        ----------
        chunk : array-like of shape (n_times, n_channels)
            Any number of samples, also none, in the unit of the training data; time first, as in a recording's stream. A chunk that is
            refused leaves the decoder as it was.

        Returns
        -------
        list of Decision
            `time` is the end of the window in s; `proba` is None if the estimator gives no probabilities.

        Raises
        ------
        DataError
            If the shape, the number of channels or a sample is not as expected.
        """
        chunk = self._checked(chunk)
        if not len(chunk):
            return []
        if self._filter is not None:
            chunk = self._filter.push(chunk)
        if self._buffer is None:
            # counts of an amplifier may be followed by numbers with a fraction
            dtype = chunk.dtype if chunk.dtype.kind == "f" else np.float64
            self._buffer = RingBuffer(chunk.shape[1], self.n_times, dtype)
        decisions = []
        taken = 0
        while self.n_seen + len(chunk) - taken >= self._next:
            until = taken + self._next - self.n_seen
            self._buffer.write(chunk[taken:until])
            self.n_seen, taken = self._next, until
            self._next += self.n_step
            decisions.append(self._decide())
        self._buffer.write(chunk[taken:])
        self.n_seen += len(chunk) - taken
        return decisions

    def _decide(self) -> Decision:
        assert self._buffer is not None
        label, proba = self._predictor.push(self._buffer.view())
        self._recent.append(label)
        held = len(self._recent) == self.dwell and all(said == label for said in self._recent)
        return Decision(self.t0 + self.n_seen / self.sfreq, label if held else self.idle, proba)

    def _checked(self, chunk: Any) -> ndarray:
        if isinstance(chunk, xr.DataArray):
            self._check_names(chunk)
        array = np.asarray(chunk)
        if array.ndim != 2:
            raise DataError(
                f"A chunk has shape (n_times, n_channels), got {array.shape}; pass one sample as chunk[None, :]."
            )
        if self._n_channels is not None and array.shape[1] != self._n_channels:
            turned = "; transpose it, time comes first" if array.shape[0] == self._n_channels else ""
            raise DataError(
                f"Expected chunks of shape (n_times, {self._n_channels}), one column a channel, got {array.shape}{turned}."
            )
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DataError(
                f"A chunk must hold finite numbers, {_what(array)} after {self.n_seen / self.sfreq:.3f} s; repair or drop the chunk."
            )
        self._n_channels = array.shape[1]
        return array

    def _check_names(self, chunk: xr.DataArray) -> None:
        expected = self.channels or _fitted_names(self.estimator)
        if expected and "channel" in chunk.coords and chunk["channel"].values.astype(str).tolist() != list(expected):
            raise DataError(
                "The channels of the stream differ from those that the estimator was fitted on; select them with .sel(channel=[...])."
            )


def replay(
    recording: Recording,
    decoder: StreamingDecoder,
    chunk: float = 0.1,
    *,
    stream: str | None = None,
    speed: float | None = None,
) -> Iterator[Decision]:
    """Play a recording into a decoder as if it were live.

    Parameters
    ----------
    recording : Recording
    decoder : StreamingDecoder
        It is reset, and its time starts with the recording's.
    chunk : float
        Length of a chunk in s, at least one sample. It has no influence on the decisions.
    stream : str, optional
        Name of the stream; the first regular one without.
    speed : float, optional
        1 plays in real time, 2 twice as fast; as fast as possible without.

    Yields
    ------
    Decision
        When its window is complete.

    Raises
    ------
    DataError
        If the stream's rate or channels do not match.
    """
    data = recording.stream(stream)
    if not is_regular(data) or data.ndim != 2:
        raise DataError(f"Only a regular stream of channels can be replayed, got dims {data.dims}; bin spikes first.")
    if data.attrs["sfreq"] != decoder.sfreq:
        raise DataError(
            f"The decoder runs at {decoder.sfreq:g} Hz, the recording has {data.attrs['sfreq']:g} Hz; resample the recording first."
        )
    if speed is not None and not speed > 0:
        raise UsageError(f"The speed of a replay must be a positive number, got {speed}.")
    decoder.reset()
    decoder.t0 = float(data.time[0])
    n = max(1, round(chunk * decoder.sfreq))
    began = clock.monotonic()
    for start in range(0, data.sizes["time"], n):
        part = data[start : start + n]
        if speed is not None:
            clock.sleep(max(0.0, began + (start + n) / decoder.sfreq / speed - clock.monotonic()))
        yield from decoder.push(part)


def _sections(filter: Any, sfreq: float) -> ndarray | None:
    if filter is None:
        return None
    if isinstance(filter, str):
        raise UsageError(
            f"Expected a pass band (low, high) in Hz for a causal filter, got {filter!r}; a zero-phase filter needs samples from the "
            "future and cannot run live."
        )
    if isinstance(filter, ndarray):
        if filter.ndim != 2 or filter.shape[1] != 6:
            raise UsageError(f"Second-order sections have shape (n_sections, 6), got {filter.shape}.")
        return filter.astype(np.float64)
    low, high = filter
    return butterworth(None if low is None else float(low), None if high is None else float(high), sfreq)


def _fitted_names(estimator: Any) -> tuple[str, ...] | None:
    return getattr(_signature(estimator), "ch_names", None)


def _signature(estimator: Any) -> Any:
    """What the estimator, or the first step of a pipeline that knows, was fitted on."""
    steps = [step for _, step in getattr(estimator, "steps", [])] or [estimator]
    return next((step.signature_ for step in steps if hasattr(step, "signature_")), None)


def _check_signature(estimator: Any, sfreq: float, n_times: int, channels: list[str] | None) -> int | None:
    signature = _signature(estimator)
    if signature is None:
        return None if channels is None else len(channels)
    if signature.sfreq and signature.sfreq != sfreq:
        raise UsageError(
            f"The estimator was fitted at {signature.sfreq:g} Hz, the stream has {sfreq:g} Hz; resample the stream."
        )
    if signature.n_times and signature.n_times != n_times:
        raise UsageError(
            f"The estimator was fitted on windows of {signature.n_times} samples, the stream's windows have {n_times}; set window to "
            f"{signature.n_times / sfreq:g} s."
        )
    if channels is not None and signature.ch_names and list(signature.ch_names) != channels:
        raise UsageError(
            "The channels of the stream differ from those that the estimator was fitted on; send those, in the same order: "
            f"{', '.join(signature.ch_names[:6])}{' ...' if len(signature.ch_names) > 6 else ''}."
        )
    return signature.n_channels


def _what(array: ndarray) -> str:
    if array.dtype.kind not in "fiu":
        return f"got dtype {array.dtype}"
    return f"got {int((~np.isfinite(array)).sum())} that are NaN or infinite"
