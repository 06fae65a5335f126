"""BIDS data sets, through mne-bids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuropil.errors import DataError, UsageError, require
from neuropil.io.files import readable
from neuropil.io.mne import from_mne
from neuropil.recording import Recording

DATATYPES = ("meg", "eeg", "ieeg")
SUFFIXES = (".fif", ".edf", ".bdf", ".vhdr", ".set")
MAX_LISTED = 8


def bids_root(path: Path) -> Path | None:
    """The BIDS data set that a file belongs to, if it is named like a file of one."""
    if not path.name.startswith("sub-"):
        return None
    return next((folder for folder in path.absolute().parents if (folder / "dataset_description.json").exists()), None)


def _paths(root: Path) -> list[Any]:
    mne_bids = require("mne_bids", "bids")
    with readable(root, "a BIDS data set"):
        found = mne_bids.find_matching_paths(root, datatypes=list(DATATYPES), extensions=list(SUFFIXES))
    return [p for p in found if p.suffix in DATATYPES and p.split in (None, "01", "1")]


def read_bids(root: str | Path, **entities: Any) -> Recording:
    """One recording of a BIDS data set.

    Parameters
    ----------
    root : path-like
        The folder of `dataset_description.json`.
    **entities
        `subject`, `session`, `task`, `run`, `acquisition`, `datatype` ...: choose where the data set holds several recordings.
    """
    root = Path(root)
    found = _paths(root)
    if not found:
        raise DataError(
            f"{root} is a BIDS data set without a MEG, EEG or iEEG recording in a format that neuropil opens."
        )
    unknown = sorted(set(entities) - {*found[0].entities, "datatype"})
    if unknown:
        raise UsageError(
            f"BIDS knows the entities {', '.join(found[0].entities)} and datatype, got {', '.join(unknown)}."
        )
    chosen = [p for p in found if all(_same(getattr(p, name), value) for name, value in entities.items())]
    if len(chosen) != 1:
        listed = ", ".join(p.basename for p in (chosen or found)[:MAX_LISTED]) + (
            " ..." if len(chosen or found) > MAX_LISTED else ""
        )
        what = f"{len(chosen)} recordings match" if chosen else "no recording matches"
        raise UsageError(f"{root}: {what}; choose one with subject=, session=, task=, run= among {listed}.")
    return _read(chosen[0])


def _same(found: str | None, wanted: Any) -> bool:
    if found is None or wanted is None:
        return found is None and wanted is None
    found, wanted = str(found), str(wanted)
    return found == wanted or (found.isdigit() and wanted.isdigit() and int(found) == int(wanted))


def read_bids_file(path: str | Path) -> Recording:
    """A recording of one data file in a BIDS data set, with what its sidecars say (channels, events, electrodes)."""
    mne_bids = require("mne_bids", "bids")
    path = Path(path)
    with readable(path, "a file of a BIDS data set"):
        bids_path = mne_bids.get_bids_path_from_fname(path)
    return _read(bids_path)


def _read(bids_path: Any) -> Recording:
    from neuropil.io.raws import check_file

    mne_bids = require("mne_bids", "bids")
    check_file(Path(bids_path.fpath), Path(bids_path.fpath).suffix)
    with readable(Path(bids_path.fpath), "a file of a BIDS data set"):
        raw = mne_bids.read_raw_bids(bids_path, verbose="ERROR")
    recording = from_mne(
        raw, subject=bids_path.subject or "", session=bids_path.session or "", dataset=bids_path.root.name
    )
    recording.info |= {name: value for name in ("task", "run", "acquisition") if (value := getattr(bids_path, name))}
    return recording
