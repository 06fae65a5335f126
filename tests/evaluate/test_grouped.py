"""Folds of whole trials and videos, random windows that warn, and the audit of divided trials."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import KFold

from neuropil.datasets import load
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.audit import audit_leaks
from neuropil.evaluate.splits import RandomWindows, TrialFolds, VideoFolds, make_split
from neuropil.evaluate.trials import vote
from neuropil.recording import Recording
from neuropil.streams import regular_stream
from neuropil.windowing import windows

SFREQ = 50.0


def emotions(n_subjects=3, n_trials=10, step=2.0, gap=3.0):
    """Trials of 8 s in windows of 2 s; the same video has the same number in all subjects, and not always the same label."""
    recordings = []
    for subject in range(n_subjects):
        rng = np.random.default_rng(subject)
        labels = rng.permutation(np.tile(["low", "high"], n_trials // 2))
        rows = [
            {"onset": gap + k * (8 + gap) + start, "duration": 2.0, "label": labels[k], "trial": k, "video": f"v{k}"}
            for k in range(n_trials)
            for start in np.arange(0, 6 + 1e-9, step)
        ]
        data = rng.normal(size=(int((gap + n_trials * (8 + gap)) * SFREQ), 3))
        stream = regular_stream(data, SFREQ, channels=["F3", "Fz", "F4"])
        recordings.append(Recording({"eeg": stream}, pd.DataFrame(rows), subject=str(subject)))
    return windows(recordings)


def trial_names(X):
    return [f"{s}/{t}" for s, t in zip(X["subject"].values, X["trial"].values, strict=True)]


@pytest.mark.parametrize("step", [2.0, 0.5])
def test_trials_are_never_divided_and_every_one_is_tested_once(step):
    X = emotions(step=step)
    names = np.array(trial_names(X))
    tested = np.zeros(len(X), dtype=int)
    for fold in make_split("trial").folds(X):
        assert not set(names[fold.train]) & set(names[fold.test])
        assert not len(fold.purged)
        assert len(set(X["subject"].values[fold.test])) > 1
        shares = [np.mean(X["label"].values[part] == "low") for part in (fold.train, fold.test)]
        np.testing.assert_allclose(shares, 0.5, atol=0.02)
        tested[fold.test] += 1
    assert (tested == 1).all()


def test_trials_that_follow_without_a_break_lose_the_windows_within_the_guard():
    X = emotions(gap=0.0)
    for fold in TrialFolds(guard=1.0).folds(X):
        assert len(fold.purged)
        near = fold.purged[:, None] - fold.test[None]
        assert (np.abs(near).min(axis=1) == 1).all()
    assert all(not len(fold.purged) for fold in TrialFolds(guard=0.0).folds(X))


def test_videos_are_watched_in_testing_or_in_training_by_everybody():
    X = emotions()
    video = X["video"].values
    for train, test in make_split("video", X).split(X):
        assert not set(video[train]) & set(video[test])
        assert set(X["subject"].values[test]) == {"0", "1", "2"}
    by_hand = [test.tolist() for _, test in TrialFolds().split(X.values, X["label"].values, video)]
    assert by_hand == [test.tolist() for _, test in VideoFolds().split(X)]


def test_the_seed_decides():
    X = emotions()
    first, again, other = ([t.tolist() for _, t in TrialFolds(random_state=s).split(X)] for s in (0, 0, 1))
    assert first == again != other


def test_random_windows_warn_and_leak():
    X = emotions(step=0.5)
    names = np.array(trial_names(X))
    with pytest.warns(
        UserWarning, match="100% of the test windows come from a trial that is trained on, .*% share samples"
    ):
        folds = list(RandomWindows().folds(X))
    assert len(folds) == 5
    assert all(set(names[fold.test]) <= set(names[fold.train]) for fold in folds)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(X)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_split("trial", X)


@pytest.mark.filterwarnings("ignore:Random windows leak")
def test_the_audit_finds_divided_trials_also_where_no_sample_is_shared():
    X = emotions(n_subjects=1)
    model = DummyClassifier(strategy="most_frequent")
    result = audit_leaks(model, X, split=KFold(5, shuffle=True, random_state=0), max_folds=1)
    assert [leak.kind for leak in result.leaks] == ["trial"]
    assert "come from a trial that is tested in fold 1; use a split that keeps trials whole" in result.leaks[0].sentence
    assert audit_leaks(model, X, split=TrialFolds(), max_folds=2).ok
    assert audit_leaks(model, emotions(step=0.5), split=RandomWindows(), max_folds=1).leaks[0].kind == "overlap"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: make_split("trial", X.drop_vars("trial")), "no coordinate 'trial' to keep together; pass groups="),
        (lambda X: make_split("video", X.drop_vars("video")), "no coordinate 'video' to keep together; pass groups="),
        (lambda X: make_split("trial", X.drop_vars("onset")), "no coordinate 'onset'"),
        (
            lambda X: make_split("trial", X, n_splits=6),
            "Expected 6 trials or more of every class for 6 folds, class 'high' has 5",
        ),
        (lambda X: make_split("trial", X, n_splits=1), "two folds or more"),
        (
            lambda X: make_split("random-windows", X, n_splits=30),
            "Expected 30 windows or more of every class for 30 folds, got 20",
        ),
    ],
)
def test_refusals_say_what_is_wrong(make, message):
    with pytest.raises((DataError, UsageError), match=message):
        make(emotions(n_subjects=1))


def test_votes_are_means_over_the_windows_of_a_trial_of_a_recording():
    X = emotions(n_subjects=2)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    X, proba = X[order], rng.dirichlet([1, 1], len(X))
    names = trial_names(X)
    votes = vote(proba, X)
    by_hand = pd.DataFrame(proba).groupby(names, sort=False).mean()
    np.testing.assert_allclose(votes.probabilities, by_hand.to_numpy())
    assert [names[k] for k in votes.first_window] == by_hand.index.tolist()
    assert votes.n_windows.tolist() == [4] * 20
    again = vote(proba, np.array(names, dtype=object))
    np.testing.assert_array_equal(again.probabilities, votes.probabilities)


def test_votes_refuse_what_does_not_match():
    with pytest.raises(DataError, match=r"one trial for each of the 3 windows, got trials of shape \(2,\)"):
        vote(np.full((3, 2), 0.5), [0, 1])
    with pytest.raises(DataError, match="must be finite"):
        vote(np.array([[np.nan, 1.0]]), [0])


def test_simulated_stimuli_overlap_where_a_step_is_given():
    whole, overlapping = (windows(load("sim-emotion", n_subjects=1, n_trials=2, step_s=s)) for s in (None, 117 / 128))
    assert len(whole) == 2 * 7
    assert len(overlapping) == 2 * 27
    starts = np.rint(overlapping["onset"].values * 128).astype(int)[:27]
    assert set(np.diff(starts).tolist()) == {117}
    np.testing.assert_array_equal(overlapping.values[0], whole.values[0])
    with pytest.raises(UsageError, match=r"between 0 and their length, got 5\.0 s"):
        load("sim-emotion", n_subjects=1, n_trials=2, step_s=5.0)
