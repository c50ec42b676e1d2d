"""Real `dvc repro` of the smoke study: whole, again, larger, changed."""

import json
import re
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import yaml

from study_copy import StudyCopy, files

TABLES = ("runs/smoke/tune/rnn/trials.csv", "runs/smoke/tune/gru/trials.csv")


def trained(output: str) -> int:
    """How many runs a command reported as finished just now."""
    return sum(
        ": trial " in line or ": tuned " in line or ": article " in line
        for line in output.splitlines()
    )


def test_the_tables_have_the_columns_of_the_contract(smoke: StudyCopy) -> None:
    run = "state,reason,seed,backend,epochs,best_epoch,validation,validation_loss,"
    run += "parameters,overrides"
    headers = {
        "tune/rnn/trials.csv": f"repeat,arm,trial,{run}",
        "replicate/rnn/replicates.csv": f"repeat,arm,kind,replicate,{run}",
        "tune/rnn/epochs.csv": "repeat,arm,trial,epoch,loss,accuracy,validation_loss,validation",
        "tune/rnn/timings.csv": "repeat,arm,trial,attempt,worker,started,seconds,"
        "compile_seconds,git",
    }
    assert {
        path: (smoke.root / "runs/smoke" / path).read_text().splitlines()[0] for path in headers
    } == headers


def test_both_cells_are_trained_on_the_same_configurations(smoke: StudyCopy) -> None:
    samples = []
    for path in TABLES:
        table = pd.read_csv(smoke.root / path)
        assert list(table["trial"]) == list(range(8))
        chosen = [
            [text for text in json.loads(row) if not text.startswith(("cell=", "seed="))]
            for row in table["overrides"]
        ]
        samples.append(chosen)
    assert samples[0] == samples[1]


def test_every_run_is_in_mlflow_under_a_closed_parent(smoke: StudyCopy) -> None:
    with sqlite3.connect(smoke.root / "mlflow.db") as store:
        runs = dict(store.execute("select status, count(*) from runs group by status").fetchall())
        children = store.execute(
            "select count(*) from tags where key = 'mlflow.parentRunId'"
        ).fetchone()[0]
        aliases = dict(
            store.execute(
                "select alias, version from registered_model_aliases where name = 'fairsweep-smoke'"
            ).fetchall()
        )
        inputs = store.execute(
            "select count(*) from inputs where source_type = 'DATASET'"
        ).fetchone()[0]
    # One of them holds the report.
    assert runs == {"FINISHED": 4 + 2 * 8 + 2 * 2 * 2 + 1}
    assert children == 2 * 8 + 2 * 2 * 2
    assert inputs == runs["FINISHED"] - 1
    assert aliases.keys() == {"rnn", "gru", "champion"}
    assert aliases["champion"] in (aliases["rnn"], aliases["gru"])


@pytest.mark.long
def test_a_trial_replays_from_the_command_line(finished: StudyCopy) -> None:
    table = pd.read_csv(finished.root / TABLES[1]).iloc[3]
    output = finished.run("python", "-m", "pipeline.train", *json.loads(table["overrides"])).stdout
    assert (
        f"gru: validation {table['validation']:.4f} in epoch {table['best_epoch']} "
        f"of {table['epochs']}" in output
    )


@pytest.fixture
def under_dvc(smoke: StudyCopy, tmp_path: Path) -> StudyCopy:
    """The smoke study with DVC's cache and lock, in a copy that a test may change."""
    copy = StudyCopy(tmp_path / "study", "smoke")
    return copy.take(smoke, "data", "runs", "results", ".fairsweep", ".dvc/cache", "dvc.lock")


def test_a_second_repro_runs_only_the_stage_code(under_dvc: StudyCopy) -> None:
    before = files(under_dvc.root / "runs/smoke"), files(under_dvc.root / "results")
    output = under_dvc.repro()
    assert re.findall("Running stage '(.*)'", output) == ["code"]
    assert (files(under_dvc.root / "runs/smoke"), files(under_dvc.root / "results")) == before


def test_comments_and_other_cells_and_datasets_run_no_stage_again(under_dvc: StudyCopy) -> None:
    with (under_dvc.root / "pipeline/training/fit.py").open("a") as file:
        file.write("# A comment.\n")
    for path in (
        "pipeline/data/digits.py",
        "pipeline/models/other.py",
        "other.py",
        "conf/cell/other.yaml",
    ):
        with (under_dvc.root / path).open("a") as file:
            file.write("type: gru\n" if path.endswith("yaml") else "SOMETHING = 1\n")
    assert re.findall("Running stage '(.*)'", under_dvc.repro()) == ["code"]
    under_dvc.edit(
        "pipeline/data/synthetic.py", "_STRENGTHENED = 0.2, 0.3", "_STRENGTHENED = 0.2 + 0, 0.3"
    )
    again = re.findall("Running stage '(.*)'", under_dvc.repro())
    assert again == ["code", "download", "pad", "report"], (
        "the archive and the arrays are unchanged, so no other stage runs"
    )


@pytest.mark.long
def test_a_larger_study_trains_what_is_new_and_a_changed_space_everything(
    under_dvc: StudyCopy,
) -> None:
    copy = under_dvc
    old = {path: (copy.root / path).read_text().splitlines() for path in TABLES}
    copy.edit("conf/study/smoke.yaml", "trials: 8", "trials: 10")
    tune = [f"tune@{cell}" for cell in ("rnn", "gru")]
    assert trained(copy.repro(*tune)) == 2 * 2
    for path in TABLES:
        assert (copy.root / path).read_text().splitlines()[:9] == old[path]
    copy.edit("conf/space/smoke.yaml", "high: 1.0e-2", "high: 2.0e-2")
    assert trained(copy.repro("tune@rnn")) == 10
    lock = yaml.safe_load((copy.root / "dvc.lock").read_text())
    assert "tune@rnn" in lock["stages"]


@pytest.mark.parametrize(
    ("backend", "launcher"),
    [
        ("jax", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        pytest.param("tensorflow", ["hydra/launcher=submitit_local"], marks=pytest.mark.long),
    ],
)
def test_a_multirun_trains_a_grid_in_processes_of_its_own(
    finished: StudyCopy, backend: str, launcher: list[str]
) -> None:
    grid = [
        "cell=rnn,lstm",
        "train.learning_rate=1e-3,3e-3",
        "train.epochs=1",
        f"train.backend={backend}",
        *launcher,
    ]
    output = finished.run("python", "-m", "pipeline.train", "-m", "study=smoke", *grid)
    with sqlite3.connect(finished.root / "mlflow.db") as store:
        (runs_with_backend,) = store.execute(
            "select count(*) from params where key = 'train.backend' and value = ?", [backend]
        ).fetchone()
    assert runs_with_backend == 4, output.stdout + output.stderr
