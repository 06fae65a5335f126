"""What a fitted object has learned, entry by entry, and whether it holds certain windows."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy import ndarray

MAX_DEPTH = 12


def fingerprint(fitted: Any) -> dict[str, str]:
    """A digest of every array and every plain value inside an object, by its path.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> sorted(fingerprint(StandardScaler().fit(np.eye(3))))[:3]
    ['StandardScaler.copy', 'StandardScaler.mean_', 'StandardScaler.n_features_in_']
    """
    return {path: _digest(value) for path, value in _leaves(fitted, type(fitted).__name__, {}, 0)}


def differences(first: dict[str, str], second: dict[str, str]) -> set[str]:
    """Paths whose digest differs, or that only one of the two has."""
    return {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}


def holds_windows(holder: Any, windows: ndarray) -> str | None:
    """The path at which an object holds one of these windows, (n_windows, n_channels, n_times), whole or flat; else None.

    Attributes, parameters, dictionaries, and what functions have closed over are searched.
    """
    size = windows.shape[1] * windows.shape[2]
    wanted = {window.tobytes() for window in np.ascontiguousarray(windows, dtype=np.float64)}
    for path, value in _leaves(holder, type(holder).__name__, {}, 0):
        array = value.values if isinstance(value, xr.DataArray) else value
        if not isinstance(array, ndarray) or array.dtype.kind not in "fiub" or not array.size or array.size % size:
            continue
        rows = np.ascontiguousarray(array, dtype=np.float64).reshape(-1, size)
        if any(row.tobytes() in wanted for row in rows):
            return path
    return None


def _leaves(value: Any, path: str, seen: dict[int, Any], depth: int) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(
        value, bool | int | float | complex | str | bytes | ndarray | np.generic | xr.DataArray
    ):
        yield path, value
        return
    if id(value) in seen or depth > MAX_DEPTH:
        return
    # kept, not only noted: the number of an object that is gone is given to the next one
    seen[id(value)] = value
    for name, part in _parts(value):
        yield from _leaves(part, f"{path}{name}", seen, depth + 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if _is_tensor(value):
        yield "", value.detach().cpu().numpy()
    elif isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{k}]", part) for k, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"[{k}]", part) for k, part in enumerate(sorted(value, key=repr)))
    elif isinstance(value, functools.partial):
        yield from (
            (f".{name}", part) for name, part in (("func", value.func), ("args", value.args), ("kw", value.keywords))
        )
    elif callable(value) and hasattr(value, "__closure__"):
        names = getattr(getattr(value, "__code__", None), "co_freevars", ())
        cells = value.__closure__ or ()
        yield from ((f"<{name}>", cell.cell_contents) for name, cell in zip(names, cells, strict=False))
        yield from ((f"<default {k}>", part) for k, part in enumerate(value.__defaults__ or ()))
    elif hasattr(value, "__self__") and not isinstance(value, type):
        yield ".__self__", value.__self__
    elif hasattr(value, "_persistent_state"):
        yield from ((f".{name}", part) for name, part in value._persistent_state().items())
    elif hasattr(value, "state_dict") and callable(value.state_dict) and not isinstance(value, type):
        yield from ((f".{name}", part) for name, part in value.state_dict().items())
    elif hasattr(value, "__getstate__") and not isinstance(value, type):
        state = vars(value) if hasattr(value, "__dict__") else _compiled_state(value)
        yield from ((f".{name}", part) for name, part in state.items())


def _compiled_state(value: Any) -> dict[str, Any]:
    """State of an object without a dictionary, such as scikit-learn's compiled trees, where it can be had."""
    try:
        state = value.__getstate__()
    except TypeError:
        return {}
    return state if isinstance(state, dict) else {"state": state}


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach") and hasattr(value, "numpy")


def _digest(value: Any) -> str:
    if isinstance(value, xr.DataArray):
        value = value.values
    if isinstance(value, ndarray):
        content = repr(value.tolist()).encode() if value.dtype.kind == "O" else np.ascontiguousarray(value).tobytes()
        return hashlib.sha256(f"{value.dtype} {value.shape}".encode() + content).hexdigest()
    return hashlib.sha256(f"{type(value).__name__} {value!r}".encode()).hexdigest()
