"""The network: its size, its initial weights, what masking does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.config import Cell, Config, Model, Task, Train
from pipeline.models.build import build_model
from pipeline.models.cells import CELLS
from pipeline.training import backend

LENGTH, VOCABULARY = 8, 24


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    backend.use("tensorflow")


def config(cell: str, length: int = LENGTH, seed: Any = 0, **model: Any) -> Config:
    return Config(
        name="tiny",
        cells=[cell],
        task=Task(name="tiny", source="generated", length=length, vocabulary=VOCABULARY),
        cell=Cell(cell, cell),
        model=Model(**{"units": 6, "embedding": 5, **model}),
        train=Train(),
        seed=seed,
    )


def weights(given: Config) -> list[np.ndarray]:
    return build_model(given).get_weights()


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def recurrent(cell: str, inputs: int, units: int) -> int:
    """Parameters of one layer; a GRU has a second bias, inside the reset."""
    gates, biases = {"rnn": (1, 1), "gru": (3, 2), "lstm": (4, 1)}[cell]
    return gates * units * (inputs + units + biases)


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_are_counted_by_the_formula(cell: str) -> None:
    table, head = VOCABULARY * 5, 6 + 1
    assert build_model(config(cell)).count_params() == table + recurrent(cell, 5, 6) + head
    two = build_model(config(cell, layers=2))
    assert two.count_params() == table + recurrent(cell, 5, 6) + recurrent(cell, 6, 6) + head


def test_the_formula_covers_every_cell() -> None:
    assert set(CELLS) == {"rnn", "gru", "lstm"}


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_the_layer_of_its_name(cell: str) -> None:
    model = build_model(config(cell, layers=2))
    layers = [layer for layer in model.layers if layer.name.startswith(f"{cell}_")]
    assert [type(layer).__name__ for layer in layers] == [CELLS[cell]] * 2
    assert [layer.return_sequences for layer in layers] == [True, False]


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_are_a_function_of_the_seed(cell: str) -> None:
    zero = weights(config(cell, seed=0))
    weights(config(cell, seed=1, units=7))
    assert same(zero, weights(config(cell, seed=0)))
    assert not same(zero, weights(config(cell, seed=1)))


def test_seed_0_is_a_seed_and_no_seed_is_none() -> None:
    first, second = weights(config("rnn", seed=None)), weights(config("rnn", seed=None))
    assert not same(first, second)
    assert not same(first, weights(config("rnn", seed=0)))


def test_no_two_weights_start_from_the_same_numbers() -> None:
    model = build_model(config("rnn", layers=2, embedding=6))
    kernels = [layer.cell.kernel.numpy() for layer in model.layers if layer.name.startswith("rnn_")]
    assert kernels[0].shape == kernels[1].shape
    assert not np.array_equal(*kernels)


def test_dropout_reaches_its_layers() -> None:
    model = build_model(config("gru", dropout=0.25, recurrent_dropout=0.5, layers=2))
    assert [layer.rate for layer in model.layers if layer.name.startswith("dropout_")] == [0.25, 0.25]
    assert [layer.recurrent_dropout for layer in model.layers if layer.name.startswith("gru_")] == [0.5, 0.5]
    assert not [layer for layer in build_model(config("gru")).layers if layer.name.startswith("dropout_")]


def predictions(cell: str, masking: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same reviews behind no padding and behind four zeros, through the same weights."""
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, LENGTH)).astype(np.int32)
    padded = np.concatenate([np.zeros((6, 4), np.int32), tokens], axis=1)
    short, long = (build_model(config(cell, length, masking=masking)) for length in (LENGTH, LENGTH + 4))
    # Larger than the initial ones, so that four more steps would show.
    large = [4 * values for values in short.get_weights()]
    for model in (short, long):
        model.set_weights(large)
    return np.asarray(short(tokens)), np.asarray(long(padded))


@pytest.mark.parametrize("cell", CELLS)
def test_with_masking_more_padding_changes_nothing(cell: str) -> None:
    short, long = predictions(cell, masking=True)
    assert short == pytest.approx(long, abs=1e-5)
    assert np.ptp(short) > 0.1


@pytest.mark.parametrize("cell", CELLS)
def test_without_masking_padding_is_read(cell: str) -> None:
    short, long = predictions(cell, masking=False)
    assert np.abs(short - long).max() > 1e-3


def test_the_output_is_one_logit_a_review() -> None:
    model = build_model(replace(config("lstm"), train=Train()))
    logits = np.asarray(model(np.zeros((3, LENGTH), np.int32)))
    assert logits.shape == (3, 1)
    assert np.isfinite(logits).all()
    assert model.layers[-1].activation.__name__ == "linear"
