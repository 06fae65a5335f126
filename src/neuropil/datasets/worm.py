"""The worm's wiring and how activity spreads in it: connectomes and the atlas of signal propagation, on one order of neurons.

Everything directed is ``W[post, pre]``: a row is a target, a column a source. Neurons that a source does not name are not unconnected but
not annotated, and `Connectome.annotated` says which.

References
----------
White, Southgate, Thomson & Brenner (1986). The structure of the nervous system of the nematode *Caenorhabditis elegans*. Philosophical
Transactions of the Royal Society B 314. (Reanalysis with the pharynx, after Varshney et al. 2011, PLoS Computational Biology 7.)
Cook et al. (2019). Whole-animal connectomes of both *Caenorhabditis elegans* sexes. Nature 571.
Witvliet et al. (2021). Connectomes across development reveal principles of brain maturation. Nature 596.
Randi, Sharma, Dvali & Leifer (2023). Neural signal propagation atlas of *Caenorhabditis elegans*. Nature 623.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from neuropil.datasets.worm_files import check_edges, read_atlas
from neuropil.datasets.worm_names import CONNECTOMES_FILE, clean_label, neuron_order, slots
from neuropil.datasets.worm_neurons import worm_neurons
from neuropil.datasets.worm_sheets import read_connectome_file
from neuropil.errors import DataError, UsageError

ATLAS_FILE = "worm-signal-propagation.npz"
CONNECTOMES = {
    "white": "White et al. 1986, whole animal: several worms put together, contacts counted",
    "cook": "Cook et al. 2019, hermaphrodite: serial sections of every contact summed, gap junctions both ways",
    "witvliet7": "Witvliet et al. 2021, adult 7: the brain only",
    "witvliet8": "Witvliet et al. 2021, adult 8: the brain only",
    "witvliet8-early": "Witvliet et al., adult 8, as an earlier table had it: 56 chemical entries differ",
}
STRAINS = {"wt": "wild type", "unc31": "unc-31, in which dense-core vesicles are not released"}
NORMALIZATIONS = ("outgoing",)


@dataclass(frozen=True, eq=False)
class Connectome:
    """Chemical synapses and gap junctions among neurons.

    Attributes
    ----------
    chem, gap : ndarray of shape (n_neurons, n_neurons), float64
        Number of synapses from the neuron of the column to the neuron of the row, ``W[post, pre]``, unless `meta` names a normalisation.
    order : tuple of str
        Names of rows and columns.
    annotated : ndarray of shape (n_neurons,), bool
        Neurons that the source names at all; zeros of the others mean nothing.
    meta : dict
        `name`, `source`, `normalize`, `dropped` (names in the source that are none of these neurons).
    """

    chem: Float[ndarray, "post pre"]
    gap: Float[ndarray, "post pre"]
    order: tuple[str, ...]
    annotated: Bool[ndarray, " neuron"]
    meta: dict[str, Any] = field(default_factory=dict)

    def weight(self, pre: str, post: str, kind: str = "chem") -> float:
        """Weight of one edge, `kind` "chem" or "gap".

        Examples
        --------
        >>> load_connectome("white").weight("ADAL", "AVBR")
        7.0
        """
        if kind not in ("chem", "gap"):
            raise UsageError(f"An edge is of the kind chem or gap, got {kind!r}.")
        (target,), (source,) = slots([post], self.order), slots([pre], self.order)
        return float(getattr(self, kind)[target, source])

    def select(self, names: Sequence[str]) -> Connectome:
        """The connectome among these neurons only, in this order."""
        rows = slots(names, self.order)
        grid = np.ix_(rows, rows)
        return replace(
            self, chem=self.chem[grid], gap=self.gap[grid], order=tuple(names), annotated=self.annotated[rows]
        )

    def counts(self) -> dict[str, int]:
        """Directed entries and sums of both kinds of synapses.

        Examples
        --------
        >>> load_connectome("cook").counts()["gap_edges"]
        2188
        """
        return {
            "chem_edges": int((self.chem > 0).sum()),
            "chem_synapses": round(float(self.chem.sum())),
            "gap_edges": int((self.gap > 0).sum()),
            "gap_synapses": round(float(self.gap.sum())),
        }

    def edges(self) -> pd.DataFrame:
        """One row an edge: `pre`, `post`, `type` ("chemical" or "electrical"), `synapses`; `load_connectome` reads it again."""
        names = np.array(self.order, dtype=object)
        tables = []
        for kind, matrix in (("chemical", self.chem), ("electrical", self.gap)):
            pre, post = np.nonzero(matrix.T)
            facts = {"pre": names[pre], "post": names[post], "type": kind, "synapses": matrix[post, pre]}
            tables.append(pd.DataFrame(facts))
        return pd.concat(tables, ignore_index=True)

    def neurons(self) -> pd.DataFrame:
        """Class, transmitter and position of every neuron, in this order; see `worm_neurons`.

        Examples
        --------
        >>> load_connectome("white").select(["AVAL", "VD9"]).neurons()["kind"].tolist()
        ['inter', 'motor']
        """
        return worm_neurons().loc[list(self.order)]

    def edge_index(self) -> tuple[Int[ndarray, "two edge"], Float[ndarray, "edge two"]]:
        """Edges as graph networks take them: (pre, post) of shape (2, n_edges), and (gap, chemical) weights of shape (n_edges, 2)."""
        pre, post = np.nonzero(((self.chem > 0) | (self.gap > 0)).T)
        return np.stack([pre, post]), np.stack([self.gap[post, pre], self.chem[post, pre]], axis=1)


def load_connectome(
    source: str | Path | pd.DataFrame | Mapping[str, Any], normalize: str | None = None, symmetrize_gap: bool = True
) -> Connectome:
    """A connectome on the 300 neurons that make synapses.

    Parameters
    ----------
    source : str, path-like, DataFrame or mapping
        One of the bundled ones ("white", "cook", "witvliet7", "witvliet8", "witvliet8-early"), or a table with the columns `pre`,
        `post`, `type` (chemical, electrical) and `synapses`: a file with tabs or commas between, such as those of the package
        wormneuroatlas, or a data frame; or a workbook of Cook et al. (2019) or Witvliet et al. (2021) as published (needs the package
        openpyxl); or matrices saved as text, ``{"chemical": path, "electrical": path}``, rows presynaptic. Multiple rows of an edge are
        added up; names are cleaned; other cells than neurons are left out.
    normalize : {None, "outgoing"}
        "outgoing": what a neuron sends sums to 1 (weights of a neuron that sends less than 1 stay as they are), for both kinds.
    symmetrize_gap : bool, default True
        Take the larger of both directions of a gap junction, which sources note once; False leaves the source's entries.

    Raises
    ------
    DataError, UsageError
        If the table lacks a column, holds no neuron, or there is no such connectome.

    Examples
    --------
    >>> white = load_connectome("white", symmetrize_gap=False)
    >>> white.chem.shape, int(white.annotated.sum())
    ((300, 300), 300)
    """
    if normalize not in (None, *NORMALIZATIONS):
        raise UsageError(f"A connectome is normalised by None or 'outgoing', got {normalize!r}.")
    if isinstance(source, str) and source in CONNECTOMES:
        connectome = _bundled(source)
    elif isinstance(source, str) and not Path(source).suffix and not Path(source).exists():
        raise UsageError(
            f"There is no connectome {source!r}; there are {', '.join(CONNECTOMES)}, or name a table of edges."
        )
    else:
        table = check_edges(source) if isinstance(source, pd.DataFrame) else read_connectome_file(source)
        connectome = _from_edges(table, str(source) if isinstance(source, str | Path) else "edges")
    chem, gap = connectome.chem, connectome.gap
    if symmetrize_gap:
        gap = np.maximum(gap, gap.T)
    if normalize == "outgoing":
        chem, gap = (matrix / np.maximum(matrix.sum(axis=0), 1.0) for matrix in (chem, gap))
    return replace(connectome, chem=chem, gap=gap, meta={**connectome.meta, "normalize": normalize})


def _archive(name: str) -> dict[str, ndarray]:
    source = resources.files("neuropil.datasets") / "bundled" / name
    with resources.as_file(source) as path, np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _bundled(name: str) -> Connectome:
    arrays, order = _archive(CONNECTOMES_FILE), neuron_order()
    matrices = []
    for kind in ("chemical", "electrical"):
        pre, post, synapses = arrays[f"{name}/{kind}"].T.astype(np.int64)
        matrix = np.zeros((len(order), len(order)))
        matrix[post, pre] = synapses
        matrices.append(matrix)
    meta = {"name": name, "source": CONNECTOMES[name], "dropped": []}
    return Connectome(matrices[0], matrices[1], order, arrays[f"{name}/annotated"], meta)


def _from_edges(table: pd.DataFrame, name: str) -> Connectome:
    order = neuron_order()
    cells = pd.unique(pd.concat([table["pre"], table["post"]]))
    neurons = {cell: cleaned for cell in cells if (cleaned := clean_label(cell).neuron)}
    dropped = sorted(str(cell) for cell in cells if cell not in neurons)
    kept = table[table["pre"].isin(neurons) & table["post"].isin(neurons)]
    if not len(kept):
        raise DataError(
            f"{name} has no edge between two neurons of the worm; its names are like {', '.join(dropped[:3])}, expected ADAL, AVBR ..."
        )
    pre, post = (slots([neurons[cell] for cell in kept[column]]) for column in ("pre", "post"))
    matrices = []
    for kind in ("chemical", "electrical"):
        matrix = np.zeros((len(order), len(order)))
        rows = (kept["type"] == kind).to_numpy()
        np.add.at(matrix, (np.array(post)[rows], np.array(pre)[rows]), kept["synapses"].to_numpy()[rows])
        matrices.append(matrix)
    annotated = np.isin(order, list(neurons.values()))
    meta = {"name": name, "source": f"table of {len(table)} edges", "dropped": dropped}
    return Connectome(matrices[0], matrices[1], order, annotated, meta)


class Consensus(NamedTuple):
    """Several connectomes in one."""

    connectome: Connectome
    """Mean weights over the sources that annotate both neurons; 0 where none does."""
    n_chem: Int[ndarray, "post pre"]
    """Number of sources that hold the chemical edge."""
    n_gap: Int[ndarray, "post pre"]
    """Number of sources that hold the gap junction."""
    n_sources: Int[ndarray, "post pre"]
    """Number of sources that annotate both neurons."""


def consensus(connectomes: Sequence[Connectome]) -> Consensus:
    """Mean weight of every edge over connectomes of one order, and in how many of them it is found.

    Examples
    --------
    >>> both = consensus([load_connectome("witvliet7"), load_connectome("witvliet8")])
    >>> int((both.n_chem == 2).sum())
    1279
    """
    if not connectomes:
        raise UsageError("A consensus needs one connectome or more, got none.")
    order = connectomes[0].order
    if any(connectome.order != order for connectome in connectomes):
        raise DataError("The connectomes of a consensus must have the same neurons in one order; use select() first.")
    seen = np.stack([np.outer(c.annotated, c.annotated) for c in connectomes])
    n_sources = seen.sum(axis=0)
    means, found = [], []
    for kind in ("chem", "gap"):
        weights = np.stack([getattr(connectome, kind) for connectome in connectomes])
        means.append((weights * seen).sum(axis=0) / np.maximum(n_sources, 1))
        found.append((weights > 0).sum(axis=0))
    names = [str(connectome.meta.get("name", "")) for connectome in connectomes]
    annotated = np.logical_or.reduce([connectome.annotated for connectome in connectomes])
    merged = Connectome(
        means[0], means[1], order, annotated, {"name": "consensus", "source": ", ".join(names), "dropped": []}
    )
    return Consensus(merged, found[0], found[1], n_sources)


class SignalPropagation(NamedTuple):
    """Which neurons respond when one is stimulated with light; ``[i, j]`` is the response of i to the stimulation of j."""

    dff: Float[ndarray, "responding stimulated"]
    """Mean change of fluorescence, relative to its level before; NaN where not measured."""
    q: Float[ndarray, "responding stimulated"]
    """Probability, corrected for the false discovery rate, that there is no response; NaN where not measured."""
    n_obs: Int[ndarray, "responding stimulated"]
    """Number of observations."""
    order: tuple[str, ...]
    """The 300 neurons, with AWCOFF and AWCON in the slots of AWCL and AWCR."""

    @property
    def measured(self) -> Bool[ndarray, "responding stimulated"]:
        """Pairs of two different neurons with a test."""
        return np.isfinite(self.q) & ~np.eye(len(self.q), dtype=bool)


def load_signal_propagation(strain: str = "wt", folder: str | Path | None = None) -> SignalPropagation:
    """The atlas of signal propagation of Randi et al. (2023).

    Parameters
    ----------
    strain : {"wt", "unc31"}
        Wild type, or the mutant without release of dense-core vesicles.
    folder : path-like, optional
        Data folder of the package wormneuroatlas (with `funatlas.h5`) to read instead of what is bundled (q in single, change of
        fluorescence in half precision).

    Examples
    --------
    >>> atlas = load_signal_propagation()
    >>> int(atlas.measured.sum()), int((atlas.q[atlas.measured] < 0.05).sum())
    (23902, 1151)
    """
    if strain not in STRAINS:
        raise UsageError(f"The atlas has the strains {' and '.join(STRAINS)}, got {strain!r}.")
    arrays = _archive(ATLAS_FILE)
    order = tuple(str(name) for name in arrays["order"])
    if folder is not None:
        return SignalPropagation(*read_atlas(Path(folder), strain, order), order)
    dff, q = (arrays[f"{strain}/{key}"].astype(np.float64) for key in ("dff", "q"))
    return SignalPropagation(dff, q, arrays[f"{strain}/n_obs"].astype(np.int64), order)
