"""Joins what the runs predicted with the sealed labels, and the arms' tables with one another.

Text is carried over as it was written, so the joined tables repeat the arms' tables to the byte.
"""

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.errors import FairsweepError
from pipeline.evidence.scores import GUESS, correctness, pack, score
from pipeline.reporting.gate import check_finished, check_numbers, each_study
from pipeline.reporting.tables import BASELINES, DIGITS

SCORE_COLUMNS = ["study", "arm", "kind", "trial", "state", "validation", "validation_loss", "test", "test_loss", "test_auc"]
TIMING_COLUMNS = ["study", "arm", "kind", "trial", "attempt", "worker", "started", "seconds", "compile_seconds"]


@dataclass(frozen=True)
class Runs:
    """Runs of one kind of folder: a table with a row a run, the logits float16 [runs, reviews] in the same order, and more."""

    table: pd.DataFrame
    logits: NDArray[np.floating]
    others: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Sealed:
    """The envelope: labels uint8 [reviews] and anonymous movie numbers int32 [reviews], in the order of the test inputs."""

    labels: NDArray[np.integer]
    movies: NDArray[np.integer]


def open_seal(data: Path) -> Sealed:
    """Reads the test labels and their movies from data/STUDY.

    Raises:
        FairsweepError: if a file is missing or the two differ in length.
    """
    labels = _array(data / "sealed" / "test_labels.npy", "dvc repro pad")
    movies = _array(data / "arrays" / "test_movies.npy", "dvc repro pad")
    if labels.shape != movies.shape:
        raise FairsweepError(
            f"{data} holds {labels.size} test labels and {movies.size} test movies. Expected one of each a review. Run `dvc repro pad`."
        )
    return Sealed(labels, movies)


def read_runs(config: Config, runs: Path, reviews: int) -> list[Runs]:
    """All runs of the study: each cell's trials, each cell's replicates, and the baselines, checked for holes.

    Args:
        config: the study; its cells are the arms, and no other arm may lie in `runs`.
        runs: the folder runs/STUDY.
        reviews: number of test reviews.

    Raises:
        FairsweepError: on a missing or foreign arm, a wrong number of runs, or logits of a wrong shape.
    """
    for stage in ("tune", "replicate"):
        _check_arms(runs / stage, stage, config.cells)
    return [
        *(_trials(config, runs, arm, reviews) for arm in config.cells),
        *(_replicates(config, runs, arm, reviews) for arm in config.cells),
        _baselines(runs / "baseline", reviews),
    ]


def score_runs(parts: Sequence[Runs], sealed: Sealed) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Scores every run.

    Returns:
        The table scores.csv, and the correctness of its rows as packed bits, uint8 [runs, ceil(reviews / 8)].
    """
    rows: list[dict[Hashable, Any]] = []
    correct: list[NDArray[np.bool_]] = []
    for part in parts:
        for row, logits in zip(part.table.to_dict("records"), part.logits, strict=True):
            failed = row["state"] == "failed"
            # A crash predicts nothing: no review counts as right, and the state says why the accuracy is yet one half.
            correct.append(np.zeros(sealed.labels.size, bool) if failed else correctness(logits, sealed.labels))
            scored = GUESS if failed else score(logits, sealed.labels)
            scores = (round(value, DIGITS) for value in scored)
            rows.append({**row, **dict(zip(("test", "test_loss", "test_auc"), scores, strict=True))})
    return pd.DataFrame(rows)[SCORE_COLUMNS], pack(np.stack(correct))


def join_tables(parts: Sequence[Runs]) -> dict[str, pd.DataFrame]:
    """One table a name over all arms, the cells in the study's order."""
    names = dict.fromkeys(name for part in parts for name in part.others)
    return {name: pd.concat([part.others[name] for part in parts if name in part.others], ignore_index=True) for name in names}


def describe(config: Config, meta: dict[str, Any], protocol: int) -> dict[str, Any]:
    """study.json: what the report has to know of the study. No path of the machine it ran on is in it.

    Args:
        config: the study.
        meta: arrays/meta.json of `pad`.
        protocol: the PROTOCOL that the runs were trained under.
    """
    space = {f"{group}.{name}": asdict(parameter) for group, some in config.space.items() for name, parameter in some.items()}
    fixed = {f"{group}.{key}": value for group in ("model", "train") for key, value in asdict(getattr(config, group)).items()}
    task = config.task
    return {
        "study": config.name,
        "protocol": protocol,
        "cells": list(config.cells),
        "recipes": list(config.recipes),
        **asdict(config.search),
        # What is in use: a pool is one study.
        "studies": len(config.search.numbers),
        "sampler": config.search.asked,
        "backend": config.train.backend,
        "task": {key: getattr(task, key) for key in ("name", "source", "length", "vocabulary", "padding")},
        "fixed": {key: value for key, value in fixed.items() if key not in space and key != "train.backend"},
        "space": [
            {"key": key, **{name: value for name, value in row.items() if value is not None}} for key, row in space.items()
        ],
        "seeds": {"split_seed": config.split_seed, "space_seed": config.space_seed, "seed": config.seed},
        "data": meta,
    }


def write(
    folder: Path, study: dict[str, Any], tables: dict[str, pd.DataFrame], correct: NDArray[np.uint8], sealed: Sealed
) -> None:
    """Fills `folder` with study.json, a CSV a table, and correct.npz; equal inputs give equal bytes."""
    (folder / "study.json").write_text(json.dumps(study, indent=2) + "\n", encoding="utf-8")
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
    # numpy dates the members of an archive 1980, so the bytes depend on the arrays alone.
    movies = sealed.movies.astype(np.int32)
    np.savez_compressed(folder / "correct.npz", correct=correct, movies=movies, reviews=np.int64(movies.size))


def read_meta(data: Path) -> dict[str, Any]:
    """arrays/meta.json of `pad`.

    Raises:
        FairsweepError: if it is missing.
    """
    path = _there(data / "arrays" / "meta.json", "dvc repro pad")
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


def _trials(config: Config, runs: Path, arm: str, reviews: int) -> Runs:
    folder, remedy = runs / "tune" / arm, f"dvc repro tune@{arm}"
    part = _read(folder, "trials", reviews, remedy, ["study", "trial"])
    table, name = part.table, f"the trials of {arm}"
    _check_own(folder, table, arm, remedy)
    for of, own in each_study(name, table, config.search.numbers, remedy):
        check_numbers(of, "trial", own["trial"].astype(int), range(config.search.trials), remedy)
        check_finished(of, own["state"], remedy)
    others = {
        "trials": table,
        "epochs": _table(folder / "epochs.csv", remedy),
        "timings": _table(folder / "timings.csv", remedy).assign(kind="trial").reindex(columns=TIMING_COLUMNS),
    }
    return Runs(table.assign(kind="trial"), part.logits, others)


def _replicates(config: Config, runs: Path, arm: str, reviews: int) -> Runs:
    folder, remedy = runs / "replicate" / arm, f"dvc repro replicate@{arm}"
    kinds = ["tuned", *config.recipes]
    part = _read(folder, "replicates", reviews, remedy, ["study", "kind", "replicate"], kinds)
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
    }
    return Runs(table.rename(columns={"replicate": "trial"}), part.logits, others)


def _baselines(folder: Path, reviews: int) -> Runs:
    remedy = "dvc repro baseline"
    part = _read(folder, "baseline", reviews, remedy, ["kind"], BASELINES)
    _check_own(folder, part.table, "baseline", remedy)
    check_numbers("the baselines", "kind", part.table["kind"], BASELINES, remedy)
    check_finished("the baselines", part.table["state"], remedy)
    # There is one run of each kind, so that its timings number runs by their kind.
    timings = _table(folder / "timings.csv", remedy).rename(columns={"trial": "kind"}).assign(trial="0")
    others = {
        "baseline": part.table,
        "grid": _table(folder / "grid.csv", remedy),
        "timings": timings.reindex(columns=TIMING_COLUMNS),
    }
    return Runs(part.table.assign(trial=0), part.logits, others)


def _read(folder: Path, name: str, reviews: int, remedy: str, identity: Sequence[str], kinds: Sequence[str] = ()) -> Runs:
    """One folder's table and test logits, both sorted by the columns `identity` (`kind` in the order of `kinds`), after
    checking that they belong to one another.
    """
    table = _table(folder / f"{name}.csv", remedy)
    logits = _logits(folder / "test_logits.npy", len(table), reviews, remedy)
    _logits(folder / "validation_logits.npy", len(table), None, remedy)
    finished = (table["state"] != "failed").to_numpy()
    if np.isnan(logits[finished]).any():
        raise FairsweepError(
            f"{folder / 'test_logits.npy'} holds NaN in runs that {name}.csv calls complete. Expected numbers there. Run `{remedy}`."
        )
    place = {kind: position for position, kind in enumerate(kinds)}
    keys = [table[key].map(place).fillna(len(place)) if key == "kind" else table[key].astype(int) for key in identity]
    rows = np.lexsort(keys[::-1])
    return Runs(table.iloc[rows].reset_index(drop=True), logits[rows], {})


def _logits(path: Path, runs: int, reviews: int | None, remedy: str) -> NDArray[np.floating]:
    logits = _array(path, remedy)
    expected = (runs, logits.shape[-1] if reviews is None and logits.ndim else reviews)
    if logits.shape != expected:
        raise FairsweepError(
            f"{path} has shape {logits.shape}. Expected {expected}: a row a run of the table beside it, a column a review. Run `{remedy}`."
        )
    return logits


def _check_own(folder: Path, table: pd.DataFrame, arm: str, remedy: str) -> None:
    others = sorted(set(table["arm"]) - {arm})
    if others:
        raise FairsweepError(f"{folder} holds rows of {', '.join(others)}. Expected rows of {arm} alone. Run `{remedy}`.")


def _table(path: Path, remedy: str) -> pd.DataFrame:
    return pd.read_csv(_there(path, remedy), dtype=str, keep_default_na=False, encoding="utf-8")


def _array(path: Path, remedy: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(_there(path, remedy), allow_pickle=False)
    return array


def _there(path: Path, remedy: str) -> Path:
    if not path.is_file():
        raise FairsweepError(f"{path} is missing. Run `{remedy}`.")
    return path
