"""Fitted estimators on disk: `model.json` says what, `arrays.safetensors` holds the numbers; loading executes nothing from either.

An estimator is written as its class name and the attributes that it holds. Classes are looked up by name among scikit-learn,
pyRiemann, MNE-Python, neuropil and what the caller has imported already; anything that is no estimator, array or plain value is
refused when saving. Both files carry a checksum, so a truncated or altered file is refused when loading.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuropil.errors import DataError, UsageError
from neuropil.storage import whole_folder

FORMAT = 1
TRUSTED = ("neuropil", "sklearn", "pyriemann", "mne")
PLAIN = (bool, int, str)


class Encoder:
    """Turns an estimator into JSON and a dictionary of arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def array(self, values: np.ndarray) -> str:
        key = f"{len(self.arrays):05d}"
        self.arrays[key] = np.ascontiguousarray(values)
        return key

    def encode(self, value: Any, where: str) -> Any:
        if value is None or type(value) in PLAIN:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if isinstance(value, np.ndarray):
            return self._encode_array(value, where)
        if isinstance(value, np.generic):
            return {"$scalar": self._encode_array(np.asarray(value), where)}
        if isinstance(value, list):
            return [self.encode(v, f"{where}[{k}]") for k, v in enumerate(value)]
        if isinstance(value, tuple | set | frozenset):
            kind = "$tuple" if isinstance(value, tuple) else "$set"
            return {kind: [self.encode(v, f"{where}[{k}]") for k, v in enumerate(value)]}
        if isinstance(value, dict):
            return {"$items": [[self.encode(k, where), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if isinstance(value, slice):
            return {"$slice": [self.encode(v, where) for v in (value.start, value.stop, value.step)]}
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, BaseEstimator) or hasattr(type(value), "_persistent_state"):
            return self.encode_object(value, where)
        raise UsageError(
            f"Expected estimators, arrays and plain values in a model to save, got {type(value).__name__} in {where}; "
            "replace it by a named option or an integer."
        )

    def _encode_array(self, values: np.ndarray, where: str) -> Any:
        if values.dtype.kind in "biuf":
            return {"$array": self.array(values), "shape": list(values.shape), "dtype": values.dtype.str}
        if values.dtype.kind == "c":
            return {
                "$complex": self.array(values.view(values.real.dtype)),
                "shape": list(values.shape),
                "dtype": values.dtype.str,
            }
        flat = [self.encode(v, where) for v in values.ravel().tolist()]
        return {"$objects": flat, "shape": list(values.shape), "dtype": values.dtype.str}

    def encode_object(self, value: Any, where: str) -> Any:
        cls = type(value)
        if "<" in cls.__qualname__ or cls.__module__ == "__main__":
            raise UsageError(
                f"The class {cls.__qualname__} cannot be found again when loading; define it in a module, not in a function."
            )
        state = value._persistent_state() if hasattr(value, "_persistent_state") else dict(vars(value))
        encoded = {str(k): self.encode(v, f"{where}.{k}") for k, v in state.items()}
        return {"$object": f"{cls.__module__}:{cls.__qualname__}", "state": encoded}


class Decoder:
    """Turns JSON and arrays back into an estimator, importing classes by name from trusted packages only."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(v) for v in value]
        if not isinstance(value, dict):
            return value
        kind = next((key for key in value if key.startswith("$")), None)
        if kind in ("$array", "$complex"):
            stored = self.arrays[value[kind]]
            return (stored.view(value["dtype"]) if kind == "$complex" else stored).reshape(value["shape"])
        if kind == "$objects":
            flat = [self.decode(v) for v in value[kind]]
            out = np.empty(len(flat), dtype=object)
            out[:] = flat
            return out.astype(value["dtype"]).reshape(value["shape"])
        if kind == "$scalar":
            return self.decode(value[kind])[()]
        if kind == "$float":
            return float(value[kind])
        if kind == "$tuple":
            return tuple(self.decode(value[kind]))
        if kind == "$set":
            return set(self.decode(value[kind]))
        if kind == "$slice":
            return slice(*self.decode(value[kind]))
        if kind == "$items":
            return {self.decode(k): self.decode(v) for k, v in value[kind]}
        if kind == "$object":
            return self._decode_object(value)
        raise DataError(
            f"The model holds an entry of unknown kind {kind!r}; it was written by a newer version or altered."
        )

    def _decode_object(self, value: dict[str, Any]) -> Any:
        cls: Any = find_class(value["$object"])
        state = {k: self.decode(v) for k, v in value["state"].items()}
        made = cls.__new__(cls)
        if hasattr(cls, "_restore_state"):
            made._restore_state(state)
        else:
            vars(made).update(state)
        return made


def find_class(name: str) -> type:
    """The estimator class of that `module:name`, from a trusted package or one that is imported already."""
    module_name, _, qualname = name.partition(":")
    if module_name.split(".")[0] in TRUSTED:
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise DataError(
                f"The model needs {module_name}, which this installation does not have; install or upgrade it."
            ) from error
    elif module_name in sys.modules:
        module = sys.modules[module_name]
    else:
        raise DataError(f"The model needs the class {name}; import the module {module_name} first if you trust it.")
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not (issubclass(found, BaseEstimator) or hasattr(found, "_persistent_state")):
        raise DataError(
            f"The model names {name}, which is no estimator class; it was altered or written by another version."
        )
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("neuropil", "scikit-learn", "numpy", "torch", "pyriemann", "mne")}


def save_model(
    estimator: Any, path: str | Path, *, overwrite: bool = False, extra: dict[str, Any] | None = None
) -> Path:
    """Write a fitted estimator to the folder `path`, which appears whole or not at all.

    Parameters
    ----------
    estimator : estimator
        Of neuropil, scikit-learn, pyRiemann or MNE-Python, also pipelines of them.
    path : path-like
        Folder to make.
    overwrite : bool
        Replace a folder that is there already.
    extra : dict, optional
        Facts in JSON to keep beside the model, such as how windows were cut.

    Raises
    ------
    UsageError
        If the estimator holds something that is neither array, estimator nor plain value.
    DataError
        If `path` exists already.
    """
    encoder = Encoder()
    model = encoder.encode_object(estimator, type(estimator).__name__)
    arrays = save_tensors(encoder.arrays)
    content = {
        "format": FORMAT,
        "model": model,
        "arrays_sha256": _digest(arrays),
        "versions": _versions(),
        "extra": extra or {},
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    with whole_folder(path, overwrite=overwrite) as folder:
        (folder / "arrays.safetensors").write_bytes(arrays)
        (folder / "model.json").write_text(
            json.dumps({"sha256": _digest(text.encode()), "content": content}, indent=1, allow_nan=False)
        )
    return Path(path)


def read_model(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """The estimator that `save_model` wrote, and the facts beside it.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    DataError
        If a file is truncated, altered, or of another format.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"Expected a model folder at {path}, found {'a file' if path.exists() else 'nothing'} there; check the path."
        )
    for name in ("model.json", "arrays.safetensors"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"The model folder {path} has no {name}; save the model again or restore the file.")
    try:
        document = json.loads((path / "model.json").read_text(encoding="utf-8"))
        content = document["content"]
        intact = _digest(json.dumps(content, sort_keys=True, allow_nan=False).encode()) == document["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path / 'model.json'} is truncated or no model file; save the model again or restore the file."
        ) from error
    arrays = (path / "arrays.safetensors").read_bytes()
    if not intact or _digest(arrays) != content["arrays_sha256"]:
        which = "model.json" if not intact else "arrays.safetensors"
        raise DataError(
            f"{path / which} does not match its checksum: it was truncated or altered; save the model again or restore it."
        )
    if content["format"] != FORMAT:
        raise DataError(
            f"{path} has model format {content['format']}, this version reads format {FORMAT}; upgrade neuropil."
        )
    try:
        return Decoder(load_tensors(arrays)).decode(content["model"]), content["extra"]
    except SafetensorError as error:
        raise DataError(f"{path / 'arrays.safetensors'} is no safetensors file; restore it from a copy.") from error


def load_model(path: str | Path) -> Any:
    """The fitted estimator in the folder `path`; see `read_model`."""
    return read_model(path)[0]


class Saved:
    """A fitted estimator that can be written to disk and read again."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the fitted estimator to the folder `path` as safetensors and JSON."""
        check_is_fitted(self)
        return save_model(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote; nothing in the folder is executed."""
        estimator = load_model(path)
        if not isinstance(estimator, cls):
            raise UsageError(
                f"{path} holds a {type(estimator).__name__}, not a {cls.__name__}; load it with neuropil.load_model()."
            )
        return estimator


class HoldsModule:
    """An estimator whose fitted network is `module_`: its parameters are stored, and loaded into a network that `_build_anew` makes."""

    def _build_anew(self) -> Any:
        """The network as it was before training, from arguments and fitted attributes."""
        raise NotImplementedError(f"{type(self).__name__} must define _build_anew().")

    def _persistent_state(self) -> dict[str, Any]:
        state = dict(vars(self))
        module = state.pop("module_", None)
        if module is not None:
            state["_parameters"] = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
        return state

    def _restore_state(self, state: dict[str, Any]) -> None:
        import torch

        parameters = state.pop("_parameters", None)
        self.__dict__.update(state)
        if parameters is None:
            return
        with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
            self.module_ = self._build_anew()
        self.module_.load_state_dict({name: torch.as_tensor(np.array(value)) for name, value in parameters.items()})
        self.module_.eval()
