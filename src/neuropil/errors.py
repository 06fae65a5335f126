"""The library's exceptions: each carries one sentence that says what was expected, what came and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class NeuropilError(Exception):
    """Base of every error that neuropil raises by itself."""


class DataError(NeuropilError, ValueError):
    """Data that cannot be used as they are: empty, not finite, truncated, of another shape than the model was fitted on."""


class UsageError(NeuropilError, ValueError):
    """A name or an argument that does not exist or does not fit."""


class MissingExtraError(NeuropilError, ImportError):
    """A feature whose optional dependency is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional `module`, or say which extra brings it.

    Raises
    ------
    MissingExtraError
        If the module is not installed.

    Examples
    --------
    >>> require("json", "nothing").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"This needs the package {module.split('.')[0]!r}, which is not installed; "
            f"run `pip install 'neuropil[{extra}]'`."
        ) from error
