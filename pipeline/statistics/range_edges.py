"""Edges of the search ranges: is the best trial at the end of a range where scores still rise?

A best trial in an outer tenth alone is weak evidence: by chance, one search in five has it there,
for each range. A parabola is therefore fitted to the scores of the trials nearest to that end. If
its slope at the end is level, the best values are inside the range or just outside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

TENTH = 0.1
# The part of the range that is fitted. Farther trials describe another slope. With half of the
# range, too few of 20 trials remain; with all of it, far trials bend the parabola.
NEAREST = 0.7
# Probability of one or more false warnings in a study, over all ends of all ranges of all arms.
LEVEL = 0.05
# A parabola has three coefficients; the other trials estimate the scatter.
FEWEST = 6
# Tolerance for rounding.
NEAR = 1e-9

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Range:
    """The search range of one hyperparameter, sampled uniformly on its scale.

    Attributes:
        low: the smallest value.
        high: the upper limit.
        step: distance between values; None for a continuous range.
        log: whether the scale is logarithmic.
        choices: the listed values, ascending and evenly spaced on the scale; empty for a range.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    choices: tuple[float, ...] = ()

    @property
    def top(self) -> float:
        """The largest possible value: the last step at or below `high`."""
        if not self.step:
            return self.high
        return self.low + self.step * np.floor((self.high - self.low) / self.step + NEAR)

    def positions(self, values: Floats) -> Floats:
        """Return the positions of values, float [...], on the scale: 0 at `low`, 1 at `top`."""
        if self.choices:
            return np.searchsorted(self.choices, values) / (len(self.choices) - 1)
        if self.log:
            return np.log(values / self.low) / np.log(self.top / self.low)
        return (values - self.low) / (self.top - self.low)


@dataclass(frozen=True)
class Edge:
    """One end of a search range, with the best trial in its outer tenth.

    Attributes:
        key: the hyperparameter.
        upper: whether it is the upper end.
        end: the value at the end.
        value: the value of the best trial.
        position: position of that value on the search scale, 0 to 1.
        chance: p-value of the slope towards the end; 1 with too few trials.
        chance_any: `chance` corrected (Bonferroni) for all ends of all ranges of all arms.
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
        """Whether better values are likely outside the range."""
        return self.chance_any <= LEVEL

    @property
    def remedy(self) -> str:
        """What the user can do."""
        side = "above" if self.upper else "below"
        return f"search {self.key} {side} {self.end:g} too (conf/space), if such values make sense"


def span(parameter: Mapping[str, Any]) -> Range | None:
    """Return the range of a parameter {low, high, step, log} or {choices}.

    None if it has no two ends: a single value, choices that are not numbers, or fewer than three.
    """
    choices = parameter.get("choices")
    if choices is None:
        limits = Range(parameter["low"], parameter["high"], parameter.get("step"), parameter["log"])
        return limits if limits.top > limits.low else None
    numbers = [x for x in choices if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(numbers) < len(choices) or len(set(numbers)) < 3:
        return None
    return Range(min(numbers), max(numbers), choices=tuple(sorted(set(numbers))))


def edges(
    spans: Mapping[str, Range],
    trials: Sequence[Mapping[str, float]],
    scores: Floats,
    best: Mapping[str, float],
    arms: int,
) -> list[Edge]:
    """Return the ends whose outer tenth contains the best trial.

    Of listed choices only warnings are returned, since few choices are not at an end.

    Args:
        spans: the range of each key.
        trials: the values of each complete trial of one arm.
        scores: float [trials], higher is better.
        best: the values of the best trial of the arm.
        arms: number of arms in the study, for the correction of `chance_any`.
    """
    tests, ends = 2 * len(spans) * arms, []
    for key, limits in spans.items():
        place = float(limits.positions(np.array([best[key]]))[0])
        places = limits.positions(np.array([trial[key] for trial in trials]))
        for upper, end in ((False, limits.low), (True, limits.high)):
            if outer(place, upper):
                chance = slope_chance(places, scores, upper)
                edge = Edge(key, upper, end, best[key], place, chance, min(1.0, tests * chance))
                if edge.warning or not limits.choices:
                    ends.append(edge)
    return ends


def outer(position: float, upper: bool) -> bool:
    """Return whether a position in [0, 1] is in the upper (or else the lower) outer tenth."""
    return position >= 1 - TENTH - NEAR if upper else position <= TENTH + NEAR


def slope_chance(positions: Floats, scores: Floats, upper: bool) -> float:
    """Return the one-sided p-value of a rise of the scores towards one end of the range.

    Least squares of a parabola through the trials in the nearest 70 % of the range, or in all of it
    if fewer than three different values are there; Student's t of its slope at the end.

    Args:
        positions: float [trials], 0 to 1.
        scores: float [trials], higher is better.
        upper: whether the end is the upper one.

    Returns:
        The p-value; 1 with too few trials, too few different values, or constant scores.
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
    df = len(away) - 3
    variance = np.sum((scores - design @ fitted) ** 2) / df * inverse[1, 1]
    return float(stats.t.sf(-fitted[1] / np.sqrt(max(variance, np.finfo(float).tiny)), df))
