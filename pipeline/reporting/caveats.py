"""What a study does not show: a sentence for each thing that it held still. Plain text."""

from typing import Any

from pipeline.reporting import words

# What another value of a fixed setting might do. A setting without words of its own gets the general ones.
SETTINGS = {
    "model.layers": "cells stacked otherwise may rank otherwise",
    "model.recurrent_dropout": "dropout inside the recurrence was not tried, and may help one cell more than another",
    "train.epochs": "no run is longer, so a cell that learns slowly may be undersold",
    "train.patience": "a run without progress for so many epochs is stopped",
    "train.floor": "a run below this validation accuracy after three epochs is given up",
    "train.keep": "which epoch's weights are kept is part of the search",
}
LANGUAGES = {
    "aclimdb": "English film reviews",
    "imdb_npz": "English film reviews",
    "generated": "invented text, which is no language at all",
}


def caveats(metrics: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """Every limit of the study's claim."""
    task = study["task"]
    language = LANGUAGES.get(task["source"], f"the language of `{task['source']}`")
    return [
        f"One task: `{task['name']}`, {language}. Other tasks and other languages may rank the cells otherwise.",
        f"One cut of the text: the last {task['length']} tokens, a vocabulary of {task['vocabulary']:,}, padding `{task['padding']}`.",
        *(
            f"`{key}={words.plain(value)}`: {SETTINGS.get(key, 'other values were not tried')}."
            for key, value in study["fixed"].items()
        ),
        "The search knows only the ranges of its space; outside them nothing was tried.",
        *_split(metrics, study),
        f"The verdict speaks of a search of {words.counted(metrics['headline'], 'trial')}; another "
        "size may order the cells otherwise.",
        f"The margin of {words.margin(metrics)}, the error rate {metrics['alpha']:g} over all pairs and "
        f"{words.counted(metrics['looks'], 'look')} were fixed before the run. The intervals are each pair's own; the verdicts are "
        "corrected for all pairs (Holm).",
        "Equal trials is not equal seconds: a slower cell gets more of the machine's time for the same number of trials.",
        *_estimand(metrics),
        f"One backend, {metrics['backend']}, and the seeds of this study.",
    ]


def split_caveat(study: dict[str, Any]) -> str:
    """How validation was split off, and what of a recipe's published setting is not repeated here."""
    source = study["task"]["source"]
    if not study["data"]["by_movie"]:
        return (
            f"This source (`{source}`) does not say which movie a review is about, so the validation split is random, not by "
            "movie: reviews of one movie may stand on both sides, and validation scores may flatter."
        )
    if source != "aclimdb":
        return f"The validation split is by movie. These reviews (`{source}`) are not the article's, so its numbers do not apply."
    return (
        f"The validation split is by movie: no movie stands on both sides. So only which {_training_rows(study)}reviews train "
        "differs from the article, and that an epoch leaves out its last, incomplete batch."
    )


def _split(metrics: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """With recipes the caveat stands beside their table too."""
    told = [split_caveat(study)] if not (study["recipes"] and study["data"]["by_movie"]) else []
    if metrics["design"] == "studies":
        return told
    how = "by movie" if study["data"]["by_movie"] else "at random"
    return [*told, f"One split into training and validation, {how}: how much another would change is not in the intervals."]


def _estimand(metrics: dict[str, Any]) -> list[str]:
    if metrics["design"] == "studies":
        return [
            f"Each cell has {metrics['studies']} separate studies (`{metrics['sampler']}`, pruner `{metrics['pruner']}`); the verdict is "
            "about such studies, not about random search."
        ]
    return [
        "The claim is about searching and keeping the picked model; searching and training the pick anew is the neighbouring column.",
        "The interval's degrees of freedom, 2 (N/n − 1), are a rule found by simulation, not by proof.",
    ]


def _training_rows(study: dict[str, Any]) -> str:
    rows = study["data"].get("train", {}).get("rows")
    return f"{round(0.8 * rows):,} " if rows else ""
