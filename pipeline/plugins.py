"""Objects that a configuration names by import path, `MODULE:NAME`."""

import importlib
import importlib.util
import sys
from typing import Any

from pipeline.errors import FairsweepError
from pipeline.files import own_file


def find(key: str, module: str) -> None:
    """Make sure that a module is in the project's root or the environment, without importing it.

    Raises:
        FairsweepError: there is no such module.
    """
    # The installed command does not search it. It comes last, so that no file there hides a library.
    here = str(own_file(".").resolve())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise FairsweepError(
            f"{key}: there is no module {module!r} in {here} or in the environment. Expected an import path MODULE:NAME, such as "
            "my_module:my_function of the file my_module.py."
        )


def load(key: str, path: str) -> Any:
    """The object that `key=path` names: `MODULE:NAME`, the module found in the project's root or the environment.

    Raises:
        FairsweepError: there is no such module, it cannot be imported, or it does not define the name.
    """
    module, _, name = path.partition(":")
    find(key, module)
    try:
        found = importlib.import_module(module)
    # A user's module may raise anything.
    except Exception as error:
        raise FairsweepError(f"{key}={path}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, name):
        raise FairsweepError(f"{key}={path}: {found.__file__} does not define {name!r}.")
    return getattr(found, name)
