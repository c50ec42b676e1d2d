"""How large a study has a fair chance of a verdict, aimed at the margin and not at the gap that was seen."""

from bisect import bisect_left
from collections.abc import Callable

from scipy import stats

from pipeline.evidence.estimate import Estimate

POWER = 0.8
# So many films are behind their part of the error that its own degrees of freedom do not matter here.
FILM_DF = 1e9


def chance(gap: Estimate, alpha: float) -> float:
    """Chance that the verdict sees a true gap: P(noncentral t > t_(1-alpha/2)).

    Args:
        gap: how large it truly is, with the error that a study of some size will have.
        alpha: error rate of the verdict.
    """
    return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, gap.df), gap.df, gap.value / gap.se))


def sizes_needed(
    search: Estimate, films: float, size: int, sizes: range, degrees: Callable[[int], float], margin: float, alpha: float
) -> dict[str, int] | None:
    """The smallest of `sizes` with an 80 % chance that the verdict sees a true gap as large as the margin.

    The search's variance shrinks as 1/size and the films' does not.

    Args:
        search: the gap with the error of the search alone, from a study of `size`.
        films: the films' part of the variance.
        size: of the study so far, in trials or studies an arm.
        sizes: among which to find the smallest.
        degrees: degrees of freedom of the search's variance at a size.
        margin: the smallest gap that matters, in the gap's unit.
        alpha: error rate of the verdict.

    Returns:
        {likely, safe}, `safe` with the upper 80 % limit of the search's variance in place of its estimate; None when the largest is
        too small, as the films alone leave the interval too wide.
    """

    def enough(variance: float, planned: int) -> bool:
        gap = Estimate(margin, variance * size / planned, degrees(planned)).plus(films, FILM_DF)
        return chance(gap, alpha) >= POWER

    def smallest(variance: float) -> int | None:
        first = bisect_left(sizes, True, key=lambda planned: enough(variance, planned))
        return sizes[first] if first < len(sizes) else None

    upper = search.variance * search.df / float(stats.chi2.ppf(0.2, search.df))
    likely, safe = smallest(search.variance), smallest(upper)
    return None if likely is None or safe is None else {"likely": likely, "safe": safe}
