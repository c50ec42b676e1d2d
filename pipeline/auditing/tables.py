"""The raw tables of results/STUDY/scores held against one another: what one of them says, another lets work out."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.auditing.edits import Edit, same
from pipeline.evidence.scores import unpack
from pipeline.reporting.tables import DIGITS, Results

# float32 shares of a row keep about seven digits; of an accuracy the bits are exact.
SHARES = 1e-5
SCORED = ("state", "validation", "validation_loss")
EPOCH = ("validation", "validation_loss")


def check(folder: Path, results: Results) -> list[Edit]:
    """Test scores by what each test row adds to them; scores by the tables of runs; the tables of runs by their epochs."""
    found = list(_tests(folder, results))
    text = {name: _read(folder / f"{name}.csv") for name in ("scores", "trials", "replicates", "baseline")}
    for name, kind, number in (("trials", "trial", "trial"), ("replicates", None, "replicate"), ("baseline", None, None)):
        runs = text[name] if kind is None else text[name].assign(kind=kind)
        runs = runs.assign(trial="0") if number is None else runs.rename(columns={number: "trial"})
        found += _scored(folder, text["scores"], runs, name)
    for name, epochs, number in (("trials", "epochs", "trial"), ("replicates", "replicate_epochs", "replicate")):
        found += _trained(folder, text[name], _read(folder / f"{epochs}.csv"), name, number)
    return found


def _tests(folder: Path, results: Results) -> Iterator[Edit]:
    """A score is the mean of what the rows add; only a failed run that guesses has no row to show for it."""
    packed = results.correct.dtype == np.uint8
    shares = unpack(results.correct, len(results.movies)) if packed else results.correct
    for line, (row, mean) in enumerate(zip(results.scores.itertuples(), shares.mean(axis=1, dtype=np.float64), strict=True), 2):
        guessed = row.state == "failed" and not shares[line - 2].any()
        if not guessed and abs(row.test - mean) > (10**-DIGITS if packed else SHARES * max(1.0, abs(mean))):
            shown = str(folder / "scores.csv")
            yield Edit(
                shown, line, f"test of {row.arm} {row.kind} {row.trial}", f"{row.test:g}", f"{round(mean, DIGITS)} by correct.npz"
            )


def _scored(folder: Path, scores: pd.DataFrame, runs: pd.DataFrame, name: str) -> Iterator[Edit]:
    """What scores.csv repeats of a run."""
    keys = ["study", "arm", "kind", "trial"]
    own = runs.set_index(keys)
    for line, row in enumerate(scores.to_dict("records"), 2):
        key = tuple(row[part] for part in keys)
        if key in own.index:
            told = own.loc[key]
            for column in SCORED:
                if not same(row[column], told[column]):
                    what = f"{column} of {' '.join(key[1:])}"
                    yield Edit(str(folder / "scores.csv"), line, what, row[column], f"{told[column]} by {name}.csv")


def _trained(folder: Path, runs: pd.DataFrame, epochs: pd.DataFrame, name: str, number: str) -> Iterator[Edit]:
    """What a run's row says of its epochs."""
    keys = [key for key in ("study", "arm", "kind", number) if key in runs]
    trained = dict(iter(epochs.groupby(keys))) if len(epochs) else {}
    for line, row in enumerate(runs.to_dict("records"), 2):
        own = trained.get(tuple(row[key] for key in keys), epochs.iloc[:0])
        told = {"epochs": str(len(own))}
        kept = own[own["epoch"] == row["best_epoch"]]
        if len(kept):
            told |= {column: kept.iloc[0][column] for column in EPOCH}
        for column, value in told.items():
            if not same(row[column], value):
                what = f"{column} of {' '.join(row[key] for key in keys[1:])}"
                yield Edit(str(folder / f"{name}.csv"), line, what, row[column], f"{value} by the table of epochs")


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
