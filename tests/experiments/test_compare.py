"""A comparison: its numbers by hand, what it stores, what it refuses, and that nothing is computed twice or lost."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from scipy import stats
from small_comparisons import Guess, LabelsOnly, MeanLDA, NoisyLDA, Refuses, trials

import neuropil
from neuropil import storage
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.agreement import balanced_accuracy
from neuropil.evaluate.splits import make_split
from neuropil.experiments.compare import compare
from neuropil.experiments.inputs import fingerprint, load_material
from neuropil.experiments.leaderboard import Judge
from neuropil.experiments.plan import curve_sizes


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    import neuropil.experiments.compare as module

    monkeypatch.setattr(module, "N_PERMUTATIONS", 200)


def run(tmp_path, systems=None, data=None, **options):
    systems = {"lda": MeanLDA(), "labels": LabelsOnly()} if systems is None else systems
    return compare(
        trials() if data is None else data, systems, **{"results": tmp_path / "runs", "n_jobs": 1, **options}
    )


def json_of(comparison):
    """Everything but times."""
    found = comparison.to_json()
    for name in ("seconds", "fits", "results"):
        found.pop(name)
    for split in found["splits"]:
        for row in split["leaderboard"]:
            row.pop("fit_seconds"), row.pop("predict_ms")
    return found


def test_scores_are_those_of_a_plain_loop(tmp_path):
    comparison = run(tmp_path, split="blocks")
    X = neuropil.windows(trials())
    y = np.asarray(X["label"].values.tolist())
    for name, made in (("lda", MeanLDA), ("labels", LabelsOnly)):
        expected = [
            balanced_accuracy(y[test], made().fit(X.values[train], y[train]).predict(X.values[test]))
            for train, test in make_split("blocks").split(X, y)
        ]
        table = comparison.scores
        scores = table["score"][table["system"] == name].tolist()
        assert scores == expected


def test_the_leaderboard_by_hand(tmp_path):
    comparison = run(tmp_path, data=trials(effect=0.35, seed=3), split="blocks")
    board = comparison.board("blocks")
    a, b = (board.scores[name][:, 0] for name in ("lda", "labels"))
    folds = comparison.plans[0].units
    ratio = sum(len(u.fold.test) for u in folds) / sum(len(u.fold.train) for u in folds)
    error = np.sqrt((1 / 5 + ratio) * np.var(a - b, ddof=1))
    t = (a - b).mean() / error
    (pair,) = board.differences
    assert pair.difference == pytest.approx((a - b).mean())
    assert pair.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert pair.p_holm == pair.p
    best = board.standings[0]
    chosen = board.scores[best.system][:, 0]
    half = stats.t.isf(0.025, 4) * chosen.std(ddof=1) * np.sqrt(1 / 5 + ratio)
    assert best.score == pytest.approx(chosen.mean())
    assert (best.low, best.high) == pytest.approx((max(0, chosen.mean() - half), min(1, chosen.mean() + half)))
    assert comparison.table["score"].is_monotonic_decreasing
    assert list(comparison.confusion["blocks", "lda"].sum(axis=1)) == [30, 30]


def test_the_default_splits_are_the_own_one_and_blocks(tmp_path):
    comparison = run(tmp_path)
    assert [plan.name for plan in comparison.plans] == ["own", "blocks"]
    own = comparison.board("own")
    assert own.n_test == 20
    for standing in own.standings:
        assert standing.low <= standing.score <= standing.high


def test_who_guesses_is_not_above_chance_and_who_reads_is(tmp_path):
    comparison = run(tmp_path, {"lda": MeanLDA(), "guess": Guess()}, data=trials(n=90))
    for board in comparison.boards:
        found = {s.system: s for s in board.standings}
        assert found["lda"].above_chance
        assert not found["guess"].above_chance
        assert found["lda"].chance == pytest.approx(0.5, abs=0.03)
        assert not set(found["lda"].letters) & set(found["guess"].letters)
    assert comparison.best() == "lda"


def test_a_second_run_computes_nothing_and_says_the_same(tmp_path, monkeypatch):
    first = run(tmp_path)
    import neuropil.experiments.compare as module

    def never(*arguments, **options):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "evaluate", never)
    again = run(tmp_path)
    assert first.n_stored == 0
    assert again.n_stored == again.n_fits == first.n_fits
    assert json_of(again) == json_of(first)
    assert again.to_json()["splits"] == first.to_json()["splits"], "times are those of the stored fits"
    other = run(tmp_path, metric="kappa")
    assert other.n_stored == other.n_fits, "another metric needs no new fit"
    assert other.board("own").scores["lda"][0, 0] == pytest.approx(2 * first.board("own").scores["lda"][0, 0] - 1)


def test_the_same_seed_gives_the_same_numbers_in_any_number_of_processes(tmp_path):
    systems = {"noisy": NoisyLDA(), "labels": LabelsOnly()}
    one = run(tmp_path / "a", systems, seeds=2)
    two = run(tmp_path / "b", systems, seeds=2, n_jobs=2)
    assert json_of(one) == json_of(two)


def test_other_data_or_parameters_are_computed_anew(tmp_path):
    run(tmp_path)
    assert run(tmp_path, data=trials(seed=1)).n_stored == 0
    changed = run(tmp_path, {"lda": MeanLDA(shrinkage=0.2), "labels": LabelsOnly()})
    assert 0 < changed.n_stored < changed.n_fits


def test_the_fingerprint_sees_samples_labels_and_coordinates():
    X = neuropil.windows(trials()).load()
    changed = {"sample": X.copy(deep=True), "label": X.copy(deep=True), "rate": X.copy(deep=True)}
    changed["sample"].values[3, 2, 1] += 1e-12
    changed["label"]["label"].values[:2] = ["right", "left"]
    changed["rate"].attrs["sfreq"] = 41.0
    changed["split"] = X.assign_coords(split=("window", X["split"].values[::-1]))
    prints = {fingerprint(load_material(Y)) for Y in [X, *changed.values()]}
    assert len(prints) == 5
    assert fingerprint(load_material(neuropil.windows(trials()))) == fingerprint(load_material(X))


def test_seeds_repeat_only_what_is_random(tmp_path):
    comparison = run(tmp_path, {"noisy": NoisyLDA(), "lda": MeanLDA()}, seeds=3, split="blocks")
    scores = comparison.board().scores
    assert scores["noisy"].shape == (5, 3)
    assert scores["lda"].shape == (5, 1)
    assert len(np.unique(scores["noisy"])) > 1
    assert comparison.board().standings[0].score == pytest.approx(max(v.mean() for v in scores.values()))


def test_a_shuffled_split_is_drawn_anew_for_every_seed(tmp_path):
    comparison = run(tmp_path, {"lda": MeanLDA()}, split="stratified", seeds=2)
    units = comparison.plans[0].units
    assert len(units) == 10
    assert comparison.board().scores["lda"].shape == (10, 1)
    assert not np.array_equal(units[0].fold.test, units[5].fold.test)


def test_folds_of_different_subjects_are_independent(tmp_path):
    subjects = [trials(n=30, seed=k, effect=0.6).copy(subject=str(k)) for k in range(5)]
    comparison = run(tmp_path, data=subjects, split=["chronological", "subject", "blocks"])
    assert [plan.independent for plan in comparison.plans] == [True, True, False]
    board = comparison.board("subject")
    a, b = (board.scores[name][:, 0] for name in ("lda", "labels"))
    best = board.standings[0]
    low, high = stats.t.interval(
        0.95, 4, np.mean(board.scores[best.system]), stats.sem(board.scores[best.system][:, 0])
    )
    assert (best.low, best.high) == pytest.approx((max(0, low), min(1, high)))
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    swapped = np.abs((a - b) @ signs)
    assert board.differences[0].p == pytest.approx(np.mean(swapped >= abs((a - b).sum()) - 1e-12))
    assert "independent folds" in board.method


def test_a_decoder_that_fails_is_left_out_and_the_others_stay(tmp_path):
    comparison = run(tmp_path, {"lda": MeanLDA(), "refuses": Refuses()})
    assert [s.system for s in comparison.board().standings] == ["lda"]
    assert (
        comparison.not_applicable["refuses", "own"]
        == "This decoder needs windows of 10 s, got 1 s; cut longer windows."
    )
    with pytest.raises(
        DataError, match=r"No decoder could be evaluated on the split 'own'; refuses: This decoder needs"
    ):
        run(tmp_path, {"refuses": Refuses()})


def test_a_metric_of_probabilities_leaves_out_who_gives_none(tmp_path):
    comparison = run(tmp_path, metric="auc", split="own")
    assert [s.system for s in comparison.board().standings] == ["lda"]
    assert "no probabilities" in comparison.not_applicable["labels", "own"]


def test_a_loss_is_ranked_the_other_way_round(tmp_path):
    comparison = run(tmp_path, {"lda": MeanLDA(), "guess": Guess("prior")}, metric="log-loss", split="blocks")
    best, worst = comparison.board().standings
    assert (best.system, worst.system) == ("lda", "guess")
    assert best.score < worst.score
    assert best.above_chance
    assert not worst.above_chance


def test_learning_curves_end_with_all_training_windows(tmp_path):
    comparison = run(tmp_path, {"lda": MeanLDA()}, split="own")
    sizes = [point.n_train for point in comparison.curves]
    assert sizes == [20, 40]
    assert comparison.curves[-1].score == comparison.board().standings[0].score
    assert curve_sizes(np.repeat([0, 1], [20, 400])) == [10]


def test_windows_paths_and_recordings_are_data(tmp_path):
    recording = trials()
    saved = recording.save(tmp_path / "small.zarr")
    from_path = run(tmp_path, data=saved)
    from_windows = run(tmp_path, data=neuropil.windows(recording))
    from_object = run(tmp_path, data=recording)
    scores = [c.table["score"].tolist() for c in (from_path, from_windows, from_object)]
    assert scores[0] == scores[1] == scores[2]
    assert str(saved) in from_path.command
    assert from_windows.command.startswith("neuropil.compare(data, systems")


def test_sliding_windows_have_an_idle_class(tmp_path):
    recording = trials()
    recording.events["duration"] = 1.0
    recording.events["onset"] = recording.events["onset"] * 1.0
    spread = recording.copy(
        events=recording.events.iloc[::2].reset_index(drop=True).assign(label=["left", "right"] * 15)
    )
    comparison = run(tmp_path, {"lda": MeanLDA()}, data=spread, mode="pseudo-online", length=0.5, band=(None, 15.0))
    assert comparison.metric.name == "nmcc"
    assert comparison.material.classes.tolist() == ["idle", "left", "right"]
    assert [plan.name for plan in comparison.plans] == ["chronological"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "sideways"}, r"There is no split 'sideways'; choose one of own"),
        ({"split": []}, "one split or more"),
        ({"split": ["own", "own"]}, "Every split is used once"),
        ({"split": "session"}, "two sessions or more"),
        ({"metric": "beauty"}, r"There is no metric 'beauty'; choose one of accuracy"),
        ({"mode": "sideways"}, "offline or pseudo-online, got 'sideways'"),
        ({"seeds": 0}, "one seed or more, got 0"),
        ({"systems": []}, "one decoder or more"),
        ({"systems": [MeanLDA(), MeanLDA()]}, "a name of its own, got MeanLDA"),
        ({"systems": {"x": 3}}, "an estimator with fit, predict"),
        ({"data": 3}, r"Expected the name of a data set.*got int"),
        ({"data": "no-such-data"}, "no-such-data"),
        ({"length": 3.0, "nonsense": 1}, "got length, nonsense"),
        ({"tmin": 5.0}, "choose tmax above tmin"),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_any_work(tmp_path, options, message):
    with pytest.raises((UsageError, DataError), match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "runs").exists()


def test_a_path_to_nothing_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        run(tmp_path, data=str(tmp_path / "missing.fif"))


def test_data_of_one_class_are_refused(tmp_path):
    with pytest.raises(DataError, match="only one class"):
        run(tmp_path, data=trials(labels=("left",)))


def test_names_cannot_leave_the_results_folder(tmp_path):
    comparison = run(tmp_path, {"../../escape": MeanLDA(), "/etc/passwd": LabelsOnly()}, split="own")
    assert len(comparison.board().standings) == 2
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "runs")]
    assert outside == []


def test_a_disk_that_fills_up_keeps_what_is_finished(tmp_path, monkeypatch):
    calls, real = [], os.fsync

    def fills_up(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr(storage.os, "fsync", fills_up)
    with pytest.raises(DataError, match=r"The disk is full: .* free some space and start again"):
        run(tmp_path)
    kept = len(list((tmp_path / "runs").rglob("*.json")))
    assert kept == 4
    assert not list((tmp_path / "runs").rglob("*.partial"))
    monkeypatch.undo()
    again = run(tmp_path)
    assert again.n_stored == kept


def test_a_damaged_result_is_computed_again(tmp_path):
    first = run(tmp_path)
    victim = sorted((tmp_path / "runs").rglob("*.json"))[0]
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    with pytest.warns(UserWarning, match="was damaged"):
        again = run(tmp_path)
    assert again.n_stored == again.n_fits - 1
    assert json_of(again) == json_of(first)


RUN = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from small_comparisons import LabelsOnly, NoisyLDA, trials
    from neuropil.experiments.compare import compare
    print("start", flush=True)
    systems = {"noisy": NoisyLDA(), "labels": LabelsOnly()}
    comparison = compare(trials(), systems, results=sys.argv[2], n_jobs=int(sys.argv[3]), seeds=3)
    print(comparison.n_stored, flush=True)
"""


def start(tmp_path, n_jobs=1):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), os.path.dirname(__file__), str(tmp_path / "runs"), str(n_jobs)],
        stdout=subprocess.PIPE,
        text=True,
    )


def stored(tmp_path):
    return {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.json")}


def test_killed_at_any_point_nothing_is_lost_and_nothing_is_done_twice(tmp_path):
    for wanted in (1, 9):
        process = start(tmp_path)
        while len(stored(tmp_path)) < wanted and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = stored(tmp_path)
    comparison = run(tmp_path, {"noisy": NoisyLDA(), "labels": LabelsOnly()}, seeds=3)
    assert comparison.n_stored == len(before) >= 9
    after = stored(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == comparison.n_fits
    fresh = run(tmp_path / "fresh", {"noisy": NoisyLDA(), "labels": LabelsOnly()}, seeds=3)
    assert json_of(comparison) == json_of(fresh)


def test_two_runs_at_once_share_the_work(tmp_path):
    processes = [start(tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    n_fits = len(stored(tmp_path))
    assert sum(n_fits - int(words[1]) for words in said) == n_fits


def test_json_is_strict(tmp_path):
    comparison = run(tmp_path)
    text = json.dumps(comparison.to_json(), allow_nan=False)
    assert json.loads(text)["splits"][0]["leaderboard"][0]["system"] in ("lda", "labels")


def test_the_command_repeats_the_comparison(tmp_path):
    comparison = run(tmp_path)
    assert comparison.command == (
        "neuropil.compare(data, systems, split=['own', 'blocks'], metric='balanced_accuracy', seeds=1)"
    )


def test_it_shows_itself(tmp_path, capsys):
    comparison = run(tmp_path, {"<b>lda</b>": MeanLDA(), "[red]x[/red]": LabelsOnly()})
    comparison.print()
    said = capsys.readouterr().out
    assert "<b>lda</b>" in said
    assert "[red]x[/red]" in said
    assert "●" in said
    html = comparison._repr_html_()
    assert "<b>lda</b>" not in html
    assert "&lt;b&gt;lda&lt;/b&gt;" in html


def test_a_metric_of_labels_is_computed_once_for_each_confusion_matrix():
    calls = []

    def counting(y_true, y_pred, classes):
        calls.append(1)
        return balanced_accuracy(y_true, y_pred, classes)

    from dataclasses import replace

    from neuropil.evaluate.metrics import METRICS

    judge = Judge(replace(METRICS["balanced_accuracy"], function=counting), 2)
    y = np.array([0, 0, 1, 1])
    assert judge(y, np.array([0, 1, 1, 1])) == judge(y, np.array([1, 0, 1, 1])) == 0.75
    assert len(calls) == 1
