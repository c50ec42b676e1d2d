"""Sends runs to Dask workers and yields their results. A dead worker is replaced, its run repeated.

Only the coordinator writes the state, the Optuna studies and the tracker. It ends when its parent
process has ended.
"""

import dataclasses
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from .. import PARENT
from ..config.compose import accelerator
from ..config.schema import Cluster, Config
from ..errors import FairsweepError
from ..provenance import commit
from ..seal import closed
from ..training.fit import Epoch, Run
from ..training.population import MAX_MODELS, batch_key
from .run_store import Job, Record, code_digest, now
from .workers import CHECK_SECONDS, Workers, open_workers

# `start(job)` is called when a worker gets `job`. `follow(record)` returns the job that a finished
# one makes possible. `prune(job, epoch, validation)` returns whether a run ends here.
# `first(workers)` is called once, before the first job. `show(workers, jobs, pages)` is called with
# the number of workers, the running jobs and the address of Dask's pages.
Start = Callable[[Job], None]
Follow = Callable[[Record], Job | None]
Prune = Callable[[Job, int, float], bool]
First = Callable[[Workers], None]
Show = Callable[[int, Sequence[Job], str | None], None]

REPORTS = "epochs"
DEATHS = 3

# Whether a signal has requested the end.
_stopping = False


class Stopped(FairsweepError):
    """The parent process has ended. Finished runs are kept."""


def task(
    configs: list[Config], keep_models: list[bool], reporting: bool, code: str
) -> tuple[list[tuple[Run, str]], float]:
    """Train one batch on the worker; return each run and where it was trained, and the start.

    With `reporting`, of one configuration only, ask the coordinator after each epoch. Raises
    FairsweepError if the worker's code differs from `code`, the coordinator's digest.
    """
    from distributed import get_worker

    from ..training import backend
    from ..training.worker import train, train_batch
    from .worker_data import arrays_of

    started, worker = now(), get_worker()
    address: str = worker.address
    if code_digest(configs[0].cell.type) != code:
        raise FairsweepError(
            f"worker {address} runs other code than this checkout. Update it to the same commit "
            "and the same modules of your own cells, and start it again. Finished runs are kept."
        )
    folder = arrays_of(worker)
    # Workers share the coordinator's terminal: output of libraries would break its display.
    with closed("train", configs[0].name), backend.quiet():
        if reporting:
            return [(train(configs[0], keep_models[0], _ask, folder), address)], started
        runs = train_batch(configs, keep_models, folder)
    # A run of a batch has its share of the batch's seconds.
    shared = [f"{address} shared by {size}" if size > 1 else address for _, size in runs]
    return [(run, where) for (run, _), where in zip(runs, shared, strict=True)], started


def _ask(number: int, epoch: Epoch) -> bool:
    """Report an epoch from the worker, and wait for the answer: whether the run ends here."""
    from distributed import Queue, get_worker

    worker = get_worker()
    # The key of this attempt, so that no later attempt gets the answer.
    key = worker.get_current_task()
    worker.log_event(REPORTS, {"run": key, "epoch": number, "validation": epoch.validation})
    return Queue(key).get()


def run_jobs(
    jobs: Iterable[Job],
    cluster: Cluster,
    follow: Follow = lambda record: None,
    prune: Prune | None = None,
    start: Start = lambda job: None,
    first: First = lambda workers: None,
    show: Show = lambda workers, jobs, pages: None,
) -> Generator[Record, None, None]:
    """Run `jobs` and each job that `follow` returns; yield their records as they finish.

    A job whose worker died runs again; after three deaths it is a failed run, `worker died 3
    times`. Jobs that can share a program run in one batch; a batch that killed its worker runs
    again in smaller batches. With `prune`, each run waits after each epoch for its answer.

    SIGTERM and Ctrl-C become a KeyboardInterrupt between two records. Further signals are ignored,
    so that workers end and tables are closed. Raises Stopped if the parent process has ended.
    """
    waiting = deque(jobs)
    if not waiting:
        return
    config = waiting[0].config
    if cluster.kind == "local" and config.train.engine == "population" and accelerator():
        # Two processes would take turns on the device, and split the batches.
        cluster = dataclasses.replace(cluster, workers=1)
    global _stopping
    _stopping = False
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in handlers.items():
        # Keep SIGINT ignored if it was ignored on entry (background jobs of a shell).
        if number == signal.SIGTERM or handler != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        _check()
        with open_workers(cluster, _check) as workers:
            if not workers.shared_disk:
                from .worker_data import Arrays

                workers.client.register_plugin(Arrays(Path("data") / config.name / "arrays"))
            first(workers)
            yield from _run(workers, waiting, follow, prune, start, show)
        _check()
    finally:
        if signal.getsignal(signal.SIGTERM) == _interrupt:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _interrupt(*_: Any) -> None:
    """Let the next `_check` raise, and ignore both signals until the process ends.

    An exception raised here could interrupt the transaction of a database, and a second signal
    could interrupt the end of the stage.
    """
    global _stopping
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _stopping = True


def run_on_worker(workers: Workers, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` returns on a worker. Raises what it raises, and what `_check` does."""
    results = SimpleQueue[Any]()
    future = workers.client.submit(function, *arguments, pure=False)
    future.add_done_callback(results.put)
    while True:
        try:
            return results.get(timeout=CHECK_SECONDS).result()
        except Empty:
            _check()


def _check() -> None:
    """Raise KeyboardInterrupt after a signal, Stopped if the parent process has ended."""
    if _stopping:
        raise KeyboardInterrupt
    if os.getppid() != PARENT:
        raise Stopped(
            "the process that started this command has ended. Finished runs are kept: start the "
            "command again to train the rest."
        )


def _run(
    workers: Workers,
    waiting: deque[Job],
    follow: Follow,
    prune: Prune | None,
    start: Start,
    show: Show,
) -> Iterator[Record]:
    """Keep every worker busy, answer reports, and yield the records of finished runs."""
    from distributed import Queue

    client = workers.client
    # Cached now, because the user may commit while the code of this moment runs.
    commit()
    inbox: SimpleQueue[Any] = SimpleQueue()
    running: dict[str, tuple[Any, list[Job]]] = {}
    deaths: dict[str, int] = {}
    limits: dict[str, int] = {}
    shown: set[str] = set()
    if prune:
        client.subscribe_topic(REPORTS, inbox.put)

    def submit() -> None:
        while waiting and (free := workers.size() - len(running)) > 0:
            jobs = [waiting.popleft()] if prune else _next_batch(waiting, limits, free)
            configs, keep_models = [job.config for job in jobs], [job.keep_model for job in jobs]
            code = code_digest(configs[0].cell.type)
            future = client.submit(task, configs, keep_models, bool(prune), code, pure=False)
            running[future.key] = future, jobs
            future.add_done_callback(inbox.put)
            for job in jobs:
                start(job)
        if running.keys() != shown:
            show(
                workers.size(), [job for _, jobs in running.values() for job in jobs], workers.pages
            )
            shown.clear()
            shown.update(running)

    while running or waiting:
        _check()
        # Each time, because workers may have joined.
        submit()
        try:
            message = inbox.get(timeout=CHECK_SECONDS)
        except Empty:
            continue
        if isinstance(message, tuple):
            report = message[1]
            # A report may arrive after its worker has died.
            if prune and report["run"] in running:
                job = running[report["run"]][1][0]
                ends = prune(job, report["epoch"], report["validation"])
                Queue(report["run"], client=client).put(ends)
            continue
        future, jobs = running.pop(message.key)
        records = _records(future, jobs, deaths, limits, workers.deaths)
        if not records:
            waiting.extendleft(reversed(jobs))
        waiting.extend(following for record in records if (following := follow(record)))
        # Submit before the record is stored, so that no worker waits for a database.
        submit()
        yield from records


def _next_batch(waiting: deque[Job], limits: dict[str, int], free: int) -> list[Job]:
    """Take the first job out of `waiting`, and jobs that can share its program.

    The batch is an equal share of these for each of the `free` workers. `limits` is the size of the
    largest batch for a job whose worker died.
    """
    first = waiting[0]
    program, limit = batch_key(first.config), limits.get(first.key, MAX_MODELS)
    if program is None or limit == 1:
        return [waiting.popleft()]
    similar = [
        job
        for job in waiting
        if limits.get(job.key, MAX_MODELS) == limit and batch_key(job.config) == program
    ]
    batch = similar[: min(limit, -(-len(similar) // free))]
    taken = {id(job) for job in batch}
    rest = [job for job in waiting if id(job) not in taken]
    waiting.clear()
    waiting.extend(rest)
    return batch


def _records(
    future: Any, jobs: list[Job], deaths: dict[str, int], limits: dict[str, int], died: int
) -> list[Record]:
    """Return the records of finished jobs, or none if their worker died and they run again.

    A batch may have run out of memory because of its size or because of one model: after a death
    its jobs run in halves, then alone. `died` is `Workers.deaths`.
    """
    from distributed.scheduler import KilledWorker

    attempts = [deaths.get(job.key, 0) + 1 for job in jobs]
    if not isinstance(future.exception(), KilledWorker):
        runs, started = future.result()
        return [
            Record(job, run, attempt, worker, started, commit())
            for job, attempt, (run, worker) in zip(jobs, attempts, runs, strict=True)
        ]
    for job in jobs:
        deaths[job.key] = deaths.get(job.key, 0) + died
        limits[job.key] = len(jobs) // 2 if deaths[job.key] == 1 and len(jobs) > 1 else 1
    if len(jobs) > 1 or deaths[jobs[0].key] < DEATHS:
        return []
    failed = Run(state="failed", reason="worker died 3 times")
    return [Record(jobs[0], failed, attempts[0], "", now(), commit())]
