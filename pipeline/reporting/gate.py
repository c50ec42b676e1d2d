"""What must hold before anything is reported: equal budgets, no run missing, one protocol. Each refusal says what to do."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from pipeline.errors import FairsweepError
from pipeline.reporting.tables import Results

SHOWN = 8


def check(results: Results, expected: dict[str, Any]) -> None:
    """Refuses tables that a report would misrepresent.

    Args:
        results: the tables of results/STUDY/scores.
        expected: what study.json would hold for the study as it is configured now, and the present PROTOCOL.

    Raises:
        FairsweepError: with the reason and the remedy.
    """
    _same_study(results.study, expected)
    _equal_trials(results)
    for arm in results.cells:
        _whole_arm(results, arm)
    _known_arms(results)
    check_numbers("the baselines", "kind", results.baseline["kind"], results.form.baselines, "dvc repro baseline")


def check_numbers(runs: str, column: str, found: Iterable[int | str], expected: Iterable[int | str], remedy: str) -> None:
    """Refuses a column that does not hold each expected value exactly once, in whatever order.

    Raises:
        FairsweepError: naming what is missing, there twice, or not expected.
    """
    counted, wanted = Counter(found), list(expected)
    faults = {
        "missing": [value for value in wanted if not counted[value]],
        "more than once": [value for value, times in counted.items() if times > 1],
        "not expected": [value for value in counted if value not in set(wanted)],
    }
    if any(faults.values()):
        told = "; ".join(f"{fault}: {_listed(values)}" for fault, values in faults.items() if values)
        raise FairsweepError(
            f"{_capital(runs)} are not whole. Expected each {column} of {_listed(wanted)} once; {told}. Run `{remedy}`."
        )


def each_study(runs: str, table: pd.DataFrame, studies: Sequence[int], remedy: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each study's rows of `table` with a name for them, `runs` itself where there is one study.

    Raises:
        FairsweepError: if a row is of another study.
    """
    numbers = table["study"].astype(int)
    foreign = sorted(set(numbers) - set(studies))
    if foreign:
        raise FairsweepError(
            f"{_capital(runs)} hold rows of study {_listed(foreign)}. Expected study {_listed(studies)} alone. Run `{remedy}`."
        )
    for study in studies:
        yield runs if len(studies) == 1 else f"{runs} in study {study}", table[numbers == study]


def check_epochs(runs: str, table: pd.DataFrame, epochs: pd.DataFrame, number: str, remedy: str) -> None:
    """Refuses an epoch table that lacks epochs 1 to `epochs` of a finished run; both tables are of one arm, study and kind.

    Raises:
        FairsweepError: naming the first such run.
    """
    recorded = epochs.groupby(number)["epoch"].apply(lambda column: sorted(column.astype(int)))
    for row in table[table["state"] != "failed"].itertuples():
        run, trained = int(getattr(row, number)), int(row.epochs)  # type: ignore[arg-type]
        if recorded.get(run, []) != list(range(1, trained + 1)):
            raise FairsweepError(
                f"The epoch table of {runs} lacks a run. Expected epochs 1 to {trained} of {number} {run}; "
                f"found {_listed(recorded.get(run, []))}. Run `{remedy}`."
            )


def check_finished(runs: str, states: Iterable[str], remedy: str) -> None:
    """Refuses runs in an unknown state, and runs that all failed, since then nothing is chosen.

    Raises:
        FairsweepError: with what was found.
    """
    found = Counter(states)
    if set(found) - {"complete", "failed", "pruned"}:
        raise FairsweepError(
            f"{_capital(runs)} must be `complete`, `pruned` or `failed`; found {_listed(sorted(map(str, found)))}. Run `{remedy}`."
        )
    if not found["complete"] + found["pruned"]:
        raise FairsweepError(
            f"{_capital(runs)} all failed. Expected one that finished; column `reason` says why. Mend that, then run `{remedy}`."
        )


def _same_study(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuses scores of another study, of another protocol, or of settings that have changed since."""
    if found["protocol"] != expected["protocol"]:
        raise FairsweepError(
            f"These scores come from protocol {found['protocol']}; this version is protocol {expected['protocol']}, and numbers of "
            "two protocols cannot be mixed. Run `dvc repro`."
        )
    for key in expected:
        if found.get(key) != expected[key]:
            raise FairsweepError(
                f"These scores are stale or of another study: {key} was {json.dumps(found.get(key))} when they were made, and is "
                f"{json.dumps(expected[key])} now. Run `dvc repro`, or set {key} back."
            )


def _equal_trials(results: Results) -> None:
    counts = {arm: len(results.of("trials", arm)) for arm in results.cells}
    expected = results.study["trials"] * len(results.studies)
    if set(counts.values()) != {expected}:
        told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        short = next(arm for arm, count in counts.items() if count != expected)
        raise FairsweepError(
            f"The cells' searches differ in size. Expected {expected} trials of each; found {told}. "
            f"A larger search finds a better configuration by luck alone. Run `dvc repro tune@{short}`, then `dvc repro`."
        )


def _whole_arm(results: Results, arm: str) -> None:
    study, name, remedy = results.study, f"the trials of {arm}", f"dvc repro tune@{arm}"
    # Recipes alone have no trials, which `_equal_trials` has seen.
    for of, trials in each_study(name, results.of("trials", arm), results.studies if results.searched else (), remedy):
        check_numbers(of, "trial", trials["trial"], range(study["trials"]), remedy)
        check_finished(of, trials["state"], remedy)
        check_epochs(of, trials, _alike(results.of("epochs", arm), trials), "trial", remedy)
        scored = _alike(results.of("scores", arm, "trial"), trials)["trial"]
        check_numbers(f"the scores of {of}", "trial", scored, trials["trial"], "dvc repro evaluate")
    for kind in results.kinds:
        name, remedy = f"the {kind} replicates of {arm}", f"dvc repro replicate@{arm}"
        for of, runs in each_study(name, results.of("replicates", arm, kind), results.studies, remedy):
            check_numbers(of, "replicate", runs["replicate"], range(study["replicates"]), remedy)
            check_finished(of, runs["state"], remedy)
            check_epochs(of, runs, _alike(results.of("replicate_epochs", arm, kind), runs), "replicate", remedy)
            scored = _alike(results.of("scores", arm, kind), runs)["trial"]
            check_numbers(f"the scores of {of}", "replicate", scored, runs["replicate"], "dvc repro evaluate")


def _alike(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` that are of the one study of `runs`."""
    return table[table["study"].isin(runs["study"])]


def _known_arms(results: Results) -> None:
    foreign = set(results.scores["arm"]) - set(results.cells) - {"baseline"}
    if foreign:
        raise FairsweepError(
            f"The scores hold arms that the study does not compare: {_listed(sorted(foreign))}. "
            f"Expected {_listed(results.cells)}. Run `dvc repro evaluate`."
        )


def _listed(values: Iterable[int | str]) -> str:
    values = list(values)
    if len(values) > SHOWN and values == list(range(len(values))):
        return f"0 to {len(values) - 1}"
    told = ", ".join(str(value) for value in values[:SHOWN])
    return (told or "none") + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
