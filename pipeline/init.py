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

HEAD = """# By `fairsweep init`. The code is the installed package's, which no stage depends on here: after an upgrade that is to count,
# dvc repro --force
"""


@dataclass
class Init:
    """The keys of this command."""

    study: str = "imdb"


def without_code(text: str) -> str:
    """dvc.yaml without the dependencies that only a checkout has: its code, and the probe that is committed there."""
    lines = [line for line in text.splitlines() if not line.strip().startswith(("- pipeline/", "- results/probe"))]
    kept = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.strip() != "deps:" or following.strip().startswith("- ")
    ]
    return "\n".join(kept) + "\n"


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
    stages = without_code((source / "dvc.yaml").read_text("utf-8"))
    with replace_file(Path("dvc.yaml")) as part, replace_folder(Path("conf")) as folder:
        shutil.copytree(source / "conf", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        part.write_text(HEAD + stages.replace("conf/study/imdb.yaml", f"conf/study/{options.study}.yaml"), "utf-8")
    print("conf/ and dvc.yaml are written. Then: dvc init --no-scm (or, in a git repository, dvc init), and dvc repro")


if __name__ == "__main__":
    main()
