"""DBConformer: two small convolutional Transformers side by side, one over stretches of time, one over electrodes.

The temporal branch mixes the electrodes into a few virtual channels, filters each of them in time, averages over patches
and lets the patches attend to each other. The spatial branch describes every electrode by a small convolution averaged
over the window and lets the electrodes attend to each other; learned weights say how much each electrode counts. Both
summaries go through one small perceptron. With about 94,000 parameters it is eight times smaller than the serial EEG
Conformer, and is meant for decoding within and across subjects after Euclidean alignment of every subject's covariance.

Wang, Wang, Jia, He, Li & Wu (2026). DBConformer: dual-branch convolutional Transformer for EEG decoding. IEEE Journal of
Biomedical and Health Informatics 30(5):4134-4147, arXiv:2506.21140.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from neuropil.decoding.aligned import AlignedClassifier, check_name, check_shape
from neuropil.errors import UsageError
from neuropil.nn.attention import MultiHeadAttention, TransformerEncoder
from neuropil.nn.conv import DepthwiseConv1d, odd_samples
from neuropil.nn.dropout import Dropout
from neuropil.nn.embedding import TokenEmbedding, pool_patches
from neuropil.nn.pooling import AttentionPooling, MeanPooling, SqueezeExcitationPooling
from neuropil.signature import Signature

BRANCHES = ("both", "temporal", "spatial")
CHANNEL_POOLINGS = ("attention", "mean", "squeeze-excitation")
FUSIONS = ("concatenate", "gate", "cross-attention")


class TemporalStem(nn.Module):
    """Virtual channels, filtered in time and averaged over patches: the tokens of the temporal branch.

    The samples behind the last whole patch enter as context of the filters only.
    """

    def __init__(self, n_chans: int, emb_size: int, kernel_size: int, patch_size: int, drop_prob: float) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.spatial_filters = nn.Parameter(torch.empty(emb_size, n_chans))
        self.spatial_norm = nn.BatchNorm1d(emb_size)
        self.temporal_filters = DepthwiseConv1d(emb_size, kernel_size)
        self.temporal_norm = nn.BatchNorm1d(emb_size)
        self.dropout = Dropout(drop_prob)
        nn.init.trunc_normal_(self.spatial_filters, std=0.01)
        nn.init.trunc_normal_(self.temporal_filters.weight, std=0.01)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch patch feature"]:
        # features first in memory: one matrix product for the batch, and rows that the normalisation reads in one go
        features = torch.einsum("fc,bct->fbt", self.spatial_filters, x)
        features = _normalise(self.spatial_norm, features)
        features = self.temporal_filters(features.transpose(0, 1)).transpose(0, 1)
        features = functional.gelu(_normalise(self.temporal_norm, features))
        return self.dropout(pool_patches(features.transpose(0, 1), self.patch_size))


def _normalise(
    norm: nn.BatchNorm1d, features: Float[Tensor, "feature batch time"]
) -> Float[Tensor, "feature batch time"]:
    """Batch normalisation of features that come first: batch members one after the other are one long stretch of time."""
    joined = norm(rearrange(features, "feature batch time -> 1 feature (batch time)"))
    return rearrange(joined, "1 feature (batch time) -> feature batch time", batch=features.shape[1])


class ElectrodeEncoder(nn.Module):
    """One convolution for all electrodes, averaged over time: the tokens of the spatial branch."""

    def __init__(self, n_filters: int, emb_size: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.filters = nn.Linear(kernel_size, n_filters)
        self.projection = nn.Linear(n_filters, emb_size)

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel feature"]:
        # a strided convolution of one feature is a matrix product with its stretches of time
        padding = self.kernel_size // 2
        stretches = functional.pad(x, (padding, padding)).unfold(-1, self.kernel_size, self.stride)
        return self.projection(functional.elu(self.filters(stretches), inplace=True).mean(dim=-2))


class GatedFusion(nn.Module):
    """A gate per feature, computed from both summaries, that mixes them."""

    def __init__(self, emb_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * emb_size, emb_size)

    def forward(
        self, temporal: Float[Tensor, "batch feature"], spatial: Float[Tensor, "batch feature"]
    ) -> Float[Tensor, "batch feature"]:
        gate = torch.sigmoid(self.gate(torch.cat([temporal, spatial], dim=-1)))
        return gate * spatial + (1 - gate) * temporal


class DBConformer(nn.Module):
    """Dual-branch convolutional Transformer; returns logits.

    With C electrodes, T samples, D = `emb_size` and P = T // patch samples whole patches:

    1. Temporal tokens: the C electrodes mixed to D virtual channels, BatchNorm; one filter in time for each, BatchNorm,
       GELU; mean over patches, dropout -> (P, D). Samples behind the last whole patch are cropped here, after the
       filters, as the authors' code does it.
    2. Learned embedding of the patch added; `depth_temporal` Transformer blocks; mean over patches -> z_t (D).
    3. Electrode tokens: a strided convolution shared by all electrodes, ELU, mean over time, linear map -> (C, D).
    4. Learned embedding of the electrode added; `depth_spatial` Transformer blocks -> (C, D).
    5. Channel attention: softmax over electrodes of a two-layer score; weighted mean -> z_s (D).
    6. [z_t, z_s] -> 64 -> 32 -> logits, ELU and dropout between.

    The Transformer blocks are pre-norm, with 10 heads of width 4; the logits of the attention are divided by the square
    root of the *full* width D. Filters of the temporal branch start normal with deviation 0.01, embeddings with 1, the
    rest as torch has it.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Electrodes, classes, samples of a window.
    sfreq : float
        Sampling rate in Hz.
    emb_size : int, default 40
        Features of a token; a multiple of `num_heads`.
    depth_temporal, depth_spatial : int, default 2
        Transformer blocks of the two branches.
    num_heads : int, default 10
    patch_size : float, default 0.5
        Length of a patch in s (125 samples at 250 Hz), rounded to samples.
    kernel_size : float, default 0.25
        Length of the temporal filters in s, rounded to the nearest odd number of samples (63 at 250 Hz).
    spatial_filters : int, default 16
        Filters of the electrode encoder.
    spatial_kernel_size, spatial_stride : int, default 25 and 5
        Length and step of the electrode encoder's filters in *samples*: the paper keeps 25 and 5 at every rate from 250
        to 512 Hz. For data at 62.5 Hz, 13 and 3 are a fair choice.
    branch : {'both', 'temporal', 'spatial'}
        'temporal' and 'spatial' leave the other branch out. The authors' spatial-only network averages the electrodes
        (``channel_pooling='mean'``).
    channel_pooling : {'attention', 'mean', 'squeeze-excitation'}
        How the electrodes are summarised; the last two are variants that the authors tried.
    fusion : {'concatenate', 'gate', 'cross-attention'}
        How the branches are joined. 'gate' mixes the two summaries; with 'cross-attention' the patches of step 2 also
        attend to the electrodes of step 4 (4 heads, added; the authors' code defines the block but not its place).
        Both did worse in their hands.
    drop_prob : float, default 0.5
        Dropout everywhere but behind the head's second layer, which has 0.6 times as much (0.3).

    Raises
    ------
    UsageError
        For sizes that do not fit together and unknown names.

    Examples
    --------
    >>> network = DBConformer(n_chans=22, n_outputs=2, n_times=1000, sfreq=250.0)
    >>> sum(parameter.numel() for parameter in network.parameters())
    93747
    >>> network(torch.zeros(3, 22, 1000)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        *,
        n_chans: int,
        n_outputs: int,
        n_times: int,
        sfreq: float,
        emb_size: int = 40,
        depth_temporal: int = 2,
        depth_spatial: int = 2,
        num_heads: int = 10,
        patch_size: float = 0.5,
        kernel_size: float = 0.25,
        spatial_filters: int = 16,
        spatial_kernel_size: int = 25,
        spatial_stride: int = 5,
        branch: str = "both",
        channel_pooling: str = "attention",
        fusion: str = "concatenate",
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__()
        check_name("branch", branch, BRANCHES)
        check_name("channel_pooling", channel_pooling, CHANNEL_POOLINGS)
        check_name("fusion", fusion, FUSIONS)
        if emb_size % num_heads:
            raise UsageError(
                f"emb_size must be a multiple of num_heads, got emb_size={emb_size} and num_heads={num_heads}."
            )
        if spatial_kernel_size % 2 == 0 or spatial_kernel_size < 1 or spatial_stride < 1:
            raise UsageError(
                "spatial_kernel_size must be an odd number of samples and spatial_stride at least 1, "
                f"got {spatial_kernel_size} and {spatial_stride}."
            )
        patch_samples = round(patch_size * sfreq)
        if not 1 <= patch_samples <= n_times:
            raise UsageError(
                f"A patch of {patch_size:g} s is {patch_samples} samples at {sfreq:g} Hz, but windows have {n_times}; "
                "cut longer windows or lower patch_size."
            )
        longest = max(
            odd_samples(kernel_size, sfreq) if branch != "spatial" else 0,
            spatial_kernel_size if branch != "temporal" else 0,
        )
        if longest > n_times:
            raise UsageError(
                f"The longest filter has {longest} samples at {sfreq:g} Hz, but windows have {n_times}; cut longer windows or lower "
                "kernel_size and spatial_kernel_size."
            )
        self.n_chans, self.n_times, self.branch = n_chans, n_times, branch
        encoder = {"num_heads": num_heads, "scale": emb_size**-0.5, "drop_prob": drop_prob}
        if branch != "spatial":
            self.temporal_stem = TemporalStem(
                n_chans, emb_size, odd_samples(kernel_size, sfreq), patch_samples, drop_prob
            )
            self.patch_embedding = TokenEmbedding(n_times // patch_samples, emb_size)
            self.temporal_encoder = TransformerEncoder(depth_temporal, emb_size, **encoder)
        if branch != "temporal":
            self.electrode_encoder = ElectrodeEncoder(spatial_filters, emb_size, spatial_kernel_size, spatial_stride)
            self.electrode_embedding = TokenEmbedding(n_chans, emb_size)
            self.spatial_encoder = TransformerEncoder(depth_spatial, emb_size, **encoder)
            self.channel_pooling = _channel_pooling(channel_pooling, emb_size, n_chans)
        if branch == "both" and fusion == "cross-attention":
            self.cross_attention = MultiHeadAttention(emb_size, num_heads=4, scale=emb_size**-0.5, drop_prob=0.2)
        self.gate = GatedFusion(emb_size) if branch == "both" and fusion == "gate" else None
        n_features = 2 * emb_size if branch == "both" and self.gate is None else emb_size
        self.head = nn.Sequential(
            nn.Linear(n_features, 64),
            nn.ELU(),
            Dropout(drop_prob),
            nn.Linear(64, 32),
            nn.ELU(),
            Dropout(0.6 * drop_prob),
            nn.Linear(32, n_outputs),
        )

    def forward(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch output"]:
        return self.head(self.features(x))

    def features(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch feature"]:
        """The joined summaries that go into the head: [z_t, z_s], or D features of one branch or of the gate."""
        check_shape(x, self.n_chans, self.n_times)
        if self.branch == "temporal":
            return self._temporal_tokens(x).mean(dim=1)
        electrodes = self._electrode_tokens(x)
        spatial = self.channel_pooling(electrodes)
        if self.branch == "spatial":
            return spatial
        patches = self._temporal_tokens(x)
        if hasattr(self, "cross_attention"):
            patches = patches + self.cross_attention(patches, electrodes)
        temporal = patches.mean(dim=1)
        return torch.cat([temporal, spatial], dim=-1) if self.gate is None else self.gate(temporal, spatial)

    def channel_attention(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch channel"]:
        """Weights of the electrodes in the summary of the spatial branch; sum 1."""
        check_shape(x, self.n_chans, self.n_times)
        if self.branch == "temporal":
            raise UsageError("The temporal branch alone does not weigh electrodes; use branch='both' or 'spatial'.")
        return self.channel_pooling.weights(self._electrode_tokens(x))

    def attention_maps(
        self, x: Float[Tensor, "batch channel time"]
    ) -> dict[str, Float[Tensor, "depth batch head _ _"]]:
        """Attention among patches (`temporal`) and among electrodes (`spatial`) in every block."""
        check_shape(x, self.n_chans, self.n_times)
        maps = {}
        if self.branch != "spatial":
            maps["temporal"] = self.temporal_encoder.attention_maps(self.patch_embedding(self.temporal_stem(x)))
        if self.branch != "temporal":
            maps["spatial"] = self.spatial_encoder.attention_maps(self.electrode_embedding(self.electrode_encoder(x)))
        return maps

    def _temporal_tokens(self, x: Tensor) -> Tensor:
        return self.temporal_encoder(self.patch_embedding(self.temporal_stem(x)))

    def _electrode_tokens(self, x: Tensor) -> Tensor:
        return self.spatial_encoder(self.electrode_embedding(self.electrode_encoder(x)))


class DBConformerClassifier(AlignedClassifier):
    """DBConformer behind scikit-learn's interface.

    Trained with Adam on the cross-entropy for a fixed number of epochs, of which the last one counts; no augmentation, no
    schedule. The paper uses learning rate 1e-4 and 200 epochs within a subject, 1e-3 and 100 epochs (the default here)
    for leaving one subject out.

    Parameters
    ----------
    emb_size, depth_temporal, depth_spatial, num_heads, patch_size, kernel_size, spatial_filters :
        As in `DBConformer`; `patch_size` and `kernel_size` in s.
    spatial_kernel_size, spatial_stride, branch, channel_pooling, fusion, drop_prob :
        As in `DBConformer`; the two sizes in samples.
    alignment : {'euclidean', 'transductive', 'none'}
        How windows are prepared, see `AlignedClassifier`; groups are subjects.
    class_weight : {'balanced', None}
        Weight classes in the loss inversely to their number of training windows.
    lr, batch_size, max_epochs, weight_decay, validation, patience, device, random_state, progress, checkpoint :
        As in `TorchEstimator`.
    sfreq : float, optional
        Sampling rate in Hz, for windows given as plain arrays.

    Attributes
    ----------
    module_ : DBConformer
    classes_ : ndarray of shape (n_classes,)
    history_ : list of dict
    reference_ : dict
        Mean covariance of every training group, each of shape (n_channels, n_channels).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, y, subjects = rng.normal(size=(12, 4, 250)), np.tile(["left", "right"], 6), np.repeat(["s1", "s2"], 6)
    >>> decoder = DBConformerClassifier(max_epochs=1, sfreq=250.0, random_state=0).fit(X, y, groups=subjects)
    >>> decoder.channel_attention(X, groups=subjects).shape, decoder.transform(X, groups=subjects).shape
    ((12, 4), (12, 80))
    """

    module_: DBConformer

    def __init__(
        self,
        *,
        emb_size: int = 40,
        depth_temporal: int = 2,
        depth_spatial: int = 2,
        num_heads: int = 10,
        patch_size: float = 0.5,
        kernel_size: float = 0.25,
        spatial_filters: int = 16,
        spatial_kernel_size: int = 25,
        spatial_stride: int = 5,
        branch: str = "both",
        channel_pooling: str = "attention",
        fusion: str = "concatenate",
        drop_prob: float = 0.5,
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
        self.emb_size = emb_size
        self.depth_temporal = depth_temporal
        self.depth_spatial = depth_spatial
        self.num_heads = num_heads
        self.patch_size = patch_size
        self.kernel_size = kernel_size
        self.spatial_filters = spatial_filters
        self.spatial_kernel_size = spatial_kernel_size
        self.spatial_stride = spatial_stride
        self.branch = branch
        self.channel_pooling = channel_pooling
        self.fusion = fusion
        self.drop_prob = drop_prob
        self.alignment = alignment
        self.class_weight = class_weight
        self.sfreq = sfreq

    def build(self, signature: Signature) -> DBConformer:
        """The untrained network for windows of that signature."""
        return self._network(DBConformer, signature)

    def transform(self, X: Any, groups: Any = None) -> Float[ndarray, "window feature"]:
        """Joined summaries [z_t, z_s] of the branches, shape (n_windows, 2 * emb_size); of one branch or the gate, emb_size."""
        return self._run(X, groups, lambda batch: self.module_.features(batch))

    def channel_attention(self, X: Any, groups: Any = None) -> Float[ndarray, "window channel"]:
        """Weight of every electrode in every window, shape (n_windows, n_channels); rows sum to 1."""
        return self._run(X, groups, lambda batch: self.module_.channel_attention(batch))


def _channel_pooling(
    name: str, emb_size: int, n_chans: int
) -> AttentionPooling | MeanPooling | SqueezeExcitationPooling:
    if name == "attention":
        return AttentionPooling(emb_size)
    return MeanPooling() if name == "mean" else SqueezeExcitationPooling(n_chans)
