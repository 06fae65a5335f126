"""What a fitted switching regression found, as tables and panels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from neuropil.activity import Activity
from neuropil.findings import Connectivity, Curves, Findings, Panel, Raster, TransitionGraph

MOST_COMMUNITIES, SHOWN_FILTERS, SHOWN_BINS = 8, 12, 1000
CLASSES = ("inhibitory", "absent", "excitatory")


def communities_of(weights: Float[ndarray, "state post pre"]) -> Int[ndarray, " neuron"]:
    """Groups of neurons that are coupled strongly in any direction and state: spectral clustering, as many as the widest gap says.

    Examples
    --------
    >>> blocks = np.kron(np.eye(2), np.ones((3, 3)))[None] + 0.01
    >>> groups = communities_of(blocks)
    >>> (groups[:3] == groups[0]).all() and (groups[3:] == groups[3]).all() and groups[0] != groups[3]
    np.True_
    """
    from sklearn.cluster import SpectralClustering

    strength = np.abs(weights).mean(axis=0)
    affinity = strength + strength.T
    np.fill_diagonal(affinity, 0.0)
    n_neurons = len(affinity)
    if n_neurons < 4 or not affinity.any():
        return np.zeros(n_neurons, dtype=np.int64)
    affinity += 1e-6 * affinity.max()
    root = 1 / np.sqrt(affinity.sum(axis=1))
    levels = np.linalg.eigvalsh(np.eye(n_neurons) - root[:, None] * affinity * root)[
        : min(MOST_COMMUNITIES, n_neurons - 1) + 1
    ]
    n_groups = int(np.argmax(np.diff(levels)[1:])) + 2 if len(levels) > 2 else 2
    grouping = SpectralClustering(n_groups, affinity="precomputed", random_state=0, assign_labels="cluster_qr")
    return grouping.fit_predict(affinity).astype(np.int64)


def describe(
    model: Any,
    activity: Activity,
    paths: list[Int[ndarray, " _"]],
    probabilities: list[Float[ndarray, "_ state"]],
    score: float,
) -> Findings:
    """Findings of a fitted `SwitchingGLM` on decoded sequences: most likely paths, and probabilities of every state and bin."""
    names, states = model.unit_names_, np.concatenate(paths)
    labels = [f"state {s}" for s in range(model.n_states)]
    occupancy = np.bincount(states, minlength=model.n_states) / len(states)
    moves = sum(int((np.diff(path) != 0).sum()) for path in paths)
    communities = communities_of(model.weights_)
    summary: dict[str, Any] = {
        "n_states": model.n_states,
        "n_neurons": len(names),
        "n_sequences": len(paths),
        "n_bins": len(states),
        "log_likelihood_per_bin": score,
        "n_changes_of_state": moves,
        "restart_scores": model.restart_scores_.tolist(),
        "converged": bool(model.converged_),
    }
    tables = {
        "states": _states_table(activity, paths, probabilities),
        "occupancy": _occupancy_table(model, occupancy, labels),
        "transition": pd.DataFrame(model.transition_, index=pd.Index(labels, name="from"), columns=labels),
        "connectivity": _connectivity_table(model, names),
        "filters": _filters_table(model, names),
    }
    order = np.argsort(communities, kind="stable")
    first = paths[0][:SHOWN_BINS]
    panels: dict[str, Panel] = {
        "raster": Raster(
            "Spikes and decoded states",
            activity.sequences[0][: len(first)],
            names,
            first,
            model.sfreq_,
            order,
            communities,
        ),
        "transition": TransitionGraph("Moves between states", model.transition_, labels),
    }
    for s, label in enumerate(labels):
        panels[f"connectivity_{s}"] = Connectivity(f"Couplings in {label}", model.weights_[s], names, communities)
    if model.prior == "onehot":
        panels["prior"] = Connectivity(
            "Probability of a connection that all states share",
            1 - model.prior_[..., 1],
            names,
            communities,
            "probability",
        )
    panels["filters"] = _filters_panel(model, names)
    panels["objective"] = Curves(
        "Objective", np.arange(len(model.objective_)), {"objective": model.objective_}, "round", "nats"
    )
    return Findings(summary, tables, panels)


def _states_table(activity: Activity, paths: list[ndarray], probabilities: list[ndarray]) -> pd.DataFrame:
    """One row a bin; its time is that of its beginning, in s, or its number where the rate is not known."""
    step = 1 / activity.sfreq if activity.sfreq else 1.0
    times = [start + step * np.arange(len(path)) for start, path in zip(activity.starts, paths, strict=True)]
    posterior = np.concatenate(list(probabilities))
    columns = {
        "sequence": np.repeat(np.arange(len(paths)), activity.lengths),
        "time": np.concatenate(times),
        "state": np.concatenate(paths),
    }
    return pd.DataFrame(columns | {f"p_{s}": posterior[:, s] for s in range(posterior.shape[1])})


def _occupancy_table(model: Any, occupancy: ndarray, labels: list[str]) -> pd.DataFrame:
    stay = np.diag(model.transition_)
    with np.errstate(divide="ignore"):
        dwell = 1 / (1 - stay)
    return pd.DataFrame({"occupancy": occupancy, "mean_dwell_bins": dwell}, index=pd.Index(labels, name="state"))


def _connectivity_table(model: Any, names: tuple[str, ...]) -> pd.DataFrame:
    n_states, n, _ = model.weights_.shape
    state, post, pre = (axis.ravel() for axis in np.indices((n_states, n, n)))
    table = pd.DataFrame(
        {
            "state": state,
            "post": np.asarray(names)[post],
            "pre": np.asarray(names)[pre],
            "weight": model.weights_.ravel(),
        }
    )
    if model.adjacency_ is not None:
        table["class"] = np.asarray(CLASSES)[model.adjacency_.argmax(axis=-1).ravel()]
        table["probability"] = model.adjacency_.max(axis=-1).ravel()
    return table


def _filters_table(model: Any, names: tuple[str, ...]) -> pd.DataFrame:
    state, post, pre, lag = (axis.ravel() for axis in np.indices(model.filters_.shape))
    return pd.DataFrame(
        {
            "state": state,
            "post": np.asarray(names)[post],
            "pre": np.asarray(names)[pre],
            "lag": lag + 1,
            "effect": model.filters_.ravel(),
        }
    )


def _filters_panel(model: Any, names: tuple[str, ...]) -> Curves:
    """The filters of the strongest connections."""
    sizes = np.abs(model.filters_).sum(axis=-1)
    strongest = np.argsort(sizes, axis=None)[::-1][:SHOWN_FILTERS]
    lines = {}
    for flat in strongest.tolist():
        s, post, pre = (int(k) for k in np.unravel_index(flat, sizes.shape))
        lines[f"state {s}: {names[pre]} → {names[post]}"] = model.filters_[s, post, pre]
    return Curves(
        "Filters of the strongest connections",
        np.arange(1, model.filters_.shape[-1] + 1),
        lines,
        "lag (bins)",
        "effect of a spike",
    )
