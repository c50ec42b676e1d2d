"""Stage `baseline`: fit the baselines of the task.

For texts: linear models of the same tokens and of whole texts. For numbers: trivial and linear
    models.
"""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from .config.cli import command
from .config.schema import Config
from .data import arrays
from .errors import FairsweepError
from .files import replace_folder
from .models import baselines
from .models.baselines import Candidate, best_of
from .provenance import commit, write_origin
from .seal import closed
from .training.protocol import PROTOCOL

# Baselines of texts, whose settings are columns of the table.
TEXT = ("same_tokens", "whole_text")
Fit = tuple[Callable[..., list[Candidate]], tuple[Any, ...]]


def run(config: Config, folder: Path, out: Path) -> pd.DataFrame:
    """Fit the baselines that the task spec lists, in parallel, and return the table `baseline.csv`.

    Predictions are float16 logits, or float32 numbers of a regression: [kinds, rows, ...], with the
    kinds in the order of the spec. Settings are the columns `ngrams`, `C` and `features` of texts,
    and JSON in the column `settings` of other kinds.

    Args:
        config: the study, with the task of `folder`.
        folder: the arrays of the study.
        out: the folder to write, which is replaced.

    Raises:
        FairsweepError: a class has no training row, and as `arrays.load` and `baselines.fit_all`.
    """
    data = arrays.load(folder, config.task, config.split_seed)
    _check_classes(data)
    texts = _texts(config, folder, data) if set(TEXT) & set(data.spec.baselines) else {}
    fits = {
        kind: texts[kind] if kind in TEXT else (baselines.fit_all, (kind, data))
        for kind in data.spec.baselines
    }
    # One process per kind, with one thread each, so that there are not more threads than cores.
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=len(fits))(
            joblib.delayed(_timed)(config.name, *fit) for fit in fits.values()
        )
    fitted = dict(zip(fits, results, strict=True))
    best = {kind: best_of(candidates) for kind, (candidates, _) in fitted.items()}
    first = {"repeat": 0, "arm": "baseline"}
    table = _table(
        {**first, "kind": kind, "state": "complete", **_row(kind, best[kind])} for kind in fits
    )
    with replace_folder(out) as part:
        table.to_csv(part / "baseline.csv", index=False)
        grid = _table(
            {"kind": kind, **_row(kind, candidate)}
            for kind in fits
            for candidate in fitted[kind][0]
        )
        grid.to_csv(part / "grid.csv", index=False)
        pd.DataFrame(_timing(kind, fitted[kind][1]) for kind in fits).to_csv(
            part / "timings.csv", index=False
        )
        write_origin(part, PROTOCOL, data.digest)
        np.save(
            part / "validation_logits.npy",
            np.stack([best[kind].validation_logits for kind in fits]),
        )
        np.save(part / "test_logits.npy", np.stack([best[kind].test_logits for kind in fits]))
    return table


def _texts(config: Config, folder: Path, data: arrays.Data) -> dict[str, Fit]:
    rows, validation = arrays.split(folder, config.task, config.split_seed)
    whole, whole_test = arrays.load_whole(folder)
    tokens = [
        arrays.without_padding(part)
        for part in (data.train_inputs, data.validation_inputs, data.test_inputs)
    ]
    texts = [whole.where(rows), whole.where(validation), whole_test]
    return {
        kind: (
            baselines.fit_texts,
            (train, data.train_labels, judged, data.validation_labels, test, data.spec.outputs),
        )
        for kind, (train, judged, test) in zip(TEXT, (tokens, texts), strict=True)
    }


def _check_classes(data: arrays.Data) -> None:
    spec = data.spec
    if spec.kind not in ("binary", "classes"):
        return
    for number in sorted(set(range(max(spec.outputs, 2))) - set(data.train_labels.tolist())):
        name = spec.classes[number] if spec.classes else str(number)
        raise FairsweepError(
            f"class {name!r} has no row in the training part of {len(data.train_labels):,}. "
            "Expected some of every class. "
            "Give it more rows in the data, or raise task.train_fraction."
        )


def _timed(
    study: str, fit: Callable[..., list[Candidate]], arguments: tuple[Any, ...]
) -> tuple[list[Candidate], tuple[float, float]]:
    """Call `fit` in a worker process: its result, start time and seconds."""
    started, clock = round(time.time(), 3), time.perf_counter()
    with closed("baseline", study):
        candidates = fit(*arguments)
    return candidates, (started, time.perf_counter() - clock)


def _row(kind: str, candidate: Candidate) -> dict[str, Any]:
    settings = candidate.settings if kind in TEXT else {"settings": json.dumps(candidate.settings)}
    return {
        "validation": candidate.validation,
        "validation_loss": round(candidate.validation_loss, 6),
        **settings,
    }


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A table with the columns of all rows, and empty text where a row has no value (not NaN)."""
    listed = list(rows)
    columns = dict.fromkeys(column for row in listed for column in row)
    return pd.DataFrame({column: row.get(column, "") for column in columns} for row in listed)


def _timing(kind: str, timing: tuple[float, float]) -> dict[str, Any]:
    started, seconds = timing
    return {
        "repeat": 0,
        "arm": "baseline",
        "trial": kind,
        "attempt": 1,
        "worker": "local",
        "started": started,
        "seconds": round(seconds, 3),
        "compile_seconds": 0.0,
        "git": commit(),
    }


@command
def main(config: Config) -> None:
    """Write runs/STUDY/baseline/."""
    started = time.perf_counter()
    table = run(
        config, Path("data") / config.name / "arrays", Path("runs") / config.name / "baseline"
    )
    for row in table.to_dict("records"):
        how = (
            f"n-grams of up to {row['ngrams']} words, C {row['C']:g}"
            if row["kind"] in TEXT
            else f"settings {row['settings']}"
        )
        # Scores of errors are negative.
        print(f"{row['kind']}: validation {abs(row['validation']):.4f} with {how}")
    print(f"runs/{config.name}/baseline: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
