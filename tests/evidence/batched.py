"""The estimator and the verdict of `pipeline.evidence`, computed for many simulated worlds at once.

The functions have the names, arguments and formulas of the scalar ones. The last axis holds a world's trials (or reviews), and the
axes before it are worlds. Tests in test_simulated.py compare each function with its scalar counterpart.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from pipeline.evidence import pool
from pipeline.evidence.estimate import all_alike
from pipeline.evidence.pool import Pool

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
    end = np.minimum.accumulate(np.where(last, position + 1, validation.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    return Ranks(*(_in_own_order(order, values) for values in (position, start, end)))


def trial_weights(found: Ranks, headline: int) -> np.ndarray:
    """Probability that each trial wins a random subset of `headline`, float [..., N]."""
    cumulated = from_zero(pool.rank_weights(found.rank.shape[-1], headline))
    return (cumulated[found.end] - cumulated[found.start]) / (found.end - found.start)


class Deleted(NamedTuple):
    """Weight of a trial after one other trial is left out, float [..., N] each, in the trials' own order."""

    behind: np.ndarray  # the trial left out is worse
    ahead: np.ndarray  # the trial left out is better
    equal: np.ndarray  # the trial left out is equal


def deleted_weights(found: Ranks, headline: int) -> Deleted:
    trials = found.rank.shape[-1]
    cumulated = from_zero(pool.rank_weights(trials - 1, headline))
    size = found.end - found.start
    return Deleted(
        (cumulated[np.minimum(found.end, trials - 1)] - cumulated[found.start]) / size,
        (cumulated[found.end - 1] - cumulated[np.maximum(found.start - 1, 0)]) / size,
        (cumulated[found.end - 1] - cumulated[found.start]) / np.maximum(size - 1, 1),
    )


def picked(pools: Pools, headline: int) -> np.ndarray:
    base = pools.test[..., :1]
    return base[..., 0] + (trial_weights(ranks(pools.validation), headline) * (pools.test - base)).sum(axis=-1)


def deleted(pools: Pools, headline: int) -> np.ndarray:
    found = ranks(pools.validation)
    weights = deleted_weights(found, headline)
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


def estimate(pools: Pools, headline: int) -> Estimates:
    trials = pools.test.shape[-1]
    return Estimates(picked(pools, headline), jackknife_variance(deleted(pools, headline)), pool.degrees(trials, headline))


def gap(a: Pools, b: Pools, headline: int, paired: bool) -> Estimates:
    left, right = deleted(a, headline), deleted(b, headline)
    variance = jackknife_variance(left - right) if paired else jackknife_variance(left) + jackknife_variance(right)
    return Estimates(picked(a, headline) - picked(b, headline), variance, pool.degrees(a.test.shape[-1], headline))


def win_probability(a: Pools, b: Pools, headline: int, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probability, low, high), float [worlds] each, of paired pools of at most `pool.MOST_DELETIONS` trials."""
    worlds, trials = a.test.shape
    chunks = [slice(start, start + CHUNK) for start in range(0, worlds, CHUNK)]
    whole, left_out = (np.concatenate(parts) for parts in zip(*(_above(a[c], b[c], headline) for c in chunks), strict=True))
    edge = 0.5 / trials**2
    inside = (edge < whole) & (whole < 1 - edge)
    variance = jackknife_variance(logit(np.clip(left_out, edge, 1 - edge)))
    logits = Estimates(logit(np.clip(whole, edge, 1 - edge)), variance, pool.degrees(trials, headline))
    low, high = (expit(limit) for limit in logits.interval(alpha))
    for world in np.flatnonzero(~inside):
        low[world], high[world] = all_alike(whole[world], trials / headline, alpha)
    return whole, low, high


def film_variance(right: np.ndarray, each: int) -> tuple[np.ndarray, float]:
    """As `estimate.film_variance`, of reviews [..., reviews] in the order of their films, `each` a film."""
    reviews = right.shape[-1]
    films = reviews // each
    sums = (right - right.mean(axis=-1, keepdims=True)).reshape(*right.shape[:-1], films, each).sum(axis=-1)
    return films / (films - 1) * (sums**2).sum(axis=-1) / reviews**2, films - 1


def p_superior(gaps: Estimates) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(gaps.value) / np.sqrt(gaps.variance), gaps.df)
    return np.where(gaps.variance == 0, gaps.value == 0, p)


def p_equivalent(gaps: Estimates, margin: float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = ((gaps.value + limit) / np.sqrt(gaps.variance) for limit in (margin, -margin))
        p = np.maximum(stats.t.sf(above, gaps.df), stats.t.cdf(below, gaps.df))
    return np.where(gaps.variance == 0, np.abs(gaps.value) >= margin, p)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values of the tests along the last axis."""
    order = np.argsort(p, axis=-1, kind="stable")
    steps = np.maximum.accumulate(np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1), axis=-1)
    return _in_own_order(order, np.minimum(steps, 1.0))


def from_zero(values: np.ndarray) -> np.ndarray:
    """Cumulative sums with a 0 before the first, float [..., N + 1]."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)


def _in_own_order(order: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """What is given by rank, by trial: `order` is the trial of each rank."""
    values = np.empty_like(ranked)
    np.put_along_axis(values, order, ranked, -1)
    return values


def _above(a: Pools, b: Pools, headline: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a search of `a` scores above one of `b`, float [worlds], and with each trial left out [worlds, N]."""
    above = (np.greater(a.test[..., None], b.test[..., None, :]) + 0.0) / 2
    above += np.greater_equal(a.test[..., None], b.test[..., None, :]) / 2
    ours, theirs = ranks(a.validation), ranks(b.validation)
    whole = np.einsum("wj,wjk,wk->w", trial_weights(ours, headline), above, trial_weights(theirs, headline), optimize=True)
    left_out = ((_each_left_out(ours, headline) @ above) * _each_left_out(theirs, headline)).sum(axis=-1)
    return np.clip(whole, 0.0, 1.0), np.clip(left_out, 0.0, 1.0)


def _each_left_out(found: Ranks, headline: int) -> np.ndarray:
    """Weight of each trial (last axis) where one trial (the axis before) is left out, whose own weight is 0: [worlds, N, N]."""
    weights = deleted_weights(found, headline)
    rank = found.rank[..., None]
    weight = np.where(rank < found.start[..., None, :], weights.ahead[..., None, :], weights.equal[..., None, :])
    weight = np.where(rank >= found.end[..., None, :], weights.behind[..., None, :], weight)
    diagonal = np.arange(found.rank.shape[-1])
    weight[..., diagonal, diagonal] = 0.0
    return weight
