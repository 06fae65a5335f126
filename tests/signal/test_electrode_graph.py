"""The graph of electrodes from what is known of them."""

import numpy as np
import pytest

from neuropil.errors import DataError, UsageError
from neuropil.signal.graphs import check_graph, electrode_graph, grid_graph
from neuropil.signal.montage import CH22, montage_1010

PLACES = montage_1010(CH22)


def test_names_of_the_10_10_system_come_first():
    np.testing.assert_array_equal(electrode_graph(22, CH22, PLACES), grid_graph(CH22))
    np.testing.assert_array_equal(electrode_graph(22, [name.lower() for name in CH22]), grid_graph(CH22))


def test_other_sensors_are_linked_to_their_nearest():
    nearest = electrode_graph(22, [f"MEG{k}" for k in range(22)], PLACES)
    assert nearest.sum(axis=1).min() >= 4
    assert (nearest == nearest.T).all()
    assert not nearest.diagonal().any()
    np.testing.assert_array_equal(electrode_graph(22, CH22, PLACES, kind="nearest"), nearest)
    np.testing.assert_array_equal(electrode_graph(22, None, PLACES), nearest)
    pair = electrode_graph(2, None, np.array([[0.0, 0, 0], [0, 0, 0.1]]))
    assert pair.tolist() == [[False, True], [True, False]]


def test_some_graphs_need_nothing():
    assert electrode_graph(3, kind="full").sum() == 6
    assert not electrode_graph(3, kind="identity").any()
    assert electrode_graph(1).shape == (1, 1)


@pytest.mark.parametrize(
    ("names", "positions", "kind", "message"),
    [
        (
            None,
            None,
            None,
            r"names of the 10-10 system \(such as C3\) or a position for every channel, got channels without",
        ),
        (("C3", "X1"), None, None, "got the name 'X1'; name the channels, set a montage, or pass `adjacency`"),
        (("C3", "X1"), PLACES[:2], "grid", r"needs names of the 10-10 system \(such as C3\), got the name 'X1'"),
        (("C3", "C4"), None, "nearest", "needs a position for every channel, got names alone"),
        (("T7", "T3"), None, None, "Two electrodes are at one place, T7; leave one of them out"),
        (None, np.ones((2, 3)), None, "Electrodes 0 and 1 are at one place"),
        (None, np.array([[0.0, 0, 1], [np.nan, 0, 0]]), None, "Every electrode needs a position, channel 1 has none"),
    ],
)
def test_what_has_no_graph_is_refused(names, positions, kind, message):
    with pytest.raises(DataError, match=message):
        electrode_graph(2, names, positions, kind=kind)


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match="'grid', 'nearest', 'full' or 'identity', got 'star'"):
        electrode_graph(2, kind="star")


def test_a_given_graph_is_symmetric_and_loses_its_diagonal():
    graph = check_graph([[1, 1, 0], [1, 0, 0], [0, 0, 1]], 3)
    assert graph.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    for wrong, message in (
        (np.zeros((3, 3)), r"of 4 electrodes has shape \(4, 4\), got \(3, 3\)"),
        (np.full((4, 4), 0.5), "holds 1 .* and 0 elsewhere"),
        (np.eye(4, k=1), "must be symmetric, but only one of the links 0-1 and 1-0 is set"),
    ):
        with pytest.raises(UsageError, match=message):
            check_graph(wrong, 4)
