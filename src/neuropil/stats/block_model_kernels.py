"""Compiled search for the partition of a block model; `block_model` is its public face.

A pair of groups (r, s) is known by its edges e, the sum w of their weights and its m pairs of nodes. The objective is a sum of one term
a pair of groups and one a group, so that moving a node changes only the terms of the two groups that it leaves and joins. Sums from a
node to every group are made once a node, whatever the number of groups that are tried.

Edges, pairs and degrees are whole numbers, so that `factorials[k]` = log k! is looked up. `kind` is 0 for edges that are there or not, 1
for counts on pairs (levels above the first), 2 for degree-corrected edges.

The kernels release the interpreter's lock. They are exempt from runtime checks of types, which would hide their source from numba.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

BINARY, COUNTS, DEGREES = 0, 1, 2
EPS = 1e-9


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def pair_term(e, w, m, same, kind, rate, factorials):
    """Log marginal likelihood of the edges and weights between two groups; `rate` is that of the weights' prior, 0 without weights."""
    if m <= 0.0:
        return 0.0
    n_edges, n_pairs = int(e + 0.5), int(m + 0.5)
    if kind == 0:
        value = factorials[n_edges] + factorials[n_pairs - n_edges] - factorials[n_pairs + 1]
    elif kind == 1:
        value = factorials[n_edges] + factorials[n_pairs - 1] - factorials[n_pairs + n_edges - 1]
    else:
        value = factorials[n_edges] + (e * np.log(2.0) if same else 0.0)
    if rate > 0.0:
        # sums that moves brought back to 0 may be a rounding below it
        value += np.log(rate) + factorials[n_edges] - (1.0 + e) * np.log(rate + max(w, 0.0))
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def group_term(n, degree, kind, factorials):
    """What a group of n nodes with that sum of degrees adds by itself, the prior of the partition included."""
    size = int(n + 0.5)
    value = factorials[size]
    if kind == 2 and size > 0:
        value += factorials[size - 1] - factorials[size - 1 + int(degree + 0.5)]
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def shared_term(n_nodes, n_groups, n_edges, kind, factorials):
    """What depends on the number of groups only."""
    nodes, edges = int(n_nodes + 0.5), int(n_edges + 0.5)
    value = -(factorials[nodes - 1] - factorials[n_groups - 1] - factorials[nodes - n_groups])
    value -= factorials[nodes] + np.log(nodes)
    if kind != 0:
        blocks = n_groups * (n_groups + 1) // 2
        value -= factorials[blocks + edges - 1] - factorials[edges] - factorials[blocks - 1]
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def add_up(edges, weights, pairs, labels, sums, sizes, degrees):
    """Fill `sums` (3, group, group) with edges, weights and pairs of nodes between groups, `sizes` and `degrees`."""
    sums[:] = 0.0
    sizes[:] = 0.0
    degrees[:] = 0.0
    n = len(labels)
    for i in range(n):
        r = labels[i]
        sizes[r] += 1.0
        for j in range(i + 1):
            s = labels[j]
            low, high = min(r, s), max(r, s)
            sums[0, low, high] += edges[i, j]
            sums[1, low, high] += weights[i, j]
            sums[2, low, high] += pairs[i, j]
            degrees[r] += edges[i, j]
            degrees[s] += edges[i, j]
    for r in range(len(sizes)):
        for s in range(r):
            for k in range(3):
                sums[k, r, s] = sums[k, s, r]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def total(sums, sizes, degrees, n_groups, kind, rate, factorials):
    """The objective of a partition, in nats: a log joint probability."""
    value = 0.0
    n_nodes, n_edges = 0.0, 0.0
    for r in range(n_groups):
        value += group_term(sizes[r], degrees[r], kind, factorials)
        n_nodes += sizes[r]
        for s in range(r + 1):
            value += pair_term(sums[0, r, s], sums[1, r, s], sums[2, r, s], r == s, kind, rate, factorials)
            n_edges += sums[0, r, s]
    return value + shared_term(n_nodes, n_groups, n_edges, kind, factorials)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def shift(sums, sizes, degrees, reach, own, degree, r, s, sign):
    """Take a node out of (`sign` -1) or put it into (1) group r; `reach` (3, group) are its sums to groups, itself left out."""
    for k in range(3):
        for t in range(s):
            change = sign * reach[k, t]
            if t == r:
                sums[k, r, r] += change + sign * own[k]
            else:
                sums[k, r, t] += change
                sums[k, t, r] += change
    sizes[r] += sign
    degrees[r] += sign * degree


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def gain_of_joining(sums, sizes, degrees, reach, own, degree, s, n_groups, kind, rate, factorials):
    """Change of pair and group terms when a node that is in no group joins s."""
    value = group_term(sizes[s] + 1.0, degrees[s] + degree, kind, factorials) - group_term(
        sizes[s], degrees[s], kind, factorials
    )
    for t in range(n_groups):
        own_e, own_w, own_m = (own[0], own[1], own[2]) if t == s else (0.0, 0.0, 0.0)
        if reach[2, t] + own_m <= 0.0 and kind != 2:
            continue
        same = t == s
        value += pair_term(
            sums[0, s, t] + reach[0, t] + own_e, sums[1, s, t] + reach[1, t] + own_w, sums[2, s, t] + reach[2, t] + own_m,
            same, kind, rate, factorials,
        ) - pair_term(sums[0, s, t], sums[1, s, t], sums[2, s, t], same, kind, rate, factorials)  # fmt: skip
    return value


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def sweep(edges, weights, pairs, labels, sums, sizes, degrees, n_groups, most, order, kind, rate, factorials):
    """Move every node once to where it is best, or to a group of its own unless there are `most` groups; returns the moves made and the
    number of groups."""
    n = len(labels)
    reach, own = np.empty((3, len(sizes))), np.empty(3)
    moves, n_edges = 0, 0.0
    for r in range(n_groups):
        for s in range(r + 1):
            n_edges += sums[0, r, s]
    for i in order:
        r = labels[i]
        reach[:] = 0.0
        degree = 2.0 * edges[i, i]
        for j in range(n):
            if j != i:
                s = labels[j]
                reach[0, s] += edges[i, j]
                reach[1, s] += weights[i, j]
                reach[2, s] += pairs[i, j]
                degree += edges[i, j]
        own[0], own[1], own[2] = edges[i, i], weights[i, i], pairs[i, i]
        shift(sums, sizes, degrees, reach, own, degree, r, n_groups, -1.0)
        alone = sizes[r] == 0.0
        others = n_groups - 1 if alone else n_groups
        stay = shared_term(n, others, n_edges, kind, factorials) if others > 0 else -np.inf
        new = shared_term(n, others + 1, n_edges, kind, factorials) if others < most else -np.inf
        best, best_gain, current = r, -np.inf, 0.0
        for s in range(n_groups):
            gain = gain_of_joining(sums, sizes, degrees, reach, own, degree, s, n_groups, kind, rate, factorials)
            gain += new if sizes[s] == 0.0 else stay
            if s == r:
                current = gain
            if gain > best_gain:
                best, best_gain = s, gain
        if not alone and n_groups < most:
            gain = (
                gain_of_joining(
                    sums, sizes, degrees, reach, own, degree, n_groups, n_groups + 1, kind, rate, factorials
                )
                + new
            )
            if gain > best_gain:
                best, best_gain = n_groups, gain
        if best_gain <= current + EPS:
            best = r
        if best == n_groups:
            n_groups += 1
        shift(sums, sizes, degrees, reach, own, degree, best, n_groups, 1.0)
        if best != r:
            labels[i] = best
            moves += 1
            if alone:
                n_groups = drop(labels, sums, sizes, degrees, r, n_groups)
    return moves, n_groups


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def drop(labels, sums, sizes, degrees, r, n_groups):
    """Remove the empty group r; the last group takes its number."""
    last = n_groups - 1
    if r != last:
        for i in range(len(labels)):
            if labels[i] == last:
                labels[i] = r
        for k in range(3):
            corner = sums[k, last, last]
            for t in range(last):
                sums[k, r, t] = sums[k, last, t]
                sums[k, t, r] = sums[k, last, t]
            sums[k, r, r] = corner
        sizes[r] = sizes[last]
        degrees[r] = degrees[last]
    sums[:, last, :] = 0.0
    sums[:, :, last] = 0.0
    sizes[last] = 0.0
    degrees[last] = 0.0
    return last


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def gain_of_merging(sums, sizes, degrees, r, s, n_groups, kind, rate, factorials):
    """Change of pair and group terms when groups r and s become one."""
    value = group_term(sizes[r] + sizes[s], degrees[r] + degrees[s], kind, factorials)
    value -= group_term(sizes[r], degrees[r], kind, factorials) + group_term(sizes[s], degrees[s], kind, factorials)
    for t in range(n_groups):
        if t != r and t != s:
            value += pair_term(
                sums[0, r, t] + sums[0, s, t], sums[1, r, t] + sums[1, s, t], sums[2, r, t] + sums[2, s, t], False, kind, rate, factorials
            )  # fmt: skip
            value -= pair_term(sums[0, r, t], sums[1, r, t], sums[2, r, t], False, kind, rate, factorials)
            value -= pair_term(sums[0, s, t], sums[1, s, t], sums[2, s, t], False, kind, rate, factorials)
    inside = sums[:, r, r] + sums[:, s, s] + sums[:, r, s]
    value += pair_term(inside[0], inside[1], inside[2], True, kind, rate, factorials)
    value -= pair_term(sums[0, r, r], sums[1, r, r], sums[2, r, r], True, kind, rate, factorials)
    value -= pair_term(sums[0, s, s], sums[1, s, s], sums[2, s, s], True, kind, rate, factorials)
    return value - pair_term(sums[0, r, s], sums[1, r, s], sums[2, r, s], False, kind, rate, factorials)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def merge(labels, sums, sizes, degrees, n_groups, n_edges, forced, kind, rate, factorials):
    """Merge the two groups whose merger is best, if it raises the objective or is `forced`; returns the number of groups."""
    change = shared_term(len(labels), n_groups - 1, n_edges, kind, factorials) - shared_term(
        len(labels), n_groups, n_edges, kind, factorials
    )
    best_r, best_s, best = -1, -1, -np.inf if forced else EPS
    for r in range(n_groups):
        for s in range(r):
            gain = gain_of_merging(sums, sizes, degrees, r, s, n_groups, kind, rate, factorials) + change
            if gain > best:
                best_r, best_s, best = r, s, gain
    if best_r < 0:
        return n_groups
    r, s = best_r, best_s
    for i in range(len(labels)):
        if labels[i] == r:
            labels[i] = s
    for k in range(3):
        inside = sums[k, r, r] + sums[k, s, s] + sums[k, r, s]
        for t in range(n_groups):
            sums[k, s, t] += sums[k, r, t]
            sums[k, t, s] = sums[k, s, t]
        sums[k, s, s] = inside
    sizes[s] += sizes[r]
    degrees[s] += degrees[r]
    return drop(labels, sums, sizes, degrees, r, n_groups)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def settle(
    edges, weights, pairs, labels, sums, sizes, degrees, n_groups, most, order, n_sweeps, kind, rate, factorials
):
    """Sweeps until no node moves; returns the number of groups."""
    for _ in range(n_sweeps):
        moves, n_groups = sweep(
            edges, weights, pairs, labels, sums, sizes, degrees, n_groups, most, order, kind, rate, factorials
        )
        if moves == 0:
            break
    return n_groups


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def search(edges, weights, pairs, labels, order, n_sweeps, kind, rate, factorials):
    """Improve `labels` in place; returns the objective and the number of groups.

    The two groups that differ least are merged, and nodes moved, down to one group, and the best partition on the way is improved by
    moves (also to new groups) and mergers until neither helps.
    """
    n, n_groups = len(labels), labels.max() + 1
    sums, sizes, degrees = np.zeros((3, n, n)), np.zeros(n), np.zeros(n)
    add_up(edges, weights, pairs, labels, sums, sizes, degrees)
    n_edges = 0.0
    for r in range(n_groups):
        for s in range(r + 1):
            n_edges += sums[0, r, s]
    best, kept = -np.inf, labels.copy()
    while True:
        n_groups = settle(
            edges,
            weights,
            pairs,
            labels,
            sums,
            sizes,
            degrees,
            n_groups,
            n_groups,
            order,
            n_sweeps,
            kind,
            rate,
            factorials,
        )
        value = total(sums, sizes, degrees, n_groups, kind, rate, factorials)
        if value > best:
            best = value
            kept[:] = labels
        if n_groups == 1:
            break
        n_groups = merge(labels, sums, sizes, degrees, n_groups, n_edges, True, kind, rate, factorials)
    labels[:] = kept
    n_groups = labels.max() + 1
    add_up(edges, weights, pairs, labels, sums, sizes, degrees)
    while True:
        n_groups = settle(
            edges, weights, pairs, labels, sums, sizes, degrees, n_groups, n, order, n_sweeps, kind, rate, factorials
        )
        fewer = (
            merge(labels, sums, sizes, degrees, n_groups, n_edges, False, kind, rate, factorials) if n_groups > 1 else 1
        )
        if fewer == n_groups:
            break
        n_groups = fewer
    add_up(edges, weights, pairs, labels, sums, sizes, degrees)
    return total(sums, sizes, degrees, n_groups, kind, rate, factorials), n_groups
