"""The tables in results/STUDY/scores, and counts and choices from them.

Scores are higher is better: fractions, or negated errors and nats. Times are in seconds. A failed
run has no validation score (NaN) and the test score of the task's trivial baseline, so a mean over
runs always includes all runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..data.spec import TaskSpec
from ..files import reading

DIGITS = 6
REMEDY = "Run `dvc repro evaluate`."
# The score of guessing two balanced classes, for tasks without a trivial baseline.
GUESSED_VALIDATION = 0.5
TRIVIAL = "trivial"
# Linear models of texts, which have a grid of (n-grams, C, features).
TEXT_BASELINES = ("same_tokens", "whole_text")
# Settings that were added later, with the value that has no effect. A study that names one with
# that value is equal to a study without it.
OFF = {
    "model.input_dropout": 0.0,
    "model.pooling": "last",
    "model.layer_norm": False,
    "model.hidden": 0,
    "train.clipvalue": None,
    "train.buckets": 1,
}
TEXT = {
    "arm": str,
    "kind": str,
    "state": str,
    "reason": str,
    "backend": str,
    "overrides": str,
    "worker": str,
    "git": str,
}


@dataclass(frozen=True)
class Results:
    """The contents of results/STUDY/scores: study.json and one data frame per CSV file.

    Attributes:
        correct: contribution of each test row to each row of `scores`: packed bits, uint8
            [runs, bytes], for accuracy, otherwise float32 [runs, rows], whose mean is the score.
        groups: int32 [rows], the group of each test row, as anonymous numbers.
        forecast: columns date, horizon, truth, and one per cell and baseline, in the unit of the
            task; None unless the task is a regression.
        flags: one row per fault that a check found; None in studies older than the checks.
    """

    study: dict[str, Any]
    scores: pd.DataFrame
    trials: pd.DataFrame
    epochs: pd.DataFrame
    replicates: pd.DataFrame
    replicate_epochs: pd.DataFrame
    timings: pd.DataFrame
    baseline: pd.DataFrame
    grid: pd.DataFrame
    correct: NDArray[np.uint8]
    groups: NDArray[np.integer]
    forecast: pd.DataFrame | None = None
    flags: pd.DataFrame | None = None

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return spec_of(self.study["data"])

    @property
    def searched(self) -> bool:
        """Whether there was a search. A study of recipes alone has none."""
        return bool(self.study["trials"])

    @property
    def kinds(self) -> list[str]:
        """The kinds of replicates."""
        return replicate_kinds(self.study["trials"], self.study["recipes"])

    @property
    def guessed(self) -> float:
        """The validation score of the trivial baseline, which a failed run gets in a mean."""
        trivial = self.baseline.loc[self.baseline["kind"] == TRIVIAL, "validation"]
        return GUESSED_VALIDATION if trivial.empty else float(trivial.iloc[0])

    @property
    def cells(self) -> list[str]:
        """The arms, in the order of the study."""
        return list(self.study["cells"])

    def space(self, arm: str) -> list[dict[str, Any]]:
        """Return the search space of an arm, one entry per key: shared keys, then its own."""
        return [*self.study["space"], *self.study.get("cell_space", {}).get(arm, [])]

    @property
    def repeats(self) -> range:
        """The numbers of the repeated searches; 0 alone in a shared search."""
        return range(self.study.get("repeats", 1))

    def of(self, table: str, arm: str, kind: str | None = None) -> pd.DataFrame:
        """Return the rows of one arm (and of one kind) in the named table."""
        frame: pd.DataFrame = getattr(self, table)
        frame = frame[frame["arm"] == arm]
        return frame if kind is None else frame[frame["kind"] == kind]


def load(folder: Path) -> Results:
    """Read results/STUDY/scores.

    Raises:
        FairsweepError: if a file is missing or damaged.
    """
    with reading(folder / "study.json", REMEDY) as path:
        study = json.loads(path.read_text(encoding="utf-8"))
        spec = spec_of(study["data"])
    optional = [] if spec.kind == "regression" else ["forecast"]
    optional += [] if (folder / "flags.csv").is_file() else ["flags"]
    names = [
        field.name
        for field in fields(Results)
        if field.name not in ("study", "correct", "groups", *optional)
    ]
    frames = {name: _frame(folder / f"{name}.csv") for name in names}
    with (
        reading(folder / "correct.npz", REMEDY) as path,
        np.load(path, allow_pickle=False) as arrays,
    ):
        return Results(
            study,
            correct=arrays["correct" if spec.metric == "accuracy" else "examples"],
            groups=arrays["groups"],
            **frames,
        )


def spec_of(meta: dict[str, Any]) -> TaskSpec:
    """Return the task spec in meta.json of `pad`; older data are reviews with two classes."""
    return TaskSpec(**meta.get("spec", {}))


def active_settings(study: dict[str, Any]) -> dict[str, Any]:
    """Return the fixed settings of a study, without those that have no effect."""
    fixed = study["fixed"]
    return {key: value for key, value in fixed.items() if key not in OFF or value != OFF[key]}


def replicate_kinds(trials: int, recipes: Sequence[str]) -> list[str]:
    """Return the kinds of replicates: `tuned` if there was a search, then the recipes."""
    return ["tuned", *recipes] if trials else list(recipes)


def best_row(runs: pd.DataFrame, number: str = "trial") -> pd.Series:
    """Return the finished run with the highest validation score.

    Ties are broken by the lower loss, then the lower repeat and number.

    Raises:
        ValueError: if every run failed.
    """
    finished = runs[runs["validation"].notna()]
    if finished.empty:
        raise ValueError("runs must hold one that did not fail.")
    lower = [key for key in ("validation_loss", "repeat", number) if key in finished]
    ascending = [False, *(True for _ in lower)]
    return finished.sort_values(["validation", *lower], ascending=ascending).iloc[0]


def champion(
    replicates: pd.DataFrame, cells: Sequence[str] = (), guessed: float = GUESSED_VALIDATION
) -> dict[str, Any]:
    """Return the champion: the best replicate of the arm with the best mean validation score.

    Args:
        replicates: columns `arm, kind, replicate, validation, validation_loss`; only tuned
            replicates are used. With the rows of one arm, the result is that arm's champion.
        cells: the arms, in the order that breaks ties; by default in the order of the table.
        guessed: the score of a failed replicate in the mean of its arm.

    Returns:
        `{"arm": str, "replicate": int}`, with `"repeat": int` if there is more than one repeat.
    """
    tuned = replicates[replicates["kind"] == "tuned"]
    scores = tuned["validation"].fillna(guessed).groupby(tuned["arm"], sort=False)
    means = scores.mean().round(9)
    arm = str(means.reindex(list(cells) or list(means.index)).idxmax())
    best = best_row(tuned[tuned["arm"] == arm], "replicate")
    repeated = "repeat" in tuned and tuned["repeat"].nunique() > 1
    repeat = {"repeat": int(best["repeat"])} if repeated else {}
    return {"arm": arm, "replicate": int(best["replicate"]), **repeat}


def spread(values: pd.Series) -> dict[str, Any]:
    """Return mean, sample standard deviation (None for a single value), n, min and max."""
    return {
        "mean": rounded(values.mean()),
        "sd": rounded(float(values.std(ddof=1)) if len(values) > 1 else None),
        "n": len(values),
        "min": rounded(values.min()),
        "max": rounded(values.max()),
    }


def commits(results: Results) -> dict[str, int]:
    """Return the number of runs per commit in timings.csv; older timings have no commits."""
    if "git" not in results.timings:
        return {}
    counts = results.timings["git"].value_counts(sort=False)
    return {str(name): int(runs) for name, runs in counts.items()}


def compute_used(results: Results, arm: str) -> dict[str, Any]:
    """Return the cost of an arm's search and of its replicates.

    Runs, failed and pruned runs, trained epochs, and worker seconds over all attempts.
    """
    timings, costs = results.of("timings", arm), {}
    trial = timings["kind"] == "trial"
    for stage, count, table, attempts in (
        ("tune", "trials", "trials", timings[trial]),
        ("replicate", "runs", "replicates", timings[~trial]),
    ):
        runs = results.of(table, arm)
        costs[stage] = {
            count: len(runs),
            "failed": int((runs["state"] == "failed").sum()),
            "pruned": int((runs["state"] == "pruned").sum()),
            "epochs": int(runs["epochs"].fillna(0).sum()),
            "seconds": round(float(attempts["seconds"].sum()), 1),
        }
    return costs


def running_best(trials: pd.DataFrame) -> pd.Series:
    """Return the best validation score of trials 0 to i of one repeat of an arm, by trial."""
    return trials.set_index("trial")["validation"].sort_index().cummax().ffill()


def rounded(value: float | None) -> float | None:
    """Round to six decimals; None for a missing value."""
    return None if value is None or pd.isna(value) else round(float(value), DIGITS)


def _frame(path: Path) -> pd.DataFrame:
    with reading(path, REMEDY):
        return pd.read_csv(path, dtype=TEXT)
