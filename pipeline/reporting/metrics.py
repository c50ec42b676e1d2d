"""metrics.json: every number of the report and of the README comes from here. Scores are fractions, losses nats, times seconds."""

import json
from typing import Any

import numpy as np

from pipeline.reporting import anecdote, arms, importance, verdicts
from pipeline.reporting.curves import Curves
from pipeline.reporting.tables import BASELINES, Results, best_row, champion, ledger, rounded, spread

# Beyond these digits two machines may differ.
DIGITS = 9


def metrics(results: Results, refusal: str | None = None) -> dict[str, Any]:
    """metrics.json, whole.

    Args:
        results: the tables of results/STUDY/scores.
        refusal: why no verdict may be given, or None; every pair then says `refused`.
    """
    study, films = results.study, arms.films(results)
    pairs = verdicts.pairs(results, films, refusal)
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
    cells = {arm: {"tuned": verdicts.tuned(results, films, arm), **arm_metrics(results, arm)} for arm in results.cells}
    for arm, values in cells.items():
        values["components"] = verdicts.components(results, films, arm)
    found = {
        **{name: study[name] for name in fixed},
        "winner": verdicts.winner(pairs, results.cells),
        "leaders": verdicts.leaders(pairs, results.cells),
        "pairs": pairs,
        "arms": cells,
        "baseline": {kind: baseline_metrics(results, kind) for kind in BASELINES},
        "champion": champion(results.replicates, results.cells),
        "films": len(np.unique(results.movies)),
        "anecdote": anecdote.versions(results, pairs),
        "ledger": {arm: ledger(results, arm) for arm in results.cells},
    }
    return _rounded(found)


def particulars(results: Results, curves: Curves) -> dict[str, Any]:
    """The rest of metrics.json: what the curves and the searched hyperparameters say. Importance takes seconds the first time."""
    found = {
        "order_changes": curves.order_changes,
        "curve_notes": [f"{one['arm']}: {one['note']}" for one in curves.pruned],
        "importance": importance.importance(results),
        "edges": importance.edges(results),
    }
    return _rounded(found)


def recipe_metrics(results: Results, arm: str, recipe: str) -> dict[str, Any]:
    """Test accuracy and log loss of one recipe's runs in one arm."""
    runs = results.of("scores", arm, recipe)
    loss = spread(runs["test_loss"])
    return {**spread(runs["test"]), "loss_mean": loss["mean"], "loss_sd": loss["sd"]}


def arm_metrics(results: Results, arm: str) -> dict[str, Any]:
    """The counted numbers of one cell; separate studies' best trials are told by their mean.

    `optimism` is the best validation score of a search minus the mean test score of the same configuration retrained.
    """
    trials = results.of("trials", arm)
    best = best_row(trials)
    flattered = sum(float(best_row(own)["validation"]) for _, own in trials.groupby("study")) / trials["study"].nunique()
    tuned = spread(results.of("scores", arm, "tuned")["test"])
    recipes = {recipe: recipe_metrics(results, arm, recipe) for recipe in results.study["recipes"]}
    searched = ledger(results, arm)["tune"]
    return {
        "replicates": tuned,
        "recipe": next(iter(recipes.values()), None),
        "recipes": recipes,
        "validation_of_best": rounded(flattered),
        "optimism": rounded(flattered - tuned["mean"]),
        "parameters": int(best["parameters"]),
        "epochs": searched["epochs"],
        "seconds": searched["seconds"],
        "trials": searched["trials"],
        "failed": searched["failed"],
        "pruned": searched["pruned"],
        "champion": champion(results.of("replicates", arm))["replicate"],
        "best": {"study": int(best["study"]), "trial": int(best["trial"]), "overrides": json.loads(best["overrides"])},
    }


def baseline_metrics(results: Results, kind: str) -> dict[str, Any]:
    """Scores of one linear baseline, `same_tokens` or `whole_text`; its settings, and out of how many they were chosen."""
    row = results.of("scores", "baseline", kind).iloc[0]
    chosen = results.of("baseline", "baseline", kind).iloc[0]
    return {
        "validation": rounded(row["validation"]),
        "test": rounded(row["test"]),
        "loss": rounded(row["test_loss"]),
        "auc": rounded(row["test_auc"]),
        "settings": int((results.grid["kind"] == kind).sum()),
        "seconds": round(float(results.of("timings", "baseline", kind)["seconds"].sum()), 1),
        "ngrams": int(chosen["ngrams"]),
        "C": float(chosen["C"]),
        "features": int(chosen["features"]),
    }


def _rounded(value: Any) -> Any:
    """The same document with its numbers cut to `DIGITS`."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
