"""Which training rows judge the choices: a validation part that shares no movie, and in a series no value, with the rest."""

import numpy as np
from numpy.typing import NDArray

# Some orders of the movies end one or two reviews short of the target; the next order rarely does.
_ORDERS = 20


def validation_rows(
    labels: NDArray[np.integer], movies: NDArray[np.integer], seed: int, fraction: float = 0.2
) -> NDArray[np.bool_]:
    """Marks the validation rows: whole movies, drawn at random until every label has its share.

    A pure function of its arguments. Each label gets at most its share, rounded; movies that would overshoot it are passed
    over, and of a few random orders the first that meets every share exactly is taken, or else the nearest.

    Args:
        labels: <int>[rows], class numbers.
        movies: <int>[rows], the group of each row; all different splits by row.
        seed: of the order in which movies are offered.
        fraction: of the rows, above 0 and below 1.

    Returns:
        <bool>[rows], true for validation.

    Raises:
        ValueError: `fraction` is out of range, or the arrays differ in length.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be above 0 and below 1, not {fraction}")
    if len(labels) != len(movies):
        raise ValueError(f"labels and movies must be equally long, not {len(labels)} and {len(movies)}")
    groups, group = np.unique(movies, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(groups), len(classes)), np.int64)
    np.add.at(counts, (group, label), 1)
    share = np.rint(fraction * counts.sum(axis=0)).astype(np.int64)

    generator = np.random.default_rng(seed)
    best, best_missing = np.zeros(len(groups), bool), share
    for _ in range(_ORDERS):
        chosen, missing = _fill(counts, share, generator.permutation(len(groups)))
        if missing.sum() < best_missing.sum():
            best, best_missing = chosen, missing
        if not missing.any():
            break
    return best[group]


def _fill(
    counts: NDArray[np.int64], share: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Takes movies in `order` while they fit; which were taken, and how many reviews each label still misses."""
    chosen = np.zeros(len(counts), bool)
    missing = share.copy()
    for movie in order:
        if np.all(counts[movie] <= missing):
            chosen[movie] = True
            missing -= counts[movie]
            if not missing.any():
                break
    return chosen, missing


def ordered_rows(rows: int, reach: int, seed: int, fraction: float = 0.2) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Marks training and validation rows of a series: one stretch of rows validates, and its neighbours are left out.

    Rows follow one another in time, and rows i and j share values where |i - j| < reach. The validation part is one of
    1 / `fraction` stretches of equal length: the last for seed 0, the one before for seed 1, round about.

    Args:
        rows: how many there are.
        reach: values of the series that a row spans, inputs and labels together.
        seed: which stretch validates.
        fraction: of the rows, one over a whole number above 1.

    Returns:
        Training <bool>[rows], the rows that share no value with any validation row, and validation <bool>[rows].

    Raises:
        ValueError: `fraction` is out of range, or so few rows leave either part empty.
    """
    parts = round(1 / fraction) if 0 < fraction < 1 else 0
    if parts < 2 or not np.isclose(parts * fraction, 1):
        raise ValueError(f"fraction must be one over a whole number above 1, not {fraction}")
    edges = np.rint(np.linspace(0, rows, parts + 1)).astype(int)
    place = parts - 1 - seed % parts
    start, end = edges[place], edges[place + 1]
    row = np.arange(rows)
    validation = (row >= start) & (row < end)
    training = (row <= start - reach) | (row >= end - 1 + reach)
    if not validation.any() or not training.any():
        raise ValueError(f"{rows} rows of reach {reach} leave a part empty: there must be more rows, or shorter ones")
    return training, validation
