"""Matlab files of either kind as plain values: structures are dictionaries, cell arrays lists, characters strings.

Versions up to 7 are read by scipy, version 7.3, which is HDF5, by h5py. Nothing in either is executed.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.errors import DataError, require

HDF5 = b"\x89HDF\r\n\x1a\n"


def read_matlab(path: str | Path) -> dict[str, Any]:
    """All variables of a Matlab file.

    Arrays have Matlab's shapes; an array with one entry is a number, a row or column of a structure array is a list of dictionaries.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is damaged, or of another kind, such as a pickle.
    MissingExtraError
        If it is of version 7.3 and h5py is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a Matlab file at {path}, found none; check the path.")
    with path.open("rb") as file:
        # a header of 512 bytes stands before the HDF5 of version 7.3
        is_hdf5 = HDF5 in file.read(1024)
    return _read_hdf5(path) if is_hdf5 else {key: _plain(value) for key, value in read_version_7(path).items()}


def read_version_7(path: str | Path, *, simplify: bool = True) -> dict[str, Any]:
    """Variables of a Matlab file up to version 7 as scipy gives them; simplified, structures are dictionaries and single entries bare.

    Raises
    ------
    DataError
        If it is damaged, of another kind, or of version 7.3.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, simplify_cells=simplify)
    except NotImplementedError as error:  # scipy's word for version 7.3
        raise DataError(f"{path} is a Matlab file of version 7.3; save it with '-v7' to have it read.") from error
    except (MatReadError, ValueError, TypeError, OSError, EOFError, LookupError, zlib.error) as error:
        raise DataError(f"{path} is no readable Matlab file; fetch it again.") from error
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_plain(entry) for entry in value]
    return value


def _read_hdf5(path: Path) -> dict[str, Any]:
    h5py: Any = require("h5py", "nwb")

    def value(entry: Any) -> Any:
        if isinstance(entry, h5py.Group):
            fields = {key: value(entry[key]) for key in entry}
            return _records(fields) if _is_structure_array(entry) else fields
        kind = entry.attrs.get("MATLAB_class", b"")
        if entry.attrs.get("MATLAB_empty", 0):
            return "" if kind == b"char" else [] if kind == b"cell" else np.zeros((0, 0))
        if entry.dtype == h5py.ref_dtype:
            return [value(file[reference]) for reference in np.ravel(entry[()].T)]
        array = np.asarray(entry[()])
        if kind == b"char":
            return "".join(map(chr, np.ravel(array.T if array.shape[0] > 1 and 1 not in array.shape else array)))
        array = array.T
        return array.item() if array.size == 1 else np.squeeze(array) if 1 in array.shape else array

    def _is_structure_array(group: Any) -> bool:
        return len(group) > 0 and all(
            isinstance(group[key], h5py.Dataset)
            and group[key].dtype == h5py.ref_dtype
            and "MATLAB_class" not in group[key].attrs
            for key in group
        )

    try:
        with h5py.File(path) as file:
            return {key: value(file[key]) for key in file if not key.startswith("#")}
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} is no readable Matlab file of version 7.3; fetch it again.") from error


def _records(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """A structure array as a list of dictionaries."""
    return [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]


def as_list(value: Any) -> list[Any]:
    """A cell or structure array as a list; one with a single entry arrives as that entry."""
    return list(value) if isinstance(value, list) else [value]
