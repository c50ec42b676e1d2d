"""What a task puts into a network and wants out of it: known when the data are read, kept in `meta.json`."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
