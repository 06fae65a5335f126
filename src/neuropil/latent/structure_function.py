"""How well the worm's wiring predicts which neurons respond to which: from direct contacts to all paths through the network.

A connectome L (logarithm of one plus chemical synapses and gap junctions from the source to the target) predicts the response of i to j by

- *direct*: the contacts from j to i,
- *paths*: two steps, :math:`L^2`,
- *resolvent*: paths of all lengths, each step weaker, :math:`(I - \\alpha L / \\rho(L))^{-1} - I` with the spectral radius :math:`\\rho`,
- *degree*: the synapses that j sends times those that i receives, which knows no edge: a baseline.

The score is the area under the ROC curve for pairs with a significant response. Pairs share their stimulated neuron, so the interval comes
from a bootstrap over stimulated neurons.

Randi, Sharma, Dvali & Leifer (2023). Neural signal propagation atlas of Caenorhabditis elegans. Nature 623.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy import ndarray
from sklearn.metrics import roc_auc_score

from neuropil.datasets.worm import Connectome, SignalPropagation
from neuropil.errors import DataError, UsageError
from neuropil.stats.resampling import Interval

DAMPING = 0.8
ALPHA = 0.05


def contacts(connectome: Connectome) -> Float64[ndarray, "post pre"]:
    """``log(1 + chemical synapses + gap junctions)``."""
    return np.log1p(connectome.chem + connectome.gap)


def direct(connectome: Connectome) -> Float64[ndarray, "post pre"]:
    """Contacts from the source to the target."""
    return contacts(connectome)


def paths(connectome: Connectome) -> Float64[ndarray, "post pre"]:
    """Paths of two steps."""
    one_step = contacts(connectome)
    return one_step @ one_step


def resolvent(connectome: Connectome) -> Float64[ndarray, "post pre"]:
    """Paths of all lengths, damped by 0.8 a step relative to the network's own amplification."""
    one_step = contacts(connectome)
    radius = float(np.abs(np.linalg.eigvals(one_step)).max())
    if radius == 0:
        raise DataError("A resolvent needs a connectome with a loop; this one leads nowhere.")
    identity = np.eye(len(one_step))
    return np.linalg.inv(identity - DAMPING / radius * one_step) - identity


def degree(connectome: Connectome) -> Float64[ndarray, "post pre"]:
    """What the source sends times what the target receives."""
    total = connectome.chem + connectome.gap
    return np.outer(total.sum(axis=1), total.sum(axis=0))


KINDS: dict[str, Callable[[Connectome], Any]] = {
    "direct": direct,
    "paths": paths,
    "resolvent": resolvent,
    "degree": degree,
}


class Pairs(NamedTuple):
    """Pairs of neurons that both the atlas and the connectome tell about."""

    function: Bool[ndarray, " pair"]
    """Whether the target responds to the source."""
    structure: Float64[ndarray, " pair"]
    """What the connectome predicts."""
    stimulated: ndarray
    """Index of the source."""
    connected: Bool[ndarray, " pair"]
    """Whether there is a synapse or gap junction from the source to the target."""


def pairs(
    connectome: Connectome,
    atlas: SignalPropagation,
    kind: str = "direct",
    *,
    min_obs: int = 1,
    unannotated: str = "leave_out",
) -> Pairs:
    """Measured pairs of neurons, with what the connectome predicts for each.

    Parameters
    ----------
    connectome : Connectome
    atlas : SignalPropagation
        Its names need not be those of the connectome: neurons are matched by name. AWCOFF and AWCON are not in any connectome.
    kind : {"direct", "paths", "resolvent", "degree"}
    min_obs : int, default 1
        Pairs with fewer observations are left out.
    unannotated : {"leave_out", "zero"}
        What to do with neurons that the connectome says nothing about: leave them out, or take them for unconnected.

    Raises
    ------
    UsageError
        If there is no such kind.
    DataError
        If nothing is left, or only one of the two sorts of pairs.
    """
    if kind not in KINDS:
        raise UsageError(f"Structure predicts function by one of {', '.join(KINDS)}; got {kind!r}.")
    if unannotated not in ("leave_out", "zero"):
        raise UsageError(f"Neurons without annotation are 'leave_out' or 'zero', got {unannotated!r}.")
    shared = [name for name in connectome.order if name in set(atlas.order)]
    index = np.array([atlas.order.index(name) for name in shared], dtype=np.int64)
    rows = np.array([connectome.order.index(name) for name in shared], dtype=np.int64)
    of_atlas, of_connectome = np.ix_(index, index), np.ix_(rows, rows)
    annotated = np.zeros(len(atlas.order), dtype=bool)
    annotated[index] = connectome.annotated[rows]
    predicted, linked = np.zeros(atlas.q.shape), np.zeros(atlas.q.shape, dtype=bool)
    # paths may lead through neurons that the atlas does not name
    predicted[of_atlas] = KINDS[kind](connectome)[of_connectome]
    linked[of_atlas] = (connectome.chem + connectome.gap > 0)[of_connectome]
    chosen = atlas.measured & (atlas.n_obs >= min_obs)
    if unannotated == "leave_out":
        chosen &= np.outer(annotated, annotated)
    target, source = np.nonzero(chosen)
    function = atlas.q[target, source] < ALPHA
    if not function.any() or function.all():
        raise DataError(
            f"A score needs pairs with and without a response, got {int(function.sum())} of {len(function)} measured pairs with one."
        )
    return Pairs(function, predicted[target, source], source, linked[target, source])


class StructureFunction(NamedTuple):
    """How well a connectome predicts function."""

    kind: str
    """Prediction."""
    auroc: Interval
    """Area under the ROC curve, with a bootstrap interval over stimulated neurons; `n` of them."""
    gain: Interval | None
    """The same minus that of direct contacts, on the same resamples; none for "direct" itself."""
    n_pairs: int
    """Pairs of neurons."""
    n_functional: int
    """Pairs with a response."""
    connected: tuple[float, float]
    """Share of pairs in direct contact, among those with a response and among the others."""


def structure_function_score(
    connectome: Connectome,
    q: SignalPropagation,
    kind: str = "direct",
    n_boot: int = 200,
    *,
    min_obs: int = 1,
    unannotated: str = "leave_out",
    random_state: int = 0,
) -> StructureFunction:
    """Area under the ROC curve of a prediction of functional connections from structure.

    Parameters
    ----------
    connectome : Connectome
    q : SignalPropagation
        A pair is functional where its q is below 0.05.
    kind, min_obs, unannotated
        As in `pairs`.
    n_boot : int, default 200
        Resamples of the stimulated neurons.
    random_state : int

    Examples
    --------
    >>> from neuropil.datasets.worm import load_connectome, load_signal_propagation
    >>> white, atlas = load_connectome("white"), load_signal_propagation()
    >>> score = structure_function_score(white, atlas, "resolvent", n_boot=50, unannotated="zero")
    >>> round(score.auroc.estimate, 3), score.n_pairs
    (0.602, 23902)
    """
    if n_boot < 20:
        raise UsageError(f"An interval needs 20 resamples or more, got n_boot={n_boot}.")
    found = pairs(connectome, q, kind, min_obs=min_obs, unannotated=unannotated)
    plain = pairs(connectome, q, "direct", min_obs=min_obs, unannotated=unannotated).structure
    neurons, of_pair = np.unique(found.stimulated, return_inverse=True)
    rng = np.random.default_rng(random_state)
    draws = rng.multinomial(len(neurons), np.full(len(neurons), 1 / len(neurons)), size=n_boot)
    scores, of_direct = (_resampled(found.function, x, draws[:, of_pair]) for x in (found.structure, plain))
    estimate = float(roc_auc_score(found.function, found.structure))
    gain = None
    if kind != "direct":
        gain = interval(estimate - float(roc_auc_score(found.function, plain)), scores - of_direct, len(neurons))
    shares = tuple(float(found.connected[mask].mean()) for mask in (found.function, ~found.function))
    return StructureFunction(
        kind,
        interval(estimate, scores, len(neurons)),
        gain,
        len(found.function),
        int(found.function.sum()),
        (shares[0], shares[1]),
    )


def _resampled(
    function: Bool[ndarray, " pair"], structure: Float64[ndarray, " pair"], weights: Int[ndarray, "draw pair"]
) -> Float64[ndarray, " draw"]:
    """Area under the ROC curve with every pair counted as often as it was drawn; NaN where one sort of pairs is missing."""
    levels, code = np.unique(structure, return_inverse=True)
    areas = np.full(len(weights), np.nan)
    for k, weight in enumerate(weights):
        yes, no = (np.bincount(code[of], weight[of], minlength=len(levels)) for of in (function, ~function))
        if yes.any() and no.any():
            areas[k] = (yes * (np.cumsum(no) - no / 2)).sum() / (yes.sum() * no.sum())
    return areas


def interval(estimate: float, values: Any, n: int) -> Interval:
    """95 % interval from resamples, of which NaN are skipped."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Interval(estimate, float(low), float(high), n, 0.95)
