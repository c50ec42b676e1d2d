"""The dependencies that dvc.yaml declares are the files that a stage reads."""

import json
from pathlib import Path, PurePath

import pytest
import yaml

from pipeline.imports import APART
from study_copy import ROOT, StudyCopy

# Composed by every command, but without effect on numbers: where trials run, and the default cell.
NOT_A_CAUSE = ("conf/cluster/", "conf/cell/lstm.yaml")
# What a stage composes with the rest of conf/, and makes no use of.
UNUSED = {
    "download": ("conf/config.yaml", "conf/study/", "conf/space/"),
    "pad": ("conf/config.yaml", "conf/space/"),
    "sample": ("conf/task/",),
    "baseline": ("conf/space/",),
    # Search keys of single arms, which the output of the stage `code` contains.
    "evaluate": ("conf/cell/",),
    "report": ("conf/cell/",),
}
# What parses, checks and writes decides no number.
PLUMBING = ("__init__", *APART)


def below(path: str, declared: list[str]) -> bool:
    return any(PurePath(path).is_relative_to(folder) for folder in declared)


def lock(copy: StudyCopy) -> dict:
    return yaml.safe_load((copy.root / "dvc.lock").read_text())["stages"]


def opened_by_stages(copy: StudyCopy) -> set[tuple[str, str, str]]:
    """Return what all stages opened, except `code`, which always runs.

    Other tests run other commands in the same copy.
    """
    stages = lock(copy).keys() - {"code"}
    return {access for access in copy.opened() if access[0] in stages}


def test_every_stage_ran(smoke: StudyCopy) -> None:
    expected = {"code", "download", "pad", "sample", "baseline", "evaluate", "report"}
    assert set(lock(smoke)) == expected | {
        f"{stage}@{cell}" for stage in ("tune", "replicate") for cell in ("rnn", "gru")
    }


def test_a_stage_reads_nothing_it_does_not_declare(smoke: StudyCopy) -> None:
    undeclared, stages = set(), lock(smoke)
    for stage, mode, path in opened_by_stages(smoke):
        entry = stages[stage]
        declared = [
            item["path"] for part in ("deps", "outs") for item in entry.get(part, [])
        ] + list(entry.get("params", {}))
        if path.startswith("conf/"):
            spared = (*NOT_A_CAUSE, *UNUSED.get(stage.split("@")[0], ()))
            watched = not path.startswith(spared)
        else:
            watched = path.startswith(("data/", "runs/", "results/")) and not path.startswith(
                "runs/hydra/"
            )
        # A part of an output is written under a name of its own first.
        if watched and mode == "r" and not below(path, declared) and ".part" not in path:
            undeclared.add((stage, path))
    assert undeclared == set()


def test_a_stage_imports_no_code_it_does_not_declare(smoke: StudyCopy) -> None:
    undeclared, stages = set(), lock(smoke)
    for stage, _, path in opened_by_stages(smoke):
        if not path.startswith("pipeline/") or not path.endswith(".py"):
            continue
        (declared,) = [dep["path"] for dep in stages[stage]["deps"] if "/code/" in dep["path"]]
        name = ".".join(PurePath(path).with_suffix("").parts[1:])
        if name.split(".")[
            0
        ] not in PLUMBING and f".{name.removesuffix('.__init__')}" not in json.loads(
            (smoke.root / declared).read_text()
        ):
            undeclared.add((stage, path))
    assert undeclared == set()


@pytest.mark.parametrize(
    "study", sorted(path.stem for path in (ROOT / "conf/study").glob("*.yaml"))
)
def test_a_study_names_itself_and_its_task_and_space_where_dvc_looks(study: str) -> None:
    document = yaml.safe_load((ROOT / f"conf/study/{study}.yaml").read_text())
    assert document["name"] == study
    assert [list(entry) for entry in document["defaults"][:2]] == [
        ["override /task"],
        ["override /space"],
    ]
    assert all((ROOT / f"conf/cell/{cell}.yaml").is_file() for cell in document["cells"])


def test_make_takes_away_what_a_killed_dvc_left_empty(tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke")
    copy.repro("sample")
    for name in (".dvc/tmp/rwlock", "dvc.lock"):
        (copy.root / name).write_bytes(b"")
        refused = copy.run("dvc", "repro", "sample", check=False)
        assert refused.returncode, refused.stdout
        copy.run("make", "-s", "-f", str(ROOT / "Makefile"), "--eval", "mend: ; @$(MEND)", "mend")
        copy.repro("sample")
        # What is whole stays.
        copy.run("make", "-s", "-f", str(ROOT / "Makefile"), "--eval", "mend: ; @$(MEND)", "mend")
        assert set(lock(copy)) == {"code", "sample"}
