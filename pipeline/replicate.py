"""replicate: one arm's best configuration and each recipe, on R seeds. runs/STUDY/replicate/ARM/

The best of these runs is the arm's champion. Repeated searches each have their own best
configuration, and their own split.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .config.cli import command
from .config.compose import compose, replay_overrides, task_overrides, with_overrides
from .config.schema import Config
from .config.validation import check_arm
from .errors import FairsweepError
from .files import reading, replace_folder

if TYPE_CHECKING:
    from .search.run_store import Job


def best_rows(config: Config) -> list[list[str] | None]:
    """Return the overrides of the best configuration of each of the arm's searches.

    Without a search each is None. Raises FairsweepError if the file of `tune` does not fit.
    """
    import yaml

    from .search.space import values_of

    path = Path("runs") / config.name / "tune" / config.cell.arm / "best.yaml"
    remedy = f"Tune the cell first: dvc repro tune@{config.cell.arm}"
    with reading(path, remedy):
        entries = yaml.safe_load(path.read_text("utf-8"))["repeats"]
        chosen = {entry["repeat"]: list(map(str, entry["overrides"])) for entry in entries}
        for row in chosen.values():
            values_of(config, row, str(path), remedy)
    repeats = config.search.numbers
    if not config.search.trials:
        return [None for _ in repeats]
    if sorted(chosen) != list(repeats):
        raise FairsweepError(
            f"{path} has the best trials of {len(chosen)} searches, but the study has "
            f"{len(repeats)}. Tune the cell again: dvc repro tune@{config.cell.arm}"
        )
    return [chosen[repeat] for repeat in repeats]


def jobs(config: Config, recipes: dict[str, Config], replay: list[str]) -> list["Job"]:
    """Return R jobs of the best configuration of each search, and of each recipe.

    `replay` are the overrides that all runs have.
    """
    from .search.run_store import Job, seed_overrides

    jobs = []
    for repeat, best in enumerate(best_rows(config)):
        # Per kind: the configuration, and the overrides that give it and that replay it.
        kinds: dict[str, tuple[Config, list[str], list[str]]] = {}
        if best is not None:
            kinds["tuned"] = config, best, best
        kinds |= {name: (recipe, [], [f"recipe={name}"]) for name, recipe in recipes.items()}
        for kind, (base, row, overrides) in kinds.items():
            for number in range(config.search.replicates):
                seeds = seed_overrides(config, repeat, kind, number)
                trained = with_overrides(base, [*row, *seeds])
                replayed = [*replay, *overrides, *seeds]
                jobs.append(Job(kind, number, trained, replayed, kind == "tuned", repeat))
    return jobs


@command
def main(config: Config) -> None:
    """Train the missing replicates of the arm, and write the tables and the champion."""
    from .checks import flags, inputs
    from .data.arrays import checked_meta
    from .models.build import check_model
    from .monitor import Progress
    from .provenance import write_origin
    from .search import tables
    from .search.run_stage import run_shared_search
    from .search.run_store import State, settings
    from .search.workers import check_cluster
    from .serving import carried
    from .serving.keras_archive import reproducible
    from .tracking import Tracker
    from .training.protocol import PROTOCOL
    from .training.worker import load_data

    check_arm(config)
    check_cluster(config.cluster)
    recipes = {
        recipe: compose([*task_overrides(), f"recipe={recipe}"]) for recipe in config.recipes
    }
    # Before the data, because without a best configuration the stage cannot start.
    replicates = jobs(config, recipes, replay_overrides(config))
    data, arrays = load_data(config), Path("data") / config.name / "arrays"
    for trained in (config, *recipes.values()):
        checked_meta(arrays, trained.task)
        check_model(trained, data.spec)
    flagged = inputs.check_recipes(config, recipes, arrays)
    flags.report(config, "replicate", flagged)
    with (
        State.open(settings(config, "replicate", data.digest)) as state,
        Tracker(config, "replicate", data.digest, state, data.spec).recording() as tracker,
    ):
        with Progress("replicate", config, state, data.spec) as display:
            records = run_shared_search(config, replicates, state, [tracker.log], display)
        champion = tables.best([record for record in records if record.job.kind == "tuned"])
        if champion is None and config.search.trials:
            raise FairsweepError(
                f"every replicate of {config.cell.arm} failed: {records[0].run.reason}. Train one "
                f"run to see why, python -m pipeline.train study={config.name} "
                f"cell={config.cell.arm}, or narrow conf/space and tune again."
            )
        target = Path("runs") / config.name / "replicate" / config.cell.arm
        with replace_folder(target) as folder:
            tables.write_runs(folder, "replicates", ["kind", "replicate"], config, records)
            write_origin(folder, PROTOCOL, data.digest)
            flags.write(folder, config, flagged)
            if champion:
                # The file includes the vocabulary. A repeated search may have another split.
                trained = champion.job.config
                reader = carried.reader(trained, load_data(trained), arrays, champion.job.name)
                model = reproducible(champion.run.model or b"", carried.members(reader))
                (folder / "champion.keras").write_bytes(model)
        if champion:
            tracker.register(target / "champion.keras", champion)


if __name__ == "__main__":
    main()
