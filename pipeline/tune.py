"""tune: one arm's N trials, the drawn configurations trained once each. runs/STUDY/tune/ARM/"""

import csv
import json
from pathlib import Path

from pipeline.config import Config, command, replay_overrides, with_overrides
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder


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


@command
def main(config: Config) -> None:
    from pipeline.search import tables
    from pipeline.search.space import distributions
    from pipeline.search.stage import complete
    from pipeline.search.state import Job, State, run_seed, settings
    from pipeline.search.study import Study
    from pipeline.tracking import Tracker
    from pipeline.training.work import load_data

    table = read_table(config)
    data = load_data(config)
    document = settings(config, "tune", data.digest)
    # What is searched has no fixed value that a trial could depend on.
    for key in distributions(config):
        section, name = key.split(".")
        document[section].pop(name)
    jobs = []
    for trial, row in enumerate(table):
        seed = run_seed(config.seed, config.cell.arm, "trial", trial)
        overrides = [*replay_overrides(config), *row, f"seed={seed}"]
        jobs.append(Job("trial", trial, with_overrides(config, [*row, f"seed={seed}"]), overrides))
    with State.open(document) as state, Tracker.open(config, "tune", data.digest, state) as tracker:
        study = Study(config, state.folder, table)
        records = complete("tune", config, jobs, state, [study.tell, tracker.log], start=lambda job: study.ask(job.number))
        best = tables.best(records)
        if best is None:
            reasons = sorted({record.run.reason for record in records})
            raise FairsweepError(f"every trial of {config.cell.arm} failed: {'; '.join(reasons)}")
        with replace_folder(Path("runs") / config.name / "tune" / config.cell.arm) as folder:
            tables.write_runs(folder, "trials", ["trial"], config, records)
            tables.write_best(folder / "best.yaml", best, table[best.job.number])


if __name__ == "__main__":
    main()
