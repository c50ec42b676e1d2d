"""Writes results/STUDY/report. `report` and `audit` call it."""

import json
from pathlib import Path

from ..analysis import interim
from ..analysis.summary import summarize
from ..analysis.tuning_curves import curves
from ..analysis.types import Summary
from ..scoring.results import Results
from . import figures, html, markdown, model_cards, probe_page

PROBE = Path("results/probe")


def make(results: Results, before: Path, folder: Path) -> Summary:
    """Fills `folder` with the report of a study and returns its summary.

    Args:
        results: the tables of results/STUDY/scores.
        before: the record of earlier looks, looks.csv, which need not exist.
        folder: an empty folder.
    """
    looks, refusal = interim.record(before, results.study)
    drawn = curves(results)
    summary = summarize(results, refusal, drawn)
    plots = figures.draw_all(summary, results, drawn.table)
    if (probe := probe_page.summary(PROBE)) is not None:
        summary["probe"], plots["limits"] = probe, probe_page.figure(PROBE)
    for name, table in (("looks", looks), ("curves", drawn.table)):
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    page = markdown.report(summary, results.study, list(plots))
    (folder / "report.md").write_text(page, encoding="utf-8")
    (folder / "report.html").write_text(html.report(page, plots), encoding="utf-8")
    figures.write(folder / "plots", plots)
    model_cards.write(folder / "cards", summary, results)
    return summary
