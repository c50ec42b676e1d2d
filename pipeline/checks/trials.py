"""Checks of an arm's trials: of the first few, and of the best one after the search."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..config.schema import Config, own_parameters, parameters
from ..data import arrays
from ..data.arrays import Data, without_padding
from ..metrics import NO_LABEL, rate
from ..models import baselines
from ..search.run_store import Record
from ..search.space import distributions, values_of
from ..search.tables import best
from ..statistics import range_edges
from ..training.worker import load_data
from .flags import Flag

# One trial in twenty, but at least three: nothing follows from a single bad one.
SHARE, FEWEST = 20, 3
# Level of the test that a score exceeds the trivial one, over all epochs of the first trials, since
# the best epoch is kept.
LEVEL = 0.05
# Rows that the linear model is fitted to: enough to detect a signal within seconds.
FITTED = 4000


def first_trials(config: Config) -> set[tuple[int, int]]:
    """The first trials of an arm, as (repeat, trial). Repeated searches contribute equally."""
    search = config.search
    order = [(repeat, trial) for trial in range(search.trials) for repeat in search.numbers]
    return set(order[: max(FEWEST, len(order) // SHARE)])


def check_first_trials(config: Config, folder: Path, records: Sequence[Record]) -> list[Flag]:
    """The flags of the first trials, in any order."""
    failed = [record for record in records if record.run.state == "failed"]
    if 2 * len(failed) > len(records):
        reasons = Counter(record.run.reason for record in failed).most_common(2)
        searched = parameters(config).get("train.learning_rate")
        top = f" (now up to {searched.high:g})" if searched and searched.high else ""
        return [
            Flag(
                "diverged",
                f"{len(failed)} of the first {len(records)} trials failed: "
                + "; ".join(reason for reason, _ in reasons),
                f"Lower the learning rates{top}, or clip the gradients (train.clipnorm=1.0); a "
                "failed trial counts as a guess",
            )
        ]
    complete = [record for record in records if record.run.state == "complete"]
    flag = _at_chance(config, folder, complete) if len(complete) > 1 else None
    return [flag] if flag else []


def validation_groups(config: Config, folder: Path) -> tuple[Data, NDArray[np.int32]]:
    """The data of a trial, and the group of each of its validation rows."""
    validation = arrays.split(folder, config.task, config.split_seed)[1]
    return load_data(config, folder), np.load(folder / "train_groups.npy")[validation]


def _at_chance(config: Config, folder: Path, complete: Sequence[Record]) -> Flag | None:
    """Flag first trials of which none is significantly better than the trivial baseline."""
    gains = []
    for record in complete:
        data, groups = validation_groups(record.job.config, folder)
        trivial = baselines.fit_all("trivial", data)[0].validation_logits
        assert record.run.validation_logits is not None
        gains.append(standardised_mean(gain(data, record.run.validation_logits, trivial), groups))
    if not at_chance(gains, sum(len(record.run.epochs) for record in complete)):
        return None
    spec = data.spec
    scores = sorted(record.run.best.validation for record in complete if record.run.best)
    lowest = rate(spec.metric, trivial, data.validation_labels, spec.scale).value
    summary = (
        f"The first {len(complete)} trials score {spec.format(scores[0])} to "
        f"{spec.format(scores[-1])} on validation, no better "
        f"than the trivial baseline ({spec.format(lowest)})"
    )
    fitted = linear_model(data)
    of_linear = [
        standardised_mean(gain(data, candidate.validation_logits, trivial), groups)
        for candidate in fitted
    ]
    if at_chance(of_linear, len(fitted)):
        return Flag(
            "shuffled labels",
            f"{summary}, nor is a linear model of the same inputs: labels may not belong to their "
            "rows",
            "Compare some rows with their labels; were both sorted, or shuffled, alike?",
        )
    return Flag(
        "stuck at chance",
        f"{summary}, while a linear model of the same inputs reaches "
        f"{spec.format(baselines.best_of(fitted).validation)}",
        "Train one configuration (python -m pipeline.train) with other learning rates, more epochs "
        "(train.epochs), or padding "
        "skipped or at the start",
    )


def gain(
    data: Data, logits: NDArray[np.floating], trivial: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Contributions <float>[rows] to a mean that is above 0 if `logits` are informative.

    For classes and labels at each step it is the agreement beyond that of independent predictions
    with the same frequencies, so a constant prediction gets 0. For nats and errors it is the
    improvement on the trivial baseline.
    """
    spec, labels = data.spec, data.validation_labels
    if spec.metric == "f1":
        real = labels != NO_LABEL
        predicted, positive = logits > 0, labels == 1
        shares = [
            (part & real).sum(axis=(0, 1)) / real.sum(axis=(0, 1)) for part in (predicted, positive)
        ]
        products = np.where(real, (predicted - shares[0]) * (positive - shares[1]), 0.0)
        return np.asarray(products.sum(axis=(1, 2)))
    if spec.metric == "accuracy":
        classes = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        of_classes, of_labels = (
            np.bincount(part, minlength=max(spec.outputs, 2)) / len(labels)
            for part in (classes, labels)
        )
        agreed = (classes == labels) - of_labels[classes] - of_classes[labels]
        return np.asarray(agreed + of_labels @ of_classes)
    of_model, of_trivial = (
        rate(spec.metric, part, labels, spec.scale).examples for part in (logits, trivial)
    )
    return of_model - of_trivial


def standardised_mean(
    examples: NDArray[np.floating], groups: NDArray[np.integer]
) -> tuple[float, int]:
    """The mean of `examples` [rows] in standard errors over groups, and the degrees of freedom."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, examples - examples.mean())
    error = np.sqrt(np.sum(sums**2) * len(sums) / max(len(sums) - 1, 1)) / len(examples)
    mean = examples.mean()
    return float(mean / error if error else np.inf * np.sign(mean) if mean else 0.0), len(sums) - 1


def at_chance(gains: Sequence[tuple[float, int]], comparisons: int) -> bool:
    """Whether none of `gains` is significant at LEVEL / `comparisons`."""
    return all(
        errors <= stats.t.isf(LEVEL / comparisons, max(freedom, 1)) for errors, freedom in gains
    )


def linear_model(data: Data) -> list[baselines.Candidate]:
    """The linear baseline in each of its settings, fitted to some of the training rows."""
    from threadpoolctl import threadpool_limits

    # With labels at each step, a row counts once per step.
    rows = FITTED // data.train_labels.shape[1] if data.spec.kind == "steps" else FITTED
    few = replace(
        data, train_inputs=data.train_inputs[:rows], train_labels=data.train_labels[:rows]
    )
    # Next to workers that train, more threads would wait for one another.
    with threadpool_limits(1):
        if data.spec.features is not None:
            return baselines.fit_all("linear", few)
        parts = (few.train_inputs, few.validation_inputs, few.test_inputs[:1])
        train, validation, test = (without_padding(part) for part in parts)
        return baselines.fit_texts(
            train, few.train_labels, validation, few.validation_labels, test, few.spec.outputs
        )


def check_edges(config: Config, records: Sequence[Record]) -> list[Flag]:
    """The flags of the ends of ranges beyond which better values may lie, as in the report."""
    winner = best(records)
    complete = [record for record in records if record.run.state == "complete" and record.run.best]
    if winner is None or not complete:
        return []
    searched = parameters(config) | own_parameters(config)
    spans = {key: span for key, item in searched.items() if (span := range_edges.span(vars(item)))}
    edges = range_edges.edges(
        spans,
        [_values(config, record) for record in complete],
        np.array([record.run.best.validation for record in complete if record.run.best]),
        _values(config, winner),
        len(config.cells),
    )
    return [
        Flag(
            "best at an edge",
            f"{edge.key}={edge.value:g}: the best trial is at an end of the range, and scores "
            "still rise there (a slope as steep has "
            f"probability {edge.chance_any:.2g} by chance, over all ends of all cells)",
            f"{edge.remedy[:1].upper()}{edge.remedy[1:]}",
        )
        for edge in edges
        if edge.warning
    ]


def _values(config: Config, record: Record) -> dict[str, float]:
    """The searched values of a trial."""
    searched = set(distributions(config))
    settings = [item for item in record.job.overrides if item.split("=")[0] in searched]
    return values_of(config, settings)
