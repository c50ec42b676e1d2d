"""Objects that a configuration names by import path, `MODULE:NAME`."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from .errors import FairsweepError
from .imports import PACKAGE, release_of, search_root, source_of

# The name under which a user's module imports this package.
NAME = "fairsweep"


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `fairsweep.X` as the module `pipeline.X` of a checkout, so that each is loaded once."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != NAME:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(PACKAGE + spec.name[len(NAME) :])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Restore the module's specification, which the import system has replaced.
        alias = module.__spec__
        module.__spec__ = alias.loader_state if alias else None


def answer_to_name() -> None:
    """Make `import fairsweep` return this package in a checkout, too, where it is `pipeline`."""
    if PACKAGE != NAME and not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())


def check(key: str, path: str) -> None:
    """Check an import path without importing the module.

    Raises:
        FairsweepError: the path is not MODULE:NAME, or there is no such module in the project's
            root or installed.
    """
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise FairsweepError(
            f"{key}={path}: expected an import path MODULE:NAME, such as my_module:my_name."
        )
    if source_of(module) is None:
        try:
            release_of(module)
        except FairsweepError as error:
            raise FairsweepError(f"{key}={path}: {error}") from None


def load(key: str, path: str) -> Any:
    """The object that `key=path` names, its module in the project's root or installed.

    Raises:
        FairsweepError: as `check`, or the module cannot be imported, or does not define the name.
    """
    check(key, path)
    module, _, name = path.partition(":")
    search_root()
    answer_to_name()
    try:
        return getattr(importlib.import_module(module), name)
    # A user's module may raise anything, or end the process.
    except (Exception, SystemExit) as error:
        owner = getattr(getattr(error, "obj", None), "__name__", None)
        if owner == module and getattr(error, "name", None) == name:
            raise FairsweepError(
                f"{key}={path}: {module} does not define {name!r}. Correct the name after the "
                "colon."
            ) from error
        raise FairsweepError(
            f"{key}={path}: {module} cannot be imported: {type(error).__name__}: {error}\n"
            "Correct the module, or install what it imports."
        ) from error
