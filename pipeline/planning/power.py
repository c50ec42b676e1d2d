"""Which gaps a study will most likely see, and how many trials others would take."""

from dataclasses import dataclass

from pipeline.config import Search
from pipeline.evidence import pool, studies
from pipeline.evidence.estimate import Estimate
from pipeline.evidence.planning import FILM_DF, POWER, chance, sizes_needed
from pipeline.planning.earlier import Basis

# Steps of halving: the smallest gap is told to three digits.
HALVINGS = 40


@dataclass(frozen=True)
class Gap:
    """A true gap of two cells (in the metric's unit), the chance that the planned study sees it, the size for an 80 % chance.

    `size` is of trials in a pool and of separate studies otherwise, an arm; None where the test set alone is too small.
    """

    gap: float
    chance: float
    size: int | None


@dataclass(frozen=True)
class Power:
    """The smallest gap that the study sees with an 80 % chance, and what it makes of the margin and of half of it."""

    smallest: float
    margin: Gap
    half: Gap


def power(search: Search, basis: Basis, rows: int) -> Power:
    """What a study of this design will see of one pair of cells, tested on so many rows."""
    size = search.trials if search.design == "pool" else search.studies
    searches = size / search.headline if search.design == "pool" else size
    error = Estimate(0.0, basis.search_sd**2 / searches, _degrees(search, size))
    films, alpha = basis.row_sd**2 / rows, search.alpha / search.looks

    def seen(gap: float) -> float:
        return chance(Estimate(gap, error.variance, error.df).plus(films, FILM_DF), alpha)

    def sized(gap: float) -> Gap:
        first = pool.FEWEST_PER_HEADLINE * search.headline if search.design == "pool" else studies.FEWEST
        sizes = range(first, 1000 * size + 1)
        found = sizes_needed(error, films, size, sizes, lambda planned: _degrees(search, planned), gap, alpha)
        return Gap(gap, seen(gap), found["likely"] if found else None)

    low, high = 0.0, search.margin
    while seen(high) < POWER:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if seen(middle) < POWER else (low, middle)
    return Power(high, sized(search.margin), sized(search.margin / 2))


def _degrees(search: Search, size: int) -> float:
    return pool.degrees(size, search.headline) if search.design == "pool" else size - 1.0
