"""What the articles train, a row each of the table of tasks in docs/claims.md: the network, its sizes, its loss, its command."""

import json
import re
from pathlib import Path

import pytest

from pipeline.config.compose import check_overrides, compose
from pipeline.config.schema import Task
from pipeline.data import co2, digits, tagging
from pipeline.data.spec import TaskSpec
from pipeline.models.build import build_model
from pipeline.training import backend
from pipeline.training.fit import compiled
from study_copy import ROOT, StudyCopy

CLAIMS = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
ROWS = CLAIMS.split("<!-- tasks:begin -->\n")[1].split("\n<!-- tasks:end -->")[0].splitlines()[2:]
COMMANDS = [command for row in ROWS for command in re.findall(r"`((?:python -m|make) [^`]*)`", row)]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    backend.use("tensorflow")


def spec_of(task: Task) -> TaskSpec:
    """What the task's source says of it; of texts, what needs no text."""
    if task.source == "digits":
        return digits.read(task).spec
    if task.source == "co2":
        return co2.read(task).spec
    if task.source == "tagging":
        return tagging.read(task).spec
    return TaskSpec(length=task.length)


ARTICLES: list[tuple[list[str], dict[str, str], int, str]] = [
    (
        ["recipe=article", "cell=rnn"],
        {"embedding": "Embedding", "rnn_0": "SimpleRNN", "logit": "Dense"},
        322_113,
        "binary",
    ),
    (
        ["recipe=article", "cell=gru"],
        {"embedding": "Embedding", "gru_0": "GRU", "logit": "Dense"},
        326_369,
        "binary",
    ),
    (
        ["recipe=article", "cell=lstm"],
        {"embedding": "Embedding", "lstm_0": "LSTM", "logit": "Dense"},
        328_353,
        "binary",
    ),
    (
        ["recipe=lstm64"],
        {"embedding": "Embedding", "lstm_0": "LSTM", "dropout_0": "Dropout", "logit": "Dense"},
        673_089,
        "binary",
    ),
    (["recipe=bilstm64"], {"bi_lstm_0": "Bidirectional", "logit": "Dense"}, 706_177, "binary"),
    (
        ["study=co2", "recipe=window", "cell=lstm"],
        {"numbers": "InputLayer", "lstm_0": "LSTM", "logit": "Dense"},
        10_604,
        "mse",
    ),
    (
        ["study=co2", "recipe=window", "cell=lstm", "task.horizon=1"],
        {"lstm_0": "LSTM", "logit": "Dense"},
        10_451,
        "mse",
    ),
    (
        ["task=tagging", "recipe=stacked", "cell=rnn"],
        {"rnn_0": "SimpleRNN", "rnn_1": "SimpleRNN", "hidden": "Dense"},
        12_714,
        "binary",
    ),
    (
        ["task=tagging", "recipe=stacked", "cell=lstm"],
        {"lstm_0": "LSTM", "lstm_1": "LSTM", "hidden": "Dense"},
        46_698,
        "binary",
    ),
    (
        ["task=tagging", "recipe=stacked", "cell=gru"],
        {"gru_0": "GRU", "gru_1": "GRU", "dropout_hidden": "Dropout"},
        35_370,
        "binary",
    ),
    (
        ["study=digits", "recipe=guide", "cell=lstm"],
        {"lstm_0": "LSTM", "logit": "Dense"},
        19_338,
        "classes",
    ),
]
LOSSES = {
    "binary": "BinaryCrossentropy",
    "mse": "MeanSquaredError",
    "classes": "SparseCategoricalCrossentropy",
}


@pytest.mark.parametrize(
    ("overrides", "layers", "parameters", "loss"),
    ARTICLES,
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_recipe_is_the_articles_network(
    overrides: list[str], layers: dict[str, str], parameters: int, loss: str
) -> None:
    config = compose(overrides)
    model = compiled(config, spec_of(config.task))
    assert model.count_params() == parameters
    found = {layer.name: type(layer).__name__ for layer in model.layers}
    assert layers.items() <= found.items()
    assert type(model.loss).__name__ == LOSSES[loss]


def test_the_article_is_trained_as_printed() -> None:
    config = compose(["study=article", "recipe=article", "cell=lstm"])
    train, task = config.train, config.task
    assert (
        train.optimizer,
        train.learning_rate,
        train.batch_size,
        train.epochs,
        train.checkpoint,
    ) == (
        "rmsprop",
        1e-3,
        128,
        10,
        "last",
    )
    assert (task.length, task.vocabulary, task.padding, task.train_fraction) == (
        100,
        10_000,
        "pre",
        1.0,
    )
    assert (config.search.trials, config.search.replicates, config.recipes) == (0, 20, ["article"])
    assert config.printed["rnn"] == {"loss": 0.6919, "accuracy": 0.81}
    assert config.printed["gru"] == {"loss": 0.4834, "accuracy": 0.8272}
    assert config.printed["lstm"] == {"loss": 0.4337, "accuracy": 0.839}


def test_the_stack_drops_a_half_everywhere() -> None:
    config = compose(["task=tagging", "recipe=stacked", "cell=gru"])
    model = build_model(config, spec_of(config.task))
    layers = [model.get_layer(name) for name in ("gru_0", "gru_1")]
    assert [(layer.dropout, layer.recurrent_dropout, layer.units) for layer in layers] == [
        (0.5, 0.5, 32)
    ] * 2
    assert model.get_layer("dropout_hidden").rate == 0.5
    assert (model.input_shape, model.output_shape) == ((None, 256, 256), (None, 256, 10))


def test_a_recipe_may_cut_texts_and_mask_them() -> None:
    assert [compose([f"recipe=length_{length}"]).task.length for length in (50, 100, 250, 500)] == [
        50,
        100,
        250,
        500,
    ]
    plain, masked = compose(["recipe=lstm64"]), compose(["recipe=lstm64_masked"])
    assert (plain.task.length, plain.model.masking, plain.train.buckets) == (200, False, 1)
    assert (masked.task.length, masked.model.masking, masked.train.buckets) == (200, True, 4)
    assert (plain.cell.arm, compose(["recipe=bilstm64"]).cell.arm) == ("lstm", "bi_lstm")
    # In a study the arms decide, not the recipe.
    assert compose(["study=keras_lstm", "cell=rnn", "recipe=lstm64"]).cell.arm == "rnn"


def test_every_row_has_a_command() -> None:
    assert len(ROWS) == 8
    assert all(re.search(r"`(python -m|make) ", row) for row in ROWS)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("python")])
def test_a_rows_command_is_accepted(command: str) -> None:
    _, _, module, *arguments = command.split()
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
    if module == "pipeline.train":
        overrides = [one for one in arguments if one != "-m"]
        check_overrides(overrides, multirun="-m" in arguments)
        if "-m" not in arguments and "…" not in command:
            compose(overrides)


@pytest.mark.parametrize(
    "study",
    sorted({command.split("STUDY=")[1] for command in COMMANDS if command.startswith("make")}),
)
def test_a_rows_study_is_there_with_its_results(study: str) -> None:
    compose([f"study={study}"])
    # The generated sequences have no answer to keep; their whole flow is run at the level night.
    assert (ROOT / "results" / study / "report" / "metrics.json").is_file() or study == "tagging"


@pytest.mark.night
def test_the_whole_flow_of_labels_at_each_step(tmp_path: Path) -> None:
    copy = StudyCopy(tmp_path / "study", "tagging")
    copy.edit("conf/study/tagging.yaml", "epochs: 20", "epochs: 2")
    copy.edit(
        "conf/study/tagging.yaml",
        "cells: [rnn, gru, lstm]",
        "cells: [rnn, bi_gru]\ntask: {length: 70, features: 16}",
    )
    copy.edit("conf/study/tagging.yaml", "recipes: [stacked]", "recipes: []")
    copy.repro()
    metrics = json.loads((copy.root / "results/tagging/report/metrics.json").read_text())
    assert metrics["measure"]["metric"] == "f1"
    assert set(metrics["baseline"]) == {"trivial", "linear"}
    assert [(pair["a"], pair["b"]) for pair in metrics["pairs"]] == [("rnn", "bi_gru")]
