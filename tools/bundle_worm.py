"""Write the two files of worm data that ship with neuropil from the packages cect 0.3.5 and wormneuroatlas 0.0.7.3.

    pip download --no-deps cect==0.3.5 wormneuroatlas==0.0.7.3
    unzip -d cect cect-*.whl; unzip -d wormneuroatlas wormneuroatlas-*.whl
    python tools/bundle_worm.py cect wormneuroatlas

Neither package is imported: tables, spreadsheets and JSON are read as files.
"""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
from numpy import ndarray

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
TARGET = Path(__file__).parents[1] / "src" / "neuropil" / "datasets" / "bundled"
Row = tuple[str, str, str, float]


def spreadsheet(path: Path) -> Iterator[list[str]]:
    """Rows of the first sheet."""
    with zipfile.ZipFile(path) as archive:
        shared = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        strings = ["".join(part.text or "" for part in item.iter(SHEET + "t")) for item in shared.iter(SHEET + "si")]
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    for row in sheet.iter(SHEET + "row"):
        cells = [(cell.get("t"), cell.findtext(SHEET + "v") or "") for cell in row.iter(SHEET + "c")]
        yield [strings[int(value)] if kind == "s" and value else value for kind, value in cells]


def table(path: Path) -> list[Row]:
    """Rows pre, post, type, synapses."""
    if path.suffix == ".xlsx":
        rows = list(spreadsheet(path))[1:]
    else:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t"))[1:]
    return [(row[0], row[1], row[2], float(row[3])) for row in rows if row and row[0]]


def cache(path: Path) -> list[Row]:
    """The same from cect's JSON, whose matrices are [pre, post]."""
    document = json.loads(path.read_text(encoding="utf-8"))
    nodes = document["nodes"]
    kinds = {"Generic_CS": "chemical", "Generic_GJ": "electrical"}
    return [
        (nodes[pre], nodes[post], kinds[name], float(np.asarray(matrix)[pre, post]))
        for name, matrix in document["connections"].items()
        for pre, post in np.argwhere(np.asarray(matrix) != 0)
    ]


def neuron_names(folder: Path) -> list[str]:
    """The 300 names in alphabetical order; the anatomy's AWCL and AWCR for the atlas's AWCOFF and AWCON."""
    lines = (folder / "neuron_ids.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split("\t")[1] for line in lines if line.strip()}
    return sorted((names - {"AWCOFF", "AWCON"}) | {"AWCL", "AWCR"})


def packed(rows: list[Row], order: list[str]) -> dict[str, ndarray]:
    """Edges among the neurons of `order`, and which of them the table names at all."""
    index = {name: k for k, name in enumerate(order)}
    arrays = {}
    for kind in ("chemical", "electrical"):
        edges = sorted((index[a], index[b], n) for a, b, what, n in rows if what == kind and a in index and b in index)
        values = np.array(edges, dtype=np.float64).reshape(-1, 3)
        assert len({(a, b) for a, b, _ in edges}) == len(edges)
        assert np.array_equal(values, np.round(values))
        assert values.max() < 2**16
        arrays[kind] = values.astype(np.uint16)
    named = {name for row in rows for name in row[:2]}
    arrays["annotated"] = np.array([name in named for name in order])
    return arrays


def main(cect: Path, atlas: Path) -> None:
    """Write both files."""
    order = neuron_names(atlas / "data")
    sources = {
        "white": table(cect / "data" / "aconnectome_white_1986_whole.csv"),
        "witvliet7": table(cect / "data" / "witvliet_2020_7 adult.xlsx"),
        "witvliet8": table(cect / "data" / "witvliet_2020_8 adult.xlsx"),
        "witvliet8-early": table(atlas / "data" / "aconnectome_witvliet_2020_8.csv"),
        "cook": cache(cect / "cache" / "Cook2019HermReader.json"),
    }
    arrays = {f"{name}/{key}": value for name, rows in sources.items() for key, value in packed(rows, order).items()}
    np.savez_compressed(TARGET / "worm-connectomes.npz", order=np.array(order), **arrays)
    with h5py.File(atlas / "data" / "funatlas.h5") as file:
        # the file cuts names to five letters
        found = [name.decode() for name in file["neuron_ids"][:]]
        rows = [found.index({"AWCL": "AWCOF", "AWCR": "AWCON"}.get(name, name)) for name in order]
        matrices = {}
        for strain in ("wt", "unc31"):
            group = file[strain]
            q, change, count = (group[key][:][np.ix_(rows, rows)] for key in ("q", "dFF", "occ1"))
            assert count.max() < 256
            assert ((q.astype(np.float32) < 0.05) == (q < 0.05)).all()
            matrices |= {f"{strain}/q": q.astype(np.float32), f"{strain}/dff": change.astype(np.float16)}
            matrices[f"{strain}/n_obs"] = count.astype(np.uint8)
    names = [{"AWCL": "AWCOFF", "AWCR": "AWCON"}.get(name, name) for name in order]
    np.savez_compressed(TARGET / "worm-signal-propagation.npz", order=np.array(names), **matrices)


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "cect", Path(sys.argv[2]) / "wormneuroatlas")
