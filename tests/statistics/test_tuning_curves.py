"""Tuning curves against opda, published digits, and all subsets and orders of small pools."""

import warnings
from itertools import combinations, permutations, product

import numpy as np
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy import stats

from pipeline.statistics import shared_search, tuning_curves
from pipeline.statistics.shared_search import Pool
from pipeline.statistics.tuning_curves import Curve

SCORES = np.array([0.1, 0.8, 0.5, 0.4, 0.6])
U = [0.48, 0.64, 0.71, 0.76, 0.80]
V = [0.48, 0.608, 0.6672, 0.70208, 0.725568]
EACH = np.arange(1, 6)
PICKED = Pool(np.array([0.70, 0.90, 0.80, 0.60, 0.85]), np.array([0.68, 0.84, 0.83, 0.61, 0.86]))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def related(rng: np.random.Generator, trials: int) -> tuple[Pool, np.ndarray]:
    """A pool with ties and a failed trial, whose better trials cost more, and its costs."""
    costs = rng.integers(1, 9, trials).astype(float)
    truth = 0.7 + 0.02 * costs + rng.normal(0, 0.01, trials)
    validation = truth.round(2)
    validation[0] = -np.inf
    return Pool(
        validation, np.where(np.arange(trials) == 0, 0.5, truth + rng.normal(0, 0.005, trials))
    ), costs


def kept(trials: Pool, order: tuple[int, ...], costs: np.ndarray, budget: float) -> float:
    """The test score of the best trial within the budget, by a step-by-step search."""
    drawn, spent = [order[0]], costs[order[0]]
    for trial in order[1:]:
        if spent + costs[trial] > budget:
            break
        drawn.append(trial)
        spent += costs[trial]
    best = max(trials.validation[drawn])
    return float(trials.test[[trial for trial in order if trials.validation[trial] == best]].mean())


def searched(trials: Pool, members: list[int], costs: np.ndarray, budget: float) -> float:
    """Mean over every order of these members."""
    return float(np.mean([kept(trials, order, costs, budget) for order in permutations(members)]))


def test_the_printed_digits():
    assert tuning_curves.mean_curve(SCORES, EACH).value == pytest.approx(U, abs=1e-12)
    assert EmpiricalDistribution(SCORES).v_tuning_curve(EACH) == pytest.approx(V, abs=1e-12)
    assert tuning_curves.median_curve(SCORES, EACH).value == pytest.approx(
        [0.5, 0.6, 0.6, 0.8, 0.8], abs=1e-12
    )


@pytest.mark.parametrize("digits", [1, 9])
def test_mean_and_v_curves_are_the_means_over_every_subset_and_every_tuple(rng, digits):
    scores = rng.random(6).round(digits)
    for n in range(1, 7):
        subsets = np.mean([max(some) for some in combinations(scores, n)])
        assert tuning_curves.mean_curve(scores, np.array([n])).value[0] == pytest.approx(
            subsets, abs=1e-12
        )
        tuples = np.mean([max(some) for some in product(scores, repeat=n)])
        assert EmpiricalDistribution(scores).v_tuning_curve(n) == pytest.approx(tuples, abs=1e-12)


@pytest.mark.parametrize("trials", [60, 1000])
def test_the_mean_curve_is_opdas(rng, trials):
    scores, budgets = rng.random(trials).round(2), tuning_curves.trial_budgets(trials)
    expected = EmpiricalDistribution(scores).u_tuning_curve(budgets)
    assert np.abs(tuning_curves.mean_curve(scores, budgets).value - expected).max() < 1e-12


def test_the_mean_curve_goes_on_where_opdas_has_no_number(rng):
    scores = rng.random(3000)
    values = tuning_curves.mean_curve(scores, np.array([1, 1500, 3000])).value
    assert values[[0, 2]] == pytest.approx([scores.mean(), scores.max()])
    assert values[0] < values[1] < values[2]


def test_the_median_curve_and_its_band_are_opdas(rng):
    scores, budgets = rng.random(30), np.arange(1, 31)
    curve = tuning_curves.median_curve(scores, budgets, alpha=0.1)
    generator = tuning_curves._generator(30)  # its limits are kept by generator
    bands = EmpiricalDistribution.confidence_bands(
        scores, 0.9, a=0, b=1, generator=generator, method="ld_equal_tailed", n_jobs=1
    )
    high, value, low = (band.quantile_tuning_curve(budgets) for band in bands)
    assert (curve.value == value).all()
    assert (curve.low == low).all()
    assert (curve.high[~np.isnan(curve.high)] == high[high < 1]).all()
    assert np.isnan(curve.high).sum() == (high == 1).sum() > 0


def test_the_upper_limit_of_the_median_is_open_from_four_trials_on_at_thirty(rng):
    curve = tuning_curves.median_curve(rng.random(30), np.arange(1, 31))
    assert np.isnan(curve.high).tolist() == [n >= 4 for n in range(1, 31)]
    assert (curve.low < curve.value).all()
    assert (curve.value[:3] < curve.high[:3]).all()
    assert curve.method == "ld_equal_tailed"


def test_above_two_hundred_trials_the_band_is_dkw_and_says_so(rng):
    scores = rng.random(201)
    curve = tuning_curves.median_curve(scores, np.array([1]))
    assert curve.method == "dkw"
    reach = np.sqrt(np.log(2 / 0.05) / (2 * 201))
    assert (scores <= curve.low[0]).mean() == pytest.approx(0.5 - reach, abs=1 / 201)
    assert (scores <= curve.high[0]).mean() == pytest.approx(0.5 + reach, abs=1 / 201)


def test_ties_widen_the_band_and_raise_no_warning(rng):
    scores, budgets = rng.random(30), np.arange(1, 31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tied = tuning_curves.median_curve(np.floor(scores * 10) / 10, budgets)
    exact = tuning_curves.median_curve(scores, budgets)
    # Rounding down is monotone, so the tied band must be the rounded one.
    assert tied.low == pytest.approx(np.floor(exact.low * 10) / 10)
    assert (np.isnan(tied.high) == np.isnan(exact.high)).all()


def test_equal_calls_give_equal_bands_in_any_order(rng):
    scores = rng.random(31)
    tuning_curves._generator.cache_clear()
    first = tuning_curves.median_curve(scores, EACH)
    tuning_curves._generator.cache_clear()
    tuning_curves.median_curve(rng.random(12), EACH)
    again = tuning_curves.median_curve(scores, EACH)
    assert np.array_equal(first.low, again.low)
    assert np.array_equal(first.high, again.high, equal_nan=True)


@pytest.mark.parametrize(
    ("sampler", "pruner", "told"),
    [
        ("tpe", "none", "sampler must be random .* not tpe"),
        ("cmaes", "none", "not cmaes"),
        ("random", "median", "pruner must be none or threshold .* not median"),
        ("random", "asha", "not asha"),
        ("random", "hyperband", "not hyperband"),
    ],
)
def test_dependent_trials_raise(sampler, pruner, told):
    with pytest.raises(ValueError, match=told):
        tuning_curves.check_independent(sampler, pruner)


def test_independent_trials_pass():
    tuning_curves.check_independent("random", "none")
    tuning_curves.check_independent("random", "threshold")


@pytest.mark.parametrize("draw", [tuning_curves.mean_curve, tuning_curves.median_curve])
def test_a_failed_trial_needs_a_score(draw):
    with pytest.raises(ValueError, match="trivial baseline"):
        draw(np.array([0.5, -np.inf]), np.array([1]))


def test_trial_budgets_are_whole_ascending_and_end_at_the_last():
    assert tuning_curves.trial_budgets(0).tolist() == []
    assert tuning_curves.trial_budgets(100).tolist() == list(range(1, 101))
    many = tuning_curves.trial_budgets(1000)
    assert many[-1] == 1000
    assert (np.diff(many) > 0).all()
    assert len(many) < 210


def test_the_test_curve_is_the_pooled_estimate_up_to_a_sixth_of_the_trials(rng):
    trials, _ = related(rng, 65)
    curve = tuning_curves.picked_curve(trials, alpha=0.1)
    assert curve.budget.tolist() == list(range(1, 11))
    expected = shared_search.estimate(trials, 7)
    assert (curve.value[6], curve.low[6], curve.high[6]) == (
        expected.value,
        *expected.interval(0.1),
    )
    assert len(tuning_curves.picked_curve(PICKED)) == 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ([1, 1, -1, -2, -2], [2, 2, 1, -1, -1], (2, 4)),
        ([-2, -1, 1, -2, 1], [-1, 1, 2, -1, 2], (1, 3)),
        ([1, -1, -1, -1, 1], [2, 1, 1, 1, 2], None),
        ([-1, -1, -1, -1, -1], [1, 1, 1, 1, 1], None),
        ([1, 0, 0, 0, 0], [2, 0, 0, 0, 0], None),
        ([np.nan, 1, -2, -2, -2], [np.nan, 2, -1, -1, np.nan], (2, 3)),
    ],
)
def test_the_order_changes_only_from_one_sure_side_to_the_other(low, high, expected):
    assert (
        tuning_curves.order_change(
            Curve(EACH.astype(float), np.zeros(5), np.array(low, float), np.array(high, float))
        )
        == expected
    )


def test_a_steady_arm_is_overtaken_by_a_varied_one(rng):
    steady = 0.80 + rng.normal(0, 0.002, 300)
    varied = np.where(rng.random(300) < 0.3, 0.83, 0.70) + rng.normal(0, 0.002, 300)
    a, b = Pool(steady, steady), Pool(varied, varied)
    gaps = tuning_curves.gap_curve(a, b, paired=True)
    n1, n2 = tuning_curves.order_change(gaps)
    # The truth: steady leads while 1 - .7^n < (.80 - .70) / (.83 - .70), up to n = 4.
    assert 1 <= n1 <= 4 < n2 <= 8
    assert (
        tuning_curves.order_change(
            tuning_curves.gap_curve(a, Pool(steady - 0.01, steady - 0.01), paired=True)
        )
        is None
    )
    assert gaps.value[9] == pytest.approx(shared_search.gap(a, b, 10, True).value)


@pytest.mark.parametrize("budget", [1.0, 6.0, 9.0, 14.0, 25.0, 100.0])
def test_the_cost_curve_is_the_mean_over_every_order(rng, budget):
    trials, costs = related(rng, 5)
    expected = searched(trials, list(range(5)), costs, budget)
    assert tuning_curves.cost_curve(trials, costs, np.array([budget])).value[0] == pytest.approx(
        expected, abs=1e-12
    )


def test_the_interval_of_the_cost_curve_is_the_jackknifes(rng):
    trials, costs = related(rng, 6)
    budget = 1.4 * costs.mean()
    left_out = [searched(trials, [j for j in range(6) if j != i], costs, budget) for i in range(6)]
    half = stats.t.ppf(0.975, 2 * (6 / 1.4 - 1)) * np.sqrt(
        5 / 6 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)
    )
    curve = tuning_curves.cost_curve(trials, costs, np.array([budget]))
    assert curve.value - curve.low == pytest.approx([half], abs=1e-12)
    assert curve.high - curve.value == pytest.approx([half], abs=1e-12)


def test_at_equal_costs_the_cost_curve_is_the_pooled_estimate(rng):
    trials, _ = related(rng, 7)
    curve = tuning_curves.cost_curve(trials, np.full(7, 2.0), np.array([2.0, 5.0, 6.0, 14.0]))
    assert curve.value == pytest.approx(
        [shared_search.picked(trials, n) for n in (1, 2, 3, 7)], abs=1e-12
    )
    assert np.isnan(curve.low).tolist() == [False, True, True, True]


@pytest.mark.parametrize("trials", [40, 210])
def test_what_no_order_reaches_is_left_aside(rng, monkeypatch, trials):
    made, costs = related(rng, trials)
    # One trial dearer than all budgets: deleted, its order goes on far beyond where it had ended.
    costs[3] = 500.0
    costs[5:9] = 0.0
    budgets = tuning_curves.covered_budgets(costs, tuning_curves.cost_budgets([costs]))
    assert len(budgets) > 10
    short = tuning_curves.cost_curve(made, costs, budgets)
    monkeypatch.setattr(tuning_curves, "_reach", lambda *_: trials)
    whole = tuning_curves.cost_curve(made, costs, budgets)
    assert short.value == pytest.approx(whole.value, abs=1e-12)
    assert short.low == pytest.approx(whole.low, abs=1e-12)


def test_random_orders_come_near_the_exact_mean_and_are_repeatable(rng):
    trials, _ = related(rng, 60)
    first = tuning_curves.cost_curve(trials, np.ones(60), np.array([1.0, 5.0, 10.0]))
    exact = [shared_search.estimate(trials, n) for n in (1, 5, 10)]
    assert first.value == pytest.approx([one.value for one in exact], abs=0.002)
    assert first.high - first.low == pytest.approx(
        [2 * stats.t.ppf(0.975, one.df) * one.se for one in exact], rel=0.15
    )
    again = tuning_curves.cost_curve(trials, np.ones(60), np.array([1.0, 5.0, 10.0]))
    assert np.array_equal(first.low, again.low)


def test_fifty_blocks_left_out_give_at_most_forty_nine_degrees_of_freedom(rng):
    trials, costs = related(rng, 300)
    budget = np.array([2 * costs.mean()])
    wide, narrow = (
        tuning_curves.cost_curve(trials, costs, budget, alpha=alpha) for alpha in (0.05, 0.32)
    )
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx([stats.t.ppf(0.975, 49) / stats.t.ppf(0.84, 49)], rel=1e-9)


@pytest.mark.parametrize(
    "costs", [np.zeros(5), np.array([1.0, 1, 1, 1, -1]), np.ones(4), np.array([1, 1, 1, 1, np.nan])]
)
def test_invalid_costs_raise(costs):
    with pytest.raises(ValueError, match="costs must be 5 numbers"):
        tuning_curves.cost_curve(PICKED, costs, np.array([1.0]))


def test_arms_share_budgets_and_cover_a_part():
    cheap, dear = np.full(60, 2.0), np.full(60, 10.0)
    shared = tuning_curves.cost_budgets([cheap, dear])
    assert (shared[0], shared[-1]) == (2.0, 100.0)
    assert tuning_curves.covered_budgets(cheap, shared).max() <= 20.0
    assert tuning_curves.covered_budgets(dear, shared).min() >= 10.0
    assert set(tuning_curves.covered_budgets(cheap, shared)) & set(
        tuning_curves.covered_budgets(dear, shared)
    )
    assert len(tuning_curves.cost_budgets([np.ones(5)])) == 0
    assert len(tuning_curves.covered_budgets(np.zeros(60), shared)) == 0


def test_repeated_searches_have_the_mean_running_best_with_students_interval():
    scores = np.array([[0.6, 0.5, 0.9], [0.7, 0.8, 0.5], [0.5, 0.9, 0.9]])
    curve = tuning_curves.repeats_curve(scores)
    assert curve.budget.tolist() == [1, 2, 3]
    assert curve.value == pytest.approx([0.6, 2.3 / 3, 2.6 / 3])
    interval = stats.ttest_1samp([0.6, 0.8, 0.9], 0).confidence_interval(0.95)
    assert (curve.low[1], curve.high[1]) == pytest.approx(tuple(interval))


def test_a_pruned_trial_may_have_reached_what_no_better_ones_did():
    scores = np.array([0.80, 0.90, 0.95, 0.70, 0.60, 0.99, 0.5])
    histories = [
        np.array(
            [0.75, 0.80]
        ),  # pruned: 0 is no worse at its second epoch than 1 and 3, 2 is better, 5 failed
        np.array([0.70, 0.80, 0.90]),
        np.array([0.70, 0.85, 0.95]),
        np.array([0.70]),  # stopped by itself after one epoch
        np.array([0.60]),  # pruned before anyone that weak
        np.array([0.60, 0.60]),
        np.empty(0),
    ]
    pruned = np.array([True, False, False, False, True, False, False])
    failed = np.array([False] * 5 + [True, True])
    assert tuning_curves.completed(scores, pruned, failed, histories).tolist() == [
        0.90,
        0.90,
        0.95,
        0.70,
        0.60,
        0.99,
        0.5,
    ]
    assert (
        tuning_curves.completed(scores, np.zeros(7, bool), failed, histories).tolist()
        == scores.tolist()
    )
