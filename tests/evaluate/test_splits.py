"""Splits: what they promise about time, trials, classes and groups, on data with known spans and on random ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.purge import near_test
from neuropil.evaluate.splits import (
    SPLITS,
    AcrossSessions,
    ChronologicalFolds,
    ChronologicalWithinSession,
    LaterSessions,
    LeaveOneSubjectOut,
    OwnSplit,
    StratifiedWithinSession,
    SubjectGroups,
    default_split,
    fold_table,
    make_split,
)
from neuropil.recording import Recording
from neuropil.streams import regular_stream
from neuropil.windowing import sliding_windows, windows


def session(n_trials=12, trial=4.0, pause=2.0, sfreq=50.0, seed=0, **labels):
    rng = np.random.default_rng(seed)
    onsets = pause + np.arange(n_trials) * (trial + pause)
    data = rng.normal(size=(int((onsets[-1] + trial + pause) * sfreq), 3))
    events = pd.DataFrame({"onset": onsets, "duration": trial, "label": np.resize(["left", "right"], n_trials)})
    return Recording({"eeg": regular_stream(data, sfreq)}, events, **labels)


def spans_of(X):
    start = X["onset"].values + float(X["time"][0])
    return start, start + X.sizes["time"] / X.attrs["sfreq"]


def smallest_gap(X, train, test):
    """Smallest gap in s between any training and test window of a recording, by brute force over all pairs."""
    start, stop = spans_of(X)
    keys = list(zip(*(X[name].values.tolist() for name in ("subject", "session", "recording")), strict=True))
    gaps = [
        max(start[i] - stop[j], start[j] - stop[i]) for i in train.tolist() for j in test.tolist() if keys[i] == keys[j]
    ]
    return min(gaps, default=np.inf)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 80), st.integers(0, 2), st.booleans()), min_size=2, max_size=60
    ),
    st.integers(0, 50),
)
def test_purge_is_what_comparing_all_pairs_says(rows, guard):
    start = np.array([r[0] / 10 for r in rows])
    stop = start + np.array([r[1] / 10 for r in rows])
    recording = np.array([r[2] for r in rows])
    is_test = np.array([r[3] for r in rows])
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    near = near_test(recording, start, stop, train, test, guard / 10)
    for k, i in enumerate(train):
        gaps = [max(start[i] - stop[j], start[j] - stop[i]) for j in test if recording[j] == recording[i]]
        assert near[k] == any(gap < guard / 10 - 1e-6 for gap in gaps)


def test_purge_costs_a_sort_not_all_pairs():
    n = 400_000
    start = np.arange(n) * 0.1
    is_test = np.arange(n) % 1000 < 200
    near = near_test(
        np.zeros(n, dtype=int), start, start + 2.0, np.flatnonzero(~is_test), np.flatnonzero(is_test), guard=1.0
    )
    # a window of 2 s is near if its onset is less than 2 + 1 s from one in the block: 29 windows on each side, at steps of 0.1 s
    assert near.sum() == (2 * n // 1000 - 1) * 29


@given(
    st.sampled_from(["stratified", "stratified in order", "chronological", "blocks"]),
    st.sampled_from([0.0, 0.5, 0.75]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(2, 4),
)
def test_sliding_windows_never_leak(name, overlap, guard, n_splits):
    X = sliding_windows([session(10, seed=k, session=str(k)) for k in range(2)], length=1.0, overlap=overlap)
    options = {} if name == "chronological" else {"n_splits": n_splits}
    if name == "stratified in order":
        name, options = "stratified", options | {"shuffle": False}
    split = make_split(name, guard=guard, **options)
    tested = np.zeros(X.shape[0], dtype=int)
    for fold in split.folds(X):
        tested[fold.test] += 1
        assert len(np.unique(fold.test)) == len(fold.test)
        assert not np.intersect1d(fold.train, fold.test).size
        assert not np.intersect1d(fold.purged, fold.test).size
        assert smallest_gap(X, fold.train, fold.test) > guard - 1e-6
        used = np.concatenate([fold.train, fold.purged])
        trials = [set(zip(X["session"].values[k], X["trial"].values[k], strict=True)) for k in (used, fold.test)]
        assert all(trial < 0 for _, trial in trials[0] & trials[1])
        assert len(set(X["session"].values[fold.test])) == 1
    assert (tested <= 1).all()
    if name != "chronological":
        assert (tested == 1).all()


def test_chronological_tests_the_last_fifth_of_every_class():
    X = windows(session(20))
    (train, test), *more = ChronologicalWithinSession(0.2).split(X)
    assert not more
    for label in ("left", "right"):
        mine = X["label"].values == label
        assert X["onset"].values[test][mine[test]].min() > X["onset"].values[train][mine[train]].max()
        assert mine[test].sum() == 2
        assert mine[train].sum() == 8


def test_blocks_are_contiguous_in_time_whatever_the_order_of_the_windows():
    X = windows(session(20))
    shuffled = X[np.random.default_rng(1).permutation(20)]
    expected = [sorted(X["onset"].values[test]) for _, test in ChronologicalFolds(5).split(X)]
    got = [sorted(shuffled["onset"].values[test]) for _, test in ChronologicalFolds(5).split(shuffled)]
    assert got == expected
    assert [max(onsets) for onsets in expected] == sorted(max(onsets) for onsets in expected)


def test_shuffled_folds_follow_the_seed_and_keep_class_shares():
    X = windows(session(20, pause=3.0))
    first, again, other = (
        [t.tolist() for _, t in StratifiedWithinSession(5, shuffle=True, random_state=s).split(X)] for s in (0, 0, 1)
    )
    assert first == again != other
    assert all((X["label"].values[test] == "left").sum() == 2 for test in first)
    with pytest.raises(TypeError, match="shuffle"):
        StratifiedWithinSession(5)


def test_neighbours_within_the_guard_leave_training():
    X = windows(session(20, pause=0.5))
    assert [len(f.purged) for f in ChronologicalFolds(5, guard=0.5).folds(X)] == [0] * 5
    assert [len(f.purged) for f in ChronologicalFolds(5, guard=0.6).folds(X)] == [1, 2, 2, 2, 1]
    # within 5 s of a test trial lie two trials: their spans are 0.5 and 5 s away, and a gap of exactly the guard is allowed
    assert [len(f.purged) for f in ChronologicalFolds(5, guard=5.1).folds(X)] == [2, 4, 4, 4, 2]


def test_sessions_and_subjects():
    recordings = [
        session(6, seed=k, subject=s, session=t)
        for k, (s, t) in enumerate([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")])
    ]
    X = windows(recordings)
    names = [fold.name for fold in AcrossSessions().folds(X)]
    assert names == [f"subject {s}, session {t}" for s in "ab" for t in "12"]
    for train, test in AcrossSessions().split(X):
        assert set(X["subject"].values[train]) == set(X["subject"].values[test])
        assert len(train) == len(test) == 6
    for train, test in LeaveOneSubjectOut().split(X):
        assert not set(X["subject"].values[train]) & set(X["subject"].values[test])
    assert LeaveOneSubjectOut().get_n_splits(X) == 2
    assert AcrossSessions().get_n_splits(X) == 4
    # subject a's session 1 is not subject b's session 1
    assert ChronologicalFolds(3).get_n_splits(X) == 12


def test_the_first_session_trains_and_later_ones_are_tested():
    X = windows([session(4, subject=s, session=k, seed=1) for s in "ab" for k in ("10", "2", "9")])
    folds = list(LaterSessions().folds(X))
    assert [fold.name for fold in folds] == [f"subject {s}, session {k} after 2" for s in "ab" for k in ("9", "10")]
    for fold in folds:
        assert set(X["session"].values[fold.train]) == {"2"}
        assert len(set(X["session"].values[fold.test])) == 1
        assert set(X["subject"].values[fold.train]) == set(X["subject"].values[fold.test])
    with pytest.raises(DataError, match="two sessions or more of every subject, subject a has only session '1'"):
        list(LaterSessions().folds(windows(session(4, subject="a", session="1"))))


def test_groups_of_subjects_are_tested_once_each():
    X = windows([session(4, subject=str(k), seed=1) for k in range(1, 12)])
    folds = list(SubjectGroups(3).folds(X))
    assert [fold.name for fold in folds] == ["subjects 1 to 4", "subjects 5 to 8", "subjects 9 to 11"]
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(X)))
    for fold in folds:
        assert not set(X["subject"].values[fold.train]) & set(X["subject"].values[fold.test])
        assert len(fold.train) + len(fold.test) == len(X)
    few = windows([session(4, subject=str(k)) for k in range(2)])
    assert [fold.name for fold in make_split("subject-groups").folds(few)] == ["subject 0", "subject 1"]
    with pytest.raises(UsageError, match="two folds or more, got n_splits=1"):
        SubjectGroups(1)


def test_within_session_is_another_name_for_blocks():
    assert isinstance(make_split("within-session"), ChronologicalFolds)


def test_own_split_purges_overlaps_and_leaves_other_parts_aside():
    X = windows(session(10, pause=0.5), tmin=-0.5)
    parts = np.array(["train"] * 5 + ["test"] * 3 + ["validation"] * 2, dtype=object)
    X = X.assign_coords(split=("window", parts))
    ((train, test),) = OwnSplit().split(X)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert test.tolist() == [5, 6, 7]
    ((train, _),) = OwnSplit(guard=1.0).split(X)
    assert train.tolist() == [0, 1, 2, 3]


def test_the_default_is_own_then_sessions_then_subjects_then_blocks():
    two = [session(10, seed=k, subject=str(k)) for k in range(2)]
    X = windows(two)
    assert isinstance(default_split(X), LeaveOneSubjectOut)
    assert isinstance(default_split(windows([session(10, session=str(k)) for k in range(2)])), AcrossSessions)
    assert isinstance(make_split("default", windows(two[0])), ChronologicalFolds)
    parts = np.resize(["train", "train", "train", "test", "test"], 20).astype(object)
    assert isinstance(default_split(X.assign_coords(split=("window", parts))), OwnSplit)


def test_scikit_learn_takes_them():
    X = windows(session(16, pause=3.0))
    model = make_pipeline(FunctionTransformer(lambda A: np.asarray(A).std(axis=-1)), LogisticRegression())
    assert len(cross_val_score(model, X, X["label"].values, cv=make_split("blocks", n_splits=4))) == 4
    values, y = X.values, X["label"].values
    spans = np.stack(spans_of(X), axis=1)
    expected = [test.tolist() for _, test in ChronologicalFolds(4).split(X)]
    assert [t.tolist() for _, t in ChronologicalFolds(4, spans=spans).split(values, y)] == expected
    in_order = [test.tolist() for _, test in StratifiedKFold(4).split(values, y)]
    assert [t.tolist() for _, t in StratifiedWithinSession(4, shuffle=False, spans=spans).split(values, y)] == in_order
    by_group = [t.tolist() for _, t in LeaveOneSubjectOut().split(values, y, groups=np.repeat(["a", "b"], 8))]
    assert by_group == [list(range(8)), list(range(8, 16))]


def test_numbers_as_targets_are_split_by_time_alone():
    X = windows(session(20))
    y = np.linspace(0, 1, 20) + 0.001
    assert [t.tolist() for _, t in ChronologicalFolds(4).split(X, y)] == [list(range(k, k + 5)) for k in (0, 5, 10, 15)]


def test_reports():
    X = windows(session(20, subject="7"))
    rows = fold_table(ChronologicalFolds(5), X)
    assert rows[0] == {
        "fold": "subject 7, fold 1",
        "n_train": 16,
        "n_test": 4,
        "n_purged": 0,
        "n_per_class": {"left": 2, "right": 2},
    }
    for name in SPLITS:
        sentence = make_split(name).describe()
        assert len(sentence) > 30
        assert "\n" not in sentence
    assert "within 1 s" in make_split("blocks").describe()
    assert "overlap" in make_split("own").describe()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: make_split("random", X), "no split 'random'; choose one of own, stratified"),
        (lambda X: make_split("blocks", X, folds=3), "does not take these options: folds"),
        (lambda X: make_split("blocks", X, n_splits=1), "two folds or more, got n_splits=1"),
        (lambda X: make_split("blocks", X, n_splits=7), "class 'left' has 6 in"),
        (lambda X: make_split("blocks", guard=-1.0), "from 0 on, got -1.0"),
        (lambda X: make_split("chronological", X, test_size=1.5), "between 0 and 1, got test_size=1.5"),
        (lambda X: make_split("chronological", X[[0, 1, 2]]), "Class 'right' has 1 trial"),
        (lambda X: make_split("session", X), "only session"),
        (lambda X: make_split("subject", X), "all windows are of subject"),
        (lambda X: make_split("own", X), "no coordinate 'split'"),
        (lambda X: make_split("own", X.assign_coords(split=("window", ["train"] * 12))), "12 'train' and 0 'test'"),
        (lambda X: make_split("stratified", X.values, X["label"].values), "no coordinate 'onset'"),
        (lambda X: make_split("blocks", X, guard=500.0), "come too close to a test window; shorten the guard of 500 s"),
        (lambda X: make_split("blocks", X[[]]), "no window to split"),
        (lambda X: list(make_split("blocks").split(X, ["left"])), "one label for each of the 12 windows, got 1"),
        (lambda X: list(make_split("subject").split(X, groups=["a"])), "one group for each of the 12 windows"),
        (lambda X: make_split("blocks", X, spans=np.zeros((3, 2))), r"shape \(12, 2\)"),
        (lambda X: make_split("default"), "pass X"),
        (lambda X: make_split("blocks").get_n_splits(), "pass X"),
    ],
)
def test_refusals_say_what_is_wrong(make, message):
    X = windows(session(12))
    with pytest.raises((DataError, UsageError), match=message):
        make(X)


def test_a_class_only_in_the_test_windows_is_refused():
    X = windows(session(12))
    parts = np.where(X["label"].values == "right", "test", "train").astype(object)
    with pytest.raises(DataError, match="Class 'right' has no training window"):
        list(OwnSplit().split(X.assign_coords(split=("window", parts))))


def test_shuffling_heavily_overlapping_windows_is_refused():
    X = sliding_windows(session(12), length=2.0, overlap=0.95)
    with pytest.raises(DataError, match="overlap windows less"):
        make_split("stratified", X, n_splits=2, guard=2.0)
