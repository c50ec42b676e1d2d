"""Malicious inputs give a clear error or a correct result.

Memory is bounded, and nothing is written outside the project.
"""

import csv
import gzip
import io
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import compare
from pipeline.config.cli import command
from pipeline.config.schema import Columns, Task
from pipeline.data import arrays, csv_reader, imdb_npz, registry
from pipeline.data import csv as csv_file
from pipeline.errors import FairsweepError
from study_copy import ROOT

FORMULA = "=cmd|' /C calc'!A0"
SCRIPT = "<script>alert(1)</script>"
RIGHT_TO_LEFT = "\u202egnp.exe"
MEGABYTE = "x" * 1_000_000
# Bytes of address space for a process that reads a bomb: Python, numpy and pandas take half of it.
MEMORY = 2_000_000_000


def seen(folder: Path) -> dict[str, int | None]:
    """Everything below `folder` but the project: sizes of files."""
    found = {path: path.lstat().st_size if path.is_file() else None for path in folder.rglob("*")}
    return {
        str(path.relative_to(folder)): size
        for path, size in found.items()
        if "project" not in path.relative_to(folder).parts
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with conf/, outside which nothing may change; inputs are in `project/inputs`."""
    root = tmp_path / "outer" / "project"
    shutil.copytree(ROOT / "conf", root / "conf")
    (root / "inputs").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(root)
    before = seen(tmp_path)
    yield root
    assert seen(tmp_path) == before


def member(name: str, content: bytes = b"", size: int | None = None, **fields: object) -> bytes:
    """A member of a tar: its header, correct or not, and its content padded to blocks."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content) if size is None else size
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def sound() -> bytes:
    """The members of an archive of four reviews, without its end."""
    return b"".join(
        member(f"aclImdb/{part}/{side}/0_5.txt", f"A {side} film.".encode())
        + member(
            f"aclImdb/{part}/urls_{side}.txt", b"http://www.imdb.com/title/tt0000001/usercomments\n"
        )
        for part in ("train", "test")
        for side in ("neg", "pos")
    )


END = bytes(1024)
# 10 GB of zeros as a gzip stream of 10 MB: a thousand times the same part.
TEN_GIGABYTES = gzip.compress(bytes(10_000_000), 9) * 1000


def gz(*parts: bytes) -> bytes:
    return gzip.compress(b"".join(parts), 1)


ODD = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "out of the project": (
        gz(
            *(
                member(name, b"out")
                for name in (
                    "../../out.txt",
                    "/tmp/out.txt",
                    "aclImdb/train/pos/../../../../out.txt",
                )
            ),
            *(
                member("aclImdb/train/pos/7_9.txt", **{**ODD, "type": kind})
                for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
            ),
            *(
                member("aclImdb/train/pos/8_9.txt", type=kind)
                for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
            ),
            *(sound(), END),
        ),
        "4 reviews",
    ),
    "an archive in an archive": (
        gz(sound(), member("aclImdb/train/pos/more.tar.gz", gz(sound(), END)), END),
        "4 reviews",
    ),
    "an archive for a review": (
        gz(sound(), member("aclImdb/train/pos/1_5.txt", gz(sound(), END)), END),
        "aclImdb/train/pos/1_5.txt in .* is not UTF-8",
    ),
    "packed twice": (gzip.compress(gz(sound(), END)), "cut or damaged before its first file"),
    "no gzip": (sound() + END, "cut or damaged before its first file: Not a gzipped file"),
    "Latin-1": (
        gz(
            sound(),
            member("aclImdb/train/pos/1_5.txt", "Fellini's 8½, très".encode("latin-1")),
            END,
        ),
        "is not UTF-8",
    ),
    "UTF-16": (
        gz(sound(), member("aclImdb/train/pos/1_5.txt", "A film.".encode("utf-16")), END),
        "is not UTF-8",
    ),
    "10 GB beside the reviews": (
        gz(sound(), member("aclImdb/README", size=10_000_000_000)) + TEN_GIGABYTES + gz(END),
        "refused: it unpacks to more than 1,000,000,000 bytes",
    ),
    "a review of 10 GB": (
        gz(sound(), member("aclImdb/train/pos/1_5.txt", size=10_000_000_000))
        + TEN_GIGABYTES
        + gz(END),
        "refused: .*1_5.txt has 10,000,000,000 bytes|refused: it unpacks to more",
    ),
    "10 GB after the end": (
        gz(sound(), END) + TEN_GIGABYTES,
        "refused: it unpacks to more than 1,000,000,000 bytes",
    ),
    "a name of 10 GB": (
        gz(member("long", size=10_000_000_000, type=tarfile.GNUTYPE_LONGNAME))
        + TEN_GIGABYTES
        + gz(sound(), END),
        "refused: it unpacks to more than",
    ),
    "a thousand more headers": (
        gz(member("more", type=tarfile.XHDTYPE) * 1000, sound(), END),
        "4 reviews",
    ),
    "a file of holes": (
        gz(member("aclImdb/train/pos/1_5.txt", type=tarfile.GNUTYPE_SPARSE), sound(), END),
        "4 reviews",
    ),
    "a control character in a name": (
        gz(sound(), member("\x1b[2J"), b"cut"),
        r"in or after '\\x1b\[2J'",
    ),
    "a million and one files": (
        gz(member("aclImdb/train/unsup/0_0.txt") * 1_000_001, END),
        "more than 1,000,000 members",
    ),
}
LONG = ("a million and one files",)
READ = """
import sys
from pathlib import Path
from pipeline.data.imdb import reviews
from pipeline.errors import FairsweepError
for path in sys.argv[1:]:
    try:
        print(f"{len(reviews(Path(path)))} reviews")
    except FairsweepError as error:
        print(error)
"""


def messages_of(project: Path, names: list[str]) -> list[str]:
    """What a process of limited memory says of each of these archives, a line each."""
    paths = [project / "inputs" / f"{number}.tar.gz" for number, _ in enumerate(names)]
    for path, name in zip(paths, names, strict=True):
        path.write_bytes(ARCHIVES[name][0])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, preexec_fn=limit
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_no_archive_writes_takes_memory_or_passes_for_another(project: Path) -> None:
    names = [name for name in ARCHIVES if name not in LONG]
    message = dict(zip(names, messages_of(project, names), strict=True))
    for name, line in message.items():
        assert re.search(ARCHIVES[name][1], line), (name, line)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_a_large_archive_is_given_up_in_time(name: str, project: Path) -> None:
    (line,) = messages_of(project, [name])
    assert ARCHIVES[name][1] in line


def npz(path: Path, rows: bytes, labels: np.ndarray) -> Path:
    """Keras's imdb.npz whose reviews are the pickle `rows` of as many rows as there are labels."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": labels.shape}
    )
    numbers = io.BytesIO()
    np.save(numbers, labels)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for part in ("train", "test"):
            file.writestr(f"x_{part}.npy", header.getvalue() + rows)
            file.writestr(f"y_{part}.npy", numbers.getvalue())
    return path


def array_of(rows: list[list[int]]) -> bytes:
    array = np.empty(len(rows), object)
    array[:] = rows
    return pickle.dumps(array, protocol=2)


class Touch:
    """Unpickled as Python would, it makes a file."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("touched"),)


PICKLES = {
    "code": (
        pickle.dumps(Touch()),
        2,
        r"asks for pathlib\.\w*Path\.touch|asks for builtins.getattr|asks for",
    ),
    "a row a hundred thousand times": (
        array_of([[1] * 100_000] * 100_000),
        100_000,
        "holds more ranks than it has bytes",
    ),
    "a rank that nobody can count to": (
        array_of([[10**18], [1, 2]]),
        2,
        "word ranks from 1 to 10,000,000",
    ),
    "deep": (b"\x80\x02" + b"(" * 1_000_000 + b".", 2, "is refused"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_no_pickle_runs_code_or_takes_memory(name: str, project: Path) -> None:
    rows, count, message = PICKLES[name]
    path = npz(project / "inputs" / "imdb.npz", rows, np.arange(count) % 2)
    with pytest.raises(FairsweepError, match=message):
        imdb_npz.load(path)
    assert not Path("touched").exists()


DOCUMENTS = {
    "a circle": ("seed: &a [*a]\n", "a file of conf/ cannot be read .RecursionError"),
    "deep": (f"seed: {'[' * 5000}{']' * 5000}\n", "a file of conf/ cannot be read .RecursionError"),
    "an object": (
        "seed: !!python/object/apply:os.system ['touch touched']\n",
        "could not determine a constructor",
    ),
    "a number": ("1", "a file of conf/ cannot be read .OSError: Invalid loaded object type: int"),
    "no UTF-8": (b"name: \xff\n", "cannot be read|not UTF-8"),
    "a name that climbs": (
        "{name: ../../out, cells: [rnn]}\n",
        "name='../../out': a name starts with a letter",
    ),
    "a name that is a formula": (
        f"{{name: {json.dumps(FORMULA)}, cells: [rnn]}}\n",
        "a name starts with a letter",
    ),
    "a task that climbs": (
        "{name: evil, cells: [rnn], task: {name: ../../out}}\n",
        "task.name='../../out': a name starts with a letter",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_study_cannot_run_code_take_memory_or_climb(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, message = DOCUMENTS[name]
    text = content if isinstance(content, bytes) else content.encode()
    (project / "conf/study/evil.yaml").write_bytes(b"# @package _global_\n" + text)
    monkeypatch.setattr(sys, "argv", ["accept", "study=evil"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit) as ended:
        command(lambda config: None)()
    assert re.search(message, str(ended.value)), ended.value
    assert not Path("touched").exists()


def table_of(project: Path, rows: list[tuple[str, ...]]) -> Path:
    path = project / "inputs" / "file.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_csv_of_a_gigabyte_is_refused_before_it_is_read(project: Path) -> None:
    path = project / "inputs" / "file.csv"
    with path.open("wb") as file:
        file.write(b"text,label\n")
        file.truncate(1_000_000_001)
    with pytest.raises(
        FairsweepError,
        match=r"has 1,000,000,001 bytes, and at most 500,000,000 are read.*Take fewer rows",
    ):
        csv_file.table(path)
    with pytest.raises(
        FairsweepError, match="has 1,000,000,001 bytes, and at most 20,000,000 are read"
    ):
        compare.compare(compare.Comparison(scores=str(path)))


def test_too_many_columns_or_cells_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_of(
        project, [tuple(f"c{number}" for number in range(1_000_000)), ("1",) * 1_000_000]
    )
    with pytest.raises(
        FairsweepError, match="line 1: 1,000,000 columns, and at most 16,384 are read"
    ):
        csv_file.table(path)
    table_of(project, [tuple(f"c{number}" for number in range(16_000)), ("1",) * 16_000])
    with pytest.raises(FairsweepError) as caught:
        csv_file.check(Columns(path=str(path), text="c17x", label="c5"))
    assert "the nearest is 'c17" in str(caught.value)
    assert "and 15,980 more" in str(caught.value)
    assert len(str(caught.value)) < 1000
    monkeypatch.setattr(csv_reader, "MOST_CELLS", 31_999)
    with pytest.raises(FairsweepError, match="line 2: more than 31,999 cells"):
        csv_file.table(path)


def hostile_rows() -> list[tuple[str, str, str]]:
    """Texts of every kind that is odd, two labels that are formulas or markup, and a group."""
    texts = [
        SCRIPT,
        RIGHT_TO_LEFT,
        MEGABYTE,
        "",
        "...",
        FORMULA,
        "\r\n\t",
        "\x1b[2Jescaped",
        "a plain text",
    ]
    return [
        (text, (FORMULA, SCRIPT)[number % 2], f"g{number}") for number, text in enumerate(texts * 8)
    ]


def test_odd_texts_and_labels_are_data(project: Path) -> None:
    path = table_of(project, [("text", "label", RIGHT_TO_LEFT), *hostile_rows()])
    columns = Columns(path=str(path), text="text", label="label")
    task = Task(name="csv", source="csv", length=6, vocabulary=50)
    source = registry.read(task, registry.fetch(task, Path("data/odd/archive"), columns), columns)
    meta = arrays.write(source, task, Path("data/odd/arrays"), Path("data/odd/sealed"))
    assert meta["spec"]["classes"] == sorted([SCRIPT, FORMULA])
    assert meta["train"]["rows"] + meta["test"]["rows"] == 72
    tokens, words = (
        np.load("data/odd/arrays/train_tokens.npy"),
        arrays.load_vocabulary(Path("data/odd/arrays")),
    )
    assert {"script", "alert", "1", "cmd", "plain", MEGABYTE} <= set(words)
    # A text without a word is the start token alone.
    assert np.sum((tokens == [0, 0, 0, 0, 0, 1]).all(axis=1)) > 10
    assert files_of("data/odd") == {
        *(f"archive/{name}" for name in ("data.csv",)),
        *(
            f"arrays/{part}_{what}.npy"
            for part in ("train", "test")
            for what in ("tokens", "ids", "offsets", "groups")
        ),
        *(
            "arrays/train_labels.npy",
            "arrays/vocabulary.json",
            "arrays/meta.json",
            "sealed/test_labels.npy",
        ),
    }


def files_of(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_a_group_that_turns_text_around_is_refused(project: Path) -> None:
    path = table_of(project, [("text", "label", RIGHT_TO_LEFT), *hostile_rows()])
    with pytest.raises(
        FairsweepError, match=r"data.group='\\u202egnp.exe': .*a character that cannot be printed"
    ):
        csv_file.check(Columns(path=str(path), text="text", label="label", group=RIGHT_TO_LEFT))


def test_a_value_that_no_float_can_hold_is_refused(project: Path) -> None:
    for value, message in (
        ("1e200", "1e\\+15 is the largest"),
        ("1e999", "'1e999' is not a number"),
        (MEGABYTE, "'x{60}' is not a number"),
    ):
        path = table_of(
            project,
            [("value",), *[(str(number),) for number in range(40)], (value,), *[("1",)] * 9],
        )
        task, columns = (
            Task(name="csv", source="csv", length=3),
            Columns(path=str(path), value="value"),
        )
        with pytest.raises(FairsweepError, match=message):
            registry.read(task, registry.fetch(task, Path("data/odd/archive"), columns), columns)


def test_a_series_that_never_leaves_its_last_value_is_refused(project: Path) -> None:
    path = table_of(project, [("value",), ("5",), *[("1",)] * 60])
    task, columns = Task(name="csv", source="csv", length=3), Columns(path=str(path), value="value")
    with pytest.raises(FairsweepError, match="there is nothing to learn"):
        registry.read(task, registry.fetch(task, Path("data/odd/archive"), columns), columns)


def test_formulas_as_arms_stay_in_json(project: Path) -> None:
    rows = [
        (arm, str(trial), f"0.{trial + 1}", f"0.{trial + 1}")
        for arm in (FORMULA, SCRIPT)
        for trial in range(8)
    ]
    path = table_of(project, [("arm", "trial", "validation", "test"), *rows])
    result, message = compare.compare(compare.Comparison(scores=str(path), budget=2))
    compare.write(result, project / "inputs/out.json", path)
    assert list(json.loads((project / "inputs/out.json").read_text())["arms"]) == [FORMULA, SCRIPT]
    assert FORMULA in compare.text(result, message)


def test_a_hundred_arms_are_enough(project: Path) -> None:
    path = table_of(
        project,
        [
            ("arm", "repeat", "score"),
            *[(f"a{arm}", str(study), "0.5") for arm in range(101) for study in range(3)],
        ],
    )
    with pytest.raises(FairsweepError, match="101 arms, and at most 100 are compared"):
        compare.compare(compare.Comparison(scores=str(path)))
