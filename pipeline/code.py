"""Stage `code`: writes a digest of the code of each other stage to runs/STUDY/code/.

DVC runs a stage again when its digest changes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from .config.cli import command
from .config.compose import arm_spaces, compose, conf_folder, task_overrides
from .config.schema import Config
from .data.registry import module_of
from .errors import FairsweepError
from .files import replace_folder
from .imports import PACKAGE, digests
from .models.cells import own_module

# Stages that read or describe the dataset.
OF_DATASET = ("download", "pad", "report")


def cell_types(config: Config) -> Iterator[str]:
    """Every `cell.type` that `tune` and `replicate` of one arm may train."""
    yield config.cell.type
    searched = config.space.get("cell", {}).get("type")
    yield from map(str, (searched.choices or []) if searched else [])
    for recipe in config.recipes:
        content: Any = OmegaConf.load(conf_folder() / "recipe" / f"{recipe}.yaml")
        section = content.get("cell")
        yield from (
            [str(section["type"])] if OmegaConf.is_dict(section) and "type" in section else []
        )


def code_of(stage: str, config: Config) -> dict[str, str]:
    """{module: digest} of the code of a stage, including the cells that it trains.

    If the code cannot be read, the error takes its place, and the stage itself reports it.
    """
    modules = [f"{PACKAGE}.{stage}"]
    try:
        if stage in OF_DATASET:
            modules.append(module_of(config.task.source))
        if stage in ("tune", "replicate"):
            modules += [
                module for cell_type in cell_types(config) for module in own_module(cell_type)
            ]
        return digests(modules)
    except FairsweepError as error:
        return {"error": str(error)}


@command(folder=False)
def main(config: Config) -> None:
    """Write one file per stage, and one per arm for `tune` and `replicate`."""
    with replace_folder(Path("runs") / config.name / "code") as folder:
        codes = {
            stage: code_of(stage, config)
            for stage in ("download", "pad", "sample", "baseline", "evaluate", "report")
        }
        if spaces := arm_spaces(config.cells):
            # The scores and the report name the search keys of single arms.
            for stage in ("evaluate", "report"):
                codes[stage]["spaces"] = json.dumps(spaces, sort_keys=True)
        for arm in config.cells:
            of_arm = compose([*task_overrides(), f"cell={arm}"])
            codes |= {f"{stage}-{arm}": code_of(stage, of_arm) for stage in ("tune", "replicate")}
        for name, code in codes.items():
            (folder / f"{name}.json").write_text(json.dumps(code, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
