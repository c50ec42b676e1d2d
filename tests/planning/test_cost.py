"""The wall time: what is trained, what is measured, and the sums that follow from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.schema import Cell, Config, Model, Search, Task, Train
from pipeline.data.arrays import Data
from pipeline.data.spec import TaskSpec
from pipeline.errors import FairsweepError
from pipeline.planning.cost import PREDICTION, Probe, Runs, Timing, extrapolate, load, load_rows

CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=Task(name="tiny", source="imdb", length=20, vocabulary=50),
    cell=Cell("rnn", "rnn"),
    train=Train(epochs=8, patience=2, batch_size=100),
    search=Search(trials=10, budget=2, replicates=3),
)
RECIPE = replace(CONFIG, train=Train(epochs=10, patience=None, batch_size=100))
TRIALS, TUNED = Runs("rnn", "trial", 6, [CONFIG]), Runs("rnn", "tuned", 3, [CONFIG])
RUNS = [TRIALS, TUNED, Runs("rnn", "article", 2, [RECIPE])]
# Rows that are predicted cost a third: an epoch costs 600 rows, the test rows 150.
ROWS = {"train": 500, "validation": 300, "test": 450}
ARRAYS: dict[str, Any] = {
    f"{part}_{name}": np.zeros(ROWS[part])
    for part, name in (("train", "inputs"), ("train", "labels"), ("validation", "inputs"))
}
DATA = Data(
    TaskSpec(length=20),
    **ARRAYS,
    validation_labels=np.zeros(300),
    test_inputs=np.zeros(450),
    digest="",
    by_group=False,
)
# 2 s to build a model, 3 s per epoch and 0.75 s for the test rows.
TIMING = Timing("rnn", load(CONFIG, DATA), 2.0, 3.0 / 600, 0.0)
SLOW_START = TIMING._replace(fixed=90.0)


def costs(runs: list[Runs], workers: int = 1) -> np.ndarray:
    """<float>[2, 3] of the arm: half of the epochs are used, a stage takes 7 s to start."""
    probed = Probe([TIMING, TIMING, SLOW_START], 7.0, workers)
    return extrapolate(runs, DATA, probed, share=0.5)["rnn"]


def test_one_worker_trains_one_run_after_another() -> None:
    tune, replicate = costs(RUNS)
    assert PREDICTION == 1 / 3
    # A run takes 2.75 s and 3 s per epoch: four epochs are expected, eight the maximum.
    assert tune == pytest.approx([6, 7 + 6 * 14.75, 7 + 6 * 26.75])
    # The recipe trains all of its ten epochs; the libraries start twice.
    assert replicate == pytest.approx([5, *(14 + 3 * x + 2 * 32.75 for x in (14.75, 26.75))])


def test_two_workers_take_half_and_wait_for_the_last_run() -> None:
    assert costs(RUNS, workers=2)[0, 1] == pytest.approx(7 + (6 * 14.75 + 14.75 / 2) / 2)


def test_more_workers_than_repeated_searches_do_not_speed_up_a_search() -> None:
    config = replace(CONFIG, search=Search(design="repeated", trials=10, budget=10, repeats=3))
    two, three, five = (
        costs([Runs("rnn", "trial", 6, [config])], workers)[0, 1] for workers in (2, 3, 5)
    )
    assert two > three == five


def test_finished_runs_cost_nothing() -> None:
    tune, replicate = costs([TUNED])
    assert tune.tolist() == [0, 0, 0]
    assert replicate[0] == 3


def test_seconds_follow_the_load() -> None:
    long = replace(CONFIG, task=replace(CONFIG.task, length=40))
    assert load(long, DATA) == 2 * load(CONFIG, DATA)
    tune = costs([Runs("rnn", "trial", 6, [long])])[0]
    assert tune[1] == pytest.approx(7 + 6 * (2 + 2 * 12.75))


def test_wider_and_deeper_networks_and_smaller_batches_have_more_load() -> None:
    wider, deeper = (replace(CONFIG, model=model) for model in (Model(units=64), Model(layers=2)))
    assert load(CONFIG, DATA) < load(wider, DATA)
    assert load(deeper, DATA) == 2 * load(CONFIG, DATA)
    smaller = replace(CONFIG, train=replace(CONFIG.train, batch_size=10))
    assert load(CONFIG, DATA) < load(smaller, DATA)


def test_texts_are_generated_in_the_size_of_the_real_ones(bare_project: Path) -> None:
    data = load_rows(compose(["study=imdb"]))
    inputs = (data.train_inputs, data.validation_inputs, data.test_inputs)
    assert [part.shape for part in inputs] == [(20_000, 100), (5_000, 100), (25_000, 100)]
    assert data.digest == ""
    assert data.train_inputs.dtype == np.int32
    assert (data.train_inputs[:, -1] > 0).all()
    assert data.train_inputs.max() == 9_999
    # Some are shorter than 100 tokens and padded in front: one in nine of the real ones is.
    assert 0.05 < (data.train_inputs[:, 0] == 0).mean() < 0.3
    assert not list(bare_project.rglob("*.npy"))


def test_a_recipe_of_another_length_gets_rows_of_that_length(bare_project: Path) -> None:
    data = load_rows(compose(["study=lengths", "recipe=length_50"]))
    assert data.test_inputs.shape == (25_000, 50)


def test_a_part_of_the_training_rows_is_taken(bare_project: Path) -> None:
    assert len(load_rows(compose(["study=imdb_small"])).train_inputs) == 2_000


def test_data_of_a_package_are_prepared(bare_project: Path) -> None:
    data = load_rows(compose(["study=digits"]))
    assert list(bare_project.glob(".fairsweep/data/*/arrays"))
    assert len(data.train_inputs) + len(data.validation_inputs) == 1438
    assert (data.spec.outputs, len(data.test_inputs)) == (10, 359)


def test_data_that_take_long_are_not_prepared(bare_project: Path) -> None:
    with pytest.raises(FairsweepError, match=r"pipeline.download study=chorales.*pipeline.pad"):
        load_rows(compose(["study=chorales"]))
