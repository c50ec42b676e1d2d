"""The summary of a study: its tables turned into the numbers of metrics.json (see `types`)."""

import json
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pandas as pd

from ..scoring import forecast
from ..scoring.results import Results, best_row, champion, commits, compute_used, rounded, spread
from . import arrays, importance, published, single_run, verdicts
from .tuning_curves import Curves
from .types import Arm, Baseline, Flag, RecipeSpread, Summary

# Two machines may differ beyond so many digits.
DIGITS = 9
STUDY = ("study", "protocol", "design", "sampler", "pruner", "repeats", "trials", "budget")
RULES = ("margin", "alpha", "looks", "backend")


def summarize(
    results: Results, refusal: str | None = None, curves: Curves | None = None
) -> Summary:
    """The numbers of a study's report.

    Args:
        results: the tables of results/STUDY/scores.
        refusal: why no verdict may be given, or None. The verdict of every pair is then `refused`.
        curves: the tuning curves. With them, the summary says what they and the searched
            hyperparameters show. The importance takes some seconds the first time.
    """
    parts: dict[str, Any] = {name: results.study[name] for name in (*STUDY, *RULES)}
    parts |= _searched(results, refusal) if results.searched else _recipes_only(results)
    parts["compute"] = {arm: compute_used(results, arm) for arm in results.cells}
    parts["measure"] = asdict(results.spec.measure)
    parts["recipe_gaps"] = published.gaps(results)
    parts["printed"] = published.printed(results)
    if trained := commits(results):
        parts["commits"] = trained
    if results.flags is not None:
        parts["flags"] = flags(results.flags)
    if results.forecast is not None:
        parts["horizons"] = forecast.errors(results.forecast)
    if curves is not None and results.searched:
        parts["order_changes"] = curves.order_changes
        parts["curve_notes"] = [f"{note['arm']}: {note['note']}" for note in curves.pruned]
        parts["importance"] = importance.importance(results)
        parts["edges"] = importance.edges(results)
    return cast(Summary, _rounded(parts))


def flags(table: pd.DataFrame) -> list[Flag]:
    """What the checks found. Arms share their data and their space, so a problem counts once."""
    grouped = table.drop_duplicates().groupby(["check", "message", "remedy"], sort=False)["arm"]
    return [
        {
            "check": str(check),
            "arms": list(dict.fromkeys(arms)),
            "message": str(message),
            "remedy": str(remedy),
        }
        for (check, message, remedy), arms in grouped
    ]


def _searched(results: Results, refusal: str | None) -> dict[str, Any]:
    """The part of a study with a search: verdicts, arms, champion, single runs."""
    groups = arrays.groups(results)
    pairs = verdicts.pairs(results, groups, refusal)
    arms = {
        arm: {
            "tuned": verdicts.tuned(results, groups, arm),
            **arm_summary(results, arm),
            "components": verdicts.components(results, groups, arm),
        }
        for arm in results.cells
    }
    return {
        "winner": verdicts.winner(pairs, results.cells),
        "leaders": verdicts.leaders(pairs, results.cells),
        "pairs": pairs,
        "arms": arms,
        "baseline": _baselines(results),
        "champion": champion(results.replicates, results.cells, results.guessed),
        "groups": len(np.unique(results.groups)),
        "single_run": single_run.versions(results, pairs),
    }


def _recipes_only(results: Results) -> dict[str, Any]:
    """The part of a study without a search: no pair, no winner, no champion."""
    return {
        "winner": None,
        "leaders": [],
        "pairs": [],
        "champion": None,
        "arms": {arm: _recipes(results, arm) for arm in results.cells},
        "baseline": _baselines(results),
        "groups": len(np.unique(results.groups)),
    }


def _recipes(results: Results, arm: str) -> Arm:
    """What each recipe of one arm scores. `recipe` is the first one."""
    recipes: dict[str, RecipeSpread] = {}
    for recipe in results.study["recipes"]:
        runs = results.of("scores", arm, recipe)
        loss = spread(runs["test_loss"])
        recipes[recipe] = cast(
            RecipeSpread,
            {**spread(runs["test"]), "loss_mean": loss["mean"], "loss_sd": loss["sd"]},
        )
    return {"recipe": next(iter(recipes.values()), None), "recipes": recipes}


def arm_summary(results: Results, arm: str) -> Arm:
    """The counts and scores of one arm. Best trials of repeated searches are averaged.

    `optimism` is the best validation score of a search minus the mean test score of the same
    configuration, retrained.
    """
    trials = results.of("trials", arm)
    best = best_row(trials)
    searches = [float(best_row(search)["validation"]) for _, search in trials.groupby("repeat")]
    validation = sum(searches) / len(searches)
    tuned = spread(results.of("scores", arm, "tuned")["test"])
    search = compute_used(results, arm)["tune"]
    return cast(
        Arm,
        {
            "replicates": tuned,
            **_recipes(results, arm),
            "validation_of_best": rounded(validation),
            "optimism": rounded(validation - tuned["mean"]),
            "parameters": int(best["parameters"]),
            **{key: search[key] for key in ("epochs", "seconds", "trials", "failed", "pruned")},
            "champion": champion(results.of("replicates", arm), guessed=results.guessed)[
                "replicate"
            ],
            "best": {
                "repeat": int(best["repeat"]),
                "trial": int(best["trial"]),
                "overrides": json.loads(best["overrides"]),
            },
        },
    )


def _baselines(results: Results) -> dict[str, Baseline]:
    """The scores of each baseline and the setting that validation chose."""
    return {kind: _baseline(results, kind) for kind in results.spec.baselines}


def _baseline(results: Results, kind: str) -> Baseline:
    score = results.of("scores", "baseline", kind).iloc[0]
    chosen = results.of("baseline", "baseline", kind).iloc[0]
    seconds = results.of("timings", "baseline", kind)["seconds"].sum()
    baseline: dict[str, Any] = {
        "validation": rounded(score["validation"]),
        "test": rounded(score["test"]),
        "loss": rounded(score["test_loss"]),
        "auc": rounded(score["test_auc"]),
        "settings": int((results.grid["kind"] == kind).sum()),
        "seconds": round(float(seconds), 1),
    }
    for name, number in (("ngrams", int), ("C", float), ("features", int)):
        if pd.notna(chosen.get(name)):
            baseline[name] = number(chosen[name])
    if pd.notna(chosen.get("settings")):
        baseline["chosen"] = json.loads(str(chosen["settings"]))
    return cast(Baseline, baseline)


def _rounded(value: Any) -> Any:
    """`value` with its floats rounded to DIGITS."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, DIGITS) if isinstance(value, float) else value
