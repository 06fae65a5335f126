"""The lazy array under windows, and batches of it: read ahead, in memory that does not grow.

A window is a source and a start until it is read: one stretch of samples of all channels, turned to (channel, time). Batches are read by
two threads into a few blocks of memory that are used again and again, in an order that needs little memory itself.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int
from numpy import ndarray
from xarray.backends import BackendArray
from xarray.core import indexing

from neuropil.errors import UsageError
from neuropil.storage import StoredArray

MAX_SHUFFLED = 1 << 17
MAX_READERS = 2


class _Rows:
    """Stretches of samples of one stream: of an array in memory, of a stored array, or of anything that xarray can read."""

    def __init__(self, variable: xr.Variable) -> None:
        data = variable._data
        stored = (
            data.array if type(data) is indexing.LazilyIndexedArray and variable.shape == data.array.shape else None
        )
        whole = stored is not None and all(
            isinstance(k, slice) and k in (slice(None), slice(0, n, 1))
            for k, n in zip(data.key.tuple, variable.shape, strict=True)
        )
        self.reader = stored.rows if whole and isinstance(stored, StoredArray) else None
        self.array = data if isinstance(data, np.ndarray) else None
        self.variable = variable

    def read_into(self, out: ndarray, start: int, view: memoryview) -> None:
        if self.reader is not None:
            self.reader.read_into(out, start, view)
        elif self.array is not None:
            out[:] = self.array[start : start + len(out)]
        else:
            out[:] = self.variable[start : start + len(out)].values


class WindowArray(BackendArray):
    """The lazy array under `cut`: `n_times` samples of the stream `sources[source[k]]` from sample `starts[k]` on."""

    def __init__(self, variables: Sequence[xr.Variable], source: ndarray, starts: ndarray, n_times: int) -> None:
        self.sources = [_Rows(variable) for variable in variables]
        self.source, self.starts, self.n_times = source, starts, n_times
        self.dtype = np.result_type(*[variable.dtype for variable in variables])
        self.shape = (len(starts), variables[0].shape[1], n_times)

    def read(self, indices: ndarray, empty: Callable[..., ndarray] = np.empty) -> ndarray:
        """The windows at `indices`, shape (len(indices), n_channels, n_times), C-contiguous, in memory from `empty`."""
        out = empty((len(indices), *self.shape[1:]), dtype=self.dtype)
        buffer = np.empty((self.n_times, self.shape[1]), dtype=self.dtype)
        view = buffer.data.cast("B")
        for k, (source, start) in enumerate(
            zip(self.source[indices].tolist(), self.starts[indices].tolist(), strict=True)
        ):
            self.sources[source].read_into(buffer, start, view)
            out[k] = buffer.T
        return out

    def _read(self, key: tuple[Any, ...]) -> Any:
        window = key[0]
        single = isinstance(window, int | np.integer)
        indices = np.atleast_1d(np.arange(self.shape[0])[window])
        return self.read(indices)[(0 if single else slice(None), slice(None), slice(None))][
            (*(() if single else (slice(None),)), *_outer(key[1:]))
        ]

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)


class _BatchMemory:
    """Memory for at most `n_blocks` arrays at a time, each used again when nobody holds the array, or a view of it, any more.

    New memory costs more than reading from the operating system's cache into memory that is there (every page is zeroed first), and a
    heap on which large arrays come and go keeps more than it needs.
    """

    def __init__(self, n_blocks: int) -> None:
        self._n_blocks = n_blocks
        self._blocks: list[tuple[ndarray, weakref.ref[ndarray]]] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> ndarray:
        """As `np.empty`; memory of its own if all blocks are in use."""
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes == 0 or dtype.hasobject:
            return np.empty(shape, dtype=dtype)
        with self._lock:
            blocks = enumerate(self._blocks)
            free = next((k for k, (block, array) in blocks if array() is None and block.nbytes >= n_bytes), None)
            if free is None and len(self._blocks) >= self._n_blocks:
                return np.empty(shape, dtype=dtype)
            block = np.empty(n_bytes, dtype=np.uint8) if free is None else self._blocks[free][0]
            # Over a memoryview, this array is the base of all views that a caller makes: it lives as long as any of them.
            array = np.frombuffer(block.data[:n_bytes], dtype=dtype)
            if free is None:
                self._blocks.append((block, weakref.ref(array)))
            else:
                self._blocks[free] = (block, weakref.ref(array))
        return array.reshape(shape)


def _outer(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """An outer (channel, time) key as one that numpy applies axis by axis."""
    arrays = [isinstance(k, np.ndarray) for k in key]
    return np.ix_(*key) if all(arrays) else key


def lazy_windows(X: Any) -> tuple[WindowArray, ndarray] | None:
    """The lazy array under windows and the indices of its windows that `X` holds, if `X` is cut and whole in channel and time."""
    lazy = _lazy(X)
    return None if lazy is None else (lazy[0], np.atleast_1d(np.arange(lazy[0].shape[0])[lazy[1]]))


def _lazy(X: Any) -> tuple[WindowArray, Any] | None:
    """As `lazy_windows`, with the key of the windows (a slice or indices) as it is."""
    data = X.variable._data if isinstance(X, xr.DataArray) else None
    if type(data) is not indexing.LazilyIndexedArray or not isinstance(data.array, WindowArray):
        return None
    window, *rest = data.key.tuple
    if any(
        not isinstance(k, slice) or k.indices(n) != (0, n, 1) for k, n in zip(rest, data.array.shape[1:], strict=True)
    ):
        return None
    return data.array, window


def _reader(X: Any, memory: _BatchMemory) -> Callable[[ndarray], ndarray] | None:
    """A function that reads the windows at given indices of `X` from where they are stored; None if they are in memory."""
    lazy = _lazy(X)
    if lazy is None:
        if not isinstance(X, xr.DataArray) or X.variable._in_memory:
            return None
        return lambda indices: X.variable[indices].values
    array, window = lazy
    if isinstance(window, slice):
        first, _, step = window.indices(array.shape[0])
        return lambda indices: array.read(first + step * indices, memory.empty)
    return lambda indices: array.read(np.atleast_1d(window)[indices], memory.empty)


def _orders(n_windows: int, shuffle: bool, generator: np.random.Generator | None) -> Iterator[Int[ndarray, " window"]]:
    """All window indices in pieces that fit into little memory: one after the other, or shuffled.

    Up to `MAX_SHUFFLED` windows are one random permutation. Beyond it, every k-th window makes a piece (k as small as possible),
    the pieces come in random order and are shuffled in themselves: a batch still mixes the whole length of the recordings.
    """
    n_pieces = max(1, -(-n_windows // MAX_SHUFFLED))
    if not shuffle:
        for first in range(0, n_windows, MAX_SHUFFLED):
            yield np.arange(first, min(first + MAX_SHUFFLED, n_windows), dtype=np.int32)
        return
    generator = generator or np.random.default_rng()
    for first in generator.permutation(n_pieces):
        piece = np.arange(first, n_windows, n_pieces, dtype=np.int32)
        generator.shuffle(piece)
        yield piece


def _index_batches(
    pieces: Iterator[Int[ndarray, " window"]], batch_size: int, drop_last: bool
) -> Iterator[Int[ndarray, " batch"]]:
    rest = np.zeros(0, dtype=np.int32)
    for piece in pieces:
        joined = np.concatenate([rest, piece])
        whole = len(joined) // batch_size * batch_size
        for start in range(0, whole, batch_size):
            yield joined[start : start + batch_size].astype(np.intp)
        rest = joined[whole:].copy()
    if len(rest) and not drop_last:
        yield rest.astype(np.intp)


def iter_batches(
    X: Any,
    batch_size: int = 64,
    *,
    shuffle: bool = False,
    generator: np.random.Generator | None = None,
    drop_last: bool = False,
    prefetch: int = 2,
) -> Iterator[tuple[Int[ndarray, " batch"], ndarray]]:
    """Batches of windows, read ahead while the caller works, by two threads where it waits for them.

    Parameters
    ----------
    X : Windows or ndarray of shape (n_windows, ...)
        Lazy windows are read batch by batch: memory for samples is that of `prefetch` + 1 batches and one window, whatever their
        number and the length of the recordings, as long as the caller lets go of the batches.
    batch_size : int
        Windows a batch; the last may be smaller.
    shuffle : bool
        Draw a new order from `generator`: a permutation up to `MAX_SHUFFLED` windows, beyond that one of every k-th window after
        the other.
    drop_last : bool
        Leave out a last batch that is not full.
    prefetch : int
        Batches in memory beside the one that the caller has; from 2 on, the next one is read while the caller works.

    Yields
    ------
    indices : ndarray of int, shape (n_batch,)
    batch : ndarray of shape (n_batch, n_channels, n_times)

    Raises
    ------
    UsageError
        If `batch_size` or `prefetch` is below 1.

    Examples
    --------
    >>> [len(batch) for _, batch in iter_batches(np.zeros((5, 2, 10)), 2)]
    [2, 2, 1]
    """
    if batch_size < 1:
        raise UsageError(f"A batch needs at least one window, got batch_size={batch_size}.")
    if prefetch < 1:
        raise UsageError(f"At least one batch must fit beside the caller's, got prefetch={prefetch}.")
    batches = _index_batches(_orders(X.shape[0], shuffle, generator), batch_size, drop_last)
    read = _reader(X, _BatchMemory(prefetch + 1))
    if read is None:
        array = np.asarray(X)
        yield from ((indices, array[indices]) for indices in batches)
        return
    with ThreadPoolExecutor(min(prefetch, MAX_READERS), thread_name_prefix="windows") as pool:
        queue: deque[Any] = deque()
        try:
            for indices in batches:
                queue.append((indices, pool.submit(read, indices)))
                # The caller holds the last batch until the next one is given out, so that it counts; nothing here may hold on to it.
                if len(queue) == prefetch:
                    yield queue[0][0], queue.popleft()[1].result()
            while queue:
                yield queue[0][0], queue.popleft()[1].result()
        finally:
            for _, future in queue:
                future.cancel()
