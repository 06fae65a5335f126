"""Comparisons within and across sessions and subjects, of trials and of sliding windows, with and without alignment."""

import json
from itertools import pairwise

import pytest
from small_comparisons import MeanLDA, Refuses, trials
from test_report import Checker

import neuropil
import neuropil.experiments.compare as module
from neuropil import decoding
from neuropil.cli.values import band_edges, named_values
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.agreement import balanced_accuracy
from neuropil.evaluate.pseudo_online import evaluate_pseudo_online
from neuropil.experiments.compare import compare
from neuropil.experiments.inputs import load_material


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    monkeypatch.setattr(module, "N_PERMUTATIONS", 100)


@pytest.fixture(scope="module")
def recordings():
    return neuropil.load(
        "sim-motor-imagery", n_subjects=3, n_sessions=2, n_trials=10, ch_names="bold10", sfreq=100.0, preset="easy"
    )


@pytest.fixture(scope="module")
def watched():
    """Emotion: three subjects, six stimuli of two windows each."""
    options = {
        "n_subjects": 3,
        "n_trials": 10,
        "stimulus_s": 4.0,
        "window_s": 2.0,
        "ch_names": "bold10",
        "sfreq": 100.0,
    }
    return neuropil.load("sim-emotion", **options, eff=0.6, drift=0.1)


def small_network(slug):
    return decoding.make(slug, max_epochs=2, random_state=0)


def test_within_and_across_sessions_and_across_subjects(recordings, tmp_path):
    systems = {
        "mdm": decoding.make("mdm"),
        "shallow": small_network("shallow-convnet"),
        "eegnet": small_network("eegnet"),
    }
    cut = {"band": (8.0, 30.0), "tmin": 0.5, "tmax": 3.5}
    comparison = compare(recordings, systems, split=["later-sessions", "subject"], results=tmp_path, n_jobs=1, **cut)
    X, scores = comparison.material.X, comparison.scores
    assert X.shape == (60, 10, 300)
    within = compare(recordings, ["mdm"], split="within-session", results=tmp_path, n_jobs=1, **cut)
    assert within.plans[0].name == "blocks"
    assert within.plans[0].units[0].fold.name == "subject 01, session 01, fold 1"
    assert len(within.plans[0].units) == 30
    later, subject = comparison.plans
    assert [unit.name for unit in later.units] == [f"subject 0{k}, session 02 after 01" for k in (1, 2, 3)]
    assert [unit.name for unit in subject.units] == [f"subject 0{k}" for k in (1, 2, 3)]
    assert later.independent
    assert subject.independent
    for unit in later.units:
        assert set(X["session"].values[unit.fold.train]) == {"01"}
        assert set(X["session"].values[unit.fold.test]) == {"02"}
    y = X["label"].values.astype(str)
    for plan in comparison.plans:
        mine = scores[(scores["split"] == plan.name) & (scores["system"] == "mdm")]["score"].tolist()
        expected = [
            balanced_accuracy(y[u.fold.test], decoding.make("mdm").fit(X[u.fold.train]).predict(X[u.fold.test]))
            for u in plan.units
        ]
        assert mine == expected
    assert comparison.table.groupby("split")["system"].apply(set).tolist() == [set(systems)] * 2


def test_windows_of_one_stimulus_are_never_divided(watched, tmp_path):
    systems = {"tangent-space": decoding.make("tangent-space"), "shallow": small_network("shallow-convnet")}
    comparison = compare(watched, systems, split=["blocks", "subject"], results=tmp_path, n_jobs=1)
    X = comparison.material.X
    assert comparison.material.classes.tolist() == ["high", "low"]
    assert len(X) == 3 * 10 * 2
    trial = X["trial"].values + 100 * X["recording"].values
    for plan in comparison.plans:
        for unit in plan.units:
            assert not set(trial[unit.fold.train]) & set(trial[unit.fold.test])
            assert len(unit.fold.test) % 2 == 0


def test_events_are_those_of_the_pseudo_online_evaluation(recordings, tmp_path):
    one = recordings[:2]
    comparison = compare(one, ["mdm"], mode="pseudo-online", band=(8.0, 30.0), results=tmp_path, n_jobs=1)
    found = comparison.events["chronological", "mdm"]
    table = evaluate_pseudo_online({"mdm": decoding.make("mdm")}, one, modes=["pseudo_online"])
    n_trials = (table["hits"] + table["misses"] + table["wrong"]).sum()
    assert found.n_trials == n_trials
    assert found.hits == pytest.approx(table["hits"].sum() / n_trials)
    assert found.wrong == pytest.approx(table["wrong"].sum() / n_trials)
    row = comparison.table.iloc[0]
    assert (row["hits"], row["false_per_min"]) == (found.hits, found.false_per_min)
    (entry,) = comparison.to_json()["splits"][0]["leaderboard"]
    assert entry["events"]["false_per_min"] == found.false_per_min
    page = comparison.report(tmp_path / "report.html").read_text(encoding="utf-8")
    said = " ".join(Checker(page).text)
    assert f"{found.false_per_min:.1f} a minute" in said
    assert "false activations" in said


def test_a_stimulus_of_several_windows_is_one_trial_for_the_events(watched):
    material = load_material(watched, mode="pseudo-online", length=2.0, band=(4.0, 45.0))
    assert sorted(material.trials) == [0, 1, 2]
    assert material.trials[0]["duration"].tolist() == pytest.approx([4.0] * 10)
    assert set(material.X["trial"].values) == {-1, *range(10)}
    assert material.classes.tolist() == ["high", "idle", "low"]


@pytest.mark.parametrize("split", ["session", "later-sessions", "subject"])
def test_pseudo_online_across_sessions_and_subjects(recordings, split, tmp_path):
    comparison = compare(
        recordings, ["mdm"], split=split, mode="pseudo-online", band=(8.0, 30.0), align="euclidean",
        results=tmp_path, n_jobs=1,
    )  # fmt: skip
    X, events = comparison.material.X, comparison.events[split, "mdm"]
    assert events.n_trials == (30 if split == "later-sessions" else 60)
    assert 0 <= events.hits + events.wrong <= 1
    coordinate = "subject" if split == "subject" else "session"
    for unit in comparison.plans[0].units:
        assert not set(X[coordinate].values[unit.fold.train]) & set(X[coordinate].values[unit.fold.test])


def test_align_puts_the_alignment_in_front(recordings, tmp_path):
    cut = {"band": (8.0, 30.0), "tmin": 0.5, "tmax": 3.5, "results": tmp_path, "n_jobs": 1}
    raw = compare(recordings, ["mdm", "csp-lda"], split="subject", **cut)
    aligned = compare(recordings, ["mdm", "csp-lda"], split="subject", align="riemannian", **cut)
    assert aligned.n_stored == 0
    assert aligned.align == aligned.to_json()["align"] == "riemannian"
    assert [type(d.estimator).__name__ for d in aligned.decoders] == ["Pipeline", "Pipeline"]
    assert raw.scores["score"].tolist() != aligned.scores["score"].tolist()
    assert "align='riemannian'" in aligned.command
    with pytest.raises(UsageError, match="align must be one of 'euclidean', 'riemannian', got 'sideways'"):
        compare(recordings, ["mdm"], align="sideways", **cut)


def test_who_is_not_applicable_is_listed_with_the_reason(tmp_path, capsys):
    reason = "This decoder needs windows of 10 s, got 1 s; cut longer windows."
    comparison = compare(
        trials(), {"lda": MeanLDA(), "long": Refuses()}, split=["own", "blocks"], results=tmp_path, n_jobs=1
    )
    assert comparison.not_applicable == {("long", "own"): reason, ("long", "blocks"): reason}
    table = comparison.table
    assert table["system"].tolist() == ["lda", "long", "lda", "long"]
    assert table["not_applicable"].tolist() == ["", reason, "", reason]
    assert table["rank"].isna().tolist() == [False, True, False, True]
    assert comparison.to_json()["not_applicable"][0] == {"system": "long", "split": "own", "reason": reason}
    json.dumps(comparison.to_json(), allow_nan=False)
    comparison.print()
    said = " ".join(capsys.readouterr().out.split())
    assert f"Not applicable: long. {reason}" in said
    page = " ".join(Checker(comparison.report(tmp_path / "r.html").read_text(encoding="utf-8")).text)
    assert f"not applicable: {reason}" in page
    assert "not applicable here: long" in page


class FailsWithoutSubject(MeanLDA):
    """Cannot be fitted where a training set has too few windows."""

    def fit(self, X, y):
        if len(y) < 45:
            raise DataError(f"This decoder needs 45 windows, got {len(y)}; record more.")
        return super().fit(X, y)


def test_a_split_on_which_nobody_is_applicable_does_not_hide_the_others(tmp_path):
    systems = {"a": FailsWithoutSubject(), "b": FailsWithoutSubject(0.2)}
    comparison = compare(trials(), systems, split=["own", "blocks"], results=tmp_path, n_jobs=1)
    assert [board.split for board in comparison.boards] == ["blocks"]
    assert comparison.missing("own") == dict.fromkeys("ab", "This decoder needs 45 windows, got 40; record more.")
    assert comparison.splits == ["blocks", "own"]
    assert "on “own”" in " ".join(Checker(comparison.report(tmp_path / "r.html").read_text(encoding="utf-8")).text)
    with pytest.raises(
        DataError, match=r"on the split 'own'; a, b: This decoder needs 45 windows, got 40; record more\.$"
    ):
        compare(trials(), systems, split="own", results=tmp_path, n_jobs=1)


def test_a_decoder_that_fails_in_some_folds_says_in_how_many(tmp_path):
    subjects = [trials(n=n, seed=n).copy(subject=str(n)) for n in (24, 24, 12)]
    subjects[1] = subjects[1].copy(subject="25")
    comparison = compare(
        subjects, {"some": FailsWithoutSubject(), "lda": MeanLDA()}, split="subject", results=tmp_path, n_jobs=1
    )
    assert comparison.missing("subject") == {
        "some": "This decoder needs 45 windows, got 36; record more. (So in 2 of 3 fits.)"
    }


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            "sim-eeg-bold",
            {"options": {"n_subjects": 1, "n_volumes": 30}},
            "no classes to tell apart, it is for regression",
        ),
        ("sim-motor-imagery", {"options": {"n_sesions": 2}}, "has the options n_subjects, n_sessions"),
        ("trials", {"options": {"n_sessions": 2}}, "Only a named data set has options, got n_sessions for Recording"),
        ("trials", {"band": (1.0, 10.0)}, "filter over the recording would run across their borders"),
        ("trials", {"band": 10.0}, r"A band has two edges in Hz.*got 10\.0"),
        ("trials", {"overlap": 0.2}, "In the mode offline, windows are cut with the settings tmin, tmax.*got overlap"),
        ("trials", {"tmin": 0.2, "mode": "pseudo-online"}, "settings length, overlap.*got tmin"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(data, options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        compare(trials() if data == "trials" else data, {"lda": MeanLDA()}, results=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_the_typed_command_repeats_options_band_and_alignment(tmp_path):
    options = {"n_subjects": 2, "n_trials": 6, "ch_names": "bold10", "classes": ("left_hand", "feet")}
    comparison = compare(
        "sim-motor-imagery", ["mdm"], split="subject", options=options, band=(None, 30.0), align="euclidean",
        results=tmp_path, n_jobs=1,
    )  # fmt: skip
    assert comparison.command == (
        "neuropil compare sim-motor-imagery mdm --split subject --metric balanced_accuracy --seeds 1 --align euclidean "
        "--option n_subjects=2 --option n_trials=6 --option ch_names=bold10 --option classes=left_hand,feet --band=-30"
    )
    words = comparison.command.split()
    assert named_values([b for a, b in pairwise(words) if a == "--option"]) == options
    assert band_edges(words[-1].removeprefix("--band=")) == (None, 30.0)
