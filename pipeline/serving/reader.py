"""From raw texts to labels: a .keras file with its vocabulary inside, read, run, and served by MLflow.

`carried.code` stores this module and all modules that it imports with a registered model, so that the model runs without the project.
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

from pipeline.config import Cell
from pipeline.data.text import START, UNKNOWN, encode, pad_tokens, tokenize
from pipeline.errors import FairsweepError
from pipeline.models.cells import load_model

# Keras's own place in a .keras file for what belongs to a model and is no weight.
MEMBER = "assets/reader.json"
# Rows at a time, filled up: each other number of rows would be compiled anew.
BATCH = 64
# Texts whose ids are held at a time.
CHUNK = 4096
# What 0 and 1 mean in reviews.
SENTIMENT = ("negative", "positive")


@dataclass(frozen=True)
class Reader:
    """How a model reads texts and what its outputs mean.

    Attributes:
        study: the study it is of, such as `imdb`.
        run: which of its runs, such as `gru/tuned/3`.
        cell: the fields of its `config.Cell`.
        backend: what it was trained on, `tensorflow` or `jax`.
        kind: binary (one logit), or classes (a logit each); other tasks read no texts.
        classes: the names of the classes, by number.
        words: by rank, the most frequent first; None where inputs are numbers, empty where the source gave ids and no words.
        vocabulary: ids the embedding has rows for.
        lengths: tokens that a row is cut to, ascending: the shortest that holds the text, else its last ones in the longest.
        padding: the side of the zeros, `pre` or `post`.
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
    """What a model says of one text.

    Attributes:
        label: the most probable one.
        probability: of that label, 0 to 1.
        read: words that the model saw, the text's last ones where it is longer than a row.
        known: those of them that are in its vocabulary.
    """

    label: str
    probability: float
    read: int
    known: int


def read(path: Path) -> Reader:
    """The reader inside the .keras file `path`, without loading the model.

    Raises:
        FairsweepError: the file is none, or holds no reader.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return Reader(**json.loads(archive.read(MEMBER)))
    except (OSError, zipfile.BadZipFile) as error:
        raise FairsweepError(
            f"{path}: cannot be read as a .keras file ({error}). Expected one that `replicate` wrote."
        ) from error
    except KeyError as error:
        raise FairsweepError(
            f"{path} holds no vocabulary: it was saved before models carried one, or by other means. Write it again: dvc repro "
            "-f -s replicate@CELL, which trains nothing that it finds in .fairsweep/state."
        ) from error


class TextModel:
    """A model that reads texts: from a .keras file that `replicate` wrote, on the Keras backend of this process."""

    def __init__(self, path: Path) -> None:
        self.reader = read(path)
        self.ranks = {word: rank for rank, word in enumerate(self.reader.words or [], 1)}
        self.model = load_model(path, Cell(**self.reader.cell))
        # Keras's `predict` takes a model's variables away for as long as it runs, and a server has several threads.
        self.lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """The ids of `text` that the model sees, by the rules of `pad`: at most as many as its longest row has."""
        # As in a file of one's own: the tokenizer knows no carriage return.
        words = tokenize(text.replace("\r", "\n"))
        longest = self.reader.lengths[-1]
        return encode(words[-longest:], self.ranks, self.reader.vocabulary)[-longest:]

    def probabilities(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """<float64>[sequences, classes], each row's sum 1; `sequences` are ids as `encode` gives them."""
        edges = np.array(self.reader.lengths)
        places = np.searchsorted(edges, [len(sequence) for sequence in sequences])
        made = np.zeros((len(sequences), len(self.reader.classes)))
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            made[rows] = self._outputs(
                pad_tokens([sequences[row] for row in map(int, rows)], int(edges[place]), self.reader.padding)
            )
        return made

    def _outputs(self, rows: NDArray[np.int32]) -> NDArray[np.float64]:
        batch = 1 if len(rows) == 1 else BATCH
        whole = np.concatenate([rows, np.zeros((-len(rows) % batch, rows.shape[1]), np.int32)])
        with self.lock:
            logits = self.model.predict(whole, batch_size=batch, verbose=0)[: len(rows)].astype(np.float64)
        if self.reader.kind == "binary":
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One for each text; a text without a word is told as an empty one."""
        return [one for start in range(0, len(texts), CHUNK) for one in self._predict(texts[start : start + CHUNK])]

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
    """What MLflow asks of a model: a frame with one column of texts in, a row for each out."""

    def __init__(self, path: Path) -> None:
        self.model = TextModel(path)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A data frame with the columns of `Prediction`.

        Raises:
            ValueError: a row that is no text, such as null.
        """
        import pandas as pd

        texts = list(model_input.iloc[:, 0])
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"row {number}: must be a text, not {text!r}")
        columns = list(Prediction.__annotations__)
        return pd.DataFrame([vars(one) for one in self.model.predict(texts)], columns=columns)


def _load_pyfunc(path: str) -> Served:
    """MLflow's way in, by this name."""
    os.environ.setdefault("KERAS_BACKEND", read(Path(path)).backend)
    return Served(Path(path))
