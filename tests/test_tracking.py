"""The runs in a real store after a stage ended early."""

from pathlib import Path

import pytest

from pipeline import tracking
from pipeline.config.schema import Cell, Config, Task
from pipeline.search.run_store import Job, Record, State, settings
from pipeline.tracking import Tracker
from pipeline.training.fit import Run

CONFIG = Config(
    name="tiny", cells=["rnn"], task=Task(name="tiny", source="synthetic"), cell=Cell("rnn", "rnn")
)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_an_interrupted_run_ends_as_killed_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job("trial", 0, CONFIG, [])
    record = Record(job, Run(), 1, "worker", 0.0)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def states() -> list[str]:
        store = tracking.client()
        experiments = [experiment.experiment_id for experiment in store.search_experiments()]
        return sorted(run.info.status for run in store.search_runs(experiments))

    def stage(state: State) -> None:
        with Tracker(CONFIG, "tune", "a" * 64, state).recording() as tracker:
            tracker.log(record)

    with State.open(settings(CONFIG, "tune", "a" * 64)) as state:
        with monkeypatch.context() as patch:
            patch.setattr(tracking, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                stage(state)
        assert states() == ["KILLED", "KILLED"]
        stage(state)
        assert states() == ["FINISHED", "FINISHED"]
