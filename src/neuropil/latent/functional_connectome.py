"""Dynamic functional connectome: which neurons work together, when, and in which animals.

Pairs of neurons get an affinity at every moment in every animal, high where both change alike (`connectome_affinities`); the non-negative
tensor (time, animal, pair) is a sum of few motifs, each a time course, a loading for every animal, and a weight for every pair of neurons
(`neuropil.stats.cp`); the pairs of a motif are a weighted graph, whose communities a weighted stochastic block model finds
(`neuropil.stats.block_model`). Nothing is supervised: stimuli are compared with the time courses afterwards.

A neuron that was not measured in an animal is missing there, in the tensor and in the graph, and not 0: a 0 would make components that
only say which neurons were identified in whom. A motif is reported only if it is stronger than those of traces that were shifted around
in time against each other.

Differences from the paper: the formula of its affinity, its number of motifs and its threshold of edges are not published in its text, and
those here were chosen; missing neurons and the null are additions; the block model is collapsed and searched greedily, not by graph-tool.

Dyballa, Lang, Haslund-Gourley, Yemini & Zucker (2024). Learning dynamic representations of the functional connectome in neurobiological
networks. ICLR. arXiv:2402.14102.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.utils.validation import check_is_fitted

from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.latent.connectome_affinities import to_matrix
from neuropil.latent.connectome_animals import aligned, read_animals
from neuropil.latent.connectome_findings import describe
from neuropil.latent.connectome_tensor import AFFINITIES, MAX_ENTRIES, AffinityTensor, affinity_tensor
from neuropil.latent.weighted_block_model import WeightedSBM
from neuropil.progress import bar
from neuropil.stats.cp import Blocks, CPResult, nonnegative_cp, nonnegative_cp_starts
from neuropil.stats.factors import choose_rank, stability
from neuropil.structure import StructureModel

COMMUNITIES = ("wsbm", "binary")
LAPTOP: dict[str, Any] = {"n_init": 3}


class Loadings(NamedTuple):
    """How strong motifs are in data.

    Attributes
    ----------
    temporal : ndarray of shape (n_times, n_components)
        Time courses, in units of affinity for an animal and a pair with loadings of 1.
    animal : ndarray of shape (n_animals, n_components)
        Columns of unit norm.
    error : float
        Relative error that is left.
    """

    temporal: Float[ndarray, "time component"]
    animal: Float[ndarray, "animal component"]
    error: float


class Significance(NamedTuple):
    """Motifs against those of shifted traces.

    Affinities of 0 or more always have a background: one component that is as even over time and animals as any. It is no motif, neither
    here nor in shifted traces, where it takes up what motifs share here; the others are compared with the strongest other of each null.

    Attributes
    ----------
    significant : ndarray of bool, shape (n_components,)
        In the order of the model's components.
    pvalues : ndarray of shape (n_components,)
        That shifted traces have any motif as strong; 1 for the background.
    null : ndarray of shape (n_null,)
        Strength of the strongest motif of shifted traces.
    background : int
        Number of the background's component.
    """

    significant: Bool[ndarray, " component"]
    pvalues: Float[ndarray, " component"]
    null: Float[ndarray, " null"]
    background: int


class DynamicConnectome(StructureModel):
    """Motifs of neurons that change together, their time courses, animals and communities.

    Parameters
    ----------
    n_components : int, default 6
        Motifs, the common background being one of them; see `choose_components`.
    affinity : {"differential", "windowed_correlation"} or callable, default "differential"
        A callable takes traces (n_animals, n_times, n_neurons), NaN where missing, and gives affinities (n_times, n_animals, n_pairs) of 0
        or more, pairs in the order of ``np.triu_indices(n_neurons, 1)``; a model with a callable cannot be saved.
    sigma : float, default 3.0
        Frames; of the Gaussian whose derivative is taken.
    bandwidth : float, default 1.0
        How far two derivatives may be apart, in root mean squares.
    sign : {"both", "rising"}, default "both"
        Whether falling together counts.
    window : int, default 15
        Frames of the windowed correlation.
    n_init : int, default 10
        Random starts of the factorisation, of which the best is kept.
    max_iter : int, default 200
    tol : float, default 1e-5
        Smallest decrease of the relative error, as a part of it.
    community : {"wsbm", "binary"}, default "wsbm"
        Whether the weights of a motif's graph make communities, or only its edges.
    edge_quantile : float, default 0.8
        Part of the measured pairs, those with the least weight, that are no edges; 0 keeps all. Small communities have few pairs: at 0.5
        most edges are background, and blur the communities.
    degree_corrected : bool or "auto", default "auto"
    nested : bool, default False
    stream : str, optional
        Stream of recordings to read; "calcium" if there is one, else the first, without.
    max_entries : int, default 200_000_000
        A larger tensor of differential affinities is computed block by block whenever it is read, instead of kept (4 bytes an entry).
    n_jobs : int, optional
        Threads for the starts; the result does not depend on it.
    random_state : int or None

    Attributes
    ----------
    temporal_ : ndarray of shape (n_times, n_components)
        Unit norm.
    animal_ : ndarray of shape (n_animals, n_components)
        Unit norm.
    pair_ : ndarray of shape (n_pairs, n_components)
        Unit norm; NaN for pairs that were measured together in no animal.
    weights_ : ndarray of shape (n_components,)
        Strengths of the motifs, falling.
    communities_ : list of ndarray of int, shape (n_neurons,)
        One a motif.
    error_ : float
        Relative error of the tensor.
    objective_ : ndarray
        Relative error after every sweep of the kept start; never rises.
    restart_scores_ : ndarray of shape (n_init,)
        Part of the squared affinities that every start explained.
    stability_ : ndarray of shape (n_components,)
        Mean product of cosines with the matched motif of the other starts; NaN with one start.
    animals_ : tuple of str

    Examples
    --------
    >>> from neuropil.simulate.motifs import simulate_motifs
    >>> motifs = simulate_motifs(n_times=210, intervals=((20, 100), (110, 190)), random_state=0)
    >>> model = DynamicConnectome(n_components=3, n_init=2, random_state=0).fit(motifs.recording())
    >>> model.temporal_.shape, model.animal_.shape, model.pair_.shape, len(model.communities_)
    ((210, 3), (5, 3), (435, 3), 3)
    """

    def __init__(
        self,
        n_components: int = 6,
        affinity: str | Callable[[ndarray], ndarray] = "differential",
        sigma: float = 3.0,
        bandwidth: float = 1.0,
        sign: str = "both",
        window: int = 15,
        n_init: int = 10,
        max_iter: int = 200,
        tol: float = 1e-5,
        community: str = "wsbm",
        edge_quantile: float = 0.8,
        degree_corrected: bool | str = "auto",
        nested: bool = False,
        stream: str | None = None,
        max_entries: int = MAX_ENTRIES,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.affinity = affinity
        self.sigma = sigma
        self.bandwidth = bandwidth
        self.sign = sign
        self.window = window
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.community = community
        self.edge_quantile = edge_quantile
        self.degree_corrected = degree_corrected
        self.nested = nested
        self.stream = stream
        self.max_entries = max_entries
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, mask: Any = None) -> DynamicConnectome:
        """Find the motifs and their communities.

        Parameters
        ----------
        X : list of Recording, Recording, ndarray (animal, time, neuron) or (time, neuron), or list of ndarray (time, neuron)
            One recording or array an animal, frames aligned to one protocol; what is longer than the shortest is cut. Recordings are
            matched by the names of their channels and may have different ones; where `mask` or the channels' `named` is false, and in
            columns of NaN, nothing was measured.
        y : ignored
        mask : ndarray of bool, shape (n_animals, n_neurons), optional
            True where a neuron was measured in an animal.
        """
        self._check()
        traces = self._traces(X, mask, fitting=True)
        tensor, weights, there = self._tensor(traces)
        results = self._starts(tensor, weights, self.n_init, self.random_state, "Starts")
        best = int(np.argmin([result.error for result in results]))
        self._keep(results, best, there)
        self.communities_ = [self._community(motif).labels_ for motif in range(self.n_components)]
        return self

    def graph(self, motif: int) -> Float[ndarray, "neuron neuron"]:
        """Graph of a motif: weights of pairs relative to their mean, the weakest dropped, NaN for pairs never measured together."""
        check_is_fitted(self)
        if not 0 <= motif < self.n_components:
            raise UsageError(f"Motifs have the numbers 0 to {self.n_components - 1}, got {motif}.")
        values = self.pair_[:, motif]
        measured = values[np.isfinite(values)]
        edge = max(float(np.quantile(measured, self.edge_quantile)), 0.0) if self.edge_quantile > 0 else -1.0
        mean = measured.mean() or 1.0
        kept = np.where(np.isnan(values), np.nan, np.where(values > edge, values / mean, 0.0))
        return to_matrix(kept, self.n_units_)

    def transform(self, X: Any) -> Loadings:
        """Time courses and animals of the motifs in other data, the pairs' weights being fixed; see `fit` for `X`."""
        check_is_fitted(self)
        traces = self._traces(X, None, fitting=False)
        tensor, weights, there = self._tensor(traces)
        known = np.isfinite(self.pair_[there]).all(axis=1)
        if not known.all():
            if isinstance(tensor, Blocks):
                raise DataError(
                    "These data hold pairs of neurons that were never measured together in the training data; give neurons that were."
                )
            tensor = tensor[..., known]
            weights = weights if weights is None or weights.shape[2] == 1 else weights[..., known]
        pair = self.pair_[there][known]
        rng = np.random.default_rng(0 if self.random_state is None else self.random_state)
        n_times, n_animals = tensor.shape[:2]
        init = (rng.random((n_times, self.n_components)), rng.random((n_animals, self.n_components)), pair)
        found = nonnegative_cp(
            tensor,
            self.n_components,
            weights=weights,
            init=init,
            fixed=(2,),
            n_iter=self.max_iter,
            tol=self.tol,
            sort=False,
        )
        # the pairs that are there may not have unit norm among themselves
        scale = found.weights / np.where(norms := np.linalg.norm(pair, axis=0), norms, 1.0)
        return Loadings(found.factors[0] * scale, found.factors[1], found.error)

    def score(self, X: Any, y: Any = None) -> float:
        """Part of the squared affinities of `X` that the motifs explain, their pair weights being fixed; 1 is best."""
        return 1 - self.transform(X).error ** 2

    def significance(self, X: Any, n_null: int = 20, *, level: float = 0.05, n_init: int | None = None) -> Significance:
        """Compare the motifs with those of traces that are shifted around in time, every neuron in every animal by its own.

        Parameters
        ----------
        X : as in `fit`
            The data that the model was fitted on.
        n_null : int, default 20
            Shifted data sets; the smallest p-value is 1 / (n_null + 1).
        level : float, default 0.05
        n_init : int, optional
            Starts of every null fit; as many as of the model's own without.
        """
        check_is_fitted(self)
        if n_null < 1 or not 0 < level < 1:
            raise UsageError(
                f"Expected one null data set or more and a level between 0 and 1, got {n_null} and {level}."
            )
        if self.n_components < 2:
            raise UsageError("One component is the background; ask for two or more to test for motifs.")
        traces = self._traces(X, None, fitting=False)
        background = _most_even(self.temporal_, self.animal_)
        null = np.array(list(self._null(traces, n_null, n_init or self.n_init)))
        pvalues = (1 + (null[:, None] >= self.weights_).sum(axis=0)) / (1 + n_null)
        pvalues[background] = 1.0
        return Significance(pvalues <= level, pvalues, null, background)

    def choose_components(
        self, X: Any, ranks: Sequence[int] = range(2, 11), threshold: float = 0.8
    ) -> tuple[int, pd.DataFrame]:
        """The number of motifs at which the error bends and motifs are stable over starts, and the table behind it.

        Parameters
        ----------
        X : as in `fit`
        ranks : sequence of int
        threshold : float, default 0.8
            Smallest stability of the mean motif.

        Returns
        -------
        n_components : int
        table : DataFrame
            `n_components`, `error`, `stability` (mean over motifs).
        """
        self._check()
        if self.n_init < 2:
            raise UsageError(f"Stability needs n_init of 2 or more, got {self.n_init}.")
        tensor, weights, _ = self._tensor(_clone_of(self)._traces(X, None, fitting=True))
        rows = []
        for rank in ranks:
            results = nonnegative_cp_starts(
                tensor,
                rank,
                self.n_init,
                weights=weights,
                n_iter=self.max_iter,
                tol=self.tol,
                random_state=self.random_state,
            )
            best = int(np.argmin([result.error for result in results]))
            rows.append((rank, results[best].error, float(stability([r.factors for r in results], best).mean())))
        table = pd.DataFrame(rows, columns=["n_components", "error", "stability"])
        errors, stabilities = table["error"].tolist(), table["stability"].tolist()
        return choose_rank(table["n_components"].tolist(), errors, stabilities, threshold), table

    def findings(self, X: Any) -> Findings:
        """Time courses, animals, graphs with their communities, and the course of the factorisation."""
        return describe(self, self.transform(X))

    def _check(self) -> None:
        self._check_random_state()
        if not callable(self.affinity) and self.affinity not in AFFINITIES:
            raise UsageError(f"affinity must be one of {', '.join(AFFINITIES)}, or a function; got {self.affinity!r}.")
        if self.community not in COMMUNITIES:
            raise UsageError(f"community must be one of {', '.join(COMMUNITIES)}; got {self.community!r}.")
        if not 0 <= self.edge_quantile < 1:
            raise UsageError(
                f"edge_quantile is the part of the pairs that are dropped, from 0 up to but below 1; got {self.edge_quantile}."
            )
        self._check_whole(1, "n_components", "n_init", "max_iter")

    def _traces(self, X: Any, mask: Any, *, fitting: bool) -> Float[ndarray, "animal time neuron"]:
        """Traces of all animals, NaN where nothing was measured; neurons seen in no animal are left out at fit."""
        order = None if fitting else self.unit_names_
        activity, animals = read_animals(X, mask, self.stream, order)
        activity = self._read(activity, fitting=fitting, kind="traces", missing=True)
        if fitting:
            self.animals_ = animals
        if len(activity.names) < 2:
            raise DataError(f"A connectome needs two neurons or more, got {len(activity.names)}.")
        return aligned(activity, animals)

    def _tensor(self, traces: ndarray) -> AffinityTensor:
        return affinity_tensor(
            traces,
            self.affinity,
            sigma=self.sigma,
            bandwidth=self.bandwidth,
            sign=self.sign,
            window=self.window,
            max_entries=self.max_entries,
        )

    def _starts(self, tensor: Any, weights: Any, n_init: int, seed: Any, title: str | None) -> list[CPResult]:
        with bar(title or "", n_init, show=None if title else False) as advance:
            return nonnegative_cp_starts(
                tensor,
                self.n_components,
                n_init,
                weights=weights,
                n_iter=self.max_iter,
                tol=self.tol,
                random_state=seed,
                n_jobs=self.n_jobs,
                after=lambda result: advance(f"error {result.error:.4f}", 1),
            )

    def _keep(self, results: list[CPResult], best: int, there: ndarray) -> None:
        kept = results[best]
        self.temporal_, self.animal_, pair = kept.factors
        self.pair_ = np.full((len(there), self.n_components), np.nan)
        self.pair_[there] = pair
        self.weights_, self.error_, self.converged_ = kept.weights, kept.error, kept.converged
        self.objective_ = kept.errors
        self.start_errors_ = [result.errors for result in results]
        self.restart_scores_ = np.array([1 - result.error**2 for result in results])
        several = len(results) > 1
        factors = [result.factors for result in results]
        self.stability_ = stability(factors, best) if several else np.full(self.n_components, np.nan)
        if not kept.converged:
            warnings.warn(
                f"The factorisation was stopped after {kept.n_iter} sweeps before it settled; raise max_iter.",
                stacklevel=3,
            )

    def _community(self, motif: int) -> WeightedSBM:
        graph = self.graph(motif)
        model = WeightedSBM(
            weights="binary" if self.community == "binary" else "exponential",
            degree_corrected=self.degree_corrected,
            nested=self.nested,
            random_state=self.random_state,
        )
        if not np.nansum(graph) > 0:
            model.labels_ = np.zeros(self.n_units_, dtype=np.int64)
            return model
        return model.fit(graph)

    def _null(self, traces: ndarray, n_null: int, n_init: int) -> Any:
        rng = np.random.default_rng(self.random_state)
        n_animals, n_times, n_neurons = traces.shape
        with bar("Shifted traces", n_null) as advance:
            for _ in range(n_null):
                shifts = rng.integers(1, n_times, (n_animals, 1, n_neurons))
                rows = (np.arange(n_times)[:, None] - shifts) % n_times
                tensor, weights, _ = self._tensor(np.take_along_axis(traces, rows, axis=1))
                results = self._starts(tensor, weights, n_init, rng, None)
                advance("", 1)
                kept = min(results, key=lambda result: result.error)
                yield np.delete(kept.weights, _most_even(*kept.factors[:2])).max()


def _most_even(temporal: ndarray, animal: ndarray) -> int:
    """The component that is most like one that never changes, in time and between animals; columns have unit norm."""
    return int(np.argmax(temporal.sum(axis=0) / np.sqrt(len(temporal)) * animal.sum(axis=0) / np.sqrt(len(animal))))


def _clone_of(model: DynamicConnectome) -> DynamicConnectome:
    return DynamicConnectome(**model.get_params())
