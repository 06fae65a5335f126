"""Which neurons follow one latent trajectory, and which dynamics is in force when: Bayesian bi-clustering of spike counts.

Neurons are clustered by the low-dimensional trajectory that drives them, time by the linear dynamics that moves all trajectories. Neither
number is fixed: a mixture of finite mixtures has the clusters, a sticky hierarchical Dirichlet process the states. The posterior is
sampled: Pólya-Gamma variables make counts Gaussian, trajectories are drawn by filtering forward and sampling backward, dynamics from their
conjugate posterior, labels by Laplace's evidence.

What is new here: states are redrawn in blocks with the trajectories integrated out, labels together with their loadings and accepted with
the exact ratio, dispersions from their exact posterior, and trajectories centred by an exact move instead of a constraint; chains start
from clusters merged by a variational bound of their evidence. Plain alternating draws from one cluster do not arrive within thousands of
sweeps.

Wei (2024). Bayesian bi-clustering of neural spiking activity with latent structures. ICLR; arXiv:2309.02213.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray
from scipy.special import logsumexp

from neuropil.activity import Activity, read_activity
from neuropil.errors import DataError, UsageError
from neuropil.findings import Curves, Findings, Heatmap, Intervals, Raster
from neuropil.findings import Trajectories as TrajectoryPanel
from neuropil.latent.biclustering_chain import ChainDraws, Settings, run_chain
from neuropil.latent.biclustering_model import Priors, poisson_log_likelihood
from neuropil.latent.biclustering_summary import BAND, partition, trajectories
from neuropil.progress import bar
from neuropil.restarts import start_seeds
from neuropil.stats import negative_binomial
from neuropil.stats.convergence import chain_diagnostics, warn_unless_converged
from neuropil.stats.mixtures import log_mixture_coefficients
from neuropil.structure import StructureModel

LAPTOP: dict[str, Any] = {"n_iter": 1500, "burn_in": 500, "max_states": 6, "kappa": 50.0}
QUANTITIES = ("n_clusters", "n_states", "log_likelihood", "mean_rate", "dispersion_median", "dispersion_90")
INITS = ("evidence", "kmeans")
LIKELIHOODS = ("nb", "poisson")


class BiClusteringSLDS(StructureModel):
    """Clusters of neurons and states of time, from one long sequence of counts.

    Parameters
    ----------
    n_factors : int, default 2
        Latent variables of a cluster besides the one that all of its neurons share with loading 1.
    likelihood : {"nb", "poisson"}
    max_states : int, default 10
        Of the weak limit; 1 for a single dynamics.
    max_clusters : int, optional
        Half the neurons without; 1 for a single cluster.
    alpha, gamma, kappa : float
        Concentrations and stickiness of the states; the larger `kappa`, the longer they last.
    mfm_p, mfm_gamma : float
        Of the geometric prior on the number of clusters, and the Dirichlet weight of each.
    n_iter, burn_in : int
        Sweeps of a chain, and how many of them at first are left out; ``LAPTOP`` has shorter settings.
    n_chains : int, default 2
    init : {"evidence", "kmeans"}
        Start from clusters merged by their evidence, or from `n_start` clusters of k-means.
    n_start : int, optional
        Clusters to begin merging with, or of k-means (3).
    n_candidates : int, default 4
        Sequences of states that compete in every block; 1 leaves the update of states to alternating draws.
    block_lengths : (int, int), default (10, 30)
        Bins of a block.
    temperature : float, default 1.0
        Above 1, evidence of labels is flattened at first and sharpens over half the burn-in.
    n_jobs : int, optional
        Chains in parallel.
    random_state : int, optional

    Attributes
    ----------
    labels_ : ndarray of int, shape (n_units,)
        The drawn partition nearest to `coclustering_`.
    coclustering_ : ndarray of shape (n_units, n_units)
        Posterior probability that two units are in one cluster.
    states_ : ndarray of int, shape (n_times,)
    state_similarity_ : ndarray of shape (n_times, n_times)
    rates_ : ndarray of shape (n_times, n_units)
        Posterior mean counts a bin.
    trajectories_ : list of ndarray of shape (n_times, n_factors + 1)
        Latent variables of every cluster of `labels_`.
    loadings_ : ndarray of shape (n_units, n_factors)
    paths_, paths_lower_, paths_upper_ : ndarray of shape (n_times, n_clusters)
        Log rate averaged over a cluster, less its mean over time, with 95 % intervals.
    baseline_, dispersion_ : ndarray of shape (n_units,)
        Posterior means: log rate averaged over time, and r. `baseline_interval_`, `dispersion_interval_` of shape (2, n_units) are 95 %
        intervals.
    trace_ : dict of str to ndarray of shape (n_chains, n_iter)
        `n_clusters`, `n_states`, `log_likelihood` of every sweep.
    draws_ : dict of str to ndarray of shape (n_chains, n_draws)
        The quantities that `diagnostics()` is about.
    converged_ : bool
    acceptance_ : float
        Of labels proposed from Laplace's approximation; near 1 where it is good.

    Notes
    -----
    Random starts and label switching make single labels of single sweeps meaningless: read `coclustering_`. Intervals count only if
    the chains agree, which `fit` checks on quantities that do not depend on names of clusters. Births of clusters draw the newborn's
    trajectory from random splines, as published: a prior for new trajectories that the model of the dynamics does not imply.

    References
    ----------
    Wei (2024). Bayesian bi-clustering of neural spiking activity with latent structures. ICLR.

    Examples
    --------
    >>> import warnings
    >>> from neuropil.simulate.clustered import simulate_clustered
    >>> truth = simulate_clustered(2, 6, 120, baseline=2.0, random_state=1)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # far too short to converge
    ...     model = BiClusteringSLDS(n_iter=30, burn_in=10, max_states=2, random_state=0).fit(truth.counts)
    >>> model.coclustering_.shape, model.rates_.shape
    ((12, 12), (120, 12))
    """

    def __init__(
        self,
        n_factors: int = 2,
        likelihood: str = "nb",
        max_states: int = 10,
        max_clusters: int | None = None,
        alpha: float = 5.0,
        gamma: float = 5.0,
        kappa: float = 10.0,
        mfm_p: float = 0.2,
        mfm_gamma: float = 1.0,
        n_iter: int = 10_000,
        burn_in: int = 2_500,
        n_chains: int = 2,
        init: str = "evidence",
        n_start: int | None = None,
        n_candidates: int = 4,
        block_lengths: tuple[int, int] = (10, 30),
        temperature: float = 1.0,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_factors = n_factors
        self.likelihood = likelihood
        self.max_states = max_states
        self.max_clusters = max_clusters
        self.alpha = alpha
        self.gamma = gamma
        self.kappa = kappa
        self.mfm_p = mfm_p
        self.mfm_gamma = mfm_gamma
        self.n_iter = n_iter
        self.burn_in = burn_in
        self.n_chains = n_chains
        self.init = init
        self.n_start = n_start
        self.n_candidates = n_candidates
        self.block_lengths = block_lengths
        self.temperature = temperature
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> BiClusteringSLDS:
        """Sample the posterior.

        Parameters
        ----------
        X : ndarray of shape (n_times, n_units), stream or recording
            Counts of one sequence; NaN where missing, or left out for `score`.
        y : ignored
        """
        self._check()
        counts = self._single(self._read(X, fitting=True, missing=True))
        for name, most, of in (("n_factors", counts.shape[1], "units"), ("max_states", len(counts), "bins")):
            if getattr(self, name) > most:
                raise DataError(
                    f"{name}={getattr(self, name)} is more than {most} {of} can tell apart; lower it or give more."
                )
        priors = self.priors(counts.shape[1])
        shortest, longest = self.block_lengths
        settings = Settings(
            self.n_iter, self.burn_in, self.init, self.n_start, self.n_candidates, (shortest, longest), self.temperature
        )
        chains = self._sample(counts, priors, settings)
        self._summarise(counts, chains)
        self.converged_ = warn_unless_converged(self.diagnostics(), self.n_chains)
        return self

    def priors(self, n_units: int) -> Priors:
        """The priors for so many units."""
        most = max(1, n_units // 2) if self.max_clusters is None else min(self.max_clusters, n_units)
        log_mixture = log_mixture_coefficients(n_units, n_units, gamma=self.mfm_gamma, geometric=self.mfm_p)
        return Priors(
            self.n_factors, self.max_states, self.alpha, self.gamma, self.kappa, log_mixture, self.mfm_gamma, most,
            self.likelihood == "poisson",
        )  # fmt: skip

    def diagnostics(self) -> pd.DataFrame:
        """R-hat and effective sample sizes of quantities that do not depend on the names of clusters."""
        return chain_diagnostics(self.draws_)

    def score(self, X: Any, y: Any = None) -> float:
        """Posterior predictive log-likelihood per entry that was missing at fit and is given here.

        Parameters
        ----------
        X : as in `fit`, of the same shape
        y : ignored
        """
        counts = self._single(self._read(X, fitting=False, missing=True))
        if counts.shape != self.rates_.shape:
            raise DataError(
                f"The model was fitted on {len(self.rates_)} bins, these data have {len(counts)}; give the same bins."
            )
        values = counts[self.missing_[:, 0], self.missing_[:, 1]]
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            raise DataError(
                "score needs entries that were NaN in the data given to fit and are counts in these; set some to NaN before fitting."
            )
        eta = self.missing_log_means_[:, known].astype(np.float64)
        if self.likelihood == "poisson":
            each = poisson_log_likelihood(np.broadcast_to(values[known], eta.shape), eta)
        else:
            each = negative_binomial.log_likelihood(
                np.broadcast_to(values[known], eta.shape), eta, self.dispersion_draws_[:, self.missing_[known, 1]]
            )
        return float(np.mean(logsumexp(each, axis=0) - np.log(len(eta))))

    def held_out(self, X: Any, n_folds: int = 4, random_state: int | None = 0) -> Iterator[tuple[Activity, Activity]]:
        """The data with every `n_folds`-th entry hidden, and the whole data for `score`: what model choice holds out."""
        activity = read_activity(X)
        counts = self._single(activity)
        fold = np.random.default_rng(random_state).permuted(np.arange(counts.size) % n_folds).reshape(counts.shape)
        for k in range(n_folds):
            yield activity._replace(sequences=[np.where(fold == k, np.nan, counts)]), activity

    def findings(self, X: Any) -> Findings:
        """Clusters, states, trajectories and how sure they are; `X` is what the model was fitted on."""
        counts = self._single(self._read(X, fitting=False, missing=True))
        if counts.shape != self.rates_.shape:
            raise DataError(
                f"The model was fitted on {len(self.rates_)} bins, these data have {len(counts)}; give the same bins."
            )
        names = list(self.unit_names_)
        order = np.argsort(self.labels_, kind="stable")
        diagnostics = self.diagnostics()
        units = pd.DataFrame(
            {
                "unit": names, "cluster": self.labels_, "baseline": self.baseline_, "baseline_lower": self.baseline_interval_[0],
                "baseline_upper": self.baseline_interval_[1], "dispersion": self.dispersion_,
                "dispersion_lower": self.dispersion_interval_[0], "dispersion_upper": self.dispersion_interval_[1],
                "certainty": self._certainty(),
            }
        )  # fmt: skip
        times = np.arange(len(counts)) / (self.sfreq_ or 1.0)
        sizes = np.bincount(self.labels_)
        paths = {f"cluster {k} ({size})": self.paths_[:, k : k + 1] for k, size in enumerate(sizes)}
        bands = {
            name: (self.paths_lower_[:, k : k + 1], self.paths_upper_[:, k : k + 1]) for k, name in enumerate(paths)
        }
        ordered = [names[i] for i in order]
        sweeps = np.arange(self.n_iter)
        (low, high), (least, most) = self.baseline_interval_, self.dispersion_interval_
        panels = {
            "coclustering": Heatmap(
                "Probability that two units are in one cluster", self.coclustering_[np.ix_(order, order)], ordered, ordered,
                "probability",
            ),
            "raster": Raster("Counts, clusters and states", counts, names, self.states_, self.sfreq_, order, self.labels_),
            "trajectories": TrajectoryPanel("Log rate of every cluster, with 95 % intervals", paths, bands, None, self.sfreq_),
            "baselines": Intervals("Log rate averaged over time", names, self.baseline_, low, high, "log counts a bin"),
            "dispersion": Intervals("Dispersion", names, self.dispersion_, least, most, "r"),
        }  # fmt: skip
        for name, label in (("log_likelihood", "Log-likelihood"), ("n_clusters", "Clusters"), ("n_states", "States")):
            lines = {f"chain {k}": values for k, values in enumerate(self.trace_[name])}
            panels[f"trace_{name}"] = Curves(f"{label} over sweeps", sweeps, lines, "sweep", label.lower(), {})
        summary = {
            "clusters": len(sizes),
            "states": len(np.unique(self.states_)),
            "clusters_mean": float(self.draws_["n_clusters"].mean()),
            "states_mean": float(self.draws_["n_states"].mean()),
            "converged": bool(self.converged_),
            "largest_r_hat": float(diagnostics["r_hat"].max()),
            "accepted_labels": self.acceptance_,
        }
        states = pd.DataFrame({"time": times, "state": self.states_})
        tables = {"units": units, "states": states, "diagnostics": diagnostics.rename_axis("quantity").reset_index()}
        return Findings(summary, tables, panels)

    def _certainty(self) -> ndarray:
        """Mean probability of being together with the other members of the own cluster."""
        together = (self.labels_[:, None] == self.labels_) & ~np.eye(len(self.labels_), dtype=bool)
        return np.where(
            together.any(axis=1), (self.coclustering_ * together).sum(axis=1) / np.maximum(together.sum(axis=1), 1), 1.0
        )

    def _sample(self, counts: ndarray, priors: Priors, settings: Settings) -> list[ChainDraws]:
        from joblib import Parallel, delayed, effective_n_jobs, parallel_config
        from threadpoolctl import threadpool_limits

        seeds = [int(seed) for seed in start_seeds(self.n_chains, self.random_state)]
        if effective_n_jobs(self.n_jobs) > 1 and len(seeds) > 1:
            with parallel_config(backend="loky", inner_max_num_threads=1):
                return list(
                    Parallel(n_jobs=self.n_jobs)(delayed(run_chain)(counts, priors, settings, s) for s in seeds)
                )
        # matrices of a dozen rows: more threads of linear algebra cost four times what they do
        with threadpool_limits(1), bar("Sampling", len(seeds) * self.n_iter) as advance:
            return [run_chain(counts, priors, settings, seed, advance=advance) for seed in seeds]

    def _summarise(self, counts: ndarray, chains: list[ChainDraws]) -> None:
        self.coclustering_, self.labels_ = partition(np.concatenate([chain.labels for chain in chains]))
        self.state_similarity_, self.states_ = partition(np.concatenate([chain.states for chain in chains]))
        found = trajectories(chains, self.labels_)
        self.trajectories_, self.loadings_ = found.blocks, found.loadings
        self.paths_, self.paths_lower_, self.paths_upper_ = found.common, found.lower, found.upper
        log_means = np.concatenate([chain.log_means for chain in chains])
        self.rates_ = np.exp(log_means.astype(np.float64)).mean(axis=0)
        baselines = log_means.mean(axis=1, dtype=np.float64)
        self.baseline_, self.baseline_interval_ = baselines.mean(axis=0), np.quantile(baselines, BAND, axis=0)
        self.dispersion_draws_ = np.concatenate([chain.dispersion for chain in chains])
        self.dispersion_ = self.dispersion_draws_.mean(axis=0)
        self.dispersion_interval_ = np.quantile(self.dispersion_draws_, BAND, axis=0)
        self.missing_ = np.argwhere(np.isnan(counts))
        self.missing_log_means_ = log_means[:, self.missing_[:, 0], self.missing_[:, 1]]
        traces = np.stack([chain.trace for chain in chains])
        self.trace_ = {name: traces[..., k] for k, name in enumerate(QUANTITIES[:3])}
        values = np.stack([chain.quantities for chain in chains])
        self.draws_ = {name: values[..., k] for k, name in enumerate(QUANTITIES)}
        self.acceptance_ = float(np.mean([chain.acceptance for chain in chains]))

    def _single(self, activity: Activity) -> ndarray:
        if len(activity.sequences) != 1:
            raise DataError(
                f"{type(self).__name__} takes one long sequence, got {len(activity.sequences)}; fit them one by one."
            )
        return activity.sequences[0]

    def _check(self) -> None:
        self._check_random_state()
        for name, allowed in (("init", INITS), ("likelihood", LIKELIHOODS)):
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be {' or '.join(map(repr, allowed))}, got {getattr(self, name)!r}.")
        self._check_whole(1, "n_factors", "max_states", "max_clusters", "n_start", "n_chains", "n_candidates")
        if not 0 <= self.burn_in <= self.n_iter - 4:
            raise UsageError(
                f"burn_in must leave 4 of the n_iter sweeps or more, got burn_in={self.burn_in} of {self.n_iter}."
            )
        for name in ("alpha", "gamma", "mfm_gamma"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)!r}.")
        if not self.kappa >= 0 or not 0 < self.mfm_p < 1:
            raise UsageError(
                f"kappa must not be negative and mfm_p lie between 0 and 1, got {self.kappa!r} and {self.mfm_p!r}."
            )
        if len(self.block_lengths) != 2 or not 1 <= self.block_lengths[0] <= self.block_lengths[1]:
            raise UsageError(
                f"block_lengths must be the shortest and the longest, in bins, got {self.block_lengths!r}."
            )
        if not self.temperature >= 1:
            raise UsageError(f"temperature must be 1 or more, got {self.temperature}.")
