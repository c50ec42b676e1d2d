"""The source files that a module imports, directly or not, found without importing it, and a digest of their code."""

import ast
import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from pipeline.errors import FairsweepError
from pipeline.files import own_file

PACKAGE = str(__package__)
ROOT = Path(__file__).parent
# Modules of this package that parse, check and write. No result depends on their code, and the values that they read are covered.
APART = ("config", "documents", "errors", "faults", "files", "imports", "limits", "plugins", "provenance", "seal")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def decides(name: str) -> bool:
    """Whether results may depend on the code of a module."""
    top, _, rest = name.partition(".")
    return top != PACKAGE or (bool(rest) and rest.split(".")[0] not in APART)


def closure(modules: Iterable[str], follow: Callable[[str], bool] = lambda name: True) -> dict[str, Path]:
    """{name: file} of `modules` and of all modules that they import, also inside functions, in the order of their names.

    The search includes modules of this package and of the project's root. Libraries are left out. It reads import statements, and not
    what a module imports by other means.

    Args:
        modules: names, such as `pipeline.models.build`.
        follow: takes a name and returns whether that module and its imports are included. `modules` always are.

    Raises:
        FairsweepError: a file is not valid Python. The message names the file and the line.
    """
    wanted = set(modules)
    found: dict[str, Path] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name in found or not (name in wanted or follow(name)):
            continue
        path = source_of(name)
        if path is None:
            continue
        found[name] = path
        waiting += [imported for imported in (name.rpartition(".")[0], *_imported(path, name)) if imported]
    return dict(sorted(found.items()))


def digests(modules: Iterable[str], follow: Callable[[str], bool] = decides) -> dict[str, str]:
    """What `modules` execute: {name: sha256 of the code} of their `closure`, and the version of each library among `modules`.

    A name of this package begins with a dot in place of the package's name, which may differ between installations. Templates in the
    folders of the modules are included.

    Raises:
        FairsweepError: as `closure`, or there is no such module.
    """
    modules = list(modules)
    files = closure(modules, follow)
    found = {_relative(name): digest(path) for name, path in files.items()}
    folders = {path.parent: _relative(name).rpartition(".")[0] for name, path in files.items()}
    for folder, package in folders.items():
        found |= {f"{package}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.j2")}
    return found | {name: release_of(name) for name in modules if name not in files}


def _relative(name: str) -> str:
    """`.models.build` of a module of this package; other names stay."""
    return name[len(PACKAGE) :] if name.partition(".")[0] == PACKAGE else name


def release_of(module: str) -> str:
    """`DISTRIBUTION==VERSION` of an installed library.

    Raises:
        FairsweepError: no such module is installed.
    """
    for distribution in packages_distributions().get(module.partition(".")[0], []):
        return f"{distribution}=={version(distribution)}"
    raise FairsweepError(
        f"There is no module {module} in {own_file('.').resolve()} or in the environment. Write MODULE:NAME, such as my_module:my_name "
        "for the name my_name in my_module.py."
    )


@functools.cache
def digest(path: Path) -> str:
    """sha256 of what a Python file does: comments, docstrings, formatting and imports for type checkers do not count."""
    try:
        content = _plain(_parsed(path)).encode()
    # Of expressions that are nested too deep, and of numbers that are too long to be written in decimals.
    except (RecursionError, ValueError):
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def source_of(name: str) -> Path | None:
    """The file of a module of this package or of the project's root. None for any other module."""
    top, *rest = name.split(".")
    folders = [ROOT] if top == PACKAGE else _own_folders(top)
    if folders and not rest and folders[0].is_file():
        return folders[0]
    for folder in folders:
        path = folder.joinpath(*rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file() and (rest or candidate.parent == path):
                return candidate
    return None


def search_root() -> str:
    """Add the project's root to `sys.path`, where the installed command does not have it; returns it.

    It comes last, so that no file there hides a library.
    """
    root = str(own_file(".").resolve())
    if root not in sys.path:
        sys.path.append(root)
    return root


def _own_folders(top: str) -> list[Path]:
    """Where Python finds the module or package `top`, if that is in the project's root: a file, or the folders of a package."""
    return _found(top, Path(search_root()), Path.cwd())


@functools.cache
def _found(top: str, *roots: Path) -> list[Path]:
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    # An environment may lie in the project's root.
    installed = {Path(entry).resolve() for entry in sys.path if entry} - set(roots)
    return [
        place
        for place in places
        if any(place.is_relative_to(root) for root in roots) and not any(place.is_relative_to(folder) for folder in installed)
    ]


def _for_type_checkers(node: ast.AST) -> bool:
    """Whether a statement is the block of TYPE_CHECKING, which is not executed."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@functools.cache
def _parsed(path: Path) -> ast.Module:
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else error
        raise FairsweepError(f"{path}{line} is not valid code for this version of Python: {said}. Correct it.") from error
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, False) is not None:
            del body[0]
        executed: list[ast.stmt] = []
        for statement in body:
            executed += statement.orelse if _for_type_checkers(statement) else [statement]
        body[:] = executed
    return tree


def _plain(node: Any) -> str:
    """A syntax tree as text, which is the same for all supported versions of Python.

    What is absent is left out, since a later version may know further fields, and so are the empty parts of f-strings.
    """
    if isinstance(node, ast.AST):
        fields = {name: getattr(node, name, None) for name in node._fields}
        if isinstance(node, ast.JoinedStr):
            fields["values"] = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        present = (f"{name}={_plain(value)}" for name, value in fields.items() if value not in (None, []))
        return f"{type(node).__name__}({','.join(present)})"
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    return ascii(node)


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
