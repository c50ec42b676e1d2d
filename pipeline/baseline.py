"""Stage `baseline`: what a linear model reaches on the same tokens as the cells, and on the whole reviews."""

import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from pipeline.config import Config, command
from pipeline.data import arrays
from pipeline.files import replace_folder
from pipeline.models.linear import Candidate, best_of, fit_all

KINDS = ("same_tokens", "whole_text")


def run(config: Config, folder: Path, out: Path) -> pd.DataFrame:
    """Fits both kinds side by side and fills `out`; returns what `baseline.csv` says.

    Args:
        config: of the study; `task` must be the one that `folder` was made for.
        folder: the study's arrays.
        out: replaced as a whole.
    """
    inputs = _inputs(config, folder)
    # A process each; numpy's own threads would make more of them than there are cores.
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=len(KINDS))(joblib.delayed(_timed)(*inputs[kind]) for kind in KINDS)
    fitted = dict(zip(KINDS, results, strict=True))
    best = {kind: best_of(candidates) for kind, (candidates, _) in fitted.items()}
    table = pd.DataFrame({"study": 0, "arm": "baseline", "kind": kind, "state": "complete", **_row(best[kind])} for kind in KINDS)
    with replace_folder(out) as part:
        table.to_csv(part / "baseline.csv", index=False)
        rows = [{"kind": kind, **_row(candidate)} for kind in KINDS for candidate in fitted[kind][0]]
        pd.DataFrame(rows).to_csv(part / "grid.csv", index=False)
        pd.DataFrame(_timing(kind, fitted[kind][1]) for kind in KINDS).to_csv(part / "timings.csv", index=False)
        np.save(part / "validation_logits.npy", np.stack([best[kind].validation_logits for kind in KINDS]))
        np.save(part / "test_logits.npy", np.stack([best[kind].test_logits for kind in KINDS]))
    return table


def _inputs(config: Config, folder: Path) -> dict[str, tuple[Any, ...]]:
    """The arguments of `fit_all` for each kind."""
    data = arrays.load(folder, config.task, config.split_seed)
    validation = arrays.validation_mask(folder, config.split_seed)
    whole, whole_test = arrays.load_whole(folder)
    tokens = [arrays.without_padding(part) for part in (data.train_tokens, data.validation_tokens, data.test_tokens)]
    texts = [whole.where(~validation), whole.where(validation), whole_test]
    return {
        kind: (train, data.train_labels, judged, data.validation_labels, test)
        for kind, (train, judged, test) in zip(KINDS, (tokens, texts), strict=True)
    }


def _timed(*arguments: Any) -> tuple[list[Candidate], tuple[float, float]]:
    started, clock = round(time.time(), 3), time.perf_counter()
    candidates = fit_all(*arguments)
    return candidates, (started, time.perf_counter() - clock)


def _row(candidate: Candidate) -> dict[str, Any]:
    return {
        "validation": candidate.validation,
        "validation_loss": round(candidate.validation_loss, 6),
        "ngrams": candidate.ngrams,
        "C": candidate.C,
        "features": candidate.features,
    }


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
    }


@command
def main(config: Config) -> None:
    """Writes runs/STUDY/baseline/."""
    started = time.perf_counter()
    table = run(config, Path("data") / config.name / "arrays", Path("runs") / config.name / "baseline")
    for row in table.itertuples():
        print(f"{row.kind}: validation {row.validation:.4f} with up to {row.ngrams} words at a time, C {row.C:g}")
    print(f"runs/{config.name}/baseline: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
