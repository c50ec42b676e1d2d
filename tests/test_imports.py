"""`imports` finds what a module imports without importing it, and digests what its code does."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline import imports
from pipeline.errors import FairsweepError

PLAIN = """
class A:
    def f(self, x: int = 1):
        return [x, "x"]
"""
SAME = '''"""A module."""

# A comment.


class A:
    """A class."""

    def f(
        self,
        x: int = 1,
    ):
        """A method."""
        return [
            x,  # another comment
            'x',
        ]
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_every_form_of_import_is_followed(project: Path) -> None:
    (project / "package/inner").mkdir(parents=True)
    files = {
        "package/__init__.py": "",
        "package/start.py": "from . import sibling\nfrom .inner import deep\nimport numpy\n",
        "package/sibling.py": "def function():\n    import beside\n",
        "package/inner/__init__.py": "from ..above import name\n",
        "package/inner/deep.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import typed\n",
        "package/above.py": "name = 1\n",
        "package/unused.py": "",
        "beside.py": "from package import start\n",
        "typed.py": "",
    }
    for name, text in files.items():
        (project / name).write_text(text)
    inside = [
        f"package{name}" for name in ("", ".above", ".inner", ".inner.deep", ".sibling", ".start")
    ]
    assert list(imports.closure(["package.start"])) == ["beside", *inside]
    inside.remove("package.sibling")
    assert (
        list(imports.closure(["package.start"], lambda name: name != "package.sibling")) == inside
    )


def test_a_library_counts_by_its_version(project: Path) -> None:
    assert imports.closure(["filelock._api"]) == {}
    assert imports.digests(["filelock._api"]) == {
        "filelock._api": f"filelock=={version('filelock')}"
    }


def test_a_name_without_a_module(project: Path) -> None:
    with pytest.raises(FairsweepError, match=r"^There is no module nothing\.of_this_name in "):
        imports.digests(["nothing.of_this_name"])


def test_names_of_this_package_and_of_the_project_are_kept_apart(project: Path) -> None:
    for folder in ("models", "evidence"):
        (project / folder).mkdir()
    for path in ("models/build.py", "evidence/scores.py", "config.py"):
        (project / path).write_text("import config\n")
    (project / "start.py").write_text(
        "import models.build, evidence.scores, pipeline.models.build\n"
    )
    found = imports.digests(["start"])
    assert {"start", "models.build", "evidence.scores", "config", ".models.build"} <= found.keys()
    assert ".config" not in found


def test_a_package_comes_before_a_module_of_its_name(project: Path) -> None:
    (project / "both").mkdir()
    (project / "both/__init__.py").touch()
    (project / "both.py").touch()
    assert imports.closure(["both"]) == {"both": project / "both/__init__.py"}


def test_a_file_that_a_library_hides_is_not_read(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "tabulate.py").touch()
    (project / "own.py").touch()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (elsewhere / ".fairsweep").mkdir()
    (elsewhere / ".fairsweep/project").write_text(f"{project}\n")
    assert imports.closure(["own"]) == {"own": project / "own.py"}
    assert imports.closure(["tabulate"]) == {}


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\udc80'\n", "\0"])
def test_a_file_that_is_no_python_is_named(text: str, project: Path) -> None:
    (project / "broken.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        FairsweepError,
        match=r"broken\.py.* is not valid code for this version of Python: .*Correct it\.$",
    ):
        imports.closure(["broken"])


def digest(path: Path, text: str) -> str:
    path.write_text(text)
    for cached in (imports.digest, imports._parsed):
        cached.cache_clear()
    return imports.digest(path)


def test_the_digest_is_of_what_the_code_does(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    plain = digest(path, PLAIN)
    assert digest(path, SAME) == plain
    for old, new in (
        ("x: int = 1", "x: int = 2"),
        ("'x'", "'y'"),
        ("class A", "class B"),
        ("self,", "this,"),
        ("return [", "return *["),
    ):
        assert old in SAME
        assert digest(path, SAME.replace(old, new)) != plain


def test_templates_beside_a_module_count(project: Path) -> None:
    (project / "module.py").write_text("")
    before = imports.digests(["module"])
    (project / "page.j2").write_text("{{ title }}")
    assert imports.digests(["module"]).keys() - before.keys() == {"/page.j2"}


def test_code_that_is_nested_too_deep_has_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    assert digest(path, f"x = {' + '.join(['1'] * 2000)}\n") != digest(
        path, f"x = {' + '.join(['1'] * 2001)}\n"
    )
    assert digest(path, f"x = 0x{'f' * 5000}\n")


def test_what_runs_beside_a_block_for_type_checkers_counts(tmp_path: Path) -> None:
    path, block = (
        tmp_path / "module.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {}\nelse:\n    x = {}\n",
    )
    plain = digest(path, block.format("json", 1))
    assert digest(path, block.format("pickle", 1)) == plain
    assert digest(path, block.format("json", 2)) != plain
