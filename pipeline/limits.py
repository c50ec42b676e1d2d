"""Limits on the values of a schema: written beside the field, held against a value before anything runs."""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, field
from typing import Any

from omegaconf import MISSING


def limited(default: Any, **limits: Any) -> Any:
    """A field whose values are checked against `least`, `most`, `above`, `below` or `choices` before anything runs.

    `example` is what the user is shown who left out a key without a default; `literal` text arrives character by character.
    """
    return field(default=default, metadata=limits)


def limit_error(key: str, value: Any, limits: Mapping[str, Any]) -> str | None:
    """What is wrong with `value`, or None: the limits are those of `limited`."""
    if value is None or value == MISSING:
        return None
    if "choices" in limits and value not in limits["choices"]:
        return f"{key}={value}: must be one of {', '.join(limits['choices'])}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{key}={value}: must be a finite number"
    tests = {
        "least": (lambda v, x: v >= x, "at least"),
        "most": (lambda v, x: v <= x, "at most"),
        "above": (lambda v, x: v > x, "above"),
        "below": (lambda v, x: v < x, "below"),
    }
    for name, (holds, words) in tests.items():
        if name in limits and not holds(value, limits[name]):
            return f"{key}={value}: must be {words} {limits[name]}"
    return None


def as_typed(value: Any) -> str:
    """`value` as it is typed on a command line."""
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    return words[value] if value is None or isinstance(value, bool) else str(value)


def wanted(key: str, item: Field) -> str:
    """Which type `key`, a field of a schema, must have; its default is the example."""
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        list: "a list, [A,B]",
        tuple: "a list, [A,B]",
    }
    parts = typing.get_args(item.type) if isinstance(item.type, types.UnionType) else (item.type,)
    kinds = [names.get(typing.get_origin(part) or part, "KEY: VALUE") for part in parts if part is not types.NoneType]
    must = f"must be {' or '.join([*kinds, *(['null'] if types.NoneType in parts else [])])}"
    example = item.metadata.get("example")
    if example is None and item.default not in (None, MISSING, NO_DEFAULT):
        example = f"{key}={as_typed(item.default)}"
    return f"{must}, such as {example}" if example else must
