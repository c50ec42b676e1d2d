"""How a task's scores are told: the metric's name, a score as it is shown, a gap and its unit, what one row is.

Inside, scores are higher better and errors are negated; a reader sees errors and nats positive. A gap is a minus b inside, so that
it is positive where a is better, whatever the metric.
"""

from dataclasses import dataclass
from math import floor, log10
from typing import Any

from pipeline.data.form import Form

NAMES = {"accuracy": "accuracy", "f1": "micro-F1", "nll": "nats a step", "mae": "error"}
# Decimals of a score whose standardised 1 is 1 in its unit: three of an error, four of anything else.
DECIMALS = {"mae": 3}
# What the baselines are, by kind and, where it matters, by metric: their short name, and how a sentence begins.
BASELINES: dict[str, tuple[str, str]] = {
    "same_tokens": ("linear, same tokens", "a linear model that sees the same tokens"),
    "whole_text": ("linear, whole text", "a linear model that sees whole texts"),
    "seasonal": ("seasonal", "the value one season before"),
    "linear": ("linear", "a linear model of the same inputs"),
}
TRIVIAL = {
    "accuracy": ("trivial: the most frequent class", "naming always the most frequent class"),
    "f1": ("trivial: label frequencies", "telling each label by its frequency alone"),
    "nll": ("trivial: label frequencies", "telling each label by its frequency alone"),
    "mae": ("trivial: the last value", "repeating the last value"),
}


@dataclass(frozen=True)
class Measure:
    """Attributes: the metric of a `Form`, its unit, decimals of a shown score, and what one row and its group are called."""

    metric: str = "accuracy"
    unit: str = ""
    decimals: int = 4
    example: str = "review"
    group: str = "film"

    @property
    def fraction(self) -> bool:
        """Whether scores are fractions, of which a point is one hundredth; otherwise less is better as shown."""
        return self.metric in ("accuracy", "f1")

    @property
    def name(self) -> str:
        """`accuracy`, `micro-F1`, `nats a step`, `error`."""
        return NAMES[self.metric]

    @property
    def axis(self) -> str:
        """The name with its unit, as an axis says it: `accuracy`, `error, ppm`."""
        return f"{self.name}, {self.unit}" if self.metric == "mae" else self.name

    @property
    def quantity(self) -> str:
        """The name with its unit, as a caption says it: `accuracy (fraction)`, `error (ppm)`."""
        return f"{self.name} (fraction)" if self.fraction else f"{self.name} ({self.unit})" if self.metric == "mae" else self.name

    @property
    def loss(self) -> str:
        """What the loss is: `log loss (nats a review)`."""
        return {
            "accuracy": f"log loss (nats a {self.example})",
            "f1": "log loss (nats a label)",
            "nll": "log loss (nats a step)",
            "mae": "mean square of the standardised error",
        }[self.metric]

    @property
    def gaps(self) -> str:
        """The unit of a gap: `points`, `ppm`, `nats a step`."""
        return "points" if self.fraction else self.unit if self.metric == "mae" else self.name

    @property
    def leads(self) -> str:
        """How the better one of two does on test."""
        return {"nll": "needs fewer nats a step on test", "mae": "errs less on test"}.get(self.metric, "scores higher on test")

    @property
    def top(self) -> str:
        """What an anecdote crowns."""
        return {"nll": "fewest nats a step on test", "mae": "lowest test error"}.get(self.metric, "highest test score")

    @property
    def against(self) -> str:
        """Between the cells of a gap, the better first: a difference of scores, or `over`, as less error is a positive gap."""
        return "−" if self.fraction else "over"

    @property
    def examples(self) -> str:
        """Several rows: `reviews`."""
        return _several(self.example)

    @property
    def groups(self) -> str:
        """What a sample of the test set is drawn by: `films`, or rows where each stands alone."""
        return _several(self.group or self.example)

    def shown(self, value: float) -> float:
        """A score as a reader sees it: errors and nats positive."""
        return value if self.fraction else 0.0 - value

    def score(self, value: float | None) -> str:
        """A score without its unit; a dash where there is none."""
        return "–" if value is None else _true_minus(f"{self.shown(value):.{self.decimals}f}")

    def told(self, value: float) -> str:
        """A score as a sentence says it: `0.8512`, `0.512 ppm`."""
        return self.score(value) if self.fraction else f"{self.score(value)} {self.gaps}"

    def mean_sd(self, values: dict[str, Any] | None) -> str:
        """`0.8512 ± 0.0021`; the mean alone where one run has no spread, a dash where there was no run."""
        if values is None:
            return "–"
        return self.score(values["mean"]) + ("" if values["sd"] is None else f" ± {values['sd']:.{self.decimals}f}")

    def interval(self, low: float, high: float) -> str:
        """The ends of a score's interval, the smaller shown number first: `[0.8532, 0.8637]`."""
        ends = (low, high) if self.fraction else (high, low)
        return f"[{self.score(ends[0])}, {self.score(ends[1])}]"

    def with_interval(self, values: dict[str, Any]) -> str:
        """`0.8584 [0.8532, 0.8637]`."""
        return f"{self.score(values['mean'])} {self.interval(values['low'], values['high'])}"

    def sized(self, gap: float) -> float:
        """A gap in its unit: a hundred times a fraction."""
        return 100 * gap if self.fraction else gap

    def points(self, gap: float | None) -> str:
        """A gap in its unit with a true minus; a dash where there is none."""
        return "–" if gap is None else _true_minus(f"{self.sized(gap):.{2 if self.fraction else self.decimals}f}")

    def span(self, low: float, high: float) -> str:
        """An interval of a gap."""
        return f"[{self.points(low)}, {self.points(high)}]"

    def gap(self, pair: dict[str, Any]) -> str:
        """`0.75 points [0.30, 1.20]`, `0.120 ppm [0.050, 0.190]`."""
        return f"{self.points(pair['gap'])} {self.gaps} {self.span(pair['low'], pair['high'])}"

    def margin(self, value: float) -> str:
        """`1 point`, `0.5 points`, `0.1 ppm`."""
        size = round(self.sized(value), 9)
        return f"{size:.6g} {'point' if self.fraction and size == 1 else self.gaps}"

    def baseline(self, kind: str) -> str:
        """A baseline as a table names it."""
        return _baseline(kind, self.metric)[0]

    def stands_for(self, kind: str) -> str:
        """What a baseline does, as a sentence says it."""
        return _baseline(kind, self.metric)[1]


def of_form(form: Form) -> Measure:
    """The measure of a task; an error has more decimals the smaller a standardised 1 is in its unit, so that three figures are told."""
    decimals = DECIMALS.get(form.metric, 4)
    if form.metric == "mae":
        decimals = min(8, max(0, decimals - floor(log10(form.scale) + 0.5)))
    return Measure(form.metric, form.unit, decimals, form.example, form.group)


def of(metrics: dict[str, Any]) -> Measure:
    """The measure that metrics.json carries."""
    return Measure(**metrics["measure"])


def _baseline(kind: str, metric: str) -> tuple[str, str]:
    plain = kind.replace("_", " ")
    return TRIVIAL[metric] if kind == "trivial" else BASELINES.get(kind, (plain, f"the baseline {plain}"))


def _several(word: str) -> str:
    return word if word.endswith("s") else f"{word}s"


def _true_minus(text: str) -> str:
    """No minus before a zero, and a minus sign before anything else."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text.replace("-", "−")
