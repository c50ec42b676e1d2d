"""Finished runs are reused, a changed study has another folder, and one process has its lock."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import imports
from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Config, Parameter, Task
from pipeline.errors import FairsweepError
from pipeline.search import run_store
from pipeline.search.run_store import (
    STATE,
    Job,
    Record,
    State,
    code_digest,
    digest,
    run_seed,
    settings,
)
from pipeline.training.fit import Epoch, Run

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Config(
    name="tiny",
    cells=["rnn", "gru"],
    task=Task(name="tiny", source="synthetic", length=20, vocabulary=50),
    cell=Cell("rnn", "rnn"),
    space={"model": {"units": Parameter(choices=[8, 16])}},
)


def of(config: Config = CONFIG, stage: str = "tune", data: str = "abc") -> str:
    return digest(settings(config, stage, data))


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "model.units=33",
        "model.masking=true",
        "train.learning_rate=0.002",
        "train.epochs=9",
        "train.patience=null",
        "train.backend=jax",
        "task.name=other",
        "task.source=imdb",
        "task.length=21",
        "task.vocabulary=51",
        "task.padding=post",
        "cell.type=gru",
        "split_seed=1",
        "space_seed=1",
        "seed=1",
    ],
)
def test_a_setting_that_decides_numbers_changes_the_digest(override: str) -> None:
    assert of(with_overrides(CONFIG, [override])) != of()


def test_space_arm_stage_and_data_change_the_digest() -> None:
    wider = replace(CONFIG, space={"model": {"units": Parameter(choices=[8, 16, 24])}})
    twin = replace(CONFIG, cell=Cell("rnn", "rnn_again"))
    assert len({of(), of(wider), of(twin), of(stage="replicate"), of(data="abd")}) == 5


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=66",
        "search.replicates=9",
        "search.budget=3",
        "search.margin=0.02",
        "cluster.workers=7",
        "cluster.memory=1GB",
        "task.archive=elsewhere.tar.gz",
        "task.url=https://mirror",
        "cells=[rnn]",
        "recipes=[article]",
    ],
)
def test_a_setting_that_decides_no_number_keeps_the_digest(override: str) -> None:
    assert of(with_overrides(CONFIG, [override])) == of()


def test_the_protocol_and_the_libraries_change_the_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = of()
    monkeypatch.setattr(run_store, "PROTOCOL", run_store.PROTOCOL + 1)
    after = of()
    monkeypatch.setattr(run_store, "version", lambda name: "0")
    assert len({before, after, of()}) == 3


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with its own cell, and with a copy of pipeline/ that `code_digest` reads."""
    shutil.copytree(
        ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "mine.py").write_text(
        "import helper\n\ndef cell(units, **options):\n    return helper.layer(units)\n"
    )
    (tmp_path / "helper.py").write_text("def layer(units):\n    return units\n")
    monkeypatch.setattr(imports, "ROOT", tmp_path / "pipeline")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    """Clear the caches, so that the code is read again."""
    for cached in (code_digest, imports.digest, imports._parsed):
        cached.cache_clear()


def digests() -> tuple[str, str]:
    """The code digests of a cell of Keras and of the project's own cell."""
    forget()
    return code_digest("lstm"), code_digest("mine:cell")


def append(path: Path, text: str = "\nSOMETHING = 1\n") -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    "name",
    ["models/build.py", "models/cells.py", "training/fit.py", "data/splits.py", "metrics.py"],
)
def test_code_that_a_run_executes_counts_for_every_cell(name: str, source: Path) -> None:
    before = digests()
    append(source / "pipeline" / name)
    assert not set(digests()) & set(before)


def test_comments_and_docstrings_do_not_count(source: Path) -> None:
    before = digests()
    path = source / "pipeline/training/fit.py"
    text = path.read_text()
    path.write_text("# A comment.\n" + re.sub(r'"""(?=[A-Z])', '"""Another docstring. ', text))
    assert path.read_text().count("Another docstring") > 10
    assert digests() == before


def test_other_cells_datasets_and_commands_do_not_count(source: Path) -> None:
    before = digests()
    for name in ("data/digits.py", "search/coordinator.py", "config/cli.py"):
        append(source / "pipeline" / name)
    for path in ("pipeline/models/other.py", "other.py"):
        (source / path).write_text("SOMETHING = 1\n")
    assert digests() == before


@pytest.mark.parametrize("name", ["mine.py", "helper.py"])
def test_the_code_of_a_projects_own_cell_counts_for_this_cell(name: str, source: Path) -> None:
    before = digests()
    append(source / name)
    keras, project = digests()
    assert keras == before[0]
    assert project != before[1] != keras


def test_the_place_of_the_code_does_not_matter(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = digests()[0]
    monkeypatch.setattr(imports, "ROOT", ROOT / "pipeline")
    assert digests()[0] == copied


def test_run_seeds_stay_the_same_in_later_versions() -> None:
    assert run_seed(0, "rnn", "trial", 0) == 386259811


def test_run_seeds_differ_by_study_arm_kind_and_number() -> None:
    names = [
        (s, arm, kind, n)
        for s in (0, 1)
        for arm in ("rnn", "gru")
        for kind in ("trial", "tuned", "article")
        for n in range(50)
    ]
    seeds = [run_seed(*name) for name in names]
    assert len(set(seeds)) == len(names)
    assert all(0 <= seed < 2**31 for seed in seeds)


def job(number: int = 0, kind: str = "trial", config: Config = CONFIG) -> Job:
    return Job(kind, number, config, [f"seed={number}"])


def complete(model: bytes | None = None) -> Run:
    return Run(
        epochs=[Epoch(0.7, 0.5, 0.69, 0.55), Epoch(0.6, 0.6, 0.65, 0.625)],
        best_epoch=2,
        parameters=123,
        validation_logits=np.array([0.5, -2.0, 0.125], np.float16),
        test_logits=np.array([1.0, -1.0], np.float16),
        model=model,
        seconds=1.25,
        compile_seconds=None,
    )


def test_the_key_of_a_job_depends_on_its_settings() -> None:
    keys = {
        job().key,
        job(1).key,
        job(kind="tuned").key,
        job(config=with_overrides(CONFIG, ["model.units=16"])).key,
    }
    keys |= {
        job(config=with_overrides(CONFIG, ["seed=1"])).key,
        job(config=with_overrides(CONFIG, ["cell.type=gru"])).key,
    }
    assert len(keys) == 6
    assert job().key.startswith("trial-00000-")
    assert (
        job(config=with_overrides(CONFIG, ["search.trials=66", "cluster.workers=3"])).key
        == job().key
    )


@pytest.mark.parametrize("model", [None, b"\0the bytes of a model\0"])
def test_a_complete_run_is_read_as_it_was_saved(model: bytes | None, tmp_path: Path) -> None:
    state, run = State(tmp_path), complete(model)
    state.save(Record(job(), run, 2, "tcp://127.0.0.1:1", 17.125))
    record = state.read(job())
    assert record is not None
    assert (record.attempt, record.worker, record.started, record.job) == (
        2,
        "tcp://127.0.0.1:1",
        17.125,
        job(),
    )
    restored = record.run
    for name in ("validation_logits", "test_logits"):
        assert getattr(restored, name).dtype == np.float16
        assert getattr(restored, name).tobytes() == getattr(run, name).tobytes()
    assert restored.best == run.epochs[1]
    assert replace(restored, validation_logits=None, test_logits=None) == replace(
        run, validation_logits=None, test_logits=None
    )


def test_a_failed_run_is_read_as_it_was_saved(tmp_path: Path) -> None:
    run = Run(
        state="failed",
        reason="loss is nan in epoch 2",
        epochs=[Epoch(0.7, 0.5, 0.69, 0.55)],
        parameters=9,
        seconds=1.0,
    )
    State(tmp_path).save(Record(job(), run, 1, "w", 0.0))
    record = State(tmp_path).read(job())
    assert record is not None
    assert record.run == run
    assert record.run.best is None


def test_a_missing_run_is_none(tmp_path: Path) -> None:
    State(tmp_path).save(Record(job(), complete(), 1, "w", 0.0))
    assert State(tmp_path).read(job(1)) is None
    assert State(tmp_path).read(job(config=with_overrides(CONFIG, ["seed=1"]))) is None


def test_an_incomplete_file_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: object, **arrays: object) -> None:
        file.write(b"PK half of it")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            State(tmp_path).save(Record(job(), complete(), 1, "w", 0.0))
    assert State(tmp_path).read(job()) is None
    assert not list(tmp_path.iterdir())


HOLD = """
import json, sys
from pipeline.search.run_store import State
with State.open(json.loads(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
DOCUMENT = {"stage": "tune", "cell": {"arm": "gru"}, "seed": 0}


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the state of DOCUMENT in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_store, "LOCK_SECONDS", 0.2)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, json.dumps(DOCUMENT)]
    with subprocess.Popen(
        command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_error_of_a_second_process_names_the_first(holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(
            FairsweepError,
            match=rf"process {holder.pid} is already .* tune of gru .* kill {holder.pid}$",
        ),
        State.open(DOCUMENT),
    ):
        pass
    with State.open({**DOCUMENT, "seed": 1}):
        pass


def test_a_killed_process_releases_the_lock(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with State.open(DOCUMENT) as state:
        assert (state.folder / "owner").read_text() == f"{os.getpid()}\n"


def test_a_state_has_its_settings_and_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with State.open(DOCUMENT) as state:
        assert state.notes("mlflow") == {}
        state.note("mlflow", "parent", "0")
        state.note("mlflow", "parent", "1")
        with (state.folder / "mlflow.jsonl").open("a") as file:
            file.write('["trial 3", "cut o')
        state.note("mlflow", "trial 3", "2")
    with State.open(DOCUMENT) as again:
        assert again.notes("mlflow") == {"parent": "1", "trial 3": "2"}
        assert again.folder.parent == STATE
        assert json.loads((again.folder / "settings.json").read_text()) == DOCUMENT
