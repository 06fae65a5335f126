"""RBTransformer: every electrode is one token that holds its band powers, and the electrodes attend to each other.

A window of a few seconds is described by the differential entropy of every electrode in four bands, theta to gamma. The four numbers of
an electrode become one token, to which a learned vector of that electrode is added; pre-norm Transformer blocks let the electrodes
attend to each other, and a perceptron reads the mean token. New is the tokenisation: attention runs over electrodes, not over time, so
that the network sees joint changes of power at several places which no electrode shows by itself.

The published scores (DEAP, DREAMER, SEED) come from random folds over windows that overlap by 77 %: neighbours of every test window are
in the training data, and windows of one trial resemble each other whatever the emotion. Such folds reach high scores on labels that say
nothing; score it with whole trials held out (`neuropil.evaluate.splits`, "trial").

Bhatnagar et al. (2025). A brain wave encodes a thousand tokens: modeling inter-cortical neural interactions for effective EEG-based
emotion recognition. arXiv:2511.13954.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from neuropil.decoding.aligned import check_name
from neuropil.decoding.band_entropy import BANDS, window_entropy
from neuropil.decoding.preparation import sampling_rate
from neuropil.decoding.rbtransformer_networks import RBTransformer
from neuropil.errors import DataError, require
from neuropil.networks import TorchClassifier
from neuropil.signal.entropy import Bands
from neuropil.signature import Signature, coordinate

FINAL_LR = 1e-5
RESAMPLINGS = ("smote",)


class RBTransformerClassifier(TorchClassifier):
    """RBTransformer on features: the differential entropy of every electrode in every band.

    Trained with AdamW on the cross-entropy for a fixed number of epochs, of which the last one counts. The learning rate falls along a
    cosine from `lr` to 1e-5, once an epoch; batches are smaller in the second half of the epochs. For windows use
    `RBTransformerDecoder`, or a pipeline of `BandDifferentialEntropy` and this classifier.

    Parameters
    ----------
    embed_dim, depth, num_heads, head_dim, mlp_hidden_dim, drop_prob, identity_embedding :
        As in `RBTransformer`.
    lr, weight_decay : float, default 1e-3
    batch_size : int, default 256
        Windows a batch in the first half of the epochs.
    final_batch_size : int, optional, default 64
        Windows a batch in the second half, if fewer than `batch_size`; None keeps `batch_size`.
    max_epochs : int, default 300
    class_weight : {'balanced', None}
        Weight classes in the loss inversely to their number of training windows.
    resampling : {'smote', None}
        'smote' fills up rare classes with points between training windows of the class, as the authors do, instead of weighting them
        (Chawla et al. 2002; needs the extra `resampling`). Only what is passed to `fit` is used, so that no test window takes part.
    random_state : int, RandomState or None
    device : str
    progress : bool, optional

    Attributes
    ----------
    module_ : RBTransformer
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict
        Loss and accuracy of every epoch.

    References
    ----------
    Chawla, Bowyer, Hall & Kegelmeyer (2002). SMOTE: synthetic minority over-sampling technique. JAIR 16:321-357.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features, y = rng.normal(size=(12, 5, 4)), np.tile(["low", "high"], 6)
    >>> small = RBTransformerClassifier(embed_dim=8, depth=1, num_heads=2, head_dim=4, max_epochs=2, random_state=0)
    >>> small.fit(features, y).attention(features).shape
    (12, 1, 2, 5, 5)
    """

    module_: RBTransformer

    def __init__(
        self,
        *,
        embed_dim: int = 128,
        depth: int = 4,
        num_heads: int = 6,
        head_dim: int = 32,
        mlp_hidden_dim: int = 128,
        drop_prob: float = 0.1,
        identity_embedding: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        batch_size: int = 256,
        final_batch_size: int | None = 64,
        max_epochs: int = 300,
        class_weight: str | None = "balanced",
        resampling: str | None = None,
        random_state: Any = None,
        device: str = "cpu",
        progress: bool | None = None,
    ) -> None:
        super().__init__(
            lr=lr,
            batch_size=batch_size,
            max_epochs=max_epochs,
            weight_decay=weight_decay,
            device=device,
            random_state=random_state,
            progress=progress,
        )
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.mlp_hidden_dim = mlp_hidden_dim
        self.drop_prob = drop_prob
        self.identity_embedding = identity_embedding
        self.final_batch_size = final_batch_size
        self.class_weight = class_weight
        self.resampling = resampling

    def build(self, signature: Signature) -> RBTransformer:
        """The untrained network for features of that signature."""
        return RBTransformer(
            n_chans=signature.n_channels,
            n_outputs=len(signature.classes or ()),
            n_bands=self._n_bands(signature),
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            mlp_hidden_dim=self.mlp_hidden_dim,
            drop_prob=self.drop_prob,
            identity_embedding=self.identity_embedding,
        )

    def _n_bands(self, signature: Signature) -> int:
        return int(signature.n_times or 0)

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> RBTransformerClassifier:
        """Train on features of shape (n_windows, n_channels, n_bands) and labels."""
        if self.resampling is not None:
            check_name("resampling", self.resampling, RESAMPLINGS)
            require("imblearn.over_sampling", "resampling")
        return super().fit(X, y, groups)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of windows whose class is predicted; labels by default from the coordinate `label`."""
        y = coordinate(X, "label") if y is None else y
        if y is None:
            raise DataError("Expected labels, got none; pass y or windows with a coordinate 'label'.")
        return super().score(X, y, sample_weight)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """The mean token of every window, shape (n_windows, embed_dim)."""
        return self._run(X, groups, lambda batch: self.module_.features(batch))

    def attention(self, X: Any, groups: Any = None) -> Float[ndarray, "window depth head channel channel"]:
        """Attention of every window, shape (n_windows, depth, num_heads, n_channels, n_channels); rows sum to 1.

        Raises
        ------
        UsageError
            If the network has no blocks.
        """
        return self._run(X, groups, lambda batch: self.module_.attention_maps(batch).transpose(0, 1))

    def _class_weights(self, like: Tensor) -> Tensor | None:
        return None if self.resampling else super()._class_weights(like)

    def _train(self, data: dict[str, Tensor], validation: dict[str, Tensor] | None, seed: int, **options: Any) -> None:
        """Two calls of the training loop with one optimiser and one schedule; the second takes smaller batches."""
        if self.resampling:
            data = _oversampled(data, seed)
        max_epochs, lr = options.pop("max_epochs", self.max_epochs), options.pop("lr", self.lr)
        batch_size = options.pop("batch_size", self.batch_size)
        optimizer = torch.optim.AdamW(
            self.module_.parameters(), lr=lr, weight_decay=options.pop("weight_decay", self.weight_decay), fused=True
        )
        history: list[dict[str, float]] = []
        for first, last, size in _phases(max_epochs, batch_size, self.final_batch_size):
            super()._train(
                data,
                validation,
                seed + first,
                max_epochs=last - first,
                batch_size=size,
                make_optimizer=lambda module: optimizer,
                make_scheduler=_CosineSchedule(first, last, max_epochs, lr),
                **options,
            )
            history += [{**row, "epoch": first + row["epoch"]} for row in self.history_]
            if self.interrupted_:
                break
        self.history_, self.best_epoch_ = history, len(history) - 1


def _phases(max_epochs: int, batch_size: int, final_batch_size: int | None) -> list[tuple[int, int, int]]:
    """First epoch, end and batch size of the stretches of a training."""
    half = max_epochs // 2
    if final_batch_size is None or final_batch_size >= batch_size or not half:
        return [(0, max_epochs, batch_size)]
    return [(0, half, batch_size), (half, max_epochs, final_batch_size)]


class _CosineSchedule:
    """Learning rate of epochs `first` to `last` of a cosine over `max_epochs`, constant within an epoch."""

    def __init__(self, first: int, last: int, max_epochs: int, lr: float) -> None:
        self.first, self.last, self.max_epochs = first, last, max_epochs
        self.floor = min(1.0, FINAL_LR / lr)

    def __call__(self, optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        steps_an_epoch = n_steps // (self.last - self.first)
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.factor(self.first + step // steps_an_epoch)
        )

    def factor(self, epoch: int) -> float:
        """Share of the initial learning rate."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * epoch / self.max_epochs)) / 2


def _oversampled(data: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Training features with rare classes filled up to the size of the most frequent one."""
    smote = require("imblearn.over_sampling", "resampling").SMOTE(random_state=seed % 2**32)
    X, y = data["X"].numpy(), data["y"].numpy()
    flat, labels = smote.fit_resample(X.reshape(len(X), -1), y)
    return {"X": torch.as_tensor(flat.reshape(-1, *X.shape[1:]), dtype=torch.float32), "y": torch.as_tensor(labels)}


class RBTransformerDecoder(RBTransformerClassifier):
    """RBTransformer on windows: band differential entropy of every electrode, then the network.

    Windows should be unfiltered between the lowest and the highest band, and are not aligned: the power of electrodes relative to each
    other is the signal. The vectors of the electrodes belong to the names of the channels, and windows with other names or in another
    order are refused.

    Parameters
    ----------
    bands, order, normalize :
        As in `BandDifferentialEntropy`: theta, alpha, beta and gamma to 49 Hz, each window scaled by one number.
    embed_dim, depth, num_heads, head_dim, mlp_hidden_dim, drop_prob, identity_embedding :
        As in `RBTransformer`.
    lr, weight_decay, batch_size, final_batch_size, max_epochs, class_weight, resampling, random_state, device, progress :
        As in `RBTransformerClassifier`.
    sfreq : float, optional
        Sampling rate in Hz, for windows given as plain arrays.

    Attributes
    ----------
    sfreq_ : float
        Sampling rate in Hz.
    module_ : RBTransformer
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict

    Examples
    --------
    >>> from neuropil.datasets import load
    >>> from neuropil.windowing import windows
    >>> X = windows(load("sim-emotion", n_subjects=1, n_trials=4))
    >>> decoder = RBTransformerDecoder(embed_dim=8, depth=1, num_heads=2, head_dim=4, max_epochs=2, random_state=0).fit(X)
    >>> decoder.predict_proba(X).shape
    (28, 2)
    """

    def __init__(
        self,
        *,
        bands: Bands = BANDS,
        order: int = 5,
        normalize: str | None = "window",
        embed_dim: int = 128,
        depth: int = 4,
        num_heads: int = 6,
        head_dim: int = 32,
        mlp_hidden_dim: int = 128,
        drop_prob: float = 0.1,
        identity_embedding: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        batch_size: int = 256,
        final_batch_size: int | None = 64,
        max_epochs: int = 300,
        class_weight: str | None = "balanced",
        resampling: str | None = None,
        sfreq: float | None = None,
        random_state: Any = None,
        device: str = "cpu",
        progress: bool | None = None,
    ) -> None:
        super().__init__(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            head_dim=head_dim,
            mlp_hidden_dim=mlp_hidden_dim,
            drop_prob=drop_prob,
            identity_embedding=identity_embedding,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            final_batch_size=final_batch_size,
            max_epochs=max_epochs,
            class_weight=class_weight,
            resampling=resampling,
            random_state=random_state,
            device=device,
            progress=progress,
        )
        self.bands = bands
        self.order = order
        self.normalize = normalize
        self.sfreq = sfreq

    def prepare_fit(self, X: ndarray, groups: ndarray | None) -> ndarray:
        if self.signature_.ch_names is None and self.identity_embedding:
            warnings.warn(
                "These windows carry no channel names, so the electrodes' vectors go by position and nobody can check that new windows "
                "have the same electrodes in the same order; cut windows from a recording with named channels.",
                stacklevel=2,
            )
        self.sfreq_ = sampling_rate(self.signature_, self.sfreq)
        return self.prepare_predict(X, groups)

    def prepare_predict(self, X: ndarray, groups: ndarray | None) -> ndarray:
        return window_entropy(X, self.sfreq_, self.bands, order=self.order, normalize=self.normalize)

    def _n_bands(self, signature: Signature) -> int:
        return len(self.bands)
