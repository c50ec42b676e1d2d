"""Train one configuration: the epochs, the stopping rules, the predictions."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..config.schema import Config
from ..data.arrays import Data
from ..data.spec import TaskSpec
from ..metrics import METRICS, NO_LABEL, rate
from ..models.build import build_model
from . import backend
from .bucketing import Buckets
from .loops import Means, Network, network

# Epochs before `train.min_validation` applies, so that a run can leave its start.
EPOCHS_BEFORE_MINIMUM = 2


@dataclass
class Epoch:
    """One epoch: mean training loss and score (`accuracy`) of its batches, then validation.

    A higher score is better: errors are negative.
    """

    loss: float
    accuracy: float
    validation_loss: float
    validation: float


@dataclass
class Run:
    """The result of one training. Scores and logits are of the best epoch; seconds are wall time.

    `state` is `complete`, `pruned` (ended early by the search, with scores and logits so far) or
    `failed` (without scores and logits).
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
        """The epoch whose weights are kept; None for a failed run."""
        return None if self.best_epoch is None else self.epochs[self.best_epoch - 1]


def compiled(config: Config, spec: TaskSpec) -> Any:
    """`build_model` with its optimizer and loss, compiled by XLA."""
    import keras

    optimizers = {
        "adam": keras.optimizers.Adam,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }
    losses = {
        "binary": keras.losses.BinaryCrossentropy,
        "classes": keras.losses.SparseCategoricalCrossentropy,
        "steps": keras.losses.BinaryCrossentropy,
    }
    keras_metric = METRICS[spec.metric].keras_metric
    train = config.train
    model = build_model(config, spec)
    model.compile(
        optimizer=optimizers[train.optimizer](
            train.learning_rate, clipnorm=train.clipnorm, clipvalue=train.clipvalue
        ),
        loss=keras.losses.MeanSquaredError()
        if spec.kind == "regression"
        else losses[spec.kind](from_logits=True),
        metrics=[keras_metric(spec.kind)] if keras_metric else [],
        jit_compile=True,
    )
    return model


def predict(net: Network, inputs: np.ndarray, spec: TaskSpec, buckets: Buckets) -> np.ndarray:
    """Logits of `inputs` [rows, length] or [rows, length, features].

    Returns:
        <float16>[rows] (binary), [rows, classes], [rows, length, labels] (steps), or
        <float32>[rows, outputs] (regression).
    """
    steps = (inputs.shape[1],) if spec.kind == "steps" else ()
    outputs = np.zeros((len(inputs), *steps, spec.outputs), np.float32)
    for length, rows in buckets.parts(inputs):
        # A fixed shape, so that XLA compiles one program. Empty rows fill the last batch.
        batch = net.batch if spec.features is None else min(net.batch, len(rows))
        part = net.outputs(filled(buckets.cut(inputs[rows], length), batch), batch)[: len(rows)]
        if spec.kind == "steps":
            outputs[rows, :length] = part
        else:
            outputs[rows] = part
    return stored(outputs, spec)


def stored(outputs: np.ndarray, spec: TaskSpec) -> np.ndarray:
    """The form in which outputs <float32>[rows, ...] are stored: what `predict` returns."""
    if spec.kind == "regression":
        return outputs
    # A value that is too large for float16 becomes inf and fails the run, so no warning is needed.
    with np.errstate(over="ignore"):
        return (outputs[:, 0] if spec.kind == "binary" else outputs).astype(np.float16)


def filled(inputs: np.ndarray, batch: int) -> np.ndarray:
    """`inputs` followed by empty rows, until `batch` divides their number."""
    missing = -len(inputs) % batch
    return (
        np.concatenate([inputs, np.zeros((missing, *inputs.shape[1:]), inputs.dtype)])
        if missing
        else inputs
    )


def should_stop(config: Config, epochs: list[Epoch]) -> bool:
    """Whether a run ends early. Only its own epochs decide, so that trials stay independent."""
    best = max(range(len(epochs)), key=lambda i: (epochs[i].validation, -i))
    patience, minimum = config.train.patience, config.train.min_validation
    if patience is not None and len(epochs) - 1 - best >= patience:
        return True
    late = len(epochs) > EPOCHS_BEFORE_MINIMUM
    return late and minimum is not None and epochs[best].validation < minimum


def train_epoch(
    net: Network,
    config: Config,
    spec: TaskSpec,
    inputs: np.ndarray,
    labels: np.ndarray,
    buckets: Buckets,
    shuffle: np.random.Generator,
) -> Epoch:
    """One pass over the training rows in whole batches; validation is filled in later."""
    net.begin()
    means: Means = {}
    if len(buckets.edges) > 1:
        for length, rows in buckets.batches(inputs, config.train.batch_size, shuffle):
            target = labels[rows, :length] if spec.kind == "steps" else labels[rows]
            means = net.run(buckets.cut(inputs[rows], length), target, np.arange(len(rows))[None])
    else:
        means = net.run(inputs, labels, shuffled(config, len(labels), shuffle))
    return trained_epoch(means, spec)


def shuffled(config: Config, rows: int, shuffle: np.random.Generator) -> np.ndarray:
    """The whole batches of an epoch over `rows` training rows: <int64>[batches, batch]."""
    batch = min(config.train.batch_size, rows)
    return shuffle.permutation(rows)[: rows // batch * batch].reshape(-1, batch)


def trained_epoch(means: Means, spec: TaskSpec) -> Epoch:
    """An Epoch from the means of its batches; validation is filled in later."""
    loss = float(means["loss"])
    if spec.metric == "nll":
        return Epoch(loss * spec.outputs, -loss * spec.outputs, math.nan, math.nan)
    score = float(means["score"])
    return Epoch(loss, -score * spec.scale if spec.metric == "mae" else score, math.nan, math.nan)


def fit(
    config: Config,
    data: Data,
    keep_model: bool = False,
    on_epoch: Callable[[int, Epoch], bool | None] | None = None,
) -> Run:
    """Train `config` on `data` with `config.seed`. A diverged run is returned as `failed`.

    Each epoch shuffles the training rows and leaves out the last, incomplete batch, since XLA would
    compile a second program for its shape.

    Args:
        keep_model: whether the result holds the trained model, as the bytes of a .keras file.
        on_epoch: called after each epoch with its number and the epoch. If it returns true and the
            run would continue, the run is returned as `pruned`, with its best epoch so far.
    """
    backend.use(config.train.backend)
    import keras

    keras.backend.clear_session()
    started = time.perf_counter()
    spec = data.spec
    buckets = Buckets.of(config, spec, data.train_inputs)
    model = compiled(config, spec)
    net, run = network(model), Run(parameters=model.count_params())
    inputs, labels = data.train_inputs, targets(data)
    shuffle = np.random.default_rng(config.seed)
    marks, weights = [time.perf_counter()], None
    for number in range(1, config.train.epochs + 1):
        epoch = train_epoch(net, config, spec, inputs, labels, buckets, shuffle)
        if wrong := unfit(epoch, number):
            return failed(run, wrong, started)
        logits = predict(net, data.validation_inputs, spec, buckets)
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
    run.test_logits = predict(net, data.test_inputs, spec, buckets)
    if wrong := unfit_test(run.test_logits, run.best_epoch):
        return failed(run, wrong, started)
    run.model = model_bytes(model) if keep_model else None
    run.seconds = time.perf_counter() - started
    run.compile_seconds = first_extra(marks)
    return run


def targets(data: Data) -> np.ndarray:
    """The training labels for the loss: 0 at padded steps, which the mask excludes."""
    labels = data.train_labels
    return np.where(labels == NO_LABEL, 0, labels) if data.spec.kind == "steps" else labels


def unfit(epoch: Epoch, number: int) -> str | None:
    """Why a run fails in this epoch, before it predicts; None if it continues."""
    return None if math.isfinite(epoch.loss) else f"loss is {epoch.loss} in epoch {number}"


def unfit_logits(logits: np.ndarray, number: int) -> str | None:
    """Why a run fails with its validation logits of epoch `number`; None if it continues."""
    return None if np.isfinite(logits).all() else f"logits are not finite after epoch {number}"


def unfit_test(logits: np.ndarray, number: int | None) -> str | None:
    """Why a run fails with its test logits of epoch `number`; None if it does not."""
    return None if np.isfinite(logits).all() else f"test logits of epoch {number} are not finite"


def take(run: Run, config: Config, data: Data, epoch: Epoch, logits: np.ndarray) -> bool:
    """Add an epoch with its validation scores to `run`; return whether it is the best so far."""
    spec = data.spec
    rated = rate(spec.metric, logits, data.validation_labels, spec.scale)
    epoch.validation_loss, epoch.validation = rated.loss, rated.value
    run.epochs.append(epoch)
    best = (
        run.best is None
        or config.train.checkpoint == "last"
        or epoch.validation > run.best.validation
    )
    if best:
        run.best_epoch, run.validation_logits = len(run.epochs), logits
    return best


def first_extra(marks: Sequence[float]) -> float | None:
    """Seconds of the first epoch beyond the median of the others, from their end times."""
    steps = np.diff(marks)
    return max(0.0, float(steps[0] - np.median(steps[1:]))) if len(steps) > 1 else None


def model_bytes(model: Any) -> bytes:
    """The .keras file of `model`, for predictions: without optimizer and metrics."""
    import keras

    plain = keras.Model.from_config(model.get_config())
    for variable, trained in zip(plain.variables, model.variables, strict=True):
        variable.assign(trained.value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        plain.save(path)
        return path.read_bytes()


def failed(run: Run, reason: str, started: float) -> Run:
    """`run` as a failed run: with its epochs and a reason, without scores and logits."""
    run.state, run.reason, run.best_epoch = "failed", reason, None
    run.validation_logits = run.test_logits = None
    run.seconds = time.perf_counter() - started
    return run
