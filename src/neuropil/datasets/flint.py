"""Reaching movements and spikes of motor cortex (Flint et al. 2012), from the Matlab files of the DREAM database.

A monkey moves a cursor to targets while units of its primary motor cortex are recorded; several sessions a file. The files
Flint_2012_e1.mat to Flint_2012_e5.mat are handed out at crcns.org to those who register; nothing is fetched here.

Flint, Lindberg, Jordan, Miller & Slutzky (2012). Accurate decoding of reaching movements from field potentials in the absence of spikes.
Journal of Neural Engineering 9(4), 046006. Walker & Kording (2013). The database for reaching experiments and models. PLoS ONE 8(11).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.errors import DataError
from neuropil.io.matlab import as_list, read_matlab
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream

AXES = ("x", "y")


def load_flint(path: str | Path) -> list[Recording]:
    """Sessions of reaching with the spikes of single units and the velocity of the hand.

    Parameters
    ----------
    path : path-like
        One of the files Flint_2012_e1.mat to Flint_2012_e5.mat, or their folder.

    Returns
    -------
    list of Recording
        One an entry of `Subject`, in the order of the files: the irregular stream "spikes" (unit ids "001" ...), the stream "velocity"
        (the first two axes at 100 Hz, in the unit of the file), and one event "reach" a trial. Trials lie end to end. A decoder of
        states takes them as they are; it counts spikes in bins of 0.1 s and averages the velocity within them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If a file is damaged, a pickle, or not built as these are.
    """
    path = Path(path)
    files = sorted(path.glob("Flint_2012_e*.mat")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"Expected files such as Flint_2012_e1.mat in {path}, found none; name their folder.")
    recordings = []
    for file in files:
        content = read_matlab(file)
        if "Subject" not in content:
            raise DataError(
                f"{file} must hold the structure Subject, it holds {', '.join(content) or 'nothing'}; is it a file of Flint et al.?"
            )
        for number, subject in enumerate(as_list(content["Subject"]), start=1):
            where = f"{file}, Subject({number})"
            recordings.append(_session(as_list(_field(subject, "Trial", where)), where, f"{file.stem}-{number}"))
    return recordings


def _session(trials: list[Any], where: str, name: str) -> Recording:
    velocities, times, units, rows = [], [], [], []
    rate, start, n_units = 0.0, 0.0, None
    for j, trial in enumerate(trials, start=1):
        place = f"{where}.Trial({j})"
        clock = np.ravel(np.asarray(_field(trial, "Time", place), dtype=float))
        velocity = np.atleast_2d(np.asarray(_field(trial, "HandVel", place), dtype=float))
        if len(clock) < 2 or velocity.shape[0] != len(clock) or velocity.shape[1] < len(AXES):
            raise DataError(
                f"{place} must have times and as many velocities of two axes, got {len(clock)} times and velocities of shape "
                f"{velocity.shape}."
            )
        step = float(np.median(np.diff(clock)))
        if not step > 0 or np.abs(np.diff(clock) - step).max() > 0.1 * step:
            raise DataError(f"The times of {place} must increase in even steps; take the file as distributed.")
        rate = rate or round(1 / step, 6)
        if abs(step * rate - 1) > 1e-3:
            raise DataError(f"{place} has {1 / step:g} samples a second, the trials before have {rate:g}.")
        neurons = as_list(_field(trial, "Neuron", place))
        if n_units is not None and len(neurons) != n_units:
            raise DataError(f"{place} has {len(neurons)} neurons, the trials before have {n_units}.")
        n_units, duration = len(neurons), len(clock) / rate
        for k, neuron in enumerate(neurons, start=1):
            spikes = np.ravel(np.asarray(_field(neuron, "Spike", f"{place}.Neuron({k})"), dtype=float)) - clock[0]
            spikes = spikes[(spikes >= 0) & (spikes < duration)]
            times.append(start + spikes)
            units.append(np.full(len(spikes), f"{k:03d}", dtype=object))
        velocities.append(velocity[:, : len(AXES)])
        rows.append({"onset": start, "duration": duration, "label": "reach", "trial": j})
        start = sum(map(len, velocities)) / rate
    return Recording(
        {
            "spikes": _spikes(times, units),
            "velocity": regular_stream(
                np.concatenate(velocities),
                rate,
                channels=list(AXES),
                kind="misc",
                unit="as distributed",
                modality="behaviour",
            ),
        },
        pd.DataFrame(rows),
        subject=name.rsplit("-", 1)[0],
        session=name.rsplit("-", 1)[1],
        dataset="flint-reaching",
        info={"source": where, "concatenated_trials": True, "n_units": n_units},
    )


def _spikes(times: list[ndarray], units: list[ndarray]) -> Any:
    all_times, all_units = np.concatenate(times), np.concatenate(units)
    order = np.argsort(all_times, kind="stable")
    return irregular_stream(all_times[order], all_units[order])


def _field(structure: Any, name: str, where: str) -> Any:
    if not isinstance(structure, dict) or name not in structure:
        held = ", ".join(structure) if isinstance(structure, dict) else type(structure).__name__
        raise DataError(f"{where} must be a structure with {name}, it holds {held}; is it a file of Flint et al.?")
    return structure[name]
