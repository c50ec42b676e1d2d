"""Arrays for a training that belongs to no stage: those of the study where they fit, else made in a folder of their own."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.config import Config
from pipeline.data import arrays, registry
from pipeline.errors import FairsweepError
from pipeline.imports import digests

FOLDER = Path(".fairsweep/data")


def prepared(config: Config) -> Path:
    """The folder of arrays that `arrays.load` reads for `config`; obtains and writes them where they are missing.

    Raises:
        FairsweepError: the task's source cannot be had or read.
    """
    own = Path("data") / config.name / "arrays"
    try:
        arrays.checked_meta(own, config.task)
    except FairsweepError:
        return _made(config) / "arrays"
    return own


def _made(config: Config) -> Path:
    """The folder of this task; one process at a time makes it."""
    covered: list[Any] = [dataclasses.asdict(config.task) | {"train_fraction": None}, dataclasses.asdict(config.data)]
    if digest := registry.dataset(config.task.source).digest:
        covered.append(digest(config.data))
    if ":" in config.task.source:
        covered.append(digests([registry.module_of(config.task.source)]))
    name = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:8]
    folder = FOLDER / f"{config.task.name}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "arrays" / "meta.json").is_file():
            print(f"making the arrays of task {config.task.name} in {folder}", flush=True)
            archive = registry.fetch(config.task, folder / "archive", config.data)
            source = registry.read(config.task, archive, config.data)
            arrays.write(source, config.task, folder / "arrays", folder / "sealed")
    return folder
