"""Models of a batch equal the same trainings alone: weights, batches, masks, results.

On JAX and without TensorFlow, so in another process, which also runs
tests/models/test_recurrence.py.

The comparison is one epoch of each model, in its batch and alone; parameters agree to 1e-4 of the
largest of their kind.
"""

import csv
import importlib.util
import os
import pkgutil
import subprocess
import sys
import threading
from dataclasses import fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults import kill_one_that_trains
from pipeline.config.compose import accelerator, compose, with_overrides
from pipeline.config.schema import Cell, Cluster, Config, Model, Task, Train
from pipeline.data import arrays, registry
from pipeline.data.arrays import Data
from pipeline.data.spec import PAD, TaskSpec
from pipeline.data.synthetic import generate
from pipeline.errors import FairsweepError
from pipeline.metrics import NO_LABEL
from pipeline.training.fit import Run
from pipeline.training.population import batch_key
from study_copy import ROOT, StudyCopy

HERE = "FAIRSWEEP_POPULATION" in os.environ
LENGTH, VOCABULARY, FEATURES = 9, 30, 3
CELLS = ("rnn", "gru", "lstm", "bi_rnn", "bi_gru", "bi_lstm")
HEADS = {
    "binary": TaskSpec(length=LENGTH),
    "classes": TaskSpec("classes", "accuracy", 3, features=FEATURES, length=LENGTH),
    "f1": TaskSpec("steps", "f1", 2, features=FEATURES, length=LENGTH),
    "nll": TaskSpec("steps", "nll", 2, features=FEATURES, length=LENGTH),
    "regression": TaskSpec("regression", "mae", 2, features=FEATURES, length=LENGTH, scale=3.0),
}
TOLERANCE = 1e-4

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="the extra `jax` is not installed"
)
in_jax = pytest.mark.skipif(not HERE, reason="runs in the process that the first test starts")
FILES = ("tests/test_population.py", "tests/models/test_recurrence.py")


def elsewhere(level: str) -> str:
    """What the tests of `level` say in a process of their own; they must pass."""
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-m", level, *FILES]
    absent = os.pathsep.join([str(ROOT / "tests" / "absent"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "FAIRSWEEP_POPULATION": "1", "PYTEST_ADDOPTS": "", "PYTHONPATH": absent}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # The reason of the tests that are skipped outside that process.
    assert "runs in" not in done.stdout, done.stdout[-8000:]
    return done.stdout


@needs_jax
@pytest.mark.skipif(HERE, reason="this is that other process")
def test_all_of_this_on_jax() -> None:
    assert "passed" in elsewhere("not long and not night")


@needs_jax
@pytest.mark.long
@pytest.mark.skipif(HERE, reason="this is that other process")
def test_all_of_the_long_ones_on_jax() -> None:
    assert "passed" in elsewhere("long")


@needs_jax
@pytest.mark.night
@pytest.mark.skipif(HERE, reason="this is that other process")
def test_all_of_the_night_on_jax() -> None:
    assert "passed" in elsewhere("night")


@pytest.fixture(autouse=True)
def on_jax(request: pytest.FixtureRequest) -> None:
    """Select JAX. Tests of the level night compile with all of XLA's optimizations; the others
    without most of them.

    That saves two thirds of the time of compilation.
    """
    if HERE:
        from pipeline.training import backend

        backend.use("jax")
        import jax

        jax.config.update(
            "jax_disable_most_optimizations", request.node.get_closest_marker("night") is None
        )


def config(cell: str = "gru", seed: int = 0, **settings: Any) -> Config:
    """A tiny training; `settings` are those of `model` and `train`."""
    names = {field.name for field in fields(Model)}
    model: dict[str, Any] = {
        "units": 4,
        "embedding": 4,
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
        train=Train(**{"backend": "jax", "engine": "population", **train}),
        seed=seed,
    )


@cache
def data(head: str, padded: bool = False, train: int = 80, validation: int = 20) -> Data:
    """Rows of any task; each third of texts begins with up to six empty tokens if `padded`, of
    numbers it ends so.
    """
    spec, generator = (
        replace(HEADS[head], padded=padded and head != "binary"),
        np.random.default_rng(0),
    )
    rows = train + validation + 10
    if spec.features is None:
        inputs = generator.integers(1, VOCABULARY, (rows, LENGTH)).astype(np.int32)
        truth = (inputs[:, -1] + inputs[:, -2]) / VOCABULARY - 1
    else:
        inputs = generator.random((rows, LENGTH, spec.features)).astype(np.float32)
        truth = inputs[:, :3].mean((1, 2)) - 0.5
    labels = {
        "binary": (truth > 0).astype(np.uint8),
        "classes": np.digitize(truth, [-0.1, 0.1]).astype(np.uint8),
        "steps": (inputs[..., : spec.outputs] > 0.6).astype(np.uint8),
        "regression": np.stack([truth, -truth], 1).astype(np.float32),
    }[spec.kind]
    for row in range(0, rows, 3) if padded else ():
        empty = 1 + row % 6
        if spec.features is None:
            inputs[row, :empty] = 0
        else:
            inputs[row, LENGTH - empty :] = PAD
        if spec.kind == "steps":
            labels[row, LENGTH - empty :] = NO_LABEL
    parts = (slice(train), slice(train, -10), slice(-10, None))
    learned, rated, test = ((inputs[part], labels[part]) for part in parts)
    return Data(spec, *learned, *rated, test[0], "digest", True)


# Each cell, each kind of head, and everything that may differ between models or layers.
CASES: list[tuple[str, str, bool, dict[str, Any]]] = [
    ("rnn", "binary", True, {"masking": True, "recurrent_dropout": 0.4, "optimizer": "rmsprop"}),
    ("gru", "classes", True, {"pooling": "max", "input_dropout": 0.3}),
    ("lstm", "f1", True, {"layers": 2, "layer_norm": True}),
    ("bi_rnn", "regression", False, {"optimizer": "sgd", "hidden": 4}),
    ("bi_gru", "nll", False, {"input_dropout": 0.3}),
    ("bi_lstm", "binary", True, {"masking": True, "pooling": "mean"}),
]
# (cell, head, padded) at the level long: each cell and each head at least once, mostly in
# combinations that CASES lacks.
THIN = {
    ("rnn", "classes", False),
    ("gru", "regression", True),
    ("lstm", "nll", True),
    ("lstm", "binary", False),
    ("bi_rnn", "nll", True),
    ("bi_gru", "binary", True),
    ("bi_lstm", "classes", True),
    ("bi_lstm", "regression", False),
}
# With each cell, padded and not: two layers and normalisation of them, masks of every kind, each
# optimizer but Adam.
SETTINGS: dict[str, dict[str, Any]] = {
    "binary": {"recurrent_dropout": 0.4, "input_dropout": 0.3, "hidden": 5},
    "classes": {"layers": 2, "layer_norm": True, "pooling": "mean"},
    "nll": {"layer_norm": True, "optimizer": "sgd"},
    "regression": {"input_dropout": 0.2, "optimizer": "rmsprop"},
}


def models_of(cell: str, settings: dict[str, Any]) -> list[Config]:
    """Two models of a batch that differ in all that may differ; the first is narrower."""
    other = {key: value * 0.5 for key, value in settings.items() if key.endswith("dropout")}
    narrow = {"units": 3, "embedding": 4, "dropout": 0.3, "learning_rate": 0.02, "clipnorm": 0.05}
    wide = {"units": 5, "embedding": 6, "dropout": 0.1, "learning_rate": 0.01, "clipvalue": 0.002}
    return [
        config(cell, 1, **{**settings, **narrow}),
        config(cell, 2, **{**settings, **wide, **other}),
    ]


def alone(one: Config, given: Data) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights and the other variables of a training alone after an epoch."""
    from pipeline.training.bucketing import Buckets
    from pipeline.training.fit import compiled, targets, train_epoch
    from pipeline.training.loops import Scanned

    net = Scanned(compiled(one, given.spec))
    buckets = Buckets.of(one, given.spec, given.train_inputs)
    train_epoch(
        net,
        one,
        given.spec,
        given.train_inputs,
        targets(given),
        buckets,
        np.random.default_rng(one.seed),
    )
    return [np.asarray(value) for value in net.trained], [np.asarray(value) for value in net.other]


def together(configs: list[Config], given: Data) -> Any:
    """The batch of models after an epoch."""
    from pipeline.training.fit import shuffled, targets
    from pipeline.training.population import Stacked

    assert len({batch_key(one) for one in configs}) == 1
    net = Stacked(configs, given.spec)
    rows = [
        shuffled(one, len(given.train_labels), np.random.default_rng(one.seed)) for one in configs
    ]
    net.run(given.train_inputs, targets(given), np.stack(rows))
    return net


def assert_equal_models(configs: list[Config], given: Data, checked: int) -> None:
    """The variables of the first `checked` models equal those of the trainings alone; padding is 0."""
    net = together(configs, given)
    model, (trained, other, *_) = net.model, net.state
    for place, one in enumerate(configs):
        own = [value[place] for value in trained]
        cut = net.padded.cut(own, one, model.trainable_variables)
        for value, small, variable in zip(own, cut, model.trainable_variables, strict=True):
            assert np.count_nonzero(value) == np.count_nonzero(small) > 0, (place, variable.path)
        if place >= checked:
            continue
        weights, rest = alone(one, given)
        for variable, found, expected in zip(model.trainable_variables, cut, weights, strict=True):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max(), (
                place,
                variable.path,
            )
        for value, expected in zip(other, rest, strict=True):
            # A generator that Keras makes and never asks has any seed.
            assert np.array_equal(value[place], expected) or value[place][1] == expected[1] == 0


@in_jax
@pytest.mark.parametrize(
    ("cell", "head", "padded", "settings"),
    [
        case
        if case[0] in ("rnn", "bi_gru", "bi_lstm")
        else pytest.param(*case, marks=pytest.mark.long)
        for case in CASES
    ],
    ids=lambda value: str(value),
)
def test_a_model_of_a_batch_equals_the_same_training_alone(
    cell: str, head: str, padded: bool, settings: dict[str, Any]
) -> None:
    assert_equal_models(models_of(cell, settings), data(head, padded), 2 if cell == "rnn" else 1)


@in_jax
@pytest.mark.parametrize(
    ("cell", "head", "padded"),
    [
        pytest.param(*case, marks=pytest.mark.long if case in THIN else pytest.mark.night)
        for case in product(CELLS, SETTINGS, (False, True))
    ],
)
def test_every_cell_with_every_head(cell: str, head: str, padded: bool) -> None:
    assert_equal_models(
        models_of(cell, {"masking": padded, **SETTINGS[head]}), data(head, padded), 1
    )


@in_jax
@pytest.mark.night
def test_64_models_score_like_64_trainings_alone() -> None:
    from pipeline.training.fit import fit
    from pipeline.training.population import fit_batch

    given = data("binary", train=300, validation=700)
    rates = np.exp(np.random.default_rng(0).uniform(np.log(2e-3), np.log(5e-2), 64))
    configs = [
        config(
            seed=seed,
            epochs=4,
            units=3 + seed % 3,
            dropout=0.1 + seed % 4 / 10,
            learning_rate=float(f"{rate:.3g}"),
        )
        for seed, rate in enumerate(rates)
    ]
    found, expected = fit_batch(configs, given, [False] * 64), [fit(one, given) for one in configs]
    ours, theirs = (
        np.array([run.epochs[-1].validation for run in runs]) for runs in (found, expected)
    )
    gaps = ours - theirs
    print(
        f"mean gap {gaps.mean():.6f}, {np.count_nonzero(gaps)} of 64 differ, sd of scores "
        f"{theirs.std():.4f}"
    )
    # A paired test finds no difference, and trainings differ enough that it would find one of a
    # fraction of a point.
    assert abs(gaps.mean()) <= 2 * gaps.std(ddof=1) / 8
    assert gaps.std(ddof=1) < 0.01 < theirs.std()


@in_jax
@pytest.mark.long
def test_dropout_in_a_models_width_equals_that_of_jax() -> None:
    """The rule of JAX that a narrower mask follows: a number's bits come from its place in the
    array.
    """
    import jax
    import keras

    from pipeline.models.padded import Axis, Padded
    from pipeline.training.fit import compiled

    padded = Padded(compiled(config(units=7), HEADS["binary"]))
    for shape, blocks, own in (((5, 7), 1, 7), ((5, 7), 1, 3), ((4, 6, 14), 2, 5)):
        with padded.at({"units": np.uint32(own), "dropout": np.float32(0.7)}):
            found = padded._kept(
                keras.random.SeedGenerator(5), shape, Axis("units", blocks), "dropout"
            )
        narrow = (*shape[:-1], blocks * own)
        expected = jax.random.bernoulli(keras.random.SeedGenerator(5).next(), 0.7, narrow)
        places = Axis("units", blocks).places(shape[-1], {"units": own})
        assert np.array_equal(np.asarray(found)[..., places], expected)


def stopping(seed: int, **settings: Any) -> Config:
    return config(
        "gru",
        seed,
        **{"epochs": 5, "patience": 1, "learning_rate": 0.1, "dropout": 0.2, **settings},
    )


def assert_same_run(found: Run, expected: Run) -> None:
    """Two runs but for rounding."""
    assert (found.state, found.reason, found.best_epoch) == (
        expected.state,
        expected.reason,
        expected.best_epoch,
    )
    assert found.parameters == expected.parameters
    told = [
        [(one.loss, one.accuracy, one.validation_loss, one.validation) for one in run.epochs]
        for run in (found, expected)
    ]
    np.testing.assert_allclose(*told, rtol=1e-3)
    for name in ("validation_logits", "test_logits"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(
            ours.astype(float), theirs.astype(float), atol=2e-2 * np.abs(theirs).max()
        )


@in_jax
@pytest.mark.parametrize(("name", "masked"), [("SimpleRNN", True), ("GRU", False), ("LSTM", True)])
def test_products_before_the_loop_change_nothing_but_rounding(name: str, masked: bool) -> None:
    """What an accelerator does, here on a processor."""
    import jax
    import keras

    from pipeline.models.recurrence import KINDS, unrolled

    layer, generator = getattr(keras.layers, name)(4, seed=1), np.random.default_rng(0)
    layer.build((5, 7, 3))
    kernel, recurrent, bias = (
        generator.normal(size=one.shape).astype(np.float32) for one in layer.trainable_variables
    )
    weights = (kernel, recurrent, *(bias if bias.ndim == 2 else (bias, None)))
    first = tuple(
        generator.normal(size=(5, 4)).astype(np.float32) for _ in range(2 if name == "LSTM" else 1)
    )
    inputs, mask = (
        generator.normal(size=(7, 5, 3)).astype(np.float32),
        generator.random((7, 5, 1)) > 0.3,
    )

    def asked(hoisted: bool) -> list[Any]:
        run = unrolled(KINDS[name](), masked, hoisted)

        def loss(weights: Any, inputs: Any) -> Any:
            every, last = run(inputs, first, weights, mask)
            return (every * np.cos(np.arange(every.size)).reshape(every.shape)).sum() + last[
                0
            ].sum(), every

        return jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1), has_aux=True))(weights, inputs))

    for plain, hoisted in zip(asked(False), asked(True), strict=True):
        np.testing.assert_allclose(hoisted, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


@in_jax
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras, as it saves
def test_one_that_stops_or_fails_touches_no_other(tmp_path: Path) -> None:
    import keras

    from pipeline.training.fit import fit
    from pipeline.training.population import fit_batch

    given = data("binary")
    first, last = stopping(1, units=3), stopping(4)
    whole = fit_batch([first, stopping(2), last], given, [True, False, False])
    broken = fit_batch([first, stopping(2, learning_rate=1e38), last], given, [True, False, False])
    assert (broken[1].state, broken[1].reason, broken[1].best_epoch) == (
        "failed",
        "loss is nan in epoch 1",
        None,
    )
    assert broken[1].epochs == []
    assert broken[1].test_logits is broken[1].model is None
    for place in (0, 2):
        assert whole[place].epochs == broken[place].epochs
        for name in ("validation_logits", "test_logits"):
            assert getattr(whole[place], name).tobytes() == getattr(broken[place], name).tobytes()
    # Alone it is the same run, and ends when it ends there.
    assert {len(run.epochs) for run in whole} > {len(whole[0].epochs)}
    assert_same_run(whole[0], fit(first, given))
    # Its own network, as wide as it was asked for.
    assert whole[0].model is not None
    path = tmp_path / "model.keras"
    path.write_bytes(whole[0].model)
    model = keras.models.load_model(path)
    assert model.get_layer("gru_0").units == 3
    made = model.predict(given.test_inputs, verbose=0)[:, 0]
    np.testing.assert_allclose(made, whole[0].test_logits.astype(float), rtol=2e-3, atol=1e-4)
    # Seconds are shared evenly.
    assert len({round(run.seconds, 2) for run in whole}) == 1


@in_jax
def test_a_batch_too_large_for_memory_is_trained_in_halves(tmp_path: Path) -> None:
    from pipeline.training import worker

    folder = tmp_path / "tiny" / "arrays"
    task = Task(name="synthetic", source="synthetic", length=10, vocabulary=160)
    archive = tmp_path / "reviews.tar.gz"
    generate(archive)
    arrays.write(
        registry.read(task, archive), replace(task, length=10), folder, tmp_path / "sealed"
    )
    small = [
        replace(config(seed=seed, batch_size=400), task=replace(task, train_fraction=0.5))
        for seed in range(2)
    ]
    # 40 GB for each weight of the embedding's 160 rows.
    enormous = with_overrides(small[0], ["model.embedding=10000000000"])
    done = worker.train_batch([*small, enormous], [False] * 3, folder)
    assert [run.state for run, _ in done] == ["complete", "complete", "failed"]
    assert "memory" in done[2][0].reason
    # Halves: the first model alone, then the second with the enormous one, which are then alone.
    assert [size for _, size in done] == [1, 1, 1]
    assert all(run.test_logits is not None for run, _ in done[:2])


@in_jax
def test_there_is_no_tensorflow_here() -> None:
    """All that runs in this process, every module of the package among it."""
    import pipeline

    assert importlib.util.find_spec("tensorflow") is None
    for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        importlib.import_module(module.name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]


def test_models_of_a_batch_share_the_settings_of_the_program() -> None:
    same = [
        {"units": 9},
        {"embedding": 9},
        {"learning_rate": 0.1},
        {"clipnorm": 1.0},
        {"clipvalue": 1.0},
    ]
    assert len({batch_key(config(**own)) for own in [{}, *same]}) == 1
    assert batch_key(config(seed=9)) == batch_key(config())
    assert batch_key(config(dropout=0.1)) == batch_key(config(dropout=0.2)) != batch_key(config())
    other = [
        {"masking": True},
        {"pooling": "max"},
        {"layers": 2},
        {"batch_size": 8},
        {"optimizer": "sgd"},
        {"hidden": 3},
    ]
    assert len({batch_key(config(**own)) for own in [{}, *other]}) == 1 + len(other)
    assert (
        batch_key(config("lstm"))
        != batch_key(config("gru"))
        != batch_key(with_overrides(config(), ["split_seed=1"]))
    )
    for alone in ({"buckets": 2}, {"clipnorm": 1.0, "clipvalue": 1.0}, {"engine": "single"}):
        assert batch_key(config(**alone)) is None


def test_the_engine_is_a_name_that_the_device_decides() -> None:
    assert not Path("/dev/nvidia0").exists() or accelerator()
    expected = "population" if accelerator() else "single"
    assert compose(["train.engine=auto", "train.backend=jax"]).train.engine == expected
    assert compose(["train.engine=auto", "train.backend=tensorflow"]).train.engine == "single"
    assert compose(["train.engine=population", "train.backend=jax"]).train.engine == "population"
    with pytest.raises(
        FairsweepError, match=r"train\.engine=population: batches of models need JAX"
    ):
        compose(["train.engine=population", "train.backend=tensorflow"])


@in_jax
@pytest.mark.night
def test_families_of_a_worker_that_dies_are_done_again_in_smaller_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.search.coordinator import run_jobs
    from pipeline.search.run_store import Job
    from pipeline.training.worker import train

    monkeypatch.chdir(tmp_path)
    task = Task(name="synthetic", source="synthetic", length=10, vocabulary=160)
    generate(tmp_path / "reviews.tar.gz")
    arrays.write(
        registry.read(task, tmp_path / "reviews.tar.gz"),
        task,
        tmp_path / "data/tiny/arrays",
        tmp_path / "sealed",
    )
    configs = [
        replace(config(seed=seed, units=3 + seed % 2, epochs=2), task=task) for seed in range(4)
    ]
    configs += [
        with_overrides(configs[0], ["train.optimizer=sgd"]),
        with_overrides(configs[1], ["train.learning_rate=1e38"]),
    ]
    jobs = [Job("trial", number, one, []) for number, one in enumerate(configs)]
    killed: list[int] = []
    over, handed = threading.Event(), []
    killer = threading.Thread(target=kill_one_that_trains, args=("jaxlib", killed, over))
    killer.start()
    try:
        started = run_jobs(jobs, Cluster(workers=1), start=lambda job: handed.append(job.number))
        records = {record.job.number: record for record in started}
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert sorted(records) == list(range(6))
    # All five of the batch at once, then its halves after the death of the worker.
    assert sorted(handed[:5]) == [0, 1, 2, 3, 5]
    shared = {
        number: record.worker.partition(" shared by ")[2] for number, record in records.items()
    }
    assert [shared[number] for number in (0, 1, 2, 3, 4, 5)] == ["2", "2", "2", "2", "", ""]
    assert [records[number].attempt for number in range(6)] == [2, 2, 2, 2, 1, 2]
    assert (records[5].run.state, records[5].run.reason) == ("failed", "loss is nan in epoch 1")
    for number in (0, 4):
        assert_same_run(records[number].run, train(configs[number]))


@needs_jax
@pytest.mark.night
@pytest.mark.skipif(HERE, reason="starts processes of its own")
def test_a_study_goes_to_a_gpu_and_comes_back_without_tensorflow(tmp_path: Path) -> None:
    """benchmarks/gpu_study.py on this machine: the jobs leave, the runs come in tars, the stages
    find all of them done.
    """
    copy = StudyCopy(tmp_path / "study", "smoke")
    copy.edit(
        "conf/study/smoke.yaml",
        "train: {floor: 0.55,",
        "train: {backend: jax, engine: population, floor: 0.55,",
    )
    copy.edit("conf/study/smoke.yaml", "recipes: [article]", "recipes: []")
    absent = os.pathsep.join([str(ROOT / "tests" / "absent"), str(copy.root)])
    script = str(ROOT / "benchmarks" / "gpu_study.py")

    def ran(*words: str) -> str:
        env = {**copy.env, "PYTHONPATH": absent}
        done = subprocess.run(
            [sys.executable, *words], cwd=copy.root, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    told = ran(script, "next", "smoke")
    for call, stage in enumerate(("tune", "replicate")):
        assert f"{stage} rnn: {8 if stage == 'tune' else 2} runs are missing" in told
        ran(script, "train", "build/gpu", f"back{call}")
        assert len(list((copy.root / f"back{call}").iterdir())) == 2
        told = ran(script, "next", "smoke", "--from", f"back{call}")
    assert "missing" not in told
    assert (copy.root / "results/smoke/report/report.md").exists()
    for stage, runs in (("tune", 8), ("replicate", 2)):
        with (copy.root / f"runs/smoke/{stage}/gru/timings.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == runs
        assert all(row["worker"].startswith("gpu shared by ") for row in rows)
    # The state is any stage's, of the libraries that trained; where they were others, nothing is
    # trained here.
    assert "8 of 8 were finished before" in ran("-m", "pipeline.tune", "study=smoke", "cell=gru")
    other = {**copy.env, "PYTHONPATH": absent, "FAIRSWEEP_TRAINED_ON": "jax==0.0.1"}
    command = [sys.executable, "-m", "pipeline.tune", "study=smoke", "cell=gru"]
    refused = subprocess.run(command, cwd=copy.root, env=other, capture_output=True, text=True)
    assert refused.returncode == 1
    assert (
        "8 runs are missing, and FAIRSWEEP_TRAINED_ON says that another machine trains them"
        in refused.stderr
    )
