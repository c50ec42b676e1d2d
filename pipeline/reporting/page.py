"""The report as Markdown, and the README's table: numbers of tables.py, set in words."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.reporting.tables import BASELINES, Results

Metrics = dict[str, Any]

NO_VERDICT = (
    "This version gives no verdict: verdicts with intervals are not in it yet, so the means below must not be read as "
    '"A beats B". Other trials or other seeds could order the cells otherwise.'
)
BASELINE_NAMES = {"same_tokens": "linear, same tokens", "whole_text": "linear, whole text"}
PLOTS = {
    "curves": "Train and validation loss and accuracy per epoch: each cell's champion (bold) and the recipe runs (thin)",
    "search": "Validation accuracy of each trial, and the best so far of each cell",
    "validation_test": "Validation against test accuracy of each trial, with the linear baselines",
}


def write(folder: Path, metrics: Metrics, results: Results) -> None:
    """Writes metrics.json and report.md into `folder`."""
    text = json.dumps(metrics, indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report(metrics, results.study), encoding="utf-8")


def report(metrics: Metrics, study: dict[str, Any]) -> str:
    """report.md, whole.

    Args:
        metrics: what metrics.json holds.
        study: what study.json holds.
    """
    sections = [
        f"# Study `{metrics['study']}`: {listed(study['cells'])} on {study['task']['name']}",
        state_of_affairs(metrics),
        "## The table",
        cell_table(metrics),
        table_note(metrics, study),
        baseline_sentence(metrics),
        "## Best configuration of each cell",
        best_table(metrics),
        champion_sentence(metrics),
        *recipe_section(metrics, study),
        "## What was searched, and what was fixed",
        search_table(study),
        f"Fixed for every trial: {settings(study['fixed'])}.",
        data_sentence(study),
        "## What it cost",
        ledger_table(metrics),
        "Hours are the workers' own; the clock shows less where workers run side by side.",
        "## Plots",
        "\n\n".join(f"![{name}](plots/{name}.svg)\n\n*{text}.*" for name, text in PLOTS.items()),
        "## How to reproduce",
        reproduce(metrics, study),
    ]
    return "\n\n".join(sections) + "\n"


def readme_table(metrics: Metrics) -> str:
    """The table between the README's result markers, computed from metrics.json alone."""
    n = next(iter(metrics["arms"].values()))["replicates"]["n"]
    header = [
        "cell",
        "trials",
        "validation of best",
        f"test, tuned: mean ± sd of {n}",
        f"test, {_recipe(metrics)}",
        "epochs",
        "minutes",
    ]
    rows = [
        [
            arm,
            str(values["trials"]),
            score(values["validation_of_best"]),
            mean_sd(values["replicates"]),
            mean_sd(values["recipe"]),
            f"{values['epochs']:,}",
            f"{values['seconds'] / 60:.1f}",
        ]
        for arm, values in metrics["arms"].items()
    ]
    for kind, values in metrics["baseline"].items():
        numbers = [str(values["settings"]), score(values["validation"]), score(values["test"])]
        rows.append([BASELINE_NAMES[kind], *numbers, "–", "–", f"{values['seconds'] / 60:.1f}"])
    return markdown_table(header, rows)


def state_of_affairs(metrics: Metrics) -> str:
    """Who stands where, and that this is no verdict."""
    arms = sorted(metrics["arms"].items(), key=lambda item: -item[1]["replicates"]["mean"])
    means = listed(f"{arm} {score(values['replicates']['mean'])}" for arm, values in arms)
    return f"After {metrics['trials']} trials a cell, the tuned cells' mean test accuracies are {means}. {NO_VERDICT}"


def cell_table(metrics: Metrics) -> str:
    """A row a cell and a row a baseline."""
    n = next(iter(metrics["arms"].values()))["replicates"]["n"]
    header = [
        "cell",
        "trials",
        "failed",
        "epochs",
        "seconds",
        "parameters of best",
        "validation of best",
        f"test, tuned: mean ± sd of {n}",
        f"test, {_recipe(metrics)}",
        "loss of recipe",
    ]
    rows = []
    for arm, values in metrics["arms"].items():
        counts = [f"{values[key]:,}" for key in ("trials", "failed", "epochs")]
        recipe = values["recipe"]
        loss = mean_sd(recipe and {"mean": recipe["loss_mean"], "sd": recipe["loss_sd"]})
        rest = [score(values["validation_of_best"]), mean_sd(values["replicates"]), mean_sd(recipe), loss]
        rows.append([arm, *counts, f"{values['seconds']:,.0f}", f"{values['parameters']:,}", *rest])
    for kind, values in metrics["baseline"].items():
        counts = [str(values["settings"]), "0", "–", f"{values['seconds']:,.0f}", f"{values['features']:,}"]
        rows.append([BASELINE_NAMES[kind], *counts, score(values["validation"]), score(values["test"]), "–", "–"])
    return markdown_table(header, rows)


def table_note(metrics: Metrics, study: dict[str, Any]) -> str:
    """How to read the table."""
    optimism = listed(f"{arm} {values['optimism']:+.4f}" for arm, values in metrics["arms"].items())
    return (
        f"Accuracies are fractions, losses nats a review, mean ± sample sd of {study['replicates']} seeds. Trials, epochs and seconds are "
        "the search's. Optimism, the best validation score of a search minus the test mean of the same configuration retrained: "
        f"{optimism}. A failed run scores as guessing does. The linear models' trials are the settings tried on validation, their "
        f"parameters one a feature. Backend: {metrics['backend']}."
    )


def baseline_sentence(metrics: Metrics) -> str:
    """Whether the linear baselines score above the tuned cells: computed, whichever way it falls."""
    means = {arm: values["replicates"]["mean"] for arm, values in metrics["arms"].items()}
    told = []
    for kind, on in zip(BASELINES, ("the same tokens as the cells see", "the whole review"), strict=True):
        linear = metrics["baseline"][kind]
        test = linear["test"]
        below = [arm for arm, mean in means.items() if mean < test]
        above = [arm for arm in means if arm not in below]
        verb = f"beats the mean of every tuned cell ({listed(below)})" if not above else f"does not beat {listed(above)}"
        if below and above:
            verb = f"beats the mean of {listed(below)}, but not that of {listed(above)}"
        told.append(
            f"On {on}, TF-IDF with logistic regression (up to {linear['ngrams']} words at a time, C {linear['C']:g}) scores "
            f"{score(test)} on test and {verb}."
        )
    return " ".join(told)


def best_table(metrics: Metrics) -> str:
    """The chosen configuration of each cell."""
    rows = []
    for arm, values in metrics["arms"].items():
        best = values["best"]
        chosen = [one for one in best["overrides"] if not one.startswith(("study=", "cell=", "seed="))]
        rows.append([arm, str(best["trial"]), f"`{' '.join(chosen)}`"])
    return markdown_table(["cell", "trial", "configuration"], rows)


def champion_sentence(metrics: Metrics) -> str:
    """Which model the registry calls the champion."""
    champion = metrics["champion"]
    return (
        f"The champion is replicate {champion['replicate']} of {champion['arm']}: chosen by validation (the cell with the best mean "
        "over replicates, and its best replicate), never by test."
    )


def recipe_section(metrics: Metrics, study: dict[str, Any]) -> list[str]:
    """The published recipes' table, a row a recipe and cell, with what differs from where they were published."""
    if not study["recipes"]:
        return []
    return ["## The recipe as published, untuned", recipe_table(metrics), split_caveat(study)]


def recipe_table(metrics: Metrics) -> str:
    """A row a recipe and cell."""
    rows = []
    for arm, values in metrics["arms"].items():
        for recipe, runs in values["recipes"].items():
            numbers = [score(runs[key]) for key in ("mean", "sd", "min", "max", "loss_mean")]
            rows.append([recipe, arm, str(runs["n"]), *numbers])
    header = ["recipe", "cell", "seeds", "test mean", "sd", "min", "max", "mean loss"]
    return markdown_table(header, rows)


def split_caveat(study: dict[str, Any]) -> str:
    """What of a recipe's published setting is not repeated here."""
    source = study["task"]["source"]
    if not study["data"]["by_movie"]:
        return (
            f"This source (`{source}`) does not say which movie a review is about, so **the validation split is random, not by "
            "movie**: reviews of one movie may stand on both sides, and validation scores may flatter."
        )
    if source != "aclimdb":
        return f"The validation split is by movie. These reviews (`{source}`) are not the article's, so its numbers do not apply."
    return (
        f"Our validation split is by movie: no movie stands on both sides. So only *which* {_training_rows(study)}reviews train "
        "differs from the article, and that an epoch leaves out its last, incomplete batch."
    )


def search_table(study: dict[str, Any]) -> str:
    """The search space, a row a hyperparameter."""
    rows = []
    for parameter in study["space"]:
        if parameter.get("choices") is not None:
            values, scale = ", ".join(_plain(choice) for choice in parameter["choices"]), "choices"
        else:
            values, scale = f"{parameter['low']:g} to {parameter['high']:g}", "logarithmic" if parameter.get("log") else "linear"
            scale += f", step {parameter['step']:g}" if parameter.get("step") else ""
        rows.append([f"`{parameter['key']}`", values, scale])
    return markdown_table(["hyperparameter", "values", "scale"], rows)


def data_sentence(study: dict[str, Any]) -> str:
    """Task, split, protocol and backend."""
    task = study["task"]
    told = (
        f"Task `{task['name']}` from `{task['source']}`: the last {task['length']} tokens of a review, vocabulary "
        f"{task['vocabulary']:,}, padding {task['padding']}. Data digest `{study['data']['digest']}`. Protocol {study['protocol']}, "
        f"backend {study['backend']}; headline budget {study['headline']}, margin {study['margin']:g}."
    )
    # With recipes the caveat stands beside their table.
    return told if study["recipes"] else f"{told} {split_caveat(study)}"


def ledger_table(metrics: Metrics) -> str:
    """Runs, failures, epochs and hours of each cell, in its search and its retrainings."""
    rows, total = [], {"runs": 0, "failed": 0, "epochs": 0, "seconds": 0.0}
    for arm, parts in metrics["ledger"].items():
        for stage, count in (("tune", "trials"), ("replicate", "runs")):
            part = parts[stage]
            rows.append([arm, stage, *_cost(part[count], part)])
            total = {key: total[key] + part[count if key == "runs" else key] for key in total}
    rows.append(["**all**", "", *_cost(int(total["runs"]), total)])
    return markdown_table(["cell", "stage", "runs", "failed", "epochs", "hours"], rows)


def reproduce(metrics: Metrics, study: dict[str, Any]) -> str:
    """The lines that make these numbers again, the study or one trial of it."""
    arm = metrics["champion"]["arm"]
    best = metrics["arms"][arm]["best"]
    return (
        "`dvc repro` runs the whole study, and only what is missing of it. One trial alone, here the best of "
        f"{arm} (trial {best['trial']}):\n\n```\npython -m pipeline.train {' '.join(best['overrides'])}\n```\n\n"
        f"Seeds: {settings(study['seeds'])}. Every number above is in `metrics.json`, and recomputed from `../scores/`."
    )


def settings(values: dict[str, Any]) -> str:
    """`key=value` of each entry, as Hydra writes them."""
    return ", ".join(f"`{key}={_plain(value)}`" for key, value in values.items())


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def score(value: float | None) -> str:
    """A fraction or a loss with four decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def mean_sd(values: dict[str, Any] | None) -> str:
    """`0.8512 ± 0.0021`; the mean alone where one run has no spread, a dash where there was no run."""
    if values is None:
        return "–"
    return score(values["mean"]) + ("" if values["sd"] is None else f" ± {score(values['sd'])}")


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _recipe(metrics: Metrics) -> str:
    """The heading of the first recipe's column."""
    first = next(iter(metrics["arms"].values()))
    if not first["recipes"]:
        return "recipe (none)"
    name, runs = next(iter(first["recipes"].items()))
    return f"{name} recipe: mean ± sd of {runs['n']}"


def _training_rows(study: dict[str, Any]) -> str:
    rows = study["data"].get("train", {}).get("rows")
    return f"{round(0.8 * rows):,} " if rows else ""


def _cost(runs: int, part: dict[str, Any]) -> list[str]:
    return [f"{runs:,}", f"{part['failed']:,}", f"{part['epochs']:,}", f"{part['seconds'] / 3600:.2f}"]


def _plain(value: Any) -> str:
    """As Hydra writes it: `null`, `true`, `false`, or the value."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
