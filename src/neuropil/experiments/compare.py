"""`compare`: several decoders on one data set, over splits that cannot leak, with every finished fit stored at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuropil.errors import DataError, UsageError
from neuropil.evaluate.metrics import METRICS, Metric, find_metric
from neuropil.experiments.comparison import Comparison, CurvePoint
from neuropil.experiments.evaluation import Decoder, evaluate, make_decoders
from neuropil.experiments.event_scores import summarise_events
from neuropil.experiments.inputs import Material, Mode, fingerprint, load_material
from neuropil.experiments.leaderboard import N_PERMUTATIONS, Judge, Result, make_board
from neuropil.experiments.plan import Fit, FitName, Plan, list_curve_fits, list_fits, make_plans, seeds_of
from neuropil.experiments.runner import run_tasks
from neuropil.experiments.store import ResultStore
from neuropil.progress import bar

__all__ = ["Comparison", "compare"]

ALIASES = {"auc": "roc_auc", "f1": "macro_f1"}


def choose_metric(metric: str | Metric | None, material: Material) -> Metric:
    """The metric asked for, or the data set's own, or balanced accuracy (nMCC where windows slide)."""
    if isinstance(metric, Metric):
        return metric
    if metric is None:
        metric = material.facts.get("metric") or ("nmcc" if material.mode == "pseudo-online" else "balanced_accuracy")
    name = metric.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in METRICS:
        raise UsageError(f"There is no metric {metric!r}; choose one of {', '.join(METRICS)}.")
    return find_metric(name)


def compare(
    data: Any,
    systems: Any = None,
    *,
    split: Any = None,
    metric: str | Metric | None = None,
    seeds: int = 1,
    mode: Mode = "offline",
    align: str | None = None,
    options: Mapping[str, Any] | None = None,
    results: str | Path = "runs",
    n_jobs: int | None = None,
    cluster: str | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> Comparison:
    """Compare decoders on a data set.

    Every fit is stored in `results` as soon as it is done; a run that was cut off, or that asks for more, goes on from there. Two
    runs at once share the work.

    Parameters
    ----------
    data : str, path, Recording, sequence of Recording, or DataArray
        Name of a data set (see `neuropil.datasets.names`), path of a recording with labelled events, recordings, or windows with labels.
    systems : sequence of str or estimator, mapping of str to either, optional
        Decoders by name or as estimators; without, the defaults of `neuropil.decoding`.
    split : str, splitter, or sequence of them, optional
        See `neuropil.evaluate.splits.make_split`: "blocks" within sessions, "session" or "later-sessions" across them, "subject" or
        "subject-groups" across subjects ... By default the data set's own split, if it has one, and five contiguous blocks.
    metric : str, optional
        A key of `neuropil.evaluate.metrics.METRICS`; balanced accuracy by default. Stored results serve every metric.
    seeds : int
        Repetitions with other seeds, of decoders that have one and of shuffled splits.
    mode : {"offline", "pseudo-online"}
        One window an event; or sliding windows over everything, causally filtered, where what is no task is the class idle. Then
        whole trials and idle time are judged as well: hits, latency, false activations (see `EventSummary`).
    align : {"euclidean", "riemannian"}, optional
        Whiten every session of every subject by its own mean covariance before decoding, online for test windows (see
        `neuropil.decoding.with_alignment`).
    options : mapping, optional
        Of a named data set, such as ``{"n_sessions": 2}``.
    results : path-like
        Folder of the stored results.
    n_jobs : int, optional
        Processes; by default one a core, or none where there is little to do.
    cluster : str, optional
        Address of a Dask scheduler to run on instead.
    progress : bool, optional
        Show a bar; by default if somebody is watching.
    **settings
        How windows are cut: `labels`, `stream`, and `band` (low, high) in Hz of a causal filter before; `tmin` and `tmax` offline;
        `length` and `overlap` pseudo-online.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError, DataError, FileNotFoundError
        For names that do not exist and data that do not fit, before anything is computed; if no decoder could be evaluated (one that
        cannot is listed as not applicable, with the reason, while others can); if results cannot be written.

    References
    ----------
    Nadeau & Bengio (2003). Inference for the generalization error. Machine Learning 52.
    """
    began = time.perf_counter()
    store = ResultStore(results)
    decoders = make_decoders(_default_systems() if systems is None else systems, align)
    material = load_material(data, mode=mode, options=options, **settings)
    chosen = choose_metric(metric, material)
    plans = make_plans(material, split, seeds)
    fits = list_fits(plans, decoders, seeds)
    curve_fits = list_curve_fits(material, plans[0], decoders)
    done, errors, n_stored = _run(material, [*fits, *curve_fits], decoders, store, n_jobs, cluster, progress)
    judge = Judge(chosen, len(material.classes), material.seconds)
    comparison = Comparison(
        material=material,
        decoders=decoders,
        plans=[],
        metric=chosen,
        seeds=seeds,
        align=align,
        boards=[],
        results={},
        events={},
        curves=[],
        not_applicable={},
        root=store.root,
        n_fits=len(fits) + len(curve_fits),
        n_stored=n_stored,
    )
    for plan in plans:
        _add_board(comparison, plan, done, errors, judge)
    if not comparison.boards:
        raise DataError(_no_decoder(comparison.not_applicable, plans[0].name))
    comparison.curves.extend(_curve(curve_fits, fits, done, judge))
    comparison.seconds = time.perf_counter() - began
    return comparison


def _default_systems() -> list[str]:
    from neuropil.decoding import DEFAULT_DECODERS

    return list(DEFAULT_DECODERS)


def _run(
    material: Material,
    fits: Sequence[Fit],
    decoders: Sequence[Decoder],
    store: ResultStore,
    n_jobs: int | None,
    cluster: str | None,
    progress: bool | None,
) -> tuple[dict[FitName, dict[str, Any]], dict[FitName, str], int]:
    """Results and errors of all fits, and how many results were there before."""
    data, identities = fingerprint(material), {decoder.name: decoder.identity() for decoder in decoders}
    keys = [fit.key(material, data, identities[fit.decoder.name]) for fit in fits]
    done: dict[FitName, dict[str, Any]] = {}
    errors: dict[FitName, str] = {}
    n_stored = 0
    with bar(f"comparing on {material.name}", len(fits), progress) as advance:
        outcomes = run_tasks(
            [fit.task() for fit in fits],
            evaluate,
            shared=(material.X, material.codes, material.classes),
            keys=keys,
            store=store,
            costs=[fit.cost for fit in fits],
            n_jobs=n_jobs,
            cluster=cluster,
        )
        for outcome in outcomes:
            fit = fits[outcome.index]
            if outcome.error:
                errors[fit.name] = outcome.error
            else:
                done[fit.name] = outcome.result
                n_stored += outcome.stored
            advance(f"{fit.decoder.name}, {fit.plan.name}", 1)
    return done, errors, n_stored


def _add_board(
    comparison: Comparison, plan: Plan, done: dict[FitName, dict[str, Any]], errors: dict[FitName, str], judge: Judge
) -> None:
    """The leaderboard of one split, of the decoders that got through all its folds; none if no decoder did."""
    rows: dict[str, list[list[Result]]] = {}
    for decoder in comparison.decoders:
        wanted = [
            [Fit(decoder, plan, unit, seed).name for seed in seeds_of(decoder, unit, comparison.seeds)]
            for unit in plan.units
        ]
        reason = _why_not([fit for folds in wanted for fit in folds], errors)
        found: list[list[Result]] = [] if reason else [[done[fit] for fit in folds] for folds in wanted]
        if judge.metric.needs == "proba" and any(r["proba"] is None for folds in found for r in folds):
            reason = f"It gives no probabilities, which {judge.metric.label} needs; choose a metric of labels."
        if reason:
            comparison.not_applicable[decoder.name, plan.name] = reason
        else:
            rows[decoder.name] = found
    if not rows:
        return
    in_time = comparison.material.mode == "pseudo-online"
    board = make_board(
        plan.name, rows, judge, independent=plan.independent, in_time=in_time, n_permutations=N_PERMUTATIONS
    )
    comparison.plans.append(plan)
    comparison.boards.append(board)
    comparison.results[plan.name] = rows
    if in_time:
        comparison.events |= {
            (plan.name, name): summarise_events(comparison.material, folds) for name, folds in rows.items()
        }


def _why_not(fits: Sequence[FitName], errors: Mapping[FitName, str]) -> str:
    """Why a decoder is not applicable to a split, and to how much of it; empty if it is."""
    failed = [errors[fit] for fit in fits if fit in errors]
    if not failed or len(failed) == len(fits):
        return failed[0] if failed else ""
    return f"{failed[0]} (So in {len(failed)} of {len(fits)} fits.)"


def _no_decoder(not_applicable: Mapping[tuple[str, str], str], split: str) -> str:
    """All reasons on one split, each once."""
    reasons: dict[str, list[str]] = {}
    for (system, on), why in not_applicable.items():
        if on == split:
            reasons.setdefault(why, []).append(system)
    said = " ".join(f"{', '.join(systems)}: {why}" for why, systems in reasons.items())
    return f"No decoder could be evaluated on the split {split!r}; {said}"


def _curve(
    curve_fits: Sequence[Fit], fits: Sequence[Fit], done: dict[FitName, dict[str, Any]], judge: Judge
) -> list[CurvePoint]:
    """Mean score over folds at every training size, the whole training set last; decoders that failed somewhere have none."""
    points: dict[tuple[str, int], list[tuple[int, float]]] = {}
    plan = fits[0].plan
    whole = [fit for fit in fits if fit.plan is plan and not fit.decoder.network and fit.seed == (fit.unit.seed or 0)]
    for fit in [*curve_fits, *whole]:
        result = done.get(fit.name)
        if result is not None and judge.judged(result) is not None:
            where = (fit.decoder.name, fit.train_per_class or 0)
            points.setdefault(where, []).append((result["n_train"], judge.of(result)))
    curve = [
        CurvePoint(system, sum(n for n, _ in found) / len(found), sum(s for _, s in found) / len(found))
        for (system, _), found in points.items()
    ]
    return sorted(curve)
