"""`audit`: every figure is recomputed from its tables, and an edited one is named."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.audit import Difference, audit, compare_texts
from pipeline.config.compose import compose
from pipeline.errors import FairsweepError
from study_copy import StudyCopy

FOLDER = Path("results/smoke")


@pytest.fixture
def copy(smoke: StudyCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's files after `dvc repro`, in the working folder."""
    for part in ("conf", "data", "runs", "results"):
        shutil.copytree(smoke.root / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def differences() -> list[Difference]:
    """The differences that `audit` reports for the study of the working folder."""
    return audit(compose(["study=smoke"]))[0]


def edit(path: Path, old: str, new: str) -> int:
    """Replace the first `old` of a file; return its line."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def edit_field(path: Path, start: str, column: str, new: str) -> tuple[int, str]:
    """Replace a field of the first row with this start; return its line and its old value."""
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith(start))
    header, fields = lines[0].split(","), lines[place].split(",")
    # Only the last column, `overrides`, contains commas.
    number = header.index(column)
    old, fields[number] = fields[number], new
    lines[place] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    return place + 1, old


def test_an_untouched_study_has_no_differences_and_each_edited_number_is_named(copy: Path) -> None:
    assert differences() == []
    report, scores = FOLDER / "report", FOLDER / "scores/scores.csv"
    metrics = json.loads((report / "metrics.json").read_text())
    mean = metrics["arms"]["gru"]["tuned"]["mean"]
    shown = f"{mean:.4f}"
    json_line = edit(report / "metrics.json", f'"mean": {mean},', '"mean": 0.987654,')
    text_line = edit(report / "report.md", shown, "0.9876")
    page_line = edit(report / "report.html", shown, "0.9876")
    table_line, old = edit_field(scores, "0,gru,trial,3,", "test_loss", "0.111111")
    figure = report / "plots/verdict.svg"
    drawn = re.search(r'x="(\d+\.\d+)"', figure.read_text())
    assert drawn
    figure_line = edit(figure, drawn[0], 'x="1.5"')
    expected = {
        (report / "metrics.json", json_line): ("0.987654", str(mean)),
        (report / "report.md", text_line): ("0.9876", shown),
        (report / "report.html", page_line): ("0.9876", shown),
        (scores, table_line): ("0.111111", old),
        (figure, figure_line): ("1.5", drawn[1]),
    }
    found = {
        (item.file, int(item.place.split(",")[0].removeprefix("line "))): item[2:]
        for item in differences()
    }
    assert found == expected


def test_without_the_runs_the_report_is_compared_with_the_scores(copy: Path) -> None:
    for part in ("data", "runs"):
        shutil.rmtree(copy / part)
    assert audit(compose(["study=smoke"]))[1][0].startswith("results/smoke/scores: not recomputed")
    assert differences() == []
    edit_field(FOLDER / "scores/scores.csv", "0,rnn,tuned,1,", "test", "0.7")
    files = {item.file.name for item in differences()}
    assert {"metrics.json", "report.md", "report.html"} <= files


def test_a_changed_configuration_and_changed_files_are_named(copy: Path) -> None:
    edit(copy / "conf/study/smoke.yaml", "replicates: 2", "replicates: 2, margin: 0.02")
    (FOLDER / "report/plots/more.svg").write_text("")
    (FOLDER / "report/curves.csv").unlink()
    found = differences()
    assert "margin was 0.01" in found[0].place
    report = FOLDER / "report"
    assert Difference(report / "plots/more.svg", "the file", "a file", "no file") in found
    assert Difference(report / "curves.csv", "the file", "no file", "a file") in found


def test_the_command_lists_an_edit_without_importing_tensorflow(
    copy: Path, smoke: StudyCopy
) -> None:
    line = edit(FOLDER / "report/report.md", "8 trials", "9 trials")
    study = StudyCopy.existing(copy, "smoke")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(smoke.root / "pipeline", copy / "pipeline", ignore=ignored)
    command = ("python", "-X", "importtime", "-m", "pipeline.audit", "study=smoke")
    done = study.run(*command, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "results/smoke/scores: recomputed from runs/smoke and the sealed labels"
    assert lines[2] == "results/smoke/report/report.md (1):"
    assert lines[3].startswith(f"  line {line}, ")
    assert lines[3].endswith(": 9 written, 8 recomputed")
    imported = set(re.findall(r"^import time:.*\|\s*(\w+)$", done.stderr, re.MULTILINE))
    assert not imported & {"tensorflow", "keras", "jax", "mlflow", "distributed"}


def test_a_missing_report_is_an_error(copy: Path) -> None:
    shutil.rmtree(FOLDER / "report")
    with pytest.raises(FairsweepError, match=r"results/smoke/report is missing.*dvc repro report"):
        differences()


@pytest.mark.parametrize(
    ("written", "again", "expected"),
    [
        ("a,b\n1,2.5\n", "a,b\n1,2.6\n", [("line 2, 1,", "2.5", "2.6")]),
        ("a,b\n1,2.50000001\n", "a,b\n1,2.5\n", []),
        ("a\n1000001\n", "a\n1000002\n", [("line 2, ", "1000001", "1000002")]),
        ("a\n1\n", "a\n1\n2\n", [("line 3, ", "", "2")]),
        ('{\n "b": 2\n}', '{\n "b": 3\n}', [('line 2, "b":', "2", "3")]),
        (
            "the gap is −1.25 [0.5, 2]",
            "the gap is 1.25 [0.5, 3]",
            [
                ("line 1, the gap is", "−1.25", "1.25"),
                ("line 1, the gap is −1.25 [0.5,", "2", "3"),
            ],
        ),
        ("gru wins 5", "lstm wins 6", [("line 1, ", "gru wins ", "lstm wins ")]),
        (
            "<p>mean <b>0.8500</b></p>",
            "<p>mean <b>0.84</b></p>",
            [("line 1, mean", "0.8500", "0.84")],
        ),
    ],
)
def test_differences_name_line_and_number(
    written: str, again: str, expected: list[tuple[str, str, str]]
) -> None:
    found = list(compare_texts(Path("a"), written, again))
    assert [tuple(item[1:]) for item in found] == expected
