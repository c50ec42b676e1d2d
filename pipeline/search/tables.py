"""Finished runs as the tables and logits that later stages read."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.search.state import Record

RUN = ("state", "reason", "seed", "backend", "epochs", "best_epoch", "validation", "validation_loss", "parameters", "overrides")
EPOCH = ("epoch", "loss", "accuracy", "validation_loss", "validation")
TIMING = ("attempt", "worker", "started", "seconds", "compile_seconds")


def number(value: float | None) -> str:
    """A number for a table: six digits after the point at most, empty for none."""
    return "" if value is None else repr(round(float(value), 6))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, UTF-8, Unix line ends."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def run_row(record: Record) -> list[Any]:
    """The columns RUN of one run."""
    run, job = record.run, record.job
    best = run.best
    return [
        run.state,
        run.reason,
        job.config.seed,
        job.config.train.backend,
        len(run.epochs),
        "" if run.best_epoch is None else run.best_epoch,
        number(best.validation if best else None),
        number(best.validation_loss if best else None),
        "" if run.parameters is None else run.parameters,
        json.dumps(list(job.overrides)),
    ]


def write_runs(folder: Path, name: str, identity: Sequence[str], config: Config, records: Sequence[Record]) -> None:
    """`NAME.csv`, `epochs.csv`, `timings.csv` and the two files of logits <float16>[runs, reviews] (nan for a failed run).

    `identity` names the columns that tell one run from another: `trial`, or `kind` and `replicate`.
    """

    def who(record: Record) -> list[Any]:
        which: list[Any] = [record.job.number] if len(identity) == 1 else [record.job.kind, record.job.number]
        return [0, config.cell.arm, *which]

    write_csv(folder / f"{name}.csv", ["study", "arm", *identity, *RUN], ([*who(record), *run_row(record)] for record in records))
    epochs = (
        [*who(record), i, *(number(value) for value in (epoch.loss, epoch.accuracy, epoch.validation_loss, epoch.validation))]
        for record in records
        for i, epoch in enumerate(record.run.epochs, 1)
    )
    write_csv(folder / "epochs.csv", ["study", "arm", *identity, *EPOCH], epochs)
    timings = (
        [
            *who(record),
            record.attempt,
            record.worker,
            record.started,
            number(record.run.seconds),
            number(record.run.compile_seconds),
        ]
        for record in records
    )
    write_csv(folder / "timings.csv", ["study", "arm", *identity, *TIMING], timings)
    for which in ("validation_logits", "test_logits"):
        np.save(folder / f"{which}.npy", stacked([getattr(record.run, which) for record in records]))


def stacked(logits: Sequence[np.ndarray | None]) -> np.ndarray:
    """Logits of all runs <float16>[runs, reviews]; a failed run is a row of nan."""
    reviews = next((len(row) for row in logits if row is not None), 0)
    return np.stack([np.full(reviews, np.nan, np.float16) if row is None else row for row in logits])


def best(records: Sequence[Record]) -> Record | None:
    """Highest validation, then lower validation loss, then lower number; None when every run failed."""
    scored = [(-r.run.best.validation, r.run.best.validation_loss, r.job.number, r) for r in records if r.run.best]
    return min(scored, key=lambda item: item[:3])[3] if scored else None


def write_best(path: Path, record: Record, row: Sequence[str]) -> None:
    """The arm's best trial: its number, its scores and its row of the drawn table."""
    import yaml

    assert record.run.best is not None
    document = {
        "trial": record.job.number,
        "validation": round(record.run.best.validation, 6),
        "validation_loss": round(record.run.best.validation_loss, 6),
        "overrides": list(row),
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
