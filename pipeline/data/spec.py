"""Types that describe a dataset: its examples, its task, and how its archive is obtained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor, log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Columns, Task
from ..metrics import METRICS, Measure

# The features of a padded step. Its labels are `metrics.NO_LABEL`. Padding follows the real steps.
PAD = -1.0

KINDS = ("binary", "classes", "steps", "regression")


@dataclass(frozen=True)
class TaskSpec:
    """The shape of a task.

    Attributes:
        kind: binary (one logit, labels <uint8>[rows], 0 or 1), classes (one logit per class, labels
            <uint8>[rows]), steps (one logit per step and label, labels <uint8>[rows, time, outputs]
            of 0, 1 and NO_LABEL) or regression (labels <float32>[rows, outputs], standardised).
        metric: accuracy (fraction), f1 (micro-F1 over steps and labels, a fraction), nll (negative
            log likelihood of a step, summed over its labels, nats) or mae (mean absolute error, in
            `unit`). Scores are stored higher-better: errors are negated.
        outputs: logits or numbers per example, or per step.
        features: numbers per step; None for token ids.
        length: steps per input.
        padded: whether steps of <float>[rows, length, features] may be padding. Token ids may be
            padded in any case.
        causal: whether a later input contains the label of a step, so that no layer may read
            backwards.
        ordered: whether rows follow one another in time. Splits are then cut in time, not random.
        scale: value of a standardised 1 in `unit`.
        unit: of the metric, such as ppm; empty for a fraction.
        example: name of one row, such as review.
        group: name of what similar rows share, such as film; empty if rows are independent.
        classes: names of the classes; empty if they have none.
        baselines: kinds of baselines. If the first is `trivial`, a failed run has its score.
    """

    kind: str = "binary"
    metric: str = "accuracy"
    outputs: int = 1
    features: int | None = None
    length: int = 0
    padded: bool = False
    causal: bool = False
    ordered: bool = False
    scale: float = 1.0
    unit: str = ""
    example: str = "review"
    group: str = "film"
    classes: list[str] = field(default_factory=list)
    baselines: list[str] = field(default_factory=lambda: ["same_tokens", "whole_text"])

    @property
    def measure(self) -> Measure:
        """How scores are printed. An error shows three significant figures of one standard unit."""
        decimals = METRICS[self.metric].decimals
        if self.metric == "mae":
            decimals = min(8, max(0, decimals - floor(log10(self.scale) + 0.5)))
        unit = self.unit if self.metric == "mae" else ""
        return Measure(self.metric, unit, decimals, self.example, self.group)

    def format(self, score: float) -> str:
        """Return a score with its unit, as the report prints it."""
        return self.measure.score_unit(score)


@dataclass(frozen=True)
class Examples:
    """The rows of one part of a dataset of numbers.

    Attributes:
        inputs: <float32> or <uint8>[rows, length, features].
        labels: as in `TaskSpec.kind`.
        groups: the group of each row, or None if rows are independent.
    """

    inputs: NDArray[np.generic]
    labels: NDArray[np.generic]
    groups: list[str] | None = None


@dataclass(frozen=True)
class Sequences:
    """A dataset of numbers.

    Attributes:
        extras: further arrays of the test rows, written as `test_NAME.npy`. A forecast has `times`
            <datetime64[D]>[rows], the day of the last input, and `bases` <float32>[rows]: a value
            is base + number * `TaskSpec.scale`. No array may depend on a label.
    """

    spec: TaskSpec
    train: Examples
    test: Examples
    extras: dict[str, NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True)
class Texts:
    """Labelled texts of one part. All fields have one entry per text.

    Attributes:
        texts: the words of each text, joined by one space. They determine the order of rows.
        labels: <uint8>[texts], 1 for positive; with more than two classes the number of the class.
        groups: the group of each text, or None if texts are independent.
    """

    texts: list[str]
    labels: NDArray[np.uint8]
    groups: list[str] | None


@dataclass(frozen=True)
class Corpus:
    """A dataset of texts.

    Attributes:
        encoded: whether the words are ranks of a fixed vocabulary.
    """

    train: Texts
    test: Texts
    encoded: bool = False
    spec: TaskSpec = field(default_factory=TaskSpec)


@dataclass(frozen=True)
class Shape:
    """The size of a dataset of texts before its download, for `plan`.

    Attributes:
        train, test: texts per part.
        megabytes: of the download.
        tokens: mean number per text.
    """

    train: int
    test: int
    megabytes: int
    tokens: int


@dataclass(frozen=True)
class Dataset:
    """A dataset that `task.source` names. Each shipped module defines one (see `data.registry`).

    Attributes:
        read: takes (task, archive, columns) and returns the labelled examples, always the same
            rows for the same arguments.
        archive: name of the archive's file in data/STUDY/archive/.
        make: writes the archive to a path. None: the archive is a copy of `task.archive`, or a
            download from `task.url`.
        copy: takes (columns, folder) and copies the user's files to the folder, in place of `make`.
        digest: takes the columns and returns the sha256 of the files that `copy` would copy.
        version_of: the package that contains or generates the examples. The archive is then a file
            with its version.
        content: takes (archive, origin) and returns a digest, equal for all copies of the same
            data, and a description such as "2,604 files". `origin` names the archive in errors.
            None: the sha256 and the size of the file.
        official: the description that `content` returns for the official data.
        local_copy: environment variable and example path of a local copy, for error messages.
        slow: whether `make` takes so long that `plan` does not call it.
        shape: size of a dataset of texts that must be downloaded; None for others.
        encoded: whether the archive holds token ids without the words that they stand for.
        language: description of the texts for the report, such as "English film reviews".
        caveat: limitation for the report.
    """

    read: Callable[[Task, Path, Columns], Corpus | Sequences]
    archive: str = "package.txt"
    make: Callable[[Path], None] | None = None
    copy: Callable[[Columns, Path], None] | None = None
    digest: Callable[[Columns], str] | None = None
    version_of: str | None = None
    content: Callable[[Path, str], tuple[str, str]] | None = None
    official: str = ""
    local_copy: tuple[str, str] | None = None
    slow: bool = False
    shape: Shape | None = None
    encoded: bool = False
    language: str = ""
    caveat: str = ""
