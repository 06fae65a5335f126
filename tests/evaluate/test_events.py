"""Event metrics on decisions whose score can be counted by hand, and on random ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.events import Decision, EventScore, emissions, event_metrics

TRIALS = pd.DataFrame({"onset": [4.0, 14.0], "duration": [4.0, 4.0], "label": ["left", "right"]})


def said(**at):
    """One decision a second from 2 s to 24 s, idle but where named: said(t5="left")."""
    return [Decision(float(t), at.get(f"t{t}", "idle")) for t in range(2, 25)]


def score(decisions, trials=TRIALS, **options):
    return event_metrics(decisions, trials, window=2.0, **options)


def test_hits_misses_wrong_classes_and_latency():
    result = score(said(t6="left", t16="left", t17="right"))
    assert (result.hits, result.wrong, result.misses) == (2, 0, 0)
    assert result.latencies == (2.0, 3.0)
    assert result.latency_s == 2.5
    result = score(said(t16="left"))
    assert (result.hits, result.wrong, result.misses) == (0, 1, 1)
    assert np.isnan(result.latency_s)


def test_a_decision_counts_for_a_trial_until_half_a_window_after_its_end():
    assert score(said(t9="left")).hits == 1
    late = score(said(t10="left"))
    assert (late.hits, late.false_activations) == (0, 1)
    assert score(said(t4="left")).hits == 0


def test_idle_time_and_false_activations():
    result = score(said(t2="left", t3="left", t11="right", t12="left", t5="left"))
    # decisions at 2-4, 10-14 and 20-24 s are idle: 13 of 1 s each
    assert result.idle_minutes == pytest.approx(13 / 60)
    assert result.false_activations == 3
    assert result.false_per_min == pytest.approx(3 / (13 / 60))
    assert result.idle_active == pytest.approx(4 / 13)


def test_an_emission_that_outlasts_its_trial_is_active_idle_time_but_no_new_activation():
    result = score(said(t8="left", t9="left", t10="left", t11="left"))
    assert result.false_activations == 0
    assert result.idle_active == pytest.approx(2 / 13)


def test_dwell_removes_short_ones():
    decisions = said(t5="left", t11="right", t15="right", t16="right")
    result = score(decisions, dwell=2)
    assert (result.hits, result.misses, result.false_activations) == (1, 1, 0)
    assert result.latencies == (2.0,)


def test_only_trials_that_are_decoded_from_beginning_to_end_are_scored():
    late = [d for d in said(t6="left", t16="right") if d.time >= 7]
    result = score(late)
    assert (result.hits, result.misses, result.wrong) == (1, 0, 0)
    assert result.idle_minutes == pytest.approx(10 / 60)
    gap = [d for d in said(t6="left", t16="right") if not 5 <= d.time <= 7]
    assert score(gap).hits == 1
    assert score(gap).misses == 0


def test_idle_annotations_do_not_count_and_order_does_not_matter():
    more = pd.concat([TRIALS.iloc[::-1], pd.DataFrame({"onset": [9.0], "duration": [3.0], "label": ["idle"]})])
    decisions = said(t6="left", t11="left")
    assert score(decisions, more) == score(decisions)


def test_scores_add_up():
    first, second = score(said(t6="left")), score(said(t16="left", t2="left"))
    total = first + second
    assert (total.hits, total.misses, total.wrong) == (1, 2, 1)
    assert total.idle_minutes == pytest.approx(26 / 60)
    assert EventScore() + first == first


@given(st.lists(st.sampled_from(["idle", "left", "right"]), min_size=1, max_size=60), st.integers(1, 5))
def test_emissions_follow_their_definition(labels, dwell):
    got = emissions(np.array(labels), dwell)
    for k, label in enumerate(labels):
        won = k >= dwell - 1 and len(set(labels[k - dwell + 1 : k + 1])) == 1
        assert got[k] == (label if won else "idle")


@given(st.lists(st.sampled_from(["idle", "left", "right"]), min_size=23, max_size=23), st.integers(1, 4))
def test_every_trial_has_one_outcome_and_time_adds_up(labels, dwell):
    decisions = [Decision(float(t), label) for t, label in zip(range(2, 25), labels, strict=True)]
    result = score(decisions, dwell=dwell)
    assert result.hits + result.misses + result.wrong == 2
    assert len(result.latencies) == result.hits
    assert all(0 < latency <= 5 for latency in result.latencies)
    assert 0 <= result.active_minutes <= result.idle_minutes == pytest.approx(13 / 60)
    assert result.false_activations * 1 / 60 <= result.active_minutes + 1e-12


def test_a_recording_without_trials_is_all_idle():
    result = score(said(t5="left"), TRIALS.iloc[:0])
    assert (result.hits, result.misses, result.wrong, result.false_activations) == (0, 0, 0, 1)
    assert result.idle_minutes == pytest.approx(23 / 60)


def test_refusals():
    with pytest.raises(DataError, match="no decision to score"):
        score([])
    with pytest.raises(DataError, match="order of time"):
        score(said()[::-1])
    with pytest.raises(UsageError, match="dwell=0"):
        score(said(), dwell=0)
