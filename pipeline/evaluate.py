"""Opens the envelope: joins every run's predictions with the sealed test labels. No other stage reads those labels."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.config import Config, command, printed_numbers

Printed = Mapping[str, Mapping[str, Mapping[str, float]]]


def evaluate(config: Config, printed: Printed | None = None) -> int:
    """Writes results/STUDY/scores (a score a run, what each test row adds to it, the arms' tables joined); returns the runs.

    `printed` is what `config.printed_numbers` says of the study's recipes.
    """
    from pipeline.files import replace_folder
    from pipeline.reporting import forecast, join
    from pipeline.reporting.tables import form_of
    from pipeline.training.protocol import PROTOCOL

    data = Path("data") / config.name
    meta = join.read_meta(data)
    form = form_of(meta)
    sealed = join.open_seal(data, form)
    parts = join.read_runs(config, Path("runs") / config.name, form, sealed.labels)
    scores, examples = join.score_runs(parts, sealed, form)
    tables = {"scores": scores, **join.join_tables(parts)}
    if form.kind == "regression":
        tables["forecast"] = forecast.table(config.cells, parts, sealed.labels, form, data)
    with replace_folder(Path("results") / config.name / "scores") as folder:
        join.write(folder, join.describe(config, meta, PROTOCOL, printed), tables, examples, sealed)
    return len(scores)


@command
def main(config: Config) -> None:
    """The stage `evaluate`."""
    runs = evaluate(config, printed_numbers(config))
    print(f"Scored {runs} runs: results/{config.name}/scores")


if __name__ == "__main__":
    main()
