"""The tables of the report: a caption, a header, and rows of text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..analysis.types import Arm, Pair, Summary
from ..config.validation import as_typed
from ..metrics import Measure, measure_of
from ..statistics.decision import ahead
from .format import (
    LABELS,
    SIGNS,
    chance,
    counted,
    decimal,
    level,
    likely,
    linear_only,
    margin,
    oriented,
    p_value,
    versions,
    without_identity,
)


@dataclass(frozen=True)
class Table:
    """A table. The first cell of a row is its name."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def matrix(summary: Summary) -> Table:
    """Every pair, from the point of view of the row's cell."""
    arms, measure = list(summary["arms"]), measure_of(summary)
    pairs = {(pair["a"], pair["b"]): pair for pair in summary["pairs"]}
    rows = [[row, *(_versus(pairs, row, column, measure) for column in arms)] for row in arms]
    caption = f"The cell of the row against the cell of the column; gaps in {measure.gaps} with {level(summary)} intervals"
    return Table(caption, ["", *arms], rows if pairs else [])


def _versus(pairs: dict[tuple[str, str], Pair], row: str, column: str, measure: Measure) -> str:
    if row == column:
        return "–"
    pair = pairs.get((row, column)) or pairs[column, row]
    sign, label = SIGNS[pair["verdict"]], LABELS[pair["verdict"]]
    if ahead(pair) == column:
        sign, label = {"▲": "▼", "△": "▽"}[sign], label.replace("better", "worse")
    gap, low, high = pair["gap"], pair["low"], pair["high"]
    if pair["a"] != row:
        gap, low, high = -gap, -high, -low
    return f"{sign} {label}, {measure.points(gap)} {measure.span(low, high)}"


def readme(summary: Summary) -> Table:
    """The README's table: one row per cell and per baseline."""
    measure = measure_of(summary)
    search = counted(summary["budget"], "trial")
    header = [
        "cell",
        f"test score of a search of {search} [{level(summary)} interval]",
        _replicates(summary),
        _recipe(summary),
        *("trials", "epochs", "minutes"),
    ]
    rows = []
    for arm, values in summary["arms"].items():
        row = [arm, measure.with_interval(values["tuned"]), measure.mean_sd(values["replicates"])]
        row += [measure.mean_sd(values["recipe"]), *_counts(values, "trials", "epochs")]
        rows.append([*row, f"{values['seconds'] / 60:.1f}"])
    for kind, baseline in summary["baseline"].items():
        row = [measure.baseline(kind), measure.score(baseline["test"]), "–", "–"]
        rows.append([*row, str(baseline["settings"]), "–", f"{baseline['seconds'] / 60:.1f}"])
    return Table("", header, rows)


def _counts(values: Any, *keys: str) -> list[str]:
    return [f"{int(values[key]):,}" for key in keys]


def cells(summary: Summary) -> Table:
    """Test scores of each cell and of the baselines."""
    measure = measure_of(summary)
    header = [
        "cell",
        f"search of {counted(summary['budget'], 'trial')} [{level(summary)} interval]",
        f"interval on exactly these {measure.examples}",
        _replicates(summary),
        _recipe(summary),
    ]
    rows = []
    for arm, values in summary["arms"].items():
        tuned = values["tuned"]
        search = measure.interval(tuned["search_low"], tuned["search_high"])
        row = [arm, measure.with_interval(tuned), search]
        rows.append(
            [*row, measure.mean_sd(values["replicates"]), measure.mean_sd(values["recipe"])]
        )
    for kind, baseline in summary["baseline"].items():
        rows.append([measure.baseline(kind), measure.score(baseline["test"]), "–", "–", "–"])
    others = "linear models" if linear_only(summary) else "the baselines"
    return Table(f"Test {measure.quantity} of each cell, and of {others}", header, rows)


def baselines(summary: Summary) -> Table:
    """Test score and loss of each baseline."""
    measure = measure_of(summary)
    rows = [
        [measure.baseline(kind), measure.score(values["test"]), decimal(values["loss"])]
        for kind, values in summary["baseline"].items()
    ]
    caption = f"The baselines: test {measure.quantity} and {measure.loss}"
    return Table(caption, ["baseline", "test", "loss"], rows)


def optimism(summary: Summary) -> Table:
    """The validation score of the best trial against the test score of fresh runs."""
    measure = measure_of(summary)
    rows = []
    for arm, values in summary["arms"].items():
        row = [arm, measure.score(values["validation_of_best"])]
        row += [measure.score(values["replicates"]["mean"]), measure.points(values["optimism"])]
        rows.append(row)
    header = ["cell", "validation", "test, fresh runs", f"optimism, {measure.gaps}"]
    caption = f"Validation {measure.name} of the best trial, and test {measure.name} of fresh runs of the same configuration"
    return Table(caption, header, rows)


def recipes(summary: Summary) -> Table:
    """One row per recipe and cell."""
    measure, searched, rows = measure_of(summary), bool(summary["trials"]), []
    for arm, values in summary["arms"].items():
        for recipe, runs in values["recipes"].items():
            ends = sorted((runs["min"], runs["max"]), key=measure.shown)
            row = [recipe, arm, str(runs["n"]), measure.score(runs["mean"])]
            row += [_sd(runs["sd"], measure.decimals), *map(measure.score, ends)]
            row += [decimal(runs["loss_mean"])]
            rows.append(row if searched else [*row, _sd(runs["loss_sd"], 4)])
    header = ["recipe", "cell", "seeds", "test mean", "sd", "min", "max", "mean loss"]
    caption = f"The recipe as published, not tuned: test {measure.quantity} and {measure.loss}"
    return Table(caption, header if searched else [*header, "sd of loss"], rows)


def _sd(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def side_by_side(summary: Summary) -> Table:
    """One row per recipe, one column per cell."""
    measure, arms = measure_of(summary), summary["arms"]
    rows = [
        [recipe, *(measure.mean_sd(values["recipes"][recipe]) for values in arms.values())]
        for recipe in _first(summary)["recipes"]
    ]
    caption = f"Test {measure.quantity} of each recipe with each cell: mean ± sd over seeds"
    return Table(caption, ["recipe", *arms], rows)


def recipe_gaps(summary: Summary) -> Table:
    """One row per recipe and pair of cells: the gap of their means, with Welch's interval."""
    measure, rows = measure_of(summary), []
    for gap in summary["recipe_gaps"]:
        span = "–" if gap["low"] is None else measure.span(gap["low"], gap["high"] or 0.0)
        pair = f"{gap['a']} {measure.against} {gap['b']}"
        rows.append([gap["recipe"], pair, measure.points(gap["gap"]), span])
    header = ["recipe", "pair", f"gap, {measure.gaps}", "95 % interval over seeds (Welch)"]
    caption = "The gap of two cells within each recipe; positive where the first is better"
    return Table(caption, header, rows)


def published(summary: Summary) -> Table:
    """One row per recipe and cell with published numbers, and where they are among our seeds."""
    measure, rows = measure_of(summary), []
    for row in summary["printed"]:
        loss, n = row["our_loss"], row["n"]
        score = [decimal(row["score"]), measure.mean_sd(row["ours"]), _below(row["below"], n)]
        losses = f"{decimal(loss['mean'])} ± {_sd(loss['sd'], 4)}"
        losses_row = [decimal(row["loss"]), losses, _below(row["loss_below"], n)]
        rows.append([row["recipe"], row["arm"], *score, *losses_row])
    header = ["recipe", "cell", f"published {measure.name}", "ours: mean ± sd", "seeds below it"]
    header += ["published loss", "ours: mean ± sd", "seeds below it"]
    caption = f"Published scores, one run each, among our seeds: {measure.quantity}, {measure.loss}"
    return Table(caption, header, rows)


def _below(count: int | None, of: int) -> str:
    return "–" if count is None else f"{count} of {of} below"


def horizons(summary: Summary) -> Table:
    """One row per cell and baseline: the error at each horizon."""
    measure, rows = measure_of(summary), []
    for name, errors in (summary.get("horizons") or {}).items():
        label = name if name in summary["arms"] else measure.baseline(name)
        rows.append([label, *(f"{error:.{measure.decimals}f}" for error in errors)])
    steps = range(1, max((len(row) for row in rows), default=1))
    caption = f"Mean absolute test error ({measure.unit}) by horizon: the run of best validation of each cell, and the baselines"
    return Table(caption, ["", *(f"{step} ahead" for step in steps)], rows)


def pairs(summary: Summary) -> Table:
    """One row per pair, the better mean first."""
    measure, rows = measure_of(summary), []
    for pair in map(oriented, summary["pairs"]):
        probability = {"value": pair["probability_a_beats_b"]}
        probability |= {"low": pair["probability_low"], "high": pair["probability_high"]}
        rows.append(
            [
                f"{pair['a']} {measure.against} {pair['b']}",
                measure.points(pair["gap"]),
                measure.span(pair["low"], pair["high"]),
                measure.span(pair["search_low"], pair["search_high"]),
                likely(probability),
                LABELS[pair["verdict"]],
            ]
        )
    header = [f"pair A {measure.against} B", f"gap, {measure.gaps}", "total interval"]
    header += [f"on exactly these {measure.examples}", "P(A beats B)", "verdict"]
    caption = f"Every pair, the better mean first; {level(summary)} intervals"
    return Table(caption, header, rows)


def tests(summary: Summary) -> Table:
    """One row per pair: the p-values of both questions, single and corrected."""
    against, rows = measure_of(summary).against, []
    for pair in map(oriented, summary["pairs"]):
        values = [pair["p_superior"], pair["p_superior_holm"]]
        values += [pair["p_equivalent"], pair["p_equivalent_holm"]]
        rows.append([f"{pair['a']} {against} {pair['b']}", *map(p_value, values)])
    header = ["pair", "different: p", "with Holm", f"within {margin(summary)}: p", "with Holm"]
    return Table("p-values, single and corrected for all pairs (Holm)", header, rows)


def single_run(summary: Summary) -> Table:
    """One row per way of choosing a single run per cell: how often each cell ranks first."""
    rows = [
        [
            name,
            str(version["runs"]),
            *(chance(version["ranks_first"][arm]) for arm in summary["arms"]),
        ]
        for name, version in versions(summary).items()
    ]
    caption = "The probability that each cell ranks first with a single run per cell"
    return Table(caption, ["the run", "runs per cell", *summary["arms"]], rows)


def duels(summary: Summary) -> Table:
    """One row per pair: the probability that a single run each misleads."""
    by_pair = {
        name: version["pairs"] for name, version in versions(summary).items() if "pairs" in version
    }
    rows = []
    for same in zip(*by_pair.values(), strict=True):
        above = f"a gap above {margin(summary)}"
        wrong = "the opposite order" if same[0]["question"] == "other" else above
        rows.append([f"{same[0]['a']}, {same[0]['b']}", wrong, *map(likely, same)])
    caption = "Two cells only: the probability that a single run each misleads"
    return Table(caption, ["pair", "misled by", *by_pair], rows)


def costs(summary: Summary) -> Table:
    """The cost of each cell's search and of the baselines."""
    measure, rows = measure_of(summary), []
    for arm, values in summary["arms"].items():
        counts = _counts(values, "parameters", "trials", "epochs")
        seconds, score = f"{values['seconds']:,.0f}", measure.score(values["tuned"]["mean"])
        rows.append([arm, *counts, seconds, score])
    for kind, baseline in summary["baseline"].items():
        features = f"{baseline['features']:,}" if "features" in baseline else "–"
        row = [measure.baseline(kind), features, str(baseline["settings"]), "–"]
        rows.append([*row, f"{baseline['seconds']:,.0f}", measure.score(baseline["test"])])
    header = ["cell", "parameters of best", "trials", "epochs", "worker seconds"]
    return Table("The cost of each search", [*header, f"test {measure.axis}"], rows)


def best(summary: Summary) -> Table:
    """The chosen configuration of each cell."""
    rows = []
    for arm, values in summary["arms"].items():
        chosen = f"`{without_identity(values['best']['overrides'])}`"
        rows.append([arm, str(values["best"]["trial"]), chosen])
    header = ["cell", "trial", "configuration"]
    return Table("The best configuration of each cell, by validation", header, rows)


def space(study: dict[str, Any]) -> Table:
    """The search space, one row per hyperparameter. Keys of one cell only name it."""
    own = [
        {**row, "key": f"{row['key']} ({arm})"}
        for arm, keys in study.get("cell_space", {}).items()
        for row in keys
    ]
    rows = []
    for row in [*study["space"], *own]:
        if row.get("choices") is not None:
            values, scale = ", ".join(map(as_typed, row["choices"])), "choices"
        else:
            values = f"{row['low']:g} to {row['high']:g}"
            scale = "logarithmic" if row.get("log") else "linear"
            scale += f", step {row['step']:g}" if row.get("step") else ""
        rows.append([f"`{row['key']}`", values, scale])
    shared = "the same for every cell" + (", and keys of one cell" if own else "")
    return Table(f"The search space, {shared}", ["hyperparameter", "values", "scale"], rows)


def importance(summary: Summary) -> Table:
    """One row per cell: the hyperparameters that explain more variance than chance does."""
    rows = []
    for arm, values in (summary.get("importance") or {}).items():
        shares = values["shares"]
        named = ", ".join(f"`{key}` {shares[key]:.2f}" for key in values["named"]) or "none"
        by_chance = "–" if values["baseline"] is None else f"{values['baseline']:.2f}"
        rows.append([arm, str(values["trials"]), by_chance, named, values["note"] or "–"])
    header = ["cell", "finished trials", "largest share by chance", "larger shares", "note"]
    caption = "What explains the variance of each cell's trials (fANOVA)"
    return Table(caption, header, rows)


def components(summary: Summary) -> Table:
    """Standard deviations, in the unit of a gap."""
    measure, repeated, rows = measure_of(summary), summary["design"] == "repeated", []
    for arm, values in summary["arms"].items():
        parts = values["components"]
        row = [arm, measure.points(parts["searches"]), measure.points(parts["seeds"])]
        row.append(measure.points(parts["groups"]))
        if repeated:
            icc, retrainings = parts.get("icc"), parts.get("best_retrainings")
            row += [_sd(icc, 2), _sd(retrainings, 1)]
        rows.append(row)
    header = ["cell", "between searches", "between seeds", f"between samples of {measure.groups}"]
    header += ["share of searches (ICC)", "best number of retrainings"] if repeated else []
    return Table(f"Standard deviations of test {measure.name}, in {measure.gaps}", header, rows)


def compute(summary: Summary) -> Table:
    """Runs, failures, epochs and hours of each cell, per stage."""
    keys, total = ("runs", "failed", "epochs", "seconds", "pruned"), dict[str, float]()
    rows = []
    for arm, stages in summary["compute"].items():
        for stage, count in (("tune", "trials"), ("replicate", "runs")):
            if not stages[stage][count]:
                continue
            part = {**stages[stage], "runs": stages[stage][count]}
            part.setdefault("pruned", 0)
            rows.append([arm, stage, *_spent(part)])
            total = {key: total.get(key, 0) + part[key] for key in keys}
    rows.append(["all", "", *_spent({**dict.fromkeys(keys, 0), **total})])
    header = ["cell", "stage", "runs", "failed", "epochs", "hours", "pruned"]
    # Without a pruner, the column would be 0 throughout.
    last = len(header) if total.get("pruned") else len(header) - 1
    return Table("All runs", header[:last], [row[:last] for row in rows])


def _spent(part: dict[str, Any]) -> list[str]:
    hours = f"{part['seconds'] / 3600:.2f}"
    return [*_counts(part, "runs", "failed", "epochs"), hours, *_counts(part, "pruned")]


def probe(rows: Iterable[Sequence[str]]) -> Table:
    """The measured limits."""
    return Table("Limits", ("limit", "measured", "number"), list(rows))


def _first(summary: Summary) -> Arm:
    return next(iter(summary["arms"].values()))


def _replicates(summary: Summary) -> str:
    n = _first(summary)["replicates"]["n"]
    return f"best configuration, {counted(n, 'fresh seed')}: mean ± sd"


def _recipe(summary: Summary) -> str:
    recipes = _first(summary)["recipes"]
    return f"{next(iter(recipes))} recipe: mean ± sd" if recipes else "recipe (none)"
