"""The one training loop: devices, precision, data parallelism, early stopping, checkpoints, progress.

A system brings a module and a function `losses(module, batch)`; `fit` does the rest on Lightning Fabric. Without validation data
the last epoch is kept; with them the epoch of the lowest validation loss, or of the highest of another entry. A Ctrl-C ends the
training and keeps what is best so far. With `checkpoint`, a run that was cut off goes on where it stood and ends with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from neuropil.errors import DataError, UsageError
from neuropil.progress import epochs_bar

Batch = dict[str, Tensor]
Losses = Callable[[nn.Module, Batch], Mapping[str, Tensor]]


class FitResult(NamedTuple):
    """What a training run was."""

    history: list[dict[str, float]]
    """One row an epoch: `epoch`, mean `loss` and further entries of `losses`, the same with `validation_` in front, what `each_epoch`
    returned, `seconds`."""
    best_epoch: int
    """Epoch (from 0) whose parameters the module has now; -1 if none was completed."""
    interrupted: bool
    """True if a Ctrl-C ended the training early."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator, which dropout and initialisation draw from, set to `seed` and put back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def total_loss(terms: Mapping[str, Tensor]) -> Tensor:
    """The entry `loss` if there is one, else the sum of all terms."""
    return terms["loss"] if "loss" in terms else torch.stack(list(terms.values())).sum()


def _n_rows(data: Batch) -> int:
    return len(next(iter(data.values())))


def _batches(data: Batch, order: Tensor, batch_size: int) -> Iterator[Batch]:
    for indices in order.split(batch_size):
        yield {name: values[indices] for name, values in data.items()}


class _Means:
    """Means of the loss terms over an epoch, weighted by batch size, summed on the device without waiting for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.n = 0

    def add(self, terms: Mapping[str, Tensor], n: int) -> None:
        if "loss" not in terms:
            terms = {"loss": total_loss(terms), **terms}
        for name, value in terms.items():
            term = value.detach() * n
            self.sums[name] = self.sums[name] + term if name in self.sums else term
        self.n += n

    def read(self, prefix: str = "") -> dict[str, float]:
        return {prefix + name: float(value) / self.n for name, value in self.sums.items()}


def _validate(module: nn.Module, losses: Losses, data: Batch, batch_size: int) -> dict[str, float]:
    module.eval()
    means = _Means()
    with torch.inference_mode():
        for batch in _batches(data, torch.arange(_n_rows(data)), batch_size):
            means.add(losses(module, batch), _n_rows(batch))
    return means.read("validation_")


class _Checkpoint:
    """A run's whole state in one safetensors file that is replaced at once."""

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run

    def write(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        facts: dict[str, Any],
        best: Batch | None,
    ) -> None:
        tensors = {f"module.{k}": v.detach().cpu().clone() for k, v in module.state_dict().items()}
        tensors |= {f"best.{k}": v.cpu() for k, v in (best or {}).items()}
        scalars: dict[str, Any] = {}
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value.detach().cpu().clone()
                else:
                    scalars[f"{index}.{name}"] = value
        tensors |= {"rng": torch.get_rng_state(), "shuffle": generator.get_state()}
        metadata = {"run": self.run, "facts": json.dumps(facts), "optimizer": json.dumps(scalars)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.partial")
        try:
            save_file(tensors, temporary, metadata)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def read(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> tuple[dict[str, Any], Batch | None] | None:
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(f"The checkpoint {self.path} is damaged; delete it to train from the start.") from error
        if metadata.get("run") != self.run:
            raise DataError(
                f"The checkpoint {self.path} belongs to a run with other data or settings; delete it or name another file."
            )
        module.load_state_dict({k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")})
        state: dict[int, dict[str, Any]] = {}
        entries = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
        for key, value in {**entries, **json.loads(metadata["optimizer"])}.items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["rng"])
        generator.set_state(tensors["shuffle"])
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        return json.loads(metadata["facts"]), best or None


def _run_name(module: nn.Module, data: Batch, **settings: Any) -> str:
    """A fingerprint of a run: a checkpoint of other data or settings must not be taken up."""
    shapes = {
        k: [list(v.shape), str(v.dtype), float(v.double().sum()), float(v.double().square().sum())]
        for k, v in data.items()
    }
    parameters = {k: list(v.shape) for k, v in module.state_dict().items()}
    return hashlib.sha256(json.dumps([shapes, parameters, settings], sort_keys=True).encode()).hexdigest()


def fit(
    module: nn.Module,
    losses: Losses,
    data: Batch,
    *,
    validation: Batch | None = None,
    max_epochs: int = 100,
    batch_size: int = 32,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    patience: int | None = None,
    max_grad_norm: float | None = None,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    make_scheduler: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None,
    monitor: str = "loss",
    each_epoch: Callable[[nn.Module, int], Mapping[str, float] | None] | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: Any = "32-true",
    fabric: Fabric | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
    title: str = "training",
) -> FitResult:
    """Train `module` in place.

    Parameters
    ----------
    module : nn.Module
        Moved to the device while training, and back to the CPU afterwards.
    losses : callable
        `losses(module, batch)` returns a dict of scalar tensors: `loss` is minimised (or the sum of all, without it), the others
        are recorded.
    data, validation : dict of Tensor
        Tensors of equal length; a batch is the same dict, cut.
    max_epochs, batch_size, lr, weight_decay :
        Adam (AdamW with weight decay) unless `make_optimizer` says otherwise.
    patience : int, optional
        Stop after so many epochs without a better monitored value.
    max_grad_norm : float, optional
        Clip gradients to this norm.
    make_optimizer : callable, optional
        `make_optimizer(module)` returns the optimiser.
    make_scheduler : callable, optional
        `make_scheduler(optimizer, n_steps)` returns a learning-rate schedule, stepped once a batch; `ReduceLROnPlateau` is stepped once
        an epoch with the validation loss (the training loss where there is no validation).
    monitor : str, default "loss"
        Entry of `losses` on the validation data by which the best epoch is chosen: the lowest loss, or the highest of anything else.
    each_epoch : callable, optional
        `each_epoch(module, epoch)`, called in evaluation mode and without gradients; what it returns is recorded in the history.
    seed : int
        Of the order of batches and, through `seeded`, of dropout.
    device, precision : str
        As Lightning Fabric names them ("cpu", "cuda", "auto"; "32-true", "bf16-mixed" ...).
    fabric : Fabric, optional
        A launched Fabric for several devices; every process then sees its share of each batch, and the module stays on its device.
    checkpoint : path-like, optional
        File that keeps the state after every epoch; a run that finds its file goes on from it, and deletes it when it is done.
    progress : bool, optional
        Show a bar with loss and time left; by default if somebody is watching and it lasts.

    Returns
    -------
    FitResult

    Raises
    ------
    DataError
        If the loss stops being a finite number, or the checkpoint belongs to another run.
    UsageError
        If `losses` has no entry of the monitored name.
    """
    own_fabric = fabric is None
    fabric = fabric or Fabric(accelerator=device, devices=1, precision=precision)
    optimizer = make_optimizer(module) if make_optimizer else _adam(module, lr, weight_decay)
    n_rows, plain = _n_rows(data), module
    n_batches = -(-n_rows // batch_size)
    scheduler = make_scheduler(optimizer, max_epochs * n_batches) if make_scheduler else None
    generator = torch.Generator().manual_seed(seed)
    facts: dict[str, Any] = {"epoch": 0, "history": [], "best_epoch": -1, "best_value": float("inf")}
    best: Batch | None = None
    saved = None
    if checkpoint is not None:
        settings = {
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "seed": seed,
            "precision": str(precision),
            "monitor": monitor,
        }
        saved = _Checkpoint(Path(checkpoint), _run_name(module, data, **settings))
        found = saved.read(module, optimizer, generator)
        if found:
            facts, best = found
            _catch_up(scheduler, facts["history"], n_batches)
    wrapped, optimizer = fabric.setup(module, optimizer)
    data = {k: v.to(fabric.device) for k, v in data.items()}
    validation = {k: v.to(fabric.device) for k, v in validation.items()} if validation else None
    interrupted = False
    with epochs_bar(title, max_epochs, progress, done=facts["epoch"]) as bar:
        try:
            for epoch in range(facts["epoch"], max_epochs):
                if patience is not None and validation is not None and epoch - facts["best_epoch"] > patience and epoch:
                    break
                began = time.perf_counter()
                order = torch.randperm(n_rows, generator=generator)[fabric.global_rank :: fabric.world_size]
                row = _train_epoch(
                    fabric, wrapped, losses, data, order, batch_size, optimizer, scheduler, max_grad_norm
                )
                if not all(abs(v) < float("inf") for k, v in row.items() if k == "loss"):
                    raise DataError(
                        f"The training loss became {row['loss']} in epoch {epoch}; lower the learning rate or scale the data "
                        "(volts are tiny numbers: standardise or use microvolts)."
                    )
                if validation is not None:
                    row |= _validate(wrapped, losses, validation, max(batch_size, 64))
                    value = _monitored(row, monitor)
                    if value < facts["best_value"]:
                        facts |= {"best_value": value, "best_epoch": epoch}
                        best = {k: v.detach().cpu().clone() for k, v in plain.state_dict().items()}
                else:
                    facts["best_epoch"] = epoch
                if isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step(row.get("validation_loss", row["loss"]))
                if each_epoch is not None:
                    row |= _observe(plain, epoch, each_epoch)
                facts["history"].append({"epoch": epoch, **row, "seconds": time.perf_counter() - began})
                facts["epoch"] = epoch + 1
                if saved and fabric.is_global_zero:
                    saved.write(plain, optimizer, generator, facts, best)
                bar(row)
        except KeyboardInterrupt:
            interrupted = True
            warnings.warn(
                f"Training was interrupted in epoch {facts['epoch']} of {max_epochs}; the best state so far is kept.",
                stacklevel=2,
            )
    if own_fabric:
        plain.cpu()
    if best is not None:
        plain.load_state_dict(best)
    if saved and not interrupted and fabric.is_global_zero:
        saved.path.unlink(missing_ok=True)
    plain.eval()
    return FitResult(facts["history"], facts["best_epoch"], interrupted)


def _monitored(row: Mapping[str, float], monitor: str) -> float:
    """The monitored value of an epoch, negated where higher is better."""
    name = f"validation_{monitor}"
    if name not in row:
        known = ", ".join(key.removeprefix("validation_") for key in row if key.startswith("validation_"))
        raise UsageError(f"The best epoch cannot be chosen by {monitor!r}: the losses are {known}.")
    return row[name] if monitor == "loss" else -row[name]


def _observe(module: nn.Module, epoch: int, each_epoch: Callable[..., Mapping[str, float] | None]) -> dict[str, float]:
    module.eval()
    with torch.inference_mode():
        return dict(each_epoch(module, epoch) or {})


def _catch_up(scheduler: Any, history: list[dict[str, float]], n_batches: int) -> None:
    """Bring a new schedule to where the recorded epochs left it."""
    if isinstance(scheduler, ReduceLROnPlateau):
        for row in history:
            scheduler.step(row.get("validation_loss", row["loss"]))
    elif scheduler is not None:
        for _ in range(len(history) * n_batches):
            scheduler.step()


def _adam(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    fused = all(p.dtype in (torch.float32, torch.float64) for p in parameters)
    if weight_decay:
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
    return torch.optim.Adam(parameters, lr=lr, fused=fused)


def _train_epoch(
    fabric: Fabric,
    module: Any,
    losses: Losses,
    data: Batch,
    order: Tensor,
    batch_size: int,
    optimizer: Any,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    max_grad_norm: float | None,
) -> dict[str, float]:
    module.train()
    means = _Means()
    for batch in _batches(data, order.to(fabric.device), batch_size):
        terms = losses(module, batch)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(total_loss(terms))
        if max_grad_norm is not None:
            fabric.clip_gradients(module, optimizer, max_norm=max_grad_norm)
        optimizer.step()
        if scheduler is not None and not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()
        means.add(terms, _n_rows(batch))
    return means.read()
