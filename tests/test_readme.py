"""The README says what is true: its example runs, its table is the catalog's, its commands exist."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from neuropil import catalog
from neuropil.cli import app

VERDICTS = {"holds": "hold", "undecided": "undecided", "does not hold": "do not hold", "reported": "reported"}
README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


def test_the_example_runs(text, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert 0.55 < float(capsys.readouterr().out.splitlines()[0]) < 1
    assert os.path.getsize("report.html") > 10_000


def test_the_guide_runs_from_top_to_bottom(tmp_path, monkeypatch):
    guide = README.parent / "docs" / "guide.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 10
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "guide.md", "exec"), names)


def test_the_table_of_families_is_the_catalog(text):
    systems = catalog.systems()
    rows = {
        cells[0]: cells
        for cells in ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| "))
    }
    for family in catalog.FAMILIES:
        _, _, working, planned = rows[family]
        assert re.findall(r"\*\*([\w-]+)\*\*", working) == [s.slug for s in systems if s.family == family and s.working]
        assert [p for p in planned.split(", ") if p != "-"] == [
            s.slug for s in systems if s.family == family and not s.working
        ]
    assert Counter(bool(s.paper) for s in systems)[True] == 60


def test_verdicts_in_the_readme_are_the_recorded_ones(text):
    for path in sorted((README.parent / "results").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["scale"] == "quick":
            counts = Counter(claim["verdict"] for claim in document["claims"])
            said = ", ".join(f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict])
            assert f"| {document['system']} | {said} |" in text


def test_commands_in_the_readme_exist(text):
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    commands = "".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    named = set(re.findall(r"^neuropil ([a-z]+)", commands, flags=re.MULTILINE))
    assert {"compare", "fit", "reproduce"} <= named <= known
