"""Tables and logits of finished runs."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Config, Task
from pipeline.errors import FairsweepError
from pipeline.search.run_store import Job, Record
from pipeline.search.tables import best, stacked, winners, write_best, write_runs
from pipeline.training.fit import Epoch, Run

CONFIG = Config(
    name="tiny", cells=["gru"], task=Task(name="tiny", source="synthetic"), cell=Cell("gru", "gru")
)


def record(number: int, validation: float = 0.75, loss: float = 0.5, kind: str = "trial") -> Record:
    config = with_overrides(CONFIG, [f"seed={100 + number}"])
    run = Run(
        epochs=[
            Epoch(0.7, 0.5, 0.69, 0.5),
            Epoch(0.123456789, 0.9, loss, validation),
            Epoch(0.1, 1.0, 0.8, 0.5),
        ],
        best_epoch=2,
        parameters=99,
        validation_logits=np.array([0.5, -1.5, number], np.float16),
        test_logits=np.array([number, 2.0], np.float16),
        seconds=12.3456789,
        compile_seconds=1.5,
    )
    return Record(
        Job(kind, number, config, ["study=tiny", "model.units=8"]),
        run,
        1,
        "tcp://127.0.0.1:1",
        17.5,
        "a1b2-dirty",
    )


def failed(number: int, kind: str = "trial") -> Record:
    run = Run(
        state="failed",
        reason="loss is nan in epoch 2",
        epochs=[Epoch(0.7, 0.5, 0.69, 0.5)],
        parameters=99,
        seconds=3.0,
    )
    return Record(Job(kind, number, CONFIG, ["study=tiny"]), run, 2, "w", 17.5)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def header(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    write_runs(tmp_path, "trials", ["trial"], CONFIG, [record(0), failed(1), record(2)])
    return tmp_path


def test_the_columns_of_the_tables(trials: Path) -> None:
    assert header(trials / "trials.csv") == (
        "repeat,arm,trial,state,reason,seed,backend,epochs,best_epoch,validation,"
        "validation_loss,parameters,overrides"
    )
    assert (
        header(trials / "epochs.csv")
        == "repeat,arm,trial,epoch,loss,accuracy,validation_loss,validation"
    )
    assert (
        header(trials / "timings.csv")
        == "repeat,arm,trial,attempt,worker,started,seconds,compile_seconds,git"
    )


def test_replicates_have_a_kind_and_a_replicate_for_the_trial(tmp_path: Path) -> None:
    records = [record(0, kind="tuned"), record(1, kind="tuned"), record(0, kind="article")]
    write_runs(tmp_path, "replicates", ["kind", "replicate"], CONFIG, records)
    assert header(tmp_path / "replicates.csv").startswith(
        "repeat,arm,kind,replicate,state,reason,seed,"
    )
    for name in ("replicates", "timings"):
        rows = read(tmp_path / f"{name}.csv")
        assert [(row["kind"], row["replicate"]) for row in rows] == [
            ("tuned", "0"),
            ("tuned", "1"),
            ("article", "0"),
        ]
    assert len(read(tmp_path / "epochs.csv")) == 9


def test_a_run_is_a_row(trials: Path) -> None:
    row = read(trials / "trials.csv")[2]
    assert json.loads(row.pop("overrides")) == ["study=tiny", "model.units=8"]
    assert row == {
        "repeat": "0",
        "arm": "gru",
        "trial": "2",
        "state": "complete",
        "reason": "",
        "seed": "102",
        "backend": "tensorflow",
        "epochs": "3",
        "best_epoch": "2",
        "validation": "0.75",
        "validation_loss": "0.5",
        "parameters": "99",
    }


def test_a_failed_run_has_no_score(trials: Path) -> None:
    row = read(trials / "trials.csv")[1]
    assert (row["state"], row["reason"], row["epochs"]) == ("failed", "loss is nan in epoch 2", "1")
    assert (row["best_epoch"], row["validation"], row["validation_loss"]) == ("", "", "")


def test_every_epoch_is_a_row_numbered_from_1(trials: Path) -> None:
    rows = read(trials / "epochs.csv")
    assert [(row["trial"], row["epoch"]) for row in rows] == [
        ("0", "1"),
        ("0", "2"),
        ("0", "3"),
        ("1", "1"),
    ] + [("2", str(epoch)) for epoch in (1, 2, 3)]
    assert rows[1]["loss"] == "0.123457"


def test_times_have_their_own_table(trials: Path) -> None:
    row = read(trials / "timings.csv")[0]
    assert (row["attempt"], row["started"], row["seconds"], row["compile_seconds"]) == (
        "1",
        "17.5",
        "12.345679",
        "1.5",
    )
    assert row["git"] == "a1b2-dirty"
    assert read(trials / "timings.csv")[1]["compile_seconds"] == ""


def test_numpys_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    timed = record(0)
    # `fit` returns a number of numpy.
    timed.run.compile_seconds = np.float64(1.5)
    write_runs(tmp_path, "trials", ["trial"], CONFIG, [timed])
    assert read(tmp_path / "timings.csv")[0]["compile_seconds"] == "1.5"


def test_logits_are_rows_of_half_precision_and_nan_for_a_failed_run(trials: Path) -> None:
    validation, test = (
        np.load(trials / "validation_logits.npy"),
        np.load(trials / "test_logits.npy"),
    )
    assert (validation.dtype, validation.shape) == (np.float16, (3, 3))
    assert (test.dtype, test.shape) == (np.float16, (3, 2))
    assert np.isnan(validation[1]).all()
    assert np.isnan(test[1]).all()
    assert np.array_equal(test[[0, 2]], [[0.0, 2.0], [2.0, 2.0]])


def test_logits_of_failed_runs_alone_have_no_columns() -> None:
    assert stacked([None, None]).shape == (2, 0)


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_runs(tmp_path / name, "trials", ["trial"], CONFIG, [record(0), failed(1)])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_best_run_has_the_highest_validation_then_the_lower_loss_then_the_lower_number() -> (
    None
):
    def number(*records: Record) -> int:
        chosen = best(records)
        assert chosen is not None
        return chosen.job.number

    assert number(record(0, 0.7, 0.1), record(1, 0.8, 0.9), record(2, 0.75, 0.1)) == 1
    assert number(record(0, 0.8, 0.5), record(1, 0.8, 0.4), record(2, 0.7, 0.1)) == 1
    assert number(record(2, 0.8, 0.5), record(1, 0.8, 0.5), record(3, 0.8, 0.5)) == 1
    assert number(failed(0), record(1, 0.1)) == 1
    assert best([failed(0), failed(1)]) is None


def test_the_best_trial_is_written_and_then_that_of_each_search(tmp_path: Path) -> None:
    other = replace(
        record(1, 0.7, 0.5).job, repeat=1, overrides=["model.units=8", "model.units=24", "seed=5"]
    )
    write_best(
        tmp_path / "best.yaml",
        ["model.units"],
        [record(2, 0.8123456789, 0.4), replace(record(1, 0.7, 0.5), job=other)],
    )
    first = {
        "trial": 2,
        "validation": 0.812346,
        "validation_loss": 0.4,
        "overrides": ["model.units=8"],
    }
    second = {
        "repeat": 1,
        "trial": 1,
        "validation": 0.7,
        "validation_loss": 0.5,
        "overrides": ["model.units=24"],
    }
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {
        **first,
        "repeats": [{"repeat": 0, **first}, second],
    }


def test_each_search_must_have_a_trial_to_retrain() -> None:
    repeated = with_overrides(CONFIG, ["search.design=repeated", "search.repeats=2"])
    second = [replace(trial, job=replace(trial.job, repeat=1)) for trial in (failed(0), failed(1))]
    assert winners(CONFIG, [record(0, 0.7), record(1, 0.8)])[0].job.number == 1
    with pytest.raises(
        FairsweepError, match="every trial of search 1 of gru failed: loss is nan in epoch 2"
    ):
        winners(repeated, [record(0), *second])


def test_runs_of_shorter_validation_parts_end_in_nan() -> None:
    table = stacked([np.ones(3, np.float16), None, np.ones(2, np.float16)])
    assert np.array_equal(np.isnan(table), [[False] * 3, [True] * 3, [False, False, True]])
