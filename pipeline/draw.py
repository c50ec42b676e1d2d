"""draw: the table of N configurations that every cell is trained on. runs/STUDY/draw/configurations.csv"""

import csv
import json
from pathlib import Path

from pipeline.config import Config, command
from pipeline.files import replace_folder


@command
def main(config: Config) -> None:
    from pipeline.search.space import draw, overrides

    with (
        replace_folder(Path("runs") / config.name / "draw") as folder,
        (folder / "configurations.csv").open("w", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "overrides"])
        for trial in range(config.search.trials):
            table.writerow([trial, json.dumps(overrides(draw(config, trial)))])
    print(f"draw: {config.search.trials} configurations of {sum(map(len, config.space.values()))} hyperparameters")


if __name__ == "__main__":
    main()
