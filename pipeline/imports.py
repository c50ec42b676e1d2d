"""The source files that a module imports, found without importing it, and digests of their code."""

import ast
import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from .errors import FairsweepError
from .files import own_file

PACKAGE = str(__package__)
ROOT = Path(__file__).parent
# Modules of this package that parse, check and write. No result depends on their code, and the
# digests cover the values that they read.
APART = ("config", "errors", "files", "imports", "plugins", "provenance", "seal")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def decides(name: str) -> bool:
    """Whether results may depend on the code of a module."""
    top, _, rest = name.partition(".")
    return top != PACKAGE or (bool(rest) and rest.split(".")[0] not in APART)


def closure(
    modules: Iterable[str], follow: Callable[[str], bool] = lambda name: True
) -> dict[str, Path]:
    """{name: file} of `modules` and of all modules that they import, also inside functions, sorted.

    Covers modules of this package and of the project's root, not libraries. Only import statements
    are read.

    Args:
        modules: names, such as `pipeline.models.build`, which are always included.
        follow: whether a module, by its name, is included with its imports.

    Raises:
        FairsweepError: a file is not valid Python. The message names the file and the line.
    """
    start = set(modules)
    files: dict[str, Path] = {}
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        included = name and name not in files and (name in start or follow(name))
        if included and (path := source_of(name)):
            files[name] = path
            waiting += [name.rpartition(".")[0], *_imported(path, name)]
    return dict(sorted(files.items()))


def digests(modules: Iterable[str], follow: Callable[[str], bool] = decides) -> dict[str, str]:
    """{name: sha256 of the code} of the `closure` of `modules`, and {name: version} of libraries.

    Names of this package begin with a dot instead of its name, which depends on the installation.
    Templates in the folders of the modules are included.

    Raises:
        FairsweepError: as `closure`, or there is no such module.
    """
    modules = list(modules)
    files = closure(modules, follow)
    result = {_relative(name): digest(path) for name, path in files.items()}
    for folder, package in {
        path.parent: _relative(name).rpartition(".")[0] for name, path in files.items()
    }.items():
        for path in folder.glob("*.j2"):
            result[f"{package}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return result | {name: release_of(name) for name in modules if name not in files}


def _relative(name: str) -> str:
    """`.models.build` for a module of this package; other names are unchanged."""
    return name.removeprefix(PACKAGE) if name.partition(".")[0] == PACKAGE else name


def release_of(module: str) -> str:
    """`DISTRIBUTION==VERSION` of an installed library.

    Raises:
        FairsweepError: no such module is installed.
    """
    for distribution in packages_distributions().get(module.partition(".")[0], []):
        return f"{distribution}=={version(distribution)}"
    raise FairsweepError(
        f"There is no module {module} in {own_file('.').resolve()} or in the environment. Write "
        "MODULE:NAME, such as my_module:my_name for the name my_name in my_module.py."
    )


@functools.cache
def digest(path: Path) -> str:
    """sha256 of what a Python file executes.

    Comments, docstrings, formatting and imports for type checkers do not count.
    """
    try:
        content = _plain(_parsed(path)).encode()
    # For deeply nested expressions, and numbers with too many digits.
    except (RecursionError, ValueError):
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def source_of(name: str) -> Path | None:
    """The file of a module of this package or of the project's root; None for any other module."""
    top, *rest = name.split(".")
    places = [ROOT] if top == PACKAGE else _places(top, Path(search_root()), Path.cwd())
    if places and not rest and places[0].is_file():
        return places[0]
    for place in places:
        path = place.joinpath(*rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file() and (rest or candidate.parent == path):
                return candidate
    return None


def search_root() -> str:
    """Append the project's root to `sys.path`, so that no file hides a library; return it."""
    root = str(own_file(".").resolve())
    if root not in sys.path:
        sys.path.append(root)
    return root


@functools.cache
def _places(top: str, *roots: Path) -> list[Path]:
    """Where Python finds the module or package `top` in `roots`: a file, or folders."""
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    # The environment may be in the project's root.
    installed = {Path(entry).resolve() for entry in sys.path if entry} - set(roots)
    places = (
        Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]
    )
    return [
        place
        for place in places
        if any(place.is_relative_to(root) for root in roots)
        and not any(place.is_relative_to(folder) for folder in installed)
    ]


def _for_type_checkers(node: ast.AST) -> bool:
    """Whether a statement is a block of TYPE_CHECKING, which is not executed."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


@functools.cache
def _parsed(path: Path) -> ast.Module:
    """The syntax tree of a file without docstrings and imports for type checkers."""
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise FairsweepError(
            f"{path}{f', line {line}' if line else ''} is not valid code for this version of "
            f"Python: {reason}. Correct it."
        ) from error
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
    """A syntax tree as text, the same for all supported versions of Python.

    Absent fields are left out, as later versions have more, and so are empty parts of f-strings.
    """
    if isinstance(node, ast.AST):
        fields = {name: getattr(node, name, None) for name in node._fields}
        if isinstance(node, ast.JoinedStr):
            fields["values"] = [
                part
                for part in node.values
                if not (isinstance(part, ast.Constant) and part.value == "")
            ]
        present = (
            f"{name}={_plain(value)}" for name, value in fields.items() if value not in (None, [])
        )
        return f"{type(node).__name__}({','.join(present)})"
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    return ascii(node)


def _actual(name: str) -> str:
    """`pipeline.X` for `fairsweep.X`; other names are unchanged."""
    top, _, rest = name.partition(".")
    return ".".join(filter(None, (PACKAGE, rest))) if top == "fairsweep" else name


def _imported(path: Path, module: str) -> Iterator[str]:
    """The names that a file imports; some may not be modules."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (_actual(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            base = _actual(base)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
