"""What the gates flagged goes from the arms' tables into the report, and a study without such tables is told as before."""

import csv
import shutil

import numpy as np
import pytest

from pipeline.errors import FairsweepError
from pipeline.evaluate import evaluate
from pipeline.gates import flags
from pipeline.gates.flags import Flag
from pipeline.reporting import page, tables, words
from pipeline.reporting.metrics import metrics

LINEAR = Flag("linear learning rate", "It is drawn evenly, from 1 to 2", "Draw its logarithm")
STUCK = Flag("stuck at chance", 'The first 3 trials score "0.5", no better', "Try one by hand")


def flag(study, **found):
    """Write the tables of flags of both arms' searches, and evaluate anew."""
    for arm in study.cells:
        config = study.config
        config.cell.arm = arm
        flags.write(study.folder("tune", arm), config, found.get(arm, []))
    evaluate(study.config)
    return tables.load(study.root / "results/tiny/scores")


def test_a_flag_of_several_arms_is_told_once_under_the_answer(study):
    results = flag(study, rnn=[STUCK, LINEAR], gru=[LINEAR])
    found = metrics(results)
    assert [(one["gate"], one["arms"]) for one in found["flags"]] == [
        ("linear learning rate", ["rnn", "gru"]),
        ("stuck at chance", ["rnn"]),
    ]
    assert words.flag_sentences(found)[0] == f"rnn and gru, linear learning rate: {LINEAR.text}"
    text = page.report(found, results.study, [])
    told = f"- rnn and gru, linear learning rate: {LINEAR.text}\n- rnn, stuck at chance: {STUCK.text}\n\n## The verdict matrix"
    assert f"## What the sanity gates flagged\n\nSeen while the study ran; what follows stands on it.\n\n{told}" in text


def test_gates_that_saw_nothing_leave_a_table_and_no_section(study):
    results = flag(study)
    assert results.flags is not None
    assert results.flags.empty
    found = metrics(results)
    assert found["flags"] == []
    assert "sanity gates" not in page.report(found, results.study, [])
    with (study.root / "results/tiny/scores/flags.csv").open() as file:
        assert list(csv.reader(file)) == [list(flags.COLUMNS)]


def test_a_study_that_is_older_than_the_gates_is_told_as_before(results):
    assert results.flags is None
    assert "flags" not in metrics(results)


@pytest.mark.parametrize("gates", ["stop", "warn"])
def test_whether_gates_stop_is_no_part_of_what_a_study_is(study, gates):
    from pipeline.reporting.join import describe

    config = study.config
    config.search.gates = gates
    assert describe(config, {}, 1) == describe(study.config, {}, 1)


def test_an_arm_whose_search_ran_no_trial_is_refused_with_the_command_to_run(study):
    folder = study.folder("tune", "gru")
    for name in ("trials", "epochs", "timings"):
        path = folder / f"{name}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    for name in ("validation_logits", "test_logits"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[:0])
    with pytest.raises(FairsweepError, match=r"trials of gru are not whole.*missing: 0, 1, 2.*Run `dvc repro tune@gru`"):
        evaluate(study.config)
    shutil.rmtree(folder)
    with pytest.raises(FairsweepError, match=r"Expected the runs of cell gru. Run `dvc repro tune@gru`"):
        evaluate(study.config)
