"""A chain of linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Linear layers with a nonlinearity between them; any number of axes before the last one.

    Parameters
    ----------
    sizes : sequence of int
        Features of the input, of every hidden layer, and of the output.
    activation : type of nn.Module, default nn.ELU
        Between layers.
    last : type of nn.Module, optional
        After the last layer; nothing without.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is not positive.

    Examples
    --------
    >>> MLP([3, 8, 2])
    MLP(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): ELU(alpha=1.0)
      (2): Linear(in_features=8, out_features=2, bias=True)
    )
    """

    def __init__(
        self, sizes: Sequence[int], *, activation: type[nn.Module] = nn.ELU, last: type[nn.Module] | None = None
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"An MLP needs two sizes or more, all of them positive, got {list(sizes)}.")
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), activation()]
        super().__init__(*layers[:-1], *([last()] if last else []))
