"""`fairsweep COMMAND KEY=VALUE …`: the same as `python -m pipeline.COMMAND KEY=VALUE …`."""

import ast
import importlib
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .errors import nearest

FOLDER = Path(__file__).parent
# In the order in which `dvc repro` runs them.
STAGES = (
    *("code", "download", "pad", "sample", "tune", "replicate", "baseline", "evaluate", "report"),
)


def commands() -> dict[str, str]:
    """{command: the start of its module's docstring}, without importing the modules."""
    descriptions = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text("utf-8")
        if path.stem != "__main__" and "\nif __name__ ==" in text:
            line = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
            line = re.sub(rf"^(Stage `{path.stem}`|{path.stem}): ", "", line)
            sentence = re.split(r"[.:;] |\.$", line)[0]
            descriptions[path.stem] = sentence[:1].upper() + sentence[1:]
    return descriptions


def usage(descriptions: dict[str, str]) -> str:
    """The text of `fairsweep --help`."""
    width = max(map(len, descriptions))
    lines = {name: f"  {name.ljust(width)}  {text}" for name, text in descriptions.items()}
    stages = "\n".join(lines[name] for name in STAGES if name in lines)
    others = "\n".join(line for name, line in lines.items() if name not in STAGES)
    return (
        "usage: fairsweep COMMAND [KEY=VALUE ...]\n\n"
        "Which recurrent cell is better on this task, how sure are we, and what did it cost?\n\n"
        f"The stages of a study, as `dvc repro` runs them:\n{stages}\n\n"
        f"Other commands:\n{others}\n\n"
        "fairsweep COMMAND --help lists a command's keys. Settings are in conf/ of the current\n"
        "folder, or else in that of the package, which fairsweep init copies."
    )


def installed_version() -> str:
    """The installed version, if the checkout is installed."""
    try:
        return version("fairsweep")
    except PackageNotFoundError:
        return "not installed (a checkout)"


def main() -> None:
    """The console command."""
    descriptions = commands()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage(descriptions))
    elif name == "--version":
        print(f"fairsweep {installed_version()}")
    elif name not in descriptions:
        hint = nearest(name, descriptions, cutoff=0)
        sys.exit(f"error: {name}: no such command{hint}. There are: {', '.join(descriptions)}.")
    else:
        sys.argv = [f"fairsweep {name}", *arguments]
        importlib.import_module(f"{__package__}.{name}").main()


if __name__ == "__main__":
    main()
