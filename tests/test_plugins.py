"""Cells and datasets are found by import path, and a wrong one gives one message."""

import sys
from pathlib import Path

import pytest

from pipeline.config.schema import Cell, Columns, Task
from pipeline.data import registry
from pipeline.errors import FairsweepError
from pipeline.models.cells import check_cell
from pipeline.plugins import load

FILES = {
    "good.py": "VALUE = 3\n",
    "broken.py": "1 / 0\n",
    "ends.py": "import sys\nsys.exit(0)\n",
    "needs.py": "import a_library_that_is_absent\n",
    "lazy.py": "def __getattr__(name):\n    raise RuntimeError('not today')\n",
    "package/__init__.py": "1 / 0\n",
    "package/inner.py": "VALUE = 3\n",
    "bi_cells.py": "def f(units):\n    return units\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    return tmp_path


def test_an_object_is_found_in_the_projects_root_and_in_the_environment(project: Path) -> None:
    assert load("key", "good:VALUE") == 3
    assert load("key", "filelock:FileLock").__name__.endswith("FileLock")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("good", "key=good: expected an import path MODULE:NAME"),
        ("good:", "key=good:: expected an import path MODULE:NAME"),
        (":VALUE", "key=:VALUE: expected an import path MODULE:NAME"),
        ("good:a.b", "key=good:a.b: expected an import path MODULE:NAME"),
        ("a..b:C", "key=a..b:C: expected an import path MODULE:NAME"),
        ("absent:VALUE", "key=absent:VALUE: There is no module absent in "),
        (
            "good:OTHER",
            "key=good:OTHER: good does not define 'OTHER'. Correct the name after the colon.",
        ),
        (
            "broken:VALUE",
            "key=broken:VALUE: broken cannot be imported: ZeroDivisionError: division by zero",
        ),
        (
            "package.inner:VALUE",
            "key=package.inner:VALUE: package.inner cannot be imported: ZeroDivisionError",
        ),
        ("ends:VALUE", "key=ends:VALUE: ends cannot be imported: SystemExit: 0"),
        (
            "needs:VALUE",
            "needs cannot be imported: ModuleNotFoundError: No module named 'a_library_that_is_absent'",
        ),
        ("lazy:VALUE", "lazy cannot be imported: RuntimeError: not today"),
    ],
)
def test_a_wrong_path_gives_one_message(path: str, words: str, project: Path) -> None:
    with pytest.raises(FairsweepError) as caught:
        load("key", path)
    assert words in str(caught.value)


def test_a_module_with_the_prefix_of_both_directions_is_refused(project: Path) -> None:
    check_cell(Cell("bi_good:VALUE"))
    with pytest.raises(
        FairsweepError,
        match=r"^cell\.type=bi_cells:f: the prefix bi_ stands for both directions.*Rename the module\.$",
    ):
        check_cell(Cell("bi_cells:f"))


def no_archive(*_: object) -> None:
    """Writes nothing."""


def one_argument(task: Task) -> None:
    """Takes less than it is given."""


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("3", "expected a Dataset of pipeline.data.spec, and it is a int"),
        (
            "Dataset(one_argument)",
            "read must take (task, archive, columns): too many positional arguments",
        ),
        (
            "Dataset(one_argument, copy=no_archive)",
            "copy did not write data/package.txt. Set Dataset.archive to a file that it writes.",
        ),
    ],
)
def test_a_dataset_with_wrong_parts_gives_one_message(
    dataset: str, words: str, project: Path
) -> None:
    names = "from pipeline.data.spec import Dataset\nfrom test_plugins import no_archive, one_argument\n"
    (project / "wrong.py").write_text(f"{names}DATASET = {dataset}\n")
    task = Task(name="wrong", source="wrong:DATASET")

    def fetch_and_read() -> None:
        registry.read(task, registry.fetch(task, Path("data"), Columns()), Columns())

    with pytest.raises(FairsweepError) as caught:
        fetch_and_read()
    assert str(caught.value).startswith("task.source=wrong:DATASET: ")
    assert words in str(caught.value)
