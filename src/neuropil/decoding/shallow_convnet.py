"""ShallowConvNet: filter-bank CSP as one trainable network.

A filter in time and a spatial filter without anything between, the square, the mean over a third of a second, the
logarithm: the log band power of sources, learned end to end together with its linear classifier. New in it was to train
band-power decoding as a whole; on oscillatory signals it is still hard to beat.

Schirrmeister, Springenberg, Fiederer, Glasstetter, Eggensperger, Tangermann, Hutter, Burgard & Ball (2017). Deep learning
with convolutional neural networks for EEG decoding and visualization. Human Brain Mapping 38(11):5391-5420.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from neuropil.decoding.aligned import AlignedClassifier, check_shape
from neuropil.errors import UsageError
from neuropil.nn.dropout import Dropout
from neuropil.signature import Signature


class ShallowConvNet(nn.Module):
    """Log band power of learned sources; returns logits.

    With C electrodes, T samples and F = `n_filters`:

    1. F filters in time of `kernel_size`, with bias, for every electrode; then F spatial filters over all electrodes and
       filters, without bias. Both are linear and are applied at once, as one convolution from C to F features
       -> (F, T - kernel + 1).
    2. BatchNorm, square.
    3. Mean over `pool_size` every `pool_stride` -> (F, P).
    4. Logarithm (of at least 1e-6), dropout.
    5. Linear map of all F P values to logits.

    Initial weights are Glorot uniform, biases zero.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Electrodes, classes, samples of a window.
    sfreq : float
        Sampling rate in Hz.
    n_filters : int, default 40
        Filters in time, and spatial filters.
    kernel_size : float, default 0.1
        Length of the filters in time in s (25 samples at 250 Hz).
    pool_size, pool_stride : float, default 0.3 and 0.06
        Length and step of the mean in s (75 and 15 samples at 250 Hz).
    drop_prob : float, default 0.5

    Raises
    ------
    UsageError
        If a window is shorter than filter and mean together.

    Examples
    --------
    >>> network = ShallowConvNet(n_chans=22, n_outputs=4, n_times=1000, sfreq=250.0)
    >>> sum(parameter.numel() for parameter in network.parameters())
    46084
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        sfreq: float,
        n_filters: int = 40,
        kernel_size: float = 0.1,
        pool_size: float = 0.3,
        pool_stride: float = 0.06,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__()
        kernel = max(1, round(kernel_size * sfreq))
        self.pool, self.stride = max(1, round(pool_size * sfreq)), max(1, round(pool_stride * sfreq))
        if kernel + self.pool - 1 > n_times:
            raise UsageError(
                f"Filter and mean take {kernel} and {self.pool} samples at {sfreq:g} Hz, but windows have {n_times}; "
                "cut longer windows or lower pool_size."
            )
        self.n_chans, self.n_times = n_chans, n_times
        self.temporal_filters = nn.Parameter(torch.empty(n_filters, kernel))
        self.temporal_bias = nn.Parameter(torch.zeros(n_filters))
        self.spatial_filters = nn.Parameter(torch.empty(n_filters, n_filters, n_chans))
        self.norm = nn.BatchNorm1d(n_filters)
        self.dropout = Dropout(drop_prob)
        n_pooled = (n_times - kernel + 1 - self.pool) // self.stride + 1
        self.head = nn.Linear(n_filters * n_pooled, n_outputs)
        nn.init.xavier_uniform_(self.temporal_filters[:, None])
        nn.init.xavier_uniform_(self.spatial_filters)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch output"]:
        return self.head(self.features(x))

    def features(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch feature"]:
        """Log power of every source in every stretch of time."""
        check_shape(x, self.n_chans, self.n_times)
        kernels = torch.einsum("sfc,fk->sck", self.spatial_filters, self.temporal_filters)
        bias = torch.einsum("sfc,f->s", self.spatial_filters, self.temporal_bias)
        power = self.norm(functional.conv1d(x, kernels, bias)).square()
        power = functional.avg_pool1d(power, self.pool, self.stride)
        return self.dropout(rearrange(power.clamp(min=1e-6).log(), "batch source time -> batch (source time)"))


class ShallowConvNetClassifier(AlignedClassifier):
    """ShallowConvNet behind scikit-learn's interface; trained with Adam on the cross-entropy, the last epoch counts.

    Parameters
    ----------
    n_filters, kernel_size, pool_size, pool_stride, drop_prob :
        As in `ShallowConvNet`.
    alignment : {'euclidean', 'transductive', 'none'}
        How windows are prepared, see `AlignedClassifier`; groups are subjects.
    class_weight : {'balanced', None}
        Weight classes in the loss inversely to their number of training windows.
    lr, batch_size, max_epochs, weight_decay, validation, patience, device, random_state, progress, checkpoint :
        As in `TorchEstimator`. The paper trains on crops with early stopping; whole windows and a fixed number of epochs are used here.
    sfreq : float, optional
        Sampling rate in Hz, for windows given as plain arrays.

    Attributes
    ----------
    module_ : ShallowConvNet
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels).
    """

    module_: ShallowConvNet

    def __init__(
        self,
        *,
        n_filters: int = 40,
        kernel_size: float = 0.1,
        pool_size: float = 0.3,
        pool_stride: float = 0.06,
        drop_prob: float = 0.5,
        alignment: str = "euclidean",
        class_weight: str | None = "balanced",
        lr: float = 6.25e-4,
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
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.pool_stride = pool_stride
        self.drop_prob = drop_prob
        self.alignment = alignment
        self.class_weight = class_weight
        self.sfreq = sfreq

    def build(self, signature: Signature) -> ShallowConvNet:
        """The untrained network for windows of that signature."""
        return self._network(ShallowConvNet, signature)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """Log power of the learned sources, shape (n_windows, n_filters * n_stretches)."""
        return self._run(X, groups, lambda batch: self.module_.features(batch))
