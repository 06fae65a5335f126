"""The streaming decoder: the same decisions as in batch, whatever the chunks; nothing from the future; clear refusals."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyriemann.classification import MDM
from pyriemann.estimation import Covariances
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from neuropil.alignment import EuclideanAlignment
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.audit import audit_causality
from neuropil.evaluate.epochs import filtered
from neuropil.evaluate.events import Decision
from neuropil.networks import TorchClassifier
from neuropil.recording import Recording
from neuropil.stream import RingBuffer, StreamingDecoder, replay
from neuropil.streams import regular_stream
from neuropil.windowing import sliding_windows

SFREQ = 100.0


def recording(n_trials=8, seed=0, t0=0.0):
    rng = np.random.default_rng(seed)
    onsets = t0 + 2.0 + 5.0 * np.arange(n_trials)
    data = 1e-5 * rng.normal(size=(int((5.0 * n_trials + 2) * SFREQ), 4)) + 1e-4
    labels = np.resize(["left", "right"], n_trials)
    for onset, label in zip(onsets - t0, labels, strict=True):
        data[int(onset * SFREQ) : int((onset + 3) * SFREQ), 0 if label == "left" else 1] *= 3
    events = pd.DataFrame({"onset": onsets, "duration": 3.0, "label": labels})
    return Recording({"eeg": regular_stream(data, SFREQ, channels=list("ABCD"), t0=t0)}, events)


def power(A):
    return np.log(np.var(np.asarray(A), axis=-1))


class Net(TorchClassifier):
    def build(self, signature):
        return nn.Sequential(nn.Flatten(), nn.Linear(signature.n_channels * signature.n_times, len(signature.classes)))


PIPELINES = {
    "power": make_pipeline(FunctionTransformer(power), StandardScaler(), LogisticRegression()),
    "riemann": make_pipeline(Covariances("oas"), MDM()),
    "aligned": make_pipeline(EuclideanAlignment(), FunctionTransformer(np.asarray), Covariances("oas"), MDM()),
    "searched": GridSearchCV(
        make_pipeline(EuclideanAlignment(), FunctionTransformer(power), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    ),
    "network": Net(max_epochs=3, random_state=0),
}


def fitted_and_batch(name, band=(8.0, 30.0), overlap=0.75):
    """A decoder fitted on one recording, and what it says in batch on the windows of another."""
    past, new = recording(6, seed=0), recording(4, seed=1, t0=3.0)
    X = sliding_windows(filtered(past, band=band), length=1.0, overlap=overlap)
    y = X["label"].values.astype(str)
    data = X if name in ("aligned", "network", "searched") else X.values
    model = PIPELINES[name].fit(data, y)
    test = sliding_windows(filtered(new, band=band), length=1.0, overlap=overlap)
    return model, new, test, model.predict(test if data is X else test.values)


def pushed(decoder, samples, n):
    return [d for k in range(0, len(samples), n) for d in decoder.push(samples[k : k + n])]


@pytest.mark.parametrize("name", PIPELINES)
def test_decisions_equal_those_of_the_batch_for_any_chunks(name):
    model, new, test, expected = fitted_and_batch(name)
    samples = new.stream().values
    runs = []
    for n in (1, 7, 250):
        decoder = StreamingDecoder(model, SFREQ, 1.0, 0.25, (8.0, 30.0), t0=3.0)
        runs.append(pushed(decoder, samples, n))
        assert decoder.n_seen == len(samples)
    assert [d.label for d in runs[0]] == expected.tolist()
    np.testing.assert_allclose([d.time for d in runs[0]], test["onset"].values + 1.0, atol=1e-9)
    for run in runs[1:]:
        assert [(d.time, d.label) for d in run] == [(d.time, d.label) for d in runs[0]]
        np.testing.assert_array_equal([d.proba for d in run], [d.proba for d in runs[0]])
    whole = model.predict_proba(test if name in ("aligned", "network", "searched") else test.values)
    np.testing.assert_allclose(np.array([d.proba for d in runs[0]]), whole, atol=1e-9 if name != "network" else 1e-5)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=30))
def test_any_division_into_chunks_gives_the_same(sizes):
    model, samples = SIMPLE
    whole = StreamingDecoder(model, SFREQ, 0.5, 0.13, (8.0, 30.0)).push(samples[: sum(sizes)])
    decoder = StreamingDecoder(model, SFREQ, 0.5, 0.13, (8.0, 30.0))
    edges = np.cumsum([0, *sizes])
    got = [d for a, b in pairwise(edges) for d in decoder.push(samples[a:b])]
    assert [(d.time, d.label) for d in got] == [(d.time, d.label) for d in whole]
    np.testing.assert_array_equal([d.proba for d in got], [d.proba for d in whole])


def simple():
    X = sliding_windows(recording(), length=0.5)
    model = make_pipeline(FunctionTransformer(power), LogisticRegression())
    return model.fit(X.values, X["label"].values.astype(str)), recording(5, seed=2).stream().values


SIMPLE = simple()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.integers(1, 6))
def test_ring_buffer_is_the_tail_of_the_stream(sizes, n_times):
    samples = np.arange(1, 2 * sum(sizes) + 3, dtype=float).reshape(-1, 2)
    buffer = RingBuffer(2, n_times, float)
    edges = np.cumsum([0, *sizes])
    for a, b in pairwise(edges):
        buffer.write(samples[a:b])
        padded = np.concatenate([np.zeros((n_times, 2)), samples[:b]])[-n_times:]
        np.testing.assert_array_equal(buffer.view(), padded.T)
    view = buffer.view()
    assert np.shares_memory(view, buffer.view())
    assert view.strides[1] == view.itemsize


def test_writing_and_viewing_allocate_no_window():
    buffer, chunk = RingBuffer(64, 5000, np.float64), np.ones((25, 64))
    buffer.write(chunk)
    tracemalloc.start()
    for _ in range(100):
        buffer.write(chunk)
        buffer.view()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 < buffer.view().nbytes / 100


@pytest.mark.parametrize("name", ["power", "aligned"])
def test_the_future_never_changes_a_decision(name):
    model, new, _, _ = fitted_and_batch(name)

    def live(recording):
        return list(replay(recording, StreamingDecoder(model, SFREQ, 1.0, 0.25, (8.0, 30.0)), 0.07))

    assert audit_causality(live, new) == ()


def test_a_zero_phase_filter_is_detected_and_refused_live():
    model, new, _, _ = fitted_and_batch("power")

    def batch(way):
        def decide(recording):
            X = sliding_windows(filtered(recording, filter=way), length=1.0, overlap=0.75)
            proba = model.predict_proba(X.values)
            return [
                Decision(t + 1.0, model.classes_[p.argmax()], p) for t, p in zip(X["onset"].values, proba, strict=True)
            ]

        return decide

    assert audit_causality(batch("causal"), new) == ()
    found = audit_causality(batch("zero-phase"), new)
    assert len(found) == 3
    assert "looks ahead" in found[0].sentence
    with pytest.raises(UsageError, match="cannot run live"):
        StreamingDecoder(model, SFREQ, 1.0, filter="zero-phase")


def test_a_transductive_alignment_cannot_run_live():
    X = sliding_windows(recording(), length=1.0)
    model = make_pipeline(EuclideanAlignment(transductive=True), FunctionTransformer(power), LogisticRegression())
    model.fit(X, X["label"].values.astype(str))
    with pytest.raises(DataError, match="cannot run live"):
        StreamingDecoder(model, SFREQ, 1.0)


class RunningMeanClassifier:
    """A decoder with a memory that offers the protocol itself."""

    classes_ = np.array(["low", "high"])

    def predict_proba(self, X):
        memory = self.streaming()
        return np.array([memory.push(window) for window in np.asarray(X)])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def streaming(self):
        return RunningMean()


class RunningMean:
    def __init__(self):
        self.total, self.n = 0.0, 0

    def push(self, window):
        value = window.mean()
        self.total, self.n = self.total + value, self.n + 1
        high = 1 / (1 + np.exp(-1e5 * (value - self.total / self.n)))
        return np.array([1 - high, high])


def test_a_decoder_with_a_memory_streams_by_its_protocol_and_forgets_on_reset():
    new = recording(seed=4)
    decoder = StreamingDecoder(RunningMeanClassifier(), SFREQ, 1.0, 0.5)
    first = list(replay(new, decoder, 0.03))
    again = list(replay(new, decoder, 1.7))
    X = sliding_windows(new, length=1.0)
    np.testing.assert_array_equal([d.proba for d in first], RunningMeanClassifier().predict_proba(X))
    np.testing.assert_array_equal([d.proba for d in first], [d.proba for d in again])
    assert {d.label for d in first} == {"low", "high"}


def test_dwell_waits_until_a_class_has_won_in_a_row():
    model, samples = SIMPLE
    raw = [d.label for d in StreamingDecoder(model, SFREQ, 0.5, 0.1).push(samples)]
    held = [d.label for d in StreamingDecoder(model, SFREQ, 0.5, 0.1, dwell=3).push(samples)]
    expected = [label if k >= 2 and raw[k - 2] == raw[k - 1] == label else "idle" for k, label in enumerate(raw)]
    assert held == expected != raw


def test_integers_first_lose_nothing_of_what_follows():
    model, samples = SIMPLE
    counts = np.rint(1e6 * samples[:60])
    decoders = [StreamingDecoder(model, SFREQ, 0.5, 0.25) for _ in range(2)]
    first, second = (
        d.push(c) + d.push(samples[60:200]) for d, c in zip(decoders, (counts, counts.astype(np.int16)), strict=True)
    )
    np.testing.assert_array_equal([d.proba for d in first], [d.proba for d in second])


def test_steps_longer_than_the_window_leave_samples_out():
    model, samples = SIMPLE
    sparse = StreamingDecoder(model, SFREQ, 0.5, 1.1).push(samples)
    np.testing.assert_allclose([d.time for d in sparse], 0.5 + 1.1 * np.arange(len(sparse)))
    dense = {round(d.time, 6): d.label for d in StreamingDecoder(model, SFREQ, 0.5, 0.1).push(samples)}
    assert all(dense[round(d.time, 6)] == d.label for d in sparse)


def test_replay_keeps_real_time():
    import time

    model, _ = SIMPLE
    short = recording(1)
    began = time.monotonic()
    said = list(replay(short, StreamingDecoder(model, SFREQ, 0.5), 0.5, speed=20.0))
    assert time.monotonic() - began >= short.duration / 20 - 0.01
    assert said[-1].time == pytest.approx(short.duration, abs=0.25)


def test_a_refused_chunk_leaves_the_decoder_as_it_was():
    model, samples = SIMPLE
    decoder, clean = (StreamingDecoder(model, SFREQ, 0.5, 0.25, (8.0, 30.0)) for _ in range(2))
    decoder.push(samples[:130])
    bad = samples[130:140].copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match=r"finite numbers, got 1 that are NaN or infinite after 1\.300 s"):
        decoder.push(bad)
    clean.push(samples[:130])
    np.testing.assert_array_equal(
        [d.proba for d in decoder.push(samples[130:400])], [d.proba for d in clean.push(samples[130:400])]
    )


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros(4), r"shape \(n_times, n_channels\), got \(4,\)"),
        (np.zeros((4, 10)), r"got \(4, 10\); transpose it, time comes first"),
        (np.zeros((10, 3)), r"Expected chunks of shape \(n_times, 4\)"),
        (np.full((10, 4), np.inf), "40 that are NaN or infinite"),
        (np.full((2, 4), "a"), "got dtype <U1"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(chunk, message):
    model, _, _, _ = fitted_and_batch("network")
    with pytest.raises(DataError, match=message):
        StreamingDecoder(model, SFREQ, 1.0).push(chunk)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sfreq": 125.0}, "fitted at 100 Hz, the stream has 125 Hz"),
        ({"window": 2.0}, "fitted on windows of 100 samples, the stream's windows have 200; set window to 1 s"),
        ({"channels": list("ABDC")}, "in the same order: A, B, C, D"),
        ({"step": 0.001}, "a sample or more"),
        ({"dwell": 0}, "dwell=0"),
        ({"sfreq": -1.0}, "positive number in Hz, got -1.0"),
        ({"filter": np.zeros(6)}, r"shape \(n_sections, 6\), got \(6,\)"),
        ({"filter": (30.0, 8.0)}, "low < high"),
    ],
)
def test_decoders_that_do_not_fit_are_refused(options, message):
    model, _, _, _ = fitted_and_batch("network")
    with pytest.raises(UsageError, match=message):
        StreamingDecoder(model, **({"sfreq": SFREQ, "window": 1.0} | options))


def test_replays_that_do_not_fit_are_refused():
    model, new, _, _ = fitted_and_batch("network")
    slow = Recording({"eeg": regular_stream(np.zeros((100, 4)), 50.0)})
    with pytest.raises(DataError, match="runs at 100 Hz, the recording has 50 Hz"):
        list(replay(slow, StreamingDecoder(model, SFREQ, 1.0)))
    renamed = Recording({"eeg": new.stream().assign_coords(channel=list("ABDC"))})
    with pytest.raises(DataError, match="channels of the stream differ"):
        list(replay(renamed, StreamingDecoder(model, SFREQ, 1.0)))
    with pytest.raises(UsageError, match="positive number, got 0"):
        list(replay(new, StreamingDecoder(model, SFREQ, 1.0), speed=0.0))
