"""Seconds and memory of a large report and of `compare`.

The report has 6 arms of 2,500, 5,000 and 10,000 trials on 25,000 test rows; `compare` has 2 arms of
1,000 trials. The scores are random and written where `evaluate` writes them. The importance of
hyperparameters is computed, not cached.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from project import ROOT, report

from pipeline.config.schema import Config, Parameter, Search
from pipeline.evaluate import evaluate
from pipeline.metrics import pack
from synthetic import Study

ARMS = ("rnn", "gru", "lstm", "bi_rnn", "bi_gru", "bi_lstm")
REVIEWS = 25_000


class Large(Study):
    """Six arms with a space of three hyperparameters."""

    @property
    def config(self) -> Config:
        config = super().config
        config.search = Search(trials=self.trials, budget=10, replicates=self.replicates)
        config.space["model"]["dropout"] = Parameter(low=0.0, high=0.5)
        return config

    def _run(self, arm: str, trial: int) -> dict[str, Any]:
        rate, dropout = 10 ** self.generator.uniform(-4, -2), self.generator.uniform(0, 0.5)
        units = f"model.units={self.generator.choice([8, 16])}"
        sampled = [units, f"model.dropout={dropout:.6g}", f"train.learning_rate={rate:.6g}"]
        return {
            **super()._run(arm, trial),
            "overrides": json.dumps(["study=tiny", f"cell={arm}", *sampled, f"seed={trial}"]),
        }


def write_scores(folder: Path, trials: int) -> Config:
    """Write the scores of a study: tables by `evaluate` on few rows, then correctness on all."""
    os.chdir(folder)
    study = Large(folder, cells=ARMS, trials=trials, replicates=5, reviews=64).write()
    evaluate(study.config)
    shutil.rmtree(folder / "runs")
    scores = folder / "results/tiny/scores"
    table = pd.read_csv(scores / "scores.csv", dtype=str, keep_default_na=False)
    generator, bits = np.random.default_rng(0), []
    for start in range(0, len(table), 500):
        right = table["validation"][start : start + 500].replace("", "0.5").astype(float).to_numpy()
        sampled = generator.random((len(right), REVIEWS), np.float32) < right[:, None]
        table.loc[start : start + len(right) - 1, "test"] = [
            f"{value:.6f}" for value in sampled.mean(axis=1)
        ]
        bits.append(pack(sampled))
    table.to_csv(scores / "scores.csv", index=False, lineterminator="\n")
    groups = (np.arange(REVIEWS) // 7).astype(np.int32)
    np.savez(
        scores / "correct.npz",
        correct=np.concatenate(bits),
        groups=groups,
        reviews=np.int64(REVIEWS),
    )
    return study.config


def timed(words: list[str]) -> dict[str, float]:
    """Seconds and the largest memory of a command, in the current folder."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "benchmarks"))),
    }
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words} failed")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "gib": round(usage.ru_maxrss / 2**20, 2),
    }


def scores_file(path: Path) -> None:
    """Two arms of 1,000 trials."""
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("arm,trial,validation,test\n")
        for arm in ("a", "b"):
            for trial, score in enumerate(generator.beta(40, 8, 1000)):
                file.write(
                    f"{arm},{trial},{score:.4f},{min(score + generator.normal(0, 0.004), 1):.4f}\n"
                )


def measure(short: bool) -> dict[str, Any]:
    measured: dict[str, Any] = {"report": {}}
    for trials in (100,) if short else (2500, 5000, 10_000):
        with tempfile.TemporaryDirectory() as name:
            write_scores(Path(name), trials)
            config = (
                f"Large(Path('.'), cells={ARMS}, trials={trials}, replicates=5, reviews=64).config"
            )
            imports = "from pathlib import Path; from large_report import Large"
            code = f"{imports}; from pipeline.report import report; report({config})"
            measured["report"][str(trials)] = timed(["-c", code])
            scores_file(Path("scores.csv"))
            measured["compare"] = timed(["-m", "pipeline.compare", "scores=scores.csv"])
            os.chdir(ROOT)
        print(trials, measured["report"], file=sys.stderr, flush=True)
    return measured


if __name__ == "__main__":
    report(measure)
