"""The container: streams, clocks, events, messages, and how it shows itself."""

import numpy as np
import pandas as pd
import pytest

from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import bin_spikes, irregular_stream, regular_stream, stream_bounds


def small():
    rng = np.random.default_rng(0)
    eeg = regular_stream(rng.normal(size=(1000, 3)), 250.0, channels=["C3", "Cz", "C4"], bads=["Cz"], unit="uV", t0=2.0)
    spikes = irregular_stream([0.5, 0.6, 2.0, 7.5], [3, 1, 3, 3])
    events = pd.DataFrame({"onset": [3.0, 4.5], "duration": [1.0, 0.5], "label": ["left", "right"], "run": [1, 2]})
    return Recording({"spikes": spikes, "eeg": eeg}, events, subject="01", session="a", dataset="d", info={"x": 1})


def test_clocks():
    recording = small()
    eeg = recording.stream()
    assert eeg.attrs["sfreq"] == 250.0
    assert stream_bounds(eeg) == (2.0, 6.0)
    assert recording.duration == 7.0
    np.testing.assert_allclose(eeg.time.values, 2 + np.arange(1000) / 250, rtol=0, atol=1e-12)
    cut = eeg.sel(time=slice(3.0, 3.1))
    assert cut.sizes["time"] == 26
    np.testing.assert_array_equal(cut.values, eeg.values[250:276])
    assert cut.sel(time=slice(None, 3.004)).sizes["time"] == 2
    np.testing.assert_array_equal(eeg.sel(time=2.4996).values, eeg.values[125])
    assert float(eeg.isel(time=slice(10, None, 5)).time[1]) == pytest.approx(2.06)


def test_parts_are_found_by_name():
    recording = small()
    assert recording.stream("spikes").attrs["irregular"] is True
    with pytest.raises(UsageError, match="no stream 'meg'; it has: spikes, eeg"):
        recording.stream("meg")
    with pytest.raises(UsageError, match="no regular stream; name one of: spikes"):
        recording.copy(streams={"spikes": recording.stream("spikes")}).stream()
    with pytest.raises(UsageError, match="got colour"):
        recording.copy(colour="red")


def test_copies_share_data_and_nothing_else():
    recording = small()
    other = recording.copy(subject="02")
    assert other.subject == "02"
    assert recording.subject == "01"
    assert other.stream().variable._data is recording.stream().variable._data
    other.events.loc[0, "label"] = "changed"
    other.info["x"] = 2
    assert recording.events.loc[0, "label"] == "left"
    assert recording.info == {"x": 1}
    assert not recording.identical(other)
    assert recording.identical(recording.copy())


def test_spikes_are_counted():
    stream = irregular_stream([0.0, 0.05, 0.1, 0.1, 0.25, 0.39], [7, 7, 2, 7, 2, 7])
    counts = bin_spikes(stream, 0.1, stop=0.4)
    assert list(counts["channel"].values) == ["2", "7"]
    np.testing.assert_array_equal(counts.values, [[0, 2], [1, 1], [1, 0], [0, 1]])
    assert counts.attrs["sfreq"] == pytest.approx(10.0)
    rng = np.random.default_rng(1)
    times, units = np.sort(rng.uniform(0, 10, 500)), rng.integers(0, 4, 500)
    counts = bin_spikes(irregular_stream(times, units), 0.5, start=0.0, stop=10.0)
    for unit in range(4):
        expected, _ = np.histogram(times[units == unit], np.arange(0, 10.25, 0.5))
        np.testing.assert_array_equal(counts.sel(channel=str(unit)).values, expected)
    with pytest.raises(UsageError, match="sampled regularly"):
        bin_spikes(small().stream("eeg"), 0.1)
    with pytest.raises(UsageError, match="positive number of seconds"):
        bin_spikes(stream, 0.0)
    with pytest.raises(DataError, match="narrower bins"):
        bin_spikes(stream, 5.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regular_stream(np.zeros(5), 100.0), r"shape \(n_times, n_channels\), got shape \(5,\)"),
        (lambda: regular_stream(np.zeros((0, 2)), 100.0), "at least one sample"),
        (lambda: regular_stream(np.zeros((5, 2)), 0.0), "positive number in Hz, got 0.0"),
        (lambda: regular_stream(np.zeros((5, 2)), np.nan), "positive number in Hz, got nan"),
        (lambda: regular_stream(np.zeros((5, 2)), 1.0, channels=["a"]), "2 channels, got 1 names"),
        (lambda: regular_stream(np.zeros((5, 2)), 1.0, channels=["a", "a"]), "unique, got a more than once"),
        (lambda: regular_stream(np.zeros((5, 2)), 1.0, bads=["x"]), "got x"),
        (lambda: regular_stream(np.zeros((5, 2)), 1.0, kind=["eeg"]), "got 1 kinds"),
        (lambda: regular_stream(np.zeros((5, 2)), 1.0, positions=np.zeros((3, 2))), r"\(2, 3\) in metres"),
        (lambda: irregular_stream([0.1, 0.2], [1]), "one time stamp for every value"),
        (lambda: irregular_stream([0.2, 0.1], [1, 2]), "must not decrease"),
        (lambda: irregular_stream([0.2, np.inf], [1, 2]), "must be finite"),
        (lambda: Recording({"a": np.zeros((3, 2))}), "make it with regular_stream"),
        (
            lambda: Recording({"eeg": small().stream().isel(time=slice(None, None, 2))}),
            "labelled 250 Hz, but samples lie 0.008 s",
        ),
        (lambda: Recording({"eeg": small().stream().isel(time=[0, 1, 5])}), "labelled 250 Hz, but samples lie 0.016 s"),
        (lambda: Recording({"eeg": small().stream()[::-1]}), "samples lie -0.004 s apart"),
        (lambda: Recording({}, pd.DataFrame({"onset": [1.0]})), "without duration, label"),
        (
            lambda: Recording({}, pd.DataFrame({"onset": ["x"], "duration": 1.0, "label": "a"})),
            "finite onset in seconds, row 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_text_shows_streams_and_events():
    text = repr(small())
    assert "subject 01" in text
    assert "eeg: 4.0 s at 250 Hz, 3 channel: C3, Cz, C4 (1 bad), uV" in text
    assert "spikes: 4 time stamps" in text
    assert "events: 2 (left × 1, right × 1)" in text
    many = pd.DataFrame({"onset": range(30), "duration": 1.0, "label": [f"l{k}" for k in range(30)]})
    assert "and 18 more" in repr(small().copy(events=many))


def test_html_shows_everything_and_escapes_it():
    html = small()._repr_html_()
    for part in (
        "eeg",
        "4.0 s at 250 Hz",
        "C3, Cz, C4",
        "(1 bad)",
        "uV",
        "4 time stamps",
        "2 events",
        "7.0 s",
        "left",
        "<svg",
    ):
        assert part in html
    evil = '<script>alert("x")</script>&"'
    stream = regular_stream(np.zeros((10, 1)), 10.0, channels=[evil], unit=evil)
    events = pd.DataFrame({"onset": [0.1], "duration": [0.2], "label": [evil]})
    html = Recording({evil: stream}, events, subject=evil, session=evil, dataset=evil)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6
    from xml.etree import ElementTree

    ElementTree.fromstring(html)


def test_html_of_little_and_of_much():
    assert "0 events" in Recording({})._repr_html_()
    assert "no labels" in repr(Recording({}))
    many = pd.DataFrame({"onset": np.arange(50_000) / 10, "duration": 0.1, "label": "x"})
    assert len(small().copy(events=many)._repr_html_()) < 600_000
