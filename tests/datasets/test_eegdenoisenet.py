"""EEGdenoiseNet's files: read from the user's folder, divided before mixing, refused in one sentence."""

import numpy as np
import pytest

from neuropil.datasets.eegdenoisenet import load_eegdenoisenet, split_epochs
from neuropil.errors import DataError, UsageError


def folder(path, sfreq=256, **arrays):
    rng = np.random.default_rng(0)
    rate = "_512hz" if sfreq == 512 else ""
    content = {"EEG": rng.normal(size=(40, 2 * sfreq)), "EMG": rng.normal(size=(50, 2 * sfreq))} | arrays
    for name, values in content.items():
        np.save(path / f"{name}_all_epochs{rate}.npy", values)
    return content


@pytest.mark.parametrize("sfreq", [256, 512])
def test_reads_what_is_there(tmp_path, sfreq):
    content = folder(tmp_path, sfreq)
    epochs = load_eegdenoisenet(tmp_path, sfreq=sfreq)
    np.testing.assert_array_equal(epochs.clean, content["EEG"])
    np.testing.assert_array_equal(epochs.noise, content["EMG"])
    assert epochs.sfreq == sfreq


def test_no_epoch_is_in_two_parts(tmp_path):
    folder(tmp_path)
    epochs = load_eegdenoisenet(tmp_path)
    split = split_epochs(epochs, seed=3)
    assert [(len(p.clean), len(p.noise)) for p in split] == [(32, 40), (4, 5), (4, 5)]
    for kind in ("clean", "noise"):
        rows = [row.tobytes() for part in split for row in getattr(part, kind)]
        assert len(set(rows)) == len(rows) == len(getattr(epochs, kind))
    assert not np.array_equal(split.test.clean, split_epochs(epochs, seed=4).test.clean)
    np.testing.assert_array_equal(split.test.clean, split_epochs(epochs, seed=3).test.clean)


def test_what_is_missing_or_damaged(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Expected the file EEG_all_epochs\.npy of EEGdenoiseNet .* get it from https://github"
    ):
        load_eegdenoisenet(tmp_path)
    folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"EOG_all_epochs\.npy"):
        load_eegdenoisenet(tmp_path, "eog")
    with pytest.raises(UsageError, match="got eog at 512 Hz"):
        load_eegdenoisenet(tmp_path, "eog", 512)
    with pytest.raises(UsageError, match="got 'ecg'"):
        load_eegdenoisenet(tmp_path, "ecg")
    np.save(tmp_path / "EMG_all_epochs.npy", np.zeros((5, 1024)))
    with pytest.raises(DataError, match=r"Expected epochs of 512 samples .* got float64 of shape \(5, 1024\)"):
        load_eegdenoisenet(tmp_path)
    (tmp_path / "EMG_all_epochs.npy").write_bytes(b"\x93NUMPY\x01\x00v")
    with pytest.raises(DataError, match="truncated or no file of numbers"):
        load_eegdenoisenet(tmp_path)
    np.save(tmp_path / "EMG_all_epochs.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(DataError, match="truncated or no file of numbers"):
        load_eegdenoisenet(tmp_path)
    folder(tmp_path, EEG=np.full((4, 512), np.nan))
    with pytest.raises(DataError, match="NaN or infinity"):
        load_eegdenoisenet(tmp_path)
