"""NeuroBOLT: one fMRI volume's regions from the sixteen seconds of scalp EEG before it.

No haemodynamic response is assumed; the window covers it. Two encoders look at the window. One is the Transformer of LaBraM, whose tokens
are seconds of single electrodes and which can start from that model's weights; the other takes spectra at four resolutions, from half a
second to four, and mixes them by linear attention. Their sum is read by one linear map. New in it: the spectra at several resolutions at
once, and the step from windows of EEG to a slow, delayed signal without a model of the delay.

Li, Lou, Xu, Zhang, Wang, Englot, Kolouri, Moyer, Bayrak & Chang (2024). NeuroBOLT: resting-state EEG-to-fMRI synthesis with
multi-dimensional feature mapping. NeurIPS, arXiv:2410.05341.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from sklearn.utils.validation import check_is_fitted

from neuropil.decoding.neurobolt_networks import NeuroBOLT
from neuropil.decoding.volumes import in_microvolts, scan_correlations, scans_of, targets_of
from neuropil.errors import DataError, UsageError
from neuropil.networks import TorchRegressor
from neuropil.nn.electrodes import electrode_rows
from neuropil.nn.schedules import layer_decay_groups, warmup_cosine
from neuropil.signature import Signature, check_windows, coordinate

__all__ = ["LAPTOP", "NeuroBOLT", "NeuroBOLTRegressor"]

LOWEST_LR = 1e-6

LAPTOP: dict[str, Any] = {
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 4,
    "spectral_depth": 1,
    "spectral_heads": 4,
    "lr": 3e-3,
    "warmup_epochs": 1,
    "max_epochs": 5,
    "batch_size": 32,
}
"""Settings for EEG at 64 Hz, a few scans and one processor core, trained from scratch; what is not here is as in the paper."""


class NeuroBOLTRegressor(TorchRegressor):
    """NeuroBOLT behind scikit-learn's interface: windows of EEG in, values of one or several regions out.

    Windows are cut with `neuropil.lagged.make_lagged_epochs`, which also brings the targets. Their means are removed, electrode by
    electrode, and they are divided by 100 µV; nothing else is scaled, since amplitude is the signal. Labelled windows to predict may have
    the electrodes in another order, or only some of them: electrodes are found by name.

    Parameters
    ----------
    window : float, default 16.0
        Seconds of EEG before a volume; windows must be so long.
    sfreq : float, default 200.0
        Sampling rate in Hz of windows given as plain arrays; labelled windows know theirs.
    patch, base_scale, n_scales, embed_dim, depth, num_heads, spectral_depth, spectral_heads, branches, drop_prob, drop_path, log :
        As in `NeuroBOLT`.
    lr : float, default 3e-4
        Learning rate of AdamW.
    layer_decay : float, default 0.65
        Factor of the rate for every block away from the output in the spatiotemporal encoder.
    weight_decay : float, default 0.05
        Of matrices that are no embeddings.
    warmup_epochs : float, default 5
        Epochs in which the rate rises from 0; it then follows a cosine down to 1e-6.
    max_epochs, batch_size : int, default 20 and 64
        The paper takes batches of 16 within a scan.
    pretrained : path-like, optional
        LaBraM-base weights in safetensors to start the spatiotemporal encoder from.
    ch_names : sequence of str, optional
        Electrodes of windows given as plain arrays.
    validation, patience, random_state, device, progress, checkpoint :
        As in `TorchEstimator`.

    Attributes
    ----------
    module_ : NeuroBOLT
    ch_names_ : tuple of str
        Electrodes of the training montage.
    history_ : list of dict
    best_epoch_ : int
        Epoch of the lowest validation error.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = 20 * rng.normal(size=(8, 3, 256)), rng.normal(size=(8, 2))
    >>> small = {**LAPTOP, "embed_dim": 16, "max_epochs": 1, "progress": False}
    >>> model = NeuroBOLTRegressor(window=4.0, sfreq=64.0, ch_names=["C3", "Cz", "C4"], random_state=0, **small).fit(X, y)
    >>> model.predict(X).shape, model.transform(X).shape
    ((8, 2), (8, 16))
    """

    module_: NeuroBOLT

    def __init__(
        self,
        *,
        window: float = 16.0,
        sfreq: float = 200.0,
        patch: float = 1.0,
        base_scale: float = 0.5,
        n_scales: int = 4,
        embed_dim: int = 200,
        depth: int = 12,
        num_heads: int = 10,
        spectral_depth: int = 4,
        spectral_heads: int = 8,
        branches: str = "both",
        drop_prob: float = 0.1,
        drop_path: float = 0.1,
        log: bool = False,
        lr: float = 3e-4,
        layer_decay: float = 0.65,
        weight_decay: float = 0.05,
        warmup_epochs: float = 5,
        max_epochs: int = 20,
        batch_size: int = 64,
        pretrained: Any = None,
        ch_names: Sequence[str] | None = None,
        validation: float = 0.0,
        patience: int | None = None,
        random_state: Any = None,
        device: str = "cpu",
        progress: bool | None = None,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__(
            lr=lr,
            batch_size=batch_size,
            max_epochs=max_epochs,
            weight_decay=weight_decay,
            validation=validation,
            patience=patience,
            device=device,
            random_state=random_state,
            progress=progress,
            checkpoint=checkpoint,
        )
        self.window = window
        self.sfreq = sfreq
        self.patch = patch
        self.base_scale = base_scale
        self.n_scales = n_scales
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.spectral_depth = spectral_depth
        self.spectral_heads = spectral_heads
        self.branches = branches
        self.drop_prob = drop_prob
        self.drop_path = drop_path
        self.log = log
        self.layer_decay = layer_decay
        self.warmup_epochs = warmup_epochs
        self.pretrained = pretrained
        self.ch_names = ch_names

    def build(self, signature: Signature) -> NeuroBOLT:
        """The untrained network for windows of that signature."""
        sizes = (
            "patch",
            "base_scale",
            "n_scales",
            "embed_dim",
            "depth",
            "num_heads",
            "spectral_depth",
            "spectral_heads",
        )
        chosen = {name: getattr(self, name) for name in (*sizes, "branches", "drop_prob", "drop_path", "log")}
        sfreq, n_times = signature.sfreq or self.sfreq, int(signature.n_times or 0)
        if n_times != round(self.window * sfreq):
            raise DataError(
                f"Expected windows of {self.window:g} s, {round(self.window * sfreq)} samples at {sfreq:g} Hz, got {n_times}; "
                "cut them with make_lagged_epochs(window=...) and pass the same `window`."
            )
        network = NeuroBOLT(
            n_chans=signature.n_channels,
            n_outputs=self.n_targets_,
            n_times=n_times,
            sfreq=sfreq,
            ch_names=self.ch_names_,
            **chosen,
        )
        if self.pretrained is not None:
            network.load_labram(self.pretrained)
        return network

    def fit(self, X: Any, y: Any = None, groups: Any = None, eval_set: Any = None) -> NeuroBOLTRegressor:
        """Train on windows and region values.

        Parameters
        ----------
        X : DataArray or ndarray of shape (n_windows, n_channels, n_times)
            Microvolts unless the windows name another unit.
        y : array-like of shape (n_windows,) or (n_windows, n_regions), optional
            By default those that windows from `make_lagged_epochs` carry.
        groups : array-like of shape (n_windows,), optional
            Subjects, for `validation`; by default the coordinate `subject`.
        eval_set : tuple (X, y), optional
            Windows and targets of which the mean squared error chooses the epoch to keep; never the test data.
        """
        y = targets_of(X, y)
        array, targets, groups = self._fit_data(X, y, groups)
        self.__dict__.pop("ch_names_", None)
        self.ch_names_ = self._names(X, array.shape[1])
        targets = self._columns(targets)
        self.single_target_, self.n_targets_ = np.ndim(y) == 1, targets.shape[1]
        held = np.zeros(len(array), dtype=bool)
        if eval_set is not None:
            further, values = self._predict_data(eval_set[0]), targets_of(*eval_set)
            values = self._columns(np.asarray(values, dtype=float))
            if values.shape != (len(further), self.n_targets_):
                raise DataError(
                    f"The validation targets must have shape {(len(further), self.n_targets_)}, got {values.shape}."
                )
            array, targets = np.concatenate([array, further]), np.concatenate([targets, values])
            held, groups = np.arange(len(array)) >= len(held), None
        return self._fit_network(array, targets, groups, strata=held)

    def _hold_out(self, strata: ndarray, groups: ndarray | None, seed: int) -> tuple[ndarray, ndarray | None]:
        if strata.any():
            return np.flatnonzero(~strata), np.flatnonzero(strata)
        return super()._hold_out(strata, groups, seed)

    def _more_targets(self, X: Any, y: Any, n_windows: int) -> tuple[ndarray, ndarray]:
        return super()._more_targets(X, targets_of(X, y), n_windows)

    def fit_options(self) -> dict[str, Any]:
        """AdamW with layer-wise rates, warm-up and cosine."""

        def optimizer(module: Any) -> torch.optim.Optimizer:
            embeddings = {
                name for name, _ in module.named_parameters() if name.endswith(("class_token", ".table", ".seconds"))
            }
            groups = layer_decay_groups(
                module,
                module.depth_of,
                lr=self.lr,
                layer_decay=self.layer_decay,
                weight_decay=self.weight_decay,
                no_weight_decay=embeddings,
            )
            return torch.optim.AdamW(groups, lr=self.lr, fused=True)

        def scheduler(made: torch.optim.Optimizer, n_steps: int) -> Any:
            warmup = round(n_steps * min(1.0, self.warmup_epochs / self.max_epochs))
            return warmup_cosine(made, n_steps, warmup_steps=warmup, floor=min(1.0, LOWEST_LR / self.lr))

        return {"make_optimizer": optimizer, "make_scheduler": scheduler}

    def prepare_fit(self, X: ndarray, groups: ndarray | None) -> ndarray:
        return self.prepare_predict(X, groups)

    def prepare_predict(self, X: ndarray, groups: ndarray | None) -> ndarray:
        """Windows in units of 100 µV without their means."""
        return (X - X.mean(axis=-1, keepdims=True)) / np.float32(100)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """Sum of the two encoders, shape (n_windows, embed_dim)."""
        return self._run(X, groups, self.module_.features)

    def score(self, X: Any, y: Any = None, groups: Any = None) -> float:
        """Pearson r of every region over every whole scan (`groups`, or subject, session and recording of the windows), averaged."""
        return float(scan_correlations(targets_of(X, y), self.predict(X), scans_of(X, groups)).mean())

    def _run(self, X: Any, groups: Any = None, forward: Any = None, batch_size: int = 64) -> ndarray:
        names, step = self._names(X, X.shape[1]), forward or self.module_
        return super()._run(X, groups, lambda batch: step(batch, names), batch_size)

    def _names(self, X: Any, n_channels: int) -> tuple[str, ...]:
        labels = coordinate(X, "channel")
        names = getattr(self, "ch_names_", None) or self.ch_names if labels is None else labels.astype(str).tolist()
        if names is None or len(names) != n_channels:
            raise UsageError(
                f"NeuroBOLT finds electrodes by name: pass ch_names= with {n_channels} names, or labelled windows, "
                f"got {'none' if names is None else f'{len(names)} names'}."
            )
        return tuple(names)

    def _read(self, X: Any, *, fitting: bool) -> ndarray:
        array = super()._read(X, fitting=True)
        if not fitting:
            check_is_fitted(self, "ch_names_")
            names = self._names(X, X.shape[1])
            electrode_rows(names, self.ch_names_)
            replace(self.signature_, n_channels=len(names), ch_names=None).check(X)
        return in_microvolts(array, X)

    def _restore_state(self, state: dict[str, Any]) -> None:
        # a saved network has its weights: the file that it started from may be gone
        super()._restore_state({**state, "pretrained": None})
        self.pretrained = state["pretrained"]

    def _predict_data(self, X: Any) -> ndarray:
        array = self._read(X, fitting=False)
        check_windows(array, fitting=False, names=self._names(X, array.shape[1]))
        return array
