"""Is one pipeline, or one way of evaluating, better than another? Tests over subjects, the only independent unit here.

Windows of a recording depend on each other, so no test is made over windows: scores are averaged to one number a subject first.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from neuropil.errors import DataError, UsageError
from neuropil.stats.tests_of_difference import combine_datasets, paired_test, standardised_mean_difference

COLUMNS = ("first", "second", "dataset", "n_subjects", "difference", "effect_size", "pvalue", "method")


def compare_subjects(table: pd.DataFrame, by: str = "pipeline", metric: str = "nmcc") -> pd.DataFrame:
    """Paired comparison of every two pipelines within each mode, or of every two modes within each pipeline.

    Parameters
    ----------
    table : DataFrame
        Rows of `evaluate_pseudo_online`; several data sets may be stacked.
    by : {"pipeline", "mode"}
        What is compared; the other one is held fixed.
    metric : str
        A column of scores where more is better.

    Returns
    -------
    DataFrame
        One row a pair and data set: `difference` (mean over subjects of `first` - `second`), `effect_size` (standardised mean difference),
        `pvalue` (two-sided; all sign flips up to 13 subjects, Wilcoxon beyond). With several data sets a row "all" combines them by
        Stouffer's method, weighted by the square root of their numbers of subjects.

    Raises
    ------
    UsageError
        If a column does not exist.
    DataError
        If a comparison has fewer than two subjects.
    """
    if by not in ("pipeline", "mode"):
        raise UsageError(f"Compare by 'pipeline' or by 'mode', got {by!r}.")
    if metric not in table.columns:
        raise UsageError(f"The table has no column {metric!r} to compare; choose one of its scores, such as 'nmcc'.")
    fixed = "mode" if by == "pipeline" else "pipeline"
    keys = [fixed, "dataset", "subject", by]
    means = table.dropna(subset=[metric]).groupby(keys, sort=False)[metric].mean().unstack(by)
    rows: list[dict[str, Any]] = []
    for held in means.index.unique(fixed):
        of_held = means.loc[held]
        for first, second in combinations(list(dict.fromkeys(table[by])), 2):
            if first not in of_held or second not in of_held:
                continue
            differences = (of_held[first] - of_held[second]).dropna()
            parts = {str(name): part.to_numpy() for name, part in differences.groupby(level="dataset", sort=False)}
            pair = {fixed: held, "first": first, "second": second}
            rows += [pair | row for row in _tests(parts, f"{first} and {second}")]
    return pd.DataFrame(rows, columns=[fixed, *COLUMNS])


def _tests(parts: dict[str, np.ndarray], what: str) -> list[dict[str, Any]]:
    rows = []
    for dataset, differences in parts.items():
        if len(differences) < 2:
            raise DataError(
                f"A comparison needs two subjects or more, {what} share {len(differences)} in data set {dataset!r}; evaluate more subjects."
            )
        test = paired_test(differences)
        effect = standardised_mean_difference(differences)
        rows.append(_row(dataset, differences, effect, test.pvalue, test.method))
    if len(parts) > 1:
        combined = combine_datasets(list(parts.values()))
        # exact tests are discrete: the other direction has its own p-value, which is not one minus this one
        reverse = combine_datasets([-differences for differences in parts.values()])
        pvalue = min(1.0, 2 * min(combined.pvalue, reverse.pvalue))
        rows.append(_row("all", np.concatenate(list(parts.values())), combined.effect_size, pvalue, "Stouffer"))
    return rows


def _row(dataset: str, differences: np.ndarray, effect: float, pvalue: float, method: str) -> dict[str, Any]:
    sizes = {"dataset": dataset, "n_subjects": len(differences), "difference": float(differences.mean())}
    return sizes | {"effect_size": effect, "pvalue": pvalue, "method": method}
