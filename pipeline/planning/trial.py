"""On a worker: what one configuration takes, from a part of an epoch."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.models.cells import BACKWARDS
from pipeline.planning.inputs import Inputs

# A step of a batch costs as much as so many multiplications of its own: of the ratios that were tried it tells the 180 trials of the
# committed study imdb best from a few of them.
STEP = 160_000
# Of an epoch no more is trained at a time than about this: half a second of an LSTM.
PART = 1e9
# A part is trained until it has taken so long, that often at most.
SECONDS, TIMES = 0.8, 4


@dataclass(frozen=True)
class Taken:
    """What a configuration took; seconds.

    Attributes:
        arm: its cell.
        load: of an epoch (see `load`).
        once: the model built and compiled.
        epoch: an epoch after the first, with the predictions that rate it.
        test: predicting the test rows.
        memory: bytes that the worker held at the end.
        parameters: of the model.
        ready: when the worker had its libraries, seconds since 1970; `started` and `ended` are of the whole.
        worker: which one.
    """

    arm: str
    load: float
    once: float
    epoch: float
    test: float
    memory: int
    parameters: int
    started: float
    ready: float
    ended: float
    worker: str


def load(config: Config, inputs: Inputs) -> float:
    """How much an epoch computes, in multiplications a gate; the ratio of two configurations of a cell is that of their seconds."""
    model, form = config.model, inputs.form
    ways = 2 if config.cell.type.startswith(BACKWARDS) else 1
    batch = min(config.train.batch_size, inputs.train)
    width, each = model.embedding if form.features is None else form.features, 0
    for _ in range(model.layers):
        each += ways * (STEP + batch * (width + model.units) * model.units)
        width = ways * model.units
    return inputs.train // batch * (config.task.length if form.features is None else form.length) * each


def measure(config: Config, inputs: Inputs) -> Taken:
    """Builds, compiles, trains on a part of an epoch and predicts, by the means of `fit`."""
    started = time.time()
    from pipeline.training import backend

    # Programs that an earlier command has kept would make a trial look shorter than most are.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    backend.use(config.train.backend)
    import keras
    import psutil
    from distributed import get_worker

    from pipeline.evidence.scores import NO_LABEL
    from pipeline.training.batches import Buckets
    from pipeline.training.fit import compiled, predict, train_epoch
    from pipeline.training.network import network

    data, ready = inputs.data(config), time.time()
    keras.backend.clear_session()
    form, shuffle = data.form, np.random.default_rng(config.seed)
    buckets = Buckets.of(config, form, data.train_inputs)
    labels = np.where(data.train_labels == NO_LABEL, 0, data.train_labels) if form.kind == "steps" else data.train_labels
    begun = time.perf_counter()
    net = network(compiled(config, form))
    built = time.perf_counter() - begun

    def trained(rows: int) -> None:
        train_epoch(net, config, form, data.train_inputs[:rows], labels[:rows], buckets, shuffle)

    def predicted(rows: int) -> None:
        predict(net, data.validation_inputs[:rows], form, buckets)

    # On JAX an epoch is one program, for each number of batches another, and its start costs nothing.
    few = 0 if config.train.backend == "jax" else 2
    batch, share = min(config.train.batch_size, inputs.train), PART / load(config, inputs)
    epoch = _Line.of(trained, batch, few, inputs.train // batch, share)
    rating = _Line.of(predicted, min(net.batch, inputs.validation), few and 1, max(1, inputs.validation // net.batch), 3 * share)
    return Taken(
        arm=config.cell.arm,
        load=load(config, inputs),
        once=built + epoch.compiling + rating.compiling,
        epoch=epoch.seconds(inputs.train // batch) + rating.seconds(inputs.validation / net.batch),
        test=rating.seconds(inputs.test / net.batch),
        memory=psutil.Process().memory_info().rss,
        parameters=net.model.count_params(),
        started=started,
        ready=ready,
        ended=time.time(),
        worker=get_worker().address,
    )


@dataclass(frozen=True)
class _Line:
    """Seconds of a pass over batches: its start, each batch, and what compiling came to before."""

    start: float
    each: float
    compiling: float

    @classmethod
    def of(cls, run: Callable[[int], None], batch: int, few: int, batches: int, share: float) -> "_Line":
        """From passes over `few` batches, where a start is to be told apart, and over a share of them all."""
        many = min(batches, max(few + 4, round(share * batches)))
        few = min(few, many - 1)
        first, small = _again(lambda: run(few * batch)) if few else (0.0, 0.0)
        next_first, large = _again(lambda: run(many * batch))
        each = max(0.0, large - small) / (many - few)
        compiling = max(0.0, first - small) if few else max(0.0, next_first - large)
        return cls(max(0.0, small - few * each), each, compiling)

    def seconds(self, batches: float) -> float:
        """Of a pass over so many batches."""
        return self.start + self.each * batches


def _again(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the first call, in which programs are compiled, and of a later one."""
    took: list[float] = []
    while len(took) < 2 or (sum(took[1:]) < SECONDS and len(took) <= TIMES):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return took[0], float(np.median(took[1:]))
