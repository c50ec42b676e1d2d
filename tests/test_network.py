"""No command calls anyone that the user did not ask for."""

import sys
from pathlib import Path

import pytest

from study_copy import StudyCopy


def test_a_whole_study_calls_nobody(smoke: StudyCopy) -> None:
    assert smoke.called() == []


@pytest.mark.parametrize(
    "command",
    [
        "import socket; socket.getaddrinfo('one.invalid', 80)",
        "import urllib.request as u; u.urlopen('http://192.0.2.1', timeout=0.1)",
    ],
)
def test_a_call_would_be_seen(command: str, tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke")
    assert copy.called() == []
    copy.run(sys.executable, "-c", command, check=False)
    assert len(copy.called()) >= 1
