"""Tables in, numbers out: every number of metrics.json, report.md and the README comes from a function of this file.

Accuracies are fractions, losses nats a review, times seconds. A failed run has no validation score (NaN) and the test score
of guessing, so means over runs always have their full number of runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import FairsweepError

DIGITS = 6
BASELINES = ("same_tokens", "whole_text")
GUESSED_VALIDATION = 0.5
TEXT = {"arm": str, "kind": str, "state": str, "reason": str, "backend": str, "overrides": str, "worker": str}


@dataclass(frozen=True)
class Results:
    """What `evaluate` wrote, and all that the report reads: study.json and one data frame a CSV of the same name."""

    study: dict[str, Any]
    scores: pd.DataFrame
    trials: pd.DataFrame
    epochs: pd.DataFrame
    replicates: pd.DataFrame
    replicate_epochs: pd.DataFrame
    timings: pd.DataFrame
    baseline: pd.DataFrame
    grid: pd.DataFrame

    @property
    def cells(self) -> list[str]:
        """The arms, in the study's order."""
        return list(self.study["cells"])

    @property
    def studies(self) -> range:
        """The numbers of the studies: 0 alone in a pool."""
        return range(self.study.get("studies", 1))

    def of(self, table: str, arm: str, kind: str | None = None) -> pd.DataFrame:
        """The rows of one arm, and of one kind where given, in the named table."""
        frame: pd.DataFrame = getattr(self, table)
        frame = frame[frame["arm"] == arm]
        return frame if kind is None else frame[frame["kind"] == kind]


def load(folder: Path) -> Results:
    """Reads results/STUDY/scores.

    Raises:
        FairsweepError: if a file is missing.
    """
    names = [field.name for field in fields(Results) if field.name != "study"]
    for file in ["study.json", *(f"{name}.csv" for name in names)]:
        if not (folder / file).is_file():
            raise FairsweepError(f"{folder / file} is missing. Expected the tables of `evaluate`. Run `dvc repro evaluate`.")
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    return Results(study, **{name: pd.read_csv(folder / f"{name}.csv", dtype=TEXT) for name in names})


def best_row(runs: pd.DataFrame, number: str = "trial") -> pd.Series:
    """The run chosen on validation: highest accuracy, then lower loss, then lower study and number; failed runs never are.

    Raises:
        ValueError: if every run failed.
    """
    finished = runs[runs["validation"].notna()]
    if finished.empty:
        raise ValueError("runs must hold one that did not fail.")
    lower = [key for key in ("validation_loss", "study", number) if key in finished]
    return finished.sort_values(["validation", *lower], ascending=[False, *(True for _ in lower)]).iloc[0]


def champion(replicates: pd.DataFrame, cells: Sequence[str] = ()) -> dict[str, Any]:
    """The study's champion: of the arm with the best mean validation of its tuned replicates, the best on validation.

    Args:
        replicates: columns `arm, kind, replicate, validation, validation_loss`; recipe runs are left aside. A failed
            replicate counts in its arm's mean as guessing.
        cells: the arms in the order that breaks ties; by default as they come in the table.

    Returns:
        `{"arm": str, "replicate": int}`. Given one arm's rows, this is that arm's champion.
    """
    tuned = replicates[replicates["kind"] == "tuned"]
    means = tuned["validation"].fillna(GUESSED_VALIDATION).groupby(tuned["arm"], sort=False).mean().round(9)
    arm = str(means.reindex(list(cells) or list(means.index)).idxmax())
    return {"arm": arm, "replicate": int(best_row(tuned[tuned["arm"] == arm], "replicate")["replicate"])}


def spread(values: pd.Series) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value), least, most and number of values."""
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {
        "mean": _round(values.mean()),
        "sd": _round(sd),
        "n": len(values),
        "min": _round(values.min()),
        "max": _round(values.max()),
    }


def recipe_metrics(results: Results, arm: str, recipe: str) -> dict[str, Any]:
    """Test accuracy and log loss of one recipe's runs in one arm."""
    runs = results.of("scores", arm, recipe)
    loss = spread(runs["test_loss"])
    return {**spread(runs["test"]), "loss_mean": loss["mean"], "loss_sd": loss["sd"]}


def cost(runs: pd.DataFrame, timings: pd.DataFrame) -> dict[str, Any]:
    """Failed runs, epochs trained and seconds of workers' time, of every attempt in the timings."""
    return {
        "failed": int((runs["state"] == "failed").sum()),
        "epochs": int(runs["epochs"].fillna(0).sum()),
        "seconds": round(float(timings["seconds"].sum()), 1),
    }


def ledger(results: Results, arm: str) -> dict[str, Any]:
    """What one arm's search and its retrainings cost, from the recorded tables."""
    trials, replicates, timings = (results.of(table, arm) for table in ("trials", "replicates", "timings"))
    search = timings["kind"] == "trial"
    return {
        "tune": {"trials": len(trials), **cost(trials, timings[search])},
        "replicate": {"runs": len(replicates), **cost(replicates, timings[~search])},
    }


def arm_metrics(results: Results, arm: str) -> dict[str, Any]:
    """All numbers of one cell; `optimism` is the best trial's validation minus the mean test of its retrainings."""
    best = best_row(results.of("trials", arm))
    tuned = spread(results.of("scores", arm, "tuned")["test"])
    recipes = {recipe: recipe_metrics(results, arm, recipe) for recipe in results.study["recipes"]}
    searched = ledger(results, arm)["tune"]
    return {
        "replicates": tuned,
        "recipe": next(iter(recipes.values()), None),
        "recipes": recipes,
        "validation_of_best": _round(best["validation"]),
        "optimism": _round(best["validation"] - tuned["mean"]),
        "parameters": int(best["parameters"]),
        "epochs": searched["epochs"],
        "seconds": searched["seconds"],
        "trials": searched["trials"],
        "failed": searched["failed"],
        "champion": champion(results.of("replicates", arm))["replicate"],
        "best": {"trial": int(best["trial"]), "overrides": json.loads(best["overrides"])},
    }


def baseline_metrics(results: Results, kind: str) -> dict[str, Any]:
    """Scores of one linear baseline, `same_tokens` or `whole_text`; its settings, and out of how many they were chosen."""
    row = results.of("scores", "baseline", kind).iloc[0]
    chosen = results.of("baseline", "baseline", kind).iloc[0]
    return {
        "validation": _round(row["validation"]),
        "test": _round(row["test"]),
        "loss": _round(row["test_loss"]),
        "auc": _round(row["test_auc"]),
        "settings": int((results.grid["kind"] == kind).sum()),
        "seconds": round(float(results.of("timings", "baseline", kind)["seconds"].sum()), 1),
        "ngrams": int(chosen["ngrams"]),
        "C": float(chosen["C"]),
        "features": int(chosen["features"]),
    }


def metrics(results: Results) -> dict[str, Any]:
    """metrics.json, whole. Scores are fractions; `pairs` is empty as long as no verdict is given."""
    study = results.study
    return {
        "study": study["study"],
        "protocol": study["protocol"],
        "trials": study["trials"],
        "headline": study["headline"],
        "margin": study["margin"],
        "backend": study["backend"],
        "arms": {arm: arm_metrics(results, arm) for arm in results.cells},
        "baseline": {kind: baseline_metrics(results, kind) for kind in BASELINES},
        "champion": champion(results.replicates, results.cells),
        "pairs": [],
        "ledger": {arm: ledger(results, arm) for arm in results.cells},
    }


def running_best(trials: pd.DataFrame) -> pd.Series:
    """Best validation accuracy among trials 0 to i of one study of an arm, by trial; a failed trial changes nothing."""
    return trials.set_index("trial")["validation"].sort_index().cummax().ffill()


def _round(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else round(float(value), DIGITS)
