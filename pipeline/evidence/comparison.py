"""All pairs of a study, compared: the rows of `pairs` in metrics.json, of either design, with or without films."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evidence import pool, studies, verdict
from pipeline.evidence.estimate import Estimate, film_variance
from pipeline.evidence.pool import Pool

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Rules:
    """What is fixed before the run.

    Attributes:
        headline: n, trials of the search that the verdict speaks of.
        margin: the smallest gap that matters, in the scores' unit.
        alpha: error rate over all pairs and looks.
        looks: at how many sizes of the study a verdict may be given.
        paired: equal trials (or studies) of the arms belong together.
    """

    headline: int
    margin: float
    alpha: float = 0.05
    looks: int = 1
    paired: bool = True

    @property
    def level(self) -> float:
        """The error rate of one look."""
        return self.alpha / self.looks


@dataclass(frozen=True)
class Films:
    """Who got which review right, for the films' part of the error.

    Attributes:
        right: {arm: float [reviews]}, the expected share of rightness of each review, with the weights of the arm's mean.
        movies: int [reviews].
    """

    right: Mapping[str, Floats]
    movies: NDArray[np.integer]

    def variance(self, a: str, b: str | None = None) -> tuple[float, float]:
        """The films' variance of one arm's mean or of a pair's gap, and its degrees of freedom."""
        return film_variance(self.right[a] - (0.0 if b is None else self.right[b]), self.movies)


def compare_pools(pools: Mapping[str, Pool], rules: Rules, films: Films | None = None) -> list[dict[str, Any]]:
    """`pairs` of the pooled design, in the order of `pools`; trial i of all arms belong together where `rules.paired`.

    Raises:
        ValueError: if the arms differ in size, or N/n is below 4.
    """
    sizes = {arm: len(trials) for arm, trials in pools.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"arms must have equally many trials, not {sizes}: a larger search wins by luck alone.")
    trials = next(iter(sizes.values()))
    if trials < pool.FEWEST_PER_HEADLINE * rules.headline:
        raise ValueError(f"N/n must be at least {pool.FEWEST_PER_HEADLINE}, not {trials}/{rules.headline}.")

    def gap(a: str, b: str) -> Estimate:
        return pool.gap(pools[a], pools[b], rules.headline, rules.paired)

    def wins(a: str, b: str) -> tuple[float, float | None, float | None]:
        return pool.win_probability(pools[a], pools[b], rules.headline, rules.paired, rules.level)

    def needed(search: Estimate, film: float) -> dict[str, int] | None:
        return pool.trials_needed(search, film, trials, rules.headline, rules.margin, rules.level)

    return _pairs(list(pools), rules, films, gap, wins, needed, trials + 1)


def compare_studies(scores: Mapping[str, Floats], rules: Rules, films: Films | None = None) -> list[dict[str, Any]]:
    """`pairs` of separate studies, scores float [K] an arm; study k of all arms belong together where `rules.paired`.

    `trials_needed` counts trials an arm, K times the headline budget. A row also has the exact permutation's p-value and Hedges's g.

    Raises:
        ValueError: if an arm has fewer than 3 studies.
    """
    for arm, values in scores.items():
        if len(values) < studies.FEWEST:
            raise ValueError(f"K must be at least {studies.FEWEST}, not {len(values)} studies of {arm}.")
    fewest = min(map(len, scores.values()))

    def gap(a: str, b: str) -> Estimate:
        return studies.gap(scores[a], scores[b], rules.paired)

    def wins(a: str, b: str) -> tuple[float, float | None, float | None]:
        return studies.win_probability(scores[a], scores[b]), None, None

    def needed(search: Estimate, film: float) -> dict[str, int] | None:
        found = studies.studies_needed(search, film, fewest, rules.margin, rules.level, rules.paired)
        return found and {name: count * rules.headline for name, count in found.items()}

    rows = _pairs(list(scores), rules, films, gap, wins, needed, (fewest + 1) * rules.headline)
    for row in rows:
        a, b = scores[row["a"]], scores[row["b"]]
        row |= {"p_permutation": studies.p_permutation(a, b, rules.paired), "hedges_g": studies.hedges_g(a, b)}
    return rows


def _pairs(
    arms: list[str],
    rules: Rules,
    films: Films | None,
    gap: Callable[[str, str], Estimate],
    wins: Callable[[str, str], tuple[float, float | None, float | None]],
    needed: Callable[[Estimate, float], dict[str, int] | None],
    next_size: int,
) -> list[dict[str, Any]]:
    pairs = list(combinations(arms, 2))
    searches = [gap(a, b) for a, b in pairs]
    parts = [films.variance(a, b) if films else (0.0, 1.0) for a, b in pairs]
    totals = [search.plus(*part).no_surer_than(search, rules.level) for search, part in zip(searches, parts, strict=True)]
    verdicts = verdict.judge(totals, rules.margin, rules.level)
    rows = []
    for (a, b), search, (film, _), total, found in zip(pairs, searches, parts, totals, verdicts, strict=True):
        low, high = total.interval(rules.level)
        search_low, search_high = search.interval(rules.level)
        probability, probability_low, probability_high = wins(a, b)
        row = {
            **{"a": a, "b": b, "gap": total.value, "low": low, "high": high, "df": total.df, "se": total.se},
            **{"search_low": search_low, "search_high": search_high, "search_df": search.df, "search_se": search.se},
            "film_se": float(np.sqrt(film)),
            **{key: value for key, value in found._asdict().items() if key != "word"},
            "probability_within_margin": verdict.p_within(total, rules.margin),
            "probability_a_beats_b": probability,
            "probability_low": probability_low,
            "probability_high": probability_high,
            "verdict": found.word,
            # So many that are there already have not decided it.
            "trials_needed": _at_least(needed(search, film), next_size) if found.word == verdict.UNDECIDED else None,
        }
        rows.append(row)
    return rows


def _at_least(found: dict[str, int] | None, size: int) -> dict[str, int] | None:
    return found and {name: max(count, size) for name, count in found.items()}
