"""What a comparison has to run: splits, folds, seeds, and one task and key for every fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.evaluate.online_split import WHOLE, PseudoOnlineSplit
from neuropil.evaluate.splits import ALIASES, SHUFFLED, SPLITS, make_split
from neuropil.evaluate.splitting import Fold, WindowSplit
from neuropil.experiments.evaluation import Decoder, fold_seed
from neuropil.experiments.inputs import Material, data_slug, environment
from neuropil.experiments.store import Key, readable_name

FORMAT = 2
NETWORK_SECONDS = 20.0
CLASSICAL_SECONDS = 0.5
SMALLEST_CURVE = 8
"""Training windows of every class at which a learning curve starts."""
CURVE_STEPS = 4
FitName = tuple[str, str, int, int, int | None]


@dataclass(frozen=True, eq=False)
class Unit:
    """One fold; with a split that draws at random, one fold of one draw."""

    name: str
    index: int
    seed: int | None
    """Seed of the draw; None if the split draws nothing."""
    fold: Fold


@dataclass(frozen=True, eq=False)
class Plan:
    """One split of the data."""

    name: str
    description: str
    units: tuple[Unit, ...]

    @property
    def independent(self) -> bool:
        """Whether the folds test different subjects, or share no training window."""
        trained = np.concatenate([unit.fold.train for unit in self.units])
        return self.name in ("subject", "subject-groups") or len(np.unique(trained)) == len(trained)


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit: a decoder, a unit, a seed, and all training windows or the first few of every class."""

    decoder: Decoder
    plan: Plan
    unit: Unit
    seed: int
    train_per_class: int | None = None

    @property
    def name(self) -> FitName:
        """What tells it from the other fits of a comparison."""
        return self.decoder.name, self.plan.name, self.unit.index, self.seed, self.train_per_class

    @property
    def cost(self) -> float:
        """Rough seconds, for the order of work."""
        base = NETWORK_SECONDS if self.decoder.network else CLASSICAL_SECONDS
        return base * len(self.unit.fold.train) / 250 * (0.3 if self.train_per_class else 1.0)

    def task(self) -> dict[str, Any]:
        """Arguments of `evaluation.evaluate`."""
        return {
            "estimator": self.decoder.estimator,
            "train": self.unit.fold.train,
            "test": self.unit.fold.test,
            "random_seed": self._random_seed(),
            "train_per_class": self.train_per_class,
            "look": self.decoder.network and self.unit.index == 0 and self.train_per_class is None,
        }

    def _random_seed(self) -> int:
        return fold_seed(self.seed, self.plan.name, self.unit.index)

    def key(self, material: Material, fingerprint: str, identity: str) -> Key:
        """Where the result is kept, and everything that determines it."""
        share = f"-first-{self.train_per_class}" if self.train_per_class else ""
        settings = {
            "format": FORMAT,
            "data": fingerprint,
            "decoder": identity,
            "train": _digest(self.unit.fold.train),
            "test": _digest(self.unit.fold.test),
            "random_seed": self._random_seed() if self.decoder.random else None,
            "train_per_class": self.train_per_class,
            "versions": {name: value for name, value in environment().items() if name != "python"},
        }
        stem = f"seed-{self.seed}-fold-{self.unit.index}{share}"
        return Key(
            (data_slug(material), readable_name(self.plan.name), readable_name(self.decoder.name), stem), settings
        )


def _digest(indices: ndarray) -> str:
    return hashlib.sha256(np.asarray(indices, dtype=np.int64).tobytes()).hexdigest()


def make_plans(material: Material, split: Any, seeds: int) -> list[Plan]:
    """The splits of a comparison, tried on the windows before any work.

    Parameters
    ----------
    material : Material
    split : str, WindowSplit, sequence of them, or None
        By default the data set's own split, if it has one, and contiguous blocks; for sliding windows the chronological one.
    seeds : int
        Draws of a split at random.

    Raises
    ------
    UsageError, DataError
        If a split does not exist or does not fit the windows.
    """
    if seeds < 1:
        raise UsageError(f"A comparison needs one seed or more, got {seeds}.")
    wanted = (
        [split] if isinstance(split, str | WindowSplit) else list(split) if split is not None else _default(material)
    )
    if not wanted:
        raise UsageError(f"A comparison needs one split or more; choose among {', '.join(SPLITS)}.")
    plans = [_plan(material, one, seeds) for one in wanted]
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        raise UsageError(f"Every split is used once, got {', '.join(names)}.")
    return plans


def _default(material: Material) -> list[str]:
    if material.mode == "pseudo-online":
        return ["chronological"]
    coords = material.X.coords
    own = "split" in coords and {"train", "test"} <= set(coords["split"].values.tolist())
    return ["own", "blocks"] if own else ["blocks"]


def _plan(material: Material, split: Any, seeds: int) -> Plan:
    if isinstance(split, WindowSplit):
        return Plan(type(split).__name__, split.describe(), tuple(_units(material, split, None, 0)))
    split = _default(material)[0] if split == "default" else ALIASES.get(split, split)
    if split in SHUFFLED:
        draws = [make_split(split, random_state=seed) for seed in range(seeds)]
        units: list[Unit] = []
        for seed, draw in enumerate(draws):
            units += _units(material, draw, seed, len(units))
        return Plan(split, draws[0].describe(), tuple(units))
    if material.mode == "pseudo-online" and split in ("chronological", *WHOLE):
        chosen: WindowSplit = PseudoOnlineSplit(split)
    else:
        chosen = make_split(split)
    return Plan(split, chosen.describe(), tuple(_units(material, chosen, None, 0)))


def _units(material: Material, split: WindowSplit, seed: int | None, start: int) -> Iterator[Unit]:
    for k, fold in enumerate(split.folds(material.X, material.y)):
        name = fold.name if seed is None else f"{fold.name}, draw {seed}"
        yield Unit(name, start + k, seed, fold)


def seeds_of(decoder: Decoder, unit: Unit, seeds: int) -> list[int]:
    """Seeds to fit with: one per draw, one where nothing is random, else all."""
    if unit.seed is not None:
        return [unit.seed]
    return list(range(seeds)) if decoder.random else [0]


def list_fits(plans: Sequence[Plan], decoders: Sequence[Decoder], seeds: int) -> list[Fit]:
    """Every fit that the leaderboards need."""
    return [
        Fit(decoder, plan, unit, seed)
        for plan in plans
        for decoder in decoders
        for unit in plan.units
        for seed in seeds_of(decoder, unit, seeds)
    ]


def list_curve_fits(material: Material, plan: Plan, decoders: Sequence[Decoder]) -> list[Fit]:
    """Fits on the first windows of every class, for learning curves of the decoders that are fast; networks have their epochs."""
    fast = [decoder for decoder in decoders if not decoder.network]
    units = [unit for unit in plan.units if unit.seed in (None, 0)]
    return [
        Fit(decoder, plan, unit, unit.seed or 0, size)
        for decoder in fast
        for unit in units
        for size in curve_sizes(material.codes[unit.fold.train])
    ]


def curve_sizes(codes: ndarray) -> list[int]:
    """Windows of every class: at most `CURVE_STEPS` sizes from `SMALLEST_CURVE` on, each about double, below the rarest class's number.

    Examples
    --------
    >>> curve_sizes(np.repeat([0, 1], [134, 140]))
    [8, 17, 34, 67]
    """
    full = int(np.unique(codes, return_counts=True)[1].min())
    sizes = [round(full / 2**k) for k in range(CURVE_STEPS, 0, -1)]
    return [size for size in dict.fromkeys(sizes) if size >= SMALLEST_CURVE]
