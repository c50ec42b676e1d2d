"""replicate: one arm's best configuration and each recipe on R fresh seeds, and its champion. runs/STUDY/replicate/ARM/

Separate studies each have their own best configuration, and their own split.
"""

from pathlib import Path

from pipeline.config import Config, command, compose, replay_overrides, task_overrides, with_overrides
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder


def best_rows(config: Config) -> list[list[str] | None]:
    """The overrides of the best configuration of each study of the arm, as `tune` left them; None where nothing was searched."""
    import yaml

    path = Path("runs") / config.name / "tune" / config.cell.arm / "best.yaml"
    if not path.exists():
        raise FairsweepError(f"{path} is missing. Tune the cell first: dvc repro tune@{config.cell.arm}")
    chosen = {one["study"]: one["overrides"] for one in yaml.safe_load(path.read_text())["studies"]}
    if not config.search.trials:
        return [None for _ in config.search.numbers]
    if sorted(chosen) != list(config.search.numbers):
        raise FairsweepError(
            f"{path} has the best of {len(chosen)} studies. Expected {len(config.search.numbers)}. "
            f"Tune the cell again: dvc repro tune@{config.cell.arm}"
        )
    return [chosen[study] for study in config.search.numbers]


@command
def main(config: Config) -> None:
    from pipeline.data.arrays import checked_meta
    from pipeline.models.build import check_model
    from pipeline.search import tables
    from pipeline.search.champion import reproducible
    from pipeline.search.stage import complete
    from pipeline.search.state import Job, State, own_overrides, settings
    from pipeline.tracking import Tracker
    from pipeline.training.work import load_data

    rows = best_rows(config)
    data = load_data(config)
    recipes = {recipe: compose([*task_overrides(), f"recipe={recipe}"]) for recipe in config.recipes}
    for one in (config, *recipes.values()):
        checked_meta(Path("data") / config.name / "arrays", one.task)
        check_model(one, data.form)
    jobs = []
    for study, row in enumerate(rows):
        tuned = {} if row is None else {"tuned": (config, row, row)}
        kinds = tuned | {name: (base, [], [f"recipe={name}"]) for name, base in recipes.items()}
        for kind, (base, plain, overrides) in kinds.items():
            for number in range(config.search.replicates):
                own = own_overrides(config, study, kind, number)
                replay = [*replay_overrides(config), *overrides, *own]
                jobs.append(Job(kind, number, with_overrides(base, [*plain, *own]), replay, kind == "tuned", study))
    document = settings(config, "replicate", data.digest)
    with State.open(document) as state, Tracker.open(config, "replicate", data.digest, state) as tracker:
        records = complete("replicate", config, jobs, state, [tracker.log], form=data.form)
        champion = tables.best([record for record in records if record.job.kind == "tuned"])
        if champion is None and config.search.trials:
            raise FairsweepError(f"every replicate of {config.cell.arm} failed: {records[0].run.reason}")
        target = Path("runs") / config.name / "replicate" / config.cell.arm
        with replace_folder(target) as folder:
            tables.write_runs(folder, "replicates", ["kind", "replicate"], config, records)
            if champion:
                (folder / "champion.keras").write_bytes(reproducible(champion.run.model or b""))
        if champion:
            tracker.register(target / "champion.keras", champion)


if __name__ == "__main__":
    main()
