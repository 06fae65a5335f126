"""Whatever a user has becomes sequences of bins; what cannot be counts or traces is refused in one sentence."""

import numpy as np
import pandas as pd
import pytest

from neuropil.activity import Activity, check_counts, check_same_length, check_traces, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.recording import Recording
from neuropil.streams import irregular_stream, regular_stream

COUNTS = np.random.default_rng(0).poisson(1.0, size=(40, 3))


def spikes(*, events=None, trial=None):
    times = np.array([0.05, 0.15, 0.16, 0.95, 1.05, 1.85])
    units = np.array(["a", "b", "b", "a", "b", "a"], dtype=object)
    table = None
    if events:
        table = pd.DataFrame(
            {"onset": [a for a, _ in events], "duration": [b - a for a, b in events], "label": "trial"}
        )
        if trial is not None:
            table["trial"] = trial
    return Recording({"spikes": irregular_stream(times, units, modality="spikes")}, table)


def counts(values=COUNTS, names=("a", "b", "c"), **options):
    return Recording({"spikes": regular_stream(values, 50.0, channels=list(names), modality="spikes", **options)})


def test_arrays_become_sequences():
    one = read_activity(COUNTS)
    assert one.lengths == [40]
    assert one.sequences[0].dtype == np.float64
    assert read_activity(np.stack([COUNTS, COUNTS])).lengths == [40, 40]
    several = read_activity([COUNTS, COUNTS[:10]])
    assert several.lengths == [40, 10]
    assert several.stacked.shape == (50, 3)
    assert read_activity(pd.DataFrame(COUNTS, columns=list("xyz"))).names == ("x", "y", "z")
    assert read_activity(one) is one


def test_recordings_become_sequences_with_names_and_rate():
    found = read_activity([counts(), counts()])
    assert found.names == ("a", "b", "c")
    assert found.sfreq == 50.0
    assert found.lengths == [40, 40]
    np.testing.assert_array_equal(found.sequences[0], COUNTS)


def test_masked_samples_are_missing():
    mask = np.ones(COUNTS.shape, dtype=bool)
    mask[3, 1] = False
    found = read_activity(counts(mask=mask)).sequences[0]
    assert np.isnan(found[3, 1])
    assert np.isnan(found).sum() == 1


def test_spikes_are_counted_in_bins():
    found = read_activity(spikes(), bin_width=0.1)
    assert found.names == ("a", "b")
    assert found.sfreq == 10.0
    assert found.stacked.sum() >= 5


def test_trials_are_sequences_of_their_own_in_order_of_time():
    found = read_activity(spikes(events=[(1.0, 2.0), (0.0, 1.0)]), bin_width=0.1)
    assert found.lengths == [10, 10]
    assert found.starts.tolist() == [0.0, 1.0]
    assert found.sequences[0].sum(axis=0).tolist() == [2, 2]
    assert found.sequences[1].sum(axis=0).tolist() == [1, 1]


def test_events_of_one_trial_belong_together():
    found = read_activity(spikes(events=[(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)], trial=[0, 0, 1]), bin_width=0.1)
    assert found.lengths == [10, 5]


def test_trials_of_a_regular_stream_are_cut_from_it():
    events = pd.DataFrame({"onset": [0.2, 0.6], "duration": 0.2, "label": "x", "trial": [0, 1]})
    stream = regular_stream(COUNTS, 50.0, modality="spikes")
    found = read_activity(Recording({"spikes": stream}, events))
    np.testing.assert_array_equal(found.sequences[1], COUNTS[30:40])


def test_spikes_come_first_among_the_streams():
    eeg = regular_stream(np.zeros((40, 2)), 50.0)
    both = Recording({"eeg": eeg, "units": regular_stream(COUNTS, 50.0, modality="spikes")})
    assert len(read_activity(both).names) == 3
    assert len(read_activity(both, stream="eeg").names) == 2


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((0, 3)), "shape"),
        ([np.zeros((5, 3)), np.zeros((5, 2))], "number 1 has shape"),
        ([], "got none"),
        ("spikes", "got str"),
        (np.array([["a", "b"]]), "numbers"),
        (Recording({}), "no stream"),
    ],
)
def test_what_is_no_activity_is_refused(X, message):
    with pytest.raises(DataError, match=message):
        read_activity(X)


def test_recordings_of_other_units_are_refused():
    with pytest.raises(DataError, match="same units"):
        read_activity([counts(), counts(names=("a", "b", "d"))])


def test_a_trial_beyond_the_stream_is_refused():
    events = pd.DataFrame({"onset": [0.6], "duration": [0.9], "label": ["trial"]})
    with pytest.raises(DataError, match="beyond the stream"):
        read_activity(Recording({"spikes": regular_stream(COUNTS, 50.0, modality="spikes")}, events))


def test_arguments_of_recordings_do_not_fit_arrays():
    with pytest.raises(UsageError, match="belong to recordings"):
        read_activity(COUNTS, bin_width=0.1)
    with pytest.raises(UsageError, match="bins a second already"):
        read_activity(counts(), bin_width=0.1)


def changed(time, unit, value):
    values = COUNTS.astype(float)
    values[time, unit] = value
    return read_activity(values)


@pytest.mark.parametrize(
    ("activity", "message"),
    [
        (changed(4, 1, -1), "unit001 at bin 4 is negative"),
        (changed(4, 1, 0.5), "not whole"),
        (changed(4, 1, np.nan), "cannot skip"),
        (changed(4, 1, np.inf), "finite"),
        (read_activity(COUNTS * [1, 0, 1]), "unit001 never fires"),
        (read_activity(COUNTS * [0, 0, 1]), "2 of 3 units"),
    ],
)
def test_what_cannot_be_counts_is_refused(activity, message):
    with pytest.raises(DataError, match=message):
        check_counts(activity)


def test_missing_counts_are_legal_where_the_model_allows():
    check_counts(changed(4, 1, np.nan), missing=True)
    unseen = COUNTS.astype(float)
    unseen[:, 2] = np.nan
    with pytest.raises(DataError, match="never measured"):
        check_counts(read_activity(unseen), missing=True)


def test_empty_sequences_are_warned_about():
    with pytest.warns(UserWarning, match="1 of 2 sequences hold no spike"):
        check_counts(read_activity([COUNTS, 0 * COUNTS]))


def test_units_may_be_silent_in_held_out_data():
    check_counts(read_activity(COUNTS * [1, 0, 1]), held_out=True)


def test_constant_traces_are_refused():
    with pytest.raises(DataError, match="never changes"):
        check_traces(read_activity(np.c_[np.arange(5.0), np.ones(5)]))
    check_traces(read_activity(np.c_[np.arange(5.0), np.arange(5.0)]))


def test_sequences_of_one_length_are_stacked():
    assert check_same_length(read_activity([COUNTS, COUNTS])).shape == (2, 40, 3)
    with pytest.raises(DataError, match="number 1 has 10"):
        check_same_length(Activity([COUNTS, COUNTS[:10]], ("a", "b", "c"), None, np.zeros(2)))
