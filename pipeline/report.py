"""Turns the scores of a study into report.html, report.md, metrics.json and plots, or refuses with a reason."""

from pathlib import Path
from typing import Any

from pipeline.config import Config, check_design, command


def report(config: Config) -> dict[str, Any]:
    """Reads results/STUDY/scores and nothing else, writes results/STUDY/report, returns what metrics.json holds."""
    import pandas as pd

    from pipeline.files import replace_folder
    from pipeline.reporting import gate, html, page, plots, tables
    from pipeline.reporting.join import describe
    from pipeline.reporting.metrics import metrics
    from pipeline.training.protocol import PROTOCOL

    check_design(config, installed=False)
    results = tables.load(Path("results") / config.name / "scores")
    gate.check(results, describe(config, results.study["data"], PROTOCOL))
    found = metrics(results)
    with replace_folder(Path("results") / config.name / "report") as folder:
        figures = plots.draw_all(found, results, pd.DataFrame(columns=["arm", "curve", "budget", "value", "low", "high"]))
        page.write(folder, found, results, figures)
        html.write(folder, found, results, figures)
        plots.write(folder / "plots", figures)
    return found


@command
def main(config: Config) -> None:
    """The stage `report`."""
    from pipeline import tracking

    metrics = report(config)
    print(f"results/{config.name}/report/report.html: champion {metrics['champion']['arm']}")
    # Sets the registry's alias; a missing store changes nothing.
    tracking.crown(config.name, metrics["champion"]["arm"])


if __name__ == "__main__":
    main()
