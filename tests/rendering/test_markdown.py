"""The report on a synthetic study: what is written, and that the same numbers give the same bytes."""

import copy
import json
import shutil

import pytest

from pipeline.errors import FairsweepError
from pipeline.rendering import format as formatting
from pipeline.rendering import markdown, tables
from pipeline.rendering.markdown import sentence
from pipeline.report import report as make

FIGURES = {
    "verdict",
    "tuning_validation",
    "tuning_test",
    "single_run",
    "cost",
    "importance",
    "search",
    "validation_test",
    "curves",
}


def told(report, **changes):
    """report.md with other metrics."""
    return markdown.report(
        {**report.summary, **changes}, report.results.study, list(report.figures)
    )


def test_the_report_needs_the_scores_alone_and_is_the_same_each_time(study):
    for name in ("data", "runs"):
        shutil.rmtree(study.root / name)
    folder, contents = study.root / "results/tiny/report", []
    for _ in range(2):
        metrics = make(study.config)
        contents.append(
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            }
        )
    assert contents[0] == contents[1]
    assert json.loads(contents[0]["metrics.json"]) == metrics
    plots = {name for name in contents[0] if name.startswith("plots/")}
    assert {
        f"plots/{name}.svg"
        for name in ("verdict", "single_run", "cost", "curves", "search", "validation_test")
    } <= plots
    assert all(f"({name})" in contents[0]["report.md"].decode() for name in plots)
    assert sentence("answer", metrics) in contents[0]["report.html"].decode()


def test_a_refused_report_leaves_the_old_one(study, scores):
    old = study.root / "results/tiny/report/report.md"
    old.parent.mkdir()
    old.write_text("as it was")
    described = json.loads((scores / "study.json").read_text())
    (scores / "study.json").write_text(json.dumps({**described, "protocol": -1}))
    with pytest.raises(FairsweepError, match="protocol -1"):
        make(study.config)
    assert old.read_text() == "as it was"


def test_every_figure_is_drawn_and_shown(report):
    assert set(report.figures) == FIGURES
    text = told(report)
    for name in FIGURES:
        assert f"](plots/{name}.svg)" in text


def test_a_figure_that_was_not_drawn_is_not_shown(report):
    assert "plots/cost.svg" not in markdown.report(
        report.summary, report.results.study, ["verdict"]
    )


def test_the_report_tells_the_answer_and_every_section(report):
    text = told(report)
    answer = sentence("answer", report.summary)
    assert f"**{answer}**" in text
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        *(
            "The question and the answer",
            "Verdict matrix",
            "Test scores",
            "All pairs",
            "Tuning curves",
        ),
        *("Single-run comparison", "Cost", "Hyperparameters", "Sources of variance"),
        *("Compute accounting", "Limitations", "How to reproduce"),
    ]
    champion = report.summary["champion"]
    assert f"replicate {champion['replicate']} of {champion['arm']}" in text
    assert (
        f"python -m pipeline.train {' '.join(report.summary['arms'][champion['arm']]['best']['overrides'])}\n"
        in text
    )
    assert "nan" not in text.lower()
    assert "None" not in text


def test_the_table_leads_with_the_search_and_labels_the_rest(report):
    table = tables.cells(report.summary)
    tuned = report.summary["arms"]["gru"]["tuned"]
    assert table.header[1] == "search of 2 trials [95 % interval]"
    assert table.rows[1][1] == f"{tuned['mean']:.4f} [{tuned['low']:.4f}, {tuned['high']:.4f}]"
    assert table.header[3] == "best configuration, 2 fresh seeds: mean ± sd"
    assert [row[0] for row in table.rows[-2:]] == ["linear, same tokens", "linear, whole text"]


def test_a_verdict_stands_in_the_matrix_from_both_sides(report):
    metrics = copy.deepcopy(report.summary)
    first = metrics["pairs"][0]
    first |= {
        "a": "rnn",
        "b": "gru",
        "gap": -0.02,
        "low": -0.03,
        "high": -0.01,
        "verdict": "better",
    }
    rows = tables.matrix(metrics).rows
    assert rows[0][:3] == ["rnn", "–", "▼ worse, −2.00 [−3.00, −1.00]"]
    assert rows[1][1] == "▲ better, 2.00 [1.00, 3.00]"
    first["verdict"] = "better_within_margin"
    assert tables.matrix(metrics).rows[0][2].startswith("▽ worse, < margin, ")
    first["verdict"] = "equivalent"
    assert all(
        tables.matrix(metrics).rows[row][2 - row].startswith("≈ equivalent, ") for row in (0, 1)
    )


def test_pairs_stand_with_the_better_mean_first(report):
    for row, pair in zip(tables.pairs(report.summary).rows, report.summary["pairs"], strict=True):
        assert float(row[1]) == pytest.approx(100 * abs(pair["gap"]), abs=0.0051)
        assert row[0] == f"{formatting.oriented(pair)['a']} − {formatting.oriented(pair)['b']}"


def readme_table(metrics):
    return markdown.rows(tables.readme(metrics))


def test_the_readme_table(report):
    metrics = copy.deepcopy(report.summary)
    metrics["arms"]["gru"]["tuned"] |= {"mean": 0.8584, "low": 0.8532, "high": 0.8637}
    metrics["arms"]["gru"]["replicates"] |= {"mean": 0.85123, "sd": 0.00214}
    lines = readme_table(metrics).splitlines()
    assert lines[0].startswith(
        "| cell | test score of a search of 2 trials [95 % interval] | best configuration, 2 fresh seeds:"
    )
    assert "| gru | 0.8584 [0.8532, 0.8637] | 0.8512 ± 0.0021 |" in lines[3]
    assert lines[5].startswith("| linear, same tokens | ")
    assert {line.count("|") for line in lines} == {8}
    assert readme_table(json.loads(json.dumps(metrics))) == "\n".join(lines)


def without_recipes(metrics):
    changed = copy.deepcopy(metrics)
    changed["single_run"].pop("recipe")
    for values in changed["arms"].values():
        values |= {"recipe": None, "recipes": {}}
    return changed


def test_without_recipes_the_columns_stay(report):
    metrics = without_recipes(report.summary)
    assert "recipe (none)" in readme_table(metrics)
    text = markdown.report(metrics, {**report.results.study, "recipes": []}, [])
    assert "as published" not in text
    assert "do not apply" in text


def separate(metrics):
    """The same as three repeated searches a cell."""
    changed = copy.deepcopy(metrics) | {"design": "repeated", "repeats": 3, "sampler": "tpe"}
    changed["single_run"].pop("random")
    for pair in changed["pairs"]:
        pair |= {"probability_low": None, "probability_high": None}
    for values in changed["arms"].values():
        values["components"] |= {"icc": 0.41, "best_retrainings": 1.9}
    return changed


def test_separate_studies_show_their_own(report):
    metrics = separate(report.summary)
    text = markdown.report(metrics, report.results.study, list(report.figures))
    assert "share of searches (ICC) | best number of retrainings" in text
    assert "| 0.41 | 1.9 |" in text
    assert "computed from 24 trials per cell" in text
    assert "simultaneous band" not in text


def test_pruned_trials_have_a_column_where_there_are_any(report):
    assert "pruned" not in tables.compute(report.summary).header
    metrics = copy.deepcopy(report.summary)
    metrics["compute"]["gru"]["tune"]["pruned"] = 3
    table = tables.compute(metrics)
    assert [row[-1] for row in table.rows] == ["0", "0", "3", "0", "0", "0", "3"]


def test_a_refusal_is_told_in_the_answer_and_at_each_pair(report):
    pairs = [
        {**pair, "verdict": "refused", "refusal": "the looks are spent.", "trials_needed": None}
        for pair in report.summary["pairs"]
    ]
    text = told(report, pairs=pairs, winner=None, leaders=["rnn", "gru", "lstm"])
    assert "**No verdict is given: the looks are spent.**" in text
    assert text.count("the looks are spent.") == 4
    assert "is better than" not in text


def test_edges_and_order_changes_are_told(report):
    text = told(report)
    assert "The order of rnn and gru may change between 2 and 6 trials." in text
    assert "No two cells are shown to change their order" in told(report, order_changes=[])
    where = "`train.learning_rate=0.0011`: the best value is in the lowest tenth of the range"
    assert (
        f"rnn, {where}, and scores still rise there (p = 0.0016 at this end, 0.0098 over all ends"
        in text
    )
    assert "search lower too." in text
    assert f"gru, {where}. This is a note, not a warning." in text


def test_tables_escape_bars_and_tags():
    table = markdown.rows(tables.Table("", ["a"], [["x|y"], ["<script>"]]))
    assert table.splitlines()[-2:] == ["| x\\|y |", "| &lt;script> |"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.4, -0.1, "article: b is better than a by 0.250 ppm [0.100, 0.400]."),
        (
            -0.6,
            0.1,
            "article: b and a do not differ significantly: b leads by 0.250 ppm [−0.100, 0.600].",
        ),
        (None, None, "article: b leads a by 0.250 ppm with one seed each, which decides nothing."),
    ],
)
def test_the_gap_of_a_recipe_has_its_sentence(report, low, high, expected):
    gap = {"recipe": "article", "a": "a", "b": "b", "gap": -0.25, "low": low, "high": high}
    measure = {"metric": "mae", "unit": "ppm", "decimals": 3, "example": "week", "group": "year"}
    study = {**report.results.study, "recipes": ["article", "article"]}
    text = markdown.report({**report.summary, "recipe_gaps": [gap], "measure": measure}, study, [])
    assert expected in text
