"""Rows that stand in two parts: what a network has learned by heart it knows again."""

import hashlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.arrays import load


def copies(config: Config) -> dict[str, int]:
    """How many rows have the same inputs as a row of another part, so that a network cannot tell them apart, and of how many.

    `test_in_training`, `test_in_validation`, `validation_in_training`; of separate studies' splits, the most.
    """
    found: dict[str, int] = {}
    for number in config.search.numbers:
        data = load(Path("data") / config.name / "arrays", config.task, config.split_seed + number)
        train, validation, test = map(_keys, (data.train_inputs, data.validation_inputs, data.test_inputs))
        own = {
            "test": len(test),
            "test_in_training": _among(test, train),
            "test_in_validation": _among(test, validation),
            "validation": len(validation),
            "validation_in_training": _among(validation, train),
        }
        found = {key: max(count, found.get(key, 0)) for key, count in own.items()}
    return found


def _keys(inputs: NDArray[Any]) -> list[bytes]:
    return [hashlib.sha256(row.tobytes()).digest() for row in inputs]


def _among(rows: list[bytes], others: list[bytes]) -> int:
    known = set(others)
    return sum(row in known for row in rows)
