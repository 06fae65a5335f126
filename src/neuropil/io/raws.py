"""FIF, EDF, BDF, BrainVision and EEGLAB files, through MNE-Python and lazily, with each format's checks made before."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mne

from neuropil.errors import DataError
from neuropil.io.files import (
    check_beginning,
    check_brainvision,
    check_edf,
    existing_file,
    fif_blocks,
    readable,
    truncated,
)
from neuropil.io.mne import from_mne, to_mne
from neuropil.recording import Recording

NAMES = {
    ".fif": "a FIF file",
    ".edf": "an EDF file",
    ".bdf": "a BDF file",
    ".vhdr": "a BrainVision header",
    ".set": "an EEGLAB file",
}
FIFFB_EPOCHS = 373
FLOAT_BYTES = 4


def check_file(path: Path, suffix: str) -> set[int]:
    """Refuse a file that is missing, empty, a folder, cut or overwritten, as far as its format tells; the blocks of a FIF file."""
    what = NAMES[suffix]
    existing_file(path, what)
    if suffix == ".fif":
        return fif_blocks(path)
    if suffix in (".edf", ".bdf"):
        check_edf(path, what)
    elif suffix == ".vhdr":
        check_brainvision(path)
    else:
        check_beginning(path, what, (b"MATLAB 5.0 MAT-file", b"MATLAB 7", b"\x89HDF"))
    return set()


def read_inst(path: Path, suffix: str, **options: Any) -> mne.io.BaseRaw | mne.BaseEpochs:
    """The file as MNE-Python's Raw or Epochs, not preloaded where the format allows."""
    what = NAMES[suffix]
    epochs = FIFFB_EPOCHS in check_file(path, suffix)
    options = {"verbose": "ERROR", **options}
    with readable(path, what), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not conform to MNE naming conventions.*")
        if suffix == ".fif":
            if epochs:
                return mne.read_epochs(path, **{"preload": False, **options})
            return mne.io.read_raw_fif(path, **options)
        if suffix == ".set":
            inst = _read_eeglab(path, options)
        else:
            reader = {".edf": mne.io.read_raw_edf, ".bdf": mne.io.read_raw_bdf, ".vhdr": mne.io.read_raw_brainvision}[
                suffix
            ]
            inst = reader(path, **options)
    if isinstance(inst, mne.io.BaseRaw) and inst.n_times == 0:
        raise DataError(f"{path} holds no samples; restore it from a copy.")
    return inst


def _read_eeglab(path: Path, options: dict[str, Any]) -> mne.io.BaseRaw | mne.BaseEpochs:
    try:
        raw = mne.io.read_raw_eeglab(path, **options)
    except TypeError as error:
        if "trials" not in str(error):
            raise
        return mne.read_epochs_eeglab(path, **options)
    samples = [Path(name) for name in raw.filenames if name is not None and str(name).endswith(".fdt")]
    for file in samples:
        expected = raw.n_times * len(raw.ch_names) * FLOAT_BYTES
        if file.stat().st_size < expected:
            raise truncated(file, expected, file.stat().st_size)
    return raw


def read_raw(path: str | Path, suffix: str | None = None, **options: Any) -> Recording:
    """A recording of a file that MNE-Python reads; `options` are those of its reader."""
    path = Path(path)
    name = path.name.lower()
    suffix = suffix or (".fif" if name.endswith(".fif.gz") else path.suffix.lower())
    return from_mne(read_inst(path, suffix, **options))


def save_raw(recording: Recording, path: str | Path, stream: str | None = None, *, overwrite: bool = False) -> Path:
    """Write a FIF file in double precision; MNE-Python divides by the calibration of each channel, which may move the last bit."""
    path = Path(path)
    if not path.name.endswith((".fif", ".fif.gz")):
        raise DataError(f"A FIF file's name ends in .fif, got {path}.")
    raw = to_mne(recording, stream)
    foreign = [name for name in raw.ch_names if not name.isascii()]
    if foreign:
        raise DataError(
            f"FIF files need channel names in ASCII, got {', '.join(foreign)}; rename them, or save as Zarr."
        )
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists already; choose another name or pass overwrite=True.")
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        raw.save(Path(folder) / path.name, fmt="double", verbose="ERROR")
        for part in sorted(Path(folder).iterdir()):
            part.replace(path.parent / part.name)
    return path
