"""Joins what the runs predicted with the sealed labels, and the arms' tables with one another.

Text is carried over as it was written, so the joined tables repeat the arms' tables to the byte.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.form import Form
from pipeline.errors import FairsweepError
from pipeline.evidence.scores import GUESS, Rated, auc, pack, rate
from pipeline.files import reading
from pipeline.reporting.gate import check_finished, check_numbers, each_study
from pipeline.reporting.tables import DIGITS, TEXT_BASELINES, TRIVIAL, replicate_kinds

SCORE_COLUMNS = ["study", "arm", "kind", "trial", "state", "validation", "validation_loss", "test", "test_loss", "test_auc"]
TIMING_COLUMNS = ["study", "arm", "kind", "trial", "attempt", "worker", "started", "seconds", "compile_seconds", "git"]


Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Runs:
    """Runs of one kind of folder: a table with a row a run, the logits or numbers of each on the test rows, and more tables."""

    table: pd.DataFrame
    logits: Sequence[Floats]
    others: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Sealed:
    """The envelope: labels [rows, ...] as `Form.kind` says and anonymous numbers int32 [rows] of the groups (movies), in the order
    of the test inputs.
    """

    labels: NDArray[Any]
    movies: NDArray[np.integer]


def open_seal(data: Path, form: Form) -> Sealed:
    """Reads the test labels and their groups from data/STUDY; rows without groups are each one of its own.

    Raises:
        FairsweepError: if a file is missing or the two differ in length.
    """
    labels, groups = _array(data / "sealed" / "test_labels.npy", "dvc repro pad"), data / "arrays" / "test_movies.npy"
    alone = not form.group and not groups.is_file()
    movies = np.arange(len(labels), dtype=np.int32) if alone else _array(groups, "dvc repro pad")
    if len(labels) != len(movies):
        raise FairsweepError(
            f"{data} holds {len(labels)} test labels and {len(movies)} test movies. Expected one of each a row. Run `dvc repro pad`."
        )
    return Sealed(labels, movies)


def read_runs(config: Config, runs: Path, form: Form, labels: NDArray[Any]) -> list[Runs]:
    """All runs of the study: each cell's trials, each cell's replicates, and the baselines, checked for holes.

    Args:
        config: the study; its cells are the arms, and no other arm may lie in `runs`.
        runs: the folder runs/STUDY.
        form: of the task.
        labels: of the test rows, for their shape alone.

    Raises:
        FairsweepError: on a missing or foreign arm, a wrong number of runs, or logits of a wrong shape.
    """
    for stage in ("tune", "replicate"):
        _check_arms(runs / stage, stage, config.cells)
    shape = (len(labels), form.outputs) if form.kind == "classes" else labels.shape
    return [
        *(_trials(config, runs, arm, shape) for arm in config.cells),
        *(_replicates(config, runs, arm, shape) for arm in config.cells),
        _baselines(runs / "baseline", form, shape),
    ]


def score_runs(parts: Sequence[Runs], sealed: Sealed, form: Form) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Scores every run.

    Returns:
        The table scores.csv, and what each test row adds to each of its scores: of an accuracy packed bits, uint8
        [runs, ceil(rows / 8)], otherwise float32 [runs, rows].
    """
    failure = _failure(parts, sealed, form)
    rows: list[dict[Hashable, Any]] = []
    examples: list[Floats] = []
    for part in parts:
        for row, logits in zip(part.table.to_dict("records"), part.logits, strict=True):
            rated, area = failure if row["state"] == "failed" else _rated(logits, sealed, form)
            told = {"test": rated.value, "test_loss": rated.loss, "test_auc": area}
            rows.append({**row, **{key: None if value is None else round(value, DIGITS) for key, value in told.items()}})
            examples.append(rated.examples.astype(bool if form.metric == "accuracy" else np.float32))
    table = pd.DataFrame(rows)[SCORE_COLUMNS]
    return table, pack(np.stack(examples)) if form.metric == "accuracy" else np.stack(examples)


def _rated(logits: Floats, sealed: Sealed, form: Form) -> tuple[Rated, float | None]:
    """A run's score, and the area under its ROC curve where there are two classes."""
    area = auc(logits, sealed.labels) if form.kind == "binary" else None
    return rate(form.metric, logits, sealed.labels, form.scale), area


def _failure(parts: Sequence[Runs], sealed: Sealed, form: Form) -> tuple[Rated, float | None]:
    """What a failed run scores: the trivial baseline; of two classes without one, what guessing does."""
    for part in parts:
        for kind, logits in zip(part.table["kind"], part.logits, strict=True):
            if kind == TRIVIAL:
                return _rated(logits, sealed, form)
    if form.kind != "binary":
        raise FairsweepError(
            f"a task of the kind {form.kind} has no baseline `{TRIVIAL}`. Expected one, which a failed run scores: name it in the "
            "form of the task's source, then run `dvc repro`."
        )
    # A crash predicts nothing: no row counts as right, and the state says why the accuracy is yet one half.
    return Rated(GUESS.accuracy, GUESS.loss, np.zeros(len(sealed.labels))), GUESS.auc


def join_tables(parts: Sequence[Runs]) -> dict[str, pd.DataFrame]:
    """One table a name over all arms, the cells in the study's order."""
    names = dict.fromkeys(name for part in parts for name in part.others)
    return {name: pd.concat([part.others[name] for part in parts if name in part.others], ignore_index=True) for name in names}


def describe(
    config: Config, meta: dict[str, Any], protocol: int, printed: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None
) -> dict[str, Any]:
    """study.json: what the report has to know of the study. No path of the machine it ran on is in it.

    Args:
        config: the study.
        meta: arrays/meta.json of `pad`.
        protocol: the PROTOCOL that the runs were trained under.
        printed: of each recipe what is in print on this task, as `config.printed_numbers` says.
    """
    space = {f"{group}.{name}": asdict(parameter) for group, some in config.space.items() for name, parameter in some.items()}
    fixed = {f"{group}.{key}": value for group in ("model", "train") for key, value in asdict(getattr(config, group)).items()}
    # Neither decides a result beyond rounding, and `auto` names another one on another machine; a backend has a place of its own.
    fixed = {key: value for key, value in fixed.items() if key not in (*space, "train.backend", "train.engine")}
    task = config.task
    return {
        "study": config.name,
        "protocol": protocol,
        "cells": list(config.cells),
        "recipes": list(config.recipes),
        "printed": {recipe: dict(cells) for recipe, cells in (printed or {}).items()},
        **{key: value for key, value in asdict(config.search).items() if key not in ("storage", "gates")},
        # What is in use: a pool is one study.
        "studies": len(config.search.numbers),
        "sampler": config.search.asked,
        "backend": config.train.backend,
        "task": {
            **{key: getattr(task, key) for key in ("name", "source", "length", "vocabulary", "padding")},
            **({"train_fraction": task.train_fraction} if task.train_fraction < 1 else {}),
        },
        "fixed": fixed,
        "space": [
            {"key": key, **{name: value for name, value in row.items() if value is not None}} for key, row in space.items()
        ],
        "seeds": {"split_seed": config.split_seed, "space_seed": config.space_seed, "seed": config.seed},
        "data": meta,
    }


def write(folder: Path, study: dict[str, Any], tables: dict[str, pd.DataFrame], examples: NDArray[Any], sealed: Sealed) -> None:
    """Fills `folder` with study.json, a CSV a table, and correct.npz; equal inputs give equal bytes.

    correct.npz holds `examples` as `score_runs` gave them, by the name `correct` where they are bits, with the rows' groups.
    """
    (folder / "study.json").write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
    # numpy dates the members of an archive 1980, so the bytes depend on the arrays alone.
    movies, name = sealed.movies.astype(np.int32), "correct" if examples.dtype == np.uint8 else "examples"
    members = {name: examples, "movies": movies, "reviews": np.int64(movies.size)}
    np.savez_compressed(folder / "correct.npz", **members)  # type: ignore[arg-type]


def read_meta(data: Path) -> dict[str, Any]:
    """arrays/meta.json of `pad`.

    Raises:
        FairsweepError: if it is missing.
    """
    with reading(data / "arrays" / "meta.json", "Run `dvc repro pad`.") as path:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return meta


def _check_arms(folder: Path, stage: str, cells: Sequence[str]) -> None:
    found = {path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")}
    for arm in cells:
        if arm not in found:
            raise FairsweepError(f"{folder / arm} is missing. Expected the runs of cell {arm}. Run `dvc repro {stage}@{arm}`.")
    foreign = sorted(found - set(cells))
    if foreign:
        raise FairsweepError(
            f"{folder} holds {', '.join(foreign)}, not a cell of this study. Expected {', '.join(cells)} alone. "
            f"Remove {folder / foreign[0]}, or add it to the study's cells."
        )


def _trials(config: Config, runs: Path, arm: str, shape: tuple[int, ...]) -> Runs:
    folder, remedy = runs / "tune" / arm, f"dvc repro tune@{arm}"
    part = _read(folder, "trials", shape, remedy, ["study", "trial"])
    table, name = part.table, f"the trials of {arm}"
    _check_own(folder, table, arm, remedy)
    for of, own in each_study(name, table, config.search.numbers if config.search.trials else (), remedy):
        check_numbers(of, "trial", own["trial"].astype(int), range(config.search.trials), remedy)
        check_finished(of, own["state"], remedy)
    others = {
        "trials": table,
        "epochs": _table(folder / "epochs.csv", remedy),
        "timings": _table(folder / "timings.csv", remedy).assign(kind="trial").reindex(columns=TIMING_COLUMNS),
        **_flags(folder),
    }
    return Runs(table.assign(kind="trial"), part.logits, others)


def _replicates(config: Config, runs: Path, arm: str, shape: tuple[int, ...]) -> Runs:
    folder, remedy = runs / "replicate" / arm, f"dvc repro replicate@{arm}"
    kinds = replicate_kinds(config.search.trials, config.recipes)
    part = _read(folder, "replicates", shape, remedy, ["study", "kind", "replicate"], kinds)
    table = part.table
    _check_own(folder, table, arm, remedy)
    check_numbers(f"the kinds of replicates of {arm}", "kind", table["kind"].unique(), kinds, remedy)
    for kind in kinds:
        some = table[table["kind"] == kind]
        for name, own in each_study(f"the {kind} replicates of {arm}", some, config.search.numbers, remedy):
            check_numbers(name, "replicate", own["replicate"].astype(int), range(config.search.replicates), remedy)
            check_finished(name, own["state"], remedy)
    timings = _table(folder / "timings.csv", remedy).rename(columns={"replicate": "trial"})
    others = {
        "replicates": table,
        "replicate_epochs": _table(folder / "epochs.csv", remedy),
        "timings": timings.reindex(columns=TIMING_COLUMNS),
        **_flags(folder),
    }
    return Runs(table.rename(columns={"replicate": "trial"}), part.logits, others)


def _flags(folder: Path) -> dict[str, pd.DataFrame]:
    """What the sanity gates flagged; runs that are older than the gates have no such table."""
    path = folder / "flags.csv"
    return {"flags": _table(path, "")} if path.is_file() else {}


def _baselines(folder: Path, form: Form, shape: tuple[int, ...]) -> Runs:
    remedy, kinds = "dvc repro baseline", form.baselines
    part = _read(folder, "baseline", shape, remedy, ["kind"], kinds)
    _check_own(folder, part.table, "baseline", remedy)
    check_numbers("the baselines", "kind", part.table["kind"], kinds, remedy)
    check_finished("the baselines", part.table["state"], remedy)
    # There is one run of each kind, so that its timings number runs by their kind.
    timings = _table(folder / "timings.csv", remedy).rename(columns={"trial": "kind"}).assign(trial="0")
    # What takes no setting has no grid of them.
    grid = folder / "grid.csv"
    chosen = _table(grid, remedy) if grid.is_file() or set(kinds) & set(TEXT_BASELINES) else pd.DataFrame(columns=["kind"])
    others = {"baseline": part.table, "grid": chosen, "timings": timings.reindex(columns=TIMING_COLUMNS)}
    return Runs(part.table.assign(trial=0), part.logits, others)


def _read(
    folder: Path, name: str, shape: tuple[int, ...], remedy: str, identity: Sequence[str], kinds: Sequence[str] = ()
) -> Runs:
    """One folder's table and test logits, both sorted by the columns `identity` (`kind` in the order of `kinds`), after
    checking that they belong to one another; `shape` is that of one run's logits.
    """
    table = _table(folder / f"{name}.csv", remedy, "study", "arm", *identity, "state", "validation", "validation_loss")
    logits = _logits(folder / "test_logits.npy", len(table), shape, remedy)
    _logits(folder / "validation_logits.npy", len(table), None, remedy)
    finished = (table["state"] != "failed").to_numpy()
    if any(np.isnan(run).any() for run, ended in zip(logits, finished, strict=True) if ended):
        raise FairsweepError(
            f"{folder / 'test_logits.npy'} holds NaN in runs that {name}.csv calls complete. Expected numbers there. Run `{remedy}`."
        )
    place = {kind: position for position, kind in enumerate(kinds)}
    keys = [table[key].map(place).fillna(len(place)) if key == "kind" else table[key].astype(int) for key in identity]
    rows = np.lexsort(keys[::-1])
    return Runs(table.iloc[rows].reset_index(drop=True), [logits[row] for row in rows], {})


def _logits(path: Path, runs: int, shape: tuple[int, ...] | None, remedy: str) -> Floats:
    """The logits of a folder; without `shape` their number of runs alone is known, and without runs the shape says nothing."""
    logits = _array(path, remedy)
    expected = (runs, *(logits.shape[1:] if shape is None or not runs else shape))
    if logits.shape != expected:
        raise FairsweepError(
            f"{path} has shape {logits.shape}. Expected {expected}: a row a run of the table beside it, a column a test row. "
            f"Run `{remedy}`."
        )
    return logits


def _check_own(folder: Path, table: pd.DataFrame, arm: str, remedy: str) -> None:
    others = sorted(set(table["arm"]) - {arm})
    if others:
        raise FairsweepError(f"{folder} holds rows of {', '.join(others)}. Expected rows of {arm} alone. Run `{remedy}`.")


def _table(path: Path, remedy: str, *columns: str) -> pd.DataFrame:
    """The table as text; it must have `columns`."""
    with reading(path, f"Run `{remedy}`."):
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        table[list(columns)]
        return table


def _array(path: Path, remedy: str) -> NDArray[Any]:
    with reading(path, f"Run `{remedy}`."):
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
