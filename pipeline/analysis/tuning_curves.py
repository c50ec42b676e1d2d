"""The tuning curves of a study as one table, which pairs' order may change with the budget, and what pruning may hide."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import FairsweepError
from ..scoring.results import DIGITS, Results
from ..statistics import tuning_curves
from ..statistics.tuning_curves import Curve
from . import arrays

COLUMNS = ["arm", "curve", "budget", "value", "low", "high"]
# Below five trials a curve with pruned ones is far too low.
FEWEST_WHERE_PRUNED = 5
# One tenth of the margin between two readings of the pruned trials is worth a warning.
PRUNING_MATTERS = 0.1
LOWER_BOUND = "lower bound where pruned"


@dataclass(frozen=True)
class Curves:
    """What the report shows of a study's tuning curves.

    Attributes:
        table: columns `arm, curve, budget, value, low, high`, scores higher better; an open limit is nan. `curve` is one of
            validation_mean, validation_median, test (budget: trials), test_epochs, test_seconds of a pool, validation_best
            (trials of each study) of repeated searches; with pruned trials also the same with `_if_completed`.
        order_changes: {a, b, n1, n2, note} of each pair whose order may change with the number of trials.
        pruned: {arm, pruned, of, kept, if_completed, warning, note} of each arm with pruned trials, at the budget.
        band: the method of the band of validation_median, "" of repeated searches.
    """

    table: pd.DataFrame
    order_changes: list[dict[str, Any]]
    pruned: list[dict[str, Any]]
    band: str


@dataclass(frozen=True)
class Trials:
    """One arm's trials in the order they were asked, all float [studies, trials] or bool: one study of a pool.

    Attributes:
        kept: validation; a failed trial has the trivial baseline, a pruned one its best so far.
        completed: validation, a pruned trial as `evidence.curves.completed` says.
        pruned: bool.
        epochs: epochs trained.
        seconds: of all attempts.
    """

    kept: NDArray[np.floating]
    completed: NDArray[np.floating]
    pruned: NDArray[np.bool_]
    epochs: NDArray[np.floating]
    seconds: NDArray[np.floating]


def curves(results: Results) -> Curves:
    """All curves of a study.

    Raises:
        ValueError: if a pool's sampler or pruner made its trials depend on one another.
        FairsweepError: if a table lacks a trial.
    """
    if not results.searched:
        return Curves(pd.DataFrame(columns=COLUMNS), [], [], "")
    alpha = results.study.get("alpha", 0.05) / results.study.get("looks", 1)
    trials = {arm: _trials(results, arm) for arm in results.cells}
    made: list[tuple[str, str, Curve]] = []
    for arm, own in trials.items():
        drawn = (
            _of_studies(own, alpha)
            if arrays.separate(results)
            else _of_validation(results, own, alpha)
        )
        made += [(arm, name, curve) for name, curve in drawn.items()]
    changes: list[dict[str, Any]] = []
    if not arrays.separate(results):
        made += _of_test(results, trials, alpha)
        changes = _order_changes(results, alpha)
    band = next((curve.method for _, name, curve in made if name == "validation_median"), "")
    table = pd.concat(
        [_rows(*one) for one in sorted(made, key=lambda one: results.cells.index(one[0]))],
        ignore_index=True,
    )
    notes = [_pruning(arm, own, results) for arm, own in trials.items() if own.pruned.any()]
    return Curves(table, changes, notes, band)


def _trials(results: Results, arm: str) -> Trials:
    keys = ["repeat", "trial"]
    trials = results.of("trials", arm).set_index(keys).sort_index()
    seconds = (
        results.of("timings", arm, "trial").groupby(keys)["seconds"].sum().reindex(trials.index)
    )
    scored = results.of("scores", arm, "trial").set_index(keys)["validation"].reindex(trials.index)
    if seconds.isna().any():
        raise FairsweepError(
            f"timings.csv lacks trial {seconds.index[seconds.isna()][0][1]} of {arm}. Expected the seconds of every trial. "
            f"Run `dvc repro tune@{arm}`, then `dvc repro evaluate`."
        )
    studies = trials.index.get_level_values("repeat").nunique()
    failed, pruned = (
        (trials["state"] == state).to_numpy().reshape(studies, -1) for state in ("failed", "pruned")
    )
    epochs, kept, spent = (
        column.to_numpy(float).reshape(studies, -1)
        for column in (trials["epochs"].fillna(0), scored.fillna(results.guessed), seconds)
    )
    completed = kept
    if pruned.any():
        histories = _histories(results, arm, trials.index)
        # Study by study, so that repeated searches stay so.
        completed = np.array(
            [
                tuning_curves.completed(*study)
                for study in zip(kept, pruned, failed, np.split(histories, studies), strict=True)
            ]
        )
    return Trials(kept, completed, pruned, epochs, spent)


def _histories(results: Results, arm: str, order: pd.Index) -> NDArray[Any]:
    """Each trial's validation after every epoch it had, in the order of (study, trial)."""
    epochs = results.of("epochs", arm).sort_values(["repeat", "trial", "epoch"])
    learned = {
        key: run.to_numpy(float) for key, run in epochs.groupby(["repeat", "trial"])["validation"]
    }
    histories = np.empty(len(order), object)
    histories[:] = [learned.get(key, np.empty(0)) for key in order]
    return histories


def _of_validation(results: Results, own: Trials, alpha: float) -> dict[str, Curve]:
    """Mean and median best of n on validation, of a pool."""
    pruner = results.study.get("pruner") or "none"
    tuning_curves.check_independent(results.study.get("sampler") or "random", pruner)
    budgets = tuning_curves.trial_budgets(own.kept.size)
    limits = (0.0, 1.0) if results.spec.measure.fraction else (-np.inf, 0.0)
    made = {}
    for scores, suffix in _readings(own):
        made["validation_mean" + suffix] = tuning_curves.mean_curve(scores.ravel(), budgets)
        made["validation_median" + suffix] = tuning_curves.median_curve(
            scores.ravel(), budgets, alpha, limits
        )
    return {name: _shown(curve, own) for name, curve in made.items()}


def _of_studies(own: Trials, alpha: float) -> dict[str, Curve]:
    """The running best of each study on validation, over the studies."""
    made = {
        "validation_best" + suffix: tuning_curves.repeats_curve(scores, alpha)
        for scores, suffix in _readings(own)
    }
    return {name: _shown(curve, own) for name, curve in made.items()}


def _of_test(
    results: Results, trials: dict[str, Trials], alpha: float
) -> list[tuple[str, str, Curve]]:
    """What the picked model scores on test, against trials, epochs and seconds; the arms share their budgets."""
    pools = arrays.pools(results)
    made = [
        (arm, "test", _shown(tuning_curves.picked_curve(pools[arm], alpha), trials[arm]))
        for arm in results.cells
    ]
    for unit in ("epochs", "seconds"):
        costs = {arm: getattr(own, unit).ravel() for arm, own in trials.items()}
        shared = tuning_curves.cost_budgets(list(costs.values()))
        for arm, cost in costs.items():
            budgets = tuning_curves.covered_budgets(cost, shared)
            if len(budgets):
                made.append(
                    (
                        arm,
                        f"test_{unit}",
                        tuning_curves.cost_curve(pools[arm], cost, budgets, alpha),
                    )
                )
    return made


def _readings(own: Trials) -> list[tuple[NDArray[np.floating], str]]:
    return (
        [(own.kept, ""), (own.completed, "_if_completed")] if own.pruned.any() else [(own.kept, "")]
    )


def _shown(curve: Curve, own: Trials) -> Curve:
    """The part of a curve against trials that is worth drawing."""
    return curve.at(curve.budget >= FEWEST_WHERE_PRUNED) if own.pruned.any() else curve


def _order_changes(results: Results, alpha: float) -> list[dict[str, Any]]:
    pools = arrays.pools(results)
    found = []
    for a, b in combinations(results.cells, 2):
        change = tuning_curves.order_change(
            tuning_curves.gap_curve(pools[a], pools[b], paired=True, alpha=alpha)
        )
        if change:
            note = f"order may change between {change[0]} and {change[1]}"
            found.append({"a": a, "b": b, "n1": change[0], "n2": change[1], "note": note})
    return found


def _pruning(arm: str, own: Trials, results: Results) -> dict[str, Any]:
    """Both readings of an arm's pruned trials at the budget: the mean best of so many, or of so many trials of each study."""
    budget, told = results.study["budget"], results.spec.measure
    if len(own.kept) > 1:
        kept, completed = (
            float(scores[:, :budget].max(axis=1).mean()) for scores in (own.kept, own.completed)
        )
    else:
        at = np.array([min(budget, own.kept.size)])
        kept, completed = (
            float(tuning_curves.mean_curve(scores.ravel(), at).value[0])
            for scores in (own.kept, own.completed)
        )
    pruned, warning = (
        int(own.pruned.sum()),
        completed - kept > PRUNING_MATTERS * results.study["margin"],
    )
    note = f"{pruned} of {own.pruned.size} trials were pruned and count with their best so far, so its curve is a {LOWER_BOUND}"
    if warning:
        more = (
            f"{told.points(completed - kept)} {told.gaps} {'more' if told.fraction else 'better'}"
        )
        note += f"; had they gone on as others did, the best of {budget} would score {more} on validation"
    return {
        "arm": arm,
        "pruned": pruned,
        "of": own.pruned.size,
        "kept": round(kept, DIGITS),
        "if_completed": round(completed, DIGITS),
        "warning": warning,
        "note": f"{note}.",
    }


def _rows(arm: str, name: str, curve: Curve) -> pd.DataFrame:
    numbers = {key: np.round(getattr(curve, key), DIGITS) for key in COLUMNS[2:]}
    return pd.DataFrame({"arm": arm, "curve": name, **numbers}, columns=COLUMNS)
