"""Every number that is written is made again from its tables, and an edited one is named."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.audit import audit, told
from pipeline.auditing import edits, readme
from pipeline.auditing.edits import Edit
from pipeline.config import compose
from pipeline.errors import FairsweepError
from study_copy import ROOT, StudyCopy

FOLDER = Path("results/smoke")


@pytest.fixture
def copy(smoke: StudyCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's files, as they are after `dvc repro`, in the working folder."""
    for part in ("conf", "data", "runs", "results"):
        shutil.copytree(smoke.root / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def audited() -> list[Edit | str]:
    """What `audit` finds in the study of the working folder."""
    return audit(compose(["study=smoke"]))[0]


def edit(path: Path, old: str, new: str) -> int:
    """Put `new` where `old` stands first in a file; the line of it."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def cell(path: Path, start: str, column: str, new: str) -> tuple[int, str]:
    """Put `new` into a column of the first row that starts with `start`; its line and what stood there."""
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(start))
    header, fields = lines[0].split(","), lines[place].split(",")
    # What stands before `overrides`, the last column, has no comma.
    number = header.index(column)
    was, fields[number] = fields[number], new
    lines[place] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    return place + 1, was


def test_an_untouched_study_is_what_its_tables_give_and_each_edited_number_is_named(copy: Path) -> None:
    assert audited() == []
    report, scores = FOLDER / "report", FOLDER / "scores/scores.csv"
    mean = json.loads((report / "metrics.json").read_text())["arms"]["gru"]["tuned"]["mean"]
    shown = f"{mean:.4f}"
    places = {
        str(report / "metrics.json"): (
            edit(report / "metrics.json", f'"mean": {mean},', '"mean": 0.987654,'),
            "0.987654",
            str(mean),
        ),
        str(report / "report.md"): (edit(report / "report.md", shown, "0.9876"), "0.9876", shown),
        str(report / "report.html"): (edit(report / "report.html", shown, "0.9876"), "0.9876", shown),
        str(scores): (*(place := cell(scores, "0,gru,trial,3,", "test_loss", "0.111111"))[:1], "0.111111", place[1]),
    }
    figure = report / "plots/verdict.svg"
    drawn = re.search(r'x="(\d+\.\d+)"', figure.read_text())
    assert drawn
    places[str(figure)] = (edit(figure, drawn[0], 'x="1.5"'), "1.5", drawn[1])
    found = {(one.file, one.line): one for one in audited() if isinstance(one, Edit)}
    for file, (line, there, again) in places.items():
        named = found.pop((file, line))
        assert (named.there, named.again) == (there, again)
        assert str(named).startswith(f"{file}, line {line}, ")
    assert str(found) == "{}"


def test_without_the_runs_the_tables_are_held_against_one_another(copy: Path) -> None:
    for part in ("data", "runs"):
        shutil.rmtree(copy / part)
    tables = FOLDER / "scores"
    expected = {}
    for name, start, column in (
        ("scores.csv", "0,rnn,tuned,1,", "test"),
        ("scores.csv", "0,gru,trial,2,", "validation_loss"),
        ("trials.csv", "0,rnn,4,", "validation"),
        ("replicates.csv", "0,gru,article,1,", "epochs"),
    ):
        line, was = cell(tables / name, start, column, "7")
        expected[f"{tables / name}", line] = (column, was)
    edited = {(one.file, one.line): one for one in audited() if isinstance(one, Edit) and "/scores/" in one.file}
    for key, (column, was) in expected.items():
        named = edited[key]
        assert named.what.startswith(f"{column} of ")
        assert named.there == "7"
        assert named.again.startswith(f"{was} by ")


def test_a_study_that_conf_has_left_behind_and_a_file_too_many_are_named(copy: Path) -> None:
    edit(copy / "conf/study/smoke.yaml", "replicates: 2", "replicates: 2, margin: 0.02")
    (FOLDER / "report/plots/more.svg").write_text("")
    (FOLDER / "report/curves.csv").unlink()
    lines = told(audited())
    assert "results/smoke/scores: These scores are stale or of another study: margin was 0.01" in lines[0]
    assert "results/smoke/report/plots/more.svg: a file there, no file recomputed" in lines
    assert "results/smoke/report/curves.csv: no file there, a file recomputed" in lines


def test_the_command_lists_what_was_edited_without_tensorflow(copy: Path, smoke: StudyCopy) -> None:
    line = edit(FOLDER / "report/report.md", "8 trials", "9 trials")
    own = StudyCopy.existing(copy, "smoke")
    shutil.copytree(smoke.root / "pipeline", copy / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    done = own.run("python", "-X", "importtime", "-m", "pipeline.audit", "study=smoke", check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("results/smoke/scores: its tables with one another and with conf/, and made again from runs/smoke")
    assert any(one.startswith(f"results/smoke/report/report.md, line {line}, ") for one in lines)
    assert any(one.endswith(": 9 there, 8 recomputed") for one in lines)
    assert lines[-1] == "1 place is not what the tables give"
    imported = set(re.findall(r"^import time:.*\|\s*(\w+)$", done.stderr, re.MULTILINE))
    assert not imported & {"tensorflow", "keras", "jax", "mlflow", "distributed"}


def test_a_study_without_a_report_is_told_how_to_make_one(copy: Path) -> None:
    shutil.rmtree(FOLDER / "report")
    with pytest.raises(FairsweepError, match=r"results/smoke/report is missing.*dvc repro report"):
        audited()


@pytest.mark.parametrize(("name", "study"), [("answer", "imdb"), ("results", "imdb"), ("printed", "article"), ("claims", "imdb")])
def test_an_edited_number_of_the_readme_is_named(name: str, study: str) -> None:
    file = Path("docs/claims.md" if name in ("printed", "claims") else "README.md")
    text = (ROOT / file).read_text("utf-8")
    folder = ROOT / "results" / study
    metrics = json.loads((folder / "report/metrics.json").read_text())
    made = readme.blocks(study, metrics, json.loads((folder / "scores/study.json").read_text()), ROOT / "results")
    assert readme.check(text, made, file) == []
    found = readme.block(text, name)
    assert found
    line, block = found
    number = re.search(r"\d\.\d\d\d*", block)
    assert number
    changed = block[: number.start()] + "9.99" + block[number.end() :]
    (named,) = readme.check(text.replace(block, changed), made, file)
    assert (named.file, named.line) == (str(file), line + block[: number.start()].count("\n"))
    assert named.what.startswith(f"{name}: ")
    assert (named.there, named.again) == ("9.99", number[0])


def test_a_readme_of_ones_own_is_left_alone() -> None:
    assert readme.check("# My project\n\n0.123\n", {"answer": "**0.5**"}) == []


@pytest.mark.parametrize(
    ("file", "there", "again", "expected"),
    [
        ("a.csv", "a,b\n1,2.5\n", "a,b\n1,2.6\n", ["a.csv, line 2, b: 2.5 there, 2.6 recomputed"]),
        ("a.csv", "a,b\n1,2.50000001\n", "a,b\n1,2.5\n", []),
        ("a.csv", "a\n1000001\n", "a\n1000002\n", ["a.csv, line 2, a: 1000001 there, 1000002 recomputed"]),
        ("a.csv", "a\n1\n", "a\n1\n2\n", ["a.csv, line 2: nothing there, 2 recomputed"]),
        ("a.json", '{\n "a": {\n  "b": [\n   1,\n   2\n  ]\n }\n}', '{\n "a": {\n  "b": [\n   1,\n   3\n  ]\n }\n}',
         ["a.json, line 5, a.b.1: 2 there, 3 recomputed"]),
        ("a.md", "the gap is −1.25 [0.5, 2]", "the gap is 1.25 [0.5, 3]",
         ["a.md, line 1, the gap is: −1.25 there, 1.25 recomputed", "a.md, line 1, the gap is −1.25 [0.5,: 2 there, 3 recomputed"]),
        ("a.md", "gru wins", "lstm wins", ["a.md, line 1: gru wins there, lstm wins recomputed"]),
        ("a.html", "<p>mean <b>0.8500</b></p>", "<p>mean <b>0.8400</b></p>",
         ["a.html, line 1, mean: 0.8500 there, 0.8400 recomputed"]),
    ],
)  # fmt: skip
def test_differences_name_line_and_number(file: str, there: str, again: str, expected: list[str]) -> None:
    assert [str(one) for one in edits.of(file, there, again)] == expected
