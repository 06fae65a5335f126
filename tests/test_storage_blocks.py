"""Recordings whose samples are made while they are written."""

import numpy as np
import pytest

from neuropil import storage
from neuropil.errors import DataError
from neuropil.recording import Recording
from neuropil.storage import save_recording
from neuropil.streams import regular_stream


def recording(n_times=1000, dtype=np.int16):
    data = np.arange(n_times * 3).reshape(n_times, 3).astype(dtype)
    return Recording({"a": regular_stream(data, 100.0, t0=2.0), "b": regular_stream(data[:50] + 1, 10.0)}, subject="1")


@pytest.mark.parametrize("size", [1, 7, 100, 999, 1000])
def test_blocks_of_any_size_give_the_same_files(tmp_path, monkeypatch, size):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 3 * 4 * 128)
    source = recording()
    wanted = source.copy(streams=source.streams | {"a": source.stream("a").astype(np.float32) / 2})
    blocks = (wanted.stream("a").values[k : k + size] for k in range(0, 1000, size))
    save_recording(source, tmp_path / "made.zarr", samples={"a": blocks})
    wanted.save(tmp_path / "whole.zarr")
    assert Recording.open(tmp_path / "made.zarr").identical(Recording.open(tmp_path / "whole.zarr"))
    names = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*")) for f in (tmp_path / "made.zarr", tmp_path / "whole.zarr")
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("n_given", [990, 1010])
def test_too_few_or_too_many_samples_leave_nothing(tmp_path, n_given):
    with pytest.raises(DataError, match="Expected 1000 samples in the blocks of a stream, got"):
        save_recording(recording(), tmp_path / "made.zarr", samples={"a": iter([np.zeros((n_given, 3))])})
    assert not list(tmp_path.iterdir())


def test_an_error_while_samples_are_made_leaves_nothing(tmp_path):
    def failing():
        yield np.zeros((500, 3))
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        save_recording(recording(), tmp_path / "made.zarr", samples={"a": failing()})
    assert not list(tmp_path.iterdir())
