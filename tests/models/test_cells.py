"""User-defined cells: what a builder may accept and return, and the one message for each mistake in
it.
"""

import csv
import json
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.compose import compose
from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.spec import PAD, TaskSpec
from pipeline.errors import FairsweepError
from pipeline.models.build import build_model
from pipeline.models.cells import load_model
from pipeline.training import backend
from pipeline.training.fit import compiled
from study_copy import StudyCopy

LENGTH, VOCABULARY, UNITS = 8, 24, 6

# A builder per name. The convolution is as short as a user would write it.
BUILDERS = """
import keras

def conv(units, kernel_size=5, seed=0):
    first = keras.initializers.GlorotUniform(seed=seed)
    return keras.layers.Conv1D(
        units, kernel_size, padding="causal", activation="tanh", kernel_initializer=first)

def conv_same(units, kernel_size=5, seed=0):
    first = keras.initializers.GlorotUniform(seed=seed)
    return keras.layers.Conv1D(
        units, kernel_size, padding="same", activation="tanh", kernel_initializer=first)

def stack(units, seed):
    return keras.Sequential([conv(units, 3, seed), conv(units, 3, seed + 1)])

def recurrent(units, return_sequences, kernel_initializer, recurrent_initializer, seed):
    return keras.layers.GRU(units, return_sequences=return_sequences, seed=seed,
        kernel_initializer=kernel_initializer, recurrent_initializer=recurrent_initializer)

def states(units):
    return keras.layers.GRU(units)

def everything(units, **settings):
    settings.pop("kernel")
    return keras.layers.SimpleRNN(units, **settings)

def valid(units):
    return keras.layers.Conv1D(units, 3)

def wide(units):
    return keras.layers.Conv1D(units + 1, 3, padding="causal")

def flat(units):
    return keras.layers.Flatten()

def pair(units):
    return keras.layers.GRU(units, return_state=True)

def nothing(units):
    pass

def number(units):
    return 3

def raises(units):
    raise KeyError("gate")

class Raising(keras.layers.Layer):
    def build(self, shape):
        raise ZeroDivisionError("units by zero")

def raises_later(units):
    return Raising()

def no_arguments():
    return keras.layers.GRU(3)

SHARED = keras.layers.GRU(6)

def shared(units):
    return SHARED

CONSTANT = 3
"""


@pytest.fixture(autouse=True)
def _builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's root with `layer_builders.py`, whose module is imported again in each test."""
    backend.use("tensorflow")
    (tmp_path / "layer_builders.py").write_text(BUILDERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})


def config(builder: str, options: dict[str, Any] | None = None, **model: Any) -> Config:
    length = model.pop("length", LENGTH)
    prefix, _, name = builder.rpartition("bi_")
    cell = Cell(
        f"{'bi_' if prefix or builder.startswith('bi_') else ''}layer_builders:{name}", builder
    )
    cell.options.update(options or {})
    return Config(
        name="tiny",
        cells=[builder],
        task=Task(name="tiny", source="synthetic", length=length, vocabulary=VOCABULARY),
        cell=cell,
        model=Model(**{"units": UNITS, "embedding": 5, **model}),
        train=Train(buckets=1),
    )


def built(builder: str, options: dict[str, Any] | None = None, **model: Any) -> Any:
    given = config(builder, options, **model)
    return build_model(given, TaskSpec(length=given.task.length))


def layers(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


def test_a_builder_gets_the_shared_settings_that_it_has_parameters_for() -> None:
    (conv,) = layers(built("conv"), "Conv1D")
    assert (conv.filters, conv.kernel_size) == (UNITS, (5,))
    (gru,) = layers(built("recurrent"), "GRU")
    assert (gru.return_sequences, gru.kernel_initializer.__class__.__name__) == (
        False,
        "GlorotUniform",
    )
    (rnn,) = layers(built("everything", {"kernel": 3}, recurrent_dropout=0.5), "SimpleRNN")
    assert rnn.recurrent_dropout == 0.5


def test_own_settings_reach_the_layer() -> None:
    (conv,) = layers(built("conv", {"kernel_size": 3}), "Conv1D")
    assert conv.kernel_size == (3,)


@pytest.mark.parametrize("builder", ["conv", "recurrent"])
def test_the_seed_decides_the_initial_weights(builder: str) -> None:
    def weights(seed: int) -> list[np.ndarray]:
        given = config(builder)
        given.seed = seed
        return [np.asarray(value) for value in build_model(given, TaskSpec(length=LENGTH)).weights]

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True) if np.ptp(a) > 0)


@pytest.mark.parametrize("builder", ["conv", "conv_same", "stack", "recurrent", "everything"])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
def test_two_layers_have_different_weights(builder: str, pooling: str) -> None:
    own = {"kernel": 3} if builder == "everything" else {}
    model = built(builder, own, layers=2, pooling=pooling)
    assert np.asarray(model(np.ones((3, LENGTH), np.int32))).shape == (3, 1)
    names = [layer.name for layer in model.layers if layer.name.startswith("layer_builders_")]
    assert names == [f"layer_builders_{builder}_0", f"layer_builders_{builder}_1"]
    assert len({weight.path for weight in model.weights}) == len(model.weights)


def test_a_layer_to_states_alone_is_enough_for_one_layer() -> None:
    assert np.asarray(built("states")(np.ones((3, LENGTH), np.int32))).shape == (3, 1)


def test_a_sequence_is_read_at_its_last_step() -> None:
    import keras

    model, tokens = built("conv"), np.random.default_rng(0).integers(1, VOCABULARY, (4, LENGTH))
    (conv,) = layers(model, "Conv1D")
    outputs = np.asarray(keras.Model(model.input, conv.output)(tokens))
    expected = np.asarray(model.get_layer("logit")(outputs[:, -1]))
    np.testing.assert_allclose(np.asarray(model(tokens)), expected, atol=1e-6)


def predictions(builder: str, side: str, **model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the same rows without padding and with four zeros on one side, with the same
    weights.
    """
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, LENGTH)).astype(np.int32)
    zeros = np.zeros((6, 4), np.int32)
    padded = np.concatenate([zeros, tokens] if side == "pre" else [tokens, zeros], axis=1)
    short, long = (built(builder, length=length, **model) for length in (LENGTH, LENGTH + 4))
    # Larger than the initial ones and with biases, so that an output at a padded step shows.
    generator = np.random.default_rng(1)
    large = [
        values * 4 + generator.normal(scale=0.3, size=values.shape)
        for values in short.get_weights()
    ]
    for each in (short, long):
        each.set_weights(large)
    return np.asarray(short(tokens)), np.asarray(long(padded))


POOLINGS = ("last", "max", "mean")
MASKED = [
    *product(("conv", "recurrent", "conv_same"), (1, 2), POOLINGS),
    # A layer to states alone cannot be pooled.
    ("states", 1, "last"),
]


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize(("builder", "depth", "pooling"), MASKED)
def test_more_padding_does_not_change_a_masked_prediction(
    builder: str, depth: int, pooling: str, side: str
) -> None:
    short, long = predictions(builder, side, masking=True, pooling=pooling, layers=depth)
    assert short == pytest.approx(long, abs=1e-5)
    assert np.ptp(short) > 0.05


def test_without_masking_padding_is_read() -> None:
    short, long = predictions("conv", "post")
    assert np.abs(short - long).max() > 1e-3


def test_padded_steps_count_neither_in_a_prediction_nor_in_the_training_loss() -> None:
    """Labels at each step: the mask of the numbers must reach the loss."""
    numbers = np.random.default_rng(0).random((4, LENGTH, 3)).astype(np.float32)
    padded = np.concatenate([numbers, np.full((4, 4, 3), PAD, np.float32)], axis=1)
    models = []
    for length in (LENGTH, LENGTH + 4):
        spec = TaskSpec("steps", "f1", 5, features=3, length=length, padded=True)
        models.append(compiled(config("conv", length=length, layers=2), spec))
    short, long = models
    long.set_weights(short.get_weights())
    np.testing.assert_allclose(
        np.asarray(short(numbers)), np.asarray(long(padded))[:, :LENGTH], atol=1e-6
    )
    losses = [
        model.evaluate(rows, np.zeros((*rows.shape[:2], 5)), verbose=0)[0]
        for model, rows in ((short, numbers), (long, padded))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rows_of_variable_length_are_masked_too() -> None:
    given = config("conv", layers=2, masking=True)
    given.train.buckets = 2
    model = build_model(given, TaskSpec(length=LENGTH))
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, LENGTH)).astype(np.int32)
    padded = np.concatenate([tokens, np.zeros((6, 4), np.int32)], axis=1)
    np.testing.assert_allclose(np.asarray(model(tokens)), np.asarray(model(padded)), atol=1e-5)


# Keras's own way of storing a variable does not accept numpy 2's `copy` keyword yet.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
@pytest.mark.parametrize("builder", ["conv", "stack", "recurrent"])
def test_a_saved_model_predicts_the_same(builder: str, tmp_path: Path) -> None:
    model = built(builder, layers=2, masking=True)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras", config(builder).cell)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (4, LENGTH))
    np.testing.assert_array_equal(np.asarray(loaded(tokens)), np.asarray(model(tokens)))


Case = tuple[str, dict[str, Any], dict[str, Any], str]
MISTAKES: dict[str, Case] = {
    "too few steps": (
        "valid",
        {},
        {"layers": 2},
        rf"\(None, 6, 6\)\. Expected \(None, {LENGTH}, 6\)",
    ),
    "too many units": (
        "wide",
        {},
        {},
        rf"\(None, 8, 7\)\. Expected \(None, 6\) or \(None, {LENGTH}, 6\)",
    ),
    "flat": ("flat", {}, {}, r"\(None, 40\)\. Expected \(None, 6\) or"),
    "no sequence": (
        "states",
        {},
        {"layers": 2},
        rf"\(None, 6\)\. Expected \(None, {LENGTH}, 6\).*one output per step",
    ),
    "no pooled sequence": ("states", {}, {"pooling": "max"}, "one output per step"),
    "two outputs": ("pair", {}, {}, r"(list|tuple) as output\. Expected \(None, 6\)"),
    "no layer": ("nothing", {}, {}, r"returned None\. Expected a Keras layer"),
    "a number": ("number", {}, {}, r"returned 3\. Expected a Keras layer"),
    "no function": ("CONSTANT", {}, {}, r"is 3\. Expected a function"),
    "an exception": ("raises", {}, {}, "raised KeyError: 'gate'"),
    "an exception of the layer": (
        "raises_later",
        {},
        {},
        "raised ZeroDivisionError: units by zero",
    ),
    "no parameter units": ("no_arguments", {}, {}, "raised TypeError: no_arguments"),
    "an unknown option": (
        "conv",
        {"kernel_sice": 3},
        {},
        r"^cell\.options\.kernel_sice: .*nearest is 'kernel_size'",
    ),
    "an option that is shared": (
        "conv",
        {"seed": 3},
        {},
        r"^cell\.options\.seed: every cell gets 'seed'",
    ),
    "an unknown option of the layer": (
        "everything",
        {"kernel": 3, "cernel": 3},
        {},
        "raised .*cernel",
    ),
    "no dropout": (
        "conv",
        {},
        {"input_dropout": 0.1},
        r"^model\.input_dropout=0\.1: .*'dropout'.*Set model\.input_dropout=0",
    ),
    "no recurrent dropout": (
        "conv",
        {},
        {"recurrent_dropout": 0.1},
        r"^model\.recurrent_dropout=0\.1: ",
    ),
    "no backward direction": (
        "bi_conv",
        {},
        {},
        r"no parameter 'go_backwards'.*remove the prefix bi_",
    ),
    "the same layer twice": ("shared", {}, {}, "returned the same layer twice"),
}


@pytest.mark.parametrize(
    ("builder", "options", "model", "message"), MISTAKES.values(), ids=MISTAKES
)
def test_a_mistake_is_one_message(
    builder: str, options: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    if builder == "shared":
        built(builder)
    with pytest.raises(FairsweepError, match=message) as caught:
        built(builder, options, **model)
    text = str(caught.value)
    if not text.startswith("cell.options.seed"):
        assert f"{builder.removeprefix('bi_')} of layer_builders.py" in text
    assert text.count("layer_builders.py") <= 1


def user_cell(copy: StudyCopy, name: str, text: str) -> None:
    (copy.root / "layer_builders.py").write_text(BUILDERS)
    (copy.root / f"conf/cell/{name}.yaml").write_text(text)


@pytest.mark.parametrize("builder", ["wide", "nothing", "raises"])
def test_a_wrong_builder_stops_a_command_before_anything_is_trained(
    builder: str, smoke: StudyCopy, tmp_path: Path
) -> None:
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False).take(smoke, "data")
    user_cell(copy, "mine", f"type: layer_builders:{builder}\n")
    for stage in (("sample",), ("tune", "cell=mine")):
        words = [
            "python",
            "-m",
            f"pipeline.{stage[0]}",
            "study=smoke",
            "cells=[rnn,mine]",
            *stage[1:],
        ]
        done = copy.run(*words, check=False)
    assert done.returncode == 1
    assert re.findall(r"^error: .*", done.stderr, re.MULTILINE) == [done.stderr.splitlines()[0]]
    assert f"{builder} of layer_builders.py" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*copy.root.glob(".fairsweep/state/*/trial-*")]


def test_a_convolution_is_searched_with_its_own_key(
    smoke: StudyCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages sample and tune of the smoke study, with a cell that is not recurrent beside rnn."""
    copy = StudyCopy(tmp_path / "study", "smoke", dvc=False).take(smoke, "data")
    user_cell(
        copy, "conv", "type: layer_builders:conv\nspace: {kernel_size: {choices: [3, 5, 7]}}\n"
    )
    words = [
        "study=smoke",
        "cells=[rnn,conv]",
        "search.trials=4",
        "train.epochs=2",
        "search.budget=1",
    ]
    copy.run("python", "-m", "pipeline.sample", *words)
    output = copy.run("python", "-m", "pipeline.tune", "cell=conv", *words).stdout
    with (copy.root / "runs/smoke/tune/conv/trials.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 4
    assert {row["state"] for row in rows} == {"complete"}
    monkeypatch.chdir(copy.root)
    embedding = compose(words).task.vocabulary * 16
    trials = [dict(item.split("=") for item in json.loads(row["overrides"])) for row in rows]
    sizes = {trial["cell.options.kernel_size"] for trial in trials}
    assert sizes <= {"3", "5", "7"}
    assert len(sizes) > 1
    # A larger kernel has more weights.
    for row, trial in zip(rows, trials, strict=True):
        units = int(trial["model.units"])
        kernel = int(trial["cell.options.kernel_size"]) * 16 * units + units
        assert int(row["parameters"]) == kernel + units + 1 + embedding
    assert "dead hyperparameter" not in output
