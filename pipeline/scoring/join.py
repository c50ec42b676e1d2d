"""Join the predictions of all runs with the sealed labels, and the tables of the arms.

Tables are read and written as text, so the joined tables have the same bytes as the arms' tables.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config.schema import Config
from ..data.spec import TaskSpec
from ..errors import FairsweepError
from ..files import reading
from ..metrics import GUESS, Rated, auc, pack, rate
from .results import DIGITS, TEXT_BASELINES, TRIVIAL, replicate_kinds
from .validate import check_finished, check_numbers, each_repeat, runs_name

SCORE_COLUMNS = ["repeat", "arm", "kind", "trial", "state", "validation", "validation_loss"]
SCORE_COLUMNS += ["test", "test_loss", "test_auc"]
TIMING_COLUMNS = ["repeat", "arm", "kind", "trial", "attempt", "worker", "started", "seconds"]
TIMING_COLUMNS += ["compile_seconds", "git"]

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class StageRuns:
    """The runs of one folder.

    Attributes:
        table: one row per run, as text.
        logits: the predictions of each run for the test rows (logits or standardised numbers).
        others: further tables, by name.
    """

    table: pd.DataFrame
    logits: Sequence[Floats]
    others: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Sealed:
    """The sealed labels [rows, ...], as `TaskSpec.kind` defines them, and groups, int32 [rows].

    Groups are anonymous numbers. Both are in the order of the test inputs.
    """

    labels: NDArray[Any]
    groups: NDArray[np.integer]


def open_seal(data: Path, spec: TaskSpec) -> Sealed:
    """Read the test labels and groups of data/STUDY; without groups, each row is its own group.

    Raises:
        FairsweepError: if a file is missing or the two differ in length.
    """
    labels = _array(data / "sealed" / "test_labels.npy", "dvc repro pad")
    path = data / "arrays" / "test_groups.npy"
    alone = not spec.group and not path.is_file()
    groups = np.arange(len(labels)) if alone else _array(path, "dvc repro pad")
    if len(labels) != len(groups):
        raise FairsweepError(
            f"{data} has {len(labels)} test labels and {len(groups)} groups. "
            "Expected one of each per row. Run `dvc repro pad`."
        )
    return Sealed(labels, groups)


def read_runs(config: Config, runs: Path, spec: TaskSpec, labels: NDArray[Any]) -> list[StageRuns]:
    """Read all runs of the study: the trials and the replicates of each cell, and the baselines.

    Args:
        config: the study, whose cells are the arms.
        runs: the folder runs/STUDY.
        spec: the task.
        labels: the test labels; only their shape is used.

    Raises:
        FairsweepError: if an arm or a run is missing, an arm is not in the study, or logits have
            the wrong shape.
    """
    for stage in ("tune", "replicate"):
        _check_arms(runs / stage, stage, config.cells)
    shape = (len(labels), spec.outputs) if spec.kind == "classes" else labels.shape
    return [
        *(_read_arm(config, runs, arm, "tune", shape) for arm in config.cells),
        *(_read_arm(config, runs, arm, "replicate", shape) for arm in config.cells),
        _read_baselines(runs / "baseline", spec, shape),
    ]


def score_runs(
    parts: Sequence[StageRuns], sealed: Sealed, spec: TaskSpec
) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Score every run.

    Returns:
        The table scores.csv, and the contribution of each test row to each score: packed bits,
        uint8 [runs, ceil(rows / 8)], for accuracy, otherwise float32 [runs, rows].
    """
    failure, bits = _failure(parts, sealed, spec), spec.metric == "accuracy"
    rows: list[dict[Hashable, Any]] = []
    examples: list[NDArray[Any]] = []
    for part in parts:
        for row, logits in zip(part.table.to_dict("records"), part.logits, strict=True):
            rated, area = failure if row["state"] == "failed" else _rated(logits, sealed, spec)
            scores = (rated.value, rated.loss, area)
            rounded = [x if x is None else round(x, DIGITS) for x in scores]
            rows.append(row | dict(zip(("test", "test_loss", "test_auc"), rounded, strict=True)))
            examples.append(rated.examples.astype(bool if bits else np.float32))
    table, stacked = pd.DataFrame(rows)[SCORE_COLUMNS], np.stack(examples)
    return table, pack(stacked) if bits else stacked


def _rated(logits: Floats, sealed: Sealed, spec: TaskSpec) -> tuple[Rated, float | None]:
    """Return a run's score and, with two classes, the area under its ROC curve."""
    area = auc(logits, sealed.labels) if spec.kind == "binary" else None
    return rate(spec.metric, logits, sealed.labels, spec.scale), area


def _failure(
    parts: Sequence[StageRuns], sealed: Sealed, spec: TaskSpec
) -> tuple[Rated, float | None]:
    """Return the score of a failed run: the trivial baseline's, or that of guessing two classes."""
    for part in parts:
        for kind, logits in zip(part.table["kind"], part.logits, strict=True):
            if kind == TRIVIAL:
                return _rated(logits, sealed, spec)
    if spec.kind != "binary":
        raise FairsweepError(
            f"A task of the kind {spec.kind} needs the baseline `{TRIVIAL}`, whose score a failed "
            "run gets. Name it in the task spec of the data source, then run `dvc repro`."
        )
    # No row counts as right, since a failed run predicts nothing; `state` explains the accuracy.
    return Rated(GUESS.accuracy, GUESS.loss, np.zeros(len(sealed.labels))), GUESS.auc


def join_tables(parts: Sequence[StageRuns]) -> dict[str, pd.DataFrame]:
    """Return one table per name over all arms, with the cells in the order of the study."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for part in parts:
        for name, table in part.others.items():
            tables.setdefault(name, []).append(table)
    return {name: pd.concat(some, ignore_index=True) for name, some in tables.items()}


def describe(
    config: Config,
    meta: dict[str, Any],
    protocol: int,
    printed: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> dict[str, Any]:
    """Return study.json, the facts that the report needs. It has no path of the machine.

    Args:
        config: the study.
        meta: arrays/meta.json of `pad`.
        protocol: the PROTOCOL of the runs.
        printed: the published numbers of each recipe, from `compose.printed_numbers`.
    """
    search, task = asdict(config.search), config.task
    space = {
        f"{group}.{name}": asdict(parameter)
        for group, parameters in config.space.items()
        for name, parameter in parameters.items()
    }
    # Backend and engine change results by rounding only, and `auto` depends on the machine.
    varying = {*space, "train.backend", "train.engine"}
    fixed = {
        f"{group}.{key}": value
        for group in ("model", "train")
        for key, value in asdict(getattr(config, group)).items()
        if f"{group}.{key}" not in varying
    }
    study = {
        "study": config.name,
        "protocol": protocol,
        "cells": list(config.cells),
        "recipes": list(config.recipes),
        "printed": {recipe: dict(cells) for recipe, cells in (printed or {}).items()},
        **{key: value for key, value in search.items() if key not in ("storage", "checks")},
        # The number in use: a shared search has one repeat, whatever the setting.
        "repeats": len(config.search.numbers),
        "sampler": config.search.sampler_name,
        "backend": config.train.backend,
        "task": {
            key: getattr(task, key)
            for key in ("name", "source", "length", "vocabulary", "padding", "train_fraction")
            if key != "train_fraction" or task.train_fraction < 1
        },
        "fixed": fixed,
        "space": [
            {"key": key, **{name: value for name, value in row.items() if value is not None}}
            for key, row in space.items()
        ],
    }
    if config.arm_spaces:
        study["cell_space"] = config.arm_spaces
    seeds = ("split_seed", "space_seed", "seed")
    return {**study, "seeds": {key: getattr(config, key) for key in seeds}, "data": meta}


def write(
    folder: Path,
    study: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    examples: NDArray[Any],
    sealed: Sealed,
) -> None:
    """Write study.json, one CSV file per table, and correct.npz; equal inputs give equal bytes.

    correct.npz holds `examples` of `score_runs`, as `correct` if they are bits, and the groups.
    """
    (folder / "study.json").write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
    # numpy sets the dates in an archive to 1980, so the bytes depend on the arrays only.
    groups = sealed.groups.astype(np.int32)
    name = "correct" if examples.dtype == np.uint8 else "examples"
    arrays = {name: examples, "groups": groups, "reviews": np.int64(groups.size)}
    np.savez_compressed(folder / "correct.npz", **arrays)  # type: ignore[arg-type]


def read_meta(data: Path) -> dict[str, Any]:
    """Return arrays/meta.json of `pad`.

    Raises:
        FairsweepError: if it is missing or damaged.
    """
    with reading(data / "arrays" / "meta.json", "Run `dvc repro pad`.") as path:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return meta


def _check_arms(folder: Path, stage: str, cells: Sequence[str]) -> None:
    arms = {
        path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")
    }
    for arm in cells:
        if arm not in arms:
            raise FairsweepError(
                f"{folder / arm} is missing. Expected the runs of cell {arm}. "
                f"Run `dvc repro {stage}@{arm}`."
            )
    foreign = sorted(arms - set(cells))
    if foreign:
        raise FairsweepError(
            f"{folder} holds {', '.join(foreign)}, not a cell of this study. Expected "
            f"{', '.join(cells)} alone. Remove {folder / foreign[0]}, or add it to the study's "
            "cells."
        )


def _read_arm(
    config: Config, runs: Path, arm: str, stage: str, shape: tuple[int, ...]
) -> StageRuns:
    """Read the trials (stage tune) or the replicates (stage replicate) of an arm."""
    search, folder, remedy = config.search, runs / stage / arm, f"dvc repro {stage}@{arm}"
    repeats: Sequence[int] = search.numbers
    if stage == "tune":
        name, number, count, epochs = "trials", "trial", search.trials, "epochs"
        kinds, repeats = ["trial"], repeats if search.trials else ()
        part = _read(folder, arm, name, shape, remedy, ["repeat", number])
        table = part.table.assign(kind="trial")
    else:
        name, number, count = "replicates", "replicate", search.replicates
        epochs, kinds = "replicate_epochs", replicate_kinds(search.trials, config.recipes)
        part = _read(folder, arm, name, shape, remedy, ["repeat", "kind", number], kinds)
        table = part.table
        found = table["kind"].unique()
        check_numbers(f"the kinds of replicates of {arm}", "kind", found, kinds, remedy)
    for kind in kinds:
        some = table[table["kind"] == kind]
        for rows_name, rows in each_repeat(runs_name(arm, kind), some, repeats, remedy):
            check_numbers(rows_name, number, rows[number].astype(int), range(count), remedy)
            check_finished(rows_name, rows["state"], remedy)
    timings = _table(folder / "timings.csv", remedy).rename(columns={"replicate": "trial"})
    timings = timings.assign(kind="trial") if stage == "tune" else timings
    others = {
        name: part.table,
        epochs: _table(folder / "epochs.csv", remedy),
        "timings": timings.reindex(columns=TIMING_COLUMNS),
    }
    # Runs that are older than the checks have no flags.
    if (folder / "flags.csv").is_file():
        others["flags"] = _table(folder / "flags.csv", remedy)
    return StageRuns(table.rename(columns={"replicate": "trial"}), part.logits, others)


def _read_baselines(folder: Path, spec: TaskSpec, shape: tuple[int, ...]) -> StageRuns:
    remedy, kinds = "dvc repro baseline", spec.baselines
    part = _read(folder, "baseline", "baseline", shape, remedy, ["kind"], kinds)
    check_numbers("the baselines", "kind", part.table["kind"], kinds, remedy)
    check_finished("the baselines", part.table["state"], remedy)
    # There is one run per kind, so the timings number the runs by their kind.
    timings = _table(folder / "timings.csv", remedy).rename(columns={"trial": "kind"})
    # Baselines without settings have no grid.
    grid = pd.DataFrame(columns=["kind"])
    if (folder / "grid.csv").is_file() or set(kinds) & set(TEXT_BASELINES):
        grid = _table(folder / "grid.csv", remedy)
    timings = timings.assign(trial="0").reindex(columns=TIMING_COLUMNS)
    others = {"baseline": part.table, "grid": grid, "timings": timings}
    return StageRuns(part.table.assign(trial=0), part.logits, others)


def _read(
    folder: Path,
    arm: str,
    name: str,
    shape: tuple[int, ...],
    remedy: str,
    identity: Sequence[str],
    kinds: Sequence[str] = (),
) -> StageRuns:
    """Read the table NAME.csv and the test logits of a folder, and check that they match.

    Both are sorted by the columns `identity`, with `kind` in the order of `kinds`. `shape` is the
    shape of the logits of one run.
    """
    columns = ("repeat", "arm", *identity, "state", "validation", "validation_loss")
    table = _table(folder / f"{name}.csv", remedy, *columns)
    logits = _logits(folder / "test_logits.npy", len(table), shape, remedy)
    _logits(folder / "validation_logits.npy", len(table), None, remedy)
    finished = zip(logits, table["state"] != "failed", strict=True)
    if any(np.isnan(run).any() for run, ended in finished if ended):
        raise FairsweepError(
            f"{folder / 'test_logits.npy'} holds NaN in runs that {name}.csv calls complete. "
            f"Run `{remedy}`."
        )
    others = sorted(set(table["arm"]) - {arm})
    if others:
        raise FairsweepError(
            f"{folder} holds rows of {', '.join(others)}. Expected rows of {arm} alone. "
            f"Run `{remedy}`."
        )
    place = {kind: position for position, kind in enumerate(kinds)}
    keys = [
        table[key].map(place).fillna(len(place)) if key == "kind" else table[key].astype(int)
        for key in identity
    ]
    rows = np.lexsort(keys[::-1])
    return StageRuns(table.iloc[rows].reset_index(drop=True), [logits[row] for row in rows], {})


def _logits(path: Path, runs: int, shape: tuple[int, ...] | None, remedy: str) -> Floats:
    """Read the logits of `runs` runs; without `shape`, or without runs, the rest is not checked."""
    logits = _array(path, remedy)
    expected = (runs, *(logits.shape[1:] if shape is None or not runs else shape))
    if logits.shape != expected:
        raise FairsweepError(
            f"{path} has shape {logits.shape}. Expected {expected}: one row per run of the table, "
            f"one column per row of the data. Run `{remedy}`."
        )
    return logits


def _table(path: Path, remedy: str, *columns: str) -> pd.DataFrame:
    """Read a table as text and check that it has `columns`."""
    with reading(path, f"Run `{remedy}`."):
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        table[list(columns)]
        return table


def _array(path: Path, remedy: str) -> NDArray[Any]:
    with reading(path, f"Run `{remedy}`."):
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
