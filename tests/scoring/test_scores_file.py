"""A file of anyone's scores is read to the number, or refused by file, line and column."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FairsweepError
from pipeline.scoring.scores_file import ScoresFile, read

HEADER = "arm,trial,validation,test\n"
ROWS = "lstm,0,0.86,0.85\nlstm,1,0.84,0.83\ngru,0,0.85,0.84\ngru,1,0.83,0.82\n"
STUDIES = "arm,repeat,score\nlstm,a,0.86\nlstm,b,0.85\ngru,b,0.84\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my scores (1), new.csv"


def given(path: Path, content: str | bytes) -> ScoresFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


def test_a_pool_is_read_in_the_order_of_its_rows(path: Path) -> None:
    file = given(path, HEADER + ROWS)
    assert (file.design, list(file.arms), file.row) == ("shared", ["lstm", "gru"], "trial")
    lstm = file.arms["lstm"]
    assert lstm.names == ("0", "1")
    assert lstm.validation.dtype == lstm.score.dtype == np.float64
    assert (lstm.validation.tolist(), lstm.score.tolist()) == ([0.86, 0.84], [0.85, 0.83])
    assert file.arms["gru"].score.tolist() == [0.84, 0.82]
    assert file.unmatched() is None


def test_studies_are_read_and_may_differ_in_number(path: Path) -> None:
    file = given(path, STUDIES)
    assert (file.design, file.row) == ("repeated", "repeat")
    assert {name: (arm.names, arm.score.tolist()) for name, arm in file.arms.items()} == {
        "lstm": (("a", "b"), [0.86, 0.85]),
        "gru": (("b",), [0.84]),
    }
    assert file.unmatched() == "repeat 'a' of lstm is not among those of gru"


def test_an_unmatched_name_is_found_on_either_side(path: Path) -> None:
    file = given(path, HEADER + ROWS.replace("gru,1", "gru,7"))
    assert file.unmatched() == "trial '1' of lstm is not among those of gru"
    longer = given(path, STUDIES + "gru,a,0.8\ngru,c,0.8\n")
    assert longer.unmatched() == "repeat 'c' of gru is not among those of lstm"


def test_rows_are_brought_into_another_order_by_name(path: Path) -> None:
    arm = given(path, HEADER + ROWS).arms["gru"].ordered(("1", "0"))
    assert (arm.names, arm.validation.tolist(), arm.score.tolist()) == (
        ("1", "0"),
        [0.83, 0.85],
        [0.82, 0.84],
    )
    study = given(path, STUDIES).arms["lstm"].ordered(("b", "a"))
    assert study.score.tolist() == [0.85, 0.86]


def test_a_failed_trial_keeps_its_place(path: Path) -> None:
    file = given(
        path, HEADER + "a,0,,\na,1,,0.61\na,2,0.8,0.7\nb,0,0.8,0.7\nb,1,0.8,0.7\nb,2,0.8,0.7\n"
    )
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
        (pool("gru,0,0.85"), ", line 4: ", "3 fields, and the header has 4"),
        (pool("gru"), ", line 4: ", "1 field, and the header has 4"),
        (pool("gru,0,0,85,0,84"), ", line 4: ", "6 fields, and the header has 4"),
        (pool("gru,0,0.85,0.84,"), ", line 4: ", "5 fields"),
        (pool(",0,0.85,0.84"), ", line 4, column arm: ", "is empty"),
        (pool(",,,"), ", line 4, column arm: ", "is empty"),
        (pool("gru, ,0.85,0.84"), ", line 4, column trial: ", "is empty"),
        (pool("g\x1b[1mru,0,0.85,0.84"), ", line 4, column arm: ", "cannot be printed"),
        (
            pool("lstm,1,0.85,0.84"),
            ", line 4, column trial: ",
            "lstm already has trial '1' on line 3",
        ),
        (
            STUDIES + "gru,b,0.83\n",
            ", line 5, column repeat: ",
            "gru already has repeat 'b' on line 4",
        ),
        (
            pool(f"gru,{'x' * 1001},0.8,0.8"),
            ", line 4, column trial: ",
            "longer than 1000 characters",
        ),
        # numbers
        (pool("gru,0,0.85,good"), ", line 4, column test: ", "'good' is not a finite number"),
        (pool("gru,0,NA,0.84"), ", line 4, column validation: ", "A failed trial has an empty"),
        (pool('gru,0,0.85,"0,84"'), ", line 4, column test: ", "'0,84' is not a finite number"),
        (
            pool("gru,0,0.8_5,0.84"),
            ", line 4, column validation: ",
            "'0.8_5' is not a finite number",
        ),
        (pool("gru,0,nan,0.84"), ", line 4, column validation: ", "'nan' is not a finite number"),
        (pool("gru,0,0.85,-inf"), ", line 4, column test: ", "'-inf' is not a finite number"),
        (
            pool("gru,0,0.85,86.4"),
            ", line 4, column test: ",
            "86.4 looks like a percentage, write 0.864",
        ),
        (pool("gru,0,1.0001,0.84"), ", line 4, column validation: ", "scores are fractions"),
        (pool("gru,0,0.85,-0.1"), ", line 4, column test: ", "-0.1 is not between 0 and 1"),
        (pool("gru,0,0.85,8640"), ", line 4, column test: ", "8640 is not between 0 and 1"),
        (pool("gru,0,0.85,"), ", line 4, column test: ", "is empty, though"),
        (STUDIES + "gru,c,\n", ", line 5, column score: ", "'' is not a finite number"),
        # headers
        ("", " is empty. ", "arm,trial,validation,test (trials of a search) or arm,repeat,score"),
        ("\n \n", " is empty. ", "arm,trial,validation,test"),
        (ROWS, ", line 1: ", "the header is 'lstm', '0', '0.86', '0.85'. It must be arm,trial,"),
        ("arm,trial,valid,test\n", ", line 1: ", "'valid'"),
        (
            "arm,trial,validation\n",
            ", line 1: ",
            "the header is 'arm', 'trial', 'validation'. It must",
        ),
        ("arm,arm,score\n", ", line 1: ", "the header is 'arm', 'arm', 'score'. It must"),
        ("\n\narm,repeat,test\n", ", line 3: ", "'test'. It must be arm,trial,validation,test"),
        ((HEADER + ROWS).replace(",", ";"), ", line 1, column 1: ", "separated by semicolons"),
        ((HEADER + ROWS).replace(",", "\t"), ", line 1, column 1: ", "separated by tabs"),
        # the whole file
        (HEADER, ", column arm: ", "has no row. Give at least two arms"),
        (HEADER + "lstm,0,0.8,0.8\n", ", column arm: ", "has only 'lstm'. Give at least two arms"),
        (HEADER + ROWS + "gru,2,0.8,0.8\n", ", column arm: ", "2 trials of lstm and 3 of gru"),
        (HEADER + "a,0,0.8,0.8\nb,0,,0.7\n", ", column validation: ", "every trial of b failed"),
        # bytes
        (pool("gr\0u,0,0.85,0.84"), ", line 4: ", "a NUL byte"),
        (pool("gru,0,0.85,\0"), ", line 4: ", "a NUL byte"),
        ((HEADER + ROWS).encode("utf-16"), ", line 1: ", "not UTF-8"),
        ((HEADER + ROWS).encode("utf-16-le"), ", line 1: ", "a NUL byte"),
        (pool("grü,0é,0.85,0.84").encode("latin-1"), ", line 4: ", "not UTF-8"),
        ((HEADER + ROWS).encode() + b"gru,0,\xff", ", line 6: ", "not UTF-8"),
        # quotes
        (pool('gru,"0,0.85,0.84'), ", line 4: ", "not valid CSV (unexpected end of data)"),
        (pool('gru,"0"1,0.85,0.84'), ", line 4: ", "not valid CSV"),
        (
            pool('gru,"' + "x" * 200_000 + '",0.85,0.84'),
            ", line 4, column trial: ",
            "is longer than",
        ),
        (pool("gru," + "x" * 2_000_000), ", line 4: ", "2 fields"),
    ],
)
def test_a_malformed_file_is_refused_where_it_is(
    content: str | bytes, where: str, words: str, path: Path
) -> None:
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
    with pytest.raises(
        FairsweepError,
        match=r"my scores .* does not exist. Give a CSV file with the columns arm,trial",
    ):
        read(path)
    path.mkdir()
    with pytest.raises(FairsweepError, match="is not a file"):
        read(path)


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match="cannot be read: File name too long"):
        read(tmp_path / ("x" * 300))
