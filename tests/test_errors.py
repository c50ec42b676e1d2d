"""A user's mistake gives one message, without a traceback, that names the cause and what to do.

Each row is a command as typed, a mistake made before it, and words of the message in their order.
"""

import gzip
import http.server
import importlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import pytest
from filelock import FileLock

from command_line import ROOT, CommandLine, environment
from machines import Machines
from pipeline.config.compose import compose, printed_numbers
from pipeline.config.schema import Cell, Config, Search
from pipeline.errors import FairsweepError, as_fault
from pipeline.evaluate import evaluate
from pipeline.search import run_store
from pipeline.search.optuna import storage
from pipeline.search.run_store import Job, State
from synthetic import Study

COMMANDS = sorted(
    path.stem for path in (ROOT / "pipeline").glob("*.py") if "\n@command" in path.read_text()
)
STUDY = "# @package _global_\ndefaults:\n  - override /task: synthetic\n  - override /space: smoke\nname: own\ncells: [rnn, gru]\n"
SEARCH = "search: {trials: 8, budget: 2, replicates: 2}\n"
Plant = Callable[[Path], object]


@dataclass(frozen=True)
class Mistake:
    """A command, the words of its message, and what is wrong."""

    command: str
    words: tuple[str, ...]
    plant: Plant = lambda project: None
    variables: dict[str, str] = field(default_factory=dict)
    largest: int | None = None
    absent: tuple[str, ...] = ()
    stdout: str = ""


def file(name: str, content: str | bytes) -> Plant:
    """A file with this content."""

    def plant(project: Path) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return plant


def cut(name: str) -> Plant:
    """The first half of a file that was whole."""

    def plant(project: Path) -> None:
        path = project / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return plant


def changed(name: str, old: str, new: str) -> Plant:
    """A file in which `old` has become `new`."""

    def plant(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return plant


def gone(name: str) -> Plant:
    """No such file."""
    return lambda project: (project / name).unlink()


def both(*plants: Plant) -> Plant:
    return lambda project: [plant(project) for plant in plants]


def evaluated(project: Path) -> None:
    """A study of runs that were never trained, as far as `evaluate` takes it."""
    (project / "conf/study/tiny.yaml").write_text(
        STUDY.replace("name: own", "name: tiny") + SEARCH + "recipes: [article]\n"
    )
    Study(project).write()


def scored(project: Path) -> None:
    """The same with scores, and a report of them still to be made."""
    evaluated(project)
    config = compose(["study=tiny"])
    evaluate(config, printed_numbers(config, ["study=tiny"]))


def no_runs_folder(project: Path) -> None:
    """Nobody can make a file there, not even root."""
    shutil.rmtree(project / "runs", ignore_errors=True)
    (project / "runs").symlink_to("/sys/kernel")


SCORES = "arm,trial,validation,test\n" + "".join(
    f"{arm},{i},0.8{i % 7},0.8{i % 5}\n" for arm in "ab" for i in range(40)
)
OWN = "data.path=own.csv data.text=text data.label=label"
# Nothing listens there.
AWAY = {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9"}
NO_SPACE = ("Free some disk space", "df -h", "Finished runs are kept", "same command")

MISTAKES = {
    # Keys, groups, values, types, units
    "a typo in a key": Mistake(
        "train trian.epochs=1", ("trian.epochs: no such key", "the nearest is 'train.epochs'")
    ),
    "a typo in a group": Mistake(
        "sample stduy=smoke", ("stduy: no such key", "the nearest is 'study'")
    ),
    "an unknown study": Mistake(
        "report study=imbd",
        ("study=imbd: no such study", "the nearest is 'imdb'", "There are: ", "smoke"),
    ),
    "an unknown cell": Mistake(
        "tune study=smoke cell=grru",
        ("cell=grru: no such cell", "nearest is 'gru'", "There are: bi_gru"),
    ),
    "no cell": Mistake(
        "tune study=smoke",
        ("cell=lstm", "study smoke does not compare it", "Choose cell= of rnn, gru, or add lstm"),
    ),
    "text for a number": Mistake(
        "sample search.trials=eight",
        ("search.trials=eight", "could not be converted to Integer", "such as search.trials=60"),
    ),
    "half a trial": Mistake(
        "sample search.trials=7.5",
        ("search.trials=7.5", "could not be converted to Integer", "such as search.trials=60"),
    ),
    "a number with a unit": Mistake(
        "train train.learning_rate=1e-3s",
        ("train.learning_rate=1e-3s", "converted to Float", "=0.001"),
    ),
    "a percentage": Mistake(
        "compare scores=own.csv margin=1%",
        ("margin=1%", "converted to Float", "such as margin=0.01"),
    ),
    "a margin in points": Mistake(
        "tune study=smoke cell=rnn search.margin=1",
        ("search.margin=1", "one point is 0.01", "below 0.5, such as search.margin=0.01"),
    ),
    "neither true nor false": Mistake(
        "train model.masking=perhaps",
        ("model.masking=perhaps", "not a valid bool", "masking=false"),
    ),
    "an empty value": Mistake(
        "train train.epochs=null",
        ("train.epochs=null", "not Optional", "such as train.epochs=8"),
    ),
    "a value for a section": Mistake(
        "train model=3", ("model=3", "is a section", "Set model.KEY=VALUE")
    ),
    "out of limits": Mistake("train train.epochs=0", ("train.epochs=0", "must be at least 1")),
    "not among the choices": Mistake(
        "train train.optimizer=adm", ("train.optimizer=adm", "must be one of adam, rmsprop, sgd")
    ),
    "a flag for a key": Mistake(
        "tune --trials 5",
        ("--trials", "Set keys as KEY=VALUE, such as study=smoke"),
    ),
    "blanks around =": Mistake(
        "train train.epochs = 1",
        ("train.epochs: cannot be read", "KEY=VALUE", "no blanks around `=`"),
    ),
    "-m forgotten": Mistake(
        "train cell=rnn,gru", ("cell=rnn,gru", "several values need a multirun", "add -m")
    ),
    "-m where there is none": Mistake(
        "compare -m scores=a.csv", ("-m: compare has no multirun", "once per value")
    ),
    "one bad value of many": Mistake(
        "train -m train.epochs=1,many", ("train.epochs=many", "converted to Integer", "=8")
    ),
    "a key taken away": Mistake(
        "train ~train.patience", ("~train.patience", "cannot be deleted", "Set it to null")
    ),
    "memory without its unit": Mistake(
        "tune study=smoke cell=rnn cluster.memory=4",
        ("cluster.memory=4", "with its unit, such as 4GB", "or auto"),
        file("mlflow.db", ""),
    ),
    # Designs
    "too few trials": Mistake(
        "sample study=smoke search.trials=3",
        (
            "search.trials=3",
            "at least 4 trials per trial of the budget",
            "Raise search.trials to 8",
        ),
    ),
    "a sampler that learns, in a pool": Mistake(
        "sample study=smoke search.sampler=tpe",
        ("search.sampler=tpe", "independent random trials", "use search.design=repeated"),
    ),
    "the same in tune": Mistake(
        "tune study=smoke cell=rnn search.sampler=tpe",
        ("search.sampler=tpe", "independent random trials", "search.design=repeated"),
    ),
    "a sampler without its package": Mistake(
        "sample study=smoke_tpe search.sampler=gp",
        ("search.sampler=gp", "needs the package torch", "pip install torch"),
        absent=("torch",),
    ),
    # conf/
    "no YAML": Mistake(
        "sample study=own",
        (
            "conf/study/own.yaml, line 8",
            "not valid YAML",
            "Correct the line",
            "closed brackets and quotes",
        ),
        file("conf/study/own.yaml", STUDY + "recipes: [article\nsearch: {trials: 8}\n"),
    ),
    "a tab": Mistake(
        "sample study=own",
        ("conf/study/own.yaml, line 8", "indented by spaces"),
        file("conf/study/own.yaml", STUDY + "search:\n\ttrials: 8\n"),
    ),
    "a key twice in a file": Mistake(
        "sample study=own",
        ("conf/study/own.yaml, line 7", "duplicate key trials", "Correct the line"),
        file("conf/study/own.yaml", STUDY + "search: {trials: 8, trials: 9}\n"),
    ),
    "a file that is not UTF-8": Mistake(
        "sample study=own",
        ("conf/study/own.yaml", "not UTF-8", "Save the file in this encoding"),
        file("conf/study/own.yaml", b"# Gr\xf6\xdfe\n"),
    ),
    "an unknown key in a file": Mistake(
        "sample study=own",
        ("serach: no such key", "the nearest is 'search'", "It is in conf/study/own.yaml"),
        file("conf/study/own.yaml", STUDY + "serach: {trials: 8}\n"),
    ),
    "a wrong type in a file": Mistake(
        "sample study=own",
        ("search.trials=eight", "could not be converted", "such as search.trials=60"),
        file("conf/study/own.yaml", STUDY + "search: {trials: eight}\n"),
    ),
    "a value that refers to nothing": Mistake(
        "sample study=own",
        ("search.trials", "'search.trails' not found", "Correct it in conf/"),
        file("conf/study/own.yaml", STUDY + 'search: {trials: "${search.trails}"}\n'),
    ),
    "an unknown task in a file": Mistake(
        "sample study=own",
        (
            "task=syntetic: no such task",
            "Correct the defaults list",
            "write conf/task/syntetic.yaml",
            "There are: ",
            "synthetic",
        ),
        file("conf/study/own.yaml", STUDY.replace("task: synthetic", "task: syntetic")),
    ),
    "an unknown cell in a file": Mistake(
        "sample study=own",
        ("cell=grru: no such cell", "the nearest is 'gru'", "There are: "),
        file("conf/study/own.yaml", STUDY.replace("gru", "grru")),
    ),
    "a study under another's name": Mistake(
        "sample study=own",
        (
            "name=smoke",
            "must be own, the name of the study's file",
            "Write `name: own` in conf/study/own.yaml",
        ),
        file("conf/study/own.yaml", STUDY.replace("name: own", "name: smoke") + SEARCH),
    ),
    "a study without cells": Mistake(
        "sample study=own",
        ("cells is missing", "such as `cells: [rnn, gru]` in the study's file"),
        file("conf/study/own.yaml", STUDY.replace("cells: [rnn, gru]\n", "") + SEARCH),
    ),
    "a cell twice": Mistake(
        "sample study=own",
        ("cells=[rnn,rnn]", "each must be listed once", "Correct the study's file"),
        file("conf/study/own.yaml", STUDY.replace("gru", "rnn") + SEARCH),
    ),
    "an unknown type of cell": Mistake(
        "tune study=smoke cell=rnn",
        ("cell.type=lstmm: no such cell", "the nearest is 'lstm'", "There are: rnn, gru"),
        file("conf/cell/rnn.yaml", "type: lstmm\n"),
    ),
    "a range upside down": Mistake(
        "sample study=smoke space=own",
        ("space.model.units", "low=16, high=8", "set two numbers, low below high, or choices"),
        file("conf/space/own.yaml", "model: {units: {low: 16, high: 8}}\n"),
    ),
    "an unknown hyperparameter": Mistake(
        "sample study=smoke space=own",
        ("model.unit: no such key", "the nearest is 'model.units'"),
        file("conf/space/own.yaml", "model: {unit: {low: 8, high: 16}}\n"),
    ),
    "an unknown part of a range": Mistake(
        "sample study=smoke space=own",
        (
            "space.model.units.lo: no such key",
            "the nearest is 'low'",
            "has low, high, step, log, choices",
        ),
        file("conf/space/own.yaml", "model: {units: {lo: 8, high: 16}}\n"),
    ),
    "a space without sections": Mistake(
        "sample study=smoke space=own",
        ("space.units", "must set one part of a searched key", "in a file, `model: {units:"),
        file("conf/space/own.yaml", "units: {low: 8, high: 16}\n"),
    ),
    "a setting that does not fit the task": Mistake(
        "train study=smoke task=digits task.length=9",
        ("task.length=9", "an image of task digits has 8 rows", "Set task.length=8"),
    ),
    # A stage before it is missing, or was of something else
    "nothing downloaded": Mistake(
        "pad study=smoke",
        (
            "There is no data/smoke/archive/reviews.tar.gz",
            "First run `python -m pipeline.download`",
        ),
        gone("data/smoke/archive/reviews.tar.gz"),
    ),
    "nothing drawn": Mistake(
        "tune study=smoke cell=rnn",
        ("runs/smoke/sample/configurations.csv is missing", "Make it: dvc repro sample"),
        gone("runs/smoke/sample/configurations.csv"),
    ),
    "nothing padded": Mistake(
        "baseline study=smoke",
        ("There is no data/smoke/arrays/meta.json", "First run", "pipeline.pad"),
        gone("data/smoke/arrays/meta.json"),
    ),
    "nothing tuned": Mistake(
        "replicate study=smoke cell=rnn",
        ("runs/smoke/tune/rnn/best.yaml is missing", "Tune the cell first: dvc repro tune@rnn"),
    ),
    "nothing run": Mistake(
        "evaluate study=smoke",
        ("runs/smoke/tune/rnn is missing", "Expected the runs of cell rnn", "dvc repro tune@rnn"),
    ),
    "nothing evaluated": Mistake(
        "report study=smoke",
        ("results/smoke/scores/study.json is missing", "Run `dvc repro evaluate`"),
    ),
    "arrays of another task": Mistake(
        "tune study=smoke cell=rnn task.vocabulary=100",
        (
            "data/smoke/arrays was written with task.vocabulary=160",
            "this run has task.vocabulary=100",
            "Write it again: `dvc repro pad`",
        ),
    ),
    "more trials than were drawn": Mistake(
        "tune study=smoke cell=rnn search.trials=12",
        (
            "configurations.csv has 8 configurations, but search.trials=12",
            "Make it: dvc repro sample",
        ),
    ),
    "a table of another space": Mistake(
        "tune study=smoke cell=rnn space=imdb",
        (
            "the table of sampled configurations and the study's search space",
            "differ in",
            "train.batch_size",
            "dvc repro sample",
        ),
    ),
    "runs of another arm": Mistake(
        "evaluate study=tiny",
        (
            "runs/tiny/tune holds lstm, not a cell of this study",
            "Expected rnn, gru alone",
            "Remove runs/tiny/tune/lstm",
        ),
        both(evaluated, lambda project: (project / "runs/tiny/tune/lstm").mkdir()),
    ),
    "another study's results": Mistake(
        "report study=smoke",
        ("stale or of another study", 'study was "tiny"', 'is "smoke" now', "Run `dvc repro`"),
        both(
            scored,
            lambda project: shutil.copytree(project / "results/tiny", project / "results/smoke"),
        ),
    ),
    "another budget than was scored": Mistake(
        "report study=tiny search.trials=12",
        (
            "trials was 8 when they were made",
            "and is 12 now",
            "Run `dvc repro`, or set trials back",
        ),
        scored,
    ),
    # Files
    "no such archive": Mistake(
        "download study=smoke task.archive=reviews.tgz",
        ("task.archive=reviews.tgz", "no such file", "Give the path of a local copy"),
    ),
    "an archive cut short": Mistake(
        "pad study=smoke",
        ("data/smoke/archive/reviews.tar.gz is cut or damaged", "Get another copy"),
        cut("data/smoke/archive/reviews.tar.gz"),
    ),
    "another archive": Mistake(
        "download study=imdb task.archive=own.gz",
        (
            "own.gz is not the archive that task.digest describes",
            "expected: ",
            "found: ",
            "It was deleted. Get another copy",
        ),
        file("own.gz", gzip.compress(bytes(10240))),
    ),
    "a web address that does not answer": Mistake(
        "download study=imdb task.url=http://127.0.0.1:9/reviews.tar.gz",
        (
            "http://127.0.0.1:9/reviews.tar.gz could not be downloaded",
            "refused",
            "With a copy on this machine: IMDB_ARCHIVE=",
        ),
    ),
    "no such CSV": Mistake(
        f"download study=smoke task=csv {OWN}",
        ("data.path=own.csv", "there is no file", "Give the path of a CSV file"),
    ),
    "a wrong column": Mistake(
        f"download study=smoke task=csv {OWN}",
        (
            "data.label=label: own.csv has no such column",
            "the nearest is 'labels'",
            "There are: 'text', 'labels'",
        ),
        file("own.csv", "text,labels\ngood,1\nbad,0\n"),
    ),
    "a broken CSV": Mistake(
        f"download study=smoke task=csv {OWN}",
        (
            "own.csv, line 3: not valid CSV",
            "write a quote within quotes twice",
        ),
        file("own.csv", 'text,label\ngood,1\n"bad,0\n'),
    ),
    "no column named": Mistake(
        "download study=smoke task=csv data.path=own.csv",
        (
            "data.text and data.label missing",
            "task csv needs data.path=FILE.csv with data.text=COLUMN",
        ),
        file("own.csv", "text,label\n"),
    ),
    "an array cut short": Mistake(
        "baseline study=smoke",
        ("data/smoke/arrays/train_tokens.npy is damaged", "Write it again: `dvc repro pad`"),
        cut("data/smoke/arrays/train_tokens.npy"),
    ),
    "JSON cut short": Mistake(
        "baseline study=smoke",
        ("data/smoke/arrays/meta.json is damaged", "Write it again: `dvc repro pad`"),
        cut("data/smoke/arrays/meta.json"),
    ),
    "a table of other columns": Mistake(
        "tune study=smoke cell=rnn",
        (
            "runs/smoke/sample/configurations.csv is damaged, or of another version",
            "'trial'",
            "Make it: dvc repro sample",
        ),
        file("runs/smoke/sample/configurations.csv", "number,settings\n0,[]\n"),
    ),
    "a best configuration cut short": Mistake(
        "replicate study=smoke cell=rnn",
        ("runs/smoke/tune/rnn/best.yaml is damaged", "Tune the cell first: dvc repro tune@rnn"),
        file(
            "runs/smoke/tune/rnn/best.yaml", "studies:\n- study: 0\n  overrides: [model.units=8\n"
        ),
    ),
    "logits cut short": Mistake(
        "evaluate study=tiny",
        ("runs/tiny/tune/gru/test_logits.npy is damaged", "Run `dvc repro tune@gru`"),
        both(evaluated, cut("runs/tiny/tune/gru/test_logits.npy")),
    ),
    "a table that lacks a column": Mistake(
        "evaluate study=tiny",
        (
            "runs/tiny/tune/gru/trials.csv is damaged, or of another version",
            "'state'",
            "Run `dvc repro tune@gru`",
        ),
        both(evaluated, changed("runs/tiny/tune/gru/trials.csv", ",state,", ",status,")),
    ),
    "scores cut short": Mistake(
        "report study=tiny",
        ("results/tiny/scores/correct.npz is damaged", "Run `dvc repro evaluate`"),
        both(scored, cut("results/tiny/scores/correct.npz")),
    ),
    "a record of looks that is none": Mistake(
        "report study=tiny",
        (
            "results/tiny/report/looks.csv is damaged",
            "take it from git (git checkout -- results/tiny/report/looks.csv)",
        ),
        both(scored, file("results/tiny/report/looks.csv", "look\n1\n")),
    ),
    "scores that are percentages": Mistake(
        "compare scores=own.csv",
        ("own.csv, line 3, column test", "86.4 looks like a percentage", "write 0.864"),
        file("own.csv", "arm,trial,validation,test\na,0,0.8,0.8\na,1,0.8,86.4\n"),
    ),
    "scores of too few trials": Mistake(
        "compare scores=own.csv budget=20",
        (
            "own.csv: a has 40 trials for a budget of 20",
            "N/n must be at least 4",
            "budget=10 at most",
        ),
        file("own.csv", SCORES),
    ),
    "no scores given": Mistake("compare", ("scores is missing", "such as scores=FILE.csv")),
    "output onto the input": Mistake(
        "compare scores=own.csv out=own.csv",
        ("out=own.csv", "the file of scores", "Give another name"),
        file("own.csv", SCORES),
    ),
    "output onto a device": Mistake(
        "compare scores=own.csv out=/dev/null",
        ("/dev/null is no ordinary file", "Choose another name"),
        file("own.csv", SCORES),
    ),
    # The machine
    "no room for the arrays": Mistake(
        "pad study=smoke",
        ("data/smoke/arrays", "could not be written completely", *NO_SPACE),
        largest=12_000,
    ),
    "no room for the archive": Mistake(
        "download study=smoke",
        ("data/smoke/archive/reviews.tar.gz: File too large", *NO_SPACE),
        largest=12_000,
    ),
    "a full disk to print to": Mistake(
        "sample study=smoke", ("No space left on device", *NO_SPACE), stdout="/dev/full"
    ),
    "a folder that cannot be written": Mistake(
        "sample study=smoke",
        (
            "runs/hydra",
            "Make it readable and writable for this user",
        ),
        no_runs_folder,
    ),
    "a file in the place of a folder": Mistake(
        "download study=smoke",
        (
            "data/smoke/archive: Not a directory",
            "A file is in the place of a folder",
            "Move it away",
        ),
        both(lambda project: shutil.rmtree(project / "data"), file("data", "")),
    ),
    "MLflow's store damaged": Mistake(
        "tune study=smoke cell=rnn",
        (
            "mlflow.db: MLflow's store cannot be used",
            "not a database",
            "mv mlflow.db mlflow.db.old",
            "no result is read from it",
        ),
        file("mlflow.db", 1000 * "garbage"),
    ),
    "MLflow's server away": Mistake(
        "train study=smoke",
        (
            "MLFLOW_TRACKING_URI=http://me:***@127.0.0.1:9: MLflow's store cannot be used (Connection refused)",
            "Start or repair it, or unset it",
        ),
        variables=AWAY,
    ),
    "SLURM where there is none": Mistake(
        "tune study=smoke cell=rnn cluster=slurm",
        ("cluster=slurm: there is no sbatch on this machine", "login node", "cluster=local"),
    ),
    "no address of a cluster": Mistake(
        "tune study=smoke cell=rnn cluster=address",
        ("cluster.address is missing", "such as cluster.address=t", "DASK_SCHEDULER_ADDRESS"),
    ),
    "an extra that is not installed": Mistake(
        "download study=chorales",
        ("task chorales needs the extra music", "pip install 'fairsweep[music]'"),
        absent=("music21",),
    ),
    "a backend that is not installed": Mistake(
        "train study=smoke train.backend=jax",
        ("train.backend=jax: No module named 'jax'", "pip install jax", "train.backend=tensorflow"),
        absent=("jax",),
    ),
    "the wrong folder": Mistake(
        "sample study=smoke",
        ("no conf/config.yaml in ", "run the command in the project's root"),
        lambda project: shutil.rmtree(project / "conf"),
    ),
}


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    with CommandLine() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """conf/ and the smoke study's first three stages."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "conf", folder / "conf")
    for stage in ("download", "pad", "sample"):
        done = command_line(folder, f"{stage} study=smoke")
        assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "runs/hydra")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the folder that this test works in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(done: subprocess.CompletedProcess[str], words: tuple[str, ...], status: int = 1) -> None:
    """One message, with `words` in it in this order."""
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    rest = done.stderr
    for part in words:
        assert part in rest, f"{part!r} is missing in {done.stderr!r}, or in another order"
        rest = rest.partition(part)[2]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message(name: str, project: Path, command_line: CommandLine) -> None:
    mistake = MISTAKES[name]
    mistake.plant(project)
    kept = {"largest": mistake.largest, "absent": mistake.absent, "stdout": mistake.stdout}
    done = command_line(project, mistake.command, **kept, **mistake.variables)  # type: ignore[arg-type]
    check(done, mistake.words)
    # What is half written is gone.
    assert not list(project.rglob("*.part"))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "words", ["stduy=smoke", "study=nothing"], ids=["misspelt key", "unknown study"]
)
def test_every_command_names_an_unknown_key_or_study(
    name: str, words: str, project: Path, command_line: CommandLine
) -> None:
    more = " run=rnn/trial/0" if name == "verify" else ""
    check(command_line(project, f"{name} {words}{more}"), (words.split("=")[0],))


# They have an answer for a study of which nothing is there.
CONTENT = {"code", "plan", "watch"}


@pytest.mark.parametrize(
    "name",
    sorted({*COMMANDS} - CONTENT - {mistake.command.split()[0] for mistake in MISTAKES.values()}),
)
def test_every_other_command_names_a_missing_file(
    name: str, project: Path, command_line: CommandLine
) -> None:
    """In a project where no stage has run, of a file that is not there."""
    check(command_line(project, f"{name} study=imdb task.archive=nothing.tar.gz"), ())


def test_hydra_full_error_shows_the_traceback(project: Path, command_line: CommandLine) -> None:
    """The library's own one too."""
    file("conf/study/own.yaml", "\tname: own\n")(project)
    done = command_line(project, "sample study=own", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert "yaml.scanner.ScannerError" in done.stderr


def test_an_error_of_the_program_keeps_its_traceback(
    project: Path, command_line: CommandLine
) -> None:
    (project / "pipeline").mkdir()
    file(
        "pipeline/broken.py",
        "from pipeline.config.cli import command\n\n\n@command\ndef main(config):\n    1 / 0\n\n\nmain()\n",
    )(project)
    done = subprocess.run(
        [sys.executable, "pipeline/broken.py", "study=smoke"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def too_much_memory(folder: Path) -> None:
    np.zeros(1 << 50)


def a_port_twice(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        socket.create_server(taken.getsockname())


def nobody_listens(folder: Path) -> None:
    socket.create_connection(("127.0.0.1", 9)).close()


def a_database_for_reading(folder: Path) -> None:
    (folder / "store.db").touch()
    with closing(sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True)) as store:
        store.execute("create table runs (run)")


def another_database(folder: Path) -> None:
    (folder / "store.db").write_bytes(1000 * b"garbage")
    optuna.storages.RDBStorage(f"sqlite:///{folder / 'store.db'}")


def nothing_of_that_name(folder: Path) -> None:
    importlib.import_module("nothing_of_that_name.at_all")


def a_folder_to_read(folder: Path) -> None:
    folder.read_text()


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            too_much_memory,
            ("not enough memory", "Unable to allocate", "Lower cluster.workers"),
        ),
        (
            a_port_twice,
            (
                "Address already in use",
                "Stop what uses the port",
                "choose another port",
            ),
        ),
        (
            nobody_listens,
            (
                "Connection refused",
                "Nothing answers there",
                "Start the server, or correct the address",
            ),
        ),
        (
            a_database_for_reading,
            (
                "the database of the search",
                "readonly database",
                "Start or repair it",
            ),
        ),
        (
            another_database,
            ("the database of the search", "(file is not a database)", "Start or repair it"),
        ),
        (
            nothing_of_that_name,
            (
                "nothing_of_that_name: cannot be imported",
                "Install it",
                "pip install nothing_of_that_name",
            ),
        ),
        (
            a_folder_to_read,
            ("Is a directory", "A file is in the place of a folder", "Move it away"),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_an_error_of_a_library_gets_one_message(
    cause: Plant, words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        cause(tmp_path)
    fault = as_fault(raised.value)
    assert fault is not None
    assert fault.__cause__ is raised.value
    check(subprocess.CompletedProcess("", 1, "", f"error: {fault}"), words)


def test_an_error_of_the_program_stays_its_own() -> None:
    with pytest.raises(ImportError) as raised:
        importlib.import_module("pipeline.no_such_module")
    assert as_fault(raised.value) is None
    assert as_fault(TypeError("of the program")) is None
    assert as_fault(OSError("without a number or a file")) is None


def test_a_locked_state_folder_names_the_process(
    project: Path, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, which need not wait for 15 s."""
    import pipeline.tune

    command_line(project, "tune study=smoke cell=rnn", **AWAY)
    (folder,) = (project / ".fairsweep/state").iterdir()
    (folder / "owner").write_text("4711\n")
    monkeypatch.setattr(run_store, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(sys, "argv", ["tune", "study=smoke", "cell=rnn"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with FileLock(folder / "lock"), pytest.raises(SystemExit) as ended:
        pipeline.tune.main()
    assert str(ended.value).startswith(
        "error: process 4711 is already running this study's tune of rnn"
    )
    assert str(ended.value).endswith("Wait for it, or stop it: kill 4711")


def test_a_finished_run_that_was_damaged_can_be_done_again(tmp_path: Path) -> None:
    job = Job("trial", 0, Config(name="tiny", cells=["rnn"], cell=Cell("rnn", "rnn")), [])
    path = State(tmp_path).path(job)
    path.write_bytes(b"no archive")
    with pytest.raises(FairsweepError, match=f"{path} is damaged.*rm {path}"):
        State(tmp_path).read(job)


def test_a_search_whose_database_was_damaged_can_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_bytes(1000 * b"garbage")
    with pytest.raises(
        FairsweepError, match=f"{path} is damaged.*the finished runs restore it: rm {path}"
    ):
        storage(Config(name="tiny", cells=["rnn"], cell=Cell("rnn", "rnn")), State(tmp_path))


@pytest.mark.parametrize("beside_the_state", [True, False])
def test_a_database_of_another_optuna_is_refused_with_what_to_do(
    tmp_path: Path, beside_the_state: bool
) -> None:
    path = tmp_path / "study.db"
    url = f"sqlite:///{path}"
    config = Config(
        name="tiny",
        cells=["rnn"],
        cell=Cell("rnn", "rnn"),
        search=Search(storage=None if beside_the_state else url),
    )
    storage(config, State(tmp_path))
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("update alembic_version set version_num = 'v9.0.0.a'")
    words = (
        f"{path} is damaged, or of another version .*rm {path}"
        if beside_the_state
        else (f"search.storage={url}: .*another Optuna .*pip install -U optuna.*another database")
    )
    with pytest.raises(FairsweepError, match=words):
        storage(config, State(tmp_path))


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_a_store_of_another_mlflow_gets_a_remedy(tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from pipeline.training.backend import quiet

    path = tmp_path / "mlflow.db"
    with quiet():
        MlflowClient(f"sqlite:///{path}").search_experiments()
    # Another URI of the same file, as the first one's engine is kept.
    again = f"sqlite:///{tmp_path}/./mlflow.db"
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("update alembic_version set version_num = 'ffffffffffff'")
    with quiet(), pytest.raises(MlflowException) as caught:
        MlflowClient(again).search_experiments()
    message = str(as_fault(caught.value))
    assert message.startswith("mlflow.db: MLflow's store is from another MLflow than the ")
    for words in (
        "found version ffffffffffff",
        "pip install -U mlflow",
        "mlflow db upgrade",
        "mv mlflow.db mlflow.db.old",
    ):
        assert words in message


# From here on nothing is spared: Python starts, and imports all that it needs.


def run(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=project, env={**environment(), **variables}, capture_output=True, text=True
    )


def test_a_gpu_that_is_not_there_ends_a_training_before_it_begins(project: Path) -> None:
    done = run(
        project,
        sys.executable,
        "-m",
        "pipeline.train",
        "study=smoke",
        "train.backend=jax",
        JAX_PLATFORMS="cuda",
    )
    check(
        done,
        (
            "JAX_PLATFORMS=cuda: jax finds no such device here",
            "Expected one",
            "pip install 'jax[cuda12]'",
            "unset JAX_PLATFORMS",
        ),
    )
    assert "epoch" not in done.stdout


def test_a_port_in_use_gets_another(project: Path) -> None:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(project, "make", "-o", ".venv/bin/ready", "ui", f"PORT={port}")
    check(
        done,
        (f"port {port} of 127.0.0.1 is in use", "Choose another", f"make ui PORT={port + 1}"),
        status=2,
    )


def test_make_knows_no_study_of_another_name(project: Path) -> None:
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    done = run(project, "make", "-o", ".venv/bin/ready", "run", "STUDY=imbd")
    check(done, ("STUDY=imbd: no such study", "There are: ", "smoke"), status=2)


def test_an_interrupted_download_is_one_line_and_leaves_nothing(project: Path) -> None:
    """From a server that begins to answer and then waits."""
    asked, leave = threading.Event(), threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            asked.set()
            leave.wait(60)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/reviews.tar.gz"
        words = [sys.executable, "-m", "pipeline.download", "study=imdb", f"task.url={url}"]

        def listen() -> None:
            # A shell ignores Ctrl-C in background jobs, and so would their children.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        process = subprocess.Popen(
            words,
            cwd=project,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen,
        )
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
        leave.set()
        server.shutdown()
    assert process.returncode == 130
    assert (
        output.splitlines()[-1]
        == "stopped; finished runs are kept. The same command, or dvc repro, continues."
    )
    assert "Traceback" not in output
    assert not list((project / "data/imdb").rglob("reviews*"))


@pytest.mark.long
def test_a_scheduler_that_dies_in_a_search_costs_no_run(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    machines = Machines(tmp_path_factory.mktemp("cluster") / "machines")
    try:
        machines.join()
        words = [
            "study=smoke",
            "cell=rnn",
            "train.epochs=1",
            "cluster=address",
            f"cluster.address={machines.address}",
        ]
        command = [sys.executable, "-m", "pipeline.tune", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=project, env=environment(), **pipes) as process:
            assert process.stdout
            for line in process.stdout:
                if "2/8" in line:
                    machines.scheduler.kill()
            assert process.stderr
            done = subprocess.CompletedProcess(command, process.wait(), "", process.stderr.read())
    finally:
        machines.close()
    check(
        done, ("cluster=address: the scheduler is gone", "start it again", "Finished runs are kept")
    )
    assert len(list(project.glob(".fairsweep/state/*/trial-*.npz"))) >= 2


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a disk of a few megabytes")
def test_a_disk_that_fills_up_in_a_search_costs_no_run(made: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        shutil.copytree(made, disk, dirs_exist_ok=True)
        words = [sys.executable, "-m", "pipeline.tune", "study=smoke", "cell=rnn", "train.epochs=1"]
        # MLflow's empty store, the study's database and the first runs need about as much.
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 1_150_000))
        full = run(disk, *words)
        assert full.returncode == 1
        assert "Traceback" not in full.stderr
        message = full.stderr[full.stderr.index("error: ") :]
        # The message of a database differs from that of a file.
        assert re.search(r"no space left|No space left", message)
        check(subprocess.CompletedProcess(words, 1, "", message), NO_SPACE)
        (disk / "filler").unlink()
        done = run(disk, *words)
        assert done.returncode == 0, done.stderr
        assert len(list(disk.glob(".fairsweep/state/*/trial-*.npz"))) == 8
    finally:
        subprocess.run(["umount", disk], check=True)
