"""Several recipes side by side: the cells' gaps within each, and where what is in print falls among our seeds."""

from itertools import combinations
from typing import Any

from ..scoring.results import Results, spread
from ..statistics import repeated_search

ALPHA = 0.05


def gaps(results: Results) -> list[dict[str, Any]]:
    """Of each recipe and pair of cells {recipe, a, b, gap, low, high}: the gap of the means over seeds, a minus b.

    The interval is Welch's (1947), 95 %: the seeds of one recipe alone, on this test set; None of a single seed.
    """
    found = []
    for recipe in results.study["recipes"]:
        runs = {
            arm: results.of("scores", arm, recipe)["test"].to_numpy(float) for arm in results.cells
        }
        for a, b in combinations(results.cells, 2):
            if min(len(runs[a]), len(runs[b])) < 2:
                ends: tuple[float | None, float | None] = (None, None)
                gap = float(runs[a].mean() - runs[b].mean())
            else:
                estimate = repeated_search.gap(runs[a], runs[b], paired=False)
                gap, ends = estimate.value, estimate.interval(ALPHA)
            found.append(
                {"recipe": recipe, "a": a, "b": b, "gap": gap, "low": ends[0], "high": ends[1]}
            )
    return found


def printed(results: Results) -> list[dict[str, Any]]:
    """Of each recipe and cell with numbers in print on this task: those, ours, and how many of our seeds lie below.

    Each is {recipe, arm, n, score, ours, below, loss, our_loss, loss_below}; what is not in print is None. Scores and `below` are as
    printed: errors and nats are positive.
    """
    told = results.spec.measure
    found = []
    for recipe, cells in results.study.get("printed", {}).items():
        for arm in (arm for arm in results.cells if arm in cells):
            runs = results.of("scores", arm, recipe)
            shown, losses = runs["test"].map(told.shown), runs["test_loss"]
            score, loss = cells[arm].get(results.spec.metric), cells[arm].get("loss")
            row = {
                "recipe": recipe,
                "arm": arm,
                "n": len(runs),
                "score": score,
                "ours": spread(runs["test"]),
            }
            row |= {
                "below": None if score is None else int((shown < score).sum()),
                "loss": loss,
                "our_loss": spread(losses),
            }
            found.append(
                {**row, "loss_below": None if loss is None else int((losses < loss).sum())}
            )
    return found
