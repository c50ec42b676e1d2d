"""One training: every setting is connected, equal runs are equal to the bit, a diverged one is a
failed run.

Keras holds one backend per process. These tests use TensorFlow. The last one, of the level long,
runs those whose outcome depends on the backend on JAX, in another process.

Most of the time of a small training is XLA's compilation. Tests of rules and settings train without
it (`trained`). Tests of what is learned, of equality to the bit and of divergence train with it
(`fit`).
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.arrays import Data
from pipeline.data.spec import PAD, TaskSpec
from pipeline.errors import FairsweepError
from pipeline.metrics import NO_LABEL, rate
from pipeline.models.cells import CELLS
from pipeline.serving.keras_archive import reproducible
from pipeline.training import backend
from pipeline.training import fit as fitting
from pipeline.training.bucketing import Buckets
from pipeline.training.fit import Epoch, Run, fit, model_bytes, should_stop
from pipeline.training.loops import network

BACKEND = os.environ.get("FAIRSWEEP_TEST_BACKEND", "tensorflow")
LENGTH, VOCABULARY, TRAIN = 8, 24, 64
FORM = TaskSpec(length=LENGTH)
one_backend = pytest.mark.skipif(BACKEND == "jax", reason="does not depend on the backend")
# Keras 3.15 reads its variables (on TensorFlow only to save them) by a call of np.array that NumPy
# 2 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


def config(cell: str = "gru", seed: int = 0, **settings: Any) -> Config:
    """A tiny training; `settings` are those of `model` and `train`."""
    names = {field.name for field in fields(Model)}
    model: dict[str, Any] = {
        "units": 8,
        "embedding": 8,
        **{name: value for name, value in settings.items() if name in names},
    }
    train: dict[str, Any] = {"batch_size": 16, "epochs": 1, "patience": None, "learning_rate": 0.01}
    train |= {name: value for name, value in settings.items() if name not in names}
    return Config(
        name="tiny",
        cells=[cell],
        task=Task(name="tiny", source="synthetic", length=LENGTH, vocabulary=VOCABULARY),
        cell=Cell(cell, cell),
        model=Model(**model),
        train=Train(backend=BACKEND, **train),
        seed=seed,
    )


@cache
def data() -> Data:
    """Random tokens and random labels: they can be memorised, and nothing about validation can be
    learned.
    """
    generator = np.random.default_rng(0)

    def tokens(rows: int) -> np.ndarray:
        return generator.integers(0, VOCABULARY, (rows, LENGTH)).astype(np.int32)

    def labels(rows: int) -> np.ndarray:
        return generator.permutation(np.arange(rows) % 2).astype(np.uint8)

    return Data(
        FORM, tokens(TRAIN), labels(TRAIN), tokens(40), labels(40), tokens(30), "digest", True
    )


xla_compiled = fitting.compiled


def compiled(given: Config, spec: TaskSpec = FORM) -> Any:
    """The model of `given`, whose steps TensorFlow executes one operation at a time. On JAX the
    epoch is a program all the same.
    """
    model = xla_compiled(given, spec)
    model.jit_compile, model.run_eagerly = False, True
    return model


def fit_uncompiled(given: Config, **more: Any) -> Run:
    """`fit` on `data()` without XLA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "compiled", compiled)
        return fit(given, data(), **more)


def predict(model: Any, tokens: np.ndarray) -> np.ndarray:
    return fitting.predict(network(model), tokens, FORM, Buckets.of(config(), FORM, tokens))


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    rated = rate("accuracy", logits, labels)
    return rated.loss, rated.value


@cache
def trained(**settings: Any) -> Run:
    """The run of these settings without XLA, made once."""
    return fit_uncompiled(config(**settings))


def everything(run: Run) -> tuple:
    """All numbers of a complete run."""
    assert run.validation_logits is not None
    assert run.test_logits is not None
    return run.epochs, run.best_epoch, run.validation_logits.tobytes(), run.test_logits.tobytes()


@pytest.mark.parametrize("kind", ["classes", "regression", "f1", "nll"])
def test_a_train_step_changes_every_weight_of_every_head(kind: str) -> None:
    backend.use(BACKEND)
    own = numbers(kind)
    model = compiled(config("bi_gru", hidden=8, layer_norm=True, layers=2), own.spec)
    before = model.get_weights()
    model.train_on_batch(
        own.train_inputs, np.where(own.train_labels == NO_LABEL, 0, own.train_labels)
    )
    trained = {weight.path for weight in model.trainable_weights}
    for weight, one, other in zip(model.weights, before, model.get_weights(), strict=True):
        assert weight.path not in trained or not np.array_equal(one, other), weight.path


@pytest.mark.parametrize("cell", CELLS)
def test_a_train_step_changes_every_weight(cell: str) -> None:
    backend.use(BACKEND)
    model = compiled(config(cell))
    tokens, labels = data().train_inputs[:16] // 2, data().train_labels[:16]
    before = model.get_weights()
    model.train_on_batch(tokens, labels)
    changed = [one != other for one, other in zip(before, model.get_weights(), strict=True)]
    seen = np.isin(np.arange(VOCABULARY), tokens)
    assert seen.any()
    assert not seen.all()
    assert np.array_equal(changed[0].any(axis=1), seen)
    for weight, which in zip(model.weights[1:], changed[1:], strict=True):
        assert which.any(), weight.path


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_can_memorise_64_reviews(cell: str) -> None:
    run = fit(config(cell, epochs=25, learning_rate=0.03, units=16, checkpoint="last"), data())
    assert run.epochs[-1].accuracy > 0.98
    assert run.epochs[-1].loss < 0.1 < run.epochs[0].loss


def numbers(kind: str) -> Data:
    """Eight examples of numbers of one kind; those of steps end in padding."""
    generator = np.random.default_rng(0)
    inputs = generator.random((8, LENGTH, 3)).astype(np.float32)
    if kind == "classes":
        spec, labels = (
            TaskSpec(kind, outputs=3, features=3, length=LENGTH),
            np.arange(8).astype(np.uint8) % 3,
        )
    elif kind == "regression":
        spec = TaskSpec(kind, "mae", 2, features=3, length=LENGTH, scale=2.0)
        labels = generator.normal(size=(8, 2)).astype(np.float32)
    else:
        spec = TaskSpec("steps", kind, 4, features=3, length=LENGTH, padded=True)
        labels = generator.integers(0, 2, (8, LENGTH, 4)).astype(np.uint8)
        inputs[:4, 5:], labels[:4, 5:] = PAD, NO_LABEL
    return Data(spec, inputs, labels, inputs, labels, inputs[:5], "digest", False)


LEAST = {"classes": 0.99, "regression": -0.2, "f1": 0.97, "nll": -0.4}


# Each head once, with cells that the test above does not cover. The other pairs run at the level
# night.
MEMORISED = [("lstm", "classes"), ("bi_rnn", "regression"), ("bi_lstm", "f1"), ("bi_gru", "nll")]
AT_NIGHT = [
    *(("gru", kind) for kind in LEAST),
    *((cell, "classes") for cell in ("rnn", "bi_rnn", "bi_gru", "bi_lstm")),
]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [*MEMORISED, *(pytest.param(*pair, marks=pytest.mark.night) for pair in AT_NIGHT)],
)
def test_every_cell_and_head_can_memorise_8_examples(cell: str, kind: str) -> None:
    settings: dict[str, Any] = {
        "units": 32,
        "batch_size": 8,
        "epochs": 15,
        "learning_rate": 0.03,
        "checkpoint": "last",
    }
    own = numbers(kind)
    # Ten steps an epoch.
    many = {
        name: np.concatenate([getattr(own, name)] * 10) for name in ("train_inputs", "train_labels")
    }
    own = replace(own, **many)
    run = fit(config(cell, **settings), own)
    assert run.best is not None
    assert run.best.validation > LEAST[kind]
    # The training score is the mean over the epoch's steps, validation is of the weights after
    # them.
    assert run.epochs[-1].accuracy == pytest.approx(run.best.validation, abs=0.15)
    assert run.test_logits is not None
    assert run.test_logits.shape == (
        5,
        *((LENGTH, 4) if own.spec.kind == "steps" else (own.spec.outputs,)),
    )
    assert run.test_logits.dtype == (np.float32 if kind == "regression" else np.float16)


CONNECTED: list[dict[str, Any]] = [
    {"seed": 1},
    {"dropout": 0.5},
    {"recurrent_dropout": 0.5},
    {"masking": True},
    {"learning_rate": 0.02},
    {"clipnorm": 1e-9},
    {"optimizer": "rmsprop"},
    {"batch_size": TRAIN},
    {"optimizer": "sgd"},
    {"clipvalue": 1e-9},
    {"input_dropout": 0.5},
    {"pooling": "max"},
    {"layer_norm": True},
    {"hidden": 4},
]
# Followed by tests of their own, here and in tests/models: sizes by the parameters, rules by the
# epochs.
FOLLOWED = {
    "units",
    "embedding",
    "layers",
    "epochs",
    "checkpoint",
    "patience",
    "min_validation",
    "backend",
    "engine",
    "buckets",
}


# Settings that pass through code of ours that differs on JAX. The others are implemented by Keras
# on both backends.
OF_THE_BACKEND = {"dropout", "recurrent_dropout", "input_dropout", "masking", "batch_size"}


@one_backend
def test_no_setting_is_left_out() -> None:
    names = {field.name for kind in (Model, Train) for field in fields(kind)}
    assert {name for changed in CONNECTED for name in changed} - {"seed"} | FOLLOWED == names


@pytest.mark.parametrize("changed", CONNECTED, ids=str)
def test_every_setting_is_connected(changed: dict[str, Any]) -> None:
    if BACKEND == "jax" and not changed.keys() & OF_THE_BACKEND:
        pytest.skip("does not depend on the backend")
    assert everything(trained(**changed)) != everything(trained())


@pytest.mark.parametrize(("cell", "key"), [("gru", "reset_after"), ("lstm", "unit_forget_bias")])
def test_a_cells_own_settings_are_connected(cell: str, key: str) -> None:
    changed = config(cell)
    setattr(changed.cell, key, False)
    assert everything(fit_uncompiled(changed)) != everything(trained(cell=cell))


def test_equal_trainings_are_equal_to_the_bit() -> None:
    assert everything(fit(config(dropout=0.5), data())) == everything(
        fit(config(dropout=0.5), data())
    )


def test_equal_models_are_equal_bytes() -> None:
    backend.use(BACKEND)
    import keras

    def written() -> bytes:
        keras.backend.clear_session()
        # Kept alive, so that the second one lies elsewhere in memory.
        models.append(xla_compiled(config(), FORM))
        return reproducible(model_bytes(models[-1]))

    models: list[Any] = []
    assert written() == written()


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    assert everything(trained(batch_size=1000)) == everything(trained(batch_size=TRAIN))


def test_a_last_batch_that_is_not_full_is_left_out() -> None:
    backend.use(BACKEND)
    run = trained(batch_size=40)
    assert run.state == "complete"
    # Of 64 rows one batch of 40 is trained on: the loss of that epoch is that of one step.
    model = compiled(config(batch_size=40))
    rows = np.random.default_rng(0).permutation(TRAIN)[:40]
    loss = model.train_on_batch(data().train_inputs[rows], data().train_labels[rows])[0]
    assert run.epochs[0].loss == pytest.approx(float(loss), rel=1e-5)


LONG: dict[str, Any] = {"epochs": 6, "learning_rate": 0.03}


@cache
def watched() -> tuple[Run, list[tuple[int, Epoch]]]:
    """The run of LONG with its model, and what it told as it went."""
    told: list[tuple[int, Epoch]] = []
    return fit_uncompiled(
        config(**LONG), keep_model=True, on_epoch=lambda number, epoch: told.append((number, epoch))
    ), told


def test_the_best_epoch_is_kept_or_the_last() -> None:
    best, last = watched()[0], trained(**LONG, checkpoint="last")
    assert best.epochs == last.epochs
    assert len(best.epochs) == 6
    scores = [epoch.validation for epoch in best.epochs]
    assert best.best_epoch == scores.index(max(scores)) + 1
    assert best.best_epoch != 6
    assert last.best_epoch == 6
    for run in (best, last):
        assert run.best is not None
        assert run.validation_logits is not None
        assert score(run.validation_logits, data().validation_labels) == (
            run.best.validation_loss,
            run.best.validation,
        )


def test_the_kept_model_is_that_of_the_kept_epoch() -> None:
    import keras

    run, _ = watched()
    assert run.model is not None
    assert run.test_logits is not None
    assert run.validation_logits is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(run.model)
        model = keras.models.load_model(path)
    for inputs, logits in (
        (data().test_inputs, run.test_logits),
        (data().validation_inputs, run.validation_logits),
    ):
        made = model.predict(inputs, verbose=0)[:, 0]
        np.testing.assert_allclose(made, logits.astype(float), rtol=2e-3, atol=1e-5)
        assert np.ptp(made) > 0.1


@one_backend
def test_a_run_without_a_better_epoch_stops_early() -> None:
    whole, stopped = watched()[0], trained(**LONG, patience=1)
    ends = [n for n in range(1, 7) if should_stop(config(patience=1), whole.epochs[:n])]
    assert len(stopped.epochs) == ends[0] < 6
    assert stopped.epochs == whole.epochs[: ends[0]]


@one_backend
def test_a_run_below_the_minimum_stops_after_its_third_epoch() -> None:
    stopped = trained(**LONG, min_validation=1.0)
    assert stopped.epochs == watched()[0].epochs[:3]
    assert stopped.state == "complete"


@one_backend
def test_each_epoch_is_reported_at_its_end() -> None:
    run, told = watched()
    assert told == list(enumerate(run.epochs, 1))


@one_backend
def test_a_pruned_run_keeps_the_best_of_its_epochs_so_far() -> None:
    whole = watched()[0]
    pruned = fit_uncompiled(config(**LONG), on_epoch=lambda number, _: number == 5)
    assert (pruned.state, pruned.reason) == ("pruned", "")
    assert pruned.epochs == whole.epochs[:5]
    scores = [epoch.validation for epoch in pruned.epochs]
    assert pruned.best_epoch == scores.index(max(scores)) + 1
    for name in ("validation_logits", "test_logits"):
        logits = getattr(pruned, name)
        # The best epoch of the five is that of all six.
        assert logits.tobytes() == getattr(whole, name).tobytes()


@one_backend
def test_a_run_that_was_at_its_end_is_not_pruned() -> None:
    assert fit_uncompiled(config(), on_epoch=lambda number, _: True).state == "complete"


def history(*validation: float) -> list[Epoch]:
    return [Epoch(0.5, 0.5, 0.5, value) for value in validation]


@one_backend
@pytest.mark.parametrize(
    ("validation", "stops"),
    [
        ([0.6], False),
        ([0.6, 0.7, 0.7], False),
        ([0.6, 0.7, 0.7, 0.69], True),
        ([0.6, 0.7, 0.65, 0.71], False),
        ([0.8, 0.7, 0.7], True),
    ],
)
def test_patience_counts_the_epochs_since_the_first_best(
    validation: list[float], stops: bool
) -> None:
    assert should_stop(config(patience=2), history(*validation)) is stops
    assert not should_stop(config(patience=None), history(*validation))


@one_backend
@pytest.mark.parametrize(
    ("validation", "stops"),
    [
        ([0.5, 0.5], False),
        ([0.5, 0.51, 0.52], True),
        ([0.5, 0.56, 0.5], False),
        ([0.5, 0.5, 0.55], False),
    ],
)
def test_the_minimum_is_compared_with_the_best_epoch_of_three(
    validation: list[float], stops: bool
) -> None:
    assert should_stop(config(patience=None, min_validation=0.55), history(*validation)) is stops
    assert not should_stop(config(patience=None, min_validation=0.0), history(*validation))


def test_a_diverged_training_is_a_failed_run_with_its_reason() -> None:
    run = fit(config(learning_rate=1e38, epochs=3), data(), keep_model=True)
    assert (run.state, run.reason) == ("failed", "loss is nan in epoch 1")
    assert (run.best_epoch, run.best, run.epochs) == (None, None, [])
    assert run.validation_logits is run.test_logits is run.model is None
    assert run.parameters == trained().parameters
    assert run.seconds > 0


@one_backend
def test_logits_that_float16_cannot_hold_are_a_failed_run() -> None:
    run = trained(learning_rate=1e30, batch_size=TRAIN)
    assert (run.state, run.reason) == ("failed", "logits are not finite after epoch 1")
    assert run.validation_logits is run.test_logits is None


def test_predictions_do_not_depend_on_how_the_last_batch_is_filled() -> None:
    backend.use(BACKEND)
    model = xla_compiled(config(), FORM)
    batch = network(model).batch
    full = np.random.default_rng(1).integers(0, VOCABULARY, (batch, LENGTH)).astype(np.int32)
    whole, part = predict(model, full), predict(model, full[:30])
    assert (part.dtype, part.shape) == (np.float16, (30,))
    assert np.array_equal(part, whole[:30])
    more = predict(model, np.concatenate([full, full[:1]]))
    assert more.shape == (batch + 1,)
    assert more[-1] == whole[0]


@one_backend
def test_scores_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500).astype(np.uint8)
    logits = generator.normal(0, 4, 500).astype(np.float16)
    loss, accuracy = score(logits, labels)
    exact = logits.astype(np.float64)
    assert loss == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-exact))), rel=1e-9)
    assert accuracy == accuracy_score(labels, exact > 0)
    assert type(loss) is type(accuracy) is float


@one_backend
def test_a_logit_of_0_is_class_0_and_large_ones_stay_finite() -> None:
    assert score(np.zeros(2, np.float16), np.array([0, 1], np.uint8)) == (
        pytest.approx(np.log(2)),
        0.5,
    )
    assert score(np.array([60000.0, -60000.0], np.float16), np.array([1, 0], np.uint8)) == (
        0.0,
        1.0,
    )


def test_a_second_backend_in_one_process_is_refused() -> None:
    backend.use(BACKEND)
    other = {"tensorflow": "jax", "jax": "tensorflow"}[BACKEND]
    with pytest.raises(
        FairsweepError, match=f"train.backend={other}: this process already trains on {BACKEND}"
    ):
        backend.use(other)


IN_JAX = """
import sys
from pipeline.training import backend
backend.use("jax")
import keras
both = keras.layers.Bidirectional(keras.layers.GRU(2))
keras.Sequential([keras.Input((3, 1)), both]).to_json()
assert "tensorflow" not in sys.modules
import tensorflow
"""


@one_backend
@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="the extra `jax` is not installed"
)
def test_keras_on_jax_does_not_import_tensorflow_and_others_may() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", IN_JAX], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.long
@pytest.mark.skipif(BACKEND == "jax", reason="this is that other process")
@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="the extra `jax` is not installed"
)
def test_tests_that_depend_on_the_backend_pass_on_jax() -> None:
    root = Path(__file__).resolve().parents[2]
    level = ["-m", "not long and not night"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "-p",
        "no:cacheprovider",
        *level,
        str(Path(__file__).relative_to(root)),
    ]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "FAIRSWEEP_TEST_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "does not depend on the backend" in done.stdout
