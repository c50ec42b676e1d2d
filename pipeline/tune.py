"""tune: one arm's trials, each configuration trained once. runs/STUDY/tune/ARM/

In a pool they are those of the drawn table; separate studies ask their samplers for them, one after another. A study without a
search leaves tables without a row.
"""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, check_arm, check_design, command, replay_overrides, with_overrides
from pipeline.errors import FairsweepError
from pipeline.files import reading, replace_folder

if TYPE_CHECKING:
    from pipeline.data.form import Form
    from pipeline.gates.stage import Gates
    from pipeline.search.state import Job, Record, State
    from pipeline.tracking import Tracker


def read_table(config: Config) -> list[list[str]]:
    """The drawn table: row i is the list of Hydra overrides of configuration i, each within the study's space."""
    from pipeline.search.space import values_of

    path = Path("runs") / config.name / "draw" / "configurations.csv"
    draw = f"Draw it: dvc repro draw, or python -m pipeline.draw study={config.name}"
    with reading(path, draw), path.open(newline="") as file:
        rows = {int(row["trial"]): json.loads(row["overrides"]) for row in csv.DictReader(file)}
        for row in rows.values():
            values_of(config, row)
    if sorted(rows) != list(range(config.search.trials)):
        raise FairsweepError(f"{path} has {len(rows)} configurations, search.trials={config.search.trials}. {draw}")
    return [rows[i] for i in range(config.search.trials)]


def check_margin(config: Config, form: "Form") -> None:
    """Raise FairsweepError for a margin in points where the metric is a fraction: no gap would ever matter."""
    if form.metric in ("accuracy", "f1") and config.search.margin >= 0.5:
        raise FairsweepError(
            f"search.margin={config.search.margin:g}: the metric of task {config.task.name} is a fraction, of which one point is 0.01. "
            "Give such a fraction, below 0.5: search.margin=0.01."
        )


def pool(
    config: Config, table: list[list[str]], state: "State", tracker: "Tracker", form: "Form", gates: "Gates"
) -> list["Record"]:
    """The trials of the drawn table, independent of one another."""
    from pipeline.search.stage import complete
    from pipeline.search.study import Study

    study, made = Study(config, state, table), jobs(config, table, replay_overrides(config))
    tell = [study.tell, tracker.log, gates.hear]
    return complete("tune", config, made, state, tell, lambda job: study.ask(job.number), form, gates.on_workers)


def jobs(config: Config, table: list[list[str]], replay: list[str]) -> list["Job"]:
    """A job for each row of the drawn table; `replay` are the overrides that every trial has."""
    from pipeline.search.state import Job, own_overrides

    made = []
    for trial, row in enumerate(table):
        own = own_overrides(config, 0, "trial", trial)
        made.append(Job("trial", trial, with_overrides(config, [*row, *own]), [*replay, *row, *own]))
    return made


def studies(config: Config, state: "State", tracker: "Tracker", form: "Form", gates: "Gates") -> list["Record"]:
    """The trials of K studies, each asked for when the one before it in its study is done."""
    from pipeline.search.stage import complete_studies
    from pipeline.search.studies import Sequential

    replay = replay_overrides(config)
    several = [Sequential(config, state, number, replay) for number in config.search.numbers]
    return complete_studies(config, several, state, [tracker.log, gates.hear], form, gates.on_workers)


@command
def main(config: Config) -> None:
    from pipeline.gates.stage import Gates
    from pipeline.models.build import check_model
    from pipeline.provenance import write_origin
    from pipeline.search import tables
    from pipeline.search.space import distributions
    from pipeline.search.state import State, search_settings
    from pipeline.search.workers import check_cluster
    from pipeline.tracking import Tracker
    from pipeline.training.protocol import PROTOCOL
    from pipeline.training.work import load_data

    check_design(config)
    check_arm(config)
    check_cluster(config.cluster)
    target = Path("runs") / config.name / "tune" / config.cell.arm
    if not config.search.trials:
        with replace_folder(target) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, [])
            tables.write_best(folder / "best.yaml", [], [])
            write_origin(folder, PROTOCOL, None)
        print(f"tune {config.cell.arm}: nothing, as search.trials=0")
        return
    pooled = config.search.design == "pool"
    table = read_table(config) if pooled else []
    data = load_data(config)
    check_margin(config, data.form)
    check_model(config, data.form)
    with State.open(search_settings(config, data.digest)) as state:
        gates = Gates(config, state, Path("data") / config.name / "arrays")
        gates.before()
        with Tracker.open(config, "tune", data.digest, state, data.form) as tracker:
            told = state, tracker, data.form, gates
            records = pool(config, table, *told) if pooled else studies(config, *told)
            winners = tables.winners(config, records)
            with replace_folder(target) as folder:
                tables.write_runs(folder, "trials", ["trial"], config, records)
                tables.write_best(folder / "best.yaml", distributions(config), winners)
                write_origin(folder, PROTOCOL, data.digest)
                gates.write(folder, records)


if __name__ == "__main__":
    main()
