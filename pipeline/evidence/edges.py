"""Edges of the search ranges: does the best trial lie where a range ends, while scores still rise there?

A best trial in an outer tenth says little: one search of five has it there by chance, in each range. So the trials nearest to that end are
asked as well. A parabola through their scores tells the slope at the end itself: one that levels off has its best values in the range,
or just beyond it, where little is to be won.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

TENTH = 0.1
# Of the range: trials farther off tell of the slope elsewhere. Half leaves too few of 20 trials, all of them bend with what is far away.
NEAREST = 0.7
# The chance of one false warning in a study, over all ends of all ranges of all arms.
LEVEL = 0.05
# A parabola takes three, and what remains tells how much scores scatter.
FEWEST = 6
NEAR = 1e-9


@dataclass(frozen=True)
class Range:
    """The numbers that one hyperparameter was drawn from, evenly on their scale.

    Attributes:
        low: the smallest.
        high: the largest.
        step: from one to the next, None if any number between may come.
        log: drawn evenly in the logarithm.
        choices: the numbers that can come, in order, where these are listed; they lie evenly on the scale.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    choices: tuple[float, ...] = ()

    @property
    def top(self) -> float:
        """The largest number that can come: the last step at or below `high`."""
        return self.low + self.step * np.floor((self.high - self.low) / self.step + NEAR) if self.step else self.high

    def positions(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Where on the scale the values, float [...], lie: 0 at the lower end, 1 at the upper."""
        if self.choices:
            return np.searchsorted(self.choices, values) / (len(self.choices) - 1)
        if self.log:
            return np.log(values / self.low) / np.log(self.top / self.low)
        return (values - self.low) / (self.top - self.low)


@dataclass(frozen=True)
class Edge:
    """An end of the range of `key`, in whose outer tenth the best trial lies.

    Attributes:
        upper: whether it is the upper end.
        end: the number there.
        value: the best trial's.
        position: of that value, 0 to 1 on the search scale.
        chance: of a slope so steep towards the end, if there were none at it; 1 where too few trials can tell.
        chance_any: of one at any end of any range of any arm of the study.
    """

    key: str
    upper: bool
    end: float
    value: float
    position: float
    chance: float
    chance_any: float

    @property
    def warning(self) -> bool:
        """Whether better values may lie beyond."""
        return self.chance_any <= LEVEL

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return f"search {self.key} {'above' if self.upper else 'below'} {self.end:g} too (conf/space), if such values make sense"


def span(parameter: Mapping[str, Any]) -> Range | None:
    """The range of a searched hyperparameter {low, high, step, log} or {choices}; None where it has no ends, or nothing between them."""
    choices = parameter.get("choices")
    if choices is None:
        own = Range(parameter["low"], parameter["high"], parameter.get("step"), parameter["log"])
        return own if own.top > own.low else None
    numbers = [one for one in choices if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(choices) or len(set(numbers)) < 3:
        return None
    return Range(min(numbers), max(numbers), choices=tuple(sorted(set(numbers))))


def edges(
    spans: Mapping[str, Range],
    trials: Sequence[Mapping[str, float]],
    scores: NDArray[np.floating],
    best: Mapping[str, float],
    arms: int,
) -> list[Edge]:
    """Every end in whose outer tenth the best trial lies; of listed choices, of which few lie within, those that are a warning.

    Args:
        spans: the ranges, by key.
        trials: the values of each complete trial of an arm.
        scores: float [trials], higher better.
        best: the values of the arm's best trial.
        arms: how many arms the study has, each of which looks at as many ends.
    """
    ends, found = 2 * len(spans) * arms, []
    for key, own in spans.items():
        place, placed = float(own.positions(np.array([best[key]]))[0]), own.positions(np.array([one[key] for one in trials]))
        for upper, end in ((False, own.low), (True, own.high)):
            if outer(place, upper):
                chance = slope_chance(placed, scores, upper)
                found.append(Edge(key, upper, end, best[key], place, chance, min(1.0, ends * chance)))
    return [edge for edge in found if edge.warning or not spans[edge.key].choices]


def outer(position: float, upper: bool) -> bool:
    """Whether a position in [0, 1] lies in the upper, or else the lower, outer tenth."""
    return position >= 1 - TENTH - NEAR if upper else position <= TENTH + NEAR


def slope_chance(positions: NDArray[np.floating], scores: NDArray[np.floating], upper: bool) -> float:
    """How likely scores rise so steeply at the upper, or else the lower, end if they were level there; float [trials] both.

    Least squares of a parabola through the trials in the nearest 70 % of the range, or in all of it where fewer than three different
    values lie there; Student's t of its slope at the end, one-sided. 1 where too few trials or values can tell.
    """
    away = 1 - positions if upper else positions
    near = away <= NEAREST + NEAR
    if len(np.unique(away[near])) < 3:
        near = np.ones(len(away), bool)
    away, scores = away[near], scores[near]
    if len(np.unique(away)) < 3 or len(away) < FEWEST or np.ptp(scores) == 0:
        return 1.0
    design = np.stack([np.ones(len(away)), away, away**2], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    fitted = inverse @ design.T @ scores
    freedom = len(away) - 3
    variance = np.sum((scores - design @ fitted) ** 2) / freedom * inverse[1, 1]
    return float(stats.t.sf(-fitted[1] / np.sqrt(max(variance, np.finfo(float).tiny)), freedom))
