"""Finished runs as the tables and logits that later stages read."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..config.schema import Config
from ..errors import FairsweepError
from .run_store import Record

RUN = (
    *("state", "reason", "seed", "backend", "epochs", "best_epoch"),
    *("validation", "validation_loss", "parameters", "overrides"),
)
EPOCH = ("epoch", "loss", "accuracy", "validation_loss", "validation")
TIMING = ("attempt", "worker", "started", "seconds", "compile_seconds", "git")


def number(value: float | None) -> str:
    """Return a number with at most six decimals, "" for None."""
    return "" if value is None else repr(round(float(value), 6))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file in UTF-8, with Unix line ends."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def run_row(record: Record) -> list[Any]:
    """Return the columns RUN of one run."""
    run, job = record.run, record.job
    return [
        run.state,
        run.reason,
        job.config.seed,
        job.config.train.backend,
        len(run.epochs),
        "" if run.best_epoch is None else run.best_epoch,
        number(run.best.validation if run.best else None),
        number(run.best.validation_loss if run.best else None),
        "" if run.parameters is None else run.parameters,
        json.dumps(list(job.overrides)),
    ]


def _epoch_rows(record: Record) -> Iterable[list[Any]]:
    for step, epoch in enumerate(record.run.epochs, 1):
        yield [step, *(number(getattr(epoch, name)) for name in EPOCH[1:])]


def _timing_row(record: Record) -> list[Any]:
    times = [number(record.run.seconds), number(record.run.compile_seconds)]
    return [record.attempt, record.worker, record.started, *times, record.git]


def write_runs(
    folder: Path, name: str, identity: Sequence[str], config: Config, records: Sequence[Record]
) -> None:
    """Write `NAME.csv`, `epochs.csv`, `timings.csv`, `validation_logits.npy`, `test_logits.npy`.

    `identity` names the columns that identify a run: `trial`, or `kind` and `replicate`.
    """

    def write(file: str, columns: Sequence[str], rows: Iterable[tuple[Record, list[Any]]]) -> None:
        numbered = (
            [
                record.job.repeat,
                config.cell.arm,
                *[record.job.kind, record.job.number][-len(identity) :],
                *row,
            ]
            for record, row in rows
        )
        write_csv(folder / f"{file}.csv", ["repeat", "arm", *identity, *columns], numbered)

    write(name, RUN, ((record, run_row(record)) for record in records))
    write("epochs", EPOCH, ((record, row) for record in records for row in _epoch_rows(record)))
    write("timings", TIMING, ((record, _timing_row(record)) for record in records))
    for part in ("validation_logits", "test_logits"):
        np.save(folder / f"{part}.npy", stacked([getattr(record.run, part) for record in records]))


def stacked(logits: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return the logits of all runs, shape (n_runs, n_rows, ...), of the runs' dtype.

    A failed run has nan only. A shorter run ends in nan: validation parts hold whole groups, so
    those of two splits may differ by a row.
    """
    present = [row for row in logits if row is not None]
    first = present[0] if present else np.zeros(0, np.float16)
    shape = (len(logits), max(map(len, present), default=0), *first.shape[1:])
    table = np.full(shape, np.nan, first.dtype)
    for place, row in zip(table, logits, strict=True):
        if row is not None:
            place[: len(row)] = row
    return table


def best(records: Sequence[Record]) -> Record | None:
    """Return the record with the highest validation score, None if every run failed.

    Ties go to the lower validation loss, then to the lower repeated search and number.
    """

    def rank(record: Record) -> tuple[float, float, int, int]:
        assert record.run.best is not None
        score, loss = record.run.best.validation, record.run.best.validation_loss
        return -score, loss, record.job.repeat, record.job.number

    return min((record for record in records if record.run.best), key=rank, default=None)


def winners(config: Config, records: Sequence[Record]) -> list[Record]:
    """Return the best trial of each search.

    Raises FairsweepError for a search whose trials all failed: it has no trial to retrain.
    """
    winners = []
    for repeat in config.search.numbers:
        trials = [record for record in records if record.job.repeat == repeat]
        winner = best(trials)
        if winner is None:
            where = f" of search {repeat}" if len(config.search.numbers) > 1 else ""
            reasons = sorted({record.run.reason for record in trials})
            raise FairsweepError(
                f"every trial{where} of {config.cell.arm} failed: {'; '.join(reasons)}. Train one "
                f"run to see why, python -m pipeline.train study={config.name} "
                f"cell={config.cell.arm}, or narrow conf/space."
            )
        winners.append(winner)
    return winners


def write_best(path: Path, keys: Iterable[str], chosen: Sequence[Record]) -> None:
    """Write the best of the `chosen` trials, then each of them, one per search.

    A trial has its number, its scores and its values of the searched `keys`. Without a search
    there are no trials.
    """

    def entry(record: Record) -> dict[str, Any]:
        assert record.run.best is not None
        texts = dict(override.split("=", 1) for override in record.job.overrides)
        return {
            "trial": record.job.number,
            "validation": round(record.run.best.validation, 6),
            "validation_loss": round(record.run.best.validation_loss, 6),
            "overrides": [f"{key}={texts[key]}" for key in keys],
        }

    top = best(chosen)
    repeats = [{"repeat": record.job.repeat, **entry(record)} for record in chosen]
    document = {**(entry(top) if top else {}), "repeats": repeats}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
