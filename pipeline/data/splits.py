"""Splits of the training rows into training and validation, without shared groups or values."""

import numpy as np
from numpy.typing import NDArray

# The first order of the groups may miss the target by one or two rows. Another rarely does.
_ORDERS = 20


def validation_rows(
    labels: NDArray[np.integer], groups: NDArray[np.integer], seed: int, fraction: float = 0.2
) -> NDArray[np.bool_]:
    """Choose whole groups at random until every label has its share of validation rows.

    Each label gets at most its rounded share. Groups that would exceed it are skipped. Of up to 20
    random orders of the groups, the function takes the first that meets every share, or else the
    one that misses the fewest rows.

    Args:
        labels: <int>[rows], class numbers.
        groups: <int>[rows], the group of each row. If all differ, single rows are chosen.
        seed: of the order of the groups.
        fraction: share of the rows, above 0 and below 1.

    Returns:
        <bool>[rows], true for validation.

    Raises:
        ValueError: `fraction` is out of range, or the arrays differ in length.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be above 0 and below 1, not {fraction}")
    if len(labels) != len(groups):
        raise ValueError(
            f"labels and groups must be equally long, not {len(labels)} and {len(groups)}"
        )
    names, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, (group, label), 1)
    share = np.rint(fraction * counts.sum(axis=0)).astype(np.int64)

    generator = np.random.default_rng(seed)
    best, fewest = np.zeros(len(names), bool), share.sum()
    for _ in range(_ORDERS):
        chosen, missing = np.zeros(len(names), bool), share.copy()
        for index in generator.permutation(len(names)):
            if np.all(counts[index] <= missing):
                chosen[index] = True
                missing -= counts[index]
                if not missing.any():
                    return chosen[group]
        if missing.sum() < fewest:
            best, fewest = chosen, missing.sum()
    return best[group]


def ordered_rows(
    rows: int, reach: int, seed: int, fraction: float = 0.2
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Choose one stretch of a series for validation, and leave out the rows that overlap it.

    Rows follow one another in time. Rows i and j share values if |i - j| < reach. The series has
    1 / `fraction` stretches of equal length. Seed 0 takes the last, seed 1 the one before, and so
    on in a circle.

    Args:
        rows: number of rows.
        reach: values of the series that a row spans, inputs and labels together.
        seed: of the split.
        fraction: of the rows, one over a whole number above 1.

    Returns:
        Training <bool>[rows], the rows that share no value with a validation row, and validation
        <bool>[rows].

    Raises:
        ValueError: `fraction` is out of range, or there are so few rows that a part is empty.
    """
    parts = round(1 / fraction) if 0 < fraction < 1 else 0
    if parts < 2 or not np.isclose(parts * fraction, 1):
        raise ValueError(f"fraction must be one over a whole number above 1, not {fraction}")
    edges = np.rint(np.linspace(0, rows, parts + 1)).astype(int)
    stretch = parts - 1 - seed % parts
    start, end = edges[stretch], edges[stretch + 1]
    row = np.arange(rows)
    validation = (row >= start) & (row < end)
    training = (row <= start - reach) | (row >= end - 1 + reach)
    if not validation.any() or not training.any():
        raise ValueError(f"{rows} rows of reach {reach} leave a part empty: give more rows")
    return training, validation
