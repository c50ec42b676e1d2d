"""docs/reliability.md shows the figures of docs/reliability.json."""

import json

import night

FAULTS = {"kills": 2, "studies": 1, "restarts": 2, "kill -9: worker": 1, "kill -9: dvc": 1, "trials lost": 3, night.EMPTIED: 0}
MEASURED = {"date": "2026-01-02", "machine": "a laptop, 2 cores"}


def test_the_page_shows_the_figures() -> None:
    page = night.PAGE.read_text()
    assert night.with_table(page, json.loads(night.RESULTS.read_text())) == page


def test_each_figure_has_its_date_and_machine_and_a_loss_is_listed() -> None:
    outcomes = {"passed": 7, "failed": 1, "skipped": 0, "seconds": 120}
    lines = night.table({"tests": {**MEASURED, **outcomes}, "faults": {**MEASURED, **FAULTS}}).splitlines()
    assert all(line.endswith("| 2026-01-02 | a laptop, 2 cores |") for line in lines[2:])
    assert lines[2].startswith("| tests of the level night | 7 passed, 1 failed, 0 skipped, 2 min |")
    assert any(line.startswith("| trials lost | 3 |") for line in lines)
    assert any("studies of 60 trials | 2 (worker 1, dvc 1) |" in line for line in lines)
