"""Wiring beside function in the worm: connectomes against the atlas of signal propagation and against recordings of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from neuropil.datasets.worm import Connectome, load_connectome, load_signal_propagation
from neuropil.datasets.worm_names import nearest
from neuropil.datasets.worm_recordings import read_worms
from neuropil.errors import DataError, UsageError
from neuropil.experiments.cleaning import save_picture
from neuropil.experiments.translation_result import check_picture
from neuropil.experiments.worm_drawing import Matrices, arranged
from neuropil.latent.structure_activity import activity_correlation, structure_activity_score
from neuropil.latent.structure_function import KINDS, structure_function_score
from neuropil.latent.worm_homogenized import WormHomogenizer
from neuropil.recording import Recording

DEFAULT = ("white", "cook")
AGAINST = {"propagation": "AUROC of significant responses", "activity": "Spearman correlation with |r| of activity"}


@dataclass(frozen=True)
class WormComparison:
    """What the comparison measured.

    Attributes
    ----------
    table : DataFrame
        `connectome`, `against` ("propagation", "activity"), `prediction`, `score`, `low`, `high` (95 % interval), `n_pairs`,
        `n_functional`,
        `connected` and `connected_others` (share of functional pairs, and of the others, in direct contact).
    facts : dict
        How it was done, and what became of the recordings' labels.
    matrices : Matrices
        Contacts of the first connectome and responses of the atlas, neurons by kind and from head to tail.
    """

    table: pd.DataFrame
    facts: dict[str, Any]
    matrices: Matrices

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.facts, "table": self.table.to_dict(orient="records")}

    def plot(self, path: str | Path) -> Path:
        """Draw wiring and responses beside each other, and the scores with their intervals, one panel for what they are compared with."""
        from neuropil.experiments.worm_drawing import draw

        check_picture(path)
        return save_picture(draw(self.table, self.matrices, AGAINST), path)


def compare_structure_and_function(
    recordings: Sequence[str | Path | Recording] = (),
    connectomes: Sequence[str | Path | pd.DataFrame] = DEFAULT,
    *,
    strain: str = "wt",
    min_obs: int = 1,
    n_boot: int = 200,
    dt: float = 1 / 3,
    seed: int = 0,
) -> WormComparison:
    """Score what connectomes predict of the atlas of signal propagation and, with recordings, of correlated activity.

    Parameters
    ----------
    recordings : sequence of path-like or Recording
        Calcium traces, or files and folders of the published collections; see `neuropil.datasets.worm_recordings.read_worms`.
    connectomes : sequence
        As for `load_connectome`.
    strain, min_obs, n_boot
        As for `load_signal_propagation` and `structure_function_score`.
    dt : float
        Time step to which recordings are brought, seconds.
    seed : int
        Of the resampling.

    Examples
    --------
    >>> result = compare_structure_and_function(connectomes=["white"], n_boot=20)
    >>> result.table["prediction"].tolist()
    ['direct', 'paths', 'resolvent', 'degree']
    """
    if not connectomes:
        raise UsageError("Name one connectome or more.")
    if min_obs < 1:
        raise UsageError(f"A pair has one observation or more, got min_obs={min_obs}.")
    graphs = [load_connectome(source) for source in connectomes]
    names = [str(graph.meta["name"]) for graph in graphs]
    if len(set(names)) < len(names):
        raise UsageError(f"Every connectome is compared once, got {', '.join(names)}.")
    worms = [worm for r in recordings for worm in ([r] if isinstance(r, Recording) else read_worms(r))]
    facts: dict[str, Any] = {
        "connectomes": {
            name: {**graph.counts(), "source": graph.meta["source"]} for name, graph in zip(names, graphs, strict=True)
        },
        "strain": strain,
        "min_obs": min_obs,
        "n_boot": n_boot,
        "seed": seed,
    }
    correlation = None
    if worms:
        homogenizer = WormHomogenizer(dt=dt).fit(worms)
        done = homogenizer.transform(worms)
        report = homogenizer.report_
        strange = list(dict.fromkeys(report["label"][report["reason"] == "no such neuron"]))
        if not done:
            near = nearest(strange[0]) if strange else []
            raise DataError(
                "No trace of these recordings carries the name of a neuron; labels are like AVAL, VA8 or AS01"
                + (f", and {strange[0]!r} is none" if strange else "")
                + (f": did you mean {' or '.join(near)}?" if near else ".")
            )
        correlation, _ = activity_correlation(done)
        facts["recordings"] = {
            "n_worms": len(done),
            "n_traces": len(report),
            "n_named": int((report["neuron"] != "").sum()),
            "reasons": {str(k): int(n) for k, n in report["reason"].value_counts().items() if k},
            "dropped": homogenizer.dropped_,
            "strange_names": {str(label): nearest(label) for label in strange},
        }
    atlas = load_signal_propagation(strain)
    rows: list[dict[str, Any]] = []
    for name, graph in zip(names, graphs, strict=True):
        rows += [_against_atlas(name, graph, atlas, kind, min_obs, n_boot, seed) for kind in KINDS]
        if correlation is not None:
            rows += [_against_activity(name, graph, correlation, kind, n_boot, seed) for kind in KINDS]
    return WormComparison(pd.DataFrame(rows), facts, arranged(names[0], graphs[0], atlas))


def _against_atlas(
    name: str, graph: Connectome, atlas: Any, kind: str, min_obs: int, n_boot: int, seed: int
) -> dict[str, Any]:
    score = structure_function_score(graph, atlas, kind, n_boot, min_obs=min_obs, random_state=seed)
    return {
        "connectome": name,
        "against": "propagation",
        "prediction": kind,
        "score": score.auroc.estimate,
        "low": score.auroc.low,
        "high": score.auroc.high,
        "n_pairs": score.n_pairs,
        "n_functional": score.n_functional,
        "connected": score.connected[0],
        "connected_others": score.connected[1],
    }


def _against_activity(
    name: str, graph: Connectome, correlation: Any, kind: str, n_boot: int, seed: int
) -> dict[str, Any]:
    score = structure_activity_score(graph, correlation, kind, n_boot, random_state=seed)
    return {
        "connectome": name,
        "against": "activity",
        "prediction": kind,
        "score": score.spearman.estimate,
        "low": score.spearman.low,
        "high": score.spearman.high,
        "n_pairs": score.n_pairs,
    }
