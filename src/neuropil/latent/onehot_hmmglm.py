r"""Hidden states that switch the couplings of a population, and what of these couplings stays constant (one-hot HMM-GLM).

Spike counts of N neurons are a Poisson regression on the recent past of all of them; which weights couple them depends on a hidden Markov
chain of S states:

.. math:: x_{t,i} \sim \text{Poisson}\Big(\sigma\big(b_i + \textstyle\sum_j W_{s_t,ij} \sum_k \phi_k x_{t-k,j}\big)\Big)

What is new is the prior that all states share. Under the one-hot prior every connection is, in every state, inhibitory, absent or
excitatory, :math:`W_s = (a_s^{exc} - a_s^{inh}) \odot \text{softplus}(r_s)` with positive strengths of its own, and the classes follow
probabilities :math:`a_0` that are learned and common to all states: a hint of anatomy, apart from what switches. The Gaussian prior pulls
the states' weights towards a learned mean instead; without a prior every state is on its own.

Without classes the M step is an exact Newton step on regressions weighted by the states' posteriors (`stats.glm_solver`), guarded so that
the objective never falls; a fit takes tens of such steps. Classes are learned by Adam on Gumbel-softmax samples, from the Gaussian fit.

Li, Kim, Rodgers, Choi & Wu (2024). One-hot generalized linear model for switching brain state discovery. ICLR. arXiv:2310.15263.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from neuropil.activity import Activity
from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.latent import onehot_hmmglm_fitting as fitting
from neuropil.latent.onehot_hmmglm_findings import describe
from neuropil.restarts import best_of
from neuropil.stats import chains, markov
from neuropil.stats.bases import boxcar_basis, choose_basis, coupling_design, coupling_filters
from neuropil.stats.glm import link_inverse, log_likelihood_constants
from neuropil.stats.glm_inputs import check_family
from neuropil.stats.spike_trains import sample_spike_trains
from neuropil.structure import StructureModel

PRIORS = ("onehot", "gaussian", None)
AUTAPSES = ("coupled", "zero", "free")
STAY = 0.98
LAPTOP = {"n_states": 4, "history": 5, "link": "logistic", "max_iter": 100, "n_init": 10}


class SwitchingGLM(StructureModel):
    """A population's couplings switch with a hidden state; what stays constant is learned as a prior.

    Parameters
    ----------
    n_states : int, default 4
    prior : {'onehot', 'gaussian', None}, default 'onehot'
    history : int, default 5
        Bins of the past that enter.
    basis : {'exp', 'raised_cosine', 'boxcar'} or ndarray of shape (n_lags, n_basis), default 'exp'
        'exp' is one function decaying as exp(-lag); 'raised_cosine' four that widen with the lag, 'boxcar' one a lag. The one-hot prior
        needs a single function.
    link : {'softplus', 'logistic', 'exp'}, default 'softplus'
        'logistic' keeps rates below one spike a bin; use it where bins are that short.
    shared_bias : bool, default True
        One bias for all states, so that states differ in couplings only.
    autapses : {'coupled', 'zero', 'free'}, default 'coupled'
        A neuron's own past: a connection like any other; left out; or one free coefficient a lag and state, outside of the prior.
    prior_weight : float, optional
        Factor of the prior's log-density: 3 for 'onehot' and 1 for 'gaussian' if left out.
    tau : float, default 0.5
        Temperature of the relaxed classes.
    sharpen : float, default 0.0
        Factor of the entropy of the classes that is taken off the objective, 1 in the authors' second version: it rewards certainty, and
        is no bound on anything.
    density : {'categorical', 'gumbel'}, default 'categorical'
        Log-density of relaxed classes under the prior. That of the Gumbel-softmax grows without bound towards certain classes and
        outweighs small data.
    prior_std : float, default 1/3
        Standard deviation of the Gaussian prior.
    transition_prior : float, default 0.1
        Transitions counted in advance between any two states.
    max_iter : int, default 100
        Rounds of expectation maximisation without classes.
    class_iter : int, default 30
        Rounds for the classes, after the Gaussian fit.
    tol : float, default 1e-5
        Gain of the objective a bin, in nats, below which a fit without classes has converged.
    inner_steps : int, default 10
        Steps of Adam a round for the classes.
    lr : float, default 0.02
        Learning rate of Adam.
    n_init : int, default 10
        Starts; that of the highest objective is kept. One in three finds the best optimum of a dozen neurons.
    n_jobs : int, optional
        Processes for them.
    random_state : int or None

    Attributes
    ----------
    weights_ : ndarray of shape (n_states, n_neurons, n_neurons)
        ``W[state, post, pre]``, summed over basis functions; under the one-hot prior those of the most probable classes.
    coefficients_ : ndarray of shape (n_states, n_neurons, n_features)
    filters_ : ndarray of shape (n_states, n_neurons, n_neurons, n_lags)
        Effect of a spike after 1 ... n_lags bins; free autapses on the diagonal.
    bias_ : ndarray of shape (n_states, n_neurons)
    transition_ : ndarray of shape (n_states, n_states)
    adjacency_, strength_ : ndarray of shape (n_states, n_neurons, n_neurons, 3) and (n_states, n_neurons, n_neurons), or None
        Probabilities of inhibitory, absent, excitatory, and positive strengths, which mean nothing where a connection is absent.
    prior_ : ndarray or None
        (n_neurons, n_neurons, 3) probabilities of the classes that all states share; (n_neurons, n_features) mean of the Gaussian prior.
    objective_ : ndarray
        One value a round. Without classes: log-likelihood plus log-priors, which never falls. With classes it belongs to the expected
        couplings while the steps follow noisy samples of them: nothing is guaranteed, it may fall. Compare models by `score`.
    restart_scores_ : ndarray of shape (n_init,)
        Objectives of the starts; under the one-hot prior of the Gaussian fits, of which the best is taken on.
    converged_ : bool
        Whether the fit without classes that is, or came before, the result has converged.

    Examples
    --------
    >>> from neuropil.simulate.switching import simulate_switching
    >>> population = simulate_switching(4, 200, n_neurons=5, n_states=2, random_state=0)
    >>> model = SwitchingGLM(2, prior="gaussian", link="logistic", n_init=2, random_state=0).fit(population.counts)
    >>> model.weights_.shape, model.predict(population.counts).shape
    ((2, 5, 5), (4, 200))
    """

    adjacency_: Any
    strength_: Any
    prior_: Any

    def __init__(
        self,
        n_states: int = 4,
        *,
        prior: Any = "onehot",
        history: int = 5,
        basis: Any = "exp",
        link: str = "softplus",
        shared_bias: bool = True,
        autapses: str = "coupled",
        prior_weight: float | None = None,
        tau: float = 0.5,
        sharpen: float = 0.0,
        density: str = "categorical",
        prior_std: float = 1 / 3,
        transition_prior: float = 0.1,
        max_iter: int = 100,
        class_iter: int = 30,
        tol: float = 1e-5,
        inner_steps: int = 10,
        lr: float = 0.02,
        n_init: int = 10,
        n_jobs: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.n_states = n_states
        self.prior = prior
        self.history = history
        self.basis = basis
        self.link = link
        self.shared_bias = shared_bias
        self.autapses = autapses
        self.prior_weight = prior_weight
        self.tau = tau
        self.sharpen = sharpen
        self.density = density
        self.prior_std = prior_std
        self.transition_prior = transition_prior
        self.max_iter = max_iter
        self.class_iter = class_iter
        self.tol = tol
        self.inner_steps = inner_steps
        self.lr = lr
        self.n_init = n_init
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> SwitchingGLM:
        """Learn from counts: one sequence (time, neuron), several as a list or (sequence, time, neuron), or recordings.

        Raises
        ------
        DataError
            If counts are negative, not whole or missing, a neuron never fires, or there are more states than bins.
        UsageError
            If arguments do not exist or do not fit.
        """
        self._check_arguments()
        activity = self._read(X, fitting=True)
        if self.n_states > sum(activity.lengths):
            raise DataError(
                f"{self.n_states} states cannot be told apart in {sum(activity.lengths)} bins; give more data or fewer states."
            )
        self.basis_ = choose_basis(self.basis, self.history)
        if self.prior == "onehot" and self.basis_.shape[1] > 1:
            raise UsageError(
                f"The one-hot prior gives a connection one sign, so it needs a basis of a single function, got {self.basis_.shape[1]}; "
                "use basis='exp', or prior='gaussian'."
            )
        sequences = self._sequences(activity)
        weight = self.prior_weight if self.prior_weight is not None else 1.0
        precision = 0.0 if self.prior is None else (1.0 if self.prior == "onehot" else weight) / self.prior_std**2
        settings = fitting.Settings(self.link, self.transition_prior, precision, self.max_iter, self.tol)
        starts = best_of(
            partial(_fit_one, sequences, settings, self.n_states, self.shared_bias), self.n_init, self.random_state,
            n_jobs=self.n_jobs, title="SwitchingGLM",
        )  # fmt: skip
        fitted, self.restart_scores_ = starts.best, starts.scores
        self.converged_, self.objective_ = fitted.converged, np.array(fitted.objective)
        if not fitted.converged:
            warnings.warn(
                f"The fit has not converged in {self.max_iter} rounds; raise max_iter, or tol (now {self.tol:g} nats a bin).",
                ConvergenceWarning,
                stacklevel=2,
            )
        parameters, self.prior_ = fitted.parameters, fitted.centre
        self.adjacency_ = self.strength_ = None
        if self.prior == "onehot":
            options = fitting.ClassSettings(
                3.0 if self.prior_weight is None else self.prior_weight, self.tau, self.sharpen, self.density,
                self.inner_steps, self.lr,
            )  # fmt: skip
            parameters, classes, objective = fitting.fit_classes(
                sequences, parameters, settings._replace(max_iter=self.class_iter), options,
                np.random.default_rng(starts.seeds[0]), "One-hot prior",
            )  # fmt: skip
            self.adjacency_, self.strength_, self.prior_ = classes
            self.objective_ = np.array(objective)
        self._keep(parameters, sequences.n_coupling)
        return self

    def predict(self, X: Any) -> Any:
        """The most probable path of states (Viterbi): (time,), (sequence, time), or a list, as the sequences came."""
        activity, chain = self._chain(X)
        return _as_given(X, activity, markov.viterbi(*chain).paths)

    def predict_proba(self, X: Any) -> Any:
        """Probability of every state given the whole sequence; a last axis of states, otherwise as `predict`."""
        activity, chain = self._chain(X)
        return _as_given(X, activity, markov.smooth(*chain).probabilities)

    def score(self, X: Any, y: Any = None) -> float:
        """Log-likelihood of whole sequences, in nats a bin (all neurons together)."""
        activity, chain = self._chain(X)
        return float(markov.filter(*chain).log_likelihood.sum() / sum(activity.lengths))

    def sample(
        self, n_sequences: int = 1, n_times: int = 500, random_state: int | None = None
    ) -> tuple[Int[ndarray, "sequence time neuron"], Int[ndarray, "sequence time"]]:
        """Counts and states drawn from the fitted model."""
        check_is_fitted(self)
        rng = np.random.default_rng(random_state)
        initial = np.full(self.n_states, 1 / self.n_states)
        states = chains.simulate(initial, self.transition_, n_sequences, n_times, rng)
        lags = self.filters_.reshape(*self.filters_.shape[:2], -1)
        counts, _ = sample_spike_trains(
            lags, self.bias_, boxcar_basis(self.filters_.shape[-1]), states, link=self.link, random_state=rng
        )
        return counts, states

    def findings(self, X: Any) -> Findings:
        """States, filters and couplings of every pair, moves between states, and the raster with the decoded states behind it."""
        activity, chain = self._chain(X)
        smoothed = markov.smooth(*chain)
        score = float(smoothed.log_likelihood.sum() / sum(activity.lengths))
        return describe(self, activity, markov.viterbi(*chain).paths, smoothed.probabilities, score)

    def _check_arguments(self) -> None:
        self._check_random_state()
        for name, value, allowed in (
            ("prior", self.prior, PRIORS),
            ("autapses", self.autapses, AUTAPSES),
            ("density", self.density, ("categorical", "gumbel")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
        check_family("poisson", self.link)
        self._check_whole(1, "n_states", "history", "max_iter", "class_iter", "inner_steps", "n_init")
        for name in ("prior_std", "tau", "lr"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in ("prior_weight", "sharpen", "transition_prior", "tol"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} must not be negative, got {value!r}.")

    def _sequences(self, activity: Activity) -> fitting.Sequences:
        n_neurons, n_basis = self.n_units_, self.basis_.shape[1]
        design, counts = coupling_design(activity.sequences, self.basis_), activity.stacked
        n_coupling = design.shape[1]
        constants = log_likelihood_constants("poisson", counts, np.ones(n_neurons)).sum(axis=1)
        if self.autapses == "coupled":
            return fitting.Sequences(design, counts, activity.lengths, constants, n_coupling, None)
        free = 1.0 - np.kron(np.eye(n_neurons), np.ones(n_basis))
        if self.autapses == "free":
            lags = boxcar_basis(len(self.basis_))
            design = np.hstack([design, coupling_design(activity.sequences, lags)])
            free = np.hstack([free, np.kron(np.eye(n_neurons), np.ones(len(lags)))])
        return fitting.Sequences(design, counts, activity.lengths, constants, n_coupling, free)

    def _keep(self, parameters: fitting.Parameters, n_coupling: int) -> None:
        coupling, own = np.split(parameters.coefficients, [n_coupling], axis=2)
        self.coefficients_, self.transition_ = parameters.coefficients, parameters.transition
        self.bias_ = np.tile(parameters.intercepts, (self.n_states // len(parameters.intercepts), 1))
        self.filters_ = coupling_filters(coupling, self.basis_)
        if self.autapses == "free":
            self.filters_ += coupling_filters(own, boxcar_basis(len(self.basis_)))
        self.weights_ = self.filters_.sum(axis=-1)

    def _chain(self, X: Any) -> tuple[Activity, tuple[ndarray, ndarray, list[ndarray]]]:
        activity = self._read(X, fitting=False)
        parameters = fitting.Parameters(self.coefficients_, self.bias_, self.transition_)
        values = fitting.emissions(self._sequences(activity), parameters, self.link)
        return activity, (np.full(self.n_states, 1 / self.n_states), self.transition_, values)


def _fit_one(
    sequences: fitting.Sequences, settings: fitting.Settings, n_states: int, shared_bias: bool, seed: int
) -> tuple[fitting.Fitted, float]:
    """Fit from small random weights around zero; one state starts at zero."""
    rng = np.random.default_rng(seed)
    n_neurons, n_features = sequences.counts.shape[1], sequences.design.shape[1]
    weights = (0.1 if n_states > 1 else 0.0) * rng.standard_normal((n_states, n_neurons, n_features))
    if sequences.free is not None:
        weights *= sequences.free
    bias = link_inverse(sequences.counts.mean(axis=0), check_family("poisson", settings.link)[1])
    transition = np.full((n_states, n_states), (1 - STAY) / max(1, n_states - 1))
    np.fill_diagonal(transition, STAY if n_states > 1 else 1.0)
    intercepts = np.tile(bias, (1 if shared_bias else n_states, 1))
    fitted = fitting.fit_newton(
        sequences, fitting.Parameters(weights, intercepts, transition), settings, "SwitchingGLM"
    )
    return fitted, fitted.objective[-1]


def _as_given(X: Any, activity: Activity, values: list[Float[ndarray, ...]] | list[Int[ndarray, ...]]) -> Any:
    """One array for one sequence, (sequence, ...) for a stacked array, else a list."""
    if isinstance(X, ndarray) and X.ndim == 3:
        return np.stack(values)
    single = len(activity.sequences) == 1 and not isinstance(X, list | tuple)
    return values[0] if single else values
