"""The progress of a study, read from its state folders and shown as a table on a terminal.

`watch` and the stages `tune` and `replicate` show the same table. No result depends on it.
"""

import csv
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, NamedTuple, Self
from zipfile import BadZipFile

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .config.schema import Config
from .data.spec import TaskSpec
from .search.run_store import AT_WORK, STATE, Job, Record, State, digest, now

# The name of a run's file, `Job.key`.
KEY = re.compile(r"(?P<kind>.+?)-(?:s(?P<repeat>\d+)-)?(?P<number>\d{5,})-[0-9a-f]{8}")
TABLES = {"tune": "trials.csv", "replicate": "replicates.csv"}
# Reading a study costs its coordinator some milliseconds.
REFRESHES_PER_SECOND = 1.0
BAR_WIDTH = 14
# Columns that a narrow terminal lacks, in the order in which they are dropped.
OPTIONAL = ("progress", "took", "epochs/hour", "replicates", "left", "best")
LISTED_FAILURES = 3


class Finished(NamedTuple):
    """A finished run; `validation` is None if it failed, `started` in seconds since 1970."""

    kind: str
    repeat: int
    number: int
    state: str
    reason: str
    validation: float | None
    epochs: int
    started: float
    seconds: float


class Running(NamedTuple):
    """A run on a worker: `name` such as `trial 17`, `started` in seconds since 1970."""

    name: str
    started: float


class Activity(NamedTuple):
    """What a coordinator does now; `workers` is None before they start, `pages` Dask's address."""

    stage: str
    arm: str
    workers: int | None = None
    running: Sequence[Running] = ()
    pages: str | None = None


@dataclass
class Arm:
    """An arm: its numbers of planned trials and replicates, and the finished ones."""

    name: str
    trials: int
    replicates: int
    tuned: list[Finished] = field(default_factory=list)
    replicated: list[Finished] = field(default_factory=list)
    activity: Activity | None = None

    @property
    def runs(self) -> list[Finished]:
        """Its finished runs of both stages."""
        return [*self.tuned, *self.replicated]

    @property
    def failed(self) -> list[Finished]:
        """Its runs without a score."""
        return [run for run in self.runs if run.state == "failed"]

    @property
    def missing(self) -> int:
        """The number of unfinished runs."""
        trials, replicates = self.trials - len(self.tuned), self.replicates - len(self.replicated)
        return max(0, trials) + max(0, replicates)

    @property
    def best(self) -> float | None:
        """The best validation score of its search, or of its replicates if it has no search."""
        scores = [
            run.validation for run in self.tuned or self.replicated if run.validation is not None
        ]
        return max(scores, default=None)

    @property
    def seconds(self) -> float:
        """Seconds in which at least one of its finished runs was trained, without pauses."""
        total, end = 0.0, float("-inf")
        for started, ended in sorted((run.started, run.started + run.seconds) for run in self.runs):
            total += max(0.0, ended - max(started, end))
            end = max(end, ended)
        return total

    @property
    def pace(self) -> float | None:
        """Epochs per hour of all its workers."""
        return 3600 * sum(run.epochs for run in self.runs) / self.seconds if self.seconds else None


@dataclass(frozen=True)
class StudyProgress:
    """A study at one moment.

    `workers` is their number, or that in conf/ before they start; `report` is the path of a report
    that is newer than all runs.
    """

    study: str
    arms: Sequence[Arm]
    workers: int
    report: Path | None = None
    now: float = field(default_factory=time.time)

    @property
    def activity(self) -> Activity | None:
        """What the study's coordinator does; of several coordinators, that of the first arm."""
        return next((arm.activity for arm in self.arms if arm.activity), None)

    def left(self, arm: Arm) -> float | None:
        """Seconds until `arm` has all its runs; None before any run of the study has finished.

        Each run is assumed to take as long as the mean of the arm, or else of the study.
        """
        if not arm.missing:
            return 0.0
        # A run whose worker died has no duration.
        times = [run.seconds for run in arm.runs if run.seconds]
        times = times or [run.seconds for each in self.arms for run in each.runs if run.seconds]
        if not times:
            return None
        mean = fmean(times)
        running = arm.activity.running if arm.activity else ()
        spent = sum(min(mean, max(0.0, self.now - run.started)) for run in running)
        return (arm.missing * mean - spent) / min(self.workers, arm.missing)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until every arm has all its runs; None before any run has finished."""
        each = [self.left(arm) for arm in self.arms]
        return None if None in each else sum(filter(None, each))


class Monitor:
    """Reads the progress of a study repeatedly; the file of a finished run is read once.

    Of several versions of a study, such as before and after an edit of its space, it reads that of
    the state folder `like`, or else the one started last. `root` is where the study runs.
    """

    def __init__(self, config: Config, root: Path = Path(), like: Path | None = None) -> None:
        self.config, self.root, self.like = config, root, like
        self.settings: dict[tuple[Path, int], dict[str, Any]] = {}
        self.runs: dict[Path, Finished | None] = {}

    def read(self) -> StudyProgress:
        """The progress now."""
        search, name = self.config.search, self.config.name
        repeats = len(search.numbers)
        kinds = {*(["tuned"] if search.trials else []), *self.config.recipes}
        planned = repeats * search.trials, repeats * search.replicates * len(kinds)
        arms = {arm: Arm(arm, *planned) for arm in self.config.cells}
        expected = {"tune": ({"trial"}, search.trials), "replicate": (kinds, search.replicates)}
        folders = self.folders()
        finished: dict[tuple[str, str], Iterable[Finished]] = {}
        for (stage, arm), folder in folders.items():
            activity = read_activity(folder, stage, arm)
            if activity:
                # An arm that the study does not compare is listed while it runs.
                arms.setdefault(arm, Arm(arm, *planned))
                arms[arm].activity = arms[arm].activity or activity
            finished[stage, arm] = self._finished(folder, *expected[stage])
        if not folders and self.like is None:
            # Results from DVC's cache have no state folders.
            tables = self.root / "runs" / name
            finished = {
                (stage, arm): read_tables(tables / stage / arm, stage)
                for stage in TABLES
                for arm in arms
            }
        for (stage, name_of_arm), runs in finished.items():
            if arm_of := arms.get(name_of_arm):
                target = arm_of.tuned if stage == "tune" else arm_of.replicated
                target += [run for run in runs if run.repeat < repeats]
        workers = [arm.activity.workers for arm in arms.values() if arm.activity]
        number = next(filter(None, workers), self.config.cluster.workers)
        return StudyProgress(name, list(arms.values()), number, self._report(list(arms.values())))

    def _report(self, arms: Sequence[Arm]) -> Path | None:
        """The report, if no run is missing and the report is newer than all runs."""
        path = self.root / "results" / self.config.name / "report" / "report.html"
        ends = [run.started + run.seconds for arm in arms for run in arm.runs]
        complete = ends and not any(arm.missing for arm in arms) and path.exists()
        return path if complete and path.stat().st_mtime >= max(ends) else None

    def folders(self) -> dict[tuple[str, str], Path]:
        """{(stage, arm): state folder} of one version of the study."""
        states = []
        for path in sorted((self.root / STATE).glob("*/settings.json")):
            with suppress(OSError, ValueError):
                key = path, path.stat().st_mtime_ns
                if key not in self.settings:
                    self.settings[key] = json.loads(path.read_text())
                if self.settings[key]["name"] == self.config.name:
                    states.append((key[1], path.parent, self.settings[key]))
        states.sort(key=lambda state: state[0])
        like = [
            state for state in states if self.like and state[1].name == self.like.name
        ] or states
        # Of two folders of one arm, the later one counts.
        return {
            (settings["stage"], settings["cell"]["arm"]): folder
            for _, folder, settings in states
            if _version(settings) == _version(like[-1][2])
        }

    def _finished(self, folder: Path, kinds: set[str], numbers: int) -> Iterable[Finished]:
        """The finished runs in `folder` of these kinds, with numbers below `numbers`.

        If a replicate was trained for two winners, the later one counts.
        """
        latest: dict[tuple[str, int, int], Finished] = {}
        for path in folder.glob("*.npz"):
            if path not in self.runs:
                self.runs[path] = read_run(path)
            run = self.runs[path]
            if run and run.kind in kinds and run.number < numbers:
                latest[run[:3]] = max(run, latest.get(run[:3], run), key=lambda each: each.started)
        return latest.values()


def _version(settings: dict[str, Any]) -> str:
    """A digest of what all arms and stages of one version of a study share.

    That is all settings but the stage, the cell and the searched values.
    """
    shared = {key: value for key, value in settings.items() if key not in ("stage", "cell")}
    for section, keys in settings["space"].items():
        shared[section] = {key: value for key, value in shared[section].items() if key not in keys}
    return digest(shared)


def read_run(path: Path) -> Finished | None:
    """The run that `State.save` wrote to `path`, without its logits; None for any other file."""
    name = KEY.fullmatch(path.stem)
    if name is None:
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None
    run, best = facts["run"], facts["run"]["best_epoch"]
    validation = None if best is None else run["epochs"][best - 1]["validation"]
    return Finished(
        *(name["kind"], int(name["repeat"] or 0), int(name["number"])),
        *(run["state"], run["reason"], validation),
        *(len(run["epochs"]), facts["started"], run["seconds"]),
    )


def read_tables(folder: Path, stage: str) -> Iterator[Finished]:
    """The runs in the tables of a stage; none if they are missing."""
    try:
        texts = [(folder / name).read_text() for name in (TABLES[stage], "timings.csv")]
    except OSError:
        return
    for run, timing in zip(*(csv.DictReader(text.splitlines()) for text in texts), strict=False):
        number = int(run.get("trial", run.get("replicate", 0)))
        validation = float(run["validation"]) if run["validation"] else None
        times = float(timing["started"]), float(timing["seconds"])
        yield Finished(
            *(run.get("kind", "trial"), int(run["repeat"]), number),
            *(run["state"], run["reason"], validation),
            *(int(run["epochs"]), *times),
        )


def read_activity(folder: Path, stage: str, arm: str) -> Activity | None:
    """What the coordinator that locks the state `folder` does; None if no process locks it."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        pass
    except OSError:
        return None
    path = folder / AT_WORK
    with suppress(OSError, ValueError, KeyError):
        # An older file is from an earlier coordinator.
        if path.stat().st_mtime_ns >= (folder / "settings.json").stat().st_mtime_ns:
            state = json.loads(path.read_text())
            running = [Running(*run) for run in state["running"]]
            return Activity(stage, arm, state["workers"], running, state["pages"])
    return Activity(stage, arm)


@dataclass(frozen=True)
class ProgressTable:
    """The progress of a study for a rich console; `spec` formats the scores."""

    progress: StudyProgress
    spec: TaskSpec

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title(), style="bold")
        yield self.table(console, options)
        for line in self.notes():
            yield Text(line)

    def table(self, console: Console, options: ConsoleOptions) -> Table:
        """One row per arm, with the columns that fit; bars only if the console is a terminal."""
        dropped = {"trials"} if not any(arm.trials for arm in self.progress.arms) else set()
        dropped |= set() if console.is_terminal else {"progress"}
        for title in (None, *OPTIONAL):
            dropped.add(str(title))
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
            for arm in self.progress.arms:
                row = {name: cell for name, cell in self.row(arm).items() if name not in dropped}
                if not table.columns:
                    for name in row:
                        left = name in ("", "arm")
                        header = "" if name == "progress" else name
                        table.add_column(header, justify="left" if left else "right", no_wrap=True)
                table.add_row(*row.values(), style="bold" if arm.activity else "")
            if (
                Measurement.get(console, options.update(width=1000), table).maximum
                <= options.max_width
            ):
                break
        return table

    def row(self, arm: Arm) -> dict[str, str | ProgressBar]:
        """{column: cell} of one arm."""
        total, left = arm.trials + arm.replicates, self.progress.left(arm)
        return {
            "": ">" if arm.activity else "",
            "arm": arm.name,
            "trials": f"{len(arm.tuned)} of {arm.trials}",
            "best": "-" if arm.best is None else self.spec.format(arm.best),
            "replicates": f"{len(arm.replicated)} of {arm.replicates}",
            "epochs/hour": "-" if arm.pace is None else f"{arm.pace:,.0f}",
            "took": duration(arm.seconds) if arm.seconds else "-",
            "left": "-" if left is None else duration(left) if arm.missing else "done",
            "progress": ProgressBar(max(1, total), total - arm.missing, width=BAR_WIDTH),
        }

    def title(self) -> str:
        """What happens now, and how long the study still takes."""
        study, activity = self.progress.study, self.progress.activity
        seconds = self.progress.seconds_left
        remaining = "" if seconds is None else f", about {duration(seconds)} of training left"
        if activity is None:
            if seconds == 0:
                return f"{study}: every run is done"
            started = any(arm.runs for arm in self.progress.arms)
            idle = "nothing is being trained now" if started else "nothing has been trained yet"
            return f"{study}: {idle}{remaining}"
        title = f"{study}: {activity.stage} {activity.arm}"
        if activity.workers is None:
            return f"{title}, starting workers"
        plural = "" if activity.workers == 1 else "s"
        return f"{title} on {activity.workers} worker{plural}{remaining}"

    def notes(self) -> Iterator[str]:
        """Lines below the table: running and failed runs, Dask's pages, the report."""
        for arm in self.progress.arms:
            if arm.activity and arm.activity.running:
                running = (
                    f"{run.name} ({duration(max(0.0, self.progress.now - run.started))})"
                    for run in arm.activity.running
                )
                yield f"{arm.name} now: {', '.join(running)}"
        failed = [
            f"failed: {arm.name} {run.kind} {run.number}: {run.reason}"
            for arm in self.progress.arms
            for run in arm.failed
        ]
        yield from failed[:LISTED_FAILURES]
        if len(failed) > LISTED_FAILURES:
            yield f"failed: {len(failed) - LISTED_FAILURES} more"
        if self.progress.activity and self.progress.activity.pages:
            yield f"Dask's pages: {self.progress.activity.pages}"
        if self.progress.report:
            yield f"Report: {self.progress.report}"


def live_table(monitor: Monitor, spec: TaskSpec, transient: bool = False) -> Live | None:
    """A table that is refreshed on standard output; None where that is no capable terminal."""
    if not sys.stdout.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return None
    return Live(
        get_renderable=lambda: ProgressTable(monitor.read(), spec),
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=transient,
    )


def duration(seconds: float) -> str:
    """As `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def run_name(job: Job) -> str:
    """`trial 17`, or `trial 3 of search 2` with repeated searches."""
    return f"{job.kind} {job.number}" + (f" of search {job.repeat}" if job.repeated else "")


class Progress:
    """The progress of one stage: a live table on a terminal, else one line per finished run."""

    def __init__(self, stage: str, config: Config, state: State, spec: TaskSpec) -> None:
        self.name, self.state, self.spec = f"{stage} {config.cell.arm}", state, spec
        self.total = self.done = self.before = 0
        self.best: float | None = None
        self.started = time.monotonic()
        self.since: dict[str, float] = {}
        self.pages: str | None = None
        self.live = live_table(Monitor(config, like=state.folder), spec, transient=True)

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()
            took = duration(time.monotonic() - self.started)
            result = f"{self.done} of {self.total} finished, best {self._best()}, in {took}"
            print(f"{self.name}: {result}", flush=True)

    def begin(self, total: int, finished: Sequence[Record]) -> None:
        """Start a stage of `total` runs, of which `finished` are from earlier commands."""
        self.total, self.done, self.before = total, len(finished), len(finished)
        for record in finished:
            self._count_best(record)
        if finished and not self.live:
            print(f"{self.name}: {self.done} of {self.total} were finished before", flush=True)

    def at_work(self, workers: int, jobs: Sequence[Job], pages: str | None) -> None:
        """Record the jobs that run on `workers` workers; `pages` is the address of Dask's pages."""
        self.since = {job.key: self.since.get(job.key, now()) for job in jobs}
        self.state.show(workers, [(run_name(job), self.since[job.key]) for job in jobs], pages)
        if pages and not self.pages and not self.live:
            print(f"{self.name}: Dask's pages are on {pages}", flush=True)
        self.pages = pages

    def finished(self, record: Record) -> None:
        """Count a run, and print a line without a live table."""
        self.done += 1
        self._count_best(record)
        if self.live:
            return
        run, new = record.run, self.done - self.before
        left = (time.monotonic() - self.started) / new * (self.total - self.done)
        result = f"failed: {run.reason}"
        if run.best:
            result = f"validation {self.spec.format(run.best.validation)}"
        result += " (pruned)" if run.state == "pruned" else ""
        print(
            f"{self.name} {self.done}/{self.total}: {run_name(record.job)}, {result}, "
            f"{len(run.epochs)} epochs, {run.seconds:.0f} s; best {self._best()}, "
            f"{duration(left)} left",
            flush=True,
        )

    def _count_best(self, record: Record) -> None:
        if record.run.best and (self.best is None or record.run.best.validation > self.best):
            self.best = record.run.best.validation

    def _best(self) -> str:
        return "none" if self.best is None else self.spec.format(self.best)
