"""Separate studies: what is asked for depends on study and history alone, whatever was interrupted and however many work.

Trainings are made up, from a configuration's values alone, so that only the search is on trial; tests/test_separate_studies.py trains.
"""

import functools
import importlib.util
import multiprocessing
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import optuna
import pytest

import pipeline.config
from pipeline.config import Cell, Cluster, Config, Parameter, Search, Task, Train, with_overrides
from pipeline.search import stage
from pipeline.search.samplers import sampler
from pipeline.search.state import STARTUP, Job, Record, State, own_overrides, run_seed, settings
from pipeline.search.studies import Sequential
from pipeline.search.tables import write_runs
from pipeline.training import work
from pipeline.training.fit import Epoch, Run

EPOCHS, TRIALS = 9, 6  # Hyperband has three brackets then
CONFIG = Config(
    name="tiny",
    cells=["rnn", "gru"],
    task=Task(name="tiny", source="generated"),
    cell=Cell("rnn", "rnn"),
    train=Train(epochs=EPOCHS),
    search=Search(design="studies", trials=TRIALS, headline=TRIALS, studies=3),
    space={
        "model": {"units": Parameter(low=8, high=48, step=8), "masking": Parameter(choices=[True, False])},
        "train": {
            "learning_rate": Parameter(low=1e-4, high=1e-2, log=True),
            "clipnorm": Parameter(choices=[None, 1.0]),
        },
    },
)


def searching(*overrides: str, arm: str = "rnn") -> Config:
    """CONFIG with other keys of `search`; the headline follows the trials."""
    given = dict(override.split("=") for override in overrides)
    given["headline"] = given.get("trials", str(TRIALS))
    config = with_overrides(CONFIG, [f"search.{key}={value}" for key, value in given.items()])
    return replace(config, cell=Cell(arm, arm))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The space is checked with every change of a configuration, which costs more than these trials do."""
    monkeypatch.setattr(pipeline.config, "check_parameter", lambda *_: None)


def curve(config: Config) -> list[Epoch]:
    """Learning that ends the higher the nearer the learning rate is to 1e-3; 1e-4 and 1e-2 stay near 0.5."""
    top = 0.9 - 0.2 * abs(np.log10(config.train.learning_rate) + 3) ** 2 - 0.001 * config.model.units
    scores = (float(0.5 + (top - 0.5) * epoch / EPOCHS) for epoch in range(1, EPOCHS + 1))
    return [Epoch(0.5, 0.5, 1 - score, score) for score in scores]


def made_up(config: Config, on_epoch: Any = None) -> Run:
    """A run as `fit` would leave it."""
    run = Run(parameters=1, validation_logits=np.zeros(4, np.float16), test_logits=np.zeros(4, np.float16))
    for number, epoch in enumerate(curve(config), 1):
        run.epochs.append(epoch)
        run.best_epoch = max(range(1, number + 1), key=lambda i: run.epochs[i - 1].validation)
        if on_epoch and on_epoch(number, epoch) and number < EPOCHS:
            return replace(run, state="pruned")
    return run


def carried_out(study: Sequential, job: Job) -> Record:
    asked = study.config.search.pruner != "none"
    run = made_up(job.config, (lambda number, epoch: study.prune(number, epoch.validation)) if asked else None)
    return Record(job, run, 1, "w", 0.0)


def finished(config: Config, folder: Path, number: int = 0) -> list[Record]:
    """All records of a study that nothing disturbs, or what is left of one that something did."""
    folder.mkdir(exist_ok=True)
    state = State(folder)
    study = Sequential(config, state, number)
    records, job = list(study.records), study.ready
    while job:
        records.append(carried_out(study, job))
        state.save(records[-1])
        job = study.tell(records[-1])
    return records


def stored(folder: Path, number: int = 0, arm: str = "rnn") -> list[dict[str, Any]]:
    """The store's trials, all that a sampler or a pruner could look at."""
    study = optuna.load_study(study_name=f"tiny-{arm}-{number}", storage=f"sqlite:///{folder / 'study.db'}")
    names = ("number", "state", "params", "values", "intermediate_values", "user_attrs", "system_attrs")
    return [{name: getattr(trial, name) for name in names} for trial in study.get_trials()]


def rates(records: list[Record]) -> list[float]:
    return [record.job.config.train.learning_rate for record in records]


NO_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the Gaussian process needs torch")


@pytest.mark.parametrize("name", ["random", "tpe", "cmaes", pytest.param("gp", marks=NO_TORCH)])
def test_each_sampler_asks_and_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # CMA-ES learns from whole generations, of seven here.
    size = TRIALS + 6 if name == "cmaes" else TRIALS
    config = searching(f"sampler={name}", f"trials={size}")
    records = finished(config, tmp_path / "near")
    trials = stored(tmp_path / "near")
    assert [trial["user_attrs"]["trial"] for trial in trials] == list(range(size))
    assert {trial["state"].name for trial in trials} == {"COMPLETE"}
    assert [trial["values"] for trial in trials] == [[record.run.best.validation] for record in records if record.run.best]
    assert [trial["params"]["train.learning_rate"] for trial in trials] == rates(records)
    assert len(set(rates(records))) == size
    # What it asks for next follows what it was told, but for the random sampler and the first trials of the others.
    fast = functools.partial(Epoch, 0.5, 0.5, 0.5)
    monkeypatch.setitem(globals(), "curve", lambda config: [fast(config.train.learning_rate)] * EPOCHS)
    other = rates(finished(config, tmp_path / "fast"))
    assert other[:STARTUP] == rates(records)[:STARTUP]
    assert (other == rates(records)) == (name == "random")


def test_sampler_seeds_and_splits_are_the_studies_own_and_shared_by_the_arms(tmp_path: Path) -> None:
    first = {(arm, k): finished(searching(arm=arm), tmp_path / f"{arm}{k}", k) for arm in ("rnn", "gru") for k in (0, 1)}
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
        asked = [optuna.create_study(sampler=sampler(name, seed)).ask(spread).params["x"] for seed in (1, 1, 2)]
        assert asked[0] == asked[1] != asked[2]


def test_a_pool_keeps_its_seeds_and_overrides() -> None:
    pool = replace(CONFIG, search=Search(), split_seed=4)
    assert own_overrides(pool, 0, "trial", 3) == [f"seed={run_seed(0, 'rnn', 'trial', 3)}"]
    assert own_overrides(replace(CONFIG, split_seed=4), 2, "trial", 3)[0] == "split_seed=6"
    assert "search" not in settings(pool, "tune", "abc")


def test_the_sampler_and_the_pruner_start_states_of_their_own_and_the_budget_does_not() -> None:
    def of(*overrides: str) -> dict[str, Any]:
        return settings(searching(*overrides), "tune", "abc")

    assert of("trials=9", "studies=7", "replicates=1", "alpha=0.01", "looks=2") == of() == of("sampler=tpe")
    assert of("sampler=random") != of() != of("pruner=median")
    assert of("design=pool") != of()


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_each_pruner_ends_the_poor_and_spares_the_best(pruner: str, tmp_path: Path) -> None:
    records = finished(searching(f"pruner={pruner}", "sampler=random", "trials=12"), tmp_path)
    ended = [record for record in records if record.run.state == "pruned"]
    whole = [record for record in records if record.run.state == "complete"]
    assert ended
    assert whole
    assert len(ended) + len(whole) == 12
    names = {"pruned": "PRUNED", "complete": "COMPLETE"}
    trials = stored(tmp_path)
    assert [trial["state"].name for trial in trials] == [names[record.run.state] for record in records]
    assert [len(trial["intermediate_values"]) for trial in trials] == [len(record.run.epochs) for record in records]
    finals = [curve(record.job.config)[-1].validation for record in records]
    assert records[int(np.argmax(finals))].run.state == "complete"
    # Never a failure: it keeps its score, and stands in the tables with its logits.
    write_runs(tmp_path, "trials", ["trial"], CONFIG, records)
    place = records.index(ended[0])
    row = (tmp_path / "trials.csv").read_text().splitlines()[1 + place].split(",")
    assert row[3:5] == ["pruned", ""]
    assert float(row[9]) == pytest.approx(ended[0].run.epochs[-1].validation)
    assert np.array_equal(np.load(tmp_path / "test_logits.npy")[place], np.zeros(4))


class Killed(Exception):
    """The coordinator is gone."""


@dataclass
class Fatal:
    """Raises Killed in trial 4: when it is asked for, in its `epoch`, before its run is saved, or before it is told."""

    where: str
    epoch: int = 3

    def disturb(self, config: Config, folder: Path) -> None:
        state = State(folder)
        study = Sequential(config, state, 0)
        job = study.ready
        while job:
            if job.number == 4 and self.where == "asked":
                raise Killed
            if job.number == 4 and self.where == "running":
                for number, epoch in enumerate(curve(job.config)[: self.epoch], 1):
                    study.prune(number, epoch.validation)
                raise Killed
            record = carried_out(study, job)
            if job.number == 4 and self.where == "saved":
                state.save(record)
                raise Killed
            job = study.tell(record)
            if record.job.number == 4 and self.where == "told":
                raise Killed
            state.save(record)


@pytest.mark.parametrize(
    ("name", "pruner", "where"),
    [
        *(("tpe", "asha", where) for where in ("asked", "running", "saved", "told")),
        *(("cmaes", "hyperband", "running"), ("tpe", "median", "running"), ("tpe", "none", "saved")),
    ],
)
def test_a_resumed_study_equals_an_undisturbed_one(name: str, pruner: str, where: str, tmp_path: Path) -> None:
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
    # Taken up under its own number with its own parameters.
    assert [trial["params"] for trial in stored(tmp_path / "hit")[:5]] == [trial["params"] for trial in left[:5]]


def test_what_is_whole_is_left_alone_and_a_larger_study_adds_only_what_is_new(tmp_path: Path) -> None:
    config = searching("pruner=asha")
    finished(config, tmp_path)
    before = stored(tmp_path)
    larger = Sequential(searching("pruner=asha", "trials=8"), State(tmp_path), 0)
    assert len(larger.records) == TRIALS
    assert larger.ready is not None
    assert larger.ready.number == TRIALS
    assert stored(tmp_path)[:TRIALS] == before
    longer = finished(searching("pruner=asha", "trials=8"), tmp_path)
    at_once = finished(searching("pruner=asha", "trials=8"), tmp_path / "at_once")
    assert [record.job.overrides for record in longer] == [record.job.overrides for record in at_once]
    assert Sequential(config, State(tmp_path), 1).records == []
    assert Sequential(config, State(tmp_path), 0).ready is None


def test_a_run_done_again_is_told_what_the_first_was(tmp_path: Path) -> None:
    study = Sequential(searching("pruner=asha"), State(tmp_path), 0)
    first = [study.prune(epoch, 0.5 + epoch / 100) for epoch in (1, 2, 3)]
    before = stored(tmp_path)
    assert [study.prune(epoch, 0.5 + epoch / 100) for epoch in (1, 2, 3)] == first
    assert stored(tmp_path) == before


class Quick(Config):
    """A configuration whose training is made up on the worker too, in a time that no study could tell beforehand."""

    def __reduce__(self) -> Any:
        return _received, (vars(self),)


def _received(values: dict[str, Any]) -> Quick:
    def train(config: Config, keep_model: bool = False, on_epoch: Any = None, folder: Path | None = None) -> Run:
        def told(number: int, epoch: Epoch) -> Any:
            time.sleep(np.random.default_rng().uniform(0, 0.02))
            # One worker dies in the middle of a run.
            if config.seed == int(os.environ.get("FATAL", "0")) and number == 2 and not Path("died").exists():
                Path("died").touch()
                os._exit(9)
            return on_epoch(number, epoch) if on_epoch else None

        return made_up(config, told)

    if multiprocessing.parent_process() is not None:
        work.train = train  # type: ignore[assignment]
    return Quick(**values)


@dataclass
class QuickStudy:
    """Both of an arm's studies on real workers; `records` as the stage has them, by study and trial."""

    config: Config
    folder: Path
    heard: list[tuple[int, int]] = field(default_factory=list)

    def finish(self) -> list[Record]:
        self.folder.mkdir(exist_ok=True)
        state = State(self.folder)

        class Several(Sequential):
            def _made(self, trial: int) -> Job:
                job = super()._made(trial)
                return replace(job, config=Quick(**vars(job.config)))

        studies = [Several(self.config, state, number) for number in self.config.search.numbers]
        listen = [lambda record: self.heard.append((record.job.study, record.job.number))]
        return stage.complete_studies(self.config, studies, state, listen)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    any_port = functools.partial(distributed.LocalCluster, dashboard_address="127.0.0.1:0")
    monkeypatch.setattr(distributed, "LocalCluster", any_port)
    return tmp_path


def test_workers_and_their_deaths_change_nothing_and_answers_reach_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = searching("pruner=asha", "trials=5")
    two = QuickStudy(replace(config, cluster=Cluster(workers=2)), here / "two")
    calm = two.finish()
    assert {record.run.state for record in calm} == {"complete", "pruned"}
    assert len({record.worker for record in calm}) == 2
    # Side by side, and one after another within a study.
    assert len({study for study, _ in two.heard[:3]}) > 1
    for study in range(3):
        assert [trial for of, trial in two.heard if of == study] == list(range(5))

    victim = next(record for record in calm if record.job.study == 1 and len(record.run.epochs) == EPOCHS)
    monkeypatch.setenv("FATAL", str(victim.job.config.seed))
    hit = QuickStudy(replace(config, cluster=Cluster(workers=1)), here / "one").finish()
    assert [record.attempt for record in hit if record.job.key == victim.job.key] == [2]
    assert [(record.job.key, record.run.state, record.run.epochs) for record in hit] == [
        (record.job.key, record.run.state, record.run.epochs) for record in calm
    ]
    for number in range(3):
        assert stored(here / "one", number) == stored(here / "two", number)
    for folder in ("one", "two"):
        write_runs(here / folder, "trials", ["trial"], config, hit if folder == "one" else calm)
    assert (here / "one/trials.csv").read_bytes() == (here / "two/trials.csv").read_bytes()
