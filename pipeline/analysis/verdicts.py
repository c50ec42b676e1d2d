"""The verdicts of a study from its tables: `pairs`, each arm's interval, the winner if there is one, the parts of the variance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..scoring.results import Results
from ..statistics import repeated_search, shared_search
from ..statistics.decision import REFUSED, ahead
from ..statistics.estimate import Estimate
from ..statistics.pairwise import Groups, Rules, compare_repeated, compare_shared
from . import arrays

Pair = dict[str, Any]


def rules(results: Results) -> Rules:
    """What the study fixed before its run. Arms share configurations in a pool, and the split of each study otherwise: paired."""
    study = results.study
    return Rules(study["budget"], study["margin"], study["alpha"], study["looks"], paired=True)


def pairs(results: Results, groups: Groups, refusal: str | None = None) -> list[Pair]:
    """`pairs` of metrics.json in the order of the study's cells; with a `refusal` every verdict is `refused` and says why."""
    if arrays.separate(results):
        means = {arm: scores.mean(axis=1) for arm, scores in arrays.studies(results).items()}
        found = compare_repeated(means, rules(results), groups)
    else:
        found = compare_shared(arrays.pools(results), rules(results), groups)
    if refusal is None:
        return found
    return [
        {**pair, "verdict": REFUSED, "trials_needed": None, "refusal": refusal} for pair in found
    ]


def tuned(results: Results, groups: Groups, arm: str) -> dict[str, Any]:
    """The expected test score of the arm's search, with the total interval and the search's own."""
    search, level = _search(results, arm), rules(results).level
    total = search.plus(*groups.variance(arm)).no_surer_than(search, level)
    low, high = total.interval(level)
    search_low, search_high = search.interval(level)
    found = {"mean": total.value, "low": low, "high": high, "se": total.se, "df": total.df}
    return {**found, "search_low": search_low, "search_high": search_high}


def components(results: Results, groups: Groups, arm: str) -> dict[str, Any]:
    """Standard deviations (fractions): of searches, of training seeds, of film samples; more in repeated searches."""
    found: dict[str, Any] = {"groups": float(np.sqrt(groups.variance(arm)[0]))}
    if not arrays.separate(results):
        seeds = results.of("scores", arm, "tuned")["test"]
        seed = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
        return {
            "searches": shared_search.search_sd(
                arrays.pools(results)[arm], results.study["budget"]
            ),
            "seeds": seed,
            **found,
        }
    scores = arrays.studies(results)[arm]
    if scores.shape[1] < 2:
        return {"searches": float(scores.std(ddof=1)), "seeds": None, **found}
    parts = repeated_search.components(scores)
    found |= {
        "searches": float(np.sqrt(parts.tau2)),
        "seeds": float(np.sqrt(parts.within)),
        "icc": parts.icc,
    }
    return {
        **found,
        "best_retrainings": repeated_search.best_retrainings(parts, results.study["trials"]),
    }


def winner(found: Sequence[Pair], cells: Sequence[str]) -> str | None:
    """The cell that is better than each other one, by the margin or by less; None when there is none."""
    beaten = dict.fromkeys(cells, 0)
    for pair in found:
        if (best := ahead(pair)) is not None:
            beaten[best] += 1
    return next((cell for cell, count in beaten.items() if count == len(cells) - 1 > 0), None)


def leaders(found: Sequence[Pair], cells: Sequence[str]) -> list[str]:
    """The cells that no other is better than, in the study's order."""
    losers = {
        ({pair["a"], pair["b"]} - {best}).pop()
        for pair in found
        if (best := ahead(pair)) is not None
    }
    return [cell for cell in cells if cell not in losers]


def _search(results: Results, arm: str) -> Estimate:
    if arrays.separate(results):
        return repeated_search.estimate(arrays.studies(results)[arm].mean(axis=1))
    return shared_search.estimate(arrays.pools(results)[arm], results.study["budget"])
