"""Score all runs with the sealed test labels. No other stage reads these labels."""

from collections.abc import Callable, Mapping
from pathlib import Path

from .config.cli import command
from .config.compose import arm_spaces, printed_numbers, task_overrides
from .config.schema import Config, Printed


def evaluate(
    config: Config,
    printed: Printed | None = None,
    duplicates: Callable[[Config], Mapping[str, int]] | None = None,
) -> int:
    """Write results/STUDY/scores and return the number of scored runs.

    The folder holds one score per run, the contribution of each test row, and the joined tables of
    the arms. The arguments are those of `scoring.score.score`, which raises FairsweepError.
    """
    from .files import replace_folder
    from .scoring import join
    from .scoring.score import score

    study, tables, *arrays = score(config, printed, duplicates)
    with replace_folder(Path("results") / config.name / "scores") as folder:
        join.write(folder, study, tables, *arrays)
    return len(tables["scores"])


@command
def main(config: Config) -> None:
    """Run the stage `evaluate`."""
    from .scoring.duplicates import count_duplicates

    config.arm_spaces = arm_spaces(config.cells)
    runs = evaluate(config, printed_numbers(config, task_overrides()), count_duplicates)
    print(f"Scored {runs} runs: results/{config.name}/scores")


if __name__ == "__main__":
    main()
