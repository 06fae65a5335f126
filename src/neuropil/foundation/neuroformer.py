"""Neuroformer: a generative network of spikes, pretrained on activity and fine-tuned to behaviour.

Every spike is a token that says which neuron fired and in which bin of a short window. The network writes the spikes of the current window
one after the other, each given those before it, the spikes of the past window, a movie, and behaviour. After that pretraining the same
network decodes behaviour from few labelled windows, and its attention to past spikes is read as directed connectivity.

Where the authors' code differs from its own intent, this follows the intent: padding is not attended to, and a null key makes a window
without a past legal; patches of the movie know their place; behaviour that is read is scaled by its mean and standard deviation (their
normalisation of single numbers erases the value); means over a window leave out its padding; connectivity is read from all windows; and the
loss that aligns spikes with a movie compares features that have seen the past spikes but not yet the movie, which else would find itself.
Splits are stretches of time with a gap, not windows at random.

Antoniades, Yu, Canzano, Wang & Smith (2024). Neuroformer: multimodal and multitask generative pretraining for brain data. ICLR.
arXiv:2311.00136.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy import ndarray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import normalize

from neuropil import train
from neuropil.errors import DataError, UsageError
from neuropil.findings import Findings
from neuropil.foundation.neuroformer_base import NeuroformerBase, has_recordings
from neuropil.foundation.neuroformer_data import evenly, hold_out, place_windows, window_samples
from neuropil.foundation.neuroformer_drawing import draw_windows, encode_pasts
from neuropil.foundation.neuroformer_findings import describe
from neuropil.foundation.neuroformer_reading import attention_by_pair, batch_nats, per_occasion
from neuropil.foundation.neuroformer_training import wider_head

LAPTOP: dict[str, Any] = {
    "emb_size": 64,
    "num_heads": 4,
    "n_self": 1,
    "n_past": 2,
    "n_frames": 1,
    "n_behaviour": 1,
    "drop_prob": 0.1,
    "time_embedding": "sinusoidal",
    "initial_sd": 0.1,
    "lr": 2e-3,
    "weight_decay": 0.01,
    "warmup_tokens": 2e4,
    "batch_size": 128,
    "max_epochs": 20,
    "temperature": 0.2,
}
"""A small network for tens of neurons, trained on one core in about a minute."""


class Neuroformer(NeuroformerBase):
    """Generative pretraining on spikes, fine-tuning to behaviour, connectivity from attention.

    The defaults are the published settings for recordings of V1 and AL; `LAPTOP` holds smaller ones:
    ``Neuroformer(**LAPTOP)``. All sizes of windows are rounded to whole bins.

    Parameters
    ----------
    window, past_window : float
        Seconds of the window that is written, and of the past that it is given.
    dt : float, default 0.01
        Seconds a bin; arrays are taken to be binned so, spike times are counted so.
    emb_size, num_heads, n_self, n_past, n_frames, n_behaviour, drop_prob, time_embedding, initial_sd :
        As in `NeuroformerNetwork`; ``n_past=0`` makes a network that knows no past.
    current_tokens, past_tokens : int, default 100
        Longest sequences; of windows with more spikes the last ones are kept, and counted in `n_truncated_`.
    frame_window : float, default 0.2
        Seconds of the movie up to the end of the current window.
    frame_sfreq, behaviour_sfreq : float, default 20.0
        Samples a second of frames and behaviour that are given as arrays.
    frame_kernel, frame_stride : tuple of int
        Frames, rows and columns of a patch of the movie, and from one patch to the next.
    behaviour_inputs : sequence of str, default ()
        Behavioural variables that the network reads; all others are predicted.
    spike_stream, frame_stream : str, optional
        Streams of a recording; without the latter no movie is read.
    behaviour_streams : sequence of str, default ()
        Streams of a recording that hold behaviour.
    contrastive : float, default 0.0
        Weight of the loss that aligns spikes with frames and with behaviour that is read; the published one is 0.25.
    temperature : float, default 0.5
        Of that loss.
    lr, weight_decay, batch_size, max_epochs, warmup_tokens :
        AdamW with a warm-up of so many tokens, padding included, then a cosine down to a tenth. Linear maps alone decay.
    validation : float, default 0.2
        Share of the time held out to choose the best epoch: the end of every sequence, or the last of five sequences or more.
    gap : float, default 1.0
        Seconds between training and validation windows.
    patience : int, optional
        Stop after so many epochs without a better validation loss.
    device : str, default "cpu"
    random_state : int, RandomState or None
    progress : bool, optional
        Show a bar; by default if somebody is watching.

    Attributes
    ----------
    module_ : NeuroformerNetwork
    history_ : list of dict
        Losses of every epoch.
    objective_ : ndarray of shape (n_epochs,)
        Validation loss of every epoch (training loss without validation).
    n_parameters_ : int
    n_truncated_, n_spikes_ : int
        Spikes of the training windows left out of sequences, and all of them.
    input_names_, target_names_ : tuple of str
        Behavioural variables read and predicted.

    Examples
    --------
    >>> from neuropil.simulate.coupled_logistic import simulate_coupled_logistic
    >>> spikes = simulate_coupled_logistic(2000, 5, random_state=0).spikes
    >>> model = Neuroformer(**LAPTOP | {"max_epochs": 1}, random_state=0, progress=False).fit(spikes)
    >>> model.attention_connectivity(spikes).shape
    (5, 5)
    """

    def __init__(
        self,
        *,
        window: float = 0.05,
        past_window: float = 0.15,
        dt: float = 0.01,
        emb_size: int = 256,
        num_heads: int = 8,
        n_self: int = 6,
        n_past: int = 6,
        n_frames: int = 6,
        n_behaviour: int = 4,
        drop_prob: float = 0.2,
        time_embedding: str = "learned",
        initial_sd: float = 0.02,
        current_tokens: int = 100,
        past_tokens: int = 100,
        frame_window: float = 0.2,
        frame_sfreq: float = 20.0,
        behaviour_sfreq: float = 20.0,
        frame_kernel: tuple[int, int, int] = (3, 8, 8),
        frame_stride: tuple[int, int, int] = (3, 4, 4),
        behaviour_inputs: Sequence[str] = (),
        spike_stream: str | None = None,
        frame_stream: str | None = None,
        behaviour_streams: Sequence[str] = (),
        contrastive: float = 0.0,
        temperature: float = 0.5,
        lr: float = 1e-4,
        weight_decay: float = 1.0,
        batch_size: int = 160,
        max_epochs: int = 250,
        warmup_tokens: float = 8e7,
        validation: float = 0.2,
        gap: float = 1.0,
        patience: int | None = None,
        device: str = "cpu",
        random_state: Any = None,
        progress: bool | None = None,
    ) -> None:
        self.window = window
        self.past_window = past_window
        self.dt = dt
        self.emb_size = emb_size
        self.num_heads = num_heads
        self.n_self = n_self
        self.n_past = n_past
        self.n_frames = n_frames
        self.n_behaviour = n_behaviour
        self.drop_prob = drop_prob
        self.time_embedding = time_embedding
        self.initial_sd = initial_sd
        self.current_tokens = current_tokens
        self.past_tokens = past_tokens
        self.frame_window = frame_window
        self.frame_sfreq = frame_sfreq
        self.behaviour_sfreq = behaviour_sfreq
        self.frame_kernel = frame_kernel
        self.frame_stride = frame_stride
        self.behaviour_inputs = behaviour_inputs
        self.spike_stream = spike_stream
        self.frame_stream = frame_stream
        self.behaviour_streams = behaviour_streams
        self.contrastive = contrastive
        self.temperature = temperature
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.warmup_tokens = warmup_tokens
        self.validation = validation
        self.gap = gap
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.progress = progress

    def fit(self, spikes: Any, frames: Any = None, behaviour: Any = None) -> Neuroformer:
        """Pretrain on spikes, with a movie and behaviour where given.

        Parameters
        ----------
        spikes : arrays (time, unit), streams or recordings
            As in `neuropil.activity.read_activity`.
        frames : array-like of shape (n_frames, n_rows, n_columns), or a list with one a sequence, optional
            At `frame_sfreq`; of recordings the stream `frame_stream`.
        behaviour : dict of str to array-like of shape (n_samples,), array-like (n_samples, n_variables), or a list of them, optional
            At `behaviour_sfreq`; of recordings the `behaviour_streams`.

        Raises
        ------
        DataError
            If a neuron never fires, modalities differ in length, or the data are too short for windows and a validation.
        """
        self._check()
        width, past = self._bins()
        recorded = not isinstance(spikes, ndarray | list | tuple | pd.DataFrame) or has_recordings(spikes)
        activity = self._read(
            spikes,
            fitting=True,
            stream=self.spike_stream if recorded else None,
            bin_width=self.dt if recorded else None,
        )
        movie, conduct, names = self._modalities(spikes, activity, frames, behaviour)
        missing = [name for name in self.behaviour_inputs if name not in names]
        if missing:
            raise UsageError(
                f"The behaviour to read is {', '.join(missing)}, got {', '.join(names) or 'none'}; give these variables."
            )
        if self.contrastive and movie is None and not self.behaviour_inputs:
            raise UsageError(
                "A contrastive loss needs a second modality beside the spikes: give frames, or behaviour to read."
            )
        self.input_names_ = tuple(self.behaviour_inputs)
        self.target_names_ = tuple(name for name in names if name not in self.input_names_)
        self.has_frames_ = movie is not None
        if conduct is not None:
            stacked = np.concatenate(conduct.values)
            self.behaviour_names_ = names
            self.behaviour_means_, spread = stacked.mean(axis=0).astype(float), stacked.std(axis=0).astype(float)
            self.behaviour_scales_ = np.where(spread > 0, spread, 1.0)
        samples = self._samples(activity, movie, conduct)
        self.n_spikes_, self.n_truncated_ = samples.n_spikes, samples.n_truncated
        if samples.n_truncated:
            warnings.warn(
                f"{samples.n_truncated} of {samples.n_spikes} spikes are left out since their windows have more than "
                f"{self.current_tokens - 2}; raise current_tokens or shorten the window.",
                stacklevel=2,
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        chosen, held = hold_out(
            samples.places, activity.lengths, width, past, self.validation, round(self.gap / self.dt)
        )
        with train.seeded(seed):
            self.module_ = self._build_anew()
            self._train(samples, chosen, held, seed)
        self.n_parameters_ = sum(p.numel() for p in self.module_.parameters())
        return self

    def finetune(
        self, spikes: Any, behaviour: Any = None, frames: Any = None, *, fraction: float | None = None, **options: Any
    ) -> Neuroformer:
        """A copy of this fitted network, trained on together with heads for behaviour; this one stays as it is.

        Parameters
        ----------
        spikes, behaviour, frames :
            As for `fit`; variables that were not predicted before get a head of their own.
        fraction : float, optional
            Use this share of the windows only, spread evenly over time.
        **options
            Arguments of `neuropil.train.fit`, and constructor arguments such as `validation`, that differ from those of `fit`.

        Returns
        -------
        Neuroformer
            Fitted; its history is that of the further training.
        """
        check_is_fitted(self)
        own = {name: options.pop(name) for name in [*options] if name in self.get_params()}
        tuned = deepcopy(self).set_params(**own)
        activity = tuned._again(spikes)
        movie, conduct, names = tuned._modalities(spikes, activity, frames, behaviour)
        if conduct is None:
            raise DataError(
                "Expected behaviour to fine-tune to, got none; give behaviour, or behaviour_streams of the recording."
            )
        width, past = tuned._bins()
        tuned._add_targets(names, np.concatenate(conduct.values))
        samples = tuned._samples(activity, movie, conduct)
        seed = int(check_random_state(tuned.random_state).randint(2**31 - 1))
        if fraction is not None:
            samples = samples.take(np.flatnonzero(evenly(len(samples.places.starts), fraction)))
        chosen, held = hold_out(
            samples.places, activity.lengths, width, past, tuned.validation, round(tuned.gap / tuned.dt)
        )
        with train.seeded(seed):
            if tuned.module_.behaviour_head is None or tuned.module_.behaviour_head.out_features != len(
                tuned.target_names_
            ):
                tuned.module_.behaviour_head = wider_head(
                    tuned.module_.behaviour_head, tuned.emb_size, len(tuned.target_names_), tuned.initial_sd
                )
            tuned._train(samples, chosen, held, seed, **options)
        tuned.n_parameters_ = sum(p.numel() for p in tuned.module_.parameters())
        return tuned

    def predict(self, spikes: Any, frames: Any = None, behaviour: Any = None) -> ndarray:
        """Behaviour of every current window, in the unit of the training data, shape (n_windows, n_targets), or (n_windows,) of one.

        `window_starts` says where the windows lie.
        """
        samples = self._new_samples(spikes, frames, behaviour)
        if not self.target_names_:
            raise UsageError("The network was not trained on behaviour; use finetune(spikes, behaviour) first.")
        values = np.concatenate([output.behaviour.numpy() for _, output in self._run(samples)]).astype(np.float64)
        columns = [self.behaviour_names_.index(name) for name in self.target_names_]
        values = values * self.behaviour_scales_[columns] + self.behaviour_means_[columns]
        return values[:, 0] if len(columns) == 1 else values

    def transform(self, spikes: Any, frames: Any = None, behaviour: Any = None) -> ndarray:
        """Latent vector of every current window, the mean of the last layer over it, shape (n_windows, emb_size)."""
        samples = self._new_samples(spikes, frames, behaviour)
        return np.concatenate([output.latent.numpy() for _, output in self._run(samples)])

    def aligned(self, spikes: Any, frames: Any = None, behaviour: Any = None) -> dict[str, ndarray]:
        """Unit vectors that the contrastive loss compares, each of shape (n_windows, emb_size): "neural", "frames", "behaviour"."""
        samples = self._new_samples(spikes, frames, behaviour)
        if self.module_.projection is None:
            raise UsageError("The network was trained without a contrastive loss; set `contrastive` above 0.")
        found: dict[str, list[ndarray]] = {}
        for _, output in self._run(samples):
            for name, features in output.aligned.items():
                with torch.inference_mode():
                    projected = normalize(self.module_.projection(features), dim=-1)
                found.setdefault(name, []).append(projected.numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def window_targets(self, spikes: Any, behaviour: Any = None) -> ndarray:
        """What `predict` is compared with: the mean of every predicted variable over each current window."""
        activity = self._again(spikes)
        _, conduct, names = self._modalities(spikes, activity, None, behaviour, movie=False)
        if conduct is None:
            raise DataError("Expected behaviour, got none; give behaviour, or behaviour_streams of the recording.")
        width, past = self._bins()
        values = window_samples(conduct, place_windows(activity.lengths, width, past), width, self.dt).mean(axis=1)
        columns = [names.index(name) for name in self.target_names_] if self.target_names_ else list(range(len(names)))
        return values[:, columns[0]] if len(columns) == 1 else values[:, columns]

    def window_starts(self, spikes: Any) -> ndarray:
        """Sequence and first bin of every current window, shape (n_windows, 2)."""
        width, past = self._bins()
        return np.stack(place_windows(self._again(spikes).lengths, width, past), axis=1)

    def score(self, spikes: Any, frames: Any = None, behaviour: Any = None) -> float:
        """Minus the nats a spike that it takes to say which neurons fire, in their order, and where every window ends."""
        nats = self.nats(spikes, frames, behaviour)
        return -nats["ids"] / nats["n_spikes"]

    def nats(self, spikes: Any, frames: Any = None, behaviour: Any = None, *, shuffle: Any = None) -> dict[str, float]:
        """Cross-entropies of the tokens of all current windows, marks of their ends included.

        Parameters
        ----------
        spikes, frames, behaviour :
            As for `fit`.
        shuffle : int or Generator, optional
            Order the spikes of one bin at random: how much the network takes from neurons being counted up in every bin.

        Returns
        -------
        dict
            "ids" and "bins": sums in nats, of neurons and of bins; "n_spikes", "n_windows". Together the sums are minus the log-probability
            with which `generate` draws the whole pattern, which a model of every neuron in every bin can be compared with.
        """
        rng = None if shuffle is None else np.random.default_rng(shuffle)
        samples = self._new_samples(spikes, frames, behaviour, shuffle=rng)
        parts = [
            batch_nats(output.id_logits, output.bin_logits, batch, self._tokenizer(), self._bins()[0])
            for batch, output in self._run(samples)
        ]
        ids, bins = (sum(part) for part in zip(*parts, strict=True))
        kept = samples.n_spikes - samples.n_truncated
        if not kept:
            raise DataError("The windows hold no spike, so that there are no nats a spike; give data with spikes.")
        return {"ids": ids, "bins": bins, "n_spikes": float(kept), "n_windows": float(len(samples.places.starts))}

    def attention_connectivity(self, spikes: Any, *, relative: bool = True) -> ndarray:
        """Attention from the neuron that fires next to the past spikes of every neuron, shape (post, pre).

        Attention is averaged over heads and blocks, and over all occasions on which the source had a past spike while the target fired.

        Parameters
        ----------
        spikes : arrays, streams or recordings
        relative : bool, default True
            Divide every source (column) by its mean: how much more than others a target looks at it.

        Returns
        -------
        ndarray of shape (n_units, n_units)
            Row i is the target, column j the source; pairs that never met have the mean of their source.
        """
        samples = self._samples(self._again(spikes), None, None)
        batches = samples.batches(self._tokenizer().pad)
        return per_occasion(*attention_by_pair(self.module_, batches, self.n_units_), relative=relative)

    def generate(
        self,
        spikes: Any,
        n_windows: int | None = None,
        frames: Any = None,
        behaviour: Any = None,
        *,
        true_past: bool = False,
        temperature: float = 1.0,
        top_p: float = 0.95,
        random_state: int | None = None,
    ) -> list[ndarray]:
        """Draw spikes, window after window.

        Parameters
        ----------
        spikes : arrays, streams or recordings
            With `true_past`, every current window in them is drawn anew, each given its real past. Without, the end of each sequence is
            the past of the first window, and what was drawn that of the next ones.
        n_windows : int, optional
            How many to draw without `true_past`.
        frames, behaviour :
            As for `fit`; with `true_past` only, since they must last as long as the windows that are drawn.
        true_past : bool, default False
        temperature, top_p : float
            As in `neuropil.nn.sampling.sample_tokens`.
        random_state : int, optional

        Returns
        -------
        list of ndarray of int, shape (n_bins, n_units)
            One a sequence.
        """
        width, past = self._bins()
        generator = torch.Generator().manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
        tokenizer = self._tokenizer()
        settings: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "generator": generator}
        if true_past:
            samples = self._new_samples(spikes, frames, behaviour)
            self.module_.eval()
            parts = [
                draw_windows(
                    self.module_,
                    tokenizer,
                    (batch["past_ids"], batch["past_bins"]),
                    width,
                    self.current_tokens,
                    frames=samples.frames(batch),
                    behaviour=batch.get("inputs"),
                    **settings,
                )
                for batch in samples.batches(tokenizer.pad)
            ]
            drawn, which = np.concatenate(parts), samples.places.sequences
            return [drawn[which == k].reshape(-1, self.n_units_) for k in np.unique(which)]
        if n_windows is None or n_windows < 1:
            raise UsageError(f"Say how many windows to draw from the network's own past, got n_windows={n_windows}.")
        activity = self._again(spikes)
        if self._reads():
            raise UsageError(
                "A network that reads frames or behaviour draws with true_past=True, windows for which it has them."
            )
        if min(activity.lengths) < past:
            raise DataError(
                f"A past window has {past} bins, the shortest sequence {min(activity.lengths)}; give longer sequences."
            )
        state = np.stack([sequence[-past:] for sequence in activity.sequences]).astype(np.int64)
        self.module_.eval()
        windows = []
        for _ in range(n_windows):
            before = encode_pasts(tokenizer, state, self.past_tokens)
            windows.append(draw_windows(self.module_, tokenizer, before, width, self.current_tokens, **settings))
            state = np.concatenate([state, windows[-1]], axis=1)[:, -past:]
        return list(np.concatenate(windows, axis=1))

    def findings(self, X: Any) -> Findings:
        """Score, connectivity from attention beside lagged correlation, a raster, and the losses of the training."""
        # without blocks for the past there is no attention to read
        attention = self.attention_connectivity(X) if self.n_past else None
        return describe(self, self._again(X), attention, None if self._reads() else -self.score(X), self._bins()[1])
