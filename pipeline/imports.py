"""The source files that a module imports, directly or not, found without importing it, and a digest of their code."""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import FairsweepError
from pipeline.files import own_file

PACKAGE = str(__package__)
ROOT = Path(__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def closure(modules: Iterable[str], follow: Callable[[str], bool] = lambda name: True) -> dict[str, Path]:
    """{name: file} of `modules` and of all modules that they import, also inside functions, in the order of their names.

    Modules of this package and of the project's root are followed, and those that lie in a package together with one of `modules`.
    The libraries are left out.

    Args:
        modules: names, such as `pipeline.models.build`.
        follow: whether a module is part of the answer, and what it imports; `modules` always are.

    Raises:
        FairsweepError: a file is no Python code; it names the file and the line.
    """
    modules = list(modules)
    tops = {name.partition(".")[0] for name in modules}
    found: dict[str, Path] = {}
    waiting = [(name, True) for name in modules]
    while waiting:
        name, wanted = waiting.pop()
        if name in found or not (wanted or follow(name)):
            continue
        path = _file(name, name.partition(".")[0] in tops)
        if path is None:
            continue
        found[name] = path
        waiting += [(imported, False) for imported in (name.rpartition(".")[0], *_imported(path, name)) if imported]
    return dict(sorted(found.items()))


def short(name: str) -> str:
    """The name of a module without that of this package, under which it may be installed by another one."""
    return name.removeprefix(f"{PACKAGE}.")


def digests(files: dict[str, Path]) -> dict[str, str]:
    """{short name: sha256 of the code} of modules; of the templates beside them, by file name, sha256 of the bytes."""
    found = {short(name): digest(path) for name, path in files.items()}
    for folder in sorted({path.parent for path in files.values()}):
        found |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.j2"))}
    return found


@functools.cache
def digest(path: Path) -> str:
    """sha256 of what a Python file does: comments, docstrings, formatting and imports for type checkers do not count."""
    return hashlib.sha256(repr(_plain(_parsed(path))).encode()).hexdigest()


def _file(name: str, installed: bool) -> Path | None:
    """The file of a module; None if it is none of this package's, of the project's root or, where `installed`, of the environment."""
    top, *rest = name.split(".")
    below = Path(*rest) if rest else Path()
    if top == PACKAGE:
        return _source(ROOT / below)
    found = _source(own_file(top) / below)
    if found or not installed:
        return found
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    whole = Path(str(spec.origin))
    return _source((whole.parent if whole.name == "__init__.py" else whole.with_suffix("")) / below)


def _source(path: Path) -> Path | None:
    """`path` as a module or as a package."""
    for candidate in (path.with_suffix(".py") if path.name else path, path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _for_type_checkers(node: ast.AST) -> bool:
    """Whether a statement is the block of TYPE_CHECKING, which is not executed."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def _parsed(path: Path) -> ast.Module:
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise FairsweepError(f"{path}{line} is no Python code that this version reads: {error}. Correct it.") from error
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, False) is not None:
            del body[0]
        body[:] = [one for one in body if not _for_type_checkers(one)]
    return tree


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples. What is absent is left out, since a later Python may know further fields."""
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        return type(node).__name__, *((name, _plain(value)) for name, value in fields if value not in (None, []))
    return [_plain(one) for one in node] if isinstance(node, list) else node


def _imported(path: Path, module: str) -> Iterator[str]:
    """The names that a file imports, of which some are no modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
