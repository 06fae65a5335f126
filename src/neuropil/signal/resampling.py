"""Change of the sampling rate for data that arrive in chunks.

The same polyphase filter as `neuropil.signal.filters.resample`, applied to blocks of a fixed number of samples with as much context on
both sides as the filter reaches. Blocks depend on the position only, so that the result does not depend on how the data are cut
into chunks. The ends are continued by their first and last sample.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.signal.filters import HALF_LENGTH, MAX_RATIO_TERM

BLOCK = 4096


class StreamingResampler:
    """Polyphase resampling, chunk by chunk, without delay in the result.

    Parameters
    ----------
    sfreq, new_sfreq : float
        Rates in Hz; their ratio is that of two integers up to 10,000.

    Raises
    ------
    UsageError
        If a rate is not positive or the ratio is none of such integers.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((10_000, 2))
    >>> stream = StreamingResampler(250.0, 256.0)
    >>> pieces = [stream.push(x[k : k + 777]) for k in range(0, 10_000, 777)] + [stream.flush()]
    >>> np.concatenate(pieces).shape
    (10240, 2)
    """

    def __init__(self, sfreq: float, new_sfreq: float) -> None:
        from scipy.signal import firwin

        if not (sfreq > 0 and new_sfreq > 0 and np.isfinite([sfreq, new_sfreq]).all()):
            raise UsageError(f"Sampling rates must be positive numbers in Hz, got {sfreq} and {new_sfreq}.")
        ratio = Fraction(new_sfreq / sfreq).limit_denominator(MAX_RATIO_TERM)
        if not 0 < ratio.numerator <= MAX_RATIO_TERM or abs(float(ratio) * sfreq / new_sfreq - 1) > 1e-9:
            raise UsageError(
                f"{sfreq:g} Hz to {new_sfreq:g} Hz is no ratio of integers up to {MAX_RATIO_TERM}; resample the recording first."
            )
        self.up, self.down = ratio.numerator, ratio.denominator
        slower = max(self.up, self.down)
        self._half = HALF_LENGTH * slower
        self._taps = firwin(2 * self._half + 1, 1.0 / slower, window=("kaiser", 5.0)) * self.up if slower > 1 else None
        self._periods = max(1, ceil(BLOCK / self.down))
        self._margin = self.down * ceil((self._half / self.up + 1) / self.down)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next chunk begins new data."""
        self._waiting: ndarray | None = None
        self.n_seen = self.n_made = self._n_channels = 0

    def push(self, chunk: Float[ndarray, "time channel"]) -> Float64[ndarray, "done channel"]:
        """Take the next samples, shape (n_times, n_channels), and return those of the new rate that are finished, perhaps none."""
        self._n_channels = chunk.shape[1]
        if self._taps is None or not len(chunk):
            return chunk.astype(np.float64)
        if self._waiting is None:
            self._waiting = np.repeat(chunk[:1].astype(np.float64), self._margin, axis=0)
        self.n_seen += len(chunk)
        self._waiting = np.concatenate([self._waiting, chunk])
        return self._blocks()

    def flush(self) -> Float64[ndarray, "done channel"]:
        """The samples that are left, once the data have ended: ceil(n_times * new_sfreq / sfreq) in all.

        Raises
        ------
        DataError
            If no sample was pushed.
        """
        if self._taps is None:
            return np.zeros((0, self._n_channels))
        if self._waiting is None:
            raise DataError("There is nothing to finish: no sample was pushed.")
        left = -(-self.n_seen * self.up // self.down) - self.n_made
        padding = self._periods * self.down + 2 * self._margin
        self._waiting = np.concatenate([self._waiting, np.repeat(self._waiting[-1:], padding, axis=0)])
        pieces = []
        while left > 0:
            piece = self._block()[:left]
            pieces.append(piece)
            left -= len(piece)
        finished = np.concatenate(pieces) if pieces else np.zeros((0, self._waiting.shape[1]))
        self.reset()
        return finished

    def _blocks(self) -> ndarray:
        assert self._waiting is not None
        pieces = []
        while len(self._waiting) >= self._periods * self.down + 2 * self._margin:
            pieces.append(self._block())
        return np.concatenate(pieces) if pieces else np.zeros((0, self._waiting.shape[1]))

    def _block(self) -> ndarray:
        """The new samples of the first block that waits, whose context lies on both sides of it."""
        from scipy.signal import upfirdn

        assert self._waiting is not None
        assert self._taps is not None
        n_old, n_new = self._periods * self.down, self._periods * self.up
        # the output at the margin's end lies half a filter behind it; both are whole numbers of output steps apart
        lead = (-self._half) % self.down
        first = (self._margin * self.up + self._half + lead) // self.down
        filtered = upfirdn(
            np.r_[np.zeros(lead), self._taps], self._waiting[: n_old + 2 * self._margin], self.up, self.down, axis=0
        )
        self._waiting = self._waiting[n_old:]
        self.n_made += n_new
        return filtered[first : first + n_new]
