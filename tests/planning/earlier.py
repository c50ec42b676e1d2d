"""The rows of pipeline/planning/earlier.csv. `python tests/planning/earlier.py` writes the file."""

import json
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from pipeline.planning.power import TABLE, Row, summarize  # noqa: E402
from pipeline.scoring.results import load  # noqa: E402

# The budgets of which a study has a row, if it has enough trials.
BUDGETS = (2, 5, 10, 15)


def table() -> list[Row]:
    """One row per study with a search in results/ and per budget."""
    rows: list[Row] = []
    for path in sorted(ROOT.glob("results/*/scores/study.json")):
        if json.loads(path.read_text("utf-8"))["trials"]:
            results = load(path.parent)
            studied = [summarize(results, budget) for budget in BUDGETS]
            rows += [
                row for row, budget in zip(studied, BUDGETS, strict=True) if row["budget"] == budget
            ]
    return rows


if __name__ == "__main__":
    pd.DataFrame(table()).to_csv(TABLE, index=False)
