"""results/STUDY/report, made by `report` and made again by `audit`."""

from pathlib import Path
from typing import Any

from pipeline.reporting import cards, html, limits_page, looks, page, plots
from pipeline.reporting.curves import curves
from pipeline.reporting.metrics import metrics, particulars
from pipeline.reporting.tables import Results

PROBE = Path("results/probe")


def make(results: Results, before: Path, folder: Path) -> dict[str, Any]:
    """Fills `folder` from the scores and the record of looks `before`; returns what metrics.json holds."""
    seen, refusal = looks.record(before, results.study)
    drawn = curves(results)
    found = {**metrics(results, refusal), **particulars(results, drawn)}
    figures = plots.draw_all(found, results, drawn.table)
    if (told := limits_page.told(PROBE)) is not None:
        found["probe"], figures["limits"] = told, limits_page.figure(PROBE)
    for name, table in (("looks", seen), ("curves", drawn.table)):
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    page.write(folder, found, results, figures)
    html.write(folder, found, results, figures)
    plots.write(folder / "plots", figures)
    cards.write(folder / "cards", found, results)
    return found
