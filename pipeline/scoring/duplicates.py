"""Count rows whose inputs are in two parts of the data: a network may have memorised them."""

import hashlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..config.schema import Config
from ..data.arrays import load


def count_duplicates(config: Config) -> dict[str, int]:
    """Count the rows of a part whose inputs are equal to those of a row of another part.

    Returns:
        The counts `test_in_training`, `test_in_validation` and `validation_in_training` and the
        sizes `test` and `validation`, in rows. With repeated searches, which differ in their
        splits, each is the largest over the repeats.
    """
    largest: dict[str, int] = {}
    for number in config.search.numbers:
        data = load(Path("data") / config.name / "arrays", config.task, config.split_seed + number)
        train, validation, test = map(
            _digests, (data.train_inputs, data.validation_inputs, data.test_inputs)
        )
        in_train, in_validation = set(train), set(validation)
        counts = {
            "test": len(test),
            "test_in_training": sum(row in in_train for row in test),
            "test_in_validation": sum(row in in_validation for row in test),
            "validation": len(validation),
            "validation_in_training": sum(row in in_train for row in validation),
        }
        largest = {key: max(count, largest.get(key, 0)) for key, count in counts.items()}
    return largest


def _digests(inputs: NDArray[Any]) -> list[bytes]:
    return [hashlib.sha256(row.tobytes()).digest() for row in inputs]
