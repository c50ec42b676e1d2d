"""Objects that a configuration names by import path, `MODULE:NAME`."""

import importlib
from typing import Any

from pipeline.errors import FairsweepError
from pipeline.imports import release_of, search_root, source_of


def check(key: str, path: str) -> None:
    """Check an import path without importing the module.

    Raises:
        FairsweepError: the path is not MODULE:NAME, or there is no such module in the project's root or the environment.
    """
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise FairsweepError(f"{key}={path}: expected an import path MODULE:NAME, such as my_module:my_name.")
    if source_of(module) is None:
        try:
            release_of(module)
        except FairsweepError as error:
            raise FairsweepError(f"{key}={path}: {error}") from None


def load(key: str, path: str) -> Any:
    """The object that `key=path` names: `MODULE:NAME`, the module found in the project's root or the environment.

    Raises:
        FairsweepError: as `check`, or the module cannot be imported, or does not define the name.
    """
    check(key, path)
    module, _, name = path.partition(":")
    search_root()
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        if getattr(error, "name", None) == name and getattr(error.obj, "__name__", None) == module:
            raise FairsweepError(f"{key}={path}: {module} does not define {name!r}. Correct the name after the colon.") from error
        cause: BaseException = error
    # A user's module may raise anything, or end the process.
    except (Exception, SystemExit) as error:
        cause = error
    raise FairsweepError(
        f"{key}={path}: {module} cannot be imported: {type(cause).__name__}: {cause}\nCorrect the module, or install what it imports."
    ) from cause
