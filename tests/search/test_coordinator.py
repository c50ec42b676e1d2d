"""Real workers, trainings and deaths: no run is lost or trained twice, no number changes."""

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

from faults import is_worker, kill_one_that_trains
from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Cluster, Config, Model, Task, Train
from pipeline.data import arrays, registry
from pipeline.search import coordinator
from pipeline.search.coordinator import run_jobs, run_on_worker
from pipeline.search.run_store import Job, Record
from pipeline.search.workers import open_workers
from pipeline.training.fit import Run
from pipeline.training.worker import train

TASK = Task(name="synthetic", source="synthetic", length=40, vocabulary=160)
CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=TASK,
    cell=Cell("rnn", "rnn"),
    model=Model(units=8, embedding=8),
    train=Train(epochs=1, batch_size=64),
)


class Deadly(Config):
    """A configuration that kills each worker that receives it."""

    def __reduce__(self) -> Any:
        return _received, (vars(self),)


def _received(values: dict[str, Any]) -> Deadly:
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return Deadly(**values)


@pytest.fixture
def study(
    generated_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Change to a folder with the arrays of the study `tiny`."""
    monkeypatch.chdir(tmp_path)
    # By default the scheduler uses port 8787, and warns if another study has it.
    any_port = functools.partial(distributed.LocalCluster, dashboard_address="127.0.0.1:0")
    monkeypatch.setattr(distributed, "LocalCluster", any_port)
    folder = tmp_path / "data/tiny"
    arrays.write(registry.read(TASK, generated_archive), TASK, folder / "arrays", folder / "sealed")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_workers_run_without_dasks_profiler_on_one_thread(study: None) -> None:
    def settings() -> tuple[bool, str | None]:
        import dask

        profiled = dask.config.get("distributed.worker.profile.enabled")
        return profiled, os.environ.get("OMP_NUM_THREADS")

    with open_workers(Cluster(workers=1)) as workers:
        assert run_on_worker(workers, settings) == (False, "1")


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


def by_number(records: Iterator[Record]) -> dict[int, Record]:
    numbered = [(record.job.number, record) for record in records]
    assert len(dict(numbered)) == len(numbered)
    return dict(numbered)


def test_no_jobs_start_no_workers() -> None:
    assert list(run_jobs([], Cluster(workers=2))) == []
    assert not [child for child in psutil.Process().children() if is_worker(child, "tensorflow")]


def test_the_parent_may_end_before_the_first_worker_starts(
    study: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance when dvc is killed while this process imports its libraries."""
    monkeypatch.setattr(coordinator, "PARENT", os.getppid() + 1)
    with pytest.raises(coordinator.Stopped, match=r"has ended.*are kept"):
        list(run_jobs([job(0)], Cluster(workers=2)))


@pytest.mark.usefixtures("study")
def test_a_run_whose_worker_is_killed_is_done_again_with_the_same_numbers() -> None:
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one_that_trains, args=("tensorflow", killed, over))
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
    # A training that diverges is a failed run with its reason. The others continue.
    assert (records[2].run.state, records[2].run.reason) == ("failed", "loss is nan in epoch 1")
    # No worker outlives the last run.
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if is_worker(child, "tensorflow")
    ]


@pytest.mark.long
@pytest.mark.usefixtures("study")
def test_a_run_that_kills_its_worker_three_times_is_a_failed_run() -> None:
    deadly = Job("trial", 1, Deadly(**vars(CONFIG)), [])
    records = by_number(run_jobs([job(0), deadly], Cluster(workers=2)))
    assert (records[1].run.state, records[1].run.reason, records[1].attempt) == (
        "failed",
        "worker died 3 times",
        3,
    )
    assert records[1].run.best is None
    assert_same(records[0].run, 0)
    assert records[0].attempt == 1


@pytest.mark.long
@pytest.mark.usefixtures("study")
def test_a_run_that_needs_too_much_memory_fails_and_the_others_go_on() -> None:
    # 160 tokens of two million numbers each: weights, gradients and Adam's two moments are 5 GB.
    greedy = job(0, "model.embedding=2000000")
    jobs = [greedy, job(1), job(2)]
    records = by_number(run_jobs(jobs, Cluster(workers=2, memory="1500MB")))
    run = records[0].run
    assert run.state == "failed"
    assert run.reason == "worker died 3 times" or "memory" in run.reason.lower()
    for number in (1, 2):
        assert_same(records[number].run, number)
