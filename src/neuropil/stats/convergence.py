"""Whether an iterative fit or a Markov chain has arrived.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021). Rank-normalization, folding, and localization: an improved R-hat for assessing
convergence of MCMC. Bayesian Analysis 16(2), 667-718.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.errors import DataError, require

R_HAT = 1.01
EFFECTIVE = 100  # draws a chain


def check_never_falls(objective: ndarray, rtol: float = 1e-8) -> None:
    """Raise if an objective falls by more than rounding from one step to the next.

    Parameters
    ----------
    objective : ndarray of shape (n_steps,)
    rtol : float
        Of the largest magnitude.

    Examples
    --------
    >>> check_never_falls(np.array([-10.0, -5.0, -5.0]))
    """
    objective = np.asarray(objective, dtype=float)
    if not np.isfinite(objective).all():
        raise ArithmeticError(f"The objective is not finite at step {int(np.flatnonzero(~np.isfinite(objective))[0])}.")
    falls = -np.diff(objective)
    allowed = rtol * max(1.0, float(np.abs(objective).max(initial=0.0)))
    if len(falls) and falls.max() > allowed:
        step = int(falls.argmax()) + 1
        raise ArithmeticError(f"The objective falls by {falls.max():.3g} at step {step}, which must not happen.")


def chain_diagnostics(draws: Mapping[str, ndarray]) -> pd.DataFrame:
    """Posterior means and intervals, R-hat and effective sample sizes of several chains.

    Parameters
    ----------
    draws : mapping of str to ndarray of shape (n_chains, n_draws) or (n_chains, n_draws, n_parameters)
        After burn-in.

    Returns
    -------
    DataFrame
        One row a parameter, index its name (with [k] for the k-th of several): `mean`, `sd`, `lower` and `upper` (95 %, equal tails),
        `r_hat` (NaN for a single chain, infinite if every chain stays at a value of its own), `ess_bulk`, `ess_tail`, `constant` (never
        moved, which has neither).

    Raises
    ------
    MissingExtraError
        Without arviz.
    """
    arviz = _arviz()
    rows = {}
    for name, values in draws.items():
        values = np.asarray(values, dtype=float)
        if values.ndim not in (2, 3) or values.shape[1] < 4:
            raise DataError(f"Draws need shape (chain, draw) with 4 draws or more, {name} has shape {values.shape}.")
        parts = {name: values} if values.ndim == 2 else {f"{name}[{k}]": values[..., k] for k in range(values.shape[2])}
        for key, chains in parts.items():
            constant = bool(np.ptp(chains) == 0)
            stuck = not constant and bool((np.ptp(chains, axis=1) == 0).all())  # every chain, at a place of its own
            lower, upper = np.quantile(chains, [0.025, 0.975])
            rows[key] = {
                "mean": chains.mean(),
                "sd": chains.std(ddof=1),
                "lower": lower,
                "upper": upper,
                "r_hat": np.inf if stuck else np.nan if constant or len(chains) == 1 else float(arviz.rhat(chains)),
                "ess_bulk": len(chains) if stuck else np.nan if constant else float(arviz.ess(chains, method="bulk")),
                "ess_tail": len(chains) if stuck else np.nan if constant else float(arviz.ess(chains, method="tail")),
                "constant": constant,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def not_converged(table: pd.DataFrame, n_chains: int) -> list[str]:
    """Parameters whose R-hat exceeds 1.01 or whose effective sample size is below 100 a chain; those that never move are left out."""
    moving = table[~table["constant"].astype(bool)]
    enough = (moving["ess_bulk"] >= EFFECTIVE * n_chains) & (moving["ess_tail"] >= EFFECTIVE * n_chains)
    mixed = moving["r_hat"].isna() | (moving["r_hat"] <= R_HAT)
    return [str(name) for name in moving.index[~(enough & mixed)]]


def warn_unless_converged(table: pd.DataFrame, n_chains: int) -> bool:
    """Whether the chains have converged by `not_converged`; if not, a warning says where and what to do.

    A single chain cannot show that it has converged, which is said as well.
    """
    late = not_converged(table, n_chains)
    if late:
        rows = table.loc[late]
        worst = rows["r_hat"].max() if rows["r_hat"].notna().any() else np.nan
        some = ", ".join(late[:4]) + (" ..." if len(late) > 4 else "")
        numbers = f"largest R-hat {worst:.3f}, " if not np.isnan(worst) else ""
        warnings.warn(
            f"The chains have not converged in {len(late)} of {len(table)} quantities ({some}; "
            f"{numbers}smallest effective sample {rows['ess_bulk'].min():.0f}): sample longer before you read intervals.",
            stacklevel=3,
        )
    elif n_chains == 1:
        warnings.warn("A single chain cannot show that it has converged; sample two or more.", stacklevel=3)
    return not late and n_chains > 1


def _arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return require("arviz", "bayes")
