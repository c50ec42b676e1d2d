"""The pooled estimator against enumeration of every search, printed digits, and opda."""

from itertools import combinations, product

import numpy as np
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy import special, stats

from pipeline.statistics import decision
from pipeline.statistics import shared_search as pool
from pipeline.statistics.estimate import Estimate, jackknife_variance
from pipeline.statistics.shared_search import Pool

PRINTED = Pool(np.array([0.70, 0.90, 0.80, 0.60, 0.85]), np.array([0.68, 0.84, 0.83, 0.61, 0.86]))
FAILED = Pool(np.insert(PRINTED.validation, 3, -np.inf), np.insert(PRINTED.test, 3, 0.5))


def drawn(seed: int, trials: int, kind: str = "plain") -> Pool:
    """Trials of which none, many, or also failed ones are equal in validation."""
    generator = np.random.default_rng(seed)
    validation, test = generator.normal(size=trials), generator.normal(size=trials)
    if kind != "plain":
        validation, test = validation.round(), test.round(1)
    if kind == "failed":
        validation[[0, trials // 2]], test[[0, trials // 2]] = -np.inf, 0.5
    return Pool(validation, test)


def picks(pool: Pool, subset: tuple[int, ...]) -> np.ndarray:
    """Test scores that one search can pick: those of its best trials, equally likely."""
    chosen = np.array(subset)
    return pool.test[chosen[pool.validation[chosen] == pool.validation[chosen].max()]]


def enumerated(pool: Pool, budget: int) -> float:
    return float(
        np.mean([picks(pool, subset).mean() for subset in combinations(range(len(pool)), budget)])
    )


KINDS = pytest.mark.parametrize("kind", ["plain", "tied", "failed"])


@KINDS
@pytest.mark.parametrize("trials", [1, 2, 8, 9])
def test_the_picked_score_is_the_mean_over_every_search(kind, trials):
    for budget, seed in product(range(1, trials + 1), range(3)):
        drawing = drawn(seed, trials, kind)
        assert pool.picked(drawing, budget) == pytest.approx(enumerated(drawing, budget), abs=1e-12)


@KINDS
@pytest.mark.parametrize("trials", [2, 8, 60])
def test_deleting_all_at_once_is_deleting_one_by_one(kind, trials):
    for budget in {1, 2, trials // 6 + 1, trials - 1} & set(range(1, trials)):
        drawing = drawn(budget, trials, kind)
        one_by_one = [pool.picked(drawing.without(np.array([i])), budget) for i in range(trials)]
        assert pool.deleted(drawing, budget) == pytest.approx(one_by_one, abs=1e-12)


def test_all_trials_equal_in_validation_share_alike():
    drawing = Pool(np.zeros(7), drawn(0, 7).test)
    assert pool.trial_weights(drawing.validation, 3) == pytest.approx(np.full(7, 1 / 7), abs=1e-15)
    assert pool.deleted(drawing, 3) == pytest.approx(
        (drawing.test.sum() - drawing.test) / 6, abs=1e-12
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (PRINTED, [0.764, 0.828, 0.845, 0.844, 0.840]),
        (FAILED, [0.72, 0.806667, 0.8365, 0.844667, 0.843333, 0.84]),
    ],
)
def test_the_picked_score_has_its_printed_digits(scores, expected):
    assert [pool.picked(scores, n) for n in range(1, len(scores) + 1)] == pytest.approx(
        expected, abs=5e-7
    )


def test_picking_on_the_score_itself_is_opdas_unbiased_tuning_curve():
    scores = np.array([0.1, 0.8, 0.5, 0.4, 0.6])
    curve = [pool.picked(Pool(scores, scores), n) for n in range(1, 6)]
    assert curve == pytest.approx([0.48, 0.64, 0.71, 0.76, 0.80], abs=1e-12)
    assert curve == pytest.approx(
        EmpiricalDistribution(scores).u_tuning_curve(np.arange(1, 6)), abs=1e-12
    )


def test_the_weights_have_their_printed_digits():
    weights = pool.rank_weights(60, 10)
    assert weights[:5] == pytest.approx(
        [0.166667, 0.141243, 0.119326, 0.100485, 0.084336], abs=5e-7
    )
    assert weights[:20].sum() == pytest.approx(0.988757, abs=5e-7)


@pytest.mark.parametrize(("trials", "budget"), [(1, 1), (60, 10), (60, 59), (1000, 100)])
def test_the_weights_are_ratios_of_binomials(trials, budget):
    expected = special.comb(trials - 1 - np.arange(trials), budget - 1) / special.comb(
        trials, budget
    )
    assert pool.rank_weights(trials, budget) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("budget", [1, 2, 333, 1000, 1999, 2000])
def test_the_weights_of_two_thousand_trials_sum_to_one(budget):
    weights = pool.rank_weights(2000, budget)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights[0] == budget / 2000
    assert (np.diff(weights) <= 0).all()


def test_a_search_of_all_trials_picks_the_best_and_one_of_a_single_trial_any():
    assert pool.rank_weights(60, 60).tolist() == [1.0] + [0.0] * 59
    assert pool.rank_weights(60, 1) == pytest.approx(np.full(60, 1 / 60), abs=1e-15)


@pytest.mark.parametrize("budget", [0, 61])
def test_budgets_outside_the_pool_raise(budget):
    with pytest.raises(ValueError, match=f"from 1 to the number of trials, 60, not {budget}"):
        pool.rank_weights(60, budget)


@pytest.mark.parametrize("score", [0.5, 0.8, 0.8317, 83.17])
def test_trials_that_all_score_the_same_have_that_score_without_error(score):
    found = pool.estimate(Pool(drawn(0, 60).validation, np.full(60, score)), 10)
    assert (found.value, found.variance) == (score, 0)


@pytest.mark.parametrize("paired", [True, False])
def test_two_arms_that_always_score_the_same_differ_in_nothing(paired):
    a, b = (Pool(drawn(seed, 60).validation, np.full(60, 0.5)) for seed in (0, 1))
    found = pool.gap(a, b, 10, paired)
    assert (found.value, found.variance) == (0, 0)
    assert decision.judge([found], 0.01, 0.05)[0].word == decision.EQUIVALENT


@KINDS
def test_the_paired_error_is_the_jackknife_of_the_gap(kind):
    a, b = drawn(0, 12, kind), drawn(1, 12, kind)
    gaps = [
        pool.picked(a.without(np.array([i])), 3) - pool.picked(b.without(np.array([i])), 3)
        for i in range(12)
    ]
    found = pool.gap(a, b, 3, paired=True)
    assert found.variance == pytest.approx(11 / 12 * ((gaps - np.mean(gaps)) ** 2).sum(), rel=1e-10)
    assert found.value == pytest.approx(enumerated(a, 3) - enumerated(b, 3), abs=1e-12)
    assert found.df == 2 * (12 / 3 - 1)


def test_the_unpaired_error_is_the_sum_of_both_arms():
    a, b = drawn(0, 24), drawn(1, 24)
    alone = pool.estimate(a, 4).variance + pool.estimate(b, 4).variance
    assert pool.gap(a, b, 4, paired=False).variance == pytest.approx(alone, rel=1e-12)


def test_a_search_of_one_trial_has_the_error_of_a_mean():
    trials = drawn(0, 30)
    assert pool.estimate(trials, 1).variance == pytest.approx(
        trials.test.var(ddof=1) / 30, rel=1e-10
    )


def test_pools_of_unequal_size_raise():
    with pytest.raises(ValueError, match="equally large, not 60 and 59 trials"):
        pool.gap(drawn(0, 60), drawn(0, 59), 10, paired=True)


@pytest.mark.parametrize(
    ("validation", "test", "told"),
    [
        ([0.5, 0.6], [0.5], "equally long"),
        ([[0.5]], [[0.5]], "equally long"),
        ([np.nan], [0.5], "a failed trial has validation -inf"),
        ([-np.inf], [-np.inf], "the trivial baseline as test"),
    ],
)
def test_a_pool_rejects_scores_that_are_not_numbers(validation, test, told):
    with pytest.raises(ValueError, match=told):
        Pool(np.array(validation), np.array(test))


@KINDS
@pytest.mark.parametrize("budget", [1, 3, 6])
def test_the_probability_of_a_win_is_that_over_every_pair_of_searches(kind, budget):
    a, b = drawn(0, 6, kind), drawn(1, 6, kind)
    subsets = list(combinations(range(6), budget))
    wins = [
        np.mean(
            (picks(a, ours)[:, None] > picks(b, theirs))
            + 0.5 * (picks(a, ours)[:, None] == picks(b, theirs))
        )
        for ours, theirs in product(subsets, subsets)
    ]
    assert pool._above(a, b, budget) == pytest.approx(np.mean(wins), abs=1e-12)


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_a_probability_is_the_jackknifes_on_the_logit(paired):
    a, b = drawn(0, 40, "tied"), drawn(1, 40, "tied")
    ones = [np.array([i]) for i in range(40)]
    deletions = (
        [[(a.without(i), b.without(i)) for i in ones]]
        if paired
        else [[(a.without(i), b) for i in ones], [(a, b.without(i)) for i in ones]]
    )
    variance = sum(
        jackknife_variance(special.logit([pool._above(*pair, 5) for pair in part]))
        for part in deletions
    )
    whole, low, high = pool.win_probability(a, b, 5, paired, 0.05)
    half = stats.t.ppf(0.975, 14) * np.sqrt(variance)
    assert (low, high) == pytest.approx(
        special.expit(special.logit(whole) + np.array([-half, half])), abs=1e-12
    )


def test_leaving_out_blocks_is_near_leaving_out_one_by_one(monkeypatch):
    a, b = drawn(0, 300), drawn(1, 300)
    blocks = pool.win_probability(a, b, 30, True, 0.05)
    monkeypatch.setattr(pool, "MOST_DELETIONS", 300)
    assert blocks == pytest.approx(pool.win_probability(a, b, 30, True, 0.05), abs=0.03)


@pytest.mark.parametrize("paired", [True, False])
def test_swapped_arms_win_the_rest(paired):
    a, b = drawn(0, 30, "tied"), drawn(1, 30, "tied")
    whole, low, high = pool.win_probability(a, b, 5, paired, 0.05)
    assert pool.win_probability(b, a, 5, paired, 0.05) == pytest.approx(
        (1 - whole, 1 - high, 1 - low), abs=1e-9
    )


def test_an_arm_that_always_wins_may_by_its_few_searches_still_lose():
    """60 trials are six searches of ten; for six wins of six Clopper and Pearson give [.54, 1]."""
    below, above = (
        Pool(np.arange(60.0), np.arange(60.0)),
        Pool(np.arange(60.0), np.arange(60.0) + 100),
    )
    expected = stats.binomtest(6, 6).proportion_ci(0.95, "exact")
    assert pool.win_probability(above, below, 10, True, 0.05) == pytest.approx(
        (1, expected.low, 1), abs=1e-12
    )
    assert pool.win_probability(below, above, 10, True, 0.05) == pytest.approx(
        (0, 0, 1 - expected.low), abs=1e-12
    )


@KINDS
def test_the_sd_of_searches_is_that_over_every_search(kind):
    trials = drawn(0, 8, kind)
    every = [picks(trials, subset) for subset in combinations(range(8), 3)]
    mean = np.mean([pick.mean() for pick in every])
    assert pool.search_sd(trials, 3) == pytest.approx(
        np.sqrt(np.mean([((pick - mean) ** 2).mean() for pick in every])), abs=1e-12
    )


def chance(trials: int, variance: float, groups: float = 0.0) -> float:
    """Trials needed at a margin of 0.5 with a budget of 10, from the variance at 60 trials."""
    search, df = variance * 60 / trials, 2 * (trials / 10 - 1)
    freedom = (search + groups) ** 2 * df / search**2
    return float(stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, 0.5 / np.sqrt(search + groups)))


@pytest.mark.parametrize("groups", [0.0, 0.02])
def test_the_trials_needed_are_the_fewest_with_the_chance_wanted(groups):
    found = pool.trials_needed(Estimate(0.1, 0.05, 10), groups, 60, 10, 0.5, 0.05)
    safe = 0.05 * 10 / stats.chi2.ppf(0.2, 10)
    assert chance(found["likely"] - 1, 0.05, groups) < 0.8 <= chance(found["likely"], 0.05, groups)
    assert chance(found["safe"] - 1, safe, groups) < 0.8 <= chance(found["safe"], safe, groups)


def test_the_trials_needed_do_not_depend_on_the_unit():
    points = pool.trials_needed(Estimate(0.1, 0.05, 10), 0.02, 60, 10, 0.5, 0.05)
    assert pool.trials_needed(Estimate(0.001, 0.05e-4, 10), 0.02e-4, 60, 10, 0.005, 0.05) == points


def test_the_trials_needed_keep_four_searches_a_pool():
    assert pool.trials_needed(Estimate(0.0, 1e-6, 10), 0.0, 60, 10, 0.5, 0.05) == {
        "likely": 40,
        "safe": 40,
    }


def test_no_number_of_trials_is_enough_if_the_groups_leave_too_much_error():
    assert pool.trials_needed(Estimate(0.0, 0.05, 10), (0.5 / 2.8) ** 2, 60, 10, 0.5, 0.05) is None
    assert (
        pool.trials_needed(Estimate(0.0, 0.05, 10), (0.5 / 2.81) ** 2, 60, 10, 0.5, 0.05)["likely"]
        > 5000
    )


def test_without_search_error_the_groups_decide():
    exact = Estimate(0.0, 0.0, 10)
    assert pool.trials_needed(exact, (0.5 / 2.9) ** 2, 60, 10, 0.5, 0.05) == {
        "likely": 40,
        "safe": 40,
    }
    assert pool.trials_needed(exact, (0.5 / 2.7) ** 2, 60, 10, 0.5, 0.05) is None
