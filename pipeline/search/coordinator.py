"""Runs go to Dask workers, results come back, and nothing is lost: a dead worker is replaced and its run done again.

The coordinator alone writes state, study and tracker. It ends when the process that started it has gone.
"""

import functools
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pipeline.config import Cluster, Config
from pipeline.errors import FairsweepError
from pipeline.search.state import Job, Record, code_digest, now
from pipeline.search.workers import Pool, workers
from pipeline.training.fit import Epoch, Run

# `start(job)`: it is handed out now. `follow(record)`: the job that a finished one makes possible. `prune(job, epoch, validation)`:
# whether a run ends here.
Start = Callable[[Job], None]
Follow = Callable[[Record], Job | None]
Prune = Callable[[Job, int, float], bool]

REPORTS = "epochs"
DEATHS = 3
PARENT_CHECK_SECONDS = 1.0


class Stopped(FairsweepError):
    """The stage ended early: what had finished is kept."""


def task(config: Config, keep_model: bool, reporting: bool, code: str) -> tuple[Run, str, float]:
    """On the worker: the run, the worker's address, when it started. With `reporting` the coordinator is asked each epoch.

    Raises FairsweepError when the worker's code, other than `code`, might give other numbers.
    """
    from distributed import get_worker

    from pipeline.search.sent import arrays_of
    from pipeline.training.work import train

    started, worker = now(), get_worker()
    if _own_code() != code:
        raise FairsweepError(
            f"worker {worker.address} runs other code than this checkout (pipeline/models, training or data). Bring it to the same "
            "commit and start it again; what had finished is kept."
        )
    return train(config, keep_model, _ask if reporting else None, arrays_of(worker)), worker.address, started


@functools.cache
def _own_code() -> str:
    """`code_digest` when this worker began: what is edited while a study runs is not what its workers run."""
    return code_digest()


def _ask(number: int, epoch: Epoch) -> bool:
    """On the worker: report an epoch and wait for the answer, whether the run ends here."""
    from distributed import Queue, get_worker

    worker = get_worker()
    # The key of this attempt: an answer to one whose worker died reaches nobody else.
    key = worker.get_current_task()
    worker.log_event(REPORTS, {"run": key, "epoch": number, "validation": epoch.validation})
    return Queue(key).get()


def run_jobs(
    jobs: Iterable[Job],
    cluster: Cluster,
    follow: Follow = lambda record: None,
    prune: Prune | None = None,
    start: Start = lambda job: None,
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
        with workers(cluster) as pool:
            if not pool.shared_disk:
                from pipeline.search.sent import Arrays

                pool.client.register_plugin(Arrays(Path("data") / waiting[0].config.name / "arrays"))
            yield from _run(pool, waiting, lambda: os.getppid() != parent, follow, prune, start)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _run(
    pool: Pool, waiting: deque[Job], orphaned: Callable[[], bool], follow: Follow, prune: Prune | None, start: Start
) -> Iterator[Record]:
    """The loop: keep every worker busy, answer reports, hand out what is done."""
    from distributed import Queue

    client, code = pool.client, code_digest()
    inbox: SimpleQueue[Any] = SimpleQueue()
    running: dict[str, tuple[Any, Job]] = {}
    deaths: dict[str, int] = {}
    if prune:
        client.subscribe_topic(REPORTS, inbox.put)

    def hand_out() -> None:
        while waiting and len(running) < pool.size():
            job = waiting.popleft()
            future = client.submit(task, job.config, job.keep_model, prune is not None, code, pure=False)
            running[future.key] = future, job
            future.add_done_callback(inbox.put)
            start(job)

    while running or waiting:
        # Also for workers that have joined since.
        hand_out()
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
            record = _finished(future, job, deaths, pool.deaths)
            following = job if record is None else follow(record)
            if following:
                (waiting.appendleft if record is None else waiting.append)(following)
            # The next run is under way before this one is written down, so that no worker waits for a database.
            hand_out()
            if record:
                yield record


def _finished(future: Any, job: Job, deaths: dict[str, int], died: int) -> Record | None:
    """What became of a run that is over; None when its worker died and it is to be done again. `died`: see `Pool.deaths`."""
    from distributed.scheduler import KilledWorker

    attempt = deaths.get(job.key, 0) + 1
    if not isinstance(future.exception(), KilledWorker):
        run, worker, started = future.result()
        return Record(job, run, attempt, worker, started)
    deaths[job.key] = deaths.get(job.key, 0) + died
    if deaths[job.key] < DEATHS:
        return None
    return Record(job, Run(state="failed", reason="worker died 3 times"), attempt, "", now())
