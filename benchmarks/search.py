"""Seconds for the same trainings by KerasTuner, by one process per job, and by this project.

Every round runs each once, in rotated order. This project starts without state and compiled
programs, but with an MLflow store, as each command of a project except the first does.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from project import CELLS, ROOT, Project, report

ALTERNATIVES = ROOT / "benchmarks/alternatives.py"


def ours(project: Project, cells: Sequence[str], backend: str, overrides: list[str]) -> float:
    """Time the tune stages of all cells."""
    shutil.rmtree(project.folder / ".fairsweep/state", ignore_errors=True)
    shutil.rmtree(project.folder / ".fairsweep/compiled", ignore_errors=True)
    return sum(
        project.stage("tune", f"cell={cell}", f"train.backend={backend}", *overrides)
        for cell in cells
    )


def plain(project: Project, cells: Sequence[str], epochs: int, rows: int) -> float:
    """Time one process per job, in sequence."""
    arrays, table = (
        project.folder / f"data/{project.study}/arrays",
        project.folder / f"runs/{project.study}/sample/configurations.csv",
    )
    words = [f"arrays={arrays}", f"table={table}", f"epochs={epochs}"]
    jobs = [(row, cell) for cell in cells for row in range(rows)]
    return sum(
        project.time(ALTERNATIVES, "hydra", f"row={row}", f"cell={cell}", *words)
        for row, cell in jobs
    )


def keras_tuner(project: Project, cells: Sequence[str], epochs: int) -> float:
    """Time one process for all jobs."""
    arrays, table = (
        project.folder / f"data/{project.study}/arrays",
        project.folder / f"runs/{project.study}/sample/configurations.csv",
    )
    return project.time(ALTERNATIVES, "keras_tuner", arrays, table, str(epochs), *cells)


def _rounds() -> int:
    """Three; six with --full, one with --once."""
    return 6 if "--full" in sys.argv else 1 if "--once" in sys.argv else 3


def measure(short: bool) -> dict[str, Any]:
    cells, rows, epochs, rounds = (CELLS[:1], 4, 1, 1) if short else (CELLS, 6, 4, _rounds())
    overrides = [
        f"search.trials={rows}",
        "search.budget=1",
        f"train.epochs={epochs}",
        "train.patience=null",
        "train.min_validation=null",
    ]
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), short)
        project.data()
        project.stage("sample", *overrides)
        # Creates the store.
        project.stage("train", "cell=rnn", "train.epochs=1", "train.backend=jax")
        ways = {
            "keras_tuner": lambda: keras_tuner(project, cells, epochs),
            "process_a_job": lambda: plain(project, cells, epochs, rows),
            "tensorflow": lambda: ours(project, cells, "tensorflow", overrides),
            "jax": lambda: ours(project, cells, "jax", overrides),
        }
        seconds: list[dict[str, float]] = []
        for number in range(rounds):
            order = [*list(ways)[number % len(ways) :], *list(ways)[: number % len(ways)]]
            times = {way: round(ways[way](), 1) for way in order}
            seconds.append({way: times[way] for way in ways})
            print(seconds[-1], file=sys.stderr, flush=True)
    return {"trials": rows * len(cells), "epochs": epochs, "seconds": seconds}


if __name__ == "__main__":
    report(measure)
