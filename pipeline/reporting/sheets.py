"""The tables of the report, header and rows of text: Markdown and HTML show the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evidence.verdict import ahead
from pipeline.reporting import measure, words
from pipeline.reporting.measure import Measure
from pipeline.reporting.words import chance, decimal, p_value

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
    told = measure.of(metrics)
    rows = [[None if row == column else _versus(pairs, row, column, told) for column in arms] for row in arms]
    return Matrix(
        f"The cell of the row against the cell of the column; gaps in {told.gaps} with {words.level(metrics)} intervals",
        arms,
        rows,
    )


def _versus(pairs: dict[tuple[str, str], dict[str, Any]], row: str, column: str, told: Measure) -> Versus:
    pair = pairs.get((row, column)) or pairs[column, row]
    here = pair["a"] == row
    gap, low, high = (pair["gap"], pair["low"], pair["high"]) if here else (-pair["gap"], -pair["high"], -pair["low"])
    name, sign, word = pair["verdict"], words.SIGNS[pair["verdict"]], words.LABELS[pair["verdict"]]
    if ahead(pair) == column:
        name, sign, word = f"worse_{name}", {"▲": "▼", "△": "▽"}[sign], word.replace("better", "worse")
    return Versus(name, sign, word, f"{told.points(gap)} {told.span(low, high)}")


def readme(metrics: Metrics) -> Table:
    """The README's table: a row a cell and a row a baseline, from metrics.json alone."""
    told = measure.of(metrics)
    header = [
        "cell",
        f"a search of {words.counted(metrics['headline'], 'trial')} scores, on test [{words.level(metrics)} interval]",
        _replicates(metrics),
        _recipe(metrics),
        *("trials", "epochs", "minutes"),
    ]
    rows = [
        [
            *(arm, told.with_interval(values["tuned"]), told.mean_sd(values["replicates"]), told.mean_sd(values["recipe"])),
            *(f"{values['trials']:,}", f"{values['epochs']:,}", _minutes(values["seconds"])),
        ]
        for arm, values in metrics["arms"].items()
    ]
    for kind, values in metrics["baseline"].items():
        rows.append(
            [
                told.baseline(kind),
                told.score(values["test"]),
                "–",
                "–",
                str(values["settings"]),
                "–",
                _minutes(values["seconds"]),
            ]
        )
    return Table("", header, rows)


def cells(metrics: Metrics) -> Table:
    """What each cell scores on test, and the baselines beside it."""
    told = measure.of(metrics)
    header = [
        "cell",
        f"what a search of {words.counted(metrics['headline'], 'trial')} picks [{words.level(metrics)} interval]",
        f"on exactly these {told.examples}",
        _replicates(metrics),
        _recipe(metrics),
    ]
    rows = []
    for arm, values in metrics["arms"].items():
        tuned = values["tuned"]
        search = told.interval(tuned["search_low"], tuned["search_high"])
        rows.append([arm, told.with_interval(tuned), search, told.mean_sd(values["replicates"]), told.mean_sd(values["recipe"])])
    for kind, values in metrics["baseline"].items():
        rows.append([told.baseline(kind), told.score(values["test"]), "–", "–", "–"])
    return Table(f"Test {told.quantity} of each cell, and of {words.beside(metrics)}", header, rows)


def baselines(metrics: Metrics) -> Table:
    """What stands beside recipes without a search."""
    told = measure.of(metrics)
    rows = [
        [told.baseline(kind), told.score(values["test"]), decimal(values["loss"])] for kind, values in metrics["baseline"].items()
    ]
    return Table(f"The baselines: test {told.quantity} and {told.loss}", ["baseline", "test", "loss"], rows)


def optimism(metrics: Metrics) -> Table:
    """What validation said of the best trial, and what fresh runs say."""
    told = measure.of(metrics)
    rows = [
        [
            *(arm, told.score(values["validation_of_best"]), told.score(values["replicates"]["mean"])),
            told.points(values["optimism"]),
        ]
        for arm, values in metrics["arms"].items()
    ]
    header = ["cell", "validation said", "fresh runs say, on test", f"optimism, {told.gaps}"]
    return Table(f"The best trial's validation {told.name} against fresh runs of the same configuration", header, rows)


def recipes(metrics: Metrics) -> Table:
    """A row a published recipe and cell."""
    told, rows = measure.of(metrics), []
    for arm, values in metrics["arms"].items():
        for recipe, runs in values["recipes"].items():
            ends = sorted((runs["min"], runs["max"]), key=told.shown)
            numbers = [
                told.score(runs["mean"]),
                _sd(runs["sd"], told.decimals),
                *map(told.score, ends),
                decimal(runs["loss_mean"]),
            ]
            rows.append([recipe, arm, str(runs["n"]), *numbers, *([] if metrics["trials"] else [_sd(runs["loss_sd"], 4)])])
    header = ["recipe", "cell", "seeds", "test mean", "sd", "min", "max", "mean loss"]
    caption = f"The recipe as published, untuned: test {told.quantity} and {told.loss}"
    return Table(caption, header if metrics["trials"] else [*header, "sd of loss"], rows)


def _sd(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def side_by_side(metrics: Metrics) -> Table:
    """A row a recipe, a column a cell."""
    told, arms = measure.of(metrics), metrics["arms"]
    names = next(iter(arms.values()))["recipes"]
    rows = [[recipe, *(told.mean_sd(values["recipes"][recipe]) for values in arms.values())] for recipe in names]
    return Table(f"Test {told.quantity} of each recipe with each cell: mean ± sd over seeds", ["recipe", *arms], rows)


def recipe_gaps(metrics: Metrics) -> Table:
    """A row a recipe and pair of cells: the gap of their means, with Welch's interval over seeds."""
    told = measure.of(metrics)
    rows = [
        [
            *(one["recipe"], f"{one['a']} {told.against} {one['b']}", told.points(one["gap"])),
            "–" if one["low"] is None else told.span(one["low"], one["high"]),
        ]
        for one in metrics["recipe_gaps"]
    ]
    header = ["recipe", "pair", f"gap, {told.gaps}", "95 % interval over seeds (Welch)"]
    return Table("The gap of two cells within each recipe; positive where the first is better", header, rows)


def printed(metrics: Metrics) -> Table:
    """A row a recipe and cell with numbers in print: where those fall among our seeds."""
    told, rows = measure.of(metrics), []
    for one in metrics["printed"]:
        ours, loss = one["ours"], one["our_loss"]
        rows.append(
            [
                *(one["recipe"], one["arm"], decimal(one["score"]), told.mean_sd(ours), _below(one["below"], one["n"])),
                *(decimal(one["loss"]), f"{decimal(loss['mean'])} ± {_sd(loss['sd'], 4)}", _below(one["loss_below"], one["n"])),
            ]
        )
    header = ["recipe", "cell", f"printed {told.name}", "ours: mean ± sd", "seeds below it", "printed loss", "ours: mean ± sd"]
    return Table(
        f"What is in print, one run each, among our seeds: {told.quantity} and {told.loss}", [*header, "seeds below it"], rows
    )


def _below(count: int | None, of: int) -> str:
    return "–" if count is None else f"{count} of {of} below"


def horizons(metrics: Metrics) -> Table:
    """A row a cell and a baseline: the error at each horizon."""
    told = measure.of(metrics)
    rows = []
    for name, errors in metrics.get("horizons", {}).items():
        shown = name if name in metrics["arms"] else told.baseline(name)
        rows.append([shown, *(f"{error:.{told.decimals}f}" for error in errors)])
    steps = range(1, max((len(row) for row in rows), default=1))
    header = ["", *(f"{step} ahead" for step in steps)]
    return Table(
        f"Mean absolute test error ({told.unit}) by horizon: each cell's run of best validation, and the baselines", header, rows
    )


def pairs(metrics: Metrics) -> Table:
    """A row a pair, the better mean first: gap, intervals, verdict, P(A beats B)."""
    told, rows = measure.of(metrics), []
    for pair in map(words.oriented, metrics["pairs"]):
        likely = _likely({name: pair[f"probability_{key}"] for name, key in PROBABILITY.items()})
        total, search = told.span(pair["low"], pair["high"]), told.span(pair["search_low"], pair["search_high"])
        label = words.LABELS[pair["verdict"]]
        rows.append([f"{pair['a']} {told.against} {pair['b']}", told.points(pair["gap"]), total, search, likely, label])
    header = [f"pair A {told.against} B", f"gap, {told.gaps}", "total interval", f"on exactly these {told.examples}"]
    return Table(
        f"Every pair, the better mean first; {words.level(metrics)} intervals", [*header, "P(A beats B)", "verdict"], rows
    )


def tests(metrics: Metrics) -> Table:
    """A row a pair: the p-values of both questions, alone and corrected."""
    rows = [
        [f"{pair['a']} {measure.of(metrics).against} {pair['b']}"]
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
    """What each cell's search cost, and the baselines."""
    told = measure.of(metrics)
    rows = [
        [
            arm,
            f"{values['parameters']:,}",
            f"{values['trials']:,}",
            f"{values['epochs']:,}",
            f"{values['seconds']:,.0f}",
            told.score(values["tuned"]["mean"]),
        ]
        for arm, values in metrics["arms"].items()
    ]
    for kind, values in metrics["baseline"].items():
        features = f"{values['features']:,}" if "features" in values else "–"
        settings, seconds = str(values["settings"]), f"{values['seconds']:,.0f}"
        rows.append([told.baseline(kind), features, settings, "–", seconds, told.score(values["test"])])
    header = ["cell", "parameters of best", "trials", "epochs", "seconds", f"test {told.axis}"]
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
    """Where the spread comes from, in the unit of a gap."""
    told = measure.of(metrics)
    separate = metrics["design"] == "studies"
    rows = []
    for arm, values in metrics["arms"].items():
        parts = values["components"]
        row = [arm, *(told.points(parts[key]) for key in ("searches", "seeds", "films"))]
        if separate:
            icc, retrainings = parts.get("icc"), parts.get("best_retrainings")
            row += ["–" if icc is None else f"{icc:.2f}", "–" if retrainings is None else f"{retrainings:.1f}"]
        rows.append(row)
    header = ["cell", "between searches", "between seeds", f"between samples of {told.groups}"]
    header += ["share of searches (ICC)", "best number of retrainings"] if separate else []
    return Table(f"Standard deviations of test {told.name}, in {told.gaps}", header, rows)


def ledger(metrics: Metrics) -> Table:
    """Runs, failures, epochs and hours of each cell, in its search and its retrainings."""
    rows, keys = [], ("runs", "failed", "epochs", "seconds")
    total = dict.fromkeys(keys, 0.0)
    for arm, parts in metrics["ledger"].items():
        for stage, count in (("tune", "trials"), ("replicate", "runs")):
            if not parts[stage][count]:
                continue
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
