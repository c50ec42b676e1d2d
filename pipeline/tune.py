"""tune: the trials of one arm, each configuration trained once. runs/STUDY/tune/ARM/

In a shared search the trials are the sampled configurations. In repeated searches a sampler chooses
each trial from the earlier results. A study without a search has tables without rows.
"""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .config.cli import command
from .config.compose import replay_overrides, with_overrides
from .config.schema import Config
from .config.validation import check_arm, check_design
from .errors import FairsweepError
from .files import reading, replace_folder

if TYPE_CHECKING:
    from .checks.stage import SearchChecks
    from .data.spec import TaskSpec
    from .monitor import Progress
    from .search.run_store import Job, Record, State
    from .tracking import Tracker


def read_table(config: Config) -> list[list[str]]:
    """Return the arm's configurations, one list of Hydra overrides per row, its own keys last.

    Raises:
        FairsweepError: the table is missing, has another number of rows, or a value outside the
            search space.
    """
    from .search.space import overrides, own_configuration, shared_distributions, values_of

    path, trials = (
        Path("runs") / config.name / "sample" / "configurations.csv",
        config.search.trials,
    )
    remedy = f"Make it: dvc repro sample, or python -m pipeline.sample study={config.name}"
    with reading(path, remedy), path.open(newline="") as file:
        rows = {int(row["trial"]): json.loads(row["overrides"]) for row in csv.DictReader(file)}
        for row in rows.values():
            values_of(config, row, expected=shared_distributions(config))
    if sorted(rows) != list(range(trials)):
        raise FairsweepError(
            f"{path} has {len(rows)} configurations, but search.trials={trials}. {remedy}"
        )
    return [[*rows[trial], *overrides(own_configuration(config, trial))] for trial in range(trials)]


def check_margin(config: Config, spec: "TaskSpec") -> None:
    """Raise FairsweepError for a margin in percentage points if the metric is a fraction."""
    from .metrics import METRICS

    if METRICS[spec.metric].fraction and config.search.margin >= 0.5:
        raise FairsweepError(
            f"search.margin={config.search.margin:g}: the metric of task {config.task.name} is a "
            "fraction, and one point is 0.01. Give a fraction below 0.5, such as "
            "search.margin=0.01."
        )


def shared_search(
    config: Config,
    table: list[list[str]],
    state: "State",
    tracker: "Tracker",
    checks: "SearchChecks",
    display: "Progress",
) -> list["Record"]:
    """Train the sampled configurations, which are independent of one another."""
    from .search.optuna import SharedSearch
    from .search.run_stage import run_shared_search

    search = SharedSearch(config, state, table)
    return run_shared_search(
        config,
        jobs(config, table, replay_overrides(config)),
        state,
        [search.tell, tracker.log, checks.finished],
        display,
        start=lambda job: search.ask(job.number),
        first=checks.with_workers,
    )


def jobs(config: Config, table: list[list[str]], replay: list[str]) -> list["Job"]:
    """Return one job per sampled configuration. `replay` are the overrides that all trials have."""
    from .search.run_store import Job, seed_overrides

    rows = [[*row, *seed_overrides(config, 0, "trial", trial)] for trial, row in enumerate(table)]
    return [
        Job("trial", trial, with_overrides(config, row), [*replay, *row])
        for trial, row in enumerate(rows)
    ]


def repeated_searches(
    config: Config, state: "State", tracker: "Tracker", checks: "SearchChecks", display: "Progress"
) -> list["Record"]:
    """Train the trials of all searches. Within a search each trial follows the one before it."""
    from .search.optuna import RepeatedSearch
    from .search.run_stage import run_repeated_searches

    replay = replay_overrides(config)
    searches = [RepeatedSearch(config, state, repeat, replay) for repeat in config.search.numbers]
    listeners = [tracker.log, checks.finished]
    return run_repeated_searches(config, searches, state, listeners, display, checks.with_workers)


@command
def main(config: Config) -> None:
    """Train the missing trials of the arm, and write the tables."""
    from .checks.stage import SearchChecks
    from .models.build import check_model
    from .monitor import Progress
    from .provenance import write_origin
    from .search import tables
    from .search.run_store import State, search_settings
    from .search.space import distributions
    from .search.workers import check_cluster
    from .tracking import Tracker
    from .training.protocol import PROTOCOL
    from .training.worker import load_data

    check_design(config)
    check_arm(config)
    check_cluster(config.cluster)
    target = Path("runs") / config.name / "tune" / config.cell.arm
    if not config.search.trials:
        with replace_folder(target) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, [])
            tables.write_best(folder / "best.yaml", [], [])
            write_origin(folder, PROTOCOL, None)
        print(f"tune {config.cell.arm}: nothing, because search.trials=0")
        return
    shared = config.search.design == "shared"
    table = read_table(config) if shared else []
    data = load_data(config)
    check_margin(config, data.spec)
    check_model(config, data.spec)
    with State.open(search_settings(config, data.digest)) as state:
        checks = SearchChecks(config, state, Path("data") / config.name / "arrays")
        checks.before_training()
        with (
            Tracker(config, "tune", data.digest, state, data.spec).recording() as tracker,
            Progress("tune", config, state, data.spec) as display,
        ):
            if shared:
                records = shared_search(config, table, state, tracker, checks, display)
            else:
                records = repeated_searches(config, state, tracker, checks, display)
        winners = tables.winners(config, records)
        with replace_folder(target) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, records)
            tables.write_best(folder / "best.yaml", distributions(config), winners)
            write_origin(folder, PROTOCOL, data.digest)
            checks.write(folder, records)


if __name__ == "__main__":
    main()
