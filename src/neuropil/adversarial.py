"""Adversarial training: two players take turns in the one training loop.

Every batch is given first to one player, then to the other: each turn is a call of `neuropil.train.fit` on that batch, with an optimiser
that keeps its state from turn to turn. While one player learns, the other is in evaluation mode and takes no gradients.

Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville & Bengio (2014). Generative adversarial nets. NeurIPS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from neuropil import train
from neuropil.errors import UsageError
from neuropil.progress import epochs_bar


@dataclass(frozen=True)
class Player:
    """One side of the game.

    Parameters
    ----------
    module : nn.Module
        What it trains.
    losses : callable
        `losses(module, batch)` as in `neuropil.train.fit`; the other player's module comes in by closure.
    optimizer : torch.optim.Optimizer
        Over the parameters of `module`.
    steps : int, default 1
        Batches in a row that are its turn.
    """

    module: nn.Module
    losses: train.Losses
    optimizer: torch.optim.Optimizer
    steps: int = 1


def alternate(
    players: Mapping[str, Player],
    data: train.Batch,
    *,
    max_epochs: int = 100,
    batch_size: int = 32,
    max_grad_norm: float | None = None,
    each_epoch: Callable[[int], Mapping[str, float] | None] | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool | None = None,
    title: str = "training",
) -> train.FitResult:
    """Train two players in place, turn by turn.

    Parameters
    ----------
    players : mapping of str to Player
        Two, in the order of their turns, for example the critic and then the generator. Each takes `steps` batches a turn.
    data : dict of Tensor
        Tensors of equal length; a batch is the same dict, cut.
    max_epochs, batch_size, max_grad_norm :
        As in `neuropil.train.fit`; an epoch ends when every row was in a turn.
    each_epoch : callable, optional
        `each_epoch(epoch)`, called in evaluation mode without gradients; what it returns is recorded in the history.
    seed : int
        Of the order of batches.
    device, progress, title :
        As in `neuropil.train.fit`.

    Returns
    -------
    FitResult
        One row an epoch: the mean losses of each player under `<player>_<loss>`. The last epoch is kept.

    Raises
    ------
    UsageError
        If there are not two players.
    DataError
        If a loss stops being a finite number.

    Examples
    --------
    >>> value, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> game = {
    ...     name: Player(mine, lambda module, batch: {"loss": (module(batch["X"]) ** 2).mean()}, torch.optim.SGD(mine.parameters(), 0.1))
    ...     for name, mine in (("one", value), ("two", other))
    ... }
    >>> alternate(game, {"X": torch.ones(8, 1)}, max_epochs=2, batch_size=4).best_epoch
    1
    """
    if len(players) != 2:
        raise UsageError(f"An adversarial training has two players, got {len(players)}.")
    fabric = Fabric(accelerator=device, devices=1)
    generator = torch.Generator().manual_seed(seed)
    n_rows = len(next(iter(data.values())))
    history: list[dict[str, float]] = []
    interrupted = False
    with epochs_bar(title, max_epochs, progress) as bar:
        for epoch in range(max_epochs):
            order = torch.randperm(n_rows, generator=generator)
            sums: dict[tuple[str, str], float] = {}
            counts: dict[str, int] = {}
            for name, rows in _turns(players, order, batch_size):
                batch = {key: values[rows] for key, values in data.items()}
                with _resting(other.module for key, other in players.items() if key != name):
                    turn = _take_turn(players[name], batch, fabric, batch_size, max_grad_norm)
                interrupted = turn.interrupted
                if interrupted:
                    break
                counts[name] = counts.get(name, 0) + len(rows)
                for term, value in turn.history[0].items():
                    if term not in ("epoch", "seconds"):
                        sums[name, term] = sums.get((name, term), 0.0) + value * len(rows)
            if interrupted:
                break
            row = {f"{name}_{term}": value / counts[name] for (name, term), value in sums.items()}
            if each_epoch is not None:
                with torch.inference_mode():
                    row |= each_epoch(epoch) or {}
            history.append({"epoch": epoch, **row})
            bar(row)
    for player in players.values():
        player.module.cpu()
    return train.FitResult(history, len(history) - 1, interrupted)


def _turns(players: Mapping[str, Player], order: torch.Tensor, batch_size: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Name of the player and rows of every turn; both players meet every row where they take equally many steps."""
    longest = max(player.steps for player in players.values())
    for rows in order.split(longest * batch_size):
        for name, player in players.items():
            yield name, rows[: player.steps * batch_size]


@contextmanager
def _resting(modules: Any) -> Iterator[None]:
    """While the other player learns: evaluation mode, no gradients."""
    parameters = [p for module in modules for p in module.eval().parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _take_turn(
    player: Player, batch: train.Batch, fabric: Fabric, batch_size: int, max_grad_norm: float | None
) -> train.FitResult:
    return train.fit(
        player.module,
        player.losses,
        batch,
        max_epochs=1,
        batch_size=batch_size,
        max_grad_norm=max_grad_norm,
        make_optimizer=lambda module: player.optimizer,
        fabric=fabric,
        progress=False,
    )
