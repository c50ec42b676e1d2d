"""Disturbances other than kill -9. The tables equal those of an undisturbed study.

Some need one more `dvc repro`.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults import fast_study, finished, processes, stores, wait_until, worker
from study_copy import StudyCopy, files

pytestmark = pytest.mark.long
TRIALS = 12
TUNE = ("python", "-m", "pipeline.tune", "study=smoke", "cell=rnn")


def tables(copy: StudyCopy) -> dict[str, bytes]:
    return files(copy.root / "runs/smoke/tune/rnn", "timings.csv")


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The study before `tune`."""
    copy = fast_study(tmp_path_factory.mktemp("sampled") / "study", TRIALS)
    copy.repro("pad", "sample")
    return copy


def copied(sampled: StudyCopy, root: Path) -> StudyCopy:
    return fast_study(root, TRIALS).take(sampled, "data", "runs", ".dvc/cache", "dvc.lock")


@pytest.fixture(scope="module")
def calm(sampled: StudyCopy, tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The study undisturbed."""
    copy = copied(sampled, tmp_path_factory.mktemp("calm") / "study")
    copy.repro("tune@rnn")
    return copy


@pytest.fixture
def hit(sampled: StudyCopy, tmp_path: Path) -> StudyCopy:
    """The study before `tune`, to be disturbed."""
    return copied(sampled, tmp_path / "study")


def resumed(copy: StudyCopy, calm: StudyCopy) -> str:
    """Finish the study, and return the output."""
    wait_until(lambda: not list(processes(copy)), copy)
    output = copy.repro("tune@rnn")
    assert tables(copy) == tables(calm)
    assert finished(copy) == TRIALS
    assert "runs RUNNING" not in stores(copy)
    assert list(processes(copy)) == []
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_study_and_the_next_command_finishes_it(
    number: int, hit: StudyCopy, calm: StudyCopy
) -> None:
    started = hit.start(*TUNE)
    wait_until(lambda: finished(hit) >= 3, hit, started)
    os.kill(started.pid, number)
    if number == signal.SIGINT:
        # Ctrl-C several times.
        for _ in range(3):
            time.sleep(0.2)
            if started.poll() is None:
                os.kill(started.pid, number)
    assert started.wait(60) == 130
    output = hit.root.with_suffix(".output").read_text()
    assert "stopped; finished runs are kept" in output
    assert "Traceback" not in output
    assert "were finished before" in resumed(hit, calm)


def test_two_repros_at_once(hit: StudyCopy, calm: StudyCopy) -> None:
    first = hit.start("dvc", "repro", "tune@rnn")
    wait_until(lambda: finished(hit) >= 2, hit, first)
    second = hit.run("dvc", "repro", "tune@rnn", check=False)
    assert second.returncode != 0
    assert "busy" in second.stderr + second.stdout or "lock" in second.stderr + second.stdout
    assert first.wait(300) == 0
    resumed(hit, calm)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """Mount a small file system on `folder`; yield a function that changes its options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")

    mount(options)
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(hit: StudyCopy, calm: StudyCopy) -> None:
    shutil.rmtree(hit.root / ".fairsweep", ignore_errors=True)
    # Room for the Optuna study and a few trials.
    with mounted(hit.root / ".fairsweep", "size=200k") as change:
        full = hit.run(*TUNE, check=False)
        assert full.returncode == 1
        # SQLite and the operating system word this error differently.
        assert re.search("no space left", full.stderr, re.IGNORECASE)
        assert "Traceback" not in full.stderr
        assert finished(hit) < TRIALS
        change("size=64m")
        resumed(hit, calm)


def test_a_folder_that_cannot_be_written_to(hit: StudyCopy, calm: StudyCopy) -> None:
    with mounted(hit.root / "runs/smoke/tune", "size=8m,ro") as change:
        refused = hit.run(*TUNE, check=False)
        assert refused.returncode == 1
        assert "runs/smoke/tune" in refused.stderr
        assert "Traceback" not in refused.stderr
        # The finished runs are in the state, although the tables were not written.
        assert finished(hit) == TRIALS
        change("rw")
        again = hit.run(*TUNE)
        assert f"{TRIALS} of {TRIALS} were finished before" in again.stdout
        assert tables(hit) == tables(calm)


@pytest.mark.skipif(
    shutil.which("faketime") is None, reason="needs faketime: apt-get install faketime"
)
def test_a_clock_that_goes_back(hit: StudyCopy, calm: StudyCopy) -> None:
    clock = hit.root / "clock"
    clock.write_text("+0d")
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"))
    fake = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
    }
    # By default libfaketime's waits on the monotonic clock return at once, and threads spin.
    fake["FAKETIME_FORCE_MONOTONIC_FIX"] = "0"
    words = [
        "env",
        *(
            f"{name}={value}"
            for name, value in {**fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}.items()
        ),
    ]
    started = hit.start(*words, *TUNE)
    for day, count in (("-1d", 2), ("+2d", 5), ("-30d", 8)):
        wait_until(lambda count=count: finished(hit) >= count, hit, started)
        clock.write_text(day)
    assert started.wait(300) == 0, hit.root.with_suffix(".output").read_text()
    assert tables(hit) == tables(calm)
    resumed(hit, calm)


def test_a_worker_that_is_frozen(hit: StudyCopy, calm: StudyCopy) -> None:
    impatient = "import runpy, pipeline.search.workers as workers; workers.FROZEN_SECONDS = 5.0"
    code = f"{impatient}; runpy.run_module('pipeline.tune', run_name='__main__', alter_sys=True)"
    started = hit.start("python", "-c", code, "study=smoke", "cell=rnn")
    wait_until(lambda: finished(hit) >= 2, hit, started)
    frozen = worker(hit, started.pid)
    frozen.suspend()
    assert started.wait(300) == 0, hit.root.with_suffix(".output").read_text()
    assert tables(hit) == tables(calm)
    resumed(hit, calm)
