"""A file of anyone's scores is read to the number, or refused by file, line and column."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FairsweepError
from pipeline.reporting.scores_file import ScoresFile, read

HEADER = "arm,trial,validation,test\n"
ROWS = "lstm,0,0.86,0.85\nlstm,1,0.84,0.83\ngru,0,0.85,0.84\ngru,1,0.83,0.82\n"
STUDIES = "arm,study,score\nlstm,a,0.86\nlstm,b,0.85\ngru,b,0.84\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my scores (1), new.csv"


def given(path: Path, content: str | bytes) -> ScoresFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


def test_a_pool_is_read_in_the_order_of_its_rows(path: Path) -> None:
    file = given(path, HEADER + ROWS)
    assert (file.design, list(file.arms), file.row) == ("pool", ["lstm", "gru"], "trial")
    lstm = file.arms["lstm"]
    assert lstm.names == ("0", "1")
    assert lstm.validation.dtype == lstm.score.dtype == np.float64
    assert (lstm.validation.tolist(), lstm.score.tolist()) == ([0.86, 0.84], [0.85, 0.83])
    assert file.arms["gru"].score.tolist() == [0.84, 0.82]
    assert file.unmatched() is None


def test_studies_are_read_and_may_differ_in_number(path: Path) -> None:
    file = given(path, STUDIES)
    assert (file.design, file.row) == ("studies", "study")
    assert {name: (arm.names, arm.score.tolist()) for name, arm in file.arms.items()} == {
        "lstm": (("a", "b"), [0.86, 0.85]),
        "gru": (("b",), [0.84]),
    }
    assert file.unmatched() == "study 'a' of lstm is not among those of gru"


def test_an_unmatched_name_is_found_on_either_side(path: Path) -> None:
    file = given(path, HEADER + ROWS.replace("gru,1", "gru,7"))
    assert file.unmatched() == "trial '1' of lstm is not among those of gru"
    longer = given(path, STUDIES + "gru,a,0.8\ngru,c,0.8\n")
    assert longer.unmatched() == "study 'c' of gru is not among those of lstm"


def test_rows_are_brought_into_another_order_by_name(path: Path) -> None:
    arm = given(path, HEADER + ROWS).arms["gru"].ordered(("1", "0"))
    assert (arm.names, arm.validation.tolist(), arm.score.tolist()) == (("1", "0"), [0.83, 0.85], [0.82, 0.84])
    study = given(path, STUDIES).arms["lstm"].ordered(("b", "a"))
    assert study.score.tolist() == [0.85, 0.86]


def test_a_failed_trial_keeps_its_place(path: Path) -> None:
    file = given(path, HEADER + "a,0,,\na,1,,0.61\na,2,0.8,0.7\nb,0,0.8,0.7\nb,1,0.8,0.7\nb,2,0.8,0.7\n")
    assert file.arms["a"].validation.tolist() == [-math.inf, -math.inf, 0.8]
    assert file.arms["a"].score.tolist() == [0.5, 0.61, 0.7]
    assert (file.arms["a"].guessed, file.arms["b"].guessed) == (1, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + (HEADER + ROWS).encode(),
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r"),
        (HEADER + ROWS).rstrip("\n"),
        "\n" + (HEADER + ROWS).replace("\n", "\n\n  \n"),
        (HEADER + ROWS).replace(",", " , "),
        re.sub(r"[^,\n]+", lambda cell: f'"{cell[0]}"', HEADER + ROWS),
    ],
    ids=["BOM", "CRLF", "CR", "no last line break", "blank lines", "blanks", "quotes"],
)
def test_what_spreadsheets_write_is_the_same_file(content: str | bytes, path: Path) -> None:
    plain, other = given(path, HEADER + ROWS), given(path, content)
    assert list(other.arms) == list(plain.arms)
    for name, arm in plain.arms.items():
        assert other.arms[name].names == arm.names
        assert other.arms[name].validation.tolist() == arm.validation.tolist()
        assert other.arms[name].score.tolist() == arm.score.tolist()


def test_the_edges_of_a_fraction_are_taken(path: Path) -> None:
    file = given(path, HEADER + "a,0,0,1\na,1,1.0,0.0\nb,0,1e-1,.5\nb,1,0.5,+0.5\n")
    assert file.arms["a"].validation.tolist() == [0.0, 1.0]
    assert file.arms["b"].validation.tolist() == [0.1, 0.5]


def pool(row: str) -> str:
    """A pool whose line 4 is `row`."""
    lines = (HEADER + ROWS).splitlines()
    return "\n".join([*lines[:3], row, *lines[4:]]) + "\n"


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        # cells
        (pool("gru,0,0.85"), ", line 4, column test: ", "is missing: 3 cells, expected 4 (arm,trial,validation,test)."),
        (pool("gru"), ", line 4, column trial: ", "is missing: 1 cells"),
        (pool("gru,0,0,85,0,84"), ", line 4, column 5: ", "is one too many: 6 cells, expected 4"),
        (pool("gru,0,0.85,0.84,"), ", line 4, column 5: ", "is one too many: 5 cells"),
        (pool(",0,0.85,0.84"), ", line 4, column arm: ", "is empty"),
        (pool(",,,"), ", line 4, column arm: ", "is empty"),
        (pool("gru, ,0.85,0.84"), ", line 4, column trial: ", "is empty"),
        (pool("g\x1b[1mru,0,0.85,0.84"), ", line 4, column arm: ", "cannot be printed"),
        (pool("lstm,1,0.85,0.84"), ", line 4, column trial: ", "lstm has trial '1' already, on line 3. Give each trial a name"),
        (STUDIES + "gru,b,0.83\n", ", line 5, column study: ", "gru has study 'b' already, on line 4. Give one score a study"),
        # numbers
        (pool("gru,0,0.85,good"), ", line 4, column test: ", "'good' is not a number. Expected a fraction such as 0.864."),
        (pool("gru,0,NA,0.84"), ", line 4, column validation: ", "A failed trial has an empty cell."),
        (pool('gru,0,0.85,"0,84"'), ", line 4, column test: ", "'0,84' is not a number"),
        (pool("gru,0,0.8_5,0.84"), ", line 4, column validation: ", "'0.8_5' is not a number"),
        (pool("gru,0,nan,0.84"), ", line 4, column validation: ", "nan is not a finite number"),
        (pool("gru,0,0.85,-inf"), ", line 4, column test: ", "-inf is not a finite number"),
        (pool("gru,0,0.85,86.4"), ", line 4, column test: ", "scores are fractions: 86.4 looks like a percentage, write 0.864."),
        (pool("gru,0,1.0001,0.84"), ", line 4, column validation: ", "scores are fractions"),
        (pool("gru,0,0.85,-0.1"), ", line 4, column test: ", "expected a number from 0 to 1, found -0.1."),
        (pool("gru,0,0.85,8640"), ", line 4, column test: ", "expected a number from 0 to 1, found 8640."),
        (pool("gru,0,0.85,"), ", line 4, column test: ", "is empty, though the trial has a validation score"),
        (STUDIES + "gru,c,\n", ", line 5, column score: ", "'' is not a number"),
        # headers
        ("", " is empty. ", "arm,trial,validation,test (a pool of trials) or arm,study,score (separate studies)"),
        ("\n \n", " is empty. ", "arm,trial,validation,test"),
        (ROWS, ", line 1, column 1: ", "found 'lstm', expected 'arm'. The header must be arm,trial,validation,test (a pool"),
        ("arm,trial,valid,test\n", ", line 1, column 3: ", "found 'valid', expected 'validation'."),
        ("arm,trial,validation\n", ", line 1, column 4: ", "found no such column, expected 'test'."),
        ("arm,study,score,seed\n", ", line 1, column 4: ", "found 'seed', expected no such column."),
        ("\n\narm,study,test\n", ", line 3, column 3: ", "found 'test', expected 'score'."),
        ((HEADER + ROWS).replace(",", ";"), ", line 1, column 1: ", "separated by semicolons. Expected commas, and points"),
        ((HEADER + ROWS).replace(",", "\t"), ", line 1, column 1: ", "separated by tabs"),
        # the whole
        (HEADER, ", column arm: ", "found no row below the header. Expected at least two arms"),
        (HEADER + "lstm,0,0.8,0.8\n", ", column arm: ", "found only 'lstm'. Expected at least two arms"),
        (HEADER + ROWS + "gru,2,0.8,0.8\n", ", column arm: ", "found 2 of lstm and 3 of gru. Expected equally many trials"),
        (HEADER + "a,0,0.8,0.8\nb,0,,0.7\n", ", column validation: ", "every trial of b failed"),
        # bytes
        (pool("gr\0u,0,0.85,0.84"), ", line 4, column 1: ", "holds a NUL byte"),
        (pool("gru,0,0.85,\0"), ", line 4, column 4: ", "holds a NUL byte"),
        ((HEADER + ROWS).encode("utf-16"), ", line 1, column 1: ", "is not UTF-8 (0xff at byte 1 of the line)"),
        ((HEADER + ROWS).encode("utf-16-le"), ", line 1, column 1: ", "holds a NUL byte"),
        (pool("grü,0é,0.85,0.84").encode("latin-1"), ", line 4, column 1: ", "is not UTF-8 (0xfc at byte 3 of the line)"),
        ((HEADER + ROWS).encode() + b"gru,0,\xff", ", line 6, column 3: ", "is not UTF-8 (0xff at byte 7 of the line)"),
        # quotes
        (pool('gru,"0,0.85,0.84'), ", line 4: ", "cannot be read as CSV (unexpected end of data)"),
        (pool('gru,"0"1,0.85,0.84'), ", line 4: ", "cannot be read as CSV"),
        (pool('gru,"' + "x" * 200_000 + '",0.85,0.84'), ", line 4: ", "field larger than field limit"),
        (pool("gru," + "x" * 2_000_000), ", line 4: ", "is longer than"),
    ],
)
def test_a_malformed_file_is_refused_where_it_is(content: str | bytes, where: str, words: str, path: Path) -> None:
    with pytest.raises(FairsweepError) as caught:
        given(path, content)
    assert str(caught.value).startswith(f"{path}{where}")
    assert words in str(caught.value)


def test_a_line_break_within_quotes_is_a_line(path: Path) -> None:
    with pytest.raises(FairsweepError, match="line 5, column test"):
        given(path, HEADER + 'lstm,"0\nfirst",0.8,0.8\n\ngru,0,0.8,bad\n')
    with pytest.raises(FairsweepError, match="line 3, column test"):
        given(path, HEADER + 'lstm,0,0.8,0.8\nlstm,"1\nsecond",0.8,bad\n')


def test_a_missing_file_and_a_folder_are_told_apart(path: Path) -> None:
    with pytest.raises(FairsweepError, match=r"my scores .* does not exist. Expected a CSV file with the columns arm,trial"):
        read(path)
    path.mkdir()
    with pytest.raises(FairsweepError, match="is not a file"):
        read(path)


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match="cannot be read: File name too long"):
        read(tmp_path / ("x" * 300))
