"""What `python -m pipeline.probe` measured, in words: limits.md, its figure, and a section for a report."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pipeline.files import reading
from pipeline.reporting import story
from pipeline.reporting.look import INK, STYLE, WIDTH, handles, look, svg
from pipeline.reporting.page import markdown

TABLES = ("gradients", "clipping", "recall", "cost")
# Smaller norms are next to what float32 can hold.
SMALLEST = 1e-30
AGAIN = "Measure again: python -m pipeline.probe. Or remove the folder: a report does without it."
Tables = dict[str, pd.DataFrame]
Facts = dict[str, Any]


def told(folder: Path) -> dict[str, Any] | None:
    """What a report tells of a folder that `pipeline.probe` wrote, or None where there is none: see `story.probe`.

    Its figure is `limits`: the report's figures have to hold `figure(folder)` under that name.
    """
    return tell(*read(folder)) if (folder / "probe.json").is_file() else None


def figure(folder: Path) -> str:
    """The SVG that `pipeline.probe` wrote into `folder`."""
    with reading(folder / "limits.svg", AGAIN) as path:
        return path.read_text(encoding="utf-8")


def read(folder: Path) -> tuple[Tables, Facts]:
    """The tables by their names, and what probe.json holds."""
    with reading(folder / "probe.json", AGAIN) as path:
        facts = json.loads(path.read_text(encoding="utf-8"))
    tables = {}
    for name in TABLES:
        with reading(folder / f"{name}.csv", AGAIN) as path:
            tables[name] = pd.read_csv(path)
    return tables, facts


def write(folder: Path, tables: Tables, facts: Facts) -> None:
    """Writes the tables, probe.json, limits.md and limits.svg into `folder`.

    Args:
        folder: there already.
        tables: `gradients`, `clipping`, `recall` and `cost`.
        facts: `settings` and `machine`.
    """
    for name in TABLES:
        tables[name].to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    (folder / "probe.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    # What is told comes from what was written, so that a report of the files tells the same.
    tables, facts = read(folder)
    text = [f"# {story.PROBE}", *(markdown(block).replace("](plots/", "](") for block in story.probe(tell(tables, facts)))]
    (folder / "limits.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    (folder / "limits.svg").write_text(draw(tables, facts), encoding="utf-8")


def tell(tables: Tables, facts: Facts) -> dict[str, Any]:
    """The limits: how they were measured and which numbers came, as text."""
    settings = facts["settings"]
    return {
        "how": (
            f"Each limit is measured on a cell of {settings['units']} units. Gradients and short memory: recall one of "
            f"{settings['symbols']} symbols, seen some steps ago among noise, after {settings['steps']} steps of Adam on "
            f"{settings['batch']} fresh sequences each; {settings['seeds']} seeds a cell."
        ),
        "rows": [list(row) for row in rows(tables, facts)],
        "figure": (
            f"Gradient of the last state by lag, geometric mean over seeds: at Keras's initial weights (full) and trained to recall "
            f"over {settings['trained_lag']} steps (dashed); where the marked symbol is, gates open. Recall by lag: every seed, and the "
            "mean. Milliseconds of the processor a training step, by length."
        ),
        "notes": notes(tables, facts),
        "machine": machine_line(facts),
    }


def rows(tables: Tables, facts: Facts) -> list[tuple[str, str, str]]:
    """The table's rows: limit, what was measured, the numbers of each cell."""
    trained = facts["settings"]["trained_lag"]
    lags = sorted(tables["recall"]["lag"].unique())
    return [
        ("vanishing gradients", "factor a step back, initial weights", listed(factors(tables, "initial"), "{:.2f}")),
        ("", f"the same, trained to recall over {trained} steps", listed(factors(tables, "trained"), "{:.2f}")),
        *_exploding(tables, facts),
        *(
            (
                "short memory" if lag == lags[0] else "",
                f"recall after {lag} steps (chance {facts['settings']['chance']:.3f})",
                listed(recalled(tables, lag), "{:.2f}"),
            )
            for lag in lags
        ),
        (
            "no parallelism",
            "ms of the processor a training step for each further 100 steps",
            listed(slopes(tables, "milliseconds"), "{:.1f}"),
        ),
        (
            "cost",
            f"ms of the processor a training step at length {longest(tables)}",
            listed(at_longest(tables, "milliseconds"), "{:.1f}"),
        ),
        ("", "parameters", listed(at_longest(tables, "parameters"), "{:,.0f}")),
        ("memory", "MiB within a training step, for each further 100 steps", listed(slopes(tables, "mebibytes"), "{:.1f}")),
    ]


def _exploding(tables: Tables, facts: Facts) -> list[tuple[str, str, str]]:
    radius, clipping = facts["settings"]["radius"], tables["clipping"]
    limit = clipping["limit"].iloc[0]
    steps = clipping.groupby("rule", sort=False)["update"].max()
    return [
        (
            "exploding gradients",
            f"factor a step back, recurrent kernel times {radius}",
            listed(factors(tables, "scaled"), "{:.2f}"),
        ),
        ("clipping", "norm of the whole gradient there, largest of the seeds", f"{clipping['gradient'].max():,.3g}"),
        (
            "",
            f"norm of a step of SGD, limit {limit:g}, rate {clipping['learning_rate'].iloc[0]:g}",
            listed(numbers(steps), "{:.3g}"),
        ),
    ]


def listed(numbers: dict[str, float], form: str) -> str:
    """Names with their numbers; what was not measured is a dash."""
    return ", ".join(f"{name} {form.format(number) if math.isfinite(number) else '–'}" for name, number in numbers.items())


def factors(tables: Tables, stage: str) -> dict[str, float]:
    """By what the gradient is multiplied a step back, each cell's geometric mean over seeds."""
    found = tables["gradients"][tables["gradients"]["stage"] == stage]
    seeds = {cell: [log_slope(run) for _, run in runs.groupby("seed")] for cell, runs in found.groupby("cell", sort=False)}
    return {str(cell): math.exp(float(np.mean(slopes))) for cell, slopes in seeds.items()}


def log_slope(run: pd.DataFrame) -> float:
    """Least-squares slope of log norm against lag, of one seed.

    Both ends are left out: lag 0 goes through no recurrence, and at the largest lag stands the marked symbol.
    """
    inner = run[(run["lag"] > 0) & (run["lag"] < run["lag"].max()) & (run["norm"] > SMALLEST)]
    return float(np.polyfit(inner["lag"], np.log(inner["norm"]), 1)[0]) if len(inner) > 1 else math.nan


def recalled(tables: Tables, lag: int) -> dict[str, float]:
    """Each cell's mean accuracy at a lag."""
    found = tables["recall"][tables["recall"]["lag"] == lag]
    return numbers(found.groupby("cell", sort=False)["accuracy"].mean())


def slopes(tables: Tables, column: str) -> dict[str, float]:
    """Each cell's least-squares growth of a cost for each further 100 steps of length."""
    groups = tables["cost"].groupby("cell", sort=False)
    return {str(cell): 100 * float(np.polyfit(runs["length"], runs[column], 1)[0]) for cell, runs in groups}


def longest(tables: Tables) -> int:
    """The largest length that was measured."""
    return int(tables["cost"]["length"].max())


def at_longest(tables: Tables, column: str) -> dict[str, float]:
    """Each cell's cost at the largest length."""
    cost = tables["cost"]
    return numbers(cost[cost["length"] == longest(tables)].set_index("cell")[column])


def numbers(column: "pd.Series[Any]") -> dict[str, float]:
    """A column by the names of its rows."""
    return {str(name): float(value) for name, value in column.items()}


def notes(tables: Tables, facts: Facts) -> list[str]:
    """What the numbers say, a sentence each."""
    settings, cells = facts["settings"], facts["settings"]["cells"]
    far, growth = max(settings["lags"]), slopes(tables, "milliseconds")
    told = [
        f"The gradient at the initial weights: {halvings(factors(tables, 'initial'))}.",
        f"Recalled with more than 0.9 of the symbols right, mean of the seeds: {reaches(tables, cells)}.",
        bounds_sentence(tables["clipping"]),
        "dense is no cell: a dense layer on every step, with as many multiplications as the rnn's and no step that waits for another. "
        f"100 further steps cost it {growth['dense']:.1f} ms against {growth[cells[0]]:.1f} ms of {cells[0]}, on one thread both; "
        "several threads could share its steps, and a cell's only within a step.",
        f"One setting of everything ({settings['units']} units, untuned): it shows the limits, and not which cell is better.",
    ]
    if any(cell.startswith("bi_") for cell in cells):
        told.append(f"Bidirectional cells hold the symbol as long: it stands in the middle, {far} steps from either end.")
    if len(cells) > 1:
        ratios = numbers(tables["cost"][tables["cost"]["length"] == longest(tables)].set_index("cell")["ratio"])
        others = listed({cell: ratios[cell] for cell in cells[1:]}, "{:.1f}")
        told.append(f"A training step on {longest(tables)} steps, in those of {cells[0]}: {others}.")
    return told


def held(tables: Tables, cells: list[str]) -> dict[str, int]:
    """The largest lag over which each cell recalls nine symbols of ten, 0 where there is none."""
    lags = sorted(tables["recall"]["lag"].unique())
    return {cell: max((int(lag) for lag in lags if recalled(tables, lag)[cell] > 0.9), default=0) for cell in cells}


def reaches(tables: Tables, cells: list[str]) -> str:
    """To which lag each cell recalls nine symbols of ten."""
    return ", ".join(f"{cell} {f'over {lag} steps' if lag else 'at no lag'}" for cell, lag in held(tables, cells).items())


def halvings(found: dict[str, float]) -> str:
    """In how many steps each cell's factor a step halves."""
    steps = {cell: math.log(0.5) / math.log(factor) for cell, factor in found.items() if 0 < factor < 1}
    halved = [f"{cell} halves it every {count:.1f} steps" for cell, count in steps.items()]
    return ", ".join([*halved, *(f"{cell} does not shrink it" for cell in found if cell not in steps)])


def bounded(clipping: pd.DataFrame) -> tuple[int, int]:
    """How many of the clipped steps keep to their bound, and of how many."""
    clipped = clipping[np.isfinite(clipping["bound"])]
    return int((clipped["update"] <= clipped["bound"] * (1 + 1e-4)).sum()), len(clipped)


def bounds_sentence(clipping: pd.DataFrame) -> str:
    """Whether each clipped step kept to its bound."""
    kept, of = bounded(clipping)
    return (
        f"{kept} of {of} clipped steps keep to their bound: learning rate times limit, for clipnorm (which cuts each "
        "tensor alone) times the root of the number of tensors, for clipvalue times the root of the number of parameters."
    )


def machine_line(facts: Facts) -> str:
    """The machine and the versions."""
    machine = facts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"Measured on {machine['cpu']}, {machine['cores']} cores, one thread in use; {versions}. Times and memory are this machine's."


def draw(tables: Tables, facts: Facts) -> str:
    """The figure as SVG: gradients, recall and milliseconds, a panel each."""
    cells = [*facts["settings"]["cells"], "dense"]
    with rc_context(STYLE):
        page = Figure(figsize=(WIDTH, 8.2), layout="constrained")
        upper, middle, lower = page.subplots(3, 1)
        draw_gradients(upper, tables["gradients"], cells)
        draw_recall(middle, tables["recall"], cells, facts["settings"]["chance"])
        draw_cost(lower, tables["cost"], cells)
        page.align_ylabels()
        page.legend(handles=handles(cells), loc="outside upper left", ncols=4)
        return svg(page)


def draw_gradients(axis: Axes, gradients: pd.DataFrame, cells: list[str]) -> None:
    """Draws each cell's norm by lag, initial full and trained dashed, and the scaled rnn dotted."""
    for (cell, stage), runs in gradients[gradients["norm"] > SMALLEST].groupby(["cell", "stage"], sort=False):
        colour, mark = look(cells.index(cell)) if cell in cells else (INK, "")
        norms = np.exp(np.log(runs["norm"]).groupby(runs["lag"]).mean())
        style = {"initial": "-", "trained": "--", "scaled": ":"}[str(stage)]
        axis.plot(norms.index, norms, color=colour, linestyle=style, linewidth=1.6, marker=mark, markersize=4, markevery=4)
    axis.set_yscale("log")
    # Text is not read as mathematics, which the formatter of powers relies on.
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axis.set_title("Gradient (dashed: trained; dotted: scaled rnn)")
    axis.set_xlabel("steps back")
    axis.set_ylabel("norm")


def draw_recall(axis: Axes, recall: pd.DataFrame, cells: list[str], chance: float) -> None:
    """Draws each cell's accuracy by lag: a line through the means, a point a seed."""
    for cell, runs in recall.groupby("cell", sort=False):
        colour, mark = look(cells.index(str(cell)))
        means = runs.groupby("lag")["accuracy"].mean()
        axis.plot(means.index, means, color=colour, linewidth=1.6)
        axis.scatter(runs["lag"], runs["accuracy"], color=colour, marker=mark, s=18, alpha=0.65, linewidths=0)
    axis.axhline(chance, color=INK, linewidth=1, linestyle="--")
    axis.set_xscale("log", base=2)
    _as_numbers(axis, sorted(recall["lag"].unique()))
    axis.set_ylim(0, 1.05)
    axis.set_title("Recall (dashed: chance)")
    axis.set_xlabel("steps the symbol is held")
    axis.set_ylabel("accuracy")


def draw_cost(axis: Axes, cost: pd.DataFrame, cells: list[str]) -> None:
    """Draws milliseconds a training step by length."""
    for cell, runs in cost.groupby("cell", sort=False):
        colour, mark = look(cells.index(str(cell)))
        axis.plot(runs["length"], runs["milliseconds"], color=colour, marker=mark, markersize=6, linewidth=1.6)
    _as_numbers(axis, sorted(cost["length"].unique()))
    axis.set_ylim(bottom=0)
    axis.set_title("A training step")
    axis.set_xlabel("length of the sequences, steps")
    axis.set_ylabel("ms")


def _as_numbers(axis: Axes, places: list[int]) -> None:
    axis.set_xticks(places)
    axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
