"""AGTCNet: electrodes as the nodes of a graph whose links are weighed anew at every moment.

A short filter bank describes every electrode; then each electrode takes a weighted mean of its neighbours on the scalp. The weights come
from an attention whose projections are themselves convolutions over time, so that what an electrode takes from another follows what both
did just then. Spatial filters, convolutions and an attention over the moments of the trial summarise the rest. With about 75,000
parameters it is meant to decode motor imagery of people that it has not seen, and to be fine-tuned to them with few trials.

Lim, Lim, Bandala, Jose, Chu & Sybingco (2025). AGTCNet: a graph-temporal approach for principled motor imagery EEG classification.
arXiv:2506.21338.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from neuropil.decoding.aligned import AlignedClassifier, check_name, check_shape
from neuropil.errors import UsageError
from neuropil.nn.attention import MultiHeadAttention
from neuropil.nn.conv import MaxNormLinear, SeparableConv1d, SpatialDepthwiseConv
from neuropil.nn.dropout import Dropout
from neuropil.nn.embedding import SinusoidalPositions
from neuropil.nn.graph import TemporalGraphAttention, normalised_selu
from neuropil.nn.initial import keras_glorot
from neuropil.signal.graphs import check_graph, electrode_graph
from neuropil.signature import Signature

ADJACENCIES = ("grid", "nearest", "full", "identity", "none")
DROPOUT = {"links": 0.2, "graph": 0.25, "pooling": 0.25, "attention": 0.6, "context": 0.3, "convolution": 0.2}
FIRST_POOL, FIRST_STEP, POOL = 4, 2, 4
DEPTH_MULTIPLIER = 4
# one moment would have no other to attend to, and a batch of one window no statistics
FEWEST_TOKENS = 2


class TemporalContext(nn.Module):
    """Attention among the moments of a trial, then a short convolution, each added to what came in."""

    def __init__(
        self, n_tokens: int, emb_size: int, *, num_heads: int, head_size: int, momentum: float, rates: dict[str, float]
    ) -> None:
        super().__init__()
        self.positions = SinusoidalPositions(n_tokens, emb_size)
        self.attention = MultiHeadAttention(
            emb_size, num_heads=num_heads, head_size=head_size, drop_prob=rates["attention"]
        )
        self.attention_norm = nn.Sequential(
            nn.BatchNorm1d(emb_size, eps=1e-3, momentum=momentum), Dropout(rates["context"])
        )
        self.convolution = nn.Sequential(
            SeparableConv1d(emb_size, emb_size, 2, multiplier=DEPTH_MULTIPLIER),
            nn.BatchNorm1d(emb_size, eps=1e-3, momentum=momentum),
            nn.SELU(),
            Dropout(rates["convolution"]),
        )

    def forward(self, features: Float[Tensor, "batch feature token"]) -> Float[Tensor, "batch feature token"]:
        tokens = self.positions(features.transpose(1, 2))
        features = tokens.transpose(1, 2) + self.attention_norm(self.attention(tokens).transpose(1, 2))
        return features + self.convolution(features)


class AGTCNet(nn.Module):
    """AGTCNet; returns logits.

    With N electrodes and T samples, F = `n_filters_time`, D = `gcat_dim` and G = `n_filters_global`:

    1. Channel-wise temporal convolution: F filters in time, the same for every electrode, without padding, BatchNorm; mean over
       4 samples at every second -> (N, T', F).
    2. Graph convolutional attention (`TemporalGraphAttention`), BatchNorm, SELU, dropout, beside what came in -> (N, T', F + D).
    3. Adaptive pooling of the electrodes: two spatial filters for each feature, of norm at most 1, BatchNorm, SELU -> (T', 2 F + 2 D).
    4. Global temporal convolution: mean over 4 samples, dropout, separable convolution, BatchNorm, SELU, mean over 4 samples,
       dropout -> (T' // 16, G).
    5. Temporal context: sinusoidal positions times a learned number that starts at 0; two attention heads, BatchNorm, dropout; a
       separable convolution of two taps, BatchNorm, SELU, dropout; each added to what came in.
    6. Linear map of all that to logits, the weights of a class of norm at most 0.25.

    Initial weights are Glorot uniform, epsilon of the BatchNorms is 1e-3, as in the authors' code.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Electrodes, classes, samples of a window.
    sfreq : float
        Sampling rate in Hz; the paper resamples to 125.
    adjacency : array-like of bool of shape (n_chans, n_chans), optional
        Which electrodes are linked; self-loops are added. None leaves step 2 out.
    n_filters_time : int, default 8
    kernel_size : float, default 0.256
        Length of the first filters in s (32 samples at 125 Hz).
    gcat_heads, gcat_dim : int, default 2 and 16
        Heads of the graph attention, and features of each.
    gcat_kernel_sizes : (int, int), default (8, 2)
        Taps of its convolutions for features and for scores, in samples of the averaged signal (62.5 Hz at 125 Hz).
    n_filters_global, global_kernel_size : int, default 96 and 8
        Features and taps of step 4, at an eighth of the rate.
    tce_heads, tce_key_dim : int, default 2 and 8
        Heads of the attention among moments, and features of each.
    drop_prob : float, optional
        One rate for every dropout; by default the paper's: 0.2 of the links, 0.25 behind steps 2 and 4, 0.6 of the attention among
        moments, 0.3 behind it, 0.2 behind the last convolution.
    norm_momentum : float, default 0.01
        Weight of a new batch in the running statistics of the BatchNorms. The paper's value takes hundreds of batches to settle; 0.1
        suits trainings of some dozen epochs.

    Raises
    ------
    UsageError
        If a window is too short, or the graph is not one of the electrodes.

    Examples
    --------
    >>> network = AGTCNet(n_chans=22, n_outputs=4, n_times=375, sfreq=125.0, adjacency=np.zeros((22, 22)))
    >>> sum(parameter.numel() for parameter in network.parameters())
    74213
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        sfreq: float,
        adjacency: Any = None,
        n_filters_time: int = 8,
        kernel_size: float = 0.256,
        gcat_heads: int = 2,
        gcat_dim: int = 16,
        gcat_kernel_sizes: tuple[int, int] = (8, 2),
        n_filters_global: int = 96,
        global_kernel_size: int = 8,
        tce_heads: int = 2,
        tce_key_dim: int = 8,
        drop_prob: float | None = None,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        taps = max(1, round(kernel_size * sfreq))
        n_moments = (n_times - taps + 1 - FIRST_POOL) // FIRST_STEP + 1
        n_tokens = n_moments // POOL // POOL
        if n_tokens < FEWEST_TOKENS:
            shortest = (FEWEST_TOKENS * POOL * POOL - 1) * FIRST_STEP + FIRST_POOL + taps - 1
            raise UsageError(
                f"AGTCNet with filters of {kernel_size:g} s needs windows of {shortest} samples at {sfreq:g} Hz or more, got {n_times}; "
                "cut longer windows or lower kernel_size."
            )
        rates = DROPOUT if drop_prob is None else dict.fromkeys(DROPOUT, drop_prob)
        self.n_chans, self.n_times = n_chans, n_times
        self.temporal = nn.Sequential(
            nn.Conv1d(1, n_filters_time, taps, bias=False),
            nn.BatchNorm1d(n_filters_time, eps=1e-3, momentum=norm_momentum),
            nn.AvgPool1d(FIRST_POOL, FIRST_STEP),
        )
        n_features = n_filters_time
        self.graph: TemporalGraphAttention | None = None
        if adjacency is not None:
            self.graph = TemporalGraphAttention(
                torch.as_tensor(check_graph(adjacency, n_chans)),
                n_filters_time,
                num_heads=gcat_heads,
                head_size=gcat_dim,
                kernel_size=gcat_kernel_sizes[0],
                score_kernel_size=gcat_kernel_sizes[1],
                momentum=norm_momentum,
                drop_prob=rates["links"],
            )
            self.graph_norm = nn.BatchNorm1d(gcat_dim, eps=1e-3, momentum=norm_momentum)
            self.graph_dropout = Dropout(rates["graph"])
            n_features += gcat_dim
        self.spatial = nn.Sequential(
            SpatialDepthwiseConv(n_features, n_chans, multiplier=2, max_norm=1.0),
            nn.BatchNorm1d(2 * n_features, eps=1e-3, momentum=norm_momentum),
            nn.SELU(),
        )
        self.summary = nn.Sequential(
            nn.AvgPool1d(POOL),
            Dropout(rates["pooling"]),
            SeparableConv1d(2 * n_features, n_filters_global, global_kernel_size, multiplier=DEPTH_MULTIPLIER),
            nn.BatchNorm1d(n_filters_global, eps=1e-3, momentum=norm_momentum),
            nn.SELU(),
            nn.AvgPool1d(POOL),
            Dropout(rates["pooling"]),
        )
        self.context = TemporalContext(
            n_tokens, n_filters_global, num_heads=tce_heads, head_size=tce_key_dim, momentum=norm_momentum, rates=rates
        )
        self.head = MaxNormLinear(n_tokens * n_filters_global, n_outputs, max_norm=0.25)
        self.apply(keras_glorot)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch output"]:
        return self.head(self.features(x))

    def features(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch feature"]:
        """What goes into the classifier: G features of every moment, moments one after the other."""
        electrodes = self._electrodes(x)
        if self.graph is not None:
            exchanged = self.graph_dropout(normalised_selu(self.graph_norm, self.graph(electrodes)))
            electrodes = torch.cat([electrodes, exchanged], dim=-1)
        sources = self.spatial(rearrange(electrodes, "batch time channel feature -> batch feature channel time"))
        context = self.context(self.summary(sources))
        return rearrange(context, "batch feature token -> batch (token feature)")

    def attention(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch moment head channel source"]:
        """Weights of the links at every moment: how much each electrode takes from each source; rows sum to 1."""
        if self.graph is None:
            raise UsageError("This network was built without graph attention; build it with a graph of the electrodes.")
        return self.graph.maps(self._electrodes(x))

    def _electrodes(self, x: Tensor) -> Tensor:
        check_shape(x, self.n_chans, self.n_times)
        filtered = self.temporal(rearrange(x, "batch channel time -> (batch channel) 1 time"))
        return rearrange(filtered, "(batch channel) feature time -> batch time channel feature", channel=self.n_chans)


class AGTCNetClassifier(AlignedClassifier):
    """AGTCNet behind scikit-learn's interface.

    Trained with Adam on the cross-entropy. With validation windows, by default a fifth of the training windows (whole subjects where there
    are three or more), the rate falls by a tenth after 10 epochs without a lower validation loss, down to 1e-4, and the epoch of the
    highest validation accuracy is kept. The authors chose rate and epoch on the test windows; here no test window is seen.

    Parameters
    ----------
    adjacency : {'grid', 'nearest', 'full', 'identity', 'none'} or array-like of shape (n_channels, n_channels), optional
        Which electrodes are linked, see `electrode_graph`; or a symmetric matrix of 0 and 1. 'none' leaves the graph attention out. By
        default the four neighbours on the 10-10 grid or, where names are not of the 10-10 system, the four nearest sensors.
    n_filters_time, kernel_size, gcat_heads, gcat_dim, gcat_kernel_sizes, n_filters_global, global_kernel_size, tce_heads, tce_key_dim :
        As in `AGTCNet`; `kernel_size` in s, the others in samples of the averaged signal.
    drop_prob, norm_momentum :
        As in `AGTCNet`.
    alignment : {'euclidean', 'transductive', 'riemannian', 'none'}
        How windows are prepared, see `AlignedClassifier`; groups are subjects. The paper does not align.
    class_weight : {'balanced', None}
        Weight classes in the loss inversely to their number of training windows.
    lr, batch_size, max_epochs, weight_decay, validation, patience, device, random_state, progress, checkpoint :
        As in `TorchEstimator`. The paper trains for up to 1000 epochs with a patience of 300.
    sfreq : float, optional
        Sampling rate in Hz, for windows given as plain arrays.

    Attributes
    ----------
    module_ : AGTCNet
    adjacency_ : ndarray of bool of shape (n_channels, n_channels)
        The links, without self-loops; False everywhere for 'none'.
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict
    best_epoch_ : int
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels).

    Notes
    -----
    The slopes of the attention belong to pairs of electrodes: a fitted network decodes the electrodes that it was fitted on, in their
    order, and no others.

    References
    ----------
    Lim et al. (2025). AGTCNet. arXiv:2506.21338.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(16, 3, 125)), np.tile(["left", "right"], 8)
    >>> decoder = AGTCNetClassifier(adjacency="full", sfreq=125.0, max_epochs=1, random_state=0, progress=False).fit(X, y)
    >>> decoder.attention(X[:2]).shape
    (2, 46, 2, 3, 3)
    """

    module_: AGTCNet

    def __init__(
        self,
        *,
        adjacency: Any = None,
        n_filters_time: int = 8,
        kernel_size: float = 0.256,
        gcat_heads: int = 2,
        gcat_dim: int = 16,
        gcat_kernel_sizes: tuple[int, int] = (8, 2),
        n_filters_global: int = 96,
        global_kernel_size: int = 8,
        tce_heads: int = 2,
        tce_key_dim: int = 8,
        drop_prob: float | None = None,
        norm_momentum: float = 0.01,
        alignment: str = "euclidean",
        class_weight: str | None = "balanced",
        lr: float = 1e-3,
        batch_size: int = 32,
        max_epochs: int = 200,
        weight_decay: float = 0.0,
        validation: float = 0.2,
        patience: int | None = 50,
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
        self.adjacency = adjacency
        self.n_filters_time = n_filters_time
        self.kernel_size = kernel_size
        self.gcat_heads = gcat_heads
        self.gcat_dim = gcat_dim
        self.gcat_kernel_sizes = gcat_kernel_sizes
        self.n_filters_global = n_filters_global
        self.global_kernel_size = global_kernel_size
        self.tce_heads = tce_heads
        self.tce_key_dim = tce_key_dim
        self.drop_prob = drop_prob
        self.norm_momentum = norm_momentum
        self.alignment = alignment
        self.class_weight = class_weight
        self.sfreq = sfreq

    def build(self, signature: Signature) -> AGTCNet:
        """The untrained network for windows of that signature."""
        n_channels, adjacency = signature.n_channels, self.adjacency
        if isinstance(adjacency, str) and adjacency == "none":
            self.adjacency_ = np.zeros((n_channels, n_channels), dtype=bool)
            return self._network(AGTCNet, signature, adjacency=None)
        if adjacency is None or isinstance(adjacency, str):
            check_name("adjacency", adjacency or "grid", ADJACENCIES)
            positions = None if signature.positions is None else np.array(signature.positions)
            self.adjacency_ = electrode_graph(n_channels, signature.ch_names, positions, kind=adjacency)
        else:
            self.adjacency_ = check_graph(adjacency, n_channels)
        return self._network(AGTCNet, signature, adjacency=self.adjacency_)

    def fit_options(self) -> dict[str, Any]:
        return {"make_scheduler": _plateau, "monitor": "accuracy"} if self.validation else {}

    def finetune(
        self, X: Any, y: Any = None, groups: Any = None, *, lr: float = 5e-4, **options: Any
    ) -> AGTCNetClassifier:
        """A copy of this fitted network, trained on for a new person or session with all its weights; see `TorchEstimator.finetune`."""
        return super().finetune(X, y, groups, lr=lr, **options)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """Features of the last layer before the classifier, shape (n_windows, n_moments * n_filters_global)."""
        return self._run(X, groups, lambda batch: self.module_.features(batch))

    def attention(self, X: Any, groups: Any = None) -> Float[ndarray, "window moment head channel source"]:
        """Weights of the links, shape (n_windows, n_times', heads, n_channels, n_channels): how much each electrode takes from each source.

        Rows sum to 1 over sources, and are 0 where there is no link. The moments are two samples apart.
        """
        return self._run(X, groups, lambda batch: self.module_.attention(batch), batch_size=32)


def _plateau(optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.9, patience=10, min_lr=1e-4)
