"""The Optuna study of one arm: the drawn table enqueued, asked and told by the coordinator alone."""

from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.config import Config
from pipeline.search.space import distributions, values_of
from pipeline.search.state import Record, State
from pipeline.search.storage import storage, study_name


class Study:
    """Exactly one Optuna trial for each row of the table; the row is its user attribute `trial`, never its number."""

    def __init__(self, config: Config, state: State, table: list[list[str]]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=study_name(config, state),
            storage=storage(config, state),
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=config.space_seed),
            load_if_exists=True,
        )
        self.spread = distributions(config)
        self.values = [values_of(config, row) for row in table]
        trials = self.study.get_trials(deepcopy=False)
        self.known = {trial.user_attrs["trial"] for trial in trials}
        # A trial that was running when its coordinator died is taken up again under its own number.
        self.running = {trial.user_attrs["trial"]: trial.number for trial in trials if trial.state == TrialState.RUNNING}
        self.finished = {trial.user_attrs["trial"] for trial in trials if trial.state.is_finished()}

    def ask(self, row: int) -> None:
        """`row` is running now. Optuna reads its whole queue for each trial that it takes out, so the queue is kept empty."""
        if row not in self.known:
            self.study.enqueue_trial(self.values[row], user_attrs={"trial": row})
            self.known.add(row)
        while row not in self.running and row not in self.finished:
            trial: Any = self.study.ask(self.spread)
            self.running[trial.user_attrs["trial"]] = trial.number

    def tell(self, record: Record) -> None:
        """Write down a finished trial, once: its epochs, its score, or why it failed."""
        row, run = record.job.number, record.run
        if row in self.finished:
            return
        self.ask(row)
        known = self.study.get_trials(deepcopy=False)[self.running[row]]
        trial = optuna.trial.Trial(self.study, known._trial_id)
        for number, epoch in enumerate(run.epochs, 1):
            if number not in known.intermediate_values:
                trial.report(epoch.validation, number)
        if run.reason:
            trial.set_user_attr("reason", run.reason)
        if run.best is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, run.best.validation)
        self.finished.add(row)
