"""The part that `tune` and `replicate` share: train the missing runs, and record each run."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from ..config.schema import Config
from ..errors import FairsweepError
from .coordinator import First, Start, run_jobs
from .optuna import RepeatedSearch
from .run_store import Job, Record, State, trained_on

# Called with each finished run.
Listener = Callable[[Record], None]


class Display(Protocol):
    """What shows the progress of a stage."""

    def begin(self, total: int, finished: Sequence[Record]) -> None:
        """The stage has `total` runs, of which these were finished before it started."""

    def at_work(self, workers: int, jobs: Sequence[Job], pages: str | None) -> None:
        """`workers` workers train `jobs`. `pages` is the address of Dask's pages, or None."""

    def finished(self, record: Record) -> None:
        """A run has finished."""


def run_shared_search(
    config: Config,
    jobs: Sequence[Job],
    state: State,
    listeners: Sequence[Listener],
    display: Display,
    start: Start = lambda job: None,
    first: First = lambda workers: None,
) -> list[Record]:
    """Run independent jobs and return the records of all of them, in their order.

    Args:
        listeners: called with the record of every job, including those that were finished before.
        start: called with each job when a worker gets it.
        first: called with the workers before the first job, if there is a job to run.

    Raises:
        FairsweepError: test labels are among the inputs, or runs of another machine are missing.
    """
    refuse_test_labels(config)
    records = {job.key: record for job in jobs if (record := state.read(job))}
    missing = [job for job in jobs if job.key not in records]
    if missing and trained_on():
        raise FairsweepError(
            f"{len(missing)} runs are missing, and FAIRSWEEP_TRAINED_ON says that another machine "
            "trains them. Copy them here, or unset it."
        )
    hooks = {"start": start, "first": first}
    done = list(records.values())
    for record in _run(config, missing, done, len(jobs), state, listeners, display, **hooks):
        records[record.job.key] = record
    return [records[job.key] for job in jobs]


def run_repeated_searches(
    config: Config,
    searches: Sequence[RepeatedSearch],
    state: State,
    listeners: Sequence[Listener],
    display: Display,
    first: First = lambda workers: None,
) -> list[Record]:
    """Run an arm's repeated searches in parallel; return all records, by search and trial."""
    refuse_test_labels(config)
    records = [record for search in searches for record in search.records]
    ready = [search.ready for search in searches if search.ready]

    def prune(job: Job, epoch: int, validation: float) -> bool:
        return searches[job.repeat].prune(epoch, validation)

    def follow(record: Record) -> Job | None:
        return searches[record.job.repeat].tell(record)

    # Runs wait for an answer after each epoch only if there is a pruner.
    pruning = None if config.search.pruner == "none" else prune
    total, hooks = len(searches) * config.search.trials, {"follow": follow, "prune": pruning}
    _run(config, ready, records, total, state, listeners, display, first=first, **hooks)
    return sorted(records, key=lambda record: (record.job.repeat, record.job.number))


def refuse_test_labels(config: Config) -> None:
    """Raise FairsweepError if test labels are among the inputs of training."""
    for folder in (Path("data") / config.name / "arrays", Path("runs") / config.name / "sample"):
        for path in folder.rglob("*test*label*"):
            raise FairsweepError(
                f"{path}: test labels among the inputs of training. They belong in "
                f"data/{config.name}/sealed, for `evaluate` only. Remove the file, then run: "
                "dvc repro pad sample"
            )


def _run(
    config: Config,
    jobs: Sequence[Job],
    records: list[Record],
    total: int,
    state: State,
    listeners: Sequence[Listener],
    display: Display,
    **hooks: Any,
) -> list[Record]:
    """Run `jobs` and those that follow, record each, and return all records, finished ones first.

    `hooks` are the callbacks of `run_jobs`.
    """

    def record_run(record: Record) -> None:
        for listener in listeners:
            listener(record)

    display.begin(total, records)
    # The process that trained these may have ended before it recorded them.
    for record in records:
        record_run(record)
    finished = run_jobs(jobs, config.cluster, show=display.at_work, **hooks)
    # Close at once if recording is interrupted, so that no worker is left.
    with closing(finished):
        for record in finished:
            state.save(record)
            records.append(record)
            record_run(record)
            display.finished(record)
    return records
