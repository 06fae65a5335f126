r"""Newton's method for the generalised linear models of many neurons at once, on one design matrix; `glm` is its public face.

The step of a neuron solves H d = g with its Fisher information :math:`H = C^\top \mathrm{diag}(w \iota) C` plus the ridge. H is never
formed: conjugate gradients need products H v only, which for all neurons together are two multiplications of matrices. They are
preconditioned by :math:`\bar\iota\, C^\top \mathrm{diag}(w) C` plus the ridge, with one eigendecomposition for all neurons, so that a
handful of products is enough however many features there are. Steps are halved until the penalised log-likelihood rises.

Parts are sets of weighted rows with coefficients of their own (the states of a hidden Markov model); their intercepts may be shared.

Nocedal & Wright (2006). Numerical Optimization, chapter 7 (inexact Newton methods). Springer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from neuropil.stats.glm_kernels import evaluate

CELLS = 2**19
HALVINGS = 30
ARMIJO = 1e-4


class Part(NamedTuple):
    """Rows that share coefficients: their indices (None: all) and weights (row, 1) or (row, neuron)."""

    rows: ndarray | None
    weights: ndarray


class Point(NamedTuple):
    """Coefficients (part, neuron, feature) and intercepts (part or 1, neuron)."""

    coefficients: ndarray
    intercepts: ndarray

    def of(self, columns: ndarray) -> Point:
        """The same for some neurons."""
        return Point(self.coefficients[:, columns], self.intercepts[:, columns])

    def dot(self, other: Point) -> ndarray:
        """Inner product of every neuron."""
        return np.einsum("pnf,pnf->n", self.coefficients, other.coefficients) + np.einsum(
            "pn,pn->n", self.intercepts, other.intercepts
        )

    def masked(self, free: ndarray | None) -> Point:
        """The same with coefficients that are not `free` set to zero."""
        return self if free is None else Point(self.coefficients * free, self.intercepts)

    def plus(self, step: ndarray, direction: Point) -> Point:
        """This point moved by `step` (neuron,) along a direction."""
        return Point(
            self.coefficients + step[:, None] * direction.coefficients, self.intercepts + step * direction.intercepts
        )


class Evaluation(NamedTuple):
    """Log-likelihood (neuron,), its gradient, sums of the informations (part, neuron), and these themselves, (row, neuron) a part."""

    log_likelihood: ndarray
    gradient: Point
    slopes: ndarray
    information: list[ndarray]


class Solution(NamedTuple):
    """Where Newton's method ended; log-likelihoods and objectives (neuron,) lack terms without parameters."""

    point: Point
    log_likelihood: ndarray
    objective: ndarray
    n_iter: int
    converged: ndarray
    information: list[ndarray]


class Problem(NamedTuple):
    """What is maximised: the weighted log-likelihood less half of `ridge` times the squared distance of coefficients from `centre`.

    Coefficients that are not `free` (neuron, feature) stay where they start; None: all are.
    """

    design: ndarray
    responses: ndarray
    offset: ndarray | None
    parts: list[Part]
    family: int
    link: int
    dispersion: ndarray
    ridge: ndarray
    centre: Any
    free: ndarray | None = None

    def chunks(self, part: Part) -> Iterator[tuple[slice, Any]]:
        """Stretches of the part's rows, and their indices in the design."""
        n_rows = len(self.design) if part.rows is None else len(part.rows)
        size = max(256, CELLS // (self.design.shape[1] + 3 * self.responses.shape[1]))
        for start in range(0, n_rows, size):
            here = slice(start, min(start + size, n_rows))
            yield here, here if part.rows is None else part.rows[here]

    def evaluate(self, point: Point, columns: Any) -> Evaluation:
        """Log-likelihood, gradient and information of the neurons `columns`, to which `point` belongs."""
        n_parts, n_columns, n_features = point.coefficients.shape
        total, slopes = np.zeros(n_columns), np.zeros((n_parts, n_columns))
        gradient = Point(np.zeros((n_parts, n_columns, n_features)), np.zeros_like(point.intercepts))
        dispersion, stored = self.dispersion[columns], []
        for p, part in enumerate(self.parts):
            own = p if len(point.intercepts) > 1 else 0
            information = np.empty((len(part.weights), n_columns))
            transposed = np.ascontiguousarray(point.coefficients[p].T)
            for here, rows in self.chunks(part):
                design = self.design[rows]
                score = design @ transposed
                score += point.intercepts[own]
                if self.offset is not None:
                    score += self.offset[rows][:, columns]
                weights = part.weights[here] if part.weights.shape[1] == 1 else part.weights[here][:, columns]
                responses = self.responses[rows][:, columns]
                evaluate(
                    score, responses, weights, dispersion, self.family, self.link, total, slopes[p], score,
                    information[here],
                )  # fmt: skip
                gradient.coefficients[p] += score.T @ design
                gradient.intercepts[own] += score.sum(axis=0)
            stored.append(information)
        return Evaluation(total, gradient, slopes, stored)

    def penalty(self, point: Point, columns: Any) -> tuple[ndarray, ndarray]:
        """What is taken off the log-likelihood of every neuron, and its derivative by the coefficients."""
        away = point.coefficients - self.centre[:, columns]
        pull = self.ridge * away
        return 0.5 * np.einsum("pnf,pnf->n", pull, away), pull

    def times(self, information: list[ndarray], direction: Point) -> Point:
        """The product of every neuron's penalised information with a direction."""
        product = Point(self.ridge * direction.coefficients, np.zeros_like(direction.intercepts))
        for p, part in enumerate(self.parts):
            own = p if len(direction.intercepts) > 1 else 0
            transposed = np.ascontiguousarray(direction.coefficients[p].T)
            for here, rows in self.chunks(part):
                design = self.design[rows]
                along = design @ transposed
                along += direction.intercepts[own]
                along *= information[p][here]
                product.coefficients[p] += along.T @ design
                product.intercepts[own] += along.sum(axis=0)
        return product


class Preconditioner:
    """The information as it were if a neuron's did not change from row to row within a part."""

    def __init__(self, problem: Problem) -> None:
        self.ridge = float(np.mean(problem.ridge)) if problem.ridge.size else 0.0
        self.levels, self.vectors, self.sums, self.totals = [], [], [], []
        n_features = problem.design.shape[1]
        for part in problem.parts:
            gram, sums, total = np.zeros((n_features, n_features)), np.zeros(n_features), 0.0
            for here, rows in problem.chunks(part):
                design, weights = problem.design[rows], part.weights[here].mean(axis=1)
                weighted = weights[:, None] * design
                gram += design.T @ weighted
                sums += weighted.sum(axis=0)
                total += weights.sum()
            level, vectors = np.linalg.eigh(gram)
            self.levels.append(np.maximum(level, 0.0))
            self.vectors.append(vectors)
            self.sums.append(vectors.T @ sums)
            self.totals.append(max(total, 1e-12))  # a state that nothing belongs to stays where it is

    def scaled(self, slopes: ndarray, n_intercepts: int) -> Scaled:
        """The same for neurons whose informations sum to `slopes` (part, neuron)."""
        inverse, lever = [], np.zeros((n_intercepts, slopes.shape[1]))
        means = [np.maximum(slope / total, 1e-12) for slope, total in zip(slopes, self.totals, strict=True)]
        for p, (mean, level, sums) in enumerate(zip(means, self.levels, self.sums, strict=True)):
            curvature = mean[:, None] * level + self.ridge
            usable = curvature > 1e-12 * curvature.max(axis=1, keepdims=True, initial=1e-300)
            inverse.append(np.where(usable, 1.0 / np.where(usable, curvature, 1.0), 0.0))
            own = p if n_intercepts > 1 else 0
            lever[own] += np.maximum(
                mean * self.totals[p] - mean**2 * (inverse[p] @ sums**2), 1e-9 * mean * self.totals[p]
            )
        return Scaled(self, means, inverse, lever)


class Scaled(NamedTuple):
    """A preconditioner for certain neurons: part by part in the eigenbasis, intercepts by their Schur complement."""

    base: Preconditioner
    means: list[ndarray]
    inverse: list[ndarray]
    lever: ndarray

    def solve(self, gradient: Point) -> Point:
        """The direction whose product with the preconditioner is `gradient`."""
        base, shared = self.base, len(self.lever) == 1
        turned, intercepts = [], gradient.intercepts.copy()
        for p, vectors in enumerate(base.vectors):
            turned.append(self.inverse[p] * (gradient.coefficients[p] @ vectors))
            intercepts[0 if shared else p] -= self.means[p] * (turned[p] @ base.sums[p])
        intercepts /= self.lever
        coefficients = np.empty_like(gradient.coefficients)
        for p, vectors in enumerate(base.vectors):
            carried = (self.means[p] * intercepts[0 if shared else p])[:, None] * base.sums[p]
            coefficients[p] = (turned[p] - self.inverse[p] * carried) @ vectors.T
        return Point(coefficients, intercepts)


def newton_step(
    problem: Problem,
    found: Evaluation,
    gradient: Point,
    value: ndarray,
    preconditioner: Preconditioner,
    most: int,
    columns: Any,
) -> tuple[Point, ndarray]:
    """Direction of the neurons `columns` by preconditioned conjugate gradients, and the product of the gradient with it."""
    free = None if problem.free is None else problem.free[columns]
    scaled = preconditioner.scaled(found.slopes, len(gradient.intercepts))
    residual = gradient.masked(free)
    direction = Point(np.zeros_like(gradient.coefficients), np.zeros_like(gradient.intercepts))
    solved = scaled.solve(residual).masked(free)
    size = residual.dot(solved)
    forcing = np.clip(np.sqrt(np.maximum(size, 0) / (1 + np.abs(value))), 1e-6, 0.1)
    goal, along = forcing**2 * size, solved
    for _ in range(most):
        open_ = (size > goal) & (size > 0)
        if not open_.any():
            break
        product = problem.times(found.information, along).masked(free)
        curvature = along.dot(product)
        step = np.where(open_ & (curvature > 0), size / np.where(curvature > 0, curvature, 1.0), 0.0)
        direction, residual = direction.plus(step, along), residual.plus(-step, product)
        solved = scaled.solve(residual).masked(free)
        before, size = size, residual.dot(solved)
        along = solved.plus(np.where(open_, size / np.where(before > 0, before, 1.0), 0.0), along)
    return direction, gradient.dot(direction)


def propose(problem: Problem, start: Point, max_products: int) -> Point:
    """Where one whole step of Newton's method leads; whether the objective rises there is for the caller to find out."""
    every: Any = slice(None)
    found = problem.evaluate(start, every)
    penalty, pull = problem.penalty(start, every)
    gradient = Point(found.gradient.coefficients - pull, found.gradient.intercepts)
    value = found.log_likelihood - penalty
    direction, _ = newton_step(problem, found, gradient, value, Preconditioner(problem), max_products, every)
    return start.plus(np.ones(len(value)), direction)


def maximise(problem: Problem, start: Point, *, max_iter: int, tol: float, max_products: int | None = None) -> Solution:
    """Newton's method from `start`, neuron by neuron until half the expected gain is less than `tol` (1 + |objective|).

    Parameters
    ----------
    problem : Problem
    start : Point
    max_iter : int
        Steps of Newton's method; 0 only evaluates.
    tol : float
    max_products : int, optional
        Products with the information that a step may take; by default as many as there are features, 200 at most.
    """
    n_neurons = problem.responses.shape[1]
    most = min(problem.design.shape[1] + 2, 200) if max_products is None else max_products
    point = Point(start.coefficients.copy(), start.intercepts.copy())
    every: Any = slice(None)
    found = problem.evaluate(point, every)
    log_likelihood, slopes, information = found.log_likelihood, found.slopes, found.information
    penalty, pull = problem.penalty(point, every)
    objective = log_likelihood - penalty
    gradient = Point(found.gradient.coefficients - pull, found.gradient.intercepts)
    converged, active, n_iter = np.zeros(n_neurons, dtype=bool), np.arange(n_neurons), 0
    preconditioner = Preconditioner(problem) if max_iter else None
    while preconditioner is not None and n_iter < max_iter and len(active):
        n_iter += 1
        all_active = len(active) == n_neurons
        here = Evaluation(
            log_likelihood[active], gradient.of(active), slopes[:, active],
            information if all_active else [part[:, active] for part in information],
        )  # fmt: skip
        direction, gain = newton_step(problem, here, here.gradient, objective[active], preconditioner, most, active)
        last = 0.5 * gain <= tol * (1 + np.abs(objective[active]))
        moved, step = np.zeros(len(active), dtype=bool), np.ones(len(active))
        for _ in range(HALVINGS):
            waiting = np.flatnonzero(~moved)
            columns = active[waiting]
            trial = point.of(columns).plus(step[waiting], direction.of(waiting))
            whole = len(columns) == n_neurons
            found = problem.evaluate(trial, every if whole else columns)
            penalty, pull = problem.penalty(trial, columns)
            value = found.log_likelihood - penalty
            enough = objective[columns] + ARMIJO * step[waiting] * np.maximum(gain[waiting], 0)
            risen = np.isfinite(value) & (value >= np.where(last[waiting], objective[columns], enough))
            good = columns[risen]
            point.coefficients[:, good], point.intercepts[:, good] = (
                trial.coefficients[:, risen],
                trial.intercepts[:, risen],
            )
            log_likelihood[good], objective[good] = found.log_likelihood[risen], value[risen]
            slopes[:, good] = found.slopes[:, risen]
            gradient.coefficients[:, good] = (found.gradient.coefficients - pull)[:, risen]
            gradient.intercepts[:, good] = found.gradient.intercepts[:, risen]
            if whole and risen.all():
                information = found.information
            else:
                for kept, new in zip(information, found.information, strict=True):
                    kept[:, good] = new[:, risen]
            moved[waiting[risen]] = True
            step *= 0.5
            if (moved | last).all():
                break
        converged[active[last]] = True
        active = active[moved & ~last]
    return Solution(point, log_likelihood, objective, n_iter, converged, information)
