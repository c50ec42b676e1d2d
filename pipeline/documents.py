"""YAML files, held against what makes a small one endless: references that multiply, or that hold themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from pipeline.errors import FairsweepError

# Ours have a few hundred values and a few thousand characters.
MOST_VALUES, LARGEST = 100_000, 1_000_000


def read(path: Path) -> Any:
    """What the file holds: lists, dictionaries, numbers, text.

    Raises:
        FairsweepError: not such a file, or one that names objects of Python's.
    """
    try:
        check(path)
        return yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FairsweepError(f"{path} cannot be read as YAML: {error}") from error


@contextmanager
def checked() -> Iterator[None]:
    """In the block OmegaConf, and so Hydra, loads a file only after `check`."""
    load = OmegaConf.load

    def checked_load(file: Any) -> Any:
        if name := getattr(file, "name", None):
            check(Path(name))
        return load(file)

    # Which files are composed Hydra alone knows, and it has no place of its own for such a check.
    OmegaConf.load = checked_load  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        OmegaConf.load = load  # type: ignore[method-assign]


def check(path: Path) -> None:
    """Raise FairsweepError for a file that is too large, nested too deep, or whose references (`*name`) multiply or go in a circle."""
    size = path.stat().st_size
    if size > LARGEST:
        raise FairsweepError(f"{path} has {size:,} bytes, and a YAML file may have {LARGEST:,}.")
    content = path.read_bytes()
    # Reading takes milliseconds a file; without references, or brackets upon brackets, all is as large as it looks.
    if b"*" not in content and content.count(b"[") + content.count(b"{") < 100:
        return
    try:
        values = _values(yaml.compose(content, yaml.SafeLoader), {})
    except yaml.YAMLError:
        # Told by whoever reads it.
        return
    except RecursionError as error:
        raise FairsweepError(f"{path} is nested too deeply. Make it flat.") from error
    if values > MOST_VALUES:
        raise FairsweepError(
            f"{path} has {values:,} values where each reference (*name) is followed, and may have {MOST_VALUES:,}. Write out what is "
            "meant, or take the references out."
        )


def _values(node: yaml.Node | None, seen: dict[int, int | None]) -> int:
    """How many values a node has with all that it refers to; `seen` has those of nodes that are done, None for those begun."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in seen:
        seen[id(node)] = None
        below = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        seen[id(node)] = 1 + sum(_values(one, seen) for one in below)
    found = seen[id(node)]
    if found is None:
        raise RecursionError
    return found
