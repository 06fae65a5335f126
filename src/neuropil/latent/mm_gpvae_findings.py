"""What a multi-modal Gaussian-process autoencoder found, as tables and panels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.findings import Curves, Findings, Heatmap, Trajectories

TITLES = {"neural": "neurons alone", "shared": "shared", "behaviour": "behaviour alone"}


def describe(model: Any, mean: ndarray, sd: ndarray) -> Findings:
    """Paths of the first trial with bands of 95 %, loadings, and the objective.

    Parameters
    ----------
    model : MMGPVAE
        Fitted.
    mean, sd : ndarray of shape (n_trials, n_times, n_latents)
        Posterior of the latents.
    """
    groups = {TITLES[name]: columns for name, columns in model.latent_groups_.items() if columns.stop > columns.start}
    names = [f"{title} {k + 1}" for title, columns in groups.items() for k in range(columns.stop - columns.start)]
    low, high = mean - 1.96 * sd, mean + 1.96 * sd
    panels: dict[str, Any] = {
        "latents": Trajectories(
            "Latents of the first trial",
            {title: mean[0][:, columns] for title, columns in groups.items()},
            {title: (low[0][:, columns], high[0][:, columns]) for title, columns in groups.items()},
            sfreq=model.sfreq_,
        ),
        "objective": Curves(
            "Evidence lower bound",
            np.arange(1, len(model.objective_) + 1),
            {"training trials": model.objective_},
            "epoch",
            "bound a trial",
        ),
    }
    shape = mean.shape[:2]
    trial, time = (axis.ravel() for axis in np.indices(shape))
    columns = {name: mean[..., k].ravel() for k, name in enumerate(names)}
    tables = {"latents": pd.DataFrame({"trial": trial, "bin": time, **columns})}
    if model.n_units_:
        mine = names[: model.loadings_.shape[1]]
        tables["loadings"] = pd.DataFrame(model.loadings_, columns=mine)
        tables["loadings"].insert(0, "unit", list(model.unit_names_))
        panels["loadings"] = Heatmap(
            "Loadings", model.loadings_, model.unit_names_, mine, "loading", xlabel="latent", ylabel="unit"
        )
    summary = {
        "trials": shape[0],
        "bins_per_trial": shape[1],
        "units": model.n_units_,
        "features": model.n_features_,
        **{f"latents_{name}": columns.stop - columns.start for name, columns in model.latent_groups_.items()},
        "last_bound_per_trial": float(model.objective_[-1]),
    }
    if model.domain != "none":
        lengths = zip(names, model.lengthscales_, strict=True)
        summary |= {f"lengthscale_{name.replace(' ', '_')}_bins": float(length) for name, length in lengths}
    return Findings(summary, tables, panels)
