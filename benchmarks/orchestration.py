"""What a trial costs beside its training: trials that do nothing, 2 workers, with storage, tables and MLflow, as `tune` has them.

Also what a late trial of a large study costs against an early one, for random search and for TPE (without workers: asked and told).
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from project import ROOT, Project, report

from pipeline.config import Config, compose
from pipeline.search.state import now
from pipeline.training.fit import Epoch, Run


def nothing(configs: list[Config], keep_models: list[bool], reporting: bool, code: str) -> tuple[list[tuple[Run, str]], float]:
    """On the worker, in place of `coordinator.task`: finished runs that took no time."""
    return [(finished(config), "nowhere") for config in configs], now()


def finished(config: Config) -> Run:
    """A run of the default study's size."""
    generator = np.random.default_rng(config.seed)
    epochs = [Epoch(0.5, 0.8, 0.5, round(0.8 + generator.random() / 10, 4)) for _ in range(6)]
    logits = generator.normal(size=30_000).astype(np.float16)
    return Run("complete", "", epochs, 3, 1000, logits[:5000], logits[5000:])


def pooled(trials: int) -> list[float]:
    """Seconds since the start at which each trial of a tune stage was written down."""
    from pipeline import tune
    from pipeline.data.form import Form
    from pipeline.search import coordinator, tables
    from pipeline.search.space import draw, overrides
    from pipeline.search.state import Record, State, settings
    from pipeline.tracking import Tracker

    coordinator.task = nothing
    config = compose(["study=imdb", "cell=lstm", f"search.trials={trials}"])
    tune.replay_overrides = lambda config: ["study=imdb", "cell=lstm"]
    started, done = time.perf_counter(), []

    class Timed(Tracker):
        def log(self, record: Record) -> None:
            super().log(record)
            done.append(time.perf_counter() - started)

    with State.open(settings(config, "tune", "none")) as state, Timed.open(config, "tune", "none", state) as tracker:
        # What is made up here has nothing for a gate to see.
        gates: Any = SimpleNamespace(hear=lambda record: None, on_workers=lambda pool: None)
        records = tune.pool(config, [overrides(draw(config, row)) for row in range(trials)], state, tracker, Form(), gates)
        tables.write_runs(Path(), "trials", ["trial"], config, records)
    done.append(time.perf_counter() - started)
    return done


def sequential(trials: int) -> list[float]:
    """Seconds that each trial of one TPE study takes to be asked for and told."""
    from pipeline.search.state import Record, State
    from pipeline.search.studies import Sequential

    told = [f"search.trials={trials}", f"search.headline={trials}", "search.design=studies", "search.studies=3"]
    config = compose(["study=imdb", "cell=lstm", *told])
    study = Sequential(config, State(Path("tpe")), 0)
    job, took = study.ready, []
    while job:
        record = Record(job, finished(job.config), 1, "nowhere", now())
        started = time.perf_counter()
        job = study.tell(record)
        took.append(time.perf_counter() - started)
    return took


def late_against_early(seconds: list[float]) -> dict[str, Any]:
    """Medians around trial 100 and at the end, in milliseconds."""
    early, late = float(np.median(seconds[50:150])), float(np.median(seconds[-100:]))
    return {
        "trials": len(seconds),
        "early_ms": round(1e3 * early, 1),
        "late_ms": round(1e3 * late, 1),
        "ratio": round(late / early, 2),
    }


def measure(short: bool) -> dict[str, Any]:
    trials, asked = (60, 60) if short else (2000, 2000 if "--full" in sys.argv else 500)
    # Workers find `nothing` by its module's name.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    with tempfile.TemporaryDirectory() as name:
        Project(Path(name), short=True)
        os.chdir(name)
        Path("tpe").mkdir()
        done = pooled(trials)
        first = min(500, trials)
        found = {
            "trials": first,
            # The start of workers and stores is in it.
            "seconds_a_trial": round(done[first - 1] / first, 4),
            "random": late_against_early(list(np.diff(done[:-1]))),
            "tpe": late_against_early(sequential(asked)),
        }
        os.chdir(ROOT)
    return found


if __name__ == "__main__":
    import orchestration

    report(orchestration.measure)
