"""Neural activity in one labelled container; published systems fit, predict, stream and are compared on it.

>>> import neuropil
>>> recording = neuropil.load("scp-healthy")          # doctest: +SKIP
>>> X = neuropil.windows(recording)                    # doctest: +SKIP
>>> neuropil.compare("scp-healthy")                    # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_FACE = {
    "Recording": "neuropil.recording",
    "regular_stream": "neuropil.streams",
    "irregular_stream": "neuropil.streams",
    "windows": "neuropil.windowing",
    "sliding_windows": "neuropil.windowing",
    "iter_batches": "neuropil.windowing",
    "make_lagged_epochs": "neuropil.lagged",
    "open": "neuropil.io",
    "load": "neuropil.datasets",
    "load_model": "neuropil.persistence",
    "save_model": "neuropil.persistence",
    "systems": "neuropil.catalog",
    "compare": "neuropil.experiments.compare",
    "reproduce": "neuropil.experiments.reproduce",
    "StreamingDecoder": "neuropil.stream",
    "EuclideanAlignment": "neuropil.alignment",
    "RiemannianAlignment": "neuropil.alignment",
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        value = getattr(importlib.import_module(_FACE[name]), name)
        globals()[name] = value
        return value
    try:
        return importlib.import_module(f"neuropil.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"neuropil.{name}":
            raise
        raise AttributeError(f"module 'neuropil' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})
