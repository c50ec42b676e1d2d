"""tune: one arm's trials, each configuration trained once. runs/STUDY/tune/ARM/

In a pool they are those of the drawn table; separate studies ask their samplers for them, one after another. A study without a
search leaves tables without a row.
"""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, check_design, command, replay_overrides, with_overrides
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder

if TYPE_CHECKING:
    from pipeline.data.form import Form
    from pipeline.search.state import Record, State
    from pipeline.tracking import Tracker


def read_table(config: Config) -> list[list[str]]:
    """The drawn table: row i is the list of Hydra overrides of configuration i."""
    path = Path("runs") / config.name / "draw" / "configurations.csv"
    draw = f"Draw it: dvc repro draw, or python -m pipeline.draw study={config.name}"
    if not path.exists():
        raise FairsweepError(f"{path} is missing. {draw}")
    with path.open(newline="") as file:
        rows = {int(row["trial"]): json.loads(row["overrides"]) for row in csv.DictReader(file)}
    if sorted(rows) != list(range(config.search.trials)):
        raise FairsweepError(f"{path} has {len(rows)} configurations, search.trials={config.search.trials}. {draw}")
    return [rows[i] for i in range(config.search.trials)]


def pool(config: Config, table: list[list[str]], state: "State", tracker: "Tracker", form: "Form") -> list["Record"]:
    """The trials of the drawn table, independent of one another."""
    from pipeline.search.stage import complete
    from pipeline.search.state import Job, own_overrides
    from pipeline.search.study import Study

    jobs = []
    for trial, row in enumerate(table):
        own = own_overrides(config, 0, "trial", trial)
        overrides = [*replay_overrides(config), *row, *own]
        jobs.append(Job("trial", trial, with_overrides(config, [*row, *own]), overrides))
    study = Study(config, state, table)
    return complete("tune", config, jobs, state, [study.tell, tracker.log], start=lambda job: study.ask(job.number), form=form)


def studies(config: Config, state: "State", tracker: "Tracker", form: "Form") -> list["Record"]:
    """The trials of K studies, each asked for when the one before it in its study is done."""
    from pipeline.search.stage import complete_studies
    from pipeline.search.studies import Sequential

    replay = replay_overrides(config)
    several = [Sequential(config, state, number, replay) for number in config.search.numbers]
    return complete_studies(config, several, state, [tracker.log], form)


@command
def main(config: Config) -> None:
    from pipeline.models.build import check_model
    from pipeline.search import tables
    from pipeline.search.space import distributions
    from pipeline.search.state import State, settings
    from pipeline.tracking import Tracker
    from pipeline.training.work import load_data

    check_design(config)
    target = Path("runs") / config.name / "tune" / config.cell.arm
    if not config.search.trials:
        with replace_folder(target) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, [])
            tables.write_best(folder / "best.yaml", [], [])
        print(f"tune {config.cell.arm}: nothing, as search.trials=0")
        return
    pooled = config.search.design == "pool"
    table = read_table(config) if pooled else []
    data = load_data(config)
    check_model(config, data.form)
    document = settings(config, "tune", data.digest)
    # What is searched has no fixed value that a trial could depend on.
    for key in distributions(config):
        section, name = key.split(".")
        document[section].pop(name)
    with State.open(document) as state, Tracker.open(config, "tune", data.digest, state) as tracker:
        records = pool(config, table, state, tracker, data.form) if pooled else studies(config, state, tracker, data.form)
        winners = tables.winners(config, records)
        with replace_folder(target) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, records)
            tables.write_best(folder / "best.yaml", distributions(config), winners)


if __name__ == "__main__":
    main()
