"""How far a study is, read from real state folders, beside the process that holds them; and the table that tells it."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.config import Cell, Cluster, Config, Parameter, Search, Task, with_overrides
from pipeline.data.form import Form
from pipeline.search import tables
from pipeline.search.board import Board, columns, fitting, taken
from pipeline.search.progress import duration
from pipeline.search.state import Job, Record, State, settings
from pipeline.search.survey import AtWork, Survey, Underway, View
from pipeline.training.fit import Epoch, Run

CONFIG = Config(
    name="tiny",
    cells=["rnn", "gru"],
    recipes=["article"],
    task=Task(name="tiny", source="generated", length=20, vocabulary=50),
    cell=Cell("rnn", "rnn"),
    search=Search(trials=4, headline=1, replicates=2),
    space={"model": {"units": Parameter(choices=[8, 16])}},
    cluster=Cluster(workers=2),
)


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(stage: str, arm: str, config: Config = CONFIG) -> dict:
    """What the stage of an arm is kept under; as in `tune`, without the values that a search decides."""
    found = settings(replace(config, cell=Cell("rnn", arm)), stage, "data")
    if stage == "tune":
        found["model"].pop("units")
    return found


@contextmanager
def working(stage: str, arm: str, config: Config = CONFIG) -> Iterator[State]:
    with State.open(document(stage, arm, config)) as state:
        yield state


def record(number: int, kind: str = "trial", validation: float | None = 0.75, started: float = 0.0, **job: str) -> Record:
    """A run of two epochs and 10 s; without `validation` a failed one."""
    config = with_overrides(CONFIG, [f"seed={number}", *(f"{key.replace('__', '.')}={value}" for key, value in job.items())])
    epochs = [Epoch(0.7, 0.5, 0.6, 0.5), Epoch(0.6, 0.6, 0.5, validation or 0.0)]
    failed = {"state": "failed", "reason": "loss is nan in epoch 3"} if validation is None else {"best_epoch": 2}
    return Record(Job(kind, number, config, []), Run(epochs=epochs, seconds=10.0, **failed), 1, "w", started)


def arms(view: View) -> dict[str, tuple]:
    return {arm.name: (len(arm.tuned), len(arm.replicated), arm.best, arm.missing) for arm in view.arms}


def test_nothing_has_begun() -> None:
    view = Survey(CONFIG).look()
    assert arms(view) == {"rnn": (0, 0, None, 8), "gru": (0, 0, None, 8)}
    assert (view.at_work, view.whole, view.report, view.workers) == (None, None, None, 2)


def test_what_an_arm_has_finished_is_counted_in_both_stages() -> None:
    with working("tune", "rnn") as state:
        for number, validation in enumerate([0.5, 0.875, None]):
            state.save(record(number, validation=validation, started=100.0 * number))
        # Beyond the study's trials: of a time when it was larger.
        state.save(record(7, validation=0.99))
    with working("replicate", "rnn") as state:
        state.save(record(0, "tuned", started=1000.0, model__units="8"))
        # The same replicate of a later winner.
        state.save(record(0, "tuned", started=2000.0, model__units="16"))
        state.save(record(1, "article", started=3000.0))
        state.save(record(0, "recipe_of_old"))
    view = Survey(CONFIG).look()
    assert arms(view) == {"rnn": (3, 2, 0.875, 1 + 2), "gru": (0, 0, None, 8)}
    rnn = view.arms[0]
    assert [run.reason for run in rnn.failed] == ["loss is nan in epoch 3"]
    # Five runs of 10 s, none beside another; pauses do not count.
    assert rnn.busy == 50.0
    assert rnn.pace == 10 * 3600 / 50


def test_runs_side_by_side_take_their_time_once() -> None:
    with working("tune", "rnn") as state:
        for number, started in enumerate([0.0, 4.0, 40.0]):
            state.save(record(number, started=started))
    assert Survey(CONFIG).look().arms[0].busy == 14.0 + 10.0


def test_the_coordinator_that_runs_is_seen_and_one_that_ended_is_not() -> None:
    with working("tune", "gru") as state:
        survey = Survey(CONFIG)
        assert survey.look().at_work == AtWork("tune", "gru")
        state.show(3, [("trial 0", 12.5)], "http://127.0.0.1:8787/status")
        view = survey.look()
        assert view.at_work == AtWork("tune", "gru", 3, [Underway("trial 0", 12.5)], "http://127.0.0.1:8787/status")
        assert view.workers == 3
        # Whoever looks takes no lock: the file is as free as it was held.
        assert survey.look().at_work == view.at_work
    assert survey.look().at_work is None
    with working("tune", "gru"):
        # What the one before it said is of the past.
        assert survey.look().at_work == AtWork("tune", "gru")


def test_an_arm_beside_those_of_the_study_is_seen_while_it_runs() -> None:
    with working("tune", "lstm") as state:
        state.save(record(0))
        assert arms(Survey(CONFIG).look())["lstm"] == (1, 0, 0.75, 7)
    assert list(arms(Survey(CONFIG).look())) == CONFIG.cells


def test_a_changed_study_is_looked_at_alone() -> None:
    changed = with_overrides(CONFIG, ["space_seed=1"])
    with working("tune", "rnn") as old, working("tune", "gru"):
        old.save(record(0))
    with working("tune", "rnn", changed) as new:
        for number in range(2):
            new.save(record(number))
    assert arms(Survey(CONFIG).look()) == {"rnn": (2, 0, 0.75, 6), "gru": (0, 0, None, 8)}
    assert arms(Survey(CONFIG, like=old.folder).look())["rnn"] == (1, 0, 0.75, 7)
    other = with_overrides(CONFIG, ["name=other"])
    assert arms(Survey(other).look())["rnn"] == (0, 0, None, 8)


def test_a_run_that_finishes_is_found_by_the_next_look() -> None:
    survey = Survey(CONFIG)
    with working("tune", "rnn") as state:
        for number in range(3):
            state.save(record(number))
            assert len(survey.look().arms[0].tuned) == number + 1


def test_what_is_cut_off_or_strange_is_left_out() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        whole = state.path(record(0).job).read_bytes()
        (state.folder / "trial-00001-0123abcd.npz").write_bytes(whole[:100])
        (state.folder / "notes.npz").write_bytes(b"")
        (state.folder / "at_work.json").write_text("{")
        (state.folder.parent / "strange").mkdir()
        (state.folder.parent / "strange" / "settings.json").write_text("{")
        view = Survey(CONFIG).look()
    assert arms(view)["rnn"] == (1, 0, 0.75, 7)
    assert view.at_work == AtWork("tune", "rnn")


def test_separate_studies_count_all_their_trials() -> None:
    several = replace(CONFIG, search=Search(design="studies", trials=4, headline=4, replicates=2, studies=3))
    with working("tune", "rnn", several) as state:
        for study in range(4):
            run = record(0)
            state.save(replace(run, job=replace(run.job, config=several, study=study)))
    # A fourth study is of a time when there were four.
    assert arms(Survey(several).look())["rnn"] == (3, 0, 0.75, 3 * 4 - 3 + 3 * 2 * 2)


def test_what_came_from_a_cache_is_told_by_its_tables(tmp_path: Path) -> None:
    folder = tmp_path / "runs/tiny/tune/rnn"
    folder.mkdir(parents=True)
    tables.write_runs(folder, "trials", ["trial"], CONFIG, [record(0), record(1, validation=None, started=5.0)])
    again = tmp_path / "runs/tiny/replicate/rnn"
    again.mkdir(parents=True)
    tables.write_runs(again, "replicates", ["kind", "replicate"], CONFIG, [record(0, "tuned", 0.875, started=50.0)])
    rnn = Survey(CONFIG).look().arms[0]
    assert (len(rnn.tuned), len(rnn.replicated), rnn.best, rnn.busy, len(rnn.failed)) == (2, 1, 0.75, 25.0, 1)
    # They may be of another version than the state: a stage never reads them, nor does anyone once there is a state.
    with working("tune", "gru") as state:
        assert arms(Survey(CONFIG).look())["rnn"] == (0, 0, None, 8)
        assert arms(Survey(CONFIG, like=state.folder).look())["rnn"] == (0, 0, None, 8)


def whole_study() -> None:
    for arm in CONFIG.cells:
        with working("tune", arm) as state:
            for number in range(4):
                state.save(record(number, started=100.0 + number))
        with working("replicate", arm) as state:
            for number in range(2):
                for kind in ("tuned", "article"):
                    state.save(record(number, kind, started=200.0 + number))


def test_the_report_is_told_of_when_it_is_younger_than_every_run(tmp_path: Path) -> None:
    whole_study()
    report = tmp_path / "results/tiny/report/report.html"
    report.parent.mkdir(parents=True)
    report.touch()
    view = Survey(CONFIG, root=tmp_path).look()
    assert (view.whole, view.report) == (0.0, report)
    os.utime(report, (150, 150))
    assert Survey(CONFIG, root=tmp_path).look().report is None
    os.utime(report)
    larger = replace(CONFIG, search=replace(CONFIG.search, trials=5))
    assert Survey(larger, root=tmp_path).look().report is None


def test_the_time_left_is_that_of_the_runs_that_lack_shared_by_the_workers() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        state.show(2, [("trial 1", 996.0), ("trial 2", 900.0)], None)
        view = replace(Survey(CONFIG).look(), now=1000.0)
    rnn, gru = view.arms
    # 7 runs of 10 s lack; 4 s and, of one that takes longer than others do, 10 s are spent.
    assert view.left(rnn) == (7 * 10 - 4 - 10) / 2
    assert view.left(gru) == 8 * 10 / 2
    assert view.whole == 28 + 40
    last = replace(view, arms=[replace(rnn, tuned=rnn.tuned * 4, replicated=rnn.tuned * 3, at_work=None)])
    assert last.left(last.arms[0]) == 10.0


def test_durations_are_told_in_the_unit_one_thinks_in() -> None:
    assert [duration(seconds) for seconds in (0, 45.4, 89, 90, 600, 5399, 5400, 36000)] == [
        *("0 s", "45 s", "89 s", "2 min", "10 min", "90 min", "1.5 h", "10.0 h")
    ]


def drawn(view: View, width: int, form: Form | None = None, **console: bool) -> str:
    file = io.StringIO()
    Console(file=file, width=width, **console).print(Board(view, form or Form()))
    return file.getvalue()


@pytest.fixture
def half() -> View:
    """A study whose second arm is being tuned."""
    with working("tune", "rnn") as state:
        for number in range(4):
            state.save(record(number, started=100.0 * number, validation=0.5 + number / 8))
    with working("tune", "gru") as state:
        state.save(record(0, started=1000.0, validation=None))
        state.show(2, [("trial 1", 1010.0), ("trial 2", 1012.0)], "http://127.0.0.1:8787/status")
        return replace(Survey(CONFIG).look(), now=1015.0)


def test_a_wide_table_tells_all(half: View) -> None:
    assert drawn(half, 120).splitlines() == [
        "tiny: tune gru on 2 workers, about 51 s of training left",
        "   arm  trials    best  replicates  epochs/hour  took  left",
        "   rnn  4 of 4  0.8750      0 of 4          720  40 s  20 s",
        ">  gru  1 of 4       -      0 of 4          720  10 s  31 s",
        "gru now: trial 1 (5 s), trial 2 (3 s)",
        "failed: gru trial 0: loss is nan in epoch 3",
        "Dask's pages: http://127.0.0.1:8787/status",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_narrow_table_drops_columns_and_cuts_no_word(half: View, width: int) -> None:
    lines = drawn(half, width).splitlines()
    assert all(len(line) <= width for line in lines)
    text = " ".join(lines)
    assert "…" not in text
    for word in ("arm", "trials", "4 of 4", "1 of 4", ">  gru", "2 workers"):
        assert word in text
    wanted = fitting(columns(half, Form()), width)
    assert taken(wanted) <= width
    assert all(column.title in text for column in wanted)


def test_columns_go_in_the_order_of_their_worth(half: View) -> None:
    every = columns(half, Form())
    seen = [[column.title for column in fitting(every, width)] for width in range(taken(every), 10, -1)]
    assert seen[0] == ["", "arm", "trials", "best", "replicates", "epochs/hour", "took", "left"]
    assert seen[-1] == ["", "arm", "trials"]
    assert [title for title in seen[0] if title not in fitting_titles(every, 40)] == ["replicates", "epochs/hour", "took"]


def fitting_titles(every: list, width: int) -> list[str]:
    return [column.title for column in fitting(every, width)]


def test_without_colour_nothing_is_lost(half: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = drawn(half, 120, force_terminal=True, legacy_windows=False)
    assert "\x1b[3" not in terminal.replace("\x1b[0m", "")
    assert ">" in terminal


def test_scores_are_worded_by_the_task(half: View) -> None:
    told = drawn(half, 120, Form(metric="mae", unit="ppm"))
    assert "-0.8750 ppm" in told


def test_a_study_without_a_search_has_no_column_of_trials() -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, trials=0))
    with working("replicate", "rnn", config) as state:
        state.save(record(0, "article", 0.625))
    text = drawn(Survey(config).look(), 120)
    assert "trials" not in text
    assert "1 of 2" in text
    assert "0.6250" in text
    assert "nothing is being trained now" in text


def test_a_finished_run_is_read_once() -> None:
    with working("tune", "rnn") as state:
        state.save(record(0))
        survey = Survey(CONFIG)
        first = survey.look().arms[0].tuned
        state.path(record(0).job).write_bytes(b"")
        assert survey.look().arms[0].tuned == first
        assert Survey(CONFIG).look().arms[0].tuned == []
