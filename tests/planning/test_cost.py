"""What was measured comes to the sums that it must."""

from dataclasses import replace

import pytest

from pipeline.config import Model, Task
from pipeline.planning import cost
from pipeline.planning.ledger import Arm, Kind
from pipeline.planning.trial import load
from planning.examples import ARM, CONFIG, INPUTS, RECIPE, terms


def test_one_worker_does_one_run_after_another() -> None:
    found = cost.of_arm(ARM, terms(lanes=1))
    # A run takes 2 s, 3 s an epoch and 1 s; four epochs are likely, eight the most; a second passes before the next.
    assert (found.tune.likely, found.tune.most) == pytest.approx((7 + 6 * 16, 7 + 6 * 28))
    # Three of the best configuration, two of the recipe, which runs all its ten epochs; then the champion, 4 s of libraries.
    assert found.replicate.likely == pytest.approx(7 + 3 * 16 + 2 * 34 + 4)
    assert (found.epochs.likely, found.epochs.most) == pytest.approx((6 * 4 + 3 * 4 + 20, 6 * 8 + 3 * 8 + 20))


def test_two_workers_take_half_and_wait_for_the_last_run() -> None:
    found = cost.of_arm(ARM, terms(lanes=2))
    assert found.tune.likely == pytest.approx(7 + (6 * 16 + 16 / 2) / 2)


def test_more_workers_than_separate_studies_are_of_no_use_to_a_search() -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, design="studies", studies=3))
    costs = [cost.of_arm(ARM, terms(lanes, config)).tune.likely for lanes in (2, 3, 5)]
    assert costs[0] > costs[1] == costs[2]


def test_what_is_finished_costs_nothing() -> None:
    searched = Arm("rnn", [Kind("trial", 10, 10, [CONFIG]), Kind("tuned", 3, 0, [CONFIG]), Kind("article", 3, 3, [RECIPE])])
    found = cost.of_arm(searched, terms(lanes=1))
    assert found.tune == cost.Amount(0.0, 0.0)
    assert found.epochs == cost.Amount(12.0, 24.0)


def test_seconds_follow_the_load() -> None:
    wide = replace(CONFIG, task=replace(CONFIG.task, length=40))
    assert load(wide, INPUTS) == 2 * load(CONFIG, INPUTS)
    again = Arm("rnn", [Kind("trial", 6, 0, [wide])])
    assert cost.of_arm(again, terms(lanes=1)).tune.likely == pytest.approx(7 + 6 * (2 + 4 * 6 + 2 + 1))


def test_wider_deeper_and_two_way_networks_have_more_load() -> None:
    wider, deeper = (replace(CONFIG, model=model) for model in (Model(units=64), Model(layers=2)))
    both_ways = replace(CONFIG, cell=replace(CONFIG.cell, type="bi_rnn"))
    assert load(CONFIG, INPUTS) < load(wider, INPUTS)
    assert load(both_ways, INPUTS) == 2 * load(CONFIG, INPUTS)
    assert load(deeper, INPUTS) == 2 * load(CONFIG, INPUTS)


def test_memory_grows_with_a_workers_runs() -> None:
    assert [cost.of_arm(ARM, terms(lanes)).memory for lanes in (1, 2)] == [1.01e9 + 6e7, 1.01e9 + 3e7]


def test_disk_holds_logits_thrice_and_models() -> None:
    logits = 1500 * 2 * 3
    assert cost.of_arm(ARM, terms(lanes=1)).disk == 11 * (logits + cost.TRACKED) + (3 + 3) * 5000 * 4


def test_arrays_that_are_to_come_take_what_those_of_the_reviews_do() -> None:
    task = Task(name="imdb", source="aclimdb", length=100)
    megabytes = cost.arrays(replace(CONFIG, task=task), INPUTS) / 2e6
    # An archive of 84 MB, arrays of 65.
    assert megabytes == pytest.approx(84 + 65, abs=3)
    assert cost.arrays(replace(CONFIG, task=replace(task, source="digits")), INPUTS) == 0


def test_a_workers_first_run_does_not_tell_what_building_takes() -> None:
    probe = terms(lanes=1).probe
    slow_start = replace(probe, taken=[replace(probe.taken[0], once=9.0), *probe.taken[1:]])
    assert slow_start.once("rnn") == 2.0
    assert replace(probe, taken=[replace(probe.taken[0], once=9.0)]).once("rnn") == 9.0


def test_growth_is_what_later_runs_add() -> None:
    probe = terms(lanes=1).probe
    sizes = [replace(probe.taken[0], memory=size, started=float(place)) for place, size in enumerate((100, 500, 530, 560))]
    assert replace(probe, taken=sizes).growth == 30
    assert replace(probe, taken=sizes[:2]).growth == 400
    assert replace(probe, taken=sizes[:1]).growth == 0
    assert replace(probe, taken=[*sizes[:2], replace(sizes[2], memory=50)]).growth == 0
