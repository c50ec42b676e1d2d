"""Repeated searches: trials depend on the search and its history, not on interruptions or workers.

The trainings are simulated from the values of a configuration. tests/test_repeated_searches.py
trains.
"""

import functools
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import optuna
import pytest

import pipeline.config.validation
from pipeline.config.compose import with_overrides
from pipeline.config.schema import Cell, Cluster, Config, Parameter, Search, Task, Train
from pipeline.search import run_stage
from pipeline.search.optuna import RepeatedSearch, sampler
from pipeline.search.run_store import (
    STARTUP,
    Job,
    Record,
    State,
    run_seed,
    seed_overrides,
    settings,
)
from pipeline.search.tables import write_runs
from pipeline.training import worker
from pipeline.training.fit import Epoch, Run

EPOCHS, TRIALS = 9, 6  # Hyperband has three brackets then
CONFIG = Config(
    name="tiny",
    cells=["rnn", "gru"],
    task=Task(name="tiny", source="synthetic"),
    cell=Cell("rnn", "rnn"),
    train=Train(epochs=EPOCHS),
    search=Search(design="repeated", trials=TRIALS, budget=TRIALS, repeats=3),
    space={
        "model": {
            "units": Parameter(low=8, high=48, step=8),
            "masking": Parameter(choices=[True, False]),
        },
        "train": {
            "learning_rate": Parameter(low=1e-4, high=1e-2, log=True),
            "clipnorm": Parameter(choices=[None, 1.0]),
        },
    },
)


def searching(*overrides: str, arm: str = "rnn") -> Config:
    """CONFIG with other keys of `search`; the budget follows the trials."""
    values = dict(override.split("=") for override in overrides)
    values["budget"] = values.get("trials", str(TRIALS))
    config = with_overrides(CONFIG, [f"search.{key}={value}" for key, value in values.items()])
    return replace(config, cell=Cell(arm, arm))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the check of the space, which takes longer than these trials."""
    monkeypatch.setattr(pipeline.config.validation, "check_parameter", lambda *_: None)


def curve(config: Config) -> list[Epoch]:
    """Epochs whose scores are highest at a learning rate of 1e-3, and near 0.5 at 1e-4 and 1e-2."""
    top = (
        0.9 - 0.2 * abs(np.log10(config.train.learning_rate) + 3) ** 2 - 0.001 * config.model.units
    )
    scores = (float(0.5 + (top - 0.5) * epoch / EPOCHS) for epoch in range(1, EPOCHS + 1))
    return [Epoch(0.5, 0.5, 1 - score, score) for score in scores]


def simulated(config: Config, on_epoch: Any = None) -> Run:
    """A run as `fit` returns it."""
    run = Run(
        parameters=1, validation_logits=np.zeros(4, np.float16), test_logits=np.zeros(4, np.float16)
    )
    for number, epoch in enumerate(curve(config), 1):
        run.epochs.append(epoch)
        run.best_epoch = max(range(1, number + 1), key=lambda i: run.epochs[i - 1].validation)
        if on_epoch and on_epoch(number, epoch) and number < EPOCHS:
            return replace(run, state="pruned")
    return run


def trained(search: RepeatedSearch, job: Job) -> Record:
    def report(number: int, epoch: Epoch) -> bool:
        return search.prune(number, epoch.validation)

    run = simulated(job.config, None if search.config.search.pruner == "none" else report)
    return Record(job, run, 1, "w", 0.0)


def finished(config: Config, folder: Path, number: int = 0) -> list[Record]:
    """All records of a search, of which some may be finished in `folder`."""
    folder.mkdir(exist_ok=True)
    state = State(folder)
    search = RepeatedSearch(config, state, number)
    records, job = list(search.records), search.ready
    while job:
        records.append(trained(search, job))
        state.save(records[-1])
        job = search.tell(records[-1])
    return records


def stored(folder: Path, number: int = 0, arm: str = "rnn") -> list[dict[str, Any]]:
    """The stored trials, with everything that a sampler or a pruner uses."""
    study = optuna.load_study(
        study_name=f"tiny-{arm}-{number}", storage=f"sqlite:///{folder / 'study.db'}"
    )
    names = ("number", "state", "params", "values", "intermediate_values")
    names += ("user_attrs", "system_attrs")
    return [{name: getattr(trial, name) for name in names} for trial in study.get_trials()]


def rates(records: list[Record]) -> list[float]:
    return [record.job.config.train.learning_rate for record in records]


NO_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the Gaussian process needs torch"
)


@pytest.mark.parametrize("name", ["random", "tpe", "cmaes", pytest.param("gp", marks=NO_TORCH)])
def test_each_sampler_uses_the_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CMA-ES learns from complete generations, of seven trials in this space.
    size = TRIALS + 6 if name == "cmaes" else TRIALS
    config = searching(f"sampler={name}", f"trials={size}")
    records = finished(config, tmp_path / "near")
    trials = stored(tmp_path / "near")
    assert [trial["user_attrs"]["trial"] for trial in trials] == list(range(size))
    assert {trial["state"].name for trial in trials} == {"COMPLETE"}
    assert [trial["values"] for trial in trials] == [
        [record.run.best.validation] for record in records if record.run.best
    ]
    assert [trial["params"]["train.learning_rate"] for trial in trials] == rates(records)
    assert len(set(rates(records))) == size
    # The next trials depend on the results, except with the random sampler and at the start.
    fast = functools.partial(Epoch, 0.5, 0.5, 0.5)
    monkeypatch.setitem(
        globals(), "curve", lambda config: [fast(config.train.learning_rate)] * EPOCHS
    )
    other = rates(finished(config, tmp_path / "fast"))
    assert other[:STARTUP] == rates(records)[:STARTUP]
    assert (other == rates(records)) == (name == "random")


def test_sampler_seeds_and_splits_differ_by_search_and_not_by_arm(
    tmp_path: Path,
) -> None:
    first = {
        (arm, k): finished(searching(arm=arm), tmp_path / f"{arm}{k}", k)
        for arm in ("rnn", "gru")
        for k in (0, 1)
    }
    for k in (0, 1):
        rnn, gru = first["rnn", k], first["gru", k]
        assert rates(rnn)[:STARTUP] == rates(gru)[:STARTUP]
        assert {record.job.config.split_seed for record in rnn + gru} == {k}
        assert all(f"split_seed={k}" in record.job.overrides for record in rnn)
    assert not set(rates(first["rnn", 0])) & set(rates(first["rnn", 1]))
    seeds = [record.job.config.seed for records in first.values() for record in records]
    assert len(set(seeds)) == len(seeds)
    keys = [record.job.key for records in (first["rnn", 0], first["rnn", 1]) for record in records]
    assert keys[0].startswith("trial-s0-00000-")
    assert keys[TRIALS].startswith("trial-s1-00000-")


def test_the_seed_of_a_sampler_is_used() -> None:
    spread = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for name in ("random", "tpe", "cmaes"):
        asked = [
            optuna.create_study(sampler=sampler(name, seed)).ask(spread).params["x"]
            for seed in (1, 1, 2)
        ]
        assert asked[0] == asked[1] != asked[2]


def test_a_shared_search_has_its_own_seeds_and_overrides() -> None:
    shared = replace(CONFIG, search=Search(), split_seed=4)
    assert seed_overrides(shared, 0, "trial", 3) == [f"seed={run_seed(0, 'rnn', 'trial', 3)}"]
    assert seed_overrides(replace(CONFIG, split_seed=4), 2, "trial", 3)[0] == "split_seed=6"
    assert "search" not in settings(shared, "tune", "abc")


def test_the_state_depends_on_sampler_and_pruner_and_not_on_the_budget() -> None:
    def of(*overrides: str) -> dict[str, Any]:
        return settings(searching(*overrides), "tune", "abc")

    assert (
        of("trials=9", "repeats=7", "replicates=1", "alpha=0.01", "looks=2")
        == of()
        == of("sampler=tpe")
    )
    assert of("sampler=random") != of() != of("pruner=median")
    assert of("design=shared") != of()


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_each_pruner_ends_poor_trials_and_not_the_best(pruner: str, tmp_path: Path) -> None:
    records = finished(searching(f"pruner={pruner}", "sampler=random", "trials=12"), tmp_path)
    ended = [record for record in records if record.run.state == "pruned"]
    whole = [record for record in records if record.run.state == "complete"]
    assert ended
    assert whole
    assert len(ended) + len(whole) == 12
    names = {"pruned": "PRUNED", "complete": "COMPLETE"}
    trials = stored(tmp_path)
    assert [trial["state"].name for trial in trials] == [
        names[record.run.state] for record in records
    ]
    assert [len(trial["intermediate_values"]) for trial in trials] == [
        len(record.run.epochs) for record in records
    ]
    finals = [curve(record.job.config)[-1].validation for record in records]
    assert records[int(np.argmax(finals))].run.state == "complete"
    # A pruned trial is no failure: the tables have its score and its logits.
    write_runs(tmp_path, "trials", ["trial"], CONFIG, records)
    place = records.index(ended[0])
    row = (tmp_path / "trials.csv").read_text().splitlines()[1 + place].split(",")
    assert row[3:5] == ["pruned", ""]
    assert float(row[9]) == pytest.approx(ended[0].run.epochs[-1].validation)
    assert np.array_equal(np.load(tmp_path / "test_logits.npy")[place], np.zeros(4))


class Killed(Exception):
    """The coordinator was killed."""


@dataclass
class Fatal:
    """Raises Killed in trial 4: at its start, in its `epoch`, after its run is saved, or before."""

    where: str
    epoch: int = 3

    def disturb(self, config: Config, folder: Path) -> None:
        state = State(folder)
        search = RepeatedSearch(config, state, 0)
        job = search.ready
        while job:
            if job.number == 4 and self.where == "asked":
                raise Killed
            if job.number == 4 and self.where == "running":
                for number, epoch in enumerate(curve(job.config)[: self.epoch], 1):
                    search.prune(number, epoch.validation)
                raise Killed
            record = trained(search, job)
            if job.number == 4 and self.where == "saved":
                state.save(record)
                raise Killed
            job = search.tell(record)
            if record.job.number == 4 and self.where == "told":
                raise Killed
            state.save(record)


@pytest.mark.parametrize(
    ("name", "pruner", "where"),
    [
        *(("tpe", "asha", where) for where in ("asked", "running", "saved", "told")),
        *(
            ("cmaes", "hyperband", "running"),
            ("tpe", "median", "running"),
            ("tpe", "none", "saved"),
        ),
    ],
)
def test_a_resumed_search_equals_an_undisturbed_one(
    name: str, pruner: str, where: str, tmp_path: Path
) -> None:
    config = searching(f"sampler={name}", f"pruner={pruner}")
    calm = finished(config, tmp_path / "calm")
    (tmp_path / "hit").mkdir()
    with pytest.raises(Killed):
        Fatal(where).disturb(config, tmp_path / "hit")
    left = stored(tmp_path / "hit")
    resumed = finished(config, tmp_path / "hit")
    assert stored(tmp_path / "hit") == stored(tmp_path / "calm")
    assert [record.job for record in resumed] == [record.job for record in calm]
    assert [record.run.epochs for record in resumed] == [record.run.epochs for record in calm]
    # The interrupted trial has the same number and parameters.
    assert [trial["params"] for trial in stored(tmp_path / "hit")[:5]] == [
        trial["params"] for trial in left[:5]
    ]


def test_a_search_asks_for_the_arms_own_keys(tmp_path: Path) -> None:
    space = {"kernel": Parameter(choices=[3, 5, 7]), "decay": Parameter(low=0.1, high=0.9)}
    config = replace(searching(arm="conv"), cell=Cell("conv", "conv", space=space))
    records = finished(config, tmp_path)
    params = [trial["params"] for trial in stored(tmp_path, arm="conv")]
    for record, values in zip(records, params, strict=True):
        options = record.job.config.cell.options
        assert options == {name: values[f"cell.options.{name}"] for name in ("decay", "kernel")}
        assert f"cell.options.kernel={options['kernel']}" in record.job.overrides
        assert set(values) > {"model.units", "cell.options.kernel"}
    assert len({values["cell.options.kernel"] for values in params}) > 1
    # A resumed search has the same trials.
    resumed = RepeatedSearch(config, State(tmp_path), 0)
    assert resumed.ready is None
    assert [record.job for record in resumed.records] == [record.job for record in records]


def test_a_larger_search_keeps_the_finished_trials(
    tmp_path: Path,
) -> None:
    config = searching("pruner=asha")
    finished(config, tmp_path)
    before = stored(tmp_path)
    larger = RepeatedSearch(searching("pruner=asha", "trials=8"), State(tmp_path), 0)
    assert len(larger.records) == TRIALS
    assert larger.ready is not None
    assert larger.ready.number == TRIALS
    assert stored(tmp_path)[:TRIALS] == before
    longer = finished(searching("pruner=asha", "trials=8"), tmp_path)
    at_once = finished(searching("pruner=asha", "trials=8"), tmp_path / "at_once")
    assert [record.job.overrides for record in longer] == [
        record.job.overrides for record in at_once
    ]
    assert RepeatedSearch(config, State(tmp_path), 1).records == []
    assert RepeatedSearch(config, State(tmp_path), 0).ready is None


def test_a_run_that_is_done_again_gets_the_same_answers(tmp_path: Path) -> None:
    search = RepeatedSearch(searching("pruner=asha"), State(tmp_path), 0)
    first = [search.prune(epoch, 0.5 + epoch / 100) for epoch in (1, 2, 3)]
    before = stored(tmp_path)
    assert [search.prune(epoch, 0.5 + epoch / 100) for epoch in (1, 2, 3)] == first
    assert stored(tmp_path) == before


class Quick(Config):
    """A configuration whose training is simulated on the worker, with a random duration."""

    def __reduce__(self) -> Any:
        return _received, (vars(self),)


def _received(values: dict[str, Any]) -> Quick:
    def train(
        config: Config, keep_model: bool = False, on_epoch: Any = None, folder: Path | None = None
    ) -> Run:
        def report(number: int, epoch: Epoch) -> Any:
            time.sleep(np.random.default_rng().uniform(0, 0.02))
            # One worker dies in the middle of a run.
            if (
                config.seed == int(os.environ.get("FATAL", "0"))
                and number == 2
                and not Path("died").exists()
            ):
                Path("died").touch()
                os._exit(9)
            return on_epoch(number, epoch) if on_epoch else None

        return simulated(config, report)

    if multiprocessing.parent_process() is not None:
        worker.train = train  # type: ignore[assignment]
    return Quick(**values)


class Silent:
    """A display that shows nothing."""

    def begin(self, total: int, finished: Sequence[Record]) -> None: ...

    def at_work(self, workers: int, jobs: Sequence[Job], pages: str | None) -> None: ...

    def finished(self, record: Record) -> None: ...


@dataclass
class QuickSearches:
    """An arm's repeated searches on real workers; `finished` has (search, trial) in order."""

    config: Config
    folder: Path
    finished: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> list[Record]:
        self.folder.mkdir(exist_ok=True)
        state = State(self.folder)

        class Simulated(RepeatedSearch):
            def _new_job(self, trial: int) -> Job:
                job = super()._new_job(trial)
                return replace(job, config=Quick(**vars(job.config)))

        searches = [Simulated(self.config, state, number) for number in self.config.search.numbers]
        listen = [lambda record: self.finished.append((record.job.repeat, record.job.number))]
        return run_stage.run_repeated_searches(self.config, searches, state, listen, Silent())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    any_port = functools.partial(distributed.LocalCluster, dashboard_address="127.0.0.1:0")
    monkeypatch.setattr(distributed, "LocalCluster", any_port)
    return tmp_path


def test_workers_and_their_deaths_do_not_change_the_searches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = searching("pruner=asha", "trials=5")
    two = QuickSearches(replace(config, cluster=Cluster(workers=2)), folder / "two")
    calm = two.run()
    assert {record.run.state for record in calm} == {"complete", "pruned"}
    assert len({record.worker for record in calm}) == 2
    # Searches run in parallel, the trials of a search in sequence.
    assert len({search for search, _ in two.finished[:3]}) > 1
    for number in range(3):
        assert [trial for search, trial in two.finished if search == number] == list(range(5))

    victim = next(
        record for record in calm if record.job.repeat == 1 and len(record.run.epochs) == EPOCHS
    )
    monkeypatch.setenv("FATAL", str(victim.job.config.seed))
    hit = QuickSearches(replace(config, cluster=Cluster(workers=1)), folder / "one").run()
    assert [record.attempt for record in hit if record.job.key == victim.job.key] == [2]
    assert [(record.job.key, record.run.state, record.run.epochs) for record in hit] == [
        (record.job.key, record.run.state, record.run.epochs) for record in calm
    ]
    for number in range(3):
        assert stored(folder / "one", number) == stored(folder / "two", number)
    for name, records in (("one", hit), ("two", calm)):
        write_runs(folder / name, "trials", ["trial"], config, records)
    assert (folder / "one/trials.csv").read_bytes() == (folder / "two/trials.csv").read_bytes()
