"""What a user waits for: `download` from a local file and `pad`, `dvc repro` with nothing to do, `--help` of every command."""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from project import Project, report

from study_copy import StudyCopy

COMMANDS = (
    "download",
    "pad",
    "sample",
    "tune",
    "replicate",
    "baseline",
    "evaluate",
    "report",
    "train",
    "compare",
    "probe",
    "plan",
)


def measure(short: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name) / "project", short)
        data = project.data()
        help_seconds = {
            command: round(
                median(
                    project.time("-m", f"pipeline.{command}", "--help")
                    for _ in range(1 if short else 3)
                ),
                2,
            )
            for command in COMMANDS
        }
        found: dict[str, Any] = {"data": data, "help": help_seconds}
        if not short:
            copy = StudyCopy(Path(name) / "smoke", "smoke")
            copy.repro()
            took = []
            for _ in range(3):
                started = time.perf_counter()
                assert "Running stage" not in copy.repro()
                took.append(time.perf_counter() - started)
            found["noop"] = round(median(took), 2)
    return found


if __name__ == "__main__":
    report(measure)
