"""Drawing windows of spikes from the network, token by token."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from neuropil.foundation.neuroformer_networks import NeuroformerNetwork
from neuropil.nn.event_tokens import SpikeTokenizer
from neuropil.nn.sampling import sample_tokens


def draw_windows(
    network: NeuroformerNetwork,
    tokenizer: SpikeTokenizer,
    past: tuple[Tensor, Tensor],
    width: int,
    max_tokens: int,
    *,
    frames: Tensor | None = None,
    behaviour: Tensor | None = None,
    temperature: float = 1.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
) -> Int[ndarray, "window time neuron"]:
    """Counts of one window of `width` bins for every past.

    Only what a tokeniser could have written is drawn: neurons or the end, bins within the window that do not go back.

    Parameters
    ----------
    network, tokenizer :
        A trained network, in evaluation mode, and its vocabulary.
    past : tuple of Tensor of shape (window, token)
        Ids and bins of the past windows.
    width, max_tokens : int
        Bins of a window, and its longest sequence.
    frames, behaviour : Tensor, optional
        What the network reads beside spikes.
    temperature, top_p, generator :
        As in `neuropil.nn.sampling.sample_tokens`.
    """
    n_windows = len(past[0])
    ids = torch.full((n_windows, 1), tokenizer.sos)
    bins = torch.full((n_windows, 1), tokenizer.bin_sos)
    ended, last = torch.zeros(n_windows, dtype=torch.bool), torch.zeros(n_windows, dtype=torch.long)
    every_id, every_bin = torch.arange(tokenizer.n_ids), torch.arange(tokenizer.n_bin_tokens)
    never = (every_id == tokenizer.sos) | (every_id == tokenizer.pad)
    with torch.inference_mode():
        while not ended.all() and ids.shape[1] < max_tokens:
            output = network(ids, bins, *past, frames, behaviour)
            who = output.id_logits[:, -1].masked_fill(never, float("-inf"))
            when = output.bin_logits[:, -1].masked_fill(
                (every_bin < last[:, None]) | (every_bin >= width), float("-inf")
            )
            neuron = sample_tokens(who, temperature=temperature, top_p=top_p, generator=generator)
            place = sample_tokens(when, temperature=temperature, top_p=top_p, generator=generator)
            ended |= neuron == tokenizer.eos
            last = torch.where(ended, last, place)
            ids = torch.cat([ids, torch.where(ended, tokenizer.eos, neuron)[:, None]], dim=1)
            bins = torch.cat([bins, torch.where(ended, tokenizer.bin_eos, place)[:, None]], dim=1)
    return tokenizer.decode(ids.numpy(), bins.numpy(), width)


def encode_pasts(
    tokenizer: SpikeTokenizer, counts: Int[ndarray, "window time neuron"], max_tokens: int
) -> tuple[Tensor, Tensor]:
    """Ids and bins of past windows that are given as counts."""
    n_windows, width, n_neurons = counts.shape
    tokens = tokenizer.encode(
        counts.reshape(-1, n_neurons), np.arange(n_windows) * width, width, max_tokens, marks=False
    )
    return torch.as_tensor(tokens.ids), torch.as_tensor(tokens.bins)
