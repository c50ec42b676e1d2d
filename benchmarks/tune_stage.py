"""The tune stage of the default study, LSTM on the best backend: its floor and idle time.

The floor is the time of three times the forward matrix products of all epochs, at the rate at which
both cores multiply matrices.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from project import Project, report

TRAINED = 20_000
# In its own process, which has one thread.
SGEMM = """
import numpy as np, time
a = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
for _ in range(5): a @ a
started = time.perf_counter()
for _ in range(60): a @ a
print(2 * 1024**3 * 60 / (time.perf_counter() - started))
"""


def sgemm(cores: int) -> float:
    """Return the FLOP/s of `cores` single-threaded processes that multiply matrices."""
    env = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", SGEMM], env=env, stdout=subprocess.PIPE)
        for _ in range(cores)
    ]
    return sum(float(process.communicate()[0]) for process in started)


def flops(overrides: list[str], epochs: int, length: int) -> float:
    """3 x the forward matrix products of an LSTM's recurrent layer, over its epochs."""
    chosen = dict(override.split("=", 1) for override in overrides)
    units, embedding, batch = (
        int(chosen[key]) for key in ("model.units", "model.embedding", "train.batch_size")
    )
    return 3 * 2 * (TRAINED // batch * batch) * length * (embedding + units) * 4 * units * epochs


def measure(short: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), short)
        project.data()
        project.stage("sample")
        cell = "gru" if short else "lstm"
        before = sgemm(2)
        wall = project.stage("tune", f"cell={cell}", "train.backend=jax")
        rate = (before + sgemm(2)) / 2
        folder = project.folder / f"runs/{project.study}/tune/{cell}"
        trials, timings = pd.read_csv(folder / "trials.csv"), pd.read_csv(folder / "timings.csv")
    span = (timings["started"] + timings["seconds"]).max() - timings["started"].min()
    figures = {
        "trials": len(trials),
        "epochs": int(trials["epochs"].sum()),
        "wall_seconds": round(wall, 1),
        "idle": round(1 - timings["seconds"].sum() / (2 * span), 4),
        "compile_share": round(timings["compile_seconds"].sum() / timings["seconds"].sum(), 4),
        "sgemm_gflops": round(rate / 1e9, 1),
    }
    if not short:
        work = sum(
            flops(json.loads(row), epochs, 100)
            for row, epochs in zip(trials["overrides"], trials["epochs"], strict=True)
        )
        figures["floor_share"] = round(work / rate / wall, 4)
    return figures


if __name__ == "__main__":
    report(measure)
