"""What `tune` and `replicate` share: do the jobs that have no finished run, write everything down, give all records back."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pipeline.config import Config
from pipeline.data.form import Form
from pipeline.errors import FairsweepError
from pipeline.search.coordinator import First, Follow, Prune, Start, run_jobs
from pipeline.search.progress import Progress
from pipeline.search.state import Job, Record, State, trained_on
from pipeline.search.studies import Sequential

Tell = Callable[[Record], None]


def complete(
    stage: str,
    config: Config,
    jobs: Sequence[Job],
    state: State,
    tell: Sequence[Tell],
    start: Start = lambda job: None,
    form: Form | None = None,
    first: First = lambda pool: None,
) -> list[Record]:
    """The records of all `jobs`, in their order.

    `start` sees a job as it is handed out, each of `tell` every record, old ones too; `form` words the scores. `first` has the
    workers first, where there is anything to do.
    """
    refuse_test_labels(config)
    records = {job.key: record for job in jobs if (record := state.read(job))}
    missing = [job for job in jobs if job.key not in records]
    if missing and trained_on():
        raise FairsweepError(
            f"{len(missing)} runs are missing, and FAIRSWEEP_TRAINED_ON says that another machine trains them. Bring them, or unset it."
        )
    with Progress(stage, config, state, len(jobs), len(records), form or Form()) as progress:
        _take_up(list(records.values()), progress, tell)
        records |= {record.job.key: record for record in _do(config, missing, state, progress, tell, start=start, first=first)}
    return [records[job.key] for job in jobs]


def complete_studies(
    config: Config,
    studies: Sequence[Sequential],
    state: State,
    tell: Sequence[Tell],
    form: Form | None = None,
    first: First = lambda pool: None,
) -> list[Record]:
    """The records of all trials of an arm's separate studies, by study and trial; the studies go on side by side."""
    refuse_test_labels(config)
    records = [record for study in studies for record in study.records]
    ready = [study.ready for study in studies if study.ready]

    def prune(job: Job, epoch: int, validation: float) -> bool:
        return studies[job.study].prune(epoch, validation)

    def follow(record: Record) -> Job | None:
        return studies[record.job.study].tell(record)

    # Only in a study that prunes do runs wait for an answer.
    asked = None if config.search.pruner == "none" else prune
    total = len(studies) * config.search.trials
    with Progress("tune", config, state, total, len(records), form or Form()) as progress:
        _take_up(records, progress, tell)
        records += _do(config, ready, state, progress, tell, follow, asked, first=first)
    return sorted(records, key=lambda record: (record.job.study, record.job.number))


def refuse_test_labels(config: Config) -> None:
    """Raise FairsweepError when test labels lie among the inputs of training: they are sealed until `evaluate`."""
    for folder in (Path("data") / config.name / "arrays", Path("runs") / config.name / "draw"):
        for path in folder.rglob("*test*label*"):
            raise FairsweepError(
                f"{path}: test labels among the inputs of training. They belong in data/{config.name}/sealed, for `evaluate` alone. "
                "Remove it, then make the inputs again: dvc repro pad draw."
            )


def _take_up(records: Sequence[Record], progress: Progress, tell: Sequence[Tell]) -> None:
    """Runs of a coordinator that died before it told the study or the tracker."""
    for record in records:
        progress.seen(record)
        for listener in tell:
            listener(record)


def _do(
    config: Config,
    jobs: Sequence[Job],
    state: State,
    progress: Progress,
    tell: Sequence[Tell],
    follow: Follow = lambda record: None,
    prune: Prune | None = None,
    start: Start = lambda job: None,
    first: First = lambda pool: None,
) -> list[Record]:
    """Do `jobs` and what follows them, each written down as it finishes."""
    records = []
    # Closed at once when writing a record is interrupted, so that no worker is left.
    with closing(run_jobs(jobs, config.cluster, follow, prune, start, first, progress.at_work)) as finished:
        for record in finished:
            state.save(record)
            records.append(record)
            for listener in tell:
                listener(record)
            progress.finished(record)
    return records
