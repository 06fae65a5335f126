"""What a comparison found, as tables, as JSON, on the terminal, in a notebook and as a report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray

from neuropil.errors import UsageError
from neuropil.evaluate.metrics import Metric
from neuropil.evaluate.splits import SPLITS
from neuropil.experiments.evaluation import Decoder
from neuropil.experiments.event_scores import EventSummary
from neuropil.experiments.inputs import Material, data_slug, environment
from neuropil.experiments.leaderboard import Board, Result
from neuropil.experiments.plan import Plan


class CurvePoint(NamedTuple):
    """Mean score of a decoder that had so many training windows."""

    system: str
    n_train: float
    score: float


@dataclass
class Comparison:
    """Decoders on one data set; see `compare`.

    Attributes
    ----------
    material : Material
        The windows and what is known about them.
    boards : list of Board
        One leaderboard a split.
    results : dict of split to dict of system to [fold][seed] -> stored result
    events : dict of (split, system) to EventSummary
        Hits, latency and false activations; in the pseudo-online mode only.
    curves : list of CurvePoint
        Of the fast decoders, on the first split.
    not_applicable : dict of (system, split) to str
        Decoders that could not be fitted on these data, and why.
    align : str or None
        Alignment in front of every decoder.
    n_fits, n_stored : int
        Fits in all, and those that were there already.
    seconds : float
        What this call took.
    """

    material: Material
    decoders: list[Decoder]
    plans: list[Plan]
    metric: Metric
    seeds: int
    align: str | None
    boards: list[Board]
    results: dict[str, dict[str, list[list[Result]]]]
    events: dict[tuple[str, str], EventSummary]
    curves: list[CurvePoint]
    not_applicable: dict[tuple[str, str], str]
    root: Path
    n_fits: int
    n_stored: int
    seconds: float = field(default=math.nan)

    @property
    def table(self) -> pd.DataFrame:
        """The leaderboards: one row per split and decoder, best first.

        Decoders that are not applicable come last, without a rank and with the reason in the column `not_applicable`. In the
        pseudo-online mode there are the columns of `EventSummary`, too.
        """
        rows: list[dict[str, Any]] = []
        for split in self.splits:
            board = next((board for board in self.boards if board.split == split), None)
            for rank, standing in enumerate(board.standings if board else (), 1):
                row = {"split": split, "rank": rank, **standing._asdict(), "not_applicable": ""}
                found = self.events.get((split, standing.system))
                rows.append(row | (found._asdict() if found else {}))
            rows += [
                {"split": split, "system": name, "not_applicable": why} for name, why in self.missing(split).items()
            ]
        table = pd.DataFrame(rows)
        return table.astype({"rank": "Int64"}) if self.not_applicable else table

    @property
    def splits(self) -> list[str]:
        """The splits that were asked for, those without any applicable decoder last."""
        return list(dict.fromkeys([*(plan.name for plan in self.plans), *(on for _, on in self.not_applicable)]))

    def missing(self, split: str) -> dict[str, str]:
        """Decoders that are not applicable on a split, and why."""
        return {system: why for (system, on), why in self.not_applicable.items() if on == split}

    @property
    def scores(self) -> pd.DataFrame:
        """One row per split, decoder, fold and seed."""
        rows = []
        for plan, board in zip(self.plans, self.boards, strict=True):
            for system, folds in self.results[plan.name].items():
                for unit, seeds, values in zip(plan.units, folds, board.scores[system], strict=True):
                    for k, (result, value) in enumerate(zip(seeds, values.tolist(), strict=True)):
                        row = {"split": plan.name, "system": system, "fold": unit.name, "seed": unit.seed or k}
                        sizes = {"n_train": result["n_train"], "n_test": len(result["y_true"])}
                        times = {name: result[name] for name in ("fit_seconds", "predict_seconds")}
                        rows.append({**row, "score": value, **sizes, **times})
        return pd.DataFrame(rows)

    @property
    def pairwise(self) -> pd.DataFrame:
        """Every two decoders on every split, with p-values before and after Holm's correction."""
        rows = [{"split": board.split, **d._asdict()} for board in self.boards for d in board.differences]
        return pd.DataFrame(rows, columns=["split", "first", "second", "difference", "p", "p_holm"])

    @property
    def confusion(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Counts of true (rows) and predicted (columns) classes by (split, system)."""
        classes = self.material.classes
        return {
            (board.split, system): pd.DataFrame(counts, index=classes, columns=classes)
            for board in self.boards
            for system, counts in board.confusion.items()
        }

    @property
    def reference(self) -> tuple[float, str] | None:
        """Published accuracy on the data set's own split and whose it is, where there is one and that split was run."""
        value = self.material.facts.get("reference_score")
        if value is None or "own" not in self.results:
            return None
        return float(value), str(self.material.facts.get("reference_source") or "published")

    @property
    def own_accuracy(self) -> dict[str, float]:
        """Accuracy of every decoder on the own split (mean over seeds), to be read beside `reference`."""
        return {
            system: float(np.mean([np.equal(r["y_true"], r["y_pred"]).mean() for r in folds[0]]))
            for system, folds in self.results.get("own", {}).items()
        }

    @property
    def command(self) -> str:
        """What repeats this comparison."""
        names, material = [decoder.name for decoder in self.decoders], self.material
        plain = all(split in SPLITS for split in self.splits)
        if not (material.named and plain and all(d.registered for d in self.decoders)):
            return self._call()
        words = ["neuropil", "compare", material.name, *names]
        words += [part for name in self.splits for part in ("--split", name)]
        words += ["--metric", self.metric.name, "--seeds", str(self.seeds)]
        words += ["--mode", material.mode] if material.mode != "offline" else []
        words += ["--align", self.align] if self.align else []
        words += [part for name, value in material.options.items() for part in ("--option", f"{name}={_typed(value)}")]
        for name, value in material.by_hand.items():
            if name == "band":
                words.append("--band=" + "-".join("" if edge is None else f"{edge:g}" for edge in value))
            elif name == "labels":
                words += [part for label in value for part in ("--label", str(label))]
            else:
                words += [f"--{name}", str(value)]
        return shlex.join(words)

    def _call(self) -> str:
        """The same in Python, for data and decoders that have no name on the command line."""
        material = self.material
        parts: dict[str, Any] = {"split": self.splits, "metric": self.metric.name, "seeds": self.seeds}
        parts |= {"mode": material.mode} if material.mode != "offline" else {}
        parts |= {"align": self.align} if self.align else {}
        parts |= {"options": material.options} if material.options else {}
        said = "".join(f", {name}={value!r}" for name, value in (parts | material.by_hand).items())
        return f"neuropil.compare({repr(material.name) if material.named else 'data'}, systems{said})"

    def best(self, split: str | None = None) -> str:
        """The decoder at the top of a split (the first without a name)."""
        return self.board(split).standings[0].system

    def board(self, split: str | None = None) -> Board:
        """The leaderboard of a split (the first without a name)."""
        for board in self.boards:
            if split in (None, board.split):
                return board
        raise UsageError(f"The comparison has the splits {', '.join(b.split for b in self.boards)}, got {split!r}.")

    def to_json(self) -> dict[str, Any]:
        """Everything that the tables hold, in JSON's terms (NaN-free)."""
        X, reference = self.material.X, self.reference
        return {
            "data": {
                "name": self.material.name,
                "mode": self.material.mode,
                "n_windows": len(X),
                "n_channels": X.sizes["channel"],
                "n_times": X.sizes["time"],
                "sfreq": X.attrs.get("sfreq"),
                "classes": self.material.classes.tolist(),
                "options": self.material.options,
                "cut": self.material.cut,
            },
            "align": self.align,
            "metric": self.metric.name,
            "greater_is_better": self.metric.greater_is_better,
            "seeds": self.seeds,
            "reference": None if reference is None else {"accuracy": reference[0], "source": reference[1]},
            "own_accuracy": self.own_accuracy,
            "splits": [self._split_json(plan, board) for plan, board in zip(self.plans, self.boards, strict=True)],
            "not_applicable": [
                {"system": s, "split": on, "reason": why} for (s, on), why in self.not_applicable.items()
            ],
            "learning_curves": [point._asdict() for point in self.curves],
            "versions": environment(),
            "command": self.command,
            "results": str(self.root),
            "seconds": self.seconds,
            "fits": {"total": self.n_fits, "stored_before": self.n_stored},
        }

    def _split_json(self, plan: Plan, board: Board) -> dict[str, Any]:
        return {
            "split": plan.name,
            "description": plan.description,
            "method": board.method,
            "folds": [
                {
                    "name": u.name,
                    "n_train": len(u.fold.train),
                    "n_test": len(u.fold.test),
                    "n_purged": len(u.fold.purged),
                }
                for u in plan.units
            ],
            "leaderboard": [
                standing._asdict() | self._events_json(plan.name, standing.system) for standing in board.standings
            ],
            "pairwise": [difference._asdict() for difference in board.differences],
            "scores": {system: values.tolist() for system, values in board.scores.items()},
            "confusion": {system: counts.tolist() for system, counts in board.confusion.items()},
        }

    def _events_json(self, split: str, system: str) -> dict[str, Any]:
        found = self.events.get((split, system))
        if found is None:
            return {}
        return {"events": {k: v if math.isfinite(v) else None for k, v in found._asdict().items()}}

    def default_report_path(self) -> Path:
        """Beside the results: one report per data set, replaced by the next."""
        return self.root / f"{data_slug(self.material)}.html"

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file that needs nothing else; whole or not at all."""
        from neuropil.experiments.report import write_report

        return write_report(self, self.default_report_path() if path is None else path)

    def print(self, console: Any = None) -> None:
        """The leaderboards on the terminal."""
        from rich.console import Console

        from neuropil.experiments.terminal import print_comparison

        if console is None:
            console = Console()
            if not console.is_terminal:
                console = Console(width=140)
        print_comparison(self, console)

    def _repr_html_(self) -> str:
        shown = ("system", "score", "low", "high", "chance", "p_chance", "letters", "fit_seconds", "predict_ms")
        parts = [f"<b>{escape(self.material.name)}</b>: {escape(self.metric.label)}"]
        for board in self.boards:
            table = pd.DataFrame([s._asdict() for s in board.standings])[list(shown)]
            parts.append(f"<p>{escape(board.split)}</p>" + table.to_html(index=False, float_format="%.3f", escape=True))
        return "<div>" + "".join(parts) + "</div>"

    def __repr__(self) -> str:
        lines = [f"Comparison on {self.material.name}: {self.metric.label}"]
        for board in self.boards:
            entries = ", ".join(f"{s.system} {s.score:.3f}" for s in board.standings)
            lines.append(f"  {board.split}: {entries}")
        return "\n".join(lines)


def _typed(value: Any) -> str:
    """An option's value as one types it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return "none" if value is None else str(value)


def pooled(folds: Sequence[Sequence[Result]]) -> tuple[ndarray, ndarray, ndarray | None, ndarray]:
    """Test windows, true codes, mean probabilities over seeds (None without) and fold of every tested window."""
    test = np.concatenate([np.asarray(seeds[0]["test"], dtype=int) for seeds in folds])
    truth = np.concatenate([np.asarray(seeds[0]["y_true"], dtype=int) for seeds in folds])
    fold = np.repeat(np.arange(len(folds)), [len(seeds[0]["y_true"]) for seeds in folds])
    if any(r["proba"] is None for seeds in folds for r in seeds):
        return test, truth, None, fold
    proba = np.concatenate([np.mean([r["proba"] for r in seeds], axis=0) for seeds in folds])
    return test, truth, proba, fold
