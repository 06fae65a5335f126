"""Multi-modal Gaussian-process variational autoencoder: which smooth latents do neurons and behaviour share?

Two recordings of the same trials, spikes (or calcium) and behaviour (images, limbs, another population), are explained by paths that are
split by construction into those of neurons alone, shared ones, and those of behaviour alone. Neurons follow theirs linearly, as in factor
analysis, so that loadings can be read; behaviour follows through a deep network, as in a variational autoencoder. Paths live in a few
Fourier coefficients, in which a smooth prior is diagonal. Without behaviour this is Poisson factor analysis with smooth factors and a
learned encoder; without neurons, a Gaussian-process autoencoder.

What differs from the published code: expectations in closed form where there is one (the divergence from the prior, the Poisson term with
its variances), the whole symmetric set of frequencies, a length-scale for every latent, biases from counts, and encoders that may be
fused by a product of experts, so that a modality can be missing.

Gondur, Sikandar, Schaffer, Aoi & Keeley (2024). Multi-modal Gaussian process variational autoencoders for neural and behavioral data. ICLR.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from neuropil import train
from neuropil.activity import Activity, check_same_length, check_traces
from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.latent.mm_gpvae_data import check_presence, check_together, has_names, read_modalities
from neuropil.latent.mm_gpvae_findings import describe
from neuropil.latent.mm_gpvae_networks import (
    NEURAL_HIDDEN,
    FourierPrior,
    IndependentPrior,
    MMGPVAENetwork,
    Prior,
    TimePrior,
    three_rates,
)
from neuropil.persistence import HoldsModule
from neuropil.stats.fourier_gp import fourier_basis, left_out
from neuropil.structure import StructureModel

LAPTOP: dict[str, Any] = {
    "hidden": (256, 128, 64),
    "lengthscale": 15.0,
    "lr": (1e-3, 1e-3, 5e-3),
    "max_epochs": 250,
}
CHOICES = {
    "domain": ("fourier", "time", "none"),
    "neural_likelihood": ("poisson", "gaussian"),
    "behaviour_kind": ("images", "continuous"),
    "fusion": ("mean", "poe"),
}
LEFT_OUT = 0.01


class LatentPosterior(NamedTuple):
    """What is known of the latents.

    Attributes
    ----------
    mean, sd : ndarray of shape (n_trials, n_times, n_latents)
    """

    mean: ndarray
    sd: ndarray


class Modalities(NamedTuple):
    """Expected or drawn data of both modalities; None for one that the model does not have.

    Attributes
    ----------
    neural : ndarray of shape (n_trials, n_times, n_units) or None
        Spikes a bin, or traces.
    behaviour : ndarray of shape (n_trials, n_times, n_features) or None
    """

    neural: ndarray | None
    behaviour: ndarray | None


class MMGPVAE(HoldsModule, StructureModel):
    """Smooth latents of neurons alone, of neurons and behaviour, and of behaviour alone.

    Defaults are the paper's for its simulation; `LAPTOP` has settings that train in a minute on one core.

    Parameters
    ----------
    n_neural, n_shared, n_behaviour : int, default 1
        Latents of every group. Without behaviour the last two must be 0, without neural data the first two.
    domain : {"fourier", "time", "none"}
        Prior on Fourier coefficients, on bins with a full covariance, or a standard normal one on independent bins.
    neural_likelihood : {"poisson", "gaussian"}
        Spike counts, or traces (scaled to unit variance inside), whose noise is learned for every unit.
    behaviour_kind : {"images", "continuous"}
        Images are scaled to [0, 1] as a whole; continuous variables to mean 0 and variance 1 each. Learned from the training trials.
    hidden, neural_hidden : tuple of int
        Widths of the encoders; the behaviour decoder has those of its encoder, backwards.
    min_lengthscale : float, default 10
        In bins: what the Fourier coefficients have to represent.
    condition : float, default 1e8
        Ratio of the largest to the smallest prior variance that is kept.
    lengthscale : float, default 30
        In bins, to start with; learned for every latent.
    floor : float, default 0.01
        Added to the prior's variances.
    noise_variance : float, default 0.4
        Of the scaled behaviour, to start with; learned.
    fusion : {"mean", "poe"}
        How both encoders' opinions about shared latents are joined: averaged (as published), or multiplied with the prior, which weighs
        them by their precision and allows either modality to be missing.
    lr : tuple of 3 float
        Learning rates of behaviour networks (and prior), neural encoder, neural decoder.
    max_grad_norm : float, default 1
        Every one of these three is clipped to that norm.
    batch_size, max_epochs : int
        Trials of a batch; passes through all.
    neural_stream, behaviour_stream : str
        Streams of recordings.
    bin_width : float, optional
        Seconds, for irregular spikes; by default the bins of the behaviour.
    device : str
        "cpu", "cuda", "auto".
    random_state : int or None
    progress : bool, optional
        Show a bar; by default if somebody is watching.

    Attributes
    ----------
    latent_groups_ : dict of str to slice
        Columns "neural", "shared" and "behaviour" of the latents.
    loadings_ : ndarray of shape (n_units, n_neural + n_shared)
        Of log-rates, or of traces in their unit.
    bias_ : ndarray of shape (n_units,)
    lengthscales_ : ndarray of shape (n_latents,)
        In bins; not there with `domain="none"`.
    noise_variance_ : ndarray of shape (n_features,)
        Of the behaviour, in its own unit.
    objective_ : ndarray of shape (n_epochs,)
        Evidence lower bound a trial in every epoch, of the scaled data. It is estimated from draws and batches, so it may fall.
    history_ : list of dict
        The same with its terms, and seconds.
    module_ : MMGPVAENetwork
    n_parameters_ : int

    References
    ----------
    Gondur et al. (2024), ICLR, arXiv:2310.03111.

    Examples
    --------
    >>> from neuropil.simulate.multimodal import simulate_multimodal
    >>> trials = simulate_multimodal(8, 20, 10, random_state=0)
    >>> model = MMGPVAE(hidden=(16,), max_epochs=2, random_state=0, progress=False)
    >>> model.fit(trials.counts, trials.images).transform(trials.counts, trials.images).shape
    (8, 20, 3)
    """

    feature_names_: tuple[str, ...]

    def __init__(
        self,
        n_neural: int = 1,
        n_shared: int = 1,
        n_behaviour: int = 1,
        *,
        domain: str = "fourier",
        neural_likelihood: str = "poisson",
        behaviour_kind: str = "images",
        hidden: Sequence[int] = (784, 512, 256, 256),
        neural_hidden: Sequence[int] = NEURAL_HIDDEN,
        min_lengthscale: float = 10.0,
        condition: float = 1e8,
        lengthscale: float = 30.0,
        floor: float = 1e-2,
        noise_variance: float = 0.4,
        fusion: str = "mean",
        lr: Sequence[float] = (1.6e-4, 7.72e-4, 8.8e-3),
        max_grad_norm: float = 1.0,
        batch_size: int = 20,
        max_epochs: int = 700,
        neural_stream: str = "spikes",
        behaviour_stream: str = "behaviour",
        bin_width: float | None = None,
        device: str = "cpu",
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.n_neural = n_neural
        self.n_shared = n_shared
        self.n_behaviour = n_behaviour
        self.domain = domain
        self.neural_likelihood = neural_likelihood
        self.behaviour_kind = behaviour_kind
        self.hidden = hidden
        self.neural_hidden = neural_hidden
        self.min_lengthscale = min_lengthscale
        self.condition = condition
        self.lengthscale = lengthscale
        self.floor = floor
        self.noise_variance = noise_variance
        self.fusion = fusion
        self.lr = lr
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.neural_stream = neural_stream
        self.behaviour_stream = behaviour_stream
        self.bin_width = bin_width
        self.device = device
        self.random_state = random_state
        self.progress = progress

    def fit(self, Y: Any = None, X: Any = None) -> MMGPVAE:
        """Learn latents, loadings and networks.

        Parameters
        ----------
        Y : ndarray of shape (n_trials, n_times, n_units), list of (n_times, n_units), or Recording (or list of them)
            Spike counts or traces. A recording has both streams, and its events say what the trials are.
        X : ndarray of shape (n_trials, n_times, n_features) or list of (n_times, n_features), optional
            Behaviour in the same bins; images flattened.

        Raises
        ------
        UsageError
            If arguments are out of range, or a modality is missing that has latents.
        DataError
            If trials differ in length, modalities in trials or bins, or values are not what they should be.
        """
        self._check()
        neural, behaviour = self._data(Y, X, fitting=True)
        self._learn_scales(neural, behaviour)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        data = self._tensors(neural, behaviour)
        with train.seeded(seed):
            self.module_ = self._build_anew()
            if neural is not None:
                mean = data["neural"].mean(dim=(0, 1))
                start = mean.log() if self.neural_likelihood == "poisson" else mean
                self.module_.neural_decoder.bias.data.copy_(start)
            result = train.fit(
                self.module_,
                _losses,
                data,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                make_optimizer=lambda module: three_rates(module, self.lr, self.max_grad_norm),
                seed=seed,
                device=self.device,
                progress=self.progress,
                title=type(self).__name__,
            )
        self.history_ = result.history
        self._read_off()
        return self

    def modalities(self, Y: Any, X: Any = None) -> tuple[Activity | None, Activity | None]:
        """Neural data and behaviour, of one recording or of arrays, as sequences; None for what no latent is to explain."""
        n_latents = (self.n_neural, self.n_shared, self.n_behaviour)
        return read_modalities(Y, X, n_latents, (self.neural_stream, self.behaviour_stream), self.bin_width)

    def transform(self, Y: Any = None, X: Any = None) -> ndarray:
        """Posterior means of the latents, shape (n_trials, n_times, n_latents); one modality may be missing with `fusion="poe"`."""
        return self.posterior(Y, X).mean

    def posterior(self, Y: Any = None, X: Any = None) -> LatentPosterior:
        """Posterior means and standard deviations of the latents; a latent about which nothing is known is at its prior."""

        def in_time(module: MMGPVAENetwork, neural: Tensor | None, behaviour: Tensor | None) -> tuple[Tensor, Tensor]:
            mean, log_sd = module.encode(neural, behaviour)
            return module.prior.to_time(mean), module.prior.variance_in_time(torch.exp(2 * log_sd)).sqrt()

        return LatentPosterior(*self._run(in_time, *self._data(Y, X)))

    def predict(self, Y: Any = None, X: Any = None) -> Modalities:
        """Both modalities from both, or with `fusion="poe"` from one.

        Returns
        -------
        Modalities
            Expected counts (or traces) over the posterior, and behaviour at its mean.
        """
        has_neurons, has_behaviour = self.n_units_ > 0, self.n_features_ > 0

        def expected(module: MMGPVAENetwork, neural: Tensor | None, behaviour: Tensor | None) -> list[Tensor]:
            posterior, parts = module.encode(neural, behaviour), []
            if has_neurons:
                mean, variance = module.rates(posterior)
                parts.append(torch.exp(mean + 0.5 * variance) if self.neural_likelihood == "poisson" else mean)
            return [*parts, module.behaviour(posterior.mean)] if has_behaviour else parts

        parts = self._run(expected, *self._data(Y, X))
        return self._unscaled(parts[0] if has_neurons else None, parts[-1] if has_behaviour else None)

    def sample(self, n_trials: int = 1, *, random_state: Any = None) -> Modalities:
        """Trials drawn from the fitted model, latents and noise included."""
        check_is_fitted(self)
        if n_trials < 1:
            raise UsageError(f"n_trials must be 1 or more, got {n_trials}.")
        seed, neural, behaviour = int(check_random_state(random_state).randint(2**31 - 1)), None, None
        with train.seeded(seed), torch.inference_mode():
            module = self.module_
            latents = module.prior.draw(n_trials)
            if self.n_units_:
                mean = module.neural_decoder(module.prior.to_time(latents[..., : self.n_neural + self.n_shared]))
                if self.neural_likelihood == "poisson":
                    neural = torch.poisson(mean.exp()).numpy()
                else:
                    neural = (mean + torch.exp(0.5 * module.log_neural_noise) * torch.randn_like(mean)).numpy()
            if self.n_features_:
                mean = module.behaviour(latents)
                behaviour = (mean + torch.exp(0.5 * module.log_noise) * torch.randn_like(mean)).numpy()
        return self._unscaled(neural, behaviour)

    def score(self, Y: Any = None, X: Any = None, *, n_draws: int = 10) -> float:
        """Evidence lower bound a bin, of the data in their own unit; the behaviour's term is a mean over `n_draws` seeded draws."""
        neural, behaviour = self._data(Y, X)
        if (neural is None) != (self.n_units_ == 0) or (behaviour is None) != (self.n_features_ == 0):
            raise UsageError("score needs every modality that the model was fitted on; transform and predict do not.")

        def bound(module: MMGPVAENetwork, neural: Tensor | None, behaviour: Tensor | None) -> list[Tensor]:
            return [torch.stack([module(neural, behaviour).total() for _ in range(n_draws)]).mean(dim=0)]

        with train.seeded(0):
            per_trial = self._run(bound, neural, behaviour)[0]
        scales = np.log(np.concatenate([self.neural_scale_, self.behaviour_scale_])).sum()
        return float(per_trial.mean() / self.n_times_ - scales)

    def findings(self, X: Any) -> Findings:
        """Paths of the first trial with bands of 95 %, loadings, and the objective.

        Parameters
        ----------
        X : Recording, or tuple of (Y, X) as for `fit`
        """
        Y, X = (*X, None)[:2] if isinstance(X, tuple) else (X, None)
        return describe(self, *self.posterior(Y, X))

    def _check(self) -> None:
        self._check_random_state(np.random.RandomState)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} must be one of {', '.join(map(repr, known))}, got {getattr(self, name)!r}.")
        self._check_whole(0, "n_neural", "n_shared", "n_behaviour")
        self._check_whole(1, "batch_size", "max_epochs")
        if not self.n_neural + self.n_shared + self.n_behaviour:
            raise UsageError("n_neural, n_shared and n_behaviour must not all be 0; ask for one latent or more.")
        for name in ("hidden", "neural_hidden", "lr"):
            if not isinstance(getattr(self, name), Sequence | ndarray):
                raise UsageError(f"{name} must be a tuple of numbers, got {getattr(self, name)!r}.")
        if not len(self.hidden) or not len(self.neural_hidden) or min(*self.hidden, *self.neural_hidden) < 1:
            raise UsageError(
                f"hidden and neural_hidden need one positive width or more, got {self.hidden} and {self.neural_hidden}."
            )
        if len(self.lr) != 3 or min(self.lr) <= 0:
            raise UsageError(
                f"lr must be three positive rates (behaviour networks, neural encoder, neural decoder), got {self.lr}."
            )
        for name in ("lengthscale", "min_lengthscale", "floor", "noise_variance", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)}.")

    def _data(self, Y: Any, X: Any, *, fitting: bool = False) -> tuple[ndarray | None, ndarray | None]:
        """Trials of both modalities, shape (n_trials, n_times, ...), checked; None for a missing one."""
        if not fitting:
            check_is_fitted(self)
        n_latents = (self.n_neural, self.n_shared, self.n_behaviour)
        neural, behaviour = self.modalities(Y, X)
        check_presence(neural is not None, behaviour is not None, n_latents, None if fitting else self.fusion)
        kind: Literal["counts", "traces"] = "counts" if self.neural_likelihood == "poisson" else "traces"
        if neural is not None:
            names = None if fitting else self.unit_names_
            neural = self._read(neural, fitting=fitting, kind=kind)
            if names and has_names(Y) and neural.names != names:
                raise DataError(
                    f"{type(self).__name__} was fitted on the units {', '.join(names[:3])} ..., these are "
                    f"{', '.join(neural.names[:3])} ...; bring the units into the order of the training data."
                )
        elif fitting:
            self.unit_names_, self.n_units_ = (), 0
            self.sfreq_ = None if behaviour is None else behaviour.sfreq
        if behaviour is not None:
            check_traces(behaviour, held_out=not fitting or self.behaviour_kind == "images")
            self._check_features(behaviour, fitting)
        elif fitting:
            self.feature_names_, self.n_features_ = (), 0
        if neural is not None and behaviour is not None:
            check_together(neural, behaviour)
        stacked = [None if part is None else check_same_length(part) for part in (neural, behaviour)]
        n_times = next(part.shape[1] for part in stacked if part is not None)
        if fitting:
            self.n_times_ = n_times
        elif n_times != self.n_times_:
            raise DataError(
                f"{type(self).__name__} was fitted on trials of {self.n_times_} bins, these have {n_times}; cut trials of that length."
            )
        return stacked[0], stacked[1]

    def _check_features(self, behaviour: Activity, fitting: bool) -> None:
        if fitting:
            self.feature_names_, self.n_features_ = behaviour.names, len(behaviour.names)
        elif len(behaviour.names) != self.n_features_:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.n_features_} features of behaviour, these data have "
                f"{len(behaviour.names)}; give the same features."
            )

    def _learn_scales(self, neural: ndarray | None, behaviour: ndarray | None) -> None:
        self.neural_centre_, self.neural_scale_ = np.zeros(self.n_units_), np.ones(self.n_units_)
        self.behaviour_centre_, self.behaviour_scale_ = np.zeros(self.n_features_), np.ones(self.n_features_)
        if neural is not None and self.neural_likelihood == "gaussian":
            self.neural_centre_, self.neural_scale_ = neural.mean(axis=(0, 1)), neural.std(axis=(0, 1))
        if behaviour is None:
            return
        if self.behaviour_kind == "continuous":
            self.behaviour_centre_, self.behaviour_scale_ = behaviour.mean(axis=(0, 1)), behaviour.std(axis=(0, 1))
        else:
            low, high = behaviour.min(), behaviour.max()
            if low == high:
                raise DataError(f"All images are of one and the same brightness, {low:g}; there is nothing to learn.")
            self.behaviour_centre_[:], self.behaviour_scale_[:] = low, high - low

    def _build_anew(self) -> MMGPVAENetwork:
        n_latents = (self.n_neural, self.n_shared, self.n_behaviour)
        n_all = sum(n_latents)
        prior: Prior
        if self.domain == "fourier":
            prior = FourierPrior(
                self.n_times_,
                n_all,
                lengthscale=self.lengthscale,
                min_lengthscale=self.min_lengthscale,
                condition=self.condition,
                floor=self.floor,
            )
        elif self.domain == "time":
            prior = TimePrior(self.n_times_, n_all, lengthscale=self.lengthscale, floor=self.floor)
        else:
            prior = IndependentPrior(self.n_times_, n_all)
        return MMGPVAENetwork(
            self.n_units_,
            self.n_features_,
            self.n_times_,
            n_latents,
            prior,
            hidden=tuple(self.hidden),
            neural_hidden=tuple(self.neural_hidden),
            neural_likelihood=self.neural_likelihood,
            fusion=self.fusion,
            bounded=self.behaviour_kind == "images",
            noise_variance=self.noise_variance,
        )

    def _tensors(self, neural: ndarray | None, behaviour: ndarray | None) -> dict[str, Tensor]:
        """Scaled, in single precision."""
        parts = {
            "neural": (neural, self.neural_centre_, self.neural_scale_),
            "behaviour": (behaviour, self.behaviour_centre_, self.behaviour_scale_),
        }
        return {
            name: torch.as_tensor(((values - centre) / scale).astype(np.float32))
            for name, (values, centre, scale) in parts.items()
            if values is not None
        }

    def _unscaled(self, neural: ndarray | None, behaviour: ndarray | None) -> Modalities:
        return Modalities(
            None if neural is None else neural * self.neural_scale_ + self.neural_centre_,
            None if behaviour is None else behaviour * self.behaviour_scale_ + self.behaviour_centre_,
        )

    def _run(
        self, function: Callable[..., Sequence[Tensor]], neural: ndarray | None, behaviour: ndarray | None
    ) -> list[ndarray]:
        """What `function(module, neural, behaviour)` makes of trials, some at a time, without gradients."""
        data = self._tensors(neural, behaviour)
        n_trials = len(next(iter(data.values())))
        done = []
        with torch.inference_mode():
            for first in range(0, n_trials, 64):
                batch = {name: values[first : first + 64] for name, values in data.items()}
                done.append(function(self.module_, batch.get("neural"), batch.get("behaviour")))
        return [torch.cat(parts).double().numpy() for parts in zip(*done, strict=True)]

    def _read_off(self) -> None:
        """Set what the trained network says."""
        a, s, b = self.n_neural, self.n_shared, self.n_behaviour
        self.latent_groups_ = {"neural": slice(0, a), "shared": slice(a, a + s), "behaviour": slice(a + s, a + s + b)}
        self.objective_ = -np.array([row["loss"] for row in self.history_])
        self.n_parameters_ = sum(p.numel() for p in self.module_.parameters())
        if self.n_units_:
            decoder = self.module_.neural_decoder
            weight, bias = _array(decoder.weight), _array(decoder.bias)
            self.loadings_ = weight * self.neural_scale_[:, None]
            self.bias_ = bias * self.neural_scale_ + self.neural_centre_
        if self.n_features_:
            self.noise_variance_ = np.exp(_array(self.module_.log_noise)) * self.behaviour_scale_**2
        if self.domain == "none":
            return
        self.lengthscales_ = np.exp(_array(self.module_.get_parameter("prior.log_lengthscale")))
        if self.domain == "fourier":
            basis = fourier_basis(self.n_times_, self.min_lengthscale, condition=self.condition)
            lost = [left_out(basis, length) for length in self.lengthscales_]
            worst = int(np.argmax(lost))
            if lost[worst] > LEFT_OUT:
                warnings.warn(
                    f"Latent {worst} has a length-scale of {self.lengthscales_[worst]:.1f} bins, and {lost[worst]:.0%} of its variance is "
                    f"faster than the frequencies that are kept for min_lengthscale={self.min_lengthscale:g}; lower min_lengthscale.",
                    stacklevel=3,
                )


def _losses(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Negative bound a trial, and its terms."""
    bound = module(batch.get("neural"), batch.get("behaviour"))
    terms = bound._asdict()
    return {"loss": -(bound.neural + bound.behaviour - bound.divergence).mean()} | {
        name: value.mean() for name, value in terms.items()
    }


def _array(parameter: Tensor) -> ndarray:
    return parameter.detach().double().numpy()
