"""Batches of windows: their order, their memory, and the files that they are read from."""

import gc
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neuropil import Recording, iter_batches, regular_stream, sliding_windows, storage
from neuropil import batches as reading
from neuropil.batches import _BatchMemory
from neuropil.errors import UsageError

SFREQ, N_CHANNELS = 50.0, 3


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3000, N_CHANNELS)).astype(np.float32)


@pytest.fixture
def stored(samples, tmp_path, monkeypatch):
    """Windows of 20 samples, every 10, of a recording in chunks of 64 samples."""
    monkeypatch.setattr(storage, "CHUNK_BYTES", 64 * 4 * N_CHANNELS)
    Recording({"eeg": regular_stream(samples, SFREQ)}).save(tmp_path / "r.zarr")
    return sliding_windows(Recording.open(tmp_path / "r.zarr"), length=0.4, overlap=0.5)


def expected(samples: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.stack([samples[10 * k : 10 * k + 20].T for k in indices])


@pytest.mark.parametrize("prefetch", [1, 2, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_window_comes_once_with_its_samples(stored, samples, shuffle, prefetch):
    seen = []
    for indices, batch in iter_batches(stored, 7, shuffle=shuffle, prefetch=prefetch):
        np.testing.assert_array_equal(batch, expected(samples, indices))
        seen += indices.tolist()
    assert sorted(seen) == list(range(299))
    assert (seen == sorted(seen)) != shuffle


def test_a_selection_is_read_lazily_and_indexed_in_its_own_order(stored, samples):
    chosen = stored[np.array([5, 250, 17, 3])]
    indices, batch = next(iter(iter_batches(chosen, 3)))
    np.testing.assert_array_equal(batch, expected(samples, np.array([5, 250, 17])))
    assert indices.tolist() == [0, 1, 2]
    backwards = stored[::-2]
    np.testing.assert_array_equal(next(iter(iter_batches(backwards, 2)))[1], expected(samples, np.array([298, 296])))


def test_chosen_channels_are_read_batch_by_batch(stored, samples, monkeypatch):
    largest = 0
    read = reading.WindowArray.read

    def spy(self, indices, *rest):
        nonlocal largest
        largest = max(largest, len(indices))
        return read(self, indices, *rest)

    monkeypatch.setattr(reading.WindowArray, "read", spy)
    batches = [batch for _, batch in iter_batches(stored.isel(channel=[2, 0]), 50)]
    np.testing.assert_array_equal(np.concatenate(batches), expected(samples, np.arange(299))[:, [2, 0]])
    assert largest == 50


def test_short_orders_are_the_generators_permutation(stored):
    seen = np.concatenate([i for i, _ in iter_batches(stored, 64, shuffle=True, generator=np.random.default_rng(3))])
    np.testing.assert_array_equal(seen, np.random.default_rng(3).permutation(299))


@pytest.mark.parametrize("drop_last", [False, True])
def test_long_orders_come_in_pieces_that_span_the_recording(stored, monkeypatch, drop_last):
    monkeypatch.setattr(reading, "MAX_SHUFFLED", 100)
    batches = [
        indices
        for indices, _ in iter_batches(
            stored, 30, shuffle=True, drop_last=drop_last, generator=np.random.default_rng(0)
        )
    ]
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen) == (270 if drop_last else 299)
    assert {len(batch) for batch in batches[:-1]} == {30}
    assert all(np.ptp(batch) > 150 for batch in batches[:-1])
    in_order = np.concatenate([indices for indices, _ in iter_batches(stored, 30)])
    np.testing.assert_array_equal(in_order, np.arange(299))


@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_no_more_than_prefetch_and_one_batches_live_at_a_time(stored, monkeypatch, prefetch):
    allocated, most = [], 0
    empty = _BatchMemory.empty

    def spy(self, shape, dtype):
        nonlocal most
        array = empty(self, shape, dtype)
        allocated.append(self)
        most = max(most, sum(ref() is not None for _, ref in self._blocks))
        return array

    monkeypatch.setattr(_BatchMemory, "empty", spy)
    for _, batch in iter_batches(stored, 8, shuffle=True, prefetch=prefetch):
        batch.sum()
    memory = allocated[0]
    assert len(allocated) == 38
    assert most <= prefetch + 1
    assert len(memory._blocks) <= prefetch + 1


def test_batches_that_are_kept_stay_as_they_were(stored, samples):
    kept = [(indices, batch[:, 1:]) for indices, batch in iter_batches(stored, 8, shuffle=True)]
    for indices, view in kept:
        np.testing.assert_array_equal(view, expected(samples, indices)[:, 1:])


def test_memory_is_used_again_only_when_the_last_view_is_gone():
    memory = _BatchMemory(1)
    first = memory.empty((4, 8), np.dtype(np.float32))
    view = first.T[2:, 1]
    address = first.__array_interface__["data"][0]
    del first
    gc.collect()
    second = memory.empty((4, 8), np.dtype(np.float32))
    assert second.__array_interface__["data"][0] != address
    del view, second
    gc.collect()
    assert memory.empty((2, 8), np.dtype(np.float32)).__array_interface__["data"][0] == address


def test_a_tensor_of_a_batch_keeps_its_memory():
    torch = pytest.importorskip("torch")
    memory = _BatchMemory(1)
    tensor = torch.from_numpy(memory.empty((2, 3), np.dtype(np.float32))).fill_(1.0)
    memory.empty((2, 3), np.dtype(np.float32)).fill(2.0)
    assert tensor.sum() == 6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_many_recordings_share_the_limit_of_open_files(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CHUNK_BYTES", 64 * 4 * N_CHANNELS)
    monkeypatch.setattr(storage, "MAX_OPEN_FILES", 10)
    paths = [Recording({"eeg": regular_stream(samples + k, SFREQ)}).save(tmp_path / f"{k}.zarr") for k in range(4)]
    before = open_files()
    X = sliding_windows([Recording.open(path) for path in paths], length=0.4)
    for indices, batch in iter_batches(X, 16, shuffle=True):
        for k, window in zip(indices, batch, strict=True):
            recording, start = divmod(int(k), 299)
            np.testing.assert_array_equal(window, (samples + recording)[10 * start : 10 * start + 20].T)
        assert open_files() - before <= 10 + reading.MAX_READERS
    del X
    gc.collect()
    assert open_files() == before


def test_threads_may_read_one_recording_together(stored, samples, monkeypatch):
    monkeypatch.setattr(storage, "MAX_OPEN_FILES", 2)
    wrong, every = [], expected(samples, np.arange(299))

    def read(seed: int) -> None:
        for indices, batch in iter_batches(stored, 16, shuffle=True, generator=np.random.default_rng(seed)):
            if not np.array_equal(batch, every[indices]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_recording_written_anew_is_read_anew(samples, tmp_path):
    path = tmp_path / "r.zarr"
    for offset in (0, 1):
        Recording({"eeg": regular_stream(samples + offset, SFREQ)}).save(path, overwrite=True)
        X = sliding_windows(Recording.open(path), length=0.4)
        np.testing.assert_array_equal(X[:2].values, expected(samples + offset, np.arange(2)))


def test_windows_can_be_sent_to_another_process(stored, samples):
    stored[:1].values  # noqa: B018 - opens a file
    again = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(again[7:9].values, expected(samples, np.array([7, 8])))


def test_labels_of_several_recordings_follow_the_windows(samples):
    events = pd.DataFrame({"onset": [0.0], "duration": [60.0], "label": ["left"]})
    with_task = Recording({"eeg": regular_stream(samples, SFREQ)}, events, subject="1")
    idle = Recording({"eeg": regular_stream(samples[:1000], SFREQ)}, subject="2")
    X = sliding_windows([with_task, idle], length=0.4)
    assert X["label"].values.tolist() == ["left"] * 299 + ["idle"] * 99
    assert X["subject"].values.tolist() == ["1"] * 299 + ["2"] * 99
    assert X["trial"].values.tolist() == [0] * 299 + [-1] * 99
    assert X["pure"].values.all()
    assert (X["share"].values == 1).all()


@pytest.mark.parametrize(
    ("argument", "message"), [("batch_size", "at least one window"), ("prefetch", "beside the caller's")]
)
def test_sizes_below_one_are_refused(stored, argument, message):
    with pytest.raises(UsageError, match=message):
        next(iter_batches(stored, **{"batch_size": 4, argument: 0}))
