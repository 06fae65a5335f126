"""Speed and memory beside the peers, measured in one run: `python -m benchmarks --all`.

Every module measures one thing and has a function `run(settings)` that returns rows: our figure, the peer's, their ratio, and the goal.
Linear algebra runs on one thread, for everybody.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
