"""Scores and gaps as they are told, of each metric."""

from dataclasses import asdict

import pytest

from pipeline.data.form import Form
from pipeline.reporting import measure
from pipeline.reporting.measure import Measure
from synthetic import FORMS

OF = {"accuracy": Measure(), **{name: measure.of_form(form) for name, form in FORMS.items()}}


@pytest.mark.parametrize(
    ("metric", "value", "score", "told"),
    [
        ("accuracy", 0.85123, "0.8512", "0.8512"),
        ("f1", 0.5, "0.5000", "0.5000"),
        ("nll", -8.12345, "8.1235", "8.1235 nats a step"),
        ("mae", -0.5124, "0.512", "0.512 ppm"),
        ("mae", 0.0, "0.000", "0.000 ppm"),
    ],
)
def test_errors_are_told_positive_and_fractions_as_they_are(metric, value, score, told):
    assert (OF[metric].score(value), OF[metric].told(value)) == (score, told)
    assert OF[metric].score(None) == "–"


@pytest.mark.parametrize(
    ("metric", "gap", "told", "margin"),
    [
        ("accuracy", (0.0075, -0.001, 0.016), "0.75 points [−0.10, 1.60]", "1 point"),
        ("f1", (0.0075, -0.001, 0.016), "0.75 points [−0.10, 1.60]", "1 point"),
        ("nll", (0.25, 0.1, 0.4), "0.2500 nats a step [0.1000, 0.4000]", "0.01 nats a step"),
        ("mae", (0.12, -0.00001, 0.19), "0.120 ppm [0.000, 0.190]", "0.01 ppm"),
    ],
)
def test_a_gap_is_positive_where_the_first_is_better(metric, gap, told, margin):
    pair = dict(zip(("gap", "low", "high"), gap, strict=True))
    assert OF[metric].gap(pair) == told
    assert OF[metric].margin(0.01) == margin


def test_an_interval_of_errors_is_turned():
    values = {"mean": -0.5, "low": -0.6, "high": -0.45, "sd": 0.01}
    assert OF["mae"].with_interval(values) == "0.500 [0.450, 0.600]"
    assert OF["mae"].mean_sd(values) == "0.500 ± 0.010"
    assert Measure().interval(0.45, 0.6) == "[0.4500, 0.6000]"


@pytest.mark.parametrize(("scale", "decimals"), [(1.6, 3), (0.5, 3), (16.0, 2), (0.01, 5), (40_000.0, 0)])
def test_an_error_is_told_with_as_many_decimals_as_its_scale_asks_for(scale, decimals):
    assert measure.of_form(Form("regression", "mae", scale=scale, unit="x")).decimals == decimals


def test_the_measure_survives_metrics_json():
    for told in OF.values():
        assert measure.of({"measure": asdict(told)}) == told


def test_rows_without_groups_are_their_own():
    assert (OF["classes"].groups, OF["mae"].groups, OF["mae"].examples, Measure().groups) == ("images", "years", "weeks", "films")


def test_an_unknown_baseline_keeps_its_name():
    assert OF["mae"].baseline("last_year") == "last year"
    assert OF["mae"].baseline("trivial") == "trivial: the last value"
    assert OF["classes"].baseline("trivial") == "trivial: the most frequent class"
