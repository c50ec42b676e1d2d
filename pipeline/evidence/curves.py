"""Tuning curves: what a search scores as its budget grows, with an interval at every budget or none where none is honest.

Three questions, three kinds of curve. Validation curves of independent trials show the effort of tuning (mean and median best of
n; Dodge et al. 2019, Tang et al. 2020, Lourie et al. 2024). Test curves show what the picked model scores, against trials or
against epochs and seconds. Trials that looked at one another (a sampler that learns, a pruner that compares) are not independent:
of those there is the running best of separate studies, and nothing else.

Ties. A validation score counts a few thousand reviews, so one trial in five ties. The mean and the median do not mind. The band of
the median is exact for continuous scores; ties make it wider, never narrower, since it is the band of the same scores with their
ties broken at random, looked at in fewer places. Test and cost curves give tied trials the mean of their test scores.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from opda.nonparametric import EmpiricalDistribution

from pipeline.evidence import pool, studies
from pipeline.evidence.estimate import Estimate, jackknife_variance
from pipeline.evidence.pool import Pool

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

INDEPENDENT_SAMPLERS = ("random",)
# A threshold looks at the run's own past alone.
OWN_HISTORY_PRUNERS = ("none", "threshold")
# The limits of the exact band come from simulation, 6 s at 200 trials and quadratic beyond.
MOST_EXACT = 200
EXACT, WIDE = "ld_equal_tailed", "dkw"
# Below so many trials a headline trial there is no verdict, and more is recommended: curves on test end where it is met.
TRIALS_PER_BUDGET = 6
MOST_PERMUTED = 7
ORDERS, FEWER_ORDERS, BLOCKS = 2000, 200, 50
BUDGETS = 24
# Every whole number of trials up to here; beyond, steps of a few per cent.
EVERY = 100


@dataclass(frozen=True)
class Curve:
    """A score against a budget.

    Attributes:
        budget: float [G], ascending: trials, epochs or seconds.
        value: float [G], fractions.
        low: float [G], lower limit of the interval, nan where it is open or there is none.
        high: float [G], upper limit, nan likewise.
        method: what the limits are, "" without.
    """

    budget: Floats
    value: Floats
    low: Floats
    high: Floats
    method: str = ""

    def __len__(self) -> int:
        return len(self.budget)

    def at(self, kept: NDArray[np.bool_]) -> "Curve":
        """The curve at some of its budgets, bool [G]."""
        return Curve(self.budget[kept], self.value[kept], self.low[kept], self.high[kept], self.method)


def check_independent(sampler: str, pruner: str) -> None:
    """Curves of best-of-n need trials that know nothing of one another.

    Raises:
        ValueError: if the sampler learns from trials, or the pruner compares them.
    """
    if sampler not in INDEPENDENT_SAMPLERS:
        raise ValueError(f"sampler must be {' or '.join(INDEPENDENT_SAMPLERS)} for a curve of best-of-n, not {sampler}.")
    if pruner not in OWN_HISTORY_PRUNERS:
        raise ValueError(f"pruner must be {' or '.join(OWN_HISTORY_PRUNERS)} for a curve of best-of-n, not {pruner}.")


def trial_budgets(most: int) -> Integers:
    """Numbers of trials to draw a curve at, int [G]: each one to 100, then some 100 up to `most`, evenly in the logarithm."""
    if most <= EVERY:
        return np.arange(1, most + 1)
    return np.unique(np.concatenate([np.arange(1, EVERY + 1), np.geomspace(EVERY, most, EVERY).round().astype(int)]))


def mean_curve(scores: Floats, budgets: Integers) -> Curve:
    """Mean best of n independent trials: the mean over all subsets of n (U-statistic), unbiased, without limits.

    Equals opda's `u_tuning_curve`, which gives nan from 1,030 trials on.

    Args:
        scores: float [N], validation, a failed trial as the trivial baseline.
        budgets: int [G], 1 to N.
    """
    best_first = np.sort(_numbers(scores))[::-1]
    values = np.array([pool.rank_weights(len(scores), int(n)) @ best_first for n in budgets])
    return Curve(np.asarray(budgets, float), values, *_open(len(budgets)))


def median_curve(scores: Floats, budgets: Integers, alpha: float = 0.05, limits: tuple[float, float] = (0.0, 1.0)) -> Curve:
    """Median best of n independent trials, with a band that holds at all n at once (Lourie et al. 2024), coverage >= 1 - alpha.

    From some N/9 trials on the upper limit is open (nan): no N trials bound the best of so many without a model of the tail.
    Up to 200 trials the band's `method` is ld_equal_tailed, exact but for ties; above, dkw, which is wider.

    Args:
        scores: float [N], validation, a failed trial as the trivial baseline.
        budgets: [G], at least 1.
        alpha: error rate of the whole band.
        limits: the least and the most that a score can be, which may be infinite.
    """
    method = EXACT if len(scores) <= MOST_EXACT else WIDE
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicates detected", RuntimeWarning)  # see Ties above
        bands = EmpiricalDistribution.confidence_bands(
            _numbers(scores), 1 - alpha, a=limits[0], b=limits[1], generator=_generator(len(scores)), method=method, n_jobs=1
        )
    # The upper band of the distribution function is the lower band of its quantiles.
    high, value, low = (band.quantile_tuning_curve(np.asarray(budgets), q=0.5) for band in bands)
    low, high = np.where(low > limits[0], low, np.nan), np.where(high < limits[1], high, np.nan)
    return Curve(np.asarray(budgets, float), value, low, high, method)


def picked_curve(trials: Pool, alpha: float = 0.05) -> Curve:
    """Expected test score of the model that n trials pick on validation, n = 1 to N/6, with the jackknife's interval at each n."""
    budgets = trial_budgets(len(trials) // TRIALS_PER_BUDGET)
    return _from_estimates(budgets, [pool.estimate(trials, int(n)) for n in budgets], alpha, "jackknife")


def gap_curve(a: Pool, b: Pool, paired: bool, alpha: float = 0.05) -> Curve:
    """How much higher a search of n trials of `a` scores on test than one of `b`, n = 1 to N/6, with intervals as `picked_curve`."""
    budgets = trial_budgets(len(a) // TRIALS_PER_BUDGET)
    return _from_estimates(budgets, [pool.gap(a, b, int(n), paired) for n in budgets], alpha, "jackknife")


def order_change(gaps: Curve) -> tuple[int, int] | None:
    """Between which two budgets the order of a pair changes: (n1, n2), or None if nothing shows that it does.

    The interval of the gap lies on one side of 0 at n1, on the other at n2, and holds 0 in between. The crossing itself has no
    interval worth printing: at 60 trials it would reach from 2 trials to never.
    """
    side = np.sign(np.where(gaps.low > 0, 1, 0) - np.where(gaps.high < 0, 1, 0))
    (decided,) = np.nonzero(side)
    (changes,) = np.nonzero(np.diff(side[decided]))
    if not len(changes):
        return None
    return int(gaps.budget[decided[changes[0]]]), int(gaps.budget[decided[changes[0] + 1]])


def cost_budgets(costs: list[Floats]) -> Floats:
    """Budgets that all arms are drawn at, float [G]: from one mean trial of the cheapest arm to N/6 of the dearest.

    Evenly in the logarithm, of three significant digits. An arm has a curve at those of `own_budgets`.

    Args:
        costs: float [N] an arm, of its trials in epochs or seconds.
    """
    means = [float(cost.mean()) for cost in costs if cost.sum() > 0 and len(cost) >= TRIALS_PER_BUDGET]
    if not means:
        return np.empty(0)
    most = max(len(cost) // TRIALS_PER_BUDGET * cost.mean() for cost in costs)
    return np.unique([float(f"{budget:.3g}") for budget in np.geomspace(min(means), most, BUDGETS)])


def own_budgets(costs: Floats, budgets: Floats) -> Floats:
    """Those of the budgets that one arm speaks of: they buy one mean trial at least, and N/6 at most."""
    trials = budgets / costs.mean() if costs.sum() > 0 else np.zeros(len(budgets))
    return budgets[(trials >= 1) & (trials <= len(costs) / TRIALS_PER_BUDGET)]


def cost_curve(trials: Pool, costs: Floats, budgets: Floats, alpha: float = 0.05, seed: int = 0) -> Curve:
    """Expected test score of the model that a search picks which ends before its cost passes a budget.

    Trials are drawn in random order without replacement until the next would pass the budget, at least one; the best on
    validation is kept. The mean is over all orders up to 7 trials, over 2,000 beyond, 200 from 201 trials on. The short cut of
    n = budget / mean cost is .1 points too high at 5 trials, as score and cost are related. The interval is the jackknife's over
    the same orders with df = 2 (N/n' - 1), n' = budget / mean cost; from 201 trials on it leaves out 50 blocks.

    Args:
        trials: N trials.
        costs: float [N], epochs or seconds, not negative.
        budgets: float [G], ascending.
        alpha: error rate at each budget.
        seed: of the orders.

    Returns:
        The curve; without limits where N/n' is below 4.

    Raises:
        ValueError: if the costs are not N numbers, none negative and not all 0.
    """
    if costs.shape != trials.validation.shape or not np.isfinite(costs).all() or (costs < 0).any() or costs.sum() == 0:
        raise ValueError(f"costs must be {len(trials)} numbers, none negative and not all 0, not {costs!r}.")
    if len(budgets) == 0:
        return Curve(budgets, budgets, budgets, budgets, "jackknife")
    parts = len(trials) if len(trials) <= MOST_EXACT else BLOCKS
    blocks = [np.arange(part, len(trials), parts) for part in range(parts)]
    orders = _orders(len(trials), seed)[:, : _reach(costs, budgets[-1], len(blocks[0]))]
    values = _within(trials, costs, budgets, orders, np.empty(0, int))
    left_out = np.array([_within(trials, costs, budgets, orders, block) for block in blocks])
    made = []
    for value, deleted, bought in zip(values, left_out.T, budgets / costs.mean(), strict=True):
        df = pool.degrees(len(trials), bought) if len(trials) >= pool.FEWEST_PER_HEADLINE * bought else np.nan
        made.append(Estimate(float(value), jackknife_variance(deleted), min(df, parts - 1) if parts < len(trials) else df))
    return _from_estimates(budgets, made, alpha, "jackknife")


def studies_curve(scores: Floats, alpha: float = 0.05) -> Curve:
    """Mean over separate studies of the best score so far, with Student's interval on the K studies at each n.

    Args:
        scores: float [K studies, n trials], validation in the order of the trials, a failed trial as the trivial baseline.
        alpha: error rate at each n.
    """
    best = np.maximum.accumulate(np.array([_numbers(row) for row in scores]), axis=1)
    return _from_estimates(np.arange(1, scores.shape[1] + 1), [studies.estimate(column) for column in best.T], alpha, "student")


def completed(scores: Floats, pruned: NDArray[np.bool_], failed: NDArray[np.bool_], histories: Iterable[Floats]) -> Floats:
    """What pruned trials may have reached: the best final score among finished trials that were no better at the same epoch.

    A second reading beside the first, which leaves a pruned trial at its best so far: where the two differ, pruning matters.

    Args:
        scores: float [N], best so far of a pruned trial, else the final score.
        pruned: bool [N].
        failed: bool [N].
        histories: of each trial float [epochs it had], the score after each.

    Returns:
        float [N], never below `scores`.
    """
    lifted, histories = scores.copy(), list(histories)
    finished = np.nonzero(~pruned & ~failed)[0].tolist()
    for trial in np.nonzero(pruned)[0].tolist():
        epoch = max(len(histories[trial]), 1)
        # One that stopped by itself before that epoch has its best so far there too.
        alike = [scores[other] for other in finished if histories[other][:epoch].max(initial=-np.inf) <= scores[trial]]
        lifted[trial] = max([scores[trial], *alike])
    return lifted


@cache
def _generator(trials: int) -> np.random.Generator:
    """One generator a number of trials: opda keeps a band's simulated limits by it, so arms of equal size share them."""
    return np.random.default_rng([trials])


def _numbers(scores: Floats) -> Floats:
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError("scores must be numbers in one row; a failed trial has the trivial baseline.")
    return scores


def _open(size: int) -> tuple[Floats, Floats]:
    return np.full(size, np.nan), np.full(size, np.nan)


def _from_estimates(budgets: NDArray, made: list[Estimate], alpha: float, method: str) -> Curve:
    limits = np.array([one.interval(alpha) if one.df > 0 else (np.nan, np.nan) for one in made]).reshape(-1, 2)
    values = np.array([one.value for one in made])
    return Curve(np.asarray(budgets, float), values, limits[:, 0], limits[:, 1], method)


def _orders(trials: int, seed: int) -> Integers:
    """Orders of the trials, int [orders, trials]: all of them, or many at random."""
    if trials <= MOST_PERMUTED:
        return np.array(list(permutations(range(trials))))
    rows = ORDERS if trials <= MOST_EXACT else FEWER_ORDERS
    return np.random.default_rng(seed).permuted(np.tile(np.arange(trials), (rows, 1)), axis=1)


def _reach(costs: Floats, budget: float, left_out: int) -> int:
    """How many trials of an order can matter at most: the cheapest that fit the budget, those left out, and one."""
    return int(np.searchsorted(np.cumsum(np.sort(costs)), budget, "right")) + left_out + 1


def _within(trials: Pool, costs: Floats, budgets: Floats, orders: Integers, left_out: Integers) -> Floats:
    """Mean over the orders of the test score kept at each budget, float [budgets], with some trials, int [...], left out."""
    kept = np.ones(len(trials), bool)
    kept[left_out] = False
    # Groups of equal validation, best first; a trial left out costs nothing and is worse than all.
    _, group = np.unique(-trials.validation, return_inverse=True)
    sizes = np.bincount(group, weights=kept)
    tests = np.bincount(group, weights=trials.test * kept) / np.maximum(sizes, 1)
    spent = np.cumsum(np.where(kept, costs, 0.0)[orders], axis=1)
    best = np.minimum.accumulate(np.where(kept, group, len(sizes))[orders], axis=1)
    first = np.argmax(kept[orders], axis=1)
    rows = np.arange(len(orders))
    # What is spent never falls, so the last trial within a budget is looked up.
    last = np.array([np.searchsorted(row, budgets, "right") for row in spent]) - 1
    return np.array([tests[best[rows, np.maximum(position, first)]].mean() for position in last.T])
