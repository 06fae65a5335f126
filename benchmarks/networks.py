"""Networks beside braindecode's at the same input: an epoch of training, and the latency of one window.

Everybody gets 22 channels of 1,000 samples at 250 Hz and four classes, batches of 32, Adam with one learning rate and the same bare
loop on one thread, in turns. Latency is that of a window by itself in evaluation mode, from the raw window: RBTransformer's time
includes its band differential entropy, which in training is computed once and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks import measure
from benchmarks.peers import INSTALL, import_braindecode, missing
from benchmarks.rows import Row, against, skipped
from benchmarks.settings import Settings

N_CHANNELS, N_TIMES, SFREQ, N_CLASSES, BATCH_SIZE, LR, SEED = 22, 1000, 250.0, 4, 32, 1e-3, 7
COUNTERPARTS = {"EEGNet": "EEGNet", "DBConformer": "EEGConformer", "AGTCNet": "ATCNet", "RBTransformer": "EEGConformer"}
SHAPE = {"n_chans": N_CHANNELS, "n_outputs": N_CLASSES, "n_times": N_TIMES, "sfreq": SFREQ}


def ours() -> dict[str, nn.Module]:
    """The project's networks at the settings of their papers; EEGNet with 64 taps, as its peer has them."""
    from neuropil.decoding.agtcnet import AGTCNet
    from neuropil.decoding.dbconformer import DBConformer
    from neuropil.decoding.eegnet import EEGNet
    from neuropil.decoding.rbtransformer import RBTransformer
    from neuropil.signal.graphs import grid_graph
    from neuropil.signal.montage import CH22

    return {
        "EEGNet": EEGNet(**SHAPE, kernel_size=64 / SFREQ),
        "DBConformer": DBConformer(**SHAPE),
        "AGTCNet": AGTCNet(**SHAPE, adjacency=grid_graph(CH22)),
        "RBTransformer": RBTransformer(n_chans=N_CHANNELS, n_outputs=N_CLASSES),
    }


def peers() -> tuple[dict[str, nn.Module], str]:
    """braindecode's networks at their defaults, and what had to be replaced to import them."""
    note = import_braindecode()
    from braindecode import models

    return {name: getattr(models, name)(**SHAPE) for name in ("EEGNet", "EEGConformer", "ATCNet")}, note


def _epoch(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds of one epoch."""
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, fused=True)
    began = time.perf_counter()
    for indices in torch.randperm(len(X)).split(BATCH_SIZE):
        loss = cross_entropy(module(X[indices]), y[indices])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def _entropies(windows: np.ndarray) -> torch.Tensor:
    from neuropil.decoding.band_entropy import BANDS
    from neuropil.signal.entropy import differential_entropy

    return torch.as_tensor(differential_entropy(windows, SFREQ, BANDS), dtype=torch.float32)


def _one(module: nn.Module, name: str) -> Callable[[np.ndarray], Any]:
    if name == "RBTransformer":
        return lambda window: module(_entropies(window[None]))
    return lambda window: module(torch.from_numpy(window[None]))


def _latencies(forward: Callable[[np.ndarray], Any], windows: np.ndarray) -> list[float]:
    """Milliseconds of every window."""
    times = []
    with torch.inference_mode():
        for window in windows:
            began = time.perf_counter()
            forward(window)
            times.append(1e3 * (time.perf_counter() - began))
    return times


def run(settings: Settings) -> list[Row]:
    """Rows on training and latency."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    modules = {("neuropil", name): module for name, module in ours().items()}
    replaced, absent = "", missing("braindecode") if settings.peers else ["the peers"]
    if not absent:
        theirs, replaced = peers()
        modules |= {("braindecode", name): module for name, module in theirs.items()}
    rng = np.random.default_rng(SEED)
    windows = rng.normal(size=(settings.n_trials, N_CHANNELS, N_TIMES)).astype(np.float32)
    y = torch.as_tensor(np.arange(settings.n_trials) % N_CLASSES)
    raw, features = torch.as_tensor(windows), _entropies(windows)
    inputs = {key: features if key[1] == "RBTransformer" else raw for key in modules}
    n_epochs = max(2, settings.n_epochs // 4)
    epochs = measure.interleaved(
        {key: (lambda key=key: _epoch(modules[key], inputs[key], y)) for key in modules}, n_epochs
    )
    latency: dict[Any, list[float]] = {key: [] for key in modules}
    for key, module in modules.items():
        _latencies(_one(module.eval(), key[1]), windows[:5])
    for start in range(0, len(windows), 32):
        for key, module in modules.items():
            latency[key] += _latencies(_one(module, key[1]), windows[start : start + 32])
    figures = {
        "an epoch of {}": ({key: measure.median(values) for key, values in epochs.items()}, "s"),
        "one window through {}, p50": ({key: float(np.percentile(v, 50)) for key, v in latency.items()}, "ms"),
        "one window through {}, p99": ({key: float(np.percentile(v, 99)) for key, v in latency.items()}, "ms"),
    }
    rows = []
    for title, (values, unit) in figures.items():
        for name, counterpart in COUNTERPARTS.items():
            rows.append(_row(title.format(name), values, name, counterpart, unit, modules, settings, replaced))
    if absent:
        rows.append(skipped("braindecode's networks", f"no {', '.join(absent)}; {INSTALL}"))
    return rows


def _row(
    title: str,
    values: dict[tuple[str, str], float],
    name: str,
    counterpart: str,
    unit: str,
    modules: dict[tuple[str, str], nn.Module],
    settings: Settings,
    replaced: str,
) -> Row:
    mine, other = ("neuropil", name), ("braindecode", counterpart)
    counts = {key: sum(p.numel() for p in module.parameters() if p.requires_grad) for key, module in modules.items()}
    note = f"{counts[mine]:,} parameters; {settings.n_trials} windows of {N_CHANNELS} × {N_TIMES}, one thread"
    if other not in values:
        return Row(title, values[mine], unit, note=note)
    rest = [f"{key[1]} {values[key]:.3g} {unit}" for key in values if key[0] == "braindecode" and key != other]
    note += f"; the peer {counts[other]:,} parameters; braindecode's others: {', '.join(rest)}"
    note += f"; {replaced}" if replaced else ""
    bound = 1.0 if name == counterpart else None
    return against(title, values[mine], values[other], unit, f"braindecode's {counterpart}", at_most=bound, note=note)
