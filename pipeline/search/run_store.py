"""The finished runs of a stage in `.fairsweep/state/DIGEST/`, one file per run.

The digest covers everything that decides a run's numbers, but not the numbers of trials and of
replicates: a larger study reuses its finished runs, a changed one has another folder.
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

from ..config.schema import Config, parameters
from ..errors import FairsweepError
from ..files import reading, replace_file
from ..imports import PACKAGE, digests
from ..models.cells import own_module
from ..training.fit import Epoch, Run
from ..training.protocol import PROTOCOL

STATE = Path(".fairsweep/state")
AT_WORK = "at_work.json"
LOCK_SECONDS = 15.0
# Random trials before a sampler uses results. A small search needs less than Optuna's default, 10.
STARTUP = 3


@dataclass(frozen=True)
class Job:
    """One run to do.

    `kind` is `trial`, `tuned` or the name of a recipe. `overrides` replay the run with
    `python -m pipeline.train`. `repeat` is the number of the repeated search, 0 in a shared search.
    """

    kind: str
    number: int
    config: Config
    overrides: Sequence[str]
    keep_model: bool = False
    repeat: int = 0

    @property
    def repeated(self) -> bool:
        """Whether it belongs to one of several repeated searches."""
        return self.config.search.design == "repeated"

    @property
    def name(self) -> str:
        """The value of `run=`: `gru/tuned/3`, with repeated searches `gru/0/tuned/3`."""
        repeat = [self.repeat] if self.repeated else []
        return "/".join(map(str, [self.config.cell.arm, *repeat, self.kind, self.number]))

    @property
    def key(self) -> str:
        """The name of its file: kind, repeated search, number, and a digest of its settings."""
        values = dataclasses.asdict(self.config)
        settings = {name: values[name] for name in ("cell", "model", "train", "seed")}
        # A recipe may have other task settings than the study.
        settings["task"] = task_settings(self.config)
        # A recipe may use a cell of the user's own.
        if own_module(self.config.cell.type):
            settings["code"] = code_digest(self.config.cell.type)
        repeat = f"s{self.repeat}-" if self.repeated else ""
        return f"{self.kind}-{repeat}{self.number:05d}-{digest(settings)[:8]}"


@dataclass(frozen=True)
class Record:
    """A finished run: its attempt from 1, worker, start (s since 1970), and coordinator commit."""

    job: Job
    run: Run
    attempt: int
    worker: str
    started: float
    git: str = ""


def digest(document: Any) -> str:
    """Return the sha256 of `document` as sorted JSON."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def hashed(*parts: str | int) -> int:
    """Return a seed of 31 bits, a hash of `parts`, so that seeds of neighbors are unrelated."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4]) >> 1


def run_seed(study_seed: int, arm: str, kind: str, number: int) -> int:
    """Return the seed of a run of a shared search. It does not depend on other runs."""
    return hashed(study_seed, arm, kind, number)


def seed_overrides(config: Config, repeat: int, kind: str, number: int) -> list[str]:
    """Return the override of a run's seed, and in repeated searches of the split.

    All arms have the same split in the same repeated search.
    """
    if config.search.design == "shared":
        return [f"seed={run_seed(config.seed, config.cell.arm, kind, number)}"]
    seed = hashed(config.seed, config.cell.arm, repeat, kind, number)
    return [f"split_seed={config.split_seed + repeat}", f"seed={seed}"]


def code_modules(cell_type: str) -> list[str]:
    """Return the modules that, with their imports, are the code that trains a cell.

    Modules of datasets are not included, because the arrays have a digest.
    """
    return [f"{PACKAGE}.training.worker", *own_module(cell_type)]


@functools.cache
def code_digest(cell_type: str) -> str:
    """Return the sha256 of the parsed code that trains a cell, as of the first call.

    Comments, other cells and datasets do not change it.
    """
    return digest(digests(code_modules(cell_type)))


def task_settings(config: Config) -> dict[str, Any]:
    """Return the settings of the task that decide numbers: all but the origin of its archive."""
    origin = ("archive", "url", "checksum", "digest")
    return {
        key: value for key, value in dataclasses.asdict(config.task).items() if key not in origin
    }


def trained_on() -> dict[str, str]:
    """Return {library: version} of FAIRSWEEP_TRAINED_ON: those of another machine that trains."""
    return dict(pin.split("==", 1) for pin in os.environ.get("FAIRSWEEP_TRAINED_ON", "").split())


def settings(config: Config, stage: str, data_digest: str) -> dict[str, Any]:
    """Return everything that the digest of a state covers."""
    values = dataclasses.asdict(config)
    names = ("name", "cell", "model", "train", "space", "space_seed", "split_seed", "seed")
    libraries = ("keras", "tensorflow" if config.train.backend == "tensorflow" else "jax")
    document = {
        "stage": stage,
        "protocol": PROTOCOL,
        "code": code_digest(config.cell.type),
        "backend": {name: trained_on().get(name) or version(name) for name in libraries},
        "data": data_digest,
        "task": task_settings(config),
        **{name: values[name] for name in names},
    }
    if config.search.design == "repeated":
        # The values of a trial depend on the sampler, the pruner and the version of Optuna.
        document["search"] = {
            "design": "repeated",
            "sampler": config.search.sampler_name,
            "pruner": config.search.pruner,
            "startup": STARTUP,
            "optuna": version("optuna"),
        }
    return document


def search_settings(config: Config, data_digest: str) -> dict[str, Any]:
    """Return `settings` of the stage `tune`, without the values of searched keys."""
    document = settings(config, "tune", data_digest)
    for key in parameters(config):
        section, name = key.split(".")
        document[section].pop(name)
    for key in config.cell.space:
        document["cell"]["options"].pop(key, None)
    return document


def place(document: dict[str, Any]) -> Path:
    """Return the folder of the state of `document` (see `settings`). It may not exist."""
    return STATE / digest(document)[:16]


class State:
    """The folder of one arm's stage. `State.open` also holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def open(cls, document: dict[str, Any]) -> Iterator["State"]:
        """Yield the state of `document` (see `settings`), locked for this process.

        Raises FairsweepError if another process holds the lock for more than 15 s.
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
                f"process {holder or 'of an unknown number'} is already running this study's "
                f"{document['stage']} of {document['cell']['arm']} (lock {lock.lock_file}). Wait "
                f"for it, or stop it: {stop}"
            ) from error
        try:
            owner.write_text(f"{os.getpid()}\n")
            # Left by a process that was killed while it wrote.
            for part in folder.glob(".*.part"):
                part.unlink()
            with replace_file(folder / "settings.json") as part:
                part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
            yield cls(folder)
        finally:
            lock.release()

    def path(self, job: Job) -> Path:
        """Return the file of `job`. It exists if the job has finished."""
        return self.folder / f"{job.key}.npz"

    def save(self, record: Record) -> None:
        """Write one finished run, completely or not at all."""
        run = dataclasses.asdict(record.run)
        arrays = {name: run.pop(name) for name in ("validation_logits", "test_logits", "model")}
        if arrays["model"] is not None:
            arrays["model"] = np.frombuffer(arrays["model"], np.uint8)
        facts = {name: getattr(record, name) for name in ("attempt", "worker", "started", "git")}
        text = np.array(json.dumps({"run": run, **facts}))
        present = {name: array for name, array in arrays.items() if array is not None}
        with replace_file(self.path(record.job)) as part, part.open("wb") as file:
            np.savez(file, facts=text, **present)

    def read(self, job: Job) -> Record | None:
        """Return the finished run of `job`, None if there is none."""
        path = self.path(job)
        if not path.exists():
            return None
        remedy = f"Remove it, and this run is trained again: rm {path}"
        with reading(path, remedy), np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            values = facts.pop("run")
            run = Run(**{**values, "epochs": [Epoch(**epoch) for epoch in values["epochs"]]})
            run.validation_logits = file.get("validation_logits")
            run.test_logits = file.get("test_logits")
            run.model = file["model"].tobytes() if "model" in file else None
            return Record(job, run, **facts)

    def show(self, workers: int, running: Sequence[tuple[str, float]], pages: str | None) -> None:
        """Write what `watch` displays: the workers, their runs and starts, Dask's pages."""
        with replace_file(self.folder / AT_WORK) as part:
            part.write_text(json.dumps({"workers": workers, "running": running, "pages": pages}))

    def notes(self, name: str) -> dict[str, str]:
        """Return the notes under `name`: the last value of each key, without incomplete lines."""
        path, notes = self.folder / f"{name}.jsonl", {}
        for line in path.read_text().splitlines() if path.exists() else []:
            with suppress(ValueError):
                key, value = json.loads(line)
                notes[key] = value
        return notes

    def note(self, name: str, key: str, value: str) -> None:
        """Append one note."""
        # The first line break ends a line that a crash left incomplete.
        with (self.folder / f"{name}.jsonl").open("a") as file:
            file.write(f"\n{json.dumps([key, value])}\n")


def now() -> float:
    """Return the seconds since 1970, to the millisecond."""
    return round(time.time(), 3)
