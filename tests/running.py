"""A pytest plugin: when pytest is interrupted, it lists the tests that were running in any of its processes."""

import pytest

RUNNING: set[str] = set()
INTERRUPTED: list[bool] = []


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note that a test has started in any process of pytest."""
    RUNNING.add(nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Note that a test has ended."""
    RUNNING.discard(nodeid)


def pytest_keyboard_interrupt() -> None:
    """Note that pytest was interrupted."""
    INTERRUPTED.append(True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that were running when pytest was interrupted."""
    for nodeid in sorted(RUNNING) if INTERRUPTED else []:
        terminalreporter.line(f"RUNNING {nodeid}")
