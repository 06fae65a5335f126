"""What a trained Neuroformer is asked: whom its attention connects, and how probable it finds spikes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from neuropil.foundation.neuroformer_networks import NeuroformerNetwork, token_entropy
from neuropil.nn.event_tokens import SpikeTokenizer


def network_inputs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Everything but the last token of the current window, and the past window."""
    return batch["ids"][:, :-1], batch["bins"][:, :-1], batch["past_ids"], batch["past_bins"]


def attention_by_pair(
    network: NeuroformerNetwork, batches: Iterable[dict[str, Tensor]], n_neurons: int
) -> tuple[Float[ndarray, "post pre"], Int[ndarray, "post pre"]]:
    """Attention from the place before every spike to every past spike, summed by their neurons; and how many such pairs there were.

    The mean over heads and blocks is summed over all batches.
    """
    weight = np.zeros((n_neurons, n_neurons))
    met = np.zeros((n_neurons, n_neurons), dtype=np.int64)
    network.eval()
    with torch.inference_mode():
        for batch in batches:
            maps = network.past_attention(*network_inputs(batch)).mean(dim=(0, 2))[..., :-1]
            targets, sources = batch["ids"][:, 1:], batch["past_ids"]
            both = (targets < n_neurons)[:, :, None] & (sources < n_neurons)[:, None]
            pairs = (targets[:, :, None] * n_neurons + sources[:, None])[both].numpy()
            weight += np.bincount(pairs, maps[both].double().numpy(), minlength=n_neurons**2).reshape(weight.shape)
            met += np.bincount(pairs, minlength=n_neurons**2).reshape(met.shape)
    return weight, met


def per_occasion(
    weight: Float[ndarray, "post pre"], met: Int[ndarray, "post pre"], *, relative: bool
) -> Float[ndarray, "post pre"]:
    """Mean attention of every pair, by default relative to what others give to the source.

    Pairs that never met have the mean of their source, sources that were never seen that of all.

    Examples
    --------
    >>> per_occasion(np.array([[9.0, 4.0], [6.0, 9.0]]), np.array([[9, 4], [2, 9]]), relative=False).tolist()
    [[0.0, 1.0], [3.0, 0.0]]
    """
    total, seen = weight.sum(axis=0), met.sum(axis=0)
    overall = total.sum() / max(int(seen.sum()), 1)
    source = np.divide(total, seen, out=np.full(len(total), overall), where=seen > 0)
    mean = np.divide(weight, met, out=np.tile(source, (len(weight), 1)), where=met > 0)
    np.fill_diagonal(mean, 0.0)
    if not relative:
        return mean
    level = mean.sum(axis=0) / max(len(mean) - 1, 1)
    return np.divide(mean, level, out=np.zeros_like(mean), where=level > 0)


def batch_nats(
    id_logits: Float[Tensor, "batch token id"],
    bin_logits: Float[Tensor, "batch token bin"],
    batch: dict[str, Tensor],
    tokenizer: SpikeTokenizer,
    width: int,
) -> tuple[float, float]:
    """Nats of neurons and of bins in a batch, ends of windows included.

    The bin of a spike is counted as it is drawn: given that there is one more spike, within the window, and not before the last one.
    """
    targets, bins = batch["ids"][:, 1:], batch["bins"][:, 1:].long()
    ids = float(token_entropy(id_logits, targets, tokenizer.pad, "sum"))
    every = torch.arange(tokenizer.n_bin_tokens)
    before = torch.where(batch["ids"][:, :-1] < tokenizer.n_neurons, batch["bins"][:, :-1], 0)
    outside = (every < before[..., None]) | (every >= width)
    spike = targets < tokenizer.n_neurons
    probability = torch.log_softmax(bin_logits.masked_fill(outside, float("-inf")), dim=-1)
    chosen = probability.gather(-1, torch.where(spike, bins, 0)[..., None])[..., 0]
    return ids, -float(chosen[spike].double().sum())
