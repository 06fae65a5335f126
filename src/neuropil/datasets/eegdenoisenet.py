"""EEGdenoiseNet: single-channel epochs of clean EEG, of muscle and of eye artefacts, from a folder of your own.

4,514 clean EEG epochs, 5,598 EMG epochs and 3,400 EOG epochs of two seconds, at 256 Hz (at 512 Hz for muscle artefacts). The files are
published beside the article's code; nothing is fetched here.

Zhang, Zhao, Wei, Mantini, Li & Liu (2021). EEGdenoiseNet: a benchmark dataset for deep learning solutions of EEG denoising. Journal of
Neural Engineering 18(5), 056057.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError

SOURCE = "https://github.com/ncclabsustech/EEGdenoiseNet"
SECONDS = 2.0
ARTEFACTS = ("emg", "eog")
RATES = (256, 512)


class DenoisingEpochs(NamedTuple):
    """Epochs to be mixed."""

    clean: ndarray
    """Clean EEG, shape (n_clean, n_times), float64, in the unit of the files."""
    noise: ndarray
    """Artefacts, shape (n_noise, n_times), float64."""
    sfreq: float
    """Sampling rate in Hz."""


class DenoisingSplit(NamedTuple):
    """Epochs divided before anything is mixed: no clean epoch and no artefact is in two parts."""

    train: DenoisingEpochs
    validation: DenoisingEpochs
    test: DenoisingEpochs


def file_names(artefact: str = "emg", sfreq: int = 256) -> tuple[str, str]:
    """Names of the files with the clean epochs and with the artefacts.

    Examples
    --------
    >>> file_names("emg", 512)
    ('EEG_all_epochs_512hz.npy', 'EMG_all_epochs_512hz.npy')
    """
    if artefact not in ARTEFACTS:
        raise UsageError(f"EEGdenoiseNet has the artefacts {' and '.join(ARTEFACTS)}, got {artefact!r}.")
    if sfreq not in RATES or (artefact == "eog" and sfreq == 512):
        raise UsageError(
            f"EEGdenoiseNet comes at 256 Hz, for muscle artefacts also at 512 Hz, got {artefact} at {sfreq} Hz."
        )
    rate = "_512hz" if sfreq == 512 else ""
    return f"EEG_all_epochs{rate}.npy", f"{artefact.upper()}_all_epochs{rate}.npy"


def load_eegdenoisenet(folder: str | Path, artefact: str = "emg", sfreq: int = 256) -> DenoisingEpochs:
    """Clean epochs and artefacts from the folder that holds EEGdenoiseNet's files.

    Parameters
    ----------
    folder : path-like
        Where `EEG_all_epochs.npy`, `EMG_all_epochs.npy` and `EOG_all_epochs.npy` (or `..._512hz.npy`) are.
    artefact : {"emg", "eog"}
    sfreq : {256, 512}
        In Hz; 512 for muscle artefacts only.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the sentence says which one and where it is published.
    DataError
        If a file is damaged or holds something else.

    See Also
    --------
    split_epochs : train, validation and test epochs.
    """
    clean, noise = (_epochs(Path(folder) / name, sfreq) for name in file_names(artefact, sfreq))
    return DenoisingEpochs(clean, noise, float(sfreq))


def _epochs(path: Path, sfreq: int) -> ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the file {path.name} of EEGdenoiseNet in {path.parent}; get it from {SOURCE} (folder data)."
        )
    try:
        epochs = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is truncated or no file of numbers; fetch it again from {SOURCE}.") from error
    expected = round(SECONDS * sfreq)
    if epochs.ndim != 2 or epochs.shape[1] != expected or epochs.dtype.kind not in "fiu" or not len(epochs):
        raise DataError(
            f"Expected epochs of {expected} samples (2 s at {sfreq} Hz) in {path}, got {epochs.dtype} of shape {epochs.shape}; "
            "is it the file for another rate?"
        )
    if not np.isfinite(epochs).all():
        raise DataError(f"Expected finite samples in {path}, got NaN or infinity; fetch it again from {SOURCE}.")
    return epochs.astype(np.float64)


def split_epochs(epochs: DenoisingEpochs, shares: tuple[float, float] = (0.8, 0.1), *, seed: int = 0) -> DenoisingSplit:
    """Divide clean epochs and artefacts, shuffled, into train, validation and test parts, before anything is mixed.

    The authors' scripts repeat clean epochs to match the artefacts before they divide them, so that the same clean epoch may be trained
    and tested on; here it cannot.

    Parameters
    ----------
    epochs : DenoisingEpochs
    shares : (float, float), default (0.8, 0.1)
        Of training and validation; the rest is for the test.
    seed : int
        Of the order.

    Examples
    --------
    >>> epochs = DenoisingEpochs(np.zeros((10, 4)), np.zeros((20, 4)), 256.0)
    >>> [(len(part.clean), len(part.noise)) for part in split_epochs(epochs)]
    [(8, 16), (1, 2), (1, 2)]
    """
    if not (min(shares) > 0 and sum(shares) < 1):
        raise UsageError(
            f"The shares of training and validation are positive and leave some for the test, got {shares}."
        )
    rng = np.random.default_rng(seed)
    parts = []
    for rows in (epochs.clean, epochs.noise):
        order = rng.permutation(len(rows))
        edges = np.round(np.cumsum(shares) * len(rows)).astype(int)
        parts.append([rows[k] for k in np.split(order, edges)])
        if not all(len(part) for part in parts[-1]):
            raise DataError(f"{len(rows)} epochs are too few to be divided into three parts.")
    return DenoisingSplit(*(DenoisingEpochs(c, n, epochs.sfreq) for c, n in zip(*parts, strict=True)))
