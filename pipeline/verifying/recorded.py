"""A run as it is on record, in the arm's own tables or in those that `evaluate` joined; and the same of a run just trained."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.errors import FairsweepError
from pipeline.search.state import Record
from pipeline.search.tables import EPOCH, RUN, number, run_row
from pipeline.verifying.names import TRIAL, RunName

LOGITS = ("validation_logits", "test_logits")


@dataclass(frozen=True)
class Recorded:
    """What is told of one run, numbers as text: two runs are equal when all of it is.

    Attributes:
        where: the folder of the tables, or the file of the state.
        row: the columns RUN of trials.csv or replicates.csv.
        epochs: the columns EPOCH of epochs.csv, a row an epoch.
        logits: of each of LOGITS that is kept there; None for a failed run.
    """

    where: Path
    row: dict[str, str]
    epochs: list[dict[str, str]]
    logits: dict[str, NDArray[Any] | None]

    @classmethod
    def of(cls, where: Path, record: Record, told: Callable[[float | None], str] = number) -> "Recorded":
        """A run as the tables would have it, with `told=repr` to the last bit."""
        row = dict(zip(RUN, map(str, run_row(record)), strict=True))
        epochs = []
        for place, epoch in enumerate(record.run.epochs, 1):
            values = (epoch.loss, epoch.accuracy, epoch.validation_loss, epoch.validation)
            epochs.append(dict(zip(EPOCH, (str(place), *map(told, values)), strict=True)))
        return cls(where, row, epochs, {which: getattr(record.run, which) for which in LOGITS})

    @property
    def overrides(self) -> list[str]:
        """What replays it."""
        found: list[str] = json.loads(self.row["overrides"])
        return found

    @property
    def told(self) -> str:
        """What came of it, in words."""
        reason = f" ({self.row['reason']})" if self.row["reason"] else ""
        return f"{self.row['state']}{reason}, {len(self.epochs)} epochs on {self.row['backend']}"

    @property
    def covers(self) -> str:
        """What a comparison with it covers, in words."""
        rows = [f"{len(self.epochs)} epochs", "its row"]
        rows += [f"{_size(kept)} {which.replace('_', ' ')}" for which, kept in self.logits.items()]
        return ", ".join(rows) + ("" if self.logits else "; the scores' tables keep no logits to compare")

    @property
    def pruned_after(self) -> int | None:
        """The epoch after which its study ended it; None for a run that ended by itself."""
        return len(self.epochs) if self.row["state"] == "pruned" else None


def read(config: Config, name: RunName) -> Recorded:
    """The run from runs/STUDY, or without those from results/STUDY/scores, which keep no logits.

    Raises:
        FairsweepError: if neither has it, or a file is missing.
    """
    folder, runs, epochs, kept_logits = _place(config, name.arm, name.kind)
    rows = list(_rows(folder / runs))
    column = "trial" if name.kind == TRIAL else "replicate"
    for place, row in enumerate(rows):
        if _is(row, name, column):
            kept = [one for one in _rows(folder / epochs) if _is(one, name, column)]
            logits = {which: _logits(folder, which, place, row) for which in kept_logits}
            return Recorded(folder, {key: row[key] for key in RUN}, [{key: one[key] for key in EPOCH} for one in kept], logits)
    alike = [row for row in rows if row["arm"] == name.arm and row.get("kind", TRIAL) == name.kind]
    there = sorted({int(row[column]) for row in alike})
    # A run that is there under another study's number is a wrong study.
    studies = sorted({int(row["study"]) for row in alike})
    told = f"numbers {there[0]} to {there[-1]}" if there else "none"
    of = f" in studies {studies[0]} to {studies[-1]}" if name.study is not None and studies else ""
    raise FairsweepError(f"run={name}: {folder / runs} has no such run. Of {name.arm}/{name.kind} it has {told}{of}.")


def table(config: Config, arm: str, kind: str) -> Path:
    """The table that tells of an arm's runs of one kind; raises FairsweepError where there is none."""
    folder, name, *_ = _place(config, arm, kind)
    return folder / name


def overrides_of(config: Config, arm: str, kind: str) -> Iterator[tuple[tuple[str, int, int], list[str]]]:
    """((kind, study, number), overrides) of each trial or, for any other `kind`, of each replicate of an arm that a table tells of."""
    try:
        path = table(config, arm, kind)
    except FairsweepError:
        return
    for row in _rows(path):
        if row["arm"] == arm:
            number = int(row["trial"] if kind == TRIAL else row["replicate"])
            yield (row.get("kind", TRIAL), int(row["study"]), number), json.loads(row["overrides"])


def differences(was: Recorded, now: Recorded) -> list[str]:
    """What differs, a sentence each, in the order in which a training makes it: epochs, the row of the run, logits."""
    found = []
    for place, (before, after) in enumerate(zip(was.epochs, now.epochs, strict=False), 1):
        found += [
            f"epoch {place}, {column}: {before[column]} recorded, {after[column]} now"
            for column in EPOCH
            if before[column] != after[column]
        ]
    found += [
        f"{column}: {was.row[column] or 'nothing'} recorded, {now.row[column] or 'nothing'} now"
        for column in RUN
        if column != "overrides" and was.row[column] != now.row[column]
    ]
    if not found and len(was.epochs) != len(now.epochs):
        found.append(f"epochs: {len(was.epochs)} rows recorded, {len(now.epochs)} now")
    return found + [told for which in was.logits if (told := _differ(which, was.logits[which], now.logits[which]))]


def _differ(which: str, was: NDArray[Any] | None, now: NDArray[Any] | None) -> str | None:
    name = which.replace("_", " ")
    if was is None or now is None:
        return None if was is now else f"{name}: {_size(was)} recorded, {_size(now)} now"
    # Validation parts of two splits differ by a row or so: the table's rows are as long as the longest.
    if len(was) < len(now) or was.shape[1:] != now.shape[1:] or was.dtype != now.dtype:
        return f"{name}: {was.dtype}{list(was.shape)} recorded, {now.dtype}{list(now.shape)} now"
    was, rest = was[: len(now)], was[len(now) :]
    bits = np.dtype(f"u{now.dtype.itemsize}")
    other = (was.view(bits) != now.view(bits)).reshape(len(now), -1).any(axis=1)
    if np.isfinite(rest).any():
        return f"{name}: {len(was) + len(rest)} recorded, {len(now)} now"
    if not other.any():
        return None
    gap = np.abs(was[other].astype(np.float64) - now[other].astype(np.float64)).max()
    return f"{name}: {other.sum():,} of {len(now):,} differ, by up to {gap:.3g}"


def _size(logits: NDArray[Any] | None) -> str:
    return "none" if logits is None else f"{len(logits):,}"


def _place(config: Config, arm: str, kind: str) -> tuple[Path, str, str, Sequence[str]]:
    """The folder, its tables of runs and of epochs, and which of LOGITS it keeps."""
    stage, table = ("tune", "trials.csv") if kind == TRIAL else ("replicate", "replicates.csv")
    own, joined = Path("runs") / config.name / stage / arm, Path("results") / config.name / "scores"
    if (own / table).is_file():
        return own, table, "epochs.csv", LOGITS
    if (joined / table).is_file():
        return joined, table, "epochs.csv" if kind == TRIAL else "replicate_epochs.csv", ()
    copy = Path("build") / config.name
    if (copy / own / table).is_file():
        raise FairsweepError(
            f"{own / table} is missing here: `make run STUDY={config.name}` ran the study in {copy}. Go there: cd {copy}"
        )
    raise FairsweepError(
        f"study {config.name} has no record of its runs of {arm}: neither {own / table} nor {joined / table} is there. "
        f"Run it: make run STUDY={config.name}, or dvc repro {stage}@{arm}; or bring back what DVC keeps: dvc checkout."
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise FairsweepError(f"{path} is missing. Bring it back: dvc checkout {path.parent}")
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _is(row: dict[str, str], name: RunName, column: str) -> bool:
    same = (row["arm"], row.get("kind", TRIAL), row[column]) == (name.arm, name.kind, str(name.number))
    return same and row["study"] == str(name.study or 0)


def _logits(folder: Path, which: str, place: int, row: dict[str, str]) -> NDArray[Any] | None:
    path = folder / f"{which}.npy"
    if not path.is_file():
        raise FairsweepError(f"{path} is missing. Bring it back: dvc checkout {folder}")
    kept: NDArray[Any] = np.load(path, allow_pickle=False)[place]
    return None if row["state"] == "failed" else kept
