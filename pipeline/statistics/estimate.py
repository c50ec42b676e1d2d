"""Estimates with their uncertainty, and the sum of the search's and the groups' uncertainty."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit


@dataclass(frozen=True)
class Estimate:
    """A value (any unit), the variance of its error (unit squared) and its degrees of freedom."""

    value: float
    variance: float
    df: float

    @property
    def se(self) -> float:
        """The standard error, in the unit of the value."""
        return float(np.sqrt(self.variance))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return Student's interval (low, high) with confidence 1 - `alpha`."""
        half = 0.0
        if self.variance > 0:
            half = float(stats.t.ppf(1 - alpha / 2, self.df)) * self.se
        return self.value - half, self.value + half

    def share_interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval (low, high) of a share in [0, 1], where the estimate is its logit."""
        low, high = expit(self.interval(alpha))
        return float(low), float(high)

    def no_surer_than(self, part: "Estimate", alpha: float) -> "Estimate":
        """Return this estimate, with the degrees of freedom of `part` if its interval is narrower.

        `part` leaves out a source of error. With few degrees of freedom Satterthwaite's rule can
        gain more of them from a small second source than that source widens the interval: with five
        paired repeats, the error of the groups would make a verdict more certain.
        """
        low, high = self.interval(alpha)
        part_low, part_high = part.interval(alpha)
        return replace(self, df=part.df) if high - low < part_high - part_low else self

    def plus(self, variance: float, df: float) -> "Estimate":
        """Add an independent source of error; degrees of freedom by Satterthwaite (1946)."""
        if variance <= 0:
            return self
        total = self.variance + variance
        summed = total**2 / (self.variance**2 / self.df + variance**2 / df)
        return Estimate(self.value, total, summed)


def group_variance(right: NDArray[np.floating], groups: NDArray[np.integer]) -> tuple[float, float]:
    """Return the cluster-robust variance of the mean of `right`, since rows of a group are alike.

    V = G/(G-1) * sum over groups of (sum of deviations from the mean)^2 / rows^2, for G groups
    (Liang and Zeger 1986, for a mean).

    Args:
        right: float [rows], the contribution of each row to a score, or a difference of two.
        groups: int [rows], the group of each row.

    Returns:
        (variance, degrees of freedom G - 1).

    Raises:
        ValueError: if the shapes differ or there is only one group.
    """
    if right.shape != groups.shape:
        raise ValueError(
            f"right and groups must be equally long, not {right.shape} and {groups.shape}."
        )
    names, position = np.unique(groups, return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError("groups must hold at least two groups, not one.")
    sums = np.bincount(position, weights=right - right.mean())
    return float(count / (count - 1) * (sums**2).sum() / right.size**2), float(count - 1)


def jackknife_variance(deleted: NDArray[np.floating]) -> float:
    """Return the delete-one jackknife variance (Efron 1982): (G-1)/G * sum of squared deviations.

    Args:
        deleted: float [G], the estimate with each of G parts left out in turn.
    """
    shifted = deleted - deleted[0]  # a constant has a variance of exactly 0
    return float((len(deleted) - 1) * shifted.var())


def all_alike(share: float, searches: float, alpha: float) -> tuple[float, float]:
    """Return the interval of a share of 0 or 1 in `searches` independent searches.

    The interval of Clopper and Pearson (1934), also for a number of searches that is not whole.
    """
    limit = float((alpha / 2) ** (1 / searches))
    return (limit, 1.0) if share > 0.5 else (0.0, 1 - limit)
