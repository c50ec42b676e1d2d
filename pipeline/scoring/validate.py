"""Checks before anything is reported: equal budgets, no missing run, one protocol."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from ..errors import FairsweepError
from .results import Results

# Number of values that a message lists.
MOST_LISTED = 8


def check(results: Results, expected: dict[str, Any]) -> None:
    """Check that the tables are complete and match the configuration.

    Args:
        results: the tables of results/STUDY/scores.
        expected: study.json as the present configuration and PROTOCOL define it.

    Raises:
        FairsweepError: with the reason and the remedy.
    """
    _check_study(results.study, expected)
    _check_equal_trials(results)
    for arm in results.cells:
        _check_arm(results, arm)
    foreign = set(results.scores["arm"]) - set(results.cells) - {"baseline"}
    if foreign:
        raise FairsweepError(
            f"The scores hold arms that the study does not compare: {_listed(sorted(foreign))}. "
            f"Expected {_listed(results.cells)}. Run `dvc repro evaluate`."
        )
    kinds, expected_kinds = results.baseline["kind"], results.spec.baselines
    check_numbers("the baselines", "kind", kinds, expected_kinds, "dvc repro baseline")


def check_numbers(
    runs: str,
    column: str,
    values: Iterable[int | str],
    expected: Iterable[int | str],
    remedy: str,
) -> None:
    """Check that a column has each expected value exactly once, in any order.

    Args:
        runs: what the rows are, for the message.
        column: name of the column, for the message.
        values: the values of the column.
        expected: the required values.
        remedy: the command to run.

    Raises:
        FairsweepError: listing missing, repeated and unexpected values.
    """
    counts, expected = Counter(values), list(expected)
    faults = {
        "missing": [value for value in expected if not counts[value]],
        "more than once": [value for value, times in counts.items() if times > 1],
        "not expected": [value for value in counts if value not in set(expected)],
    }
    if any(faults.values()):
        listed = "; ".join(f"{fault}: {_listed(some)}" for fault, some in faults.items() if some)
        raise FairsweepError(
            f"{_capital(runs)} are incomplete. Expected each {column} of {_listed(expected)} once; "
            f"{listed}. Run `{remedy}`."
        )


def each_repeat(
    runs: str, table: pd.DataFrame, repeats: Sequence[int], remedy: str
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (name, rows) per repeat; the name is `runs` itself if there is only one repeat.

    Raises:
        FairsweepError: if a row belongs to another repeat.
    """
    numbers = table["repeat"].astype(int)
    foreign = sorted(set(numbers) - set(repeats))
    if foreign:
        raise FairsweepError(
            f"{_capital(runs)} hold rows of repeat {_listed(foreign)}. "
            f"Expected repeat {_listed(repeats)} only. Run `{remedy}`."
        )
    for number in repeats:
        yield runs if len(repeats) == 1 else f"{runs} in repeat {number}", table[numbers == number]


def check_finished(runs: str, states: Iterable[str], remedy: str) -> None:
    """Check that all states are known and that one or more runs finished.

    Raises:
        FairsweepError: otherwise, with the states.
    """
    counts = Counter(states)
    if set(counts) - {"complete", "failed", "pruned"}:
        raise FairsweepError(
            f"{_capital(runs)} must be `complete`, `pruned` or `failed`; "
            f"found {_listed(sorted(map(str, counts)))}. Run `{remedy}`."
        )
    if not counts["complete"] + counts["pruned"]:
        raise FairsweepError(
            f"{_capital(runs)} all failed, so none can be chosen. The column `reason` has the "
            f"causes. Correct them, then run `{remedy}`."
        )


def runs_name(arm: str, kind: str) -> str:
    """Return the name of an arm's trials, or of its replicates of one kind, for messages."""
    return f"the trials of {arm}" if kind == "trial" else f"the {kind} replicates of {arm}"


def _check_study(study: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse scores of another study, of another protocol, or of settings that have changed."""
    if study["protocol"] != expected["protocol"]:
        raise FairsweepError(
            f"These scores come from protocol {study['protocol']}; this version is protocol "
            f"{expected['protocol']}, and numbers of two protocols cannot be mixed. "
            "Run `dvc repro`."
        )
    for key in expected:
        if study.get(key) != expected[key]:
            raise FairsweepError(
                f"These scores are stale or of another study: {key} was "
                f"{json.dumps(study.get(key))} when they were made, and is "
                f"{json.dumps(expected[key])} now. Run `dvc repro`, or set {key} back."
            )


def _check_equal_trials(results: Results) -> None:
    counts = {arm: len(results.of("trials", arm)) for arm in results.cells}
    expected = results.study["trials"] * len(results.repeats)
    if set(counts.values()) != {expected}:
        listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        wrong = next(arm for arm, count in counts.items() if count != expected)
        raise FairsweepError(
            f"The cells' searches differ in size. Expected {expected} trials of each; found "
            f"{listed}. A larger search finds a better configuration by luck alone. "
            f"Run `dvc repro tune@{wrong}`, then `dvc repro`."
        )


def _check_arm(results: Results, arm: str) -> None:
    for kind in ["trial", *results.kinds]:
        if kind == "trial":
            # Without a search `_check_equal_trials` has checked that there are no trials.
            repeats = results.repeats if results.searched else ()
            number, table, remedy = "trial", results.of("trials", arm), f"dvc repro tune@{arm}"
            epochs, count = results.of("epochs", arm), results.study["trials"]
        else:
            repeats, table = results.repeats, results.of("replicates", arm, kind)
            number, remedy = "replicate", f"dvc repro replicate@{arm}"
            epochs = results.of("replicate_epochs", arm, kind)
            count = results.study["replicates"]
        scores = results.of("scores", arm, kind)
        for name, runs in each_repeat(runs_name(arm, kind), table, repeats, remedy):
            check_numbers(name, number, runs[number], range(count), remedy)
            check_finished(name, runs["state"], remedy)
            same = epochs["repeat"].isin(runs["repeat"])
            _check_epochs(name, runs, epochs[same], number, remedy)
            scored = scores.loc[scores["repeat"].isin(runs["repeat"]), "trial"]
            evaluate = "dvc repro evaluate"
            check_numbers(f"the scores of {name}", number, scored, runs[number], evaluate)


def _check_epochs(
    name: str, runs: pd.DataFrame, epochs: pd.DataFrame, number: str, remedy: str
) -> None:
    """Refuse an epoch table that lacks an epoch of a finished run; one arm, repeat and kind."""
    recorded = epochs.groupby(number)["epoch"].apply(lambda column: sorted(column.astype(int)))
    for row in runs[runs["state"] != "failed"].itertuples():
        run, trained = int(getattr(row, number)), int(row.epochs)  # type: ignore[arg-type]
        if recorded.get(run, []) != list(range(1, trained + 1)):
            raise FairsweepError(
                f"The epoch table of {name} lacks a run. Expected epochs 1 to {trained} of "
                f"{number} {run}; found {_listed(recorded.get(run, []))}. Run `{remedy}`."
            )


def _listed(values: Iterable[int | str]) -> str:
    values = list(values)
    if len(values) > MOST_LISTED and values == list(range(len(values))):
        return f"0 to {len(values) - 1}"
    text = ", ".join(str(value) for value in values[:MOST_LISTED]) or "none"
    return f"{text} and {len(values) - MOST_LISTED} more" if len(values) > MOST_LISTED else text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
