"""A model card for each cell's champion: what it is for, what it scores and how sure that is, data, protocol, cost, limits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evidence.estimate import Estimate, film_variance
from pipeline.reporting import arms, measure, page, verdicts, words
from pipeline.reporting.caveats import described, model_caveats
from pipeline.reporting.sheets import Table
from pipeline.reporting.story import Block, Bullets, Section, Text
from pipeline.reporting.tables import Results, champion, held

Metrics = dict[str, Any]
# No number of the training: which study and cell, the seed, and where the split of a separate study begins.
OWN = ("study=", "cell=", "seed=", "split_seed=")


def cards(metrics: Metrics, results: Results) -> dict[str, str]:
    """{arm: its card as Markdown}; a study without a search has no champion.

    Args:
        metrics: what metrics.json holds.
        results: the tables of results/STUDY/scores.
    """
    return {arm: card(metrics, results, arm) for arm in results.cells} if results.searched else {}


def write(folder: Path, metrics: Metrics, results: Results) -> None:
    """Writes each card into `folder`, as ARM.md, and a README.md that lists them."""
    folder.mkdir()
    (folder / "README.md").write_text(index(metrics, results), encoding="utf-8")
    for arm, text in cards(metrics, results).items():
        (folder / f"{arm}.md").write_text(text, encoding="utf-8")


def index(metrics: Metrics, results: Results) -> str:
    """README.md: which models the study has kept."""
    title = f"Models of study {metrics['study']}"
    if not results.searched:
        return page.document(
            title, [Section("", "None", [Text("There was no search: recipes were scored, and no model is kept.")])]
        )
    told, rows = measure.of(metrics), []
    for arm in results.cells:
        chosen = _Chosen.of(results, arm)
        whose = "champion of the study" if arm == metrics["champion"]["arm"] else "champion of its cell"
        rows.append([f"[{chosen.name}]({arm}.md)", whose, told.with_interval(own_interval(results, chosen.score))])
    header = ["model", "what it is", f"test {told.quantity} [{words.level(metrics)} interval]"]
    return page.document(title, [Section("", "Chosen by validation, never by test", [Table("A card each", header, rows)])])


@dataclass(frozen=True)
class _Chosen:
    """An arm's champion: its name, `gru/tuned/3`, and its rows in the tables of replicates and of scores."""

    name: str
    run: pd.Series
    score: pd.Series

    @classmethod
    def of(cls, results: Results, arm: str) -> "_Chosen":
        found = champion(results.of("replicates", arm), guessed=results.guessed)
        name = "/".join(str(part) for part in (arm, *([found["study"]] if "study" in found else []), "tuned", found["replicate"]))
        run = _row(results.of("replicates", arm, "tuned"), "replicate", found)
        return cls(name, run, _row(results.of("scores", arm, "tuned"), "trial", found))


def card(metrics: Metrics, results: Results, arm: str) -> str:
    """The card of one arm's champion."""
    chosen = _Chosen.of(results, arm)
    sections = [
        Section("model", "What it is", _what(metrics, results, arm, chosen.name)),
        Section("use", "How to use it", _use(results, arm)),
        Section("scores", "What it scores", _scores(metrics, results, arm, chosen.score)),
        Section("data", "What it learned from", _data(results)),
        Section("protocol", "How it came about", _protocol(metrics, results, chosen.run)),
        Section("cost", "What it cost", _cost(metrics, arm, int(chosen.run["parameters"]))),
        Section("limits", "What this does not show", [Bullets(model_caveats(metrics, results.study))]),
    ]
    return page.document(f"Model card: {chosen.name} of study {metrics['study']}", sections)


def _row(runs: pd.DataFrame, number: str, found: Mapping[str, Any]) -> pd.Series:
    """The champion's row in a table of its arm's replicates."""
    own = (runs[number].astype(int) == found["replicate"]) & (runs["study"].astype(int) == found.get("study", 0))
    return runs[own].iloc[0]


def _what(metrics: Metrics, results: Results, arm: str, name: str) -> list[Block]:
    study, told, best = results.study, measure.of(metrics), metrics["champion"]["arm"]
    whose = "It is the study's champion" if arm == best else f"The study's champion is of cell {best}"
    size, seeds = words.counted(study["trials"], "trial"), words.counted(study["replicates"], "fresh seed")
    if study["studies"] == 1:
        trained = f"the best configuration of a search of {size}, trained anew with {seeds}"
    else:
        trained = f"the best configuration of each of {study['studies']} searches of {size}, trained anew with {seeds} each"
    return [
        Text(
            f"Cell {arm} on the task {study['task']['name']}: {trained}, and of these the one with the best validation {told.name} "
            f"(`{name}`). {whose}: the cell whose replicates are best on validation. No test score chose anything."
        )
    ]


def _use(results: Results, arm: str) -> list[Block]:
    study, form = results.study, results.form
    task, registered = study["task"], f"models:/fairsweep-{study['study']}@{arm}"
    if form.features is not None:
        shape = f"<float32>[rows, {form.length}, {form.features}]"
        return [Text(f"It takes numbers, {shape}, as `pad` makes them; MLflow loads it as one of Keras: `{registered}`.")]
    if described(study).encoded:
        return [
            Text(
                f"It takes the ids of its source, which does not say whose they are; MLflow loads it as one of Keras: `{registered}`."
            )
        ]
    classes = f", one of {words.listed(form.classes)}," if form.classes else ""
    return [
        Text(
            f"It takes raw text, and reads the last {task['length']:,} words: lower case, punctuation as spaces, up to "
            f"{task['vocabulary'] - 4:,} words known, each other one the same unknown word. It gives a label{classes} and its probability. "
            "The vocabulary is in the file."
        ),
        Text(
            f'python -m pipeline.predict study={study["study"]} run={arm} text="…" explain=true\n'
            f"mlflow models serve -m {registered} --env-manager local",
            "code",
        ),
    ]


def _scores(metrics: Metrics, results: Results, arm: str, row: pd.Series) -> list[Block]:
    told, values = measure.of(metrics), metrics["arms"][arm]
    level, size = words.level(metrics), words.counted(metrics["headline"], "trial")
    seeds = words.counted(values["replicates"]["n"], "fresh seed")
    rows = [
        [f"this model [{level} interval]", told.with_interval(own_interval(results, row))],
        ["the same on validation, which chose it", told.score(row["validation"])],
        [f"its configuration, {seeds}: mean ± sd", told.mean_sd(values["replicates"])],
        [f"what a search of {size} picks [{level} interval]", told.with_interval(values["tuned"])],
        *([told.baseline(kind), told.score(one["test"])] for kind, one in metrics["baseline"].items()),
    ]
    area = "" if pd.isna(row["test_auc"]) else f"; the area under its ROC curve is {words.decimal(row['test_auc'])}"
    return [
        Table(f"Test {told.quantity}", ["", told.name], rows),
        Text(
            f"The first interval is for this one model on other {told.groups}, the search's for new searches and other {told.groups}. "
            f"This model's {told.loss} on test: {words.decimal(row['test_loss'])}{area}."
        ),
        Text(words.answer(metrics), "lead"),
    ]


def own_interval(results: Results, row: pd.Series) -> dict[str, float]:
    """`mean`, `low` and `high` of one run's test score for other groups (films), at the level of the study's intervals.

    `row` is one of `results.scores`, whose test rows `results.correct` has in the same order.
    """
    right = arms.examples(results, np.array([row.name], np.int64))[0].astype(np.float64)
    low, high = Estimate(float(row["test"]), *film_variance(right, results.movies)).interval(verdicts.rules(results).level)
    return {"mean": float(row["test"]), "low": low, "high": high}


def _data(results: Results) -> list[Block]:
    study, form = results.study, results.form
    data, told = study["data"], measure.of_form(form)
    parts = [
        f"{data[part]['rows']:,} {told.examples} {job}{_of_groups(data[part], told)}"
        for part, job in (("train", "for training and validation"), ("test", "for the test"))
    ]
    return [
        Text(
            f"Task `{study['task']['name']}`, source `{study['task']['source']}`: {'; '.join(parts)}. Data digest `{data['digest']}`."
        )
    ]


def _of_groups(part: Mapping[str, Any], told: measure.Measure) -> str:
    return f", of {part['movies']:,} {told.groups}" if part.get("movies") and told.group else ""


def _protocol(metrics: Metrics, results: Results, run: pd.Series) -> list[Block]:
    study, overrides = results.study, json.loads(run["overrides"])
    chosen = [one for one in overrides if not one.startswith(OWN)]
    fixed = words.settings(held(study))
    return [
        Text(
            f"Protocol {metrics['protocol']}, backend {metrics['backend']}, sampler `{metrics['sampler']}`, pruner `{metrics['pruner']}`; "
            f"seeds: {words.settings(study['seeds'])}. {run['epochs']} epochs, of which the weights of epoch {int(run['best_epoch'])} were "
            "kept."
        ),
        Bullets([f"searched: `{' '.join(chosen)}`", f"held: {fixed}"]),
        Text("The same training again:"),
        Text(f"python -m pipeline.train {' '.join(overrides)}", "code"),
    ]


def _cost(metrics: Metrics, arm: str, parameters: int) -> list[Block]:
    spent = metrics["ledger"][arm]
    search, again = spent["tune"], spent["replicate"]
    return [
        Text(
            f"{parameters:,} parameters. Its search took {search['trials']:,} trials, {search['epochs']:,} epochs and "
            f"{search['seconds'] / 60:,.1f} minutes of a worker's time; the replicates and recipes {again['runs']:,} runs, "
            f"{again['epochs']:,} epochs and {again['seconds'] / 60:,.1f} minutes."
        )
    ]
