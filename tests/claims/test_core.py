"""Verdicts follow from measurements, never from anything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuropil.claims import at_least, at_most, between, claim, claims_of, judge
from neuropil.claims.core import Verdict
from neuropil.errors import UsageError
from neuropil.experiments.reproduce import Reproduction


def declare(*criteria, measure=lambda seed, scale: {"a": 0.0}, **options):
    options = {"sentence": "s", "source": "p", "data": "d", "system": "a", **options}
    return claim(holds=criteria, **options)(measure)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.80, 0.81, 0.82), Verdict.HOLDS),
        ((0.50, 0.51, 0.52), Verdict.FAILS),
        ((0.60, 0.71, 0.82), Verdict.UNDECIDED),
        ((0.70, 0.70, 0.70), Verdict.HOLDS),
        ((0.69999, 0.69999), Verdict.FAILS),
    ],
)
def test_verdict_from_the_interval_over_seeds(values, verdict):
    assert judge(declare(at_least("a", 0.7)), [{"a": v} for v in values]).verdict == verdict


def test_two_measures_are_compared_seed_by_seed():
    # The levels differ wildly between seeds, the difference does not: pairing decides.
    rows = [{"a": level + 0.05, "b": level} for level in (0.2, 0.5, 0.9)]
    assert judge(declare(at_least("a", "b")), rows).verdict == Verdict.HOLDS
    assert judge(declare(at_least("a", "b", margin=0.1)), rows).verdict == Verdict.FAILS
    assert judge(declare(at_most("a", "b", margin=0.1)), rows).verdict == Verdict.HOLDS


def test_one_failed_criterion_fails_the_claim_and_none_only_reports():
    rows = [{"a": 0.5}, {"a": 0.501}]
    assert judge(declare(*between("a", 0.4, 0.6)), rows).verdict == Verdict.HOLDS
    assert judge(declare(at_least("a", 0.4), at_most("a", 0.45)), rows).verdict == Verdict.FAILS
    assert judge(declare(), rows).verdict == Verdict.REPORTED


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_means_and_intervals_are_students(values):
    mean, low, high = judge(declare(), [{"a": v} for v in values]).means["a"]
    assert mean == pytest.approx(np.mean(values))
    if np.ptp(values) > 1e-6:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected)


def test_a_criterion_reads_as_a_sentence():
    assert str(at_least("dual", "eegnet", margin=-0.03)) == "dual ≥ eegnet - 0.03"
    assert str(at_most("leak", 0.5)) == "leak ≤ 0.5"


def test_an_experiment_must_measure_what_is_compared():
    lacking = declare(at_least("a", "csp"), linear=("csp",))
    with pytest.raises(UsageError, match="must measure csp"):
        lacking.run(0, "quick")
    with pytest.raises(UsageError, match="quick or full"):
        lacking.run(0, "huge")
    with pytest.raises(UsageError, match="at least one measurement"):
        judge(lacking, [])


def test_planned_systems_have_no_claims_yet():
    with pytest.raises(UsageError, match="planned, not yet working"):
        claims_of("hymad")


def test_every_claim_about_a_network_faces_a_tuned_linear_baseline():
    from neuropil.claims.decoding import dbconformer

    for declared in claims_of("dbconformer"):
        assert declared.linear or declared.name == "structure"
    assert set(dbconformer.tuned_linear()) == {"csp_lda", "tangent_space"}


@pytest.mark.parametrize("slug", ["dbconformer", "pseudo-online", "eeg-simulator"])
def test_claims_are_declared_in_full(slug):
    for declared in claims_of(slug):
        assert all((declared.sentence, declared.source, declared.data, declared.system))
        assert declared.full_seeds >= declared.seeds >= 1


@pytest.mark.parametrize(("greater", "unbeaten"), [(True, []), (False, ["linear"])])
def test_where_measures_are_errors_the_smaller_one_wins(greater, unbeaten):
    declared = declare(linear=("linear",), greater_is_better=greater)
    rows = {declared.name: [{"row": {"a": 2.0, "linear": 1.0}, "seconds": 1.0}]}
    assert Reproduction("dbconformer", "quick", [declared], rows).unbeaten(declared) == unbeaten
