"""Stage `code`: writes a digest of the code of each other stage to runs/STUDY/code/. DVC runs a stage again when its digest changes."""

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Config, command, compose, conf_folder, task_overrides
from pipeline.data.registry import module_of
from pipeline.documents import read
from pipeline.errors import FairsweepError
from pipeline.files import replace_folder
from pipeline.imports import PACKAGE, digests
from pipeline.models.cells import own_module

# Stages that read or describe the dataset.
OF_DATASET = ("download", "pad", "report")


def cell_types(config: Config) -> Iterator[str]:
    """Every `cell.type` that the stages `tune` and `replicate` of one arm may train: the arm's, and those of searches and recipes."""
    yield config.cell.type
    searched = config.space.get("cell", {}).get("type")
    yield from map(str, (searched.choices or []) if searched else [])
    for recipe in config.recipes:
        found = (read(conf_folder() / "recipe" / f"{recipe}.yaml") or {}).get("cell")
        yield from [str(found["type"])] if isinstance(found, dict) and "type" in found else []


def code_of(stage: str, config: Config) -> dict[str, str]:
    """{module: digest} of the code that a stage runs. For `tune` and `replicate` it includes the cells that they train.

    A stage whose code cannot be read has the error in its place: it is reported when that stage runs.
    """
    modules = [f"{PACKAGE}.{stage}"]
    try:
        if stage in OF_DATASET:
            modules.append(module_of(config.task.source))
        if stage in ("tune", "replicate"):
            modules += [module for cell_type in cell_types(config) for module in own_module(cell_type)]
        return digests(modules)
    except FairsweepError as error:
        return {"error": str(error)}


@command(folder=False)
def main(config: Config) -> None:
    """Writes one file per stage, and for `tune` and `replicate` one file per arm."""
    with replace_folder(Path("runs") / config.name / "code") as folder:
        found = {stage: code_of(stage, config) for stage in ("download", "pad", "draw", "baseline", "evaluate", "report")}
        for arm in config.cells:
            of_arm = compose([*task_overrides(), f"cell={arm}"])
            found |= {f"{stage}-{arm}": code_of(stage, of_arm) for stage in ("tune", "replicate")}
        for name, code in found.items():
            (folder / f"{name}.json").write_text(json.dumps(code, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
