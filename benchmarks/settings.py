"""How large a run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Sizes of a run; the defaults are those of the goals, smaller ones are for trying things out.

    Parameters
    ----------
    folder : Path
        Where recordings are written.
    n_windows : int
        Windows that are cut.
    n_iterated : int
        Windows that every pass reads.
    repeats : int
        Interleaved passes of every contender.
    sparse_gigabytes : float
        Size of the recording for the bound on memory.
    n_trials, n_epochs : int
        Windows and measured epochs of the training.
    seconds : float
        Length of the stream that is decoded live.
    entropy_seconds : float
        Length of the recording whose band entropies are computed.
    peers : bool
        Measure the peers too.
    n_steps : int
        Length of the sequence that state-space models are run on.
    """

    folder: Path
    n_windows: int = 100_000
    n_iterated: int = 10_000
    repeats: int = 5
    sparse_gigabytes: float = 20.0
    n_trials: int = 288
    n_epochs: int = 20
    seconds: float = 300.0
    entropy_seconds: float = 3600.0
    peers: bool = True
    n_steps: int = 100_000
