"""The tables of a study as the evidence engine takes them: pools of trials, scores of studies, who got which review right."""

import numpy as np
from numpy.typing import NDArray

from pipeline.evidence.comparison import Films
from pipeline.evidence.pool import Pool, trial_weights
from pipeline.evidence.scores import GUESS, unpack
from pipeline.reporting.tables import Results

# Rows of bits unpacked at a time: 64 rows of 25,000 reviews are 6 MB as float32.
CHUNK = 64


def separate(results: Results) -> bool:
    """Whether the study is K separate studies an arm, and not one pool."""
    return bool(results.study.get("design") == "studies")


def pools(results: Results) -> dict[str, Pool]:
    """Each arm's trials in the order of the drawn table, so that trial i is one configuration in every arm."""
    made = {}
    for arm in results.cells:
        scores = results.of("scores", arm, "trial").sort_values("trial")
        made[arm] = Pool(scores["validation"].fillna(-np.inf).to_numpy(float), scores["test"].to_numpy(float))
    return made


def studies(results: Results) -> dict[str, NDArray[np.floating]]:
    """The test scores of each arm's retrained winners, float [K studies, R retrainings]."""
    made = {}
    for arm in results.cells:
        tuned = results.of("scores", arm, "tuned").sort_values(["study", "trial"])
        made[arm] = tuned["test"].to_numpy(float).reshape(tuned["study"].nunique(), -1)
    return made


def films(results: Results) -> Films:
    """The expected share of rightness of every test review, with the weights of the arm's mean score."""
    return Films({arm: right(results, arm) for arm in results.cells}, results.movies)


def right(results: Results, arm: str) -> NDArray[np.floating]:
    """float [reviews]: the weighted mean of the arm's runs being right, a failed run counting as a guess on every review."""
    if separate(results):
        runs = results.of("scores", arm, "tuned")
        weights = np.full(len(runs), 1 / len(runs))
    else:
        runs = results.of("scores", arm, "trial")
        weights = trial_weights(runs["validation"].fillna(-np.inf).to_numpy(float), results.study["headline"])
    failed = (runs["state"] == "failed").to_numpy()
    mean = np.full(len(results.movies), GUESS.accuracy * weights[failed].sum())
    rows, shares = runs.index.to_numpy()[~failed], weights[~failed].astype(np.float64)
    for start in range(0, len(rows), CHUNK):
        bits = unpack(results.correct[rows[start : start + CHUNK]], len(results.movies))
        mean += shares[start : start + CHUNK] @ bits
    return mean
