"""From a gap to a verdict: is one arm better, are the two equivalent within a margin, or is it not decided?

Two questions a pair, two one-sided tests for the second (Schuirmann 1987), Holm's correction over the pairs for each question.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.evidence.estimate import Estimate

BETTER, WITHIN, EQUIVALENT, UNDECIDED, REFUSED = "better", "better_within_margin", "equivalent", "undecided", "refused"


def p_superior(gap: Estimate) -> float:
    """Two-sided p-value of a gap of zero."""
    if gap.variance == 0:
        return float(gap.value == 0)
    return float(2 * stats.t.sf(abs(gap.value) / gap.se, gap.df))


def p_equivalent(gap: Estimate, margin: float) -> float:
    """The larger of the two one-sided p-values of a gap outside `margin` (the gap's unit) on either side."""
    if gap.variance == 0:
        return float(abs(gap.value) >= margin)
    return float(max(stats.t.sf((gap.value + margin) / gap.se, gap.df), stats.t.cdf((gap.value - margin) / gap.se, gap.df)))


def p_within(gap: Estimate, margin: float) -> float:
    """Probability, with a flat prior, that the true gap lies within the margin: the same arithmetic as a region of equivalence."""
    if gap.variance == 0:
        return float(abs(gap.value) < margin)
    ends = stats.t.cdf((np.array([margin, -margin]) - gap.value) / gap.se, gap.df)
    return float(ends[0] - ends[1])


def holm(p: Sequence[float]) -> NDArray[np.floating]:
    """Holm's (1979) adjusted p-values, float [tests], in the order given."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


class Verdict(NamedTuple):
    """One pair's answers. `word` is one of better, better_within_margin, equivalent, undecided."""

    p_superior: float
    p_equivalent: float
    p_superior_holm: float
    p_equivalent_holm: float
    word: str


def judge(gaps: Sequence[Estimate], margin: float, alpha: float) -> list[Verdict]:
    """The verdict of each pair, all pairs of a study together.

    Args:
        gaps: one a pair, with the whole of its error.
        margin: the smallest gap that matters, in the gaps' unit.
        alpha: error rate over all pairs of each question, at this look.
    """
    superior = [p_superior(gap) for gap in gaps]
    equivalent = [p_equivalent(gap, margin) for gap in gaps]
    rows = zip(superior, equivalent, holm(superior).tolist(), holm(equivalent).tolist(), strict=True)
    return [Verdict(*row, _word(row[2] <= alpha, row[3] <= alpha)) for row in rows]


def _word(superior: bool, equivalent: bool) -> str:
    if superior:
        return WITHIN if equivalent else BETTER
    return EQUIVALENT if equivalent else UNDECIDED


def ahead(pair: Mapping[str, Any]) -> str | None:
    """The better arm of a pair whose verdict says that one is."""
    if pair["verdict"] not in (BETTER, WITHIN):
        return None
    return str(pair["a"] if pair["gap"] > 0 else pair["b"])
