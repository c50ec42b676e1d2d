"""What the probe trains on: the study's arrays where they are made, else invented rows of the task's shape."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.arrays import Data, checked_meta
from pipeline.data.form import Form
from pipeline.data.prepare import prepared
from pipeline.data.registry import dataset
from pipeline.errors import FairsweepError
from pipeline.training.work import load_data

# Tokens of a review: median, and standard deviation of the logarithm.
MEDIAN, SPREAD = 177, 0.64
VALIDATION = 0.2


@dataclass(frozen=True)
class Inputs:
    """Rows and shape of a study's data.

    Attributes:
        folder: of the arrays; None where rows are invented.
        form: of the task.
        train: rows trained on.
        validation: rows predicted after each epoch.
        test: rows predicted once.
        digest: of the arrays; empty, as no real one is, where rows are invented.
    """

    folder: Path | None
    form: Form
    train: int
    validation: int
    test: int
    digest: str

    def data(self, config: Config) -> Data:
        """The arrays, cut as `config.task` says, or invented ones."""
        if self.folder:
            return load_data(config, self.folder)
        task = config.task
        return _invented(self.train, self.validation, self.test, task.length, task.vocabulary, task.padding)


def find(config: Config) -> Inputs:
    """What the study will train on, as far as it is known.

    Raises:
        FairsweepError: the data are neither here nor quickly made, and no shape of them is known.
    """
    folder = Path("data") / config.name / "arrays"
    try:
        checked_meta(folder, config.task)
    except FairsweepError as error:
        source, study = dataset(config.task.source), config.name
        if shape := source.shape:
            validation = round(VALIDATION * shape.train)
            train = round(config.task.train_fraction * (shape.train - validation))
            return Inputs(None, Form(length=config.task.length), train, validation, shape.test, "")
        if config.task.url is not None or source.slow:
            raise FairsweepError(
                f"task {config.task.name} has no arrays yet, and its shape is known from them alone. First run `python -m "
                f"pipeline.download study={study}`, then `python -m pipeline.pad study={study}`: nothing of the budget is spent."
            ) from error
        folder = prepared(config)
    data = load_data(config, folder)
    return Inputs(folder, data.form, len(data.train_inputs), len(data.validation_inputs), len(data.test_inputs), data.digest)


@functools.lru_cache(maxsize=2)
def _invented(train: int, validation: int, test: int, length: int, vocabulary: int, padding: str) -> Data:
    """Random tokens in reviews as long as real ones, every second of them positive."""
    generator = np.random.default_rng(0)

    def tokens(rows: int) -> NDArray[Any]:
        lengths = np.clip(generator.lognormal(np.log(MEDIAN), SPREAD, rows), 1, length).astype(int)
        made = generator.integers(1, vocabulary, (rows, length), np.int32)
        absent = np.arange(length) >= lengths[:, None]
        made[absent[:, ::-1] if padding == "pre" else absent] = 0
        return made

    def labels(rows: int) -> NDArray[np.uint8]:
        return (np.arange(rows) % 2).astype(np.uint8)

    return Data(
        form=Form(length=length),
        train_inputs=tokens(train),
        train_labels=labels(train),
        validation_inputs=tokens(validation),
        validation_labels=labels(validation),
        test_inputs=tokens(test),
        digest="",
        by_movie=False,
    )
