"""Range edges: positions, and the rate of warnings where scores are level and where they rise."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.statistics import range_edges
from pipeline.statistics.range_edges import Range, span


def test_positions_lie_on_the_search_scale():
    assert Range(0, 0.5).positions(np.array([0.0, 0.25, 0.5])) == pytest.approx([0, 0.5, 1])
    assert Range(1e-4, 1e-2, log=True).positions(np.array([1e-4, 1e-3, 1e-2])) == pytest.approx(
        [0, 0.5, 1]
    )
    # 45 is never drawn: the last step is 40.
    assert Range(8, 45, step=8).positions(np.array([8, 24, 40])) == pytest.approx([0, 0.5, 1])
    assert Range(16, 64, choices=(16, 32, 64)).positions(np.array([16, 32, 64])) == pytest.approx(
        [0, 0.5, 1]
    )


def test_choices_are_a_range_where_they_are_three_numbers():
    assert span({"choices": [64, 16, 32], "log": False}) == Range(16, 64, choices=(16, 32, 64))
    for choices in ([32, 64], [None, 1.0, 2.0], [True, False], ["adam", "rmsprop", "sgd"]):
        assert span({"choices": choices, "log": False}) is None
    assert span({"low": 8, "high": 48, "step": 8, "log": False}) == Range(8, 48, step=8)
    assert span({"low": 8, "high": 12, "step": 8, "log": False}) is None


def parabola(top: float) -> Callable[[np.ndarray], np.ndarray]:
    """Scores that are best at `top`, in ranges from the lower end, and lose 4 a range squared."""
    return lambda places: -4 * (places - top) ** 2


def found(scores: np.ndarray, places: np.ndarray, arms: int = 1) -> list[range_edges.Edge]:
    """The edges of three ranges; those of the first are at `places`, the others mid-range."""
    spans = {key: Range(0.0, 1.0) for key in ("a", "b", "c")}
    trials = [{"a": place, "b": 0.5, "c": 0.5} for place in places]
    return range_edges.edges(spans, trials, scores, trials[int(np.argmax(scores))], arms)


def warned(
    score: Callable[[np.ndarray], np.ndarray], noise: float, trials: int, draws: int, seed: int
) -> float:
    """In which share of `draws` searches an end is warned of."""
    rng, warnings = np.random.default_rng(seed), 0
    for _ in range(draws):
        places = rng.random(trials)
        warnings += any(
            edge.warning for edge in found(score(places) + rng.normal(0, noise, trials), places)
        )
    return warnings / draws


@pytest.mark.parametrize("upper", [False, True])
def test_scores_that_rise_to_the_end_are_a_warning_and_level_ones_a_note(upper):
    rng = np.random.default_rng(0)
    places = rng.random(30)
    away = 1 - places if upper else places
    (edge,) = found(-away + rng.normal(0, 0.02, 30), places)
    assert (edge.key, edge.upper, edge.end, edge.warning) == ("a", upper, float(upper), True)
    side = "above 1" if upper else "below 0"
    assert edge.remedy == f"search a {side} too (conf/space), if such values make sense"
    assert edge.chance_any == pytest.approx(6 * edge.chance)
    (more,) = found(-away + np.random.default_rng(1).normal(0, 0.02, 30), places, arms=3)
    assert more.chance_any == pytest.approx(18 * more.chance)
    # Best at the end, where it levels off.
    scores = -4 * away**2
    scores[np.argmin(away)] += 0.01
    (edge,) = found(scores + rng.normal(0, 1e-3, 30), places)
    assert not edge.warning


def test_a_best_trial_within_the_range_is_no_edge():
    places = np.linspace(0, 1, 30)
    assert found(parabola(0.5)(places), places) == []


def test_too_few_trials_or_values_and_equal_scores_have_chance_one():
    places = np.linspace(0, 1, 30)
    assert range_edges.slope_chance(places[-5:], places[-5:], True) == 1
    assert range_edges.slope_chance(np.repeat([0.0, 1.0], 15), places, True) == 1
    assert range_edges.slope_chance(places, np.full(30, 0.7), True) == 1
    # Three values are a parabola, even when two of them alone lie near the end.
    assert (
        range_edges.slope_chance(
            np.tile([0.0, 0.5, 1.0], 10), np.tile([0.0, 0.5, 1.0], 10) + places / 100, True
        )
        < 1e-6
    )


def test_ends_of_choices_are_returned_only_as_warnings():
    spans = {"a": Range(16, 64, choices=(16, 32, 64))}
    trials = [{"a": (16, 32, 64)[place % 3]} for place in range(30)]
    scores = np.random.default_rng(0).normal(0.8, 0.01, 30)
    assert range_edges.edges(spans, trials, scores, {"a": 64}, 1) == []
    rising = scores + 0.1 * np.array([trial["a"] / 64 for trial in trials])
    (edge,) = range_edges.edges(spans, trials, rising, {"a": 64}, 1)
    assert edge.warning


@pytest.mark.simulation
def test_level_ends_are_rarely_warned_of_and_rising_ones_mostly():
    told = {}
    for trials in (20, 30, 60):
        for name, score in (
            ("no effect", lambda places: 0 * places),
            ("best at .8", parabola(0.8)),
            ("best at the end", parabola(1.0)),
        ):
            told[name, trials] = warned(score, 0.3, trials, 1000, seed=trials)
            assert told[name, trials] <= range_edges.LEVEL, told
        for top in (1.5, 2.0):
            told[top, trials] = warned(parabola(top), 0.3, trials, 1000, seed=trials)
    print(told)
    # The best values are half a range, or a whole one, beyond the end; scores scatter by 0.3.
    assert [told[2.0, trials] > share for trials, share in ((20, 0.6), (30, 0.8), (60, 0.9))] == [
        True
    ] * 3
    assert told[1.5, 60] > 0.8
