"""Many configurations trained in one program: a family, whose members differ in numbers and widths and in nothing else.

Each member gets the initial weights, batches and dropout masks of the same training alone, so its results are those of `fit` up to
rounding. On an accelerator that one small network leaves idle a family costs hardly more than a member; on a processor it costs as
much as its members one after another.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.arrays import Data
from pipeline.data.form import Form
from pipeline.models.build import build_model
from pipeline.models.padded import RATES, WIDTHS, Padded, can_pad
from pipeline.training import backend
from pipeline.training.fit import (
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
from pipeline.training.network import Scanned, Told

# Members of one program: twice as many take about twice the time by then, and memory that grows with them.
MOST = 256


def family(config: Config) -> str | None:
    """What all members of a family have in common, as JSON; None for a training that has to be alone.

    Buckets give every member batches of other lengths, and both ways to clip at once are an error of the training's own.
    """
    if config.train.engine != "population" or config.train.buckets > 1 or (config.train.clipnorm and config.train.clipvalue):
        return None
    train = dataclasses.asdict(config.train)
    for name in ("learning_rate", "clipnorm", "clipvalue"):
        del train[name]
    model = dataclasses.asdict(config.model)
    # Whether there is a mask at all is the program's; of a cell of one's own, whatever it makes of rates and widths.
    padded = can_pad(config)
    for name in RATES if padded else ("dropout",):
        model[name] = model[name] > 0
    for name in WIDTHS if padded else ():
        del model[name]
    task = dataclasses.asdict(config.task)
    return json.dumps([config.name, task, config.split_seed, dataclasses.asdict(config.cell), model, train], sort_keys=True)


class Stacked:
    """The members' networks, optimizers and masks, a first axis each, and the program that trains and asks them all.

    Attributes:
        parameters: of each member.
    """

    batch = Scanned.batch

    def __init__(self, configs: Sequence[Config], form: Form) -> None:
        import jax

        self.configs, self.form = configs, form
        template = Scanned(compiled(_widest(configs), form))
        self.model = model = template.model
        self.padded = padded = Padded(model)
        rates = [place for place, variable in enumerate(model.optimizer.variables) if variable.name == "learning_rate"]
        rows = []
        self.parameters: list[int] = []
        for config in configs:
            own = build_model(config, form)
            self.parameters.append(own.count_params())
            trained = padded.pad(own.trainable_variables, config, model.trainable_variables)
            other = padded.pad(own.non_trainable_variables, config, model.non_trainable_variables)
            optimizer = [np.asarray(value) for value in template.optimizer]
            for place in rates:
                optimizer[place] = np.asarray(config.train.learning_rate, optimizer[place].dtype)
            rows.append((padded.member_of(config), trained, other, optimizer, [np.asarray(value) for value in template.means]))
        stack: Any = jax.tree.map(lambda *values: jax.numpy.asarray(np.stack(values)), *rows)
        self.members, *state = stack
        self.state, self.no_means = tuple(state), state[3]
        # The weights kept so far; Keras's optimizer is no part of them.
        self.kept = self.state[:2]

        def epoch(member: Any, state: Any, inputs: Any, labels: Any, rows: Any) -> Any:
            def step(state: Any, batch: Any) -> Any:
                return model.train_step(state, (inputs[batch], labels[batch]))[1], None

            with padded.at(member):
                return jax.lax.scan(step, state, rows)[0]

        def outputs(member: Any, trained: Any, other: Any, inputs: Any) -> Any:
            def step(other: Any, batch: Any) -> Any:
                made, other = model.stateless_call(trained, other, batch, training=False)
                return other, made

            with padded.at(member):
                return jax.lax.scan(step, other, inputs)

        def keep(better: Any, kept: Any, new: Any) -> Any:
            return jax.tree.map(lambda old, one: jax.numpy.where(better, one, old), kept, new)

        self._epoch = jax.jit(jax.vmap(epoch, (0, 0, None, None, 0)))
        self._outputs = jax.jit(jax.vmap(outputs, (0, 0, 0, None)))
        self._keep = jax.jit(jax.vmap(keep))
        self._told = jax.jit(jax.vmap(self._means))

    def _means(self, means: Any) -> Any:
        import keras

        with keras.StatelessScope(list(zip(self.model.metrics_variables, means, strict=True))):
            return {name: keras.ops.convert_to_tensor(value) for name, value in self.model.get_metrics_result().items()}

    def run(self, inputs: Any, labels: Any, rows: NDArray[np.int64]) -> list[Told]:
        """An epoch of each member over its `rows` <int64>[members, batches, batch]: what it told, in the order of the members."""
        state = (*self.state[:3], self.no_means)
        self.state = self._epoch(self.members, state, inputs, labels, rows.astype(np.int32))
        told = {name: np.asarray(values) for name, values in self._told(self.state[3]).items()}
        return [{name: float(values[place]) for name, values in told.items()} for place in range(len(rows))]

    def predict(self, inputs: Any, kept: bool = False) -> list[NDArray[Any]]:
        """What `fit.predict` gives of each member's weights of now, or of the `kept` ones; as many batches draw as many seeds."""
        batch = self.batch if self.form.features is None else min(self.batch, len(inputs))
        given = filled(inputs, batch)
        trained, other = self.kept if kept else self.state[:2]
        other, made = self._outputs(self.members, trained, other, given.reshape(-1, batch, *inputs.shape[1:]))
        if not kept:
            self.state = (trained, other, *self.state[2:])
        whole = np.asarray(made).reshape(len(self.configs), len(given), *made.shape[3:])[:, : len(inputs)]
        return [stored(one, self.form) for one in whole]

    def keep(self, better: NDArray[np.bool_]) -> None:
        """Keep the weights of now of each member that is `better` <bool>[members]."""
        self.kept = self._keep(better, self.kept, self.state[:2])

    def kept_model(self, place: int) -> Any:
        """The Keras model of a member, as wide as it is alone, with the weights kept."""
        config = self.configs[place]
        model = build_model(config, self.form)
        for kind, values in zip(("trainable_variables", "non_trainable_variables"), self.kept, strict=True):
            cut = self.padded.cut([value[place] for value in values], config, getattr(self.model, kind))
            for variable, value in zip(getattr(model, kind), cut, strict=True):
                variable.assign(value)
        return model


def _widest(configs: Sequence[Config]) -> Config:
    """The first of `configs`, as wide as the widest of them, and without bounds of gradients, which the members have."""
    widths: dict[str, Any] = {name: max(getattr(config.model, name) for config in configs) for name in WIDTHS}
    first = configs[0]
    model, train = dataclasses.replace(first.model, **widths), dataclasses.replace(first.train, clipnorm=None, clipvalue=None)
    return dataclasses.replace(first, model=model, train=train)


def fit_family(configs: Sequence[Config], data: Data, keep_models: Sequence[bool]) -> list[Run]:
    """`fit` of each of `configs`, of one family, in one program; a member's seconds are its share of the whole.

    A member that fails or stops keeps what it had; its place in the program idles, and no other member sees it.
    """
    backend.use("jax")
    import keras

    keras.backend.clear_session()
    started, form = time.perf_counter(), data.form
    net = Stacked(configs, form)
    runs = [Run(parameters=count) for count in net.parameters]
    inputs, labels = data.train_inputs, targets(data)
    shuffles = [np.random.default_rng(config.seed) for config in configs]
    marks, active = [time.perf_counter()], set(range(len(configs)))
    for number in range(1, configs[0].train.epochs + 1):
        rows = np.stack([shuffled(one, len(labels), shuffle) for one, shuffle in zip(configs, shuffles, strict=True)])
        told, logits = net.run(inputs, labels, rows), net.predict(data.validation_inputs)
        better = np.zeros(len(configs), bool)
        for place in sorted(active):
            config, run, epoch = configs[place], runs[place], trained_epoch(told[place], form)
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


def _finish(net: Stacked, runs: Sequence[Run], data: Data, keep_models: Sequence[bool], started: float) -> None:
    """What each run that has not failed leaves of its kept weights: test logits, and its model where it is asked for."""
    if not any(run.best for run in runs):
        return
    for place, (run, logits) in enumerate(zip(runs, net.predict(data.test_inputs, kept=True), strict=True)):
        if run.best is None:
            continue
        run.test_logits = logits
        if wrong := unfit_test(logits, run.best_epoch):
            failed(run, wrong, started)
        elif keep_models[place]:
            run.model = model_bytes(net.kept_model(place))
