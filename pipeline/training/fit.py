"""Train one configuration: the epoch loop, the stopping rules, the predictions."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.data.arrays import Data
from pipeline.data.form import Form
from pipeline.evidence.scores import NO_LABEL, rate
from pipeline.models.build import build_model
from pipeline.training import backend
from pipeline.training.batches import Buckets
from pipeline.training.network import Network, Told, network

# A run is called dead by its own history only, and not before it had this many epochs to leave the start.
EPOCHS_BEFORE_FLOOR = 2


@dataclass
class Epoch:
    """One epoch: mean training loss and score over its batches (`accuracy`), validation loss and score after it.

    Scores are the task's metric, higher better: of an error the negative.
    """

    loss: float
    accuracy: float
    validation_loss: float
    validation: float


@dataclass
class Run:
    """What one training leaves. Scores and logits belong to the epoch kept; seconds are wall time.

    `state` is `complete`, `pruned` (ended early by its study, with the scores and logits it had) or `failed` (without any).
    """

    state: str = "complete"
    reason: str = ""
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int | None = None
    parameters: int | None = None
    validation_logits: np.ndarray | None = None
    test_logits: np.ndarray | None = None
    model: bytes | None = None
    seconds: float = 0.0
    compile_seconds: float | None = None

    @property
    def best(self) -> Epoch | None:
        """The epoch whose weights were kept, None for a failed run."""
        return None if self.best_epoch is None else self.epochs[self.best_epoch - 1]


def compiled(config: Config, form: Form) -> Any:
    """`build_model` with its optimizer and loss, compiled by XLA."""
    import keras

    from pipeline.models.micro_f1 import MicroF1

    optimizers = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    losses = {
        "binary": keras.losses.BinaryCrossentropy,
        "classes": keras.losses.SparseCategoricalCrossentropy,
        "steps": keras.losses.BinaryCrossentropy,
    }
    metrics = {
        ("binary", "accuracy"): lambda: keras.metrics.BinaryAccuracy(threshold=0.0, name="score"),
        ("classes", "accuracy"): lambda: keras.metrics.SparseCategoricalAccuracy(name="score"),
        ("steps", "f1"): lambda: MicroF1(name="score"),
        ("regression", "mae"): lambda: keras.metrics.MeanAbsoluteError(name="score"),
    }
    measured = metrics.get((form.kind, form.metric))
    train = config.train
    model = build_model(config, form)
    model.compile(
        optimizer=optimizers[train.optimizer](train.learning_rate, clipnorm=train.clipnorm, clipvalue=train.clipvalue),
        loss=keras.losses.MeanSquaredError() if form.kind == "regression" else losses[form.kind](from_logits=True),
        metrics=[measured()] if measured else [],
        jit_compile=True,
    )
    return model


def predict(net: Network, inputs: np.ndarray, form: Form, buckets: Buckets) -> np.ndarray:
    """Logits of `inputs` [rows, length] or [rows, length, features]; the last batch is filled up with empty rows.

    <float16>[rows] (binary), [rows, classes], [rows, length, labels] (steps), or <float32>[rows, outputs] (regression).
    """
    steps = (inputs.shape[1],) if form.kind == "steps" else ()
    whole = np.zeros((len(inputs), *steps, form.outputs), np.float32)
    for length, rows in buckets.parts(inputs):
        # One fixed shape, so that XLA compiles one program.
        batch = net.batch if form.features is None else min(net.batch, len(rows))
        own = _predicted(net, buckets.cut(inputs[rows], length), batch)
        if form.kind == "steps":
            whole[rows, :length] = own
        else:
            whole[rows] = own
    return stored(whole, form)


def stored(outputs: np.ndarray, form: Form) -> np.ndarray:
    """What is kept of a model's outputs <float32>[rows, ...], as `predict` says."""
    if form.kind == "regression":
        return outputs
    # A value that is too large for float16 becomes inf, and the run is recorded as failed. A warning would repeat that.
    with np.errstate(over="ignore"):
        return (outputs[:, 0] if form.kind == "binary" else outputs).astype(np.float16)


def _predicted(net: Network, inputs: np.ndarray, batch: int) -> np.ndarray:
    return net.outputs(filled(inputs, batch), batch)[: len(inputs)]


def filled(inputs: np.ndarray, batch: int) -> np.ndarray:
    """`inputs` with empty rows behind them, until `batch` divides their number."""
    missing = -len(inputs) % batch
    return np.concatenate([inputs, np.zeros((missing, *inputs.shape[1:]), inputs.dtype)]) if missing else inputs


def should_stop(config: Config, epochs: list[Epoch]) -> bool:
    """Whether a run ends early, told by its own epochs alone so that trials stay independent."""
    best = max(range(len(epochs)), key=lambda i: (epochs[i].validation, -i))
    stale = config.train.patience is not None and len(epochs) - 1 - best >= config.train.patience
    floor = config.train.floor
    dead = floor is not None and len(epochs) > EPOCHS_BEFORE_FLOOR and epochs[best].validation < floor
    return stale or dead


def train_epoch(
    net: Network,
    config: Config,
    form: Form,
    inputs: np.ndarray,
    labels: np.ndarray,
    buckets: Buckets,
    shuffle: np.random.Generator,
) -> Epoch:
    """One pass over the training rows in whole batches; the validation score is not known yet."""
    net.begin()
    told: Told = {}
    if len(buckets.edges) > 1:
        for length, rows in buckets.batches(inputs, config.train.batch_size, shuffle):
            target = labels[rows, :length] if form.kind == "steps" else labels[rows]
            told = net.run(buckets.cut(inputs[rows], length), target, np.arange(len(rows))[None])
    else:
        told = net.run(inputs, labels, shuffled(config, len(labels), shuffle))
    return trained_epoch(told, form)


def shuffled(config: Config, rows: int, shuffle: np.random.Generator) -> np.ndarray:
    """The whole batches of an epoch over `rows` training rows: <int64>[batches, batch]."""
    batch = min(config.train.batch_size, rows)
    return shuffle.permutation(rows)[: rows // batch * batch].reshape(-1, batch)


def trained_epoch(told: Told, form: Form) -> Epoch:
    """The epoch that `told` its means; its validation is not known yet."""
    loss = float(told["loss"])
    if form.metric == "nll":
        return Epoch(loss * form.outputs, -loss * form.outputs, math.nan, math.nan)
    score = float(told["score"])
    return Epoch(loss, -score * form.scale if form.metric == "mae" else score, math.nan, math.nan)


def fit(config: Config, data: Data, keep_model: bool = False, on_epoch: Callable[[int, Epoch], bool | None] | None = None) -> Run:
    """Train `config` on `data` with `config.seed`; never raises for a diverged run, which comes back `failed`.

    Each epoch shuffles the training rows and leaves out the last, incomplete batch: a second batch shape would be compiled
    anew. `keep_model` adds the trained model as the bytes of a .keras file. `on_epoch(number, epoch)` is called after each
    epoch; true ends a run that would go on, which comes back `pruned` with the best of its epochs so far.
    """
    backend.use(config.train.backend)
    import keras

    keras.backend.clear_session()
    started = time.perf_counter()
    form = data.form
    buckets = Buckets.of(config, form, data.train_inputs)
    model = compiled(config, form)
    net, run = network(model), Run(parameters=model.count_params())
    inputs, labels = data.train_inputs, targets(data)
    shuffle = np.random.default_rng(config.seed)
    marks, weights = [time.perf_counter()], None
    for number in range(1, config.train.epochs + 1):
        epoch = train_epoch(net, config, form, inputs, labels, buckets, shuffle)
        if wrong := unfit(epoch, number):
            return failed(run, wrong, started)
        logits = predict(net, data.validation_inputs, form, buckets)
        if wrong := unfit_logits(logits, number):
            return failed(run, wrong, started)
        if take(run, config, data, epoch, logits):
            weights = net.weights()
        marks.append(time.perf_counter())
        pruned = on_epoch is not None and bool(on_epoch(number, epoch))
        if number == config.train.epochs or should_stop(config, run.epochs):
            break
        if pruned:
            run.state = "pruned"
            break
    net.restore(weights)
    run.test_logits = predict(net, data.test_inputs, form, buckets)
    if wrong := unfit_test(run.test_logits, run.best_epoch):
        return failed(run, wrong, started)
    run.model = model_bytes(model) if keep_model else None
    run.seconds = time.perf_counter() - started
    run.compile_seconds = first_extra(marks)
    return run


def targets(data: Data) -> np.ndarray:
    """The training labels as the loss takes them: those of padded steps, which count nowhere, are 0."""
    labels = data.train_labels
    return np.where(labels == NO_LABEL, 0, labels) if data.form.kind == "steps" else labels


def unfit(epoch: Epoch, number: int) -> str | None:
    """Why a run fails in this epoch, before it predicts; None when it goes on."""
    return None if math.isfinite(epoch.loss) else f"loss is {epoch.loss} in epoch {number}"


def unfit_logits(logits: np.ndarray, number: int) -> str | None:
    """Why a run fails by its validation logits after epoch `number`; None when it goes on."""
    return None if np.isfinite(logits).all() else f"logits are not finite after epoch {number}"


def unfit_test(logits: np.ndarray, number: int | None) -> str | None:
    """Why a run fails by its test logits of epoch `number`; None when it does not."""
    return None if np.isfinite(logits).all() else f"test logits of epoch {number} are not finite"


def take(run: Run, config: Config, data: Data, epoch: Epoch, logits: np.ndarray) -> bool:
    """Rate an epoch by its validation logits and write it down; whether its weights are those to keep so far."""
    form = data.form
    rated = rate(form.metric, logits, data.validation_labels, form.scale)
    epoch.validation_loss, epoch.validation = rated.loss, rated.value
    run.epochs.append(epoch)
    best = run.best is None or config.train.keep == "last" or epoch.validation > run.best.validation
    if best:
        run.best_epoch, run.validation_logits = len(run.epochs), logits
    return best


def first_extra(marks: Sequence[float]) -> float | None:
    """What the first epoch took beyond a usual one, in seconds, from the times between them; None of a single one."""
    steps = np.diff(marks)
    return max(0.0, float(steps[0] - np.median(steps[1:]))) if len(steps) > 1 else None


def model_bytes(model: Any) -> bytes:
    """The .keras file of `model`, for predicting: without optimizer and metrics, which another process need not know."""
    import keras

    plain = keras.Model.from_config(model.get_config())
    for variable, trained in zip(plain.variables, model.variables, strict=True):
        variable.assign(trained.value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain.save(path)
        return path.read_bytes()


def failed(run: Run, reason: str, started: float) -> Run:
    """A failed run: it keeps its epochs and its reason, and no score."""
    run.state, run.reason, run.best_epoch = "failed", reason, None
    run.validation_logits = run.test_logits = None
    run.seconds = time.perf_counter() - started
    return run
