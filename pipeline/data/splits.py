"""Which training rows judge the choices: a validation part that shares no movie with the rest."""

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
