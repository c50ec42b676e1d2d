"""Verdicts against printed digits and statsmodels."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from pipeline.statistics import decision, repeated_search
from pipeline.statistics.estimate import Estimate

A = np.array([87.1, 86.4, 87.8, 87.0, 86.9])
B = np.array([86.2, 86.9, 86.0, 86.5, 85.8])
GAP = repeated_search.gap(A, B, paired=False)
SURE, VAGUE = 0.01, 1.0


def word(value: float, variance: float, margin: float = 0.5) -> str:
    return decision.judge([Estimate(value, variance, 10)], margin, 0.05)[0].word


def test_superiority_has_its_printed_digits():
    assert decision.p_superior(GAP) == pytest.approx(0.034152, abs=5e-7)
    assert decision.p_superior(GAP) == pytest.approx(
        stats.ttest_ind(A, B, equal_var=False).pvalue, rel=1e-10
    )


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.5, 0.796558), (1.0, 0.221199), (2.0, 0.001617)]
)
def test_equivalence_has_its_printed_digits(margin, expected):
    assert decision.p_equivalent(GAP, margin) == pytest.approx(expected, abs=5e-7)
    assert decision.p_equivalent(GAP, margin) == pytest.approx(
        ttost_ind(A, B, -margin, margin, usevar="unequal")[0], rel=1e-9
    )


def test_the_probability_within_the_margin_has_its_printed_digits():
    assert decision.p_within(GAP, 0.5) == pytest.approx(0.201965, abs=5e-7)


def test_holm_has_its_printed_digits_in_any_order():
    p, adjusted = (
        np.array([0.001, 0.012, 0.02, 0.03, 0.2]),
        np.array([0.005, 0.048, 0.06, 0.06, 0.2]),
    )
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        assert decision.holm(p[order]) == pytest.approx(adjusted[order], abs=1e-12)


@pytest.mark.parametrize("tests", [2, 10])
def test_holm_is_statsmodels(tests):
    p = np.random.default_rng(0).random(tests).round(1) ** 2
    assert decision.holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_of_nothing_is_nothing():
    assert decision.judge([], 0.5, 0.05) == []


@pytest.mark.parametrize(
    ("value", "variance", "expected"),
    [
        (0.9, SURE, decision.BETTER),
        (-0.9, SURE, decision.BETTER),
        (0.26, SURE, decision.WITHIN),
        (-0.26, SURE, decision.WITHIN),
        (0.0, SURE, decision.EQUIVALENT),
        (0.0, VAGUE, decision.UNDECIDED),
        (1.9, VAGUE, decision.UNDECIDED),
    ],
)
def test_the_four_verdicts(value, variance, expected):
    assert word(value, variance) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, decision.EQUIVALENT),
        (0.1, decision.WITHIN),
        (0.5, decision.BETTER),
        (-0.7, decision.BETTER),
    ],
)
def test_a_gap_without_error_is_what_it_is(value, expected):
    gap = Estimate(value, 0.0, 10)
    assert word(value, 0.0) == expected
    assert decision.p_superior(gap) == (value == 0)
    assert decision.p_within(gap, 0.5) == (abs(value) < 0.5)


@pytest.mark.parametrize("value", np.linspace(-2, 2, 9))
def test_better_is_an_interval_without_zero_and_equivalent_one_inside_the_margin(value):
    for variance in (0.01, 0.1, 0.5):
        gap = Estimate(value, variance, 10)
        low, high = gap.interval(0.05)
        assert (decision.p_superior(gap) <= 0.05) == (low > 0 or high < 0)
        low, high = gap.interval(0.10)
        assert (decision.p_equivalent(gap, 1.0) <= 0.05) == (low > -1 and high < 1)


def test_each_question_is_corrected_over_the_pairs_and_judged_at_the_level():
    gaps = [Estimate(value, 0.1, 10) for value in (0.0, 0.3, 0.8, 0.9, 2.0)]
    judged = decision.judge(gaps, 1.0, 0.05)
    for name in ("superior", "equivalent"):
        plain = [getattr(row, f"p_{name}") for row in judged]
        assert [getattr(row, f"p_{name}_holm") for row in judged] == pytest.approx(
            multipletests(plain, method="holm")[1]
        )
    assert judged[3].p_superior <= 0.05 < judged[3].p_superior_holm
    assert [row.word for row in judged] == [
        "equivalent",
        "undecided",
        "undecided",
        "undecided",
        "better",
    ]


def test_a_smaller_level_decides_less():
    gaps = [Estimate(0.8, 0.1, 10)]
    assert [decision.judge(gaps, 0.5, alpha)[0].word for alpha in (0.05, 0.02)] == [
        decision.BETTER,
        decision.UNDECIDED,
    ]
