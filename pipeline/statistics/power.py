"""The study size needed for a verdict. The target is the margin, not the observed gap."""

from bisect import bisect_left
from collections.abc import Callable

from scipy import stats

from .estimate import Estimate

POWER = 0.8
# There are many groups, so the degrees of freedom of their variance do not matter here.
GROUP_DF = 1e9


def chance(gap: Estimate, alpha: float) -> float:
    """Return the power of the superiority test: P(noncentral t > t_(1-alpha/2)).

    Args:
        gap: the assumed true gap, with the error expected of a study of some size.
        alpha: error rate of the verdict.
    """
    return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, gap.df), gap.df, gap.value / gap.se))


def sizes_needed(
    search: Estimate,
    groups: float,
    size: int,
    sizes: range,
    degrees: Callable[[int], float],
    margin: float,
    alpha: float,
) -> dict[str, int] | None:
    """Return the smallest of `sizes` with 80 % power for a true gap equal to the margin.

    The variance of the search is proportional to 1/size. The variance of the groups is constant.

    Args:
        search: the gap with the error of the search alone, from a study of `size`.
        groups: the variance of the gap due to the groups.
        size: size of the completed study, in trials or repeats per arm.
        sizes: candidate sizes, ascending.
        degrees: returns the degrees of freedom of the search's variance at a size.
        margin: the smallest gap that matters, in the unit of the gap.
        alpha: error rate of the verdict.

    Returns:
        {likely, safe}: `likely` uses the estimated variance of the search, `safe` its upper 80 %
        limit. None if the largest size is too small because the groups alone leave too much error.
    """

    def enough(variance: float, planned: int) -> bool:
        gap = Estimate(margin, variance * size / planned, degrees(planned)).plus(groups, GROUP_DF)
        return chance(gap, alpha) >= POWER

    def smallest(variance: float) -> int | None:
        first = bisect_left(sizes, True, key=lambda planned: enough(variance, planned))
        return sizes[first] if first < len(sizes) else None

    upper = search.variance * search.df / float(stats.chi2.ppf(0.2, search.df))
    likely, safe = smallest(search.variance), smallest(upper)
    return None if likely is None or safe is None else {"likely": likely, "safe": safe}
