"""Gates on what an arm's trials gave: the first few of them, and the best of all when its search is over."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.config import Config, parameters
from pipeline.data import arrays
from pipeline.data.arrays import Data, without_padding
from pipeline.evidence import edges as evidence
from pipeline.evidence.scores import NO_LABEL, rate
from pipeline.gates.flags import Flag
from pipeline.models import anchors, linear
from pipeline.search.space import values_of
from pipeline.search.state import Record
from pipeline.search.tables import best
from pipeline.training.work import load_data

# One trial in twenty, but never fewer than three: of one that went wrong nothing follows.
SHARE, FEWEST = 20, 3
# How sure a score must be above the trivial one, over all epochs of the first trials, the best of which is kept.
LEVEL = 0.05
# Rows that the linear model is fitted to: enough to see whether there is anything to learn, in seconds.
FITTED = 4000


def first(config: Config) -> set[tuple[int, int]]:
    """The first trials of an arm, as (study, trial): in separate studies the first ones of each, side by side."""
    search = config.search
    order = [(study, trial) for trial in range(search.trials) for study in search.numbers]
    return set(order[: max(FEWEST, len(order) // SHARE)])


def begun(config: Config, folder: Path, records: Sequence[Record]) -> list[Flag]:
    """What the first trials say, in whatever order they come."""
    failed = [record for record in records if record.run.state == "failed"]
    if 2 * len(failed) > len(records):
        return [_diverged(config, records, failed)]
    done = [record for record in records if record.run.state == "complete"]
    flag = _at_chance(config, folder, done) if len(done) > 1 else None
    return [flag] if flag else []


def _diverged(config: Config, records: Sequence[Record], failed: Sequence[Record]) -> Flag:
    reasons = Counter(record.run.reason for record in failed).most_common()
    told = "; ".join(reason for reason, _ in reasons[:2])
    searched = parameters(config).get("train.learning_rate")
    top = f" (now up to {searched.high:g})" if searched and searched.high else ""
    return Flag(
        "diverged",
        f"{len(failed)} of the first {len(records)} trials failed: {told}",
        f"Lower the learning rates{top}, or clip the gradients (train.clipnorm=1.0); a failed trial counts as a guess",
    )


def _at_chance(config: Config, folder: Path, done: Sequence[Record]) -> Flag | None:
    """The flag of first trials none of which is better than the trivial model, beyond the luck of its best epoch."""
    gains = []
    for record in done:
        data, groups = _validated(record.job.config, folder)
        trivial = anchors.fit_all("trivial", data)[0].validation_logits
        assert record.run.validation_logits is not None
        gains.append(errors_above(better(data, record.run.validation_logits, trivial), groups))
    if not at_chance(gains, sum(len(record.run.epochs) for record in done)):
        return None
    form = data.form
    scores = sorted(record.run.best.validation for record in done if record.run.best)
    lowest = rate(form.metric, trivial, data.validation_labels, form.scale).value
    seen = (
        f"The first {len(done)} trials score {form.told(scores[0])} to {form.told(scores[-1])} on validation, no better than what needs no "
        f"learning ({form.told(lowest)})"
    )
    fitted = linear_model(data)
    if at_chance([errors_above(better(data, one.validation_logits, trivial), groups) for one in fitted], len(fitted)):
        return Flag(
            "shuffled labels",
            f"{seen}, nor does a linear model of the same inputs: labels may not belong to their rows",
            "Look at some rows with their labels; were both sorted, or shuffled, alike?",
        )
    return Flag(
        "stuck at chance",
        f"{seen}, while a linear model of the same inputs reaches {form.told(linear.best_of(fitted).validation)}",
        "Try one by hand (python -m pipeline.train) with other learning rates, more epochs (train.epochs), padding skipped or in front",
    )


def _validated(config: Config, folder: Path) -> tuple[Data, NDArray[np.integer]]:
    """The data of a trial, and the group of each validation row."""
    validation = arrays.split(folder, config.task, config.split_seed)[1]
    return load_data(config, folder), np.load(folder / "train_movies.npy")[validation]


def better(data: Data, logits: NDArray[np.floating], trivial: NDArray[np.floating]) -> NDArray[np.floating]:
    """What each validation row, float [rows], adds to a mean that is above 0 where `logits` tell something of the labels.

    Of classes, and of labels at each step, that is how much more often both agree than they would by their frequencies; a constant
    answer gets 0, whatever the frequencies of this validation part are. Of nats and errors it is what they are less than the trivial ones.
    """
    form, labels = data.form, data.validation_labels
    if form.metric == "f1":
        real = labels != NO_LABEL
        said, true = logits > 0, labels == 1
        shares = [(part & real).sum(axis=(0, 1)) / real.sum(axis=(0, 1)) for part in (said, true)]
        products: NDArray[np.floating] = np.where(real, (said - shares[0]) * (true - shares[1]), 0.0).sum(axis=(1, 2))
        return products
    if form.metric == "accuracy":
        said = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        of_said, of_labels = (np.bincount(part, minlength=max(form.outputs, 2)) / len(labels) for part in (said, labels))
        agreed: NDArray[np.floating] = (said == labels) - of_labels[said] - of_said[labels] + of_labels @ of_said
        return agreed
    own, other = (rate(form.metric, part, labels, form.scale).examples for part in (logits, trivial))
    return own - other


def errors_above(examples: NDArray[np.floating], groups: NDArray[np.integer]) -> tuple[float, int]:
    """The mean of `examples` [rows] in its standard errors, rows drawn by whole groups, and the degrees of freedom."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, examples - examples.mean())
    error = np.sqrt(np.sum(sums**2) * len(sums) / max(len(sums) - 1, 1)) / len(examples)
    mean = examples.mean()
    return float(mean / error if error else np.inf * np.sign(mean) if mean else 0.0), len(sums) - 1


def at_chance(gains: Sequence[tuple[float, int]], looks: int) -> bool:
    """Whether none of `gains`, the best of `looks`, is more than luck."""
    return all(errors <= stats.t.isf(LEVEL / looks, max(freedom, 1)) for errors, freedom in gains)


def linear_model(data: Data) -> list[linear.Candidate]:
    """A linear model of the same inputs, in every setting of the baseline, on some of the rows."""
    from threadpoolctl import threadpool_limits

    # Labels at each step are as many rows as there are steps.
    rows = FITTED // data.train_labels.shape[1] if data.form.kind == "steps" else FITTED
    few = replace(data, train_inputs=data.train_inputs[:rows], train_labels=data.train_labels[:rows])
    # Beside workers that train, more threads of a fit of seconds only wait for one another.
    with threadpool_limits(1):
        if data.form.features is not None:
            return anchors.fit_all("linear", few)
        tokens = [without_padding(part) for part in (few.train_inputs, few.validation_inputs, few.test_inputs[:1])]
        return linear.fit_all(tokens[0], few.train_labels, tokens[1], few.validation_labels, tokens[2], few.form.outputs)


def edges(config: Config, records: Sequence[Record]) -> list[Flag]:
    """The ends of the ranges beyond which better values may lie, as the report will say."""
    searched = parameters(config)
    spans = {key: span for key, parameter in searched.items() if (span := evidence.span(vars(parameter)))}
    winner = best(records)
    done = [record for record in records if record.run.state == "complete" and record.run.best]
    if winner is None or not done:
        return []
    scores = np.array([record.run.best.validation for record in done if record.run.best])
    found = evidence.edges(
        spans, [_values(config, record) for record in done], scores, _values(config, winner), len(config.cells)
    )
    return [
        Flag(
            "best at an edge",
            f"{edge.key}={edge.value:g}: the best trial lies where the range ends, and scores still rise there (a slope as steep by chance "
            f"{edge.chance_any:.2g}, over all ends of all cells)",
            f"{edge.remedy[:1].upper()}{edge.remedy[1:]}",
        )
        for edge in found
        if edge.warning
    ]


def _values(config: Config, record: Record) -> dict[str, float]:
    """The searched values of a trial."""
    searched = set(parameters(config))
    return values_of(config, [one for one in record.job.overrides if one.split("=")[0] in searched])
