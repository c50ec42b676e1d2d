"""The tables that `evaluate` wrote, and what is counted and chosen from them.

Scores are higher better: fractions, or errors and nats negated; times are seconds. A failed run has no validation score (NaN) and
the test score of the task's trivial baseline, so means over runs always have their full number of runs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.form import Form
from pipeline.files import reading

DIGITS = 6
AGAIN = "Expected the tables of `evaluate`. Run `dvc repro evaluate`."
# Of two balanced classes, where no baseline says it.
GUESSED_VALIDATION = 0.5
TRIVIAL = "trivial"
# Linear models of texts: (n-grams, C, features) say which.
TEXT_BASELINES = ("same_tokens", "whole_text")
# Settings that came later: off, they change nothing, so a study that names them so is the one that did not name them.
OFF = {
    "model.input_dropout": 0.0,
    "model.pooling": "last",
    "model.layer_norm": False,
    "model.hidden": 0,
    "train.clipvalue": None,
    "train.buckets": 1,
}
TEXT = {"arm": str, "kind": str, "state": str, "reason": str, "backend": str, "overrides": str, "worker": str, "git": str}


@dataclass(frozen=True)
class Results:
    """What `evaluate` wrote, and all that the report reads: study.json and one data frame a CSV of the same name.

    Attributes:
        correct: of each row of scores what each test row adds to it: where the metric is accuracy packed bits, uint8 [runs, bytes],
            who got which right; otherwise float32 [runs, rows], whose mean is the score.
        movies: int32 [rows], which group (movie) a test row belongs to, as anonymous numbers.
        forecast: of a regression, columns date, horizon, truth and a forecast a cell and a baseline, in the unit; otherwise None.
        flags: columns arm, gate, told, remedy, a row for each fault that a sanity gate saw; None in studies that are older than these.
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
    movies: NDArray[np.integer]
    forecast: pd.DataFrame | None = None
    flags: pd.DataFrame | None = None

    @property
    def form(self) -> Form:
        """The shape of the task."""
        return form_of(self.study["data"])

    @property
    def searched(self) -> bool:
        """Whether there was a search: recipes alone have none."""
        return bool(self.study["trials"])

    @property
    def kinds(self) -> list[str]:
        """The kinds of replicates."""
        return replicate_kinds(self.study["trials"], self.study["recipes"])

    @property
    def guessed(self) -> float:
        """The validation score that a failed run counts with: the trivial baseline's."""
        trivial = self.baseline.loc[self.baseline["kind"] == TRIVIAL, "validation"]
        return GUESSED_VALIDATION if trivial.empty else float(trivial.iloc[0])

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
        FairsweepError: if a file is missing or damaged.
    """
    with reading(folder / "study.json", AGAIN) as path:
        study = json.loads(path.read_text(encoding="utf-8"))
        form = form_of(study["data"])
    optional = [] if form.kind == "regression" else ["forecast"]
    optional += [] if (folder / "flags.csv").is_file() else ["flags"]
    names = [field.name for field in fields(Results) if field.name not in ("study", "correct", "movies", *optional)]
    frames = {name: _frame(folder / f"{name}.csv") for name in names}
    with reading(folder / "correct.npz", AGAIN) as path, np.load(path, allow_pickle=False) as kept:
        return Results(
            study, correct=kept["correct" if form.metric == "accuracy" else "examples"], movies=kept["movies"], **frames
        )


def form_of(meta: dict[str, Any]) -> Form:
    """The form that meta.json of `pad` holds; data made before there were forms are reviews of two classes."""
    return Form(**meta.get("form", {}))


def held(study: dict[str, Any]) -> dict[str, Any]:
    """The fixed settings of a study without those that are off."""
    return {key: value for key, value in study["fixed"].items() if key not in OFF or value != OFF[key]}


def replicate_kinds(trials: int, recipes: Sequence[str]) -> list[str]:
    """The kinds of replicates of a study: without a search there is no best configuration to retrain."""
    return ["tuned", *recipes] if trials else list(recipes)


def best_row(runs: pd.DataFrame, number: str = "trial") -> pd.Series:
    """The run chosen on validation: highest score, then lower loss, then lower study and number; failed runs never are.

    Raises:
        ValueError: if every run failed.
    """
    finished = runs[runs["validation"].notna()]
    if finished.empty:
        raise ValueError("runs must hold one that did not fail.")
    lower = [key for key in ("validation_loss", "study", number) if key in finished]
    return finished.sort_values(["validation", *lower], ascending=[False, *(True for _ in lower)]).iloc[0]


def champion(replicates: pd.DataFrame, cells: Sequence[str] = (), guessed: float = GUESSED_VALIDATION) -> dict[str, Any]:
    """The study's champion: of the arm with the best mean validation of its tuned replicates, the best on validation.

    Args:
        replicates: columns `arm, kind, replicate, validation, validation_loss`; recipe runs are left aside.
        cells: the arms in the order that breaks ties; by default as they come in the table.
        guessed: what a failed replicate counts with in its arm's mean.

    Returns:
        `{"arm": str, "replicate": int}`, in separate studies with its `study` too. Given one arm's rows, that arm's champion.
    """
    tuned = replicates[replicates["kind"] == "tuned"]
    means = tuned["validation"].fillna(guessed).groupby(tuned["arm"], sort=False).mean().round(9)
    arm = str(means.reindex(list(cells) or list(means.index)).idxmax())
    best = best_row(tuned[tuned["arm"] == arm], "replicate")
    found = {"arm": arm, "replicate": int(best["replicate"])}
    return {**found, "study": int(best["study"])} if "study" in tuned and tuned["study"].nunique() > 1 else found


def spread(values: pd.Series) -> dict[str, Any]:
    """Mean, sample standard deviation (None for a single value), least, most and number of values."""
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {
        "mean": rounded(values.mean()),
        "sd": rounded(sd),
        "n": len(values),
        "min": rounded(values.min()),
        "max": rounded(values.max()),
    }


def commits(results: Results) -> dict[str, int]:
    """How many runs each commit trained, as timings.csv has it; runs of before it was kept are counted nowhere."""
    if "git" not in results.timings:
        return {}
    return {str(name): int(runs) for name, runs in results.timings["git"].value_counts(sort=False).items()}


def cost(runs: pd.DataFrame, timings: pd.DataFrame) -> dict[str, Any]:
    """Failed and pruned runs, epochs trained and seconds of workers' time, of every attempt in the timings."""
    return {
        "failed": int((runs["state"] == "failed").sum()),
        "pruned": int((runs["state"] == "pruned").sum()),
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


def running_best(trials: pd.DataFrame) -> pd.Series:
    """Best validation score among trials 0 to i of one study of an arm, by trial; a failed trial changes nothing."""
    return trials.set_index("trial")["validation"].sort_index().cummax().ffill()


def rounded(value: float | None) -> float | None:
    """Six digits after the point; None for what is missing."""
    return None if value is None or pd.isna(value) else round(float(value), DIGITS)


def _frame(path: Path) -> pd.DataFrame:
    with reading(path, AGAIN):
        return pd.read_csv(path, dtype=TEXT)
