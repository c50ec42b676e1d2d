"""Runs go to Dask workers, results come back, and nothing is lost: a dead worker is replaced and its run done again.

The coordinator alone writes state, study and tracker. It ends when the process that started it has gone.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.config import Cluster, Config
from pipeline.errors import FairsweepError
from pipeline.search.state import Job, Record, now
from pipeline.training.backend import THREADS
from pipeline.training.fit import Run

DEATHS = 3
MALLOC = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**28, "MALLOC_TOP_PAD_": 2**26}
PARENT_CHECK_SECONDS = 1.0


class Stopped(FairsweepError):
    """The stage ended early: what had finished is kept."""


@contextmanager
def workers(cluster: Cluster) -> Iterator[Any]:
    """A Dask client of `cluster.workers` single-threaded processes on the loopback address."""
    import dask

    dask.config.set(
        {
            "logging": {"distributed": "critical", "distributed.scheduler": "critical", "distributed.nanny": "critical"},
            # Deaths are counted here, a run at a time.
            "distributed.scheduler.allowed-failures": 0,
            # A run waits at the scheduler until a worker is free, not behind another run on a worker.
            "distributed.scheduler.worker-saturation": 1.0,
            # Training holds Python for seconds: neither a reason to warn nor to give a worker up.
            "distributed.admin.tick.limit": "1h",
            "distributed.scheduler.worker-ttl": None,
            "distributed.worker.daemon": True,
            # Dask lets workers give back every freed page; a training frees and takes the same megabytes at each step.
            "distributed.nanny.pre-spawn-environ": {**MALLOC, **THREADS},
        }
    )
    from distributed import Client, LocalCluster

    local = LocalCluster(
        n_workers=cluster.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        scheduler_kwargs={"dashboard": False},
        # Its pages stay off, but it opens the port: any free one, so that two studies do not fight over it.
        dashboard_address="127.0.0.1:0",
        memory_limit=cluster.memory,
        silence_logs=50,
    )
    try:
        with Client(local) as client:
            yield client
    finally:
        # On a busy machine closing can take long; the work is done by then, and the workers are daemons of this process.
        with suppress(TimeoutError):
            local.close(timeout=60)


def task(config: Config, keep_model: bool) -> tuple[Run, str, float]:
    """On the worker: the run, the worker's address, when it started."""
    from distributed import get_worker

    from pipeline.training.work import train

    started = now()
    return train(config, keep_model), get_worker().address, started


def run_jobs(jobs: Iterable[Job], cluster: Cluster) -> Generator[Record, None, None]:
    """Do every job and yield each as it finishes, in whatever order.

    A job whose worker died is done again; after three deaths it is a failed run, `worker died 3 times`. SIGTERM becomes a
    KeyboardInterrupt. Raises Stopped when the parent process has gone.
    """
    waiting = list(jobs)[::-1]
    if not waiting:
        return
    parent = os.getppid()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with workers(cluster) as client:
            yield from _run(client, waiting, cluster.workers, lambda: os.getppid() != parent)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(client: Any, waiting: list[Job], slots: int, orphaned: Callable[[], bool]) -> Iterator[Record]:
    """The loop: keep every worker busy, hand out what is done, count deaths."""
    from distributed import TimeoutError, wait
    from distributed.scheduler import KilledWorker

    running: dict[Any, Job] = {}
    deaths: dict[str, int] = {}

    def hand_out() -> None:
        while waiting and len(running) < slots:
            job = waiting.pop()
            running[client.submit(task, job.config, job.keep_model, pure=False)] = job

    hand_out()
    while running:
        try:
            done = wait(list(running), timeout=PARENT_CHECK_SECONDS, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        if orphaned():
            raise Stopped("the process that started this command has gone; what had finished is kept.")
        finished = []
        for future in done:
            job = running.pop(future)
            attempt = deaths.get(job.key, 0) + 1
            if isinstance(future.exception(), KilledWorker):
                deaths[job.key] = attempt
                if attempt < DEATHS:
                    waiting.append(job)
                else:
                    finished.append(Record(job, Run(state="failed", reason="worker died 3 times"), attempt, "", now()))
            else:
                run, worker, started = future.result()
                finished.append(Record(job, run, attempt, worker, started))
        # The next runs are under way before this one is written down, so that no worker waits for a database.
        hand_out()
        yield from finished
