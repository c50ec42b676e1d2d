"""Every key of the sections model, train, cell and task is connected: two values of it differ in the
compiled network, in the batches of an epoch, or in the arrays.

Keys that act elsewhere are listed with the test that follows them.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.checks.dead import footprint, same_arrays
from pipeline.config.schema import Cell, Config, Model, Task, Train, leaves
from pipeline.data import arrays, registry
from pipeline.data.arrays import Data
from pipeline.training import backend
from study_copy import ROOT

SECTIONS = ("model", "train", "cell", "task")
TEXTS = Task(name="texts", source="synthetic", length=20, vocabulary=160)
SERIES = Task(name="co2", source="co2", length=52, horizon=2)
TAGGING = Task(name="tagging", source="tagging", length=65, features=12)

# Key: two values, and the settings with which it has an effect.
FOLLOWED: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "model.units": (6, 7, {}),
    "model.embedding": (5, 6, {}),
    "model.layers": (1, 2, {}),
    "model.dropout": (0.0, 0.5, {}),
    "model.input_dropout": (0.0, 0.5, {}),
    "model.recurrent_dropout": (0.0, 0.5, {}),
    "model.masking": (False, True, {}),
    "model.pooling": ("last", "max", {}),
    "model.layer_norm": (False, True, {}),
    "model.hidden": (0, 4, {}),
    "train.optimizer": ("adam", "sgd", {}),
    "train.learning_rate": (0.01, 0.02, {}),
    "train.batch_size": (16, 32, {}),
    "train.clipnorm": (None, 1.0, {}),
    "train.clipvalue": (None, 1.0, {}),
    "train.buckets": (1, 3, {}),
    "cell.type": ("rnn", "gru", {}),
    "cell.reset_after": (True, False, {"cell.type": "gru"}),
    "cell.unit_forget_bias": (True, False, {"cell.type": "lstm"}),
    "cell.options": ({}, {"activation": "relu"}, {}),
    "task.source": ("digits", "synthetic", {"task": Task(name="digits", length=8)}),
    "task.length": (20, 21, {}),
    "task.vocabulary": (160, 100, {}),
    "task.padding": ("pre", "post", {}),
    "task.train_fraction": (1.0, 0.5, {}),
    "task.features": (12, 13, {"task": TAGGING}),
    "task.horizon": (2, 3, {"task": SERIES}),
    "task.relative": (True, False, {"task": SERIES}),
}
# Key: the test that follows it.
ELSEWHERE = {
    "train.backend": "tests/training/test_fit.py::test_tests_that_depend_on_the_backend_pass_on_jax",
    "train.engine": "tests/test_population.py::test_the_engine_is_a_name_that_the_device_decides",
    "train.epochs": "tests/training/test_fit.py::test_the_best_epoch_is_kept_or_the_last",
    "train.checkpoint": "tests/training/test_fit.py::test_the_best_epoch_is_kept_or_the_last",
    "train.patience": "tests/training/test_fit.py::test_patience_counts_the_epochs_since_the_first_best",
    "train.min_validation": "tests/training/test_fit.py::"
    "test_the_minimum_is_compared_with_the_best_epoch_of_three",
    "cell.arm": "tests/test_knobs.py::test_an_arm_has_the_name_of_its_file",
    "cell.space": "tests/models/test_cells.py::test_a_convolution_is_searched_with_its_own_key",
    "task.name": "tests/models/test_build.py::test_a_network_that_cannot_be_built_raises",
    "task.url": "tests/data/test_registry.py::test_a_download_is_checked_and_not_repeated",
    "task.checksum": "tests/data/test_registry.py::test_a_download_is_checked_and_not_repeated",
    "task.digest": "tests/data/test_registry.py::test_another_content_is_refused",
    "task.archive": "tests/data/test_registry.py::test_a_local_copy_is_checked_and_copied",
}


@pytest.fixture(scope="module")
def load(
    generated_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Task], Data]:
    """A function that returns the arrays of a task, as the stages would write them."""
    backend.use("tensorflow")

    def of(task: Task) -> Data:
        folder = tmp_path_factory.mktemp("arrays")
        source = registry.read(task, generated_archive)
        arrays.write(source, task, folder / "arrays", folder / "sealed")
        return arrays.load(folder / "arrays", task, 0)

    return of


def changed(config: Config, key: str, value: Any) -> Config:
    section, name = key.split(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: value})})


def differs(key: str, load: Callable[[Task], Data]) -> bool:
    """Whether two values of `key` differ in the arrays, the compiled network or the batches."""
    first, second, settings = FOLLOWED[key]
    config = Config(
        name="knobs",
        cells=["rnn"],
        task=settings.get("task", TEXTS),
        cell=Cell(settings.get("cell.type", "rnn")),
        model=Model(units=6, embedding=5),
        train=Train(batch_size=16),
    )
    one, other = (changed(config, key, value) for value in (first, second))
    data = load(one.task)
    if one.task != other.task:
        return not same_arrays(data, load(other.task))
    return footprint(one, data) != footprint(other, data)


def test_each_key_is_in_one_list() -> None:
    keys = {key for key, _ in leaves() if key.startswith(tuple(f"{name}." for name in SECTIONS))}
    assert FOLLOWED.keys() | ELSEWHERE.keys() == keys
    assert not FOLLOWED.keys() & ELSEWHERE.keys()
    assert all(first != second for first, second, _ in FOLLOWED.values())


@pytest.mark.parametrize("key", FOLLOWED)
def test_a_key_decides_the_training(key: str, load: Callable[[Task], Data]) -> None:
    assert differs(key, load), f"{key} changes neither the arrays nor the network nor the batches"


def test_a_key_that_decides_nothing_would_be_found(load: Callable[[Task], Data]) -> None:
    """`reset_after` belongs to the GRU, so for a simple RNN nothing may differ."""
    data = load(TEXTS)
    config = Config(name="knobs", cells=["rnn"], task=TEXTS, cell=Cell("rnn"), model=Model(units=6))
    other = changed(config, "cell.reset_after", False)
    assert footprint(config, data) == footprint(other, data)
    assert same_arrays(data, load(TEXTS))
    assert not same_arrays(data, replace(data, train_labels=1 - np.asarray(data.train_labels)))


@pytest.mark.parametrize(("key", "test"), ELSEWHERE.items())
def test_the_test_of_another_key_exists(key: str, test: str) -> None:
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    assert re.search(rf"^def {name}\(", text, re.MULTILINE)


def test_an_arm_has_the_name_of_its_file() -> None:
    from pipeline.config.compose import compose

    assert [compose(["study=smoke", f"cell={name}"]).cell.arm for name in ("rnn", "bi_gru")] == [
        "rnn",
        "bi_gru",
    ]
