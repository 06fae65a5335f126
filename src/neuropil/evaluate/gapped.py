"""The split of a scan into training, validation and test volumes with gaps between them.

A volume follows sixteen seconds of EEG, and the blood a few seconds behind the neurons: neighbouring volumes share most of what they are
predicted from, and of what they are. Volumes of different parts must therefore lie far apart in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.purge import TOLERANCE, Seconds, WindowTable
from neuropil.evaluate.splitting import Candidates, WindowSplit


class Parts(NamedTuple):
    """Three parts of one scan.

    Attributes
    ----------
    name : str
        The scan.
    train, validation, test : ndarray of int
        Indices in the order of time.
    left_out : ndarray of int
        Windows of the gaps.
    """

    name: str
    train: ndarray
    validation: ndarray
    test: ndarray
    left_out: ndarray


class GappedSplit(WindowSplit):
    """Train on the beginning of every scan, validate on what follows, test on the end; nothing within `gap` seconds of a later part.

    `split` gives training (with validation) and test windows of every scan, as other splits do; `parts` gives all three. Where several
    scans are divided, one fold tests one scan; the parts can also be pooled over scans.

    Parameters
    ----------
    gap : float, default 20.0
        Seconds between the ends of windows of different parts, taken from the training data: floor(20 / TR) volumes each time. At least
        as long as a window, so that no sample is shared.
    validation, test : float, default 0.1
        Shares of the windows of a scan.
    spans
        As in `WindowSplit`.

    References
    ----------
    Li et al. (2024). NeuroBOLT. NeurIPS (80/10/10 in the order of time; there the gap is taken from the later part).

    Examples
    --------
    >>> spans = np.arange(100)[:, None] * 2.0 + [0.0, 16.0]
    >>> (parts,) = GappedSplit(spans=spans).parts(np.zeros((100, 1, 1)))
    >>> len(parts.train), len(parts.validation), len(parts.test), len(parts.left_out)
    (60, 10, 10, 20)
    """

    def __init__(self, *, gap: Seconds = 20.0, validation: float = 0.1, test: float = 0.1, spans: Any = None) -> None:
        super().__init__(guard=0.0, spans=spans)
        if not gap >= 0 or not 0 < test < 1 or not 0 <= validation < 1 - test:
            raise UsageError(
                "The gap must be a number of seconds, and test and validation shares of the windows that leave some for training, got "
                f"gap={gap}, validation={validation}, test={test}."
            )
        self.gap, self.validation, self.test = gap, validation, test

    def parts(self, X: Any, groups: Any = None) -> Iterator[Parts]:
        """Training, validation and test windows of every scan.

        Raises
        ------
        DataError
            If nobody knows when windows were recorded, the gap is shorter than a window, or a part would be empty.
        """
        table = WindowTable.of(X, None, self.spans)
        for name, before, test in self._candidates(table, None if groups is None else np.asarray(groups)):
            n_validation = round(self.validation * (len(before) + len(test)))
            kept = before[~self._near(table, before, test)]
            border = max(0, len(kept) - n_validation)
            train, validation = kept[:border], kept[border:]
            if len(validation):
                train = train[~self._near(table, train, validation)]
            if not len(train):
                raise DataError(
                    f"No training volume of {name} lies more than {self.gap:g} s before the next part; take a longer scan, or smaller "
                    "shares for validation and test."
                )
            used = np.concatenate([train, validation, test])
            yield Parts(name, train, validation, test, np.setdiff1d(np.concatenate([before, test]), used))

    def _candidates(self, table: WindowTable, groups: ndarray | None) -> Iterator[Candidates]:
        start, stop = table.times()
        longest = float((stop - start).max())
        if self.gap < longest - TOLERANCE:
            raise DataError(
                f"Windows of {longest:g} s on both sides of a gap of {self.gap:g} s would share samples; make the gap as long."
            )
        scans = table.recording if groups is None else groups
        for scan in np.unique(scans):
            mine = np.flatnonzero(scans == scan)
            mine = mine[np.argsort(stop[mine], kind="stable")]
            n_test = max(1, round(self.test * len(mine)))
            if n_test >= len(mine):
                raise DataError(f"{table.session_name(mine[0])} has {len(mine)} window, too few to divide.")
            yield Candidates(table.session_name(mine[0]), mine[:-n_test], mine[-n_test:])

    def _near(self, table: WindowTable, train: ndarray, test: ndarray) -> ndarray:
        _, stop = table.times()
        return stop[train] >= stop[test].min() - self.gap - TOLERANCE

    def describe(self) -> str:
        return (
            f"the first {1 - self.test - self.validation:.0%} of every scan for training, the next {self.validation:.0%} for validation, "
            f"the last {self.test:.0%} for testing; volumes within {self.gap:g} s before the next part are left out"
        )
