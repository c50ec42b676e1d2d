"""Each fault of docs/checks.md, planted: flagged by the check of its line, which stops or warns as
it says, with its remedy.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from checks.conftest import made
from pipeline.checks import dead, flags, inputs, trials
from pipeline.checks.flags import Flag
from pipeline.config.compose import compose
from pipeline.config.schema import Columns, Config, Parameter, Task
from pipeline.data import arrays, digits
from pipeline.data.arrays import Data
from pipeline.data.spec import Examples, Sequences, TaskSpec
from pipeline.data.splits import ordered_rows, validation_rows
from pipeline.errors import FairsweepError
from pipeline.metrics import rate
from pipeline.models import baselines
from pipeline.search.run_store import Job, Record
from pipeline.search.space import configuration, overrides
from pipeline.training.fit import Epoch, Run
from pipeline.training.worker import load_data
from study_copy import ROOT

PAGE = (ROOT / "docs/checks.md").read_text(encoding="utf-8")
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
][1:]


@dataclass(frozen=True)
class Place:
    """Where a fault is planted: a folder of its own, and the arrays of the shipped tasks."""

    folder: Path
    shipped: dict[str, Path]


def study(*given: str, space: dict[str, dict[str, Parameter]] | None = None) -> Config:
    """A shipped study with overrides, and further searched keys."""
    config = compose(given)
    for section, more in (space or {}).items():
        config.space.setdefault(section, {}).update(more)
    return config


def linear_rate(_: Place) -> list[Flag | None]:
    space = {"train": {"learning_rate": Parameter(low=1e-4, high=1e-2)}}
    return [inputs.linear_rate(study("study=smoke", "cell=rnn", space=space))]


def numbers(source: Sequences, place: Place) -> list[Flag]:
    """What is flagged of the study digits when its arrays are those of `source`."""
    config = study("study=digits", "cell=rnn")
    arrays.write(source, config.task, place.folder / "arrays", place.folder / "sealed")
    return inputs.check_search(config, place.folder / "arrays")


def of_digits(change: Callable[[Examples], Examples]) -> Sequences:
    source = digits.read(Task(name="digits", source="digits", length=8))
    return replace(source, train=change(source.train))


def constant_labels(place: Place) -> list[Flag]:
    return numbers(
        of_digits(lambda train: replace(train, labels=np.full_like(train.labels, 3))), place
    )


def known_before(place: Place) -> list[Flag]:
    """Messages, and a test file that is the same ones in another order, so that the two files
    differ.
    """
    generator = np.random.default_rng(0)
    rows = [
        (" ".join(f"word{n}" for n in generator.integers(300, size=20)), "ab"[i % 2])
        for i in range(200)
    ]
    for name, order in (("all.csv", range(200)), ("test.csv", generator.permutation(200))):
        with (place.folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *(rows[row] for row in order)])
    columns = Columns(
        path=str(place.folder / "all.csv"),
        test_path=str(place.folder / "test.csv"),
        text="text",
        label="label",
    )
    config = study("study=smoke", "cell=rnn", "task=csv")
    from pipeline.data import registry

    archive = registry.fetch(config.task, place.folder / "archive", columns)
    return inputs.check_search(config, made(config.task, place.folder, archive, columns))


def copied_rows(place: Place) -> list[Flag]:
    def twice(train: Examples) -> Examples:
        return Examples(
            np.concatenate([train.inputs, train.inputs[:400]]),
            np.concatenate([train.labels, train.labels[:400]]),
        )

    return numbers(of_digits(twice), place)


def split_by_row(place: Place) -> list[Flag | None]:
    """The films of the invented reviews, and a split that asks for none of them."""
    labels, groups = (
        np.load(place.shipped["synthetic"] / f"train_{name}.npy") for name in ("labels", "groups")
    )
    chosen = validation_rows(labels, np.arange(len(labels)), seed=0)
    whole = validation_rows(labels, groups, seed=0)
    assert inputs.split_groups(groups, ~whole, whole) is None
    return [inputs.split_groups(groups, ~chosen, chosen, "film")]


def padded_behind(place: Place) -> list[Flag]:
    space = {"model": {"masking": Parameter(choices=[False])}}
    config = study("study=smoke", "cell=rnn", "task.padding=post", space=space)
    assert not inputs.check_search(
        replace(config, cell=replace(config.cell, type="bi_rnn")), place.shipped["synthetic"]
    )
    return inputs.check_search(config, place.shipped["synthetic"])


def no_padding(place: Place) -> list[Flag]:
    """The invented reviews cut to four tokens, which all of them have: masking has nothing to skip."""
    config = study("study=smoke", "cell=rnn", "task.length=4", "train.backend=tensorflow")
    return [dead.flag(config, key) for key in dead.dead_keys(config, place.shipped["synthetic"])]


def records(config: Config, number: int, run: Callable[[int], Run]) -> list[Record]:
    """The first trials of an arm, each with a run of one's own."""
    made = []
    for trial in range(number):
        row = overrides(configuration(config, trial))
        made.append(Record(Job("trial", trial, config, row), run(trial), 1, "here", 0.0))
    return made


def told(data: Data, logits: np.ndarray) -> Run:
    """A run of three epochs that says `logits` of the validation rows."""
    rated = rate(data.spec.metric, logits, data.validation_labels, data.spec.scale)
    epochs = [Epoch(0.5, rated.value, rated.loss, rated.value)] * 3
    return Run(epochs=epochs, best_epoch=1, validation_logits=logits, test_logits=logits)


def diverged(place: Place) -> list[Flag]:
    config = study("study=digits", "cell=rnn")
    data = load_data(config, place.shipped["digits"])
    good = np.eye(10, dtype=np.float16)[data.validation_labels]
    ran = records(
        config,
        3,
        lambda trial: Run("failed", "loss is nan in epoch 1") if trial else told(data, good),
    )
    return trials.check_first_trials(config, place.shipped["digits"], ran)


def guessing(config: Config, folder: Path) -> list[Flag]:
    """What is flagged of three trials that guess; the best of their epochs is nothing but luck."""
    data, generator = load_data(config, folder), np.random.default_rng(0)
    shape = (len(data.validation_labels), data.spec.outputs)[: 1 + (data.spec.kind != "binary")]
    ran = records(config, 3, lambda _: told(data, generator.normal(size=shape).astype(np.float16)))
    return trials.check_first_trials(config, folder, ran)


def stuck(place: Place) -> list[Flag]:
    return guessing(study("study=smoke", "cell=rnn"), place.shipped["synthetic"])


def shuffled(place: Place) -> list[Flag]:
    generator = np.random.default_rng(0)
    source = of_digits(lambda train: replace(train, labels=generator.permutation(train.labels)))
    assert numbers(source, place) == []
    return guessing(study("study=digits", "cell=rnn"), place.folder / "arrays")


def at_an_edge(_: Place) -> list[Flag]:
    """Thirty trials that score the higher the higher their learning rate, and some noise of other
    hyperparameters.
    """
    config, generator = study("study=digits", "cell=rnn"), np.random.default_rng(0)

    def run(trial: int) -> Run:
        score = (
            0.6
            + 0.2 * np.log10(configuration(config, trial)["train.learning_rate"])
            + generator.normal(scale=0.01)
        )
        return Run(epochs=[Epoch(0.5, 0.5, 0.5, float(score))], best_epoch=1)

    return trials.check_edges(config, records(config, 30, run))


PLANTED: dict[str, Callable[[Place], list[Flag] | list[Flag | None]]] = {
    "linear learning rate": linear_rate,
    "constant labels": constant_labels,
    "validation is the test": known_before,
    "copies across the split": copied_rows,
    "groups on both sides": split_by_row,
    "padding without a mask": padded_behind,
    "dead hyperparameter": no_padding,
    "diverged": diverged,
    "stuck at chance": stuck,
    "shuffled labels": shuffled,
    "best at an edge": at_an_edge,
}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_page_lists_every_check() -> None:
    assert [line[0] for line in LINES] == list(PLANTED)


@pytest.mark.parametrize(
    ("check", "then", "remedy"), [(line[0], line[3], line[4]) for line in LINES]
)
def test_a_planted_fault_is_flagged_as_the_page_says(
    check: str,
    then: str,
    remedy: str,
    shipped: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (flag,) = PLANTED[check](Place(tmp_path, shipped))
    assert flag is not None
    assert flag.check == check
    assert remedy.replace("`", "") in flag.text
    assert then in ("stops", "warns")
    config = study("study=smoke", "cell=rnn")
    if then == "stops":
        with pytest.raises(FairsweepError, match=re.escape(flag.text)):
            flags.report(config, "tune", [flag])
        assert "warning, " not in capsys.readouterr().out
        config.search.checks = "warn"
    capsys.readouterr()
    flags.report(config, "tune", [flag])
    assert capsys.readouterr().out == f"tune rnn: warning, {check}: {flag.text}\n"


def test_padding_of_fewer_texts_or_trials_is_a_warning(shipped: dict[str, Path]) -> None:
    folder, given = shipped["synthetic"], ["study=smoke", "cell=lstm", "task.padding=post"]
    flag = inputs.padding(study(*given), load_data(study(*given), folder))
    assert flag is not None
    assert not flag.stops
    assert "trials without a mask read on through it" in flag.message
    # Ten tokens: one text in ten is shorter, by four steps at most.
    short = study(
        *given, "task.length=10", space={"model": {"masking": Parameter(choices=[False])}}
    )
    flag = inputs.padding(short, load_data(short, folder))
    assert flag is not None
    assert not flag.stops
    assert "every trial reads on through it" in flag.message
    for harmless in ("task.padding=pre", "model.pooling=mean", "cell=bi_lstm"):
        config = study(*given, harmless)
        assert inputs.padding(config, load_data(config, folder)) is None


def test_the_arrays_of_a_study_without_a_search_are_checked(
    shipped: dict[str, Path], tmp_path: Path
) -> None:
    source = of_digits(lambda train: replace(train, labels=np.full_like(train.labels, 3)))
    arrays.write(source, study("study=digits").task, tmp_path / "arrays", tmp_path / "sealed")
    for searched, expected_checks in (("30", []), ("0", ["constant labels"])):
        config = study("study=digits", "cell=rnn", f"search.trials={searched}")
        assert [
            flag.check for flag in inputs.check_recipes(config, {}, tmp_path / "arrays")
        ] == expected_checks


def test_the_padding_of_recipes_is_checked(shipped: dict[str, Path]) -> None:
    given = ["study=smoke", "cell=rnn", "task.padding=post"]
    recipes = {
        "article": study(*given, "recipe=article"),
        "masked": study(*given, "recipe=article", "model.masking=true"),
    }
    (flag,) = inputs.check_recipes(study(*given), recipes, shipped["synthetic"])
    assert flag.message.startswith("Recipe article: ")
    assert flag.stops


def test_windows_that_share_values_are_flagged() -> None:
    apart, near = ordered_rows(200, 20, 1), ordered_rows(200, 19, 1)
    assert inputs.share_no_value(*apart, 20) is None
    flag = inputs.share_no_value(*near, 20)
    assert flag is not None
    assert flag.message.startswith("2 of 40 validation windows share values")


@pytest.mark.parametrize("study_of", ["smoke", "digits", "tagging", "co2"])
def test_a_guess_is_at_chance_and_a_good_model_is_not(
    study_of: str, shipped: dict[str, Path]
) -> None:
    config = study(f"study={study_of}", "cell=rnn")
    folder = shipped[config.task.name]
    data, groups = trials.validation_groups(config, folder)
    (trivial, *_), labels = (
        (one.validation_logits for one in baselines.fit_all("trivial", data)),
        data.validation_labels,
    )
    generator, kind = np.random.default_rng(0), data.spec.kind
    truth = (
        np.eye(data.spec.outputs)[labels]
        if kind == "classes"
        else labels
        if kind == "regression"
        else 2.0 * labels - 1
    )
    noise = generator.normal(size=truth.shape)
    for said, chance in ((noise, True), (trivial, True), (truth + noise / 2, False)):
        assert (
            trials.at_chance(
                [trials.standardised_mean(trials.gain(data, said, trivial), groups)], comparisons=60
            )
            == chance
        )


def test_a_metric_that_a_few_wild_logits_spoil_is_not_at_chance(shipped: dict[str, Path]) -> None:
    """Labels at each step told rightly in nine of ten, and the rest wrong with all its might: the
    loss is far above the trivial one.
    """
    config = study("study=tagging", "cell=rnn")
    data, groups = trials.validation_groups(config, shipped["tagging"])
    trivial = baselines.fit_all("trivial", data)[0].validation_logits
    right = np.random.default_rng(0).random(data.validation_labels.shape) < 0.9
    said = np.where(right == (data.validation_labels == 1), 1.0, -1.0) * np.where(right, 1, 100)
    assert not trials.at_chance(
        [trials.standardised_mean(trials.gain(data, said, trivial), groups)], comparisons=60
    )


def test_the_test_of_chance_keeps_its_level_with_groups() -> None:
    """Answers and labels of a film are alike, and independent of one another: above chance in one
    search of twenty at most.
    """
    rng, found = np.random.default_rng(0), 0
    for _ in range(400):
        groups = rng.integers(60, size=500)
        labels, said = (rng.random(500) < rng.random(60)[groups] for _ in range(2))
        data = Data(
            TaskSpec(),
            *[np.zeros((0, 1), np.int32)] * 3,
            labels.astype(np.uint8),
            np.zeros((0, 1), np.int32),
            "",
            True,
        )
        own = trials.gain(data, np.where(said, 1.0, -1.0), np.zeros(500))
        found += not trials.at_chance([trials.standardised_mean(own, groups)], comparisons=1)
    assert 5 <= found <= 36
