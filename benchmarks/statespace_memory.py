"""Peak memory of state-space recursions: `python -m benchmarks.statespace_memory N_STEPS ...` prints it as JSON.

The sequence is there before, and the compiled code is warm from a short one; what counts is how much the process grows from then to its
peak, the result included.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measure import reset_peak, resident
from benchmarks.statespace import chain, regression, walk
from neuropil.stats import kalman, markov
from neuropil.stats.discriminative import discriminative_kalman_filter

N_STATES, WARM_UP = 5, 100


def _hmm(n_steps: int) -> Callable[[], Any]:
    given = chain(n_steps, N_STATES)
    return lambda: markov.smooth(*given)


def _kalman(n_steps: int) -> Callable[[], Any]:
    model, observations = walk(n_steps, N_STATES)
    return lambda: kalman.filter(model, observations)


def _discriminative(n_steps: int) -> Callable[[], Any]:
    model, observations = walk(n_steps, N_STATES)
    settled = kalman.stationary_covariance(model.transition, model.transition_covariance)
    regressed = regression(model._replace(initial_covariance=settled), observations)
    return lambda: discriminative_kalman_filter(*regressed)


RECURSIONS = {
    "forward-backward": _hmm,
    "Kalman filter": _kalman,
    "discriminative Kalman filter": _discriminative,
}


def growth(name: str, n_steps: int) -> float:
    """Bytes by which the process grows at most while the recursion runs."""
    RECURSIONS[name](WARM_UP)()
    run = RECURSIONS[name](n_steps)
    gc.collect()
    before = resident("VmRSS")
    reset_peak()
    result = run()
    grown = resident("VmHWM") - before
    del result
    return float(grown)


def all_growths(lengths: list[int]) -> dict[str, list[float]]:
    """Every figure from a process of its own, since memory that one run leaves behind is memory that the next need not ask for."""
    tasks = [(name, n) for name in RECURSIONS for n in lengths]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found = pool.starmap(growth, tasks, chunksize=1)
    return {name: found[k * len(lengths) : (k + 1) * len(lengths)] for k, name in enumerate(RECURSIONS)}


if __name__ == "__main__":
    print(json.dumps(all_growths([int(n) for n in sys.argv[1:]])))
