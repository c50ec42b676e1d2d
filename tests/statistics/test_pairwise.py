"""All pairs of a study: the numbers of a row, their invariances, errors, and the groups."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline import metrics as scores
from pipeline.statistics import decision, repeated_search, shared_search
from pipeline.statistics.estimate import Estimate
from pipeline.statistics.pairwise import Groups, Rules, compare_repeated, compare_shared
from pipeline.statistics.shared_search import Pool

RULES = Rules(budget=6, margin=1.0)
NUMBERS = ("gap", "low", "high", "search_low", "search_high", "se", "search_se")
CHANCES = (
    "p_superior",
    "p_equivalent",
    "p_superior_holm",
    "p_equivalent_holm",
    "probability_within_margin",
    "df",
)


@pytest.fixture
def pools() -> dict[str, Pool]:
    """Three cells over 36 common configurations, in points; one trial of `lstm` failed."""
    generator = np.random.default_rng(5)
    shortfall = generator.gamma(1.5, 2, 36)
    found = {}
    for cell, best in {"gru": 88.0, "lstm": 87.7, "rnn": 83.0}.items():
        seed = generator.normal(0, 0.4, 36)
        level = best - shortfall * generator.uniform(0.7, 1.3, 36) + seed
        found[cell] = Pool(
            level + generator.normal(0, 0.35, 36), level + generator.normal(0, 0.15, 36)
        )
    found["lstm"].validation[7], found["lstm"].test[7] = -np.inf, 50.0
    return found


@pytest.fixture
def separate() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(6)
    return {
        cell: generator.normal(mean, 0.6, 5)
        for cell, mean in {"gru": 87.0, "lstm": 86.4, "rnn": 83.0}.items()
    }


@pytest.fixture
def groups() -> Groups:
    """Contributions in points of 400 rows in 40 groups, which differ in difficulty by cell."""
    generator = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 10)
    return Groups(
        {
            c: 100 * generator.normal(0.8, 0.02, 40)[groups] + generator.normal(0, 1, 400)
            for c in ("gru", "lstm", "rnn")
        },
        groups,
    )


def near(row: dict, names: tuple[str, ...], **changed: float) -> dict:
    return {name: pytest.approx(changed.get(name, row[name]), abs=1e-9) for name in names}


def of(row: dict, names: tuple[str, ...]) -> dict:
    return {name: row[name] for name in names}


def test_every_pair_has_its_row_in_order(pools):
    rows = compare_shared(pools, RULES)
    assert [(row["a"], row["b"]) for row in rows] == [
        ("gru", "lstm"),
        ("gru", "rnn"),
        ("lstm", "rnn"),
    ]
    assert compare_shared({"gru": pools["gru"]}, RULES) == []


@pytest.mark.parametrize("paired", [True, False])
def test_a_row_says_what_the_pool_says(pools, paired):
    gap = shared_search.gap(pools["gru"], pools["lstm"], 6, paired)
    row = compare_shared(pools, replace(RULES, paired=paired))[0]
    assert (row["gap"], row["se"], row["df"], row["group_se"]) == (gap.value, gap.se, gap.df, 0)
    assert (
        (row["low"], row["high"]) == (row["search_low"], row["search_high"]) == gap.interval(0.05)
    )
    wins = row["probability_a_beats_b"], row["probability_low"], row["probability_high"]
    assert wins == shared_search.win_probability(pools["gru"], pools["lstm"], 6, paired, 0.05)


@pytest.mark.parametrize("paired", [True, False])
def test_a_row_says_what_the_studies_say(separate, paired):
    gap = repeated_search.gap(separate["gru"], separate["lstm"], paired)
    row = compare_repeated(separate, replace(RULES, paired=paired))[0]
    assert (row["gap"], row["se"], row["df"]) == (gap.value, gap.se, gap.df)
    assert row["probability_a_beats_b"] == repeated_search.win_probability(
        separate["gru"], separate["lstm"]
    )
    assert (row["probability_low"], row["probability_high"]) == (None, None)


def test_groups_widen_the_verdict_but_not_the_interval_of_the_search(pools, groups):
    plain, total = compare_shared(pools, RULES)[0], compare_shared(pools, RULES, groups)[0]
    variance, df = groups.variance("gru", "lstm")
    assert total["se"] ** 2 == pytest.approx(plain["se"] ** 2 + variance)
    assert total["group_se"] ** 2 == pytest.approx(variance)
    assert total["df"] == pytest.approx(
        total["se"] ** 4 / (plain["se"] ** 4 / plain["df"] + variance**2 / df)
    )
    assert total["high"] - total["low"] > plain["high"] - plain["low"]
    assert (total["search_low"], total["search_high"], total["search_df"]) == (
        plain["low"],
        plain["high"],
        plain["df"],
    )


@pytest.mark.parametrize("design", ["pools", "separate"])
def test_swapping_the_arms_flips_the_sign_and_keeps_the_rest(request, groups, design):
    arms, compare = (
        request.getfixturevalue(design),
        compare_shared if design == "pools" else compare_repeated,
    )
    row = compare({"gru": arms["gru"], "lstm": arms["lstm"]}, RULES, groups)[0]
    swapped = compare({"lstm": arms["lstm"], "gru": arms["gru"]}, RULES, groups)[0]
    assert of(swapped, CHANCES) == near(row, CHANCES)
    assert (swapped["verdict"], swapped["trials_needed"]) == (row["verdict"], row["trials_needed"])
    assert (swapped["gap"], swapped["low"], swapped["high"]) == pytest.approx(
        (-row["gap"], -row["high"], -row["low"])
    )
    assert swapped["probability_a_beats_b"] == pytest.approx(1 - row["probability_a_beats_b"])


def test_a_constant_added_to_all_test_scores_changes_no_row(pools, groups):
    raised = {cell: Pool(trials.validation, trials.test + 5) for cell, trials in pools.items()}
    for row, other in zip(
        compare_shared(pools, RULES, groups), compare_shared(raised, RULES, groups), strict=True
    ):
        assert of(other, NUMBERS + CHANCES) == near(row, NUMBERS + CHANCES)
        assert other["verdict"] == row["verdict"]


def test_only_the_order_of_the_validation_scores_counts(pools):
    squeezed = {
        cell: Pool(np.tanh(trials.validation / 100), trials.test) for cell, trials in pools.items()
    }
    assert compare_shared(squeezed, RULES) == compare_shared(pools, RULES)


def test_fractions_give_the_verdicts_of_points(pools, groups):
    small = {
        cell: Pool(trials.validation / 100, trials.test / 100) for cell, trials in pools.items()
    }
    shares = Groups({cell: right / 100 for cell, right in groups.right.items()}, groups.groups)
    rows = (
        compare_shared(pools, RULES, groups),
        compare_shared(small, replace(RULES, margin=0.01), shares),
    )
    for row, other in zip(*rows, strict=True):
        assert of(other, CHANCES) == near(row, CHANCES)
        assert of(other, NUMBERS) == near({name: row[name] / 100 for name in NUMBERS}, NUMBERS)
        assert (other["verdict"], other["trials_needed"]) == (row["verdict"], row["trials_needed"])


def test_the_order_of_the_trials_does_not_matter(pools):
    order = np.random.default_rng(0).permutation(36)
    moved = {
        cell: Pool(trials.validation[order], trials.test[order]) for cell, trials in pools.items()
    }
    for row, other in zip(compare_shared(pools, RULES), compare_shared(moved, RULES), strict=True):
        assert of(other, NUMBERS + CHANCES) == near(row, NUMBERS + CHANCES)


def test_pairing_needs_the_trials_in_one_order(pools):
    order = np.random.default_rng(0).permutation(36)
    mixed = pools | {"lstm": Pool(pools["lstm"].validation[order], pools["lstm"].test[order])}
    assert compare_shared(mixed, RULES)[0]["se"] > 1.1 * compare_shared(pools, RULES)[0]["se"]


def test_all_pairs_are_corrected_together(pools):
    rows = compare_shared(pools, RULES)
    assert [row["p_superior_holm"] for row in rows] == pytest.approx(
        decision.holm([row["p_superior"] for row in rows])
    )
    alone = compare_shared({cell: pools[cell] for cell in ("gru", "rnn")}, RULES)[0]
    assert rows[1]["p_superior_holm"] > alone["p_superior_holm"] == alone["p_superior"]


def test_two_looks_share_the_error_rate(pools):
    twice, half = (
        compare_shared(pools, replace(RULES, looks=2)),
        compare_shared(pools, replace(RULES, alpha=0.025)),
    )
    assert twice == half
    assert twice[0]["high"] > compare_shared(pools, RULES)[0]["high"]


def test_only_undecided_pairs_have_trials_needed(pools):
    rows = compare_shared(pools, replace(RULES, margin=0.3))
    assert {row["verdict"] for row in rows} == {decision.BETTER, decision.UNDECIDED}
    for row in rows:
        assert (row["trials_needed"] is not None) == (row["verdict"] == decision.UNDECIDED)


def test_trials_needed_exceed_the_present_size(pools):
    """A gap between the two verdicts, whose own number of trials has the required power."""
    gap = shared_search.gap(pools["gru"], pools["lstm"], 6, True)
    close = {
        "gru": pools["gru"],
        "lstm": Pool(pools["lstm"].validation, pools["lstm"].test + gap.value - 1.7 * gap.se),
    }
    rules = replace(RULES, margin=3.4 * gap.se)
    assert shared_search.trials_needed(gap, 0.0, 36, 6, rules.margin, 0.05)["likely"] <= 36
    row = compare_shared(close, rules)[0]
    assert (row["verdict"], row["trials_needed"]["likely"]) == (decision.UNDECIDED, 37)


def test_trials_needed_are_whole_repeats(separate):
    gap = repeated_search.gap(separate["gru"], separate["lstm"], False)
    close = {"gru": separate["gru"], "lstm": separate["lstm"] + gap.value - 1.7 * gap.se}
    rules = Rules(budget=10, margin=3.4 * gap.se, paired=False)
    assert repeated_search.repeats_needed(gap, 0.0, 5, rules.margin, 0.05, False)["likely"] <= 5
    row = compare_repeated(close, rules)[0]
    assert (row["verdict"], row["trials_needed"]["likely"]) == (decision.UNDECIDED, 60)


def test_unequal_pools_raise(pools):
    pools["lstm"] = pools["lstm"].without(np.array([3]))
    with pytest.raises(
        ValueError, match=r"equally many trials, not \{'gru': 36, 'lstm': 35, 'rnn': 36\}"
    ):
        compare_shared(pools, RULES)


@pytest.mark.parametrize(("budget", "refused"), [(9, False), (10, True)])
def test_pools_below_four_searches_raise(pools, budget, refused):
    rules = replace(RULES, budget=budget)
    if not refused:
        assert len(compare_shared(pools, rules)) == 3
        return
    with pytest.raises(ValueError, match="N/n must be at least 4, not 36/10"):
        compare_shared(pools, rules)


def test_the_verdict_includes_the_groups(pools, groups):
    row = compare_shared(pools, RULES, groups)[0]
    whole = Estimate(row["gap"], row["se"] ** 2, row["df"])
    expected = (
        decision.p_superior(whole),
        decision.p_equivalent(whole, 1.0),
        decision.p_within(whole, 1.0),
    )
    assert (
        row["p_superior"],
        row["p_equivalent"],
        row["probability_within_margin"],
    ) == pytest.approx(expected)


@pytest.mark.parametrize("looks", [1, 2])
def test_the_sizes_needed_are_those_of_the_designs(pools, separate, groups, looks):
    rules = replace(RULES, margin=1.7, looks=looks, alpha=1e-3)
    group, _ = groups.variance("gru", "lstm")
    trials = shared_search.trials_needed(
        shared_search.gap(pools["gru"], pools["lstm"], 6, True), group, 36, 6, 1.7, 1e-3 / looks
    )
    assert compare_shared(pools, rules, groups)[0]["trials_needed"] == trials
    gap = repeated_search.gap(separate["gru"], separate["lstm"], True)
    count = repeated_search.repeats_needed(gap, group, 5, 1.7, 1e-3 / looks, True)
    assert compare_repeated(separate, rules, groups)[0]["trials_needed"] == {
        name: 6 * size for name, size in count.items()
    }


def test_two_repeats_raise(separate):
    separate["rnn"] = separate["rnn"][:2]
    with pytest.raises(ValueError, match="K must be at least 3, not 2 repeats of rnn"):
        compare_repeated(separate, RULES)


class World:
    """Logits of two equal cells, 24 trials each, on 2,000 test rows in 100 groups, mostly right."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(11)
        self.labels = self.generator.integers(0, 2, 2000)
        self.groups = np.repeat(np.arange(100), 20)
        self.validation = self.generator.normal(size=24)
        signal = np.where(self.labels == 1, 1.2, -1.2) + self.generator.normal(0, 0.8, 2000)
        self.logits = {
            cell: signal + self.generator.normal(0, 0.6, (24, 2000)) for cell in ("gru", "lstm")
        }

    def compare(self, labels: np.ndarray) -> dict:
        correct = {
            cell: np.stack([scores.rate("accuracy", run, labels).examples for run in logits])
            for cell, logits in self.logits.items()
        }
        pools = {cell: Pool(self.validation, right.mean(axis=1)) for cell, right in correct.items()}
        shares = {
            cell: shared_search.trial_weights(self.validation, 4) @ right
            for cell, right in correct.items()
        }
        row = compare_shared(pools, Rules(budget=4, margin=0.01), Groups(shares, self.groups))[0]
        return row | {cell: shares[cell].mean() for cell in shares}


def test_shuffled_labels_make_every_cell_guess_and_none_win():
    world = World()
    row = world.compare(world.generator.permutation(world.labels))
    assert (row["gru"], row["lstm"]) == pytest.approx((0.5, 0.5), abs=0.03)
    assert row["verdict"] not in (decision.BETTER, decision.WITHIN)


def test_a_planted_gap_is_found():
    """A tenth of one cell's predictions turned round costs it about 7 points."""
    world = World()
    assert world.compare(world.labels)["verdict"] not in (decision.BETTER, decision.WITHIN)
    turned = world.generator.random(2000) < 0.1
    world.logits["lstm"][:, turned] *= -1
    row = world.compare(world.labels)
    assert (row["verdict"], row["gap"]) == (decision.BETTER, pytest.approx(0.07, abs=0.02))


def test_contributions_have_the_mean_of_the_picked_score():
    world = World()
    row = world.compare(world.labels)
    assert row["gru"] - row["lstm"] == pytest.approx(row["gap"], abs=1e-12)


@pytest.mark.parametrize("count", [3, 4, 5, 6, 10])
def test_groups_never_make_an_interval_narrower(count):
    """With few repeats and little group variance Satterthwaite's rule alone would narrow it."""
    generator = np.random.default_rng(count)
    scores = {arm: generator.normal(0.85, 0.01, count) for arm in "ab"}
    groups = np.repeat(np.arange(300), 4)
    right = {
        arm: np.clip(values.mean() + generator.normal(0, 0.1, groups.size), 0, 1)
        for arm, values in scores.items()
    }
    (row,) = compare_repeated(scores, Rules(10, 0.05), Groups(right, groups))
    assert row["group_se"] > 0
    assert row["low"] <= row["search_low"] < row["search_high"] <= row["high"]
    assert row["search_df"] <= row["df"]
    gap = Estimate(row["gap"], row["se"] ** 2, row["df"])
    assert (row["low"], row["high"]) == pytest.approx(gap.interval(0.05))
    assert row["p_superior"] == pytest.approx(decision.p_superior(gap))
