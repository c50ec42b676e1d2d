"""Stage `baseline`: what stands beside the cells.

Of texts a linear model on the same tokens and on the whole ones; of numbers what needs no learning, and a linear model of them.
"""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from pipeline.config import Config, command
from pipeline.data import arrays
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder
from pipeline.models import anchors, linear
from pipeline.models.linear import Candidate, best_of
from pipeline.provenance import commit, write_origin
from pipeline.seal import closed
from pipeline.training.protocol import PROTOCOL

# The kinds that only texts have; their settings have columns of their own.
TEXT = ("same_tokens", "whole_text")
Fit = tuple[Callable[..., list[Candidate]], tuple[Any, ...]]


def run(config: Config, folder: Path, out: Path) -> pd.DataFrame:
    """Fits the kinds that the data's form lists side by side and fills `out`; returns what `baseline.csv` says.

    Predictions are float16 logits, of a regression float32 numbers: [kinds, rows, ...], the kinds in the form's order. Settings
    are the columns `ngrams`, `C` and `features` of texts, and JSON in `settings` of other kinds; a table has what it uses.

    Args:
        config: of the study; `task` must be the one that `folder` was made for.
        folder: the study's arrays.
        out: replaced as a whole.

    Raises:
        FairsweepError: a class without a training row, and as `arrays.load` and `anchors.fit_all`.
    """
    data = arrays.load(folder, config.task, config.split_seed)
    fits = _fits(config, folder, data)
    # A process each; numpy's own threads would make more of them than there are cores.
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=len(fits))(joblib.delayed(_timed)(config.name, *fit) for fit in fits.values())
    fitted = dict(zip(fits, results, strict=True))
    best = {kind: best_of(candidates) for kind, (candidates, _) in fitted.items()}
    table = _table({"study": 0, "arm": "baseline", "kind": kind, "state": "complete", **_row(kind, best[kind])} for kind in fits)
    with replace_folder(out) as part:
        table.to_csv(part / "baseline.csv", index=False)
        grid = _table({"kind": kind, **_row(kind, candidate)} for kind in fits for candidate in fitted[kind][0])
        grid.to_csv(part / "grid.csv", index=False)
        pd.DataFrame(_timing(kind, fitted[kind][1]) for kind in fits).to_csv(part / "timings.csv", index=False)
        write_origin(part, PROTOCOL, data.digest)
        np.save(part / "validation_logits.npy", np.stack([best[kind].validation_logits for kind in fits]))
        np.save(part / "test_logits.npy", np.stack([best[kind].test_logits for kind in fits]))
    return table


def _fits(config: Config, folder: Path, data: arrays.Data) -> dict[str, Fit]:
    """What to call, and with what, for each kind."""
    _check_classes(data)
    texts = _texts(config, folder, data) if set(TEXT) & set(data.form.baselines) else {}
    return {kind: texts[kind] if kind in TEXT else (anchors.fit_all, (kind, data)) for kind in data.form.baselines}


def _texts(config: Config, folder: Path, data: arrays.Data) -> dict[str, Fit]:
    rows, validation = arrays.split(folder, config.task, config.split_seed)
    whole, whole_test = arrays.load_whole(folder)
    tokens = [arrays.without_padding(part) for part in (data.train_inputs, data.validation_inputs, data.test_inputs)]
    texts = [whole.where(rows), whole.where(validation), whole_test]
    return {
        kind: (linear.fit_all, (train, data.train_labels, judged, data.validation_labels, test, data.form.outputs))
        for kind, (train, judged, test) in zip(TEXT, (tokens, texts), strict=True)
    }


def _check_classes(data: arrays.Data) -> None:
    form = data.form
    if form.kind not in ("binary", "classes"):
        return
    for number in sorted(set(range(max(form.outputs, 2))) - set(data.train_labels.tolist())):
        name = form.classes[number] if form.classes else str(number)
        raise FairsweepError(
            f"class {name!r} has no row in the training part of {len(data.train_labels):,}. Expected some of every class. "
            "Give it more rows in the data, or raise task.train_fraction."
        )


def _timed(
    study: str, fit: Callable[..., list[Candidate]], arguments: tuple[Any, ...]
) -> tuple[list[Candidate], tuple[float, float]]:
    """In a process of its own: what `fit` gives, when it began and its seconds."""
    started, clock = round(time.time(), 3), time.perf_counter()
    with closed("baseline", study):
        candidates = fit(*arguments)
    return candidates, (started, time.perf_counter() - clock)


def _row(kind: str, candidate: Candidate) -> dict[str, Any]:
    settings = candidate.settings if kind in TEXT else {"settings": json.dumps(candidate.settings)}
    return {"validation": candidate.validation, "validation_loss": round(candidate.validation_loss, 6), **settings}


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """All columns of all rows, empty text where a row has none: a missing number would make floats of whole ones."""
    kept = list(rows)
    columns = dict.fromkeys(column for row in kept for column in row)
    return pd.DataFrame({column: row.get(column, "") for column in columns} for row in kept)


def _timing(kind: str, timing: tuple[float, float]) -> dict[str, Any]:
    started, seconds = timing
    return {
        "study": 0,
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
    """Writes runs/STUDY/baseline/."""
    started = time.perf_counter()
    table = run(config, Path("data") / config.name / "arrays", Path("runs") / config.name / "baseline")
    for row in table.to_dict("records"):
        how = f"up to {row['ngrams']} words at a time, C {row['C']:g}" if row["kind"] in TEXT else f"settings {row['settings']}"
        # Errors are negated inside.
        print(f"{row['kind']}: validation {abs(row['validation']):.4f} with {how}")
    print(f"runs/{config.name}/baseline: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
