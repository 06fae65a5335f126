"""Running the claims of a system: every seed once, stored at once, judged, shown and recorded.

Claims of one seed run one after the other in one process, so that what they share (a simulated data set, a trained network) is made
once. A measurement is stored as soon as it is there and belongs to the code that made it: change the code, and it is made again.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from neuropil import catalog
from neuropil.claims.core import SCALES, Claim, Judgement, Verdict, claims_of, judge
from neuropil.errors import NeuropilError, UsageError
from neuropil.experiments.code import code_digest
from neuropil.experiments.runner import run_tasks
from neuropil.experiments.store import Key, ResultStore
from neuropil.progress import bar, watched
from neuropil.storage import atomic_write_text

NOT_MEASURED = ("cli", "experiments")
POLL_SECONDS = 1.0


def _key(slug: str, name: str, seed: int, scale: str, code: str) -> Key:
    settings = {"claim": name, "seed": seed, "scale": scale, "code": code, "torch": version("torch")}
    return Key(("claims", slug, scale, f"{name.replace('_', '-')}-seed-{seed}"), settings)


def _find(slug: str, name: str) -> Claim:
    return next(claim for claim in claims_of(slug) if claim.name == name)


def measure_seed(slug: str, names: Sequence[str], seed: int, scale: str, root: str, code: str) -> None:
    """Measure several claims of a system for one seed; each is stored when it is done. Runs in a worker."""
    store = ResultStore(root)
    for name in names:
        key = _key(slug, name, seed, scale, code)
        with store.lock(key):
            if store.get(key) is None:
                began = time.perf_counter()
                row = _find(slug, name).run(seed, scale)
                store.put(key, {"row": row, "seconds": time.perf_counter() - began})


@contextmanager
def _watch(store: ResultStore, pending: Sequence[Key], advance: Any) -> Iterator[None]:
    """Move the bar whenever a worker has stored a measurement."""
    left, done = {store.path(key) for key in pending}, threading.Event()

    def look() -> None:
        while left and not done.wait(POLL_SECONDS):
            for path in [path for path in left if path.exists()]:
                left.discard(path)
                advance(path.stem.rsplit("-", 1)[0], 1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Reproduction:
    """The measured claims of one system.

    Attributes
    ----------
    slug, scale : str
    claims : list of Claim
    rows : dict of str to list of dict
        Measurements of every claim, one dict a seed.
    seconds : dict of str to float
        Mean seconds of a seed.
    judgements : dict of str to Judgement
    """

    def __init__(
        self, slug: str, scale: str, claims: Sequence[Claim], stored: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        self.slug, self.scale, self.claims = slug, scale, list(claims)
        self.rows = {name: [dict(entry["row"]) for entry in entries] for name, entries in stored.items()}
        self.seconds = {name: sum(e["seconds"] for e in entries) / len(entries) for name, entries in stored.items()}
        self.judgements: dict[str, Judgement] = {
            claim.name: judge(claim, self.rows[claim.name]) for claim in self.claims
        }

    @property
    def failed(self) -> bool:
        """True if a claim does not hold here."""
        return any(judgement.verdict == Verdict.FAILS for judgement in self.judgements.values())

    def unbeaten(self, claim: Claim) -> list[str]:
        """Tuned linear baselines that the system does not beat in this claim, by the mean over seeds."""
        means = self.judgements[claim.name].means
        sign = 1 if claim.greater_is_better else -1
        return [name for name in claim.linear if sign * means[name][0] >= sign * means[claim.system][0]]

    def _entry(self, claim: Claim) -> dict[str, Any]:
        judgement = self.judgements[claim.name]
        rows = self.rows[claim.name]
        return {
            "name": claim.name,
            "sentence": claim.sentence,
            "source": claim.source,
            "data": claim.data,
            "verdict": str(judgement.verdict),
            "n_seeds": len(rows),
            "unit": claim.unit,
            "system": claim.system,
            "baselines": list(claim.baselines),
            "linear_baselines": list(claim.linear),
            "linear_not_beaten": self.unbeaten(claim),
            "measures": {
                name: {"mean": mean, "low": low, "high": high, "values": [row.get(name) for row in rows]}
                for name, (mean, low, high) in judgement.means.items()
            },
            "criteria": [
                {"criterion": text, "verdict": str(verdict), "slack": mean, "low": low, "high": high}
                for text, verdict, mean, low, high in judgement.criteria
            ],
            "note": claim.note,
            "seconds_a_seed": round(self.seconds[claim.name], 2),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything measured, with versions and machine."""
        packages = ("neuropil", "torch", "numpy", "scikit-learn", "mne", "pyriemann")
        return {
            "system": self.slug,
            "scale": self.scale,
            "measured": datetime.now(UTC).date().isoformat(),
            "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
            "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
            "claims": [self._entry(claim) for claim in self.claims],
        }

    def print(self) -> None:
        """Verdicts and figures on the terminal."""
        from rich.console import Console

        from neuropil.experiments.atlas import claim_lines

        console = Console(highlight=False)
        console.print(f"[bold]{catalog.get(self.slug).title}[/bold] ({self.scale} scale)\n")
        colours = {"holds": "green", "does not hold": "red", "undecided": "yellow", "reported": "cyan"}
        for entry in self.to_json()["claims"]:
            console.print(f"[{colours[entry['verdict']]}]{entry['verdict']:>13}[/]  [bold]{entry['name']}[/bold]")
            for line in claim_lines(entry):
                console.print(f"               {line}", markup=False)
            console.print()


def reproduce(
    slug: str,
    *,
    scale: str = "quick",
    claims: Sequence[str] | None = None,
    seeds: int | None = None,
    results: str | Path = "runs",
    record: bool = False,
    record_to: str | Path = ".",
    n_jobs: int | None = None,
    cluster: str | None = None,
    progress: bool | None = None,
) -> Reproduction:
    """Measure the claims of a working system and judge them.

    Parameters
    ----------
    slug : str
        Name of the system.
    scale : {"quick", "full"}
        At most about two minutes a claim on two cores, or the paper's scale.
    claims : sequence of str, optional
        Only these claims.
    seeds : int, optional
        Seeds of every claim; by default what it declares.
    results : path-like
        Folder that keeps every measurement; what is there is not measured again.
    record : bool
        Write `results/<slug>.json` (quick) or `results/<slug>-full.json` and `docs/atlas/<slug>.md` below `record_to`.
    record_to : path-like
        Root of the project.
    n_jobs : int, optional
        Processes; by default one a core.
    cluster : str, optional
        Address of a Dask scheduler to run on instead.
    progress : bool, optional
        Show a bar; by default if somebody is watching.

    Raises
    ------
    UsageError
        If the system is planned or unknown, or has no claim of that name.
    NeuropilError
        If an experiment fails; what was measured before is kept.
    """
    if scale not in SCALES:
        raise UsageError(f"The scale must be {' or '.join(SCALES)}, got {scale!r}.")
    every = claims_of(slug)
    unknown = sorted(set(claims or ()) - {claim.name for claim in every})
    if unknown:
        raise UsageError(
            f"{slug} has no claim {', '.join(unknown)}; it has: {', '.join(claim.name for claim in every)}."
        )
    chosen = [claim for claim in every if claims is None or claim.name in claims]
    wanted = {claim.name: range(seeds or claim.n_seeds(scale)) for claim in chosen}
    store, code = ResultStore(results), code_digest(*NOT_MEASURED)
    pending = [
        (name, seed)
        for name, numbers in wanted.items()
        for seed in numbers
        if store.get(_key(slug, name, seed, scale, code)) is None
    ]
    total = sum(len(numbers) for numbers in wanted.values())
    tasks = [
        {
            "slug": slug,
            "names": [n for n, s in pending if s == seed],
            "seed": seed,
            "scale": scale,
            "root": str(results),
            "code": code,
        }
        for seed in sorted({seed for _, seed in pending})
    ]
    keys = [_key(slug, name, seed, scale, code) for name, seed in pending]
    show = watched() if progress is None else progress
    with bar(f"{slug}: claims", total, show, done=total - len(pending)) as advance, _watch(store, keys, advance):
        failures = [
            outcome.error for outcome in run_tasks(tasks, measure_seed, n_jobs=n_jobs, cluster=cluster) if outcome.error
        ]
    if failures:
        raise NeuropilError(
            f"A claim of {slug} could not be measured: {failures[0]} What was measured before is kept in {results}."
        )
    stored = {
        name: [store.get(_key(slug, name, seed, scale, code)) or {} for seed in numbers]
        for name, numbers in wanted.items()
    }
    reproduction = Reproduction(slug, scale, chosen, stored)
    if record:
        _record(reproduction, every, Path(record_to))
    return reproduction


def _record(reproduction: Reproduction, every: Sequence[Claim], root: Path) -> None:
    """Write the results file and the atlas page; claims that were not measured this time keep their last figures."""
    from neuropil.experiments.atlas import page

    document = reproduction.to_json()
    name = reproduction.slug + ("-full" if reproduction.scale == "full" else "")
    path = root / "results" / f"{name}.json"
    fresh = {entry["name"]: entry for entry in document["claims"]}
    if path.exists():
        before = {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["claims"]}
        fresh = {claim.name: (before | fresh)[claim.name] for claim in every if claim.name in before | fresh}
    document["claims"] = list(fresh.values())
    atomic_write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    recorded = []
    for suffix in ("", "-full"):
        file = root / "results" / f"{reproduction.slug}{suffix}.json"
        if file.exists():
            recorded.append(json.loads(file.read_text(encoding="utf-8")))
    atomic_write_text(
        root / "docs" / "atlas" / f"{reproduction.slug}.md", page(catalog.get(reproduction.slug), recorded)
    )
