"""A plugin of pytest: an interrupted pytest names the tests that were running, in whichever of its processes."""

import pytest

RUNNING: set[str] = set()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note that a test has started, in whichever process of pytest."""
    RUNNING.add(nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Note that a test has ended."""
    RUNNING.discard(nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that were running when pytest was interrupted."""
    for nodeid in sorted(RUNNING):
        terminalreporter.line(f"RUNNING {nodeid}")
