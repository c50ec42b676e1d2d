"""sample: the configurations that every arm is trained on. runs/STUDY/sample/configurations.csv

In repeated searches a sampler chooses each configuration from the earlier results, so the table has
a header and no row.
"""

import csv
import json
from pathlib import Path

from .config.cli import command
from .config.schema import Config
from .config.validation import check_design
from .files import replace_folder


@command
def main(config: Config) -> None:
    """Write the table: one row per configuration, as a list of Hydra overrides."""
    from .search.space import configuration, overrides

    check_design(config)
    search = config.search
    shared = search.design == "shared" or not search.trials
    with (
        replace_folder(Path("runs") / config.name / "sample") as folder,
        (folder / "configurations.csv").open("w", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "overrides"])
        for trial in range(search.trials if shared else 0):
            table.writerow([trial, json.dumps(overrides(configuration(config, trial)))])
    if shared:
        keys = sum(map(len, config.space.values()))
        print(f"sample: {search.trials} configurations of {keys} hyperparameters")
    else:
        print(
            f"sample: nothing, because each of the {search.repeats} searches has its own "
            f"{search.sampler_name} sampler"
        )


if __name__ == "__main__":
    main()
