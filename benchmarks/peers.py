"""The peers' own ways to windows of a long recording on disk, each set up as its documentation has it.

A contender writes the samples in its format (`write`), and opens and cuts them (`cut`) into something that gives a fresh pass over
shuffled batches of 64 every time it is called. `same` says whether its first window holds the same samples as everybody else's.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import BLOCK, N_CHANNELS, N_TIMES, SFREQ, STEP

BATCH_SIZE = 64
INSTALL = "pip install -r benchmarks/requirements.txt && pip install --no-deps braindecode==1.8.1"
Batches = Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Contender:
    """One way to shuffled batches of windows; `way` without the number of workers."""

    peer: str
    way: str
    n_workers: int
    files: tuple[Path, ...]
    cut: Callable[[], Batches]
    note: str = ""


class _Absent(types.ModuleType):
    """Stands for torchaudio where only its CUDA build is to be had: names can be imported, none of them does anything."""

    __path__: list[str] = []  # noqa: RUF012 - a package has a path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        import torch

        return type(name, (torch.nn.Module,), {"__init__": _refuse})


def _refuse(*_: Any, **__: Any) -> None:
    raise ImportError("torchaudio is not installed; the window benchmark does without it.")


def import_braindecode() -> str:
    """Import braindecode; says in words if torchaudio, which its networks import and its windows do not use, had to be replaced."""
    try:
        import torchaudio.functional
        import torchaudio.transforms  # noqa: F401

        note = ""
    except (ImportError, OSError):
        names = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")
        for name in names:
            sys.modules[name] = _Absent(name)
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
        for name in names[1:]:
            setattr(sys.modules["torchaudio"], name.rpartition(".")[2], sys.modules[name])
        note = "torchaudio replaced by an empty module (its networks import it, its windows do not use it)"
    importlib.import_module("braindecode.datasets")
    return note


def missing(*modules: str) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _cycle_loader(dataset: Any, n_workers: int, **options: Any) -> Batches:
    """A shuffling DataLoader; a pass gives the windows of the batches, shape (64, channels, times)."""
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=n_workers, **options)

    def batches() -> Iterator[Any]:
        for batch in loader:
            yield batch[0] if isinstance(batch, list | tuple) else batch

    return batches


def _cut_braindecode(make_raw_dataset: Callable[[], Any], n_workers: int) -> Batches:
    from braindecode.datasets import BaseConcatDataset
    from braindecode.preprocessing import create_fixed_length_windows

    windows = create_fixed_length_windows(
        BaseConcatDataset([make_raw_dataset()]),
        window_size_samples=N_TIMES,
        window_stride_samples=STEP,
        on_last_window="drop",
    )
    return _cycle_loader(windows, n_workers, shuffle=True)


def _fif_dataset(path: Path) -> Any:
    import mne
    from braindecode.datasets import RawDataset

    return RawDataset(mne.io.read_raw_fif(path, preload=False, verbose="error"), target_name=None, description={"y": 0})


def _cut_memmap(store: Path, fif: Path, n_workers: int) -> Batches:
    from braindecode.datasets import BaseConcatDataset, EEGWindowsDataset
    from braindecode.preprocessing import create_fixed_length_windows

    cut = create_fixed_length_windows(
        BaseConcatDataset([_fif_dataset(fif)]),
        window_size_samples=N_TIMES,
        window_stride_samples=STEP,
        on_last_window="drop",
    ).datasets[0]
    stored = EEGWindowsDataset._from_zarr(
        store, "recording_0", cut.metadata, cut.description, cut.raw.info.to_json_dict(), cut.targets_from
    )
    return _cycle_loader(BaseConcatDataset([stored]), n_workers, shuffle=True)


def braindecode_contenders(folder: Path, samples: np.ndarray) -> list[Contender]:
    """Windows of a lazily read .fif file, and of the float64 memory map that braindecode itself makes of a recording in its Zarr format."""
    import mne

    note = import_braindecode()
    cache = folder / ".braindecode.zarr_memmap"
    cache.mkdir()
    doubles = np.lib.format.open_memmap(
        cache / "recording_0.npy", mode="w+", dtype=np.float64, shape=samples.shape[::-1]
    )
    for start in range(0, len(samples), BLOCK):
        doubles[:, start : start + BLOCK] = samples[start : start + BLOCK].T
    info = mne.create_info([f"ch{k:03d}" for k in range(N_CHANNELS)], SFREQ, "eeg")
    fif = folder / "recording_raw.fif"
    mne.io.RawArray(doubles, info, verbose="error").save(fif, fmt="single", split_size="1.9GB", verbose="error")
    doubles.flush()
    _check_same(_fif_dataset(fif).raw[:, :N_TIMES][0], samples, "MNE-Python")
    fifs = tuple(sorted(folder.glob("recording_raw*.fif")))
    contenders = []
    for n_workers in (0, 2):
        lazily = partial(_cut_braindecode, partial(_fif_dataset, fif), n_workers)
        contenders.append(Contender("braindecode", "lazy .fif", n_workers, fifs, lazily, note))
        mapped = partial(_cut_memmap, folder / "braindecode.zarr", fif, n_workers)
        files = (cache / "recording_0.npy",)
        contenders.append(Contender("braindecode", "memory map", n_workers, files, mapped, note))
    return contenders


def _signal(sample: Any) -> np.ndarray:
    return sample.eeg.signal


def _cut_torch_brain(folder: Path, n_workers: int) -> Batches:
    from torch_brain.datasets import Dataset
    from torch_brain.samplers import RandomFixedWindowSampler

    dataset = Dataset(folder, transform=_signal)
    sampler = RandomFixedWindowSampler(
        sampling_intervals=dataset.get_sampling_intervals(), window_length=N_TIMES / SFREQ
    )
    return _cycle_loader(dataset, n_workers, sampler=sampler)


def torch_brain_contenders(folder: Path, samples: np.ndarray) -> list[Contender]:
    """Windows at random places of a lazily read HDF5 file; they come as (times, channels), without the turn that ours get."""
    import h5py
    from torch_brain.data import Data, Interval, RegularTimeSeries
    from torch_brain.datasets import Dataset, DatasetIndex

    place = folder / "torch_brain"
    place.mkdir()
    domain = Interval(0.0, len(samples) / SFREQ)
    with h5py.File(place / "recording.h5", "w") as file:
        Data(eeg=RegularTimeSeries(signal=samples, sampling_rate=SFREQ), domain=domain).to_hdf5(file)
    first = Dataset(place, transform=_signal)[DatasetIndex("recording", 0.0, N_TIMES / SFREQ)]
    _check_same(first.T, samples, "torch_brain")
    files = (place / "recording.h5",)
    return [
        Contender("torch_brain", "lazy HDF5", n_workers, files, partial(_cut_torch_brain, place, n_workers))
        for n_workers in (0, 2)
    ]


def _check_same(window: np.ndarray, samples: np.ndarray, peer: str) -> None:
    if not np.array_equal(np.asarray(window, dtype=np.float32), samples[:N_TIMES].T):
        raise RuntimeError(
            f"{peer} reads other samples than those that were written; the comparison would mean nothing."
        )
