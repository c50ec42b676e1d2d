"""The network: its size, its initial weights, its heads, what masking does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.spec import PAD, TaskSpec
from pipeline.errors import FairsweepError
from pipeline.models import build
from pipeline.models.cells import CELLS, load_model
from pipeline.training import backend

LENGTH, VOCABULARY = 8, 24
EVERY = [*CELLS, *(f"bi_{cell}" for cell in CELLS)]


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    backend.use("tensorflow")


def config(cell: str, length: int = LENGTH, seed: Any = 0, **model: Any) -> Config:
    return Config(
        name="tiny",
        cells=[cell],
        task=Task(name="tiny", source="synthetic", length=length, vocabulary=VOCABULARY),
        cell=Cell(cell, cell),
        model=Model(**{"units": 6, "embedding": 5, **model}),
        train=Train(),
        seed=seed,
    )


def build_model(given: Config, spec: TaskSpec | None = None) -> Any:
    return build.build_model(given, spec or TaskSpec(length=given.task.length))


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
def test_a_cell_that_reads_both_ways_has_twice_the_weights_and_other_ones(cell: str) -> None:
    model = build_model(config(f"bi_{cell}", layers=2))
    table, head = VOCABULARY * 5, 2 * 6 + 1
    assert (
        model.count_params()
        == table + 2 * recurrent(cell, 5, 6) + 2 * recurrent(cell, 12, 6) + head
    )
    kernels = [
        weight
        for weight in model.get_layer(f"bi_{cell}_0").weights
        if weight.path.endswith("/kernel")
    ]
    assert len(kernels) == 2
    assert not np.array_equal(*(np.asarray(kernel) for kernel in kernels))


@pytest.mark.parametrize("cell", EVERY)
def test_the_same_seed_gives_the_same_masks(cell: str) -> None:
    inputs = np.random.default_rng(0).integers(1, VOCABULARY, (4, LENGTH))

    def drawn(seed: int) -> np.ndarray:
        model = build_model(
            config(cell, seed=seed, dropout=0.0, input_dropout=0.5, recurrent_dropout=0.5)
        )
        # Only the masks differ between seeds.
        model.set_weights([np.full_like(weight, 0.3) for weight in model.get_weights()])
        return np.asarray(model(inputs, training=True))

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


HEADS = {
    "binary": (TaskSpec(length=LENGTH), (3, 1)),
    "classes": (TaskSpec("classes", outputs=4, features=3, length=LENGTH), (3, 4)),
    "regression": (TaskSpec("regression", "mae", 2, features=1, length=LENGTH), (3, 2)),
    "steps": (TaskSpec("steps", "f1", 5, features=3, length=LENGTH), (3, LENGTH, 5)),
}


@pytest.mark.parametrize(
    ("cell", "kind"),
    [*((cell, "steps") for cell in EVERY), *(("gru", kind) for kind in HEADS if kind != "steps")],
)
def test_every_cell_has_a_head_and_every_head_a_cell(cell: str, kind: str) -> None:
    spec, shape = HEADS[kind]
    model = build_model(config(cell, layers=2), spec)
    inputs = (
        np.zeros((3, LENGTH), np.int32)
        if spec.features is None
        else np.ones((3, LENGTH, spec.features), np.float32)
    )
    logits = np.asarray(model(inputs))
    assert logits.shape == shape
    assert np.isfinite(logits).all()
    assert model.layers[-1].activation.__name__ == "linear"


def test_a_network_that_cannot_be_built_raises() -> None:
    causal = TaskSpec("steps", "nll", 5, features=5, length=LENGTH, padded=True, causal=True)
    for cell in CELLS:
        with pytest.raises(
            FairsweepError, match=f"cell=bi_{cell}: .* would see it. Choose {cell}."
        ):
            build.check_model(config(f"bi_{cell}"), causal)
        build.check_model(config(cell), causal)
    with pytest.raises(FairsweepError, match=r"cell\.type=gur: no such cell; the nearest is 'gru'"):
        build.check_model(config("gur"), TaskSpec())
    with pytest.raises(FairsweepError, match=r"model\.pooling=max: task tiny"):
        build.check_model(config("gru", pooling="max"), causal)
    with pytest.raises(FairsweepError, match=r"train\.buckets=2: .* task tiny"):
        build.check_model(replace(config("gru"), train=Train(buckets=2)), HEADS["steps"][0])


def test_the_output_of_a_step_depends_on_no_later_step() -> None:
    spec = TaskSpec("steps", "nll", 5, features=3, length=LENGTH, padded=True, causal=True)
    numbers = np.random.default_rng(0).random((2, LENGTH, 3)).astype(np.float32)
    later = numbers.copy()
    later[:, 5:] = 0.3
    for cell in CELLS:
        model = build_model(config(cell, layers=2), spec)
        before, after = (np.asarray(model(inputs)) for inputs in (numbers, later))
        assert np.array_equal(before[:, :5], after[:, :5])
        assert not np.array_equal(before[:, 5:], after[:, 5:])


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
    assert [layer.rate for layer in model.layers if layer.name.startswith("dropout_")] == [
        0.25,
        0.25,
    ]
    assert [layer.recurrent_dropout for layer in model.layers if layer.name.startswith("gru_")] == [
        0.5,
        0.5,
    ]
    assert not [
        layer for layer in build_model(config("gru")).layers if layer.name.startswith("dropout_")
    ]


def predictions(cell: str, side: str, **model: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same reviews without padding and with four zeros on one side, through the same weights."""
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, LENGTH)).astype(np.int32)
    zeros = np.zeros((6, 4), np.int32)
    padded = np.concatenate([zeros, tokens] if side == "pre" else [tokens, zeros], axis=1)
    short, long = (build_model(config(cell, length, **model)) for length in (LENGTH, LENGTH + 4))
    # Larger than the initial ones, so that four more steps would show.
    large = [4 * values for values in short.get_weights()]
    for each in (short, long):
        each.set_weights(large)
    return np.asarray(short(tokens)), np.asarray(long(padded))


POOLED = [
    *((cell, "last") for cell in EVERY),
    *((cell, pooling) for cell in ("gru", "bi_lstm") for pooling in ("max", "mean")),
]


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize(("cell", "pooling"), POOLED)
def test_with_masking_more_padding_changes_nothing(cell: str, side: str, pooling: str) -> None:
    short, long = predictions(cell, side, masking=True, pooling=pooling)
    assert short == pytest.approx(long, abs=1e-5)
    assert np.ptp(short) > 0.05


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("cell", CELLS)
def test_without_masking_padding_is_read(cell: str, side: str) -> None:
    short, long = predictions(cell, side, masking=False)
    assert np.abs(short - long).max() > 1e-3


@pytest.mark.parametrize(("cell", "pooling"), POOLED)
def test_padded_steps_of_numbers_change_nothing(cell: str, pooling: str) -> None:
    numbers = np.random.default_rng(0).random((4, LENGTH, 3)).astype(np.float32)
    padded = np.concatenate([numbers, np.full((4, 4, 3), PAD, np.float32)], axis=1)
    specs = [
        TaskSpec("classes", outputs=4, features=3, length=length, padded=True)
        for length in (LENGTH, LENGTH + 4)
    ]
    short, long = (build_model(config(cell, pooling=pooling), spec) for spec in specs)
    long.set_weights(short.get_weights())
    assert np.asarray(short(numbers)) == pytest.approx(np.asarray(long(padded)), abs=1e-6)


def test_pooling_is_over_the_steps() -> None:
    """One unit layer whose states are known: last, mean and maximum of what the layer gives at
    every step.
    """
    import keras

    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, LENGTH)).astype(np.int32)
    models = {
        pooling: build_model(config("gru", pooling=pooling)) for pooling in ("last", "max", "mean")
    }
    every = keras.Model(models["max"].input, models["max"].get_layer("gru_0").output)
    states = np.asarray(every(tokens))
    head = models["max"].get_layer("logit")
    pooled = {"last": states[:, -1], "max": states.max(axis=1), "mean": states.mean(axis=1)}
    for pooling, model in models.items():
        assert np.asarray(model(tokens)) == pytest.approx(
            np.asarray(head(pooled[pooling])), abs=1e-6
        )


def touching(path: Path) -> Any:
    """A model that makes a file when its code is run."""
    import keras

    marker = str(path.with_name("touched"))
    inputs = keras.Input((4,))
    return keras.Model(
        inputs, keras.layers.Lambda(lambda values: (open(marker, "w").close(), values)[1])(inputs)
    )


# Keras's own way of storing a variable does not know numpy 2's `copy` keyword yet.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        (None, "model.keras", r"model\.keras is not a model of this project: ValueError, .*Lambda"),
        (
            lambda content: content[: len(content) // 2],
            "model.keras",
            "is not a model of this project",
        ),
        (lambda content: b"", "model.keras", "is not a model of this project"),
        (None, "model.h5", "there is no such .keras file"),
    ],
    ids=["code", "cut", "empty", "an older form"],
)
def test_a_model_with_code_or_a_damaged_one_is_refused(
    change: Callable[[bytes], bytes] | None, name: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    touching(path).save(path.with_suffix(".keras"))
    if change:
        path.write_bytes(change(path.read_bytes()))
    # Building it has run it once.
    (tmp_path / "touched").unlink(missing_ok=True)
    with pytest.raises(FairsweepError, match=told):
        load_model(path, Cell("rnn", "rnn"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
def test_our_own_models_are_loaded(tmp_path: Path) -> None:
    made = build_model(config("gru"))
    made.save(tmp_path / "model.keras")
    assert same(
        load_model(tmp_path / "model.keras", Cell("gru", "gru")).get_weights(), made.get_weights()
    )
