"""What kind of neuron each of the worm's 300 is, which transmitter it releases, and where its body lies.

Kinds are those of Cook et al. (2019): 83 sensory, 89 inter, 123 motor neurons, and five of the pharynx that are more than one. Transmitters
are the first one that Wang et al. (2024) list for a neuron, without those that it only takes up; empty where it is an orphan. Positions are
the centres of the cell bodies in the OpenWorm project's model of the adult, in metres: x to the left, y from the head (negative) to the
tail, z to the back.

Cook et al. (2019). Whole-animal connectomes of both Caenorhabditis elegans sexes. Nature 571. Wang et al. (2024). A neurotransmitter atlas
of C. elegans males and hermaphrodites. eLife 13:RP95402. Gleeson, Lung, Grosu, Hasani & Larson (2018). c302: a multiscale framework for
modelling the nervous system of Caenorhabditis elegans. Philosophical Transactions of the Royal Society B 373.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

NEURONS_FILE = "worm-neurons.csv"
KINDS = ("sensory", "inter", "motor", "polymodal")


@cache
def _table() -> pd.DataFrame:
    source = resources.files("neuropil.datasets") / "bundled" / NEURONS_FILE
    with source.open(encoding="utf-8") as file:
        table = pd.read_csv(file, index_col="neuron", keep_default_na=False)
    table[["x", "y", "z"]] = table[["x", "y", "z"]].astype(float) * 1e-6
    return table


def worm_neurons() -> pd.DataFrame:
    """One row a neuron in the canonical order: `kind`, `transmitter`, and `x`, `y`, `z` in metres.

    Examples
    --------
    >>> neurons = worm_neurons()
    >>> neurons.loc["AVAL", ["kind", "transmitter"]].tolist(), len(neurons)
    (['inter', 'acetylcholine'], 300)
    """
    return _table().copy()
