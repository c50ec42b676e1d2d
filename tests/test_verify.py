"""Recorded runs trained again: the same to the bit, and named where they are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config import compose
from pipeline.errors import FairsweepError
from pipeline.verifying.names import RunName, parse
from pipeline.verifying.recorded import Recorded, differences
from pipeline.verifying.replay import by_settings
from study_copy import ROOT, StudyCopy, files

EVERYTHING = ("data", "runs", "results", ".fairsweep")
IDENTICAL = "bit-identical: {} epochs, its row, 320 validation logits, 1,000 test logits"


def verify(copy: StudyCopy, *overrides: str) -> tuple[int, list[str]]:
    """The exit status and the lines of `verify`."""
    done = copy.run("python", "-m", "pipeline.verify", "study=smoke", *overrides, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture(scope="module")
def copy(smoke: StudyCopy, tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """The study with its state, for commands that are no stages of it."""
    return StudyCopy(tmp_path_factory.mktemp("verified") / "study", "smoke").take(smoke, *EVERYTHING)


def test_a_recorded_trial_comes_out_the_same(copy: StudyCopy) -> None:
    before = files(copy.root / "runs/smoke"), files(copy.root / "results")
    epochs = pd.read_csv(copy.root / "runs/smoke/tune/gru/trials.csv")["epochs"][3]
    status, lines = verify(copy, "run=gru/trial/3")
    assert status == 0
    assert lines[0].startswith("gru/trial/3 of smoke, recorded in runs/smoke/tune/gru: complete, ")
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"epoch {number}/4" for number in range(1, epochs + 1)]
    assert lines[-1] == IDENTICAL.format(epochs)
    assert (files(copy.root / "runs/smoke"), files(copy.root / "results")) == before


def test_a_recorded_replicate_comes_out_the_same_and_its_model_is_kept(copy: StudyCopy) -> None:
    table = pd.read_csv(copy.root / "runs/smoke/replicate/rnn/replicates.csv")
    tuned = table[table["kind"] == "tuned"].sort_values(["validation", "validation_loss"], ascending=[False, True])
    status, lines = verify(copy, f"run=rnn/tuned/{tuned['replicate'].iloc[0]}", "out=kept/best model.keras")
    assert status == 0
    assert lines[-2:] == [IDENTICAL.format(tuned["epochs"].iloc[0]), "kept/best model.keras: the model"]
    champion = copy.root / "runs/smoke/replicate/rnn/champion.keras"
    assert (copy.root / "kept/best model.keras").read_bytes() == champion.read_bytes()


@pytest.mark.long
def test_an_edited_cell_is_named_with_what_was_edited(copy: StudyCopy) -> None:
    path = copy.root / "runs/smoke/tune/rnn/epochs.csv"
    as_it_was = path.read_text()
    lines = as_it_was.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("0,rnn,2,2,"))
    cells = lines[place].split(",")
    lines[place] = ",".join([*cells[:6], "0.123456", *cells[7:]])
    path.write_text("\n".join(lines) + "\n")
    try:
        status, told = verify(copy, "run=rnn/trial/2")
    finally:
        path.write_text(as_it_was)
    assert status == 1
    assert f"different, first in epoch 2, validation_loss: 0.123456 recorded, {cells[6]} now" in told
    assert told[-1].startswith("likely cause: the table was edited: .fairsweep/state/")
    assert not any("logits" in line for line in told)


@pytest.mark.long
def test_a_clone_without_runs_is_held_against_the_scores(copy: StudyCopy, tmp_path: Path) -> None:
    clone = StudyCopy(tmp_path / "clone", "smoke").take(copy, "results")
    status, lines = verify(clone, "run=gru/trial/3")
    assert status == 0
    assert "recorded in results/smoke/scores" in "\n".join(lines)
    assert lines[-1].startswith("bit-identical: ")
    assert lines[-1].endswith("its row; the scores' tables keep no logits to compare")
    assert not (clone.root / "data").exists()
    clone.edit("conf/study/smoke.yaml", "batch_size: 64", "batch_size: 32")
    status, lines = verify(clone, "run=gru/article/0")
    assert status == 0, "a recipe sets its own batch size"
    status, lines = verify(clone, "run=gru/trial/3", "out=other.keras")
    assert status == 1
    assert "different, first in epoch 1, loss: " in "\n".join(lines)
    assert "likely cause: train.batch_size was 64 in the study, and is 32 in conf/ now" in lines
    assert lines[-1] == "other.keras: the model, which is not the recorded one"


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("gru/trial", "run=gru/trial: expected ARM/KIND/NUMBER, such as run=rnn/trial/3"),
        ("gro/trial/1", "study smoke has no cell 'gro'; the nearest is 'gru'. There are: rnn, gru"),
        ("gru/tunned/1", "study smoke has no kind of run 'tunned'; the nearest is 'tuned'. There are: trial, tuned, article"),
        ("gru/trial/-1", "run=gru/trial/-1: '-1' is no number"),
        ("gru/trial/²", "run=gru/trial/²: '²' is no number"),
    ],
)
def test_a_run_that_cannot_be_is_told_what_there_is(run: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(FairsweepError) as caught:
        parse(run, compose(["study=smoke"]))
    assert told in str(caught.value)


def test_a_run_of_separate_studies_has_the_number_of_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    separate = compose(["study=smoke_tpe"])
    assert parse("gru/2/trial/1", separate) == RunName("gru", "trial", 1, 2)
    assert str(RunName("gru", "trial", 1, 2)) == "gru/2/trial/1"
    with pytest.raises(FairsweepError, match="expected ARM/STUDY/KIND/NUMBER, such as run=rnn/0/trial/3"):
        parse("gru/trial/1", separate)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["study=smoke"], "give run=ARM/KIND/NUMBER, such as run=lstm/trial/17."),
        (["study=smok", "run=a/b/1"], "study=smok: no such study; the nearest is 'smoke'"),
        (
            ["study=smoke", "run=gru/trial/8"],
            "runs/smoke/tune/gru/trials.csv has no such run. Of gru/trial it has numbers 0 to 7.",
        ),
        (["study=smoke", "run=gru/trial/1", "out=model.h5"], "out=model.h5: expected the name of a file that ends in .keras"),
    ],
)
def test_bad_input_ends_before_anything_is_trained(copy: StudyCopy, words: list[str], told: str) -> None:
    done = copy.run("python", "-m", "pipeline.verify", *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stdout == ""


RECORDED = Recorded(
    Path("runs"),
    dict.fromkeys(
        ("state", "reason", "seed", "backend", "epochs", "best_epoch", "validation", "validation_loss", "parameters"), "1"
    ),
    [dict.fromkeys(("epoch", "loss", "accuracy", "validation_loss", "validation"), "1")],
    {"validation_logits": np.ones(4, np.float16), "test_logits": np.ones((3, 2), np.float16)},
)


def test_logits_that_differ_are_counted_and_those_of_a_longer_split_end_in_nan() -> None:
    now = replace(RECORDED, logits={"validation_logits": np.ones(3, np.float16), "test_logits": np.ones((3, 2), np.float16)})
    longer = {**RECORDED.logits, "validation_logits": np.array([1, 1, 1, np.nan], np.float16)}
    assert differences(replace(RECORDED, logits=longer), now) == []
    assert differences(RECORDED, now) == ["validation logits: 4 recorded, 3 now"]
    other = now.logits["test_logits"].copy()
    other[1] += np.float16(0.25)
    moved = replace(now, logits={**now.logits, "test_logits": other})
    assert differences(replace(RECORDED, logits=longer), moved) == ["test logits: 1 of 3 differ, by up to 0.25"]
    failed = replace(RECORDED, logits={"validation_logits": None, "test_logits": None})
    assert differences(RECORDED, failed)[1] == "test logits: 3 recorded, none now"
    zero, negative = (replace(RECORDED, logits={"test_logits": np.array([sign * 0.0], np.float16)}) for sign in (1, -1))
    assert differences(zero, negative) == ["test logits: 1 of 1 differ, by up to 0"]


def test_other_versions_code_and_data_are_named_as_causes() -> None:
    now = {"backend": {}, "code": "a", "protocol": 1, "data": "d", "task": {}}
    before = {**now, "backend": {"numpy": "0.0.1"}, "code": "b", "data": "e"}
    assert by_settings(before, now) == [
        f"it was recorded with numpy 0.0.1, here is {np.__version__}",
        "the code that trains it has changed since",
        "its data differs",
    ]
