"""EEGNet: a compact convolutional network for many kinds of EEG.

A bank of filters in time shared by all electrodes, a few spatial filters for each of them, a separable convolution that summarises what
remains, and a linear classifier; between 1,000 and 3,000 parameters. New in it was the depthwise spatial convolution, which ties
every spatial filter to one frequency band as filter-bank CSP does. The baseline network of EEG decoding since.

Lawhern, Solon, Waytowich, Gordon, Hung & Lance (2018). EEGNet: a compact convolutional neural network for EEG-based brain-computer
interfaces. Journal of Neural Engineering 15:056013.
"""

from __future__ import annotations

from typing import Any

from einops import rearrange
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from neuropil.decoding.aligned import AlignedClassifier, check_shape
from neuropil.errors import UsageError
from neuropil.nn.conv import MaxNormLinear, SeparableConv1d, SpatialDepthwiseConv, same_padding
from neuropil.nn.dropout import Dropout
from neuropil.signature import Signature


class EEGNet(nn.Module):
    """EEGNet (the paper's "EEGNet-F1,D"); returns logits.

    With C electrodes and T samples:

    1. `n_filters` (F1) filters in time, the same for every electrode, length kept, BatchNorm -> (F1, C, T).
    2. `depth` (D) spatial filters over all electrodes for each, of norm at most 1, BatchNorm, ELU -> (F1 D, T).
    3. Mean over 4 samples, dropout.
    4. Separable convolution to `n_separable` (F2) features, BatchNorm, ELU; mean over 8 samples, dropout -> (F2, T // 32).
    5. Linear map of all that to logits, the weights of a class of norm at most 0.25.

    Initial weights are Glorot uniform, BatchNorm has momentum 0.01 and epsilon 1e-3, as in the authors' code.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Electrodes, classes, samples of a window.
    sfreq : float
        Sampling rate in Hz; the paper resamples to 128.
    n_filters : int, default 8
        Temporal filters F1.
    depth : int, default 2
        Spatial filters D for each temporal filter.
    n_separable : int, optional
        Features F2 after the separable convolution; by default F1 * D.
    kernel_size : float, default 0.5
        Length of the temporal filters in s (64 samples at 128 Hz). The paper takes 0.25 s for data high-passed at 4 Hz.
    separable_kernel_size : int, default 16
        Length of the separable convolution in samples of the averaged signal (0.5 s at 32 Hz).
    pool_sizes : (int, int), default (4, 8)
        Samples averaged in steps 3 and 4.
    drop_prob : float, default 0.25
        The paper's value across subjects; 0.5 within.

    Raises
    ------
    UsageError
        If the window is shorter than a temporal filter, or than one sample after both averages.

    Examples
    --------
    >>> network = EEGNet(n_chans=64, n_outputs=2, n_times=128, sfreq=128.0)
    >>> sum(parameter.numel() for parameter in network.parameters())
    2258
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        sfreq: float,
        n_filters: int = 8,
        depth: int = 2,
        n_separable: int | None = None,
        kernel_size: float = 0.5,
        separable_kernel_size: int = 16,
        pool_sizes: tuple[int, int] = (4, 8),
        drop_prob: float = 0.25,
    ) -> None:
        super().__init__()
        kernel_samples = round(kernel_size * sfreq)
        n_patches = n_times // pool_sizes[0] // pool_sizes[1]
        if n_patches < 1:
            raise UsageError(
                f"EEGNet averages over {pool_sizes[0]} x {pool_sizes[1]} samples, but windows have {n_times}; "
                "cut longer windows or lower pool_sizes."
            )
        if kernel_samples < 1:
            raise UsageError(
                f"A temporal filter of {kernel_size:g} s is less than one sample at {sfreq:g} Hz; lengthen it."
            )
        if kernel_samples > n_times:
            raise UsageError(
                f"A temporal filter of {kernel_size:g} s is {kernel_samples} samples at {sfreq:g} Hz, but windows have {n_times}; "
                "cut longer windows or lower kernel_size."
            )
        self.n_chans, self.n_times = n_chans, n_times
        n_spatial = n_filters * depth
        n_separable = n_spatial if n_separable is None else n_separable
        self.temporal = nn.Conv2d(1, n_filters, (1, kernel_samples), bias=False)
        self.temporal_norm = nn.BatchNorm2d(n_filters, eps=1e-3, momentum=0.01)
        self.spatial = SpatialDepthwiseConv(n_filters, n_chans, multiplier=depth, max_norm=1.0)
        self.spatial_norm = nn.BatchNorm1d(n_spatial, eps=1e-3, momentum=0.01)
        self.first_pool = nn.Sequential(nn.ELU(), nn.AvgPool1d(pool_sizes[0]), Dropout(drop_prob))
        self.separable = SeparableConv1d(n_spatial, n_separable, separable_kernel_size)
        self.separable_norm = nn.BatchNorm1d(n_separable, eps=1e-3, momentum=0.01)
        self.second_pool = nn.Sequential(nn.ELU(), nn.AvgPool1d(pool_sizes[1]), Dropout(drop_prob))
        self.head = MaxNormLinear(n_separable * n_patches, n_outputs, max_norm=0.25)
        for weight in (
            self.temporal.weight,
            self.separable.depthwise.weight,
            self.separable.pointwise.weight,
            self.head.weight,
        ):
            nn.init.xavier_uniform_(weight)
        # Keras counts the inputs of a depthwise kernel over all features
        bound = (6 / (n_chans * (n_filters + depth))) ** 0.5
        nn.init.uniform_(self.spatial.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch output"]:
        return self.head(self.features(x))

    def features(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch feature"]:
        """What goes into the classifier, F2 * (T // 32) numbers."""
        check_shape(x, self.n_chans, self.n_times)
        padded = functional.pad(x, same_padding(self.temporal.kernel_size[1]))
        filtered = self.temporal(rearrange(padded, "batch channel time -> batch 1 channel time"))
        filtered = self.temporal_norm(filtered)
        sources = self.first_pool(self.spatial_norm(self.spatial(filtered)))
        summary = self.second_pool(self.separable_norm(self.separable(sources)))
        return rearrange(summary, "batch feature time -> batch (feature time)")


class EEGNetClassifier(AlignedClassifier):
    """EEGNet behind scikit-learn's interface; trained with Adam on the cross-entropy, the last epoch counts.

    Parameters
    ----------
    n_filters, depth, n_separable, kernel_size, separable_kernel_size, pool_sizes, drop_prob :
        As in `EEGNet`.
    alignment : {'euclidean', 'transductive', 'none'}
        How windows are prepared, see `AlignedClassifier`; groups are subjects.
    class_weight : {'balanced', None}
        Weight classes in the loss inversely to their number of training windows.
    lr, batch_size, max_epochs, weight_decay, validation, patience, device, random_state, progress, checkpoint :
        As in `TorchEstimator`. The paper trains for 500 epochs with batches of 64 and keeps the best epoch on a validation set.
    sfreq : float, optional
        Sampling rate in Hz, for windows given as plain arrays.

    Attributes
    ----------
    module_ : EEGNet
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels).
    """

    module_: EEGNet

    def __init__(
        self,
        *,
        n_filters: int = 8,
        depth: int = 2,
        n_separable: int | None = None,
        kernel_size: float = 0.5,
        separable_kernel_size: int = 16,
        pool_sizes: tuple[int, int] = (4, 8),
        drop_prob: float = 0.25,
        alignment: str = "euclidean",
        class_weight: str | None = "balanced",
        lr: float = 1e-3,
        batch_size: int = 32,
        max_epochs: int = 100,
        weight_decay: float = 0.0,
        validation: float = 0.0,
        patience: int | None = None,
        sfreq: float | None = None,
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
        self.n_filters = n_filters
        self.depth = depth
        self.n_separable = n_separable
        self.kernel_size = kernel_size
        self.separable_kernel_size = separable_kernel_size
        self.pool_sizes = pool_sizes
        self.drop_prob = drop_prob
        self.alignment = alignment
        self.class_weight = class_weight
        self.sfreq = sfreq

    def build(self, signature: Signature) -> EEGNet:
        """The untrained network for windows of that signature."""
        return self._network(EEGNet, signature)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """What goes into the network's classifier, shape (n_windows, n_separable * n_patches)."""
        return self._run(X, groups, lambda batch: self.module_.features(batch))
