""".ci/levels.py runs the levels of tests that fit into the time, in their order, and no level that was not run counts as passed."""

import functools
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from study_copy import ROOT


@pytest.fixture
def levels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("levels", ROOT / ".ci/levels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(
    levels: ModuleType, factor: float, duration: Callable[[str, float], float], failing: str = ""
) -> dict[str, str]:
    """The result of each level when a command takes `duration(command, expected seconds at factor 1)` seconds."""
    now = 0.0
    seconds = {level.command: level.seconds for level in levels.LEVELS}

    def run(command: str, most: float) -> bool:
        nonlocal now
        assert now + most == levels.STOP_SECONDS
        now += duration(command, seconds[command])
        return command != failing

    found: dict[str, str] = levels.run_levels(levels.LEVELS, factor, run, lambda: now)
    return found


def test_every_level_runs_on_a_machine_that_is_twice_as_fast_as_that_of_the_table(
    levels: ModuleType,
) -> None:
    found = results(levels, 0.5, lambda _, seconds: seconds / 2)
    assert list(found) == ["default", "lint", "simulation", "long", "bench"]
    assert all(result.startswith("passed in ") for result in found.values())
    assert levels.succeeded(found)


def test_a_slow_machine_leaves_out_what_does_not_fit_and_says_so(levels: ModuleType) -> None:
    factor = levels.LIMIT_SECONDS / sum(level.seconds for level in levels.LEVELS[:3]) * 0.99
    found = results(levels, factor, lambda _, seconds: seconds * factor)
    assert [result.split()[0] for result in found.values()] == [
        "passed",
        "passed",
        "passed",
        "not",
        "not",
    ]
    assert re.fullmatch(r"not run: needs about \d+ min, \d+ min left", found["long"])
    assert levels.succeeded(found)


def test_a_machine_that_slows_down_is_noticed(levels: ModuleType) -> None:
    factor = 0.9 * levels.LIMIT_SECONDS / levels.LEVELS[0].seconds
    found = results(levels, 0.5, lambda _, seconds: seconds * factor)
    assert found["default"].startswith("passed")
    assert found["long"].startswith("not run")


def test_a_level_that_fails_is_no_reason_to_leave_out_the_next(levels: ModuleType) -> None:
    found = results(levels, 0.5, lambda _, seconds: seconds / 2, failing="make lint")
    assert found["lint"].startswith("failed in ")
    assert found["bench"].startswith("passed in ")
    assert not levels.succeeded(found)


def test_ci_fails_where_not_even_the_first_level_fits(levels: ModuleType) -> None:
    found = results(levels, 100.0, lambda _, seconds: seconds)
    assert all(result.startswith("not run") for result in found.values())
    assert not levels.succeeded(found)


def test_a_command_that_hangs_is_stopped_with_its_children(
    levels: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The background processes of a shell ignore SIGINT, so they end only when they are killed.
    monkeypatch.setattr(levels, "GRACE_SECONDS", 1)
    assert not levels.run(f"(sleep 60; touch {tmp_path}/late) & sleep 60", 0.2)
    assert not list(tmp_path.iterdir())
    assert levels.run("true", 60)


def test_an_interrupted_pytest_names_what_failed_and_what_was_running(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(
        "import pathlib, time\n"
        "def test_fails():\n    assert 1 == 2\n"
        "def test_hangs():\n    pathlib.Path('hangs').touch()\n    time.sleep(60)\n"
    )
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "1",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "running",
    ]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}"}
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    options = {
        "start_new_session": True,
        "preexec_fn": heard,
        "stdout": subprocess.PIPE,
        "text": True,
    }
    with subprocess.Popen(words, cwd=tmp_path, env=env, **options) as started:
        while not (tmp_path / "hangs").exists():
            assert started.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(started.pid, signal.SIGINT)
        output, _ = started.communicate(timeout=50)
    assert "FAILED test_two.py::test_fails - assert 1 == 2" in output
    assert "RUNNING test_two.py::test_hangs" in output


def test_a_short_level_runs_where_a_long_one_does_not_fit(levels: ModuleType) -> None:
    level = levels.Level
    planned = [level("long", "long", 10 * levels.LIMIT_SECONDS), level("short", "short", 1)]
    found = levels.run_levels(planned, 1.0, lambda *_: True, lambda: 0.0)
    assert found["long"].startswith("not run")
    assert found["short"].startswith("passed")
