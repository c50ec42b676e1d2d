"""The tables of a study as the evidence engine takes them: pools of trials, scores of studies, what each row adds to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import GUESS, unpack
from ..scoring.results import TRIVIAL, Results
from ..statistics.pairwise import Groups
from ..statistics.shared_search import Pool, trial_weights

# Rows of bits unpacked at a time: 64 rows of 25,000 reviews are 6 MB as float32.
CHUNK = 64


def separate(results: Results) -> bool:
    """Whether the study is K repeated searches an arm, and not one pool."""
    return bool(results.study.get("design") == "repeated")


def pools(results: Results) -> dict[str, Pool]:
    """Each arm's trials in the order of the table of sampled configurations, so that trial i is one configuration in every arm."""
    made = {}
    for arm in results.cells:
        scores = results.of("scores", arm, "trial").sort_values("trial")
        made[arm] = Pool(
            scores["validation"].fillna(-np.inf).to_numpy(float), scores["test"].to_numpy(float)
        )
    return made


def studies(results: Results) -> dict[str, NDArray[np.floating]]:
    """The test scores of each arm's retrained winners, float [K studies, R retrainings]."""
    made = {}
    for arm in results.cells:
        tuned = results.of("scores", arm, "tuned").sort_values(["repeat", "trial"])
        made[arm] = tuned["test"].to_numpy(float).reshape(tuned["repeat"].nunique(), -1)
    return made


def groups(results: Results) -> Groups:
    """What every test row adds to each arm's score, with the weights of the arm's mean."""
    return Groups({arm: right(results, arm) for arm in results.cells}, results.groups)


def right(results: Results, arm: str) -> NDArray[np.floating]:
    """float [rows]: what each test row adds to the arm's score, the weighted mean over its runs.

    A failed run adds what the trivial baseline does, or, of two classes without one, a guess on every row.
    """
    if separate(results):
        runs = results.of("scores", arm, "tuned")
        weights = np.full(len(runs), 1 / len(runs))
    else:
        runs = results.of("scores", arm, "trial")
        weights = trial_weights(
            runs["validation"].fillna(-np.inf).to_numpy(float), results.study["budget"]
        )
    guesses = (runs["state"] == "failed").to_numpy() & (TRIVIAL not in results.spec.baselines)
    mean = np.full(len(results.groups), GUESS.accuracy * weights[guesses].sum())
    rows, shares = runs.index.to_numpy()[~guesses], weights[~guesses].astype(np.float64)
    for start in range(0, len(rows), CHUNK):
        mean += shares[start : start + CHUNK] @ examples(results, rows[start : start + CHUNK])
    return mean


def examples(results: Results, rows: NDArray[np.integer]) -> NDArray[Any]:
    """What each test row adds to the score of some runs, [runs, rows]: bool of an accuracy, float32 otherwise."""
    kept = results.correct[rows]
    return unpack(kept, len(results.groups)) if results.spec.metric == "accuracy" else kept
