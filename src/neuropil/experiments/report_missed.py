"""What the best decoders of a comparison miss when a part of the windows is taken away: one fold, fitted again, within seconds.

A comparison keeps predictions, not models, so the best decoders are fitted once more on the training windows of the first fold, with the
seed of the comparison, and asked on some of its test windows. Decoders whose fit or whose answers would take too long, by the times that
were measured, are left out and named.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy import ndarray

from neuropil.errors import NeuropilError
from neuropil.evaluate.predicting import input_for
from neuropil.experiments.comparison import Comparison
from neuropil.experiments.evaluation import prepared
from neuropil.experiments.leaderboard import Standing
from neuropil.experiments.plan import Fit, Plan, seeds_of
from neuropil.experiments.runner import single_threaded
from neuropil.explain.occlusion import occlude_bands, occlude_channels, occlude_times
from neuropil.explain.patterns import N_STRETCHES

MAX_DECODERS = 3
MAX_WINDOWS = 80
MIN_WINDOWS = 20
SECONDS = 10.0
"""For all decoders together, on one thread."""
N_BANDS = 7


class Loss(NamedTuple):
    """What one decoder misses: falls of the probability of the right class without each part; `bands` is None without a rate."""

    name: str
    electrodes: xr.DataArray
    times: xr.DataArray
    bands: xr.DataArray | None


class Missed(NamedTuple):
    """The losses of the best decoders, the fold, at most how many windows were asked, and a sentence on those left out."""

    losses: list[Loss]
    fold: str
    n_windows: int
    left_out: str


def missed_by_the_best(comparison: Comparison) -> Missed:
    """Up to three decoders in the order of the largest leaderboard, above chance, as far as the time allows."""
    board = max(comparison.boards, key=lambda b: b.n_test)
    plan = next(p for p in comparison.plans if p.name == board.split)
    fold = plan.units[0].fold
    losses: list[Loss] = []
    slow: list[str] = []
    failed: list[str] = []
    n_asked, began = 0, time.perf_counter()
    for standing in board.standings:
        if len(losses) == MAX_DECODERS:
            break
        if not standing.above_chance:
            continue
        left = (SECONDS - (time.perf_counter() - began)) / (MAX_DECODERS - len(losses))
        n_windows = _affordable(standing, comparison.material.X.sizes["channel"], len(fold.test), left)
        if not n_windows:
            slow.append(standing.system)
            continue
        try:
            losses.append(_loss(comparison, plan, standing.system, n_windows))
        except NeuropilError as error:
            failed.append(f"{standing.system} could not be asked: {error}")
            continue
        n_asked = max(n_asked, n_windows)
    if slow:
        failed.append(f"Left out, since fitting or asking them again takes too long: {', '.join(slow)}.")
    return Missed(losses, plan.units[0].name, n_asked, " ".join(failed))


def _affordable(standing: Standing, n_channels: int, n_test: int, seconds: float) -> int:
    """How many test windows can be asked in the time that is left after the fit; 0 if too few for a mean."""
    a_window = standing.predict_ms / 1000 * (n_channels + N_STRETCHES + N_BANDS)
    n_windows = (seconds - standing.fit_seconds) / max(a_window, 1e-9)
    return int(min(n_windows, MAX_WINDOWS, n_test)) if n_windows >= min(MIN_WINDOWS, n_test) else 0


def _loss(comparison: Comparison, plan: Plan, name: str, n_windows: int) -> Loss:
    decoder = next(d for d in comparison.decoders if d.name == name)
    unit, material = plan.units[0], comparison.material
    task = Fit(decoder, plan, unit, seeds_of(decoder, unit, comparison.seeds)[0]).task()
    train, test = unit.fold.train, unit.fold.test[_spread(len(unit.fold.test), n_windows)]
    model: Any = prepared(decoder.estimator, task["random_seed"])
    X, y = material.X[test].load(), material.classes[material.codes[test]]
    with single_threaded(), warnings.catch_warnings():
        # the warnings of this fit are listed already, where the comparison fitted it
        warnings.simplefilter("ignore")
        model.fit(input_for(model, material.X[train].load()), material.classes[material.codes[train]])
        options: dict[str, Any] = {"n_repeats": 1, "progress": False}
        electrodes, times = (find(model, X, y, **options).drop() for find in (occlude_channels, occlude_times))
        bands = occlude_bands(model, X, y, **options).drop() if X.attrs.get("sfreq") else None
    return Loss(name, electrodes, times, bands)


def _spread(n: int, n_chosen: int) -> ndarray:
    return np.unique(np.linspace(0, n - 1, n_chosen).round().astype(int))
