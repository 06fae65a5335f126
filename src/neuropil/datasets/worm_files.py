"""Files of worm data: tables of edges, the atlas of the package wormneuroatlas, and calcium traces with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.datasets.worm_names import clean_labels
from neuropil.errors import DataError, require
from neuropil.recording import Recording
from neuropil.streams import irregular_stream

EDGE_COLUMNS = ("pre", "post", "type", "synapses")
EDGE_TYPES = ("chemical", "electrical")
ATLAS = "funatlas.h5"


def read_edges(path: str | Path) -> pd.DataFrame:
    """A table of edges from a file with tabs, commas or semicolons between its columns.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no such table; see `check_edges`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a table of edges at {path}, found no file there; check the path.")
    try:
        table = pd.read_csv(path, sep=None, engine="python", keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no table of edges with the columns {', '.join(EDGE_COLUMNS)}.") from error
    return check_edges(table, str(path))


def check_edges(table: pd.DataFrame, name: str = "The table") -> pd.DataFrame:
    """The same table if it has the columns pre, post, type (chemical, electrical) and synapses (numbers, not negative).

    Raises
    ------
    DataError
        One sentence that says which column or row is wrong.
    """
    missing = [column for column in EDGE_COLUMNS if column not in table.columns]
    if missing:
        raise DataError(f"{name} must have the columns {', '.join(EDGE_COLUMNS)}; it lacks {', '.join(missing)}.")
    types = table["type"].astype(str).str.strip().str.lower()
    wrong = np.flatnonzero(~types.isin(EDGE_TYPES))
    if len(wrong):
        raise DataError(
            f"{name} names edges {' or '.join(EDGE_TYPES)}, row {wrong[0]} says {table['type'].iloc[wrong[0]]!r}."
        )
    synapses = pd.to_numeric(table["synapses"], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(synapses) & (synapses >= 0)))
    if len(wrong):
        raise DataError(
            f"{name} needs a number of synapses of 0 or more in every row, row {wrong[0]} has {table['synapses'].iloc[wrong[0]]!r}."
        )
    return table.assign(type=types, synapses=synapses)


def read_atlas(
    folder: Path, strain: str, order: Sequence[str]
) -> tuple[Float[ndarray, "i j"], Float[ndarray, "i j"], Int[ndarray, "i j"]]:
    """Change of fluorescence, q and number of observations from the data folder of wormneuroatlas, in the given order."""
    path = folder / ATLAS
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected {ATLAS} in {folder}; name the folder data of the installed package wormneuroatlas."
        )
    h5py: Any = require("h5py", "worm")
    with h5py.File(path) as file:
        # names are cut to five letters there
        found = [name.decode() for name in file["neuron_ids"][:]]
        rows = [found.index(name[:5] if name == "AWCOFF" else name) for name in order]
        dff, q, count = (file[f"{strain}/{key}"][:][np.ix_(rows, rows)] for key in ("dFF", "q", "occ1"))
    return dff.astype(np.float64), q.astype(np.float64), count.astype(np.int64)


def worm_recording(
    traces: Any,
    time: Any,
    labels: Sequence[Any] | None = None,
    *,
    worm: str = "",
    dataset: str = "",
    unit: str = "dF/F",
) -> Recording:
    """One worm's calcium traces as they came from the laboratory.

    Parameters
    ----------
    traces : array-like of shape (n_times, n_traces)
        Change of fluorescence or ratio; NaN where a sample is missing.
    time : array-like of shape (n_times,)
        Seconds, increasing, not necessarily in even steps.
    labels : sequence, optional
        Name of every neuron as the laboratory writes it; None where it is not identified.
    worm, dataset : str
        Whose traces and from which experiment; splits keep worms and data sets together.
    unit : str

    Returns
    -------
    Recording
        With the irregular stream "calcium" of shape (n_times, n_traces), whose channels carry `label`, the laboratory's.

    Raises
    ------
    DataError
        If shapes do not fit, time does not increase, or a sample is infinite.

    Examples
    --------
    >>> recording = worm_recording([[0.1, 0.2], [0.3, 0.1]], [0.0, 0.6], ["AVAL", None], worm="1")
    >>> recording.stream("calcium")["label"].values.tolist()
    ['AVAL', '']
    """
    values, times = np.asarray(traces, dtype=np.float64), np.asarray(time, dtype=np.float64).squeeze()
    if values.ndim != 2 or values.shape[1] == 0 or times.ndim != 1:
        raise DataError(
            f"Expected traces of shape (n_times, n_traces) and as many times, got shapes {values.shape} and {times.shape}."
        )
    if len(times) != len(values) or len(times) < 2:
        raise DataError(
            f"Expected one time for each of two samples or more, got {len(times)} times and {len(values)} samples of the traces."
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DataError(
            "Time must be finite and increase from sample to sample; sort the samples and drop doubled ones."
        )
    if np.isinf(values).any():
        raise DataError("Traces must be finite, or NaN where a sample is missing; found infinity.")
    clean_labels(labels, values.shape[1])
    names = [
        label if isinstance(label, str) else "" for label in (labels if labels is not None else [""] * values.shape[1])
    ]
    width = len(str(values.shape[1] - 1))
    stream = irregular_stream(times, values, unit=unit, modality="calcium").rename(dim_1="channel")
    stream = stream.assign_coords(
        channel=("channel", np.array([f"trace{k:0{width}d}" for k in range(len(names))], dtype=object)),
        label=("channel", np.array(names, dtype=object)),
    )
    return Recording({"calcium": stream}, subject=worm, dataset=dataset)


def read_traces(path: str | Path) -> Recording:
    """One worm's traces from a recording that neuropil saved (.zarr) or from a table of text.

    The table has the times in seconds in its first column and one column a trace, below the neuron's name as the laboratory writes it; the
    name is left out where the neuron is not identified, a value where a sample is missing. The file's name is the worm's.

    Raises
    ------
    FileNotFoundError
        If there is nothing at that path.
    DataError
        If it is no such table.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a worm's traces at {path}, found nothing there; check the path.")
    if path.is_dir():
        return Recording.open(path)
    try:
        table = pd.read_csv(path, sep=None, engine="python", header=None, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no table of times and traces: one column of seconds, then one a neuron.") from error
    names = [name.strip() or None for name in table.iloc[0, 1:]]
    cells = table.iloc[1:].replace({"": "nan", "NaN": "nan", "NA": "nan"})
    try:
        values = cells.to_numpy(dtype=str).astype(np.float64)
    except ValueError as error:
        raise DataError(f"{path} must hold numbers below its line of names; {error}.") from error
    if values.shape[1] < 2:
        raise DataError(f"{path} must hold a column of seconds and one a neuron, found {values.shape[1]} column.")
    return worm_recording(values[:, 1:], values[:, 0], names, worm=path.stem)
