"""Install the dependencies, then run the levels of tests in the order of their importance, within a time limit.

The duration of each level was measured on one machine. A fixed computation says how many times slower this machine is. A level runs
only if it is expected to end within LIMIT_SECONDS of the start of CI; otherwise it is listed as not run and does not count as passed.
CI fails if a level fails, or if the first level does not run.

    python3 .ci/levels.py
"""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 75 * 60
# A level that is still running after STOP_SECONDS is interrupted and counts as failed. After GRACE_SECONDS more it is killed.
STOP_SECONDS = 88 * 60
GRACE_SECONDS = 45
# Seconds that COMPUTATION took on the machine on which the levels were timed: an AMD EPYC at 2.4 GHz, 2 cores.
REFERENCE_SECONDS = 1.68
COMPUTATION = """
import hashlib, json, time
start = time.perf_counter()
table = {}
for number in range(400_000):
    table[str(number)] = number * number % 1000
json.loads(json.dumps(table))
sorted(table, key=table.__getitem__)
hashlib.sha256(bytes(100_000_000)).digest()
print(time.perf_counter() - start)
"""
# Programs that some tests need. A test is skipped if its program is missing.
PACKAGES = ("chromium", "faketime", "postgresql", "strace")


class Level(NamedTuple):
    """A command and its duration in seconds on the machine of REFERENCE_SECONDS."""

    name: str
    command: str
    seconds: float


# Measured in one run on a machine on which COMPUTATION took 0.44 times as long.
LEVELS = (
    Level("default", "make test", 1300),
    Level("lint", "make lint", 82),
    Level("simulation", "make test LEVEL=simulation", 105),
    Level("long", "make test LEVEL=long", 1910),
    Level("bench", ".venv/bin/python benchmarks/run.py --short", 735),
)


def say(text: str) -> None:
    print(f"CI: {text}", flush=True)


def measure() -> float:
    """Return how many times longer than on the reference machine COMPUTATION takes, in two processes at once as in the tests."""
    seconds = []
    for _ in range(2):
        command = [sys.executable, "-c", COMPUTATION]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        seconds.append(max(float(process.communicate()[0]) for process in running))
    return min(seconds) / REFERENCE_SECONDS


def run_levels(
    levels: Sequence[Level],
    factor: float,
    run: Callable[[str, float], bool],
    clock: Callable[[], float],
) -> dict[str, str]:
    """Run each level that fits into what is left of LIMIT_SECONDS.

    The factor is raised if the levels that have passed took longer than expected.

    Args:
        levels: in the order of their importance.
        factor: duration on this machine divided by the duration on the reference machine.
        run: runs a command, for at most the given number of seconds, and returns whether it succeeded.
        clock: seconds since the start of CI.

    Returns:
        The result per level; it begins with "passed", "failed" or "not run".
    """
    results = {}
    expected = taken = 0.0
    for level in levels:
        seconds = level.seconds * max(factor, taken / expected if expected else 0.0)
        start = clock()
        if seconds > LIMIT_SECONDS - start:
            left = max(LIMIT_SECONDS - start, 0.0)
            results[level.name] = (
                f"not run: needs about {seconds / 60:.0f} min, {left / 60:.0f} min left"
            )
        else:
            passed = run(level.command, STOP_SECONDS - start)
            duration = clock() - start
            if passed:
                expected, taken = expected + level.seconds, taken + duration
            results[level.name] = (
                f"{'passed' if passed else 'failed'} in {duration:.0f} s, expected {seconds:.0f} s"
            )
        say(f"{level.name}: {results[level.name]}")
    return results


def succeeded(results: dict[str, str]) -> bool:
    """Whether no level failed and the first one ran."""
    first = next(iter(results.values()))
    return first.startswith("passed") and not any(
        result.startswith("failed") for result in results.values()
    )


def run(command: str, seconds: float) -> bool:
    """Run a command with all that it starts, stop it after `seconds`, and return whether it succeeded."""
    say(command)
    # A job in the background of a shell ignores SIGINT, and so would the command.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=heard
    )
    try:
        return process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        # On SIGINT pytest prints the tests that failed and those that were running.
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            for _ in range(10 * GRACE_SECONDS):
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        say(f"stopped after {seconds:.0f} s")
        return False


def install() -> None:
    """Install Debian's packages, where this process may, and .venv."""
    commands = ["make .venv/bin/ready"]
    if shutil.which("apt-get") and os.geteuid() == 0:
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        commands = ["apt-get update -q", f"apt-get install -y -q {' '.join(PACKAGES)}", *commands]
    for command in commands:
        if not run(command, STOP_SECONDS):
            sys.exit(f"error: `{command}` failed. Check the network and run CI again.")


def main() -> None:
    start = time.monotonic()
    os.chdir(ROOT)
    factor = measure()
    say(f"the fixed computation took {factor:.2f} times as long as on the reference machine")
    install()
    say(f"installed after {time.monotonic() - start:.0f} s")
    results = run_levels(LEVELS, factor, run, lambda: time.monotonic() - start)
    for name, result in results.items():
        say(f"{name}: {result}")
    say(f"{time.monotonic() - start:.0f} s in all")
    sys.exit(0 if succeeded(results) else 1)


if __name__ == "__main__":
    main()
