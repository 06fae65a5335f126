"""Splits with gaps, correlation over whole scans, and nulls that keep slowness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.decoding.volumes import scans_of
from neuropil.errors import DataError, UsageError
from neuropil.evaluate.gapped import GappedSplit
from neuropil.evaluate.volumes import randomise_phases, region_table, scan_correlations
from neuropil.lagged import make_lagged_epochs
from neuropil.recording import Recording
from neuropil.streams import regular_stream

RNG = np.random.default_rng(0)


def scans(tr=2.0, n_volumes=300, names=("s1", "s2")):
    made = []
    for name in names:
        eeg = regular_stream(RNG.normal(size=(round(n_volumes * tr * 10), 2)), 10.0, channels=["C3", "C4"], unit="uV")
        bold = regular_stream(RNG.normal(size=(n_volumes, 1)), 1 / tr, channels=["a"], kind="bold", modality="fmri")
        made.append(Recording({"eeg": eeg, "bold": bold}, subject=name))
    return make_lagged_epochs(made, scaling="none")


@pytest.mark.parametrize(("tr", "n_gap"), [(2.0, 10), (2.1, 9), (0.8, 25)])
def test_parts_follow_each_other_with_gaps(tr, n_gap):
    X = scans(tr)
    found = list(GappedSplit().parts(X))
    assert [part.name for part in found] == ["subject s1", "subject s2"]
    for number, part in enumerate(found):
        whole = np.flatnonzero(X["recording"].values == number)
        share = round(0.1 * len(whole))
        assert (len(part.validation), len(part.test), len(part.left_out)) == (share, share, 2 * n_gap)
        np.testing.assert_array_equal(np.sort(np.concatenate(part[1:])), whole)
        onset = X["onset"].values
        assert onset[part.validation].min() - onset[part.train].max() > 20
        assert onset[part.test].min() - onset[part.validation].max() > 20
        assert onset[part.test].max() == onset[whole].max()
        # no sample of the EEG is shared: a window begins 16 s before its volume
        assert onset[part.test].min() - 16 >= onset[part.validation].max()


@given(st.permutations(range(40)), st.integers(20, 30))
def test_the_order_of_the_windows_does_not_matter(order, gap):
    spans = np.arange(40)[:, None] * 4.0 + [0.0, 16.0]
    (plain,) = GappedSplit(gap=gap, spans=spans).parts(np.zeros((40, 1, 1)))
    (shuffled,) = GappedSplit(gap=gap, spans=spans[list(order)]).parts(np.zeros((40, 1, 1)))
    for a, b in zip(plain[1:], shuffled[1:], strict=True):
        np.testing.assert_array_equal(np.sort(np.asarray(order)[b]), np.sort(a))


def test_it_goes_where_scikit_learn_takes_a_split():
    X = scans()
    split = GappedSplit(validation=0.0, test=0.2)
    folds = list(split.split(X))
    assert len(folds) == split.get_n_splits(X) == 2
    for train, test in folds:
        assert X["onset"].values[test].min() - X["onset"].values[train].max() > 20
        assert len(np.unique(X["recording"].values[np.r_[train, test]])) == 1
    assert "volumes within 20 s before the next part are left out" in split.describe()


def test_splits_that_cannot_be_are_refused():
    X = scans()
    with pytest.raises(
        DataError, match="Windows of 16 s on both sides of a gap of 4 s would share samples; make the gap as long"
    ):
        list(GappedSplit(gap=4.0).parts(X))
    with pytest.raises(UsageError, match=r"got gap=20\.0, validation=0\.5, test=0\.5"):
        GappedSplit(validation=0.5, test=0.5)
    with pytest.raises(DataError, match="No training volume of subject s1 lies more than 200 s before the next part"):
        list(GappedSplit(gap=200.0, test=0.5).parts(X))
    with pytest.raises(DataError, match="no coordinate 'onset'"):
        list(GappedSplit().parts(np.zeros((50, 1, 1))))


def test_correlations_are_over_whole_scans():
    y, predicted = RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2))
    names = np.repeat(["a", "b"], [20, 40])
    r = scan_correlations(y, predicted, names)
    assert r.shape == (2, 2)
    assert r[1, 0] == pytest.approx(np.corrcoef(y[20:, 0], predicted[20:, 0])[0, 1])
    assert scan_correlations(y[:, 0], predicted[:, 0])[0, 0] == pytest.approx(
        np.corrcoef(y[:, 0], predicted[:, 0])[0, 1]
    )
    assert scan_correlations(y, np.ones_like(y)).tolist() == [[0.0, 0.0]]
    with pytest.raises(DataError, match="Expected predictions of the shape of the targets"):
        scan_correlations(y, predicted[:, :1])
    with pytest.raises(DataError, match="Expected one scan for each of the 60 volumes, got 3"):
        scan_correlations(y, predicted, ["a"] * 3)


def test_scans_are_named_by_what_windows_know():
    X = scans(n_volumes=60)
    assert len(np.unique(scans_of(X))) == 2
    assert scans_of(X, ["x"] * len(X)).tolist() == ["x"] * len(X)
    assert scans_of(np.zeros((3, 2, 2))) is None


def test_random_phases_keep_the_spectrum_of_every_scan():
    courses, names = RNG.normal(size=101).cumsum(), np.repeat([0, 1], [50, 51])
    made = randomise_phases(courses, names, np.random.default_rng(0))
    for name in (0, 1):
        mine = names == name
        np.testing.assert_allclose(np.abs(np.fft.rfft(made[mine])), np.abs(np.fft.rfft(courses[mine])), atol=1e-9)
        assert abs(np.corrcoef(made[mine], courses[mine])[0, 1]) < 0.9


def test_slow_courses_that_have_nothing_to_do_with_each_other_stay_within_the_null():
    rng = np.random.default_rng(1)
    slow = [np.convolve(rng.normal(size=(180)), np.ones(20), "valid") for _ in range(40)]
    plain, inside = 0, 0
    for a, b in zip(slow[::2], slow[1::2], strict=True):
        table = region_table(a[:, None], b[:, None], np.zeros(len(a)), ["x"], n_surrogates=200)
        inside += table["p"][0] > 0.05
        plain += abs(table["r"][0]) > 1.97 / np.sqrt(len(a))
    assert inside >= 17
    assert plain >= 5  # a test that takes volumes as independent would be wrong this often


def test_region_table():
    y = RNG.normal(size=(120, 2))
    predicted = y + [[1.0, 100.0]] * RNG.normal(size=(120, 2))
    table = region_table(y, predicted, np.repeat([0, 1, 2], 40), ["strong", "weak"], n_surrogates=100)
    assert table["region"].tolist() == ["strong", "weak", "mean"]
    strong, weak, mean = (row for _, row in table.iterrows())
    assert strong["p"] < 0.02 < weak["p"]
    assert strong["low"] < strong["r"] < strong["high"]
    assert mean["r"] == pytest.approx((strong["r"] + weak["r"]) / 2)
    assert strong["n_scans"] == 3
    single = region_table(y, predicted, np.zeros(120), ["strong", "weak"], n_surrogates=20)
    assert single["low"].isna().all()
