"""Finished runs as the tables and logits that later stages read."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.errors import FairsweepError
from pipeline.search.state import Record

RUN = ("state", "reason", "seed", "backend", "epochs", "best_epoch", "validation", "validation_loss", "parameters", "overrides")
EPOCH = ("epoch", "loss", "accuracy", "validation_loss", "validation")
TIMING = ("attempt", "worker", "started", "seconds", "compile_seconds", "git")


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
    """`NAME.csv`, `epochs.csv`, `timings.csv` and the two files of logits [runs, reviews, ...] (nan for a failed run).

    `identity` names the columns that tell one run of a study from another: `trial`, or `kind` and `replicate`.
    """

    def who(record: Record) -> list[Any]:
        which: list[Any] = [record.job.number] if len(identity) == 1 else [record.job.kind, record.job.number]
        return [record.job.study, config.cell.arm, *which]

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
            record.git,
        ]
        for record in records
    )
    write_csv(folder / "timings.csv", ["study", "arm", *identity, *TIMING], timings)
    for which in ("validation_logits", "test_logits"):
        np.save(folder / f"{which}.npy", stacked([getattr(record.run, which) for record in records]))


def stacked(logits: Sequence[np.ndarray | None]) -> np.ndarray:
    """Logits of all runs [runs, reviews, ...], their type that of the runs; a failed run is nan, a shorter one ends in nan.

    Validation parts hold whole movies, so those of two splits may differ by a review.
    """
    there = [row for row in logits if row is not None]
    first = there[0] if there else np.zeros(0, np.float16)
    table = np.full((len(logits), max(map(len, there), default=0), *first.shape[1:]), np.nan, first.dtype)
    for place, row in zip(table, logits, strict=True):
        if row is not None:
            place[: len(row)] = row
    return table


def best(records: Sequence[Record]) -> Record | None:
    """Highest validation, then lower validation loss, then lower study and number; None when every run failed."""
    scored = [(-r.run.best.validation, r.run.best.validation_loss, r.job.study, r.job.number, r) for r in records if r.run.best]
    return min(scored, key=lambda item: item[:4])[4] if scored else None


def winners(config: Config, records: Sequence[Record]) -> list[Record]:
    """The best trial of each study, in the studies' order.

    Raises FairsweepError for a study whose trials all failed: it leaves nothing to retrain.
    """
    found = []
    for study in config.search.numbers:
        own = [record for record in records if record.job.study == study]
        winner = best(own)
        if winner is None:
            where = f" of study {study}" if len(config.search.numbers) > 1 else ""
            reasons = sorted({record.run.reason for record in own})
            raise FairsweepError(
                f"every trial{where} of {config.cell.arm} failed: {'; '.join(reasons)}. Expected one that finished: see whether one run "
                f"trains, python -m pipeline.train study={config.name} cell={config.cell.arm}, or narrow conf/space."
            )
        found.append(winner)
    return found


def write_best(path: Path, keys: Iterable[str], chosen: Sequence[Record]) -> None:
    """The best trial over all studies, then that of each study: its number, its scores and its values of the searched `keys`.

    Without a search there is no study to tell of.
    """
    import yaml

    def told(record: Record) -> dict[str, Any]:
        assert record.run.best is not None
        texts = dict(override.split("=", 1) for override in record.job.overrides)
        return {
            "trial": record.job.number,
            "validation": round(record.run.best.validation, 6),
            "validation_loss": round(record.run.best.validation_loss, 6),
            "overrides": [f"{key}={texts[key]}" for key in keys],
        }

    top = best(chosen)
    document = {**(told(top) if top else {}), "studies": [{"study": record.job.study, **told(record)} for record in chosen]}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
