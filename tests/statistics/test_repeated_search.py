"""Repeated searches against printed digits, scipy and statsmodels."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from pipeline.statistics import repeated_search
from pipeline.statistics.estimate import Estimate

A = np.array([87.1, 86.4, 87.8, 87.0, 86.9])
B = np.array([86.2, 86.9, 86.0, 86.5, 85.8])
RETRAINED = np.array([[87.0, 87.2], [86.1, 86.7], [87.9, 87.7], [86.8, 87.2], [86.7, 87.1]])
SPREAD = Estimate(0.76, 2 * 0.22 / 5, 8)  # five studies an arm, variance .22 within each


def drawn(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(87, 0.5, count).round(1)


def test_welch_has_its_printed_digits():
    gap = repeated_search.gap(A, B, paired=False)
    assert (gap.value, gap.se, gap.df) == pytest.approx((0.76, 0.296648, 7.823961), abs=5e-7)
    assert gap.interval(0.05) == pytest.approx((0.073240, 1.446760), abs=5e-7)
    assert gap.interval(0.10) == pytest.approx((0.206756, 1.313244), abs=5e-7)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (5, 5), (10, 4)])
def test_unpaired_repeats_equal_scipys_welch(ours, theirs):
    a, b = drawn(0, ours), drawn(1, theirs)
    gap, expected = repeated_search.gap(a, b, paired=False), stats.ttest_ind(a, b, equal_var=False)
    assert (gap.value / gap.se, gap.df) == pytest.approx(
        (expected.statistic, expected.df), rel=1e-12
    )
    assert gap.interval(0.05) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-10)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_paired_repeats_equal_scipys_paired_t(count):
    a, b = drawn(0, count), drawn(1, count)
    gap, expected = repeated_search.gap(a, b, paired=True), stats.ttest_rel(a, b)
    assert (gap.value / gap.se, gap.df) == pytest.approx(
        (expected.statistic, expected.df), rel=1e-12
    )
    assert gap.interval(0.05) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-10)


def test_one_arm_has_students_interval_of_a_mean():
    expected = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert repeated_search.estimate(A).interval(0.05) == pytest.approx(tuple(expected), rel=1e-12)


def test_an_arm_without_spread_leaves_the_others_degrees_of_freedom():
    gap = repeated_search.gap(A, np.full(3, 86.0), paired=False)
    assert (gap.variance, gap.df) == pytest.approx((A.var(ddof=1) / 5, 4))


def test_the_probability_of_a_win_has_its_printed_digits():
    assert repeated_search.win_probability(A, B) * 25 == pytest.approx(22.5)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (5, 8)])
def test_the_probability_of_a_win_is_mann_and_whitneys(ours, theirs):
    a, b = drawn(0, ours), drawn(1, theirs)
    assert repeated_search.win_probability(a, b) == pytest.approx(
        stats.mannwhitneyu(a, b).statistic / (ours * theirs), abs=1e-12
    )


def test_components_have_their_printed_digits():
    parts = repeated_search.components(RETRAINED)
    assert parts == pytest.approx((0.506, 0.076, 0.215, 0.738832), abs=5e-7)
    assert repeated_search.best_retrainings(parts, 10) == pytest.approx(1.880129, abs=5e-7)


def test_the_components_are_those_of_the_analysis_of_variance():
    parts = repeated_search.components(RETRAINED)
    assert parts.between / parts.within == pytest.approx(
        stats.f_oneway(*RETRAINED).statistic, rel=1e-12
    )


def test_the_variance_between_repeats_is_never_negative():
    parts = repeated_search.components(np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]]))
    assert (parts.tau2, parts.icc) == (0, 0)
    assert repeated_search.best_retrainings(parts, 10) is None


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.5, {"likely": 15, "safe": 26}), (1.0, {"likely": 5, "safe": 8})]
)
def test_the_repeats_needed_are_the_printed_ones(margin, expected):
    assert repeated_search.repeats_needed(SPREAD, 0.0, 5, margin, 0.05, paired=False) == expected


@pytest.mark.parametrize("margin", [0.3, 0.5, 0.8])
def test_the_repeats_needed_are_statsmodels(margin):
    exact = TTestIndPower().solve_power(margin / np.sqrt(0.22), alpha=0.05, power=0.8)
    assert repeated_search.repeats_needed(SPREAD, 0.0, 5, margin, 0.05, paired=False)[
        "likely"
    ] == math.ceil(exact)
    exact = TTestPower().solve_power(margin / np.sqrt(0.22), alpha=0.05, power=0.8)
    assert repeated_search.repeats_needed(
        Estimate(0, 0.22 / 5, 4), 0.0, 5, margin, 0.05, paired=True
    )["likely"] == math.ceil(exact)


def test_no_number_of_repeats_is_enough_if_the_groups_leave_too_much_error():
    assert (
        repeated_search.repeats_needed(SPREAD, (0.5 / 2.8) ** 2, 5, 0.5, 0.05, paired=False) is None
    )
    assert (
        repeated_search.repeats_needed(SPREAD, (0.5 / 4) ** 2, 5, 0.5, 0.05, paired=False)["likely"]
        > 15
    )


@pytest.mark.parametrize("scores", [[87.0], [87.0, np.nan], [[87.0, 86.0]], [87.0, -np.inf]])
def test_fewer_than_two_finite_scores_raise(scores):
    with pytest.raises(ValueError, match="at least two repeats"):
        repeated_search.estimate(np.array(scores))


def test_paired_arms_with_unequal_repeats_raise():
    with pytest.raises(ValueError, match="equally many, not 5 and 4"):
        repeated_search.gap(A, B[:4], paired=True)


def test_the_exact_permutation_has_its_printed_digits():
    assert repeated_search.p_permutation(A, B, paired=False) == pytest.approx(12 / 252, abs=1e-12)


def test_permutations_within_repeats_are_all_swaps():
    gaps = A - B
    swapped = [
        np.mean(gaps * np.array([1 - 2 * (swap >> k & 1) for k in range(5)])) for swap in range(32)
    ]
    expected = np.mean(np.abs(swapped) >= abs(gaps.mean()) - 1e-9)
    assert repeated_search.p_permutation(A, B, paired=True) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [3, 4, 11])
def test_no_permutation_where_no_p_value_is_small_or_there_are_too_many(count):
    assert repeated_search.p_permutation(drawn(0, count), drawn(1, count), paired=False) is None


def test_the_size_of_the_gap_has_its_printed_digits():
    assert repeated_search.hedges_g(A, B) == pytest.approx(1.463520, abs=5e-7)
    # Cohen's d is the same without the correction for few studies.
    assert repeated_search.hedges_g(A, B) / (1 - 3 / 31) == pytest.approx(1.620325, abs=5e-7)
    assert repeated_search.hedges_g(np.ones(3), np.ones(3)) is None
