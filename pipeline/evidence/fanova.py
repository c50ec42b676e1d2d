"""Functional analysis of variance of a random forest (Hutter, Hoos, Leyton-Brown 2014): what each hyperparameter explains alone.

The numbers of Optuna's FanovaImportanceEvaluator, a few times faster, as the leaves of a tree are taken together. A tree is a
constant on each of its leaves' boxes; the mean prediction given one hyperparameter is then a step function of it.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class Leaves(NamedTuple):
    """A tree as boxes that fill the space: edges float [L, C], predictions float [L]."""

    low: Floats
    high: Floats
    value: Floats


def shares(trees: Sequence[Any], bounds: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """The share of variance that each hyperparameter explains by itself, mean over the trees; interplay is in none.

    Args:
        trees: fitted trees as scikit-learn keeps them (`tree_`).
        bounds: float [C columns, 2], the ends of each column's range.
        groups: the columns of each hyperparameter: one of a number, one a choice of a category.

    Returns:
        float [hyperparameters], summing to 1 at most; all zero if every tree predicts one number.
    """
    parts = [_parts(_leaves(tree, bounds), bounds, groups) for tree in trees if tree.node_count > 1]
    return np.mean(parts, axis=0) if parts else np.zeros(len(groups))


def _leaves(tree: Any, bounds: Floats) -> Leaves:
    low, high = np.empty((2, tree.node_count, len(bounds)))
    low[0], high[0] = bounds.T
    left, right, feature, threshold = tree.children_left, tree.children_right, tree.feature, tree.threshold
    inner = np.nonzero(left >= 0)[0]
    for node in inner:  # a parent comes before its children
        one, other = left[node], right[node]
        low[one] = low[other] = low[node]
        high[one] = high[other] = high[node]
        high[one, feature[node]] = low[other, feature[node]] = threshold[node]
    ends = np.nonzero(left < 0)[0]
    return Leaves(low[ends], high[ends], tree.value[ends, 0, 0])


def _parts(leaves: Leaves, bounds: Floats, groups: Sequence[Sequence[int]]) -> Floats:
    """Variance of the mean prediction given each group of columns, as a share of the tree's variance: float [groups]."""
    widths = (leaves.high - leaves.low) / (bounds[:, 1] - bounds[:, 0])
    total = _variance(leaves.value, widths.prod(axis=1))
    made = np.zeros(len(groups))
    for number, columns in enumerate(groups):
        others = np.delete(widths, columns, axis=1).prod(axis=1)
        cells = [_cells(leaves, bounds, column) for column in columns]
        # A leaf holds a cell of several columns if it holds it in each.
        inside = reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), (one for one, _ in cells))
        sizes = reduce(lambda a, b: np.outer(a, b).ravel(), (size for _, size in cells))
        made[number] = _variance((leaves.value * others) @ inside, sizes)
    return made / total


def _cells(leaves: Leaves, bounds: Floats, column: int) -> tuple[Floats, Floats]:
    """A column cut wherever the tree splits it: which leaves hold each piece, float [L, pieces], and the pieces' widths."""
    edges = np.unique(np.concatenate([bounds[column], leaves.low[:, column], leaves.high[:, column]]))
    middle = (edges[1:] + edges[:-1]) / 2
    inside = (leaves.low[:, column, None] < middle) & (middle < leaves.high[:, column, None])
    return inside.astype(float), np.diff(edges)


def _variance(values: Floats, weights: Floats) -> float:
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights))
