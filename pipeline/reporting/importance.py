"""Which hyperparameters explain the spread of an arm's scores, and whether the best trials lie at the edge of a range.

Both questions read the recorded trials and the study's space alone. Importance is Optuna's functional analysis of variance (Hutter,
Hoos, Leyton-Brown 2014) against shuffled scores, since it finds something in noise too. Independent trials only: a sampler that
learns crowds the good region, where little is left to explain.

Two choices differ from Optuna's defaults, and name what is there three to four times as often at the same error in noise. Shares are
not scaled to sum to 1: noise is mostly interplay, and scaled up its largest share passes .6. Ranges that are searched evenly in the
logarithm are taken so, or a few large learning rates would stand for nine tenths of the range.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import FairsweepError
from pipeline.evidence import edges as evidence
from pipeline.evidence.fanova import shares
from pipeline.files import replace_file
from pipeline.reporting.arms import separate
from pipeline.reporting.tables import DIGITS, Results, best_row

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LABEL = "what explains the spread (broken runs dominate it)"
CACHE = Path(".fairsweep/importance")
# The first can be named from 30 complete trials on, an order from 60; more cost minutes and change little.
FEWEST, FEWEST_ORDERED = 30, 60
SHUFFLES = 20
TREES, DEPTH, SEED = 64, 64, 0
BEST = 10


class Spread(NamedTuple):
    """Complete trials on the search scale, where every range is even.

    Attributes:
        space: rows of study.json's `space`, sorted by key; a logarithmic range as the range of the logarithms.
        values: {key: value} a trial, keys as sorted.
        scores: float [trials], validation.
    """

    space: list[dict[str, Any]]
    values: list[dict[str, Any]]
    scores: NDArray[np.floating]


def importance(results: Results, cache: Path | None = CACHE) -> dict[str, dict[str, Any]]:
    """Of each arm {evaluator, trials, shares, baseline, named, note}, as metrics.json holds it.

    `shares` are of the variance over the space, largest first: what a key explains by itself; what they lack to 1 is interplay.
    `baseline` is the largest share in 20 shuffles of the scores, so noise names a key in one study of 21; `named` are the keys
    above it, the first alone below 60 trials. Where nothing is computed, `shares` and `named` are empty, `baseline` is None and
    `note` says why.

    Args:
        results: a study.
        cache: folder of results by the digest of what they come from; None computes anew. It may be deleted at any time.

    Raises:
        FairsweepError: if a trial lacks a searched key.
    """
    return {arm: _importance(results, arm, cache) for arm in results.cells}


def edges(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Of each arm, every end of a numeric range where its winner lies in the outer tenth, or too many of its best trials do.

    Each is {key, side, value, position, winner, count, of, share, chance, chance_any, warning, remedy}. `value` and `position`
    (0 to 1 on the search scale) are the winner's, `winner` says whether it lies in this tenth. Of the best 10 of a pool's
    complete trials (at least 30), or of the winners of separate studies, `count` of `of` lie there, where `share` of all draws
    do; `chance` is that of so many, and `chance_any` of it at some end of some range. With less than that they are None.

    Raises:
        FairsweepError: if a trial lacks a searched key.
    """
    return {arm: _edges(results, arm) for arm in results.cells}


def _importance(results: Results, arm: str, cache: Path | None) -> dict[str, Any]:
    complete = _complete(results, arm)
    used = complete.head(FEWEST_ORDERED)
    empty = {"evaluator": "fanova", "trials": len(used), "shares": {}, "baseline": None, "named": []}
    sampler = results.study.get("sampler") or ("tpe" if separate(results) else "random")
    if sampler != "random":
        return {**empty, "note": f"not computed: trials of the sampler {sampler} crowd the good region"}
    if len(used) < FEWEST:
        return {**empty, "note": f"not computed: {len(used)} complete trials, at least {FEWEST} are needed"}
    if used["validation"].nunique() == 1:
        return {**empty, "note": "not computed: all complete trials score the same"}
    space = [row for row in results.study["space"] if _varies(row)]
    if not space:
        return {**empty, "note": "not computed: no hyperparameter has two values"}
    spread = _spread(used, space)
    found, baseline = _cached(spread, cache)
    named = [key for key, share in found.items() if share > baseline]
    notes = [f"the first {len(used)} of {len(complete)} complete trials"] if len(used) < len(complete) else []
    if len(used) < FEWEST_ORDERED:
        named = named[:1]
        notes.append(f"an order needs {FEWEST_ORDERED} complete trials")
    if not named:
        notes.append("no share is larger than in shuffled scores")
    if (results.of("trials", arm)["state"] == "pruned").any():
        notes.append("pruned trials are left out")
    return {**empty, "shares": found, "baseline": baseline, "named": named, "note": "; ".join(notes) or None}


def _complete(results: Results, arm: str) -> pd.DataFrame:
    trials = results.of("trials", arm)
    return trials[trials["state"] == "complete"].sort_values(["study", "trial"])


def _spread(trials: pd.DataFrame, space: list[dict[str, Any]]) -> Spread:
    logarithmic = {row["key"] for row in space if row.get("log")}
    even = [
        {"key": row["key"], "low": math.log(row["low"]), "high": math.log(row["high"])} if row["key"] in logarithmic else row
        for row in sorted(space, key=lambda row: row["key"])
    ]
    values = [
        {key: math.log(value) if key in logarithmic else value for key, value in _values(row, space).items()}
        for row in trials["overrides"]
    ]
    return Spread(even, values, trials["validation"].to_numpy(float))


def _values(overrides: str, space: list[dict[str, Any]]) -> dict[str, Any]:
    """The searched values of one trial, in the order of the keys."""
    import yaml

    texts = dict(text.split("=", 1) for text in json.loads(overrides))
    lacking = [row["key"] for row in space if row["key"] not in texts]
    if lacking:
        raise FairsweepError(f"a trial lacks {', '.join(lacking)}. Expected every key of the space; found {overrides}.")
    values = {}
    for row in sorted(space, key=lambda row: row["key"]):
        text = texts[row["key"]]
        # YAML reads 1e-05 as text.
        number = int if _whole(row) else float
        values[row["key"]] = yaml.safe_load(text) if "choices" in row else number(text)
    return values


def _varies(row: Mapping[str, Any]) -> bool:
    return len(row["choices"]) > 1 if "choices" in row else row["low"] < row["high"]


def _whole(row: Mapping[str, Any]) -> bool:
    """Whether a range holds whole numbers, which are written without a point."""
    return all(isinstance(row.get(name, 1), int) for name in ("low", "high", "step"))


def _distribution(row: Mapping[str, Any]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in row:
        return CategoricalDistribution(row["choices"])
    if _whole(row):
        return IntDistribution(row["low"], row["high"], step=row.get("step", 1))
    return FloatDistribution(row["low"], row["high"], step=row.get("step"))


def _cached(spread: Spread, cache: Path | None) -> tuple[dict[str, float], float]:
    """Shares and baseline, from the cache if they are there in whole."""
    if cache is None:
        return _computed(spread)
    inputs = [spread.space, spread.values, spread.scores.tolist(), SHUFFLES, TREES, DEPTH, SEED]
    libraries = {name: version(name) for name in ("optuna", "scikit-learn", "numpy")}
    path = cache / f"{hashlib.sha256(json.dumps([inputs, libraries]).encode()).hexdigest()}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = {key: float(share) for key, share in kept["shares"].items()}
        if set(found) == {row["key"] for row in spread.space}:
            return found, float(kept["baseline"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # absent or damaged: computed anew
    found, baseline = _computed(spread)
    with replace_file(path) as part:
        part.write_text(json.dumps({"shares": found, "baseline": baseline}) + "\n", encoding="utf-8")
    return found, baseline


def _computed(spread: Spread) -> tuple[dict[str, float], float]:
    """Optuna's shares, largest first, and the largest of the largest shares of 20 shuffles of the scores."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    distributions = {row["key"]: _distribution(row) for row in spread.space}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for values, score in zip(spread.values, spread.scores, strict=True):
        study.add_trial(optuna.create_trial(params=values, distributions=distributions, value=float(score)))
    evaluated = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=SEED).evaluate(study)
    found = {key: round(float(share), DIGITS) for key, share in evaluated.items()}
    rng = np.random.default_rng(SEED)
    shuffled = [_forest_shares(spread._replace(scores=rng.permutation(spread.scores))).max() for _ in range(SHUFFLES)]
    return found, round(float(max(shuffled)), DIGITS)


def _forest_shares(spread: Spread) -> NDArray[np.floating]:
    """The numbers of Optuna's evaluator, float [keys], in a seventh of its time."""
    from sklearn.ensemble import RandomForestRegressor

    columns, bounds, groups = _encoded(spread)
    forest = RandomForestRegressor(n_estimators=TREES, max_depth=DEPTH, random_state=SEED).fit(columns, spread.scores)
    return shares([tree.tree_ for tree in forest.estimators_], bounds, groups)


def _encoded(spread: Spread) -> tuple[NDArray[np.floating], NDArray[np.floating], list[list[int]]]:
    """The trials as numbers, a choice as one column each: columns float [trials, C], their bounds [C, 2], each key's columns."""
    columns: list[NDArray[np.floating]] = []
    bounds: list[tuple[float, float]] = []
    groups: list[list[int]] = []
    for row in spread.space:
        own = [one[row["key"]] for one in spread.values]
        encoded = [[value == choice for value in own] for choice in row["choices"]] if "choices" in row else [own]
        groups.append(list(range(len(columns), len(columns) + len(encoded))))
        columns += [np.array(column, float) for column in encoded]
        bounds += [(0.0, 1.0) if "choices" in row else (row["low"], row["high"])] * len(encoded)
    return np.stack(columns, axis=1), np.array(bounds, float), groups


def _edges(results: Results, arm: str) -> list[dict[str, Any]]:
    trials, complete = results.of("trials", arm), _complete(results, arm)
    ranges = [row for row in results.study["space"] if "choices" not in row and _varies(row)]
    if not ranges:
        return []
    best = best_row(trials)
    if separate(results):
        rows = [best_row(some) for _, some in trials.groupby("study") if some["validation"].notna().any()]
    else:
        ordered = complete.sort_values(["validation", "validation_loss", "trial"], ascending=[False, True, True])
        rows = [row for _, row in ordered.head(BEST).iterrows()] if len(complete) >= FEWEST else []
    values = [_values(row["overrides"], ranges) for row in rows]
    winner = _values(best["overrides"], ranges)
    found = [_edge(row, winner, values, upper, 2 * len(ranges)) for row in ranges for upper in (False, True)]
    return [edge for edge in found if edge["winner"] or edge["warning"]]


def _edge(
    row: Mapping[str, Any], winner: Mapping[str, Any], best: list[dict[str, Any]], upper: bool, ends: int
) -> dict[str, Any]:
    """One end of one range; `best` are the values of the best trials, `ends` how many ends are looked at."""
    key = row["key"]
    span = evidence.Range(row["low"], row["high"], row.get("step"), row["log"], _whole(row))
    position = span.positions(np.array([winner[key]]))
    count = int(evidence.outer(span.positions(np.array([one[key] for one in best])), upper).sum())
    share = span.share(upper)
    chance = evidence.chance(count, len(best), share) if best else None
    end = f"above {row['high']:g}" if upper else f"below {row['low']:g}"
    return {
        "key": key,
        "side": "high" if upper else "low",
        "value": winner[key],
        "position": round(float(position[0]), DIGITS),
        "winner": bool(evidence.outer(position, upper)[0]),
        "count": count if best else None,
        "of": len(best) or None,
        "share": round(share, DIGITS),
        "chance": None if chance is None else round(chance, DIGITS),
        "chance_any": None if chance is None else round(min(1.0, chance * ends), DIGITS),
        "warning": chance is not None and chance <= evidence.RARE,
        "remedy": f"search {key} {end} too, if such values make sense: conf/space",
    }
