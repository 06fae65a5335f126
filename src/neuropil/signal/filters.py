"""Filters along time that say which way they look, and changes of the sampling rate.

A causal filter uses the past only and can run in a stream; a zero-phase filter runs forwards and backwards, delays nothing and looks
ahead, so that its output at a time cannot be had at that time. `resample` and `decimate` look ahead as well. All take real arrays, work
along `axis` (the last one by default, as in windows) in double precision, and return float64.

Oppenheim & Schafer (2010). Discrete-Time Signal Processing, 3rd edition.
Gustafsson (1996). Determining the initial states in forward-backward filtering. IEEE Transactions on Signal Processing 44(4), 988-992.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log

import numpy as np
from jaxtyping import Float, Float64, Real
from numpy import ndarray

from neuropil.errors import DataError, UsageError

MAX_RATIO_TERM = 10_000
HALF_LENGTH = 10


def butterworth(
    low: float | None, high: float | None, sfreq: float, *, order: int = 4
) -> Float64[ndarray, "section 6"]:
    """Design a Butterworth filter as second-order sections.

    Parameters
    ----------
    low, high : float or None
        Edges of the pass band in Hz, where the power is halved. Without `low` a low-pass, without `high` a high-pass.
    sfreq : float
        Sampling rate in Hz.
    order : int, default 4
        Order of each edge: the power falls by 6 dB an octave and order beyond it.

    Returns
    -------
    ndarray of shape (n_sections, 6), float64
        `order` sections for a band-pass, half as many (rounded up) for one edge.

    Raises
    ------
    UsageError
        If an edge does not lie between 0 and half the sampling rate, or the edges are not in order.

    Examples
    --------
    >>> butterworth(8.0, 30.0, 125.0).shape
    (4, 6)
    """
    from scipy.signal import butter

    _check_sfreq(sfreq)
    if order < 1:
        raise UsageError(f"A filter has order 1 or more, got order={order}.")
    if low is None and high is None:
        raise UsageError("A filter needs a lower or an upper edge, got neither; leave out the filter instead.")
    for name, edge in (("low", low), ("high", high)):
        if edge is not None and not 0 < edge < sfreq / 2:
            raise UsageError(
                f"The band edge {name}={edge:g} Hz must lie above 0 and below {sfreq / 2:g} Hz, half the sampling rate of {sfreq:g} Hz."
            )
    if low is None:
        return butter(order, high, "lowpass", fs=sfreq, output="sos")
    if high is None:
        return butter(order, low, "highpass", fs=sfreq, output="sos")
    if low >= high:
        raise UsageError(f"A band needs low < high, got low={low:g} Hz and high={high:g} Hz.")
    return butter(order, (low, high), "bandpass", fs=sfreq, output="sos")


def settling_length(sos: Float[ndarray, "section 6"], tolerance: float = 1e-3) -> int:
    """Samples after which a filter has forgotten: the rest of its impulse response holds tolerance^2 of its energy.

    White noise that ended that long ago contributes `tolerance` of the output's standard deviation. Use it to purge training windows
    around a test window, and to leave out the beginning of a filtered stream.

    Parameters
    ----------
    sos : ndarray of shape (n_sections, 6)
    tolerance : float, default 1e-3
        Between 0 and 1.

    Raises
    ------
    UsageError
        If the filter never settles: a pole on or outside the unit circle.

    Examples
    --------
    >>> settling_length(butterworth(8.0, 30.0, 125.0))
    67
    """
    from scipy.signal import sosfilt

    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance lies between 0 and 1, got {tolerance}.")
    radius = max(float(np.abs(np.roots(section[3:])).max()) for section in sos)
    if radius >= 1:
        raise UsageError(
            f"The filter never settles, its slowest pole has radius {radius:.6g}; use a lower order or wider band."
        )
    n_times = 2 * len(sos) + 1
    if radius > 0:
        n_times += ceil((log(tolerance) - 20) / log(radius)) * 2
    impulse = np.zeros(n_times)
    impulse[0] = 1
    energy_left = np.cumsum(sosfilt(sos, impulse)[::-1] ** 2)[::-1]
    return int(np.sum(energy_left > tolerance**2 * energy_left[0]))


def initial_state(
    sos: Float[ndarray, "section 6"], first: Real[ndarray, "*sample"], axis: int = -1
) -> Float64[ndarray, "section ..."]:
    """State of a filter whose input has for ever been the constant `first`: it starts without the transient of a step.

    Parameters
    ----------
    sos : ndarray of shape (n_sections, 6)
    first : ndarray
        One sample: the data's shape without its time axis.
    axis : int, default -1
        Where the time axis of the data is.

    Returns
    -------
    ndarray of shape (n_sections, ...), float64
        As `causal_filter` takes it: the shape of the data with 2 in place of the samples.
    """
    from scipy.signal import sosfilt_zi

    state = np.multiply.outer(sosfilt_zi(sos), np.asarray(first, dtype=np.float64))
    ndim = first.ndim + 1
    return np.moveaxis(state, 1, 1 + axis % ndim)


def causal_filter(
    data: Real[ndarray, "*shape"],
    sos: Float[ndarray, "section 6"],
    zi: Float[ndarray, "section ..."] | None = None,
    *,
    axis: int = -1,
) -> tuple[Float64[ndarray, "*shape"], Float64[ndarray, "section ..."]]:
    """Filter forwards in time, and hand over the state for what follows.

    Parameters
    ----------
    data : ndarray
        Finite; of any shape.
    sos : ndarray of shape (n_sections, 6)
        Second-order sections.
    zi : ndarray of shape (n_sections, ...), optional
        State left by the data before. Default: `initial_state` of the first sample, so that the offset of an amplifier causes no step.
    axis : int, default -1
        Time.

    Returns
    -------
    filtered : ndarray, float64
        Of the shape of `data`; what comes after a sample has no influence on it.
    zf : ndarray of shape (n_sections, ...), float64
        State after the last sample. Going on from it gives, to the last bit, what filtering everything at once gives.

    Examples
    --------
    >>> import numpy as np
    >>> sos = butterworth(8.0, 30.0, 125.0)
    >>> x = np.random.default_rng(0).standard_normal((3, 100))
    >>> whole, _ = causal_filter(x, sos)
    >>> first, state = causal_filter(x[:, :40], sos)
    >>> second, _ = causal_filter(x[:, 40:], sos, state)
    >>> np.array_equal(np.hstack([first, second]), whole)
    True
    """
    from scipy.signal import sosfilt

    data = _check_data(data, axis, at_least=0 if zi is not None else 1)
    if zi is None:
        zi = initial_state(sos, data.take([0], axis=axis).squeeze(axis), axis)
    expected = list(data.shape)
    expected[axis] = 2
    if zi.shape != (len(sos), *expected):
        raise DataError(
            f"The filter state must have shape {(len(sos), *expected)} for these data, got {zi.shape}; start afresh."
        )
    if not data.shape[axis]:
        return data.copy(), zi.astype(np.float64)
    return sosfilt(sos, data, axis=axis, zi=zi.astype(np.float64, copy=False))


def zero_phase_filter(
    data: Real[ndarray, "*shape"], sos: Float[ndarray, "section 6"], *, axis: int = -1
) -> Float64[ndarray, "*shape"]:
    """Filter forwards and backwards: no delay, twice the order, a quarter of the power at the edges; it looks ahead.

    Parameters
    ----------
    data : ndarray
        Finite; longer than the odd extension at both ends (three times the order of the filter plus one).
    sos : ndarray of shape (n_sections, 6)
    axis : int, default -1
        Time.

    Returns
    -------
    ndarray, float64
        Of the shape of `data`.
    """
    from scipy.signal import sosfiltfilt

    n_taps = 2 * len(sos) + 1 - min(int(np.sum(sos[:, 2] == 0)), int(np.sum(sos[:, 5] == 0)))
    data = _check_data(data, axis, at_least=3 * n_taps + 1)
    return sosfiltfilt(sos, data, axis=axis, padlen=3 * n_taps)


class StreamingFilter:
    """A causal filter for data that arrive in chunks: pushing them one by one equals filtering the whole, to the last bit.

    Parameters
    ----------
    sos : ndarray of shape (n_sections, 6)
        Second-order sections, from `butterworth` for example.

    Attributes
    ----------
    state : ndarray of shape (n_sections, 2, n_channels) or None
        What the filter remembers; None before the first sample. Copy it to branch off, assign it to go on from there.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 2))
    >>> stream = StreamingFilter(butterworth(8.0, 30.0, 125.0))
    >>> pieces = [stream.push(x[k : k + 7]) for k in range(0, 100, 7)]
    >>> np.array_equal(np.concatenate(pieces), causal_filter(x, stream.sos, axis=0)[0])
    True
    """

    def __init__(self, sos: Float[ndarray, "section 6"]) -> None:
        self.sos = sos
        self.state: ndarray | None = None

    def push(self, chunk: Real[ndarray, "time channel"]) -> Float64[ndarray, "time channel"]:
        """Filter the next samples, shape (n_times, n_channels) as in a recording's stream; a chunk may be empty.

        Raises
        ------
        DataError
            If a sample is not finite (the state stays as it was) or the number of channels has changed.
        """
        if chunk.ndim != 2:
            raise DataError(f"A chunk has shape (samples, channels), got {chunk.shape}.")
        if self.state is not None and chunk.shape[1] != self.state.shape[2]:
            raise DataError(
                f"The stream began with {self.state.shape[2]} channels, this chunk has {chunk.shape[1]}; call reset() for a new one."
            )
        if self.state is None and not len(chunk):
            return chunk.astype(np.float64)
        filtered, self.state = causal_filter(chunk, self.sos, self.state, axis=0)
        return filtered

    def reset(self) -> None:
        """Forget everything; the next chunk begins a new stream."""
        self.state = None


def resample(
    data: Real[ndarray, "*shape"], sfreq: float, new_sfreq: float, *, axis: int = -1
) -> Float64[ndarray, "*resampled"]:
    """Change the sampling rate by polyphase filtering, without delay, with a low-pass below the lower Nyquist frequency.

    Parameters
    ----------
    data : ndarray
        Finite; longer than half the anti-aliasing filter. Both ends are continued along the line between them.
    sfreq, new_sfreq : float
        Rates in Hz; their ratio is that of two integers up to 10,000.
    axis : int, default -1
        Time.

    Returns
    -------
    ndarray, float64
        With ceil(n_times * new_sfreq / sfreq) samples; the first stays where it was.

    Examples
    --------
    >>> import numpy as np
    >>> resample(np.ones((2, 1000)), 512.0, 200.0).shape
    (2, 391)
    """
    _check_sfreq(sfreq)
    _check_sfreq(new_sfreq)
    ratio = Fraction(new_sfreq / sfreq).limit_denominator(MAX_RATIO_TERM)
    if ratio.numerator > MAX_RATIO_TERM or abs(float(ratio) * sfreq / new_sfreq - 1) > 1e-9:
        raise UsageError(
            f"{sfreq:g} Hz to {new_sfreq:g} Hz is no ratio of integers up to {MAX_RATIO_TERM}; choose a new rate that is."
        )
    return _polyphase(data, ratio.numerator, ratio.denominator, axis)


def decimate(data: Real[ndarray, "*shape"], factor: int, *, axis: int = -1) -> Float64[ndarray, "*resampled"]:
    """Keep every `factor`-th sample after a zero-phase low-pass: `resample` to an integer part of the rate, whatever it is.

    Parameters
    ----------
    data : ndarray
        Finite.
    factor : int
        1 or more.
    axis : int, default -1
        Time.

    Returns
    -------
    ndarray, float64
        With ceil(n_times / factor) samples; the first stays where it was.
    """
    if factor < 1:
        raise UsageError(f"The factor of a decimation is a whole number, 1 or more, got {factor}.")
    return _polyphase(data, 1, factor, axis)


def _polyphase(data: ndarray, up: int, down: int, axis: int) -> ndarray:
    from scipy.signal import resample_poly

    reach = 0 if up == down else ceil(HALF_LENGTH * max(up, down) / up)
    data = _check_data(data, axis, at_least=reach + 1)
    return resample_poly(data, up, down, axis=axis, padtype="line")


def _check_sfreq(sfreq: float) -> None:
    if not (sfreq > 0 and np.isfinite(sfreq)):
        raise UsageError(f"The sampling rate must be a positive number in Hz, got {sfreq}.")


def _check_data(data: ndarray, axis: int, at_least: int) -> ndarray:
    if not -data.ndim <= axis < data.ndim:
        raise UsageError(f"The data have {data.ndim} axes, none of them is axis {axis}.")
    if data.shape[axis] < at_least:
        raise DataError(
            f"This filter needs {at_least} samples or more, got {data.shape[axis]}; filter before cutting into windows."
        )
    if not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        raise DataError(
            f"A filter spreads NaN and infinity over all later samples, got {count} of them; interpolate or mask them first."
        )
    return np.asarray(data, dtype=np.float64)
