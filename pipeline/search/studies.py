"""Separate studies: each is one Optuna study whose trials follow one another, so that neither workers nor time decide a number."""

from collections.abc import Sequence

import optuna
from optuna.trial import Trial, TrialState

from pipeline.config import Config, with_overrides
from pipeline.search.samplers import pruner, sampler
from pipeline.search.space import distributions, overrides
from pipeline.search.state import Job, Record, State, hashed, own_overrides
from pipeline.search.storage import storage, study_name


class Sequential:
    """Study `number` of an arm: a trial is asked for when the one before it has been told.

    The finished runs in `state` are the truth and Optuna's study follows from them: asked with the same seeds and told the same
    epochs it comes out the same. One that a coordinator left in the middle of a trial is made anew that way, as reports and
    pruner's notes of the unfinished trial would otherwise count twice. `replay` are the overrides that every trial has.
    """

    def __init__(self, config: Config, state: State, number: int, replay: Sequence[str] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.state, self.number, self.replay = config, state, number, replay
        self.spread = distributions(config)
        self.name = study_name(config, state, number)
        self.storage = storage(config, state)
        self.running: Trial | None = None
        self.answers: dict[int, bool] = {}
        self.jobs: dict[int, Job] = {}
        self.study = self._open()
        if not self._whole():
            optuna.delete_study(study_name=self.name, storage=self.storage)
            self.study, self.jobs = self._open(), {}
        self.records: list[Record] = []
        self.ready = self._resume()

    def _open(self) -> optuna.Study:
        return optuna.create_study(
            study_name=self.name,
            storage=self.storage,
            direction="maximize",
            pruner=pruner(self.config.search.pruner, self.config.train.epochs),
            load_if_exists=True,
        )

    def _whole(self) -> bool:
        """Whether every trial is finished and its run at hand."""
        trials = self.study.get_trials(deepcopy=False)
        return all(trial.state.is_finished() and self.state.path(self._job(trial.number)).exists() for trial in trials)

    def _resume(self) -> Job | None:
        """Take up the runs that are there, into `records`, until the first trial that is not: the job to begin with."""
        job = self.job(0)
        while job and (record := self.state.read(job)):
            self.records.append(record)
            job = self.tell(record)
        return job

    def job(self, trial: int) -> Job | None:
        """Trial `trial`, asked for now when it is a new one; None after the last."""
        if trial >= self.config.search.trials:
            return None
        if trial == len(self.study.get_trials(deepcopy=False)):
            self._ask(trial)
        return self._job(trial)

    def _ask(self, trial: int) -> None:
        """A sampler of its own for each trial, seeded by study and trial alone: a resumed study asks as an undisturbed one.

        The arm is no part of the seed, so that all arms begin with the same random configurations.
        """
        self.study.sampler = sampler(self.config.search.asked, hashed(self.config.space_seed, "sampler", self.number, trial))
        self.running, self.answers = self.study.ask(self.spread), {}
        self.running.set_user_attr("trial", trial)

    def _job(self, trial: int) -> Job:
        if trial not in self.jobs:
            self.jobs[trial] = self._made(trial)
        return self.jobs[trial]

    def _made(self, trial: int) -> Job:
        params = self.study.get_trials(deepcopy=False)[trial].params
        row = overrides({key: params[key] for key in self.spread})
        own = own_overrides(self.config, self.number, "trial", trial)
        trained = with_overrides(self.config, [*row, *own])
        return Job("trial", trial, trained, [*self.replay, *row, *own], study=self.number)

    def prune(self, epoch: int, validation: float) -> bool:
        """Report an epoch of the running trial: whether it ends here. A run done again is given the answers of the first."""
        assert self.running is not None
        if epoch not in self.answers:
            self.running.report(validation, epoch)
            self.answers[epoch] = self.running.should_prune()
        return self.answers[epoch]

    def tell(self, record: Record) -> Job | None:
        """Write a finished trial down, once: its epochs, its score, or why it failed. Gives the next job, None after the last."""
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
                self.study.tell(self.running, state=TrialState.PRUNED if run.state == "pruned" else TrialState.FAIL)
        return self.job(trial + 1)
