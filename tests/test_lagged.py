"""Windows before volumes: where they lie, what they carry, scaling of targets, refusals."""

import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from neuropil.errors import DataError, UsageError
from neuropil.lagged import make_lagged_epochs, targets
from neuropil.recording import Recording
from neuropil.signal.bold import scale_bold, scale_bold_causally
from neuropil.streams import irregular_stream, regular_stream

RNG = np.random.default_rng(0)


def scan(n_volumes=60, tr=2.0, t0=0.0, seconds=120.0, regions=("a", "b"), **labels):
    ramp = np.arange(round(seconds * 50.0))
    eeg = regular_stream(np.stack([ramp, -ramp], axis=1).astype(float), 50.0, channels=["C3", "C4"], unit="uV")
    values = RNG.normal(size=(n_volumes, len(regions)))
    bold = regular_stream(values, 1 / tr, channels=list(regions), kind="bold", unit="z", modality="fmri", t0=t0)
    return Recording({"eeg": eeg, "bold": bold}, **labels)


def test_a_window_ends_where_its_volume_begins():
    X = make_lagged_epochs(scan(subject="s1"), window=10.0, scaling="none")
    assert X.shape == (55, 2, 500)
    assert X["onset"].values[0] == 10.0
    assert X["volume"].values[0] == 5
    np.testing.assert_array_equal(X[0, 0].values, np.arange(500))
    for k in (0, 17, 54):
        assert X[k, 0, -1].item() == round(X["onset"].values[k] * 50) - 1
    assert X["time"].values[[0, -1]].tolist() == [-10.0, pytest.approx(-0.02)]
    assert set(X["subject"].values) == {"s1"}


def test_targets_travel_with_the_windows():
    first, second = scan(subject="1"), scan(subject="2")
    X = make_lagged_epochs([first, second], window=10.0, scaling="none")
    names, y = targets(X)
    assert names == ["a", "b"]
    both = np.concatenate([r.stream("bold").values[5:] for r in (first, second)])
    np.testing.assert_allclose(y, both, rtol=1e-6)
    chosen = np.array([3, 60, 7])
    np.testing.assert_array_equal(targets(X[chosen])[1], y[chosen])
    assert targets(X.drop_vars(["bold:a", "bold:b"]))[0] == []


def test_onsets_given_by_hand_and_irregular_volumes():
    recording = scan()
    onsets = 3.0 + 1.9 * np.arange(60)
    X = make_lagged_epochs(recording, window=10.0, onsets=onsets, scaling="none")
    np.testing.assert_allclose(X["onset"].values, onsets[onsets >= 10])
    again = make_lagged_epochs([recording, recording], window=10.0, onsets=[onsets, onsets], scaling="none")
    assert len(again) == 2 * len(X)
    stream = irregular_stream(onsets, recording.stream("bold").values, modality="fmri")
    jittered = make_lagged_epochs(Recording({"eeg": recording.stream("eeg"), "bold": stream}), window=10.0)
    np.testing.assert_allclose(jittered["onset"].values, X["onset"].values)
    assert targets(jittered)[0] == ["region_1", "region_2"]


@pytest.mark.parametrize(
    ("recording", "options", "message"),
    [
        (scan(t0=500.0), {}, r"do not overlap in time: the EEG lasts from 0 to 120 s, the volumes from 500 to 618 s"),
        (scan(n_volumes=20), {}, "A scan needs at least 30 volumes, recording 0 has 20"),
        (
            scan(seconds=60.0),
            {},
            r"At least 30 volumes need 16 s of EEG before them, recording 0 has 23 such volumes of 60",
        ),
        (
            scan(),
            {"onsets": np.r_[np.arange(59) * 2.0, 3.0]},
            "must increase, volume 59 of recording 0 comes at 3 s after volume 58 at 116 s",
        ),
        (scan(), {"onsets": np.arange(59)}, "Expected one onset for each of the 60 volumes of recording 0, got 59"),
        (scan(), {"target": "fmri"}, "has no stream 'fmri' with the regions, it has eeg, bold"),
    ],
)
def test_data_that_do_not_fit_are_refused(recording, options, message):
    with pytest.raises(DataError, match=message):
        make_lagged_epochs(recording, **options)


def test_arguments_and_regions_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="The scaling is one of scan, causal, none, got 'z'"):
        make_lagged_epochs(scan(), scaling="z")
    with pytest.raises(UsageError, match="Expected onsets for each of the 2 recordings, got 3"):
        make_lagged_epochs([scan(), scan()], onsets=[[1], [2], [3]])
    with pytest.raises(DataError, match="same regions in the same order, recording 1 has a, c"):
        make_lagged_epochs([scan(), scan(regions=("a", "c"))])
    with pytest.raises(DataError, match="Expected one recording or more"):
        make_lagged_epochs([])


def test_scaling_over_the_scan_as_the_field_does_it():
    bold = RNG.normal(size=(200, 3)).cumsum(axis=0) + 50
    b, a = butter(5, 0.15 / 0.25)
    expected = filtfilt(b, a, bold, axis=0)
    expected = expected - expected.mean(axis=0)
    expected /= np.quantile(np.abs(expected), 0.95, axis=0)
    np.testing.assert_allclose(scale_bold(bold, 2.0), expected, atol=1e-6)
    np.testing.assert_allclose(scale_bold(7 * bold + 3, 2.0), expected, atol=1e-6)
    slow = scale_bold(bold, 4.0)  # half the rate lies below the cutoff
    np.testing.assert_allclose(slow * np.quantile(np.abs(bold - bold.mean(0)), 0.95, axis=0), bold - bold.mean(0))


def test_causal_scaling_knows_nothing_of_later_volumes():
    bold = RNG.normal(size=(200, 2)).cumsum(axis=0)
    changed = bold.copy()
    changed[150:] += 30 * RNG.normal(size=(50, 2))
    first, second = (scale_bold_causally(values, 2.0, 140) for values in (bold, changed))
    np.testing.assert_array_equal(first[:150], second[:150])
    assert (first[150:] != second[150:]).any()
    assert np.quantile(np.abs(first[:140]), 0.95, axis=0) == pytest.approx([1, 1])
    assert (scale_bold(bold, 2.0)[:140] != scale_bold(changed, 2.0)[:140]).any()
    X = make_lagged_epochs(scan(), window=10.0, scaling="causal", train_share=0.5)
    assert np.isfinite(targets(X)[1]).all()


def test_constant_and_missing_regions_are_refused():
    bold = RNG.normal(size=(60, 2))
    bold[:, 1] = 4.0
    with pytest.raises(DataError, match="Every region must vary, region 1 is constant"):
        scale_bold(bold, 4.0)
    bold[3, 0] = np.nan
    with pytest.raises(DataError, match="Regions must have a finite value in every volume"):
        scale_bold(bold, 2.0)
    with pytest.raises(UsageError, match="n_train must be between 2 and the 60 volumes, got 90"):
        scale_bold_causally(RNG.normal(size=(60, 1)), 2.0, 90)
