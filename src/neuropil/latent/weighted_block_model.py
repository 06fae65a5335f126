"""Communities of a weighted graph by the evidence for them, with the interface of scikit-learn; see `neuropil.stats.block_model`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import BaseEstimator, ClusterMixin

from neuropil.stats.block_model import STARTS, BlockModel, fit_block_model


class WeightedSBM(ClusterMixin, BaseEstimator):
    """Stochastic block model of an undirected graph with exponential weights, or with edges only.

    Parameters
    ----------
    weights : {"exponential", "binary"}, default "exponential"
    degree_corrected : bool or "auto", default False
        Let nodes of one community have degrees of their own; "auto" fits both models and keeps the shorter description.
    nested : bool, default False
        Communities of communities, up to one of all.
    starts : sequence of int
        Numbers of communities from which the search starts.
    random_state : int or None

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_nodes,)
        Community of every node, the largest being 0.
    n_blocks_ : int
    description_length_ : float
        In nats; the lower, the better.
    levels_ : tuple of ndarray of int, shape (n_nodes,)
        Communities at every level.
    degree_corrected_ : bool
        The model that was kept.

    Examples
    --------
    >>> from neuropil.simulate.motifs import simulate_block_graph
    >>> graph = simulate_block_graph(40, 2, inside=1.0, outside=5.0, random_state=0)
    >>> WeightedSBM(random_state=0).fit_predict(graph.weights).tolist() == graph.labels.tolist()
    True
    """

    def __init__(
        self,
        weights: str = "exponential",
        degree_corrected: bool | str = False,
        nested: bool = False,
        starts: Sequence[int] = STARTS,
        random_state: int | None = None,
    ) -> None:
        self.weights = weights
        self.degree_corrected = degree_corrected
        self.nested = nested
        self.starts = starts
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> WeightedSBM:
        """Find the communities of the graph `X` (n_nodes, n_nodes): symmetric, 0 for no edge, NaN for a pair that was not measured."""
        choices = (False, True) if self.degree_corrected == "auto" else (bool(self.degree_corrected),)
        found = [
            fit_block_model(
                X,
                weights=self.weights,
                degree_corrected=choice,
                nested=self.nested,
                starts=self.starts,
                random_state=self.random_state,
            )
            for choice in choices
        ]
        best = int(np.argmin([model.description_length for model in found]))
        model: BlockModel = found[best]
        self.degree_corrected_ = choices[best]
        self.labels_: Int[ndarray, " node"] = model.labels
        self.n_blocks_ = model.n_groups
        self.description_length_ = model.description_length
        self.levels_ = model.levels
        self.starts_: Float[ndarray, " start"] = model.starts
        return self
