"""Runs go to Dask workers, results come back, and nothing is lost: a dead worker is replaced and its run done again.

The coordinator alone writes state, study and tracker. It ends when the process that started it has gone.
"""

import dataclasses
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pipeline import PARENT
from pipeline.config import Cluster, Config, accelerator
from pipeline.errors import FairsweepError
from pipeline.provenance import commit
from pipeline.seal import closed
from pipeline.search.state import Job, Record, code_digest, now
from pipeline.search.workers import CHECK_SECONDS, Pool, workers
from pipeline.training.fit import Epoch, Run
from pipeline.training.population import MOST, family

# `start(job)`: it is handed out now. `follow(record)`: the job that a finished one makes possible. `prune(job, epoch, validation)`:
# whether a run ends here. `first(pool)`: the workers are there, and have nothing to do yet. `show(workers, jobs, pages)`: these jobs
# are under way; `pages` is the address of Dask's, or None.
Start = Callable[[Job], None]
Follow = Callable[[Record], Job | None]
Prune = Callable[[Job, int, float], bool]
First = Callable[[Pool], None]
Show = Callable[[int, Sequence[Job], str | None], None]

REPORTS = "epochs"
DEATHS = 3

# Whether a signal has asked for the end.
_stopping = False


class Stopped(FairsweepError):
    """The stage ended early: what had finished is kept."""


def task(configs: list[Config], keep_models: list[bool], reporting: bool, code: str) -> tuple[list[tuple[Run, str]], float]:
    """On the worker: of each config its run and where it was done, and when they started. With `reporting`, of one config alone,
    the coordinator is asked each epoch.

    Raises FairsweepError when the worker's code, other than `code`, might give other numbers.
    """
    from distributed import get_worker

    from pipeline.search.sent import arrays_of
    from pipeline.training import backend
    from pipeline.training.work import train, train_family

    started, worker = now(), get_worker()
    if code_digest(configs[0].cell.type) != code:
        raise FairsweepError(
            f"worker {worker.address} runs other code than this checkout where it decides numbers. Bring it to the same "
            "commit, with the modules of your own cells, and start it again. What had finished is kept."
        )
    folder = arrays_of(worker)
    # A worker has its coordinator's terminal: what libraries write there would stand in the middle of the table.
    with closed("train", configs[0].name), backend.quiet():
        if reporting:
            return [(train(configs[0], keep_models[0], _ask, folder), worker.address)], started
        done = train_family(configs, keep_models, folder)
    # A run that shared its program has a share of its seconds.
    return [(run, worker.address + (f" shared by {members}" if members > 1 else "")) for run, members in done], started


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
    first: First = lambda pool: None,
    show: Show = lambda workers, jobs, pages: None,
) -> Generator[Record, None, None]:
    """Do every job, and each that `follow` gives for a finished one, and yield each as it finishes, in whatever order.

    A job whose worker died is done again; after three deaths it is a failed run, `worker died 3 times`. Jobs of one family are
    done together, in smaller families where they took their worker with them. SIGTERM and Ctrl-C become a KeyboardInterrupt, between
    two records and not within one; further ones are ignored, so that workers end and tables are closed. With `prune`, runs wait
    after each epoch until it has said whether they go on. Raises Stopped when the parent process has gone.
    """
    waiting = deque(jobs)
    if not waiting:
        return
    if cluster.kind == "local" and waiting[0].config.train.engine == "population" and accelerator():
        # Two processes would share the device in turns, and split the families.
        cluster = dataclasses.replace(cluster, workers=1)
    global _stopping
    _stopping = False
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number, handler in before.items():
        # Who is deaf to Ctrl-C, as what a shell starts in the background, stays so.
        if number == signal.SIGTERM or handler != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        _check()
        with workers(cluster, _check) as pool:
            if not pool.shared_disk:
                from pipeline.search.sent import Arrays

                pool.client.register_plugin(Arrays(Path("data") / waiting[0].config.name / "arrays"))
            first(pool)
            yield from _run(pool, waiting, follow, prune, start, show)
        _check()
    finally:
        if signal.getsignal(signal.SIGTERM) == _interrupt:
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(*_: Any) -> None:
    """The first signal is heard by the next `_check`; from then on both are ignored, to the end of the process.

    Raised at once it would cut a database's transaction in two, and what ends the stage could not write either.
    """
    global _stopping
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _stopping = True


def asked(pool: Pool, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` gives on a worker, once there is one. Raises what `_check` does."""
    future, done = pool.client.submit(function, *arguments, pure=False), SimpleQueue[Any]()
    future.add_done_callback(done.put)
    while True:
        try:
            return done.get(timeout=CHECK_SECONDS).result()
        except Empty:
            _check()


def _check() -> None:
    """Raise KeyboardInterrupt after a signal, Stopped when the parent process has gone."""
    if _stopping:
        raise KeyboardInterrupt
    if os.getppid() != PARENT:
        raise Stopped("the process that started this command has gone; what had finished is kept. Start it again for the rest.")


def _run(pool: Pool, waiting: deque[Job], follow: Follow, prune: Prune | None, start: Start, show: Show) -> Iterator[Record]:
    """The loop: keep every worker busy, answer reports, hand out what is done."""
    from distributed import Queue

    client = pool.client
    # That of the code at work, whatever is committed meanwhile.
    commit()
    inbox: SimpleQueue[Any] = SimpleQueue()
    running: dict[str, tuple[Any, list[Job]]] = {}
    deaths: dict[str, int] = {}
    most: dict[str, int] = {}
    shown: set[str] = set()
    if prune:
        client.subscribe_topic(REPORTS, inbox.put)

    def hand_out() -> None:
        while waiting and (free := pool.size() - len(running)) > 0:
            jobs = [waiting.popleft()] if prune else _together(waiting, most, free)
            configs, kept = [job.config for job in jobs], [job.keep_model for job in jobs]
            code = code_digest(configs[0].cell.type)
            future = client.submit(task, configs, kept, prune is not None, code, pure=False)
            running[future.key] = future, jobs
            future.add_done_callback(inbox.put)
            for job in jobs:
                start(job)
        if running.keys() != shown:
            show(pool.size(), [job for _, jobs in running.values() for job in jobs], pool.pages)
            shown.clear()
            shown.update(running)

    while running or waiting:
        _check()
        # Also for workers that have joined since.
        hand_out()
        try:
            message = inbox.get(timeout=CHECK_SECONDS)
        except Empty:
            message = None
        if isinstance(message, tuple):
            report = message[1]
            # What an attempt sent before its worker died may arrive after it.
            if prune and report["run"] in running:
                ends = prune(running[report["run"]][1][0], report["epoch"], report["validation"])
                Queue(report["run"], client=client).put(ends)
        elif message is not None:
            future, jobs = running.pop(message.key)
            records = _finished(future, jobs, deaths, most, pool.deaths)
            if not records:
                waiting.extendleft(reversed(jobs))
            waiting.extend(following for record in records if (following := follow(record)))
            # The next run is under way before this one is written down, so that no worker waits for a database.
            hand_out()
            yield from records


def _together(waiting: deque[Job], most: dict[str, int], free: int) -> list[Job]:
    """Take out of `waiting` its first job and those of its family: an even part of them for each of the `free` workers.

    `most`: of a job whose worker died, how many may be done together.
    """
    first = waiting[0]
    shared, limit = family(first.config), most.get(first.key, MOST)
    if shared is None or limit == 1:
        return [waiting.popleft()]
    alike = [job for job in waiting if most.get(job.key, MOST) == limit and family(job.config) == shared]
    chosen = alike[: min(limit, -(-len(alike) // free))]
    taken = {id(job) for job in chosen}
    left = [job for job in waiting if id(job) not in taken]
    waiting.clear()
    waiting.extend(left)
    return chosen


def _finished(future: Any, jobs: list[Job], deaths: dict[str, int], most: dict[str, int], died: int) -> list[Record]:
    """What became of runs that are over; none when their worker died and they are to be done again. `died`: see `Pool.deaths`.

    What kills a worker may be the size of a family or one of its members: after a death they go on in halves, then each alone.
    """
    from distributed.scheduler import KilledWorker

    attempts = [deaths.get(job.key, 0) + 1 for job in jobs]
    if not isinstance(future.exception(), KilledWorker):
        done, started = future.result()
        return [
            Record(job, run, attempt, worker, started, commit())
            for job, attempt, (run, worker) in zip(jobs, attempts, done, strict=True)
        ]
    for job in jobs:
        deaths[job.key] = deaths.get(job.key, 0) + died
        most[job.key] = len(jobs) // 2 if deaths[job.key] == 1 and len(jobs) > 1 else 1
    if len(jobs) > 1 or deaths[jobs[0].key] < DEATHS:
        return []
    return [Record(jobs[0], Run(state="failed", reason="worker died 3 times"), attempts[0], "", now(), commit())]
