"""Results on disk: one JSON file each, written whole or not at all, computed once.

A result lies under a readable path and a digest of everything that determines it: another parameter, another version or other
data is another file. A lock per result, which the operating system frees when its process ends however it ends, keeps two runs
from computing the same thing; a damaged file is set aside and computed again. JSON is strict: what JSON cannot say of a number
(NaN, infinity) is written as `{"$float": "nan"}`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.errors import DataError, UsageError
from neuropil.storage import atomic_write_text

FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,79}")
ODD = re.compile(r"[^A-Za-z0-9._+=-]+")


def encode(value: Any) -> Any:
    """The same value in what strict JSON has: arrays as lists, numbers that are not finite as `{"$float": ...}`."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"A result holds numbers, text, lists and dictionaries, got {type(value).__name__}; convert it first."
    )


def decode(value: Any) -> Any:
    """What `encode` was given, with lists where it had arrays or tuples."""
    if isinstance(value, dict):
        return float(value["$float"]) if "$float" in value else {k: decode(v) for k, v in value.items()}
    return [decode(v) for v in value] if isinstance(value, list) else value


def canonical(value: Any) -> str:
    """The one JSON text of an encoded value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(canonical(encode(value)).encode()).hexdigest()


def readable_name(text: str) -> str:
    """A file name that resembles `text`: odd characters become dashes, at most 60 characters.

    Examples
    --------
    >>> readable_name("moabb:BNCI2014_001"), readable_name("../my session.fif")
    ('moabb-BNCI2014-001', 'my-session.fif')
    """
    return ODD.sub("-", text.replace("_", "-")).strip("-._+=")[:60].rstrip("-._+=") or "unnamed"


@dataclass(frozen=True)
class Key:
    """The name of a result and everything that determines it.

    Attributes
    ----------
    parts : tuple of str
        Folders and file name that a person reads, e.g. ("scp-healthy", "blocks", "csp-lda", "seed-0-fold-3").
    settings : mapping
        In JSON's terms; two results with different settings never share a file.
    """

    parts: tuple[str, ...]
    settings: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        return digest([list(self.parts), self.settings])


class Lock:
    """A lock that this process holds on a key until `release`, or until it ends."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self.handle = path, handle

    def release(self) -> None:
        """Free the lock; more than once does nothing."""
        if self.handle >= 0:
            with suppress(OSError):
                self.path.unlink()
            os.close(self.handle)
            self.handle = -1


class ResultStore:
    """A folder of results.

    Parameters
    ----------
    root : path-like
        Made when the first result is written.

    Examples
    --------
    >>> import tempfile
    >>> store = ResultStore(tempfile.mkdtemp())
    >>> key = Key(("demo", "seed-0"), {"seed": 0})
    >>> store.get(key) is None
    True
    >>> _ = store.put(key, {"score": 0.75})
    >>> store.get(key)
    {'score': 0.75}
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"Results are kept in a folder, {self.root} is a file; name a folder.")

    def path(self, key: Key) -> Path:
        """Where the result of that key lies.

        Raises
        ------
        UsageError
            If a name would leave the results folder or is none that every system takes.
        """
        if not key.parts:
            raise UsageError("A result needs a name of one part or more, got none.")
        for part in key.parts:
            if not NAME.fullmatch(part) or ".." in part:
                raise UsageError(
                    f"Names of results consist of letters, digits and . _ + = - and stay inside their folder, got {part!r}; "
                    "choose another name."
                )
        *folders, stem = key.parts
        path = self.root.joinpath(*folders, f"{stem}-{key.digest[:16]}.json")
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise UsageError(f"The folder {path.parent} leads out of the results folder {self.root}; remove the link.")
        return path

    def get(self, key: Key) -> dict[str, Any] | None:
        """The stored result, or None; a damaged file is set aside with a warning and counts as none."""
        path = self.path(key)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); check the folder and its permissions."
            ) from error
        try:
            document = json.loads(text)
            content = {name: document[name] for name in ("format", "key", "result")}
            intact = digest_of_content(content) == document["sha256"] and content["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            aside = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.damaged")
            with suppress(FileNotFoundError):
                path.rename(aside)
            warnings.warn(
                f"{path} was damaged; it is kept as {aside.name} and the result is computed again.", stacklevel=2
            )
            return None
        return decode(content["result"])

    def put(self, key: Key, result: Mapping[str, Any]) -> Path:
        """Write a result, whole or not at all.

        Raises
        ------
        DataError
            If the disk is full or the folder cannot be written.
        """
        path = self.path(key)
        content = {"format": FORMAT, "key": encode(dict(key.settings)), "result": encode(result)}
        return atomic_write_text(path, canonical({**content, "sha256": digest_of_content(content)}) + "\n")

    def try_lock(self, key: Key) -> Lock | None:
        """The lock on a key, or None while another process (or thread) holds it; clears what a killed run left of that key."""
        lock = self._open_lock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            path = self.path(key)
            for leftover in path.parent.glob(f".{path.name}.*.partial"):
                with suppress(OSError):
                    leftover.unlink()
        return lock

    @contextmanager
    def lock(self, key: Key) -> Iterator[None]:
        """Hold the lock on a key, waiting for it where necessary."""
        held = self._open_lock(key, fcntl.LOCK_EX)
        assert held is not None
        try:
            yield
        finally:
            held.release()

    def _open_lock(self, key: Key, how: int) -> Lock | None:
        self.path(key)
        path = self.root / ".locks" / f"{key.digest[:32]}.lock"
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise DataError(
                    f"The results folder {self.root} cannot be written ({error.strerror}); check its permissions and the disk, "
                    "or name another folder."
                ) from error
            try:
                fcntl.flock(handle, how)
            except BlockingIOError:
                os.close(handle)
                return None
            except BaseException:
                os.close(handle)
                raise
            # The holder before us may have removed the file in between: then the lock is on nothing that others can see.
            try:
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return Lock(path, handle)
            except FileNotFoundError:
                pass
            os.close(handle)


def digest_of_content(content: Mapping[str, Any]) -> str:
    """Checksum of a stored document without its checksum."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()
