"""Geweke's joint test: a sampler is right if draws of parameters, in turn with draws of data, keep the prior.

Geweke (2004). Getting it right: joint distribution tests of posterior simulators. Journal of the American Statistical Association 99(467).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.stats.convergence import chain_diagnostics

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def largest_quantile_error(
    prior: Float[ndarray, "independent quantity"], drawn: Float[ndarray, "chain draw quantity"]
) -> float:
    """How far prior and chains differ at most in the probability of a quantile, in standard errors.

    Parameters
    ----------
    prior : ndarray of shape (n_independent, n_quantities)
        Independent draws of the prior.
    drawn : ndarray of shape (n_chains, n_draws, n_quantities)
        Parameters redrawn in turn with data; their effective sample size is taken into account.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> prior, chains = rng.standard_normal((4000, 1)), rng.standard_normal((2, 1000, 1))
    >>> largest_quantile_error(prior, chains) < 4 < largest_quantile_error(prior, chains + 0.3)
    True
    """
    if prior.shape[1] != drawn.shape[2]:
        raise UsageError(f"Prior and chains must have the same quantities, got {prior.shape[1]} and {drawn.shape[2]}.")
    below, expected = {}, []
    for k in range(prior.shape[1]):
        for q in QUANTILES:
            edge = np.quantile(prior[:, k], q)
            probability = float(np.mean(prior[:, k] <= edge))
            # at the largest value of a discrete quantity there is nothing to compare
            if probability < 1:
                below[f"{k} {q}"] = (drawn[..., k] <= edge).astype(float)
                expected.append(probability)
    table, p = chain_diagnostics(below), np.array(expected)
    errors = np.sqrt(p * (1 - p) * (1 / table["ess_bulk"].to_numpy() + 1 / len(prior)))
    return float(np.max(np.abs(table["mean"].to_numpy() - p) / errors))
