"""Model cards: of every kind of task and of separate studies, and their interval worked out by hand."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.evaluate import evaluate
from pipeline.report import report as make
from pipeline.reporting import cards, tables, words
from pipeline.reporting.metrics import metrics as compute
from synthetic import FORMS, Study

# Words that belong to texts alone.
FOREIGN = re.compile(r"\b(films?|reviews?|movies?|tokens?|texts?|language|vocabulary|words?)\b", re.IGNORECASE)


def test_a_card_is_of_the_replicate_that_validation_chose(report):
    made = cards.cards(report.metrics, report.results)
    assert list(made) == report.results.cells
    for arm, text in made.items():
        tuned = report.results.of("replicates", arm, "tuned")
        best = tuned.loc[tuned["validation"].idxmax()]
        assert text.startswith(f"# Model card: {arm}/tuned/{best['replicate']} of study tiny\n")
        assert f"python -m pipeline.train {' '.join(json.loads(best['overrides']))}\n" in text
        champion = report.metrics["champion"]["arm"]
        assert ("It is the study's champion" if arm == champion else f"champion is of cell {champion}") in text
        assert words.answer(report.metrics) in text
        assert f"{best['parameters']:,} parameters" in text


def test_the_interval_is_clustered_by_films(report):
    results = report.results
    row = results.of("scores", "gru", "tuned").iloc[0]
    right = np.unpackbits(results.correct[row.name], count=len(results.movies)).astype(float)
    films = np.unique(results.movies)
    sums = [sum(right[results.movies == film] - right.mean()) for film in films]
    variance = len(films) / (len(films) - 1) * sum(one**2 for one in sums) / len(right) ** 2
    half = stats.t.ppf(1 - report.metrics["alpha"] / 2, len(films) - 1) * variance**0.5
    found = cards.own_interval(results, row)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([right.mean(), right.mean() - half, right.mean() + half])


def test_all_cards_are_listed_with_the_scores_they_tell(report):
    listed = cards.index(report.metrics, report.results)
    for arm, text in cards.cards(report.metrics, report.results).items():
        (name,) = re.findall(r"^# Model card: (\S+) of", text)
        (score,) = re.findall(r"^\| this model \[95 % interval\] \| (.+) \|$", text, re.MULTILINE)
        whose = "the study" if arm == report.metrics["champion"]["arm"] else "its cell"
        assert f"| [{name}]({arm}.md) | champion of {whose} | {score} |" in listed


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_task_of_numbers_has_cards_in_its_own_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(tmp_path, form=FORMS[name]).write()
    evaluate(study.config)
    results = tables.load(tmp_path / "results/tiny/scores")
    made = cards.cards(compute(results), results)
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
    assert "There was no search: recipes were scored, and no model is kept." in (folder / "README.md").read_text("utf-8")


def test_the_champion_of_separate_studies_has_its_study_in_its_name(results):
    copies = {}
    for table in ("trials", "epochs", "replicates", "replicate_epochs", "scores"):
        frame = getattr(results, table)
        copies[table] = pd.concat([frame.assign(study=study) for study in range(3)], ignore_index=True)
    copies["correct"] = np.concatenate([results.correct] * 3)
    # The last study's second replicate of gru is the best.
    best = (
        (copies["replicates"]["study"] == 2)
        & (copies["replicates"]["replicate"] == 1)
        & (copies["replicates"]["kind"] == "tuned")
    )
    copies["replicates"].loc[best & (copies["replicates"]["arm"] == "gru"), "validation"] = 0.99
    design = {"design": "studies", "studies": 3, "headline": 8, "sampler": "tpe"}
    separate = replace(results, study={**results.study, **design}, **copies)
    text = cards.cards(compute(separate), separate)["gru"]
    assert text.startswith("# Model card: gru/2/tuned/1 of study tiny\n")
    assert "each of 3 searches of 8 trials, trained anew with 2 fresh seeds each" in text
