"""replicate: one arm's best configuration and each recipe on R fresh seeds, and its champion. runs/STUDY/replicate/ARM/"""

from pathlib import Path

from pipeline.config import Config, command, compose, replay_overrides, task_overrides, with_overrides
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder


def best_row(config: Config) -> list[str]:
    """The overrides of the arm's best configuration, as `tune` left them."""
    import yaml

    path = Path("runs") / config.name / "tune" / config.cell.arm / "best.yaml"
    if not path.exists():
        raise FairsweepError(f"{path} is missing. Tune the cell first: dvc repro tune@{config.cell.arm}")
    return yaml.safe_load(path.read_text())["overrides"]


@command
def main(config: Config) -> None:
    from pipeline.search import tables
    from pipeline.search.champion import reproducible
    from pipeline.search.stage import complete
    from pipeline.search.state import Job, State, run_seed, settings
    from pipeline.tracking import Tracker
    from pipeline.training.work import load_data

    row = best_row(config)
    data = load_data(config)
    kinds = {"tuned": (config, row)}
    for recipe in config.recipes:
        kinds[recipe] = (compose([*task_overrides(), f"recipe={recipe}"]), [f"recipe={recipe}"])
    jobs = []
    for kind, (base, overrides) in kinds.items():
        plain = overrides if kind == "tuned" else []
        for number in range(config.search.replicates):
            seed = f"seed={run_seed(config.seed, config.cell.arm, kind, number)}"
            trained = with_overrides(base, [*plain, seed])
            jobs.append(Job(kind, number, trained, [*replay_overrides(config), *overrides, seed], keep_model=kind == "tuned"))
    document = settings(config, "replicate", data.digest)
    with State.open(document) as state, Tracker.open(config, "replicate", data.digest, state) as tracker:
        records = complete("replicate", config, jobs, state, [tracker.log])
        champion = tables.best([record for record in records if record.job.kind == "tuned"])
        if champion is None:
            raise FairsweepError(f"every replicate of {config.cell.arm} failed: {records[0].run.reason}")
        target = Path("runs") / config.name / "replicate" / config.cell.arm
        with replace_folder(target) as folder:
            tables.write_runs(folder, "replicates", ["kind", "replicate"], config, records)
            (folder / "champion.keras").write_bytes(reproducible(champion.run.model or b""))
        tracker.register(target / "champion.keras", champion)


if __name__ == "__main__":
    main()
