"""Recordings on disk: one Zarr v3 group, written whole or not at all, read lazily.

Layout: `streams/<name>/data` holds the samples (time first, chunks of consecutive samples with all channels, uncompressed so that
any stretch of time is one contiguous read), `streams/<name>/coords/<coord>` the numeric coordinates; names, attributes and events
stand in the attributes of the groups as JSON. Nothing is pickled.
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.streams import SampleIndex, is_regular, sample_times

FORMAT = 1
CHUNK_BYTES = 4 << 20


def _open_files_limit() -> int:
    """A quarter of what the system lets a process open, at most 2048; 256 where it does not say."""
    if importlib.util.find_spec("resource") is None:
        return 256
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2048 if soft == resource.RLIM_INFINITY else max(16, min(2048, soft // 4))


MAX_OPEN_FILES = _open_files_limit()


class _ChunkFile:
    """An open file that closes when the last reader lets go of it, so that no thread reads from a closed one."""

    __slots__ = ("handle",)

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.handle)


class RowReader:
    """Consecutive rows (samples) of an uncompressed Zarr array, read straight from the chunk files.

    A chunk file holds `rows_per_chunk` rows one after the other, so a stretch of rows is one `pread` a chunk: no decoding, no
    cache beside the operating system's, and memory that does not depend on the array's size. A chunk that is not there reads as
    the fill value. All readers together keep at most `MAX_OPEN_FILES` files open, however many recordings there are.
    """

    _files: ClassVar[dict[tuple[int, int], _ChunkFile | None]] = {}
    _tokens: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, array: zarr.Array, folder: Path) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self.rows_per_chunk = array.chunks[0]
        self.row_bytes = int(np.prod(array.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self.fill_value = array.fill_value
        self._prefix = str(folder / "c") + "/"
        self._suffix = "/0" * (len(array.shape) - 1)
        self._token = next(self._tokens)

    @staticmethod
    def fits(array: zarr.Array) -> bool:
        """True if the array is stored as this reader expects it: uncompressed, native byte order, chunked over rows only."""
        metadata: dict[str, Any] = dict(array.metadata.to_dict())
        codecs = [codec["name"] for codec in metadata.get("codecs", ())]
        endian = next(
            (codec.get("configuration", {}).get("endian", "little") for codec in metadata.get("codecs", ())), "little"
        )
        encoding = metadata.get("chunk_key_encoding", {})
        separator = encoding.get("configuration", {}).get("separator", "/")
        plain = (
            hasattr(os, "preadv")
            and codecs == ["bytes"]
            and endian == "little"
            and encoding.get("name") == "default"
            and separator == "/"
        )
        return plain and array.dtype.isnative and array.dtype.kind in "biufc" and array.chunks[1:] == array.shape[1:]

    def _file(self, chunk: int) -> _ChunkFile | None:
        key = (self._token, chunk)
        try:
            return self._files[key]
        except KeyError:
            pass
        try:
            file = _ChunkFile(os.open(f"{self._prefix}{chunk}{self._suffix}", os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            file = None
        self._files[key] = file
        if len(self._files) > MAX_OPEN_FILES:
            # other threads, and readers that are thrown away meanwhile, take files out too
            for oldest in list(self._files)[: len(self._files) - MAX_OPEN_FILES]:
                self._files.pop(oldest, None)
        return file

    def read_into(self, out: np.ndarray, start: int, view: memoryview | None = None) -> None:
        """Fill `out` (n_rows, ...), C-contiguous, with the rows from `start` on; `view` are its bytes, for who has them already."""
        if view is None:
            view = out.data.cast("B") if out.size else memoryview(b"")
        row, position, stop = start, 0, start + len(out)
        while row < stop:
            chunk, offset = divmod(row, self.rows_per_chunk)
            n_rows = min(self.rows_per_chunk - offset, stop - row)
            n_bytes = n_rows * self.row_bytes
            file = self._file(chunk)
            if file is None:
                out[row - start : row - start + n_rows] = self.fill_value
            elif os.preadv(file.handle, [view[position : position + n_bytes]], offset * self.row_bytes) != n_bytes:
                raise DataError(
                    f"The file {self._prefix}{chunk}{self._suffix} is shorter than its {self.rows_per_chunk} samples; "
                    "it was truncated, restore it from a copy."
                )
            row, position = row + n_rows, position + n_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_token"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_token": next(self._tokens)}

    def __del__(self) -> None:
        for key in [key for key in list(self._files) if key[0] == self.__dict__.get("_token")]:
            self._files.pop(key, None)


class StoredArray(BackendArray):
    """A Zarr array behind xarray's lazy indexing; stretches of time are read by `RowReader` where the layout allows it."""

    def __init__(self, array: zarr.Array, folder: Path) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.rows = RowReader(array, folder) if RowReader.fits(array) else None

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        """Samples `start` to `stop` of all channels, shape (stop - start, ...)."""
        if self.rows is None:
            return np.asarray(self.array[start:stop])
        out = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        self.rows.read_into(out, start)
        return out

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time = key[0]
        if isinstance(time, slice) and time.step in (None, 1):
            start, stop, _ = time.indices(self.shape[0])
            return self.read_rows(start, max(start, stop))[(slice(None), *key[1:])]
        if isinstance(time, int | np.integer):
            return self.read_rows(int(time), int(time) + 1)[(0, *key[1:])]
        return np.asarray(self.array.oindex[key])

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)


@contextmanager
def whole_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises
    ------
    DataError
        If `path` exists already and may not be overwritten.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists already; choose another name or pass overwrite=True.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def atomic_write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file whole or not at all, also through a crash: temporary name, flush to disk, rename.

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written; what stood at `path` before stands there still.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(_cannot_write(path, len(content), error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def atomic_write_text(path: str | Path, content: str) -> Path:
    """Write a text file in UTF-8, whole or not at all; see `atomic_write_bytes`."""
    return atomic_write_bytes(path, content.encode())


def _cannot_write(path: Path, n_bytes: int, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {path} needs {n_bytes:,} bytes that {path.parent} does not have; free some space and start again, "
            "everything written before is kept."
        )
    return f"{path} cannot be written ({error.strerror or error}); check the folder and its permissions, or name another place."


def _json_safe(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [_json_safe(v) for v in value.tolist()]
    if isinstance(value, dict):
        return {str(k): _json_safe(v) for k, v in value.items()}
    return [_json_safe(v) for v in value] if isinstance(value, list | tuple) else value


def _is_text(values: np.ndarray) -> bool:
    return values.dtype.kind in "OUST"


def _put(group: zarr.Group, name: str, values: np.ndarray) -> None:
    group.create_array(
        name, data=np.ascontiguousarray(values), compressors=None
    ) if values.size else group.create_array(name, shape=values.shape, dtype=values.dtype, compressors=None)


def _write_samples(group: zarr.Group, stream: xr.DataArray, blocks: Iterator[np.ndarray] | None = None) -> None:
    if blocks is not None:
        _write_blocks(group, stream, blocks)
        return
    row_bytes = max(1, int(np.prod(stream.shape[1:], dtype=np.int64)) * stream.dtype.itemsize)
    n_times = stream.shape[0]
    rows = max(1, min(max(n_times, 1), CHUNK_BYTES // row_bytes))
    array = group.create_array(
        "data",
        shape=stream.shape,
        dtype=stream.dtype,
        chunks=(rows, *(max(1, n) for n in stream.shape[1:])),
        compressors=None,
    )
    for start in range(0, n_times, rows):
        array[start : start + rows] = stream.isel(time=slice(start, start + rows)).variable.values


def _write_blocks(group: zarr.Group, stream: xr.DataArray, blocks: Iterator[np.ndarray]) -> None:
    """Samples that are made block by block, in chunks as `_write_samples` would store them."""
    first = next(blocks, np.zeros((0, *stream.shape[1:]), dtype=stream.dtype))
    rows = max(1, min(max(stream.shape[0], 1), CHUNK_BYTES // max(1, first[:1].nbytes)))
    array = group.create_array(
        "data",
        shape=stream.shape,
        dtype=first.dtype,
        chunks=(rows, *(max(1, n) for n in stream.shape[1:])),
        compressors=None,
    )
    written, waiting = 0, first
    for block in itertools.chain(blocks, [None]):
        while len(waiting) >= rows or (block is None and len(waiting)):
            array[written : written + min(rows, len(waiting))] = waiting[:rows]
            written, waiting = written + min(rows, len(waiting)), waiting[rows:]
        if block is not None:
            waiting = np.concatenate([waiting, block])
    if written != stream.shape[0]:
        raise DataError(f"Expected {stream.shape[0]} samples in the blocks of a stream, got {written}.")


def _save_stream(group: zarr.Group, stream: xr.DataArray, blocks: Iterator[np.ndarray] | None = None) -> None:
    coords, text = group.create_group("coords"), {}
    attrs: dict[str, Any] = {
        "dims": list(stream.dims),
        "attrs": _json_safe(dict(stream.attrs)),
        "coord_dims": {},
        "order": [],
    }
    for name, coord in stream.coords.items():
        if name == "time" and is_regular(stream):
            index = stream.xindexes.get("time")
            if not isinstance(index, SampleIndex):
                index = SampleIndex.linspace(*_edges(stream), stream.sizes["time"], endpoint=False, dim="time")
            attrs["time"] = [float(index.start), float(index.stop), float(index.step)]
            continue
        attrs["coord_dims"][str(name)] = list(coord.dims)
        if _is_text(coord.values):
            text[str(name)] = _json_safe(coord.values)
        else:
            _put(coords, str(name), np.asarray(coord.values))
    _write_samples(group, stream, blocks)
    group.attrs.update({**attrs, "text": text})


def _edges(stream: xr.DataArray) -> tuple[float, float]:
    start = float(stream["time"][0]) if stream.sizes["time"] else 0.0
    return start, start + stream.sizes["time"] / stream.attrs["sfreq"]


def _save_events(group: zarr.Group, events: pd.DataFrame) -> None:
    columns: list[dict[str, Any]] = []
    for k, name in enumerate(events.columns):
        values = events[name]
        if values.dtype.kind in "biuf" and isinstance(values.dtype, np.dtype):
            _put(group, str(k), values.to_numpy())
            columns.append({"name": str(name), "dtype": str(values.dtype)})
        else:
            missing = values.isna().to_numpy()
            entries = [None if gone else _json_safe(v) for v, gone in zip(values.tolist(), missing, strict=True)]
            columns.append({"name": str(name), "dtype": str(values.dtype), "values": entries})
    group.attrs.update({"columns": columns, "n_events": len(events)})


def save_recording(
    recording: Recording,
    path: str | Path,
    *,
    overwrite: bool = False,
    samples: Mapping[str, Iterator[np.ndarray]] | None = None,
) -> Path:
    """Write `recording` as one Zarr v3 group; see `Recording.save`.

    `samples` holds, for streams whose samples are made while they are written, blocks of consecutive samples that take the place of the
    stream's own and need not fit into memory together; all else of such a stream is written as it is.
    """
    samples = samples or {}
    with whole_folder(path, overwrite=overwrite) as temporary:
        root = zarr.create_group(store=temporary, zarr_format=3)
        labels = {"subject": recording.subject, "session": recording.session, "dataset": recording.dataset}
        order = list(recording.streams)
        root.attrs.update({"neuropil": FORMAT, **labels, "info": _json_safe(recording.info), "streams": order})
        streams = root.create_group("streams")
        for k, (name, stream) in enumerate(recording.streams.items()):
            _save_stream(streams.create_group(str(k)), stream, samples.get(name))
        _save_events(root.create_group("events"), recording.events)
    return Path(path)


def _open_stream(group: Any, folder: Path) -> xr.DataArray:
    attrs: dict[str, Any] = dict(group.attrs)
    array = group["data"]
    variable = xr.Variable(tuple(attrs["dims"]), indexing.LazilyIndexedArray(StoredArray(array, folder / "data")))
    coords: dict[str, Any] = {}
    for name, dims in attrs["coord_dims"].items():
        if name in attrs["text"]:
            coords[name] = (tuple(dims), np.asarray(attrs["text"][name], dtype=object))
            continue
        stored = group[f"coords/{name}"]
        large = len(dims) > 1
        lazy = indexing.LazilyIndexedArray(StoredArray(stored, folder / "coords" / name)) if large else stored[...]
        coords[name] = (tuple(dims), lazy)
    stream = xr.DataArray(variable, coords=coords, attrs=attrs["attrs"])
    if "time" not in attrs:
        return stream
    start, stop, *step = attrs["time"]
    return stream.assign_coords(sample_times(start, stop, array.shape[0], *step))


def _open_events(group: Any) -> pd.DataFrame:
    columns = {}
    for k, column in enumerate(group.attrs["columns"]):
        stored = column.get("values")
        values = group[str(k)][...] if stored is None else stored
        columns[column["name"]] = pd.Series(values, dtype=column["dtype"])
    return pd.DataFrame(columns)


def open_recording(path: str | Path) -> Recording:
    """Open a recording that `Recording.save` wrote.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataError
        If it is not such a recording, or a part of it is missing.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a recording at {path}, found nothing there; check the path.")
    try:
        root: Any = zarr.open_group(store=path, mode="r", zarr_format=3)
        if root.attrs.get("neuropil") != FORMAT:
            raise DataError(f"{path} is a Zarr group but no neuropil recording; write one with Recording.save().")
        names = list(root.attrs["streams"])
        folders = [path / "streams" / str(k) for k in range(len(names))]
        streams = {name: _open_stream(root[f"streams/{k}"], folders[k]) for k, name in enumerate(names)}
        events = _open_events(root["events"])
        labels = {key: str(root.attrs[key]) for key in ("subject", "session", "dataset")}
        return Recording(streams, events, **labels, info=dict(root.attrs["info"]))
    except (KeyError, FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path} is no complete neuropil recording ({error}); write it again with Recording.save()."
        ) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as a recording ({error}); the file is damaged, restore it from a copy."
        ) from error
