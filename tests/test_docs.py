"""README.md and docs/: their commands are accepted by the commands as they are, and run; their links lead somewhere.

docs/extend.md is followed word for word by test_extend.py; clusters by address and of SLURM are those of search/test_cluster.py.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import commands
from study_copy import ROOT, StudyCopy

sys.path.append(str(ROOT / "docs"))
import tutorial

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What stands for a place or a name of the reader's own.
OWN = {"NAME": "smoke", "COLUMN": "column", "FILE.csv": "file.csv", "HOST": "10.0.0.5"}


def lines(page: Path) -> list[str]:
    """The lines of a page's blocks of commands, one that goes on below as one, without what stands before `$` or behind `#`."""
    blocks = re.findall(
        r"^```(\w*)[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    commands = [content for kind, content in blocks if kind in ("", "bash")]
    # What a command printed stands below it, and is none.
    commands += [
        "\n".join(re.findall(r"^\$ (.*)", content, re.MULTILINE))
        for kind, content in blocks
        if kind == "console"
    ]
    joined = "\n".join(commands).replace("\\\n", " ")
    return [re.sub(r"\s+#.*$", "", line).strip() for line in joined.splitlines() if line.strip()]


def given(word: str) -> list[tuple[str, str]]:
    """(page, line) of each line of all pages in which `word` is given as a command."""
    pages = [page for page in PAGES if page.name != "extend.md"]
    return [
        (page.name, line)
        for page in pages
        for line in lines(page)
        if re.search(rf"(^|\s){word}(\s|$)", line)
    ]


@pytest.mark.parametrize(("page", "line"), given("make"))
def test_each_make_line_is_a_target(page: str, line: str) -> None:
    words = shlex.split(line)
    target = [OWN.get(word, word) for word in words[words.index("make") + 1 :]]
    planned = subprocess.run(["make", "-n", *target], cwd=ROOT, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize(("page", "line"), given("python -m pipeline\\.\\w+"))
def test_each_command_is_accepted(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but what it does: the door checks every key, group, value and flag."""
    import importlib

    from pipeline.config.cli import hydra_arguments

    monkeypatch.chdir(ROOT)
    words = shlex.split(line.split(" | ")[-1 if "| python" in line else 0].split(" > ")[0])
    start = next(place for place, word in enumerate(words) if word.startswith("pipeline."))
    name, arguments = words[start].removeprefix("pipeline."), words[start + 1 :]
    assert name in commands()
    for argument in ("study=NAME", "study=mine", "cell=mine"):
        arguments = ["study=smoke" if one == argument else one for one in arguments]
    module = importlib.import_module(f"pipeline.{name}")
    schemas = {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and value.__name__.lower() in (name, "comparison", "request")
    }
    schema = {"compare", "predict", "verify", "audit", "probe", "init"} & {name}
    from pipeline.config.schema import Config

    chosen = next(
        (one for one in schemas if schema and hasattr(one, "__dataclass_fields__")), Config
    )
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    assert hydra_arguments(name, arguments, chosen)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """A project whose own study is smoke, with the cells that the pages speak of, after its `dvc repro`."""
    copy = StudyCopy(tmp_path_factory.mktemp("docs") / "study", "smoke")
    copy.edit("conf/study/smoke.yaml", "cells: [rnn, gru]", "cells: [rnn, gru, lstm]")
    copy.edit("conf/config.yaml", "- study: imdb", "- study: smoke")
    copy.edit("conf/config.yaml", "- task: imdb", "- task: synthetic")
    copy.edit("conf/config.yaml", "- space: imdb", "- space: smoke")
    copy.repro()
    scores = [
        f"{arm},{trial},{0.8 + trial / 1000},{0.8 + trial / 1100}"
        for arm in ("mine", "other")
        for trial in range(40)
    ]
    for name in ("FILE.csv", "trials.csv"):
        (copy.root / name).write_text("\n".join(["arm,trial,validation,test", *scores, ""]))
    return copy


# What goes on until it is ended, or has a test of its own: test_watching.py, search/test_cluster.py, test_articles.py.
WAITS = ("dvc repro", "cluster.dashboard", "cluster=", "task=digits,")


@pytest.mark.night
@pytest.mark.parametrize(("page", "line"), given("python -m pipeline\\.\\w+"))
def test_each_command_runs(page: str, line: str, studied: StudyCopy) -> None:
    """As it stands on its page, but in the smoke study, which has eight trials."""
    if any(word in line for word in WAITS):
        pytest.skip("run elsewhere")
    own = re.sub(r"study=(imdb|digits)\b", "study=smoke", line).replace("trial/17", "trial/7")
    assert studied.run("bash", "-o", "pipefail", "-c", own).stdout.strip(), line


# Commands of the tutorial that read nothing but what is committed.
READS = ("grep ", "fold ", "awk ", "python -m pipeline.compare ")


def test_the_tutorial_shows_what_the_committed_study_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setattr(tutorial, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    again = 0
    for block in tutorial.BLOCK.finditer(tutorial.PAGE.read_text("utf-8")):
        if all(
            line[2:].startswith(READS) for line in block[3].splitlines() if line.startswith("$ ")
        ):
            assert tutorial.recorded(block) == block[0]
            again += 1
    assert again == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target
