"""What Neuroformer does under its surface: reading modalities, cutting samples, building and training the network, saving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from neuropil import train
from neuropil.activity import Activity
from neuropil.errors import DataError, UsageError
from neuropil.foundation.neuroformer_data import (
    Samples,
    Series,
    check_lengths,
    encode_windows,
    last_frames,
    name_variables,
    place_windows,
    read_series,
    side_by_side,
    variable_names,
    window_samples,
)
from neuropil.foundation.neuroformer_networks import NeuroformerNetwork, NeuroformerOutput
from neuropil.foundation.neuroformer_reading import network_inputs
from neuropil.foundation.neuroformer_training import adamw, make_losses
from neuropil.nn.event_tokens import SpikeTokenizer
from neuropil.nn.schedules import token_warmup_cosine
from neuropil.persistence import HoldsModule
from neuropil.recording import Recording
from neuropil.structure import StructureModel

FLOOR = 0.1


class NeuroformerBase(HoldsModule, StructureModel):
    """The machinery of `Neuroformer`, whose constructor and public methods are defined there."""

    window: float
    past_window: float
    dt: float
    emb_size: int
    num_heads: int
    n_self: int
    n_past: int
    n_frames: int
    n_behaviour: int
    drop_prob: float
    time_embedding: str
    initial_sd: float
    current_tokens: int
    past_tokens: int
    frame_window: float
    frame_sfreq: float
    behaviour_sfreq: float
    frame_kernel: tuple[int, int, int]
    frame_stride: tuple[int, int, int]
    behaviour_inputs: Sequence[str]
    spike_stream: str | None
    frame_stream: str | None
    behaviour_streams: Sequence[str]
    contrastive: float
    temperature: float
    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    warmup_tokens: float
    validation: float
    gap: float
    patience: int | None
    device: str
    random_state: Any
    progress: bool | None
    has_frames_: bool
    input_names_: tuple[str, ...]
    target_names_: tuple[str, ...]
    behaviour_names_: tuple[str, ...]
    behaviour_means_: ndarray
    behaviour_scales_: ndarray

    def _reads(self) -> bool:
        return self.has_frames_ or bool(self.input_names_)

    def _check(self) -> None:
        self._check_random_state(np.random.RandomState)
        self._check_whole(1, "emb_size", "num_heads", "batch_size", "max_epochs")
        self._check_whole(0, "n_self", "n_past", "n_frames", "n_behaviour")
        for name in ("dt", "frame_sfreq", "behaviour_sfreq", "temperature"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, got {getattr(self, name)!r}.")
        if self.emb_size % self.num_heads:
            raise UsageError(
                f"emb_size must be a multiple of num_heads, got {self.emb_size} and {self.num_heads}; change one of them."
            )
        if not self.lr >= 0 or not self.gap >= 0 or not 0 <= self.drop_prob < 1:
            raise UsageError(
                f"lr and gap must not be negative and drop_prob lie in [0, 1), got {self.lr!r}, {self.gap!r} and {self.drop_prob!r}."
            )

    def _bins(self) -> tuple[int, int]:
        """Bins of the current and of the past window."""
        width, past = round(self.window / self.dt), round(self.past_window / self.dt)
        if min(width, past) < 1:
            raise UsageError(
                f"Windows of {self.window} s and {self.past_window} s hold no bin of {self.dt} s; lengthen them."
            )
        return width, past

    def _tokenizer(self) -> SpikeTokenizer:
        return SpikeTokenizer(self.n_units_, max(self._bins()))

    def _build_anew(self) -> NeuroformerNetwork:
        return NeuroformerNetwork(
            self.n_units_,
            max(self._bins()),
            current_tokens=self.current_tokens,
            past_tokens=self.past_tokens,
            emb_size=self.emb_size,
            num_heads=self.num_heads,
            n_self=self.n_self,
            n_past=self.n_past,
            n_frames=self.n_frames,
            n_behaviour=self.n_behaviour,
            drop_prob=self.drop_prob,
            time_embedding=self.time_embedding,
            initial_sd=self.initial_sd,
            frame_kernel=self.frame_kernel if self.has_frames_ else None,
            frame_stride=self.frame_stride if self.has_frames_ else None,
            n_inputs=len(self.input_names_),
            n_targets=len(self.target_names_),
            contrastive=self.contrastive > 0,
        )

    def _again(self, spikes: Any) -> Activity:
        stream = self.spike_stream if has_recordings(spikes) else None
        return self._read(spikes, fitting=False, stream=stream)

    def _modalities(
        self, X: Any, activity: Activity, frames: Any, behaviour: Any, *, movie: bool = True
    ) -> tuple[Series | None, Series | None, tuple[str, ...]]:
        """Frames, behaviour, and the names of its variables."""
        recorded = has_recordings(X)
        shown = (
            read_series("frames", X, frames, self.frame_sfreq, self.frame_stream if recorded else None, activity)
            if movie
            else None
        )
        if shown is not None:
            if shown.values[0].ndim != 3:
                raise DataError(f"Expected frames of shape (n_frames, n_rows, n_columns), got {shown.values[0].shape}.")
            check_lengths("frames", shown, activity, self.dt)
        values, names = name_variables(behaviour, len(activity.sequences))
        if values is not None or not (recorded and self.behaviour_streams):
            conduct = read_series("behaviour", X, values, self.behaviour_sfreq, None, activity)
            names = names or (
                () if conduct is None else tuple(f"behaviour{k}" for k in range(conduct.values[0].shape[1]))
            )
        else:
            parts = [read_series("behaviour", X, None, 0.0, stream, activity) for stream in self.behaviour_streams]
            conduct, names = (
                side_by_side([part for part in parts if part is not None]),
                variable_names(X, self.behaviour_streams),
            )
        if conduct is not None:
            check_lengths("behaviour", conduct, activity, self.dt)
        return shown, conduct, names

    def _add_targets(self, names: tuple[str, ...], values: ndarray) -> None:
        """Take up behavioural variables that the network did not predict so far."""
        missing = [name for name in (*self.input_names_, *self.target_names_) if name not in names]
        if missing:
            raise DataError(f"The network was fitted with {', '.join(missing)} as well; give all variables of the fit.")
        known = {name: k for k, name in enumerate(getattr(self, "behaviour_names_", ()))}
        means, spread = values.mean(axis=0).astype(float), values.std(axis=0).astype(float)
        scales = np.where(spread > 0, spread, 1.0)
        for k, name in enumerate(names):
            if name in known:
                means[k], scales[k] = self.behaviour_means_[known[name]], self.behaviour_scales_[known[name]]
        self.target_names_ = (
            *self.target_names_,
            *(n for n in names if n not in self.input_names_ and n not in self.target_names_),
        )
        self.behaviour_names_, self.behaviour_means_, self.behaviour_scales_ = names, means, scales

    def _samples(
        self,
        activity: Activity,
        movie: Series | None,
        conduct: Series | None,
        shuffle: np.random.Generator | None = None,
    ) -> Samples:
        width, past = self._bins()
        places = place_windows(activity.lengths, width, past)
        current, before = encode_windows(
            activity, places, self._tokenizer(), width, past, self.current_tokens, self.past_tokens, shuffle
        )
        rows: dict[str, ndarray] = {
            "ids": current.ids, "bins": current.bins, "past_ids": before.ids, "past_bins": before.bins,
        }  # fmt: skip
        shown, n_frames = None, 0
        if movie is not None and self.has_frames_:
            n_frames = max(1, round(self.frame_window * movie.sfreq))
            shown, rows["frame"] = last_frames(movie, places, width, self.dt, n_frames)
        if conduct is not None and (self.input_names_ or self.target_names_):
            scaled = (window_samples(conduct, places, width, self.dt) - self.behaviour_means_) / self.behaviour_scales_
            inputs = [self.behaviour_names_.index(name) for name in self.input_names_]
            targets = [self.behaviour_names_.index(name) for name in self.target_names_]
            if inputs:
                rows["inputs"] = scaled[..., inputs].astype(np.float32)
            if targets:
                rows["targets"] = scaled[..., targets].mean(axis=1).astype(np.float32)
        tensors = {name: torch.as_tensor(values) for name, values in rows.items()}
        return Samples(
            tensors,
            None if shown is None else torch.as_tensor(shown),
            n_frames,
            places,
            current.n_spikes,
            current.n_truncated,
        )

    def _new_samples(
        self, spikes: Any, frames: Any, behaviour: Any, shuffle: np.random.Generator | None = None
    ) -> Samples:
        activity = self._again(spikes)
        movie, conduct, names = self._modalities(spikes, activity, frames, behaviour)
        if self.has_frames_ and movie is None:
            raise DataError("The network was fitted with a movie, these data have none; give frames.")
        missing = [name for name in self.input_names_ if name not in names]
        if missing:
            raise DataError(
                f"The network reads {', '.join(self.input_names_)}, these data lack {', '.join(missing)}; give behaviour."
            )
        if conduct is not None and self.input_names_ and names != self.behaviour_names_:
            order = [names.index(name) for name in self.input_names_]
            wanted = [self.behaviour_names_.index(name) for name in self.input_names_]
            filled = [np.zeros((len(v), len(self.behaviour_names_)), np.float32) for v in conduct.values]
            for new, old in zip(filled, conduct.values, strict=True):
                new[:, wanted] = old[:, order]
            conduct = Series(filled, conduct.sfreq)
        return self._samples(activity, movie, conduct if self.input_names_ else None, shuffle)

    def _train(self, samples: Samples, chosen: ndarray, held: ndarray, seed: int, **options: Any) -> None:
        """Train `module_` by the one loop, and keep what it returns."""
        tokens = self.batch_size * samples.rows["ids"].shape[1]
        losses = make_losses(self.module_, samples, self._tokenizer(), self.contrastive, self.temperature)

        def make_scheduler(optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LambdaLR:
            return token_warmup_cosine(
                optimizer, n_steps, tokens_per_step=tokens, warmup_tokens=self.warmup_tokens, floor=FLOOR
            )

        settings: dict[str, Any] = {
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "patience": self.patience,
            "max_grad_norm": 1.0,
            "make_optimizer": lambda module: adamw(module, self.lr, self.weight_decay),
            "make_scheduler": make_scheduler,
            "device": self.device,
            "progress": self.progress,
            "title": type(self).__name__,
        }
        validation = samples.take(held).rows if len(held) else None
        result = train.fit(
            self.module_, losses, samples.take(chosen).rows, validation=validation, seed=seed, **settings | options
        )
        self.history_, self.best_epoch_, self.interrupted_ = result
        name = "loss" if validation is None else "validation_loss"
        self.objective_ = np.array([row[name] for row in self.history_])

    def _run(self, samples: Samples) -> Iterator[tuple[dict[str, Tensor], NeuroformerOutput]]:
        """Batches of windows and what the network says about them."""
        self.module_.eval()
        for batch in samples.batches(self._tokenizer().pad):
            with torch.inference_mode():
                output = self.module_(*network_inputs(batch), samples.frames(batch), batch.get("inputs"))
            yield batch, output


def has_recordings(X: Any) -> bool:
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    return isinstance(first, Recording)
