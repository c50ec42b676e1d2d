"""Every override is checked against the schema before anything runs, and errors are one line."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.cli import hydra_arguments
from pipeline.config.compose import check_overrides, compose, with_overrides
from pipeline.config.schema import Config, Parameter
from pipeline.config.validation import RENAMED, RENAMED_VALUES, check_design
from pipeline.errors import FairsweepError

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(
    path.stem for path in (ROOT / "pipeline").glob("*.py") if "\n@command" in path.read_text()
)


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for variable in ("IMDB_ARCHIVE", "IMDB_NPZ", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(variable, raising=False)


def refusal(*overrides: str) -> str:
    """The message with which `compose` refuses."""
    with pytest.raises(FairsweepError) as caught:
        compose(overrides)
    return str(caught.value)


@pytest.mark.parametrize("cell", names("cell"))
@pytest.mark.parametrize("study", names("study"))
def test_every_study_composes_with_every_cell(study: str, cell: str) -> None:
    config = compose([f"study={study}", f"cell={cell}"])
    assert config.cell.arm == cell
    assert config.cells
    assert set(config.cells) <= set(names("cell"))
    assert set(config.recipes) <= set(names("recipe"))
    assert all(
        isinstance(parameter, Parameter)
        for section in config.space.values()
        for parameter in section.values()
    )


@pytest.mark.parametrize("group", ["task", "space", "recipe", "cluster"])
def test_every_file_of_a_group_composes(group: str) -> None:
    assert names(group)
    for name in names(group):
        config = compose([f"{group}={name}"])
        if group == "task":
            assert config.task.name == name


def test_a_recipe_sets_the_training_and_leaves_the_study() -> None:
    plain, recipe = compose(["study=smoke"]), compose(["study=smoke", "recipe=article"])
    assert (
        plain.train.checkpoint,
        recipe.train.checkpoint,
        recipe.train.epochs,
        recipe.train.optimizer,
    ) == (
        "best",
        "last",
        10,
        "rmsprop",
    )
    assert plain.search == recipe.search
    assert plain.task == recipe.task


def test_the_order_of_overrides_does_not_matter() -> None:
    assert compose(["cell=gru", "study=smoke", "train.epochs=3"]) == compose(
        ["train.epochs=3", "study=smoke", "cell=gru"]
    )


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_misspelt_key_is_refused_with_the_nearest(prefix: str) -> None:
    message = refusal(f"{prefix}train.learning_rat=1e-3")
    assert message == "train.learning_rat: no such key; the nearest is 'train.learning_rate'."


def test_an_unknown_key_is_refused_with_a_list_of_keys() -> None:
    assert refusal("qqqq=1") == "qqqq: no such key; `--cfg job` prints every key."


def test_each_value_of_a_multirun_is_checked() -> None:
    check_overrides(["train.epochs=1,2", "cell=rnn,gru", "seed=range(3)"], multirun=True)
    with pytest.raises(
        FairsweepError, match=r"train\.epochs=many: .*Write a value such as train\.epochs=8"
    ):
        check_overrides(["train.epochs=1,many"], multirun=True)
    with pytest.raises(FairsweepError, match="cell=gro: no such cell; the nearest is 'gru'"):
        check_overrides(["cell=rnn,gro"], multirun=True)
    with pytest.raises(
        FairsweepError, match=r"train\.epoch: no such key; the nearest is 'train\.epochs'"
    ):
        check_overrides(["train.epoch=1,2"], multirun=True)
    with pytest.raises(FairsweepError, match=r"model\.dropout=1\.0: must be below 1\.0"):
        check_overrides(["+model.dropout=0.5,1.0"], multirun=True)


@pytest.mark.parametrize(
    ("override", "example"),
    [
        ("train.epochs=abc", "train.epochs=8"),
        ("train.epochs=2.5", "train.epochs=8"),
        ("train.epochs=null", "train.epochs=8"),
        ("model.masking=maybe", "model.masking=false"),
        ("train.clipnorm=small", "converted to Float"),
        ("space.model.units.high=wide", "converted to Float"),
        ("cells=rnn", "`cells: [rnn, gru]` in the study's file of conf/study/"),
    ],
)
def test_a_wrong_type_is_refused_with_an_example(override: str, example: str) -> None:
    message = refusal(override)
    assert message.startswith(f"{override}: ")
    assert message.endswith(f"{example}.")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=3", "model=3: model is a section. Set model.KEY=VALUE."),
        ("train.epochs=0", "train.epochs=0: must be at least 1."),
        ("seed=-1", "seed=-1: must be at least 0."),
        ("model.dropout=1.0", "model.dropout=1.0: must be below 1.0."),
        ("train.learning_rate=0", "train.learning_rate=0.0: must be above 0.0."),
        ("train.learning_rate=nan", "train.learning_rate=nan: must be a finite number."),
        ("train.clipvalue=0", "train.clipvalue=0.0: must be above 0.0."),
        ("model.pooling=first", "model.pooling=first: must be one of last, max, mean."),
        ("train.optimizer=adm", "train.optimizer=adm: must be one of adam, rmsprop, sgd."),
    ],
)
def test_a_value_out_of_limits_is_refused(override: str, message: str) -> None:
    assert refusal(override) == message


def test_null_is_accepted_for_an_optional_key() -> None:
    config = compose(["train.patience=null", "train.clipnorm=null"])
    assert config.train.patience is None
    assert config.train.clipnorm is None


def test_an_unknown_name_is_refused_with_the_nearest_and_all() -> None:
    assert (
        refusal("task=imbd")
        == "task=imbd: no such task; the nearest is 'imdb'. There are: chorales, co2, csv, digits, imdb, imdb_npz, synthetic, tagging."
    )
    assert (
        refusal("cell=qqq")
        == "cell=qqq: no such cell. There are: bi_gru, bi_lstm, bi_rnn, gru, lstm, rnn."
    )


def test_a_group_cannot_be_given_a_list() -> None:
    assert "no such cell" in refusal("cell=[rnn]")


def test_recipe_null_means_no_recipe() -> None:
    assert compose(["recipe=null"]) == compose([])


def test_several_values_need_a_multirun() -> None:
    assert (
        refusal("train.epochs=1,2") == "train.epochs=1,2: several values need a multirun: add -m."
    )
    assert refusal("cell=rnn,gru") == "cell=rnn,gru: several values need a multirun: add -m."


def test_a_key_cannot_be_deleted() -> None:
    assert "~train.patience: a key cannot be deleted" in refusal("~train.patience")


def test_an_override_without_a_value_is_refused() -> None:
    assert refusal("train.min_validation").startswith(
        "train.min_validation: cannot be read as KEY=VALUE"
    )


@pytest.mark.parametrize(
    "text",
    [
        "great, really",
        "It's (5/5)",
        "two words",
        "  kept  spaces ",
        "~/reviews",
        "https://host/~me/x?y=1&z=2",
        "{a: 1}",
        "[x]",
        "a=b",
        'say "hi", he said',
        "'single",
        "back\\slash",
        "1,2",
        "123",
        "true",
        "#5 100% x:y",
        "é",
    ],
)
def test_free_text_arrives_as_it_was_typed(text: str) -> None:
    assert compose([f"task.archive={text}"]).task.archive == text
    assert compose([f"+task.archive={text}"]).task.archive == text


def test_free_text_may_come_quoted_or_empty() -> None:
    assert compose(["task.archive='a, b'"]).task.archive == "a, b"
    assert compose(["task.archive=null"]).task.archive is None


@pytest.mark.parametrize("text", ["C:\\folder\\", "a\\'b", "'a' or 'b'"])
def test_free_text_survives_a_backslash_at_its_end_and_quotes_at_both(text: str) -> None:
    assert compose([f"task.archive={text}"]).task.archive == text


def test_a_part_of_the_space_can_be_overridden() -> None:
    assert compose(["space.model.units.high=64"]).space["model"]["units"] == Parameter(
        low=8, high=64, step=8
    )
    added = compose(["+space.model.layers.choices=[1,2]"])
    assert added.space["model"]["layers"] == Parameter(choices=[1, 2])
    assert added.space["model"]["units"] == compose([]).space["model"]["units"]


def test_a_misspelt_or_impossible_part_of_the_space_is_refused() -> None:
    assert "space.model.units.hihg: no such key" in refusal("space.model.units.hihg=64")
    assert "set two numbers, low below high" in refusal("space.model.units.high=4")
    assert (
        refusal("+space.model.unit={choices: [1, 2]}")
        == "model.unit: no such key; the nearest is 'model.units'."
    )
    assert refusal("space.model.dropout.high=1.5") == "model.dropout=1.5: must be below 1.0."
    assert (
        refusal("space.train.optimizer.choices=[adam,lamb]")
        == "train.optimizer=lamb: must be one of adam, rmsprop, sgd."
    )
    assert (
        refusal("space.model.embedding.choices=[]")
        == "space.model.embedding: set either choices (at least one), or low and high."
    )
    assert (
        refusal("space.train.learning_rate.low=0")
        == "space.train.learning_rate: log needs low above 0 and no step."
    )


Folder = Callable[[str, str], Path]


@pytest.fixture
def with_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A function that writes a file into a copy of conf/ in a new current folder."""

    def write(name: str, text: str) -> Path:
        shutil.copytree(ROOT / "conf", tmp_path / "conf", dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "conf" / name).write_text(text)
        return tmp_path / "conf" / name

    return write


STUDY = "# @package _global_\nname: own\ncells: [lstm]\n"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_key_is_refused_with_the_new_one(old: str, new: str, with_file: Folder) -> None:
    assert refusal(f"{old}=3") == f"{old} is now called {new}. Write {new}=3."
    assert refusal(f"+{old}=3") == f"{old} is now called {new}. Write {new}=3."
    section, name = old.split(".")
    with_file("study/own.yaml", f"{STUDY}{section}: {{{name}: 3}}\n")
    assert refusal("study=own").startswith(f"{old} is now called {new}. Write {new}=3.")


@pytest.mark.parametrize(
    ("key", "old", "new"), [(*pair, new) for pair, new in RENAMED_VALUES.items()]
)
def test_a_renamed_value_is_refused_with_the_new_one(
    key: str, old: str, new: str, with_file: Folder
) -> None:
    assert refusal(f"{key}={old}") == f"{key}={old} is now called {new}. Write {key}={new}."
    section, name = key.split(".")
    with_file("study/own.yaml", f"{STUDY}{section}: {{{name}: {old}}}\n")
    assert refusal("study=own").startswith(f"{key}={old} is now called {new}. Write {key}={new}.")


def test_a_misspelt_key_in_a_file_is_refused_with_the_nearest(with_file: Folder) -> None:
    with_file("study/own.yaml", f"{STUDY}train: {{learning_rat: 0.1}}\n")
    message = refusal("study=own")
    assert message.startswith(
        "train.learning_rat: no such key; the nearest is 'train.learning_rate'."
    )
    assert message.endswith("conf/study/own.yaml.")


def test_a_setting_of_a_cell_can_be_added() -> None:
    config = compose(["cell.options.kernel=5", "cell.options.name='a, b'"])
    assert config.cell.options == {"kernel": 5, "name": "a, b"}


@pytest.mark.parametrize(
    "override",
    [
        "cell.options.kernel={size: 3}",
        "cell.options.kernel=[3,5]",
        "cell.options.kernel.size=3",
        "cell.options={kernel: {size: 3}}",
    ],
)
def test_a_nested_setting_of_a_cell_is_refused(override: str, with_file: Folder) -> None:
    must = "a setting of a cell must be a single number, text, true, false or null"
    assert must in refusal(override)
    assert refusal(override).startswith("cell.options.kernel")
    with_file("cell/own.yaml", "type: lstm\noptions: {kernel: {size: 3}}\n")
    assert must in refusal("cell=own")


def test_a_key_searched_for_one_arm_can_be_set(with_file: Folder) -> None:
    config = compose(
        ["cell.space.kernel.choices=[3,5]", "cell.space.rate.low=0.1", "cell.space.rate.high=1"]
    )
    assert config.cell.space == {
        "kernel": Parameter(choices=[3, 5]),
        "rate": Parameter(low=0.1, high=1.0),
    }
    with_file("cell/own.yaml", "type: lstm\nspace: {kernel: {low: 3, high: 9}}\n")
    changed = compose(["cell=own", "cell.space.kernel.high=5"])
    assert changed.cell.space == {"kernel": Parameter(low=3, high=5)}


@pytest.mark.parametrize(
    ("override", "space", "words"),
    [
        (
            "cell.space.kernel.lwo=3",
            "{kernel: {lwo: 3, high: 9}}",
            "cell.space.kernel.lwo: no such key; the nearest is 'low'",
        ),
        (
            "cell.space.kernel.choices=[]",
            "{kernel: {choices: []}}",
            "cell.space.kernel: set either choices (at least one), or low and high",
        ),
        (
            "cell.space.kernel.low=9",
            "{kernel: {low: 9, high: 3}}",
            "cell.space.kernel: low=9.0, high=",
        ),
        ("cell.space.kernel.low=a", "{kernel: {low: a}}", "cell.space.kernel.low=a: "),
        ("cell.space.kernel=3", "{kernel: 3}", "such as cell.space.kernel.choices=[3,5]"),
        (
            "cell.space.kernel.size.low=3",
            "{kernel: {size: {low: 3}}}",
            "cell.space.kernel.size",
        ),
    ],
)
def test_a_wrong_key_searched_for_one_arm_is_refused(
    override: str, space: str, words: str, with_file: Folder
) -> None:
    assert words in refusal(override)
    with_file("cell/own.yaml", f"type: lstm\nspace: {space}\n")
    assert words in refusal("cell=own")


@pytest.mark.parametrize("key", ["search.storage", "task.url", "cluster.address"])
def test_a_password_on_the_command_line_is_refused(key: str) -> None:
    message = refusal(f"{key}=mysql://me:secret@host/db")
    assert "secret" not in message
    assert "OPTUNA_STORAGE" in message


def test_a_budget_above_the_trials_is_refused() -> None:
    assert "search.budget=70: must be at most search.trials=60" in refusal("search.budget=70")
    assert compose(["search.budget=60"]).search.budget == 60


REPEATED = ["search.design=repeated", "search.trials=10"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["search.sampler=tpe"],
            "independent random trials: .*search.design=repeated search.repeats=5, or search.sampler=",
        ),
        (
            ["search.pruner=median"],
            "search.pruner=median compares trials.*use search.design=repeated search.repeats=5",
        ),
        (["search.pruner=asha"], "search.pruner=asha compares trials"),
        (["search.pruner=hyperband"], "search.pruner=hyperband compares trials"),
        (["search.trials=39"], "Raise search.trials to 40, or lower search.budget"),
        (
            [*REPEATED, "search.repeats=2"],
            "one search compares configurations, not cells.*Raise search.repeats to 5",
        ),
        (
            ["search.design=repeated"],
            "search.budget=10: .*search.trials=60. Set both to the same number",
        ),
        (
            [*REPEATED, "search.sampler=gp"],
            "needs the package torch.*pip install torch.*search.sampler=tpe",
        ),
        (
            [*REPEATED, "search.sampler=cmaes"],
            "needs the package cmaes.*pip install cmaes.*search.sampler=tpe",
        ),
    ],
)
def test_a_design_that_gives_no_verdict_is_refused(
    overrides: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose(overrides)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FairsweepError, match=words):
        check_design(config)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["search.sampler=random"],
        ["study=smoke"],
        ["study=imdb_tpe"],
        ["study=smoke_tpe"],
        [*REPEATED, "search.repeats=3"],
    ],
)
def test_a_design_that_can_give_a_verdict_is_accepted(overrides: list[str]) -> None:
    check_design(compose(overrides))


@pytest.mark.parametrize("pruner", ["none", "median", "asha", "hyperband"])
@pytest.mark.parametrize("sampler", ["null", "random", "tpe", "cmaes", "gp"])
def test_repeated_searches_accept_every_sampler_and_pruner(sampler: str, pruner: str) -> None:
    check_design(
        compose([*REPEATED, f"search.sampler={sampler}", f"search.pruner={pruner}"]),
        installed=False,
    )


def test_the_default_sampler_depends_on_the_design() -> None:
    shared, repeated = compose([]).search, compose(REPEATED).search
    assert (shared.sampler_name, list(shared.numbers)) == ("random", [0])
    assert (repeated.sampler_name, list(repeated.numbers)) == ("tpe", [0, 1, 2, 3, 4])


def test_seed_0_is_a_seed() -> None:
    assert compose(["seed=0"]).seed == 0
    assert with_overrides(compose(["seed=5"]), ["seed=0"]).seed == 0


def test_with_overrides_changes_a_copy() -> None:
    config = compose(["study=smoke", "cell=gru"])
    row = [
        "model.units=16",
        "model.masking=true",
        "train.learning_rate=3e-05",
        "train.clipnorm=null",
        "seed=7",
    ]
    changed = with_overrides(config, row)
    assert config == compose(["study=smoke", "cell=gru"])
    assert (changed.model.units, changed.model.masking, changed.seed) == (16, True, 7)
    assert changed.train.learning_rate == 3e-05
    assert changed.train.clipnorm is None
    assert changed.cell.arm == "gru"
    assert changed == compose(["study=smoke", "cell=gru", *row])


def test_with_overrides_checks_limits_too() -> None:
    with pytest.raises(FairsweepError, match=r"model\.units=0: must be at least 1"):
        with_overrides(compose([]), ["model.units=0"])


def test_a_flag_may_stand_behind_the_overrides() -> None:
    from hydra._internal.utils import get_args_parser

    parsed = get_args_parser().parse_args(hydra_arguments("train", ["train.epochs=1,2", "-m"]))
    assert parsed.multirun
    assert "train.epochs=1,2" in parsed.overrides


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """`python WORDS` in a folder that has the project's conf/ and pipeline/ and nothing else."""
    for folder in ("conf", "pipeline"):
        (tmp_path / folder).symlink_to(ROOT / folder)

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )

    return run


def test_a_misspelt_key_is_one_line_on_the_command_line(python: Run, tmp_path: Path) -> None:
    done = python("-m", "pipeline.train", "trian.epochs=1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: trian.epochs: no such key; the nearest is 'train.epochs'.\n"
    assert not (tmp_path / "runs").exists()


def test_one_bad_value_of_a_multirun_starts_no_job(python: Run, tmp_path: Path) -> None:
    done = python("-m", "pipeline.train", "-m", "train.epochs=1,many")
    assert done.returncode == 1
    assert done.stderr.startswith("error: train.epochs=many: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_no_large_library(name: str, python: Run) -> None:
    done = python("-X", "importtime", "-m", f"pipeline.{name}", "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Override anything in the config" in done.stdout
    imported = set(re.findall(r"^import time:.*\|\s*(\w+)$", done.stderr, re.MULTILINE))
    assert "hydra" in imported
    assert not imported & {"tensorflow", "keras", "jax", "mlflow", "optuna", "distributed"}


def test_there_is_a_command_for_each_stage() -> None:
    assert set(COMMANDS) >= {
        "download",
        "pad",
        "sample",
        "tune",
        "replicate",
        "baseline",
        "evaluate",
        "report",
        "train",
    }


def test_a_config_knows_no_key_that_hydra_does_not_show() -> None:
    assert isinstance(compose([]), Config)
    assert refusal("+cell.foo=1").startswith("cell.foo: no such key")
