"""`fairsweep COMMAND KEY=VALUE …`: the same as `python -m pipeline.COMMAND KEY=VALUE …`, wherever the package is installed."""

import ast
import importlib
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.errors import nearest

FOLDER = Path(__file__).parent
# In the order in which `dvc repro` runs them.
STAGES = ("code", "download", "pad", "draw", "tune", "replicate", "baseline", "evaluate", "report")


def commands() -> dict[str, str]:
    """What each command does, by its name: how its module's first sentence begins, which is read and not imported."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text("utf-8")
        if path.stem != "__main__" and "\nif __name__ ==" in text:
            line = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
            told = re.split(r"[.:;] |\.$", re.sub(rf"^(Stage `{path.stem}`|{path.stem}): ", "", line))[0]
            found[path.stem] = told[:1].upper() + told[1:]
    return found


def usage(known: dict[str, str]) -> str:
    """What `fairsweep --help` prints."""
    width = max(map(len, known))
    others = [name for name in known if name not in STAGES]

    def listed(names: list[str]) -> str:
        return "\n".join(f"  {name.ljust(width)}  {known[name]}" for name in names)

    return (
        "usage: fairsweep COMMAND [KEY=VALUE ...]\n\n"
        "Which recurrent cell is better on this task, how sure are we, and what did it cost?\n\n"
        f"The stages of a study, as `dvc repro` runs them:\n{listed([name for name in STAGES if name in known])}\n\n"
        f"Beside them:\n{listed(others)}\n\n"
        "fairsweep COMMAND --help tells a command's keys. Settings are in conf/ of the current folder, else in the package's own\n"
        "(fairsweep init copies them)."
    )


def told_version() -> str:
    """The installed version; a checkout that is not installed has none."""
    try:
        return version("fairsweep")
    except PackageNotFoundError:
        return "not installed (a checkout)"


def main() -> None:
    """The console command."""
    known = commands()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage(known))
    elif name == "--version":
        print(f"fairsweep {told_version()}")
    elif name not in known:
        sys.exit(f"error: {name}: no such command{nearest(name, known, cutoff=0)}. There are: {', '.join(known)}.")
    else:
        sys.argv = [f"fairsweep {name}", *rest]
        importlib.import_module(f"pipeline.{name}").main()


if __name__ == "__main__":
    main()
