"""`evaluate` on a synthetic study: what it writes, and what it refuses to join."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import FairsweepError
from pipeline.evaluate import evaluate
from pipeline.metrics import unpack
from synthetic import Study


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Study(tmp_path, trials=4, failed=(("rnn", 2),)).write()


def scored(study) -> pd.DataFrame:
    evaluate(study.config)
    return pd.read_csv(study.root / "results/tiny/scores/scores.csv")


def edit(path, change) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_every_run_is_scored_once_in_order(study):
    table = scored(study)
    assert (
        ",".join(table.columns)
        == "repeat,arm,kind,trial,state,validation,validation_loss,test,test_loss,test_auc"
    )
    assert (
        table["arm"].tolist()
        == ["rnn"] * 4 + ["gru"] * 4 + ["rnn"] * 4 + ["gru"] * 4 + ["baseline"] * 2
    )
    assert table["kind"].tolist()[8:] == ["tuned", "tuned", "article", "article"] * 2 + [
        "same_tokens",
        "whole_text",
    ]
    assert table["trial"].tolist() == [0, 1, 2, 3] * 2 + [0, 1, 0, 1] * 2 + [0, 0]


def test_scores_and_bits_agree_with_the_logits(study):
    table = scored(study)
    logits = np.load(study.folder("tune", "gru") / "test_logits.npy")
    stored = np.load(study.root / "results/tiny/scores/correct.npz")
    correct = unpack(stored["correct"], int(stored["reviews"]))
    assert (correct[4:8] == ((logits > 0) == study.labels)).all()
    assert table["test"].to_numpy()[4:8] == pytest.approx(correct[4:8].mean(axis=1))
    assert (stored["groups"] == np.arange(64) // 4).all()
    assert stored["groups"].dtype == np.int32


def test_a_failed_run_scores_as_guessing_and_has_no_bit_set(study):
    row = scored(study).iloc[2]
    assert row["state"] == "failed"
    assert math.isnan(row["validation"])
    assert row[["test", "test_loss", "test_auc"]].tolist() == [0.5, 0.693147, 0.5]
    assert not np.load(study.root / "results/tiny/scores/correct.npz")["correct"][2].any()


def test_tables_are_joined_as_they_were_written(study):
    scored(study)
    folder = study.root / "results/tiny/scores"
    joined = (folder / "trials.csv").read_text().splitlines()
    parts = [
        study.folder("tune", arm).joinpath("trials.csv").read_text().splitlines()
        for arm in ("rnn", "gru")
    ]
    assert joined == [parts[0][0], *parts[0][1:], *parts[1][1:]]
    timings = pd.read_csv(folder / "timings.csv")
    assert timings["kind"].value_counts().to_dict() == {
        "trial": 8,
        "tuned": 4,
        "article": 4,
        "same_tokens": 1,
        "whole_text": 1,
    }
    assert {path.name for path in folder.iterdir()} == {
        *(
            "scores.csv",
            "correct.npz",
            "trials.csv",
            "epochs.csv",
            "replicates.csv",
            "replicate_epochs.csv",
        ),
        *("timings.csv", "baseline.csv", "grid.csv", "study.json"),
    }


def test_study_json_describes_the_study_and_has_no_path(study):
    scored(study)
    text = (study.root / "results/tiny/scores/study.json").read_text()
    document = json.loads(text)
    assert (document["cells"], document["trials"], document["replicates"], document["budget"]) == (
        ["rnn", "gru"],
        4,
        2,
        2,
    )
    assert document["space"][0] == {"key": "model.units", "log": False, "choices": [8, 16]}
    assert "model.units" not in document["fixed"]
    assert document["fixed"]["model.embedding"] == 32
    assert document["data"]["digest"] == "abc"
    assert "private" not in text


def test_rows_in_another_order_give_the_same_bytes(study):
    evaluate(study.config)
    folder = study.root / "results/tiny/scores"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    arm = study.folder("tune", "gru")
    edit(arm / "trials.csv", lambda table: table.iloc[::-1])
    for name in ("test_logits.npy", "validation_logits.npy"):
        np.save(arm / name, np.load(arm / name)[::-1])
    evaluate(study.config)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_mirrored_labels_mirror_every_accuracy(tmp_path, monkeypatch):
    tables = []
    for mirrored in (False, True):
        root = tmp_path / str(mirrored)
        root.mkdir()
        monkeypatch.chdir(root)
        tables.append(scored(Study(root, mirrored=mirrored).write()))
    assert tables[1]["test"].to_numpy() == pytest.approx(1 - tables[0]["test"].to_numpy())
    assert tables[1]["test_auc"].to_numpy() == pytest.approx(
        1 - tables[0]["test_auc"].to_numpy(), abs=2e-6
    )


def remove(*names):
    return lambda study: shutil.rmtree(study.folder(*names))


def change(*names, table):
    return lambda study: edit(study.folder(*names), table)


def reshape(*names, to):
    return lambda study: np.save(study.folder(*names), to(np.load(study.folder(*names))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("tune", "gru"), "gru is missing.*`dvc repro tune@gru`"),
        (remove("replicate", "rnn"), "rnn is missing.*`dvc repro replicate@rnn`"),
        (
            lambda study: study.folder("tune", "lstm").mkdir(),
            "holds lstm, not a cell of this study",
        ),
        (
            lambda study: study.folder("replicate", "lstm").mkdir(),
            "holds lstm, not a cell of this study",
        ),
        (
            change("tune", "gru", "trials.csv", table=lambda table: table.assign(arm="rnn")),
            "rows of rnn. Expected rows of gru alone",
        ),
        (
            change(
                "tune", "gru", "trials.csv", table=lambda table: table.assign(trial=[0, 1, 1, 3])
            ),
            "missing: 2; more than once: 1",
        ),
        (
            change(
                "tune", "gru", "trials.csv", table=lambda table: table.assign(trial=[0, 1, 2, 7])
            ),
            "missing: 3; not expected: 7",
        ),
        (
            change("tune", "gru", "trials.csv", table=lambda table: table.assign(state="running")),
            "found running",
        ),
        (
            change("tune", "gru", "trials.csv", table=lambda table: table[:3]),
            r"shape \(4, 64\). Expected \(3, 64\)",
        ),
        (
            reshape("tune", "rnn", "test_logits.npy", to=lambda logits: logits[:, :-1]),
            r"shape \(4, 63\). Expected \(4, 64\)",
        ),
        (
            reshape("replicate", "rnn", "validation_logits.npy", to=lambda logits: logits[1:]),
            r"Expected \(4, 20\)",
        ),
        (
            reshape("baseline", "test_logits.npy", to=lambda logits: logits * np.nan),
            "holds NaN in runs that baseline.csv calls complete",
        ),
        (
            change(
                "replicate", "gru", "replicates.csv", table=lambda table: table.assign(kind="tuned")
            ),
            "missing: article",
        ),
        (
            change("baseline", "baseline.csv", table=lambda table: table.assign(kind="whole_text")),
            "missing: same_tokens",
        ),
        (
            lambda study: study.folder("baseline", "grid.csv").unlink(),
            "grid.csv is missing. Run `dvc repro baseline`",
        ),
    ],
)
def test_errors_leave_no_results(study, damage, message):
    damage(study)
    with pytest.raises(FairsweepError, match=message):
        evaluate(study.config)
    assert not (study.root / "results").exists()


def test_an_arm_with_fewer_trials_raises(study):
    arm = study.folder("tune", "gru")
    edit(arm / "trials.csv", lambda table: table[:3])
    for name in ("test_logits.npy", "validation_logits.npy"):
        np.save(arm / name, np.load(arm / name)[:3])
    with pytest.raises(
        FairsweepError,
        match=r"The trials of gru are incomplete. Expected each trial.*missing: 3",
    ):
        evaluate(study.config)


def test_a_missing_replicate_raises(study):
    arm = study.folder("replicate", "gru")
    edit(arm / "replicates.csv", lambda table: table[:3])
    for name in ("test_logits.npy", "validation_logits.npy"):
        np.save(arm / name, np.load(arm / name)[:3])
    with pytest.raises(
        FairsweepError,
        match=r"The article replicates of gru are incomplete.*missing: 1.*dvc repro replicate@gru",
    ):
        evaluate(study.config)
