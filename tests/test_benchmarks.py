"""The benchmarks at tiny sizes: rows that can be read, and the bound on memory that does not depend on the recording's length."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import __main__ as command
from benchmarks import (
    data,
    entropy,
    factorisation,
    measure,
    peers,
    rows,
    startup,
    statespace,
    switching,
    training,
    windows,
)
from benchmarks.rows import Row
from benchmarks.settings import Settings

from neuropil import Recording, sliding_windows


@pytest.fixture
def tiny(tmp_path) -> Settings:
    return Settings(tmp_path, 200, 128, 1, 0.2, n_trials=8, n_epochs=2, seconds=2.0, entropy_seconds=30.0, peers=False)


def well_formed(row: Row) -> bool:
    measured = row.ours is not None and np.isfinite(row.ours) and row.ours > 0 and bool(row.unit)
    judged = (row.met is None) == (row.goal == "")
    return bool(row.name) and judged and (measured or row.note.startswith("skipped: "))


def test_ratios_decide_over_goals():
    faster = rows.against("speed", 30.0, 10.0, "windows/s", "peer", at_least=3.0)
    assert (faster.ratio, faster.met) == (3.0, True)
    assert rows.against("time", 1.04, 1.0, "s", "peer", at_most=1.03).met is False
    assert rows.against("size", 2.0, 1.0, "MB", "peer").met is None
    assert rows.below("latency", 5.0, 5.0, "ms").met is False
    assert rows.skipped("x", "no peer").ours is None


def test_passes_run_in_turns():
    order = []
    contenders = {name: lambda name=name: order.append(name) or 1.0 for name in "ab"}
    assert measure.interleaved(contenders, 3) == {"a": [1.0] * 3, "b": [1.0] * 3}
    assert "".join(order) == "abbaab"


def test_recordings_have_the_windows_asked_for_and_the_samples_written(tmp_path):
    samples = data.write_noise(tmp_path, 50)
    X = sliding_windows(
        Recording.open(data.write_recording(tmp_path, samples)), length=data.LENGTH, overlap=data.OVERLAP
    )
    assert X.shape == (50, 22, 500)
    np.testing.assert_array_equal(X[-1].values, samples[-500:].T)
    assert len({window.tobytes() for window in X.values}) == 50


def test_sparse_recordings_are_long_and_take_no_room(tmp_path):
    path = data.write_sparse(tmp_path, 0.5)
    stream = Recording.open(path).stream()
    assert stream.nbytes == pytest.approx(0.5e9, rel=1e-6)
    assert stream.time.values[-1] == pytest.approx((stream.sizes["time"] - 1) / data.SFREQ)
    assert float(stream[0, 0]) == 1.0
    assert not stream[-1000:].values.any()
    assert sum(512 * file.stat().st_blocks for file in path.rglob("*") if file.is_file()) < 10e6


@pytest.mark.skipif(not measure.can_measure_memory(), reason="needs Linux")
def test_memory_of_batches_does_not_depend_on_the_length_of_the_recording(tmp_path):
    short = windows.memory_row(data.write_sparse(tmp_path / "short", 0.1), 1280, "short")
    long = windows.memory_row(data.write_sparse(tmp_path / "long", 20.0), 1280, "long")
    assert short.met
    assert long.met
    assert abs(long.ours - short.ours) < 2.0  # MB; the recordings differ by 20,000 MB


def test_windows_without_peers(tiny):
    measured = windows.run(tiny)
    assert all(map(well_formed, measured))
    assert [row.unit for row in measured] == ["windows/s", "MB", "MB"] or not measure.can_measure_memory()
    assert list(tiny.folder.iterdir()) == []


def test_absent_peers_are_named_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "missing", lambda *modules: list(modules))
    measured = windows._speed(Settings(tmp_path, 200, 64, 1), tmp_path)
    absent = [row for row in measured if row.ours is None]
    assert [row.name for row in absent] == ["windows beside braindecode", "windows beside torch_brain"]
    assert all("pip install" in row.note and well_formed(row) for row in absent)


def test_the_bare_loop_does_the_same_work_as_fit():
    X, y = training.trials(40)
    ends = []
    for loop in (training.bare_epochs, training.fit_epochs):
        torch.manual_seed(0)
        module = training._network(22, 1000)
        loop(module, torch.as_tensor(X), torch.as_tensor(y), 1)
        ends.append(module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_training_rows(tiny):
    measured = training.run(tiny)
    assert all(map(well_formed, measured))
    assert [row.peer_name for row in measured] == ["bare PyTorch loop", "the same steps by hand"]


def test_entropies_are_compared_with_peers_of_equal_results(tmp_path):
    measured = entropy.run(Settings(tmp_path, repeats=1, entropy_seconds=30.0))
    assert all(map(well_formed, measured))
    assert {row.peer_name for row in measured} == {"scipy", "MNE-Python"}
    assert [row.goal for row in measured] == ["≤ 0.2 × peer"] * 2 + [""] * 2


def test_entropies_without_peers(tiny):
    measured = entropy.run(tiny)
    assert all(map(well_formed, measured))
    assert measured[0].name == "band entropies of 0.00833 h of EEG on one thread"


def test_state_space_rows(tiny):
    measured = statespace.run(replace(tiny, n_steps=50))
    assert all(map(well_formed, measured))
    filters = ["Kalman filter", "discriminative Kalman filter"] * 2
    memory = [f"memory of the {name}" for name in ("forward-backward", "Kalman filter", "discriminative Kalman filter")]
    assert [row.name.split(",")[0] for row in measured] == ["forward-backward"] * 2 + filters + memory


def test_memory_is_linear_if_a_step_takes_as_much_in_longer_sequences():
    linear, quadratic, none = (
        statespace._linear("m", [10, 20], grown) for grown in ([5e6, 1e7], [1e6, 4e6], [0.0, 1e6])
    )
    assert (linear.ours, linear.ratio, linear.met) == (10.0, 1.0, True)
    assert (quadratic.ratio, quadratic.met) == (2.0, False)
    assert none.ours is None


def test_switching_rows(tiny):
    (row,) = switching._speed(300, 5, tiny)
    assert well_formed(row)
    assert row.ours > 0


def test_factorisation_rows(monkeypatch):
    monkeypatch.setattr(factorisation, "SIDE", 20)
    row = factorisation._beside_tensorly(40, np.float64, False)
    assert well_formed(row)
    assert 0 < float(row.note.split()[-1]) < 1
    assert all(map(well_formed, factorisation._memory(80)))


def test_peers_with_other_results_are_refused():
    with pytest.raises(RuntimeError, match="dynamax gives another result"):
        statespace._same("dynamax", (1.0, np.ones(3)), (1.0, np.ones(3) + 1e-6))


def test_startup_rows_stand_beside_the_empty_interpreter(tiny):
    measured = startup.run(tiny)
    assert all(map(well_formed, measured))
    assert all(row.ratio == row.ours / row.peer and row.peer > 0 for row in measured)


def test_records_keep_other_benchmarks_and_rewrite_the_table(tmp_path):
    readme, path = tmp_path / "README.md", tmp_path / "results.json"
    readme.write_text(f"before\n{rows.START}\nold\n{rows.END}\nafter\n")
    rows.record({"one": [Row("first", 1.0, "s", note="as is")]}, path, readme)
    rows.record({"two": [rows.below("second", 2.0, 1.0, "ms")]}, path, readme)
    document = json.loads(path.read_text())
    assert [Row(**row).name for found in document["results"].values() for row in found] == ["first", "second"]
    assert document["machine"]["versions"]["torch"] == torch.__version__
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| second | 2 |" in text
    assert "- first: as is" in text
    assert "old" not in text


def test_tables_show_figures_and_say_what_was_missed():
    screen = io.StringIO()
    rows.show([rows.below("latency", 7.25, 5.0, "ms", note="under load")], "title", Console(file=screen, width=120))
    assert "7.25" in screen.getvalue()
    assert "no" in screen.getvalue()
    assert "latency: under load" in screen.getvalue()


def test_unknown_names_are_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["speed"])
    assert ended.value.code == 2
    assert "windows" in capsys.readouterr().err
