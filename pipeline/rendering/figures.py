"""The figures. Each `draw_` function draws on the axes it is given and none saves; `draw_all` returns them as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from ..analysis.types import Importance, Summary
from ..metrics import Measure, measure_of
from ..scoring.results import Results, best_row, running_best
from .format import (
    LABELS,
    best_baseline,
    chance,
    counted,
    efficient,
    level,
    number,
    oriented,
    versions,
)
from .style import COLOURS, GRID, INK, PAPER, STYLE, WIDTH, appearance, handles, svg

TRAIN, VALIDATION = COLOURS[0], COLOURS[1]
# A dead run scores as the trivial baseline and would squeeze the others into a corner: fractions, or else margins.
NEAR, NEAR_MARGINS = 0.08, 8
# Of the baselines' lines, in their order.
DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (6, 3)))
# How much of a forecast is drawn, at most.
SHOWN_DAYS = 731
# Beyond so many points an arm, they are kept as a picture: drawn one by one they would make the page megabytes.
MANY = 300
AXES = {
    "test": "trials of the search",
    "test_epochs": "epochs of training",
    "test_seconds": "seconds of a worker's time",
}


def draw_all(summary: Summary, results: Results, curves: pd.DataFrame) -> dict[str, str]:
    """Every figure that these numbers allow, as SVG text by its name.

    Args:
        metrics: the summary of the study.
        results: the tables of results/STUDY/scores.
        curves: columns arm, curve, budget, value, low, high.
    """
    with rc_context(STYLE):
        drawn = {
            **(_of_search(summary, results, curves) if results.searched else {}),
            "curves": learning_curves(results),
            "forecast": forecast(summary, results),
        }
        return {name: svg(figure) for name, figure in drawn.items() if figure is not None}


def _of_search(
    summary: Summary, results: Results, curves: pd.DataFrame
) -> dict[str, Figure | None]:
    return {
        "verdict": verdict(summary),
        "tuning_validation": tuning_validation(summary, curves),
        "tuning_test": tuning_test(summary, curves),
        "single_run": single_run(summary),
        "cost": cost(summary),
        "importance": importance(summary),
        "search": search(results),
        "validation_test": validation_against_test(results),
    }


def write(folder: Path, figures: dict[str, str]) -> None:
    """Writes each figure into `folder`, as NAME.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in figures.items():
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")


def verdict(summary: Summary) -> Figure | None:
    """One row per pair: its gap with the total interval and that of the search, the margin, the verdict."""
    if not summary["pairs"]:
        return None
    figure = Figure(figsize=(WIDTH, 0.34 * len(summary["pairs"]) + 1.15), layout="constrained")
    axis = figure.subplots()
    draw_gaps(axis, summary)
    lines = [
        Line2D([], [], color=COLOURS[0], linewidth=width, label=label)
        for width, label in ((1.6, "total"), (5, "search only"))
    ]
    figure.legend(
        handles=lines,
        loc="outside lower left",
        ncols=2,
        title=f"{level(summary)} intervals",
        alignment="left",
    )
    return figure


def draw_gaps(axis: Axes, summary: Summary) -> None:
    """Draws the gap of each pair in its unit, the better mean first, over the band of the margin."""
    pairs, measure = [oriented(pair) for pair in summary["pairs"]], measure_of(summary)
    margin = measure.sized(summary["margin"])
    axis.axvspan(-margin, margin, color=GRID, alpha=0.7, linewidth=0)
    axis.axvline(0, color=INK, linewidth=1)
    for row, pair in enumerate(pairs):
        gap, low, high, search_low, search_high = (
            measure.sized(pair[key]) for key in ("gap", "low", "high", "search_low", "search_high")
        )
        axis.plot([low, high], [row, row], color=COLOURS[0], linewidth=1.6)
        axis.plot(
            [search_low, search_high],
            [row, row],
            color=COLOURS[0],
            linewidth=5,
            solid_capstyle="butt",
            alpha=0.55,
        )
        axis.plot([gap], [row], marker="o", markersize=8, color=COLOURS[0], markeredgecolor=PAPER)
        axis.text(
            1.02, row, LABELS[pair["verdict"]], transform=axis.get_yaxis_transform(), va="center"
        )
    axis.set_yticks(
        range(len(pairs)), [f"{pair['a']} {measure.against} {pair['b']}" for pair in pairs]
    )
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    what = f"points of test {measure.name}" if measure.fraction else f"{measure.gaps} less on test"
    axis.set_xlabel(f"{what} (grey: the margin, {number(margin)})", loc="right")


def tuning_validation(summary: Summary, curves: pd.DataFrame) -> Figure | None:
    """Best validation score against the number of trials: the median with its band, or repeated searches' mean."""
    kind = "validation_best" if summary["design"] == "repeated" else "validation_median"
    if curves[curves["curve"] == kind].empty:
        return None
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    measure = measure_of(summary)
    draw_tuning(
        axis, curves[curves["curve"] == kind], list(summary["arms"]), summary["budget"], measure
    )
    axis.set_xlabel("trials of the search")
    axis.set_ylabel(f"validation {measure.axis}")
    _legend(figure, list(summary["arms"]))
    return figure


def tuning_test(summary: Summary, curves: pd.DataFrame) -> Figure | None:
    """Test score of what a search picks, against trials, epochs and seconds: a one panel each."""
    kinds = [kind for kind in AXES if (curves["curve"] == kind).any()]
    if not kinds:
        return None
    figure, measure = (
        Figure(figsize=(WIDTH, 2.3 * len(kinds) + 0.5), layout="constrained"),
        measure_of(summary),
    )
    for axis, kind in zip(figure.subplots(len(kinds), 1, squeeze=False)[:, 0], kinds, strict=True):
        budget = summary["budget"] if kind == "test" else None
        draw_tuning(axis, curves[curves["curve"] == kind], list(summary["arms"]), budget, measure)
        axis.set_xlabel(AXES[kind])
        axis.set_ylabel(f"test {measure.axis}")
    figure.align_ylabels()
    _legend(figure, list(summary["arms"]))
    return figure


def draw_tuning(
    axis: Axes, curves: pd.DataFrame, cells: Sequence[str], budget: int | None, measure: Measure
) -> None:
    """Draws one curve per arm with its band. Where the band has no better end, the worse end is dotted."""
    least, most = curves["value"].min(), max(curves["value"].max(), curves["high"].max())
    ends = (least - 0.25 * (most - least) - 1e-3, most + 0.05 * (most - least) + 1e-3)
    curves = curves.assign(
        **{key: _shown(curves[key], measure) for key in ("value", "low", "high")}
    )
    for place, arm in enumerate(cells):
        colour, mark = appearance(place)
        rows = curves[curves["arm"] == arm].sort_values("budget")
        closed = rows[rows["high"].notna()]
        axis.fill_between(
            closed["budget"], closed["low"], closed["high"], color=colour, alpha=0.15, linewidth=0
        )
        axis.plot(rows["budget"], rows["low"], color=colour, linewidth=0.8, linestyle=":")
        every = max(1, len(rows) // 6)
        axis.plot(
            rows["budget"],
            rows["value"],
            color=colour,
            linewidth=2,
            marker=mark,
            markevery=(place % every, every),
            markersize=6,
        )
    if budget:
        axis.axvline(budget, color=INK, linewidth=1, linestyle="--")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(LogLocator(subs=()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_ylim(*sorted(map(measure.shown, ends)))


def single_run(summary: Summary) -> Figure | None:
    """How often each cell ranks first with a single run per cell: one panel per way of choosing the run."""
    ways = versions(summary)
    if not ways:
        return None
    cells = list(summary["arms"])
    figure = Figure(
        figsize=(WIDTH, len(ways) * (0.24 * len(cells) + 0.42) + 0.45), layout="constrained"
    )
    axes = figure.subplots(len(ways), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, version) in zip(axes, ways.items(), strict=True):
        draw_first_ranks(axis, version["ranks_first"], summary["winner"])
        axis.set_title(name)
    axes[-1].set_xlabel("probability of ranking first with a single run per cell", loc="right")
    return figure


def draw_first_ranks(axis: Axes, ranks_first: dict[str, float], winner: str | None) -> None:
    """Draws one bar per cell with its probability of ranking first; the verdict's winner is marked."""
    for place, (_, share) in enumerate(ranks_first.items()):
        axis.barh(place, share, color=appearance(place)[0], height=0.7)
        axis.text(share + 0.01, place, chance(share), va="center")
    names = [f"{arm} (the verdict's)" if arm == winner else arm for arm in ranks_first]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.12)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.grid(axis="y", visible=False)


def cost(summary: Summary) -> Figure:
    """Test score of each cell's search against seconds, epochs and parameters."""
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    panels = {
        "seconds": ("minutes of\nthe search", 60),
        "epochs": ("epochs of\nthe search", 1),
        "parameters": ("parameters of\nthe best (1,000)", 1000),
    }
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (key, (label, unit)) in zip(axes, panels.items(), strict=True):
        draw_cost(axis, summary, key, unit)
        axis.set_xlabel(label)
    measure = measure_of(summary)
    axes[0].set_ylabel(f"test {measure.axis}")
    # Labels of one width: the layout is made before the ticks are.
    axes[0].yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.{min(3, measure.decimals)}f}")
    )
    _legend(figure, list(summary["arms"]))
    return figure


def draw_cost(axis: Axes, summary: Summary, key: str, unit: float) -> None:
    """Draws each cell's score, with its interval, against one cost; a ring marks the cells that no other dominates."""
    best, shown = efficient(summary, key), measure_of(summary).shown
    for place, (arm, values) in enumerate(summary["arms"].items()):
        (colour, mark), tuned, spent = appearance(place), values["tuned"], values[key] / unit  # type: ignore[literal-required]
        axis.plot(
            [spent, spent], [shown(tuned["low"]), shown(tuned["high"])], color=colour, linewidth=1.4
        )
        axis.plot([spent], [shown(tuned["mean"])], marker=mark, color=colour, markersize=8)
        if arm in best:
            axis.plot(
                [spent],
                [shown(tuned["mean"])],
                marker="o",
                markersize=16,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=1.3,
            )
    axis.margins(x=0.25)
    axis.xaxis.set_major_locator(MaxNLocator(3))


def importance(summary: Summary) -> Figure | None:
    """What explains the variance of each cell's trials: one bar per hyperparameter, and the share by chance."""
    arms = {
        arm: values for arm, values in (summary.get("importance") or {}).items() if values["shares"]
    }
    if not arms:
        return None
    keys = len(next(iter(arms.values()))["shares"])
    figure = Figure(figsize=(WIDTH, len(arms) * (0.22 * keys + 0.4) + 0.5), layout="constrained")
    axes = figure.subplots(len(arms), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (arm, values) in zip(axes, arms.items(), strict=True):
        draw_importance(axis, values, appearance(list(summary["arms"]).index(arm))[0])
        axis.set_title(arm)
    axes[-1].set_xlabel(
        f"share of the variance of validation {measure_of(summary).name}", loc="right"
    )
    return figure


def draw_importance(axis: Axes, values: Importance, colour: str) -> None:
    """Draws one cell's shares; full bars are above the share by chance (dashed)."""
    for place, (key, share) in enumerate(values["shares"].items()):
        full = key in values["named"]
        axis.barh(
            place,
            share,
            height=0.7,
            color=colour if full else "none",
            edgecolor=colour,
            linewidth=1,
        )
    axis.axvline(values["baseline"] or 0.0, color=INK, linewidth=1.2, linestyle="--")
    axis.set_yticks(range(len(values["shares"])), list(values["shares"]))
    axis.set_ylim(len(values["shares"]) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


def learning_curves(results: Results) -> Figure:
    """One row per cell: loss on the left and the metric on the right, of its champion and its recipe runs."""
    cells, measure = results.cells, results.spec.measure
    figure = Figure(figsize=(WIDTH, 1.75 * len(cells) + 1.1), layout="constrained")
    axes = figure.subplots(len(cells), 2, sharex=True, sharey="col", squeeze=False)
    for row, arm in zip(axes, cells, strict=True):
        draw_curves(row[0], results, arm, "loss")
        draw_curves(row[1], results, arm, "accuracy")
        row[0].set_title(f"{arm}: loss{'' if measure.metric == 'mae' else ' (nats)'}")
        row[1].set_title(measure.axis)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    lines = _curve_handles(results.searched, bool(results.study["recipes"]))
    figure.legend(handles=lines, loc="outside upper left", ncols=2)
    return figure


def draw_curves(axis: Axes, results: Results, arm: str, which: str) -> None:
    """Draws one cell's `loss` or `accuracy`, the metric, per epoch, train and validation: recipe runs thin, the champion bold."""
    columns = {"loss": ("loss", "validation_loss"), "accuracy": ("accuracy", "validation")}[which]
    measure = results.spec.measure

    def shown(values: pd.Series) -> pd.Series:
        return _shown(values, measure) if which == "accuracy" else values

    for recipe in results.study["recipes"]:
        for _, run in results.of("replicate_epochs", arm, recipe).groupby(["repeat", "replicate"]):
            for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
                axis.plot(run["epoch"], shown(run[column]), color=colour, linewidth=0.7, alpha=0.55)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not results.searched:
        return
    best = best_row(results.of("replicates", arm, "tuned"), "replicate")
    epochs = results.of("replicate_epochs", arm, "tuned")
    epochs = epochs[
        (epochs["replicate"] == best["replicate"]) & (epochs["repeat"] == best["repeat"])
    ].set_index("epoch")
    for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
        axis.plot(epochs.index, shown(epochs[column]), color=colour, linewidth=2.4)
    epoch = int(best["best_epoch"])
    height = shown(epochs[columns[1]]).loc[epoch]
    axis.plot(
        [epoch], [height], marker="o", markersize=7, color=PAPER, markeredgecolor=INK, zorder=5
    )


def forecast(summary: Summary, results: Results) -> Figure | None:
    """The last two years of the test: observed, each cell's forecast at the longest horizon and the best baseline's."""
    if results.forecast is None:
        return None
    table = results.forecast.assign(date=pd.to_datetime(results.forecast["date"]))
    longest = int(table["horizon"].max())
    table = table[table["horizon"] == longest].sort_values("date")
    # The day of the last input is known; the day forecast is so many steps later.
    step = table["date"].diff().median() if len(table) > 1 else pd.Timedelta(days=1)
    table = table.assign(date=table["date"] + longest * step)
    table = table[table["date"] > table["date"].max() - pd.Timedelta(days=SHOWN_DAYS)]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis, unit = figure.subplots(), measure_of(summary).unit
    best = best_baseline(summary)
    draw_forecast(axis, table, results.cells, best)
    axis.set_ylabel(f"{unit}, {counted(longest, 'step')} ahead")
    lines = [
        Line2D([], [], color=INK, linewidth=2.6, alpha=0.45, label="observed"),
        *handles(results.cells),
        Line2D(
            [],
            [],
            color=INK,
            linewidth=1.2,
            linestyle="--",
            label=measure_of(summary).baseline(best),
        ),
    ]
    figure.legend(handles=lines, loc="outside upper left", ncols=2)
    return figure


def draw_forecast(axis: Axes, table: pd.DataFrame, cells: Sequence[str], baseline: str) -> None:
    """Draws `truth`, the baseline and each cell of a table of forecasts against `date`."""
    days = table["date"].to_numpy()
    axis.plot(days, table["truth"], color=INK, linewidth=2.6, alpha=0.45)
    axis.plot(days, table[baseline], color=INK, linewidth=1.2, linestyle="--")
    every = max(1, len(table) // 8)
    for place, cell in enumerate(cells):
        colour, mark = appearance(place)
        axis.plot(
            days,
            table[cell],
            color=colour,
            linewidth=1.3,
            marker=mark,
            markersize=5,
            markevery=(place % every, every),
        )
    ticks = AutoDateLocator(maxticks=6)
    axis.xaxis.set_major_locator(ticks)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(ticks))


def _shown(values: pd.Series, measure: Measure) -> pd.Series:
    """Scores as a reader sees them: errors and nats positive."""
    return values if measure.fraction else 0.0 - values


def search(results: Results) -> Figure:
    """Above, each cell's best validation score so far; below, every trial in the order of sampling."""
    figure, measure = Figure(figsize=(WIDTH, 5), layout="constrained"), results.spec.measure
    upper, lower = figure.subplots(2, 1, sharex=True)
    for place, arm in enumerate(results.cells):
        trials = results.of("trials", arm)
        draw_best_so_far(upper, trials, place, measure)
        draw_trials(lower, trials, place, measure)
    upper.set_title("Best so far (mark: where the best was found)")
    lower.set_title("Each trial that finished")
    lower.set_xlabel("trial, in the order of sampling")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (upper, lower):
        axis.set_ylabel(f"validation {measure.axis}")
    figure.align_ylabels()
    _legend(figure, results.cells)
    return figure


def draw_best_so_far(axis: Axes, trials: pd.DataFrame, place: int, measure: Measure) -> None:
    """Draws one cell's running best, one line per search, with a mark on the trial chosen."""
    colour, mark = appearance(place)
    chosen = best_row(trials)
    for _, trials_of_search in trials.groupby("repeat"):
        best = running_best(trials_of_search)
        axis.step(best.index, _shown(best, measure), where="post", color=colour, linewidth=2)
    axis.plot(
        [chosen["trial"]],
        [measure.shown(chosen["validation"])],
        marker=mark,
        markersize=8,
        color=colour,
        linewidth=2,
    )


def draw_trials(axis: Axes, trials: pd.DataFrame, place: int, measure: Measure) -> None:
    """Draws one cell's trials as points (trial, validation); failed trials have none."""
    done = trials[trials["validation"].notna()]
    _points(axis, done["trial"], _shown(done["validation"], measure), place)


def validation_against_test(results: Results) -> Figure:
    """Test against validation score of every trial with the baselines as lines; below, the best of them nearer."""
    figure, measure = Figure(figsize=(WIDTH, 7), layout="constrained"), results.spec.measure
    whole, near = figure.subplots(2, 1)
    baselines = results.of("scores", "baseline")
    for axis in (whole, near):
        for place, arm in enumerate(results.cells):
            draw_scatter(axis, results.of("scores", arm, "trial"), place, measure)
        draw_baselines(axis, baselines, measure)
        axis.set_xlabel(f"validation {measure.axis}")
        axis.set_ylabel(f"test {measure.axis}")
    whole.set_title("Each trial that finished")
    trials = results.scores[results.scores["kind"] == "trial"]
    best = float(trials["validation"].max())
    reach = NEAR if measure.fraction else NEAR_MARGINS * results.study["margin"]
    near.set_title(f"Those within {number(reach)} of the best, nearer")
    figure.align_ylabels()
    near.set_xlim(*sorted(map(measure.shown, (best - reach, best + reach / 8))))
    if measure.fraction:
        near.set_ylim(best - reach, max(best, float(baselines["test"].max())) + reach / 8)
    else:
        # A series goes on after validation: its errors need not be of one size on both parts.
        tests = _shown(trials.loc[trials["validation"] >= best - reach, "test"], measure)
        near.set_ylim(tests.min() - reach / 8, tests.max() + reach / 8)
    figure.legend(
        handles=[*handles(results.cells), *whole.get_legend_handles_labels()[0]],
        loc="outside upper left",
        ncols=2,
    )
    return figure


def draw_scatter(axis: Axes, scores: pd.DataFrame, place: int, measure: Measure) -> None:
    """Draws one cell's trials as points (validation, test); failed trials have none."""
    done = scores[scores["validation"].notna()]
    _points(axis, _shown(done["validation"], measure), _shown(done["test"], measure), place)


def draw_baselines(axis: Axes, baselines: pd.DataFrame, measure: Measure) -> None:
    """Draws the test score of each baseline as a horizontal line."""
    for row, dashes in zip(baselines.itertuples(), DASHES, strict=False):
        height = measure.shown(float(row.test))  # type: ignore[arg-type]
        axis.axhline(
            height,
            color=INK,
            linestyle=dashes,
            linewidth=1.4,
            label=measure.baseline(str(row.kind)),
        )


def _points(axis: Axes, x: pd.Series, y: pd.Series, place: int) -> None:
    colour, mark = appearance(place)
    axis.scatter(
        x, y, s=22, color=colour, marker=mark, alpha=0.65, linewidths=0, rasterized=len(x) > MANY
    )


def _legend(figure: Figure, cells: list[str]) -> None:
    # As many columns as the longest name leaves room for, in letters.
    columns = max(1, min(4, 56 // (max(map(len, cells)) + 5)))
    figure.legend(handles=handles(cells), loc="outside upper left", ncols=columns)


def _curve_handles(champion: bool, recipes: bool) -> list[Line2D]:
    champions = [Line2D([], [], color=TRAIN, linewidth=2.4, label="train, champion")]
    champions.append(Line2D([], [], color=VALIDATION, linewidth=2.4, label="validation, champion"))
    epoch = Line2D(
        [], [], marker="o", color=PAPER, markeredgecolor=INK, markersize=7, label="kept epoch"
    )
    thin = [
        Line2D([], [], color=colour, linewidth=0.7, label=f"{part}, recipe runs")
        for part, colour in (("train", TRAIN), ("validation", VALIDATION))
    ]
    return [
        *(champions if champion else []),
        *(thin if recipes else []),
        *([epoch] if champion else []),
    ]
