"""Calcium recordings of worms as their laboratories publish them, read from the files that a user has on disk.

| collection | files | what is read |
|---|---|---|
| Kato 2015, Nichols 2017, Skora 2018, Kaplan 2020, Uzel 2022 | WT_NoStim.mat and the like | traces, names and times of all worms |
| Atanas, Flavell 2023 | one .json or .h5 a worm | trace_array, labeled or neuropal_label, timestamp_confocal |
| Randi, Leifer 2023 | a folder with k_gcamp.txt, k_labels.txt, k_t.txt | one worm for every k |
| anything else | tables of text, recordings saved by neuropil | see `neuropil.datasets.worm_files.read_traces` |

Names stay as they are written; `WormHomogenizer` cleans them, and takes one with a question mark for unidentified. Pickles are refused,
since they can run any program.

Kato et al. (2015), Cell 163. Nichols et al. (2017), Science 356. Skora et al. (2018), Cell Reports 22. Kaplan et al. (2020), Neuron 105.
Uzel et al. (2022), Current Biology 32. Atanas et al. (2023), Cell 186. Randi et al. (2023), Nature 623.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.datasets.worm_files import read_traces, worm_recording
from neuropil.errors import DataError, require
from neuropil.io.matlab import as_list, read_matlab
from neuropil.recording import Recording

TRACES = ("traces", "deltaFOverF_bc", "traces_bleach_corrected")
NAMES = ("IDs", "NeuronNames", "neuron_ID")
TIMES = ("timeVectorSeconds", "tv", "time_vector")
PICKLES = (".pickle", ".pkl", ".p")
TEXT = ("_gcamp.txt", "_labels.txt", "_t.txt")


def read_worms(path: str | Path, dataset: str = "") -> list[Recording]:
    """All worms in a file or folder of calcium recordings.

    Parameters
    ----------
    path : path-like
        A file of one of the collections above, a table of text, a recording saved by neuropil, or a folder of such files.
    dataset : str, optional
        Which collection they belong to; the folder's name without. Splits by laboratory go by it.

    Returns
    -------
    list of Recording
        One a worm, with the stream "calcium" and the laboratory's labels.

    Raises
    ------
    FileNotFoundError
        If there is nothing at that path.
    DataError
        If a file is none of these, or a pickle.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a worm's traces at {path}, found nothing there; check the path.")
    if path.is_dir() and path.suffix != ".zarr" and not (path / "zarr.json").exists():
        return _read_folder(path, dataset or path.name)
    dataset = dataset or path.parent.name
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise DataError(
            f"{path} is a pickle, and nothing is unpickled here since that can run any program; use the published files."
        )
    if suffix == ".mat":
        return _of_matlab(path, dataset)
    if suffix == ".json":
        return [_of_flavell(_json(path), path, dataset)]
    if suffix in (".h5", ".hdf5"):
        h5py: Any = require("h5py", "worm")
        try:
            with h5py.File(path) as file:
                content = {key: file[key][()] for key in file if isinstance(file[key], h5py.Dataset)}
        except OSError as error:
            raise DataError(f"{path} is no readable HDF5 file; fetch it again.") from error
        return [_of_flavell(content, path, dataset)]
    recording = read_traces(path)
    return [recording if recording.dataset else recording.copy(dataset=dataset)]


def _read_folder(folder: Path, dataset: str) -> list[Recording]:
    worms = sorted((path.name.removesuffix(TEXT[0]) for path in folder.glob(f"*{TEXT[0]}")), key=lambda k: (len(k), k))
    if worms:
        return [_of_text(folder, worm, dataset) for worm in worms]
    known = (".mat", ".json", ".h5", ".hdf5", ".csv", ".tsv", ".zarr")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in known)
    if not files:
        pickles = [path for path in folder.iterdir() if path.suffix.lower() in PICKLES]
        if pickles:
            return read_worms(pickles[0], dataset)
        raise DataError(f"{folder} holds no recording of a worm; expected files {', '.join(known)} or 0_gcamp.txt.")
    return [recording for path in files for recording in read_worms(path, dataset)]


def _of_matlab(path: Path, dataset: str) -> list[Recording]:
    content = read_matlab(path)
    structure = next(
        (value for value in content.values() if isinstance(value, dict) and _field(value, TRACES) is not None),
        content if _field(content, TRACES) is not None else None,
    )
    if structure is None:
        raise DataError(
            f"{path} must hold a structure with {', '.join(TRACES[:-1])} or {TRACES[-1]}, it holds {', '.join(content) or 'nothing'}."
        )
    parts = {}
    for what, names in (("traces", TRACES), ("names", NAMES), ("times", TIMES)):
        found = _field(structure, names)
        if found is None:
            raise DataError(f"{path} lacks the {what} of the neurons, called {' or '.join(names)}.")
        parts[what] = as_list(found)
    if len(parts["traces"]) == 1 and len(parts["names"]) > 1:
        parts["names"] = [parts["names"]]  # one worm
    n_worms = len(parts["traces"])
    if any(len(values) != n_worms for values in parts.values()):
        raise DataError(
            f"{path} must have traces, names and times of every worm, got "
            f"{', '.join(f'{len(values)} {what}' for what, values in parts.items())}."
        )
    made = []
    for k, (traces, names, times) in enumerate(zip(parts["traces"], parts["names"], parts["times"], strict=True)):
        times = np.ravel(np.asarray(times, dtype=float))
        labels = [_first_name(name) for name in as_list(names if isinstance(names, list) else list(np.ravel(names)))]
        made.append(_recording(traces, times, labels, f"{path.stem}-{k}", dataset, path))
    return made


def _field(structure: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((structure[name] for name in names if name in structure), None)


def _first_name(value: Any) -> str | None:
    """A name, or the first of several candidates."""
    if isinstance(value, str | np.str_):
        return str(value) or None
    if isinstance(value, list):
        return next((name for entry in value if (name := _first_name(entry))), None)
    return None


def _of_flavell(content: Any, path: Path, dataset: str) -> Recording:
    wanted = ("trace_array", "timestamp_confocal")
    missing = [key for key in wanted if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path} must hold {' and '.join(wanted)}, it lacks {' and '.join(missing)}.")
    traces, times = content["trace_array"], np.ravel(np.asarray(content["timestamp_confocal"], dtype=float))
    values = np.asarray(traces, dtype=float)
    values = values if values.ndim == 2 and len(values) == len(times) else values.T
    labels: list[str | None] = [None] * (values.shape[1] if values.ndim == 2 else 0)
    if "neuropal_label" in content:
        labels = [
            name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(content["neuropal_label"])
        ]
    elif isinstance(content.get("labeled"), dict):
        for number, entry in content["labeled"].items():
            position = int(number) - 1
            if not 0 <= position < len(labels):
                raise DataError(f"{path} labels neuron {number}, but holds {len(labels)} traces.")
            labels[position] = str(entry["label"]) if isinstance(entry, dict) and "label" in entry else None
    return _recording(values, times, labels, path.stem, dataset, path)


def _of_text(folder: Path, worm: str, dataset: str) -> Recording:
    traces, names, times = (folder / f"{worm}{ending}" for ending in TEXT)
    for file in (names, times):
        if not file.is_file():
            raise FileNotFoundError(f"Expected {file.name} beside {traces.name} in {folder}, found none.")
    try:
        values, seconds = np.loadtxt(traces, ndmin=2), np.loadtxt(times, ndmin=1)
    except ValueError as error:
        raise DataError(f"{traces.name} and {times.name} in {folder} must hold numbers; fetch them again.") from error
    labels: list[str | None] = [line.strip() or None for line in names.read_text(encoding="utf-8").splitlines()]
    labels = (labels + [None] * values.shape[1])[: values.shape[1]]
    seen = np.asarray(~np.isnan(values).all(axis=0))
    return _recording(
        values[:, seen], seconds, [label for label, there in zip(labels, seen, strict=True) if there], worm, dataset, traces
    )  # fmt: skip


def _recording(traces: Any, times: ndarray, labels: list[str | None], worm: str, dataset: str, path: Path) -> Recording:
    values = np.asarray(traces, dtype=float)
    if values.ndim == 2 and len(values) != len(times) == values.shape[1]:
        values = values.T
    try:
        return worm_recording(values, times - times[0] if len(times) else times, labels, worm=worm, dataset=dataset)
    except DataError as error:
        raise DataError(f"{path}, worm {worm}: {error}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable JSON file; fetch it again.") from error
