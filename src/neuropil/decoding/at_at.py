"""AT-AT: muscle artefacts removed from single channels of EEG by an autoencoder that tells a transformer where to work.

A small convolutional autoencoder cleans every segment of two seconds. How much it changed the segment, the correlation of its output with
its input, says how noisy the segment was; only noisy segments (or, in `regions`, noisy pieces of them) go on to a transformer, which
sees the raw and the cleaned segment and is trained to the clean one, against an adversary that judges spectrum and waveform. Together the
two have 27,545 parameters. New is the targeting: an expensive model spent where a cheap one says that it is needed.

The paper gives the structure; widths, the adversary's form and the routers beside ``"proxy"`` were chosen here. A denoiser that was
trained on EEG makes something like EEG even of pure noise: look at `noise_proxy` before you trust a segment.

Choi (2025). Removing Neural Signal Artifacts with Autoencoder-Targeted Adversarial Transformers (AT-AT). arXiv:2502.05332.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.ndimage import uniform_filter1d
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from neuropil import train
from neuropil.decoding.artefacts import like, segment_rows
from neuropil.decoding.at_at_networks import Autoencoder, SpectralDiscriminator, TargetedTransformer
from neuropil.decoding.at_at_training import Training, fresh_mixes, standardise
from neuropil.decoding.cleaning import clean_recording
from neuropil.decoding.routing import EarlyExitRouter, check_router
from neuropil.errors import DataError, UsageError
from neuropil.estimators import Estimator
from neuropil.networks import validation_split
from neuropil.recording import Recording
from neuropil.signal.mixing import SNR_CONVENTIONS
from neuropil.signature import Signature
from neuropil.stats.correlation import row_correlation

NETWORKS = ("autoencoder_", "transformer_", "discriminator_")
TARGETING_MARGIN = 0.1
REGION_FADE = 0.1
BATCH = 256


class Denoised(NamedTuple):
    """Cleaned segments and what was done to them."""

    cleaned: ndarray
    """Of the shape and in the unit of what came in."""
    noise_proxy: ndarray
    """Correlation of the autoencoder's output with its input: near 1 where little was removed; 1 for flat segments."""
    routed: ndarray
    """Share of a segment's regions that went on to the transformer: 0 or 1 for a single region."""


class ATATDenoiser(Estimator):
    """Autoencoder, routing and adversarial transformer behind one interface.

    Every segment of every channel is treated by itself. Its mean and its standard deviation are taken out before and put back after.

    Parameters
    ----------
    segment_length : int, default 512
        Samples of a segment; a multiple of `patch`, of 2 for each of `ae_channels`, and of `regions`.
    sfreq : float, default 256.0
        Sampling rate in Hz.
    ae_channels : tuple of int, default (8, 16, 16)
        Widths of the autoencoder, each followed by pooling.
    patch, embed_dim, num_layers, num_heads : int
        Of the transformer.
    adversarial_weight, spectral_weight : float, default 0.0005 and 0.002
        Weights of the adversary's judgement, after three epochs without, and of the mean difference of log spectra (1-80 Hz) beside the
        squared error; with 0 for the first there is no adversary. Larger weights buy a truer spectrum with a lower correlation.
    threshold : float or "auto"
        See `EarlyExitRouter`; a number for the router "proxy" also restricts the transformer's training to segments up to 0.1 above it.
    router : {"proxy", "gain", "random", "reversed"}
        Who goes on to the transformer; see `neuropil.decoding.routing`.
    regions : int, default 1
        Pieces of a segment that are judged and routed by themselves, with a cross-fade of a tenth of a piece.
    snr_range : (float, float), default (-7, 2)
        Signal-to-noise ratios in dB of the training mixes, drawn uniformly.
    snr_convention : {"amplitude10", "power"}
        What a decibel means; see `neuropil.signal.mixing`.
    lr : float, default 2e-3
        Learning rate of autoencoder and transformer, falling to zero along a cosine.
    max_epochs : int, default 30
        Epochs of the autoencoder, and as many of the transformer. In an epoch every clean segment is mixed afresh.
    batch_size : int, default 64
    validation : float, default 0.1
        Share of the segments (whole groups where there are some) held out to choose the threshold.
    random_state : int, RandomState or None
    device : str
    progress : bool, optional
        Show a bar; by default if somebody is watching.

    Attributes
    ----------
    autoencoder_, transformer_, discriminator_ : nn.Module
        The networks; `discriminator_` is None without an adversary.
    router_ : EarlyExitRouter
    threshold_ : float
        The router's threshold.
    routed_fraction_ : float
        Share of the validation segments (or regions) that were routed.
    history_ : list of dict
        Losses of every epoch, with its `phase`.
    n_parameters_ : int
        Of autoencoder and transformer together.

    References
    ----------
    Choi (2025). arXiv:2502.05332.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean, noise = np.cumsum(rng.normal(size=(40, 64)), axis=1), rng.normal(size=(40, 64))
    >>> denoiser = ATATDenoiser(segment_length=64, sfreq=128.0, max_epochs=1, random_state=0, progress=False).fit(clean, noise)
    >>> denoiser.transform(clean + noise).shape, denoiser.noise_proxy(clean).shape
    ((40, 64), (40,))
    """

    def __init__(
        self,
        segment_length: int = 512,
        sfreq: float = 256.0,
        ae_channels: Sequence[int] = (8, 16, 16),
        patch: int = 16,
        embed_dim: int = 32,
        num_layers: int = 2,
        num_heads: int = 4,
        adversarial_weight: float = 0.0005,
        spectral_weight: float = 0.002,
        threshold: float | str = "auto",
        router: str = "proxy",
        regions: int = 1,
        snr_range: tuple[float, float] = (-7.0, 2.0),
        snr_convention: str = "amplitude10",
        lr: float = 2e-3,
        max_epochs: int = 30,
        batch_size: int = 64,
        validation: float = 0.1,
        random_state: Any = None,
        device: str = "cpu",
        progress: bool | None = None,
    ) -> None:
        self.segment_length = segment_length
        self.sfreq = sfreq
        self.ae_channels = ae_channels
        self.patch = patch
        self.embed_dim = embed_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.adversarial_weight = adversarial_weight
        self.spectral_weight = spectral_weight
        self.threshold = threshold
        self.router = router
        self.regions = regions
        self.snr_range = snr_range
        self.snr_convention = snr_convention
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.validation = validation
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def fit(self, clean: Any, noise: Any, groups: Any = None) -> ATATDenoiser:
        """Train on mixes of clean segments and noise, made afresh in every epoch.

        Parameters
        ----------
        clean, noise : array of shape (n, segment_length) or (n, n_channels, segment_length)
            Clean segments and artefacts, as many of each as there are, in any unit.
        groups : array-like of shape (n,), optional
            Subjects of the clean segments: whole ones are held out for validation.

        Raises
        ------
        DataError
            If segments have another length, are not finite, flat, or too few.
        """
        return self._fit(*self._fresh_mixes(clean, noise, groups))

    def fit_pairs(self, noisy: Any, clean: Any, groups: Any = None) -> ATATDenoiser:
        """Train on pairs that are mixed already: contaminated segments and what they should become."""
        seed = self._checked_seed()
        noisy, groups = self._training_rows(noisy, "noisy segments", groups)
        clean, _ = self._training_rows(clean, "clean segments")
        if noisy.shape != clean.shape:
            raise DataError(f"Expected one clean segment for each of the {len(noisy)} noisy ones, got {len(clean)}.")
        chosen, held = validation_split(np.zeros(len(clean)), groups, self.validation, np.random.default_rng(seed))
        data = {"noisy": _tensor(noisy[chosen]), "clean": _tensor(clean[chosen])}
        mixes = lambda batch: standardise(batch["noisy"], batch["clean"])  # noqa: E731
        return self._fit(data, mixes, noisy[held], clean[held], seed)

    def refit_transformer(self, clean: Any, noise: Any, groups: Any = None) -> ATATDenoiser:
        """Train the transformer anew behind the fitted autoencoder, for other weights or thresholds; data as for `fit`."""
        check_is_fitted(self, "autoencoder_")
        data, mixes, noisy, truth, seed = self._fresh_mixes(clean, noise, groups)
        return self._fit(data, mixes, noisy, truth, seed, autoencoder=self.autoencoder_)

    def fit_router(self, noisy: Any, clean: Any) -> ATATDenoiser:
        """Choose the threshold anew on pairs of segments, for another router, threshold or number of regions."""
        check_is_fitted(self, "autoencoder_")
        seed = self._checked_seed()
        noisy, truth = (self._training_rows(X, "segments to choose the threshold on")[0] for X in (noisy, clean))
        cheap, refined, _ = self.stages(noisy)
        proxy = pieces_proxy(*(self._pieces(x) for x in (cheap, noisy)))
        scores = (row_correlation(self._pieces(x), self._pieces(truth)) for x in (cheap, refined))
        self.router_ = EarlyExitRouter(self.router, self.threshold, random_state=seed).fit(proxy, *scores)
        self.threshold_, self.routed_fraction_ = self.router_.threshold_, self.router_.routed_fraction_
        return self

    def denoise(self, X: Any) -> Denoised:
        """Cleaned segments, their noise proxies and the share of each that the transformer worked on.

        Parameters
        ----------
        X : array of shape (n, segment_length) or (n, n_channels, segment_length)
            Finite segments at `sfreq`, also labelled windows. Flat segments come back as they are.

        Returns
        -------
        Denoised
            Proxy and share have the shape (n,) or (n, n_channels).
        """
        check_is_fitted(self, "autoencoder_")
        rows, shape = segment_rows(X, self.segment_length)
        parts = [self._denoise_rows(rows[k : k + BATCH]) for k in range(0, len(rows), BATCH)]
        cleaned, proxy, routed = (np.concatenate(part) for part in zip(*parts, strict=True))
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        values = like(X, cleaned.reshape(shape).astype(dtype, copy=False))
        return Denoised(values, proxy.reshape(shape[:-1]), routed.reshape(shape[:-1]))

    def transform(self, X: Any) -> Any:
        """Cleaned segments in the shape and unit of `X`; see `denoise`."""
        return self.denoise(X).cleaned

    def noise_proxy(self, X: Any) -> Float64[ndarray, "*segments"]:
        """Correlation of the autoencoder's output with its input for every segment: the smaller, the noisier."""
        check_is_fitted(self, "autoencoder_")
        rows, shape = segment_rows(X, self.segment_length)
        return np.concatenate([self._first_stage(rows[k : k + BATCH])[2] for k in range(0, len(rows), BATCH)]).reshape(
            shape[:-1]
        )

    def score(self, noisy: Any, clean: Any) -> float:
        """Mean correlation of the cleaned segments with the clean ones."""
        truth, _ = segment_rows(clean, self.segment_length)
        return float(row_correlation(segment_rows(self.transform(noisy), self.segment_length)[0], truth).mean())

    def transform_recording(self, recording: Recording, *, stream: str | None = None) -> Recording:
        """The recording with its EEG channels cleaned, whatever its length and rate; see `neuropil.decoding.cleaning`."""
        check_is_fitted(self, "autoencoder_")
        return clean_recording(self, recording, stream=stream)

    def stages(self, X: Any) -> tuple[ndarray, ndarray, ndarray]:
        """Output of the autoencoder, of the transformer wherever it is routed or not, and the proxy of every row, for analyses."""
        check_is_fitted(self, "autoencoder_")
        rows, shape = segment_rows(X, self.segment_length)
        scaled, cleaned, proxy, mean, scale = self._first_stage(rows)
        refined = self._second_stage(scaled, cleaned)
        return (
            (cleaned * scale + mean).reshape(shape),
            (refined * scale + mean).reshape(shape),
            proxy.reshape(shape[:-1]),
        )

    def _training_rows(self, X: Any, what: str, groups: Any = None) -> tuple[ndarray, ndarray | None]:
        rows, shape = segment_rows(X, self.segment_length)
        flat = int((np.ptp(rows, axis=1) == 0).sum())
        if flat:
            raise DataError(
                f"Training needs segments that vary, got {flat} flat ones among the {what}; leave them out."
            )
        if groups is None:
            return rows, None
        groups = np.asarray(groups)
        if groups.shape != shape[:1]:
            raise DataError(
                f"Expected one group for each of the {shape[0]} {what}, got groups of shape {groups.shape}."
            )
        return rows, np.repeat(groups, len(rows) // shape[0])

    def _checked_seed(self) -> int:
        self._check_arguments()
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _fresh_mixes(self, clean: Any, noise: Any, groups: Any) -> tuple[Any, ...]:
        """Training segments, what mixes them, pairs for validation (noise that is not trained on), and the seed."""
        seed = self._checked_seed()
        clean, groups = self._training_rows(clean, "clean segments", groups)
        noise, _ = self._training_rows(noise, "noise segments")
        return *fresh_mixes(clean, noise, groups, self.validation, self.snr_range, self.snr_convention, seed), seed

    def _check_arguments(self) -> None:
        check_router(self.router, self.threshold)
        if self.snr_convention not in SNR_CONVENTIONS:
            raise UsageError(f"snr_convention is one of {', '.join(SNR_CONVENTIONS)}, got {self.snr_convention!r}.")
        if self.regions < 1 or self.segment_length % self.regions:
            raise UsageError(f"A segment of {self.segment_length} samples does not divide into {self.regions} regions.")
        if not 0 < self.validation < 1:
            raise UsageError(
                f"validation is a share between 0 and 1, got {self.validation}; the threshold is chosen on it."
            )
        if min(self.adversarial_weight, self.spectral_weight) < 0:
            raise UsageError("adversarial_weight and spectral_weight must not be negative.")

    def _build(self) -> None:
        self.autoencoder_ = Autoencoder(self.segment_length, tuple(self.ae_channels))
        self.transformer_ = TargetedTransformer(
            self.segment_length, self.patch, self.embed_dim, self.num_layers, self.num_heads
        )
        self.discriminator_ = (
            SpectralDiscriminator(self.segment_length, self.sfreq) if self.adversarial_weight else None
        )

    def _fit(
        self,
        data: dict[str, Tensor],
        mixes: Any,
        noisy: ndarray,
        truth: ndarray,
        seed: int,
        autoencoder: Autoencoder | None = None,
    ) -> ATATDenoiser:
        self.signature_ = Signature(1, self.segment_length, float(self.sfreq))
        training = Training(data, mixes, self.max_epochs, self.batch_size, self.lr, seed, self.device, self.progress)
        targeted = self.router == "proxy" and self.threshold != "auto"
        with train.seeded(seed):
            self._build()
            first = training.autoencoder(self.autoencoder_) if autoencoder is None else []
            self.autoencoder_ = self.autoencoder_ if autoencoder is None else autoencoder
            second = training.transformer(
                self.autoencoder_,
                self.transformer_,
                self.discriminator_,
                sfreq=self.sfreq,
                adversarial_weight=self.adversarial_weight,
                spectral_weight=self.spectral_weight,
                limit=float(self.threshold) + TARGETING_MARGIN if targeted else np.inf,
            )
        self.n_parameters_ = sum(p.numel() for net in (self.autoencoder_, self.transformer_) for p in net.parameters())
        self.history_ = [{"phase": "autoencoder", **row} for row in first]
        self.history_ += [{"phase": "transformer", **row} for row in second]
        return self.fit_router(noisy, truth)

    def _pieces(self, rows: ndarray) -> ndarray:
        """Rows cut into their regions, shape (n_rows * regions, n_samples)."""
        return rows.reshape(-1, self.segment_length // self.regions)

    def _first_stage(self, rows: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
        """Scaled rows, the autoencoder's output for them, their proxies, means and scales (0 for flat rows)."""
        mean, scale = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
        flat = np.ptp(rows, axis=1, keepdims=True) == 0
        scaled = (rows - mean) / np.where(flat, 1.0, scale)
        with torch.inference_mode():
            cleaned = np.concatenate([self.autoencoder_(part).numpy() for part in _tensor(scaled).split(BATCH)])
        proxy = np.where(flat[:, 0], 1.0, row_correlation(cleaned, scaled))
        return scaled, cleaned.astype(np.float64), proxy, mean, np.where(flat, 0.0, scale)

    def _second_stage(self, scaled: ndarray, cleaned: ndarray) -> ndarray:
        with torch.inference_mode():
            parts = zip(_tensor(scaled).split(BATCH), _tensor(cleaned).split(BATCH), strict=True)
            return np.concatenate([self.transformer_(x, g).numpy() for x, g in parts]).astype(np.float64)

    def _denoise_rows(self, rows: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        scaled, cleaned, proxy, mean, scale = self._first_stage(rows)
        wanted = self._route(proxy, scaled, cleaned)
        wanted &= scale > 0
        some = wanted.any(axis=1)
        if some.any():
            refined = self._second_stage(scaled[some], cleaned[some])
            weight = self._region_weights(wanted[some])
            cleaned[some] += weight * (refined - cleaned[some])
        return np.where(scale > 0, cleaned * scale + mean, rows), proxy, wanted.mean(axis=1)

    def _route(self, proxy: ndarray, scaled: ndarray, cleaned: ndarray) -> Bool[ndarray, "row region"]:
        if self.regions > 1:
            proxy = pieces_proxy(self._pieces(cleaned), self._pieces(scaled))
        return self.router_.route(proxy).reshape(len(scaled), self.regions)

    def _region_weights(self, wanted: Bool[ndarray, "row region"]) -> Float64[ndarray, "row time"]:
        """The transformer's weight over time: 1 in the regions that are routed, with a linear fade of a tenth of a region."""
        length = self.segment_length // self.regions
        steps = np.repeat(wanted.astype(np.float64), length, axis=1)
        fade = max(1, round(REGION_FADE * length))
        return steps if self.regions == 1 else uniform_filter1d(steps, fade, axis=1, mode="nearest")

    def _persistent_state(self) -> dict[str, Any]:
        state = dict(vars(self))
        for name in NETWORKS:
            network = state.pop(name, None)
            if network is not None:
                state[f"_{name}"] = {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}
        return state

    def _restore_state(self, state: dict[str, Any]) -> None:
        stored = {name: state.pop(f"_{name}", None) for name in NETWORKS}
        self.__dict__.update(state)
        if stored["autoencoder_"] is None:
            return
        self._build()
        for name, parameters in stored.items():
            network = getattr(self, name)
            if network is not None:
                network.load_state_dict({key: torch.as_tensor(np.array(value)) for key, value in parameters.items()})
                network.eval()


def _tensor(rows: ndarray) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(rows, dtype=np.float32))


def pieces_proxy(cleaned: ndarray, noisy: ndarray) -> ndarray:
    """Correlation of the first stage's output with its input; pieces that never change count as clean."""
    return np.where(np.ptp(noisy, axis=1) == 0, 1.0, row_correlation(cleaned, noisy))
