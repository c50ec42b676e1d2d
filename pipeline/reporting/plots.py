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

from pipeline.reporting import measure, words
from pipeline.reporting.look import COLOURS, GRID, INK, PAPER, STYLE, WIDTH, handles, look, svg
from pipeline.reporting.measure import Measure
from pipeline.reporting.tables import Results, best_row, running_best

Metrics = dict[str, Any]

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


def draw_all(metrics: Metrics, results: Results, curves: pd.DataFrame) -> dict[str, str]:
    """Every figure that these numbers allow, as SVG text by its name.

    Args:
        metrics: what metrics.json holds.
        results: the tables of results/STUDY/scores.
        curves: what curves.csv holds: columns arm, curve, budget, value, low, high.
    """
    with rc_context(STYLE):
        drawn = {
            **(_of_search(metrics, results, curves) if results.searched else {}),
            "curves": learning_curves(results),
            "forecast": forecast(metrics, results),
        }
        return {name: svg(figure) for name, figure in drawn.items() if figure is not None}


def _of_search(metrics: Metrics, results: Results, curves: pd.DataFrame) -> dict[str, Figure | None]:
    return {
        "verdict": verdict(metrics),
        "tuning_validation": tuning_validation(metrics, curves),
        "tuning_test": tuning_test(metrics, curves),
        "anecdote": anecdote(metrics),
        "cost": cost(metrics),
        "importance": importance(metrics),
        "search": search(results),
        "validation_test": validation_against_test(results),
    }


def write(folder: Path, figures: dict[str, str]) -> None:
    """Writes each figure into `folder`, as NAME.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in figures.items():
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")


def verdict(metrics: Metrics) -> Figure | None:
    """A row a pair: its gap with the total interval and the search's own, the margin, the verdict in words."""
    if not metrics["pairs"]:
        return None
    figure = Figure(figsize=(WIDTH, 0.34 * len(metrics["pairs"]) + 1.15), layout="constrained")
    axis = figure.subplots()
    draw_gaps(axis, metrics)
    lines = [
        Line2D([], [], color=COLOURS[0], linewidth=width, label=label) for width, label in ((1.6, "total"), (5, "search only"))
    ]
    figure.legend(handles=lines, loc="outside lower left", ncols=2, title=f"{words.level(metrics)} intervals", alignment="left")
    return figure


def draw_gaps(axis: Axes, metrics: Metrics) -> None:
    """Draws the gap of each pair in its unit, the better mean first, over the band of the margin."""
    pairs, told = [words.oriented(pair) for pair in metrics["pairs"]], measure.of(metrics)
    margin = told.sized(metrics["margin"])
    axis.axvspan(-margin, margin, color=GRID, alpha=0.7, linewidth=0)
    axis.axvline(0, color=INK, linewidth=1)
    for row, pair in enumerate(pairs):
        gap, low, high, search_low, search_high = (
            told.sized(pair[key]) for key in ("gap", "low", "high", "search_low", "search_high")
        )
        axis.plot([low, high], [row, row], color=COLOURS[0], linewidth=1.6)
        axis.plot([search_low, search_high], [row, row], color=COLOURS[0], linewidth=5, solid_capstyle="butt", alpha=0.55)
        axis.plot([gap], [row], marker="o", markersize=8, color=COLOURS[0], markeredgecolor=PAPER)
        axis.text(1.02, row, words.LABELS[pair["verdict"]], transform=axis.get_yaxis_transform(), va="center")
    axis.set_yticks(range(len(pairs)), [f"{pair['a']} {told.against} {pair['b']}" for pair in pairs])
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    what = f"points of test {told.name}" if told.fraction else f"{told.gaps} less on test"
    axis.set_xlabel(f"{what} (grey: the margin, {words.number(margin)})", loc="right")


def tuning_validation(metrics: Metrics, curves: pd.DataFrame) -> Figure | None:
    """Best validation score against the number of trials: the median with its band, or separate studies' mean."""
    kind = "validation_best" if metrics["design"] == "studies" else "validation_median"
    if curves[curves["curve"] == kind].empty:
        return None
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    told = measure.of(metrics)
    draw_tuning(axis, curves[curves["curve"] == kind], list(metrics["arms"]), metrics["headline"], told)
    axis.set_xlabel("trials of the search")
    axis.set_ylabel(f"validation {told.axis}")
    _legend(figure, list(metrics["arms"]))
    return figure


def tuning_test(metrics: Metrics, curves: pd.DataFrame) -> Figure | None:
    """Test score of what a search picks, against trials, epochs and seconds: a panel each."""
    kinds = [kind for kind in AXES if (curves["curve"] == kind).any()]
    if not kinds:
        return None
    figure, told = Figure(figsize=(WIDTH, 2.3 * len(kinds) + 0.5), layout="constrained"), measure.of(metrics)
    for axis, kind in zip(figure.subplots(len(kinds), 1, squeeze=False)[:, 0], kinds, strict=True):
        headline = metrics["headline"] if kind == "test" else None
        draw_tuning(axis, curves[curves["curve"] == kind], list(metrics["arms"]), headline, told)
        axis.set_xlabel(AXES[kind])
        axis.set_ylabel(f"test {told.axis}")
    figure.align_ylabels()
    _legend(figure, list(metrics["arms"]))
    return figure


def draw_tuning(axis: Axes, curves: pd.DataFrame, cells: Sequence[str], headline: int | None, told: Measure) -> None:
    """Draws one curve an arm with its band; where the band has no better end, its worse end goes on, dotted."""
    least, most = curves["value"].min(), max(curves["value"].max(), curves["high"].max())
    ends = (least - 0.25 * (most - least) - 1e-3, most + 0.05 * (most - least) + 1e-3)
    curves = curves.assign(**{key: _shown(curves[key], told) for key in ("value", "low", "high")})
    for place, arm in enumerate(cells):
        colour, mark = look(place)
        rows = curves[curves["arm"] == arm].sort_values("budget")
        closed = rows[rows["high"].notna()]
        axis.fill_between(closed["budget"], closed["low"], closed["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(rows["budget"], rows["low"], color=colour, linewidth=0.8, linestyle=":")
        every = max(1, len(rows) // 6)
        axis.plot(
            rows["budget"], rows["value"], color=colour, linewidth=2, marker=mark, markevery=(place % every, every), markersize=6
        )
    if headline:
        axis.axvline(headline, color=INK, linewidth=1, linestyle="--")
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(LogLocator(subs=()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_ylim(*sorted(map(told.shown, ends)))


def anecdote(metrics: Metrics) -> Figure | None:
    """How often each cell is crowned by one run a cell: a panel for each way of choosing that run."""
    versions = words.versions(metrics)
    if not versions:
        return None
    cells = list(metrics["arms"])
    figure = Figure(figsize=(WIDTH, len(versions) * (0.24 * len(cells) + 0.42) + 0.45), layout="constrained")
    axes = figure.subplots(len(versions), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, version) in zip(axes, versions.items(), strict=True):
        draw_crowns(axis, version["crowned"], metrics["winner"])
        axis.set_title(name)
    axes[-1].set_xlabel("probability of being crowned by one run a cell", loc="right")
    return figure


def draw_crowns(axis: Axes, crowned: dict[str, float], winner: str | None) -> None:
    """Draws a bar a cell with its chance of the crown; the verdict's winner is named."""
    for place, (_, share) in enumerate(crowned.items()):
        axis.barh(place, share, color=look(place)[0], height=0.7)
        axis.text(share + 0.01, place, words.chance(share), va="center")
    names = [f"{arm} (the verdict's)" if arm == winner else arm for arm in crowned]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.12)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.grid(axis="y", visible=False)


def cost(metrics: Metrics) -> Figure:
    """Test score of each cell's search against seconds, epochs and parameters."""
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    panels = {
        "seconds": ("minutes of\nthe search", 60),
        "epochs": ("epochs of\nthe search", 1),
        "parameters": ("parameters of\nthe best (1,000)", 1000),
    }
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (key, (label, unit)) in zip(axes, panels.items(), strict=True):
        draw_cost(axis, metrics, key, unit)
        axis.set_xlabel(label)
    told = measure.of(metrics)
    axes[0].set_ylabel(f"test {told.axis}")
    # Labels of one width: the layout is made before the ticks are.
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{min(3, told.decimals)}f}"))
    _legend(figure, list(metrics["arms"]))
    return figure


def draw_cost(axis: Axes, metrics: Metrics, key: str, unit: float) -> None:
    """Draws each cell's score, with its interval, against one cost; a ring marks those that no other dominates."""
    best, shown = words.efficient(metrics, key), measure.of(metrics).shown
    for place, (arm, values) in enumerate(metrics["arms"].items()):
        (colour, mark), tuned, spent = look(place), values["tuned"], values[key] / unit
        axis.plot([spent, spent], [shown(tuned["low"]), shown(tuned["high"])], color=colour, linewidth=1.4)
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


def importance(metrics: Metrics) -> Figure | None:
    """What explains the spread of each cell's trials: a bar a hyperparameter, against what chance alone shows."""
    told = {arm: found for arm, found in (metrics.get("importance") or {}).items() if found["shares"]}
    if not told:
        return None
    keys = len(next(iter(told.values()))["shares"])
    figure = Figure(figsize=(WIDTH, len(told) * (0.22 * keys + 0.4) + 0.5), layout="constrained")
    axes = figure.subplots(len(told), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (arm, found) in zip(axes, told.items(), strict=True):
        draw_importance(axis, found, look(list(metrics["arms"]).index(arm))[0])
        axis.set_title(arm)
    axes[-1].set_xlabel(f"share of the spread of validation {measure.of(metrics).name}", loc="right")
    return figure


def draw_importance(axis: Axes, found: dict[str, Any], colour: str) -> None:
    """Draws one cell's shares; full where above the permuted baseline (dashed), hollow where chance could show as much."""
    for place, (key, share) in enumerate(found["shares"].items()):
        full = key in found["named"]
        axis.barh(place, share, height=0.7, color=colour if full else "none", edgecolor=colour, linewidth=1)
    axis.axvline(found["baseline"], color=INK, linewidth=1.2, linestyle="--")
    axis.set_yticks(range(len(found["shares"])), list(found["shares"]))
    axis.set_ylim(len(found["shares"]) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


def learning_curves(results: Results) -> Figure:
    """A row a cell, loss on the left and the metric on the right, of its champion and its recipe runs."""
    cells, told = results.cells, measure.of_form(results.form)
    figure = Figure(figsize=(WIDTH, 1.75 * len(cells) + 1.1), layout="constrained")
    axes = figure.subplots(len(cells), 2, sharex=True, sharey="col", squeeze=False)
    for row, arm in zip(axes, cells, strict=True):
        draw_curves(row[0], results, arm, "loss")
        draw_curves(row[1], results, arm, "accuracy")
        row[0].set_title(f"{arm}: loss{'' if told.metric == 'mae' else ' (nats)'}")
        row[1].set_title(told.axis)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    lines = _curve_handles(results.searched, bool(results.study["recipes"]))
    figure.legend(handles=lines, loc="outside upper left", ncols=2)
    return figure


def draw_curves(axis: Axes, results: Results, arm: str, which: str) -> None:
    """Draws one cell's `loss` or `accuracy`, the metric, per epoch, train and validation: recipe runs thin, the champion bold."""
    columns = {"loss": ("loss", "validation_loss"), "accuracy": ("accuracy", "validation")}[which]
    told = measure.of_form(results.form)

    def shown(values: pd.Series) -> pd.Series:
        return _shown(values, told) if which == "accuracy" else values

    for recipe in results.study["recipes"]:
        for _, run in results.of("replicate_epochs", arm, recipe).groupby(["study", "replicate"]):
            for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
                axis.plot(run["epoch"], shown(run[column]), color=colour, linewidth=0.7, alpha=0.55)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not results.searched:
        return
    best = best_row(results.of("replicates", arm, "tuned"), "replicate")
    epochs = results.of("replicate_epochs", arm, "tuned")
    epochs = epochs[(epochs["replicate"] == best["replicate"]) & (epochs["study"] == best["study"])].set_index("epoch")
    for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
        axis.plot(epochs.index, shown(epochs[column]), color=colour, linewidth=2.4)
    kept = int(best["best_epoch"])
    height = shown(epochs[columns[1]]).loc[kept]
    axis.plot([kept], [height], marker="o", markersize=7, color=PAPER, markeredgecolor=INK, zorder=5)


def forecast(metrics: Metrics, results: Results) -> Figure | None:
    """The last two years of the test: what came, each cell's forecast at the longest horizon and the best baseline's."""
    if results.forecast is None:
        return None
    told = results.forecast.assign(date=pd.to_datetime(results.forecast["date"]))
    longest = int(told["horizon"].max())
    told = told[told["horizon"] == longest].sort_values("date")
    # The day of the last input is known; the day forecast is so many steps later.
    step = told["date"].diff().median() if len(told) > 1 else pd.Timedelta(days=1)
    told = told.assign(date=told["date"] + longest * step)
    told = told[told["date"] > told["date"].max() - pd.Timedelta(days=SHOWN_DAYS)]
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis, unit = figure.subplots(), measure.of(metrics).unit
    best = words.best_baseline(metrics)
    draw_forecast(axis, told, results.cells, best)
    axis.set_ylabel(f"{unit}, {words.counted(longest, 'step')} ahead")
    lines = [
        Line2D([], [], color=INK, linewidth=2.6, alpha=0.45, label="what came"),
        *handles(results.cells),
        Line2D([], [], color=INK, linewidth=1.2, linestyle="--", label=measure.of(metrics).baseline(best)),
    ]
    figure.legend(handles=lines, loc="outside upper left", ncols=2)
    return figure


def draw_forecast(axis: Axes, told: pd.DataFrame, cells: Sequence[str], baseline: str) -> None:
    """Draws `truth`, the baseline and each cell of a table of forecasts against `date`."""
    days = told["date"].to_numpy()
    axis.plot(days, told["truth"], color=INK, linewidth=2.6, alpha=0.45)
    axis.plot(days, told[baseline], color=INK, linewidth=1.2, linestyle="--")
    every = max(1, len(told) // 8)
    for place, cell in enumerate(cells):
        colour, mark = look(place)
        axis.plot(days, told[cell], color=colour, linewidth=1.3, marker=mark, markersize=5, markevery=(place % every, every))
    ticks = AutoDateLocator(maxticks=6)
    axis.xaxis.set_major_locator(ticks)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(ticks))


def _shown(values: pd.Series, told: Measure) -> pd.Series:
    """Scores as a reader sees them: errors and nats positive."""
    return values if told.fraction else 0.0 - values


def search(results: Results) -> Figure:
    """Above, each cell's best validation score so far; below, every trial in the order drawn."""
    figure, told = Figure(figsize=(WIDTH, 5), layout="constrained"), measure.of_form(results.form)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for place, arm in enumerate(results.cells):
        trials = results.of("trials", arm)
        draw_best_so_far(upper, trials, place, told)
        draw_trials(lower, trials, place, told)
    upper.set_title("Best so far (mark: where the best was found)")
    lower.set_title("Each trial that finished")
    lower.set_xlabel("trial, in the order drawn")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (upper, lower):
        axis.set_ylabel(f"validation {told.axis}")
    figure.align_ylabels()
    _legend(figure, results.cells)
    return figure


def draw_best_so_far(axis: Axes, trials: pd.DataFrame, place: int, told: Measure) -> None:
    """Draws one cell's running best, a line a study, with a mark on the trial chosen."""
    colour, mark = look(place)
    chosen = best_row(trials)
    for _, own in trials.groupby("study"):
        best = running_best(own)
        axis.step(best.index, _shown(best, told), where="post", color=colour, linewidth=2)
    axis.plot([chosen["trial"]], [told.shown(chosen["validation"])], marker=mark, markersize=8, color=colour, linewidth=2)


def draw_trials(axis: Axes, trials: pd.DataFrame, place: int, told: Measure) -> None:
    """Draws one cell's trials as points (trial, validation); failed trials have none."""
    done = trials[trials["validation"].notna()]
    _points(axis, done["trial"], _shown(done["validation"], told), place)


def validation_against_test(results: Results) -> Figure:
    """Test against validation score of every trial with the baselines as lines; below, the best of them nearer."""
    figure, told = Figure(figsize=(WIDTH, 7), layout="constrained"), measure.of_form(results.form)
    whole, near = figure.subplots(2, 1)
    baselines = results.of("scores", "baseline")
    for axis in (whole, near):
        for place, arm in enumerate(results.cells):
            draw_scatter(axis, results.of("scores", arm, "trial"), place, told)
        draw_baselines(axis, baselines, told)
        axis.set_xlabel(f"validation {told.axis}")
        axis.set_ylabel(f"test {told.axis}")
    whole.set_title("Each trial that finished")
    best = float(results.scores.loc[results.scores["kind"] == "trial", "validation"].max())
    reach = NEAR if told.fraction else NEAR_MARGINS * results.study["margin"]
    near.set_title(f"Those within {words.number(reach)} of the best, nearer")
    figure.align_ylabels()
    near.set_xlim(*sorted(map(told.shown, (best - reach, best + reach / 8))))
    near.set_ylim(*sorted(map(told.shown, (best - reach, max(best, float(baselines["test"].max())) + reach / 8))))
    figure.legend(handles=[*handles(results.cells), *whole.get_legend_handles_labels()[0]], loc="outside upper left", ncols=2)
    return figure


def draw_scatter(axis: Axes, scores: pd.DataFrame, place: int, told: Measure) -> None:
    """Draws one cell's trials as points (validation, test); failed trials have none."""
    done = scores[scores["validation"].notna()]
    _points(axis, _shown(done["validation"], told), _shown(done["test"], told), place)


def draw_baselines(axis: Axes, baselines: pd.DataFrame, told: Measure) -> None:
    """Draws the test score of each baseline as a horizontal line."""
    for row, dashes in zip(baselines.itertuples(), DASHES, strict=False):
        height = told.shown(float(row.test))  # type: ignore[arg-type]
        axis.axhline(height, color=INK, linestyle=dashes, linewidth=1.4, label=told.baseline(str(row.kind)))


def _points(axis: Axes, x: pd.Series, y: pd.Series, place: int) -> None:
    colour, mark = look(place)
    axis.scatter(x, y, s=22, color=colour, marker=mark, alpha=0.65, linewidths=0, rasterized=len(x) > MANY)


def _legend(figure: Figure, cells: list[str]) -> None:
    # As many columns as the longest name leaves room for, in letters.
    columns = max(1, min(4, 56 // (max(map(len, cells)) + 5)))
    figure.legend(handles=handles(cells), loc="outside upper left", ncols=columns)


def _curve_handles(champion: bool, recipes: bool) -> list[Line2D]:
    champions = [Line2D([], [], color=TRAIN, linewidth=2.4, label="train, champion")]
    champions.append(Line2D([], [], color=VALIDATION, linewidth=2.4, label="validation, champion"))
    kept = Line2D([], [], marker="o", color=PAPER, markeredgecolor=INK, markersize=7, label="epoch kept")
    thin = [
        Line2D([], [], color=colour, linewidth=0.7, label=f"{part}, recipe runs")
        for part, colour in (("train", TRAIN), ("validation", VALIDATION))
    ]
    return [*(champions if champion else []), *(thin if recipes else []), *([kept] if champion else [])]
