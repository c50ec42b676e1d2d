"""One's own CSV file: what is refused and with which words, and what comes of a good one."""

import contextlib
import csv
import io
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.schema import Columns, Task
from pipeline.data import csv as csv_file
from pipeline.data.spec import Sequences, TaskSpec
from pipeline.errors import FairsweepError

TASK = Task(name="csv", source="csv", length=12)
HEADER = ["text", "label", "author"]
Row = list[str]


def rows(count: int = 60, classes: int = 2, authors: int = 20) -> list[Row]:
    """Row i: a text of its own, class i modulo `classes`, author i modulo `authors`."""
    return [
        [f"Number {i}, said {i % classes}!", f"class {i % classes}", f"author {i % authors}"]
        for i in range(count)
    ]


def content(lines: list[Row], header: Row = HEADER) -> str:
    written = io.StringIO(newline="")
    csv.writer(written).writerows([header, *lines])
    return written.getvalue()


def read(
    folder: Path, data: str | bytes, test: str | bytes | None = None, **keys: str | None
) -> object:
    """Through all that a study does with a file: check, copy, read."""
    named = (
        {"path": "mine.csv", "text": "text", "label": "label"}
        | ({} if test is None else {"test_path": "held.csv"})
        | keys
    )
    columns = Columns(**named)
    for name, held in (("mine.csv", data), ("held.csv", test)):
        if held is not None:
            (folder / name).write_bytes(held.encode() if isinstance(held, str) else held)
    csv_file.copy(columns, folder / "archive")
    return csv_file.read(TASK, folder / "archive" / "data.csv", columns)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What relative paths count from, which is not the current folder."""
    copy = tmp_path / "build/own"
    (copy / ".fairsweep").mkdir(parents=True)
    (copy / ".fairsweep/project").write_text(f"{tmp_path}\n")
    monkeypatch.chdir(copy)
    return tmp_path


def changed(row: int, column: int, cell: str, lines: list[Row] | None = None) -> list[Row]:
    lines = lines or rows()
    lines[row][column] = cell
    return lines


GOOD = content(rows())
LEAK = content(
    [["a new text", "class 0", "author 3"], *([f"held {i}", "class 1", "new"] for i in range(20))]
)
BAD: dict[str, tuple[str | bytes, str | bytes | None, dict[str, str | None], str]] = {
    "no path": (GOOD, None, {"path": None}, r"^data\.path missing: task csv needs data\.path=FILE\.csv"),
    "no label": (GOOD, None, {"label": None}, r"^data\.label missing"),
    "no columns": (GOOD, None, {"text": None, "label": ""}, r"^data\.text and data\.label missing"),
    "time of texts": (GOOD, None, {"time": "author"}, r"^data\.time: texts have no data\.time\. Take data\.time out"),
    "series with text": (GOOD, None, {"value": "text", "label": None}, r"^data\.text: a series .* has data\.time alone"),
    "series with test": (GOOD, LEAK, {"value": "text", "text": None, "label": None}, r"^data\.test_path: .*its last fifth is the test"),
    "one column twice": (GOOD, None, {"label": "text"}, r"^data\.text and data\.label both name the column 'text'"),
    "no file": (GOOD, None, {"path": "none.csv"}, r"^data\.path=none\.csv: there is no file /.*/none\.csv"),
    "a folder": (GOOD, None, {"path": "."}, r"^data\.path=\.: there is no file"),
    "no column": (GOOD, None, {"text": "Texts"}, r"^data\.text=Texts: .* the nearest is 'text'\. There are: 'text', 'label', 'author'\."),
    "semicolons": ("text;label\nfine;good\n", None, {}, r"There are: 'text;label' \(separate fields by commas\)"),
    "no time column": (
        GOOD, None, {"value": "text", "text": None, "label": None, "time": "when"},
        r"^data\.time=when: .* There are: 'text', 'label', 'author'\.",
    ),
    "no column in the test": (GOOD, LEAK.replace("label", "target", 1), {}, r"held\.csv has no such column.*'target'"),
    "empty": ("", None, {}, r"mine\.csv has no content"),
    "blank": ("\n\r\n", None, {}, r"mine\.csv has no content"),
    "header alone": ("text,label\n", None, {}, r"mine\.csv has no row below its header"),
    "names twice": (content([["a", "b", "c"]], ["text", "label", "text"]), None, {}, r"mine\.csv, line 1: two columns are named 'text'"),
    "latin-1": (GOOD.replace("Number 7", "Ünder").encode("latin-1"), None, {}, r"mine\.csv, line 9: not UTF-8"),
    "utf-16": (GOOD.encode("utf-16"), None, {}, r"mine\.csv, line 1: not UTF-8"),
    "nul": (GOOD.replace("Number 3", "Nu\0mber"), None, {}, r"mine\.csv, line 5: a NUL byte"),
    "too many fields": ("text,label\ngreat, really,good\n", None, {}, r"mine\.csv, line 2: 3 fields, and the header has 2"),
    "too few fields": ('text,label\n"two\nlines",good\nbad\n', None, {}, r"mine\.csv, line 4: 1 field, and the header has 2"),
    "cut quote": ('text,label\nfine,good\n"never closed,bad\nfine,good\n', None, {}, r"mine\.csv, line 3: not valid CSV .*quote"),
    "cut by a quote": ('text,label\n"never closed,bad\n"fine",good\n', None, {}, r"mine\.csv, line 2: not valid CSV .*quote"),
    "quotes and semicolons": ('text;label\n"fine";good\n', None, {}, r"mine\.csv, line 2: not valid CSV .*Separate fields by commas"),
    "blank in a column": ("text\na\n\nb\n", None, {}, r'mine\.csv, line 3: blank, in a file of one column\. Write ""'),
    "empty label": (content(changed(4, 1, " ")), None, {}, r"mine\.csv, row 5 \(the header not .*column 'label' .* in 1 of 60 rows"),
    "empty group": (content(changed(9, 2, "")), None, {"group": "author"}, r"row 10 .*column 'author' \(data\.group\) is empty"),
    "few rows": (content(rows(49)), None, {}, r"mine\.csv has 49 rows: at least 50"),
    "one class": (content(rows(classes=1)), None, {}, r"column 'label' .*: every row is 'class 0'"),
    "rare class": (content(changed(4, 1, "odd")), None, {}, r"class 'odd' has 1 of 60 rows, and each class needs 5"),
    "many classes": (content(rows(600, 256)), None, {}, r"256 different values in 600 rows, and at most 255"),
    "same file": (GOOD, GOOD, {}, r"^data\.test_path=held\.csv has the same content as data\.path=mine\.csv"),
    "small test": (GOOD, content(rows(9)), {}, r"^data\.test_path=held\.csv has 9 rows: at least 10"),
    "unknown class": (GOOD, content(changed(2, 1, "Class 1")), {}, r"held\.csv, row 3 .*'Class 1' is not .*: 'class 0', 'class 1'\. "),
    "leak": (GOOD, LEAK, {"group": "author"}, r"held\.csv: 1 groups of column 'author' .* such as 'author 3'"),
    "coarse groups": (content(rows(authors=3)), None, {"group": "author"}, r"0 of 30 rows of class 'class 0': its 3 groups are too large"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_file_with_a_fault_is_refused_by_its_name(fault: str, root: Path) -> None:
    data, test, keys, message = BAD[fault]
    with pytest.raises(FairsweepError, match=message):
        read(root, data, test, **keys)


@pytest.mark.parametrize(
    ("classes", "kind", "outputs", "group"),
    [(2, "binary", 1, None), (3, "classes", 3, None), (3, "classes", 3, "author")],
)
def test_a_fifth_is_the_test(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    classes: int,
    kind: str,
    outputs: int,
    group: str | None,
) -> None:
    corpus = read(root, content(rows(300, classes, authors=50)[::-1]), group=group)
    names = [f"class {number}" for number in range(classes)]
    bases = ["trivial", "same_tokens", "whole_text"]
    assert corpus.spec == TaskSpec(
        kind,
        "accuracy",
        outputs,
        length=12,
        example="text",
        group=group or "",
        classes=names,
        baselines=bases,
    )
    assert not corpus.encoded
    for part, share in ((corpus.train, 240), (corpus.test, 60)):
        assert part.labels.dtype == np.uint8
        assert [text.split()[-1] for text in part.texts] == [str(label) for label in part.labels]
        assert np.abs(np.bincount(part.labels) - share / classes).max() <= (3 if group else 0)
    assert len({*corpus.train.texts, *corpus.test.texts}) == 300
    if group:
        assert len({*corpus.train.groups}) + len({*corpus.test.groups}) == 50
        assert not {*corpus.train.groups} & {*corpus.test.groups}
        assert all(
            int(group.split()[1]) == int(text.split()[1]) % 50
            for group, text in zip(corpus.test.groups, corpus.test.texts, strict=True)
        )
    else:
        assert corpus.train.groups is corpus.test.groups is None
    assert capsys.readouterr().out == ""
    assert (
        read(root, content(rows(300, classes, authors=50)[::-1]), group=group).test.texts
        == corpus.test.texts
    )


def test_a_test_file_is_the_test(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, held = rows(), [[f"held {i}", "class 1 ", f"other {i}"] for i in range(10)]
    held[3][0], held[4][0] = "NUMBER 5 (said 1)", ""
    corpus = read(root, content(changed(7, 0, "", train)), content(held), group="author")
    assert len(corpus.train.texts) == 60
    assert corpus.test.texts[3:5] == ["number 5 said 1", ""]
    assert corpus.test.labels.tolist() == [1] * 10
    assert corpus.test.groups == [f"other {i}" for i in range(10)]
    # Two texts without words are no copies of one another.
    assert (
        capsys.readouterr().out == "warning: 1 of 10 test texts also occur in the training part\n"
    )
    assert not list((root / "archive").glob("**/.*"))


def test_the_copies_of_another_study_do_not_stay(root: Path) -> None:
    read(root, GOOD, content([[f"held {i}", "class 1", "new"] for i in range(10)]))
    read(root, GOOD)
    assert [path.name for path in (root / "archive").iterdir()] == ["data.csv"]
    with pytest.raises(FairsweepError, match=r"There is no .*test\.csv\. First run"):
        csv_file.read(
            TASK,
            root / "archive" / "data.csv",
            Columns(path="mine.csv", test_path="held.csv", text="text", label="label"),
        )


LONG = "word " * 40_000
CELLS = {
    "unicode": ("Naïve café, 東京 🎬", "naïve café 東京 🎬"),
    "line separator": ("one\u2028two\x85", "one\u2028two\x85"),
    "quotes and commas": ('She said "go, now"', "she said go now"),
    "newlines": ("one\r\ntwo\nthree\rfour", "one two three four"),
    "spaces": ("  padded\t text ", "padded text"),
    "not missing": ("NA", "na"),
    "no words": ("?!", ""),
    "empty": ("", ""),
    "longer than the csv module's limit": (LONG, LONG.strip()),
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "mark"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\r\n"], ids=["crlf", "lf", "cr", "crcrlf"])
def test_a_cell_is_what_was_written(root: Path, mark: bytes, end: str) -> None:
    lines = rows()
    for line, (cell, _) in zip(lines, CELLS.values(), strict=False):
        line[0] = cell
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=end).writerows(
        [["", *HEADER], *[["", *line] for line in lines]]
    )
    (root / "mine.csv").write_bytes(mark + written.getvalue().encode() + end.encode())
    frame = csv_file.table(root / "mine.csv")
    assert list(frame["text"]) == [line[0] for line in lines]
    assert list(frame.columns) == ["", *HEADER]
    corpus = read(root, (root / "mine.csv").read_bytes())
    assert {words for _, words in CELLS.values()} <= {*corpus.train.texts, *corpus.test.texts}


def test_a_column_of_numbers_is_a_series(root: Path) -> None:
    values = [f"{np.sin(week):.3f}" for week in range(300)]
    values[7] = ""
    source = read(
        root,
        content([[value] for value in values], ["level"]),
        value="level",
        text=None,
        label=None,
    )
    assert isinstance(source, Sequences)
    assert (source.spec.kind, source.spec.ordered, source.spec.length, source.spec.unit) == (
        "regression",
        True,
        12,
        "level",
    )


def test_the_module_limit_is_as_it_was(root: Path) -> None:
    before = csv.field_size_limit()
    for data in (GOOD, GOOD + '"open'):
        (root / "mine.csv").write_text(data)
        with contextlib.suppress(FairsweepError):
            csv_file.table(root / "mine.csv")
        assert csv.field_size_limit() == before
