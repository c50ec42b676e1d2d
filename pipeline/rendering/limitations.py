"""The limitations of a study and of its models, one sentence or two each."""

from typing import Any

from ..analysis.types import Summary
from ..config.validation import as_typed
from ..data import registry
from ..data.spec import Dataset, TaskSpec
from ..errors import FairsweepError
from ..metrics import measure_of
from ..provenance import DIRTY, UNKNOWN
from ..scoring.results import active_settings, spec_of
from .format import counted, margin

# What another value of a fixed setting might change. Other settings have a general sentence.
SETTINGS = {
    "model.layers": "another number of layers may rank the cells differently",
    "model.recurrent_dropout": "dropout inside the recurrence was not tried, and may help one cell more than another",
    "train.epochs": "no run is longer, so cells that learn slowly may be underestimated",
    "train.patience": "a run stops after so many epochs without progress",
    "train.min_validation": "a run below this validation {name} after three epochs stops",
    "train.checkpoint": "the choice of the epoch whose weights are kept is part of the search",
}
UNSET = {
    "train.patience": "no run stops before its last epoch",
    "train.min_validation": "no run stops because of a low score",
}


def described(study: dict[str, Any]) -> Dataset:
    """The dataset of a study, or `UNKNOWN` if its module cannot be imported here."""
    try:
        return registry.dataset(study["task"]["source"])
    except FairsweepError as error:
        print(f"warning: the report lacks the dataset's own description. {error}")
        return registry.UNKNOWN


def limitations(summary: Summary, study: dict[str, Any]) -> list[str]:
    """The limitations of the study's claim."""
    backend = f"One backend, {summary['backend']}, and the seeds of this study."
    if not summary["trials"]:
        cut = "A recipe may cut texts to another length than the study: see its file."
        return [
            *_task(study),
            *([cut] if described(study).language else []),
            "There was no search: each recipe is one setting, chosen by its authors, and may suit one cell more than another.",
            "The settings of a recipe are in `conf/recipe/`. A gap between two cells is about that recipe on this test set.",
            split(study),
            backend,
            *_code(summary),
        ]
    fixed = active_settings(study)
    return [
        *_task(study),
        *(
            f"`{key}={as_typed(value)}`: {_setting(key, value, summary)}."
            for key, value in fixed.items()
        ),
        "The search covers the ranges of its space only.",
        *_one_split(summary, study),
        f"The verdict is about a search of {counted(summary['budget'], 'trial')}. Another size may rank the cells differently.",
        f"The margin of {margin(summary)}, the error rate {summary['alpha']:g} over all pairs and {counted(summary['looks'], 'look')} "
        "were fixed before the run. The intervals are for each pair alone; the verdicts are corrected for all pairs (Holm).",
        "Equal trials are not equal seconds: a slower cell uses more compute for the same number of trials.",
        *_estimand(summary),
        backend,
        *_code(summary),
    ]


def model_limitations(summary: Summary, study: dict[str, Any]) -> list[str]:
    """The limitations of one trained model."""
    spec, measure = spec_of(study["data"]), measure_of(summary)
    texts = [
        f"The model reads only the last {study['task']['length']:,} words of a longer text. All words outside the vocabulary are "
        "the same to it.",
        f"It was not tried on other texts than {spec.example}s like these. Its probabilities say nothing about them.",
    ]
    labels = ["Its probabilities are not calibrated; the log loss shows how good they are."]
    return [
        *_task(study),
        *(texts if spec.features is None else []),
        *(labels if spec.kind in ("binary", "classes") else []),
        split(study),
        f"The interval is about other {measure.groups} like those of the test set, not about other times or sources.",
        "The limitations of the comparison of cells are in the study's report.",
    ]


def split(study: dict[str, Any]) -> str:
    """How the validation rows were chosen, and what a recipe does not repeat of its publication."""
    source, spec = study["task"]["source"], spec_of(study["data"])
    what, group = f"{spec.example}s", _group(spec)
    if spec.ordered:
        return (
            "Training, validation and test follow one another in time and share no value. The test is the last part; other "
            "parts were not tried."
        )
    if not spec.group:
        return f"The validation split is random: each {spec.example} is assumed to be independent."
    if spec.features is not None:
        return f"The validation split is by {group}: no {group} is in two parts."
    if not study["data"].get("by_group", True):
        return (
            f"This source (`{source}`) does not say which {group} a {spec.example} is about, so the validation split is random, "
            f"not by {group}: {what} of one {group} may be in both parts, and validation scores may be too high."
        )
    if source != "imdb":
        return f"The validation split is by {group}. These {what} (`{source}`) are not those of the article, so its numbers do not apply."
    rows = study["data"].get("train", {}).get("rows")
    number = f"{round(0.8 * rows):,} " if rows else ""
    return (
        f"The validation split is by {group}: no {group} is in both parts. Two things differ from the article: which {number}reviews "
        "train, and that an epoch omits its last, incomplete batch."
    )


def _task(study: dict[str, Any]) -> list[str]:
    """The data: for texts their language and length, for numbers their shape."""
    task, spec, dataset = study["task"], spec_of(study["data"]), described(study)
    more = [dataset.caveat] if dataset.caveat else []
    if "train_fraction" in task:
        more.append(
            f"Only a fraction of {task['train_fraction']:g} of the training rows was used; validation and test are complete."
        )
    if "copies" in study:
        more.append(_copies(study["copies"], spec.example))
    if spec.features is None:
        language = dataset.language or f"the language of `{task['source']}`"
        return [
            f"One task: `{task['name']}`, {language}. Other tasks and languages may rank the cells differently.",
            f"One length: the last {task['length']} tokens, a vocabulary of {task['vocabulary']:,}, padding `{task['padding']}`.",
            *more,
        ]
    shape = f"{counted(spec.length, 'step')} of {counted(spec.features, 'number')}"
    return [
        f"One task: `{task['name']}`. Other tasks may rank the cells differently.",
        f"One shape of the inputs: {shape}.",
        *more,
    ]


def _copies(copies: dict[str, int], example: str) -> str:
    """Rows that are equal to rows of another part."""
    if not any(
        copies[key] for key in ("test_in_training", "test_in_validation", "validation_in_training")
    ):
        return f"No {example} is equal to one of another part (training, validation, test)."
    return (
        f"Of {copies['test']:,} test {example}s, {copies['test_in_training']:,} are equal to one of the training part and "
        f"{copies['test_in_validation']:,} to one of the validation part. Of {copies['validation']:,} validation {example}s, "
        f"{copies['validation_in_training']:,} are equal to one of the training part. They are scored like all others."
    )


def _setting(key: str, value: Any, summary: Summary) -> str:
    if value is None and key in UNSET:
        return UNSET[key]
    return SETTINGS.get(key, "other values were not tried").format(name=measure_of(summary).name)


def _group(spec: TaskSpec) -> str:
    """The name of a group. The film of a review is called a movie where the movie itself is meant."""
    return "movie" if spec.group == "film" else spec.group


def _one_split(summary: Summary, study: dict[str, Any]) -> list[str]:
    """With recipes, the sentence on the split is also beside their table."""
    spec = spec_of(study["data"])
    grouped = bool(study["data"].get("by_group", spec.group))
    sentences = [] if study["recipes"] and grouped else [split(study)]
    if summary["design"] == "repeated":
        return sentences
    how = (
        "in time"
        if spec.ordered
        else f"by {_group(spec)}"
        if grouped and spec.group
        else "at random"
    )
    return [
        *sentences,
        f"One split into training and validation, {how}. The intervals do not cover other splits.",
    ]


def _estimand(summary: Summary) -> list[str]:
    if summary["design"] == "repeated":
        return [
            f"Each cell has {summary['repeats']} repeated searches (`{summary['sampler']}`, pruner `{summary['pruner']}`). The verdict "
            "is about such searches, not about random search."
        ]
    return [
        "The claim is about a search that keeps the selected model. Replicates are about retraining the "
        "selected configuration.",
        "The interval's degrees of freedom, 2 (N/n − 1), are a rule that simulations support, not a proof.",
    ]


def _code(summary: Summary) -> list[str]:
    """Runs whose code is in no commit."""
    trained = summary.get("commits") or {}
    total = counted(sum(trained.values()), "run")
    sentences = [
        f"{runs} of {total} were trained from a checkout with uncommitted changes (`{commit[:9]}{DIRTY}`), so their code is not on record."
        for commit, runs in trained.items()
        if commit.endswith(DIRTY)
    ]
    if unknown := trained.get(UNKNOWN):
        sentences.append(
            f"{unknown} of {total} were trained outside a git repository, so their code is not on record."
        )
    return sentences
