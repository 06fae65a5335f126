"""One small recording written in every format that neuropil opens."""

import warnings

import mne
import numpy as np
import pandas as pd

import neuropil.io
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream

FORMATS = ("fif", "epochs", "edf", "bdf", "vhdr", "set", "nwb", "npz", "zarr")


def small_recording(n_times=2560):
    rng = np.random.default_rng(0)
    eeg = regular_stream(rng.normal(size=(n_times, 3)) * 20e-6, 256.0, channels=["C3", "Cz", "C4"])
    spikes = irregular_stream(np.sort(rng.uniform(0, 9, 40)), rng.integers(0, 3, 40))
    onset = [1.0, 4.0, 7.0]
    events = pd.DataFrame({"onset": onset, "duration": [1.0, 1.5, 2.0], "label": ["left", "right", "left"]})
    return Recording({"eeg": eeg, "spikes": spikes}, events, subject="07")


def write(recording, folder, name):
    """Write `recording` as format `name` into `folder`; the path to open."""
    eeg = recording.copy(streams={"eeg": recording.stream("eeg")})
    raw = neuropil.io.to_mne(eeg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "fif":
            return neuropil.io.save_raw(eeg, folder / "a_raw.fif")
        if name == "epochs":
            X = neuropil.windows(eeg, tmax=1.0)
            neuropil.io.to_mne_epochs(X).save(folder / "a-epo.fif", fmt="double", verbose="ERROR")
            return folder / "a-epo.fif"
        if name in ("edf", "bdf", "vhdr", "set"):
            path = folder / f"a.{name}"
            formats = {"vhdr": "brainvision", "set": "eeglab"}
            mne.export.export_raw(path, raw, fmt=formats.get(name, name), verbose="ERROR")
            return path
    if name == "nwb":
        return neuropil.io.write_nwb(recording, folder / "a.nwb")
    if name == "npz":
        return neuropil.io.write_npz(recording, folder / "a.npz")
    return recording.save(folder / "a.zarr")
