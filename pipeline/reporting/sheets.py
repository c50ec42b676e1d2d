"""The tables of the report, header and rows of text: Markdown and HTML show the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.reporting import words
from pipeline.reporting.verdicts import ahead
from pipeline.reporting.words import chance, mean_sd, p_value, points, score, span, with_interval

Metrics = dict[str, Any]

PROBABILITY = {"value": "a_beats_b", "low": "low", "high": "high"}


@dataclass(frozen=True)
class Table:
    """A caption, a header, and rows of as many cells; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Versus:
    """One field of the verdict matrix, from the row's point of view: the verdict's name, sign and word, the gap."""

    name: str
    sign: str
    word: str
    gap: str


@dataclass(frozen=True)
class Matrix:
    """Cells against cells; the diagonal is None."""

    caption: str
    arms: Sequence[str]
    rows: Sequence[Sequence[Versus | None]]


def matrix(metrics: Metrics) -> Matrix:
    """Every pair from both sides."""
    arms = list(metrics["arms"])
    pairs = {(pair["a"], pair["b"]): pair for pair in metrics["pairs"]}
    rows = [[None if row == column else _versus(pairs, row, column) for column in arms] for row in arms]
    return Matrix(
        f"The cell of the row against the cell of the column; gaps in points with {words.level(metrics)} intervals", arms, rows
    )


def _versus(pairs: dict[tuple[str, str], dict[str, Any]], row: str, column: str) -> Versus:
    pair = pairs.get((row, column)) or pairs[column, row]
    here = pair["a"] == row
    gap, low, high = (pair["gap"], pair["low"], pair["high"]) if here else (-pair["gap"], -pair["high"], -pair["low"])
    name, sign, word = pair["verdict"], words.SIGNS[pair["verdict"]], words.LABELS[pair["verdict"]]
    if ahead(pair) == column:
        name, sign, word = f"worse_{name}", {"▲": "▼", "△": "▽"}[sign], word.replace("better", "worse")
    return Versus(name, sign, word, f"{points(gap)} {span(low, high)}")


def readme(metrics: Metrics) -> Table:
    """The README's table: a row a cell and a row a baseline, from metrics.json alone."""
    header = [
        "cell",
        f"a search of {words.counted(metrics['headline'], 'trial')} scores, on test [{words.level(metrics)} interval]",
        _replicates(metrics),
        _recipe(metrics),
        *("trials", "epochs", "minutes"),
    ]
    rows = [
        [
            *(arm, with_interval(values["tuned"]), mean_sd(values["replicates"]), mean_sd(values["recipe"])),
            *(f"{values['trials']:,}", f"{values['epochs']:,}", _minutes(values["seconds"])),
        ]
        for arm, values in metrics["arms"].items()
    ]
    for kind, values in metrics["baseline"].items():
        rows.append(
            [
                words.BASELINE_NAMES[kind],
                score(values["test"]),
                "–",
                "–",
                str(values["settings"]),
                "–",
                _minutes(values["seconds"]),
            ]
        )
    return Table("", header, rows)


def cells(metrics: Metrics) -> Table:
    """What each cell scores on test, and the linear models beside it."""
    header = [
        "cell",
        f"what a search of {words.counted(metrics['headline'], 'trial')} picks [{words.level(metrics)} interval]",
        "on exactly these reviews",
        _replicates(metrics),
        _recipe(metrics),
    ]
    rows = []
    for arm, values in metrics["arms"].items():
        tuned = values["tuned"]
        search = f"[{score(tuned['search_low'])}, {score(tuned['search_high'])}]"
        rows.append([arm, with_interval(tuned), search, mean_sd(values["replicates"]), mean_sd(values["recipe"])])
    for kind, values in metrics["baseline"].items():
        rows.append([words.BASELINE_NAMES[kind], score(values["test"]), "–", "–", "–"])
    return Table("Test accuracy (fraction) of each cell, and of linear models", header, rows)


def optimism(metrics: Metrics) -> Table:
    """What validation said of the best trial, and what fresh runs say."""
    rows = [
        [arm, score(values["validation_of_best"]), score(values["replicates"]["mean"]), points(values["optimism"])]
        for arm, values in metrics["arms"].items()
    ]
    header = ["cell", "validation said", "fresh runs say, on test", "optimism, points"]
    return Table("The best trial's validation accuracy against fresh runs of the same configuration", header, rows)


def recipes(metrics: Metrics) -> Table:
    """A row a published recipe and cell."""
    rows = []
    for arm, values in metrics["arms"].items():
        for recipe, runs in values["recipes"].items():
            numbers = [score(runs[key]) for key in ("mean", "sd", "min", "max", "loss_mean")]
            rows.append([recipe, arm, str(runs["n"]), *numbers])
    header = ["recipe", "cell", "seeds", "test mean", "sd", "min", "max", "mean loss"]
    return Table("The recipe as published, untuned: test accuracy (fraction) and log loss (nats a review)", header, rows)


def pairs(metrics: Metrics) -> Table:
    """A row a pair, the better mean first: gap, intervals, verdict, P(A beats B)."""
    rows = []
    for pair in map(words.oriented, metrics["pairs"]):
        likely = _likely({name: pair[f"probability_{key}"] for name, key in PROBABILITY.items()})
        total, search = span(pair["low"], pair["high"]), span(pair["search_low"], pair["search_high"])
        rows.append([f"{pair['a']} − {pair['b']}", points(pair["gap"]), total, search, likely, words.LABELS[pair["verdict"]]])
    header = ["pair A − B", "gap, points", "total interval", "on exactly these reviews", "P(A beats B)", "verdict"]
    return Table(f"Every pair, the better mean first; {words.level(metrics)} intervals", header, rows)


def tests(metrics: Metrics) -> Table:
    """A row a pair: the p-values of both questions, alone and corrected."""
    rows = [
        [f"{pair['a']} − {pair['b']}"]
        + [p_value(pair[f"p_{question}{holm}"]) for question in ("superior", "equivalent") for holm in ("", "_holm")]
        for pair in map(words.oriented, metrics["pairs"])
    ]
    header = ["pair", "different: p", "with Holm", f"within {words.margin(metrics)}: p", "with Holm"]
    return Table("p-values of both questions, each alone and corrected for all pairs (Holm)", header, rows)


def anecdote(metrics: Metrics) -> Table:
    """A row a way of choosing one run a cell: how often each cell is crowned."""
    rows = [
        [name, str(version["runs"]), *(chance(version["crowned"][arm]) for arm in metrics["arms"])]
        for name, version in words.versions(metrics).items()
    ]
    return Table("The probability that one run a cell crowns each cell", ["the run", "runs a cell", *metrics["arms"]], rows)


def duels(metrics: Metrics) -> Table:
    """A row a pair: the probability that one run each misleads, for each way of choosing the run that tells it by pair."""
    told = {name: version["pairs"] for name, version in words.versions(metrics).items() if "pairs" in version}
    rows = []
    for same in zip(*told.values(), strict=True):
        asked = "the other way round" if same[0]["question"] == "other" else f"a gap above {words.margin(metrics)}"
        rows.append([f"{same[0]['a']}, {same[0]['b']}", asked, *map(_likely, same)])
    return Table("Two cells alone: the probability that one run each misleads", ["pair", "misled by", *told], rows)


def _likely(values: dict[str, Any]) -> str:
    if values["low"] is None:
        return chance(values["value"])
    return f"{chance(values['value'])} [{chance(values['low'])}, {chance(values['high'])}]"


def costs(metrics: Metrics) -> Table:
    """What each cell's search cost, and the linear models."""
    rows = [
        [
            arm,
            f"{values['parameters']:,}",
            f"{values['trials']:,}",
            f"{values['epochs']:,}",
            f"{values['seconds']:,.0f}",
            score(values["tuned"]["mean"]),
        ]
        for arm, values in metrics["arms"].items()
    ]
    for kind, values in metrics["baseline"].items():
        name, seconds = words.BASELINE_NAMES[kind], f"{values['seconds']:,.0f}"
        rows.append([name, f"{values['features']:,}", str(values["settings"]), "–", seconds, score(values["test"])])
    header = ["cell", "parameters of best", "trials", "epochs", "seconds", "test accuracy"]
    return Table("What each search cost (seconds of a worker's time), and what it scores", header, rows)


def best(metrics: Metrics) -> Table:
    """The chosen configuration of each cell."""
    rows = []
    for arm, values in metrics["arms"].items():
        chosen = [one for one in values["best"]["overrides"] if not one.startswith(("study=", "cell=", "seed="))]
        rows.append([arm, str(values["best"]["trial"]), f"`{' '.join(chosen)}`"])
    return Table("The best configuration of each cell, by validation", ["cell", "trial", "configuration"], rows)


def space(study: dict[str, Any]) -> Table:
    """The search space, a row a hyperparameter."""
    rows = []
    for parameter in study["space"]:
        if parameter.get("choices") is not None:
            values, scale = ", ".join(words.plain(choice) for choice in parameter["choices"]), "choices"
        else:
            values, scale = f"{parameter['low']:g} to {parameter['high']:g}", "logarithmic" if parameter.get("log") else "linear"
            scale += f", step {parameter['step']:g}" if parameter.get("step") else ""
        rows.append([f"`{parameter['key']}`", values, scale])
    return Table("What was searched, the same for every cell", ["hyperparameter", "values", "scale"], rows)


def importance(metrics: Metrics) -> Table:
    """A row a hyperparameter with a share above chance in some cell."""
    rows = []
    for arm, found in (metrics.get("importance") or {}).items():
        named = ", ".join(f"`{key}` {found['shares'][key]:.2f}" for key in found["named"]) or "none"
        rows.append(
            [arm, str(found["trials"]), f"{found['baseline']:.2f}" if found["shares"] else "–", named, found["note"] or "–"]
        )
    header = ["cell", "finished trials", "share by chance alone", "above it", "note"]
    return Table("What explains the spread of each cell's trials (fANOVA, shares of the variance)", header, rows)


def components(metrics: Metrics) -> Table:
    """Where the spread comes from, in points."""
    separate = metrics["design"] == "studies"
    rows = []
    for arm, values in metrics["arms"].items():
        parts = values["components"]
        row = [arm, *(points(parts[key]) for key in ("searches", "seeds", "films"))]
        if separate:
            icc, retrainings = parts.get("icc"), parts.get("best_retrainings")
            row += ["–" if icc is None else f"{icc:.2f}", "–" if retrainings is None else f"{retrainings:.1f}"]
        rows.append(row)
    header = ["cell", "between searches", "between seeds", "between samples of films"]
    header += ["share of searches (ICC)", "best number of retrainings"] if separate else []
    return Table("Standard deviations of test accuracy, in points", header, rows)


def ledger(metrics: Metrics) -> Table:
    """Runs, failures, epochs and hours of each cell, in its search and its retrainings."""
    rows, keys = [], ("runs", "failed", "epochs", "seconds")
    total = dict.fromkeys(keys, 0.0)
    for arm, parts in metrics["ledger"].items():
        for stage, count in (("tune", "trials"), ("replicate", "runs")):
            part = {**parts[stage], "runs": parts[stage][count]}
            rows.append([arm, stage, *_spent(part), f"{part.get('pruned', 0):,}"])
            total = {key: total[key] + part[key] for key in keys}
    pruned = sum(int(row[-1].replace(",", "")) for row in rows)
    rows.append(["all", "", *_spent(total), f"{pruned:,}"])
    header = ["cell", "stage", "runs", "failed", "epochs", "hours", "pruned"]
    # Where nothing is ever pruned, the column would only raise a question.
    last = len(header) if pruned else len(header) - 1
    return Table("Every run on record", header[:last], [row[:last] for row in rows])


def _spent(part: dict[str, Any]) -> list[str]:
    return [*(f"{int(part[key]):,}" for key in ("runs", "failed", "epochs")), f"{part['seconds'] / 3600:.2f}"]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _replicates(metrics: Metrics) -> str:
    """The heading of the column of retrainings."""
    n = next(iter(metrics["arms"].values()))["replicates"]["n"]
    return f"best configuration, {words.counted(n, 'fresh seed')}: mean ± sd"


def _recipe(metrics: Metrics) -> str:
    """The heading of the first recipe's column."""
    first = next(iter(metrics["arms"].values()))
    return f"{next(iter(first['recipes']))} recipe: mean ± sd" if first["recipes"] else "recipe (none)"
