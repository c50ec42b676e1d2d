"""Train one configuration: the epoch loop, the stopping rules, the predictions."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.data.arrays import Data
from pipeline.models.build import build_model
from pipeline.training import backend

# Predictions run in batches of one fixed shape, so that XLA compiles one program for them; 5,000 and 25,000 divide by it.
PREDICTION_BATCH = 1000
# A run is called dead by its own history only, and not before it had this many epochs to leave the start.
EPOCHS_BEFORE_FLOOR = 2


@dataclass
class Epoch:
    """One epoch: mean training loss and accuracy over its batches, validation loss and accuracy after it."""

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


def compiled(config: Config) -> Any:
    """`build_model` with its optimizer and loss, compiled by XLA."""
    import keras

    optimizers = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
    model = build_model(config)
    model.compile(
        optimizer=optimizers[config.train.optimizer](config.train.learning_rate, clipnorm=config.train.clipnorm),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
        jit_compile=True,
    )
    return model


def predict(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Logits <float16>[rows] of `tokens` <int32>[rows, length]; the last batch is filled up with empty rows."""
    rows = len(tokens)
    missing = -rows % PREDICTION_BATCH
    if missing:
        tokens = np.concatenate([tokens, np.zeros((missing, tokens.shape[1]), tokens.dtype)])
    logits = model.predict(tokens, batch_size=PREDICTION_BATCH, verbose=0)
    return logits[:rows, 0].astype(np.float16)


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Log loss and accuracy of `logits` <float16>[rows] for `labels` <uint8>[rows] of 0 and 1; class 1 is logit > 0."""
    z = logits.astype(np.float64)
    loss = np.mean(np.logaddexp(0.0, z) - labels * z)
    return float(loss), float(np.mean((z > 0) == (labels == 1)))


def should_stop(config: Config, epochs: list[Epoch]) -> bool:
    """Whether a run ends early, told by its own epochs alone so that trials stay independent."""
    best = max(range(len(epochs)), key=lambda i: (epochs[i].validation, -i))
    stale = config.train.patience is not None and len(epochs) - 1 - best >= config.train.patience
    dead = len(epochs) > EPOCHS_BEFORE_FLOOR and epochs[best].validation < config.train.floor
    return stale or dead


def train_epoch(model: Any, config: Config, data: Data, rows: np.ndarray) -> Epoch:
    """One pass over `rows` <int64>[rows] of the training part, then the validation score (its logits are not kept)."""
    history = model.fit(
        data.train_tokens[rows],
        data.train_labels[rows],
        batch_size=config.train.batch_size,
        shuffle=False,
        verbose=0,
    ).history
    return Epoch(float(history["loss"][-1]), float(history["accuracy"][-1]), math.nan, math.nan)


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
    model = compiled(config)
    run = Run(parameters=model.count_params())
    shuffle = np.random.default_rng(config.seed)
    batch = min(config.train.batch_size, len(data.train_labels))
    whole = len(data.train_labels) // batch * batch
    marks, weights = [time.perf_counter()], None
    for number in range(1, config.train.epochs + 1):
        epoch = train_epoch(model, config, data, shuffle.permutation(len(data.train_labels))[:whole])
        if not math.isfinite(epoch.loss):
            return failed(run, f"loss is {epoch.loss} in epoch {number}", started)
        logits = predict(model, data.validation_tokens)
        if not np.isfinite(logits).all():
            return failed(run, f"logits are not finite after epoch {number}", started)
        epoch.validation_loss, epoch.validation = score(logits, data.validation_labels)
        run.epochs.append(epoch)
        if run.best is None or config.train.keep == "last" or epoch.validation > run.best.validation:
            run.best_epoch, run.validation_logits, weights = number, logits, model.get_weights()
        marks.append(time.perf_counter())
        pruned = on_epoch is not None and bool(on_epoch(number, epoch))
        if number == config.train.epochs or should_stop(config, run.epochs):
            break
        if pruned:
            run.state = "pruned"
            break
    model.set_weights(weights)
    run.test_logits = predict(model, data.test_tokens)
    if not np.isfinite(run.test_logits).all():
        return failed(run, f"test logits of epoch {run.best_epoch} are not finite", started)
    run.model = model_bytes(model) if keep_model else None
    run.seconds = time.perf_counter() - started
    steps = np.diff(marks)
    run.compile_seconds = max(0.0, steps[0] - float(np.median(steps[1:]))) if len(steps) > 1 else None
    return run


def model_bytes(model: Any) -> bytes:
    """The .keras file of `model`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def failed(run: Run, reason: str, started: float) -> Run:
    """A failed run: it keeps its epochs and its reason, and no score."""
    run.state, run.reason, run.best_epoch = "failed", reason, None
    run.validation_logits = run.test_logits = None
    run.seconds = time.perf_counter() - started
    return run
