"""Runs go to Dask workers, results come back, and nothing is lost: a dead worker is replaced and its run done again.

The coordinator alone writes state, study and tracker. It ends when the process that started it has gone.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from pipeline.config import Cluster, Config
from pipeline.errors import FairsweepError
from pipeline.search.state import Job, Record, now
from pipeline.training.backend import THREADS
from pipeline.training.fit import Epoch, Run

# `follow(record)`: the job that a finished one makes possible. `prune(job, epoch, validation)`: whether a run ends here.
Follow = Callable[[Record], Job | None]
Prune = Callable[[Job, int, float], bool]

REPORTS = "epochs"
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


def task(config: Config, keep_model: bool, reporting: bool) -> tuple[Run, str, float]:
    """On the worker: the run, the worker's address, when it started. With `reporting` the coordinator is asked each epoch."""
    from distributed import get_worker

    from pipeline.training.work import train

    started = now()
    return train(config, keep_model, _ask if reporting else None), get_worker().address, started


def _ask(number: int, epoch: Epoch) -> bool:
    """On the worker: report an epoch and wait for the answer, whether the run ends here."""
    from distributed import Queue, get_worker

    worker = get_worker()
    # The key of this attempt: an answer to one whose worker died reaches nobody else.
    key = worker.get_current_task()
    worker.log_event(REPORTS, {"run": key, "epoch": number, "validation": epoch.validation})
    return Queue(key).get()


def run_jobs(
    jobs: Iterable[Job], cluster: Cluster, follow: Follow = lambda record: None, prune: Prune | None = None
) -> Generator[Record, None, None]:
    """Do every job, and each that `follow` gives for a finished one, and yield each as it finishes, in whatever order.

    A job whose worker died is done again; after three deaths it is a failed run, `worker died 3 times`. SIGTERM becomes a
    KeyboardInterrupt. With `prune`, runs wait after each epoch until it has said whether they go on. Raises Stopped when the
    parent process has gone.
    """
    waiting = deque(jobs)
    if not waiting:
        return
    parent = os.getppid()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with workers(cluster) as client:
            yield from _run(client, waiting, cluster.workers, lambda: os.getppid() != parent, follow, prune)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(
    client: Any, waiting: deque[Job], slots: int, orphaned: Callable[[], bool], follow: Follow, prune: Prune | None
) -> Iterator[Record]:
    """The loop: keep every worker busy, answer reports, hand out what is done."""
    from distributed import Queue

    inbox: SimpleQueue[Any] = SimpleQueue()
    running: dict[str, tuple[Any, Job]] = {}
    deaths: dict[str, int] = {}
    if prune:
        client.subscribe_topic(REPORTS, inbox.put)

    def hand_out() -> None:
        while waiting and len(running) < slots:
            job = waiting.popleft()
            future = client.submit(task, job.config, job.keep_model, prune is not None, pure=False)
            running[future.key] = future, job
            future.add_done_callback(inbox.put)

    hand_out()
    while running:
        try:
            message = inbox.get(timeout=PARENT_CHECK_SECONDS)
        except Empty:
            message = None
        if orphaned():
            raise Stopped("the process that started this command has gone; what had finished is kept.")
        if isinstance(message, tuple):
            report = message[1]
            # What an attempt sent before its worker died may arrive after it.
            if prune and report["run"] in running:
                ends = prune(running[report["run"]][1], report["epoch"], report["validation"])
                Queue(report["run"], client=client).put(ends)
        elif message is not None:
            future, job = running.pop(message.key)
            record = _finished(future, job, deaths)
            following = job if record is None else follow(record)
            if following:
                (waiting.appendleft if record is None else waiting.append)(following)
            # The next run is under way before this one is written down, so that no worker waits for a database.
            hand_out()
            if record:
                yield record


def _finished(future: Any, job: Job, deaths: dict[str, int]) -> Record | None:
    """What became of a run that is over; None when its worker died and it is to be done again."""
    from distributed.scheduler import KilledWorker

    attempt = deaths.get(job.key, 0) + 1
    if not isinstance(future.exception(), KilledWorker):
        run, worker, started = future.result()
        return Record(job, run, attempt, worker, started)
    deaths[job.key] = attempt
    if attempt < DEATHS:
        return None
    return Record(job, Run(state="failed", reason="worker died 3 times"), attempt, "", now())
