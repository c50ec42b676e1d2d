"""From raw texts to labels, with a .keras file that holds its vocabulary; also served by MLflow.

`carried.code` stores this module and its imports with a registered model, which then runs without
the project.
"""

import json
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Cell
from ..data.text import START, UNKNOWN, encode, pad_tokens, tokenize
from ..errors import FairsweepError
from ..models.cells import load_model

# The folder of a .keras file for assets of a model.
MEMBER = "assets/reader.json"
# Rows per batch, of which empty rows fill the last: another number would be compiled separately.
BATCH = 64
# Texts that are encoded at a time.
CHUNK = 4096
# The classes 0 and 1 of reviews.
SENTIMENT = ("negative", "positive")


@dataclass(frozen=True)
class Reader:
    """How a model reads texts, and the meaning of its outputs.

    Attributes:
        study: name of the study, such as `imdb`.
        run: name of the run, such as `gru/tuned/3`.
        cell: the fields of its `Cell`.
        backend: Keras backend of the training, `tensorflow` or `jax`.
        kind: binary (one logit) or classes (one logit per class); other tasks read no texts.
        classes: names of the classes, in order.
        words: by rank, the most frequent first. None if inputs are numbers; empty if the source has
            ids without words.
        vocabulary: number of ids in the embedding.
        lengths: tokens per row, ascending. A text uses the shortest that holds it, or its last
            tokens in the longest.
        padding: side of the padding, `pre` or `post`.
    """

    study: str
    run: str
    cell: dict[str, Any]
    backend: str
    kind: str
    classes: list[str]
    words: list[str] | None
    vocabulary: int
    lengths: list[int]
    padding: str


@dataclass(frozen=True)
class Prediction:
    """The prediction for one text.

    Attributes:
        label: the most probable class.
        probability: of that label, 0 to 1.
        read: number of words that the model reads, the last ones of a text longer than a row.
        known: number of those in its vocabulary.
    """

    label: str
    probability: float
    read: int
    known: int


def read(path: Path) -> Reader:
    """The reader inside the .keras file `path`, without loading the model.

    Raises:
        FairsweepError: the file cannot be read, or holds no reader.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return Reader(**json.loads(archive.read(MEMBER)))
    except (OSError, zipfile.BadZipFile) as error:
        raise FairsweepError(
            f"{path}: cannot be read as a .keras file ({error}). Expected one that `replicate` "
            "wrote."
        ) from error
    except KeyError as error:
        raise FairsweepError(
            f"{path} holds no vocabulary: it was saved by an older version, or by other means. "
            "Write it again: "
            "dvc repro -f -s replicate@CELL, which trains nothing that is in .fairsweep/state."
        ) from error


class TextModel:
    """A model that reads texts, from a .keras file of `replicate`."""

    def __init__(self, path: Path) -> None:
        self.reader = read(path)
        self.ranks = {word: rank for rank, word in enumerate(self.reader.words or [], 1)}
        self.model = load_model(path, Cell(**self.reader.cell))
        # The `predict` of Keras changes the model while it runs, and a server has several threads.
        self.lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """The ids of `text` that the model reads, as `pad` makes them, up to its longest row."""
        # As in CSV files: the tokenizer does not split at carriage returns.
        words = tokenize(text.replace("\r", "\n"))
        longest = self.reader.lengths[-1]
        return encode(words[-longest:], self.ranks, self.reader.vocabulary)[-longest:]

    def probabilities(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Probabilities <float64>[sequences, classes] of sequences of ids from `encode`."""
        edges = np.array(self.reader.lengths)
        places = np.searchsorted(edges, [len(sequence) for sequence in sequences])
        probabilities = np.zeros((len(sequences), len(self.reader.classes)))
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            probabilities[rows] = self._outputs(
                pad_tokens(
                    [sequences[row] for row in map(int, rows)],
                    int(edges[place]),
                    self.reader.padding,
                )
            )
        return probabilities

    def _outputs(self, rows: NDArray[np.int32]) -> NDArray[np.float64]:
        batch = 1 if len(rows) == 1 else BATCH
        whole = np.concatenate([rows, np.zeros((-len(rows) % batch, rows.shape[1]), np.int32)])
        with self.lock:
            logits = self.model.predict(whole, batch_size=batch, verbose=0)[: len(rows)].astype(
                np.float64
            )
        if self.reader.kind == "binary":
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction per text. A text without a word is an empty sequence."""
        return [
            prediction
            for start in range(0, len(texts), CHUNK)
            for prediction in self._predict(texts[start : start + CHUNK])
        ]

    def _predict(self, texts: Sequence[str]) -> list[Prediction]:
        sequences = [self.encode(text) for text in texts]
        return [
            Prediction(
                self.reader.classes[best := int(row.argmax())],
                float(row[best]),
                # The start token is no word.
                sum(token != START for token in sequence),
                sum(token > UNKNOWN for token in sequence),
            )
            for row, sequence in zip(self.probabilities(sequences), sequences, strict=True)
        ]


class Served:
    """A model for MLflow: from a data frame with one column of texts to one row per text."""

    def __init__(self, path: Path) -> None:
        self.model = TextModel(path)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A data frame with the columns of `Prediction`.

        Raises:
            ValueError: a row is not a text, such as null.
        """
        import pandas as pd

        texts = list(model_input.iloc[:, 0])
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"row {number}: must be a text, not {text!r}")
        columns = list(Prediction.__annotations__)
        return pd.DataFrame(
            [vars(prediction) for prediction in self.model.predict(texts)], columns=columns
        )


def _load_pyfunc(path: str) -> Served:
    """The function that MLflow calls, by this name, to load a model."""
    os.environ.setdefault("KERAS_BACKEND", read(Path(path)).backend)
    return Served(Path(path))
