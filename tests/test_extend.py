"""docs/extend.md in a copy of the project: each file is written, each command is run."""

import csv
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.schema import own_parameters
from pipeline.data import spec as spec_module
from pipeline.errors import FairsweepError
from pipeline.plugins import answer_to_name
from study_copy import ROOT, StudyCopy

PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
# The line above a block is the name of its file; a block without a language is commands.
BLOCK = re.compile(
    r"^(?:`(?P<file>[\w./]+)`:\n\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
BLOCKS = [*BLOCK.finditer(PAGE)]
COMMANDS = [
    line for block in BLOCKS if not block["language"] for line in block["text"].splitlines()
]
STUDIES = [
    Path(block["file"]).stem for block in BLOCKS if (block["file"] or "").startswith("conf/study/")
]
NO_DROPOUT = {"dropout": 0.0, "recurrent_dropout": 0.0}
TOPICS = {
    "sea": "wave salt harbour tide ship",
    "sky": "cloud star wing moon storm",
    "land": "stone field river road hill",
}


@dataclass(frozen=True)
class Message:
    """A row of the CSV file."""

    message: str
    topic: str
    author: str


def messages(count: int = 3000, authors: int = 150) -> list[Message]:
    """Messages of three topics, most words of which belong to none, with all that a CSV field may
    hold.
    """
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        topic = list(TOPICS)[generator.integers(3)]
        words = [f"word{generator.zipf(1.5) % 300}" for _ in range(generator.integers(3, 25))]
        for _ in range(generator.integers(1, 4)):
            words.insert(
                generator.integers(len(words) + 1), str(generator.choice(TOPICS[topic].split()))
            )
        odd = ['"so," he said:\n', "naïve, 東京; ", ""][number % 3]
        rows.append(
            Message(f"{odd}{' '.join(words)}.", topic, f"author {generator.integers(authors)}")
        )
    return rows


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> StudyCopy:
    """A copy of the project after all edits of the page, `messages.csv` in its root and `make` at
    hand.
    """
    copy = StudyCopy(tmp_path_factory.mktemp("extended") / "project", "imdb")
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, copy.root)
    # The environment of the tests replaces the one that make would set up.
    (copy.root / ".venv/bin").mkdir(parents=True)
    (copy.root / ".venv/bin/ready").touch()
    for block in BLOCKS:
        if block["file"]:
            path = copy.root / block["file"]
            assert not path.exists(), path
            path.write_text(block["text"], encoding="utf-8")
    with (copy.root / "messages.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "topic", "author"])
        writer.writerows([row.message, row.topic, row.author] for row in messages())
    return copy


def test_each_block_is_a_file_or_commands() -> None:
    assert len(BLOCKS) == PAGE.count("\n```") / 2
    assert [
        block["text"] for block in BLOCKS if bool(block["file"]) != bool(block["language"])
    ] == []
    assert {line.split()[0] for line in COMMANDS} == {"python", "make"}
    assert [line for line in COMMANDS if line.startswith("make")] == [
        f"make run STUDY={study}" for study in STUDIES
    ]
    assert [
        block["file"]
        for block in BLOCKS
        if block["language"] == "yaml" and block["text"].count("\n") > 20
    ] == []


def test_fairsweep_is_another_name_of_the_same_modules() -> None:
    """Else a user's Dataset or Corpus would not be an instance of the class that is expected."""
    answer_to_name()
    same = importlib.import_module("fairsweep.data.spec")
    assert same is spec_module
    assert (same.Dataset, same.Corpus) == (spec_module.Dataset, spec_module.Corpus)
    assert importlib.import_module("fairsweep.errors").FairsweepError is FairsweepError
    assert spec_module.__spec__.name == spec_module.__name__


@pytest.mark.parametrize("study", STUDIES)
def test_each_study_is_composed(
    study: str, project: StudyCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    config = compose([f"study={study}"])
    assert config.name == study
    assert set(config.cells) <= {path.stem for path in (project.root / "conf/cell").iterdir()}


def module_of(path: Path, name: str) -> ModuleType:
    """The file of the copy as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    answer_to_name()
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def new_cell(project: StudyCopy) -> Callable[..., Any]:
    """The builder of the page."""
    return module_of(project.root / "mgu.py", "mgu_of_the_page").minimal_gated_unit


# Keras's own way of storing a variable does not know numpy 2's `copy` keyword yet.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_the_new_cell_computes_its_formula_and_is_saved(
    new_cell: Callable[..., Any], tmp_path: Path
) -> None:
    import keras

    layer = new_cell(4, **NO_DROPOUT, **seeded(), return_sequences=True)
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, layer(inputs))
    kernel, recurrent, _ = model.get_weights()
    np.testing.assert_array_equal(kernel, seeded()["kernel_initializer"]((3, 8)))
    bias = np.linspace(-1, 1, 8, dtype=np.float32)
    model.set_weights([kernel, recurrent, bias])
    steps = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    state, expected = np.zeros((2, 4)), []
    for step in steps.swapaxes(0, 1):
        gate = 1 / (1 + np.exp(-(step @ kernel[:, :4] + state @ recurrent[:, :4] + bias[:4])))
        candidate = np.tanh(step @ kernel[:, 4:] + (gate * state) @ recurrent[:, 4:] + bias[4:])
        state = (1 - gate) * state + gate * candidate
        expected.append(state)
    np.testing.assert_allclose(model.predict(steps, verbose=0).swapaxes(0, 1), expected, atol=1e-5)
    model.save(tmp_path / "mgu.keras")
    loaded = keras.models.load_model(tmp_path / "mgu.keras")
    np.testing.assert_array_equal(loaded.predict(steps, verbose=0), model.predict(steps, verbose=0))


@pytest.mark.parametrize("option", NO_DROPOUT)
def test_the_new_cell_refuses_dropout(option: str, new_cell: Callable[..., Any]) -> None:
    with pytest.raises(FairsweepError, match=r"^cell mgu: it has no dropout of its own"):
        new_cell(4, **{**NO_DROPOUT, option: 0.1}, **seeded())


def seeded() -> dict[str, Any]:
    """The settings that the network gives each cell."""
    import keras

    first = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=1),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=2),
    }
    return {**first, "seed": 3}


@pytest.mark.long
@pytest.mark.parametrize("cell", ["mgu", "conv"])
def test_a_new_cell_trains(cell: str, project: StudyCopy) -> None:
    (line,) = [line for line in COMMANDS if f"cell={cell}" in line]
    output = project.run(*line.split()).stdout
    assert re.search(rf"^{cell}: validation 0\.\d{{4}} in epoch 1 of 1", output, re.MULTILINE), (
        output
    )


def test_the_convolution_is_searched_with_its_own_key(
    project: StudyCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    config = compose(["study=conv", "cell=conv", "cell.options.kernel_size=3"])
    assert config.cell.options == {"kernel_size": 3}
    assert own_parameters(config)["cell.options.kernel_size"].choices == [3, 5, 7]
    layer = module_of(project.root / "convolution.py", "convolution_of_the_page").conv(4, 3)
    assert (layer.filters, layer.kernel_size, layer.padding) == (4, (3,), "causal")


def test_the_modules_of_the_page_import_fairsweep_only() -> None:
    python = [block["text"] for block in BLOCKS if block["language"] == "python"]
    assert not [
        text for text in python if re.search(r"^(from|import) pipeline", text, re.MULTILINE)
    ]
    assert any("from fairsweep." in text for text in python)


@pytest.mark.parametrize(("study", "rows"), [("topics", (2400, 600)), ("waves", (600, 300))])
def test_each_new_dataset_is_padded(study: str, rows: tuple[int, int], project: StudyCopy) -> None:
    for stage in ("download", "pad"):
        project.run("python", "-m", f"pipeline.{stage}", f"study={study}")
    data = project.root / "data" / study
    labels = [
        np.load(data / part) for part in ("arrays/train_labels.npy", "sealed/test_labels.npy")
    ]
    assert max(
        abs(len(part) - expected) for part, expected in zip(labels, rows, strict=True)
    ) <= 0.02 * sum(rows)
    assert [np.unique(part).tolist() for part in labels] == [[0, 1, 2], [0, 1, 2]]
    meta = json.loads((data / "arrays/meta.json").read_text())
    assert (
        meta["spec"]["classes"]
        == {"topics": sorted(TOPICS), "waves": ["sine", "square", "saw"]}[study]
    )
    assert meta["by_group"] == (study == "topics")
    if study == "topics":
        assert meta["train"]["groups"] + meta["test"]["groups"] == len(
            {row.author for row in messages()}
        )


# The level long runs only the study whose model reads texts. The other commands take several
# minutes more.
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            line, marks=pytest.mark.long if line == "make run STUDY=topics" else pytest.mark.night
        )
        for line in COMMANDS
    ],
)
def test_each_command_runs(line: str, project: StudyCopy) -> None:
    project.run(*line.split())
    if line.startswith("make"):
        study = line.split("=")[1]
        report = project.root / "build" / study / "results" / study / "report"
        metrics = json.loads((report / "metrics.json").read_text())
        arms = {"mgu": ["gru", "mgu"], "conv": ["gru", "conv"]}.get(study, ["rnn", "gru"])
        assert list(metrics["arms"]) == arms
        assert len(metrics["pairs"]) == 1
        assert (report / "report.html").is_file()
        check_served(project.root / "build" / study, study, project.env)


def check_served(copy: Path, study: str, env: dict[str, str]) -> None:
    """A model of numbers is registered as Keras's own; one of texts, also of the page's cell, reads
    raw texts.
    """
    loaders = {
        re.findall(r"^    loader_module: (\S+)$", path.read_text(), re.MULTILINE)[0]
        for path in copy.glob("mlruns/**/MLmodel")
    }
    if study == "waves":
        assert loaders == {"mlflow.keras"}
        return
    assert loaders == {"pipeline.serving.reader"}
    run = {"topics": "gru"}.get(study, study)
    labels = set(TOPICS) if study == "topics" else {"negative", "positive"}
    command = [
        sys.executable,
        "-m",
        "pipeline.predict",
        f"study={study}",
        f"run={run}",
        "text=Wave, tide, harbour",
    ]
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split(",")[0] in labels
