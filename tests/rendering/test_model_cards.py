"""Model cards: of every kind of task and of repeated searches, and their interval worked out by hand."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.analysis.summary import summarize
from pipeline.evaluate import evaluate
from pipeline.rendering import model_cards
from pipeline.rendering.markdown import sentence
from pipeline.report import report as make
from pipeline.scoring import results as tables
from synthetic import FORMS, Study

# Words that belong to texts alone.
FOREIGN = re.compile(
    r"\b(films?|reviews?|movies?|tokens?|texts?|language|vocabulary|words?)\b", re.IGNORECASE
)


def test_a_card_is_of_the_replicate_that_validation_chose(report):
    made = model_cards.cards(report.summary, report.results)
    assert list(made) == report.results.cells
    for arm, text in made.items():
        tuned = report.results.of("replicates", arm, "tuned")
        best = tuned.loc[tuned["validation"].idxmax()]
        assert text.startswith(f"# Model card: {arm}/tuned/{best['replicate']} of study tiny\n")
        assert f"python -m pipeline.train {' '.join(json.loads(best['overrides']))}\n" in text
        champion = report.summary["champion"]["arm"]
        assert (
            "It is the champion of the study"
            if arm == champion
            else f"champion of the study is of cell {champion}"
        ) in text
        assert sentence("answer", report.summary) in text
        assert f"{best['parameters']:,} parameters" in text


def test_the_interval_is_clustered_by_films(report):
    results = report.results
    row = results.of("scores", "gru", "tuned").iloc[0]
    right = np.unpackbits(results.correct[row.name], count=len(results.groups)).astype(float)
    groups = np.unique(results.groups)
    sums = [sum(right[results.groups == group] - right.mean()) for group in groups]
    variance = len(groups) / (len(groups) - 1) * sum(one**2 for one in sums) / len(right) ** 2
    half = stats.t.ppf(1 - report.summary["alpha"] / 2, len(groups) - 1) * variance**0.5
    found = model_cards.interval(results, row)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx(
        [right.mean(), right.mean() - half, right.mean() + half]
    )


def test_all_cards_are_listed_with_the_scores_they_tell(report):
    listed = model_cards.index(report.summary, report.results)
    for arm, text in model_cards.cards(report.summary, report.results).items():
        (name,) = re.findall(r"^# Model card: (\S+) of", text)
        (score,) = re.findall(r"^\| this model \[95 % interval\] \| (.+) \|$", text, re.MULTILINE)
        whose = "the study" if arm == report.summary["champion"]["arm"] else "its cell"
        assert f"| [{name}]({arm}.md) | champion of {whose} | {score} |" in listed


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_task_of_numbers_has_cards_in_its_own_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(tmp_path, spec=FORMS[name]).write()
    evaluate(study.config)
    results = tables.load(tmp_path / "results/tiny/scores")
    made = model_cards.cards(summarize(results), results)
    assert list(made) == list(study.cells)
    for text in made.values():
        assert not FOREIGN.search(text), FOREIGN.search(text)
        assert f"[rows, {FORMS[name].length}, {FORMS[name].features}]" in text
        assert "pipeline.predict" not in text


def test_without_a_search_there_is_no_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(tmp_path, trials=0).write()
    evaluate(study.config)
    make(study.config)
    folder = tmp_path / "results/tiny/report/cards"
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert "no model is kept" in (folder / "README.md").read_text("utf-8")


def test_the_champion_of_separate_studies_has_its_study_in_its_name(results):
    copies = {}
    for table in ("trials", "epochs", "replicates", "replicate_epochs", "scores"):
        frame = getattr(results, table)
        copies[table] = pd.concat(
            [frame.assign(repeat=study) for study in range(3)], ignore_index=True
        )
    copies["correct"] = np.concatenate([results.correct] * 3)
    # The last study's second replicate of gru is the best.
    best = (
        (copies["replicates"]["repeat"] == 2)
        & (copies["replicates"]["replicate"] == 1)
        & (copies["replicates"]["kind"] == "tuned")
    )
    copies["replicates"].loc[best & (copies["replicates"]["arm"] == "gru"), "validation"] = 0.99
    design = {"design": "repeated", "repeats": 3, "budget": 8, "sampler": "tpe"}
    separate = replace(results, study={**results.study, **design}, **copies)
    text = model_cards.cards(summarize(separate), separate)["gru"]
    assert text.startswith("# Model card: gru/2/tuned/1 of study tiny\n")
    assert "each of 3 searches of 8 trials, trained again with 2 fresh seeds each" in text
