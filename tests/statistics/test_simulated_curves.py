"""Coverage of bands and intervals in simulated worlds, and a method for pruned trials that fails.

A random configuration is below 88 points by Gamma(1.5, 2), or is broken (one in ten, U(8, 35)).
The nominal coverage is .95; limits are two to three standard errors of simulation below.
"""

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics import tuning_curves
from pipeline.statistics.shared_search import Pool

pytestmark = pytest.mark.simulation

SAMPLES, TRIALS = 500, 50
# With fractions of a trial the curve shows the whole distribution, and the exact band is exact.
BUDGETS = np.concatenate(
    [np.log(0.5) / np.log(np.linspace(0.001, 0.999, 999)), [1, 2, 3, 5, 7, 10, 20, 30, 50]]
)
BROKEN = 0.1
WITHIN = tuning_curves._within


def reached(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Final accuracies, fractions."""
    fine = rng.gamma(1.5, 2.0, shape)
    return (88 - np.where(rng.random(shape) < BROKEN, rng.uniform(8, 35, shape), fine)) / 100


def true_medians() -> np.ndarray:
    """The median best of n of `reached`, from its distribution function."""
    points = np.linspace(0.5, 0.88, 200_001)
    short = 88 - 100 * points
    above = (1 - BROKEN) * stats.gamma.cdf(short, 1.5, scale=2.0) + BROKEN * np.clip(
        (short - 8) / 27, 0, 1
    )
    return np.array([points[np.searchsorted(1 - above, 0.5 ** (1 / n))] for n in BUDGETS])


def covers(scores: np.ndarray, truth: np.ndarray, kept: np.ndarray) -> bool:
    """Whether the whole band, at some budgets, covers the truth; an open side covers everything."""
    curve = tuning_curves.median_curve(scores, BUDGETS)
    inside = (np.nan_to_num(curve.low, nan=0) <= truth + 1e-9) & (
        truth - 1e-9 <= np.nan_to_num(curve.high, nan=1)
    )
    return bool(inside[kept].all())


@pytest.mark.parametrize("method", ["ld_equal_tailed", "dkw"])
@pytest.mark.parametrize("reviews", [None, 5000, 500])
def test_the_band_of_the_median_holds_the_truth(monkeypatch, method, reviews):
    """At all budgets at once; also where validation counts few reviews and ties are many."""
    monkeypatch.setattr(tuning_curves, "MOST_EXACT", TRIALS if method == "ld_equal_tailed" else 0)
    rng, truth = np.random.default_rng(1), true_medians()
    scores = reached(rng, (SAMPLES, TRIALS))
    if reviews:
        scores, truth = (np.round(one * reviews) / reviews for one in (scores, truth))
    rate = np.mean([covers(sample, truth, np.ones(len(BUDGETS), bool)) for sample in scores])
    print(f"{method}, {reviews} reviews: {rate:.3f}")
    assert rate >= 0.93
    if method == "ld_equal_tailed" and not reviews:
        assert rate <= 0.97


def learning(rng: np.random.Generator, final: np.ndarray, epochs: int = 6) -> np.ndarray:
    """Best so far after every epoch, rising to the final score: float [samples, trials, epochs]."""
    left = np.exp(-np.arange(epochs) * rng.uniform(0.5, 1.5, (*final.shape, 1)))
    early = final[..., None] - (final[..., None] - 0.5) * left * 0.6
    early[..., -1] = final
    return np.maximum.accumulate(early, axis=-1)


def median_rule(histories: np.ndarray) -> np.ndarray:
    """The last epoch of each trial, int [samples, trials].

    A trial stops below the median of the earlier trials of its sample.
    """
    samples, trials, epochs = histories.shape
    ends = np.full((samples, trials), epochs - 1)
    rows = np.arange(samples)
    for trial in range(5, trials):
        for epoch in range(epochs - 1):
            reached_it = ends[:, :trial] >= epoch
            others = np.sort(np.where(reached_it, histories[:, :trial, epoch], np.inf), axis=1)
            count = reached_it.sum(axis=1)
            median = (others[rows, (count - 1) // 2] + others[rows, count // 2]) / 2
            running = ends[:, trial] == epochs - 1
            ends[running & (histories[:, trial, epoch] < median), trial] = epoch
    return ends


def test_pruned_trials_count_with_their_best_so_far_and_dropping_them_fails():
    rng, truth, shown = np.random.default_rng(2), true_medians(), BUDGETS >= 5
    histories = learning(rng, reached(rng, (SAMPLES, TRIALS)))
    ends = median_rule(histories)
    whole = ends == histories.shape[2] - 1
    scores = np.take_along_axis(histories, ends[..., None], -1)[..., 0]
    kept = [covers(sample, truth, shown) for sample in scores]
    # Every number of trials left has limits of its own.
    dropped = [
        covers(sample[ended], truth, shown)
        for sample, ended in zip(scores[:200], whole[:200], strict=True)
    ]
    print(
        f"pruned {1 - whole.mean():.2f}: kept {np.mean(kept):.3f}, dropped {np.mean(dropped):.3f}"
    )
    assert 1 - whole.mean() > 0.3
    assert np.mean(kept) >= 0.93
    assert np.mean(dropped) < 0.90


def world(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Validation, test and cost of trials; what costs more is better, broken ones stop early."""
    truth = reached(rng, shape)
    seen = truth + rng.normal(0, 0.004, shape)
    cost = np.clip(np.round(6 + 80 * (truth - 0.85) + rng.normal(0, 1.5, shape)), 1, 10)
    return (
        np.round((seen + rng.normal(0, 0.0035, shape)) * 5000) / 5000,
        seen + rng.normal(0, 0.0015, shape),
        cost,
    )


def true_costs(budgets: np.ndarray) -> np.ndarray:
    """What 40,000 searches that end at each budget score on test."""
    validation, test, cost = world(np.random.default_rng(3), (40_000, 60))
    spent, found = cost.cumsum(axis=1), []
    for budget in budgets:
        inside = spent <= budget
        inside[:, 0] = True
        best = np.where(inside, validation, -np.inf).argmax(axis=1)
        found.append(test[np.arange(len(test)), best].mean())
    return np.array(found)


def without_each(
    trials: Pool, costs: np.ndarray, budgets: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """`tuning_curves._within` with each trial left out, float [trials, budgets], for whole costs.

    The search changes only in orders where the trial left out is among those within the budget, or
    the next one. In the others at most the mean of a set of tied trials changes.
    """
    _, group = np.unique(-trials.validation, return_inverse=True)
    sizes, sums = np.bincount(group), np.bincount(group, weights=trials.test)

    def mean(chosen: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """Mean test score of a group without one trial."""
        own = group[left_out] == chosen
        return (sums[chosen] - own * trials.test[left_out]) / np.maximum(sizes[chosen] - own, 1)

    spent = costs[orders].cumsum(axis=1)
    bought = np.maximum((spent[..., None] <= budgets).sum(axis=1), 1)
    kept = np.take_along_axis(np.minimum.accumulate(group[orders], axis=1), bought - 1, axis=1)
    total = np.array(
        [mean(chosen, np.arange(len(group))[:, None]).sum(axis=1) for chosen in kept.T]
    ).T
    for position in range(orders.shape[1]):
        ranked = group[orders]
        ranked[:, position] = len(sizes)  # behind all
        best = np.minimum.accumulate(ranked, axis=1)
        for b, budget in enumerate(budgets):
            (rows,) = np.nonzero(bought[:, b] >= position)
            left_out = orders[rows, position]
            within = (spent[rows] <= budget + costs[left_out, None]).sum(axis=1)
            changed = best[rows, np.maximum(within, 2 if position == 0 else 1) - 1]
            change = mean(changed, left_out) - mean(kept[rows, b], left_out)
            total[:, b] += np.bincount(left_out, weights=change, minlength=len(group))
    return total / len(orders)


class AllAtOnce:
    """Replaces `tuning_curves._within`, called first for all trials, then with each left out."""

    def __call__(
        self,
        trials: Pool,
        costs: np.ndarray,
        budgets: np.ndarray,
        orders: np.ndarray,
        left_out: np.ndarray,
    ) -> np.ndarray:
        if len(left_out):
            return self.values[left_out[0]]
        self.values = without_each(trials, costs, budgets, orders)
        return WITHIN(trials, costs, budgets, orders, left_out)


@pytest.mark.parametrize("steps", [5000, 100])
def test_a_cost_curve_is_the_same_all_at_once(monkeypatch, steps):
    """Also with tied trials, and with a budget below the cost of any trial."""
    validation, test, cost = world(np.random.default_rng(5), (30,))
    trials, budgets = (
        Pool(np.round(validation * steps) / steps, test),
        np.array([0.5, 4.0, 12.0, 30.0]),
    )
    scalar = tuning_curves.cost_curve(trials, cost, budgets)
    monkeypatch.setattr(tuning_curves, "_within", AllAtOnce())
    batched = tuning_curves.cost_curve(trials, cost, budgets)
    for field in ("value", "low", "high"):
        np.testing.assert_allclose(
            getattr(batched, field), getattr(scalar, field), rtol=0, atol=1e-12
        )


def test_the_interval_of_the_cost_curve_holds_the_truth(monkeypatch):
    monkeypatch.setattr(tuning_curves, "_within", AllAtOnce())
    rng, budgets, worlds = np.random.default_rng(4), np.array([12.0, 30.0, 55.0]), 150
    truth, inside = true_costs(budgets), np.zeros(3)
    for validation, test, cost in zip(*world(rng, (worlds, 60)), strict=True):
        curve = tuning_curves.cost_curve(Pool(validation, test), cost, budgets)
        inside += (curve.low <= truth) & (truth <= curve.high)
    print(f"cost curve at {budgets}: {inside / worlds}")
    assert (inside / worlds >= 0.90).all()
