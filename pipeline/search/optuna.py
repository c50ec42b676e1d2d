"""The Optuna studies of an arm: their storage, samplers and pruners, and how trials enter them."""

import sqlite3
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState

from ..config.compose import with_overrides
from ..config.schema import Config
from ..errors import FairsweepError, masked
from ..files import reading
from .run_store import STARTUP, Job, Record, State, hashed, seed_overrides
from .space import distributions, overrides, values_of


def storage(config: Config, state: State) -> RDBStorage:
    """Return the storage of an arm's Optuna studies: `search.storage`, or a file in `state`.

    Raises FairsweepError if the database cannot be opened.
    """
    if config.search.storage:
        return _open_url(config.search.storage)
    path = state.folder / "study.db"

    def connect() -> sqlite3.Connection:
        # SQLite waits for the disk only at checkpoints: a report takes 4 ms instead of 48. A crash
        # of the machine may lose the last reports; they are restored from the finished runs.
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=normal")
        return connection

    remedy = f"Remove it; the finished runs restore it: rm {path}*"
    # A missing file is created.
    with reading(path, remedy) if path.exists() else nullcontext():
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


def _open_url(url: str) -> RDBStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = f"search.storage={masked(url)}"
    # The database may close a connection overnight; pre-ping then opens another one.
    engine: dict[str, Any] = {} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=engine)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise FairsweepError(
            f"{shown}: not a database that SQLAlchemy can open ({type(error).__name__}). Give a "
            "URL such as postgresql+psycopg://USER@HOST/DATABASE, and install its driver: "
            "pip install 'psycopg[binary]'"
        ) from error
    except RuntimeError as error:
        # Optuna raises this for tables of another schema, older or newer.
        raise FairsweepError(
            f"{shown}: its tables are of another Optuna than the {version('optuna')} that is "
            f"installed ({error}) Install the Optuna that created it (pip install -U optuna for a "
            "newer one), or give another database."
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise FairsweepError(
            f"{shown}: cannot be opened: {reason}. Start the database, or correct the URL."
        ) from error


def study_name(config: Config, state: State, repeat: int | None = None) -> str:
    """Return the name of an Optuna study, for a repeated search with its number.

    A shared database may hold many studies, so there the name includes the digest of the state.
    """
    parts = [config.name, config.cell.arm, *([] if repeat is None else [repeat])]
    return "-".join(map(str, [*parts, state.folder.name] if config.search.storage else parts))


def sampler(name: str, seed: int) -> BaseSampler:
    """Return a new sampler: `random`, `tpe`, `cmaes` or `gp`."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    options: dict[str, Any] = {"seed": seed, "n_startup_trials": STARTUP}
    if name == "cmaes":
        # It samples choices at random, and would warn of this in each trial.
        return optuna.samplers.CmaEsSampler(**options, warn_independent_sampling=False)
    return (
        optuna.samplers.TPESampler(**options)
        if name == "tpe"
        else optuna.samplers.GPSampler(**options)
    )


def pruner(name: str, epochs: int) -> BasePruner:
    """Return a pruner: `none`, `median`, `asha` or `hyperband`. Its steps are `epochs`, from 1."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1)
    rungs: dict[str, Any] = {"min_resource": 1, "reduction_factor": 3}
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(**rungs)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=epochs, **rungs)
    return optuna.pruners.NopPruner()


class SharedSearch:
    """One Optuna trial per row of the table; its user attribute `trial` is the row."""

    def __init__(self, config: Config, state: State, table: list[list[str]]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=study_name(config, state),
            storage=storage(config, state),
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=config.space_seed),
            load_if_exists=True,
        )
        self.space = distributions(config)
        self.values = [values_of(config, row) for row in table]
        self.known: set[int] = set()
        self.finished: set[int] = set()
        # A trial that ran when its coordinator died continues under its Optuna number.
        self.running: dict[int, int] = {}
        for trial in self.study.get_trials(deepcopy=False):
            row = trial.user_attrs["trial"]
            self.known.add(row)
            if trial.state == TrialState.RUNNING:
                self.running[row] = trial.number
            elif trial.state.is_finished():
                self.finished.add(row)

    def ask(self, row: int) -> None:
        """Mark `row` as running.

        Optuna reads its whole queue for each trial that it takes out, so the queue is kept short.
        """
        if row not in self.known:
            self.study.enqueue_trial(self.values[row], user_attrs={"trial": row})
            self.known.add(row)
        while row not in self.running and row not in self.finished:
            trial: Any = self.study.ask(self.space)
            self.running[trial.user_attrs["trial"]] = trial.number

    def tell(self, record: Record) -> None:
        """Store a finished trial once: its epochs, and its score or the reason of its failure."""
        row, run = record.job.number, record.run
        if row in self.finished:
            return
        self.ask(row)
        stored = self.study.get_trials(deepcopy=False)[self.running[row]]
        trial = Trial(self.study, stored._trial_id)
        for number, epoch in enumerate(run.epochs, 1):
            if number not in stored.intermediate_values:
                trial.report(epoch.validation, number)
        if run.reason:
            trial.set_user_attr("reason", run.reason)
        if run.best is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, run.best.validation)
        self.finished.add(row)


class RepeatedSearch:
    """One of an arm's repeated searches. A trial is asked for after the previous one has finished.

    The finished runs in `state` determine the Optuna study: with the same seeds and epochs it is
    the same. If a coordinator died within a trial, the Optuna study is deleted and restored from
    these runs, because reports of the unfinished trial would otherwise count twice.

    Args:
        repeat: the number of the search, from 0.
        replay: the overrides that every trial has.
    """

    def __init__(
        self, config: Config, state: State, repeat: int, replay: Sequence[str] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.state, self.repeat, self.replay = config, state, repeat, replay
        self.space = distributions(config)
        self.storage = storage(config, state)
        self.running: Trial | None = None
        self.answers: dict[int, bool] = {}
        self.jobs: dict[int, Job] = {}
        self.study = self._open()
        if not self._complete():
            optuna.delete_study(study_name=self.study.study_name, storage=self.storage)
            self.study, self.jobs = self._open(), {}
        self.records: list[Record] = []
        self.ready = self.job(0)
        while self.ready and (record := state.read(self.ready)):
            self.records.append(record)
            self.ready = self.tell(record)

    def _open(self) -> optuna.Study:
        return optuna.create_study(
            study_name=study_name(self.config, self.state, self.repeat),
            storage=self.storage,
            direction="maximize",
            pruner=pruner(self.config.search.pruner, self.config.train.epochs),
            load_if_exists=True,
        )

    def _complete(self) -> bool:
        """Return whether every trial is finished and has its run in `state`."""
        return all(
            trial.state.is_finished() and self.state.path(self._job(trial.number)).exists()
            for trial in self.study.get_trials(deepcopy=False)
        )

    def job(self, trial: int) -> Job | None:
        """Return the job of `trial`, after asking for a new trial; None after the last."""
        if trial >= self.config.search.trials:
            return None
        if trial == len(self.study.get_trials(deepcopy=False)):
            # One sampler per trial, seeded by search and trial: a resumed search asks for the same
            # values. The seed omits the arm, so all arms begin with the same random trials.
            seed = hashed(self.config.space_seed, "sampler", self.repeat, trial)
            self.study.sampler = sampler(self.config.search.sampler_name, seed)
            self.running, self.answers = self.study.ask(self.space), {}
            self.running.set_user_attr("trial", trial)
        return self._job(trial)

    def _job(self, trial: int) -> Job:
        if trial not in self.jobs:
            self.jobs[trial] = self._new_job(trial)
        return self.jobs[trial]

    def _new_job(self, trial: int) -> Job:
        params = self.study.get_trials(deepcopy=False)[trial].params
        row = overrides({key: params[key] for key in self.space})
        row += seed_overrides(self.config, self.repeat, "trial", trial)
        config = with_overrides(self.config, row)
        return Job("trial", trial, config, [*self.replay, *row], repeat=self.repeat)

    def prune(self, epoch: int, validation: float) -> bool:
        """Report an epoch of the running trial, and return whether the trial ends here.

        A run that is done again gets the same answers.
        """
        assert self.running is not None
        if epoch not in self.answers:
            self.running.report(validation, epoch)
            self.answers[epoch] = self.running.should_prune()
        return self.answers[epoch]

    def tell(self, record: Record) -> Job | None:
        """Store a finished trial once, and return the next job, None after the last."""
        run, trial = record.run, record.job.number
        if not self.study.get_trials(deepcopy=False)[trial].state.is_finished():
            assert self.running is not None
            for number, epoch in enumerate(run.epochs, 1):
                self.prune(number, epoch.validation)
            if run.reason:
                self.running.set_user_attr("reason", run.reason)
            if run.state == "complete" and run.best:
                self.study.tell(self.running, run.best.validation)
            else:
                state = TrialState.PRUNED if run.state == "pruned" else TrialState.FAIL
                self.study.tell(self.running, state=state)
        return self.job(trial + 1)
