"""Electrodes by name: learned vectors that follow an electrode from one montage to another.

A table whose rows are names serves recordings with any of these electrodes in any order: what was learned for Cz is found under Cz.

Jiang, Zhao & Lu (2024). Large brain model for learning generic representations with tremendous EEG data in BCI. ICLR (the list).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuropil.errors import UsageError


def _names(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


LABRAM_ELECTRODES = _names(
    "FP1 FPZ FP2 AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10 F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 F10",
    "FT9 FT7 FC5 FC3 FC1 FCZ FC2 FC4 FC6 FT8 FT10 T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10",
    "TP9 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10 P9 P7 P5 P3 P1 PZ P2 P4 P6 P8 P10",
    "PO9 PO7 PO5 PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10 O1 OZ O2 O9 CB1 CB2 IZ O10 T3 T5 T4 T6 M1 M2 A1 A2",
    "CFC1 CFC2 CFC3 CFC4 CFC5 CFC6 CFC7 CFC8 CCP1 CCP2 CCP3 CCP4 CCP5 CCP6 CCP7 CCP8 T1 T2",
    "FTT9h TTP7h TPP9h FTT10h TPP8h TPP10h FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2",
)
"""The 128 electrodes (eight of them bipolar leads) that LaBraM's weights know, in the order of their table."""


def electrode_rows(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Position of every electrode in a list of known ones; letter case is ignored.

    Raises
    ------
    UsageError
        For an unknown electrode, with the nearest known name, and for one that is named twice.

    Examples
    --------
    >>> electrode_rows(["Cz", "fp1"], LABRAM_ELECTRODES)
    [41, 0]
    """
    row_of = {name.upper(): row for row, name in enumerate(known)}
    rows = []
    for name in names:
        if name.upper() not in row_of:
            near = difflib.get_close_matches(name.upper(), row_of, n=1, cutoff=0.0)[0]
            raise UsageError(
                f"There is no vector for the electrode {name!r}, the nearest known name is {known[row_of[near]]}; "
                "rename the channel or leave it out."
            )
        rows.append(row_of[name.upper()])
    if len(set(rows)) < len(rows):
        doubled = next(name for k, name in enumerate(names) if rows[k] in rows[:k])
        raise UsageError(f"Every electrode may be named once, got {doubled!r} more than once.")
    return rows


class ElectrodeEmbedding(nn.Module):
    """A learned vector for every electrode of a list, found by name.

    Parameters
    ----------
    names : sequence of str
        Electrodes that have a row.
    emb_size : int
        Features of a row.
    class_row : bool, default False
        Whether a further row stands before the electrodes, for a class token; it then comes first in every output.
    std : float, default 1.0
        Standard deviation of the initial values, a normal distribution truncated at two of them.

    Examples
    --------
    >>> embedding = ElectrodeEmbedding(["C3", "Cz", "C4"], 8)
    >>> embedding(["CZ", "C3"]).shape
    torch.Size([2, 8])
    """

    def __init__(self, names: Sequence[str], emb_size: int, *, class_row: bool = False, std: float = 1.0) -> None:
        super().__init__()
        self.names, self.class_row = tuple(names), class_row
        electrode_rows(self.names, self.names)
        self.table = nn.Parameter(torch.empty(len(self.names) + class_row, emb_size))
        nn.init.trunc_normal_(self.table, std=std, a=-2 * std, b=2 * std)

    def forward(self, names: Sequence[str]) -> Float[Tensor, "row feature"]:
        rows = electrode_rows(names, self.names)
        return self.table[[0, *(row + 1 for row in rows)] if self.class_row else rows]
