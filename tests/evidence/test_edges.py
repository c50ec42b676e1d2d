"""Edges of range against the binomial law and against draws of the search itself."""

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from pipeline.evidence import edges
from pipeline.evidence.edges import Range
from pipeline.search.space import sample


def test_the_printed_chances():
    assert edges.chance(3, 5, 0.1) == pytest.approx(0.00856, abs=5e-7)
    assert edges.chance(4, 10, 0.1) == pytest.approx(0.012795, abs=5e-7)
    assert edges.chance(0, 10, 0.1) == 1
    assert edges.chance(4, 10, 0.1) <= edges.RARE < edges.chance(3, 10, 0.1)


def test_positions_lie_on_the_search_scale():
    assert Range(0, 0.5).positions(np.array([0.0, 0.25, 0.5])) == pytest.approx([0, 0.5, 1])
    assert Range(1e-4, 1e-2, log=True).positions(np.array([1e-4, 1e-3, 1e-2])) == pytest.approx([0, 0.5, 1])
    # 45 is never drawn: the last step is 40.
    assert Range(8, 45, step=8, whole=True).positions(np.array([8, 24, 40])) == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("span", "spread"),
    [
        (Range(0.0, 0.5), FloatDistribution(0.0, 0.5)),
        (Range(3e-4, 1e-2, log=True), FloatDistribution(3e-4, 1e-2, log=True)),
        (Range(8, 48, step=8, whole=True), IntDistribution(8, 48, step=8)),
        (Range(0.0, 1.0, step=0.1), FloatDistribution(0.0, 1.0, step=0.1)),
        (Range(1, 30, whole=True), IntDistribution(1, 30)),
        (Range(1, 10, log=True, whole=True), IntDistribution(1, 10, log=True)),
        (Range(8, 256, log=True, whole=True), IntDistribution(8, 256, log=True)),
    ],
)
def test_the_share_of_a_tenth_is_how_often_the_search_draws_there(span, spread):
    rng = np.random.default_rng(5)
    drawn = span.positions(np.array([sample(spread, rng) for _ in range(20_000)], float))
    for upper in (False, True):
        assert edges.outer(drawn, upper).mean() == pytest.approx(span.share(upper), abs=0.01)


def test_the_share_of_steps_is_counted():
    assert Range(8, 48, step=8, whole=True).share(True) == pytest.approx(1 / 6)
    assert Range(0.0, 1.0, step=0.1).share(False) == pytest.approx(2 / 11)
    assert Range(0.0, 1.0, step=0.1).share(True) == pytest.approx(2 / 11)
    assert Range(0.0, 0.3, step=0.1).share(True) == pytest.approx(1 / 4)
