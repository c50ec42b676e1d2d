"""docs/reliability.md shows the figures of docs/reliability.json."""

import json
import sys
from pathlib import Path

import pytest

import night

FAULTS = {
    "kills": 2,
    "studies": 1,
    "restarts": 2,
    "kill -9: worker": 1,
    "kill -9: dvc": 1,
    "trials lost": 3,
    night.EMPTIED: 0,
}
MEASURED = {"date": "2026-01-02", "machine": "a laptop, 2 cores"}


def test_the_page_shows_the_figures() -> None:
    page = night.PAGE.read_text()
    assert night.with_table(page, json.loads(night.RESULTS.read_text())) == page


def test_each_part_has_its_date_and_machine_and_a_loss_is_listed() -> None:
    outcomes = {"passed": 7, "failed": 1, "skipped": 0, "seconds": 120}
    lines = night.table(
        {"tests": {**MEASURED, **outcomes}, "faults": {**MEASURED, **FAULTS}}
    ).splitlines()
    assert lines[2] == "| *tests* | *2026-01-02, a laptop, 2 cores* |"
    assert lines[3] == "| tests of the level night | 7 passed, 1 failed, 0 skipped, 2 min |"
    assert "| *faults* | *2026-01-02, a laptop, 2 cores* |" in lines
    assert any(line.startswith("| trials lost | 3 |") for line in lines)
    assert any("studies of 60 trials | 2 (worker 1, dvc 1) |" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "lost", "status"),
    [([], 0, 0), (["faults"], 0, 0), (["faults"], 3, "trials lost: 3"), (["nothing"], 0, 2)],
)
def test_the_parts_that_are_named_are_run_and_a_loss_is_a_failure(
    arguments: list[str],
    lost: int,
    status: int | str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RESULTS", "PAGE"):
        path = getattr(night, name)
        (tmp_path / path.name).write_text(path.read_text())
        monkeypatch.setattr(night, name, tmp_path / path.name)
    ran: list[str] = []
    long_run = json.loads(night.RESULTS.read_text())["long_run"]

    def part(name: str, found: dict) -> dict:
        ran.append(name)
        return found

    monkeypatch.setattr(
        night,
        "tests",
        lambda: part("tests", {"passed": 1, "failed": 0, "skipped": 0, "seconds": 60}),
    )
    monkeypatch.setattr(night, "faults", lambda *_: part("faults", {**FAULTS, "trials lost": lost}))
    monkeypatch.setattr(night, "long_run", lambda _: part("long_run", long_run))
    monkeypatch.setattr(sys, "argv", ["night", *arguments])
    with pytest.raises(SystemExit) as ended:
        night.main()
    assert ended.value.code == status
    assert ran == {(): ["tests", "faults", "long_run"], ("nothing",): []}.get(
        (*arguments,), arguments
    )
    assert night.machine() in night.PAGE.read_text() or not ran
