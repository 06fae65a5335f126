"""What a claim is: a sentence, an experiment that measures it, an inequality that must hold, and a verdict.

An experiment is a function `(seed, scale) -> {measure: number}`. It is run for several seeds; a criterion compares two measures, or
a measure with a number, seed by seed. The verdict of a criterion follows from the mean difference and its 95 % interval over seeds:

- *holds* if the whole interval meets the inequality,
- *does not hold* if the whole interval misses it,
- *undecided* if the interval contains the edge: more seeds would tell.

A claim holds if all its criteria hold, does not hold if one does not, and is undecided otherwise. A claim without criteria only
reports.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from neuropil import catalog
from neuropil.errors import UsageError
from neuropil.stats.resampling import student_interval

SCALES = ("quick", "full")
Measure = Callable[[int, str], Mapping[str, float]]


class Verdict(StrEnum):
    """What the measurements say about a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    REPORTED = "reported"


@dataclass(frozen=True)
class Criterion:
    """The inequality `left` (>= or <=) `right` + `margin`, between two measures or a measure and a number."""

    left: str
    relation: str
    right: str | float
    margin: float = 0.0

    def __str__(self) -> str:
        margin = f" {'+' if self.margin > 0 else '-'} {abs(self.margin):g}" if self.margin else ""
        right = self.right if isinstance(self.right, str) else f"{self.right:g}"
        return f"{self.left} {'≥' if self.relation == '>=' else '≤'} {right}{margin}"

    def slack(self, row: Mapping[str, float]) -> float:
        """How far a row of measurements is on the right side of the inequality; negative on the wrong one."""
        right = row[self.right] if isinstance(self.right, str) else self.right
        difference = row[self.left] - (right + self.margin)
        return difference if self.relation == ">=" else -difference


def at_least(left: str, right: str | float, margin: float = 0.0) -> Criterion:
    """`left` must be at least `right` + `margin`."""
    return Criterion(left, ">=", right, margin)


def at_most(left: str, right: str | float, margin: float = 0.0) -> Criterion:
    """`left` must be at most `right` + `margin`."""
    return Criterion(left, "<=", right, margin)


def between(measure: str, low: float, high: float) -> tuple[Criterion, Criterion]:
    """`measure` must lie between two numbers."""
    return at_least(measure, low), at_most(measure, high)


@dataclass(frozen=True)
class Claim:
    """A declared claim and the experiment that measures it; see `claim` for the fields."""

    name: str
    sentence: str
    source: str
    data: str
    measure: Measure
    system: str
    baselines: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    seeds: int = 3
    full_seeds: int = 5
    unit: str = ""
    note: str = ""
    greater_is_better: bool = True
    module: str = field(default="", repr=False)

    def n_seeds(self, scale: str) -> int:
        """Seeds that the declaration asks for at that scale."""
        return self.full_seeds if scale == "full" else self.seeds

    def run(self, seed: int, scale: str) -> dict[str, float]:
        """Measure once; plain numbers only.

        Raises
        ------
        UsageError
            If the experiment does not return what its criteria compare.
        """
        if scale not in SCALES:
            raise UsageError(f"A claim runs at the scale {' or '.join(SCALES)}, got {scale!r}.")
        row = {name: float(value) for name, value in self.measure(seed, scale).items()}
        needed = {str(side) for c in self.criteria for side in (c.left, c.right) if isinstance(side, str)} | {
            *self.linear
        }
        missing = sorted(needed - row.keys())
        if missing:
            raise UsageError(
                f"The claim {self.name} must measure {', '.join(missing)}, its experiment returned {', '.join(row)}."
            )
        return row


def claim(
    *,
    sentence: str,
    source: str,
    data: str,
    system: str,
    baselines: Sequence[str] = (),
    linear: Sequence[str] = (),
    holds: Sequence[Criterion] = (),
    seeds: int = 3,
    full_seeds: int = 5,
    unit: str = "",
    note: str = "",
    greater_is_better: bool = True,
) -> Callable[[Measure], Claim]:
    """Declare the decorated function `(seed, scale) -> measurements` a claim; its name is the function's.

    Parameters
    ----------
    sentence : str
        What is claimed.
    source : str
        Where: paper and section, or the reasoning that the claim follows from.
    data : str
        On what it is measured here.
    system : str
        The measure that belongs to the system itself.
    baselines, linear : sequence of str
        Measures of the paper's baselines, and of the tuned linear ones that every claim about a network needs.
    holds : sequence of Criterion
        Inequalities that must hold; none for a claim that only reports.
    seeds, full_seeds : int
        Repetitions at the two scales; at the quick one as many as two minutes on two cores allow, at most ten.
    unit : str
        Of the measurements.
    note : str
        What was found out, printed under the verdict.
    greater_is_better : bool, default True
        False where the measures are errors; decides whom the system beats.
    """

    def declare(function: Measure) -> Claim:
        return Claim(
            name=function.__name__,
            sentence=sentence,
            source=source,
            data=data,
            measure=function,
            system=system,
            baselines=tuple(baselines),
            linear=tuple(linear),
            criteria=tuple(holds),
            seeds=seeds,
            full_seeds=full_seeds,
            unit=unit,
            note=note,
            greater_is_better=greater_is_better,
            module=function.__module__,
        )

    return declare


class Judgement(NamedTuple):
    """A claim's verdict and the numbers behind it."""

    verdict: Verdict
    """Of the whole claim."""
    means: dict[str, tuple[float, float, float]]
    """Mean, lower and upper end of the 95 % interval over seeds, for every measure."""
    criteria: list[tuple[str, Verdict, float, float, float]]
    """Every inequality with its verdict and its slack: mean, lower and upper end of the 95 % interval over seeds."""


def _verdict(slack: tuple[float, float, float]) -> Verdict:
    _, low, high = slack
    return Verdict.HOLDS if low >= 0 else Verdict.FAILS if high < 0 else Verdict.UNDECIDED


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    array = np.asarray(values, dtype=float)
    if len(array) < 2 or np.ptp(array) == 0:
        mean = float(array.mean())
        return mean, mean, mean
    interval = student_interval(array)
    return interval.estimate, interval.low, interval.high


def judge(claim: Claim, rows: Sequence[Mapping[str, float]]) -> Judgement:
    """The verdict of a claim from its measurements, one row a seed.

    Examples
    --------
    >>> declared = Claim("c", "a beats b", "", "", lambda seed, scale: {}, "a", criteria=(at_least("a", "b"),))
    >>> str(judge(declared, [{"a": 0.8, "b": 0.6}, {"a": 0.82, "b": 0.6}, {"a": 0.81, "b": 0.6}]).verdict)
    'holds'
    """
    if not rows:
        raise UsageError(f"The claim {claim.name} needs at least one measurement to be judged, got none.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    means = {name: _interval([row[name] for row in rows if name in row]) for name in names}
    criteria = []
    for criterion in claim.criteria:
        slack = _interval([criterion.slack(row) for row in rows])
        criteria.append((str(criterion), _verdict(slack), *slack))
    verdicts = {entry[1] for entry in criteria}
    if not criteria:
        verdict = Verdict.REPORTED
    elif Verdict.FAILS in verdicts:
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts else Verdict.HOLDS
    return Judgement(verdict, means, criteria)


def claims_of(slug: str) -> list[Claim]:
    """The claims of a working system, in the order of its file.

    Raises
    ------
    UsageError
        If the system is planned, unknown, or carries no claims.
    """
    system = catalog.require_working(slug)
    name = f"neuropil.claims.{system.family}.{slug.replace('-', '_')}"
    module: Any = importlib.import_module(name)
    found = [value for value in vars(module).values() if isinstance(value, Claim) and value.module == name]
    if not found:
        raise UsageError(f"{system.title} ({slug}) carries no claims yet.")
    return sorted(found, key=lambda c: inspect.unwrap(c.measure).__code__.co_firstlineno)
