"""metrics.json: every number of the report and of the README comes from here.

Scores are higher better (fractions; errors and nats negated, as `measure` says), times are seconds.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.reporting import anecdote, arms, forecast, importance, measure, recipes, verdicts
from pipeline.reporting.curves import Curves
from pipeline.reporting.tables import Results, best_row, champion, commits, ledger, rounded, spread

# Beyond these digits two machines may differ.
DIGITS = 9


def metrics(results: Results, refusal: str | None = None) -> dict[str, Any]:
    """metrics.json, whole.

    Args:
        results: the tables of results/STUDY/scores.
        refusal: why no verdict may be given, or None; every pair then says `refused`.
    """
    study = results.study
    fixed = (
        "study",
        "protocol",
        "design",
        "sampler",
        "pruner",
        "studies",
        "trials",
        "headline",
        "margin",
        "alpha",
        "looks",
        "backend",
    )
    found = {
        **{name: study[name] for name in fixed},
        **(_verdicts(results, refusal) if results.searched else _recipes_alone(results)),
        "ledger": {arm: ledger(results, arm) for arm in results.cells},
        "measure": asdict(measure.of_form(results.form)),
        "recipe_gaps": recipes.gaps(results),
        "printed": recipes.printed(results),
    }
    if trained := commits(results):
        found["commits"] = trained
    if results.flags is not None:
        found["flags"] = flags(results.flags)
    if results.forecast is not None:
        found["horizons"] = forecast.errors(results.forecast)
    return _rounded(found)


def flags(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What the sanity gates flagged, each fault once, {gate, arms, told, remedy}: arms share their data and their space."""
    told = table.drop_duplicates().groupby(["gate", "told", "remedy"], sort=False)["arm"]
    return [{"gate": gate, "arms": list(dict.fromkeys(arms)), "told": seen, "remedy": way} for (gate, seen, way), arms in told]


def _verdicts(results: Results, refusal: str | None) -> dict[str, Any]:
    """What a search gives."""
    films = arms.films(results)
    pairs = verdicts.pairs(results, films, refusal)
    cells = {arm: {"tuned": verdicts.tuned(results, films, arm), **arm_metrics(results, arm)} for arm in results.cells}
    for arm, values in cells.items():
        values["components"] = verdicts.components(results, films, arm)
    return {
        "winner": verdicts.winner(pairs, results.cells),
        "leaders": verdicts.leaders(pairs, results.cells),
        "pairs": pairs,
        "arms": cells,
        "baseline": _baselines(results),
        "champion": champion(results.replicates, results.cells, results.guessed),
        "films": len(np.unique(results.movies)),
        "anecdote": anecdote.versions(results, pairs),
    }


def _recipes_alone(results: Results) -> dict[str, Any]:
    """What a study without a search has in place of verdicts: no pair, no winner, no champion."""
    cells = {arm: recipes_metrics(results, arm) for arm in results.cells}
    none: dict[str, Any] = {"winner": None, "leaders": [], "pairs": [], "champion": None}
    return {**none, "arms": cells, "baseline": _baselines(results), "films": len(np.unique(results.movies))}


def _baselines(results: Results) -> dict[str, dict[str, Any]]:
    return {kind: baseline_metrics(results, kind) for kind in results.form.baselines}


def particulars(results: Results, curves: Curves) -> dict[str, Any]:
    """The rest of metrics.json: what the curves and the searched hyperparameters say. Importance takes seconds the first time."""
    if not results.searched:
        return {}
    found = {
        "order_changes": curves.order_changes,
        "curve_notes": [f"{one['arm']}: {one['note']}" for one in curves.pruned],
        "importance": importance.importance(results),
        "edges": importance.edges(results),
    }
    return _rounded(found)


def recipe_metrics(results: Results, arm: str, recipe: str) -> dict[str, Any]:
    """Test score and loss of one recipe's runs in one arm."""
    runs = results.of("scores", arm, recipe)
    loss = spread(runs["test_loss"])
    return {**spread(runs["test"]), "loss_mean": loss["mean"], "loss_sd": loss["sd"]}


def recipes_metrics(results: Results, arm: str) -> dict[str, Any]:
    """What each recipe of one arm scores; `recipe` is the first."""
    found = {recipe: recipe_metrics(results, arm, recipe) for recipe in results.study["recipes"]}
    return {"recipe": next(iter(found.values()), None), "recipes": found}


def arm_metrics(results: Results, arm: str) -> dict[str, Any]:
    """The counted numbers of one cell; separate studies' best trials are told by their mean.

    `optimism` is the best validation score of a search minus the mean test score of the same configuration retrained.
    """
    trials = results.of("trials", arm)
    best = best_row(trials)
    flattered = sum(float(best_row(own)["validation"]) for _, own in trials.groupby("study")) / trials["study"].nunique()
    tuned = spread(results.of("scores", arm, "tuned")["test"])
    searched = ledger(results, arm)["tune"]
    return {
        "replicates": tuned,
        **recipes_metrics(results, arm),
        "validation_of_best": rounded(flattered),
        "optimism": rounded(flattered - tuned["mean"]),
        "parameters": int(best["parameters"]),
        "epochs": searched["epochs"],
        "seconds": searched["seconds"],
        "trials": searched["trials"],
        "failed": searched["failed"],
        "pruned": searched["pruned"],
        "champion": champion(results.of("replicates", arm), guessed=results.guessed)["replicate"],
        "best": {"study": int(best["study"]), "trial": int(best["trial"]), "overrides": json.loads(best["overrides"])},
    }


def baseline_metrics(results: Results, kind: str) -> dict[str, Any]:
    """Scores of one baseline; its settings, out of how many they were chosen, and which: what its table says of it."""
    row = results.of("scores", "baseline", kind).iloc[0]
    chosen = results.of("baseline", "baseline", kind).iloc[0]
    found = {
        "validation": rounded(row["validation"]),
        "test": rounded(row["test"]),
        "loss": rounded(row["test_loss"]),
        "auc": rounded(row["test_auc"]),
        "settings": int((results.grid["kind"] == kind).sum()),
        "seconds": round(float(results.of("timings", "baseline", kind)["seconds"].sum()), 1),
    }
    for name, number in (("ngrams", int), ("C", float), ("features", int)):
        if pd.notna(chosen.get(name)):
            found[name] = number(chosen[name])
    if pd.notna(chosen.get("settings")):
        found["chosen"] = json.loads(str(chosen["settings"]))
    return found


def _rounded(value: Any) -> Any:
    """The same document with its numbers cut to `DIGITS`."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
