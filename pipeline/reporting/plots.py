"""The figures. Each function draws on the axes it is given; `save` alone writes, and equal figures give equal bytes."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.tables import Results, best_row, running_best

# The palette of Okabe and Ito, told apart with every common colour blindness; marks differ too, for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "^", "D", "v", "P")
TRAIN, VALIDATION = COLOURS[0], COLOURS[1]
INK = "#333333"
# A dead run scores 0.5 and would squeeze the others into a corner.
NEAR = 0.08
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fairsweep",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; without a date, and with a fixed salt for SVG's identifiers."""
    with rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write_all(folder: Path, results: Results) -> None:
    """Writes curves.svg, search.svg and validation_test.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in {"curves": learning_curves, "search": search, "validation_test": validation_against_test}.items():
        save(draw(results), folder / f"{name}.svg")


def learning_curves(results: Results) -> Figure:
    """A row a cell, loss on the left and accuracy on the right, of its champion and its recipe runs."""
    cells = results.cells
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 2.6 * len(cells) + 0.7), layout=ConstrainedLayoutEngine(hspace=0.06))
        axes = figure.subplots(len(cells), 2, sharex=True, sharey="col", squeeze=False)
        for row, arm in zip(axes, cells, strict=True):
            draw_curves(row[0], results, arm, "loss")
            draw_curves(row[1], results, arm, "accuracy")
            row[0].set_title(f"{arm}: loss (nats a review)", loc="left")
            row[1].set_title(f"{arm}: accuracy (fraction)", loc="left")
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
        figure.legend(handles=_curve_handles(bool(results.study["recipes"])), loc="outside upper center", ncols=5, fontsize=9)
    return figure


def draw_curves(axis: Axes, results: Results, arm: str, measure: str) -> None:
    """Draws one cell's `loss` or `accuracy` per epoch, train and validation: recipe runs thin, the champion bold."""
    columns = {"loss": ("loss", "validation_loss"), "accuracy": ("accuracy", "validation")}[measure]
    for recipe in results.study["recipes"]:
        for _, run in results.of("replicate_epochs", arm, recipe).groupby(["study", "replicate"]):
            for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
                axis.plot(run["epoch"], run[column], color=colour, linewidth=0.7, alpha=0.55)
    best = best_row(results.of("replicates", arm, "tuned"), "replicate")
    epochs = results.of("replicate_epochs", arm, "tuned")
    epochs = epochs[(epochs["study"] == best["study"]) & (epochs["replicate"] == best["replicate"])].set_index("epoch")
    for column, colour in zip(columns, (TRAIN, VALIDATION), strict=True):
        axis.plot(epochs.index, epochs[column], color=colour, linewidth=2.4)
    kept = int(best["best_epoch"])
    axis.plot([kept], [epochs.loc[kept, columns[1]]], marker="o", markersize=7, color="white", markeredgecolor=INK, zorder=5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def search(results: Results) -> Figure:
    """Above, each cell's best validation accuracy so far; below, every trial in the order drawn."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for place, arm in enumerate(results.cells):
            trials = results.of("trials", arm)
            draw_best_so_far(upper, trials, arm, place)
            draw_trials(lower, trials, place)
        upper.set_title("Best so far (mark: where the best was found)", loc="left")
        lower.set_title("Each trial that finished", loc="left")
        lower.set_xlabel("trial, in the order drawn (each number is one configuration, the same for every cell)")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in (upper, lower):
            axis.set_ylabel("validation accuracy (fraction)")
        figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=len(results.cells))
    return figure


def draw_best_so_far(axis: Axes, trials: pd.DataFrame, arm: str, place: int) -> None:
    """Draws one cell's running best, with a mark on the trial chosen."""
    colour, mark = _look(place)
    chosen = best_row(trials)
    for _, own in trials.groupby("study"):
        best = running_best(own)
        axis.step(best.index, best, where="post", color=colour, linewidth=2)
    axis.plot([chosen["trial"]], [chosen["validation"]], marker=mark, markersize=8, color=colour, linewidth=2, label=arm)


def draw_trials(axis: Axes, trials: pd.DataFrame, place: int) -> None:
    """Draws one cell's trials as points (trial, validation); failed trials have none."""
    colour, mark = _look(place)
    finished = trials[trials["validation"].notna()]
    axis.scatter(finished["trial"], finished["validation"], s=20, color=colour, marker=mark, alpha=0.65, linewidths=0)


def validation_against_test(results: Results) -> Figure:
    """Test against validation accuracy of every trial with the linear baselines as lines; on the right, the best of them nearer."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 4.6), layout="constrained")
        whole, near = figure.subplots(1, 2)
        for axis in (whole, near):
            for place, arm in enumerate(results.cells):
                draw_scatter(axis, results.of("scores", arm, "trial"), arm, place)
            draw_baselines(axis, results.of("scores", "baseline"))
            axis.set_xlabel("validation accuracy (fraction)")
        whole.set_ylabel("test accuracy (fraction)")
        whole.set_title("Each trial that finished", loc="left")
        best = float(results.scores.loc[results.scores["kind"] == "trial", "validation"].max())
        near.set_title(f"Those within {NEAR} of the best, nearer", loc="left")
        near.set_xlim(best - NEAR, best + NEAR / 8)
        near.set_ylim(best - NEAR, max(best, float(results.of("scores", "baseline")["test"].max())) + NEAR / 8)
        figure.legend(*whole.get_legend_handles_labels(), loc="outside upper center", ncols=len(results.cells) + 2, fontsize=9)
    return figure


def draw_scatter(axis: Axes, scores: pd.DataFrame, arm: str, place: int) -> None:
    """Draws one cell's trials as points (validation, test); failed trials have none."""
    colour, mark = _look(place)
    finished = scores[scores["validation"].notna()]
    axis.scatter(finished["validation"], finished["test"], s=26, color=colour, marker=mark, alpha=0.65, linewidths=0, label=arm)


def draw_baselines(axis: Axes, baselines: pd.DataFrame) -> None:
    """Draws the test accuracy of each linear baseline as a horizontal line."""
    for row, dashes in zip(baselines.itertuples(), ("--", ":"), strict=False):
        label = f"linear baseline, {str(row.kind).replace('_', ' ')}: {row.test:.4f}"
        axis.axhline(float(row.test), color="black", linestyle=dashes, linewidth=1.4, label=label)  # type: ignore[arg-type]


def _look(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]


def _curve_handles(recipes: bool) -> list[Line2D]:
    champions = [Line2D([], [], color=TRAIN, linewidth=2.4, label="train, champion")]
    champions.append(Line2D([], [], color=VALIDATION, linewidth=2.4, label="validation, champion"))
    kept = Line2D([], [], marker="o", color="white", markeredgecolor=INK, markersize=7, label="epoch kept")
    thin = [
        Line2D([], [], color=colour, linewidth=0.7, label=f"{part}, recipe runs")
        for part, colour in (("train", TRAIN), ("validation", VALIDATION))
    ]
    return [*champions, kept, *(thin if recipes else [])]
