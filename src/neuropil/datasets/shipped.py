"""Loading the arrays that come with the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from neuropil.io.arrays import from_trials
from neuropil.recording import Recording

FILES = {
    "scp-healthy": "bci2-slow-cortical-potentials-healthy.npz",
    "scp-als": "bci2-slow-cortical-potentials-als.npz",
    "finger-movements": "bci2-finger-movements.npz",
    "hand-direction-meg": "bci4-hand-direction-meg.npz",
}
SUBJECTS = {"scp-healthy": "healthy", "scp-als": "als", "finger-movements": "1", "hand-direction-meg": ""}
STARTS = {"finger-movements": -0.63, "hand-direction-meg": -0.4}
KINDS = {"vEOG": "eog"}


def load_shipped(name: str, /, *, repaired: bool = False) -> Recording:
    """One bundled data set; `windows` of it gives signal x gain in float64, in the order of the file, with coordinate `split`.

    Where the archive is damaged, `info["damage"]` says how, and `info["whole_channels"]` what is left.

    Parameters
    ----------
    repaired : bool
        Undo the archive's damage: keep only the channels that it holds whole (see `whole_channels`).
    """
    source = resources.files("neuropil.datasets") / "bundled" / FILES[name]
    with resources.as_file(source) as path, np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    signal, channels = arrays["signal"], [str(channel) for channel in arrays["channel"]]
    modality = str(arrays["modality"])
    info: dict[str, Any] = {"provenance": "bundled; see the README beside the file", "source": FILES[name]}
    if name in STARTS:
        info["tmin"] = STARTS[name]
    if rows_overlap(signal):
        whole = whole_channels(signal)
        info["whole_channels"] = channels[: whole.shape[1]]
        if repaired:
            signal, channels = whole, channels[: whole.shape[1]]
        else:
            channels = row_names(channels, signal.shape[2])
            info["damage"] = (
                f"The archive cut the {len(channels)} channels wrongly: every row is the row before moved by {len(channels)} samples, "
                f"and only {whole.shape[1]} of the channels are whole. Rows are named by where they begin; use them as features, not as "
                "channels, or load with repaired=True."
            )
    return from_trials(
        signal * float(arrays["gain"]),
        float(arrays["sfreq"]),
        arrays["label"].tolist(),
        columns={"split": arrays["split"].tolist()},
        info=info,
        channels=channels,
        kind=[KINDS.get(channel, "mag" if modality == "meg" else "eeg") for channel in channels],
        unit=str(arrays["unit"]),
        modality=modality,
        positions=standard_positions(channels) if name == "finger-movements" and repaired else None,
        subject=SUBJECTS[name],
        dataset=name,
    )


def rows_overlap(signal: np.ndarray) -> bool:
    """True if every row of the trials, shape (n_trials, n_channels, n_times), is the row before it moved by n_channels samples."""
    n_channels, n_times = signal.shape[1:]
    return n_channels < n_times and np.array_equal(signal[:, 1:, : n_times - n_channels], signal[:, :-1, n_channels:])


def whole_channels(signal: np.ndarray) -> np.ndarray:
    """The channels that can be won back from overlapping rows.

    The archive's conversion started row c of a trial at sample c * n_channels of the trial's channels laid one after the other,
    where it should have started at c * n_times. The rows together therefore hold the beginning of that series without a gap, and in it
    the first channels, whole and exact; the later channels are lost.

    Examples
    --------
    >>> series = np.arange(2 * 9)
    >>> rows = np.stack([series[2 * c : 2 * c + 9] for c in range(2)])[None]
    >>> whole_channels(rows)[0].tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    """
    n_trials, n_channels, n_times = signal.shape
    series = np.concatenate([signal[:, 0], signal[:, 1:, n_times - n_channels :].reshape(n_trials, -1)], axis=1)
    n_whole = series.shape[1] // n_times
    return series[:, : n_whole * n_times].reshape(n_trials, n_whole, n_times)


def row_names(channels: list[str], n_times: int) -> list[str]:
    """What the overlapping rows are: the channel and the sample in it at which each begins, and from which it may run into the next.

    Examples
    --------
    >>> row_names(["F3", "F1", "Fz"], n_times=5)
    ['F3', 'F3+3', 'F1+1']
    """
    begins = [divmod(row * len(channels), n_times) for row in range(len(channels))]
    return [channels[channel] + (f"+{sample}" if sample else "") for channel, sample in begins]


def standard_positions(channels: list[str]) -> np.ndarray:
    """Positions of electrodes of the 10-05 system on a template head, in metres in head coordinates, shape (n_channels, 3)."""
    import mne

    known = mne.channels.get_builtin_montages()
    montage = mne.channels.make_standard_montage("colin27_1005" if "colin27_1005" in known else "standard_1005")
    info = mne.create_info(channels, 100.0, "eeg").set_montage(montage)
    return np.stack([channel["loc"][:3] for channel in info["chs"]])
