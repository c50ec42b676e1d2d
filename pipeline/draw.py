"""draw: the table of N configurations that every cell is trained on. runs/STUDY/draw/configurations.csv

Separate studies ask their samplers as they go: their table has a header and no row.
"""

import csv
import json
from pathlib import Path

from pipeline.config import Config, check_design, command
from pipeline.files import replace_folder


@command
def main(config: Config) -> None:
    from pipeline.search.space import draw, overrides

    check_design(config)
    pooled = config.search.design == "pool" or not config.search.trials
    with (
        replace_folder(Path("runs") / config.name / "draw") as folder,
        (folder / "configurations.csv").open("w", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "overrides"])
        for trial in range(config.search.trials if pooled else 0):
            table.writerow([trial, json.dumps(overrides(draw(config, trial)))])
    if pooled:
        print(f"draw: {config.search.trials} configurations of {sum(map(len, config.space.values()))} hyperparameters")
    else:
        print(f"draw: nothing, as each of the {config.search.studies} studies asks a {config.search.asked} sampler of its own")


if __name__ == "__main__":
    main()
