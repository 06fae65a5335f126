"""The network of Neuroformer: tokens of the current window look at past spikes, at a movie and at behaviour, then at each other.

Antoniades, Yu, Canzano, Wang & Smith (2024). Neuroformer: multimodal and multitask generative pretraining for brain data. ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple, cast

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neuropil.errors import UsageError
from neuropil.nn.attention import TransformerBlock
from neuropil.nn.contrastive import info_nce
from neuropil.nn.dropout import Dropout
from neuropil.nn.embedding import sinusoidal_positions, sinusoidal_times
from neuropil.nn.event_tokens import SpikeTokenizer

INITIAL_SD = 0.02


class LearnedTime(nn.Module):
    """A small perceptron of one number: the embedding of bins that the authors' settings use."""

    def __init__(self, emb_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, emb_size // 2), nn.GELU(), nn.Linear(emb_size // 2, emb_size))

    def forward(self, bins: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token feature"]:
        return self.layers(bins[..., None].float())


class SinusoidalTime(nn.Module):
    """Sinusoids of the bin, without parameters (`neuropil.nn.embedding.sinusoidal_times`), looked up in a table."""

    table: Tensor

    def __init__(self, n_bin_tokens: int, emb_size: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoidal_positions(n_bin_tokens, emb_size), persistent=False)

    def forward(self, bins: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token feature"]:
        return nn.functional.embedding(bins, self.table)


class EventEmbedding(nn.Module):
    """Which neuron, which bin, which place in the sequence: one vector each, added up."""

    def __init__(self, ids: nn.Embedding, n_tokens: int, n_bin_tokens: int, time_embedding: str) -> None:
        super().__init__()
        emb_size = ids.embedding_dim
        learned = time_embedding == "learned"
        self.time = LearnedTime(emb_size) if learned else SinusoidalTime(n_bin_tokens, emb_size)
        self.places = nn.Parameter(torch.zeros(1, n_tokens, emb_size))

    def forward(
        self, identity: Float[Tensor, "batch token feature"], bins: Int[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token feature"]:
        return identity + self.time(bins) + self.places[:, : bins.shape[1]]


class VideoTokens(nn.Module):
    """Patches of space and time as tokens, with sinusoids of their place on all three axes."""

    def __init__(self, emb_size: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, emb_size, kernel, stride)
        self.norm = nn.LayerNorm(emb_size)

    def forward(self, frames: Float[Tensor, "batch frame row column"]) -> Float[Tensor, "batch token feature"]:
        patches = rearrange(self.convolution(frames[:, None]), "batch feature t h w -> batch t h w feature")
        return (torch.relu(self.norm(patches)) + self._places(patches)).flatten(1, 3)

    def _places(self, patches: Tensor) -> Tensor:
        sizes, emb_size = patches.shape[1:4], patches.shape[-1]
        parts = (emb_size - 2 * (emb_size // 3), emb_size // 3, emb_size // 3)
        t, h, w = (sinusoidal_positions(n, part).to(patches) for n, part in zip(sizes, parts, strict=True))
        return torch.cat(
            [
                repeat(t, "t feature -> t h w feature", h=sizes[1], w=sizes[2]),
                repeat(h, "h feature -> t h w feature", t=sizes[0], w=sizes[2]),
                repeat(w, "w feature -> t h w feature", t=sizes[0], h=sizes[1]),
            ],
            dim=-1,
        )


class NeuroformerOutput(NamedTuple):
    """What the network says about a batch of windows.

    Attributes
    ----------
    id_logits : Tensor of shape (batch, token, n_neurons + 3)
        Of the neuron that fires next, at every place of the current window.
    bin_logits : Tensor of shape (batch, token, n_bins + 4)
        Of its bin.
    latent : Tensor of shape (batch, feature)
        Mean of the last layer over the start and the spikes of the current window.
    behaviour : Tensor of shape (batch, n_targets)
        Standardised.
    aligned : dict of str to Tensor of shape (batch, feature)
        For the contrastive loss: "neural", and where given "frames" and "behaviour".
    """

    id_logits: Tensor
    bin_logits: Tensor
    latent: Tensor
    behaviour: Tensor
    aligned: dict[str, Tensor]


class NeuroformerNetwork(nn.Module):
    """Predicts the next spike of a window from those before it, the spikes of the past window, a movie and behaviour.

    1. Spikes become the sum of embeddings of neuron, bin and place.
    2. Current tokens pass `n_self` causal blocks of self-attention, movie patches `n_frames` blocks.
    3. Current tokens look at past spikes (`n_past` blocks), at the patches (`n_frames`), at behaviour (`n_behaviour`).
    4. `n_self` causal blocks follow, and linear heads for neuron, bin, and behaviour from the mean over places.

    All blocks normalise their queries and their output, not their keys and values.

    Parameters
    ----------
    n_neurons, n_bins : int
        Neurons, and bins of the longer one of both windows.
    current_tokens, past_tokens : int
        Longest sequences.
    emb_size, num_heads : int
    n_self, n_past, n_frames, n_behaviour : int
        Blocks.
    drop_prob : float
    time_embedding : {"learned", "sinusoidal"}
        Of bins.
    frame_kernel, frame_stride : tuple of int, optional
        Frames, rows and columns of a patch and from one to the next; None: no movie.
    n_inputs, n_targets : int
        Behavioural variables that are read, and that are predicted.
    contrastive : bool
        Whether there is a projection for the contrastive loss.
    null_key : bool, default True
        Give past spikes a null key beside them, so that a window without a past is legal.

    initial_sd : float, default 0.02
        Standard deviation of initial weights; a network that is much narrower than 256 learns sooner with a larger one.

    Examples
    --------
    >>> paper = NeuroformerNetwork(386, 15, frame_kernel=(3, 8, 8), frame_stride=(3, 4, 4))
    >>> sum(p.numel() for p in paper.parameters())
    24079872
    """

    causal: Tensor

    def __init__(
        self,
        n_neurons: int,
        n_bins: int,
        *,
        current_tokens: int = 100,
        past_tokens: int = 100,
        emb_size: int = 256,
        num_heads: int = 8,
        n_self: int = 6,
        n_past: int = 6,
        n_frames: int = 6,
        n_behaviour: int = 4,
        drop_prob: float = 0.2,
        time_embedding: str = "learned",
        frame_kernel: Sequence[int] | None = None,
        frame_stride: Sequence[int] | None = None,
        n_inputs: int = 0,
        n_targets: int = 0,
        contrastive: bool = False,
        null_key: bool = True,
        initial_sd: float = INITIAL_SD,
    ) -> None:
        super().__init__()
        if time_embedding not in ("learned", "sinusoidal"):
            raise UsageError(f"time_embedding must be 'learned' or 'sinusoidal', got {time_embedding!r}.")
        tokenizer = SpikeTokenizer(n_neurons, n_bins)
        self.pad, self.eos = tokenizer.pad, tokenizer.eos

        def blocks(depth: int, null_key: bool = False) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(
                    emb_size,
                    num_heads=num_heads,
                    drop_prob=drop_prob,
                    hidden_drop_prob=0.0,
                    output_norm=True,
                    null_key=null_key,
                )
                for _ in range(depth)
            )

        self.ids = nn.Embedding(tokenizer.n_ids, emb_size)
        self.current = EventEmbedding(self.ids, current_tokens, tokenizer.n_bin_tokens, time_embedding)
        self.past = EventEmbedding(self.ids, past_tokens, tokenizer.n_bin_tokens, time_embedding) if n_past else None
        self.dropout = Dropout(drop_prob)
        self.current_encoder = blocks(n_self)
        self.past_fusion = blocks(n_past, null_key)
        movie = frame_kernel is not None
        self.video = _video(emb_size, frame_kernel, frame_stride)
        self.video_encoder, self.video_fusion = blocks(n_frames * movie), blocks(n_frames * movie)
        self.readings = nn.ModuleList(nn.Linear(1, emb_size) for _ in range(n_inputs))
        self.behaviour_fusion = blocks(n_behaviour if n_inputs else 0)
        self.fusion = blocks(n_self)
        self.id_head = nn.Linear(emb_size, tokenizer.n_ids, bias=False)
        self.bin_head = nn.Linear(emb_size, tokenizer.n_bin_tokens, bias=False)
        self.projection = nn.Linear(emb_size, emb_size, bias=False) if contrastive else None
        self.behaviour_head = nn.Linear(emb_size, n_targets) if n_targets else None
        self.register_buffer("causal", torch.ones(1, 1, current_tokens, current_tokens).tril().bool(), persistent=False)
        for part in self.modules():
            initialise(part, initial_sd)
        if time_embedding == "sinusoidal":
            # as large as the sinusoids that are added to it: the keys are not normalised, and would know the time alone
            nn.init.normal_(self.ids.weight)

    def forward(
        self,
        ids: Int[Tensor, "batch token"],
        bins: Int[Tensor, "batch token"],
        past_ids: Int[Tensor, "batch past"],
        past_bins: Int[Tensor, "batch past"],
        frames: Float[Tensor, "batch frame row column"] | None = None,
        behaviour: Float[Tensor, "batch sample variable"] | None = None,
    ) -> NeuroformerOutput:
        counted = ((ids != self.pad) & (ids != self.eos))[..., None]
        causal = self.causal[..., : ids.shape[1], : ids.shape[1]]
        tokens, first = self._encode(ids, bins)
        past, seen = self._past(past_ids, past_bins)
        for block in self.past_fusion:
            tokens = block(tokens, past, seen)
        aligned = {"neural": _mean(tokens, counted)}
        if self.video is not None:
            if frames is None:
                raise UsageError("The network was built with a movie, got none; give frames.")
            patches = self.dropout(torch.cat([first, self.video(frames)], dim=1))
            for block in self.video_encoder:
                patches = block(patches, patches)
            aligned["frames"] = patches[:, 1:].mean(dim=1)
            for block in self.video_fusion:
                tokens = block(tokens, patches)
        if len(self.readings):
            if behaviour is None:
                raise UsageError("The network was built to read behaviour, got none; give the variables of the fit.")
            read = self._read(behaviour)
            aligned["behaviour"] = read.mean(dim=1)
            for block in self.behaviour_fusion:
                tokens = block(tokens, read)
        for block in self.fusion:
            tokens = block(tokens, tokens, causal)
        latent = _mean(tokens, counted)
        predicted = latent.new_zeros(len(latent), 0) if self.behaviour_head is None else self.behaviour_head(latent)
        return NeuroformerOutput(self.id_head(tokens), self.bin_head(tokens), latent, predicted, aligned)

    def past_attention(
        self,
        ids: Int[Tensor, "batch token"],
        bins: Int[Tensor, "batch token"],
        past_ids: Int[Tensor, "batch past"],
        past_bins: Int[Tensor, "batch past"],
    ) -> Float[Tensor, "layer batch head token key"]:
        """How much every place of the current window takes from every past spike, and last from the null key, in each block."""
        tokens, _ = self._encode(ids, bins)
        past, seen = self._past(past_ids, past_bins)
        maps = []
        for block in self.past_fusion:
            maps.append(cast("TransformerBlock", block).attention_maps(tokens, past, seen))
            tokens = block(tokens, past, seen)
        if not maps:
            raise UsageError("A network without blocks for the past has no attention to it; set n_past to 1 or more.")
        return torch.stack(maps)

    def contrast(self, aligned: dict[str, Tensor], temperature: float) -> Float[Tensor, ""]:
        """Mean InfoNCE over all pairs of modalities, in one shared projection."""
        if self.projection is None or len(aligned) < 2:
            raise UsageError(
                "A contrastive loss needs a second modality beside the spikes: give frames, or behaviour to read."
            )
        projected = {name: self.projection(features) for name, features in aligned.items()}
        pairs = [info_nce(projected[a], projected[b], temperature=temperature) for a, b in combinations(projected, 2)]
        return torch.stack(pairs).mean()

    def _encode(self, ids: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        """Current tokens after their own blocks, and the embedding of the first of them."""
        embedded = self.dropout(self.current(self.ids(ids), bins))
        tokens, causal = embedded, self.causal[..., : ids.shape[1], : ids.shape[1]]
        for block in self.current_encoder:
            tokens = block(tokens, tokens, causal)
        return tokens, embedded[:, :1]

    def _past(self, ids: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        if self.past is None:
            return ids, ids
        return self.dropout(self.past(self.ids(ids), bins)), (ids != self.pad)[:, None, None]

    def _read(self, behaviour: Tensor) -> Tensor:
        values = [reading(behaviour[..., k, None]) for k, reading in enumerate(self.readings)]
        when = sinusoidal_times(torch.arange(behaviour.shape[1], device=behaviour.device), values[0].shape[-1])
        return self.dropout(torch.cat([value + when for value in values], dim=1))


def token_entropy(
    logits: Float[Tensor, "batch token vocabulary"],
    targets: Int[Tensor, "batch token"],
    pad: int,
    reduction: str = "mean",
) -> Float[Tensor, ""]:
    """Cross-entropy of tokens, in nats, those of padding left out."""
    return cross_entropy(logits.flatten(0, 1), targets.flatten().long(), ignore_index=pad, reduction=reduction)


def _video(emb_size: int, kernel: Sequence[int] | None, stride: Sequence[int] | None) -> VideoTokens | None:
    if kernel is None:
        return None
    stride = kernel if stride is None else stride
    if len(kernel) != 3 or len(stride) != 3 or min(*kernel, *stride) < 1:
        raise UsageError(
            f"A patch has three positive sizes (frames, rows, columns), got {tuple(kernel)} every {tuple(stride)}."
        )
    return VideoTokens(emb_size, (kernel[0], kernel[1], kernel[2]), (stride[0], stride[1], stride[2]))


def _mean(tokens: Tensor, counted: Tensor) -> Tensor:
    return (tokens * counted).sum(dim=1) / counted.sum(dim=1)


def initialise(module: nn.Module, sd: float) -> None:
    """Normal weights of a linear map or an embedding, zero biases; other modules stay as they are."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, sd)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
