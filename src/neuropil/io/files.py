"""Files that cannot be read: every damage becomes one sentence.

The readers of the field answer a missing, cut or overwritten file in fifty ways, from a `struct.error` to silence. Here the checks that
each format allows are made before its reader runs, and whatever the reader still raises is said once, with the path.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from neuropil.errors import DataError, NeuropilError

FIFF_BLOCK_START, FIFF_BLOCK_END, FIFF_FILE_ID = 104, 105, 100
LONGEST_REASON = 160


def existing_file(path: str | Path, what: str) -> Path:
    """`path`, if it is a file with something in it.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    DataError
        If it is a folder or empty.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected {what} at {path}, found nothing there; check the path.")
    if path.is_dir():
        raise DataError(f"Expected {what} at {path}, found a folder; name the file in it.")
    if path.stat().st_size == 0:
        raise DataError(f"Expected {what} at {path}, found an empty file; restore it from a copy.")
    return path


def truncated(path: Path, expected: int, found: int) -> DataError:
    """The error for a file that is shorter than it says."""
    return DataError(
        f"{path} is truncated: its header promises {expected} bytes, {found} are there; restore it from a copy."
    )


def foreign(path: Path, what: str) -> DataError:
    """The error for a file that does not begin as its format does."""
    return DataError(f"{path} is not {what}: its first bytes are not those of the format; check what it is.")


def check_beginning(path: Path, what: str, signatures: tuple[bytes, ...]) -> None:
    """Refuse a file that begins with none of `signatures`."""
    with path.open("rb") as file:
        if not file.read(max(map(len, signatures))).startswith(signatures):
            raise foreign(path, what)


def damaged(path: Path, what: str, reason: object) -> DataError:
    """The error for a file that its reader refuses; `reason` is shortened to a clause."""
    text = " ".join(str(reason).split())
    clause = text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."
    return DataError(
        f"{path} cannot be read as {what} ({clause.rstrip('.') or type(reason).__name__}); "
        "the file is damaged or of another format."
    )


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a reader raises inside the block into a `DataError` about `path`."""
    try:
        yield
    except NeuropilError:
        raise
    except FileNotFoundError as error:
        if error.filename is None and str(error).startswith("Expected "):
            raise
        missing = error.filename or " ".join(str(error).split())
        raise FileNotFoundError(f"{path} needs a file that is missing: {missing}.") from error
    except Exception as error:
        raise damaged(path, what, error) from error


def check_edf(path: Path, what: str) -> None:
    """Refuse an EDF or BDF file whose header is broken, that holds no record, or that is shorter than its header says."""
    with path.open("rb") as file:
        head = file.read(256)
        if not (head.startswith(b"0       ") or head.startswith(b"\xffBIOSEMI")):
            raise foreign(path, what)
        width = 3 if head[:1] == b"\xff" else 2
        with readable(path, what):
            header_bytes, n_records, n_signals = int(head[184:192]), int(head[236:244]), int(head[252:256])
            file.seek(256 + n_signals * 216)
            lengths = file.read(8 * n_signals)
            if len(lengths) < 8 * n_signals:
                raise truncated(path, header_bytes, path.stat().st_size)
            samples = [int(lengths[8 * k : 8 * k + 8]) for k in range(n_signals)]
    size, record_bytes = path.stat().st_size, width * sum(samples)
    if not n_signals or record_bytes <= 0 or n_records == 0 or size <= header_bytes:
        raise DataError(f"{path} holds no samples: {n_signals} signals, {size} bytes; restore it from a copy.")
    if n_records > 0 and size < header_bytes + n_records * record_bytes:
        raise truncated(path, header_bytes + n_records * record_bytes, size)


def fif_blocks(path: Path) -> set[int]:
    """The kinds of blocks in a FIF file, walked from its first tag to its last.

    Raises
    ------
    DataError
        If a tag leads outside the file or a block never ends: the file was cut or overwritten.
    """
    with readable(path, "a FIF file"), _opened(path) as file:
        return _walk_fif(path, file)


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _walk_fif(path: Path, file: IO[bytes]) -> set[int]:
    size = file.seek(0, 2)
    file.seek(0)
    blocks: set[int] = set()
    depth, position = 0, 0
    cut = DataError(f"{path} is truncated or overwritten after {size} bytes; restore it from a copy.")
    while position != size:
        head = file.read(16)
        if len(head) < 16:
            raise cut
        kind, _, length, following = struct.unpack(">iiii", head)
        if position == 0 and kind != FIFF_FILE_ID:
            raise foreign(path, "a FIF file")
        if length < 0 or position + 16 + length > size or (following != -1 and following > size):
            raise cut
        if kind in (FIFF_BLOCK_START, FIFF_BLOCK_END):
            depth += 1 if kind == FIFF_BLOCK_START else -1
            blocks.add(struct.unpack(">i", file.read(4))[0])
        if following == -1:
            break
        position = following if following > 0 else position + 16 + length
        file.seek(position)
    if depth:
        raise cut
    return blocks


def check_brainvision(path: Path) -> None:
    """Refuse a BrainVision header whose data or marker file is missing or cut."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    if not text.lstrip("\ufeff").startswith(("Brain Vision", "BrainVision")):
        raise foreign(path, "a BrainVision header")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith(";"):
            fields.setdefault(name.strip(), value.strip().replace("$b", path.stem))
    with readable(path, "a BrainVision header"):
        n_channels = int(fields["NumberOfChannels"])
        data = existing_file(path.parent / fields["DataFile"], "the samples of a BrainVision recording")
    if fields.get("DataFormat", "BINARY") != "BINARY":
        return
    width = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}.get(fields.get("BinaryFormat", ""), 2)
    n_times, rest = divmod(data.stat().st_size, width * n_channels)
    needed = max(int(fields.get("DataPoints") or 0), _last_marker(path.parent / fields["MarkerFile"], fields))
    if rest or n_times < needed:
        raise truncated(data, max(needed, n_times + bool(rest)) * width * n_channels, data.stat().st_size)


def _last_marker(path: Path, fields: dict[str, str]) -> int:
    if not fields.get("MarkerFile"):
        return 0
    text = existing_file(path, "the markers of a BrainVision recording").read_bytes().decode("utf-8", errors="replace")
    if not text.lstrip("\ufeff").startswith(("Brain Vision", "BrainVision")):
        raise foreign(path, "a file of BrainVision markers")
    last = 0
    for line in text.splitlines():
        parts = line.split(",")
        if line.startswith("Mk") and len(parts) > 2 and parts[2].isdigit():
            last = max(last, int(parts[2]))
    return last
