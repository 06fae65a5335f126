"""One epoch of DBConformer through `neuropil.train.fit`, beside the same module in a bare PyTorch loop.

Both start from the same parameters and random state, with the same optimiser, shuffling and batches, on one thread, in turns; both
must end with the same parameters to the last bit. The time of `fit` is that of the whole call, with everything it sets up.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks import measure
from benchmarks.rows import Row, against
from benchmarks.settings import Settings
from neuropil import train
from neuropil.decoding.dbconformer import DBConformer, DBConformerClassifier

N_CHANNELS, N_TIMES, SFREQ, N_CLASSES, BATCH_SIZE, LR, SEED = 22, 1000, 250.0, 2, 32, 1e-3, 7
SLOWER = 1.03


def bare_epochs(module: nn.Module, X: torch.Tensor, y: torch.Tensor, n_epochs: int) -> None:
    """What one writes without a library, with the fused Adam that `train.fit` takes."""
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, fused=True)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(n_epochs):
        module.train()
        for indices in torch.randperm(len(X), generator=generator).split(BATCH_SIZE):
            loss = cross_entropy(module(X[indices]), y[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    module.eval()


def fit_epochs(module: nn.Module, X: torch.Tensor, y: torch.Tensor, n_epochs: int) -> None:
    """The same through the project's training loop and the losses of its classifiers."""
    losses = DBConformerClassifier(class_weight=None).losses
    data = {"X": X, "y": y}
    train.fit(module, losses, data, max_epochs=n_epochs, batch_size=BATCH_SIZE, lr=LR, seed=SEED, progress=False)


def whole_fit(X: np.ndarray, y: np.ndarray, n_epochs: int) -> nn.Module:
    """All that `DBConformerClassifier.fit` does without alignment: checks, scaling, building, training."""
    classifier = DBConformerClassifier(
        alignment="none", class_weight=None, sfreq=SFREQ, lr=LR, batch_size=BATCH_SIZE, max_epochs=n_epochs,
        random_state=SEED, progress=False,
    )  # fmt: skip
    return classifier.fit(X, y).module_


def whole_bare(X: np.ndarray, y: np.ndarray, n_epochs: int) -> nn.Module:
    """The same by hand."""
    torch.manual_seed(SEED)
    module = _network(N_CHANNELS, N_TIMES)
    scaled = torch.as_tensor(X / X.std(dtype=np.float64), dtype=torch.float32)
    bare_epochs(module, scaled, torch.as_tensor(y), n_epochs)
    return module


def _network(n_channels: int, n_times: int) -> DBConformer:
    return DBConformer(n_chans=n_channels, n_outputs=N_CLASSES, n_times=n_times, sfreq=SFREQ)


def trials(n_trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Random windows of shape (n_trials, 22, 1000), float32, and their classes."""
    rng = np.random.default_rng(SEED)
    return rng.normal(size=(n_trials, N_CHANNELS, N_TIMES)).astype(np.float32), np.arange(n_trials) % N_CLASSES


def _timed(loop: Callable[..., None], start: nn.Module, X: torch.Tensor, y: torch.Tensor, cpu: list[float]) -> float:
    module = copy.deepcopy(start)
    torch.manual_seed(SEED)
    spent, began = time.process_time(), time.perf_counter()
    loop(module, X, y, 1)
    wall = time.perf_counter() - began
    cpu.append(time.process_time() - spent)
    start.last = [p.detach().clone() for p in module.parameters()]
    return wall


def run(settings: Settings) -> list[Row]:
    """Rows on the cost of the training loop."""
    torch.set_num_threads(1)
    X, y = trials(settings.n_trials)
    tensors = torch.as_tensor(X), torch.as_tensor(y)
    torch.manual_seed(SEED)
    start = _network(N_CHANNELS, N_TIMES)
    ends, cpu, wall = {}, {"fit": [], "bare": []}, {"fit": [], "bare": []}
    loops = {"fit": fit_epochs, "bare": bare_epochs}
    for name, loop in loops.items():  # the first call of each loads libraries
        _timed(loop, start, *tensors, [])
        ends[name] = start.last
    if not all(torch.equal(a, b) for a, b in zip(ends["fit"], ends["bare"], strict=True)):
        raise RuntimeError("train.fit and the bare loop end with other parameters; they did not do the same work.")
    for k in range(settings.n_epochs):
        for name in list(loops) if k % 2 == 0 else list(loops)[::-1]:
            wall[name].append(_timed(loops[name], start, *tensors, cpu[name]))
    epoch = {name: measure.median(values) for name, values in wall.items()}
    spent = {name: measure.median(values) for name, values in cpu.items()}
    calls = {"fit": lambda: _seconds(whole_fit, X, y), "bare": lambda: _seconds(whole_bare, X, y)}
    whole = {name: measure.median(v) for name, v in measure.interleaved(calls, settings.n_epochs).items()}
    size = f"{settings.n_trials} windows of {N_CHANNELS} × {N_TIMES}, batches of {BATCH_SIZE}"
    return [
        against(
            "one epoch of DBConformer through train.fit", epoch["fit"], epoch["bare"], "s", "bare PyTorch loop", at_most=SLOWER,
            note=f"{size}; medians of {settings.n_epochs} epochs each in turns, one thread, parameters equal to the last bit; "
            f"processor time {spent['fit']:.3f} s and {spent['bare']:.3f} s, ratio {spent['fit'] / spent['bare']:.3f}",
        ),
        against(
            "DBConformerClassifier.fit with two epochs", whole["fit"], whole["bare"], "s", "the same steps by hand", at_most=SLOWER,
            note="with checks of the data, scaling, building the network",
        ),
    ]  # fmt: skip


def _seconds(call: Callable[..., nn.Module], X: np.ndarray, y: np.ndarray) -> float:
    began = time.perf_counter()
    call(X, y, 2)
    return time.perf_counter() - began
