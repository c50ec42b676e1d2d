"""Coverage of bands and intervals over worlds whose truth is known, and a handling of pruned trials that must fail.

A random configuration falls short of 88 points by Gamma(1.5, 2), or is broken (one in ten, U(8, 35)). The stated coverage is .95;
a bar lies two to three standard errors of simulation below.
"""

import numpy as np
import pytest
from scipy import stats

from pipeline.evidence import curves
from pipeline.evidence.pool import Pool

pytestmark = pytest.mark.simulation

SAMPLES, TRIALS = 500, 50
# With fractions of a trial the curve shows the whole distribution, and the exact band is exact.
BUDGETS = np.concatenate([np.log(0.5) / np.log(np.linspace(0.001, 0.999, 999)), [1, 2, 3, 5, 7, 10, 20, 30, 50]])
BROKEN = 0.1


def reached(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Final accuracies, fractions."""
    fine = rng.gamma(1.5, 2.0, shape)
    return (88 - np.where(rng.random(shape) < BROKEN, rng.uniform(8, 35, shape), fine)) / 100


def true_medians() -> np.ndarray:
    """The median best of n of `reached`, from its distribution function."""
    points = np.linspace(0.5, 0.88, 200_001)
    short = 88 - 100 * points
    above = (1 - BROKEN) * stats.gamma.cdf(short, 1.5, scale=2.0) + BROKEN * np.clip((short - 8) / 27, 0, 1)
    return np.array([points[np.searchsorted(1 - above, 0.5 ** (1 / n))] for n in BUDGETS])


def covers(scores: np.ndarray, truth: np.ndarray, kept: np.ndarray) -> bool:
    """Whether the whole band, at the kept budgets, holds the truth; an open side holds everything."""
    curve = curves.median_curve(scores, BUDGETS)
    inside = (np.nan_to_num(curve.low, nan=0) <= truth + 1e-9) & (truth - 1e-9 <= np.nan_to_num(curve.high, nan=1))
    return bool(inside[kept].all())


@pytest.mark.parametrize("method", ["ld_equal_tailed", "dkw"])
@pytest.mark.parametrize("reviews", [None, 5000, 500])
def test_the_band_of_the_median_holds_the_truth(monkeypatch, method, reviews):
    """At all budgets at once; also where validation counts few reviews and ties are many."""
    monkeypatch.setattr(curves, "MOST_EXACT", TRIALS if method == "ld_equal_tailed" else 0)
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
    """At which epoch each trial of one sample ends, int [trials]: below the median of the earlier ones it is stopped."""
    trials, epochs = histories.shape
    ends = np.full(trials, epochs - 1)
    for trial in range(5, trials):
        for epoch in range(epochs - 1):
            others = histories[:trial][ends[:trial] >= epoch, epoch]
            if histories[trial, epoch] < np.median(others):
                ends[trial] = epoch
                break
    return ends


def test_pruned_trials_count_with_their_best_so_far_and_dropping_them_fails():
    rng, truth, shown = np.random.default_rng(2), true_medians(), BUDGETS >= 5
    final = reached(rng, (SAMPLES, TRIALS))
    kept, dropped, share = [], [], []
    for histories in learning(rng, final):
        ends = median_rule(histories)
        scores, whole = histories[np.arange(TRIALS), ends], ends == histories.shape[1] - 1
        share.append(1 - whole.mean())
        kept.append(covers(scores, truth, shown))
        if len(dropped) < 200:  # every number of trials left has limits of its own
            dropped.append(covers(scores[whole], truth, shown))
    print(f"pruned {np.mean(share):.2f}: kept {np.mean(kept):.3f}, dropped {np.mean(dropped):.3f}")
    assert np.mean(share) > 0.3
    assert np.mean(kept) >= 0.93
    assert np.mean(dropped) < 0.90


def world(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Validation, test and cost of trials; what costs more is better, broken ones stop early."""
    truth = reached(rng, shape)
    seen = truth + rng.normal(0, 0.004, shape)
    cost = np.clip(np.round(6 + 80 * (truth - 0.85) + rng.normal(0, 1.5, shape)), 1, 10)
    return np.round((seen + rng.normal(0, 0.0035, shape)) * 5000) / 5000, seen + rng.normal(0, 0.0015, shape), cost


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


def test_the_interval_of_the_cost_curve_holds_the_truth():
    rng, budgets, worlds = np.random.default_rng(4), np.array([12.0, 30.0, 55.0]), 150
    truth, inside = true_costs(budgets), np.zeros(3)
    for validation, test, cost in zip(*world(rng, (worlds, 60)), strict=True):
        curve = curves.cost_curve(Pool(validation, test), cost, budgets)
        inside += (curve.low <= truth) & (truth <= curve.high)
    print(f"cost curve at {budgets}: {inside / worlds}")
    assert (inside / worlds >= 0.90).all()
