"""What a stage has finished so far: `.fairsweep/state/DIGEST/`, one file a run, so that only what is missing is trained.

The digest covers everything that decides a run's numbers, and neither N nor R: a larger study finds its finished runs again,
a changed one starts in a folder of its own.
"""

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.config import Config, parameters
from pipeline.errors import FairsweepError
from pipeline.files import reading, replace_file
from pipeline.imports import PACKAGE, digests
from pipeline.models.cells import own_module
from pipeline.training.fit import Epoch, Run
from pipeline.training.protocol import PROTOCOL

STATE = Path(".fairsweep/state")
AT_WORK = "at_work.json"
LOCK_SECONDS = 15.0
# Trials that a sampler draws at random before it learns from them; Optuna's own 10 would leave a search of 10 nothing to learn.
STARTUP = 3


@dataclass(frozen=True)
class Job:
    """One run to do: `kind` is `trial`, `tuned` or a recipe's name; `overrides` replay it with `python -m pipeline.train`.

    `study` is 0 in a pool, 0 to K - 1 in separate studies.
    """

    kind: str
    number: int
    config: Config
    overrides: Sequence[str]
    keep_model: bool = False
    study: int = 0

    @property
    def separate(self) -> bool:
        """Whether it belongs to one of several studies."""
        return self.config.search.design == "studies"

    @property
    def name(self) -> str:
        """Which run of its study it is, as `run=` takes it: `gru/tuned/3`, of separate studies `gru/0/tuned/3`."""
        return "/".join([self.config.cell.arm, *([str(self.study)] if self.separate else []), self.kind, str(self.number)])

    @property
    def key(self) -> str:
        """The name of its file: kind, study where there are several, number, and eight digits of what it is trained with."""
        trained_with = {name: dataclasses.asdict(self.config)[name] for name in ("cell", "model", "train", "seed")}
        # A recipe may cut texts otherwise, or train on less of them.
        trained_with["task"] = task_settings(self.config)
        # A recipe may bring a user's own cell.
        if own_module(self.config.cell.type):
            trained_with["code"] = code_digest(self.config.cell.type)
        study = f"s{self.study}-" if self.separate else ""
        return f"{self.kind}-{study}{self.number:05d}-{digest(trained_with)[:8]}"


@dataclass(frozen=True)
class Record:
    """A finished run and where it was done: `attempt` from 1, `started` in seconds since 1970, `git` the coordinator's commit."""

    job: Job
    run: Run
    attempt: int
    worker: str
    started: float
    git: str = ""


def digest(document: Any) -> str:
    """sha256 of `document` as sorted JSON."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def hashed(*parts: str | int) -> int:
    """A seed of 31 bits: a hash, so that neighbours share nothing."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big") >> 1


def run_seed(study_seed: int, arm: str, kind: str, number: int) -> int:
    """The seed of one run of a pool, which depends on no other run's existence."""
    return hashed(study_seed, arm, kind, number)


def own_overrides(config: Config, study: int, kind: str, number: int) -> list[str]:
    """What a run has beside its configuration: its seed, and in separate studies its study's split, the same for every arm."""
    if config.search.design == "pool":
        return [f"seed={run_seed(config.seed, config.cell.arm, kind, number)}"]
    seed = hashed(config.seed, config.cell.arm, study, kind, number)
    return [f"split_seed={config.split_seed + study}", f"seed={seed}"]


def code_modules(cell_type: str) -> list[str]:
    """The modules whose imports are the code that trains a cell. The module of a dataset is not among them: its arrays have a digest."""
    return [f"{PACKAGE}.training.work", *own_module(cell_type)]


@functools.cache
def code_digest(cell_type: str) -> str:
    """sha256 of the parsed code that trains a cell, as this process first read it. Comments, other cells and datasets do not count."""
    return digest(digests(code_modules(cell_type)))


def task_settings(config: Config) -> dict[str, Any]:
    """What of the task decides numbers: all but where its archive comes from."""
    sources = ("archive", "url", "checksum", "digest")
    return {key: value for key, value in dataclasses.asdict(config.task).items() if key not in sources}


def trained_on() -> dict[str, str]:
    """{library: version} of another machine that trains for this one, which then trains nothing: FAIRSWEEP_TRAINED_ON, `jax==0.11.2`."""
    return dict(one.split("==", 1) for one in os.environ.get("FAIRSWEEP_TRAINED_ON", "").split())


def settings(config: Config, stage: str, data_digest: str) -> dict[str, Any]:
    """What the state's digest covers."""
    whole = dataclasses.asdict(config)
    libraries = ("keras", "tensorflow") if config.train.backend == "tensorflow" else ("keras", "jax")
    kept = ("name", "cell", "model", "train", "space", "space_seed", "split_seed", "seed")
    # What a study asks for depends on its sampler and its pruner, and on the Optuna they come from.
    asked: dict[str, Any] = {"design": "studies", "sampler": config.search.asked, "pruner": config.search.pruner}
    asked |= {"startup": STARTUP, "optuna": version("optuna")}
    return {
        "stage": stage,
        "protocol": PROTOCOL,
        "code": code_digest(config.cell.type),
        "backend": {name: trained_on().get(name) or version(name) for name in libraries},
        "data": data_digest,
        "task": task_settings(config),
        **{name: whole[name] for name in kept},
        **({"search": asked} if config.search.design == "studies" else {}),
    }


def search_settings(config: Config, data_digest: str) -> dict[str, Any]:
    """`settings` of the stage `tune`: what is searched has no fixed value that a trial could depend on."""
    document = settings(config, "tune", data_digest)
    for key in parameters(config):
        section, name = key.split(".")
        document[section].pop(name)
    return document


def place(document: dict[str, Any]) -> Path:
    """The folder of the state of `document` (see `settings`), whether it is there or not."""
    return STATE / digest(document)[:16]


class State:
    """The folder of one arm's stage. Use `State.open`: it holds the lock as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def open(cls, document: dict[str, Any]) -> Iterator["State"]:
        """The state of `document` (see `settings`), locked for this process.

        Raises FairsweepError when another process holds it for longer than 15 s.
        """
        folder = place(document)
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder / "owner"
        lock = FileLock(folder / "lock", timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            holder = owner.read_text().strip() if owner.exists() else ""
            stop = f"kill {holder}" if holder else f"fuser -k {lock.lock_file}"
            raise FairsweepError(
                f"process {holder or 'of an unknown number'} is already running this study's {document['stage']} of "
                f"{document['cell']['arm']} (lock {lock.lock_file}). Wait for it, or stop it: {stop}"
            ) from error
        try:
            owner.write_text(f"{os.getpid()}\n")
            # A process that was killed while it wrote.
            for part in folder.glob(".*.part"):
                part.unlink()
            with replace_file(folder / "settings.json") as part:
                part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
            yield cls(folder)
        finally:
            lock.release()

    def path(self, job: Job) -> Path:
        """The file of `job`, there when it has finished."""
        return self.folder / f"{job.key}.npz"

    def save(self, record: Record) -> None:
        """Write one finished run, whole or not at all."""
        run = dataclasses.asdict(record.run)
        arrays = {name: run.pop(name) for name in ("validation_logits", "test_logits")}
        model = run.pop("model")
        if model is not None:
            arrays["model"] = np.frombuffer(model, np.uint8)
        facts = {"run": run, "attempt": record.attempt, "worker": record.worker, "started": record.started, "git": record.git}
        present = {name: value for name, value in arrays.items() if value is not None}
        with replace_file(self.path(record.job)) as part, part.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **present)

    def read(self, job: Job) -> Record | None:
        """The finished run of `job`, or None when there is none."""
        path = self.path(job)
        if not path.exists():
            return None
        remedy = f"Remove it, and this run is done again: rm {path}"
        with reading(path, remedy), np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            run = Run(**{**facts.pop("run"), "epochs": []})
            run.epochs = [Epoch(**epoch) for epoch in json.loads(str(file["facts"]))["run"]["epochs"]]
            run.validation_logits = file.get("validation_logits")
            run.test_logits = file.get("test_logits")
            run.model = file["model"].tobytes() if "model" in file else None
            return Record(job, run, **facts)

    def show(self, workers: int, running: Sequence[tuple[str, float]], pages: str | None) -> None:
        """Leave a word for whoever watches: the workers, what they train and since when, the address of Dask's pages."""
        with replace_file(self.folder / AT_WORK) as part:
            part.write_text(json.dumps({"workers": workers, "running": running, "pages": pages}))

    def notes(self, name: str) -> dict[str, str]:
        """What was noted under `name`, the latest of each key; a line that a crash cut off was never noted."""
        path, found = self.folder / f"{name}.jsonl", {}
        for line in path.read_text().splitlines() if path.exists() else []:
            with suppress(ValueError):
                key, value = json.loads(line)
                found[key] = value
        return found

    def note(self, name: str, key: str, value: str) -> None:
        """Note one thing more: a line, whatever is there already."""
        # The first line break ends what a crash cut off.
        with (self.folder / f"{name}.jsonl").open("a") as file:
            file.write(f"\n{json.dumps([key, value])}\n")


def now() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.time(), 3)
