"""The wall time that a study still needs, extrapolated from parts of a few trainings."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from ..config.compose import compose, with_overrides
from ..config.schema import Cluster, Config, Task
from ..data.arrays import Data, checked_meta
from ..data.registry import dataset, prepared
from ..data.spec import Shape, TaskSpec
from ..errors import FairsweepError
from ..models.build import check_model
from ..search.run_store import Job, State, place, search_settings, seed_overrides, settings
from ..search.space import configuration, overrides, own_configuration
from ..training.worker import load_data

# The last configurations represent a larger search: those that its growth adds. They are measured
# at these quantiles of the load, in this order.
MAX_CONFIGS, QUANTILES = 60, (0.5, 0.25, 0.75, 0.125, 0.875, 0.375, 0.625)
# Fixed cost of a step, in multiplications: predicts the trials of the committed study imdb best.
STEP_LOAD = 160_000
# A measured epoch takes about half a second, and predicts whole batches of either backend. The
# prediction of a row, which needs no gradient, costs a third of training on it.
PART_LOAD, PART_EPOCHS, PREDICT_ROWS, PREDICTION = 1e9, 4, 1000, 1 / 3


def load_rows(config: Config) -> Data:
    """The study's arrays; before they exist, random texts of their size if that is known.

    Raises FairsweepError if the size is unknown and the arrays take long to make.
    """
    source, task = dataset(config.task.source), config.task
    try:
        checked_meta(Path("data") / config.name / "arrays", task)
    except FairsweepError as error:
        if source.shape:
            return _random_texts(task, source.shape)
        if task.url is not None or source.slow:
            raise FairsweepError(
                f"The size of task {task.name} is unknown before its arrays exist. First run "
                f"`python -m pipeline.download study={config.name}`, then `python -m "
                f"pipeline.pad study={config.name}`."
            ) from error
    return load_data(config, prepared(config))


def _random_texts(task: Task, shape: Shape) -> Data:
    generator, arrays, validation = np.random.default_rng(0), list[Any](), shape.train // 5
    for rows in (round(task.train_fraction * (shape.train - validation)), validation, shape.test):
        ids = generator.integers(1, task.vocabulary, (rows, task.length), np.int32)
        ids[np.arange(task.length) >= generator.integers(1, 2 * shape.tokens, (rows, 1))] = 0
        arrays.append(ids[:, ::-1] if task.padding == "pre" else ids)
        arrays.append(np.arange(rows, dtype=np.uint8) % 2)
    return Data(TaskSpec(length=task.length), *arrays[:5], *("", False))  # type: ignore[call-arg]


class Runs(NamedTuple):
    """The unfinished runs of an arm and kind (`trial`, `tuned`, a recipe), like `configs`."""

    arm: str
    kind: str
    left: int
    configs: Sequence[Config]


def list_runs(config: Config, given: Sequence[str], data: Data) -> list[Runs]:
    """The unfinished runs of the study that the overrides `given` select."""
    search, shared = config.search, [key for key in given if not key.startswith("cell=")]
    seeds, runs = list(product(search.numbers, range(search.replicates))), list[Runs]()

    def left(total: int, folder: Path, kind: str) -> int:
        number = "s[0-9]*-?????" if search.design == "repeated" else "?????"
        return max(0, total - len(list(folder.glob(f"{kind}-{number}-????????.npz"))))

    for cell in config.cells:
        arm = compose([*shared, f"cell={cell}"])
        check_model(arm, data.spec)
        state = State(place(settings(arm, "replicate", data.digest)))
        if search.trials:
            # Random trials represent those that a sampler chooses, and the best configurations.
            rows = range(search.trials)[-MAX_CONFIGS:]
            values = (configuration(arm, row) | own_configuration(arm, row) for row in rows)
            configs = [with_overrides(arm, overrides(row)) for row in values]
            folder = place(search_settings(arm, data.digest))
            trials = left(len(search.numbers) * search.trials, folder, "trial")
            # A new trial may change the best configuration.
            tuned = len(seeds) if trials else left(len(seeds), state.folder, "tuned")
            runs += [Runs(cell, "trial", trials, configs), Runs(cell, "tuned", tuned, configs)]
        for name in config.recipes:
            recipe = replace(compose([*shared, f"recipe={name}"]), cell=arm.cell)
            check_model(recipe, data.spec)
            done = 0
            for repeat, number in seeds:
                seeded = with_overrides(recipe, seed_overrides(arm, repeat, name, number))
                done += state.path(Job(name, number, seeded, [], repeat=repeat)).exists()
            runs.append(Runs(cell, name, len(seeds) - done, [recipe]))
    return [group for group in runs if group.left]


def load(config: Config, data: Data) -> float:
    """Relative work per row: the seconds of two configurations of an arm have the same ratio."""
    model, spec, work = config.model, data.spec, 0.0
    width = model.embedding if spec.features is None else spec.features
    for _ in range(model.layers):
        work += STEP_LOAD / config.train.batch_size + (width + model.units) * model.units
        width = model.units
    return work * (config.task.length if spec.features is None else spec.length)


class Timing(NamedTuple):
    """Seconds of a configuration without its epochs, per row of an epoch, and since 1970."""

    arm: str
    load: float
    fixed: float
    row: float
    ready: float


def measure(config: Config) -> Timing:
    """Train a configuration on a part of its rows, in a worker."""
    # Programs that an earlier command compiled would make a run faster than it will be.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    from ..training import backend
    from ..training.fit import fit

    backend.use(config.train.backend)
    import keras  # noqa: F401

    data, ready, batch = load_rows(config), time.time(), config.train.batch_size
    rows = max(4, round(PART_LOAD / load(config, data) / batch)) * batch
    sizes = {"train_inputs": rows, "train_labels": rows}
    sizes |= dict.fromkeys(("validation_inputs", "validation_labels", "test_inputs"), PREDICT_ROWS)
    part = replace(data, **{name: getattr(data, name)[:size] for name, size in sizes.items()})
    # A tiny learning rate takes as long as any other, and no training diverges.
    train = replace(config.train, epochs=PART_EPOCHS, learning_rate=1e-6, patience=None)
    config = replace(config, train=replace(train, min_validation=None))
    marks = [time.perf_counter()]
    run = fit(config, part, on_epoch=lambda *_: marks.append(time.perf_counter()))
    if run.state == "failed":
        raise RuntimeError(run.reason)
    first, *epochs = np.diff(marks).tolist()
    epoch, arm = float(np.median(epochs)), config.cell.arm
    row = epoch / (len(part.train_inputs) + PREDICTION * len(part.validation_inputs))
    return Timing(arm, load(config, data), first - epoch, row, ready)


def order(runs: Sequence[Runs], data: Data) -> Iterator[Config]:
    """The configurations to measure, the most informative first. The arms take turns."""
    kinds, yielded = dict.fromkeys(group.kind for group in runs), list[Config]()
    for quantile, kind, group in product(QUANTILES, kinds, runs):
        configs = sorted(group.configs, key=lambda config: load(config, data))
        config = configs[int(quantile * len(configs))]
        if group.kind == kind and config not in yielded:
            yielded.append(config)
            yield config


class Probe(NamedTuple):
    """The timings, the seconds until workers train, and how many of them the study has."""

    timings: Sequence[Timing]
    start: float
    workers: int


def probe(runs: Sequence[Runs], data: Data, cluster: Cluster, until: float) -> Probe:
    """Measure a configuration per arm, then others until a time in seconds since 1970."""
    # Dask must be configured before its first import.
    from ..search.workers import open_workers

    size, local = min(cluster.workers, CPU_COUNT), cluster.kind == "local"
    began, timings, errors = time.time(), list[Timing](), dict[str, str]()
    with open_workers(replace(cluster if local else Cluster(), workers=size)) as pool:
        from distributed import as_completed

        submit, configs = pool.client.submit, order(runs, data)
        arms = {submit(measure, config, pure=False): config.cell.arm for config in configs}
        for future in as_completed(arms):
            if error := future.exception():
                errors[arms[future]] = f"{type(error).__name__}: {error}".splitlines()[0]
                continue
            timings.append(future.result())
            missing = set(arms.values()) - {timing.arm for timing in timings}
            if not missing and time.time() > until:
                break
    for arm in errors.keys() - {timing.arm for timing in timings}:
        raise FairsweepError(f"{arm} cannot be trained: {errors[arm]}")
    start = min(timing.ready for timing in timings) - began
    return Probe(timings, start, size if local else cluster.workers)


def extrapolate(
    runs: Sequence[Runs], data: Data, probed: Probe, share: float
) -> dict[str, NDArray[np.float64]]:
    """What each arm still takes, <float>[2, 3]: one row for `tune` and one for `replicate`.

    The columns are runs, expected seconds of wall time, and seconds if no run stops early. `share`
    is the mean share of its epochs that a run uses if it may stop early.
    """
    costs = {group.arm: np.zeros((2, 3)) for group in runs}
    epoch_rows = len(data.train_inputs) + PREDICTION * len(data.validation_inputs)
    for (arm, cost), stage in product(costs.items(), (0, 1)):
        groups = [run for run in runs if run.arm == arm and (run.kind != "trial") == stage]
        measured = [timing for timing in probed.timings if timing.arm == arm]
        fixed = np.median([timing.fixed for timing in measured])
        rate = sum(timing.row for timing in measured) / sum(timing.load for timing in measured)
        for run, config in [(group, config) for group in groups for config in group.configs]:
            epochs = np.array([1.0 if config.train.patience is None else share, 1.0])
            rows = config.train.epochs * epochs * epoch_rows + PREDICTION * len(data.test_inputs)
            seconds = fixed + rate * load(config, data) * rows
            cost[stage] += np.array([1, *seconds]) * run.left / len(run.configs)
        if groups:
            count, search = cost[stage, 0], groups[0].configs[0].search
            # The trials of one repeated search follow one another.
            serial = search.design == "repeated" and stage == 0
            lanes = min(probed.workers, count, search.repeats if serial else count)
            # While the last run ends, each of the other workers is idle for half a run on average.
            cost[stage, 1:] *= (1 + (lanes - 1) / 2 / count) / lanes
            # After a search, `replicate` starts the libraries again to register the best model.
            cost[stage, 1:] += probed.start * (2 if stage and search.trials else 1)
    return costs
