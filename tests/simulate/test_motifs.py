"""Simulated motifs and block graphs: what is planted is there, repeats with its seed, and becomes recordings."""

import numpy as np
import pytest

from neuropil.errors import UsageError
from neuropil.simulate.motifs import INTERVALS, simulate_block_graph, simulate_motifs


def test_planted_communities_correlate_when_and_where_they_are_active():
    motifs = simulate_motifs(noise=0.0, random_state=0)
    first, second = np.triu_indices(30, 1)
    for motif, (start, stop) in enumerate(INTERVALS):
        together = motifs.together(motif)
        assert together.sum() == 2 * 28
        assert motifs.animals[motif].sum() == 3
        for animal in range(5):
            changes = np.diff(motifs.traces[animal, start:stop], axis=0)
            moved = changes.std(axis=0) > 0
            pairs = moved[first] & moved[second]
            matrix = np.corrcoef(changes.T[moved])
            values = matrix[np.triu_indices(moved.sum(), 1)]
            difference = values[together[pairs]].mean() - values[~together[pairs]].mean()
            if motifs.animals[motif, animal]:
                assert difference > 0.3
        assert motifs.active[motif].sum() == stop - start


def test_an_event_has_the_shape_of_the_indicator():
    motifs = simulate_motifs(1, 400, 2, intervals=(), n_active=1, size=1, noise=0.0, random_state=3)
    trace = motifs.traces[0, :, 0]
    lags = np.arange(60)
    kernel = np.exp(-lags / 12) - np.exp(-lags / 3)
    onset = int(np.flatnonzero(trace > 1e-9)[0]) - 1
    size = trace[onset + 1] / kernel[1]
    assert 0.5 <= size <= 1.5
    np.testing.assert_allclose(trace[onset : onset + 5], size * kernel[:5], atol=1e-9)


def test_drift_is_shared_by_the_neurons_of_an_animal():
    still, drifting = (simulate_motifs(random_state=0, drift=drift) for drift in (False, True))
    added = drifting.traces - still.traces
    for animal in added:
        singular = np.linalg.svd(animal, compute_uv=False)
        assert singular[1] < 1e-9 * singular[0]
    gains = added[:, 0] / added[:, 0].mean(axis=1, keepdims=True)
    assert gains.std() > 0.1
    assert np.array_equal(still.communities, drifting.communities)


def test_recordings_hold_the_traces_and_repeat():
    motifs, again = simulate_motifs(random_state=5), simulate_motifs(random_state=5)
    recordings = motifs.recording(sfreq=4.0)
    assert [recording.subject for recording in recordings] == [f"animal{k}" for k in range(5)]
    assert np.array_equal(recordings[2].stream("calcium").values, again.traces[2])
    assert recordings[0].duration == 75.0


def test_graphs_have_the_means_that_were_asked_for():
    graph = simulate_block_graph(400, 3, probability=0.3, inside=5.0, outside=1.0, random_state=0)
    same = graph.labels[:, None] == graph.labels
    edges = graph.weights > 0
    upper = np.triu(np.ones_like(same), 1)
    assert np.array_equal(graph.weights, graph.weights.T)
    assert graph.weights[same & edges].mean() == pytest.approx(5.0, rel=0.03)
    assert graph.weights[~same & edges].mean() == pytest.approx(1.0, rel=0.03)
    assert edges[upper & same].mean() == pytest.approx(edges[upper & ~same].mean(), abs=0.01)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: simulate_motifs(n_active=6), "n_active"),
        (lambda: simulate_motifs(size=16), "communities"),
        (lambda: simulate_motifs(n_times=100), "Intervals"),
        (lambda: simulate_motifs(noise=-1.0), "noise"),
        (lambda: simulate_motifs(random_state=0).recording(sfreq=0.0), "sfreq"),
        (lambda: simulate_block_graph(3, 4), "groups"),
        (lambda: simulate_block_graph(inside=0.0), "means"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
