"""Electrode graphs: neighbours by name and by place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuropil.errors import DataError, UsageError
from neuropil.signal.graphs import distance_graph, electrode_distances, grid_graph, nearest_neighbour_graph
from neuropil.signal.montage import CH22, SEED62, montage_1010


def neighbours(graph, names, name):
    return {names[k] for k in np.flatnonzero(graph[names.index(name)])}


def test_grid_of_22_electrodes_is_the_published_one():
    graph = grid_graph(CH22)
    expected = {
        "C3": {"FC3", "C5", "C1", "CP3"},
        "Cz": {"FCz", "C1", "C2", "CPz"},
        "Pz": {"CPz", "P1", "P2", "POz"},
        "Fz": {"FCz"},
        "C5": {"C3"},
    }
    for name, names in expected.items():
        assert neighbours(graph, CH22, name) == names


@given(st.permutations(range(len(CH22))))
def test_graphs_follow_the_order_of_the_channels(order):
    names, places = [CH22[k] for k in order], montage_1010(CH22)
    pick = np.ix_(order, order)
    np.testing.assert_array_equal(grid_graph(names), grid_graph(CH22)[pick])
    np.testing.assert_array_equal(distance_graph(places[list(order)], 0.04), distance_graph(places, 0.04)[pick])


@pytest.mark.parametrize("graph", [grid_graph(SEED62), nearest_neighbour_graph(montage_1010(SEED62), 4)])
def test_graphs_are_symmetric_without_loops(graph):
    assert graph.dtype == bool
    np.testing.assert_array_equal(graph, graph.T)
    assert not graph.diagonal().any()


def test_nearest_neighbours_have_at_least_as_many_links_as_asked():
    graph = nearest_neighbour_graph(montage_1010(CH22), 4)
    assert graph.sum(axis=1).min() >= 4
    assert "C1" in neighbours(graph, CH22, "C3")


def test_distance_graph_links_exactly_what_is_near():
    places = montage_1010(CH22)
    np.testing.assert_array_equal(
        distance_graph(places, 0.04), (electrode_distances(places) <= 0.04) & ~np.eye(22, dtype=bool)
    )


def test_messages():
    places = montage_1010(["C3", "Cz", "C4"])
    with pytest.raises(DataError, match="channel 1 has none; set a montage"):
        electrode_distances(np.where(np.arange(3)[:, None] == 1, np.nan, places))
    with pytest.raises(DataError, match="Electrodes 0 and 2 are at one place"):
        nearest_neighbour_graph(places[[0, 1, 0]], 1)
    with pytest.raises(UsageError, match="between 1 and 2, got 3"):
        nearest_neighbour_graph(places, 3)
    with pytest.raises(UsageError, match="radius of a neighbourhood must be positive"):
        distance_graph(places, 0.0)
    with pytest.raises(UsageError, match="got 'X9'"):
        grid_graph(["C3", "X9"])
