"""The single-run comparison: one run per cell, of the recipe, a random or a tuned configuration."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scoring.results import Results
from ..statistics import single_run
from ..statistics.decision import ahead
from ..statistics.shared_search import MOST_DELETIONS, Pool, degrees, trial_weights
from ..statistics.single_run import Runs
from . import arrays
from .verdicts import Pair, rules, winner

Statistic = Callable[[Sequence[Runs]], float]
SEED = 0


def versions(results: Results, pairs: Sequence[Pair]) -> dict[str, Any]:
    """`anecdote` of metrics.json: per version the chance of each cell's crown, and the chance of a misleading one.

    `question` is `other`, that a single run a cell crowns another than the verdict's winner; where the verdict has no winner it is
    `clear_lead`, that the crowned cell leads by more than the margin although the verdict says nothing of the kind.
    """
    best = winner(pairs, results.cells)
    margin = results.study["margin"]
    question = "other" if best else "clear_lead"
    place = results.cells.index(best) if best else -1

    def misleading(runs: Sequence[Runs]) -> float:
        return (
            1 - float(single_run.ranks_first(runs)[place])
            if best
            else single_run.clear_lead(runs, margin)
        )

    found: dict[str, Any] = {"winner": best, "question": question}
    for recipe in results.study["recipes"][:1]:
        found["recipe"] = {
            "name": recipe,
            **_independent(results, _scores(results, recipe), misleading, pairs),
        }
    if arrays.separate(results):
        grouped = list(arrays.studies(results).values())
        return {**found, "tuned": _independent(results, grouped, misleading, pairs)}
    pools = arrays.pools(results)
    random = _independent(
        results, [pool.test[:, None] for pool in pools.values()], misleading, pairs
    )
    found["random"] = {
        **random,
        **_same_configuration(list(pools.values()), place, margin, rules(results).level),
    }
    return {**found, "tuned": _searched(results, pools, misleading)}


def _scores(results: Results, kind: str) -> list[NDArray[np.floating]]:
    return [
        results.of("scores", arm, kind)["test"].to_numpy(float)[:, None] for arm in results.cells
    ]


def _independent(
    results: Results,
    values: Sequence[NDArray[np.floating]],
    misleading: Statistic,
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """One version from independent runs, float [groups, runs] an arm, each as likely as any other."""
    runs = [Runs.equal(arm.ravel()) for arm in values]
    level, margin = rules(results).level, results.study["margin"]
    by_pair = [
        _pair(pair, dict(zip(results.cells, runs, strict=True)), margin, level) for pair in pairs
    ]
    if len(runs) == 2:
        low, high = by_pair[0]["low"], by_pair[0]["high"]
    else:
        low, high = single_run.bootstrap(values, misleading, level, SEED)
    crowns = dict(zip(results.cells, map(float, single_run.ranks_first(runs)), strict=True))
    return {
        "runs": len(runs[0].values),
        "ranks_first": crowns,
        "value": misleading(runs),
        "low": low,
        "high": high,
        "pairs": by_pair,
    }


def _pair(pair: Pair, runs: dict[str, Runs], margin: float, level: float) -> dict[str, Any]:
    """A pair alone: the chance that one run each orders it the other way round, or shows a gap above the margin."""
    best = ahead(pair)
    loser = pair["b"] if best == pair["a"] else pair["a"]
    one, other = (runs[best], runs[loser]) if best else (runs[pair["a"]], runs[pair["b"]])

    def shares(mine: Runs, theirs: Runs, mine_above: bool) -> NDArray[np.floating]:
        lower, equal = theirs.below(mine.values), theirs.below(mine.values, or_equal=True)
        if best:
            return (lower + equal) / 2 if mine_above else 1 - (lower + equal) / 2
        wide = margin + single_run.ROUNDING
        return (
            theirs.below(mine.values - wide) + 1 - theirs.below(mine.values + wide, or_equal=True)
        )

    rows, columns = shares(one, other, mine_above=False), shares(other, one, mine_above=True)
    low, high = single_run.two_arms(rows, columns, level) or (None, None)
    return {
        "a": pair["a"],
        "b": pair["b"],
        "question": "other" if best else "clear_lead",
        "value": float(rows.mean()),
        "low": low,
        "high": high,
    }


def _same_configuration(
    pools: Sequence[Pool], place: int, margin: float, level: float
) -> dict[str, Any]:
    """The fairer anecdote: one configuration, drawn at random, in every cell. Ties share the crown; a count out of N."""
    table = np.stack([pool.test for pool in pools])
    top = table.max(axis=0)
    if place >= 0:
        shares = np.where(table[place] == top, 1 / (table == top).sum(axis=0), 0.0)
        count = round(float((1 - shares).sum()))
    else:
        second = np.sort(table, axis=0)[-2]
        count = int((top - second > margin + single_run.ROUNDING).sum())
    low, high = single_run.wilson(count, table.shape[1], level)
    return {"same_configuration": {"count": count, "of": table.shape[1], "low": low, "high": high}}


def _searched(results: Results, pools: dict[str, Pool], misleading: Statistic) -> dict[str, Any]:
    """One version from the pools: the single run is what a search of the budget's size picks."""
    study, size = results.study, len(next(iter(pools.values())))

    def runs(without: NDArray[np.integer]) -> list[Runs]:
        kept = [pool.without(without) for pool in pools.values()]
        return [Runs(pool.test, trial_weights(pool.validation, study["budget"])) for pool in kept]

    whole = runs(np.array([], int))
    parts = min(size, MOST_DELETIONS)
    deleted = np.array([misleading(runs(np.arange(part, size, parts))) for part in range(parts)])
    value = misleading(whole)
    searches = size / study["budget"]
    low, high = single_run.jackknife(
        value, deleted, searches, degrees(size, study["budget"]), rules(results).level
    )
    crowns = dict(zip(pools, map(float, single_run.ranks_first(whole)), strict=True))
    return {"runs": size, "ranks_first": crowns, "value": value, "low": low, "high": high}
