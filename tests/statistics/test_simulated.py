"""Error rates of the verdict in simulated worlds: false winners, coverage, power.

Methods that must fail are included. Scores are points of accuracy. A configuration is below the
best of its cell by a gamma variate, or is broken. The seed's error, common to validation and test,
and separate noise of each are added. Each rate has 1,000 worlds with fixed seeds; its limit is
three standard errors of simulation above the nominal 5 %. `pytest -m simulation -s` prints them.

Most rates come from `batched`, which computes the estimator for all worlds at once. Three tests
compare it with the functions of `pipeline.statistics`.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import batched
import numpy as np
import pytest
from batched import Estimates, Pools
from numpy.random import Generator
from scipy import special, stats

from pipeline.statistics import decision, shared_search
from pipeline.statistics import repeated_search as studies
from pipeline.statistics.estimate import Estimate, group_variance
from study_copy import ROOT

pytestmark = pytest.mark.simulation

RATES = ROOT / "docs/error_rates.csv"
WORLDS = 1000
FALSE = 0.071
COVERED = 0.929
BUDGET = 10
SEED, VALIDATION, TEST = 0.40, 0.35, 0.15


@dataclass(frozen=True)
class Cell:
    """Shortfall of random configurations: Gamma(`shape`, `scale`), U(8, 35) if `broken`."""

    shape: float
    scale: float
    broken: float

    @cached_property
    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        """Points, and the distribution function at them."""
        points = np.concatenate([np.linspace(0, 8, 4000), np.linspace(8.01, 60, 4000)])
        spread = (1 - self.broken) * stats.gamma.cdf(points, self.shape, scale=self.scale)
        return points, spread + self.broken * np.clip((points - 8) / 27, 0, 1)

    def shortfall(self, chance: np.ndarray) -> np.ndarray:
        """The quantile function."""
        points, below = self.distribution
        return np.interp(chance, below, points)


BASE, NARROW, WIDE = Cell(1.5, 2.0, 0.10), Cell(1.0, 2.0, 0.05), Cell(2.0, 2.5, 0.20)


def levels(
    generator: Generator, cells: list[Cell], size: tuple[int, ...], rho: float
) -> np.ndarray:
    """Minus the shortfall of common configurations, float [cells, *size].

    The cells are related by a Gaussian copula with correlation `rho`.
    """
    common = generator.normal(size=size)
    latent = [np.sqrt(rho) * common + np.sqrt(1 - rho) * generator.normal(size=size) for _ in cells]
    return np.array(
        [-cell.shortfall(special.ndtr(one)) for cell, one in zip(cells, latent, strict=True)]
    )


def trained(
    generator: Generator, level: np.ndarray, noise: float = TEST
) -> tuple[np.ndarray, np.ndarray]:
    """Validation and test score of one run of each configuration."""
    reached = level + generator.normal(0, SEED, level.shape)
    return reached + generator.normal(0, VALIDATION, level.shape), reached + generator.normal(
        0, noise, level.shape
    )


def searched(generator: Generator, level: np.ndarray) -> np.ndarray:
    """Test score and configuration level of the run that each search (last axis) picks."""
    validation, test = trained(generator, level)
    best = validation.argmax(axis=-1)[..., None]
    return np.stack([np.take_along_axis(values, best, -1)[..., 0] for values in (test, level)])


@cache
def truth(cell: Cell) -> np.ndarray:
    """Test scores of what 200,000 searches of the budget pick."""
    generator = np.random.default_rng(99)
    return searched(generator, levels(generator, [cell], (200_000, BUDGET), 0.0)[0])[0]


def pools(
    generator: Generator,
    cells: list[Cell],
    gap: float = 0.0,
    rho: float = 0.8,
    trials: int = 60,
    worlds: int = WORLDS,
) -> list[Pools]:
    """The pools of each cell, with equal expected scores, except the first: `gap` better."""
    validation, test = trained(generator, levels(generator, cells, (worlds, trials), rho))
    offsets = {cell: truth(cell).mean() if len(set(cells)) > 1 else 0.0 for cell in set(cells)}
    for c, cell in enumerate(cells):
        test[c] += (gap if c == 0 else 0.0) - offsets[cell]
    return [Pools(*scores) for scores in zip(validation, test, strict=True)]


def retrained(
    generator: Generator, studies: int, trials: int, seeds: int, rho: float, worlds: int = WORLDS
) -> np.ndarray:
    """Scores of two equal cells, float [2, worlds, repeats, seeds].

    They are new runs of the configuration that the search of each repeat picked.
    """
    _, picked = searched(generator, levels(generator, [BASE, BASE], (worlds, studies, trials), rho))
    return trained(generator, np.repeat(picked[..., None], seeds, axis=-1))[1]


def wins(gaps: Estimates) -> np.ndarray:
    return batched.p_superior(gaps) <= 0.05


def covers(gaps: Estimates, value: float) -> np.ndarray:
    low, high = gaps.interval(0.05)
    return (low <= value) & (value <= high)


def together(gaps: list[Estimate]) -> Estimates:
    """One estimate a world, as the functions of `batched` take them."""
    return Estimates(
        *(np.array([getattr(gap, field) for gap in gaps]) for field in ("value", "variance", "df"))
    )


@pytest.fixture
def rate(
    record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> Callable[..., float]:
    """Record a share of hits by test name, and compare it with docs/error_rates.csv."""
    rows = csv.DictReader(RATES.read_text(encoding="utf-8").splitlines())
    published = {(row["test"], row["name"]): float(row["rate"]) for row in rows}

    def note(hits: list[bool] | np.ndarray, name: str = "rate") -> float:
        share = float(np.mean(hits))
        record_property(name, share)
        # Another machine's last digits may move a world or two across a threshold.
        assert abs(share - published.get((request.node.name, name), share)) <= 0.003
        print(f"\n{request.node.name}: {name} {share:.3f} of {len(hits)}", end="")
        return share

    return note


@pytest.fixture
def generator() -> Generator:
    return np.random.default_rng(20)


def tied_and_failed(
    generator: Generator, trials: int = 24, worlds: int = 40
) -> tuple[Pools, Pools]:
    """Pools of two cells, a third each: continuous, with ties, with ties and failed trials."""
    a, b = pools(generator, [BASE, WIDE], 1.0, trials=trials, worlds=worlds)
    for arm in (a, b):
        arm.validation[1::3], arm.test[1::3] = arm.validation[1::3].round(), arm.test[1::3].round()
        arm.validation[2::3, ::5], arm.test[2::3, ::5] = -np.inf, -37.0
        arm.validation[2::3] = arm.validation[2::3].round()
    a.test[0] += 100  # wins always
    a.validation[3], a.test[3], b.test[3] = 0.0, -1.0, -1.0  # no difference and no error
    return a, b


def assert_same(found: object, expected: object) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def fields(gaps: Estimates | list[Estimate]) -> np.ndarray:
    """Value, variance and degrees of freedom, float [3, worlds]."""
    whole = gaps if isinstance(gaps, Estimates) else together(gaps)
    return np.array(np.broadcast_arrays(whole.value, whole.variance, whole.df))


@pytest.mark.parametrize("budget", [1, 4, 6])
def test_the_batched_estimator_is_the_scalar_one(generator, budget):
    a, b = tied_and_failed(generator)
    pairs = [(a.pool(world), b.pool(world)) for world in range(len(a.test))]
    assert_same(
        fields(batched.estimate(a, budget)),
        fields([shared_search.estimate(ours, budget) for ours, _ in pairs]),
    )
    for paired in (True, False):
        assert_same(
            fields(batched.gap(a, b, budget, paired)),
            fields([shared_search.gap(*pair, budget, paired) for pair in pairs]),
        )
    wins_of = np.transpose(
        [shared_search.win_probability(*pair, budget, True, 0.05) for pair in pairs]
    )
    assert_same(batched.win_probability(a, b, budget, 0.05), wins_of)


def test_the_batched_verdict_is_the_scalar_one(generator):
    a, b = tied_and_failed(generator)
    gaps = batched.gap(a, b, 4, True)
    each = [Estimate(*(float(field) for field in row)) for row in fields(gaps).T]
    assert_same(batched.p_superior(gaps), [decision.p_superior(gap) for gap in each])
    assert_same(batched.p_equivalent(gaps, 1.5), [decision.p_equivalent(gap, 1.5) for gap in each])
    assert_same(np.transpose(gaps.interval(0.05)), [gap.interval(0.05) for gap in each])
    grouped = [decision.judge(each[start : start + 5], 1.5, 0.05) for start in range(0, 40, 5)]
    for p, adjusted in (("p_superior", "p_superior_holm"), ("p_equivalent", "p_equivalent_holm")):
        values, expected = (
            [[getattr(row, name) for row in rows] for rows in grouped] for name in (p, adjusted)
        )
        assert_same(batched.holm(np.array(values)), expected)
    better = [[row.word in (decision.BETTER, decision.WITHIN) for row in rows] for rows in grouped]
    assert ((batched.holm(batched.p_superior(gaps).reshape(8, 5)) <= 0.05) == better).all()
    assert 0 < np.mean(better) < 1


@pytest.mark.parametrize("each", [1, 5])
def test_the_batched_film_variance_is_the_scalar_one(generator, each):
    gaps = batched.gap(*tied_and_failed(generator), 4, True)
    right = generator.random((40, 60))
    right[3] = 0.5  # no error of the films, and none of the search
    scalar = [group_variance(row, np.repeat(np.arange(60 // each), each)) for row in right]
    variance, df = batched.group_variance(right, each)
    assert_same(variance, [row[0] for row in scalar])
    assert {df} == {row[1] for row in scalar}
    rows = zip(fields(gaps).T, scalar, strict=True)
    assert_same(
        fields(gaps.plus(variance, df)),
        fields([Estimate(*map(float, row)).plus(*group) for row, group in rows]),
    )


@pytest.mark.parametrize(
    ("cells", "rho", "paired"),
    [
        pytest.param([BASE, BASE], 0.8, True, id="common configurations"),
        pytest.param([BASE, BASE], 0.0, True, id="common configurations, unlike answers"),
        pytest.param([BASE, BASE], 0.0, False, id="own configurations"),
        pytest.param([NARROW, NARROW], 0.8, True, id="narrow"),
        pytest.param([WIDE, WIDE], 0.8, True, id="wide"),
        pytest.param([WIDE, BASE], 0.8, True, id="wide against base"),
    ],
)
def test_two_equal_cells_seldom_have_a_winner(generator, rate, cells, rho, paired):
    assert rate(wins(batched.gap(*pools(generator, cells, rho=rho), BUDGET, paired))) <= FALSE


def test_five_equal_cells_seldom_have_any_winner(generator, rate):
    pairs = combinations(pools(generator, [BASE] * 5), 2)
    p = np.array([batched.p_superior(batched.gap(a, b, BUDGET, True)) for a, b in pairs]).T
    without_holm = rate(p.min(axis=-1) <= 0.05, "without Holm")
    assert rate((batched.holm(p) <= 0.05).any(axis=-1)) <= FALSE
    assert without_holm > FALSE


@pytest.mark.parametrize(("rho", "paired"), [(0.0, False), (0.8, True)], ids=["Welch", "paired"])
def test_five_studies_of_equal_cells_seldom_have_a_winner_and_cover_the_gap(
    generator, rate, rho, paired
):
    def gaps(apart: float) -> Estimates:
        a, b = retrained(generator, studies=5, trials=10, seeds=2, rho=rho).mean(axis=-1)
        return together(
            [studies.gap(ours + apart, theirs, paired) for ours, theirs in zip(a, b, strict=True)]
        )

    assert rate(wins(gaps(0.0)), "false winner") <= FALSE
    assert rate(covers(gaps(0.5), 0.5), "coverage") >= COVERED


@pytest.mark.parametrize(("gap", "power"), [(0.5, 0.45), (1.0, 0.93)])
def test_a_pool_sees_a_gap_and_covers_it(generator, rate, gap, power):
    gaps = batched.gap(*pools(generator, [BASE, BASE], gap), BUDGET, True)
    assert rate(covers(gaps, gap), "coverage") >= COVERED
    assert rate(wins(gaps) & (gaps.value > 0), "power") >= power
    assert rate(wins(gaps) & (gaps.value < 0), "wrong winner") <= 0.03


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_cells_a_margin_apart_are_seldom_called_equivalent(generator, rate, margin):
    gaps = batched.gap(*pools(generator, [BASE, BASE], margin), BUDGET, True)
    assert rate(batched.p_equivalent(gaps, margin) <= 0.05) <= FALSE


@pytest.mark.parametrize("cell", [BASE, NARROW, WIDE], ids=["base", "narrow", "wide"])
def test_the_interval_of_one_cell_covers(generator, rate, cell):
    (alone,) = pools(generator, [cell])
    assert rate(covers(batched.estimate(alone, BUDGET), truth(cell).mean())) >= COVERED


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0])
def test_the_interval_of_the_probability_of_a_win_covers(generator, rate, gap):
    scores = np.sort(truth(BASE))
    probability = np.searchsorted(scores, scores + gap).mean() / len(scores)
    _, low, high = batched.win_probability(*pools(generator, [BASE, BASE], gap), BUDGET, 0.05)
    assert (
        rate((low <= probability) & (probability <= high), f"coverage of {probability:.3f}")
        >= COVERED
    )


def reviewed(
    generator: Generator, groups: int = 1000, each: int = 25, effect: float = 0.06
) -> list[Estimates]:
    """Gaps of two equal cells on rows in groups; cells differ in a group by `effect`.

    As [search alone, with independent rows, with groups].
    """
    group, reviews = np.repeat(np.arange(groups), each), groups * each
    level = levels(generator, [BASE, BASE], (WORLDS, 60), 0.8)
    validation, reached = trained(generator, level, noise=0.0)
    accuracy = (87 + reached) / 100
    order = np.argsort(accuracy, axis=-1)
    ranked = np.take_along_axis(accuracy, order, -1)
    weights = batched.trial_weights(batched.ranks(validation), BUDGET)
    failing = batched.from_zero(np.take_along_axis(weights, order, -1))
    test, parts = np.empty_like(accuracy), []
    for world in range(WORLDS):
        difficulty, right = generator.random(reviews), []
        for c in range(2):
            needed = difficulty - generator.normal(0, effect, groups)[group]
            failed = np.searchsorted(
                ranked[c, world], needed, "right"
            )  # how many trials get each review wrong
            test[c, world, order[c, world]] = (
                np.cumsum(np.bincount(failed, minlength=61))[:60] / reviews
            )
            right.append(1 - failing[c, world][failed])
        apart = right[0] - right[1]
        parts.append([batched.group_variance(apart, size)[0] for size in (1, each)])
    search = batched.gap(*map(Pools, validation, test), BUDGET, True)
    separate, whole = np.array(parts).T
    return [search, search.plus(separate, reviews - 1), search.plus(whole, groups - 1)]


def test_new_films_seldom_make_a_winner_of_equal_cells(generator, rate):
    search, separate, whole = (wins(gaps) for gaps in reviewed(generator))
    assert rate(whole, "groups") <= FALSE
    assert rate(search, "without films") > FALSE
    assert rate(separate, "without the likeness of a film's reviews") > FALSE


def test_seeds_of_one_winner_each_fail(generator, rate):
    """They tell two configurations apart, not two cells: about .46 in place of .05."""
    a, b = retrained(generator, studies=1, trials=45, seeds=15, rho=0.0)[:, :, 0]
    gaps = together([studies.gap(ours, theirs, False) for ours, theirs in zip(a, b, strict=True)])
    assert rate(wins(gaps)) > 0.3


def test_a_percentile_bootstrap_over_five_studies_fails(generator, rate):
    """Five numbers do not show their own tail: about .12 in place of .05."""
    a, b = retrained(generator, studies=5, trials=10, seeds=2, rho=0.0).mean(axis=-1)
    ours, theirs = generator.integers(0, 5, (2, 1000, 5))
    low, high = np.quantile(
        a[:, ours].mean(axis=-1) - b[:, theirs].mean(axis=-1), [0.025, 0.975], axis=1
    )
    assert rate((low > 0) | (high < 0)) > FALSE


def decided(gap: Estimate, margin: float) -> bool:
    return decision.judge([gap], margin, 0.05)[0].word != decision.UNDECIDED


def resolved(
    gaps: np.ndarray, study: Callable[..., Estimate], needed: Callable[[Estimate], dict]
) -> dict[str, list[bool]]:
    """Whether a second study of the size needed decides the undecided pairs of a first."""
    found: dict[str, list[bool]] = {"likely": [], "safe": []}
    for gap in gaps:
        first = study(gap)
        if not decided(first, 0.5):
            for name, size in needed(first).items():
                found[name].append(decided(study(gap, size), 0.5))
    return found


def test_as_many_trials_as_are_said_to_be_needed_mostly_decide(generator, rate):
    """Nominal is 80 % at a gap equal to the margin; the first study only estimates the error."""

    def study(gap: float, trials: int = 60) -> Estimate:
        a, b = pools(generator, [BASE, BASE], gap, trials=trials, worlds=1)
        return shared_search.gap(a.pool(0), b.pool(0), BUDGET, True)

    found = resolved(
        generator.normal(0, 0.6, WORLDS),
        study,
        lambda gap: shared_search.trials_needed(gap, 0.0, 60, BUDGET, 0.5, 0.05),
    )
    assert rate(found["likely"], "likely") >= 0.70
    assert rate(found["safe"], "safe") >= 0.90


def test_as_many_studies_as_are_said_to_be_needed_mostly_decide(generator, rate):
    def study(gap: float, count: int = 5) -> Estimate:
        a, b = retrained(generator, count, BUDGET, seeds=2, rho=0.0, worlds=1).mean(axis=-1)[:, 0]
        return studies.gap(a + gap, b, False)

    found = resolved(
        generator.normal(0, 0.6, WORLDS // 2),
        study,
        lambda gap: studies.repeats_needed(gap, 0.0, 5, 0.5, 0.05, False),
    )
    assert rate(found["likely"], "likely") >= 0.70
    assert rate(found["safe"], "safe") >= 0.85
