"""The shares of a forest against Optuna's own evaluator."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from sklearn.ensemble import RandomForestRegressor

from pipeline.evidence.fanova import shares

DISTRIBUTIONS = {
    "choice": CategoricalDistribution(["a", "b", "c"]),
    "flag": CategoricalDistribution([True, False]),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "units": IntDistribution(8, 48, step=8),
}


def drawn(rng: np.random.Generator, trials: int) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Trials as values, as columns with one a choice, and their scores: two hyperparameters and their interplay matter."""
    values = [
        {
            "choice": "abc"[rng.integers(3)],
            "flag": bool(rng.integers(2)),
            "rate": float(10 ** rng.uniform(-4, -1)),
            "units": 8 * int(rng.integers(1, 7)),
        }
        for _ in range(trials)
    ]
    columns = np.array(
        [[*(one["choice"] == name for name in "abc"), one["flag"], not one["flag"], one["rate"], one["units"]] for one in values],
        float,
    )
    return values, columns, 3 * columns[:, 1] + columns[:, 6] / 20 * (1 + columns[:, 3]) + rng.normal(0, 0.2, trials)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shares_are_optunas(seed):
    values, columns, scores = drawn(np.random.default_rng(seed), 40)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for one, score in zip(values, scores, strict=True):
        study.add_trial(optuna.create_trial(params=one, distributions=DISTRIBUTIONS, value=score))
    expected = FanovaImportanceEvaluator(n_trees=16, max_depth=64, seed=seed).evaluate(study)
    forest = RandomForestRegressor(n_estimators=16, max_depth=64, random_state=seed).fit(columns, scores)
    bounds = np.array([[0, 1]] * 5 + [[1e-4, 1e-1], [8, 48]], float)
    found = shares([tree.tree_ for tree in forest.estimators_], bounds, [[0, 1, 2], [3, 4], [5], [6]])
    assert found == pytest.approx([expected[key] for key in sorted(DISTRIBUTIONS)], abs=1e-12)
    assert 0.5 < found.sum() < 1


def test_scores_without_spread_have_nothing_to_explain():
    forest = RandomForestRegressor(n_estimators=3).fit(np.arange(9.0).reshape(9, 1), np.ones(9))
    assert shares([tree.tree_ for tree in forest.estimators_], np.array([[0.0, 8.0]]), [[0]]).tolist() == [0]
