"""What a dataset is: where its examples come from, what they are, and what a network reads and predicts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Columns, Task

# A padded step: an input all of whose features are PAD, a label `evidence.scores.NO_LABEL`. Steps come after one another, padding last.
PAD = -1.0

KINDS = ("binary", "classes", "steps", "regression")
METRICS = ("accuracy", "f1", "nll", "mae")


@dataclass(frozen=True)
class Form:
    """The shape of a task.

    Attributes:
        kind: binary (one logit, labels <uint8>[rows] of 0 and 1), classes (a logit a class, labels <uint8>[rows]), steps (at each
            step a logit a label, labels <uint8>[rows, time, outputs] of 0, 1 and NO_LABEL), regression (numbers, labels
            <float32>[rows, outputs], standardised).
        metric: accuracy (fraction), f1 (micro-F1 over steps and labels, a fraction), nll (negative log likelihood of a step, nats,
            summed over its labels), mae (mean absolute error, in `unit`). Scores inside are higher better: errors are negated.
        outputs: logits or numbers of an example, or of a step.
        features: numbers a step; None where inputs are token ids.
        length: steps of an input.
        padded: whether some steps of <float>[rows, length, features] are padding; token ids always may be.
        causal: whether the label of a step stands in a later input, so that nothing may read backwards.
        ordered: whether rows follow one another in time, so that parts are cut in time and not drawn.
        scale: what a standardised 1 is in `unit`.
        unit: of the metric, such as ppm; empty for a fraction.
        example: what one row is, such as review.
        group: what rows that are alike share, such as film; empty where each row stands alone.
        classes: names of the classes, where there are any to tell.
        baselines: the kinds of what stands beside the cells; the first, where it is `trivial`, is what a failed run scores.
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

    def told(self, score: float) -> str:
        """A score as people read it: four decimals, errors and nats positive and with their unit."""
        shown = f"{-score if self.metric in ('nll', 'mae') else score:.4f}"
        return f"{shown} {self.unit}" if self.unit else shown


@dataclass(frozen=True)
class Examples:
    """The rows of one part.

    Attributes:
        inputs: <float32> or <uint8>[rows, length, features].
        labels: as `Form.kind` says.
        groups: what each row belongs to, or None when each stands alone.
    """

    inputs: NDArray[np.generic]
    labels: NDArray[np.generic]
    groups: list[str] | None = None


@dataclass(frozen=True)
class Sequences:
    """A source of numbers, read: what `Corpus` is for texts.

    Attributes:
        extras: further arrays of the test rows, written as `test_NAME.npy`: of a forecast `times` <datetime64[D]>[rows], the day of
            the last input, and `bases` <float32>[rows], what is added to a number times `Form.scale`. None tells a label.
    """

    form: Form
    train: Examples
    test: Examples
    extras: dict[str, NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reviews:
    """Labelled texts of one part. All fields have one entry per text.

    Attributes:
        texts: the words of each text, joined by one space. Rows are ordered by them.
        labels: <uint8>[texts], 1 for positive; with more than two classes the number of the class.
        movies: the group of each text, or None when the source names no groups.
    """

    texts: list[str]
    labels: NDArray[np.uint8]
    movies: list[str] | None


@dataclass(frozen=True)
class Corpus:
    """A dataset of texts.

    Attributes:
        encoded: whether the "words" are ranks that the source has fixed, so that no vocabulary is counted.
    """

    train: Reviews
    test: Reviews
    encoded: bool = False
    form: Form = field(default_factory=Form)


@dataclass(frozen=True)
class Shape:
    """The size of a dataset of texts that must be downloaded, for `plan`, which runs before the download.

    Attributes:
        train, test: texts per part.
        megabytes: of the download.
        tokens: per text, in the mean.
    """

    train: int
    test: int
    megabytes: int
    tokens: int


@dataclass(frozen=True)
class Dataset:
    """A dataset, as `task.source` names it. Each module of a shipped dataset defines one (see `data.registry`).

    Attributes:
        read: takes (task, archive, columns) and returns the labelled examples. It must return the same rows each time.
        archive: name of the archive's file in data/STUDY/archive/.
        make: writes the archive to a path. None: it is a copy of `task.archive`, or downloaded from `task.url`.
        copy: takes (columns, folder) and copies a user's own files to the folder. It is used in place of `make`.
        digest: takes the columns and returns the sha256 of the files that `copy` would copy.
        version_of: the package that contains or generates the examples. The archive is then a file with its version.
        content: takes (archive, origin) and returns a digest, which is equal for all copies of the same data, and a description such as
            "2,604 files". None: the sha256 of the file, and its size. `origin` names the archive in errors.
        official: the description that `content` returns for the official data.
        local_copy: environment variable and example path, shown in errors, for a local copy in place of a download.
        slow: whether making the archive takes long, so that `plan` does not make it.
        shape: size of a dataset of texts that must be downloaded; None for other datasets.
        encoded: whether the archive holds token ids and does not say which words they stand for.
        language: description of the texts in the report, such as "English film reviews"; empty for numbers and if unknown.
        caveat: limitation that the report states; empty if there is none.
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
