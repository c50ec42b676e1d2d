"""Carries finished runs over a change of code that changed no number: runs trained again say whether it did not."""

import csv
import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config, compose
from pipeline.data import arrays
from pipeline.errors import FairsweepError
from pipeline.search.coordinator import run_jobs
from pipeline.search.state import STATE, Job, Record, State, digest, own_overrides, search_settings, settings
from pipeline.verifying.names import TRIAL, RunName
from pipeline.verifying.recorded import Recorded, differences, overrides_of
from pipeline.verifying.replay import DIED

RETRAINED = 3
# What is no run's: of the process that holds the folder, and what it was killed at.
OWN = ("lock", "owner", "settings.json", "*.part")


@dataclass(frozen=True)
class Old:
    """One arm's state of a stage under other code.

    Attributes:
        document: its settings (see `state.settings`).
        fresh: the same under the code of now, whose folder is `target`.
    """

    config: Config
    stage: str
    document: dict[str, Any]
    folder: Path
    fresh: dict[str, Any]
    target: Path

    def __str__(self) -> str:
        return f"{self.stage} {self.config.cell.arm}"


def adopt(study: str) -> bool:
    """Trains three runs of each arm and stage again and carries the states over when all are the same; prints what it does.

    Returns whether they were. Nothing is overwritten, and with one run that differs nothing is carried over.

    Raises:
        FairsweepError: if there is nothing to carry over, or something is in the way of it.
    """
    old = _found(study)
    if not old:
        return True
    with ExitStack() as locked:
        for one in old:
            locked.enter_context(State.open(one.document))
        # All of them first: what no table tells of ends the command before it trains.
        records = [record for one in [_chosen(each) for each in old] for record in one]
        print(f"training {len(records)} of {sum(_runs(one.folder) for one in old)} finished runs again", flush=True)
        same = [_compared(record, again) for record, again in _retrained(old[0].config, records)]
        if not all(same):
            print("nothing was carried over: the change moves numbers. `dvc repro` trains the runs anew")
            return False
        for one in old:
            _carry(one)
    print("`dvc repro` finds these runs finished, and trains what is missing")
    return True


def _found(study: str) -> list[Old]:
    """The states to carry over, of each arm and stage the one used last; says what it found of the others.

    Raises:
        FairsweepError: if no arm has any, or something is in the way.
    """
    base = compose([f"study={study}"])
    kept = [(path.parent, json.loads(path.read_text())) for path in STATE.glob("*/settings.json")]
    kept = [(folder, document) for folder, document in kept if any(folder.glob("*.npz"))]
    found, done, missing = [], [], []
    for arm in base.cells:
        config = compose([f"study={study}", f"cell={arm}"])
        data = arrays.checked_meta(Path("data") / study / "arrays", config.task)["digest"]
        stages = {"tune": search_settings(config, data)} if config.search.trials else {}
        for stage, document in {**stages, "replicate": settings(config, "replicate", data)}.items():
            target = STATE / digest(document)[:16]
            own = [(folder, one) for folder, one in kept if _arm(one) == _arm(document) and folder != target]
            alike = [(folder, one) for folder, one in own if {**one, "code": ""} == {**document, "code": ""}]
            latest = max(alike, key=lambda item: (item[0] / "settings.json").stat().st_mtime, default=None)
            if latest and not target.exists():
                found.append(Old(config, stage, latest[1], latest[0], document, target))
            elif target.exists():
                done.append(f"{stage} {arm}: {_there(target, latest[0] if latest else None)}")
            else:
                missing.append(f"{stage} {arm}: no finished runs{_nearest(document, [one for _, one in own])}")
    if not found and missing:
        raise FairsweepError(f"study {study} has nothing to carry over.\n  " + "\n  ".join([*missing, *done]))
    for line in [*done, *missing, *([] if found else ["nothing to carry over"])]:
        print(line, flush=True)
    return found


def _arm(document: dict[str, Any]) -> tuple[str, str, str]:
    return document["name"], document["stage"], document["cell"]["arm"]


def _runs(folder: Path) -> int:
    return len(list(folder.glob("*.npz")))


def _there(target: Path, old: Path | None) -> str:
    """What is said of a state of the code of now, which is never overwritten."""
    told = f"{target} has {_runs(target)} finished runs of the code of now"
    return f"{told}; to carry over the {_runs(old)} of {old} in their place, remove it first: rm -r {target}" if old else told


def _nearest(document: dict[str, Any], others: Sequence[dict[str, Any]]) -> str:
    """What the most alike of the other states differs in, beside the code."""
    odd = [[key for key in document if key != "code" and one.get(key) != document[key]] for one in others]
    return f"; the ones there differ in {', '.join(sorted(odd, key=len)[0])}" if odd else ""


def _chosen(one: Old) -> list[Record]:
    """Up to three finished runs of a state, at random.

    Raises:
        FairsweepError: if no table tells how one of them was trained.
    """
    told = list(_told(one).items())
    random.shuffle(told)
    found: list[Record] = []
    for (kind, study, number), overrides in told:
        job = Job(kind, number, compose(overrides), overrides, study=study)
        record = State(one.folder).read(job)
        # A worker's deaths are not of the code.
        if record and not record.run.reason.startswith(DIED):
            found.append(record)
        if len(found) == RETRAINED:
            break
    if not found:
        name = one.config.name
        raise FairsweepError(
            f"{one}: nothing tells how the runs in {one.folder} were trained: neither runs/{name} nor results/{name}/scores has a "
            "row of them. Bring the tables back: dvc checkout"
        )
    return found


def _told(one: Old) -> dict[tuple[str, int, int], list[str]]:
    """{(kind, study, number): overrides} of each run of the stage that a table tells of; of a pool's trials at least the drawn one."""
    arm, found = one.config.cell.arm, {}
    drawn = Path("runs") / one.config.name / "draw" / "configurations.csv"
    if one.stage == "tune" and one.config.search.design == "pool" and drawn.is_file():
        with drawn.open(newline="", encoding="utf-8") as file:
            rows = {int(row["trial"]): json.loads(row["overrides"]) for row in csv.DictReader(file)}
        fixed = [f"study={one.config.name}", f"cell={arm}"]
        for number, row in rows.items():
            found[TRIAL, 0, number] = [*fixed, *row, *own_overrides(one.config, 0, TRIAL, number)]
    return found | dict(overrides_of(one.config, arm, TRIAL if one.stage == "tune" else "tuned"))


def _retrained(config: Config, records: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Each run beside the same one trained now, by the study's workers; Keras holds one backend a process."""
    before = {record.job.key: record for record in records}
    ended = {key: len(record.run.epochs) for key, record in before.items() if record.run.state == "pruned"}

    def prune(job: Job, epoch: int, validation: float) -> bool:
        return ended.get(job.key) == epoch

    for backend in sorted({record.job.config.train.backend for record in records}):
        jobs = [record.job for record in records if record.job.config.train.backend == backend]
        for again in run_jobs(jobs, config.cluster, prune=prune if ended else None):
            yield before[again.job.key], again


def _compared(record: Record, again: Record) -> bool:
    """Whether two runs are the same, which is printed."""
    job, where = record.job, Path()
    found = differences(Recorded.of(where, record, repr), Recorded.of(where, again, repr))
    name = RunName(job.config.cell.arm, job.kind, job.number, job.study if job.separate else None)
    print(f"{name}: {f'different, first in {found[0]}' if found else 'bit-identical'}", flush=True)
    return not found


def _carry(one: Old) -> None:
    """Copies a state under the code of now, whole or not at all.

    Raises:
        FairsweepError: if the new folder has come into being meanwhile.
    """
    part = one.target.with_name(f".{one.target.name}.{os.getpid()}.part")
    try:
        shutil.copytree(one.folder, part, ignore=shutil.ignore_patterns(*OWN))
        (part / "settings.json").write_text(json.dumps(one.fresh, indent=1, sort_keys=True) + "\n")
        # Unlike `replace`, this refuses a folder that is there and not empty.
        os.rename(part, one.target)
    except OSError as error:
        raise FairsweepError(f"{one.target}: cannot be written ({error.strerror}). Nothing there was overwritten.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{one}: {_runs(one.folder)} finished runs carried over to {one.target}")
