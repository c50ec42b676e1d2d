"""Gates on what a search is given, before its first trial: the space, the labels, the split, the padding.

Labels are those of training and validation alone; of the test its inputs are looked at.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config, parameters
from pipeline.data import arrays
from pipeline.data.arrays import Data
from pipeline.data.text import PADDING
from pipeline.evidence.scores import NO_LABEL
from pipeline.gates.flags import Flag
from pipeline.models.cells import BACKWARDS
from pipeline.training.work import load_data

RATE = "train.learning_rate"
# Of rates drawn evenly up to three times the lowest, 37 % lie in the lower half of their logarithms; up to a hundred times, 9 %.
LINEAR = 3.0
# Of the rows: what concerns fewer is let pass; where most validation rows are test rows, validation is the test.
FEW, MOST = 0.05, 0.5
# Shorter rows, or those without two different numbers, are equal by chance.
CONTENT = 8
# An LSTM forgets the text over some ten steps of padding; where a quarter of the rows end so, it learns little.
STEPS, ROWS = 10, 0.25


def of_search(config: Config, folder: Path) -> list[Flag]:
    """What is wrong with what an arm's search is given: its space, its padding, the arrays in `folder`."""
    flags = [linear_rate(config), *of_data(config, folder), padding(config, load_data(config, folder))]
    return [flag for flag in flags if flag]


def of_recipes(config: Config, recipes: Mapping[str, Config], folder: Path) -> list[Flag]:
    """What is wrong with an arm's recipes, and with the arrays where no search has looked at them before."""
    found = [] if config.search.trials else of_data(config, folder)
    for name, recipe in recipes.items():
        # Nothing of a recipe is searched.
        flag = padding(replace(recipe, space={}), load_data(recipe, folder))
        found += [replace(flag, told=f"Recipe {name}: {flag.told}")] if flag else []
    return found


def of_run(config: Config, data: Data) -> list[Flag]:
    """What is wrong with what one run is given, where nothing is searched."""
    flags = [constant_labels(data), copies(data), padding(replace(config, space={}), data)]
    return [flag for flag in flags if flag]


def of_data(config: Config, folder: Path) -> list[Flag]:
    """What is wrong with the arrays in `folder`, or with the split of any of the study's searches."""
    found: list[Flag | None] = []
    for number in config.search.numbers:
        own = replace(config, split_seed=config.split_seed + number)
        data = load_data(own, folder)
        found += [constant_labels(data), copies(data), shared_groups(folder, own, data)]
    return list(dict.fromkeys(flag for flag in found if flag))


def possible(config: Config, key: str) -> Sequence[Any]:
    """The values that `key` may have in this study: its choices, or the fixed one."""
    searched = parameters(config).get(key)
    if searched is not None and searched.choices is not None:
        return searched.choices
    section, name = key.split(".")
    return [getattr(getattr(config, section), name)]


def linear_rate(config: Config) -> Flag | None:
    """A learning rate that is drawn evenly, over a range so wide that hardly a small one comes."""
    searched = parameters(config).get(RATE)
    if searched is None or searched.log or searched.low is None or searched.high is None or searched.high < LINEAR * searched.low:
        return None
    middle = (searched.low * searched.high) ** 0.5
    share = (middle - searched.low) / (searched.high - searched.low)
    return Flag(
        "linear learning rate",
        f"{RATE} is drawn evenly from {searched.low:g} to {searched.high:g}: {share:.0%} of the trials get one below {middle:.2g}, where "
        "half of its orders of magnitude lie",
        f"Draw its logarithm evenly: log: true in conf/space, or space.{RATE}.log=true",
    )


def constant_labels(data: Data) -> Flag | None:
    """Labels that are all the same, in training or in validation: nothing can be learned, or nothing judged."""
    for part, labels in (("training", data.train_labels), ("validation", data.validation_labels)):
        if _constant(labels, data.form.kind):
            return Flag(
                "constant labels",
                f"All {len(labels):,} {part} rows have the same label" + ("s" if data.form.outputs > 1 else ""),
                "Look at the column of labels, and at what the task's source makes of it",
                stops=True,
            )
    return None


def _constant(labels: NDArray[Any], kind: str) -> bool:
    if kind == "steps":
        told = [label[label != NO_LABEL] for label in labels.reshape(-1, labels.shape[-1]).T]
        return all(len(label) == 0 or label.min() == label.max() for label in told)
    return bool((labels == labels[:1]).all())


def copies(data: Data) -> Flag | None:
    """Validation rows that stand in the test or in training too, number for number."""
    train, validation, test = (_contents(part) for part in (data.train_inputs, data.validation_inputs, data.test_inputs))
    rows, example = len(data.validation_inputs), data.form.example
    of_test, of_train = (sum(row in part for row in validation) for part in (set(test), set(train)))
    if of_test >= MOST * rows:
        return Flag(
            "validation is the test",
            f"{of_test:,} of {rows:,} validation {example}s are test {example}s too, so choices would be made on the test",
            "Give a test that shares no row with the rest (data.test_path), or none, and a fifth of the rows is the test",
            stops=True,
        )
    if of_test >= FEW * rows:
        return _copied(of_test, rows, example, "the test set")
    return _copied(of_train, rows, example, "training") if of_train >= FEW * rows else None


def _copied(count: int, rows: int, example: str, where: str) -> Flag:
    return Flag(
        "copies across the split",
        f"{count:,} of {rows:,} validation {example}s stand in {where} too, number for number: learning by heart is rewarded",
        "Keep one of each in the data, or name the column that copies share (data.group), so that they stay on one side",
    )


def _contents(inputs: NDArray[Any]) -> list[bytes]:
    """Each row that is too long to be another's equal by chance, as bytes."""
    flat = inputs.reshape(len(inputs), -1)
    if np.issubdtype(flat.dtype, np.integer) and inputs.ndim == 2:
        told = (flat != PADDING).sum(axis=1) >= CONTENT
    else:
        told = (flat != flat[:, :1]).any(axis=1) & (flat.shape[1] >= CONTENT)
    return [row.tobytes() for row in flat[told]]


def shared_groups(folder: Path, config: Config, data: Data) -> Flag | None:
    """What training and validation share beside rows: groups, or of a series values."""
    train, validation = arrays.split(folder, config.task, config.split_seed)
    if data.form.ordered:
        return _far(train, validation, config.task.length + config.task.horizon)
    return apart(np.load(folder / "train_movies.npy"), train, validation, data.form.group or "group")


def apart(
    groups: NDArray[np.integer], train: NDArray[np.bool_], validation: NDArray[np.bool_], name: str = "group"
) -> Flag | None:
    """Groups <int>[rows] with rows on both sides of a split, each side <bool>[rows]."""
    both = np.intersect1d(groups[train], groups[validation])
    if not len(both):
        return None
    rows = int(np.isin(groups[validation], both).sum())
    return Flag(
        "groups on both sides",
        f"{len(both):,} {name}s have rows in training and in validation, {rows:,} of {int(validation.sum()):,} validation rows: they are "
        "known before they are asked",
        "Split whole groups, as data/splits.py does",
        stops=True,
    )


def _far(train: NDArray[np.bool_], validation: NDArray[np.bool_], reach: int) -> Flag | None:
    """Windows of a series, `reach` values each, that share values with one of the other side; both <bool>[windows]."""
    near = np.convolve(train, np.ones(2 * reach - 1), "same") > 0.5
    shared = int((near & validation).sum())
    if not shared:
        return None
    return Flag(
        "groups on both sides",
        f"{shared:,} of {int(validation.sum()):,} validation windows share values with training: they are known before they are asked",
        f"Leave out {reach - 1} windows between the parts, as data/splits.py does",
        stops=True,
    )


def padding(config: Config, data: Data) -> Flag | None:
    """Texts padded at their end and read on to the last step by a cell that reads forwards alone, without a mask."""
    if data.form.features is not None or data.form.kind == "steps" or config.cell.type.startswith(BACKWARDS):
        return None
    settings = list(itertools.product(possible(config, "model.masking"), possible(config, "model.pooling")))
    bare = [masking is False and pooling == "last" for masking, pooling in settings]
    real = data.train_inputs != PADDING
    steps = np.where(real.any(axis=1), real[:, ::-1].argmax(axis=1), real.shape[1])
    ending = steps > 0
    if config.task.padding != "post" or not any(bare) or ending.mean() < FEW:
        return None
    grave = (steps >= STEPS).mean() >= ROWS
    which = "every trial" if all(bare) else "trials without a mask"
    return Flag(
        "padding without a mask",
        f"{ending.mean():.0%} of the {data.form.example}s end in padding, {np.median(steps[ending]):.0f} steps of it, and {which} "
        f"{'reads' if all(bare) else 'read'} on through it: a cell forgets the text on the way, and an LSTM may stay at chance",
        "Pad in front (task.padding=pre), or skip padding (model.masking=true)",
        stops=all(bare) and bool(grave),
    )
