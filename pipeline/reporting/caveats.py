"""What a study does not show: a sentence for each thing that it held still. Plain text."""

from typing import Any

from pipeline.data import registry
from pipeline.data.form import Dataset, Form
from pipeline.errors import FairsweepError
from pipeline.provenance import DIRTY, UNKNOWN
from pipeline.reporting import measure, words
from pipeline.reporting.tables import form_of, held

# What another value of a fixed setting might do. A setting without words of its own gets the general ones.
SETTINGS = {
    "model.layers": "cells stacked otherwise may rank otherwise",
    "model.recurrent_dropout": "dropout inside the recurrence was not tried, and may help one cell more than another",
    "train.epochs": "no run is longer, so a cell that learns slowly may be undersold",
    "train.patience": "a run without progress for so many epochs is stopped",
    "train.floor": "a run below this validation {name} after three epochs is given up",
    "train.keep": "which epoch's weights are kept is part of the search",
}
# The same where the setting is null.
UNSET = {"train.patience": "no run stops before its last epoch", "train.floor": "no run is given up, however it starts"}


def described(study: dict[str, Any]) -> Dataset:
    """The dataset of a study, or `UNKNOWN` if it is a user's own and its module cannot be imported here."""
    try:
        return registry.dataset(study["task"]["source"])
    except FairsweepError as error:
        print(f"warning: the report lacks the dataset's own description. {error}")
        return registry.UNKNOWN


def caveats(metrics: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """Every limit of the study's claim."""
    if not metrics["trials"]:
        own = ["A recipe may cut texts otherwise than the study: see its file."] if described(study).language else []
        return [
            *_task(study),
            *own,
            "There was no search: each recipe is one setting, chosen by its authors, and may suit one cell more than another.",
            "A recipe's own settings stand in `conf/recipe/`; a gap between two cells is about that recipe on this test set.",
            split_caveat(study),
            f"One backend, {metrics['backend']}, and the seeds of this study.",
            *_code(metrics),
        ]
    return [
        *_task(study),
        *(f"`{key}={words.plain(value)}`: {_setting(key, value, metrics)}." for key, value in held(study).items()),
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
        *_code(metrics),
    ]


def _code(metrics: dict[str, Any]) -> list[str]:
    """Runs whose code no commit holds."""
    trained = metrics.get("commits", {})
    of = f"of {words.counted(sum(trained.values()), 'run')}"
    told = [
        f"{runs} {of} come from a checkout with changes that no commit holds (`{commit[:9]}{DIRTY}`): nobody can look up what they ran."
        for commit, runs in trained.items()
        if commit.endswith(DIRTY)
    ]
    if unknown := trained.get(UNKNOWN):
        told.append(f"{unknown} {of} were trained outside a git repository: which code they ran is not on record.")
    return told


def model_caveats(metrics: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """The limits of one trained model, for its card; `caveats` are those of the comparison."""
    form, told = form_of(study["data"]), measure.of(metrics)
    texts = [
        f"Of a longer text the last {study['task']['length']:,} words alone count, and all words outside the vocabulary are one to it.",
        f"What is no {form.example} like these, of another language or kind, was not tried: there its probabilities say nothing.",
    ]
    labels = ["Its probabilities are as training left them: they were not calibrated, and how they fare the log loss says."]
    return [
        *_task(study),
        *(texts if form.features is None else []),
        *(labels if form.kind in ("binary", "classes") else []),
        split_caveat(study),
        f"Its interval is about other {told.groups} like those of the test set, not about other times or other sources.",
        "What the comparison of the cells does not show stands in the study's report.",
    ]


def _task(study: dict[str, Any]) -> list[str]:
    """What was learned from: of texts their language and their cut, of numbers their shape."""
    task, form = study["task"], form_of(study["data"])
    source = described(study)
    told = [source.caveat] if source.caveat else []
    if "train_fraction" in task:
        told.append(f"Of the training rows a share of {task['train_fraction']:g} was trained on; validation and test are whole.")
    if "copies" in study:
        told.append(_copies(study["copies"], form.example))
    if form.features is None:
        language = source.language or f"the language of `{task['source']}`"
        return [
            f"One task: `{task['name']}`, {language}. Other tasks and other languages may rank the cells otherwise.",
            f"One cut of the text: the last {task['length']} tokens, a vocabulary of {task['vocabulary']:,}, padding `{task['padding']}`.",
            *told,
        ]
    steps, numbers = words.counted(form.length, "step"), words.counted(form.features, "number")
    return [
        f"One task: `{task['name']}`. Other tasks may rank the cells otherwise.",
        f"One shape of the inputs: {steps} of {numbers}.",
        *told,
    ]


def _copies(copies: dict[str, int], example: str) -> str:
    """Rows that stand in two parts."""
    if not any(copies[key] for key in ("test_in_training", "test_in_validation", "validation_in_training")):
        return f"No {example} of one part (training, validation, test) is read the same as one of another."
    return (
        f"Of {words.counted(copies['test'], f'test {example}')} {copies['test_in_training']:,} are read the same as one of the training "
        f"part, and {copies['test_in_validation']:,} the same as one of the validation part; of "
        f"{words.counted(copies['validation'], f'validation {example}')}, {copies['validation_in_training']:,} the same as one of the "
        "training part. They are scored as they are."
    )


def _setting(key: str, value: Any, metrics: dict[str, Any]) -> str:
    if value is None and key in UNSET:
        return UNSET[key]
    return SETTINGS.get(key, "other values were not tried").format(name=measure.of(metrics).name)


def split_caveat(study: dict[str, Any]) -> str:
    """How validation was split off, and what of a recipe's published setting is not repeated here."""
    source, form = study["task"]["source"], form_of(study["data"])
    if form.features is not None:
        return _split_of_numbers(form)
    what, group = f"{form.example}s", _group(form)
    if not form.group:
        return f"The validation split is random: each {form.example} is taken to stand alone."
    if not _grouped(study):
        return (
            f"This source (`{source}`) does not say which {group} a {form.example} is about, so the validation split is random, not by "
            f"{group}: {what} of one {group} may stand on both sides, and validation scores may flatter."
        )
    if source != "aclimdb":
        return (
            f"The validation split is by {group}. These {what} (`{source}`) are not the article's, so its numbers do not apply."
        )
    return (
        f"The validation split is by movie: no movie stands on both sides. So only which {_training_rows(study)}reviews train "
        "differs from the article, and that an epoch leaves out its last, incomplete batch."
    )


def _split_of_numbers(form: Form) -> str:
    if form.ordered:
        return (
            "The parts follow one another in time and share no value: the test is the last, and how well another stretch is told was "
            "not tried."
        )
    by = f"by {form.group}: no {form.group} stands on both sides" if form.group else f"random: each {form.example} stands alone"
    return f"The validation split is {by}."


def _group(form: Form) -> str:
    """What rows that are alike share, in the words of the source: a film is the movie that its reviews are about."""
    return "movie" if form.group == "film" else form.group


def _grouped(study: dict[str, Any]) -> bool:
    return bool(study["data"].get("by_movie", form_of(study["data"]).group))


def _split(metrics: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """With recipes the caveat stands beside their table too."""
    form = form_of(study["data"])
    told = [split_caveat(study)] if not (study["recipes"] and _grouped(study)) else []
    if metrics["design"] == "studies":
        return told
    how = "in time" if form.ordered else f"by {_group(form)}" if _grouped(study) and form.group else "at random"
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
