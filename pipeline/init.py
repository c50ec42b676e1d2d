"""Writes conf/ and dvc.yaml into the current folder, for a project that has the installed package alone.

  python -m pipeline.init
  python -m pipeline.init study=smoke

study   the study that dvc repro runs: the `vars:` line of dvc.yaml

What is there is never overwritten. In a checkout of the project both are there already."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import command, packaged
from pipeline.errors import FairsweepError, nearest
from pipeline.files import replace_file, replace_folder

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
        raise FairsweepError(f"study={options.study}: no such study{hint}. There are: {', '.join(studies)}.")
    for name in ("conf", "dvc.yaml"):
        if Path(name).exists():
            raise FairsweepError(
                f"{Path(name).resolve()} is there already, and nothing is overwritten. Start in an empty folder."
            )
    stages = (source / "dvc.yaml").read_text("utf-8").replace(PROBE, "")
    with replace_file(Path("dvc.yaml")) as part, replace_folder(Path("conf")) as folder:
        shutil.copytree(source / "conf", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        part.write_text(HEAD + stages.replace("conf/study/imdb.yaml", f"conf/study/{options.study}.yaml"), "utf-8")
    print("conf/ and dvc.yaml are written. Then: dvc init --no-scm (or, in a git repository, dvc init), and dvc repro")


if __name__ == "__main__":
    main()
