"""What earlier studies tell about one to come: the error of a gap, the test set's part of it, how many of their epochs runs used.

Those committed with this project stand in earlier.csv, which `python -m pipeline.planning.earlier` writes anew from results/. One of
the same task that was run here is read from results/ itself, so nothing that trains may use this module.
"""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.config import Config
from pipeline.errors import FairsweepError
from pipeline.evidence import pool, studies
from pipeline.files import replace_file
from pipeline.reporting import arms
from pipeline.reporting.tables import Results, load

TABLE, RESULTS = Path(__file__).with_name("earlier.csv"), Path("results")
# Sizes of search from which the committed studies are seen, as far as they have the trials.
HEADLINES = (2, 5, 10, 15)


@dataclass(frozen=True)
class Earlier:
    """An earlier study, seen from a search of one size.

    Attributes:
        study: its name.
        task: the name of its task.
        fraction: of the training rows that it trained on.
        metric: of its scores, in whose unit the spreads are.
        headline: n, the trials of the search.
        search_sd: standard error of the gap of two cells after one such search each, root mean square over its pairs. N trials are
            N / n searches, and their gap has this over the root of their number; so have so many separate studies.
        row_sd: the same of one row of the test set.
        share: mean share that its trials used of the epochs they were given.
    """

    study: str
    task: str
    fraction: float
    metric: str
    headline: int
    search_sd: float
    row_sd: float
    share: float


@dataclass(frozen=True)
class Basis:
    """What a plan takes from earlier studies: as `Earlier`, the largest and the smallest search_sd, and where it is from."""

    headline: int
    search_sd: float
    low: float
    high: float
    row_sd: float
    share: float
    source: str


def basis(config: Config, metric: str) -> Basis | None:
    """What is known for `config`: a study of its task, run here or committed, else the middle of those with its metric; or None.

    Errors and nats are in units of a task's own, so of another task they say nothing.
    """
    if found := here(config, metric):
        return _of(found, f"results/{found.study}")
    if found := _committed_of_task(config, metric):
        return _of(found, f"study {found.study} of this project")
    alike = _nearest([one for one in committed() if one.metric == metric == "accuracy"], config.search.headline)
    if not alike:
        return None
    spreads = [one.search_sd for one in alike]
    return Basis(
        headline=round(median(one.headline for one in alike)),
        search_sd=median(spreads),
        low=min(spreads),
        high=max(spreads),
        row_sd=median(one.row_sd for one in alike),
        share=median(one.share for one in alike),
        source=f"the middle of {len(alike)} studies of other tasks ({', '.join(one.study for one in alike)})",
    )


def _of(found: Earlier, source: str) -> Basis:
    low = high = found.search_sd
    source = f"{source}, of the same task"
    return Basis(found.headline, found.search_sd, low, high, found.row_sd, found.share, source)


def here(config: Config, metric: str) -> Earlier | None:
    """Of the studies in results/ that are of the task the one most like `config`."""
    for _, folder in sorted((_distance(config, study, fraction), folder) for folder, study, fraction in _here(config.task.name)):
        with suppress(FairsweepError, KeyError):
            results = load(folder)
            if results.form.metric == metric:
                return seen(results, _largest(results, config.search.headline))
    return None


def _committed_of_task(config: Config, metric: str) -> Earlier | None:
    rows = [one for one in committed() if (one.task, one.metric) == (config.task.name, metric)]
    near = _nearest(rows, config.search.headline)
    return min(near, key=lambda one: _distance(config, one.study, one.fraction), default=None)


def _distance(config: Config, study: str, fraction: float) -> tuple[bool, float]:
    """How unlike a study of the same task is: its own run comes first, then the one of the nearest share of training rows."""
    return study != config.name, abs(math.log(fraction / config.task.train_fraction))


def shares() -> float:
    """The middle of the committed studies' shares of epochs used."""
    return median({one.study: one.share for one in committed()}.values())


def committed() -> list[Earlier]:
    """The rows of earlier.csv."""
    types = {field.name: field.type for field in fields(Earlier)}
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Earlier(**{name: types[name](value) for name, value in row.items()}) for row in rows]  # type: ignore[operator]


def table() -> list[Earlier]:
    """The rows of earlier.csv, from the studies in results/ that had a search."""
    rows = []
    for path in sorted(RESULTS.glob("*/scores/study.json")):
        if json.loads(path.read_text(encoding="utf-8"))["trials"]:
            results = load(path.parent)
            sizes = [size for size in HEADLINES if _largest(results, size) == size]
            rows += [seen(results, size) for size in sizes]
    return rows


def seen(results: Results, headline: int) -> Earlier:
    """A study that was run, seen from a search of `headline` trials; separate studies have their own size of search."""
    films, pairs, study = arms.films(results), list(combinations(results.cells, 2)), results.study
    epochs = study["fixed"].get("train.epochs", results.trials["epochs"].max())
    return Earlier(
        study=study["study"],
        task=study["task"]["name"],
        fraction=study["task"].get("train_fraction", 1.0),
        metric=results.form.metric,
        headline=headline,
        search_sd=_root_mean(_one_search(results, a, b, headline) for a, b in pairs),
        row_sd=_root_mean(films.variance(a, b)[0] * len(results.movies) for a, b in pairs),
        share=round(float(results.trials["epochs"].mean() / epochs), 3),
    )


def _one_search(results: Results, a: str, b: str, headline: int) -> float:
    """Variance of the gap of one search of each of two arms."""
    if arms.separate(results):
        scores = {arm: values.mean(axis=1) for arm, values in arms.studies(results).items()}
        return studies.gap(scores[a], scores[b], paired=True).variance * len(scores[a])
    pools = arms.pools(results)
    return pool.gap(pools[a], pools[b], headline, paired=True).variance * len(pools[a]) / headline


def _root_mean(variances: Iterator[float]) -> float:
    return float(f"{np.sqrt(np.mean(list(variances))):.4g}")


def _largest(results: Results, headline: int) -> int:
    """The size of search nearest to `headline` that the study's trials are enough for."""
    if arms.separate(results):
        return int(results.study["trials"])
    return max(1, min(headline, results.study["trials"] // pool.FEWEST_PER_HEADLINE))


def _here(task: str) -> Iterator[tuple[Path, str, float]]:
    """(folder of scores, study, train_fraction) of the studies with a search that were run here on a task."""
    for path in RESULTS.glob("*/scores/study.json"):
        study = json.loads(path.read_text(encoding="utf-8"))
        if study["task"]["name"] == task and study["trials"] and len(study["cells"]) > 1:
            yield path.parent, study["study"], study["task"].get("train_fraction", 1.0)


def _nearest(rows: Sequence[Earlier], headline: int) -> list[Earlier]:
    """One row a study, that of the size of search nearest to `headline`."""
    names = dict.fromkeys(one.study for one in rows)
    return [min((one for one in rows if one.study == name), key=lambda one: abs(one.headline - headline)) for name in names]


def main() -> None:
    """Writes earlier.csv."""
    with replace_file(TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, [field.name for field in fields(Earlier)], lineterminator="\n")
        out.writeheader()
        out.writerows(map(asdict, table()))


if __name__ == "__main__":
    main()
