"""Compare all pairs of arms of a study: the rows of `pairs` in metrics.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import decision, repeated_search, shared_search
from .estimate import Estimate, group_variance
from .shared_search import Pool

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Rules:
    """The rules of the comparison, fixed before the run.

    Attributes:
        budget: n, the search size that the verdict is about, in trials.
        margin: the smallest gap that matters, in the unit of the scores.
        alpha: error rate over all pairs and interim analyses.
        looks: number of study sizes at which a verdict may be given.
        paired: whether equal trials (or repeats) of the arms form pairs.
    """

    budget: int
    margin: float
    alpha: float = 0.05
    looks: int = 1
    paired: bool = True

    @property
    def level(self) -> float:
        """The error rate of one interim analysis."""
        return self.alpha / self.looks


@dataclass(frozen=True)
class Groups:
    """Each test row's contribution to the scores, and its group.

    Attributes:
        right: {arm: float [rows]}, expected contribution of each row to the mean score of the arm.
        groups: int [rows].
    """

    right: Mapping[str, Floats]
    groups: NDArray[np.integer]

    def variance(self, a: str, b: str | None = None) -> tuple[float, float]:
        """Return the groups' variance of one arm's mean, or of a gap, and its df."""
        other = 0.0 if b is None else self.right[b]
        return group_variance(self.right[a] - other, self.groups)


def compare_shared(
    pools: Mapping[str, Pool], rules: Rules, groups: Groups | None = None
) -> list[dict[str, Any]]:
    """Return one row per pair of arms of a shared search, in the order of `pools`.

    Trial i of all arms belongs together if `rules.paired`. `trials_needed` counts trials per arm.

    Raises:
        ValueError: if the arms differ in size, or N/n is below 4.
    """
    sizes = {arm: len(pool) for arm, pool in pools.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(
            f"arms must have equally many trials, not {sizes}: a larger search wins by luck alone."
        )
    trials, fewest = next(iter(sizes.values())), shared_search.MIN_TRIALS_PER_BUDGET
    if trials < fewest * rules.budget:
        raise ValueError(f"N/n must be at least {fewest}, not {trials}/{rules.budget}.")
    n, paired, level = rules.budget, rules.paired, rules.level
    pairs = [(pools[a], pools[b]) for a, b in combinations(pools, 2)]
    gaps = [shared_search.gap(a, b, n, paired) for a, b in pairs]
    wins = [shared_search.win_probability(a, b, n, paired, level) for a, b in pairs]

    def needed(search: Estimate, group: float) -> dict[str, int] | None:
        return shared_search.trials_needed(search, group, trials, n, rules.margin, level)

    return _rows(list(pools), gaps, wins, needed, trials + 1, rules, groups)


def compare_repeated(
    scores: Mapping[str, Floats], rules: Rules, groups: Groups | None = None
) -> list[dict[str, Any]]:
    """Return one row per pair of arms of repeated searches, in the order of `scores`.

    Rows also have the p-value of the exact permutation test and Hedges's g. `trials_needed` counts
    trials per arm: the number of repeats times the budget.

    Args:
        scores: {arm: float [K]}; repeat k of all arms belongs together if `rules.paired`.
        rules: the rules of the comparison.
        groups: the contributions of the test rows, or None without them.

    Raises:
        ValueError: if an arm has fewer than 3 repeats.
    """
    least, budget = repeated_search.FEWEST, rules.budget
    for arm, values in scores.items():
        if len(values) < least:
            raise ValueError(f"K must be at least {least}, not {len(values)} repeats of {arm}.")
    fewest = min(map(len, scores.values()))
    pairs = [(scores[a], scores[b]) for a, b in combinations(scores, 2)]
    gaps = [repeated_search.gap(a, b, rules.paired) for a, b in pairs]
    wins = [(repeated_search.win_probability(a, b), None, None) for a, b in pairs]

    def needed(search: Estimate, group: float) -> dict[str, int] | None:
        repeats = repeated_search.repeats_needed(
            search, group, fewest, rules.margin, rules.level, rules.paired
        )
        return repeats and {name: count * budget for name, count in repeats.items()}

    rows = _rows(list(scores), gaps, wins, needed, (fewest + 1) * budget, rules, groups)
    for row, (a, b) in zip(rows, pairs, strict=True):
        row["p_permutation"] = repeated_search.p_permutation(a, b, rules.paired)
        row["hedges_g"] = repeated_search.hedges_g(a, b)
    return rows


def _rows(
    arms: Sequence[str],
    gaps: Sequence[Estimate],
    wins: Sequence[tuple[float, float | None, float | None]],
    needed: Callable[[Estimate, float], dict[str, int] | None],
    next_size: int,
    rules: Rules,
    groups: Groups | None,
) -> list[dict[str, Any]]:
    """Return the rows of all pairs.

    `gaps` have the error of the search alone. `wins` hold (probability that `a` beats `b`, low,
    high). `needed` maps a gap and the variance of the groups to numbers of trials, raised to
    `next_size`, since the present size has not decided the pair.
    """
    pairs, level = list(combinations(arms, 2)), rules.level
    parts = [groups.variance(a, b) if groups else (0.0, 1.0) for a, b in pairs]
    totals = [
        gap.plus(*part).no_surer_than(gap, level) for gap, part in zip(gaps, parts, strict=True)
    ]
    verdicts = decision.judge(totals, rules.margin, level)
    rows = []
    columns = zip(pairs, gaps, wins, parts, totals, verdicts, strict=True)
    for (a, b), search, (probability, *limits), (group, _), total, verdict in columns:
        low, high = total.interval(level)
        search_low, search_high = search.interval(level)
        sizes = needed(search, group) if verdict.word == decision.UNDECIDED else None
        row = {
            **{"a": a, "b": b, "gap": total.value},
            **{"low": low, "high": high, "df": total.df, "se": total.se},
            **{"search_low": search_low, "search_high": search_high},
            **{"search_df": search.df, "search_se": search.se, "group_se": float(np.sqrt(group))},
            **{key: value for key, value in verdict._asdict().items() if key != "word"},
            "probability_within_margin": decision.p_within(total, rules.margin),
            "probability_a_beats_b": probability,
            "probability_low": limits[0],
            "probability_high": limits[1],
            "verdict": verdict.word,
            "trials_needed": sizes and {key: max(n, next_size) for key, n in sizes.items()},
        }
        rows.append(row)
    return rows
