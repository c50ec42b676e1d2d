"""Repeated searches with real trainings: `dvc repro` of a smaller `smoke_tpe`."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from study_copy import StudyCopy

pytestmark = pytest.mark.long

ARMS, REPEATS, TRIALS = ("rnn", "gru"), range(3), range(2)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """A finished study: per cell three searches of two trials of two epochs."""
    copy = StudyCopy(tmp_path_factory.mktemp("smoke_tpe") / "study", "smoke_tpe")
    copy.edit("conf/study/smoke_tpe.yaml", "trials: 4, budget: 4", "trials: 2, budget: 2")
    copy.edit("conf/study/smoke_tpe.yaml", "epochs: 4", "epochs: 2")
    copy.edit("conf/study/smoke_tpe.yaml", "recipes: [article]", "recipes: []")
    copy.repro()
    return copy


def trials(copy: StudyCopy, arm: str) -> pd.DataFrame:
    return pd.read_csv(copy.root / f"runs/smoke_tpe/tune/{arm}/trials.csv")


def test_every_trial_of_every_search_is_in_the_tables(copy: StudyCopy) -> None:
    for arm in ARMS:
        table = trials(copy, arm)
        assert list(zip(table["repeat"], table["trial"], strict=True)) == [
            (k, i) for k in REPEATS for i in TRIALS
        ]
        assert set(table["state"]) <= {"complete", "pruned"}
        for overrides, repeat in zip(table["overrides"], table["repeat"], strict=True):
            assert f"split_seed={repeat}" in json.loads(overrides)
    # The first trials are random, and equal in all arms.
    first = [
        list(table["overrides"].map(lambda text: json.loads(text)[2:5]))
        for table in map(trials, [copy] * 2, ARMS)
    ]
    assert first[0] == first[1]


def test_a_decision_to_prune_reached_the_worker_and_the_run_was_kept(copy: StudyCopy) -> None:
    table = pd.concat([trials(copy, arm) for arm in ARMS])
    pruned = table[table["state"] == "pruned"]
    assert len(pruned)
    assert (pruned["epochs"] == 1).all()
    assert pruned["validation"].notna().all()
    for arm in ARMS:
        assert not np.isnan(np.load(copy.root / f"runs/smoke_tpe/tune/{arm}/test_logits.npy")).any()
    scores = pd.read_csv(copy.root / "results/smoke_tpe/scores/scores.csv")
    assert (scores["state"] == "pruned").sum() == len(pruned)
    for arm in ARMS:
        (store,) = [
            path
            for path in copy.root.glob(".fairsweep/state/*/study.db")
            if json.loads(path.with_name("settings.json").read_text())["cell"]["arm"] == arm
        ]
        with sqlite3.connect(store) as connection:
            counts = dict(
                connection.execute(
                    "select study_name, count(*) from trials join studies using (study_id) "
                    "group by 1"
                )
            )
            states = dict(connection.execute("select state, count(*) from trials group by 1"))
        assert counts == {f"smoke_tpe-{arm}-{k}": len(TRIALS) for k in REPEATS}
        assert states.get("PRUNED", 0) == (trials(copy, arm)["state"] == "pruned").sum()


def test_the_best_trial_of_each_search_is_retrained_on_its_split(copy: StudyCopy) -> None:
    for arm in ARMS:
        best = yaml.safe_load((copy.root / f"runs/smoke_tpe/tune/{arm}/best.yaml").read_text())
        assert [trial["repeat"] for trial in best["repeats"]] == list(REPEATS)
        assert (
            best["validation"]
            == max(trial["validation"] for trial in best["repeats"])
            == trials(copy, arm)["validation"].max()
        )
        table = pd.read_csv(copy.root / f"runs/smoke_tpe/replicate/{arm}/replicates.csv")
        assert list(zip(table["repeat"], table["kind"], table["replicate"], strict=True)) == [
            (k, "tuned", 0) for k in REPEATS
        ]
        for row, trial in zip(table["overrides"], best["repeats"], strict=True):
            assert {*trial["overrides"], f"split_seed={trial['repeat']}"} < set(json.loads(row))


def test_a_trial_of_a_later_search_replays_from_the_command_line(copy: StudyCopy) -> None:
    table = trials(copy, "gru")
    row = table[(table["repeat"] == 2) & (table["state"] == "complete")].iloc[0]
    output = copy.run("python", "-m", "pipeline.train", *json.loads(row["overrides"])).stdout
    assert (
        f"gru: validation {row['validation']:.4f} in epoch {row['best_epoch']} of {row['epochs']}"
        in output
    )


def test_study_json_has_the_settings_of_the_search(copy: StudyCopy) -> None:
    study = json.loads((copy.root / "results/smoke_tpe/scores/study.json").read_text())
    expected = {"design": "repeated", "repeats": 3, "trials": 2, "budget": 2, "sampler": "tpe"}
    assert study.items() >= {**expected, "pruner": "asha", "alpha": 0.05, "looks": 1}.items()
    assert Path(copy.root / "results/smoke_tpe/report/report.md").is_file()


def test_runs_in_mlflow_have_the_number_of_their_search(copy: StudyCopy) -> None:
    with sqlite3.connect(copy.root / "mlflow.db") as store:
        tagged = dict(
            store.execute("select value, count(*) from tags where key = 'repeat' group by value")
        )
        names = {name for (name,) in store.execute("select name from runs")}
    assert tagged == {str(k): len(ARMS) * (len(TRIALS) + 1) for k in REPEATS}
    assert {"gru search 2 trial 1", "rnn search 0 tuned 0"} < names
