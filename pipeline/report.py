"""Turns the scores of a study into verdicts, or refuses with a reason: report.html, report.md, metrics.json, curves, plots, cards."""

from pathlib import Path
from typing import Any

from pipeline.config import Config, Printed, check_design, command, printed_numbers, task_overrides


def report(config: Config, printed: Printed | None = None) -> dict[str, Any]:
    """Reads results/STUDY/scores and the record of looks, writes results/STUDY/report, returns what metrics.json holds.

    `printed` is what `config.printed_numbers` says of the study's recipes.
    """
    from pipeline.files import replace_folder
    from pipeline.reporting import gate, tables
    from pipeline.reporting.join import describe
    from pipeline.reporting.whole import make
    from pipeline.training.protocol import PROTOCOL

    check_design(config, installed=False)
    target = Path("results") / config.name / "report"
    results = tables.load(target.with_name("scores"))
    gate.check(results, describe(config, results.study["data"], PROTOCOL, printed))
    with replace_folder(target) as folder:
        return make(results, target / "looks.csv", folder)


@command
def main(config: Config) -> None:
    """The stage `report`."""
    from pipeline import tracking
    from pipeline.reporting import words

    found = report(config, printed_numbers(config, task_overrides()))
    for told in words.flag_sentences(found):
        print(f"warning: {told}")
    folder = Path("results") / config.name / "report"
    text = words.answer(found)
    print(f"{text}\n{folder}/report.html")
    # A missing store changes nothing.
    if page := tracking.answer(config, found, words.short(found), text, folder):
        print(f"In MLflow (make ui): http://127.0.0.1:5000/#{page}")


if __name__ == "__main__":
    main()
