"""Turns the scores of a study into verdicts: report.html, report.md, metrics.json, curves.csv, plots; or refuses with a reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config, check_design, command, printed_numbers, task_overrides

Printed = Mapping[str, Mapping[str, Mapping[str, float]]]


PROBE = Path("results/probe")


def report(config: Config, printed: Printed | None = None) -> dict[str, Any]:
    """Reads results/STUDY/scores and the record of looks, writes results/STUDY/report, returns what metrics.json holds.

    `printed` is what `config.printed_numbers` says of the study's recipes.
    """
    from pipeline.files import replace_folder
    from pipeline.reporting import gate, html, limits_page, looks, page, plots, tables
    from pipeline.reporting.curves import curves
    from pipeline.reporting.join import describe
    from pipeline.reporting.metrics import metrics, particulars
    from pipeline.training.protocol import PROTOCOL

    check_design(config, installed=False)
    target = Path("results") / config.name / "report"
    results = tables.load(target.with_name("scores"))
    gate.check(results, describe(config, results.study["data"], PROTOCOL, printed))
    seen, refusal = looks.record(target / "looks.csv", results.study)
    drawn = curves(results)
    found = {**metrics(results, refusal), **particulars(results, drawn)}
    figures = plots.draw_all(found, results, drawn.table)
    if (told := limits_page.told(PROBE)) is not None:
        found["probe"], figures["limits"] = told, limits_page.figure(PROBE)
    with replace_folder(target) as folder:
        for name, table in (("looks", seen), ("curves", drawn.table)):
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        page.write(folder, found, results, figures)
        html.write(folder, found, results, figures)
        plots.write(folder / "plots", figures)
    return found


@command
def main(config: Config) -> None:
    """The stage `report`."""
    from pipeline import tracking
    from pipeline.reporting import words

    found = report(config, printed_numbers(config, task_overrides()))
    print(f"{words.answer(found)}\nresults/{config.name}/report/report.html")
    # Sets the registry's alias; a missing store changes nothing, and without a search there is no champion.
    if found["champion"]:
        tracking.crown(config.name, found["champion"]["arm"])


if __name__ == "__main__":
    main()
