"""Sampled configurations: each row depends on the space, its seed and the row's number."""

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

from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Config, Parameter, Search, Task
from pipeline.errors import FairsweepError
from pipeline.search.run_store import digest, search_settings, settings
from pipeline.search.space import (
    configuration,
    distributions,
    overrides,
    own_configuration,
    values_of,
)
from pipeline.tune import jobs, read_table

ROOT = Path(__file__).resolve().parents[2]
ROWS = 400
CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=Task(name="tiny", source="synthetic"),
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
    return [configuration(CONFIG, row) for row in range(ROWS)]


def column(table: list[dict[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in table]


def test_a_row_depends_only_on_the_space_seed_and_its_number(table: list[dict[str, Any]]) -> None:
    assert configuration(CONFIG, 7) == table[7]
    assert (
        configuration(replace(CONFIG, seed=3, split_seed=4, cell=Cell("gru", "gru")), 7) == table[7]
    )
    assert configuration(replace(CONFIG, space_seed=1), 7) != table[7]
    assert len({json.dumps(row) for row in table}) == ROWS


def test_a_sampled_row_stays_the_same_in_later_versions() -> None:
    assert overrides(configuration(CONFIG, 0)) == [
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


def test_the_command_writes_a_longer_table_with_the_same_first_rows(tmp_path: Path) -> None:
    for folder in ("conf", "pipeline"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    tables = []
    for trials in (8, 12):
        words = ["-m", "pipeline.sample", "study=smoke", f"search.trials={trials}"]
        command = [sys.executable, *words]
        subprocess.run(command, cwd=tmp_path, env=dict(os.environ), check=True, capture_output=True)
        with (tmp_path / "runs/smoke/sample/configurations.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    short, long = tables
    assert [row["trial"] for row in long] == [str(i) for i in range(12)]
    assert short == long[:8]
    for row in long:
        keys = [override.split("=")[0] for override in json.loads(row["overrides"])]
        assert keys == ["model.masking", "model.units", "train.learning_rate"]


def test_every_key_of_the_space_is_sampled(table: list[dict[str, Any]]) -> None:
    assert all(list(row) == list(distributions(CONFIG)) for row in table)
    assert len(distributions(CONFIG)) == 9


def test_integers_stay_on_their_grid_and_reach_both_ends(table: list[dict[str, Any]]) -> None:
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


def test_each_quarter_of_a_scale_is_sampled_equally_often(table: list[dict[str, Any]]) -> None:
    places = {
        "train.learning_rate": np.log10(column(table, "train.learning_rate")) / 2 + 2,
        "model.dropout": np.array(column(table, "model.dropout")) / 0.5,
        "model.embedding": np.log(np.array(column(table, "model.embedding")) / 3.5)
        / np.log(64.5 / 3.5),
    }
    for key, place in places.items():
        shares = np.histogram(place, bins=4, range=(0, 1))[0] / ROWS
        assert np.all(np.abs(shares - 0.25) < 0.08), (key, shares)


def test_every_choice_is_sampled_equally_often(table: list[dict[str, Any]]) -> None:
    for key in ("model.masking", "train.batch_size", "train.optimizer", "train.clipnorm"):
        counts = Counter(column(table, key))
        assert set(counts) == set(distributions(CONFIG)[key].choices)  # type: ignore[attr-defined]
        assert min(counts.values()) > 0.4 * ROWS


def test_overrides_are_read_back_as_the_same_values_of_the_same_types(
    table: list[dict[str, Any]],
) -> None:
    for row in table:
        back = values_of(CONFIG, overrides(row))
        assert back == row
        assert [type(value) for value in back.values()] == [type(value) for value in row.values()]


def without(section: str, key: str) -> Config:
    """CONFIG without one searched key."""
    rest = {name: value for name, value in CONFIG.space[section].items() if name != key}
    return replace(CONFIG, space={**CONFIG.space, section: rest})


def test_overrides_set_the_config_to_the_sampled_values() -> None:
    space = without("model", "embedding")
    for row in (configuration(space, number) for number in range(20)):
        config = with_overrides(space, overrides(row))
        assert len(row) == 8
        for key, value in row.items():
            section, name = key.split(".")
            assert getattr(getattr(config, section), name) == value


def test_integers_may_be_sampled_without_a_step() -> None:
    row = overrides(configuration(CONFIG, 0))
    assert with_overrides(CONFIG, row).model.embedding == 8


def edited(**values: str | None) -> list[str]:
    """Row 0 with other values of some keys; None removes a key, `__` is the dot."""
    row = dict(override.split("=", 1) for override in overrides(configuration(CONFIG, 0)))
    changes = {key.replace("__", "."): value for key, value in values.items()}
    return [f"{key}={value}" for key, value in {**row, **changes}.items() if value is not None]


@pytest.mark.parametrize(
    "row",
    [
        edited(model__units="56"),
        edited(model__units="9"),
        edited(model__dropout="0.51"),
        edited(train__learning_rate="1e-5"),
        edited(train__learning_rate="fast"),
        edited(model__recurrent_dropout="0.15"),
        edited(train__batch_size="100"),
    ],
)
def test_a_value_outside_the_space_is_refused(row: list[str]) -> None:
    with pytest.raises(FairsweepError, match=r"sampled configurations has .* dvc repro sample"):
        values_of(CONFIG, row)


@pytest.mark.parametrize(
    ("row", "key"),
    [(edited(model__layers="1"), "model.layers"), (edited(model__units=None), "model.units")],
)
def test_an_unknown_key_and_a_missing_key_are_refused(row: list[str], key: str) -> None:
    with pytest.raises(FairsweepError, match=f"differ in {key}"):
        values_of(CONFIG, row)


def with_own_keys(**space: Parameter) -> Config:
    """CONFIG whose cell has its own search keys."""
    return replace(CONFIG, cell=Cell("conv", "conv", space=space))


# Whole bounds are floats in a composed configuration, too.
KERNEL = Parameter(low=3.0, high=63.0, step=2.0)
DECAY = Parameter(low=1e-4, high=1.0, log=True)
OWN = with_own_keys(kernel=KERNEL)
FIRST_KERNELS = (25, 59, 57)


def test_an_own_value_depends_only_on_the_space_seed_the_row_and_the_key() -> None:
    for row in range(20):
        values = own_configuration(OWN, row)
        changed = replace(OWN, seed=3, split_seed=4, space={}, name="other", cells=["conv", "gru"])
        renamed = replace(OWN, cell=Cell("other", "arm", space={"kernel": KERNEL}))
        assert values == own_configuration(changed, row) == own_configuration(renamed, row)
    column = [own_configuration(OWN, row)["cell.options.kernel"] for row in range(50)]
    assert len(set(column)) > 10
    assert all(type(value) is int and value % 2 for value in column)
    other_seed = replace(OWN, space_seed=1)
    assert column != [
        own_configuration(other_seed, row)["cell.options.kernel"] for row in range(50)
    ]
    other_key = with_own_keys(width=KERNEL)
    assert column != [own_configuration(other_key, row)["cell.options.width"] for row in range(50)]


def test_an_own_value_stays_the_same_in_later_versions() -> None:
    assert [own_configuration(OWN, row) for row in range(3)] == [
        {"cell.options.kernel": value} for value in FIRST_KERNELS
    ]


def test_an_own_key_leaves_the_shared_values_of_each_row_unchanged(
    table: list[dict[str, Any]],
) -> None:
    assert [configuration(OWN, row) for row in range(ROWS)] == table
    assert own_configuration(CONFIG, 0) == {}


def test_another_own_key_leaves_the_values_of_the_first_unchanged() -> None:
    both = with_own_keys(kernel=KERNEL, a_decay=DECAY)
    for row in range(20):
        values = own_configuration(both, row)
        assert list(values) == ["cell.options.a_decay", "cell.options.kernel"]
        assert values["cell.options.kernel"] == own_configuration(OWN, row)["cell.options.kernel"]


def test_the_digest_of_the_search_does_not_depend_on_the_value_of_an_own_key() -> None:
    def digests(config: Config) -> tuple[str, str]:
        return digest(search_settings(config, "abc")), digest(settings(config, "replicate", "abc"))

    own = overrides(own_configuration(OWN, 0))
    search, replicate = digests(OWN)
    other_search, other_replicate = digests(with_overrides(OWN, own))
    assert search == other_search
    assert replicate != other_replicate
    # The distribution of the key, and another option, do count.
    wider = with_own_keys(kernel=replace(KERNEL, high=65.0))
    fixed = replace(OWN, cell=replace(OWN.cell, options={"stride": 2}))
    assert len({search, digests(wider)[0], digests(fixed)[0], digests(CONFIG)[0]}) == 4


def write_table(folder: Path, config: Config, trials: int) -> None:
    """Write the shared values of `trials` configurations as `sample` does."""
    path = folder / "runs" / config.name / "sample/configurations.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trial", "overrides"])
        for row in range(trials):
            rows.writerow([row, json.dumps(overrides(configuration(config, row)))])


def test_read_table_appends_the_arms_own_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path, CONFIG, 4)
    plain = read_table(replace(CONFIG, search=Search(trials=4, budget=2)))
    own = read_table(replace(OWN, search=Search(trials=4, budget=2)))
    for row in range(4):
        assert own[row] == plain[row] + overrides(own_configuration(OWN, row))
        assert values_of(OWN, own[row]) == configuration(OWN, row) | own_configuration(OWN, row)
    (job, *_) = jobs(replace(OWN, search=Search(trials=4, budget=2)), own, ["study=tiny"])
    kernel = own_configuration(OWN, 0)["cell.options.kernel"]
    assert job.config.cell.options == {"kernel": kernel}
    assert f"cell.options.kernel={kernel}" in job.overrides
