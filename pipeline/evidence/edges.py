"""Edges of the search ranges: did the best trials lie where a range ends, so that better ones may lie beyond it?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# An outer tenth of a range holds the winner by chance in one search of five, both sides together: a note.
TENTH = 0.1
# 4 of the best 10, or 3 winners of 5 studies, in one outer tenth: .0128 and .0086 by chance. That is a warning.
RARE = 0.0128
NEAR = 1e-9


@dataclass(frozen=True)
class Range:
    """The numbers that one hyperparameter was drawn from, evenly on their scale.

    Attributes:
        low: the smallest.
        high: the largest.
        step: from one to the next, None if any number between may come.
        log: drawn evenly in the logarithm.
        whole: whole numbers only.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def top(self) -> float:
        """The largest number that can come: the last step at or below `high`."""
        return self.low + self.step * np.floor((self.high - self.low) / self.step + NEAR) if self.step else self.high

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Where on the scale the values, float [...], lie: 0 at the lower end, 1 at the upper."""
        if self.log:
            return np.log(values / self.low) / np.log(self.top / self.low)
        return (values - self.low) / (self.top - self.low)

    def share(self, upper: bool) -> float:
        """The chance that a drawn value lies in the upper, or else the lower, outer tenth: .1 unless values come in steps."""
        if self.step is None and not self.whole:
            return TENTH
        step = self.step or 1.0
        values = self.low + step * np.arange(round((self.top - self.low) / step) + 1)
        weights = np.ones(len(values))
        if self.log:
            # Whole numbers on a logarithmic scale are rounded from evenly drawn logarithms.
            weights = np.log((values + 0.5) / (values - 0.5))
        return float(weights[outer(self.positions(values), upper)].sum() / weights.sum())


def outer(positions: NDArray[np.floating], upper: bool) -> NDArray[np.bool_]:
    """Which positions, float [...] in [0, 1], lie in the upper, or else the lower, outer tenth."""
    return np.asarray(positions >= 1 - TENTH - NEAR if upper else positions <= TENTH + NEAR)


def chance(count: int, of: int, share: float) -> float:
    """Probability that at least `count` of `of` trials lie where `share` of all draws do, if place made no difference."""
    return float(stats.binom.sf(count - 1, of, share))
