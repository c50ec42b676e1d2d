"""How long the evidence takes, as whole processes: `compare` on 2 arms x 1,000 trials, a report of 6 arms x 1,000 trials.

  python benchmarks/evidence.py

Prints seconds, seconds of processor time and the largest memory of one process, beside what starting Python with numpy, scipy and
pandas takes. A report is made twice: the first computes the importance of hyperparameters, the second finds it in the cache.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pipeline.config import Config, Parameter, Search  # noqa: E402
from pipeline.evaluate import evaluate  # noqa: E402
from synthetic import Study  # noqa: E402

ARMS = ("rnn", "gru", "lstm", "bi_rnn", "bi_gru", "bi_lstm")
TRIALS = 1000


class Large(Study):
    """Six arms of 1,000 trials on 25,000 test reviews, with a space of three hyperparameters."""

    @property
    def config(self) -> Config:
        config = super().config
        config.search = Search(trials=self.trials, headline=10, replicates=self.replicates)
        config.space["model"]["dropout"] = Parameter(low=0.0, high=0.5)
        return config

    def _run(self, arm: str, trial: int) -> dict[str, Any]:
        rate, dropout = 10 ** self.generator.uniform(-4, -2), self.generator.uniform(0, 0.5)
        drawn = [
            f"model.units={self.generator.choice([8, 16])}",
            f"model.dropout={dropout:.6g}",
            f"train.learning_rate={rate:.6g}",
        ]
        return {**super()._run(arm, trial), "overrides": json.dumps(["study=tiny", f"cell={arm}", *drawn, f"seed={trial}"])}


def timed(name: str, words: list[str], folder: Path) -> None:
    """Runs a command in `folder` and prints what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{name} failed")
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{name:<44} {seconds:6.1f} s   CPU {cpu:6.1f} s   {usage.ru_maxrss / 2**20:5.2f} GiB", flush=True)


def scores(path: Path) -> None:
    """A file of two arms x 1,000 trials."""
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("arm,trial,validation,test\n")
        for arm in ("a", "b"):
            for trial, score in enumerate(generator.beta(40, 8, TRIALS)):
                file.write(f"{arm},{trial},{score:.4f},{min(score + generator.normal(0, 0.004), 1):.4f}\n")


def main() -> None:
    """Everything, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed("start: numpy, scipy.stats, pandas", ["-c", "import numpy, scipy.stats, pandas"], folder)
        scores(folder / "scores.csv")
        timed("compare, 2 arms x 1,000 trials", ["-m", "pipeline.compare", "scores=scores.csv"], folder)
        os.chdir(folder)
        study = Large(folder, cells=ARMS, trials=TRIALS, replicates=5, reviews=25_000).write()
        evaluate(study.config)
        made = f"Large(Path('.'), cells={ARMS}, trials={TRIALS}, replicates=5, reviews=25_000).config"
        report = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); from pathlib import Path; "
        report += f"from evidence import Large; from pipeline.report import report\nif __name__ == '__main__': report({made})"
        (folder / "make_report.py").write_text(report)
        timed("report, 6 arms x 1,000 trials", ["make_report.py"], folder)
        timed("report again, importance from its cache", ["make_report.py"], folder)


if __name__ == "__main__":
    main()
