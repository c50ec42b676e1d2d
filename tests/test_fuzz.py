"""Readers and the command line return a result or raise FairsweepError for generated inputs."""

import csv
import gzip
import io
import shutil
import string
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pipeline.config.cli import command
from pipeline.config.compose import check_overrides, quoted
from pipeline.config.schema import Columns, Config, Task, leaves
from pipeline.data import csv as csv_file
from pipeline.data import registry, spec
from pipeline.data.imdb import reviews
from pipeline.data.spec import Sequences
from pipeline.errors import FairsweepError
from pipeline.scoring import scores_file
from study_copy import ROOT

KEYS = [key for key, _ in leaves()]
# What has a meaning in CSV, in YAML, in Hydra's grammar, in a spreadsheet or in a terminal.
MARKS = [
    "",
    ",",
    ";",
    '"',
    '""',
    "'",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "\0",
    "\ufeff",
    "\u202e",
    "\x1b[2J",
    "=cmd|' /C calc'!A0",
]
MARKS += [
    "-",
    "+",
    "@",
    "${seed}",
    "${oc.env:HOME}",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "~",
    "\\",
    "null",
    "nan",
    "1e999",
    "0.5",
    "7",
]
MARKS += [
    "&a",
    "*a",
    "!!python/object/apply:os.system",
    "range(3)",
    "choice(1,2)",
    "١",
    "text",
    "label",
    "value",
    "arm",
    "trial",
]
WORD = st.one_of(
    st.sampled_from(MARKS), st.text(max_size=8), st.text(string.ascii_lowercase + " ", max_size=8)
)
CELL = st.lists(WORD, max_size=4).map("".join)


def files(header: str) -> SearchStrategy[bytes]:
    """CSV files with this header or another, sound or broken."""
    rows = st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=8)
    sound = rows.map(
        lambda some: "\n".join([header, *(",".join(row) for row in some)]).encode(
            "utf-8", "surrogatepass"
        )
    )
    noise = st.tuples(sound, st.integers(0, 100), st.binary(max_size=4)).map(
        lambda parts: _spliced(*parts)
    )
    return st.one_of(
        sound,
        noise,
        st.lists(WORD).map(lambda words: "".join(words).encode("utf-8", "surrogatepass")),
    )


def _spliced(content: bytes, at: int, other: bytes) -> bytes:
    return content[:at] + other + content[at + len(other) :]


def read_table(content: bytes, root: Path) -> None:
    path = root / "file.csv"
    path.write_bytes(content)
    frame = csv_file.table(path)
    assert len(frame) > 0
    assert all(type(cell) is str for cell in frame.to_numpy().ravel())


def written(rows: list[list[str]], root: Path) -> None:
    """What Python's csv module writes is read as it was."""
    path, width = root / "file.csv", max(map(len, rows), default=1)
    rows = [[*row, *[""] * (width - len(row))] for row in rows]
    header = [f"c{number}" for number in range(width)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    assert csv_file.table(path).to_numpy().tolist() == rows


def read_texts(rows: list[tuple[str, bool]], root: Path) -> None:
    with (root / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("text", "label"), *[(text, "=1+1" if label else "<b>") for text, label in rows * 20]]
        )
    task, columns = (
        Task(name="csv", source="csv"),
        Columns(path=str(root / "texts.csv"), text="text", label="label"),
    )
    corpus = registry.read(task, registry.fetch(task, root / "archive", columns), columns)
    assert isinstance(corpus, spec.Corpus)
    assert len(corpus.train.texts) + len(corpus.test.texts) == 20 * len(rows)
    assert corpus.spec.classes == ["<b>", "=1+1"]


def read_series(cells: list[str], root: Path) -> None:
    with (root / "series.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("value",), *[(cell,) for cell in cells]])
    task, columns = (
        Task(name="csv", source="csv", length=3),
        Columns(path=str(root / "series.csv"), value="value"),
    )
    series = registry.read(task, registry.fetch(task, root / "archive", columns), columns)
    assert isinstance(series, Sequences)
    for part in (series.train, series.test):
        assert np.isfinite(part.inputs).all()
        assert np.isfinite(part.labels).all()


def read_scores(content: bytes, root: Path) -> None:
    path = root / "scores.csv"
    path.write_bytes(content)
    found = scores_file.read(path)
    assert len(found.arms) > 1
    for arm in found.arms.values():
        assert np.all((arm.score >= 0) & (arm.score <= 1))


def read_archive(edit: tuple[int, bytes, bool], root: Path) -> None:
    """An archive of four reviews, a few bytes of it changed, packed anew or as it is."""
    at, other, inside = edit
    plain = four_reviews()
    content = _spliced(plain, at, other) if inside else plain
    packed = gzip.compress(content, 1, mtime=0)
    path = root / "reviews.tar.gz"
    path.write_bytes(packed if inside else _spliced(packed, at % len(packed), other))
    assert len(reviews(path)) >= 4


def four_reviews() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for part in ("train", "test"):
            for side in ("neg", "pos"):
                for name, text in (
                    (f"{side}/0_5.txt", "A film."),
                    (f"urls_{side}.txt", "http://www.imdb.com/title/tt0000001/"),
                ):
                    entry = tarfile.TarInfo(f"aclImdb/{part}/{name}")
                    entry.size, entry.pax_headers = len(text), {"comment": "é"}
                    tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def take_override(argument: str, root: Path) -> None:
    check_overrides([quoted(argument)], multirun=False)


def accept(config: Config) -> None:
    """A command that does nothing."""
    assert isinstance(config, Config)


def take_argument(argument: str, root: Path) -> None:
    """A command line: it works, or ends in one line."""
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr(sys, "argv", ["accept", argument])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        command(accept)()


def take_study(document: Any, root: Path) -> None:
    (root / "conf/study/fuzzed.yaml").write_text(document, encoding="utf-8", errors="surrogatepass")
    take_argument("study=fuzzed", root)


VALUES = st.one_of(
    CELL,
    st.integers().map(str),
    st.floats().map(str),
    st.lists(CELL, max_size=3).map(lambda some: f"[{','.join(some)}]"),
)
OVERRIDES = st.one_of(
    st.tuples(
        st.sampled_from(["", "+", "++", "~"]),
        st.sampled_from([*KEYS, "study", "cell", "task", "space.model.units.low"]),
        VALUES,
    ).map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"),
    st.lists(WORD, max_size=6).map("".join),
)
TREE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELL),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), CELL), below, max_size=3),
    ),
    max_leaves=8,
)
SECTIONS = st.dictionaries(
    st.sampled_from(sorted({key.split(".")[0] for key in KEYS})), TREE, max_size=3
)
HEAD = "# @package _global_\n"
STUDIES = st.one_of(
    SECTIONS.map(
        lambda tree: (
            HEAD + yaml.dump({"name": "fuzzed", "cells": ["rnn"], **tree}, allow_unicode=True)
        )
    ),
    st.lists(WORD).map(lambda words: HEAD + "".join(words)),
)
ROWS = st.lists(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
)
NUMBERS = st.one_of(
    st.floats().map(str), st.integers(-3, 3).map(str), CELL.filter(lambda cell: "\0" not in cell)
)


@dataclass(frozen=True)
class Reader:
    """A function that reads input, a strategy for inputs, and their number at level night."""

    read: Callable[[Any, Path], None]
    inputs: SearchStrategy[Any]
    count: int


READERS = [
    Reader(read_table, files("text,label"), 4000),
    Reader(written, ROWS, 3000),
    Reader(read_texts, st.lists(st.tuples(CELL, st.booleans()), min_size=2, max_size=6), 500),
    Reader(read_series, st.lists(NUMBERS, min_size=20, max_size=40), 1000),
    Reader(
        read_scores, st.one_of(files("arm,trial,validation,test"), files("arm,repeat,score")), 4000
    ),
    Reader(
        read_archive,
        st.tuples(st.integers(0, 16_384), st.binary(min_size=1, max_size=8), st.booleans()),
        3000,
    ),
    Reader(take_override, OVERRIDES, 6000),
    Reader(take_argument, OVERRIDES, 200),
    Reader(take_study, STUDIES, 300),
]
# Fractions of those inputs that are used at the default level and at the level long.
FEW, SOME = 1 / 200, 1 / 10


def read_inputs(reader: Reader, times: int, root: Path) -> None:
    """Read `times` inputs, the same ones in each test."""

    def attempt(value: Any) -> None:
        with suppress(FairsweepError):
            reader.read(value, root)

    fixed: dict[str, Any] = {
        "deadline": None,
        "database": None,
        "derandomize": True,
        "suppress_health_check": list(HealthCheck),
    }
    settings(max_examples=times, phases=[Phase.generate, Phase.shrink], **fixed)(
        given(reader.inputs)(attempt)
    )()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with conf/ in it, which is the current one."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.read.__name__)
def test_a_few_inputs_have_a_result_or_an_error(reader: Reader, root: Path) -> None:
    read_inputs(reader, max(2, int(reader.count * FEW)), root)


@pytest.mark.parametrize(
    "share", [pytest.param(SOME, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.night)]
)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.read.__name__)
def test_many_inputs_have_a_result_or_an_error(reader: Reader, share: float, root: Path) -> None:
    assert sum(reader.count for reader in READERS) >= 20_000
    read_inputs(reader, int(reader.count * share), root)
