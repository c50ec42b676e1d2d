"""What one run per cell would have said, against enumeration of every combination of runs."""

from itertools import product

import numpy as np
import pytest

from pipeline.statistics.single_run import (
    Runs,
    bootstrap,
    clear_lead,
    jackknife,
    ranks_first,
    two_arms,
    wilson,
)


def arms(*values) -> list[Runs]:
    return [Runs.equal(np.array(one, float)) for one in values]


def weighted(generator, sizes) -> list[Runs]:
    """Runs on a coarse grid, with many ties within and between arms and unequal probabilities."""
    made = []
    for size in sizes:
        weights = generator.random(size)
        made.append(Runs(generator.integers(0, 6, size) / 4, weights / weights.sum()))
    return made


def enumerated(runs: list[Runs], value) -> np.ndarray:
    """The mean of `value(scores of one run each)` over all combinations."""
    total = np.zeros(len(runs))
    for places in product(*(range(len(arm.values)) for arm in runs)):
        chance = np.prod([arm.weights[place] for arm, place in zip(runs, places, strict=True)])
        total += chance * value(
            np.array([arm.values[place] for arm, place in zip(runs, places, strict=True)])
        )
    return total


def share_of_crown(scores: np.ndarray) -> np.ndarray:
    return (scores == scores.max()) / (scores == scores.max()).sum()


def test_the_three_cells_of_the_specification():
    found = ranks_first(arms([86, 87, 85], [86.5, 84], [80, 86, 70]))
    np.testing.assert_allclose(found, [7 / 12, 1 / 3, 1 / 12], atol=1e-12)


@pytest.mark.parametrize("sizes", [(4, 3), (3, 4, 2), (3, 2, 4, 3), (2, 3, 2, 3, 2, 2)])
def test_ranks_first_equals_enumeration_with_shared_ties(sizes):
    runs = weighted(np.random.default_rng(len(sizes)), sizes)
    found = ranks_first(runs)
    np.testing.assert_allclose(found, enumerated(runs, share_of_crown), atol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("margin", [0.1, 0.25, 0.5])
def test_a_clear_lead_equals_enumeration_and_a_gap_of_just_the_margin_is_none(margin):
    runs = weighted(np.random.default_rng(7), (4, 3, 5))

    def leads(scores):
        second, first = np.sort(scores)[-2:]
        return first - second > margin + 1e-9

    assert clear_lead(runs, margin) == pytest.approx(enumerated(runs, leads)[0], abs=1e-12)


def test_equal_arms_share_the_first_rank():
    runs = np.random.default_rng(1).random(30)
    np.testing.assert_allclose(ranks_first(arms(runs, runs, runs)), 1 / 3, atol=1e-12)


def test_wilson_of_the_specification():
    assert wilson(17, 25, 0.05) == pytest.approx((0.484103, 0.827948), abs=5e-7)


def test_intervals_hold_their_value_and_shrink_with_more_runs():
    generator = np.random.default_rng(3)

    def interval(size):
        one, other = generator.normal(0.5, 1, size), generator.normal(0, 1, size)
        above = one[:, None] > other
        low, high = two_arms(above.mean(axis=1), above.mean(axis=0), 0.05)
        assert low < above.mean() < high
        return high - low

    assert interval(400) < interval(40) / 2


def test_a_share_of_zero_or_one_has_no_delong_interval():
    assert two_arms(np.ones(5), np.ones(5), 0.05) is None
    assert two_arms(np.array([0.5]), np.array([0.0, 1.0]), 0.05) is None


def test_a_search_that_always_ends_alike_is_as_sure_as_so_few_searches_allow():
    low, high = jackknife(0.0, np.zeros(60), 6, 10, 0.05)
    assert low == 0
    assert (1 - high) ** 6 == pytest.approx(0.025)


def test_a_bootstrap_resamples_whole_groups():
    """Two groups of equal runs: a resample has shares of 0, 1/2 or 1 and no other."""
    seen = set()

    def share(runs):
        seen.add(float(runs[0].values.mean()))
        return float(runs[0].values.mean())

    low, high = bootstrap([np.array([[0.0] * 3, [1.0] * 3])], share, 0.05, seed=0)
    assert seen == {0.0, 0.5, 1.0}
    assert (low, high) == (0.0, 1.0)
