"""The estimator and the verdict of `pipeline.statistics` for many simulated worlds at once.

The functions have the names, arguments and formulas of the scalar ones. The last axis holds the
trials (or rows) of a world, and the axes before it are worlds. Tests in test_simulated.py compare
each function with its scalar counterpart.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from pipeline.statistics import shared_search
from pipeline.statistics.estimate import all_alike
from pipeline.statistics.shared_search import Pool

# Worlds at once in `win_probability`, whose arrays have worlds * trials * trials elements.
CHUNK = 50


@dataclass(frozen=True)
class Pools:
    """The pools of one arm, a pool a world: validation and test scores, float [..., N]."""

    validation: np.ndarray
    test: np.ndarray

    def __getitem__(self, worlds: slice) -> "Pools":
        return Pools(self.validation[worlds], self.test[worlds])

    def pool(self, world: int) -> Pool:
        """The pool of one world, as the scalar functions take it."""
        return Pool(self.validation[world], self.test[world])


@dataclass(frozen=True)
class Estimates:
    """The fields of `estimate.Estimate`, each float [...] or one number for all worlds."""

    value: np.ndarray
    variance: np.ndarray
    df: np.ndarray | float

    def interval(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        half = stats.t.ppf(1 - alpha / 2, self.df) * np.sqrt(self.variance)
        return self.value - half, self.value + half

    def plus(self, variance: np.ndarray, df: float) -> "Estimates":
        total = self.variance + variance
        with np.errstate(invalid="ignore"):
            summed = total**2 / (self.variance**2 / self.df + variance**2 / df)
        return Estimates(self.value, total, np.where(variance > 0, summed, self.df))


class Ranks(NamedTuple):
    """Ranks of trials by validation, best first, int [..., N] each, in the trials' own order.

    Attributes:
        rank: of the trial itself; equal trials are ranked in their own order.
        start: the first rank of the trials that equal it.
        end: one more than the last rank of the trials that equal it.
    """

    rank: np.ndarray
    start: np.ndarray
    end: np.ndarray


def ranks(validation: np.ndarray) -> Ranks:
    order = np.argsort(-validation, axis=-1, kind="stable")
    ranked = np.take_along_axis(validation, order, -1)
    position = np.broadcast_to(np.arange(validation.shape[-1]), validation.shape)
    changes = ranked[..., 1:] != ranked[..., :-1]
    edge = np.ones((*validation.shape[:-1], 1), bool)
    first, last = np.concatenate([edge, changes], axis=-1), np.concatenate([changes, edge], axis=-1)
    start = np.maximum.accumulate(np.where(first, position, 0), axis=-1)
    end = np.minimum.accumulate(
        np.where(last, position + 1, validation.shape[-1])[..., ::-1], axis=-1
    )[..., ::-1]
    return Ranks(*(_in_own_order(order, values) for values in (position, start, end)))


def trial_weights(found: Ranks, budget: int) -> np.ndarray:
    """Probability that each trial wins a random subset of `budget`, float [..., N]."""
    cumulated = from_zero(shared_search.rank_weights(found.rank.shape[-1], budget))
    return (cumulated[found.end] - cumulated[found.start]) / (found.end - found.start)


class Deleted(NamedTuple):
    """Weight of a trial with another trial left out, float [..., N] each, in the trials' order."""

    behind: np.ndarray  # the trial left out is worse
    ahead: np.ndarray  # the trial left out is better
    equal: np.ndarray  # the trial left out is equal


def deleted_weights(found: Ranks, budget: int) -> Deleted:
    trials = found.rank.shape[-1]
    cumulated = from_zero(shared_search.rank_weights(trials - 1, budget))
    size = found.end - found.start
    return Deleted(
        (cumulated[np.minimum(found.end, trials - 1)] - cumulated[found.start]) / size,
        (cumulated[found.end - 1] - cumulated[np.maximum(found.start - 1, 0)]) / size,
        (cumulated[found.end - 1] - cumulated[found.start]) / np.maximum(size - 1, 1),
    )


def picked(pools: Pools, budget: int) -> np.ndarray:
    base = pools.test[..., :1]
    return base[..., 0] + (
        trial_weights(ranks(pools.validation), budget) * (pools.test - base)
    ).sum(axis=-1)


def deleted(pools: Pools, budget: int) -> np.ndarray:
    found = ranks(pools.validation)
    weights = deleted_weights(found, budget)
    order = np.argsort(found.rank, axis=-1)
    base = pools.test[..., :1]
    test = pools.test - base

    def before(values: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Sum of the values of all trials ranked before `rank`."""
        return np.take_along_axis(from_zero(np.take_along_axis(values, order, -1)), rank, -1)

    better = before(weights.behind * test, found.start)
    lower = weights.ahead * test
    worse = lower.sum(axis=-1, keepdims=True) - before(lower, found.end)
    equal = before(test, found.end) - before(test, found.start) - test
    return base + better + worse + weights.equal * equal


def jackknife_variance(values: np.ndarray) -> np.ndarray:
    return (values.shape[-1] - 1) * (values - values[..., :1]).var(axis=-1)


def estimate(pools: Pools, budget: int) -> Estimates:
    trials = pools.test.shape[-1]
    return Estimates(
        picked(pools, budget),
        jackknife_variance(deleted(pools, budget)),
        shared_search.degrees(trials, budget),
    )


def gap(a: Pools, b: Pools, budget: int, paired: bool) -> Estimates:
    left, right = deleted(a, budget), deleted(b, budget)
    variance = (
        jackknife_variance(left - right)
        if paired
        else jackknife_variance(left) + jackknife_variance(right)
    )
    return Estimates(
        picked(a, budget) - picked(b, budget),
        variance,
        shared_search.degrees(a.test.shape[-1], budget),
    )


def win_probability(
    a: Pools, b: Pools, budget: int, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probability, low, high), float [worlds] each, of paired pools.

    At most `shared_search.MOST_DELETIONS` trials per pool.
    """
    worlds, trials = a.test.shape
    chunks = [slice(start, start + CHUNK) for start in range(0, worlds, CHUNK)]
    whole, left_out = (
        np.concatenate(parts)
        for parts in zip(*(_above(a[c], b[c], budget) for c in chunks), strict=True)
    )
    edge = 0.5 / trials**2
    inside = (edge < whole) & (whole < 1 - edge)
    variance = jackknife_variance(logit(np.clip(left_out, edge, 1 - edge)))
    logits = Estimates(
        logit(np.clip(whole, edge, 1 - edge)), variance, shared_search.degrees(trials, budget)
    )
    low, high = (expit(limit) for limit in logits.interval(alpha))
    for world in np.flatnonzero(~inside):
        low[world], high[world] = all_alike(whole[world], trials / budget, alpha)
    return whole, low, high


def group_variance(right: np.ndarray, each: int) -> tuple[np.ndarray, float]:
    """As `estimate.group_variance`, of rows [..., rows] in the order of their groups of `each`."""
    reviews = right.shape[-1]
    groups = reviews // each
    sums = (
        (right - right.mean(axis=-1, keepdims=True))
        .reshape(*right.shape[:-1], groups, each)
        .sum(axis=-1)
    )
    return groups / (groups - 1) * (sums**2).sum(axis=-1) / reviews**2, groups - 1


def p_superior(gaps: Estimates) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(gaps.value) / np.sqrt(gaps.variance), gaps.df)
    return np.where(gaps.variance == 0, gaps.value == 0, p)


def p_equivalent(gaps: Estimates, margin: float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = (
            (gaps.value + limit) / np.sqrt(gaps.variance) for limit in (margin, -margin)
        )
        p = np.maximum(stats.t.sf(above, gaps.df), stats.t.cdf(below, gaps.df))
    return np.where(gaps.variance == 0, np.abs(gaps.value) >= margin, p)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of the tests along the last axis."""
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.maximum.accumulate(
        np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1), axis=-1
    )
    return _in_own_order(order, np.minimum(steps, 1.0))


def from_zero(values: np.ndarray) -> np.ndarray:
    """Cumulative sums with a 0 before the first, float [..., N + 1]."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)


def _in_own_order(order: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """What is given by rank, by trial: `order` is the trial of each rank."""
    values = np.empty_like(ranked)
    np.put_along_axis(values, order, ranked, -1)
    return values


def _above(a: Pools, b: Pools, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a search of `a` scores above one of `b`.

    Float [worlds], and with each trial left out, float [worlds, N].
    """
    above = (np.greater(a.test[..., None], b.test[..., None, :]) + 0.0) / 2
    above += np.greater_equal(a.test[..., None], b.test[..., None, :]) / 2
    ours, theirs = ranks(a.validation), ranks(b.validation)
    whole = np.einsum(
        "wj,wjk,wk->w",
        trial_weights(ours, budget),
        above,
        trial_weights(theirs, budget),
        optimize=True,
    )
    left_out = ((_each_left_out(ours, budget) @ above) * _each_left_out(theirs, budget)).sum(
        axis=-1
    )
    return np.clip(whole, 0.0, 1.0), np.clip(left_out, 0.0, 1.0)


def _each_left_out(found: Ranks, budget: int) -> np.ndarray:
    """Weight of each trial (last axis) with one trial left out (the axis before).

    Float [worlds, N, N]; the weight of the trial left out is 0.
    """
    weights = deleted_weights(found, budget)
    rank = found.rank[..., None]
    weight = np.where(
        rank < found.start[..., None, :], weights.ahead[..., None, :], weights.equal[..., None, :]
    )
    weight = np.where(rank >= found.end[..., None, :], weights.behind[..., None, :], weight)
    diagonal = np.arange(found.rank.shape[-1])
    weight[..., diagonal, diagonal] = 0.0
    return weight
