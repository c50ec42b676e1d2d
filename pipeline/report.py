"""Turns the scores of a study into verdicts, or refuses with a reason: report.html, report.md, metrics.json, curves, plots, cards."""

from pathlib import Path
from typing import TYPE_CHECKING

from .config.cli import command
from .config.compose import arm_spaces, printed_numbers, task_overrides
from .config.schema import Config, Printed
from .config.validation import check_design

if TYPE_CHECKING:
    from .analysis.types import Summary


def report(config: Config, printed: Printed | None = None) -> "Summary":
    """Reads results/STUDY/scores and the record of looks, writes results/STUDY/report, returns what metrics.json holds.

    `printed` is what `config.printed_numbers` says of the study's recipes.
    """
    from .files import replace_folder
    from .rendering.build import make
    from .scoring import results as tables
    from .scoring import validate
    from .scoring.join import describe
    from .training.protocol import PROTOCOL

    check_design(config, installed=False)
    target = Path("results") / config.name / "report"
    results = tables.load(target.with_name("scores"))
    validate.check(results, describe(config, results.study["data"], PROTOCOL, printed))
    with replace_folder(target) as folder:
        return make(results, target / "looks.csv", folder)


@command
def main(config: Config) -> None:
    """The stage `report`."""
    from . import tracking
    from .rendering.markdown import flag_sentences, sentence

    config.arm_spaces = arm_spaces(config.cells)
    summary = report(config, printed_numbers(config, task_overrides()))
    for problem in flag_sentences(summary):
        print(f"warning: {problem}")
    folder = Path("results") / config.name / "report"
    answer = sentence("answer", summary)
    print(f"{answer}\n{folder}/report.html")
    # A missing store changes nothing.
    if page := tracking.answer(config, summary, sentence("short", summary), answer, folder):
        print(f"In MLflow (make ui): http://127.0.0.1:5000/#{page}")


if __name__ == "__main__":
    main()
