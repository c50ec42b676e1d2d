"""How far a study is: what its arms have finished, read from the state's folders by anyone, at any time. Nothing is written."""

import csv
import fcntl
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipeline.config import Config
from pipeline.search.state import AT_WORK, STATE, digest

# A run's file is named by `Job.key`.
KEY = re.compile(r"(?P<kind>.+?)-(?:s(?P<study>\d+)-)?(?P<number>\d{5,})-[0-9a-f]{8}")
TABLES = {"tune": "trials.csv", "replicate": "replicates.csv"}


@dataclass(frozen=True)
class Done:
    """A finished run; `validation` is None for a failed one, `started` in seconds since 1970."""

    kind: str
    study: int
    number: int
    state: str
    reason: str
    validation: float | None
    epochs: int
    started: float
    seconds: float


@dataclass(frozen=True)
class Underway:
    """A run on a worker: `name` as in `trial 17`, `started` in seconds since 1970."""

    name: str
    started: float


@dataclass(frozen=True)
class AtWork:
    """What a coordinator is doing now. `workers` is None until it has some; `pages` is the address of Dask's, where they are on."""

    stage: str
    arm: str
    workers: int | None = None
    running: Sequence[Underway] = ()
    pages: str | None = None


@dataclass
class Arm:
    """An arm: how many trials and replicates it is to have, and those that are done."""

    name: str
    trials: int
    replicates: int
    tuned: list[Done] = field(default_factory=list)
    replicated: list[Done] = field(default_factory=list)
    at_work: AtWork | None = None

    @property
    def done(self) -> list[Done]:
        """Its finished runs, of both stages."""
        return [*self.tuned, *self.replicated]

    @property
    def missing(self) -> int:
        """Runs that it still lacks."""
        return max(0, self.trials - len(self.tuned)) + max(0, self.replicates - len(self.replicated))

    @property
    def best(self) -> float | None:
        """The best validation score of its search, of its replicates where there was none."""
        scores = [run.validation for run in self.tuned or self.replicated if run.validation is not None]
        return max(scores, default=None)

    @property
    def failed(self) -> list[Done]:
        """Runs without a score."""
        return [run for run in self.done if run.state == "failed"]

    @property
    def busy(self) -> float:
        """Seconds in which at least one of its finished runs was trained: pauses between two commands do not count."""
        total, end = 0.0, float("-inf")
        for started, ended in sorted((run.started, run.started + run.seconds) for run in self.done):
            total += max(0.0, ended - max(started, end))
            end = max(end, ended)
        return total

    @property
    def pace(self) -> float | None:
        """Epochs an hour, of all its workers together."""
        return 3600 * sum(run.epochs for run in self.done) / self.busy if self.busy else None


@dataclass(frozen=True)
class View:
    """A study at one moment. `workers` is how many there are, or would be by conf/; `report` is there when it is newer than all."""

    study: str
    arms: Sequence[Arm]
    workers: int
    report: Path | None = None
    now: float = field(default_factory=time.time)

    @property
    def at_work(self) -> AtWork | None:
        """The coordinator that runs; of several, that of the first arm."""
        return next((arm.at_work for arm in self.arms if arm.at_work), None)

    def left(self, arm: Arm) -> float | None:
        """Seconds until `arm` has all its runs, each taking as long as those so far, here or with the other arms; None before any."""
        if not arm.missing:
            return 0.0
        # A run whose worker died has no time of its own.
        own, others = ([run.seconds for one in some for run in one.done if run.seconds] for some in ([arm], self.arms))
        if not others:
            return None
        mean = fmean(own or others)
        running = arm.at_work.running if arm.at_work else ()
        spent = sum(min(mean, max(0.0, self.now - run.started)) for run in running)
        return (arm.missing * mean - spent) / min(self.workers, arm.missing)

    @property
    def whole(self) -> float | None:
        """Seconds until the last arm has all its runs, None before the first has finished one."""
        each = [self.left(arm) for arm in self.arms]
        return None if None in each else sum(value for value in each if value is not None)


class Survey:
    """Looks at a study again and again; a finished run's file never changes, so each is read once.

    Of several versions of a study, such as before and after its space was edited, it sees one: that of the state folder `like`, or
    else the one begun last. `root` is the folder the study runs in.
    """

    def __init__(self, config: Config, root: Path = Path(), like: Path | None = None) -> None:
        self.config, self.root, self.like = config, root, like
        self.documents: dict[tuple[Path, int], dict[str, Any]] = {}
        self.runs: dict[Path, Done | None] = {}

    def look(self) -> View:
        """The study now."""
        search = self.config.search
        studies = len(search.numbers)
        kinds = [*(["tuned"] if search.trials else []), *self.config.recipes]
        replicates = len(kinds) * search.replicates * studies
        arms = {arm: Arm(arm, studies * search.trials, replicates) for arm in self.config.cells}
        limits = {"tune": ({"trial"}, search.trials), "replicate": (set(kinds), search.replicates)}
        folders = self.folders()
        for (stage, name), folder in folders.items():
            working = at_work(folder, stage, name)
            if working and name not in arms:
                # One that the study does not compare, tuned by hand.
                arms[name] = Arm(name, studies * search.trials, replicates)
            if name in arms:
                self._fill(arms[name], stage, self._finished(folder, *limits[stage]), studies)
                arms[name].at_work = arms[name].at_work or working
        if not folders and self.like is None:
            # What came from DVC's cache has left no state here.
            for stage in TABLES:
                for arm in arms.values():
                    self._fill(arm, stage, from_tables(self.root / "runs" / self.config.name / stage / arm.name, stage), studies)
        told = [arm.at_work.workers for arm in arms.values() if arm.at_work and arm.at_work.workers]
        workers = told[0] if told else self.config.cluster.workers
        return View(self.config.name, list(arms.values()), workers, self._report(list(arms.values())))

    @staticmethod
    def _fill(arm: Arm, stage: str, found: Iterable[Done], studies: int) -> None:
        own = [run for run in found if run.study < studies]
        (arm.tuned if stage == "tune" else arm.replicated).extend(own)

    def _report(self, arms: Sequence[Arm]) -> Path | None:
        """The report, where it is younger than the last run of a study that lacks none."""
        path = self.root / "results" / self.config.name / "report" / "report.html"
        ends = [run.started + run.seconds for arm in arms for run in arm.done]
        if any(arm.missing for arm in arms) or not ends or not path.exists():
            return None
        return path if path.stat().st_mtime >= max(ends) else None

    def folders(self) -> dict[tuple[str, str], Path]:
        """{(stage, arm): folder} of the version that is looked at."""
        found = []
        for path in sorted((self.root / STATE).glob("*/settings.json")):
            with suppress(OSError, ValueError):
                changed = path.stat().st_mtime_ns
                document = self.documents.get((path, changed)) or json.loads(path.read_text())
                self.documents[path, changed] = document
                if document["name"] == self.config.name:
                    found.append((changed, path.parent, document))
        if not found:
            return {}
        wanted = [one for one in found if self.like is None or one[1].name == self.like.name] or found
        version = _version(max(wanted, key=lambda one: one[0])[2])
        # In the order of their beginning: the last of two folders of one arm counts.
        own = sorted((one for one in found if _version(one[2]) == version), key=lambda one: one[0])
        return {(document["stage"], document["cell"]["arm"]): folder for _, folder, document in own}

    def _finished(self, folder: Path, kinds: set[str], numbers: int) -> Iterator[Done]:
        """The runs in `folder` of these kinds, their numbers below `numbers`; of a replicate done for two winners the later."""
        latest: dict[tuple[str, int, int], Done] = {}
        for path in folder.glob("*.npz"):
            if path not in self.runs:
                self.runs[path] = _read(path)
            run = self.runs[path]
            if run and run.kind in kinds and run.number < numbers:
                which = run.kind, run.study, run.number
                if which not in latest or latest[which].started < run.started:
                    latest[which] = run
        yield from latest.values()


def _version(document: dict[str, Any]) -> str:
    """What the arms and stages of one version of a study have in common: all but the stage, the cell and what is searched."""
    common = {key: value for key, value in document.items() if key not in ("stage", "cell")}
    for section, keys in document["space"].items():
        common[section] = {key: value for key, value in common[section].items() if key not in keys}
    return digest(common)


def _read(path: Path) -> Done | None:
    """The run that `State.save` wrote to `path`, without its logits."""
    named = KEY.fullmatch(path.stem)
    if named is None:
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None
    run = facts["run"]
    kept = run["best_epoch"]
    return Done(
        named["kind"],
        int(named["study"] or 0),
        int(named["number"]),
        run["state"],
        run["reason"],
        None if kept is None else run["epochs"][kept - 1]["validation"],
        len(run["epochs"]),
        facts["started"],
        run["seconds"],
    )


def at_work(folder: Path, stage: str, arm: str) -> AtWork | None:
    """What the coordinator that holds the state `folder` says it is doing; None when none does."""
    if not held(folder / "lock"):
        return None
    path = folder / AT_WORK
    with suppress(OSError, ValueError, KeyError):
        # What an earlier coordinator said counts no more.
        if path.stat().st_mtime_ns >= (folder / "settings.json").stat().st_mtime_ns:
            told = json.loads(path.read_text())
            return AtWork(stage, arm, told["workers"], [Underway(*one) for one in told["running"]], told["pages"])
    return AtWork(stage, arm)


def held(lock: Path) -> bool:
    """Whether a process holds `lock`, as filelock does on Unix."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def from_tables(folder: Path, stage: str) -> list[Done]:
    """The runs in a stage's own tables; none where they are missing."""
    try:
        with (folder / TABLES[stage]).open(newline="") as runs, (folder / "timings.csv").open(newline="") as timings:
            rows = list(zip(csv.DictReader(runs), csv.DictReader(timings), strict=True))
    except (OSError, ValueError):
        return []
    return [
        Done(
            run.get("kind", "trial"),
            int(run["study"]),
            int(run.get("trial", run.get("replicate", 0))),
            run["state"],
            run["reason"],
            float(run["validation"]) if run["validation"] else None,
            int(run["epochs"]),
            float(timing["started"]),
            float(timing["seconds"]),
        )
        for run, timing in rows
    ]
