"""A fast study to disturb: its processes and its progress."""

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from study_copy import StudyCopy


def fast_study(root: Path, trials: int) -> StudyCopy:
    """The smoke study with `trials` trials per cell, of a second or two each."""
    copy = StudyCopy(root, "smoke")
    copy.edit("conf/study/smoke.yaml", "trials: 8", f"trials: {trials}")
    copy.edit("conf/study/smoke.yaml", "epochs: 4", "epochs: 1")
    return copy


def finished(copy: StudyCopy) -> int:
    return len(list(copy.root.glob(".fairsweep/state/*/trial-*.npz")))


def processes(copy: StudyCopy) -> Iterator[psutil.Process]:
    """Every process that works in the copy."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(copy.root) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue


def command(process: psutil.Process) -> list[str]:
    """The words of its command, none if it has ended, as the git processes of a study do."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def coordinator(copy: StudyCopy) -> psutil.Process:
    return next(filter(begun_as_coordinator, processes(copy)))


def worker(copy: StudyCopy, of: int | None = None) -> psutil.Process:
    """The busiest worker of the process `of`, by default of the coordinator that dvc started."""
    children = (psutil.Process(of) if of else coordinator(copy)).children()
    return max(filter(begun_as_worker, children), key=lambda child: child.cpu_times().user)


def begun_as_coordinator(process: psutil.Process) -> bool:
    return {"-m", "pipeline.tune"} <= set(command(process))


def begun_as_worker(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(command(process))


def is_worker(process: psutil.Process, library: str) -> bool:
    """Whether it is a worker that has loaded the library that it trains with.

    Until its own program begins, any child has the libraries of its parent, so check its command.
    """
    with suppress(psutil.Error):
        return begun_as_worker(process) and any(
            library in mapped.path for mapped in process.memory_maps()
        )
    return False


def kill_one_that_trains(library: str, killed: list[int], over: threading.Event) -> None:
    """Kill the first worker of this process that has loaded `library`; add its id to `killed`."""
    while not over.wait(0.02):
        for process in psutil.Process().children(recursive=True):
            if is_worker(process, library):
                process.kill()
                killed.append(process.pid)
                return


def wait_until(
    condition: Callable[[], bool], copy: StudyCopy, process: subprocess.Popen[str] | None = None
) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, copy.root.with_suffix(".output").read_text()
        ended = process is not None and process.poll() is not None
        assert not ended, copy.root.with_suffix(".output").read_text()
        time.sleep(0.05)


def stores(copy: StudyCopy) -> dict[str, int]:
    """Counts for a study with one tuned cell: Optuna's trials by state, MLflow's runs by status.

    `recorded` is the number of trials in MLflow.
    """
    (study,) = copy.root.glob(".fairsweep/state/*/study.db")
    counts = {}
    for path, table, column in (
        (study, "trials", "state"),
        (copy.root / "mlflow.db", "runs", "status"),
    ):
        with sqlite3.connect(path) as store:
            counts |= {
                f"{table} {name}": rows
                for name, rows in store.execute(
                    f"select {column}, count(*) from {table} group by {column}"
                )
            }
    with sqlite3.connect(copy.root / "mlflow.db") as store:
        (counts["recorded"],) = store.execute(
            "select count(*) from tags where key = 'kind' and value = 'trial'"
        ).fetchone()
    return counts
