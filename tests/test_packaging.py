"""The wheel contains pipeline/ and conf/, and works in an empty folder or next to a conf/."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from study_copy import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# An environment made by uv has no pip; the Python that it is based on usually has one.
BELOW = [str(Path(sys.base_prefix, "bin", "python3")), "-m", "pip", "--python", sys.executable]
PIP = [sys.executable, "-m", "pip"] if find_spec("pip") else BELOW


class Installed:
    """The package installed from this checkout; commands run in `root`, which is empty."""

    def __init__(self, folder: Path) -> None:
        source = folder / "source"
        source.mkdir()
        # A build writes beside the sources.
        for name in ("conf", "pipeline"):
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("pyproject.toml", "README.md", "LICENSE", "dvc.yaml"):
            shutil.copy(ROOT / name, source)
        self.site, self.root = folder / "site", folder / "empty"
        self.root.mkdir()
        self.pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
        (self.wheel,) = folder.glob("*.whl")
        self.pip("install", "--target", str(self.site), str(self.wheel))

    def pip(self, *words: str) -> None:
        quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
        done = subprocess.run([*PIP, *words, *quiet], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command that finds this package and no checkout."""
        path = os.pathsep.join(
            [str(self.site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        env = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(self.site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DVC_NO_ANALYTICS": "1",
        }
        env.pop("HYDRA_FULL_ERROR", None)
        return subprocess.run(words, cwd=cwd or self.root, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("packaging"))


def below(folder: Path, *patterns: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in folder.rglob(pattern)}


def test_the_wheel_carries_the_code_conf_and_the_stages(installed: Installed) -> None:
    there = {
        name for name in zipfile.ZipFile(installed.wheel).namelist() if ".dist-info/" not in name
    }
    conf = {f"fairsweep/project/{name}" for name in (*below(ROOT / "conf", "*.yaml"), "dvc.yaml")}
    code = {
        re.sub("^pipeline", "fairsweep", name)
        for name in below(ROOT / "pipeline", "*.py", "*.j2", "*.csv", "py.typed")
    }
    assert there == code | conf


def test_help_lists_every_command_and_imports_none(installed: Installed) -> None:
    done = installed.run(
        sys.executable, "-X", "importtime", str(installed.site / "bin/fairsweep"), "--help"
    )
    assert done.returncode == 0, done.stderr
    commands = [
        path.stem for path in (ROOT / "pipeline").glob("*.py") if "\n@command" in path.read_text()
    ]
    listed = dict(re.findall(r"^  (\w+)  +(\S.*)$", done.stdout, re.MULTILINE))
    assert sorted(listed) == sorted(commands)
    assert max(map(len, done.stdout.splitlines())) <= 130
    imported = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, re.MULTILINE))
    assert not imported & {"hydra", "numpy", "omegaconf", "fairsweep.config"}


def test_the_version_and_a_misspelt_command(installed: Installed) -> None:
    assert installed.run("fairsweep", "--version").stdout == f"fairsweep {PROJECT['version']}\n"
    done = installed.run("fairsweep", "tunne")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: tunne: no such command; the nearest is 'tune'. There are: "
    )
    assert "the nearest is " in installed.run("fairsweep", "sl").stderr


def test_scores_are_compared_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    rows = [
        f"{arm},{study},{score + study / 1000}"
        for arm, score in (("a", 0.9), ("b", 0.7))
        for study in range(4)
    ]
    (tmp_path / "scores.csv").write_text("arm,repeat,score\n" + "\n".join(rows) + "\n")
    done = installed.run("fairsweep", "compare", "scores=scores.csv", cwd=tmp_path)
    assert "a is better" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_conf_of_the_working_folder_comes_first(installed: Installed) -> None:
    done = installed.run("fairsweep", "sample", "study=smoke")
    assert done.stdout == "sample: 8 configurations of 3 hyperparameters\n", done.stderr
    own = installed.root.with_name("own")
    shutil.copytree(ROOT / "conf", own / "conf")
    space = own / "conf/space/smoke.yaml"
    space.write_text(re.sub(r"^  masking:.*\n", "", space.read_text(), flags=re.MULTILINE))
    done = installed.run("fairsweep", "sample", "study=smoke", cwd=own)
    assert done.stdout == "sample: 8 configurations of 2 hyperparameters\n", done.stderr
    (own / "conf/config.yaml").unlink()
    done = installed.run("fairsweep", "sample", "study=smoke", cwd=own)
    assert done.returncode == 1
    assert "no conf/config.yaml in" in done.stderr
    assert "`fairsweep init` writes a complete conf/" in done.stderr


def test_init_writes_a_project_that_dvc_takes_and_overwrites_nothing(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.run("fairsweep", "init", "study=smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conf", "dvc.yaml"]
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    assert stages["vars"] == ["conf/study/smoke.yaml"]
    declared = [path for stage in stages["stages"].values() for path in stage.get("deps", [])]
    assert not any(path.startswith(("pipeline/", "results/probe")) for path in declared)
    assert all(stage["cmd"].startswith("exec fairsweep ") for stage in stages["stages"].values())
    assert (
        stages["stages"].keys() == yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].keys()
    )
    again = installed.run("fairsweep", "init", cwd=tmp_path)
    assert again.returncode == 1
    assert "conf exists and is not overwritten" in again.stderr
    assert installed.run("dvc", "init", "-q", "--no-scm", cwd=tmp_path).returncode == 0
    done = installed.run("dvc", "repro", "sample", cwd=tmp_path)
    assert "sample: 8 configurations of 3 hyperparameters" in done.stdout, done.stdout + done.stderr


@pytest.mark.long
def test_a_whole_study_runs_with_the_package_alone(installed: Installed, tmp_path: Path) -> None:
    """The study `smoke` with a cell of the user's own, from an empty folder."""
    project(installed, tmp_path, "smoke", ("mgu.py", "conf/cell/mgu.yaml"))
    study = tmp_path / "conf/study/smoke.yaml"
    study.write_text(re.sub(r"cells: \[.*\]", "cells: [gru, mgu]", study.read_text()))
    done = installed.run("dvc", "repro", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mgu" in (tmp_path / "results/smoke/report/report.md").read_text()
    done = installed.run("fairsweep", "audit", "study=smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_a_dataset_of_ones_own_runs_with_the_package_alone(
    installed: Installed, tmp_path: Path
) -> None:
    names = ("waves.py", "conf/task/waves.yaml", "conf/study/waves.yaml")
    project(installed, tmp_path, "smoke", names)
    stages = tmp_path / "dvc.yaml"
    stages.write_text(stages.read_text().replace("conf/study/smoke.yaml", "conf/study/waves.yaml"))
    done = installed.run("dvc", "repro", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results/waves/report/report.html").is_file()


def project(installed: Installed, root: Path, study: str, names: tuple[str, ...]) -> None:
    """A project in `root` as `fairsweep init` writes it, with some files of docs/extend.md."""
    assert installed.run("fairsweep", "init", f"study={study}", cwd=root).returncode == 0
    assert installed.run("dvc", "init", "-q", "--no-scm", cwd=root).returncode == 0
    page = (ROOT / "docs/extend.md").read_text("utf-8")
    for name in names:
        (text,) = re.findall(rf"^`{re.escape(name)}`:\n\n```\w+\n(.*?)^```$", page, re.M | re.S)
        (root / name).write_text(text, "utf-8")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"].lower() == PROJECT["name"]
