"""docs/performance.md says what benchmarks/results.json holds, and nothing else."""

import json
import sys

from study_copy import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import run


def test_the_table_is_that_of_the_results() -> None:
    found = json.loads(run.RESULTS.read_text())
    page = run.PAGE.read_text()
    assert run.with_table(page, found) == page


def test_a_bar_that_is_missed_is_told() -> None:
    found = json.loads(run.RESULTS.read_text())
    found["commands"]["noop"] = 60.0
    row = next(line for line in run.table(found).splitlines() if "nothing to do" in line)
    assert row.endswith("| 60.00 s | ≤ 6 s | no |")
    found["commands"]["noop"] = 0.5
    assert "| 0.50 s | ≤ 6 s | yes |" in run.table(found)
