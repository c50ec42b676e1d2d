"""Batches of rows of similar length, cut to that length, so that a network reads less padding.

XLA compiles one program per length, so there are few: quantiles of the lengths in training.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Config
from ..data.spec import PAD, TaskSpec
from ..data.text import PADDING


def lengths(inputs: NDArray[Any]) -> NDArray[np.int64]:
    """Real steps per row <int64>[rows], at least 1, of token ids or padded numbers."""
    real = inputs != PADDING if inputs.ndim == 2 else (inputs != PAD).any(axis=2)
    return np.maximum(real.sum(axis=1), 1)


@dataclass(frozen=True)
class Buckets:
    """Lengths <int64>[buckets] of rows, ascending, and whether the left side is cut."""

    edges: NDArray[np.int64]
    left: bool

    @classmethod
    def of(cls, config: Config, spec: TaskSpec, train_inputs: NDArray[Any]) -> "Buckets":
        """The buckets of a run: `train.buckets`, or fewer if many rows have the same length."""
        edges = [train_inputs.shape[1]]
        if config.train.buckets > 1:
            shares = np.arange(1, config.train.buckets) / config.train.buckets
            edges += [
                int(edge) for edge in np.quantile(lengths(train_inputs), shares, method="higher")
            ]
        return cls(
            np.unique(edges).astype(np.int64),
            spec.features is None and config.task.padding == "pre",
        )

    def parts(self, inputs: NDArray[Any]) -> list[tuple[int, NDArray[np.int64]]]:
        """(length, indices <int64>[rows in the bucket]) of each bucket that has rows."""
        if len(self.edges) == 1:
            return [(int(self.edges[0]), np.arange(len(inputs)))]
        place = np.searchsorted(self.edges, lengths(inputs))
        return [
            (int(edge), np.flatnonzero(place == number))
            for number, edge in enumerate(self.edges)
            if (place == number).any()
        ]

    def cut(self, rows: NDArray[Any], length: int) -> NDArray[Any]:
        """`rows` [rows, full length, ...] without the padding beyond `length`."""
        return rows[:, rows.shape[1] - length :] if self.left else rows[:, :length]

    def batches(
        self, inputs: NDArray[Any], size: int, shuffle: np.random.Generator
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """One epoch: (length, indices) of whole batches in random order, each from one bucket.

        The last, incomplete batch of a bucket is left out. A bucket with fewer rows than a batch
        is one smaller batch.
        """
        batches: list[tuple[int, NDArray[np.int64]]] = []
        for length, rows in self.parts(inputs):
            batch, mixed = min(size, len(rows)), shuffle.permutation(rows)
            batches += [
                (length, mixed[start : start + batch])
                for start in range(0, len(rows) // batch * batch, batch)
            ]
        return (batches[place] for place in shuffle.permutation(len(batches)))
