"""Real workers, real trainings, real deaths: nothing is lost, nothing is done twice, numbers stay what they were."""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import psutil
import pytest

from pipeline.config import Cell, Cluster, Config, Model, Task, Train, with_overrides
from pipeline.data import arrays, sources
from pipeline.search.coordinator import run_jobs
from pipeline.search.state import Job, Record
from pipeline.training.fit import Run
from pipeline.training.work import train

TASK = Task(name="generated", source="generated", length=40, vocabulary=160)
CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=TASK,
    cell=Cell("rnn", "rnn"),
    model=Model(units=8, embedding=8),
    train=Train(epochs=1, batch_size=64),
)


class Deadly(Config):
    """A configuration that no worker survives receiving."""

    def __reduce__(self) -> Any:
        return _received, (vars(self),)


def _received(values: dict[str, Any]) -> Deadly:
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return Deadly(**values)


@pytest.fixture
def study(generated_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The current folder holds the arrays of the study `tiny`."""
    monkeypatch.chdir(tmp_path)
    # Dask's scheduler would ask for port 8787, and warn when a study that runs beside the tests has it.
    any_port = functools.partial(distributed.LocalCluster, dashboard_address="127.0.0.1:0")
    monkeypatch.setattr(distributed, "LocalCluster", any_port)
    folder = tmp_path / "data/tiny"
    arrays.write(sources.read(TASK, generated_archive), TASK, folder / "arrays", folder / "sealed")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def job(number: int, *overrides: str) -> Job:
    return Job("trial", number, with_overrides(CONFIG, [f"seed={number}", *overrides]), overrides)


@functools.cache
def undisturbed(number: int) -> Run:
    """The run of `job(number)` in this process, without a worker. Needs the fixture `study`."""
    return train(job(number).config)


def assert_same(run: Run, number: int) -> None:
    calm = undisturbed(number)
    assert run.state == calm.state == "complete"
    assert run.epochs == calm.epochs
    for name in ("validation_logits", "test_logits"):
        assert np.array_equal(getattr(run, name), getattr(calm, name))


def is_training(process: psutil.Process) -> bool:
    try:
        return any("tensorflow" in mapped.path for mapped in process.memory_maps())
    except psutil.Error:
        return False


def kill_one_that_trains(killed: list[int], over: threading.Event) -> None:
    """kill -9 for the first worker of this process that trains."""
    while not over.is_set():
        for process in psutil.Process().children(recursive=True):
            if is_training(process):
                process.kill()
                killed.append(process.pid)
                return
        over.wait(0.02)


def by_number(records: Iterator[Record]) -> dict[int, Record]:
    found = list(records)
    assert len({record.job.number for record in found}) == len(found)
    return {record.job.number: record for record in found}


def test_no_jobs_start_no_workers() -> None:
    assert list(run_jobs([], Cluster(workers=2))) == []
    assert not [child for child in psutil.Process().children() if is_training(child)]


@pytest.mark.usefixtures("study")
def test_a_run_whose_worker_is_killed_is_done_again_with_the_same_numbers() -> None:
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one_that_trains, args=(killed, over))
    jobs = [job(0), job(1), job(2, "train.learning_rate=1e38")]
    killer.start()
    try:
        records = by_number(run_jobs(jobs, Cluster(workers=2)))
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert sorted(records) == [0, 1, 2]
    assert sorted(record.attempt for record in records.values()) == [1, 1, 2]
    for number in (0, 1):
        assert_same(records[number].run, number)
        assert records[number].worker.startswith("tcp://127.0.0.1:")
    # A training that diverges is a failed run with its reason, and stops no other.
    assert (records[2].run.state, records[2].run.reason) == ("failed", "loss is nan in epoch 1")
    # No worker outlives the last run.
    assert not [child for child in psutil.Process().children(recursive=True) if is_training(child)]


@pytest.mark.usefixtures("study")
def test_a_run_that_kills_its_worker_three_times_is_a_failed_run() -> None:
    deadly = Job("trial", 1, Deadly(**vars(CONFIG)), [])
    records = by_number(run_jobs([job(0), deadly], Cluster(workers=2)))
    assert (records[1].run.state, records[1].run.reason, records[1].attempt) == ("failed", "worker died 3 times", 3)
    assert records[1].run.best is None
    assert_same(records[0].run, 0)
    assert records[0].attempt == 1
