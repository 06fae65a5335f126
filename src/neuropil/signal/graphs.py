"""Graphs of electrodes: which sensors are neighbours, from their names in the 10-10 system or from their positions.

All graphs are symmetric, without self-loops, as boolean matrices; `W[i, j]` is True if i and j are neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.signal.montage import canonical_names, site

_GRID_ROWS = {
    "N": 0,
    "Fp": 1,
    "AF": 2,
    "F": 3,
    "FC": 4,
    "FT": 4,
    "C": 5,
    "T": 5,
    "CP": 6,
    "TP": 6,
    "P": 7,
    "PO": 8,
    "O": 9,
    "I": 10,
}


def grid_graph(names: Sequence[str]) -> Bool[ndarray, "channel channel"]:
    """Four-neighbour graph of the 10-10 grid: the next electrode to the left, right, front and back among those given.

    Parameters
    ----------
    names : sequence of str
        Names of the 10-10 system.

    Returns
    -------
    ndarray of bool of shape (n_channels, n_channels)
        Symmetric, False on the diagonal.

    Examples
    --------
    >>> from neuropil.signal.montage import CH22
    >>> graph = grid_graph(CH22)
    >>> [CH22[k] for k in np.flatnonzero(graph[CH22.index("C3")])]
    ['FC3', 'C5', 'C1', 'CP3']
    """
    sites = [site(name) for name in canonical_names(names)]
    rows = np.array([_GRID_ROWS[letters] for letters, _ in sites])
    columns = np.array([0 if n == 0 else (n // 2 if n % 2 == 0 else -(n + 1) // 2) for _, n in sites])
    ring_ends = np.isin(rows, [_GRID_ROWS["N"], _GRID_ROWS["Fp"], _GRID_ROWS["O"], _GRID_ROWS["I"]])
    columns = np.where(ring_ends, 2 * columns, columns)
    graph = np.zeros((len(sites), len(sites)), dtype=bool)
    for along, across in ((columns, rows), (rows, columns)):
        for line in np.unique(across):
            members = np.flatnonzero(across == line)
            ordered = members[np.argsort(along[members], kind="stable")]
            graph[ordered[:-1], ordered[1:]] = graph[ordered[1:], ordered[:-1]] = True
    return graph


def nearest_neighbour_graph(
    positions: Float[ndarray, "channel 3"], n_neighbours: int = 4
) -> Bool[ndarray, "channel channel"]:
    """Every electrode and its `n_neighbours` nearest ones; a link stands if either of the two has the other among its nearest.

    Parameters
    ----------
    positions : ndarray of shape (n_channels, 3)
        In metres, or any unit.
    n_neighbours : int, default 4
        Below the number of electrodes.

    Returns
    -------
    ndarray of bool of shape (n_channels, n_channels)

    Raises
    ------
    DataError
        If a position is unknown, or two electrodes are at one place.

    Examples
    --------
    >>> line = np.array([[0.0, 0, 0], [1, 0, 0], [2.1, 0, 0], [3.3, 0, 0]])
    >>> nearest_neighbour_graph(line, 1).astype(int).tolist()
    [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    """
    distances = electrode_distances(positions)
    if not 1 <= n_neighbours < len(distances):
        raise UsageError(f"n_neighbours must lie between 1 and {len(distances) - 1}, got {n_neighbours}.")
    graph = np.zeros(distances.shape, dtype=bool)
    order = np.argsort(distances + np.diag(np.full(len(distances), np.inf)), axis=1, kind="stable")
    np.put_along_axis(graph, order[:, :n_neighbours], True, axis=1)
    return graph | graph.T


def distance_graph(positions: Float[ndarray, "channel 3"], radius: float) -> Bool[ndarray, "channel channel"]:
    """Electrodes that lie at most `radius` apart.

    Parameters
    ----------
    positions : ndarray of shape (n_channels, 3)
        In metres.
    radius : float
        In the unit of the positions.

    Raises
    ------
    DataError
        If a position is unknown, or two electrodes are at one place.
    """
    if not radius > 0:
        raise UsageError(f"The radius of a neighbourhood must be positive, got {radius:g}.")
    graph = electrode_distances(positions) <= radius
    np.fill_diagonal(graph, False)
    return graph


def electrode_distances(positions: Float[ndarray, "channel 3"]) -> Float64[ndarray, "channel channel"]:
    """Euclidean distances between electrodes, each of which must have a place of its own.

    Raises
    ------
    DataError
        If a position is not finite, or two electrodes are at one place.
    """
    known = np.isfinite(positions).all(axis=1)
    if not known.all():
        missing = np.flatnonzero(~known)
        raise DataError(
            f"Every electrode needs a position, channel {', '.join(map(str, missing[:5]))} has none; set a montage or leave it out."
        )
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1).astype(np.float64)
    same = np.argwhere(np.triu(distances == 0, k=1))
    if len(same):
        first, second = same[0]
        raise DataError(
            f"Electrodes {first} and {second} are at one place; correct the montage or leave one of them out."
        )
    return distances


def electrode_graph(
    n_channels: int,
    names: Sequence[str] | None = None,
    positions: Float[ndarray, "channel 3"] | None = None,
    *,
    kind: str | None = None,
) -> Bool[ndarray, "channel channel"]:
    """The graph of some electrodes from what is known of them.

    Parameters
    ----------
    n_channels : int
    names : sequence of str, optional
    positions : ndarray of shape (n_channels, 3), optional
        In metres.
    kind : {'grid', 'nearest', 'full', 'identity'}, optional
        'grid' as `grid_graph`, 'nearest' as `nearest_neighbour_graph` with four neighbours, 'full' with all links, 'identity' with
        none. By default 'grid' where all names are of the 10-10 system, else 'nearest'.

    Raises
    ------
    DataError
        If names or positions are missing, or two electrodes are at one place.

    Examples
    --------
    >>> electrode_graph(3, ["C3", "Cz", "C4"]).sum(axis=1).tolist()
    [1, 2, 1]
    """
    if kind not in (None, "grid", "nearest", "full", "identity"):
        raise UsageError(f"A graph of electrodes is 'grid', 'nearest', 'full' or 'identity', got {kind!r}.")
    if kind == "full":
        return ~np.eye(n_channels, dtype=bool)
    if kind == "identity" or n_channels == 1:
        return np.zeros((n_channels, n_channels), dtype=bool)
    stranger = None if names is None else next((name for name in names if not _is_site(name)), None)
    if kind != "nearest" and names is not None and stranger is None:
        sites = canonical_names(names)
        if len(set(sites)) < len(sites):
            double = next(name for name in sites if sites.count(name) > 1)
            raise DataError(f"Two electrodes are at one place, {double}; leave one of them out.")
        return grid_graph(sites)
    if kind != "grid" and positions is not None:
        return nearest_neighbour_graph(positions, min(4, n_channels - 1))
    wanted = {"grid": "names of the 10-10 system (such as C3)", "nearest": "a position for every channel"}
    found = "channels without names" if names is None else f"the name {stranger!r}" if stranger else "names alone"
    raise DataError(
        f"The graph of electrodes needs {wanted[kind] if kind else ' or '.join(wanted.values())}, got {found}; name the channels, set a "
        "montage, or pass `adjacency` (a matrix of links, 'full' or 'identity')."
    )


def _is_site(name: str) -> bool:
    try:
        canonical_names([name])
    except UsageError:
        return False
    return True


def check_graph(adjacency: Any, n_channels: int) -> Bool[ndarray, "channel channel"]:
    """A symmetric matrix of 0 and 1 as booleans without self-loops.

    Raises
    ------
    UsageError
        If it is anything else, or of another number of channels.
    """
    matrix = np.asarray(adjacency)
    if matrix.shape != (n_channels, n_channels):
        raise UsageError(
            f"The adjacency of {n_channels} electrodes has shape {(n_channels, n_channels)}, got {matrix.shape}."
        )
    if not np.isin(matrix, (0, 1)).all():
        raise UsageError(
            "An adjacency holds 1 (or True) where two electrodes are linked and 0 elsewhere, got other numbers."
        )
    if (matrix != matrix.T).any():
        first, second = np.argwhere(matrix != matrix.T)[0]
        raise UsageError(
            f"An adjacency must be symmetric, but only one of the links {first}-{second} and {second}-{first} is set."
        )
    return matrix.astype(bool) & ~np.eye(n_channels, dtype=bool)
