"""Your own simultaneous EEG and fMRI: a recording, the volumes' triggers and a table of regions become one recording.

The table has one row a volume and one column a region: .csv with names in the first line, .npy, or .npz. Pickled tables are not opened,
since opening one runs whatever its author put into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil import io
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import regular_stream

PICKLED = (".pkl", ".pickle", ".p", ".joblib")
JITTER = 0.1


def load_eeg_fmri(
    eeg: str | Path | Recording,
    regions: Any,
    tr: float,
    *,
    triggers: Any = None,
    label: str | None = None,
    names: Sequence[str] | None = None,
    stream: str | None = None,
    subject: str = "",
    session: str = "",
) -> Recording:
    """An EEG recording with a stream "bold" of fMRI regions on the same clock.

    Parameters
    ----------
    eeg : path-like or Recording
        EEG in any format that `neuropil.open` reads, cleaned of gradient and heartbeat artefacts.
    regions : path-like, DataFrame or ndarray of shape (n_volumes, n_regions)
        One row a volume; a path ends in .csv (names in the first line), .npy or .npz (one array).
    tr : float
        Time between volumes in s.
    triggers : path-like or sequence of int, optional
        Sample of the EEG at which every volume began; a path is of text, one number a line.
    label : str, optional
        Label of the volume events of the recording, used where there are no `triggers`.
    names : sequence of str, optional
        Names of the regions, where the table has none.
    stream : str, optional
        Stream of the EEG; the first regular one without.
    subject, session : str
        Labels; those of the recording without.

    Returns
    -------
    Recording
        The recording with the stream "bold" (n_volumes x n_regions) and one event "volume" a volume.

    Raises
    ------
    DataError
        If triggers and rows differ in number, do not increase, miss a volume, or do not follow each other in steps of `tr`.
    UsageError
        For a pickled table, and where neither `triggers` nor `label` is given.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> recording = io.from_array(rng.normal(size=(2, 9000)), 100.0, channels=["C3", "C4"])
    >>> scan = load_eeg_fmri(recording, rng.normal(size=(40, 3)), 2.1, triggers=100 + 210 * np.arange(40))
    >>> scan.stream("bold").shape, float(scan.stream("bold").time[0])
    ((40, 3), 1.0)
    """
    if not tr > 0:
        raise UsageError(f"The time between volumes must be a positive number of seconds, got tr={tr}.")
    recording = eeg if isinstance(eeg, Recording) else io.open(eeg)
    signal = recording.stream(stream)
    values, found = _table(regions)
    columns = list(names) if names is not None else found or [f"region_{k + 1}" for k in range(values.shape[1])]
    if len(columns) != values.shape[1]:
        raise UsageError(f"Expected a name for each of the {values.shape[1]} regions, got {len(columns)}.")
    onsets = _onsets(recording, signal, triggers, label)
    step = _spacing(onsets, len(values), tr)
    bold = regular_stream(
        values.astype(np.float32),
        1 / step,
        channels=columns,
        kind="bold",
        unit="z",
        modality="fmri",
        t0=float(onsets[0]),
    )
    volumes = pd.DataFrame({"onset": onsets, "duration": tr, "label": "volume", "volume": np.arange(len(onsets))})
    return Recording(
        {**recording.streams, "bold": bold},
        volumes,
        subject=subject or recording.subject,
        session=session or recording.session,
        dataset=recording.dataset,
        info=recording.info,
    )


def _table(regions: Any) -> tuple[ndarray, list[str]]:
    """Values (volume, region) and, where the table has them, the names of the regions."""
    found: list[str] = []
    if isinstance(regions, str | Path):
        regions, found = _read_table(Path(regions))
    elif isinstance(regions, pd.DataFrame):
        regions, found = regions.to_numpy(), [str(name) for name in regions.columns]
    try:
        values = np.asarray(regions, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("The table of regions must hold numbers only; leave out columns of text.") from error
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"The table of regions needs one row a volume and one column a region, got shape {values.shape}."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(
            f"Every region needs a value in every volume, row {row} has none; interpolate it or leave out the region."
        )
    return values, found


def _read_table(path: Path) -> tuple[Any, list[str]]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected a table of regions at {path}, found no file there; check the path.")
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise UsageError(
            f"{path} is a pickle, which can run anything when opened; convert it where you trust it, with "
            "pandas.read_pickle(path).to_csv('regions.csv', index=False), and pass the .csv."
        )
    try:
        if suffix in (".csv", ".tsv"):
            table = pd.read_csv(path, sep="\t" if suffix == ".tsv" else ",")
            return table.to_numpy(), [str(name) for name in table.columns]
        if suffix == ".npy":
            return np.load(path, allow_pickle=False), []
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                if len(archive.files) != 1:
                    raise UsageError(
                        f"{path} must hold one array (volumes x regions), it holds {', '.join(archive.files)}."
                    )
                return archive[archive.files[0]], []
    except UsageError:
        raise
    except (ValueError, OSError, EOFError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is damaged or no table of numbers; save it again.") from error
    raise UsageError(f"A table of regions ends in .csv, .tsv, .npy or .npz, got {path}.")


def _onsets(recording: Recording, signal: Any, triggers: Any, label: str | None) -> ndarray:
    """Times of the volumes in s on the clock of the EEG."""
    if triggers is None and label is None:
        raise UsageError(
            "Say when the volumes were taken: triggers= with a sample of the EEG each, or label= with the name of the recording's events."
        )
    if triggers is None:
        mine = recording.events[recording.events["label"].astype(str) == label]
        if mine.empty:
            known = ", ".join(sorted({str(name) for name in recording.events["label"]})) or "no events"
            raise DataError(f"The recording has no events {label!r}, it has {known}.")
        return mine["onset"].to_numpy(dtype=float)
    if isinstance(triggers, str | Path):
        if not Path(triggers).is_file():
            raise FileNotFoundError(f"Expected trigger samples at {triggers}, found no file there; check the path.")
        try:
            triggers = np.atleast_1d(np.loadtxt(triggers))
        except ValueError as error:
            raise DataError(f"{triggers} must hold one sample number a line.") from error
    samples = np.asarray(triggers, dtype=float)
    if samples.ndim != 1 or not np.isfinite(samples).all() or (samples < 0).any():
        raise DataError(f"Triggers are sample numbers from 0 on, one a volume, got an array of shape {samples.shape}.")
    return float(signal.time[0]) + samples / float(signal.attrs["sfreq"])


def _spacing(onsets: ndarray, n_volumes: int, tr: float) -> float:
    """Mean time between volumes in s, after checks that there is one trigger a volume, every TR."""
    if len(onsets) != n_volumes:
        raise DataError(
            f"Expected one trigger for each of the {n_volumes} volumes of the table, got {len(onsets)}; leave out the volumes (or "
            "triggers) of the steady state in both."
        )
    if n_volumes < 2:
        raise DataError(f"A scan needs more than {n_volumes} volume.")
    steps = np.diff(onsets)
    if (steps <= 0).any():
        k = int(np.flatnonzero(steps <= 0)[0])
        raise DataError(
            f"Triggers must increase, trigger {k + 1} does not come after trigger {k}; sort or repair them."
        )
    wrong = np.flatnonzero(np.abs(steps - tr) > JITTER * tr)
    if len(wrong):
        k = int(wrong[0])
        raise DataError(
            f"Volumes must follow each other every {tr:g} s, between triggers {k} and {k + 1} lie {steps[k]:.3f} s; give the true TR, or "
            "add the missing trigger."
        )
    return float((onsets[-1] - onsets[0]) / (len(onsets) - 1))
