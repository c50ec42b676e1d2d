"""The single-run comparison: how often one run per arm contradicts the verdict, computed exactly.

Each arm has a discrete distribution of the scores that its single run can have. The runs of
different arms are independent. Arms that tie for the highest score share the first rank equally.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logit

from .estimate import Estimate, all_alike, jackknife_variance

RESAMPLES = 1000
# Scores are shares of test rows. Rounding errors of their differences are below this.
ROUNDING = 1e-12

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Runs:
    """The scores of one arm's single run, float [M], and their probabilities, float [M]."""

    values: Floats
    weights: Floats

    @classmethod
    def equal(cls, values: Floats) -> "Runs":
        """Return equally likely scores."""
        return cls(np.asarray(values, float), np.full(len(values), 1 / len(values)))

    @cached_property
    def _ascending(self) -> tuple[Floats, Floats]:
        """The sorted scores, float [M], and the probability of the first k, float [M + 1]."""
        order = np.argsort(self.values, kind="stable")
        return self.values[order], np.concatenate([[0.0], np.cumsum(self.weights[order])])

    def below(self, values: Floats, or_equal: bool = False) -> Floats:
        """Return P(score < value), or P(score <= value), for each of `values`."""
        ascending, cumulated = self._ascending
        side = np.searchsorted(ascending, values, "right" if or_equal else "left")
        return np.asarray(cumulated[side])


def ranks_first(arms: Sequence[Runs]) -> Floats:
    """Return the probability that each arm has the highest score, with one run per arm.

    With L the probability that a rival is below x and e that it equals x, the arm's share of the
    first rank at x is the integral over z in [0, 1] of the product over rivals of (L + e z), since
    a tie of k rivals contributes the integral of z^k, 1/(k+1). Gauss-Legendre quadrature is exact
    for this polynomial. Takes O(M log M) for M runs.

    Returns:
        float [arms], summing to 1.
    """
    nodes, parts = np.polynomial.legendre.leggauss(len(arms) // 2 + 1)
    nodes, parts = (nodes + 1) / 2, parts / 2
    shares = []
    for arm in arms:
        product = np.ones((len(arm.values), len(nodes)))
        for rival in arms:
            if rival is not arm:
                lower = rival.below(arm.values)
                tie = rival.below(arm.values, or_equal=True) - lower
                product *= lower[:, None] + tie[:, None] * nodes
        shares.append(arm.weights @ product @ parts)
    return np.array(shares)


def clear_lead(arms: Sequence[Runs], margin: float) -> float:
    """Return the probability that the highest of one run per arm leads by more than `margin`.

    The margin is in the unit of the scores.
    """
    total = 0.0
    for arm in arms:
        limit = arm.values - margin - ROUNDING
        rivals = [rival.below(limit) for rival in arms if rival is not arm]
        total += float(arm.weights @ np.prod(rivals, axis=0))
    return total


def bootstrap(
    arms: Sequence[Floats], statistic: Callable[[Sequence[Runs]], float], alpha: float, seed: int
) -> tuple[float, float]:
    """Return the percentile interval (low, high) of a statistic; clusters of runs are resampled.

    Args:
        arms: float [clusters, runs] per arm. The runs of a cluster belong together, such as the
            retrainings of one repeat; independent runs are clusters of one.
        statistic: maps one `Runs` per arm to a number.
        alpha: one minus the confidence.
        seed: seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        samples = [arm[generator.integers(len(arm), size=len(arm))] for arm in arms]
        values.append(statistic([Runs.equal(sample.ravel()) for sample in samples]))
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def two_arms(rows: Floats, columns: Floats, alpha: float) -> tuple[float, float] | None:
    """Return the interval of a probability over pairs of independent runs of two arms.

    The variance of DeLong et al. (1988), on the logit scale, with Student's t.

    Args:
        rows: float [A], for each run of one arm the share of the other's runs with the event.
        columns: float [B], for each run of the other arm the share of the first arm's runs.
        alpha: one minus the confidence.

    Returns:
        (low, high), or None if the share is 0 or 1 or an arm has one run.
    """
    share = float(rows.mean())
    if not 0 < share < 1 or min(len(rows), len(columns)) < 2:
        return None
    slope = (share * (1 - share)) ** -2
    first = Estimate(float(logit(share)), slope * rows.var(ddof=1) / len(rows), len(rows) - 1)
    both = first.plus(slope * columns.var(ddof=1) / len(columns), len(columns) - 1)
    return both.share_interval(alpha)


def jackknife(
    value: float, deleted: Floats, searches: float, df: float, alpha: float
) -> tuple[float, float]:
    """Return the jackknife interval of a probability on the logit scale.

    As in `shared_search.win_probability`.

    Args:
        value: the probability, from all parts.
        deleted: float [parts], the probability with each part left out in turn.
        searches: number of independent searches, for a probability of 0 or 1.
        df: degrees of freedom.
        alpha: one minus the confidence.
    """
    edge = 0.5 / len(deleted) ** 2
    if not edge < value < 1 - edge:
        return all_alike(value, searches, alpha)
    variance = jackknife_variance(logit(np.clip(deleted, edge, 1 - edge)))
    return Estimate(float(logit(value)), variance, df).share_interval(alpha)


def wilson(count: int, of: int, alpha: float) -> tuple[float, float]:
    """Return the interval (low, high) of Wilson (1927) for the share `count` / `of`."""
    interval = stats.binomtest(count, of).proportion_ci(1 - alpha, "wilson")
    return float(interval.low), float(interval.high)
