"""Install what the tests need, then run the levels of tests in the order of their importance, as far as the time allows.

The duration of each level was measured on one machine. A fixed computation says how many times slower this machine is. A level
that is not expected to end within LIMIT_SECONDS is not run, is listed as such, and does not count as passed.

    python3 .ci/levels.py
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 75 * 60
# The computation on the machine on which the levels were timed: an AMD EPYC at 2.4 GHz, 2 cores.
REFERENCE_SECONDS = 1.0
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
# tests/test_browser.py opens the report in Chromium; tests/test_servers.py starts PostgreSQL. Without root, these tests are skipped.
PACKAGES = ("chromium", "faketime", "postgresql", "strace")


class Level(NamedTuple):
    """A command and its duration in seconds on the machine of REFERENCE_SECONDS."""

    name: str
    command: str
    seconds: float


LEVELS = (
    Level("default", "make test", 480),
    Level("lint", "make lint", 60),
    Level("simulation", "make test LEVEL=simulation", 120),
    Level("long", "make test LEVEL=long", 720),
    Level("bench", ".venv/bin/python benchmarks/run.py --short", 240),
)


def measure() -> float:
    """Return how many times slower this machine is than the reference, with both cores busy as in the tests."""
    seconds = []
    for _ in range(2):
        command = [sys.executable, "-c", COMPUTATION]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        seconds.append(max(float(process.communicate()[0]) for process in running))
    return min(seconds) / REFERENCE_SECONDS


def run_levels(
    levels: Sequence[Level], factor: float, run: Callable[[str], bool], clock: Callable[[], float]
) -> list[tuple[str, str]]:
    """Run each level that fits into what is left of LIMIT_SECONDS.

    The levels that have run correct the factor upwards when they took longer than expected.

    Args:
        levels: in the order of their importance.
        factor: duration on this machine divided by the duration on the reference machine.
        run: runs a command and returns whether it succeeded.
        clock: seconds since the start of CI.

    Returns:
        (name, result) per level; the result begins with "passed", "failed" or "not run".
    """
    results = []
    expected = taken = 0.0
    for level in levels:
        seconds = level.seconds * max(factor, taken / expected if expected else 0.0)
        left = LIMIT_SECONDS - clock()
        if seconds > left:
            results.append((level.name, f"not run: about {seconds / 60:.0f} min, and {max(left, 0) / 60:.0f} min are left"))
            continue
        start = clock()
        passed = run(level.command)
        duration = clock() - start
        expected, taken = expected + level.seconds, taken + duration
        results.append((level.name, f"{'passed' if passed else 'failed'} in {duration:.0f} s, expected {seconds:.0f} s"))
    return results


def install() -> None:
    """Install Debian's packages, where this process may, and .venv."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-q", *PACKAGES], check=True)
    subprocess.run(["make", ".venv/bin/ready"], check=True)


def main() -> None:
    start = time.monotonic()
    os.chdir(ROOT)
    factor = measure()
    print(f"CI: this machine is {factor:.2f} times as slow as the one on which the levels were timed.", flush=True)
    install()
    print(f"CI: installed after {time.monotonic() - start:.0f} s.", flush=True)

    def run(command: str) -> bool:
        print(f"CI: {command}", flush=True)
        return subprocess.run(command, shell=True).returncode == 0

    results = run_levels(LEVELS, factor, run, lambda: time.monotonic() - start)
    for name, result in results:
        print(f"CI: {name}: {result}")
    print(f"CI: {time.monotonic() - start:.0f} s in all, factor {factor:.2f}.")
    sys.exit(any(result.startswith("failed") for _, result in results))


if __name__ == "__main__":
    main()
