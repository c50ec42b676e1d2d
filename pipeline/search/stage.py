"""What `tune` and `replicate` share: do the jobs that have no finished run, write everything down, give all records back."""

from collections.abc import Callable, Sequence
from contextlib import closing

from pipeline.config import Config
from pipeline.search.coordinator import run_jobs
from pipeline.search.progress import Progress
from pipeline.search.state import Job, Record, State


def complete(
    stage: str,
    config: Config,
    jobs: Sequence[Job],
    state: State,
    tell: Sequence[Callable[[Record], None]],
    start: Callable[[Job], None] = lambda job: None,
) -> list[Record]:
    """The records of all `jobs`, in their order. `start` sees a job before it is done, each of `tell` every record, old ones too."""
    records = {job.key: record for job in jobs if (record := state.read(job))}
    missing = [job for job in jobs if job.key not in records]
    with Progress(f"{stage} {config.cell.arm}", len(jobs), len(records)) as progress:
        # Finished runs of a coordinator that died before it told the study or the tracker.
        for record in records.values():
            progress.seen(record)
            for listener in tell:
                listener(record)
        for job in missing:
            start(job)
        # Closed at once when writing a record is interrupted, so that no worker is left.
        with closing(run_jobs(missing, config.cluster)) as finished:
            for record in finished:
                state.save(record)
                records[record.job.key] = record
                for listener in tell:
                    listener(record)
                progress.finished(record)
    return [records[job.key] for job in jobs]
