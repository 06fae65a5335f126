"""Recordings on disk: bit-exact, lazy, whole or not at all, and small in memory."""

import os
import resource
import time

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings

from neuropil import storage
from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.storage import RowReader, StoredArray, whole_folder
from neuropil.streams import irregular_stream, regular_stream
from neuropil.windowing import iter_batches, sliding_windows
from recordings import recordings, regular_streams


def assert_bit_identical(a, b):
    """As `Recording.identical`, and equal in every byte, dtype and order of coordinates' values."""
    assert list(a.streams) == list(b.streams)
    for name, stream in a.streams.items():
        other = b.streams[name]
        assert stream.dims == other.dims
        assert stream.dtype == other.dtype
        assert stream.values.tobytes() == other.values.tobytes()
        assert set(stream.coords) == set(other.coords)
        for coordinate in stream.coords:
            mine, its = stream[coordinate].values, other[coordinate].values
            if mine.dtype == object:
                assert mine.tolist() == its.tolist()
            else:
                assert mine.dtype == its.dtype
                np.testing.assert_array_equal(mine, its)
        assert stream.attrs == other.attrs
    assert list(a.events.columns) == list(b.events.columns)
    for column in a.events.columns:
        assert a.events[column].dtype == b.events[column].dtype
        assert repr(a.events[column].tolist()) == repr(b.events[column].tolist())
    labels = ("subject", "session", "dataset", "info")
    assert [getattr(a, label) for label in labels] == [getattr(b, label) for label in labels]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(recordings())
def test_any_recording_comes_back_to_the_last_bit(tmp_path, recording):
    path = recording.save(tmp_path / "r.zarr", overwrite=True)
    opened = Recording.open(path)
    assert_bit_identical(recording, opened)
    again = Recording.open(opened.save(tmp_path / "again.zarr", overwrite=True))
    assert_bit_identical(recording, again)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(regular_streams())
def test_what_is_opened_can_be_sliced_like_numpy(tmp_path, stream):
    path = Recording({"a": stream}).save(tmp_path / "r.zarr", overwrite=True)
    lazy, values = Recording.open(path).stream("a"), stream.values
    n_times, n_channels = values.shape
    rows = [0, n_times - 1, n_times // 2]
    keys = [
        (slice(None, None, -1), slice(None)),
        (slice(n_times // 3, None, 2), slice(None, None, -2)),
        (slice(n_times, None, -3), 0),
        (n_times - 1, slice(None)),
        (-1, -1),
        (slice(2, 1), slice(None)),
    ]
    for key in keys:
        np.testing.assert_array_equal(lazy[key].values, values[key])
    np.testing.assert_array_equal(lazy[rows, [n_channels - 1, 0]].values, values[np.ix_(rows, [n_channels - 1, 0])])
    np.testing.assert_array_equal(lazy[5:][::2].values, values[5:][::2])


def small(n_times=1000, n_channels=3, dtype="f8"):
    rng = np.random.default_rng(0)
    return Recording({"eeg": regular_stream((rng.normal(size=(n_times, n_channels)) * 50).astype(dtype), 100.0)})


@pytest.fixture
def tiny_chunks(monkeypatch):
    """Chunks of 512 bytes, so that every window crosses borders."""
    monkeypatch.setattr(storage, "CHUNK_BYTES", 512)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "u1", "c16"])
def test_rows_over_chunk_borders(tmp_path, tiny_chunks, dtype):
    recording = small(dtype=dtype)
    values = recording.stream().values
    opened = Recording.open(recording.save(tmp_path / "r.zarr"))
    array = opened.stream().variable._data.array
    assert isinstance(array, StoredArray)
    assert array.rows is not None
    per_chunk = array.rows.rows_per_chunk
    assert 1 < per_chunk < 400
    for start, stop in ((0, 1), (per_chunk - 1, per_chunk + 1), (3, 3 * per_chunk + 2), (999, 1000), (0, 1000), (7, 7)):
        np.testing.assert_array_equal(array.read_rows(start, stop), values[start:stop])


def test_missing_chunks_read_as_the_fill_value(tmp_path, tiny_chunks):
    recording = small()
    path = recording.save(tmp_path / "r.zarr")
    expected = recording.stream().values.copy()
    opened = Recording.open(path)
    per_chunk = opened.stream().variable._data.array.rows.rows_per_chunk
    for chunk in (0, 3, 4):
        (path / "streams" / "0" / "data" / "c" / str(chunk) / "0").unlink()
        expected[chunk * per_chunk : (chunk + 1) * per_chunk] = 0
    np.testing.assert_array_equal(Recording.open(path).stream().values, expected)
    X = sliding_windows(Recording.open(path), length=0.4)
    naive = np.stack([expected[start : start + 40].T for start in range(0, 961, 20)])
    np.testing.assert_array_equal(np.concatenate([b for _, b in iter_batches(X, 7)]), naive)


def test_a_truncated_chunk_is_said_not_read(tmp_path, tiny_chunks):
    path = small().save(tmp_path / "r.zarr")
    chunk = path / "streams" / "0" / "data" / "c" / "2" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    opened = Recording.open(path)
    assert opened.stream()[:20].values.shape == (20, 3)
    with pytest.raises(DataError, match="truncated, restore it from a copy"):
        opened.stream().load()


def test_foreign_layouts_are_read_by_zarr(tmp_path):
    values = np.random.default_rng(0).normal(size=(100, 4))
    for k, options in enumerate(({"chunks": (10, 2)}, {"chunks": (10, 4), "compressors": "auto"})):
        options = {"compressors": None} | options
        array = zarr.create_array(tmp_path / f"{k}.zarr", data=values, zarr_format=3, **options)
        assert not RowReader.fits(array)
        stored = StoredArray(array, tmp_path / f"{k}.zarr")
        np.testing.assert_array_equal(stored.read_rows(5, 27), values[5:27])


def test_many_chunks_keep_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 64)
    recording = small(n_times=3000)
    opened = Recording.open(recording.save(tmp_path / "r.zarr"))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    np.testing.assert_array_equal(opened.stream().values, recording.stream().values)
    np.testing.assert_array_equal(opened.stream()[::-1].values, recording.stream().values[::-1])
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) - before <= storage.MAX_OPEN_FILES + 8


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failing_write_leaves_nothing_behind(tmp_path, monkeypatch, overwrite):
    path = tmp_path / "r.zarr"
    if overwrite:
        small().save(path)
    calls = []
    write = storage._save_stream

    def breaks(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("No space left on device")
        write(*arguments)

    monkeypatch.setattr(storage, "_save_stream", breaks)
    both = {"a": small().stream(), "b": small().stream()}
    with pytest.raises(OSError, match="No space left"):
        Recording(both).save(path, overwrite=overwrite)
    assert len(calls) == 2
    assert [p.name for p in tmp_path.iterdir()] == (["r.zarr"] if overwrite else [])
    monkeypatch.undo()
    if overwrite:
        assert Recording.open(path).identical(small())


def test_samples_that_cannot_be_read_leave_nothing_behind(tmp_path):
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Broken(BackendArray):
        shape, dtype = (10, 2), np.dtype("f8")

        def __getitem__(self, key):
            raise OSError("the disk broke")

    stream = regular_stream(indexing.LazilyIndexedArray(Broken()), 10.0)
    assert isinstance(stream, xr.DataArray)
    with pytest.raises(OSError, match="the disk broke"):
        Recording({"a": stream}).save(tmp_path / "r.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_the_old_recording(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "r.zarr"
    small().save(path)
    script = (
        "import os, numpy as np\n"
        "from neuropil import storage\n"
        "from neuropil.recording import Recording\nfrom neuropil.streams import regular_stream\n"
        "storage._save_events = lambda *a: os._exit(9)\n"
        f"Recording({{'a': regular_stream(np.ones((9, 1)), 1.0)}}).save({str(path)!r}, overwrite=True)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert Recording.open(path).identical(small())


def test_nothing_is_overwritten_unasked(tmp_path):
    path = small().save(tmp_path / "deep" / "er" / "r.zarr")
    with pytest.raises(DataError, match=r"exists already; choose another name or pass overwrite=True"):
        small().save(path)
    small(n_times=7).save(path, overwrite=True)
    assert Recording.open(path).stream().sizes["time"] == 7
    assert [p.name for p in path.parent.iterdir()] == ["r.zarr"]
    (tmp_path / "file").write_text("x")
    with whole_folder(tmp_path / "file", overwrite=True) as folder:
        (folder / "inside").write_text("y")
    assert (tmp_path / "file" / "inside").read_text() == "y"


def test_a_recording_can_be_saved_over_itself(tmp_path):
    path = small().save(tmp_path / "r.zarr")
    opened = Recording.open(path)
    opened.copy(subject="new").save(path, overwrite=True)
    again = Recording.open(path)
    assert again.subject == "new"
    np.testing.assert_array_equal(again.stream().values, small().stream().values)


def test_missing_things(tmp_path):
    with pytest.raises(FileNotFoundError, match="found nothing there"):
        Recording.open(tmp_path / "nothing.zarr")


def test_opened_recordings_pickle(tmp_path):
    import pickle

    recording = small()
    recording.streams["spikes"] = irregular_stream([0.1, 0.4], [1, 2])
    opened = Recording.open(recording.save(tmp_path / "r.zarr"))
    assert opened.stream()[:5].values.any()
    copy = pickle.loads(pickle.dumps(opened))
    assert_bit_identical(recording, copy)


def test_twenty_gigabytes_need_little_memory(tmp_path):
    n_channels, sfreq, seconds = 64, 1000.0, 40_000
    n_times = int(sfreq * seconds)
    stub = Recording({"eeg": regular_stream(np.zeros((1, n_channels)), sfreq)}).save(tmp_path / "big.zarr")
    group = stub / "streams" / "0"
    root = zarr.open_group(group, mode="a")
    attrs = dict(root.attrs)
    del root["data"]
    rows = storage.CHUNK_BYTES // (8 * n_channels)
    root.create_array("data", shape=(n_times, n_channels), dtype="f8", chunks=(rows, n_channels), compressors=None)
    root.attrs.update(attrs | {"time": [0.0, float(seconds)]})
    n_chunks = -(-n_times // rows)
    for chunk in range(0, n_chunks, 2):
        folder = group / "data" / "c" / str(chunk)
        folder.mkdir(parents=True)
        with (folder / "0").open("wb") as file:
            file.truncate(rows * n_channels * 8)
    marked = group / "data" / "c" / "2" / "0"
    with marked.open("r+b") as file:
        file.write(np.full(n_channels, 7.0).tobytes())
    recording = Recording.open(stub)
    assert recording.stream().nbytes > 20e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    X = sliding_windows(recording, length=2.0)
    assert X.sizes["window"] == 39_999
    wanted = np.random.default_rng(0).choice(len(X), 400, replace=False)
    seen = 0
    for _, batch in iter_batches(X[wanted], 16):
        assert batch.shape[1:] == (64, 2000)
        assert not batch.any() or 7.0 in batch
        seen += len(batch)
    first = int(2 * rows // 1000)
    assert 7.0 in X[first].values
    assert seen == 400
    assert time.perf_counter() - begun < 20
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert growth < 250, f"{growth:.0f} MiB"
