"""A synthetic study as the report takes it: summary, tables, curves and figures, with all that a report may show."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.summary import summarize
from pipeline.data.spec import TaskSpec
from pipeline.evaluate import evaluate
from pipeline.rendering import figures as plots
from pipeline.rendering import html, markdown
from pipeline.scoring import results as tables
from synthetic import Study

# What else a study may name: what a row is and what rows share, the unit, and the classes.
EVIL_FORM = TaskSpec(
    example="<b>row</b> $x$",
    group="<i onclick=alert(4)>",
    classes=["=cmd|' /C calc'!A0", "<script>alert(5)</script>"],
)
EVIL = ("<img src=x onerror=alert(1)>", "<script>alert(1)<x>", "$x$ & \"y\" 'z'")
KEYS = ("train.learning_rate", "model.units")


@dataclass
class Shown:
    """A study as the report shows it."""

    summary: dict[str, Any]
    results: tables.Results
    figures: dict[str, str]

    @property
    def html(self) -> str:
        """report.html."""
        return html.report(self.markdown, self.figures)

    @property
    def markdown(self) -> str:
        """report.md."""
        return markdown.report(self.summary, self.results.study, list(self.figures))


def shown(root: Path, cells: tuple[str, ...], spec: TaskSpec | None = None) -> Shown:
    """A study of `cells` under `root`, evaluated and drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        study = Study(root, cells=cells, failed=((cells[0], 1),), spec=spec or TaskSpec()).write()
        evaluate(study.config)
        results = tables.load(root / "results/tiny/scores")
    summary = {**summarize(results), **extras(cells)}
    return Shown(summary, results, plots.draw_all(summary, results, tuning(cells)))


def extras(cells: tuple[str, ...]) -> dict[str, Any]:
    """What a study of eight trials is too small for, or has no reason to show."""
    shares = {
        "evaluator": "fanova",
        "trials": 60,
        "shares": dict(zip(KEYS, (0.9, 0.1), strict=True)),
        "baseline": 0.3,
    }
    edge = {
        "key": KEYS[0],
        "value": 0.0011,
        "position": 0.02,
        "side": "low",
        "chance": 0.0016,
        "chance_any": 0.0098,
    }
    return {
        "importance": {arm: {**shares, "named": [KEYS[0]], "note": None} for arm in cells},
        "edges": {
            arm: [{**edge, "warning": arm == cells[0], "remedy": "search lower too"}]
            for arm in cells
        },
        "order_changes": [{"a": cells[0], "b": cells[1], "n1": 2, "n2": 6}],
        "curve_notes": ["The curve ends where it can be told."],
        "groups": 16,
    }


def tuning(cells: tuple[str, ...]) -> pd.DataFrame:
    """Curves of every kind for each cell, the band of the median open above from four trials on."""
    rows = []
    for place, arm in enumerate(cells):
        for kind in (
            "validation_mean",
            "validation_median",
            "validation_best",
            "test",
            "test_epochs",
            "test_seconds",
        ):
            for n in range(1, 9):
                value = 0.8 - 0.1 / n - 0.01 * place
                high = np.nan if kind == "validation_median" and n > 3 else value + 0.02
                rows.append(
                    (
                        arm,
                        kind,
                        3.0 * n if kind.startswith("test_") else n,
                        value,
                        value - 0.02,
                        high,
                    )
                )
    return pd.DataFrame(rows, columns=["arm", "curve", "budget", "value", "low", "high"])
