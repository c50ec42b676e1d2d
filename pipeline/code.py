"""Stage `code`: a digest of the code that each other stage runs, in runs/STUDY/code/. DVC runs a stage again when it changes."""

import json
from pathlib import Path

from pipeline.config import Config, command, compose, task_overrides
from pipeline.data.registry import module_of
from pipeline.files import replace_folder
from pipeline.imports import PACKAGE, closure, digests, short
from pipeline.models.cells import own_module

# What parses, checks and writes, and no result depends on: the values that they read are dependencies themselves.
APART = ("config", "documents", "errors", "faults", "files", "imports", "limits", "plugins", "provenance", "seal", "tracking")
# Those that read the dataset, or say what it is.
OF_DATASET = ("download", "pad", "report")


def followed(name: str) -> bool:
    """Whether a change of the module `name` runs a stage again that imports it."""
    return short(name) not in (PACKAGE, *APART)


def code_of(stage: str, config: Config) -> dict[str, str]:
    """{module: digest} of the code that a stage runs, of `tune` and `replicate` with the arm of `config`."""
    modules = [f"{PACKAGE}.{stage}"]
    if stage in OF_DATASET:
        modules.append(module_of(config.task.source))
    if stage in ("tune", "replicate"):
        modules += own_module(config.cell.type)
    return digests(closure(modules, followed))


@command
def main(config: Config) -> None:
    """Writes one file per stage, of `tune` and `replicate` one per arm."""
    with replace_folder(Path("runs") / config.name / "code") as folder:
        found = {stage: code_of(stage, config) for stage in ("download", "pad", "draw", "baseline", "evaluate", "report")}
        for arm in config.cells:
            of_arm = compose([*task_overrides(), f"cell={arm}"])
            found |= {f"{stage}-{arm}": code_of(stage, of_arm) for stage in ("tune", "replicate")}
        for name, digest in found.items():
            (folder / f"{name}.json").write_text(json.dumps(digest, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
