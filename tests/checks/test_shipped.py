"""Nothing is flagged in a shipped study: neither in what it searches and reads, nor in what its
committed runs gave.
"""

import importlib.util
from pathlib import Path

import pytest

from checks.conftest import made
from pipeline.analysis import importance
from pipeline.analysis.arrays import examples
from pipeline.checks import dead, inputs, trials
from pipeline.config.compose import compose
from pipeline.config.schema import Config, Parameter
from pipeline.data import arrays, registry
from pipeline.data.chorales import extract
from pipeline.scoring import results
from pipeline.scoring.results import GUESSED_VALIDATION, TRIVIAL, Results
from study_copy import ROOT

STUDIES = sorted(path.stem for path in (ROOT / "conf/study").glob("*.yaml"))
COMMITTED = sorted(path.parents[1].name for path in (ROOT / "results").glob("*/scores/study.json"))


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def flagged(study: str, folder: Path) -> list[str]:
    """What is flagged in any arm of `study`, on the arrays in `folder`, before anything is trained."""
    found = []
    for arm in compose([f"study={study}"]).cells:
        given = [f"study={study}", f"cell={arm}"]
        config = compose(given)
        recipes = {name: compose([*given, f"recipe={name}"]) for name in config.recipes}
        found += inputs.check_search(config, folder) if config.search.trials else []
        found += inputs.check_recipes(config, recipes, folder)
    return [flag.text for flag in found]


def test_every_study_is_checked() -> None:
    here = {"digits", "tagging", "co2", "smoke", "smoke_tpe"}
    assert here | {study for study in STUDIES if study.startswith("imdb")} | {
        "article",
        "keras_lstm",
        "lengths",
        "chorales",
    } == set(STUDIES)


@pytest.mark.parametrize("study", ["digits", "tagging", "co2", "smoke", "smoke_tpe"])
def test_nothing_is_flagged_before_a_shipped_study(study: str, shipped: dict[str, Path]) -> None:
    assert flagged(study, shipped[compose([f"study={study}"]).task.name]) == []


@pytest.mark.night
def test_nothing_is_flagged_before_a_study_of_the_real_reviews(
    imdb_archive: Path, tmp_path: Path
) -> None:
    folders: dict[int, Path] = {}
    for study in STUDIES:
        task = compose([f"study={study}"]).task
        if task.name == "imdb":
            if task.vocabulary not in folders:
                own = tmp_path / str(task.vocabulary)
                own.mkdir()
                folders[task.vocabulary] = made(task, own, imdb_archive)
            assert flagged(study, folders[task.vocabulary]) == [], study


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("music21") is None, reason="the extra `music` is not installed"
)
def test_nothing_is_flagged_before_the_chorales(tmp_path: Path) -> None:
    task = compose(["study=chorales"]).task
    extract(tmp_path / "chorales.npz")
    arrays.write(
        registry.read(task, tmp_path / "chorales.npz"),
        task,
        tmp_path / "arrays",
        tmp_path / "sealed",
    )
    assert flagged("chorales", tmp_path / "arrays") == []


def searching(study: str, task: str, cell: str) -> Config:
    """The space of `study` on another task, on the backend that these tests have."""
    length = compose([f"study={'smoke' if task == 'synthetic' else task}"]).task.length
    return compose(
        [
            f"study={study}",
            f"cell={cell}",
            f"task={task}",
            f"task.length={length}",
            "train.backend=tensorflow",
        ]
    )


@pytest.mark.parametrize(
    ("study", "task", "cell"),
    [
        ("digits", "digits", "rnn"),
        *(
            pytest.param(*names, marks=pytest.mark.long)
            for names in (("imdb", "synthetic", "gru"), ("chorales", "tagging", "lstm"))
        ),
    ],
)
def test_no_hyperparameter_of_a_shipped_space_is_dead(
    study: str, task: str, cell: str, shipped: dict[str, Path]
) -> None:
    assert dead.dead_keys(searching(study, task, cell), shipped[task]) == []


# Keras's own, with numpy 2, as it saves a model.
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
@pytest.mark.long
def test_a_key_of_another_cell_or_task_is_dead(shipped: dict[str, Path]) -> None:
    config = searching("digits", "digits", "lstm")
    either = Parameter(choices=[True, False])
    config.space = {
        "cell": {"reset_after": either, "unit_forget_bias": either},
        "train": {"batch_size": Parameter(choices=[8, 16])},
    }
    assert dead.dead_keys(config, shipped["digits"]) == ["cell.reset_after"]
    # Batches larger than all rows there are.
    config.space = {
        "train": {"batch_size": Parameter(choices=[2048, 4096]), "epochs": Parameter(low=1, high=2)}
    }
    assert dead.dead_keys(config, shipped["digits"]) == ["train.batch_size"]


@pytest.fixture(scope="module", params=COMMITTED)
def committed(request: pytest.FixtureRequest) -> Results:
    """The committed scores of one study."""
    return results.load(ROOT / f"results/{request.param}/scores")


def test_the_first_trials_of_a_committed_search_finish_and_are_above_chance(
    committed: Results,
) -> None:
    trivial = committed.scores.index[committed.scores["kind"] == TRIVIAL].to_numpy()
    guess = examples(committed, trivial)[0] if len(trivial) else GUESSED_VALIDATION
    config = compose([f"study={committed.study['study']}"])
    for arm in committed.cells if committed.searched else []:
        runs = committed.of("scores", arm, "trial")
        runs = runs[
            [
                pair in trials.first_trials(config)
                for pair in zip(runs["repeat"], runs["trial"], strict=True)
            ]
        ]
        assert len(runs) == 3
        assert list(runs["state"]) == ["complete"] * 3
        # On the test rows, of which the tables tell what each run got right.
        gains = [
            trials.standardised_mean(row - guess, committed.groups)
            for row in examples(committed, runs.index.to_numpy()).astype(float)
        ]
        assert not trials.at_chance(gains, comparisons=3 * config.train.epochs)


def test_no_end_of_a_committed_search_is_a_warning(committed: Results) -> None:
    if committed.searched:
        found = importance.edges(committed)
        assert [edge for edges in found.values() for edge in edges if edge["warning"]] == []
