"""Which hyperparameters explain the spread of an arm's scores, and whether the best trials lie at the edge of a range.

Both questions read the recorded trials and the study's space alone. Importance is Optuna's functional analysis of variance (Hutter,
Hoos, Leyton-Brown 2014) against shuffled scores, since it finds something in noise too. Independent trials only: a sampler that
learns crowds the good region, where little is left to explain.

Two choices differ from Optuna's defaults, and in simulation name what is there three to four times as often at the same error in
noise. Shares are not scaled to sum to 1: noise is mostly interplay, and scaled up its largest share passes .6. Ranges that are
searched evenly in the logarithm are taken so, or a few large learning rates would stand for nine tenths of the range.
"""

import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config.validation import as_typed
from ..errors import FairsweepError
from ..files import replace_file
from ..scoring.results import DIGITS, Results, best_row
from ..statistics import range_edges

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

CACHE = Path(".fairsweep/importance")
# The first can be named from 30 complete trials on, an order from 60; more cost minutes and change little.
FEWEST, FEWEST_ORDERED = 30, 60
SHUFFLES = 20
TREES, DEPTH, SEED = 64, 64, 0


class Spread(NamedTuple):
    """Complete trials: the searched values of each on the search scale, and their validation scores, float [trials]."""

    values: list[dict[str, Any]]
    scores: NDArray[np.floating]


class Found(NamedTuple):
    """Each key's share, the largest first, and the largest share that shuffled scores gave."""

    shares: dict[str, float]
    baseline: float


def importance(results: Results, cache: Path | None = CACHE) -> dict[str, dict[str, Any]]:
    """Of each arm {evaluator, trials, shares, baseline, named, note}, as metrics.json holds it.

    `shares` are of the variance over the space, largest first: what a key explains by itself; what they lack to 1 is interplay.
    `baseline` is the largest share in 20 shuffles of the scores, so noise names a key in one study of 21; `named` are the keys
    above it, the first alone below 60 trials. Where nothing is computed, `shares` and `named` are empty, `baseline` is None and
    `note` says why.

    Args:
        results: a study.
        cache: folder of results by the digest of what they come from; None computes anew. It may be deleted at any time.

    Raises:
        FairsweepError: if a trial lacks a searched key.
    """
    spreads = {arm: _spread(results, arm) for arm in results.cells}
    spaces = {arm: [_even(row) for row in _searched(results, arm)] for arm in results.cells}
    fitted = {arm: spread for arm, spread in spreads.items() if isinstance(spread, Spread)}
    known = {arm: _cached(spread, spaces[arm], cache) for arm, spread in fitted.items()}
    missing = {arm: fitted[arm] for arm, found in known.items() if found is None}
    for arm, found in _side_by_side(missing, spaces).items():
        known[arm] = found
        _keep(found, missing[arm], spaces[arm], cache)
    return {arm: _told(results, arm, spread, known.get(arm)) for arm, spread in spreads.items()}


def _side_by_side(
    spreads: dict[str, Any], spaces: dict[str, list[dict[str, Any]]]
) -> dict[str, Found]:
    """`_computed` of each arm; twenty-one forests take seconds, so several arms have a process each."""
    if len(spreads) < 2:
        return {arm: _computed(spread, spaces[arm]) for arm, spread in spreads.items()}
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, len(spreads)), multiprocessing.get_context("spawn")
    ) as processes:
        return dict(
            zip(
                spreads,
                processes.map(_computed, spreads.values(), [spaces[arm] for arm in spreads]),
                strict=True,
            )
        )


def edges(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Of each arm, every end of a range in whose outer tenth its best trial lies.

    Each is {key, side, value, position, chance, chance_any, warning, remedy}. `value` and `position` (0 to 1 on the search scale) are
    the best trial's; `chance` is that of scores which rise so steeply at that end, and `chance_any` of that at some end of some range of
    some arm, as `evidence.edges` says. A warning is an end beyond which better values may lie.

    Raises:
        FairsweepError: if a trial lacks a searched key.
    """
    return {arm: _edges(results, arm) for arm in results.cells}


def _searched(results: Results, arm: str) -> list[dict[str, Any]]:
    return [row for row in results.space(arm) if _varies(row)]


def _spread(results: Results, arm: str) -> Spread | str:
    """The trials that the forests are fitted to, or why there are none."""
    used, space = _complete(results, arm).head(FEWEST_ORDERED), _searched(results, arm)
    sampler = results.study["sampler"]
    if sampler != "random":
        return f"not computed: trials of the sampler {sampler} crowd the good region"
    if len(used) < FEWEST:
        return f"not computed: {len(used)} complete trials, at least {FEWEST} are needed"
    if used["validation"].nunique() == 1:
        return "not computed: all complete trials score the same"
    if not space:
        return "not computed: no hyperparameter has two values"
    logarithmic = {row["key"] for row in space if row["log"]}
    values = [
        {
            key: math.log(value) if key in logarithmic else value
            for key, value in _values(row, space).items()
        }
        for row in used["overrides"]
    ]
    return Spread(values, used["validation"].to_numpy(float))


def _even(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the space on the search scale, where every range is even: a logarithmic range as that of the logarithms."""
    return (
        {"key": row["key"], "low": math.log(row["low"]), "high": math.log(row["high"])}
        if row["log"]
        else row
    )


def _told(results: Results, arm: str, spread: Spread | str, found: Found | None) -> dict[str, Any]:
    """What metrics.json says of one arm."""
    complete = _complete(results, arm)
    used = min(len(complete), FEWEST_ORDERED)
    empty = {"evaluator": "fanova", "trials": used, "shares": {}, "baseline": None, "named": []}
    if isinstance(spread, str) or found is None:
        return {**empty, "note": spread}
    named = [key for key, share in found.shares.items() if share > found.baseline]
    notes = [f"the first {used} of {len(complete)} complete trials"] if used < len(complete) else []
    if used < FEWEST_ORDERED:
        named = named[:1]
        notes.append(f"an order needs {FEWEST_ORDERED} complete trials")
    if not named:
        notes.append("no share is larger than in shuffled scores")
    if (results.of("trials", arm)["state"] == "pruned").any():
        notes.append("pruned trials are left out")
    return {
        **empty,
        "shares": found.shares,
        "baseline": found.baseline,
        "named": named,
        "note": "; ".join(notes) or None,
    }


def _complete(results: Results, arm: str) -> pd.DataFrame:
    trials = results.of("trials", arm)
    return trials[trials["state"] == "complete"].sort_values(["repeat", "trial"])


def _values(overrides: str, space: list[dict[str, Any]]) -> dict[str, Any]:
    """The searched values of one trial, in the order of the keys."""
    texts = dict(text.split("=", 1) for text in json.loads(overrides))
    lacking = [row["key"] for row in space if row["key"] not in texts]
    if lacking:
        raise FairsweepError(
            f"a trial lacks {', '.join(lacking)}. Expected every key of the space; found {overrides}. Run `dvc repro`."
        )
    values = {}
    for row in sorted(space, key=lambda row: row["key"]):
        text = texts[row["key"]]
        # YAML reads 1e-05 as text.
        number = int if _whole(row) else float
        values[row["key"]] = _choice(text, row["choices"]) if "choices" in row else number(text)
    return values


def _choice(text: str, choices: Sequence[Any]) -> Any:
    """The one of `choices` that is written `text`; YAML would read 1e-05 as text."""
    import yaml

    written = {as_typed(choice): choice for choice in choices}
    return written[text] if text in written else yaml.safe_load(text)


def _varies(row: Mapping[str, Any]) -> bool:
    return len(row["choices"]) > 1 if "choices" in row else row["low"] < row["high"]


def _whole(row: Mapping[str, Any]) -> bool:
    """Whether a range holds whole numbers, which are written without a point."""
    return all(isinstance(row.get(name, 1), int) for name in ("low", "high", "step"))


def _distribution(row: Mapping[str, Any]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in row:
        return CategoricalDistribution(row["choices"])
    if _whole(row):
        return IntDistribution(row["low"], row["high"], step=row.get("step", 1))
    return FloatDistribution(row["low"], row["high"], step=row.get("step"))


def _place(spread: Spread, space: list[dict[str, Any]], cache: Path) -> Path:
    """The file of these inputs in the cache."""
    inputs = [spread.values, spread.scores.tolist(), space, SHUFFLES, TREES, DEPTH, SEED]
    libraries = {name: version(name) for name in ("optuna", "scikit-learn", "numpy")}
    return cache / f"{hashlib.sha256(json.dumps([inputs, libraries]).encode()).hexdigest()}.json"


def _cached(spread: Spread, space: list[dict[str, Any]], cache: Path | None) -> Found | None:
    """What was computed before, None where it is absent or damaged."""
    if cache is None:
        return None
    try:
        kept = json.loads(_place(spread, space, cache).read_text(encoding="utf-8"))
        found = Found(
            {key: float(share) for key, share in kept["shares"].items()}, float(kept["baseline"])
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if set(found.shares) == {row["key"] for row in space} else None


def _keep(found: Found, spread: Spread, space: list[dict[str, Any]], cache: Path | None) -> None:
    if cache is not None:
        with replace_file(_place(spread, space, cache)) as part:
            part.write_text(json.dumps(found._asdict()) + "\n", encoding="utf-8")


def _computed(spread: Spread, space: list[dict[str, Any]]) -> Found:
    """Optuna's shares, largest first, and the largest of the largest shares of 20 shuffles of the scores."""
    rng = np.random.default_rng(SEED)
    baseline = max(
        max(_shares(spread.values, rng.permutation(spread.scores), space).values())
        for _ in range(SHUFFLES)
    )
    return Found(_shares(spread.values, spread.scores, space), baseline)


def _shares(
    values: list[dict[str, Any]], scores: NDArray[np.floating], space: list[dict[str, Any]]
) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    distributions = {row["key"]: _distribution(row) for row in space}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(params=one, distributions=distributions, value=float(score))
            for one, score in zip(values, scores, strict=True)
        ]
    )
    found = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=SEED).evaluate(study)
    return {key: round(float(share), DIGITS) for key, share in found.items()}


def _edges(results: Results, arm: str) -> list[dict[str, Any]]:
    trials, complete = results.of("trials", arm), _complete(results, arm)
    spans = {
        row["key"]: span
        for row in results.space(arm)
        if _varies(row) and (span := range_edges.span(row))
    }
    rows = [row for row in results.space(arm) if row["key"] in spans]
    values = [_values(overrides, rows) for overrides in complete["overrides"]]
    best = _values(best_row(trials)["overrides"], rows)
    found = range_edges.edges(
        spans, values, complete["validation"].to_numpy(float), best, len(results.cells)
    )
    return [
        {
            "key": edge.key,
            "side": "high" if edge.upper else "low",
            "value": edge.value,
            "position": round(edge.position, DIGITS),
            "chance": round(edge.chance, DIGITS),
            "chance_any": round(edge.chance_any, DIGITS),
            "warning": edge.warning,
            "remedy": edge.remedy,
        }
        for edge in found
    ]
