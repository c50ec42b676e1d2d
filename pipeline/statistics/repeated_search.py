"""Statistics of K repeated searches per arm: Student's tests compare one score per repeat.

Neither a bootstrap over few repeats nor a test that treats all training seeds as independent is
offered: at a nominal error of 5 % their error is 9 to 22 %.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .estimate import Estimate
from .power import sizes_needed

FEWEST = 3
# The least and the largest number of repeats with an exact permutation test.
PERMUTED = (5, 10)
Floats = NDArray[np.floating]


def estimate(scores: Floats) -> Estimate:
    """Return the mean score of one arm with its standard error, K - 1 degrees of freedom.

    Args:
        scores: float [K], one score per repeat (the mean over its retrainings).

    Raises:
        ValueError: if there are fewer than two repeats or a score is not finite.
    """
    if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, from at least two repeats, not {scores!r}.")
    return Estimate(float(scores.mean()), float(scores.var(ddof=1) / len(scores)), len(scores) - 1)


def gap(a: Floats, b: Floats, paired: bool) -> Estimate:
    """Return the difference of the mean scores of `a`, float [K], and `b`, float [L].

    Args:
        a: scores of one arm, one per repeat.
        b: scores of the other arm.
        paired: whether repeat k of both arms shares its configurations or its split. Then Student's
            t of the differences is used, otherwise Welch's t.

    Raises:
        ValueError: as `estimate`, or if paired arms differ in their number of repeats.
    """
    if not paired:
        left, right = estimate(a), estimate(b)
        difference = Estimate(left.value - right.value, left.variance, left.df)
        return difference.plus(right.variance, right.df)
    if len(a) != len(b):
        raise ValueError(f"paired repeats must be equally many, not {len(a)} and {len(b)}.")
    return estimate(a - b)


def win_probability(a: Floats, b: Floats) -> float:
    """Return the share of pairs of repeats with `a` above `b`, a tie counted as one half.

    This is U / (K L) of Mann and Whitney (1947). It has no interval: with few repeats, every known
    interval is undefined or has the wrong coverage.
    """
    return float(stats.mannwhitneyu(a, b, method="asymptotic").statistic / (len(a) * len(b)))


def hedges_g(a: Floats, b: Floats) -> float | None:
    """Return the gap in pooled standard deviations, corrected by Hedges (1981), or None."""
    spread = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))
    if not spread:
        return None
    return float(a.mean() - b.mean()) / spread * (1 - 3 / (4 * (len(a) + len(b) - 2) - 1))


def p_permutation(a: Floats, b: Floats, paired: bool) -> float | None:
    """Return the exact two-sided p-value of the mean gap over all permutations of the scores.

    Paired scores are permuted within repeats only. None with fewer than five repeats, where no
    p-value can be small, and with more than ten, where there are too many permutations.
    """
    if not all(PERMUTED[0] <= len(scores) <= PERMUTED[1] for scores in (a, b)):
        return None
    test = stats.permutation_test(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=np.inf,
    )
    return float(test.pvalue)


class Components(NamedTuple):
    """A balanced one-way analysis of variance over repeats, in the unit of the scores squared."""

    between: float  # mean square between repeats
    within: float  # sigma^2, the mean square within repeats: variance of the training seed
    tau2: float  # variance of the repeats' true means, without the training seed
    icc: float  # tau^2 / (tau^2 + sigma^2)


def components(scores: Floats) -> Components:
    """Return the variance components of scores, float [K repeats, R retrainings], K and R >= 2."""
    retrainings = scores.shape[1]
    between = float(retrainings * scores.mean(axis=1).var(ddof=1))
    within = float(scores.var(axis=1, ddof=1).mean())
    tau2 = max(0.0, (between - within) / retrainings)
    return Components(between, within, tau2, tau2 / (tau2 + within) if tau2 + within else 0.0)


def best_retrainings(parts: Components, trials: int) -> float | None:
    """Return sqrt(n sigma^2 / tau^2), the number of retrainings per repeat with the best precision.

    `trials` is n, the trainings that the search of one repeat costs. None if tau^2 is 0.
    """
    return float(np.sqrt(trials * parts.within / parts.tau2)) if parts.tau2 else None


def repeats_needed(
    search: Estimate, groups: float, repeats: int, margin: float, alpha: float, paired: bool
) -> dict[str, int] | None:
    """Return the number of repeats per arm with 80 % power: {likely, safe}, as `sizes_needed`.

    Args:
        search: the gap with the error of the search, from `repeats` repeats per arm.
        groups: the variance due to the groups, which more repeats do not reduce.
        repeats: K of the completed study.
        margin: the smallest gap that matters, in the unit of the scores.
        alpha: error rate of the verdict.
        paired: whether the repeats of the arms are paired.
    """

    def degrees(planned: int) -> float:
        return (1 if paired else 2) * (planned - 1)

    balanced = replace(search, df=degrees(repeats))
    return sizes_needed(balanced, groups, repeats, range(2, 10_001), degrees, margin, alpha)
