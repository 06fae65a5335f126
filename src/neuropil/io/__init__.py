"""Files of the field into recordings and back: one adapter a format.

`open(path)` finds the format by itself. What a format can read lazily stays lazy; what cannot be read is said in one sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuropil.errors import DataError, UsageError
from neuropil.io.arrays import from_array, from_trials, read_npz, write_npz
from neuropil.recording import Recording

__all__ = [
    "FORMATS",
    "epochs_to_windows",
    "from_array",
    "from_mne",
    "from_trials",
    "open",
    "read_npz",
    "read_nwb",
    "save_raw",
    "to_mne",
    "to_mne_epochs",
    "write_npz",
    "write_nwb",
]

FORMATS = {
    ".zarr": "neuropil recording (a folder)",
    ".fif": "FIF, raw or epochs (also .fif.gz)",
    ".edf": "European Data Format",
    ".bdf": "BioSemi Data Format",
    ".vhdr": "BrainVision header",
    ".set": "EEGLAB",
    ".nwb": "Neurodata Without Borders",
    ".npz": "numpy archive with signal and sfreq",
}
SIGNATURES = {
    b"PK\x03\x04": ".npz",
    b"\x89HDF\r\n\x1a\n": ".nwb",
    b"0       ": ".edf",
    b"\xffBIOSEMI": ".bdf",
    b"Brain Vision": ".vhdr",
    b"BrainVision": ".vhdr",
    b"MATLAB 5.0 MAT-file": ".set",
    b"\x00\x00\x00\x64\x00\x00\x00\x1f": ".fif",
}
LAZY = {
    **dict.fromkeys(("from_mne", "to_mne"), "neuropil.io.mne"),
    "save_raw": "neuropil.io.raws",
    **dict.fromkeys(("epochs_to_windows", "to_mne_epochs"), "neuropil.io.epochs"),
    **dict.fromkeys(("read_nwb", "write_nwb"), "neuropil.io.nwb"),
}


def __getattr__(name: str) -> Any:
    if name in LAZY:
        import importlib

        return getattr(importlib.import_module(LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".fif" if name.endswith(".fif.gz") else path.suffix.lower()


def _format(path: Path) -> str:
    suffix = _suffix(path)
    if suffix in (".eeg", ".vmrk") and path.with_suffix(".vhdr").exists():
        raise UsageError(
            f"{path} is one part of a BrainVision recording; open its header {path.with_suffix('.vhdr').name}."
        )
    if suffix in FORMATS:
        return suffix
    with path.open("rb") as file:
        head = file.read(32)
    for signature, known in SIGNATURES.items():
        if head.startswith(signature):
            return known
    known = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
    raise UsageError(f"{path} is of no format that neuropil opens; it opens {known}, and BIDS data sets.")


def _open_folder(path: Path, options: dict[str, Any]) -> Recording:
    suffix = _suffix(path)
    if (path / "dataset_description.json").exists():
        from neuropil.io.bids import read_bids

        return read_bids(path, **options)
    if suffix in FORMATS and suffix != ".zarr":
        raise DataError(f"Expected a file ({FORMATS[suffix]}) at {path}, found a folder; name the file in it.")
    if suffix == ".zarr" or (path / "zarr.json").exists():
        return Recording.open(path, **options)
    raise UsageError(f"{path} is a folder, but neither a neuropil recording nor a BIDS data set; name the file in it.")


def open(path: str | Path, **options: Any) -> Recording:
    """Open a recording of any known format.

    Parameters
    ----------
    path : path-like
        A neuropil recording (Zarr folder), FIF (raw or epochs), EDF, BDF, BrainVision header, EEGLAB, NWB or .npz file, a BIDS data
        set, or a file in one.
    **options
        For BIDS: `subject`, `session`, `task`, `run` ... choose among several recordings. For formats read by MNE-Python: the
        arguments of its reader. For NWB: `events`.

    Raises
    ------
    FileNotFoundError
        If nothing is there, or a part of the recording is missing.
    DataError
        If it is empty, truncated, damaged, or a folder where a file was expected.
    UsageError
        If it is of no known format, or a BIDS data set holds several recordings and no option chooses.
    MissingExtraError
        If the format needs a package that is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected a recording at {path}, found nothing there; check the path.")
    if path.is_dir():
        return _open_folder(path, options)
    if path.stat().st_size == 0:
        raise DataError(f"Expected a recording at {path}, found an empty file; restore it from a copy.")
    suffix = _format(path)
    if suffix == ".zarr":
        raise DataError(
            f"Expected a folder (neuropil recording) at {path}, found a file; restore the folder from a copy."
        )
    if suffix == ".npz":
        return read_npz(path, **options)
    if suffix == ".nwb":
        from neuropil.io.nwb import read_nwb

        return read_nwb(path, **options)
    from neuropil.io.bids import bids_root, read_bids_file
    from neuropil.io.raws import read_raw

    return read_bids_file(path, **options) if bids_root(path) else read_raw(path, suffix, **options)
