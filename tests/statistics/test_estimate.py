"""Variances against naive loops and textbook formulas, degrees of freedom by hand."""

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics.estimate import Estimate, group_variance, jackknife_variance


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(1).normal(size=40)


def test_group_variance_equals_a_naive_loop(values):
    groups = np.random.default_rng(2).integers(100, 107, 40)
    names = sorted(set(groups.tolist()))
    squares = sum(
        sum(
            value - values.mean()
            for value, group in zip(values, groups, strict=True)
            if group == name
        )
        ** 2
        for name in names
    )
    variance, df = group_variance(values, groups)
    assert variance == pytest.approx(7 / 6 * squares / 40**2, rel=1e-12)
    assert df == len(names) - 1 == 6


def test_rows_in_groups_of_one_have_the_independent_variance(values):
    variance, df = group_variance(values, np.arange(40))
    assert variance == pytest.approx(values.var() / 40 * 40 / 39, rel=1e-12)
    assert df == 39


def test_equal_rows_of_a_group_count_as_one(values):
    single, _ = group_variance(values, np.arange(40))
    threefold, _ = group_variance(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    assert threefold == pytest.approx(single, rel=1e-12)


def test_groups_reject_unequal_lengths_and_a_single_group(values):
    with pytest.raises(ValueError, match=r"equally long, not \(40,\) and \(39,\)"):
        group_variance(values, np.arange(39))
    with pytest.raises(ValueError, match="at least two groups"):
        group_variance(values, np.zeros(40, int))


def test_the_jackknife_of_a_mean_is_its_textbook_variance(values):
    left_out = np.array([np.delete(values, i).mean() for i in range(40)])
    assert jackknife_variance(left_out) == pytest.approx(values.var(ddof=1) / 40, rel=1e-10)


@pytest.mark.parametrize("constant", [0.875, 0.8317, 83.17])
def test_the_jackknife_of_a_constant_is_exactly_zero(constant):
    assert jackknife_variance(np.full(60, constant)) == 0


def test_satterthwaite_by_hand():
    total = Estimate(5.0, 2.0, 4.0).plus(1.0, 2.0)
    assert (total.value, total.variance, total.df) == (5.0, 3.0, 9 / (4 / 4 + 1 / 2))


def test_nothing_added_changes_nothing():
    gap = Estimate(5.0, 2.0, 4.0)
    assert gap.plus(0.0, 1.0) == gap
    assert Estimate(5.0, 0.0, 4.0).plus(0.0, 1.0) == Estimate(5.0, 0.0, 4.0)


def test_an_error_added_to_none_is_all_of_it():
    assert Estimate(5.0, 0.0, 4.0).plus(2.0, 7.0) == Estimate(5.0, 2.0, 7.0)


def test_the_interval_is_students(values):
    gap = Estimate(values.mean(), values.var(ddof=1) / 40, 39)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert gap.interval(0.1) == pytest.approx(tuple(expected), rel=1e-12)


def test_the_interval_of_no_variance_is_the_value():
    assert Estimate(5.0, 0.0, 4.0).interval(0.05) == (5.0, 5.0)
