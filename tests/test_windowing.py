"""Windows against naive numpy slicing; labels against a count of samples; batches."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream
from neuropil.windowing import cut, iter_batches, lazy_windows, sliding_windows, windows

SFREQ = 50.0


def make(subject="01", seed=0, n_times=2000, t0=0.0, n_events=12, mask=False, dtype="f8"):
    rng = np.random.default_rng(seed)
    data = (rng.normal(size=(n_times, 4)) * 100).astype(dtype)
    valid = rng.uniform(size=data.shape) > 0.2 if mask else None
    eeg = regular_stream(data, SFREQ, channels=["a", "b", "c", "d"], kind="eeg", t0=t0, mask=valid, bads=["c"])
    onset = t0 + np.sort(rng.choice(np.arange(1, n_times // 50 - 2), n_events, replace=False)) + 0.1
    label = ["left", "right"] * (n_events // 2)
    events = pd.DataFrame(
        {"onset": onset, "duration": 1.0, "label": label, "run": np.arange(n_events) // 6, "word": "é"}
    )
    return Recording({"eeg": eeg}, events, subject=subject, session="s", dataset="test")


def naive(recording, tmin, tmax):
    eeg = recording.stream()
    n_times = round((tmax - tmin) * SFREQ)
    starts = [round((onset + tmin - float(eeg.time[0])) * SFREQ) for onset in recording.events["onset"]]
    return np.stack([eeg.values[s : s + n_times].T for s in starts])


@pytest.fixture(params=["memory", "disk", "sliced"])
def recording(request, tmp_path):
    whole = make(t0=3.0, mask=True)
    if request.param == "disk":
        return Recording.open(whole.save(tmp_path / "r.zarr"))
    if request.param == "sliced":
        eeg = Recording.open(whole.save(tmp_path / "r.zarr")).stream()
        return whole.copy(streams={"eeg": eeg.isel(time=slice(7, 1990), channel=[3, 0, 1])})
    return whole


@pytest.mark.parametrize(("tmin", "tmax"), [(0.0, None), (-0.5, 0.5), (0.1, 0.3), (0.0, 0.02)])
def test_windows_are_slices(recording, tmin, tmax):
    X = windows(recording, tmin=tmin, tmax=tmax)
    expected = naive(recording, tmin, 1.0 if tmax is None else tmax)
    assert lazy_windows(X) is not None
    np.testing.assert_array_equal(X.values, expected)
    np.testing.assert_allclose(X["time"].values, tmin + np.arange(X.sizes["time"]) / SFREQ)
    eeg = recording.stream()
    for k in (0, 5):
        start, stop = float(X["onset"][k] + X["time"][0]), float(X["onset"][k] + X["time"][-1]) + 1 / SFREQ
        inside = (eeg.time.values > start - 1e-9) & (eeg.time.values < stop - 1e-9)
        np.testing.assert_array_equal(eeg.values[inside].T, X[k].values)
    mask = naive(
        recording.copy(streams={"m": regular_stream(eeg["mask"].values, SFREQ, t0=float(eeg.time[0]))}),
        tmin,
        tmax or 1.0,
    )
    np.testing.assert_array_equal(X["mask"].values, mask)


def test_coordinates():
    recording = make(t0=3.0)
    X = windows(recording)
    assert X.dims == ("window", "channel", "time")
    assert X["label"].values.tolist() == recording.events["label"].tolist()
    np.testing.assert_array_equal(X["onset"].values, recording.events["onset"])
    assert X["trial"].values.tolist() == list(range(12))
    assert X["run"].values.tolist() == recording.events["run"].tolist()
    assert set(X["word"].values) == {"é"}
    assert set(X["subject"].values) == {"01"}
    assert X["bad"].values.tolist() == [False, False, True, False]
    assert X.attrs["sfreq"] == SFREQ
    assert X.attrs["dataset"] == "test"
    chosen = windows(recording, labels=["right"])
    assert chosen["trial"].values.tolist() == list(range(1, 12, 2))
    np.testing.assert_array_equal(chosen.values, X.values[1::2])


KEYS = [
    3,
    -1,
    slice(2, 9, 3),
    slice(None, None, -1),
    slice(8, 1, -2),
    [4, 0, 4, 11],
    np.array([], dtype=int),
    np.arange(12) % 3 == 0,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_first_axis(recording, key):
    X = windows(recording)
    lazy = X[key]
    np.testing.assert_array_equal(lazy.values, naive(recording, 0, 1)[key])
    assert np.all(lazy["label"].values == X["label"].values[key])
    np.testing.assert_array_equal(lazy[..., 5].values, naive(recording, 0, 1)[key][..., 5])


@given(
    st.tuples(
        *[
            st.slices(n) | st.lists(st.integers(-n, n - 1), min_size=1, max_size=6) | st.integers(-n, n - 1)
            for n in (12, 4, 50)
        ]
    ),
    st.integers(0, 5),
)
def test_outer_indexing(keys, seed):
    recording = make(seed=seed % 2)
    X, expected = windows(recording), naive(recording, 0, 1)
    for axis, key in reversed(list(enumerate(keys))):
        expected = (
            np.take(expected, key, axis) if not isinstance(key, slice) else expected[(slice(None),) * axis + (key,)]
        )
    np.testing.assert_array_equal(X[keys].values, expected)


def test_chained_indexing(recording):
    X, expected = windows(recording), naive(recording, 0, 1)
    np.testing.assert_array_equal(X[::-1][[5, 2]][1:].values, expected[::-1][[5, 2]][1:])
    np.testing.assert_array_equal(
        X.isel(channel=[1, 0], time=slice(40, 4, -7)).values, expected[:, [1, 0]][:, :, 40:4:-7]
    )
    np.testing.assert_array_equal(X.sel(channel="b").values, expected[:, list(X["channel"].values).index("b")])
    np.testing.assert_array_equal(X[X["label"] == "left"].values, expected[X["label"].values == "left"])
    np.testing.assert_array_equal(xr.concat([X[:2], X[5:6]], "window").values, expected[[0, 1, 5]])


def test_sklearn_takes_lazy_windows_as_they_are():
    recordings = [make(subject=str(k), seed=k) for k in range(4)]
    for k, recording in enumerate(recordings):
        data = recording.stream().values
        for onset in recording.events["onset"][::2]:
            data[round(onset * SFREQ) : round(onset * SFREQ) + 50, k % 4] += 300
    X = windows(recordings)
    y, groups = X["label"].values, X["subject"].values
    for key in ([3, 1], np.arange(5), slice(2, 4), np.arange(48) % 2 == 0):
        part = _safe_indexing(X, key)
        assert isinstance(part, xr.DataArray)
        np.testing.assert_array_equal(part.values, X.values[key])
    means = FunctionTransformer(lambda Z: np.asarray(Z).mean(axis=2))
    model = make_pipeline(means, LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    lazy = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(4), error_score="raise")
    eager = cross_val_score(model, X.values, y, groups=groups, cv=GroupKFold(4))
    np.testing.assert_array_equal(lazy, eager)
    assert lazy.mean() > 0.6


def test_several_recordings():
    recordings = [make("01", 0), make("02", 1, n_times=1500, t0=9.0, dtype="f4"), make("03", 2, mask=True)]
    X = windows(recordings)
    np.testing.assert_array_equal(X.values, np.concatenate([naive(r, 0, 1) for r in recordings]))
    assert X.dtype == np.float64
    assert X["recording"].values.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert X["subject"].values.tolist() == ["01"] * 12 + ["02"] * 12 + ["03"] * 12
    mixed = np.random.default_rng(0).permutation(36)
    np.testing.assert_array_equal(X[mixed].values, X.values[mixed])


def test_recordings_that_do_not_match():
    one = make()
    eeg = one.stream()
    other_rate = one.copy(streams={"eeg": regular_stream(eeg.values, 60.0, channels=list("abcd"))})
    with pytest.raises(DataError, match="one sampling rate, got 50 Hz and 60 Hz"):
        windows([one, other_rate])
    with pytest.raises(DataError, match="same channels in the same order, recording 1"):
        windows([one, one.copy(streams={"eeg": eeg.isel(channel=[1, 0, 2, 3])})])
    with pytest.raises(DataError, match="one recording or more"):
        windows([])
    with pytest.raises(DataError, match="regular stream with dims"):
        windows(one.copy(streams={"s": irregular_stream([0.1], [1])}), "s")
    with pytest.raises(DataError, match="labelled up, the recordings have: left, right"):
        windows(one, labels=["up"])
    with pytest.raises(UsageError, match="holds no sample"):
        windows(one, tmin=1.0, tmax=1.0)


def test_events_at_the_edges():
    eeg = regular_stream(np.arange(200.0)[:, None], 100.0, t0=5.0)
    events = pd.DataFrame({"onset": [4.99, 5.0, 6.0, 6.01, 9.0], "duration": 1.0, "label": list("abcde")})
    recording = Recording({"eeg": eeg}, events)
    with pytest.warns(UserWarning, match="3 of 5 events lie too close to the edge of recording 0"):
        X = windows(recording)
    assert X["label"].values.tolist() == ["b", "c"]
    assert X["trial"].values.tolist() == [1, 2]
    np.testing.assert_array_equal(X.values[:, 0, 0], [0.0, 100.0])
    np.testing.assert_array_equal(X.values[:, 0, -1], [99.0, 199.0])
    with pytest.warns(UserWarning, match="5 of 5"), pytest.raises(DataError, match="choose a shorter window"):
        windows(recording, tmax=3.0)
    with pytest.raises(DataError, match="beyond its recording"):
        cut(recording, None, np.array([0]), np.array([101]), 100, {})


def test_columns_with_gaps_are_left_out_of_the_coordinates():
    recording = make()
    recording.events["rt"] = [np.nan] + [0.5] * 11
    X = windows(recording)
    assert "rt" not in X.coords
    assert "run" in X.coords


def per_sample(recording, labels=None):
    eeg, events = recording.stream(), recording.events
    state = np.full(eeg.sizes["time"], "idle", dtype=object)
    for onset, duration, label in events[["onset", "duration", "label"]].itertuples(index=False):
        start = round((onset - float(eeg.time[0])) * SFREQ)
        if labels is None or label in labels:
            state[max(start, 0) : max(start + round(duration * SFREQ), 0)] = label
    return state


@pytest.mark.parametrize("rule", ["majority", "end"])
@pytest.mark.parametrize(("length", "overlap"), [(2.0, 0.5), (1.0, 0.0), (0.7, 0.9), (3.0, 0.75)])
def test_sliding_labels_against_a_count_of_samples(rule, length, overlap):
    rng = np.random.default_rng(3)
    recording = make(t0=1.0)
    onset = 1.0 + np.cumsum(rng.integers(60, 150, 14)) / SFREQ
    duration = rng.integers(10, 60, 14) / SFREQ
    label = rng.choice(["left", "right", "feet"], 14)
    recording = recording.copy(events=pd.DataFrame({"onset": onset, "duration": duration, "label": label}))
    X = sliding_windows(recording, length=length, overlap=overlap, rule=rule)
    n_times, state = round(length * SFREQ), per_sample(recording)
    step = max(1, round(n_times * (1 - overlap)))
    starts = np.arange(0, 2000 - n_times + 1, step)
    assert X.sizes["window"] == len(starts)
    np.testing.assert_allclose(X["onset"].values, 1.0 + starts / SFREQ)
    np.testing.assert_array_equal(X.values[3], recording.stream().values[starts[3] : starts[3] + n_times].T)
    begin = np.rint((onset - 1.0) * SFREQ).astype(int)
    for k, start in enumerate(starts):
        part = state[start : start + n_times]
        got = X["label"].values[k]
        counts = {name: int((part == name).sum()) for name in ("left", "right", "feet")}
        if rule == "end":
            assert got == part[-1]
        elif sum(counts.values()) * 2 <= n_times:
            assert got == "idle"
        else:
            assert counts[got] == max(counts.values())
        assert float(X["share"][k]) == pytest.approx(np.mean(part == got))
        assert bool(X["pure"][k]) == bool((part == got).all())
        trial = int(X["trial"][k])
        assert (trial == -1) == (got == "idle")
        if trial >= 0:
            assert label[trial] == got
            assert begin[trial] < start + n_times
            assert begin[trial] + round(duration[trial] * SFREQ) > start


def test_bookkeeping_of_pseudo_online_windows():
    eeg = regular_stream(np.zeros((60 * 125, 1)), 125.0)
    events = pd.DataFrame({"onset": [20.0], "duration": [4.0], "label": ["left"]})
    recording = Recording({"eeg": eeg}, events)
    X = sliding_windows(recording, length=2.0, overlap=0.5)
    assert X.sizes["window"] == 59
    task = (X["label"] == "left").values
    assert task.sum() == 3
    np.testing.assert_array_equal(X["onset"].values[task], [20.0, 21.0, 22.0])
    around = [int(np.flatnonzero(X["onset"].values == t)[0]) for t in (19.0, 20.0, 21.0, 22.0, 23.0)]
    covered = [X["share"].values[k] if X["label"].values[k] == "left" else 1 - X["share"].values[k] for k in around]
    np.testing.assert_allclose(covered, [0.5, 1, 1, 1, 0.5])
    assert X["label"].values[around].tolist() == ["idle", "left", "left", "left", "idle"]
    assert X["trial"].values[around].tolist() == [-1, 0, 0, 0, -1]
    by_end = sliding_windows(recording, length=2.0, overlap=0.5, rule="end")
    assert by_end["onset"].values[(by_end["label"] == "left").values].tolist() == [19.0, 20.0, 21.0, 22.0]


def test_sliding_windows_without_events_and_refusals():
    recording = make()
    empty = recording.copy(events=recording.events.iloc[:0])
    X = sliding_windows(empty, length=1.0)
    assert set(X["label"].values) == {"idle"}
    assert (X["trial"].values == -1).all()
    both = sliding_windows([empty, recording], length=1.0, idle="rest")
    assert set(both["label"].values) == {"rest", "left", "right"}
    assert both["recording"].values.tolist() == [0] * X.sizes["window"] + [1] * X.sizes["window"]
    with pytest.raises(UsageError, match="majority' or 'end', got 'most'"):
        sliding_windows(recording, rule="most")
    for overlap in (1.0, -0.1):
        with pytest.raises(UsageError, match="from 0 to below 1"):
            sliding_windows(recording, overlap=overlap)
    for length in (0.0, 1000.0):
        with pytest.raises(DataError, match="does not fit into recording 0"):
            sliding_windows(recording, length=length)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
@pytest.mark.parametrize("prefetch", [1, 2, 4])
def test_batches_hold_every_window_once(recording, batch_size, prefetch):
    X, expected = windows(recording), naive(recording, 0, 1)
    for source in (X, X.values):
        batches = list(iter_batches(source, batch_size, prefetch=prefetch))
        order = np.concatenate([indices for indices, _ in batches])
        np.testing.assert_array_equal(order, np.arange(12))
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), expected)
        shuffled = list(
            iter_batches(source, batch_size, shuffle=True, generator=np.random.default_rng(1), prefetch=prefetch)
        )
        order = np.concatenate([indices for indices, _ in shuffled])
        assert sorted(order.tolist()) == list(range(12))
        assert order.tolist() != list(range(12))
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in shuffled]), expected[order])
    whole = list(iter_batches(X, batch_size, drop_last=True))
    assert len(whole) == 12 // batch_size
    assert all(len(batch) == batch_size for _, batch in whole)


def test_batches_of_a_selection_and_of_sliced_windows(recording):
    X, expected = windows(recording), naive(recording, 0, 1)
    for part, naive_part in (
        (X[[7, 2, 9]], expected[[7, 2, 9]]),
        (X[::-2], expected[::-2]),
        (X[..., 3:20], expected[..., 3:20]),
    ):
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in iter_batches(part, 2)]), naive_part)


def test_the_same_seed_gives_the_same_order():
    X = windows(make())
    first, second = (
        [i.tolist() for i, _ in iter_batches(X, 5, shuffle=True, generator=np.random.default_rng(7))] for _ in range(2)
    )
    assert first == second


def test_batches_can_be_left_early_and_pass_errors_on(tmp_path):
    X = windows(Recording.open(make().save(tmp_path / "r.zarr")))
    for indices, _ in iter_batches(X, 1):
        if indices[0] == 2:
            break
    chunk = tmp_path / "r.zarr" / "streams" / "0" / "data" / "c" / "0" / "0"
    chunk.write_bytes(b"")
    with pytest.raises(DataError, match="truncated"):
        list(iter_batches(windows(Recording.open(tmp_path / "r.zarr")), 4))
    with pytest.raises(UsageError, match="batch_size=0"):
        list(iter_batches(X, 0))
