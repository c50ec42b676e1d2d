"""One row of the drawn table: a function of the space, its seed and the row's number."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Cell, Config, Parameter, Task, with_overrides
from pipeline.errors import FairsweepError
from pipeline.search.space import distributions, draw, overrides, values_of

ROOT = Path(__file__).resolve().parents[2]
ROWS = 400
CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=Task(name="tiny", source="generated"),
    cell=Cell("rnn", "rnn"),
    space={
        "model": {
            "units": Parameter(low=8, high=48, step=8),
            "embedding": Parameter(low=4, high=64, log=True),
            "dropout": Parameter(low=0.0, high=0.5),
            "recurrent_dropout": Parameter(low=0.0, high=0.3, step=0.1),
            "masking": Parameter(choices=[True, False]),
        },
        "train": {
            "learning_rate": Parameter(low=1e-4, high=1e-2, log=True),
            "batch_size": Parameter(choices=[64, 128]),
            "optimizer": Parameter(choices=["adam", "rmsprop"]),
            "clipnorm": Parameter(choices=[None, 1.0]),
        },
    },
)


@pytest.fixture(scope="module")
def table() -> list[dict[str, Any]]:
    return [draw(CONFIG, row) for row in range(ROWS)]


def column(table: list[dict[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in table]


def test_a_row_depends_on_the_space_seed_and_its_number_alone(table: list[dict[str, Any]]) -> None:
    assert draw(CONFIG, 7) == table[7]
    assert draw(replace(CONFIG, seed=3, split_seed=4, cell=Cell("gru", "gru")), 7) == table[7]
    assert draw(replace(CONFIG, space_seed=1), 7) != table[7]
    assert len({json.dumps(row) for row in table}) == ROWS


def test_a_drawn_row_stays_what_it_was() -> None:
    assert overrides(draw(CONFIG, 0)) == [
        "model.dropout=0.318481",
        "model.embedding=8",
        "model.masking=true",
        "model.recurrent_dropout=0.0",
        "model.units=8",
        "train.batch_size=64",
        "train.clipnorm=null",
        "train.learning_rate=0.00669131",
        "train.optimizer=rmsprop",
    ]


def test_the_command_draws_a_longer_table_with_the_same_beginning(tmp_path: Path) -> None:
    for folder in ("conf", "pipeline"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    tables = []
    for trials in (8, 12):
        command = [sys.executable, "-m", "pipeline.draw", "study=smoke", f"search.trials={trials}"]
        subprocess.run(command, cwd=tmp_path, env=dict(os.environ), check=True, capture_output=True)
        with (tmp_path / "runs/smoke/draw/configurations.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    short, long = tables
    assert [row["trial"] for row in long] == [str(i) for i in range(12)]
    assert short == long[:8]
    for row in long:
        keys = [override.split("=")[0] for override in json.loads(row["overrides"])]
        assert keys == ["model.masking", "model.units", "train.learning_rate"]


def test_every_key_of_the_space_is_drawn(table: list[dict[str, Any]]) -> None:
    assert all(list(row) == list(distributions(CONFIG)) for row in table)
    assert len(distributions(CONFIG)) == 9


def test_whole_numbers_stay_on_their_grid_and_reach_both_ends(table: list[dict[str, Any]]) -> None:
    units = column(table, "model.units")
    assert set(units) == {8, 16, 24, 32, 40, 48}
    assert all(type(value) is int for value in units)
    embedding = column(table, "model.embedding")
    assert all(type(value) is int and 4 <= value <= 64 for value in embedding)
    assert {4, 64} <= set(embedding)


def test_real_numbers_stay_in_their_range_and_on_their_grid(table: list[dict[str, Any]]) -> None:
    assert all(0.0 <= value <= 0.5 for value in column(table, "model.dropout"))
    assert set(column(table, "model.recurrent_dropout")) == {0.0, 0.1, 0.2, 0.3}
    rates = column(table, "train.learning_rate")
    assert all(1e-4 <= value <= 1e-2 and value == float(f"{value:.6g}") for value in rates)


def test_each_quarter_of_a_scale_is_drawn_as_often(table: list[dict[str, Any]]) -> None:
    places = {
        "train.learning_rate": np.log10(column(table, "train.learning_rate")) / 2 + 2,
        "model.dropout": np.array(column(table, "model.dropout")) / 0.5,
        "model.embedding": np.log(np.array(column(table, "model.embedding")) / 3.5) / np.log(64.5 / 3.5),
    }
    for key, place in places.items():
        shares = np.histogram(place, bins=4, range=(0, 1))[0] / ROWS
        assert np.all(np.abs(shares - 0.25) < 0.08), (key, shares)


def test_every_choice_is_drawn_as_often(table: list[dict[str, Any]]) -> None:
    for key in ("model.masking", "train.batch_size", "train.optimizer", "train.clipnorm"):
        counts = Counter(column(table, key))
        assert set(counts) == set(distributions(CONFIG)[key].choices)  # type: ignore[attr-defined]
        assert min(counts.values()) > 0.4 * ROWS


def test_overrides_are_read_back_as_the_same_values_of_the_same_types(table: list[dict[str, Any]]) -> None:
    for row in table:
        back = values_of(CONFIG, overrides(row))
        assert back == row
        assert [type(value) for value in back.values()] == [type(value) for value in row.values()]


def without(section: str, key: str) -> Config:
    """CONFIG with one searched key less."""
    rest = {name: value for name, value in CONFIG.space[section].items() if name != key}
    return replace(CONFIG, space={**CONFIG.space, section: rest})


def test_overrides_set_the_config_to_the_drawn_values() -> None:
    space = without("model", "embedding")
    for row in (draw(space, number) for number in range(20)):
        config = with_overrides(space, overrides(row))
        assert len(row) == 8
        for key, value in row.items():
            section, name = key.split(".")
            assert getattr(getattr(config, section), name) == value


def test_whole_numbers_may_be_drawn_without_a_step() -> None:
    row = overrides(draw(CONFIG, 0))
    assert with_overrides(CONFIG, row).model.embedding == 8


def edited(**values: str | None) -> list[str]:
    """Row 0 with some keys set anew, or taken out with None; `__` stands for the dot."""
    row = dict(one.split("=", 1) for one in overrides(draw(CONFIG, 0)))
    changes = {key.replace("__", "."): value for key, value in values.items()}
    return [f"{key}={value}" for key, value in {**row, **changes}.items() if value is not None]


@pytest.mark.parametrize(
    "row",
    [
        edited(model__units="56"),
        edited(model__units="9"),
        edited(model__dropout="0.51"),
        edited(train__learning_rate="1e-5"),
        edited(model__recurrent_dropout="0.15"),
    ],
)
def test_a_value_outside_the_space_is_refused(row: list[str]) -> None:
    with pytest.raises(FairsweepError, match=r"the drawn table has .* Draw it again"):
        values_of(CONFIG, row)


@pytest.mark.parametrize("row", [edited(train__batch_size="100"), edited(train__learning_rate="fast")])
def test_a_choice_or_a_word_outside_the_space_is_refused_in_our_words(row: list[str]) -> None:
    with pytest.raises(FairsweepError, match=r"the drawn table has .* Draw it again"):
        values_of(CONFIG, row)


@pytest.mark.parametrize(
    ("row", "odd"),
    [(edited(model__layers="1"), "model.layers"), (edited(model__units=None), "model.units")],
)
def test_an_unknown_key_and_a_missing_one_are_refused(row: list[str], odd: str) -> None:
    with pytest.raises(FairsweepError, match=f"differ in {odd}"):
        values_of(CONFIG, row)
