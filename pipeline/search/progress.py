"""What a stage shows while it runs: a live table of the study on a terminal, one plain line a finished run otherwise."""

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pipeline.config import Config
from pipeline.data.form import Form
from pipeline.search.state import Job, Record, State, now

# A trial takes seconds to minutes; each look costs the coordinator some milliseconds.
LOOKS_A_SECOND = 1.0


def animated() -> bool:
    """Whether standard output is a terminal on which a table can be drawn over itself."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def duration(seconds: float) -> str:
    """As `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def named(job: Job) -> str:
    """`trial 17`, `trial 3 of study 2`."""
    return f"{job.kind} {job.number}" + (f" of study {job.study}" if job.separate else "")


class Progress:
    """Counts finished runs of `total`; `done` were there before this process and cost it no time. `form` words a score."""

    def __init__(self, stage: str, config: Config, state: State, total: int, done: int, form: Form) -> None:
        self.name, self.config, self.state, self.form = f"{stage} {config.cell.arm}", config, state, form
        self.total, self.done, self.before = total, done, done
        self.best: float | None = None
        self.started = time.monotonic()
        self.since: dict[str, float] = {}
        self.pages: str | None = None
        self.live: Any = None

    def __enter__(self) -> Self:
        if animated():
            from rich.live import Live

            from pipeline.search.board import Board
            from pipeline.search.survey import Survey

            survey = Survey(self.config, like=self.state.folder)
            self.live = Live(
                get_renderable=lambda: Board(survey.look(), self.form), refresh_per_second=LOOKS_A_SECOND, transient=True
            )
            self.live.start()
        elif self.done:
            print(f"{self.name}: {self.done} of {self.total} were finished before", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()
            took = duration(time.monotonic() - self.started)
            print(f"{self.name}: {self.done} of {self.total} finished, best {self._best()}, in {took}", flush=True)

    def at_work(self, workers: int, jobs: Sequence[Job], pages: str | None) -> None:
        """These jobs are under way on so many workers; `pages` is the address of Dask's, where they are on."""
        self.since = {job.key: self.since.get(job.key, now()) for job in jobs}
        self.state.show(workers, [(named(job), self.since[job.key]) for job in jobs], pages)
        if pages and not self.pages and not self.live:
            print(f"{self.name}: Dask's pages are on {pages}", flush=True)
        self.pages = pages

    def left(self) -> str:
        """The time left at the pace so far, as `4 min left`."""
        new = self.done - self.before
        seconds = (time.monotonic() - self.started) / new * (self.total - self.done) if new else 0.0
        return f"{duration(seconds)} left"

    def seen(self, record: Record) -> None:
        """Take the score of a run into `best so far`, without counting it."""
        if record.run.best and (self.best is None or record.run.best.validation > self.best):
            self.best = record.run.best.validation

    def _best(self) -> str:
        return "none" if self.best is None else self.form.told(self.best)

    def finished(self, record: Record) -> None:
        """Count a run and show it."""
        self.done += 1
        self.seen(record)
        if self.live:
            return
        run = record.run
        result = f"validation {self.form.told(run.best.validation)}" if run.best else f"failed: {run.reason}"
        result += " (pruned)" if run.state == "pruned" else ""
        print(
            f"{self.name} {self.done}/{self.total}: {named(record.job)}, {result}, {len(run.epochs)} epochs, "
            f"{run.seconds:.0f} s; best {self._best()}, {self.left()}",
            flush=True,
        )
