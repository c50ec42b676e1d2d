"""`imports` finds what a module imports without importing it, and digests what its code does."""

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
    inside = [f"package{name}" for name in ("", ".above", ".inner", ".inner.deep", ".sibling", ".start")]
    assert list(imports.closure(["package.start"])) == ["beside", *inside]
    inside.remove("package.sibling")
    assert list(imports.closure(["package.start"], lambda name: name != "package.sibling")) == inside


def test_an_installed_package_is_followed_within_itself(project: Path) -> None:
    found = imports.closure(["filelock._api"])
    assert {"filelock", "filelock._api", "filelock._error"} <= set(found)
    assert all(name.startswith("filelock") for name in found)


def test_a_name_without_a_module(project: Path) -> None:
    assert imports.closure(["nothing.of_this_name"]) == {}


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\udc80'\n", "\0"])
def test_a_file_that_is_no_python_is_named(text: str, project: Path) -> None:
    (project / "broken.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FairsweepError, match=r"^broken\.py.* is no Python code that this version reads: .*Correct it\.$"):
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
    before = imports.digests(imports.closure(["module"]))
    (project / "page.j2").write_text("{{ title }}")
    assert imports.digests(imports.closure(["module"])).keys() - before.keys() == {"page.j2"}
