"""The cost of a trial apart from its training: empty trials with the workers and stores of `tune`.

Also the cost of a late trial of a large search relative to an early one, for random search and,
without workers, for TPE.
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

from pipeline.config.compose import compose
from pipeline.config.schema import Config
from pipeline.search.run_store import now
from pipeline.training.fit import Epoch, Run


def nothing(
    configs: list[Config], keep_models: list[bool], reporting: bool, code: str
) -> tuple[list[tuple[Run, str]], float]:
    """Replace `coordinator.task` on the worker: return finished runs at once."""
    return [(finished(config), "nowhere") for config in configs], now()


def finished(config: Config) -> Run:
    """Return a run of the size of the default study."""
    generator = np.random.default_rng(config.seed)
    epochs = [Epoch(0.5, 0.8, 0.5, round(0.8 + generator.random() / 10, 4)) for _ in range(6)]
    logits = generator.normal(size=30_000).astype(np.float16)
    return Run("complete", "", epochs, 3, 1000, logits[:5000], logits[5000:])


def shared(trials: int) -> list[float]:
    """Return the seconds since the start at which each trial of a tune stage was recorded."""
    from pipeline import tune
    from pipeline.data.spec import TaskSpec
    from pipeline.monitor import Progress
    from pipeline.search import coordinator, tables
    from pipeline.search.run_store import Record, State, settings
    from pipeline.search.space import configuration, overrides
    from pipeline.tracking import Tracker

    coordinator.task = nothing
    config = compose(["study=imdb", "cell=lstm", f"search.trials={trials}"])
    tune.replay_overrides = lambda config: ["study=imdb", "cell=lstm"]
    started, done = time.perf_counter(), []

    class Timed(Tracker):
        def log(self, record: Record) -> None:
            super().log(record)
            done.append(time.perf_counter() - started)

    with (
        State.open(settings(config, "tune", "none")) as state,
        Timed(config, "tune", "none", state).recording() as tracker,
    ):
        # Simulated runs need no checks.
        checks: Any = SimpleNamespace(
            finished=lambda record: None, with_workers=lambda workers: None
        )
        table = [overrides(configuration(config, row)) for row in range(trials)]
        with Progress("tune", config, state, TaskSpec()) as display:
            records = tune.shared_search(config, table, state, tracker, checks, display)
        tables.write_runs(Path(), "trials", ["trial"], config, records)
    done.append(time.perf_counter() - started)
    return done


def repeated(trials: int) -> list[float]:
    """Return the seconds that Optuna needs per trial of one TPE search."""
    from pipeline.search.optuna import RepeatedSearch
    from pipeline.search.run_store import Record, State

    size = [f"search.trials={trials}", f"search.budget={trials}"]
    design = ["search.design=repeated", "search.repeats=3"]
    config = compose(["study=imdb", "cell=lstm", *size, *design])
    search = RepeatedSearch(config, State(Path("tpe")), 0)
    job, seconds = search.ready, []
    while job:
        record = Record(job, finished(job.config), 1, "nowhere", now())
        started = time.perf_counter()
        job = search.tell(record)
        seconds.append(time.perf_counter() - started)
    return seconds


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
    trials, sequential = (60, 60) if short else (2000, 2000 if "--full" in sys.argv else 500)
    # Workers find `nothing` by its module's name.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    with tempfile.TemporaryDirectory() as name:
        Project(Path(name), short=True)
        os.chdir(name)
        Path("tpe").mkdir()
        done = shared(trials)
        first = min(500, trials)
        figures = {
            "trials": first,
            # Includes the start of workers and stores.
            "seconds_a_trial": round(done[first - 1] / first, 4),
            "random": late_against_early(list(np.diff(done[:-1]))),
            "tpe": late_against_early(repeated(sequential)),
        }
        os.chdir(ROOT)
    return figures


if __name__ == "__main__":
    import orchestration

    report(orchestration.measure)
