"""Train a batch of models in one program. They differ in numbers and widths only.

Each model has the initial weights, batches and dropout masks of the same training alone, so its
results equal those of `fit` up to rounding. On an accelerator, which one small network leaves
mostly idle, a batch of models takes hardly longer than one model. On a processor it takes as long
as all.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Config
from ..data.arrays import Data
from ..data.spec import TaskSpec
from ..models.build import build_model
from ..models.padded import RATES, WIDTHS, Padded, can_pad
from . import backend
from .fit import (
    Run,
    compiled,
    failed,
    filled,
    first_extra,
    model_bytes,
    should_stop,
    shuffled,
    stored,
    take,
    targets,
    trained_epoch,
    unfit,
    unfit_logits,
    unfit_test,
)
from .loops import Means, Scanned

# Models per program. Beyond this number the time is proportional to it, and memory grows with it.
MAX_MODELS = 256


def batch_key(config: Config) -> str | None:
    """The settings that a batch of models shares, as JSON; None if the training must be alone.

    With buckets each model has batches of other lengths. Both ways to clip gradients are an error.
    """
    if (
        config.train.engine != "population"
        or config.train.buckets > 1
        or (config.train.clipnorm and config.train.clipvalue)
    ):
        return None
    train = dataclasses.asdict(config.train)
    for name in ("learning_rate", "clipnorm", "clipvalue"):
        del train[name]
    model = dataclasses.asdict(config.model)
    # The program has a dropout mask or none. A user-defined cell may use rates and widths
    # otherwise.
    padded = can_pad(config)
    for name in RATES if padded else ("dropout",):
        model[name] = model[name] > 0
    for name in WIDTHS if padded else ():
        del model[name]
    task = dataclasses.asdict(config.task)
    return json.dumps(
        [config.name, task, config.split_seed, dataclasses.asdict(config.cell), model, train],
        sort_keys=True,
    )


class Stacked:
    """The weights and optimizers of all models, stacked along the first axis, and their program.

    Attributes:
        parameters: number of parameters per model.
    """

    batch = Scanned.batch

    def __init__(self, configs: Sequence[Config], spec: TaskSpec) -> None:
        import jax

        self.configs, self.spec = configs, spec
        template = Scanned(compiled(_widest(configs), spec))
        self.model = model = template.model
        self.padded = padded = Padded(model)
        rates = [
            place
            for place, variable in enumerate(model.optimizer.variables)
            if variable.name == "learning_rate"
        ]
        rows = []
        self.parameters: list[int] = []
        for config in configs:
            alone = build_model(config, spec)
            self.parameters.append(alone.count_params())
            trained = padded.pad(alone.trainable_variables, config, model.trainable_variables)
            other = padded.pad(alone.non_trainable_variables, config, model.non_trainable_variables)
            optimizer = [np.asarray(value) for value in template.optimizer]
            for place in rates:
                optimizer[place] = np.asarray(config.train.learning_rate, optimizer[place].dtype)
            rows.append(
                (
                    padded.settings_of(config),
                    trained,
                    other,
                    optimizer,
                    [np.asarray(value) for value in template.means],
                )
            )
        stack: Any = jax.tree.map(lambda *values: jax.numpy.asarray(np.stack(values)), *rows)
        self.settings, *state = stack
        self.state, self.no_means = tuple(state), state[3]
        # The best weights so far, without the state of the optimizer.
        self.kept = self.state[:2]

        def epoch(settings: Any, state: Any, inputs: Any, labels: Any, rows: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                return model.train_step(state, (inputs[batch], labels[batch]))[1], None

            with padded.at(settings):
                return jax.lax.scan(step, state, rows)[0]

        def outputs(settings: Any, trained: Any, other: Any, inputs: Any) -> Any:
            def step(other: Any, batch: Any) -> Any:
                result, other = model.stateless_call(trained, other, batch, training=False)
                return other, result

            with padded.at(settings):
                return jax.lax.scan(step, other, inputs)

        def keep(better: Any, kept: Any, new: Any) -> Any:
            return jax.tree.map(lambda old, value: jax.numpy.where(better, value, old), kept, new)

        self._epoch = jax.jit(jax.vmap(epoch, (0, 0, None, None, 0)))
        self._outputs = jax.jit(jax.vmap(outputs, (0, 0, 0, None)))
        self._keep = jax.jit(jax.vmap(keep))
        self._all_means = jax.jit(jax.vmap(self._means))

    def _means(self, means: Any) -> Any:
        import keras

        with keras.StatelessScope(list(zip(self.model.metrics_variables, means, strict=True))):
            return {
                name: keras.ops.convert_to_tensor(value)
                for name, value in self.model.get_metrics_result().items()
            }

    def run(self, inputs: Any, labels: Any, rows: NDArray[np.int64]) -> list[Means]:
        """Train an epoch of each model on `rows` <int64>[models, batches, batch]; return means."""
        state = (*self.state[:3], self.no_means)
        self.state = self._epoch(self.settings, state, inputs, labels, rows.astype(np.int32))
        means = {
            name: np.asarray(values) for name, values in self._all_means(self.state[3]).items()
        }
        return [
            {name: float(values[place]) for name, values in means.items()}
            for place in range(len(rows))
        ]

    def predict(self, inputs: Any, kept: bool = False) -> list[NDArray[Any]]:
        """The result of `fit.predict` per model, with the current weights or the best ones
        (`kept`).
        """
        batch = self.batch if self.spec.features is None else min(self.batch, len(inputs))
        rows = filled(inputs, batch)
        trained, other = self.kept if kept else self.state[:2]
        other, result = self._outputs(
            self.settings, trained, other, rows.reshape(-1, batch, *inputs.shape[1:])
        )
        if not kept:
            self.state = (trained, other, *self.state[2:])
        whole = np.asarray(result).reshape(len(self.configs), len(rows), *result.shape[3:])[
            :, : len(inputs)
        ]
        return [stored(part, self.spec) for part in whole]

    def keep(self, better: NDArray[np.bool_]) -> None:
        """Keep the current weights of each model that is `better` <bool>[models]."""
        self.kept = self._keep(better, self.kept, self.state[:2])

    def kept_model(self, place: int) -> Any:
        """The Keras model at `place`, in its own width, with its best weights."""
        config = self.configs[place]
        model = build_model(config, self.spec)
        for kind, values in zip(
            ("trainable_variables", "non_trainable_variables"), self.kept, strict=True
        ):
            cut = self.padded.cut(
                [value[place] for value in values], config, getattr(self.model, kind)
            )
            for variable, value in zip(getattr(model, kind), cut, strict=True):
                variable.assign(value)
        return model


def _widest(configs: Sequence[Config]) -> Config:
    """The first of `configs`, as wide as the widest, without bounds of gradients."""
    widths: dict[str, Any] = {
        name: max(getattr(config.model, name) for config in configs) for name in WIDTHS
    }
    first = configs[0]
    model, train = (
        dataclasses.replace(first.model, **widths),
        dataclasses.replace(first.train, clipnorm=None, clipvalue=None),
    )
    return dataclasses.replace(first, model=model, train=train)


def fit_batch(configs: Sequence[Config], data: Data, keep_models: Sequence[bool]) -> list[Run]:
    """`fit` each of `configs`, of one batch of models; the seconds of a run are an equal share.

    A model that fails or stops keeps its results and stays in the program without any effect.
    """
    backend.use("jax")
    import keras

    keras.backend.clear_session()
    started, spec = time.perf_counter(), data.spec
    net = Stacked(configs, spec)
    runs = [Run(parameters=count) for count in net.parameters]
    inputs, labels = data.train_inputs, targets(data)
    shuffles = [np.random.default_rng(config.seed) for config in configs]
    marks, active = [time.perf_counter()], set(range(len(configs)))
    for number in range(1, configs[0].train.epochs + 1):
        rows = np.stack(
            [
                shuffled(one, len(labels), shuffle)
                for one, shuffle in zip(configs, shuffles, strict=True)
            ]
        )
        means, logits = net.run(inputs, labels, rows), net.predict(data.validation_inputs)
        better = np.zeros(len(configs), bool)
        for place in sorted(active):
            config, run, epoch = configs[place], runs[place], trained_epoch(means[place], spec)
            if wrong := unfit(epoch, number) or unfit_logits(logits[place], number):
                failed(run, wrong, started)
                active.remove(place)
                continue
            better[place] = take(run, config, data, epoch, logits[place])
            if should_stop(config, run.epochs):
                active.remove(place)
        net.keep(better)
        marks.append(time.perf_counter())
        if not active:
            break
    _finish(net, runs, data, keep_models, started)
    for run in runs:
        run.seconds = (time.perf_counter() - started) / len(runs)
        extra = first_extra(marks)
        run.compile_seconds = None if extra is None or run.best is None else extra / len(runs)
    return runs


def _finish(
    net: Stacked, runs: Sequence[Run], data: Data, keep_models: Sequence[bool], started: float
) -> None:
    """Add to each run that has not failed the test logits, and the model if it is kept."""
    if not any(run.best for run in runs):
        return
    for place, (run, logits) in enumerate(
        zip(runs, net.predict(data.test_inputs, kept=True), strict=True)
    ):
        if run.best is None:
            continue
        run.test_logits = logits
        if wrong := unfit_test(logits, run.best_epoch):
            failed(run, wrong, started)
        elif keep_models[place]:
            run.model = model_bytes(net.kept_model(place))
