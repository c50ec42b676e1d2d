"""Limits on the values of a schema: written beside the field, held against a value before anything runs."""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from omegaconf import MISSING


def limited(default: Any, **limits: Any) -> Any:
    """A field whose values are checked against `least`, `most`, `above`, `below` or `choices` before anything runs.

    `example` is what the user is shown who left out a key without a default.
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
