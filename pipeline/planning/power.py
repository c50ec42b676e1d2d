"""The gaps that a study will detect, from the errors of earlier studies.

earlier.csv has those of the committed studies (tests/planning/earlier.py writes it): fraction (of
the training rows), budget (n), search_sd (standard error of a gap after a search of n trials per
cell), row_sd (the same for one test row), share (mean share of the epochs that the trials used).
"""

import json
import math
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from ..analysis import arrays
from ..config.schema import Config, Search
from ..errors import FairsweepError
from ..scoring.results import Results, load
from ..statistics import repeated_search, shared_search
from ..statistics.estimate import Estimate
from ..statistics.power import GROUP_DF, POWER, chance, sizes_needed

TABLE = Path(__file__).with_name("earlier.csv")
# A row of earlier.csv.
Row = dict[str, Any]


def earlier_studies(config: Config, metric: str) -> tuple[list[Row], str]:
    """The earlier studies that predict the errors of `config`, and a description of them.

    These are one of the same task, in results/ if possible, else all studies with the accuracy.
    """
    task, budget, live = config.task, config.search.budget, list[Row]()
    for path in Path("results").glob("*/scores/study.json"):
        study = json.loads(path.read_text("utf-8"))
        if study["task"]["name"] == task.name and study["trials"] and study["cells"][1:]:
            with suppress(FairsweepError, KeyError):
                live.append(summarize(load(path.parent), budget))
    committed: list[Row] = pd.read_csv(TABLE).to_dict("records")  # type: ignore[assignment]

    def distance(row: Row) -> tuple[bool, bool, float, int]:
        fraction = abs(math.log(row["fraction"] / task.train_fraction))
        return row not in live, row["study"] != config.name, fraction, abs(row["budget"] - budget)

    rows = sorted((row for row in [*live, *committed] if row["metric"] == metric), key=distance)
    if row := next((row for row in rows if row["task"] == task.name), None):
        place = "results/{}" if row in live else "study {} of this project"
        return [row], f"{place.format(row['study'])} (same task)"
    # The unit of another metric depends on the task.
    nearest = {row["study"]: row for row in reversed(rows) if metric == "accuracy"}
    return list(nearest.values()), "the committed studies (medians)"


def summarize(results: Results, budget: int) -> Row:
    """The row of a study in earlier.csv for a search of `budget` trials, or of fewer it has."""
    groups, study, variances, rows = arrays.groups(results), results.study, [], []
    shared = not arrays.separate(results)
    largest = study["trials"] // shared_search.MIN_TRIALS_PER_BUDGET
    budget = max(1, min(budget, largest)) if shared else study["trials"]
    pools = arrays.pools(results) if shared else {}
    means = {} if shared else {arm: x.mean(axis=1) for arm, x in arrays.studies(results).items()}
    for a, b in combinations(results.cells, 2):
        rows.append(groups.variance(a, b)[0] * len(results.groups))
        if shared:
            gap = shared_search.gap(pools[a], pools[b], budget, paired=True)
            variances.append(gap.variance * study["trials"] / budget)
        else:
            gap = repeated_search.gap(means[a], means[b], paired=True)
            variances.append(gap.variance * len(means[a]))
    epochs = study["fixed"].get("train.epochs", results.trials["epochs"].max())
    return {
        "study": study["study"],
        "task": study["task"]["name"],
        "fraction": study["task"].get("train_fraction", 1.0),
        "metric": results.spec.metric,
        "budget": budget,
        "search_sd": float(f"{np.sqrt(np.mean(variances)):.4g}"),
        "row_sd": float(f"{np.sqrt(np.mean(rows)):.4g}"),
        "share": round(float(results.trials["epochs"].mean() / epochs), 3),
    }


def power(
    search: Search, search_sd: float, row_sd: float, rows: int
) -> tuple[float, list[tuple[float, float, int | None]]]:
    """What a design detects of one pair of cells on `rows` test rows, with the errors of a `Row`.

    Returns:
        The gap that is detected with 80 % power. For the margin and half of it: (gap, power, trials
        per cell or repeated searches for 80 % power, None if the test set is too small).
    """
    alpha, group_variance = search.alpha / search.looks, row_sd**2 / rows
    size, per_search, least = search.repeats, 1, repeated_search.FEWEST
    if shared := search.design == "shared":
        size, per_search = search.trials, search.budget
        least = shared_search.MIN_TRIALS_PER_BUDGET * search.budget

    def degrees(planned: int) -> float:
        return shared_search.degrees(planned, search.budget) if shared else planned - 1.0

    def detected(gap: float) -> float:
        return chance(replace(error, value=gap).plus(group_variance, GROUP_DF), alpha)

    error, planned = Estimate(0.0, search_sd**2 * per_search / size, degrees(size)), []
    for gap in (search.margin, search.margin / 2):
        sizes = range(least, 1000 * size + 1)
        needed = sizes_needed(error, group_variance, size, sizes, degrees, gap, alpha)
        planned.append((gap, detected(gap), needed["likely"] if needed else None))
    high = search.margin
    while detected(high) < POWER:
        high *= 2
    return brentq(lambda gap: detected(gap) - POWER, 0.0, high), planned
