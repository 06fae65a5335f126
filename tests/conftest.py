"""One thread for linear algebra, and runtime checks of every annotated array shape."""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MNE_LOGGING_LEVEL", "ERROR")

from hypothesis import settings
from jaxtyping import install_import_hook

SHAPED = (
    "activity",
    "adversarial",
    "alignment",
    "batches",
    "decoding",
    "evaluate",
    "explain",
    "foundation",
    "latent",
    "learning",
    "nn",
    "signal",
    "simulate",
    "stats",
    "windowing",
)
install_import_hook([f"neuropil.{name}" for name in SHAPED], "shape_checks.checker")

import torch

torch.set_num_threads(1)
settings.register_profile("neuropil", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("neuropil")
