"""The verdicts of a study from its tables: `pairs`, each arm's interval, the winner if there is one, the parts of the variance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.evidence import pool, studies
from pipeline.evidence.comparison import Films, Rules, compare_pools, compare_studies
from pipeline.evidence.estimate import Estimate
from pipeline.evidence.verdict import REFUSED, ahead
from pipeline.reporting import arms
from pipeline.reporting.tables import Results

Pair = dict[str, Any]


def rules(results: Results) -> Rules:
    """What the study fixed before its run. Arms share configurations in a pool, and the split of each study otherwise: paired."""
    study = results.study
    return Rules(study["headline"], study["margin"], study["alpha"], study["looks"], paired=True)


def pairs(results: Results, films: Films, refusal: str | None = None) -> list[Pair]:
    """`pairs` of metrics.json in the order of the study's cells; with a `refusal` every verdict is `refused` and says why."""
    if arms.separate(results):
        means = {arm: scores.mean(axis=1) for arm, scores in arms.studies(results).items()}
        found = compare_studies(means, rules(results), films)
    else:
        found = compare_pools(arms.pools(results), rules(results), films)
    if refusal is None:
        return found
    return [{**pair, "verdict": REFUSED, "trials_needed": None, "refusal": refusal} for pair in found]


def tuned(results: Results, films: Films, arm: str) -> dict[str, Any]:
    """The expected test score of the arm's search, with the total interval and the search's own."""
    search, level = _search(results, arm), rules(results).level
    total = search.plus(*films.variance(arm)).no_surer_than(search, level)
    low, high = total.interval(level)
    search_low, search_high = search.interval(level)
    found = {"mean": total.value, "low": low, "high": high, "se": total.se, "df": total.df}
    return {**found, "search_low": search_low, "search_high": search_high}


def components(results: Results, films: Films, arm: str) -> dict[str, Any]:
    """Standard deviations (fractions): of searches, of training seeds, of film samples; more in separate studies."""
    found: dict[str, Any] = {"films": float(np.sqrt(films.variance(arm)[0]))}
    if not arms.separate(results):
        seeds = results.of("scores", arm, "tuned")["test"]
        seed = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
        return {"searches": pool.search_sd(arms.pools(results)[arm], results.study["headline"]), "seeds": seed, **found}
    scores = arms.studies(results)[arm]
    if scores.shape[1] < 2:
        return {"searches": float(scores.std(ddof=1)), "seeds": None, **found}
    parts = studies.components(scores)
    found |= {"searches": float(np.sqrt(parts.tau2)), "seeds": float(np.sqrt(parts.within)), "icc": parts.icc}
    return {**found, "best_retrainings": studies.best_retrainings(parts, results.study["trials"])}


def winner(found: Sequence[Pair], cells: Sequence[str]) -> str | None:
    """The cell that is better than each other one, by the margin or by less; None when there is none."""
    beaten = dict.fromkeys(cells, 0)
    for pair in found:
        if (best := ahead(pair)) is not None:
            beaten[best] += 1
    return next((cell for cell, count in beaten.items() if count == len(cells) - 1 > 0), None)


def leaders(found: Sequence[Pair], cells: Sequence[str]) -> list[str]:
    """The cells that no other is better than, in the study's order."""
    losers = {({pair["a"], pair["b"]} - {best}).pop() for pair in found if (best := ahead(pair)) is not None}
    return [cell for cell in cells if cell not in losers]


def _search(results: Results, arm: str) -> Estimate:
    if arms.separate(results):
        return studies.estimate(arms.studies(results)[arm].mean(axis=1))
    return pool.estimate(arms.pools(results)[arm], results.study["headline"])
