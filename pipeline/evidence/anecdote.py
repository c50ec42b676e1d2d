"""What one run per cell would have said: with which probability it crowns another cell than the verdict, exactly.

Each arm has the values its single run may take, with a probability each; runs of different arms are independent. Where several
arms tie for the highest value they share the crown equally.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from pipeline.evidence.estimate import Estimate, all_alike, jackknife_variance

RESAMPLES = 1000
# Scores are shares of reviews; their differences carry rounding errors below this.
ROUNDING = 1e-12

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Runs:
    """The values of one arm's single run, float [M] fractions, and their probabilities, float [M] summing to 1."""

    values: Floats
    weights: Floats

    @classmethod
    def equal(cls, values: Floats) -> "Runs":
        """Every value as likely as any other."""
        return cls(np.asarray(values, float), np.full(len(values), 1 / len(values)))

    @cached_property
    def _ascending(self) -> tuple[Floats, Floats]:
        """The values in order, float [M], and the probability of the first k of them, float [M + 1]."""
        order = np.argsort(self.values, kind="stable")
        return self.values[order], np.concatenate([[0.0], np.cumsum(self.weights[order])])

    def below(self, values: Floats, or_equal: bool = False) -> Floats:
        """P(run < value), or <=, for each of `values`."""
        ascending, cumulated = self._ascending
        return np.asarray(cumulated[np.searchsorted(ascending, values, "right" if or_equal else "left")])


def crowned(arms: Sequence[Runs]) -> Floats:
    """Probability that each arm has the highest of one run each, float [arms], summing to 1; O(runs log runs).

    With L the chance that a rival stays below x and e that it equals x, the share of the crown at x is the integral over z from 0
    to 1 of the product of (L + e z), since a tie of k rivals is worth the integral of z^k, 1/(k+1). Gauss's rule is exact for it.
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
    """Probability that one run each shows the highest arm more than `margin` (the scores' unit) above all others."""
    total = 0.0
    for arm in arms:
        rivals = [rival.below(arm.values - margin - ROUNDING) for rival in arms if rival is not arm]
        total += float(arm.weights @ np.prod(rivals, axis=0))
    return total


def bootstrap(
    arms: Sequence[Floats], statistic: Callable[[Sequence[Runs]], float], alpha: float, seed: int
) -> tuple[float, float]:
    """Percentile interval of a statistic, whole groups of runs resampled within each arm.

    Args:
        arms: float [groups, runs] an arm; the runs of a group belong together (a study's retrainings; one run alone).
        statistic: of one `Runs` an arm.
        alpha: one minus the confidence.
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        drawn = [arm[generator.integers(len(arm), size=len(arm))] for arm in arms]
        values.append(statistic([Runs.equal(arm.ravel()) for arm in drawn]))
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def two_arms(rows: Floats, columns: Floats, alpha: float) -> tuple[float, float] | None:
    """Interval of a probability over pairs of independent runs of two arms: DeLong (1988) on the logit, Student's t.

    Args:
        rows: float [A], for each run of one arm the share of the other's runs for which the event holds.
        columns: float [B], the same the other way round.
        alpha: one minus the confidence.

    Returns:
        (low, high), or None where the share is 0 or 1 or an arm has one run.
    """
    share = float(rows.mean())
    if not 0 < share < 1 or min(len(rows), len(columns)) < 2:
        return None
    slope = (share * (1 - share)) ** -2
    found = Estimate(float(logit(share)), slope * rows.var(ddof=1) / len(rows), len(rows) - 1)
    low, high = expit(found.plus(slope * columns.var(ddof=1) / len(columns), len(columns) - 1).interval(alpha))
    return float(low), float(high)


def jackknife(value: float, deleted: Floats, searches: float, df: float, alpha: float) -> tuple[float, float]:
    """Interval of a probability from its values with parts left out, float [parts], on the logit; as `pool.win_probability`."""
    edge = 0.5 / len(deleted) ** 2
    if not edge < value < 1 - edge:
        return all_alike(value, searches, alpha)
    variance = jackknife_variance(logit(np.clip(deleted, edge, 1 - edge)))
    low, high = expit(Estimate(float(logit(value)), variance, df).interval(alpha))
    return float(low), float(high)


def wilson(count: int, of: int, alpha: float) -> tuple[float, float]:
    """Wilson's (1927) interval of a share."""
    found = stats.binomtest(count, of).proportion_ci(1 - alpha, "wilson")
    return float(found.low), float(found.high)
