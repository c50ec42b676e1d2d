"""Joins every run's predictions with the sealed test labels: opens the envelope. No other stage reads those labels."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.config import Config, Printed, command, printed_numbers, task_overrides


def evaluate(config: Config, printed: Printed | None = None, copied: Callable[[Config], Mapping[str, int]] | None = None) -> int:
    """Writes results/STUDY/scores (a score a run, what each test row adds to it, the arms' tables joined); returns the runs.

    `printed` is what `config.printed_numbers` says of the study's recipes, `copied` counts rows that stand in two parts.
    """
    from pipeline.files import replace_folder
    from pipeline.reporting import join
    from pipeline.reporting.scoring import score

    study, tables, *rest = score(config, printed, copied)
    with replace_folder(Path("results") / config.name / "scores") as folder:
        join.write(folder, study, tables, *rest)
    return len(tables["scores"])


@command
def main(config: Config) -> None:
    """The stage `evaluate`."""
    from pipeline.reporting.copies import copies

    runs = evaluate(config, printed_numbers(config, task_overrides()), copies)
    print(f"Scored {runs} runs: results/{config.name}/scores")


if __name__ == "__main__":
    main()
