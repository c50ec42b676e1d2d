"""What a stage shows while it runs: a live bar on a terminal, one plain line a finished run otherwise."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pipeline.search.state import Record


class Progress:
    """Counts finished runs of `total`; `done` were there before this process and cost it no time. `told` words a score."""

    def __init__(self, name: str, total: int, done: int, told: Callable[[float], str] = "{:.4f}".format) -> None:
        self.name, self.total, self.done, self.before, self.told = name, total, done, done, told
        self.best: float | None = None
        self.started = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
            )
            self.bar.start()
            self.row = self.bar.add_task(self.name, total=self.total, completed=self.done, note="starting workers")
        elif self.done:
            print(f"{self.name}: {self.done} of {self.total} were finished before", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def left(self) -> str:
        """The time left at the pace so far, as `4 min left`."""
        new = self.done - self.before
        seconds = (time.monotonic() - self.started) / new * (self.total - self.done) if new else 0.0
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def seen(self, record: Record) -> None:
        """Take the score of a run into `best so far`, without counting it."""
        if record.run.best and (self.best is None or record.run.best.validation > self.best):
            self.best = record.run.best.validation

    def finished(self, record: Record) -> None:
        """Count a run and show it."""
        self.done += 1
        self.seen(record)
        best = "none" if self.best is None else self.told(self.best)
        if self.bar:
            self.bar.update(self.row, completed=self.done, note=f"best {best}, {self.left()}")
            return
        run, job = record.run, record.job
        result = f"validation {self.told(run.best.validation)}" if run.best else f"failed: {run.reason}"
        result += " (pruned)" if run.state == "pruned" else ""
        which = f"{job.kind} {job.number}" + (f" of study {job.study}" if job.separate else "")
        print(
            f"{self.name} {self.done}/{self.total}: {which}, {result}, {len(run.epochs)} epochs, "
            f"{run.seconds:.0f} s; best {best}, {self.left()}",
            flush=True,
        )
