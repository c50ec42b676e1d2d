"""The Optuna study of a shared search: one trial per row of the table, also after interruptions."""

from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.schema import Cell, Config, Parameter, Task
from pipeline.errors import FairsweepError
from pipeline.search.optuna import SharedSearch
from pipeline.search.run_store import Job, Record, State
from pipeline.search.space import configuration, overrides, values_of
from pipeline.training.fit import Epoch, Run

CONFIG = Config(
    name="tiny",
    cells=["rnn"],
    task=Task(name="tiny", source="synthetic"),
    cell=Cell("rnn", "rnn"),
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
TABLE = [overrides(configuration(CONFIG, row)) for row in range(5)]


def record(row: int, reason: str = "") -> Record:
    epochs = [Epoch(0.7, 0.5, 0.69, 0.5), Epoch(0.6, 0.6, 0.65, 0.6 + row / 100)]
    run = Run("failed", reason, epochs[:1]) if reason else Run(epochs=epochs, best_epoch=2)
    return Record(Job("trial", row, CONFIG, TABLE[row]), run, 1, "w", 0.0)


def stored(folder: Path) -> list[FrozenTrial]:
    """The trials in the storage."""
    return optuna.load_study(
        study_name="tiny-rnn", storage=f"sqlite:///{folder / 'study.db'}"
    ).get_trials()


def states(folder: Path) -> dict[int, str]:
    """{row: state}; each row has one trial."""
    trials = stored(folder)
    states = {trial.user_attrs["trial"]: trial.state.name for trial in trials}
    assert len(states) == len(trials)
    return states


def finish(folder: Path, rows: Sequence[int], size: int = 5) -> SharedSearch:
    study = SharedSearch(CONFIG, State(folder), TABLE[:size])
    for row in rows:
        study.ask(row)
        study.tell(record(row))
    return study


def test_a_row_has_one_trial_after_it_is_asked_for(tmp_path: Path) -> None:
    for _ in range(2):
        study = SharedSearch(CONFIG, State(tmp_path), TABLE)
        assert states(tmp_path) in ({}, {1: "RUNNING"})
        study.ask(1)
        study.ask(1)
    assert states(tmp_path) == {1: "RUNNING"}


def test_a_row_whose_coordinator_died_before_the_trial_runs_once(tmp_path: Path) -> None:
    dead = SharedSearch(CONFIG, State(tmp_path), TABLE)
    dead.study.enqueue_trial(values_of(CONFIG, TABLE[3]), user_attrs={"trial": 3})
    finish(tmp_path, [0, 3, 1])
    assert states(tmp_path) == dict.fromkeys([0, 1, 3], "COMPLETE")


def test_a_finished_search_has_the_values_score_and_epochs_of_each_row(tmp_path: Path) -> None:
    finish(tmp_path, [0, 1, 2, 3, 4])
    trials = stored(tmp_path)
    assert len(trials) == 5
    for trial in trials:
        row = trial.user_attrs["trial"]
        assert trial.state == TrialState.COMPLETE
        assert trial.params == values_of(CONFIG, TABLE[row])
        assert trial.value == pytest.approx(0.6 + row / 100)
        assert trial.intermediate_values == {1: 0.5, 2: pytest.approx(0.6 + row / 100)}


def test_rows_may_finish_in_any_order(tmp_path: Path) -> None:
    study = SharedSearch(CONFIG, State(tmp_path), TABLE)
    for row in (3, 0, 4, 1, 2):
        study.tell(record(row))
    values = {trial.user_attrs["trial"]: trial.value for trial in stored(tmp_path)}
    assert values == {row: pytest.approx(0.6 + row / 100) for row in range(5)}


def test_a_larger_search_adds_only_its_new_rows(tmp_path: Path) -> None:
    finish(tmp_path, [0, 1, 2], size=3)
    before = stored(tmp_path)
    finish(tmp_path, [3, 4])
    assert stored(tmp_path)[:3] == before
    assert states(tmp_path) == dict.fromkeys(range(5), "COMPLETE")


def test_a_trial_of_a_dead_coordinator_continues_under_its_number(tmp_path: Path) -> None:
    dead = SharedSearch(CONFIG, State(tmp_path), TABLE)
    dead.tell(record(0))
    dead.ask(2)
    assert states(tmp_path) == {0: "COMPLETE", 2: "RUNNING"}
    numbers = {trial.user_attrs["trial"]: trial.number for trial in stored(tmp_path)}
    finish(tmp_path, [1, 2, 3, 4])
    assert states(tmp_path) == dict.fromkeys(range(5), "COMPLETE")
    assert (
        numbers.items()
        <= {trial.user_attrs["trial"]: trial.number for trial in stored(tmp_path)}.items()
    )


# Optuna warns of a repeated report.
@pytest.mark.filterwarnings("ignore:The reported value is ignored:UserWarning")
def test_a_trial_killed_between_two_reports_gets_all_epochs(tmp_path: Path) -> None:
    dead = SharedSearch(CONFIG, State(tmp_path), TABLE[:1])
    dead.ask(0)
    trial = optuna.trial.Trial(dead.study, stored(tmp_path)[0]._trial_id)
    trial.report(0.5, 1)
    SharedSearch(CONFIG, State(tmp_path), TABLE[:1]).tell(record(0))
    assert stored(tmp_path)[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert stored(tmp_path)[0].value == 0.6


def test_a_failed_trial_counts_and_keeps_its_reason(tmp_path: Path) -> None:
    study = finish(tmp_path, [0, 1])
    study.tell(record(2, "loss is nan in epoch 2"))
    failed = next(trial for trial in stored(tmp_path) if trial.user_attrs["trial"] == 2)
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["reason"] == "loss is nan in epoch 2"
    SharedSearch(CONFIG, State(tmp_path), TABLE)
    assert states(tmp_path)[2] == "FAIL"
    assert len(stored(tmp_path)) == 3


def test_telling_twice_does_nothing(tmp_path: Path) -> None:
    study = finish(tmp_path, range(5))
    before = stored(tmp_path)
    study.tell(record(0))
    study.tell(record(1, "another end"))
    finish(tmp_path, range(5))
    assert stored(tmp_path) == before


def test_a_table_that_does_not_fit_the_space_adds_nothing(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match="outside"):
        SharedSearch(
            CONFIG,
            State(tmp_path),
            [TABLE[0], [text.replace("learning_rate=", "learning_rate=1") for text in TABLE[1]]],
        )
    assert stored(tmp_path) == []
