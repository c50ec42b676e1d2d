"""replicate: one arm's best configuration and each recipe on R fresh seeds, and its champion. runs/STUDY/replicate/ARM/

Separate studies each have their own best configuration, and their own split.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, check_arm, command, compose, replay_overrides, task_overrides, with_overrides
from pipeline.documents import check
from pipeline.errors import FairsweepError
from pipeline.files import reading, replace_folder

if TYPE_CHECKING:
    from pipeline.search.state import Job


def best_rows(config: Config) -> list[list[str] | None]:
    """The overrides of the best configuration of each study of the arm, as `tune` left them; None where nothing was searched."""
    import yaml

    from pipeline.search.space import values_of

    path = Path("runs") / config.name / "tune" / config.cell.arm / "best.yaml"
    remedy = f"Tune the cell first: dvc repro tune@{config.cell.arm}"
    with reading(path, remedy):
        check(path)
        chosen = {one["study"]: list(map(str, one["overrides"])) for one in yaml.safe_load(path.read_text("utf-8"))["studies"]}
        for row in chosen.values():
            values_of(config, row, str(path), remedy)
    if not config.search.trials:
        return [None for _ in config.search.numbers]
    if sorted(chosen) != list(config.search.numbers):
        raise FairsweepError(
            f"{path} has the best of {len(chosen)} studies. Expected {len(config.search.numbers)}. "
            f"Tune the cell again: dvc repro tune@{config.cell.arm}"
        )
    return [chosen[study] for study in config.search.numbers]


def jobs(config: Config, recipes: dict[str, Config], replay: list[str]) -> list["Job"]:
    """R jobs of the best configuration of each study and of each recipe; `replay` are the overrides that every run has."""
    from pipeline.search.state import Job, own_overrides

    made = []
    for study, row in enumerate(best_rows(config)):
        tuned = {} if row is None else {"tuned": (config, row, row)}
        kinds = tuned | {name: (base, [], [f"recipe={name}"]) for name, base in recipes.items()}
        for kind, (base, plain, overrides) in kinds.items():
            for number in range(config.search.replicates):
                own = own_overrides(config, study, kind, number)
                trained = with_overrides(base, [*plain, *own])
                made.append(Job(kind, number, trained, [*replay, *overrides, *own], kind == "tuned", study))
    return made


@command
def main(config: Config) -> None:
    from pipeline.data.arrays import checked_meta
    from pipeline.gates import flags, inputs
    from pipeline.models.build import check_model
    from pipeline.provenance import write_origin
    from pipeline.search import tables
    from pipeline.search.champion import reproducible
    from pipeline.search.stage import complete
    from pipeline.search.state import State, settings
    from pipeline.search.workers import check_cluster
    from pipeline.serving import carried
    from pipeline.tracking import Tracker
    from pipeline.training.protocol import PROTOCOL
    from pipeline.training.work import load_data

    check_arm(config)
    check_cluster(config.cluster)
    recipes = {recipe: compose([*task_overrides(), f"recipe={recipe}"]) for recipe in config.recipes}
    # First of all the best configuration, without which nothing is to be done.
    made = jobs(config, recipes, replay_overrides(config))
    data, arrays = load_data(config), Path("data") / config.name / "arrays"
    for one in (config, *recipes.values()):
        checked_meta(arrays, one.task)
        check_model(one, data.form)
    flagged = inputs.of_recipes(config, recipes, arrays)
    flags.tell(config, "replicate", flagged)
    document = settings(config, "replicate", data.digest)
    with State.open(document) as state, Tracker.open(config, "replicate", data.digest, state, data.form) as tracker:
        records = complete("replicate", config, made, state, [tracker.log], form=data.form)
        champion = tables.best([record for record in records if record.job.kind == "tuned"])
        if champion is None and config.search.trials:
            raise FairsweepError(
                f"every replicate of {config.cell.arm} failed: {records[0].run.reason}. Expected one that finished: see whether one run "
                f"trains, python -m pipeline.train study={config.name} cell={config.cell.arm}, or narrow conf/space and tune again."
            )
        target = Path("runs") / config.name / "replicate" / config.cell.arm
        with replace_folder(target) as folder:
            tables.write_runs(folder, "replicates", ["kind", "replicate"], config, records)
            write_origin(folder, PROTOCOL, data.digest)
            flags.write(folder, config, flagged)
            if champion:
                # Its vocabulary goes where it goes. Its study may have a split of its own.
                trained = champion.job.config
                reader = carried.reader(trained, load_data(trained), Path("data") / config.name / "arrays", champion.job.name)
                (folder / "champion.keras").write_bytes(reproducible(champion.run.model or b"", carried.members(reader)))
        if champion:
            tracker.register(target / "champion.keras", champion)


if __name__ == "__main__":
    main()
