"""Batches of rows that are nearly equally long, cut to a length of their own: less padding to read.

XLA compiles anew for each length, so there are only a few: quantiles of the training rows' own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.form import PAD, Form
from pipeline.data.text import PADDING


def lengths(inputs: NDArray[Any]) -> NDArray[np.int64]:
    """The real steps of each row: <int64>[rows], at least 1, of token ids <int>[rows, length] or padded numbers."""
    real = inputs != PADDING if inputs.ndim == 2 else (inputs != PAD).any(axis=2)
    return np.maximum(real.sum(axis=1), 1)


@dataclass(frozen=True)
class Buckets:
    """The lengths <int>[buckets] that rows are cut to, the last the whole, and the side on which they are cut."""

    edges: NDArray[np.int64]
    left: bool

    @classmethod
    def of(cls, config: Config, form: Form, train_inputs: NDArray[Any]) -> "Buckets":
        """The buckets of a run: `train.buckets` of them, fewer where many rows are equally long."""
        whole = [train_inputs.shape[1]]
        shares = np.arange(1, config.train.buckets) / config.train.buckets
        inner = np.quantile(lengths(train_inputs), shares, method="higher") if len(shares) else []
        return cls(np.unique([*inner, *whole]).astype(np.int64), form.features is None and config.task.padding == "pre")

    def parts(self, inputs: NDArray[Any]) -> list[tuple[int, NDArray[np.int64]]]:
        """(length, rows <int64>[rows of the part]) of each part that has rows."""
        if len(self.edges) == 1:
            return [(int(self.edges[0]), np.arange(len(inputs)))]
        place = np.searchsorted(self.edges, lengths(inputs))
        return [(int(edge), np.flatnonzero(place == number)) for number, edge in enumerate(self.edges) if (place == number).any()]

    def cut(self, rows: NDArray[Any], length: int) -> NDArray[Any]:
        """`rows` [rows, whole, ...] without the padding beyond `length`."""
        return rows[:, rows.shape[1] - length :] if self.left else rows[:, :length]

    def batches(self, inputs: NDArray[Any], size: int, shuffle: np.random.Generator) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """One epoch: (length, rows) of whole batches in random order, each of one part; a part's last, incomplete one is left out.

        A part with fewer rows than a batch is one smaller batch.
        """
        made: list[tuple[int, NDArray[np.int64]]] = []
        for length, rows in self.parts(inputs):
            own, mixed = min(size, len(rows)), shuffle.permutation(rows)
            made += [(length, mixed[start : start + own]) for start in range(0, len(rows) // own * own, own)]
        return (made[place] for place in shuffle.permutation(len(made)))
