"""Writes conf/ and dvc.yaml into the current folder, for a project with the installed package.

  python -m pipeline.init
  python -m pipeline.init study=smoke

study   the study that dvc repro runs: the `vars:` line of dvc.yaml

Existing files are never overwritten. A checkout of the project has both already.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from .config.cli import command
from .config.compose import packaged
from .errors import FairsweepError, nearest
from .files import replace_file, replace_folder

HEAD = "# Written by `fairsweep init`.\n"


@dataclass
class Init:
    """The keys of this command."""

    study: str = "imdb"


# A dependency that only a checkout has: the probe that is committed there.
PROBE = "      - results/probe\n"


@command(schema=Init)
def main(options: Init) -> None:
    """The command `init`."""
    source = packaged()
    studies = sorted(path.stem for path in (source / "conf" / "study").glob("*.yaml"))
    if options.study not in studies:
        hint = nearest(options.study, studies)
        raise FairsweepError(
            f"study={options.study}: no such study{hint}. There are: {', '.join(studies)}."
        )
    for name in ("conf", "dvc.yaml"):
        if Path(name).exists():
            raise FairsweepError(
                f"{Path(name).resolve()} exists and is not overwritten. Start in an empty folder."
            )
    stages = (source / "dvc.yaml").read_text("utf-8").replace(PROBE, "")
    stages = stages.replace("exec python -m pipeline.", "exec fairsweep ")
    stages = stages.replace("conf/study/imdb.yaml", f"conf/study/{options.study}.yaml")
    ignored = shutil.ignore_patterns("__pycache__", "*.py")
    with replace_file(Path("dvc.yaml")) as part, replace_folder(Path("conf")) as folder:
        shutil.copytree(source / "conf", folder, dirs_exist_ok=True, ignore=ignored)
        part.write_text(HEAD + stages, "utf-8")
    print(
        "conf/ and dvc.yaml are written. Next: dvc init (outside git, dvc init --no-scm), dvc repro"
    )


if __name__ == "__main__":
    main()
