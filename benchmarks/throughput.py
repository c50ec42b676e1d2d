"""Trials per hour of short trainings on a Dask cluster of 1, 2, 4 and 8 local workers."""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from project import ROOT, Project, report

from machines import Machines
from pipeline.config.compose import compose, with_overrides
from pipeline.config.schema import Cluster
from pipeline.search.coordinator import run_jobs
from pipeline.search.run_store import Job


def measure(short: bool) -> dict[str, Any]:
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name) / "project", short=True)
        project.data()
        os.chdir(project.folder)
        config = compose(["study=smoke", "cell=gru", "train.backend=jax", "train.epochs=3"])
        for workers in (1, 2) if short else (1, 2, 4, 8):
            machines = Machines(Path(name) / f"machines{workers}")
            machines.join(workers)
            jobs = [
                Job("trial", n, with_overrides(config, [f"seed={n}"]), [])
                for n in range(10 if short else 60 + 20 * workers)
            ]
            try:
                # Every worker has imported and compiled before the clock starts.
                first = 2 * workers
                started, done = time.perf_counter(), 0
                for _ in run_jobs(jobs, Cluster(kind="address", address=machines.address)):
                    done += 1
                    if done == first:
                        started = time.perf_counter()
                seconds = time.perf_counter() - started
                rates[str(workers)] = round(3600 * (done - first) / seconds)
            finally:
                machines.close()
            print(rates, file=sys.stderr, flush=True)
        os.chdir(ROOT)
    return {"trials_an_hour": rates}


if __name__ == "__main__":
    report(measure)
