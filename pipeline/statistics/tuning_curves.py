"""Tuning curves: the score of a search as a function of its budget, with intervals where valid.

There are three kinds of curve. Validation curves of independent trials show the effort of tuning:
the mean and the median best of n (Dodge et al. 2019, Tang et al. 2020, Lourie et al. 2024). Test
curves show the score of the picked model against trials, epochs or seconds. Trials that depend on
each other (a sampler that learns, a pruner that compares) have one curve only, the running best of
repeated searches.

Ties: a validation score counts a few thousand rows, so one trial in five ties. The mean and the
median are not affected. The band of the median is exact for continuous scores, and ties can only
make it wider: it equals the band of the scores with their ties broken at random, evaluated at fewer
points. Test and cost curves use the mean test score of tied trials.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from opda.nonparametric import EmpiricalDistribution

from . import repeated_search, shared_search
from .estimate import Estimate, jackknife_variance
from .shared_search import Pool

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

INDEPENDENT_SAMPLERS = ("random",)
# A threshold pruner compares a run with constants only.
OWN_HISTORY_PRUNERS = ("none", "threshold")
# The limits of the exact band are simulated: 6 s at 200 trials, and quadratic in the trials.
MOST_EXACT = 200
EXACT, WIDE = "ld_equal_tailed", "dkw"
# The recommended number of trials per budget trial. Test curves end where it is no longer met.
TRIALS_PER_BUDGET = 6
MOST_PERMUTED = 7
ORDERS, FEWER_ORDERS, BLOCKS = 2000, 200, 50
BUDGETS = 24
# Curves have a point at every number of trials up to here, and further apart beyond.
EVERY = 100


@dataclass(frozen=True)
class Curve:
    """A score against a budget.

    Attributes:
        budget: float [G], ascending: trials, epochs or seconds.
        value: float [G], in the unit of the scores.
        low: float [G], lower limit of the interval; nan without one.
        high: float [G], upper limit; nan without one.
        method: name of the interval; "" without one.
    """

    budget: Floats
    value: Floats
    low: Floats
    high: Floats
    method: str = ""

    def __len__(self) -> int:
        return len(self.budget)

    def at(self, mask: NDArray[np.bool_]) -> "Curve":
        """Return the curve at the budgets where `mask`, bool [G], is true."""
        low, high = self.low[mask], self.high[mask]
        return Curve(self.budget[mask], self.value[mask], low, high, self.method)


def check_independent(sampler: str, pruner: str) -> None:
    """Check that the trials are independent, as curves of best-of-n require.

    Raises:
        ValueError: if the sampler learns from trials or the pruner compares them.
    """
    allowed = {"sampler": INDEPENDENT_SAMPLERS, "pruner": OWN_HISTORY_PRUNERS}
    for (name, names), value in zip(allowed.items(), (sampler, pruner), strict=True):
        if value not in names:
            names_or = " or ".join(names)
            raise ValueError(f"{name} must be {names_or} for a curve of best-of-n, not {value}.")


def trial_budgets(most: int) -> Integers:
    """Return the numbers of trials of a curve's points, int [G].

    Every number up to 100, then about 100 up to `most`, evenly spaced on the logarithmic scale.
    """
    if most <= EVERY:
        return np.arange(1, most + 1)
    beyond = np.geomspace(EVERY, most, EVERY).round().astype(int)
    return np.unique(np.concatenate([np.arange(1, EVERY + 1), beyond]))


def mean_curve(scores: Floats, budgets: Integers) -> Curve:
    """Return the mean best of n independent trials, without an interval.

    The unbiased U-statistic of Tang et al. (2020), the mean over all subsets of n. Equal to opda's
    `u_tuning_curve`, which returns nan from 1,030 trials on.

    Args:
        scores: float [N], validation; a failed trial has the trivial baseline's score.
        budgets: int [G], 1 to N.

    Raises:
        ValueError: if a score is not finite.
    """
    best_first = np.sort(_check_scores(scores))[::-1]
    weights = (shared_search.rank_weights(len(scores), int(n)) for n in budgets)
    missing = np.full(len(budgets), np.nan)
    values = np.array([row @ best_first for row in weights])
    return Curve(np.asarray(budgets, float), values, missing, missing)


def median_curve(
    scores: Floats,
    budgets: Integers,
    alpha: float = 0.05,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Curve:
    """Return the median best of n independent trials, with a simultaneous confidence band.

    The band of Lourie et al. (2024) covers the curve at all n at once with probability 1 - alpha or
    more. From about N/9 trials on its upper limit is nan: N trials do not bound the best of so many
    without a model of the tail. Up to 200 trials `method` is ld_equal_tailed, exact but for ties;
    beyond, it is dkw, which is wider.

    Args:
        scores: float [N], validation; a failed trial has the trivial baseline's score.
        budgets: int [G], at least 1.
        alpha: error rate of the whole band.
        limits: the smallest and the largest possible score; they may be infinite.

    Raises:
        ValueError: if a score is not finite.
    """
    method = EXACT if len(scores) <= MOST_EXACT else WIDE
    with warnings.catch_warnings():
        # See Ties in the module's docstring.
        warnings.filterwarnings("ignore", "Duplicates detected", RuntimeWarning)
        bands = EmpiricalDistribution.confidence_bands(
            _check_scores(scores),
            1 - alpha,
            a=limits[0],
            b=limits[1],
            generator=_generator(len(scores)),
            method=method,
            n_jobs=1,
        )
    # The upper band of the distribution function is the lower band of its quantiles.
    high, value, low = (band.quantile_tuning_curve(np.asarray(budgets), q=0.5) for band in bands)
    low = np.where(low > limits[0], low, np.nan)
    high = np.where(high < limits[1], high, np.nan)
    return Curve(np.asarray(budgets, float), value, low, high, method)


def picked_curve(trials: Pool, alpha: float = 0.05) -> Curve:
    """Return the expected test score of the model that a search of n trials picks, n = 1 to N/6.

    The interval at each n is the jackknife's (`shared_search.estimate`).
    """
    budgets = trial_budgets(len(trials) // TRIALS_PER_BUDGET)
    estimates = [shared_search.estimate(trials, int(n)) for n in budgets]
    return _from_estimates(budgets, estimates, alpha, "jackknife")


def gap_curve(a: Pool, b: Pool, paired: bool, alpha: float = 0.05) -> Curve:
    """Return the gap on test between searches of n trials of `a` and of `b`, n = 1 to N/6.

    The interval at each n is the jackknife's (`shared_search.gap`).
    """
    budgets = trial_budgets(len(a) // TRIALS_PER_BUDGET)
    estimates = [shared_search.gap(a, b, int(n), paired) for n in budgets]
    return _from_estimates(budgets, estimates, alpha, "jackknife")


def order_change(gaps: Curve) -> tuple[int, int] | None:
    """Return two budgets (n1, n2) between which the order of a pair changes, or None.

    The interval of the gap is on one side of 0 at n1 and on the other side at n2. An interval of
    the crossing itself would be uninformative: at 60 trials it extends from 2 trials to infinity.
    """
    side = np.sign(np.where(gaps.low > 0, 1, 0) - np.where(gaps.high < 0, 1, 0))
    (decided,) = np.nonzero(side)
    (changes,) = np.nonzero(np.diff(side[decided]))
    if not len(changes):
        return None
    before, after = gaps.budget[decided[changes[0] : changes[0] + 2]]
    return int(before), int(after)


def cost_budgets(costs: list[Floats]) -> Floats:
    """Return the cost budgets for the curves of all arms, float [G].

    They run from the mean cost of one trial of the cheapest arm to the cost of N/6 trials of the
    most expensive arm, evenly spaced on the logarithmic scale, rounded to three significant digits.
    An arm has a curve at its `covered_budgets`.

    Args:
        costs: float [N] per arm, the cost of each trial in epochs or seconds.
    """
    means = [cost.mean() for cost in costs if cost.sum() > 0 and len(cost) >= TRIALS_PER_BUDGET]
    if not means:
        return np.empty(0)
    most = max(len(cost) // TRIALS_PER_BUDGET * cost.mean() for cost in costs)
    grid = np.geomspace(min(means), most, BUDGETS)
    return np.unique([float(f"{budget:.3g}") for budget in grid])


def covered_budgets(costs: Floats, budgets: Floats) -> Floats:
    """Return the budgets that pay for at least one mean trial of an arm and at most N/6."""
    trials = budgets / costs.mean() if costs.sum() > 0 else np.zeros(len(budgets))
    return budgets[(trials >= 1) & (trials <= len(costs) / TRIALS_PER_BUDGET)]


def cost_curve(
    trials: Pool, costs: Floats, budgets: Floats, alpha: float = 0.05, seed: int = 0
) -> Curve:
    """Return the expected test score of the model that a search within a cost budget picks.

    Trials are taken in random order without replacement until the next one would exceed the budget,
    at least one; the best on validation is picked. The mean is over all orders with up to 7 trials,
    over 2,000 random orders with up to 200 and over 200 beyond. The approximation n = budget / mean
    cost is 0.1 points too high at 5 trials, because score and cost are related.

    The interval is the jackknife's over the same orders, with n' = budget / mean cost and
    2 (N/n' - 1) degrees of freedom. With more than 200 trials it leaves out 50 blocks in turn.

    Args:
        trials: the N trials of one arm.
        costs: float [N], epochs or seconds, not negative.
        budgets: float [G], ascending, in the unit of the costs.
        alpha: error rate of the interval at each budget.
        seed: seed of the random orders.

    Returns:
        The curve, without limits where N/n' is below 4.

    Raises:
        ValueError: if the costs are not N finite numbers, or one is negative, or all are 0.
    """
    valid = costs.shape == trials.validation.shape and np.isfinite(costs).all()
    if not valid or (costs < 0).any() or costs.sum() == 0:
        raise ValueError(
            f"costs must be {len(trials)} numbers, none negative and not all 0, not {costs!r}."
        )
    if len(budgets) == 0:
        return Curve(budgets, budgets, budgets, budgets, "jackknife")
    count = len(trials)
    parts = count if count <= MOST_EXACT else BLOCKS
    blocks = [np.arange(part, count, parts) for part in range(parts)]
    orders = _orders(count, seed)[:, : _reach(costs, budgets[-1], len(blocks[0]))]
    values = _within(trials, costs, budgets, orders, np.empty(0, int))
    left_out = np.array([_within(trials, costs, budgets, orders, block) for block in blocks])
    estimates = []
    for value, deleted, n in zip(values, left_out.T, budgets / costs.mean(), strict=True):
        enough = count >= shared_search.MIN_TRIALS_PER_BUDGET * n
        df = shared_search.degrees(count, n) if enough else np.nan
        df = min(df, parts - 1) if parts < count else df
        estimates.append(Estimate(float(value), jackknife_variance(deleted), df))
    return _from_estimates(budgets, estimates, alpha, "jackknife")


def repeats_curve(scores: Floats, alpha: float = 0.05) -> Curve:
    """Return the mean over repeated searches of the best score so far, with Student's interval.

    Args:
        scores: float [K repeats, n trials], validation in the order of the trials; a failed trial
            has the trivial baseline's score.
        alpha: error rate of the interval at each n.

    Raises:
        ValueError: if there are fewer than two repeats or a score is not finite.
    """
    best = np.maximum.accumulate(np.array([_check_scores(row) for row in scores]), axis=1)
    estimates = [repeated_search.estimate(column) for column in best.T]
    return _from_estimates(np.arange(1, scores.shape[1] + 1), estimates, alpha, "student")


def completed(
    scores: Floats,
    pruned: NDArray[np.bool_],
    failed: NDArray[np.bool_],
    histories: Iterable[Floats],
) -> Floats:
    """Return optimistic final scores of pruned trials, to check whether pruning matters.

    A pruned trial gets the best final score among finished trials that were no better than it at
    the same epoch. The usual scores use its best score before pruning instead.

    Args:
        scores: float [N], best score so far of a pruned trial, otherwise the final score.
        pruned: bool [N].
        failed: bool [N].
        histories: per trial float [epochs], the score after each epoch.

    Returns:
        float [N], at least `scores`.
    """
    lifted, histories = scores.copy(), list(histories)
    finished = np.nonzero(~pruned & ~failed)[0].tolist()
    for trial in np.nonzero(pruned)[0].tolist():
        epoch = max(len(histories[trial]), 1)
        # A trial that stopped early has its best score at later epochs too.
        alike = [
            scores[other]
            for other in finished
            if histories[other][:epoch].max(initial=-np.inf) <= scores[trial]
        ]
        lifted[trial] = max([scores[trial], *alike])
    return lifted


@cache
def _generator(trials: int) -> np.random.Generator:
    """Return one generator per number of trials.

    opda caches a band's simulated limits by generator, so arms of equal size share them.
    """
    return np.random.default_rng([trials])


def _check_scores(scores: Floats) -> Floats:
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(
            "scores must be one-dimensional and finite; a failed trial has the trivial baseline."
        )
    return scores


def _from_estimates(
    budgets: NDArray, estimates: Sequence[Estimate], alpha: float, method: str
) -> Curve:
    limits = [e.interval(alpha) if e.df > 0 else (np.nan, np.nan) for e in estimates]
    low, high = np.array(limits).reshape(-1, 2).T
    values = np.array([estimate.value for estimate in estimates])
    return Curve(np.asarray(budgets, float), values, low, high, method)


def _orders(trials: int, seed: int) -> Integers:
    """Return orders of the trials, int [orders, trials]: all of them if few, else random ones."""
    if trials <= MOST_PERMUTED:
        return np.array(list(permutations(range(trials))))
    rows = ORDERS if trials <= MOST_EXACT else FEWER_ORDERS
    return np.random.default_rng(seed).permuted(np.tile(np.arange(trials), (rows, 1)), axis=1)


def _reach(costs: Floats, budget: float, left_out: int) -> int:
    """Return how many leading trials of an order can matter.

    These are the cheapest trials that fit the budget, the trials left out, and one more.
    """
    fitting = np.searchsorted(np.cumsum(np.sort(costs)), budget, "right")
    return int(fitting) + left_out + 1


def _within(
    trials: Pool, costs: Floats, budgets: Floats, orders: Integers, left_out: Integers
) -> Floats:
    """Return the mean over orders of the test score picked within each budget, float [budgets].

    Trials `left_out`, int [...], cost nothing and are worse than all others.
    """
    included = np.ones(len(trials), bool)
    included[left_out] = False
    # Sets of tied trials, best first.
    _, tie = np.unique(-trials.validation, return_inverse=True)
    sizes = np.bincount(tie, weights=included)
    tests = np.bincount(tie, weights=trials.test * included) / np.maximum(sizes, 1)
    spent = np.cumsum(np.where(included, costs, 0.0)[orders], axis=1)
    best = np.minimum.accumulate(np.where(included, tie, len(sizes))[orders], axis=1)
    first = np.argmax(included[orders], axis=1)
    rows = np.arange(len(orders))
    # The amount spent never decreases, so a binary search finds the last trial within a budget.
    last = np.array([np.searchsorted(row, budgets, "right") for row in spent]) - 1
    return np.array([tests[best[rows, np.maximum(end, first)]].mean() for end in last.T])
