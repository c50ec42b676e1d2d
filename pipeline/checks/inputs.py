"""Checks of the inputs of a search before its first trial: space, labels, split, padding.

They read the labels of training and validation. Of the test set they read only the inputs.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Config, parameters
from ..data import arrays
from ..data.arrays import Data
from ..data.text import PADDING
from ..metrics import NO_LABEL
from ..models.cells import BACKWARDS
from ..training.worker import load_data
from .flags import Flag

RATE = "train.learning_rate"
# Share of uniform rates in the lower half of their logarithms: 37 % for a factor of 3, 9 % for 100.
LINEAR = 3.0
# Shares of rows: FEW copies are flagged; with MOST of them, validation counts as the test set.
FEW, MOST = 0.05, 0.5
# Shorter rows, or those without two different numbers, can be equal by chance.
CONTENT = 8
# An LSTM forgets the text over ten steps of padding, and learns little if a quarter of rows end so.
STEPS, ROWS = 10, 0.25


def check_search(config: Config, folder: Path) -> list[Flag]:
    """The flags of an arm's space and padding, and of the arrays in `folder`."""
    flags = [
        linear_rate(config),
        *check_data(config, folder),
        padding(config, load_data(config, folder)),
    ]
    return [flag for flag in flags if flag]


def check_recipes(config: Config, recipes: Mapping[str, Config], folder: Path) -> list[Flag]:
    """The flags of an arm's recipes, and of the arrays if no search checked them before."""
    flags = [] if config.search.trials else check_data(config, folder)
    for name, recipe in recipes.items():
        # Nothing of a recipe is searched.
        flag = padding(replace(recipe, space={}), load_data(recipe, folder))
        flags += [replace(flag, message=f"Recipe {name}: {flag.message}")] if flag else []
    return flags


def check_run(config: Config, data: Data) -> list[Flag]:
    """The flags of a single run, without a search."""
    flags = [constant_labels(data), copies(data), padding(replace(config, space={}), data)]
    return [flag for flag in flags if flag]


def check_data(config: Config, folder: Path) -> list[Flag]:
    """The flags of the arrays in `folder`, with the split of each of the study's searches."""
    flags: list[Flag | None] = []
    for number in config.search.numbers:
        split = replace(config, split_seed=config.split_seed + number)
        data = load_data(split, folder)
        flags += [constant_labels(data), copies(data), shared_groups(folder, split, data)]
    return list(dict.fromkeys(flag for flag in flags if flag))


def linear_rate(config: Config) -> Flag | None:
    """Flag a learning rate that is sampled uniformly over a wide range: small values are rare."""
    rate = parameters(config).get(RATE)
    if rate is None or rate.log or rate.low is None or rate.high is None:
        return None
    if rate.high < LINEAR * rate.low:
        return None
    middle = (rate.low * rate.high) ** 0.5
    share = (middle - rate.low) / (rate.high - rate.low)
    return Flag(
        "linear learning rate",
        f"{RATE} is sampled uniformly from {rate.low:g} to {rate.high:g}: {share:.0%} of the "
        "trials get a value below "
        f"{middle:.2g}, in the lower half of its orders of magnitude",
        f"Sample its logarithm uniformly: log: true in conf/space, or space.{RATE}.log=true",
    )


def constant_labels(data: Data) -> Flag | None:
    """Flag labels that are all equal in training or in validation."""
    for part, labels in (("training", data.train_labels), ("validation", data.validation_labels)):
        columns = [labels]
        if data.spec.kind == "steps":
            columns = [label[label != NO_LABEL] for label in labels.reshape(-1, labels.shape[-1]).T]
        if all((column == column[:1]).all() for column in columns):
            return Flag(
                "constant labels",
                f"All {len(labels):,} {part} rows have the same label"
                + ("s" if data.spec.outputs > 1 else ""),
                "Check the column of labels, and how the task's source reads it",
                stops=True,
            )
    return None


def copies(data: Data) -> Flag | None:
    """Flag validation rows that are also test or training rows, number for number."""
    train, validation, test = (
        _contents(part) for part in (data.train_inputs, data.validation_inputs, data.test_inputs)
    )
    rows, example = len(data.validation_inputs), data.spec.example
    in_test, in_train = (sum(row in part for row in validation) for part in (set(test), set(train)))
    if in_test >= MOST * rows:
        return Flag(
            "validation is the test",
            f"{in_test:,} of {rows:,} validation {example}s are also test {example}s, so choices "
            "would be made on the test set",
            "Choose a test file that shares no row with the other file (data.test_path), or none; "
            "then a fifth of the rows is the test set",
            stops=True,
        )
    for count, part in ((in_test, "the test set"), (in_train, "training")):
        if count >= FEW * rows:
            return Flag(
                "copies across the split",
                f"{count:,} of {rows:,} validation {example}s are also in {part}, number for "
                "number, which rewards memorising",
                "Keep one of each copy in the data, or name the column that copies share "
                "(data.group), so that they stay on one side",
            )
    return None


def _contents(inputs: NDArray[Any]) -> list[bytes]:
    """The rows that are too long to be equal to others by chance, as bytes."""
    flat = inputs.reshape(len(inputs), -1)
    if np.issubdtype(flat.dtype, np.integer) and inputs.ndim == 2:
        long = (flat != PADDING).sum(axis=1) >= CONTENT
    else:
        long = (flat != flat[:, :1]).any(axis=1) & (flat.shape[1] >= CONTENT)
    return [row.tobytes() for row in flat[long]]


def shared_groups(folder: Path, config: Config, data: Data) -> Flag | None:
    """Flag groups, or values of a series, that training and validation share."""
    train, validation = arrays.split(folder, config.task, config.split_seed)
    if not data.spec.ordered:
        groups = np.load(folder / "train_groups.npy")
        return split_groups(groups, train, validation, data.spec.group or "group")
    return share_no_value(train, validation, config.task.length + config.task.horizon)


def share_no_value(
    train: NDArray[np.bool_], validation: NDArray[np.bool_], reach: int
) -> Flag | None:
    """Flag validation windows that share values with training windows of `reach` values."""
    near = np.convolve(train, np.ones(2 * reach - 1), "same") > 0.5
    return _leak(
        int((near & validation).sum()),
        f"of {int(validation.sum()):,} validation windows share values with training",
        f"Leave out {reach - 1} windows between the parts, as data/splits.py does",
    )


def split_groups(
    groups: NDArray[np.integer],
    train: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    name: str = "group",
) -> Flag | None:
    """Flag groups <int>[rows] with rows on both sides of a split, each side <bool>[rows]."""
    both = np.intersect1d(groups[train], groups[validation])
    return _leak(
        int(np.isin(groups[validation], both).sum()),
        f"of {int(validation.sum()):,} validation rows are of {len(both):,} {name}s that also have "
        "training rows",
        "Split whole groups, as data/splits.py does",
    )


def _leak(rows: int, message: str, remedy: str) -> Flag | None:
    if not rows:
        return None
    return Flag("groups on both sides", f"{rows:,} {message}", remedy, stops=True)


def padding(config: Config, data: Data) -> Flag | None:
    """Flag texts that a forward cell reads through padding at their end, without a mask."""
    if data.spec.features is not None or data.spec.kind == "steps":
        return None
    if config.task.padding != "post" or config.cell.type.startswith(BACKWARDS):
        return None
    settings = itertools.product(_values(config, "masking"), _values(config, "pooling"))
    bare = [masking is False and pooling == "last" for masking, pooling in settings]
    real = data.train_inputs != PADDING
    steps = np.where(real.any(axis=1), real[:, ::-1].argmax(axis=1), real.shape[1])
    padded = steps > 0
    if not any(bare) or padded.mean() < FEW:
        return None
    which = "every trial reads" if all(bare) else "trials without a mask read"
    return Flag(
        "padding without a mask",
        f"{padded.mean():.0%} of the {data.spec.example}s end in padding, "
        f"{np.median(steps[padded]):.0f} steps of it, and {which} "
        "on through it: a cell forgets the text on the way, and an LSTM may stay at chance",
        "Pad at the start (task.padding=pre), or skip padding (model.masking=true)",
        stops=all(bare) and bool((steps >= STEPS).mean() >= ROWS),
    )


def _values(config: Config, name: str) -> Sequence[Any]:
    """The values of `model.NAME` in this study: its choices, or the fixed one."""
    searched = parameters(config).get(f"model.{name}")
    if searched is not None and searched.choices is not None:
        return searched.choices
    return [getattr(config.model, name)]
