"""`neuropil systems` and `neuropil show`, and what every command does with a planned or unknown system."""

import json
import subprocess
import sys

import pytest


def neuropil(*arguments, cwd=None):
    command = [sys.executable, "-c", "from neuropil.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_systems_lists_all_with_their_status():
    done = neuropil("systems", "--json")
    assert done.returncode == 0
    entries = json.loads(done.stdout)
    assert len(entries) >= 60
    assert {e["status"] for e in entries} == {"working", "planned"}
    working = {e["slug"] for e in json.loads(neuropil("systems", "--status", "working", "--json").stdout)}
    assert {"dbconformer", "pseudo-online", "eeg-simulator"} <= working
    assert "dbconformer" in neuropil("systems", "--family", "decoding").stdout


def test_show_describes_working_and_planned_systems():
    text = neuropil("show", "dbconformer").stdout
    for part in ("2506.21140", "neuropil.decoding.dbconformer", "neuropil reproduce dbconformer"):
        assert part in text
    document = json.loads(neuropil("show", "dbconformer", "--json").stdout)
    assert document["claims"]
    planned = neuropil("show", "hymad")
    assert planned.returncode == 0
    assert "Planned" in planned.stdout


@pytest.mark.parametrize(
    "command",
    [("reproduce", "hymad"), ("compare", "scp-healthy", "hymad"), ("fit", "hymad", "scp-healthy", "-o", "model")],
)
def test_planned_systems_answer_with_one_sentence(command, tmp_path):
    done = neuropil(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "HyMAD (hymad) is planned, not yet working" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("show", "dbconformr"), "did you mean 'dbconformer'"),
        (("systems", "--family", "decodin"), "must be one of"),
        (("compare", "no-such-data"), "no-such-data"),
        (("compare", "scp-healthy", "no-such-decoder"), "no-such-decoder"),
        (("reproduce",), "Name one system, or pass --all"),
        (("data", "show", "scp-helthy"), "scp-healthy"),
        (("predict", "nowhere", "scp-healthy"), "model folder"),
    ],
)
def test_unknown_names_answer_with_one_sentence(command, words, tmp_path):
    done = neuropil(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_has_help_with_an_example():
    for command in (
        ("systems",),
        ("show",),
        ("data",),
        ("data", "show"),
        ("compare",),
        ("fit",),
        ("predict",),
        ("explain",),
        ("clean",),
        ("translate",),
        ("reproduce",),
    ):
        done = neuropil(*command, "--help")
        assert done.returncode == 0
        assert f"Example: neuropil {' '.join(command)}" in " ".join(done.stdout.split())
