"""Numbers of metrics.json against the tables they come from."""

import json
import statistics

import pandas as pd
import pytest

from pipeline.analysis.summary import summarize
from pipeline.errors import FairsweepError
from pipeline.scoring import results as tables


def runs(*rows) -> pd.DataFrame:
    """Rows (arm, kind, replicate, validation, validation_loss)."""
    return pd.DataFrame(rows, columns=["arm", "kind", "replicate", "validation", "validation_loss"])


def test_best_row_breaks_ties_by_loss_and_then_by_number():
    table = runs(
        ("a", "tuned", 2, 0.8, 0.4),
        ("a", "tuned", 1, 0.8, 0.4),
        ("a", "tuned", 0, 0.8, 0.5),
        ("a", "tuned", 3, 0.7, 0.1),
    )
    assert tables.best_row(table, "replicate")["replicate"] == 1


def test_best_row_never_chooses_a_failed_run():
    table = runs(("a", "tuned", 0, None, None), ("a", "tuned", 1, 0.4, 0.9))
    assert tables.best_row(table, "replicate")["replicate"] == 1
    with pytest.raises(ValueError, match="one that did not fail"):
        tables.best_row(table[:1], "replicate")


def test_the_champion_is_a_tuned_replicate_of_the_arm_with_the_best_mean():
    table = runs(
        *(("a", "tuned", 0, 0.90, 0.3), ("a", "tuned", 1, 0.80, 0.3)),
        *(
            ("b", "tuned", 0, 0.86, 0.3),
            ("b", "tuned", 1, 0.87, 0.3),
            ("b", "article", 0, 0.99, 0.1),
        ),
    )
    assert tables.champion(table) == {"arm": "b", "replicate": 1}


def test_champion_counts_a_failed_replicate_as_guessing():
    table = runs(
        ("a", "tuned", 0, 0.95, 0.3),
        ("a", "tuned", 1, None, None),
        ("b", "tuned", 0, 0.8, 0.3),
        ("b", "tuned", 1, 0.8, 0.2),
    )
    assert tables.champion(table) == {"arm": "b", "replicate": 1}


def test_a_tie_of_arms_goes_to_the_first_cell_of_the_study():
    table = runs(("a", "tuned", 0, 0.8, 0.3), ("b", "tuned", 0, 0.8, 0.1))
    assert tables.champion(table, ["b", "a"])["arm"] == "b"
    assert tables.champion(table, ["a", "b"])["arm"] == "a"


def test_spread_is_the_sample_standard_deviation():
    assert tables.spread(pd.Series([0.1, 0.2, 0.4])) == {
        "mean": 0.233333,
        "sd": 0.152753,
        "n": 3,
        "min": 0.1,
        "max": 0.4,
    }
    assert tables.spread(pd.Series([0.5]))["sd"] is None


def test_running_best_ignores_failures():
    table = pd.DataFrame({"trial": [2, 0, 1, 3], "validation": [0.7, 0.6, None, 0.65]})
    best = tables.running_best(table)
    assert best.index.tolist() == [0, 1, 2, 3]
    assert best.tolist() == [0.6, 0.6, 0.7, 0.7]


def test_metrics_have_the_documented_keys(results):
    metrics = summarize(results)
    promised = "study protocol trials budget margin backend arms baseline champion pairs compute "
    promised += "single_run winner leaders"
    assert set(promised.split()) <= set(metrics)
    keys = "tuned components replicates recipe validation_of_best optimism parameters epochs "
    keys += "seconds trials failed"
    for arm in ("rnn", "gru"):
        assert set(keys.split()) <= set(metrics["arms"][arm])
        assert {"mean", "sd", "n"} <= set(metrics["arms"][arm]["replicates"])
        assert {"mean", "sd", "n", "loss_mean", "loss_sd"} <= set(metrics["arms"][arm]["recipe"])
    assert {"validation", "test"} <= set(metrics["baseline"]["same_tokens"])
    json.dumps(metrics, allow_nan=False)


def test_metrics_of_an_arm_by_hand(results):
    metrics = summarize(results)["arms"]["rnn"]
    scores = results.scores[results.scores["arm"] == "rnn"]
    tuned = scores[scores["kind"] == "tuned"]["test"].tolist()
    best = scores[scores["kind"] == "trial"]["validation"].max()
    assert metrics["replicates"]["mean"] == pytest.approx(statistics.mean(tuned), abs=1e-6)
    assert metrics["replicates"]["sd"] == pytest.approx(statistics.stdev(tuned), abs=1e-6)
    assert metrics["validation_of_best"] == best
    assert metrics["optimism"] == pytest.approx(best - statistics.mean(tuned), abs=2e-6)
    assert (metrics["trials"], metrics["failed"], metrics["epochs"], metrics["seconds"]) == (
        8,
        1,
        22,
        12.0,
    )
    assert metrics["best"]["overrides"][:3] == ["study=tiny", "cell=rnn", "model.units=8"]


def test_compute_used_counts_every_attempt(results):
    again = results.timings[
        (results.timings["arm"] == "gru") & (results.timings["trial"] == 0)
    ].assign(attempt=2)
    timings = pd.concat([results.timings, again])
    counted = tables.compute_used(tables.Results(**{**vars(results), "timings": timings}), "gru")
    assert counted["tune"] == {"trials": 8, "failed": 0, "pruned": 0, "epochs": 24, "seconds": 13.5}
    assert counted["replicate"] == {
        "runs": 4,
        "failed": 0,
        "pruned": 0,
        "epochs": 12,
        "seconds": 9.0,
    }


def test_a_study_without_recipes_has_none(results):
    results.study["recipes"] = []
    assert summarize(results)["arms"]["gru"]["recipe"] is None


def test_a_missing_table_is_named(scores):
    (scores / "grid.csv").unlink()
    with pytest.raises(FairsweepError, match=r"grid.csv is missing.*dvc repro evaluate"):
        tables.load(scores)
