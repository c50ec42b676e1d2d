"""A model card for each arm's champion: use, scores with intervals, data, training, cost, limits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..analysis import arrays, verdicts
from ..analysis.types import Summary
from ..metrics import measure_of
from ..scoring.results import Results, active_settings, champion
from ..statistics.estimate import Estimate, group_variance
from .format import counted, level
from .limitations import described, model_limitations
from .markdown import context, render
from .tables import Table


def write(folder: Path, summary: Summary, results: Results) -> None:
    """Writes each card into `folder`, as ARM.md, and a README.md that lists them."""
    folder.mkdir()
    (folder / "README.md").write_text(index(summary, results), encoding="utf-8")
    for arm, text in cards(summary, results).items():
        (folder / f"{arm}.md").write_text(text, encoding="utf-8")


def index(summary: Summary, results: Results) -> str:
    """README.md, the list of the models."""
    measure, rows = measure_of(summary), []
    champion_arm = (summary["champion"] or {}).get("arm")
    for arm in results.cells if champion_arm else []:
        name, _, score = _champion(results, arm)
        whose = "champion of the study" if arm == champion_arm else "champion of its cell"
        rows.append([f"[{name}]({arm}.md)", whose, measure.with_interval(interval(results, score))])
    header = ["model", "what it is", f"test {measure.quantity} [{level(summary)} interval]"]
    models = Table("One card per model", header, rows)
    return render("cards.md.j2", **context(summary, results.study), models=models)


def cards(summary: Summary, results: Results) -> dict[str, str]:
    """{arm: its card as Markdown}; empty for a study without a search.

    Args:
        summary: what metrics.json holds.
        results: the tables of results/STUDY/scores.
    """
    return {arm: _card(summary, results, arm) for arm in results.cells} if results.searched else {}


def _card(summary: Summary, results: Results, arm: str) -> str:
    name, run, score = _champion(results, arm)
    auc = score["test_auc"]
    return render(
        "card.md.j2",
        **context(summary, results.study),
        arm=arm,
        name=name,
        run=run.to_dict(),
        overrides=json.loads(run["overrides"]),
        fixed=active_settings(results.study),
        spec=results.spec,
        encoded=described(results.study).encoded,
        scores=_scores(summary, results, arm, score),
        loss=float(score["test_loss"]),
        auc=None if pd.isna(auc) else float(auc),
        limits=model_limitations(summary, results.study),
    )


def _champion(results: Results, arm: str) -> tuple[str, pd.Series, pd.Series]:
    """The name of an arm's champion, `gru/tuned/3`, its row of the replicates and its row of the scores."""
    best = champion(results.of("replicates", arm), guessed=results.guessed)
    repeat, number = best.get("repeat", 0), best["replicate"]

    def row(table: pd.DataFrame, column: str) -> pd.Series:
        same = (table[column].astype(int) == number) & (table["repeat"].astype(int) == repeat)
        return table[same].iloc[0]

    parts = [arm, *([repeat] if "repeat" in best else []), "tuned", number]
    run = row(results.of("replicates", arm, "tuned"), "replicate")
    return "/".join(map(str, parts)), run, row(results.of("scores", arm, "tuned"), "trial")


def _scores(summary: Summary, results: Results, arm: str, score: pd.Series) -> Table:
    """The scores of the model, of its configuration, of the search, and of the baselines."""
    measure, values = measure_of(summary), summary["arms"][arm]
    confidence, size = level(summary), counted(summary["budget"], "trial")
    seeds = counted(values["replicates"]["n"], "fresh seed")
    rows = [
        [f"this model [{confidence} interval]", measure.with_interval(interval(results, score))],
        ["this model on validation, which chose it", measure.score(score["validation"])],
        [f"its configuration, {seeds}: mean ± sd", measure.mean_sd(values["replicates"])],
        [f"search of {size} [{confidence} interval]", measure.with_interval(values["tuned"])],
        *(
            [measure.baseline(kind), measure.score(baseline["test"])]
            for kind, baseline in summary["baseline"].items()
        ),
    ]
    return Table(f"Test {measure.quantity}", ["", measure.name], rows)


def interval(results: Results, score: pd.Series) -> dict[str, Any]:
    """`mean`, `low` and `high` of one run's test score for other groups, at the study's level.

    `score` is a row of `results.scores`; its test rows are those of `results.correct` at this row.
    """
    examples = arrays.examples(results, np.array([score.name], np.int64))[0].astype(np.float64)
    estimate = Estimate(float(score["test"]), *group_variance(examples, results.groups))
    low, high = estimate.interval(verdicts.rules(results).level)
    return {"mean": float(score["test"]), "low": low, "high": high}
