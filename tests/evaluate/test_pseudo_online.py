"""Pseudo-online evaluation: bookkeeping of windows, splits in time, the result table, refusals; small simulated sessions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.alignment import EuclideanAlignment
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.epochs import filtered, offline_epochs, with_runs
from neuropil.evaluate.events import event_metrics
from neuropil.evaluate.online_split import LeakyFolds, PseudoOnlineSplit, same_times
from neuropil.evaluate.pseudo_online import evaluate_pseudo_online
from neuropil.evaluate.subject_tests import compare_subjects
from neuropil.recording import Recording
from neuropil.signal.filters import butterworth
from neuropil.simulate.eeg import simulate_motor_imagery
from neuropil.stream import StreamingDecoder
from neuropil.streams import regular_stream
from neuropil.windowing import sliding_windows

EASY = {"preset": "easy", "sfreq": 62.5, "ch_names": ("C3", "Cz", "C4", "CP3", "CP4", "Pz"), "breaks": (3.0, 5.0)}


def simulated(n_subjects=1, n_sessions=1, n_trials=16, seed=0):
    return simulate_motor_imagery(n_subjects, n_sessions, n_trials, seed=seed, **EASY)[0]


def mdm():
    return make_pipeline(Covariances("oas"), MDM())


def noise(n_trials=4, pause=4.0, trial=4.0, seed=0, runs=None, **labels):
    rng = np.random.default_rng(seed)
    onsets = pause + np.arange(n_trials) * (trial + pause)
    data = rng.normal(size=(int((onsets[-1] + trial + pause) * 50), 3))
    events = pd.DataFrame({"onset": onsets, "duration": trial, "label": np.resize(["left", "right"], n_trials)})
    if runs:
        events["run"] = np.repeat([f"r{k}" for k in range(runs)], n_trials // runs)
    return Recording({"eeg": regular_stream(data, 50.0)}, events, **labels)


class TrueLabels(ClassifierMixin, BaseEstimator):
    """Reads the class from the mean of the first channel, where the test has written it."""

    def fit(self, X, y):
        self.classes_, self.n_train_ = np.unique(y), len(y)
        return self

    def predict(self, X):
        names = np.array(["idle", "left", "right"])
        return names[np.clip(np.rint(X[:, 0].mean(axis=-1)), 0, 2).astype(int)]


def test_number_of_windows_and_shares_of_a_trial():
    data = np.zeros((60 * 50, 1))
    events = pd.DataFrame({"onset": [10.0], "duration": [4.0], "label": ["left"]})
    X = sliding_windows(Recording({"eeg": regular_stream(data, 50.0)}, events), length=2.0, overlap=0.5)
    assert X.shape[0] == 59
    assert (X["label"].values == "left").sum() == 3
    touched = slice(9, 14)
    covered = np.where(X["label"].values == "left", X["share"].values, 1 - X["share"].values)[touched]
    assert covered.tolist() == [0.5, 1.0, 1.0, 1.0, 0.5]


@given(
    st.sampled_from([0.0, 0.5, 0.8]),
    st.floats(0.2, 0.6),
    st.sampled_from([None, 2.0, 5.0]),
    st.integers(4, 8),
)
def test_chronological_windows_keep_their_distance_and_none_is_untested(overlap, test_size, purge, n_trials):
    X = sliding_windows([noise(n_trials, session=s, seed=k) for k, s in enumerate("ab")], length=2.0, overlap=overlap)
    onset, session = X["onset"].values, X["session"].values
    least = 3.0 if purge is None else purge
    for fold in PseudoOnlineSplit("chronological", test_size, purge).folds(X):
        mine = session == session[fold.test[0]]
        assert set(session[fold.train]) == set(session[fold.test])
        assert onset[fold.test].min() - onset[fold.train].max() >= least - 1e-6
        assert len(fold.test) == max(1, round(test_size * mine.sum()))
        trained, tested = (set(X["trial"].values[k].tolist()) - {-1} for k in (fold.train, fold.test))
        assert not trained & tested
        assert len(fold.train) + len(fold.test) + len(fold.purged) == mine.sum()


def test_runs_sessions_and_subjects_are_left_out_whole():
    parts = [
        noise(4, subject=s, session=t, seed=k)
        for k, (s, t) in enumerate([("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")])
    ]
    X = sliding_windows(parts)
    for mode, n_folds, unit in (("session", 4, "session"), ("subject", 2, "subject")):
        folds = list(PseudoOnlineSplit(mode).folds(X))
        assert len(folds) == n_folds
        assert all(len(set(X[unit].values[fold.test])) == 1 and not len(fold.purged) for fold in folds)
    runs = list(PseudoOnlineSplit("run").folds(sliding_windows(parts[:2])))
    assert [set(sliding_windows(parts[:2])["recording"].values[fold.test]) for fold in runs] == [{0}, {1}]
    with pytest.raises(DataError, match="two runs or more, subject b, session 1 has one"):
        list(PseudoOnlineSplit("run").folds(sliding_windows(parts[3])))


def test_runs_inside_a_recording_come_from_its_events():
    recording = noise(6, runs=3)
    X = with_runs(sliding_windows(recording), [recording])
    assert list(dict.fromkeys(X["run"].values)) == ["r0", "r1", "r2"]
    folds = list(PseudoOnlineSplit("run").folds(X))
    assert [set(X["run"].values[fold.test]) for fold in folds] == [{"r0"}, {"r1"}, {"r2"}]
    onset = X["onset"].values
    for fold in folds:
        assert np.abs(onset[fold.train][:, None] - onset[fold.test]).min() >= 3.0 - 1e-6
        assert len(fold.purged) > 0


def test_epochs_follow_trials_and_breaks():
    recording = noise(4)
    tasks = offline_epochs([recording], 2.0, 0.5)
    assert tasks["onset"].values.tolist() == [4.5, 12.5, 20.5, 28.5]
    with_breaks = offline_epochs([recording], 2.0, 0.5, breaks=True)
    idle = with_breaks[with_breaks["label"].values == "idle"]
    assert idle["onset"].values.tolist() == [1.0, 9.0, 17.0, 25.0, 33.0]
    assert not len(set(offline_epochs([recording], 4.5, 0.0, breaks=True)["label"].values) & {"idle"})


def test_single_trials_are_divided_at_the_same_times():
    recording = noise(10)
    X, epochs = sliding_windows(recording), offline_epochs([recording], 2.0, breaks=True)
    (fold,) = PseudoOnlineSplit(test_size=0.4).folds(X)
    single = same_times(fold, X, epochs)
    begins, onset = X["onset"].values[fold.test].min(), epochs["onset"].values
    assert (onset[single.test] >= begins).all()
    assert (onset[single.train] + 2.0 <= begins - 1.0 + 1e-6).all()
    assert len(single.train) + len(single.test) + len(single.purged) >= len(onset) - 1
    assert len(single.train) > len(single.test) > 5


def test_filters_are_causal_unless_asked():
    recording = noise(2)
    values = recording.stream().values
    later = values.copy()
    later[600:] += 5
    changed = recording.copy(streams={"eeg": regular_stream(later, 50.0)})
    for way, same in (("causal", True), ("zero-phase", False)):
        first, second = (filtered(r, None, way, (4.0, 20.0)).stream().values for r in (recording, changed))
        assert np.array_equal(first[:600], second[:600]) is same
    np.testing.assert_array_equal(filtered(recording, filter=None).stream().values, values)


def table(**options):
    return evaluate_pseudo_online({"mdm": mdm()}, simulated(2), **options)


def test_result_table():
    modes = ("offline2", "offline3", "pseudo_online", "task_trained", "leaky")
    rows = table(modes=modes, metrics=("log_loss",))
    assert rows.groupby("mode", sort=False).size().to_dict() == dict(zip(modes, (2, 2, 2, 2, 10), strict=True))
    wanted = [
        "dataset",
        "subject",
        "session",
        "split",
        "pipeline",
        "mode",
        "n_train",
        "n_test",
        "n_per_class",
        "nmcc",
        "accuracy",
        "balanced_accuracy",
        "kappa",
    ]
    wanted += ["recall_idle", "recall_left_hand", "recall_right_hand", "itr_wolpaw", "itr_mi", "log_loss"]
    wanted += ["hits", "misses", "wrong", "latency_s", "false_per_min", "idle_active", "fit_s", "predict_ms"]
    assert list(rows.columns) == wanted
    online = rows[rows["mode"] == "pseudo_online"].iloc[0]
    assert sum(online["n_per_class"].values()) == online["n_test"]
    assert set(online["n_per_class"]) == {"idle", "left_hand", "right_hand"}
    assert online["n_train"] < 1.5 * online["n_test"] + 1
    assert set(rows[rows["mode"] == "offline2"]["n_per_class"].iloc[0]) == {"left_hand", "right_hand"}
    events = rows["hits"] + rows["misses"] + rows["wrong"]
    assert (events.notna() == rows["mode"].isin(["pseudo_online", "task_trained"])).all()
    assert rows["nmcc"].between(0, 1).all()
    assert (rows[["fit_s", "predict_ms"]] > 0).all(axis=None)
    # a decoder that knows no idle is active in all of it
    assert (rows[rows["mode"] == "task_trained"]["idle_active"] == 1).all()
    assert (rows[rows["mode"] == "task_trained"]["recall_idle"] == 0).all()


def test_a_perfect_decoder_gets_perfect_scores_and_every_trial():
    recording = noise(10, trial=4.0, pause=4.0)
    values = np.zeros(recording.stream().shape)
    for onset, label in zip(recording.events["onset"], recording.events["label"], strict=True):
        values[int(onset * 50) : int((onset + 4) * 50), 0] = {"left": 1.0, "right": 2.0}[label]
    exact = recording.copy(streams={"eeg": regular_stream(values, 50.0)})
    row = evaluate_pseudo_online(
        {"true": TrueLabels()}, exact, filter=None, rule="pure", modes=["pseudo_online"], window=0.5, overlap=0.0
    ).iloc[0]
    assert row["nmcc"] == row["accuracy"] == row["kappa"] == 1.0
    assert row["hits"] == 4
    assert row["misses"] == row["wrong"] == row["false_per_min"] == 0
    assert row["latency_s"] == pytest.approx(0.5)
    assert row["itr_mi"] > 100


def test_scores_are_those_of_the_predictions():
    (recording,) = simulated()
    row = evaluate_pseudo_online({"mdm": mdm()}, recording, modes=["pseudo_online"], dwell=2).iloc[0]
    ready = filtered(recording)
    X = sliding_windows(ready)
    (fold,) = PseudoOnlineSplit().folds(X)
    y = X["label"].values.astype(str)
    model = mdm().fit(X[fold.train].values, y[fold.train])
    predicted = model.predict(X[fold.test].values)
    assert row["nmcc"] == pytest.approx((matthews_corrcoef(y[fold.test], predicted) + 1) / 2)
    live = StreamingDecoder(model, 62.5, 2.0, 1.0, butterworth(8.0, 30.0, 62.5)).push(recording.stream().values)
    live = live[fold.test[0] :]
    assert [d.label for d in live] == predicted.tolist()
    score = event_metrics(live, recording.events, window=2.0, dwell=2)
    assert (row["hits"], row["misses"], row["wrong"]) == (score.hits, score.misses, score.wrong)
    assert row["false_per_min"] == pytest.approx(score.false_per_min)


def test_label_rules_and_idle_subsampling_change_training_only():
    plain, pure, balanced, end = (
        table(modes=["pseudo_online"], **options)
        for options in ({}, {"rule": "pure"}, {"balance_idle": True}, {"rule": "end"})
    )
    assert (pure["n_train"] < plain["n_train"]).all()
    assert (balanced["n_train"] < plain["n_train"]).all()
    assert plain["n_per_class"].tolist() == pure["n_per_class"].tolist() == balanced["n_per_class"].tolist()
    assert plain["n_per_class"].tolist() != end["n_per_class"].tolist()
    assert (balanced["recall_idle"] <= plain["recall_idle"] + 0.2).all()


@pytest.mark.parametrize(("split", "n_rows"), [("session", 4), ("subject", 4)])
def test_other_splits_and_processes(split, n_rows):
    recordings = simulated(2, 2, 8)
    options = {"split": split, "modes": ("offline3", "pseudo_online")}
    rows = evaluate_pseudo_online({"mdm": mdm()}, recordings, **options)
    assert rows.groupby("mode").size().tolist() == [n_rows, n_rows]
    assert set(zip(rows["subject"], rows["session"], strict=True)) == {
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    }
    if split == "session":
        timings = ["fit_s", "predict_ms"]
        again = evaluate_pseudo_online({"mdm": mdm()}, recordings, n_jobs=2, **options)
        pd.testing.assert_frame_equal(again.drop(columns=timings), rows.drop(columns=timings))


def test_decoders_that_look_ahead_are_refused_unless_named():
    def model(transductive):
        flat = FunctionTransformer(lambda A: np.log(np.asarray(A).var(axis=-1)))
        return {"aligned": make_pipeline(EuclideanAlignment(transductive), flat, LogisticRegression())}

    recordings = simulated()
    assert len(evaluate_pseudo_online(model(False), recordings)) == 3
    with pytest.raises(DataError, match="'aligned' predicts a window differently when later windows change"):
        evaluate_pseudo_online(model(True), recordings)
    assert len(evaluate_pseudo_online(model(True), recordings, transductive=True)) == 3


def test_leaky_folds_really_overlap():
    X = sliding_windows(noise(8))
    fold = next(LeakyFolds().folds(X))
    onset = X["onset"].values
    assert (np.abs(onset[fold.train][:, None] - onset[fold.test]).min(axis=0) < 2.0).mean() > 0.9


def test_comparison_over_subjects():
    rng = np.random.default_rng(0)
    rows = [
        {
            "dataset": d,
            "subject": str(s),
            "pipeline": p,
            "mode": m,
            "nmcc": 0.6 + 0.05 * (p == "b") + 0.02 * rng.normal(),
        }
        for d in ("one", "two")
        for s in range(8)
        for p in ("a", "b")
        for m in ("offline2", "pseudo_online")
        for _ in range(2)
    ]
    result = compare_subjects(pd.DataFrame(rows))
    assert result["dataset"].tolist() == ["one", "two", "all"] * 2
    assert result["n_subjects"].tolist() == [8, 8, 16] * 2
    assert (result["difference"] < -0.02).all()
    assert (result["pvalue"] < 0.05).all()
    assert (result[result["dataset"] == "all"]["pvalue"].to_numpy() < 0.01).all()
    assert result["method"].tolist() == ["sign flip", "sign flip", "Stouffer"] * 2
    # the other direction has the same p-value
    turned = pd.DataFrame(rows).assign(nmcc=lambda t: -t["nmcc"])
    np.testing.assert_allclose(compare_subjects(turned)["pvalue"], result["pvalue"])
    modes = compare_subjects(pd.DataFrame(rows), by="mode")
    assert modes[["pipeline", "first", "second"]].iloc[0].tolist() == ["a", "offline2", "pseudo_online"]
    with pytest.raises(DataError, match="two subjects or more, a and b share 1"):
        compare_subjects(pd.DataFrame(rows[:8]))
    with pytest.raises(UsageError, match="no column 'auc'"):
        compare_subjects(pd.DataFrame(rows), metric="auc")
    with pytest.raises(UsageError, match="got 'fold'"):
        compare_subjects(pd.DataFrame(rows), by="fold")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": ("offline",)}, "no mode 'offline'; choose from offline2"),
        ({"rule": "first"}, "no label rule 'first'"),
        ({"filter": "fir"}, "no filter 'fir'; choose from causal, zero-phase"),
        (
            {"split": "random"},
            "one of chronological, run, session, later-sessions, subject, subject-groups, got 'random'",
        ),
        ({"split": "session"}, "has only session '01'"),
        ({"split": PseudoOnlineSplit(purge=1.0)}, "at least the window length of 2 s"),
        ({"metrics": ("f1",)}, "no metric 'f1'"),
        ({"window": 1000.0}, "does not fit into recording 0"),
        ({"overlap": 1.0}, "from 0 to below 1"),
    ],
)
def test_refusals_say_what_is_wrong(options, message):
    with pytest.raises((DataError, UsageError), match=message):
        evaluate_pseudo_online({"mdm": mdm()}, simulated(n_trials=4), **options)


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(UsageError, match="one pipeline or more"):
        evaluate_pseudo_online({}, simulated(n_trials=4))
    with pytest.raises(DataError, match="one recording or more"):
        evaluate_pseudo_online({"mdm": mdm()}, [])
    quiet = Recording({"eeg": regular_stream(np.zeros((500, 2)), 50.0)})
    with pytest.raises(DataError, match="Recording 0 has no events"):
        evaluate_pseudo_online({"mdm": mdm()}, quiet)
    assert "window length" in PseudoOnlineSplit("run").describe()
