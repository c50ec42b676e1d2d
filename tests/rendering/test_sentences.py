"""The report's sentences say what the numbers say, whichever way they fall."""

from dataclasses import asdict
from itertools import combinations

import pytest

from pipeline.metrics import Measure
from pipeline.rendering import format as text
from pipeline.rendering import limitations, markdown
from pipeline.rendering.markdown import macro, sentence

REFUSAL = "a verdict was given at 60 trials, and search.looks=1 allows no other."


def pair(a, b, gap, verdict, half=0.005, **more):
    """A pair with a symmetric interval; the engine's other numbers are not for sentences."""
    ends = {
        "low": gap - half,
        "high": gap + half,
        "search_low": gap - half / 2,
        "search_high": gap + half / 2,
    }
    chances = {"probability_a_beats_b": 0.8, "probability_low": 0.3, "probability_high": 0.9}
    return {
        "a": a,
        "b": b,
        "gap": gap,
        **ends,
        **chances,
        "verdict": verdict,
        "trials_needed": None,
        **more,
    }


def study(*pairs, winner=None, leaders=(), cells=("rnn", "gru", "lstm"), **more):
    """The summary, as far as sentences read it: cells at 0.80, 0.81 and so on, each with an interval of a point to both sides."""
    arms = {
        arm: {
            "tuned": {
                "mean": 0.8 + 0.01 * place,
                "low": 0.79 + 0.01 * place,
                "high": 0.81 + 0.01 * place,
            }
        }
        for place, arm in enumerate(cells)
    }
    linear = {"test": 0.5, "ngrams": 2, "C": 1.0}
    fixed = {
        "budget": 10,
        "margin": 0.01,
        "alpha": 0.05,
        "looks": 1,
        "design": "shared",
        "trials": 60,
        "repeats": 1,
    }
    found = {
        **fixed,
        "arms": arms,
        "baseline": {"same_tokens": linear},
        "pairs": list(pairs),
        "winner": winner,
    }
    return {**found, "leaders": list(leaders), "measure": asdict(Measure()), **more}


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (
            pair("rnn", "gru", -0.02, "better"),
            "gru is better than rnn by 2.00 points [1.50, 2.50].",
        ),
        (
            pair("rnn", "gru", 0.004, "better_within_margin", 0.002),
            "rnn is better than gru, but by less than the margin of 1 point: 0.40 points [0.20, 0.60].",
        ),
        (
            pair("rnn", "gru", -0.001, "equivalent"),
            "rnn are equivalent within 1 point: gru leads by 0.10 points [−0.40, 0.60].",
        ),
        (
            pair("rnn", "gru", 0.004, "undecided", trials_needed={"likely": 130, "safe": 200}),
            "rnn against gru is undecided: rnn leads by 0.40 points [−0.10, 0.90]. "
            "A new study of about 130 trials per cell (200 to be safe) gives a verdict with 80 % probability.",
        ),
        (
            pair("rnn", "gru", 0.004, "undecided"),
            "the films of the test set leave the interval too wide",
        ),
        (
            pair("rnn", "gru", 0.007, "undecided"),
            "The interval excludes 0, but the gap is not significant after Holm's correction for 3 pairs",
        ),
        (
            pair("rnn", "gru", 0.02, "refused", refusal=REFUSAL),
            f"No verdict on rnn against gru: {REFUSAL}",
        ),
    ],
)
def test_each_verdict_has_its_sentence(pair, told):
    summary = study(pair, pair, pair)
    spoken = macro("verdict", text.oriented(pair), summary, Measure())
    assert told in spoken
    assert "no difference" not in spoken


def test_the_trials_of_repeated_searches_are_counted_in_searches():
    needed = {"likely": 1300, "safe": 1300}
    undecided = pair("a", "b", 0.0, "undecided", trials_needed=needed)
    spoken = macro("trials_needed", undecided, study(design="repeated"), Measure())
    assert (
        spoken
        == "A new study of about 1,300 trials per cell, in searches of 10, gives a verdict with 80 % probability."
    )


def test_turning_a_pair_turns_all_of_it():
    turned = text.oriented(pair("rnn", "gru", -0.02, "better"))
    assert (turned["a"], turned["gap"]) == ("gru", 0.02)
    assert (turned["low"], turned["high"]) == pytest.approx((0.015, 0.025))
    assert (turned["search_low"], turned["search_high"]) == pytest.approx((0.0175, 0.0225))
    ends = [turned[f"probability_{key}"] for key in ("a_beats_b", "low", "high")]
    assert ends == pytest.approx([0.2, 0.1, 0.7])
    assert text.oriented(turned) is turned


def test_the_answer_names_the_winner_and_each_gap():
    pairs = [pair("rnn", "gru", -0.02, "better"), pair("rnn", "lstm", -0.01, "better")]
    pairs.append(pair("gru", "lstm", 0.004, "better_within_margin", 0.002))
    told = sentence("answer", study(*pairs, winner="gru", leaders=["gru"]))
    assert told.startswith(
        "gru is better than every other cell: the model that a search of 10 trials selects scores higher on test"
    )
    assert (
        "by 2.00 points [1.50, 2.50] over rnn and 0.40 points [0.20, 0.60] over lstm (less than the margin)"
        in told
    )
    assert "lstm −" not in told
    assert told.count(".\n") == 0


def test_the_answer_for_two_cells():
    told = sentence(
        "answer",
        study(
            pair("rnn", "gru", -0.02, "better"), winner="gru", leaders=["gru"], cells=("rnn", "gru")
        ),
    )
    assert told.startswith("gru is better than rnn: ")


def test_the_answer_for_many_cells_names_the_nearest():
    cells = tuple("abcdefgh")
    won = [pair("a", other, 0.01 * place, "better") for place, other in enumerate(cells[1:], 1)]
    told = sentence("answer", study(*won, winner="a", leaders=["a"], cells=cells))
    assert "by at least 1.00 points [0.50, 1.50], over b" in told


def test_the_answer_without_a_winner_tells_the_leaders_apart():
    pairs = [
        pair("rnn", "gru", -0.02, "better"),
        pair("rnn", "lstm", -0.02, "better"),
        pair("gru", "lstm", 0.001, "equivalent"),
    ]
    told = sentence("answer", study(*pairs, leaders=["gru", "lstm"]))
    assert told.startswith(
        "No single cell wins with a search of 10 trials; gru and lstm are not shown to be worse than any other"
    )
    assert (
        "gru against lstm (0.10 points [−0.40, 0.60]) is equivalent within 1 point (95 % intervals)."
        in told
    )
    assert "rnn" not in told


def test_the_answer_with_one_leader_who_has_not_won():
    pairs = [
        pair("rnn", "gru", 0.02, "better"),
        pair("rnn", "lstm", 0.004, "undecided"),
        pair("gru", "lstm", -0.03, "better"),
    ]
    told = sentence("answer", study(*pairs, leaders=["rnn"]))
    assert "rnn is not shown to be worse than any other" in told
    assert "rnn against lstm (0.40 points [−0.10, 0.90]) is undecided" in told


def test_the_answer_when_nothing_is_decided():
    pairs = [pair(a, b, 0.001, "undecided") for a, b in combinations("abcd", 2)]
    told = sentence("answer", study(*pairs, leaders=list("abcd"), cells=tuple("abcd")))
    assert told == (
        "No cell is shown to be better than another with a search of 10 trials; 6 pairs of them are undecided (95 % intervals)."
    )


def test_the_answer_says_why_a_verdict_is_refused():
    pairs = [pair("rnn", "gru", 0.02, "refused", refusal=REFUSAL)]
    assert (
        sentence("answer", study(*pairs, leaders=["rnn", "gru"]))
        == f"No verdict is given: {REFUSAL}"
    )


def test_the_answer_of_one_cell():
    assert "no verdict" in sentence("answer", study(cells=("gru",)))


def test_looks_share_the_error():
    assert text.level(study(looks=2)) == "97.5 %"


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (0.90, "above the interval of every cell's search (rnn, gru and lstm)."),
        (0.70, "below the interval of every cell's search (rnn, gru and lstm)."),
        (0.815, "above the interval of rnn and within the interval of gru and lstm."),
        (0.795, "within the interval of rnn and below the interval of gru and lstm."),
    ],
)
def test_the_baseline_sentence_follows_the_numbers(test, told):
    summary = study()
    summary["baseline"]["same_tokens"]["test"] = test
    assert f"scores {test:.4f} on test: " in sentence("baselines", summary)
    assert sentence("baselines", summary).endswith(told)
    assert sentence("baseline_short", summary).endswith(told)


def version(value, low, high):
    return {
        "runs": 5,
        "ranks_first": {"rnn": 0.5, "gru": 0.5},
        "value": value,
        "low": low,
        "high": high,
    }


def single_runs(summary, study):
    template = markdown._environment().get_template("sentences.md.j2")
    output = template.module.single_runs(summary, Measure(), study)
    return [part.removeprefix("- ") for part in markdown.lines(output).splitlines()]


def told_of(question, printed=None, **versions):
    metrics = study(winner="gru" if question == "other" else None)
    metrics["single_run"] = {"winner": metrics["winner"], "question": question, **versions}
    for arm, least in (("rnn", 0.790), ("gru", 0.800), ("lstm", 0.800)):
        metrics["arms"][arm]["recipe"] = {"min": least, "max": least + 0.015}
    return single_runs(metrics, {"printed": printed or {}})


def test_a_narrow_probability_is_told_and_a_wide_one_only_by_its_ends():
    recipe = {"name": "article", **version(0.24, 0.03, 0.76)}
    random = {
        **version(0.39, 0.30, 0.49),
        "same_configuration": {"count": 23, "of": 60, "low": 0.27, "high": 0.51},
    }
    told = told_of("other", recipe=recipe, random=random, tuned=version(0.0, None, None))
    assert told[0] == (
        "The article recipe, not tuned (5 runs per cell): a cell other than gru ranks first with a probability between 0.03 and 0.76."
    )
    assert "a cell other than gru ranks first with probability 0.39 [0.30, 0.49]" in told[1]
    assert "with probability 0.00 (too few runs differ" in told[2]
    assert "in 23 of 60 cases, with a probability between 0.27 and 0.51" in told[3]
    assert len(told) == 4


def test_without_a_winner_a_single_run_counts_clear_leads():
    (told,) = told_of("clear_lead", tuned=version(0.2, 0.1, 0.3))
    assert (
        "the first cell leads by more than 1 point, although the verdict names no winner, with probability 0.20"
        in told
    )


def test_the_numbers_in_print_stand_beside_the_range_of_the_seeds():
    recipe = {"name": "article", **version(0.2, 0.1, 0.3)}
    assert len(told_of("other", recipe=recipe)) == 1
    in_print = {
        "article": {
            "rnn": {"accuracy": 0.81},
            "lstm": {"accuracy": 0.839, "loss": 0.4337},
            "gru": {"loss": 0.4834},
        }
    }
    assert len(told_of("other", printed={"other": in_print["article"]}, recipe=recipe)) == 1
    printed = told_of("other", printed=in_print, recipe=recipe)[1]
    assert "rnn 0.810 (above our 0.7900 to 0.8050)" in printed
    assert "lstm 0.839 (above our 0.8000 to 0.8150); the highest is that of lstm." in printed


def test_a_refused_study_sets_nothing_against_a_single_run():
    metrics = study(pair("rnn", "gru", 0.1, "refused", refusal=REFUSAL))
    metrics["single_run"] = {
        "winner": None,
        "question": "clear_lead",
        "tuned": version(0.2, 0.1, 0.3),
    }
    assert "No verdict is given" in single_runs(metrics, {})[0]


def test_a_cell_is_efficient_unless_another_is_as_good_and_as_cheap():
    metrics = study()
    for arm, seconds in (("rnn", 10), ("gru", 40), ("lstm", 30)):
        metrics["arms"][arm]["seconds"] = seconds
    assert text.efficient(metrics, "seconds") == ["rnn", "lstm"]
    metrics["arms"]["gru"]["seconds"] = 20
    assert text.efficient(metrics, "seconds") == ["rnn", "gru", "lstm"]


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "0.00"), (0.001, "<0.01"), (0.5, "0.50"), (0.999, ">0.99"), (1.0, "1.00"), (None, "–")],
)
def test_a_probability_is_never_rounded_to_certainty(value, told):
    assert text.chance(value) == told


def test_points_have_a_true_minus_and_no_negative_zero():
    assert [Measure().points(value) for value in (0.0075132, -0.0164, -0.00001)] == [
        "0.75",
        "−1.64",
        "0.00",
    ]


def described(**changes):
    task = {"name": "tiny", "source": "synthetic", "length": 20, "vocabulary": 50, "padding": "pre"}
    told = {
        "task": task,
        "fixed": {"model.layers": 1, "model.other": None},
        "recipes": [],
        "data": {"by_group": True},
    }
    return {**told, **changes}


def test_every_fixed_setting_is_a_limitation():
    told = limitations.limitations(
        study(backend="jax", sampler="random", pruner="none"), described()
    )
    assert any(one.startswith("`model.layers=1`: ") for one in told)
    assert "`model.other=null`: other values were not tried." in told
    assert any("no language at all" in one for one in told)
    assert any("Equal trials are not equal seconds" in one for one in told)
    assert any("2 (N/n − 1)" in one for one in told)
    assert any("One split into training and validation, by movie" in one for one in told)


def test_repeated_searches_have_limitations_of_their_own():
    told = limitations.limitations(
        study(backend="jax", design="repeated", repeats=5, sampler="tpe", pruner="median"),
        described(),
    )
    assert any("5 repeated searches (`tpe`, pruner `median`)" in one for one in told)
    assert not any("N/n" in one or "One split" in one for one in told)


@pytest.mark.parametrize(
    ("source", "by_group", "told"),
    [
        ("imdb", True, "which 80 reviews train"),
        ("imdb_npz", False, "random, not by movie"),
        ("synthetic", True, "do not apply"),
    ],
)
def test_the_split_is_told_as_it_was_made(source, by_group, told):
    study = described(data={"by_group": by_group, "train": {"rows": 100}})
    study["task"]["source"] = source
    assert told in limitations.split(study)
