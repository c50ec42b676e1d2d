"""Flags of the checks go from the arms' tables into the report; studies without them have none."""

import csv
import shutil

import numpy as np
import pytest

from pipeline.analysis.summary import summarize
from pipeline.checks import flags
from pipeline.checks.flags import Flag
from pipeline.errors import FairsweepError
from pipeline.evaluate import evaluate
from pipeline.rendering import markdown
from pipeline.scoring import results as tables

LINEAR = Flag("linear learning rate", "It is drawn evenly, from 1 to 2", "Draw its logarithm")
STUCK = Flag("stuck at chance", 'The first 3 trials score "0.5", no better', "Try one by hand")


def flag(study, **flagged):
    """Write the tables of flags of both arms' searches, and evaluate anew."""
    for arm in study.cells:
        config = study.config
        config.cell.arm = arm
        flags.write(study.folder("tune", arm), config, flagged.get(arm, []))
    evaluate(study.config)
    return tables.load(study.root / "results/tiny/scores")


def test_a_flag_of_several_arms_is_reported_once(study):
    results = flag(study, rnn=[STUCK, LINEAR], gru=[LINEAR])
    summary = summarize(results)
    assert [(row["check"], row["arms"]) for row in summary["flags"]] == [
        ("linear learning rate", ["rnn", "gru"]),
        ("stuck at chance", ["rnn"]),
    ]
    assert (
        markdown.flag_sentences(summary)[0] == f"rnn and gru, linear learning rate: {LINEAR.text}"
    )
    text = markdown.report(summary, results.study, [])
    section = text[text.index("## Problems found by the checks") :].split("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("- ")] == [
        f"- rnn and gru, linear learning rate: {LINEAR.text}",
        f"- rnn, stuck at chance: {STUCK.text}",
    ]


def test_no_flags_give_an_empty_table_and_no_section(study):
    results = flag(study)
    assert results.flags is not None
    assert results.flags.empty
    summary = summarize(results)
    assert summary["flags"] == []
    assert "found by the checks" not in markdown.report(summary, results.study, [])
    with (study.root / "results/tiny/scores/flags.csv").open() as file:
        assert list(csv.reader(file)) == [list(flags.COLUMNS)]


def test_a_study_older_than_the_checks_has_no_flags(results):
    assert results.flags is None
    assert "flags" not in summarize(results)


@pytest.mark.parametrize("gates", ["stop", "warn"])
def test_the_mode_of_the_checks_is_not_in_study_json(study, gates):
    from pipeline.scoring.join import describe

    config = study.config
    config.search.checks = gates
    assert describe(config, {}, 1) == describe(study.config, {}, 1)


def test_an_arm_whose_search_ran_no_trial_is_refused_with_the_command_to_run(study):
    folder = study.folder("tune", "gru")
    for name in ("trials", "epochs", "timings"):
        path = folder / f"{name}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    for name in ("validation_logits", "test_logits"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[:0])
    with pytest.raises(
        FairsweepError,
        match=r"trials of gru are incomplete.*missing: 0, 1, 2.*Run `dvc repro tune@gru`",
    ):
        evaluate(study.config)
    shutil.rmtree(folder)
    with pytest.raises(
        FairsweepError, match=r"Expected the runs of cell gru. Run `dvc repro tune@gru`"
    ):
        evaluate(study.config)
