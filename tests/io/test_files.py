"""Every format opens; every format x every damage is one clear sentence."""

import shutil
import sys

import mne
import numpy as np
import pytest
from format_files import FORMATS, small_recording, write

import neuropil.io
from neuropil.errors import DataError, MissingExtraError, UsageError
from neuropil.recording import Recording

TOLERANCE = {"edf": 1e-8, "bdf": 1e-10, "vhdr": 1e-8, "set": 1e-11}
DATA = {"vhdr": ".eeg"}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths of the small recording by format; tests copy a file before they damage it."""
    folder = tmp_path_factory.mktemp("formats")
    return {name: write(small_recording(), folder, name) for name in FORMATS}


def everything(path):
    """Open and read every sample, as a user would who only finds out late."""
    recording = neuropil.io.open(path)
    return {name: stream.values for name, stream in recording.streams.items()}, recording


def copied(files, name, folder):
    source = files[name]
    if source.is_dir():
        return shutil.copytree(source, folder / source.name)
    for part in source.parent.glob(f"{source.stem}.*"):
        if part.is_file():
            shutil.copy(part, folder / part.name)
    return folder / source.name


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    assert "/a" in text, text
    return text


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "epochs"])
def test_every_format_opens(files, name):
    wanted = small_recording()
    samples, recording = everything(files[name])
    stream = recording.stream("eeg")
    assert stream.attrs["sfreq"] == 256.0
    assert stream.attrs["unit"] == "V"
    assert list(stream["channel"].values) == ["C3", "Cz", "C4"]
    expected = wanted.stream("eeg").values
    if name in TOLERANCE:
        np.testing.assert_allclose(samples["eeg"][: len(expected)], expected, atol=TOLERANCE[name])
    else:
        np.testing.assert_array_equal(samples["eeg"], expected)
    prefix = "Comment/" if name == "vhdr" else ""
    assert recording.events["label"].tolist() == [prefix + label for label in ("left", "right", "left")]
    np.testing.assert_allclose(recording.events["onset"], [1.0, 4.0, 7.0], atol=1 / 256)
    if name != "vhdr":
        np.testing.assert_allclose(recording.events["duration"], [1.0, 1.5, 2.0], atol=1 / 256)


def test_epochs_open(files):
    recording = neuropil.io.open(files["epochs"])
    wanted = neuropil.windows(small_recording(), "eeg", tmax=1.0)
    X = neuropil.windows(recording)
    np.testing.assert_array_equal(X.values, wanted.values)
    assert X["label"].values.tolist() == wanted["label"].values.tolist()


def test_the_format_is_known_by_content_too(files, tmp_path):
    for name in ("fif", "edf", "bdf", "nwb", "npz"):
        unnamed = tmp_path / f"{name}_without_suffix"
        shutil.copy(files[name], unnamed)
        if name in ("npz", "nwb"):
            np.testing.assert_array_equal(
                neuropil.io.open(unnamed).stream("eeg").values, small_recording().stream("eeg").values
            )
    shutil.copy(files["fif"], tmp_path / "noted.xyz")
    assert neuropil.io._format(tmp_path / "noted.xyz") == ".fif"


@pytest.mark.parametrize("name", FORMATS)
def test_missing(files, tmp_path, name):
    with pytest.raises(FileNotFoundError, match="found nothing there") as error:
        neuropil.io.open(tmp_path / files[name].name)
    one_sentence(error)


@pytest.mark.parametrize("name", FORMATS)
def test_empty(files, tmp_path, name):
    path = tmp_path / files[name].name
    if name == "zarr":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(DataError) as error:
        neuropil.io.open(path)
    one_sentence(error)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "zarr"])
def test_a_folder_instead_of_a_file(files, tmp_path, name):
    path = tmp_path / files[name].name
    path.mkdir()
    with pytest.raises(DataError, match="found a folder") as error:
        neuropil.io.open(path)
    one_sentence(error)


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "a.zarr").write_text("no folder")
    with pytest.raises(DataError, match="found a file") as error:
        neuropil.io.open(tmp_path / "a.zarr")
    one_sentence(error)
    with pytest.raises(DataError) as error:
        Recording.open(tmp_path / "a.zarr")
    one_sentence(error)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "zarr"])
def test_truncated(files, tmp_path, name, share):
    path = copied(files, name, tmp_path)
    cut = path.with_suffix(DATA.get(name, path.suffix))
    whole = cut.read_bytes()
    cut.write_bytes(whole[: max(1, int(len(whole) * share))])
    with pytest.raises(DataError) as error:
        everything(path)
    one_sentence(error)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "zarr"])
def test_overwritten_beginning(files, tmp_path, name):
    path = copied(files, name, tmp_path)
    whole = bytearray(path.read_bytes())
    garbage = np.random.default_rng(1).integers(0, 256, min(300, len(whole)), dtype=np.uint8).tobytes()
    path.write_bytes(garbage + bytes(whole[len(garbage) :]))
    with pytest.raises(DataError) as error:
        everything(path)
    one_sentence(error)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "zarr"])
def test_a_text_with_the_wrong_name(files, tmp_path, name):
    path = tmp_path / files[name].name
    path.write_text("Dear colleague,\nplease find attached the data.\n" * 40)
    with pytest.raises(DataError) as error:
        everything(path)
    one_sentence(error)


def test_flipped_bytes_in_an_archive_are_found(files, tmp_path):
    path = copied(files, "npz", tmp_path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(DataError) as error:
        neuropil.io.open(path)
    one_sentence(error)


@pytest.mark.parametrize(
    "damage", ["truncated chunk", "no metadata", "broken metadata", "no array", "foreign", "no events"]
)
def test_damaged_zarr(files, tmp_path, damage):
    path = copied(files, "zarr", tmp_path)
    stream = path / "streams" / "0"
    if damage == "truncated chunk":
        chunk = stream / "data" / "c" / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-7])
    elif damage == "no metadata":
        (path / "zarr.json").unlink()
    elif damage == "broken metadata":
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_')
    elif damage == "no array":
        shutil.rmtree(stream / "data")
    elif damage == "foreign":
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    else:
        shutil.rmtree(path / "events")
    with pytest.raises(DataError) as error:
        everything(path)
    one_sentence(error)


def test_parts_of_brainvision(files, tmp_path):
    path = copied(files, "vhdr", tmp_path)
    with pytest.raises(UsageError, match=r"open its header a\.vhdr"):
        neuropil.io.open(path.with_suffix(".eeg"))
    for part in (".vmrk", ".eeg"):
        path.with_suffix(part).unlink()
        with pytest.raises(FileNotFoundError, match=f"a{part}") as error:
            neuropil.io.open(path)
        one_sentence(error)


def test_parts_of_eeglab(files, tmp_path):
    raw = neuropil.io.to_mne(small_recording(), "eeg")
    from scipy.io import loadmat, savemat

    path = copied(files, "set", tmp_path)
    table = loadmat(path, simplify_cells=True)
    fields = table.get("EEG", table)
    fields = {key: value for key, value in fields.items() if not key.startswith("__")}
    (raw.get_data() * 1e6).astype("<f4").T.tofile(tmp_path / "a.fdt")
    savemat(path, {"EEG": fields | {"data": "a.fdt", "datfile": "a.fdt"}}, appendmat=False)
    whole = everything(path)[0]["eeg"]
    np.testing.assert_allclose(whole, raw.get_data().T, atol=1e-11)
    data = (tmp_path / "a.fdt").read_bytes()
    (tmp_path / "a.fdt").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError) as error:
        everything(path)
    one_sentence(error)
    (tmp_path / "a.fdt").unlink()
    with pytest.raises(FileNotFoundError) as error:
        everything(path)
    assert "a.fdt" in str(error.value)


def test_unknown_formats_list_what_opens(tmp_path):
    (tmp_path / "a.docx").write_text("report")
    with pytest.raises(UsageError, match=r"\.fif .*\.edf .*\.vhdr .*\.set .*\.nwb .*\.npz .*BIDS"):
        neuropil.io.open(tmp_path / "a.docx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="neither a neuropil recording nor a BIDS data set"):
        neuropil.io.open(tmp_path / "folder")


@pytest.mark.parametrize(("name", "module", "extra"), [("nwb", "pynwb", "nwb"), ("bids", "mne_bids", "bids")])
def test_a_missing_package_names_its_extra(files, tmp_path, monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    if name == "bids":
        (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(MissingExtraError, match=rf"neuropil\[{extra}\]"):
        neuropil.io.open(files["nwb"] if name == "nwb" else tmp_path)


def test_bids(tmp_path):
    import mne_bids

    raw = neuropil.io.to_mne(small_recording(), "eeg")
    raw.set_montage("biosemi64")
    raw.info["line_freq"] = 50.0
    root = tmp_path / "study"
    paths = []
    for subject in ("01", "02"):
        path = mne_bids.BIDSPath(subject=subject, session="a", task="rest", run="1", root=root, datatype="eeg")
        paths.append(
            mne_bids.write_raw_bids(
                raw, path, format="BrainVision", allow_preload=True, overwrite=True, verbose="ERROR"
            )
        )
    recording = neuropil.io.open(root, subject="02")
    assert (recording.subject, recording.session, recording.dataset) == ("02", "a", "study")
    assert (recording.info["task"], recording.info["run"]) == ("rest", "1")
    np.testing.assert_allclose(recording.stream("eeg").values, raw.get_data().T, atol=1e-8)
    assert recording.events["label"].tolist() == ["left", "right", "left"]
    np.testing.assert_allclose(recording.events["duration"], [1.0, 1.5, 2.0], atol=1e-6)
    by_file = neuropil.io.open(paths[1].fpath)
    assert (by_file.subject, by_file.session) == ("02", "a")
    with pytest.raises(UsageError, match=r"2 recordings match; choose one .*sub-01_ses-a_task-rest"):
        neuropil.io.open(root)
    with pytest.raises(UsageError, match="no recording matches"):
        neuropil.io.open(root, subject="09")
    with pytest.raises(UsageError, match="got colour"):
        neuropil.io.open(root, colour="red")
    data = paths[0].fpath.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[:-1001])
    with pytest.raises(DataError, match="truncated"):
        neuropil.io.open(paths[0].fpath)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    with pytest.raises(DataError, match="without a MEG, EEG or iEEG recording"):
        neuropil.io.open(empty)


def test_mne_options_reach_the_reader(files):
    raw = mne.io.read_raw_edf(files["edf"], verbose="ERROR")
    recording = neuropil.io.open(files["edf"], exclude=["Cz"])
    assert list(recording.stream()["channel"].values) == ["C3", "C4"]
    assert len(raw.ch_names) == 3


def test_compressed_fif(files, tmp_path):
    import gzip

    path = tmp_path / "a_raw.fif.gz"
    path.write_bytes(gzip.compress(files["fif"].read_bytes()))
    np.testing.assert_array_equal(neuropil.io.open(path).stream("eeg").values, small_recording().stream("eeg").values)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError) as error:
        neuropil.io.open(path)
    one_sentence(error)
