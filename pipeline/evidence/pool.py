"""The pooled estimator: what an n-trial random search scores on test, from all N trials of a pool, without resampling.

Sort the N trials by validation, best first. A random n-subset is won by rank j with probability C(N-1-j, n-1) / C(N, n), so the
expected test score of the model such a search picks is a weighted mean of the test scores. Trials equal in validation share their
weights equally. Its error comes from the delete-one jackknife, with df = 2 (N/n - 1), which simulation fixed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pipeline.evidence.estimate import Estimate, all_alike, jackknife_variance
from pipeline.evidence.planning import sizes_needed

# Above so many trials a probability's jackknife leaves out blocks of them; one at a time would take N^2.
MOST_DELETIONS = 200
FEWEST_PER_HEADLINE = 4

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Pool:
    """One arm's N independent trials.

    Attributes:
        validation: float [N], fractions; a failed trial has -inf.
        test: float [N], fractions; a failed trial has the task's trivial baseline.
    """

    validation: Floats
    test: Floats

    def __post_init__(self) -> None:
        if self.validation.ndim != 1 or self.validation.shape != self.test.shape:
            raise ValueError(f"validation and test must be equally long, not {self.validation.shape} and {self.test.shape}.")
        if np.isnan(self.validation).any() or not np.isfinite(self.test).all():
            raise ValueError("scores must be numbers; a failed trial has validation -inf and the trivial baseline as test.")

    def __len__(self) -> int:
        return len(self.validation)

    def without(self, trials: NDArray[np.integer]) -> "Pool":
        """The pool with these trials, positions int [...], left out."""
        return Pool(np.delete(self.validation, trials), np.delete(self.test, trials))


def rank_weights(trials: int, headline: int) -> Floats:
    """Probability that rank j = 0 ... trials - 1 wins a random subset of `headline` trials: float [trials], summing to 1.

    As the product of w_0 = n/N and w_(j+1)/w_j = (N-n-j)/(N-1-j), which neither overflows nor cancels at any N.

    Raises:
        ValueError: unless 1 <= headline <= trials.
    """
    if not 1 <= headline <= trials:
        raise ValueError(f"headline must be from 1 to the number of trials, {trials}, not {headline}.")
    j = np.arange(trials - 1)
    ratios = np.maximum(trials - headline - j, 0) / (trials - 1 - j)
    return headline / trials * np.concatenate([[1.0], np.cumprod(ratios)])


def trial_weights(validation: Floats, headline: int) -> Floats:
    """Probability that each trial wins a random subset of `headline`: float [N] in the trials' own order, ties shared equally."""
    order, group, sizes = _ranked(validation)
    shared = np.bincount(group, weights=rank_weights(len(validation), headline)) / sizes
    weights = np.empty(len(validation))
    weights[order] = shared[group]
    return weights


def picked(pool: Pool, headline: int) -> float:
    """Expected test score of the model that a search of `headline` trials picks on validation."""
    base = pool.test[0]  # so that trials of one score have exactly that mean, and two such arms a gap of exactly 0
    return float(base + trial_weights(pool.validation, headline) @ (pool.test - base))


def deleted(pool: Pool, headline: int) -> Floats:
    """`picked` with each trial left out in turn, float [N], in O(N log N).

    Raises:
        ValueError: unless headline < N.
    """
    order, group, sizes = _ranked(pool.validation)
    test = pool.test[order] - pool.test[0]  # as in `picked`
    sums = np.bincount(group, weights=test)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    cumulated = np.concatenate([[0.0], np.cumsum(rank_weights(len(pool) - 1, headline))])
    after = cumulated[np.minimum(ends, len(pool) - 1)] - cumulated[starts]  # a group before the trial left out
    before = cumulated[ends - 1] - cumulated[np.maximum(starts - 1, 0)]  # a group behind it, one rank further up
    own = (cumulated[ends - 1] - cumulated[starts])[group] * (sums[group] - test) / np.maximum(sizes[group] - 1, 1)
    means = sums / sizes
    upper = np.concatenate([[0.0], np.cumsum(after * means)])[:-1]
    lower = np.concatenate([np.cumsum((before * means)[::-1])[::-1], [0.0]])[1:]
    values = np.empty(len(pool))
    values[order] = (upper + lower)[group] + own
    return values + pool.test[0]


def degrees(trials: int, headline: int) -> float:
    """Degrees of freedom of the pooled jackknife, 2 (N/n - 1): fixed by simulation over N 20 to 300 and N/n 4 to 12."""
    return 2 * (trials / headline - 1)


def estimate(pool: Pool, headline: int) -> Estimate:
    """One arm: the expected test score of its search, with the error of the search."""
    variance = jackknife_variance(deleted(pool, headline))
    return Estimate(picked(pool, headline), variance, degrees(len(pool), headline))


def gap(a: Pool, b: Pool, headline: int, paired: bool) -> Estimate:
    """How much higher a search of arm `a` scores than one of `b`.

    Args:
        a: one arm.
        b: the other, as many trials.
        headline: n, trials of the search that the gap speaks of.
        paired: trial i of both arms has the same configuration, and is left out of both at once.

    Raises:
        ValueError: if the pools differ in size.
    """
    if len(a) != len(b):
        raise ValueError(f"pools must be equally large, not {len(a)} and {len(b)} trials.")
    left, right = deleted(a, headline), deleted(b, headline)
    variance = jackknife_variance(left - right) if paired else jackknife_variance(left) + jackknife_variance(right)
    return Estimate(picked(a, headline) - picked(b, headline), variance, degrees(len(a), headline))


def win_probability(a: Pool, b: Pool, headline: int, paired: bool, alpha: float) -> tuple[float, float, float]:
    """Probability that one search of `a` picks a model that scores above one of `b`, ties counting half.

    The interval is the jackknife's on the logit (coverage .96 to .99 in simulation, so slightly wide); above 200 trials it
    leaves out 200 blocks instead of single trials. A probability within 1/(2 N^2) of 0 or 1 shows no error of its own: its interval
    is Clopper and Pearson's for the N/n searches that the pool holds, all ending alike.

    Returns:
        (probability, low, high).
    """
    whole = _above(a, b, headline)
    parts = min(len(a), MOST_DELETIONS)
    blocks = [np.arange(part, len(a), parts) for part in range(parts)]
    edge = 0.5 / len(a) ** 2
    if not edge < whole < 1 - edge:
        return whole, *all_alike(whole, len(a) / headline, alpha)

    def spread(values: list[float]) -> float:
        return jackknife_variance(logit(np.clip(values, edge, 1 - edge)))

    if paired:
        variance = spread([_above(a.without(block), b.without(block), headline) for block in blocks])
    else:
        variance = spread([_above(a.without(block), b, headline) for block in blocks])
        variance += spread([_above(a, b.without(block), headline) for block in blocks])
    logits = Estimate(float(logit(whole)), variance, degrees(len(a), headline))
    low, high = expit(logits.interval(alpha))
    return whole, float(low), float(high)


def search_sd(pool: Pool, headline: int) -> float:
    """Standard deviation, from search to search, of the test score that a search of `headline` trials picks."""
    weights = trial_weights(pool.validation, headline)
    mean = weights @ pool.test
    return float(np.sqrt(weights @ (pool.test - mean) ** 2))


def trials_needed(
    search: Estimate, films: float, trials: int, headline: int, margin: float, alpha: float
) -> dict[str, int] | None:
    """The size of pool that has an 80 % chance of a verdict on a pair: {likely, safe}, at least 4 n, as `planning.sizes_needed`.

    Args:
        search: the gap with the error of the search alone, from `trials` trials an arm.
        films: the films' part of the variance.
        trials: N so far.
        headline: n.
        margin: the smallest gap that matters.
        alpha: error rate of the verdict.
    """
    sizes = range(FEWEST_PER_HEADLINE * headline, 1000 * trials + 1)
    return sizes_needed(search, films, trials, sizes, lambda planned: degrees(planned, headline), margin, alpha)


def _ranked(validation: Floats) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """Trials best first: their order, and of each rank its group of equal validation, and the groups' sizes."""
    order = np.argsort(-validation, kind="stable")
    ranked = validation[order]
    group = np.concatenate([[0], np.cumsum(ranked[1:] != ranked[:-1])])
    return order, group, np.bincount(group)


def _above(a: Pool, b: Pool, headline: int) -> float:
    """sum_jk wA_j wB_k [tA_j > tB_k, a tie one half]."""
    order = np.argsort(b.test, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(trial_weights(b.validation, headline)[order])])
    ranked = b.test[order]
    share = (below[np.searchsorted(ranked, a.test, "left")] + below[np.searchsorted(ranked, a.test, "right")]) / 2
    return float(np.clip(trial_weights(a.validation, headline) @ share, 0.0, 1.0))
