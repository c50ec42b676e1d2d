"""Opens the envelope: joins every run's predictions with the sealed test labels. No other stage reads those labels."""

from pathlib import Path

from pipeline.config import Config, command


def evaluate(config: Config) -> int:
    """Writes results/STUDY/scores (a score a run, who got which review right, the arms' tables joined); returns the runs."""
    from pipeline.files import replace_folder
    from pipeline.reporting import join
    from pipeline.training.protocol import PROTOCOL

    data = Path("data") / config.name
    sealed = join.open_seal(data)
    parts = join.read_runs(config, Path("runs") / config.name, sealed.labels.size)
    scores, correct = join.score_runs(parts, sealed)
    study = join.describe(config, join.read_meta(data), PROTOCOL)
    with replace_folder(Path("results") / config.name / "scores") as folder:
        join.write(folder, study, {"scores": scores, **join.join_tables(parts)}, correct, sealed)
    return len(scores)


@command
def main(config: Config) -> None:
    """The stage `evaluate`."""
    print(f"Scored {evaluate(config)} runs: results/{config.name}/scores")


if __name__ == "__main__":
    main()
