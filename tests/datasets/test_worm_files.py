"""Files of worm laboratories: recordings as they are published, connectomes as sheets, Matlab files of both kinds, and what is refused."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from neuropil.datasets.worm import load_connectome
from neuropil.datasets.worm_names import neuron_order
from neuropil.datasets.worm_neurons import worm_neurons
from neuropil.datasets.worm_recordings import read_worms
from neuropil.datasets.worm_sheets import edges_of_matrix, edges_of_sheets
from neuropil.errors import DataError, MissingExtraError, UsageError
from neuropil.io.matlab import read_matlab
from neuropil.latent.worm_homogenized import WormHomogenizer

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)
TRACES = [RNG.standard_normal((50, 4)), RNG.standard_normal((60, 3))]
TIMES = [np.cumsum(RNG.uniform(0.3, 0.4, len(x))) for x in TRACES]
NAMES = [["AVAL", "", "AVAR", "VB02"], ["RIML", "AVAL", "17"]]


def cells(values):
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def write_hdf5(path, structure):
    """A structure of cell arrays as Matlab writes it in version 7.3."""
    with h5py.File(path, "w", userblock_size=512) as file:

        def stored(value):
            name = f"#refs#/{len(file['#refs#'])}"
            if isinstance(value, list):
                entry = file.create_dataset(name, (1, len(value)), dtype=h5py.ref_dtype)
                entry.attrs["MATLAB_class"] = np.bytes_("cell")
                for k, part in enumerate(value):
                    entry[0, k] = stored(part)
            elif isinstance(value, str):
                data = np.array([[ord(c)] for c in value], dtype=np.uint16) if value else np.zeros(2, dtype=np.uint64)
                entry = file.create_dataset(name, data=data)
                entry.attrs["MATLAB_class"] = np.bytes_("char")
                if not value:
                    entry.attrs["MATLAB_empty"] = 1
            else:
                entry = file.create_dataset(name, data=np.atleast_2d(value).T)
                entry.attrs["MATLAB_class"] = np.bytes_("double")
            return entry.ref

        file.create_group("#refs#")
        group = file.create_group("WT_NoStim")
        for key, value in structure.items():
            source = file[stored(value)]
            group[key] = source


def check(recordings, dataset):
    assert [r.dataset for r in recordings] == [dataset] * 2
    for recording, traces, times, names in zip(recordings, TRACES, TIMES, NAMES, strict=True):
        stream = recording.stream("calcium")
        np.testing.assert_allclose(stream.values, traces)
        np.testing.assert_allclose(stream["time"].values, times - times[0])
        assert stream["label"].values.tolist() == names
    done = WormHomogenizer().fit_transform(recordings)
    assert done[0].info["labels"] == {"AVAL": "AVAL", "AVAR": "AVAR", "VB2": "VB02"}
    assert len({recording.subject for recording in recordings}) == 2


@pytest.mark.parametrize("words", [("traces", "IDs", "timeVectorSeconds"), ("deltaFOverF_bc", "NeuronNames", "tv")])
@pytest.mark.parametrize("version", ["7", "7.3"])
def test_structures_of_matlab_are_read(tmp_path, words, version):
    folder = tmp_path / "Kato2015"
    folder.mkdir()
    nested = [[["AVAL", "AVAR"], [], "AVAR", "VB02"], [["RIML"], "AVAL", "17"]]
    values = dict(zip(words, (TRACES, nested, TIMES), strict=True))
    if version == "7":
        structure = {
            words[0]: cells(TRACES),
            words[1]: cells([cells([cells(n) if isinstance(n, list) else n for n in worm]) for worm in nested]),
            words[2]: cells(TIMES),
        }
        savemat(folder / "WT_NoStim.mat", {"WT_NoStim": structure})
    else:
        write_hdf5(folder / "WT_NoStim.mat", values)
    check(read_worms(folder / "WT_NoStim.mat"), "Kato2015")


def test_one_worm_in_a_structure(tmp_path):
    savemat(tmp_path / "one.mat", {"Uzel_WT": {"traces": TRACES[0], "IDs": cells(NAMES[0]), "tv": TIMES[0]}})
    (recording,) = read_worms(tmp_path / "one.mat", "Uzel2022")
    np.testing.assert_allclose(recording.stream("calcium").values, TRACES[0])
    assert recording.stream("calcium")["label"].values.tolist() == NAMES[0]


def test_json_and_hdf5_of_one_worm_each(tmp_path):
    folder = tmp_path / "Flavell2023"
    folder.mkdir()
    labeled = {"1": {"label": "AVAL"}, "3": {"label": "AVAR"}, "4": {"label": "VB02"}}
    content = {"trace_array": TRACES[0].T.tolist(), "timestamp_confocal": TIMES[0].tolist(), "labeled": labeled}
    (folder / "a.json").write_text(json.dumps(content))
    with h5py.File(folder / "b.h5", "w") as file:
        file["trace_array"], file["timestamp_confocal"] = TRACES[1], TIMES[1]
        file["neuropal_label"] = np.array(NAMES[1], dtype="S4")
    check(read_worms(folder), "Flavell2023")
    (folder / "a.json").write_text(json.dumps({**content, "labeled": {"9": {"label": "AVAL"}}}))
    with pytest.raises(DataError, match="labels neuron 9, but holds 4 traces"):
        read_worms(folder)
    (folder / "a.json").write_text("{")
    with pytest.raises(DataError, match="no readable JSON"):
        read_worms(folder)
    (folder / "a.json").write_text("{}")
    with pytest.raises(DataError, match="lacks trace_array and timestamp_confocal"):
        read_worms(folder / "a.json")


def test_text_files_of_one_worm_each(tmp_path):
    folder = tmp_path / "Leifer2023"
    folder.mkdir()
    for k, (traces, times, names) in enumerate(zip(TRACES, TIMES, NAMES, strict=True)):
        widened = np.column_stack([traces[:, :1], np.full(len(traces), np.nan), traces[:, 1:]])
        np.savetxt(folder / f"{k}_gcamp.txt", widened)
        np.savetxt(folder / f"{k}_t.txt", times)
        (folder / f"{k}_labels.txt").write_text("\n".join([names[0], "dark", *names[1:]]) + "\n")
    check(read_worms(folder), "Leifer2023")
    (folder / "1_t.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"Expected 1_t\.txt beside 1_gcamp\.txt"):
        read_worms(folder)


def test_tables_and_folders_of_tables(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("time,AVAL,RIML\n0,1,2\n0.5,2,1\n")
    recordings = read_worms(tmp_path, "mine")
    assert [(r.subject, r.dataset) for r in recordings] == [("a", "mine"), ("b", "mine")]


def test_what_is_no_recording_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "Kato2015.pickle").write_bytes(pickle.dumps(Evil()))
    for path in (tmp_path / "Kato2015.pickle", tmp_path):
        with pytest.raises(DataError, match="is a pickle, and nothing is unpickled"):
            read_worms(path)
    (tmp_path / "evil.mat").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="no readable Matlab file"):
        read_worms(tmp_path / "evil.mat")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError, match="found nothing there"):
        read_worms(tmp_path / "none")
    savemat(tmp_path / "other.mat", {"x": 1.0})
    with pytest.raises(DataError, match="must hold a structure with traces, deltaFOverF_bc or"):
        read_worms(tmp_path / "other.mat")
    savemat(tmp_path / "other.mat", {"w": {"traces": cells(TRACES), "IDs": cells(NAMES)}})
    with pytest.raises(DataError, match="lacks the times of the neurons"):
        read_worms(tmp_path / "other.mat")
    savemat(
        tmp_path / "other.mat", {"w": {"traces": cells(TRACES), "IDs": cells(NAMES), "tv": cells([*TIMES, TIMES[0]])}}
    )
    with pytest.raises(DataError, match="got 2 traces, 2 names, 3 times"):
        read_worms(tmp_path / "other.mat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no recording of a worm"):
        read_worms(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="Expected a Matlab file"):
        read_matlab(tmp_path / "none.mat")
    (tmp_path / "cut.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError, match=r"version 7\.3"):
        read_matlab(tmp_path / "cut.mat")


def sheet(connectome, kind):
    """A matrix as Cook's sheets have it: titles above, names in the third row and column, sums at the end."""
    matrix, names = (connectome.chem if kind == "chemical" else connectome.gap), connectome.order
    rows = [
        [None, None, None, "PHARYNX"],
        [None],
        [None, None, None, *[name.replace("VB1", "VB01") if name == "VB1" else name for name in names]],
    ]
    rows += [["", None, name, *[int(w) or None for w in matrix[:, k]]] for k, name in enumerate(names)]
    return [*rows, [None, None, None, *matrix.sum(axis=1).astype(int).tolist()]]


def test_matrices_are_read_as_the_connectome_they_are(tmp_path):
    cook = load_connectome("cook", symmetrize_gap=False)
    sheets = {
        "TITLE AND LEGEND": [["rows give the pre-synaptic cell"]],
        "male chemical": [["", "ADAL", "ADAR"], ["ADAL", 1, 2], ["ADAR", 3, 4]],
        "hermaphrodite gap jn asymmetric": [["", "ADAL", "ADAR"], ["ADAL", 1, 2], ["ADAR", 3, 4]],
        "hermaphrodite chemical": sheet(cook, "chemical"),
        "hermaphrodite gap jn symmetric": sheet(cook, "electrical"),
    }
    found = load_connectome(edges_of_sheets(sheets, "book"), symmetrize_gap=False)
    np.testing.assert_array_equal(found.chem, cook.chem)
    np.testing.assert_array_equal(found.gap, cook.gap)
    assert found.weight("AVAL", "VA8") == cook.weight("AVAL", "VA8") > 0
    paths = {}
    for kind in ("chemical", "electrical"):
        paths[kind] = tmp_path / f"{kind}.csv"
        pd.DataFrame(sheet(cook, kind)).to_csv(paths[kind], header=False, index=False)
    again = load_connectome(paths, symmetrize_gap=False)
    np.testing.assert_array_equal(again.chem, cook.chem)
    np.testing.assert_array_equal(again.gap, cook.gap)


def test_a_sheet_of_edges_in_a_workbook():
    rows = [["pre", "post", "type", "synapses"], ["ADAL", "AVBR", "chemical", 3], [None] * 4]
    assert load_connectome(edges_of_sheets({"adult": rows}, "book")).weight("ADAL", "AVBR") == 3


def test_a_workbook_is_read_or_names_its_extra(tmp_path):
    (tmp_path / "book.xlsx").write_bytes(b"no workbook")
    try:
        import openpyxl
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"neuropil\[worm\]"):
            load_connectome(tmp_path / "book.xlsx")
        return
    book = openpyxl.Workbook()
    for row in (["", "ADAL", "AVBR"], ["ADAL", None, 7], ["AVBR", 1, None]):
        book.active.append(row)
    book.active.title = "chemical"
    book.save(tmp_path / "book.xlsx")
    assert load_connectome(tmp_path / "book.xlsx").weight("ADAL", "AVBR") == 7


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: edges_of_matrix([["a", "b"], ["c", 1]], "chemical"),
            DataError,
            "must have a row and a column with the names",
        ),
        (lambda: edges_of_matrix([], "chemical"), DataError, "must have a row and a column with the names"),
        (
            lambda: edges_of_matrix([["", "ADAL", "AVBR"], ["ADAL", 1, -2], ["AVBR", 1, 1]], "chemical"),
            DataError,
            "0 or more from ADAL to AVBR, it has -2",
        ),
        (
            lambda: edges_of_matrix([["", "ADAL", "AVBR"], ["ADAL", 1, "many"], ["AVBR", 1, 1]], "chemical"),
            DataError,
            "it has 'many'",
        ),
        (lambda: edges_of_sheets({"notes": [["hello"]]}, "book"), DataError, "its sheets are notes"),
        (lambda: load_connectome({"glial": "x.csv"}), UsageError, "named chemical and electrical, got 'glial'"),
        (lambda: load_connectome({"chemical": "none.csv"}), FileNotFoundError, "Expected a matrix of a connectome"),
        (lambda: load_connectome("none.xlsx"), FileNotFoundError, "Expected a workbook"),
        (
            lambda: load_connectome("white").weight("AVA", "AVBR"),
            UsageError,
            "no neuron 'AVA' among the 300 .* did you mean AVAR",
        ),
    ],
)
def test_bad_sheets_are_refused_in_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_kinds_transmitters_and_places_of_neurons():
    neurons = worm_neurons()
    assert tuple(neurons.index) == neuron_order()
    assert neurons["kind"].value_counts().to_dict() == {"motor": 123, "inter": 89, "sensory": 83, "polymodal": 5}
    assert neurons.loc["AVAL"].kind == "inter"
    assert neurons.loc["VD9"].transmitter == "GABA"
    assert neurons.loc["ADEL"].transmitter == "dopamine"
    assert neurons.loc["ASHL"].kind == "sensory"
    left, right = (neurons[neurons.index.str.endswith(side)]["x"].mean() for side in "LR")
    assert left > 0 > right
    assert neurons.loc["PVCL", "y"] > neurons.loc["VD9", "y"] > neurons.loc["AVAL", "y"]
    length = neurons["y"].max() - neurons["y"].min()
    assert 5e-4 < length < 1.2e-3
    chosen = load_connectome("white").select(["VD9", "AVAL"]).neurons()
    assert chosen.index.tolist() == ["VD9", "AVAL"]
