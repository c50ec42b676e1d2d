"""The results of `python -m pipeline.probe` as limits.md, its figure, and a section of a report."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Template
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..files import reading
from . import markdown
from .style import INK, STYLE, WIDTH, appearance, handles, svg

TEMPLATE = Path(__file__).with_name("templates") / "probe.yaml.j2"
TABLES = ("gradients", "clipping", "recall", "cost")
LINES = {"initial": "-", "trained": "--", "scaled": ":"}
# Smaller norms are close to the smallest numbers of float32.
SMALLEST = 1e-30
AGAIN = "Measure again (python -m pipeline.probe), or remove the folder: reports do not need it."
Tables = dict[str, pd.DataFrame]
Facts = dict[str, Any]


def summary(folder: Path) -> dict[str, Any] | None:
    """The texts of the probe in `folder` for `probe.md.j2`; None if there is no probe.

    The report must contain `figure(folder)` under the name `limits`.
    """
    return summarise(*read(folder)) if (folder / "probe.json").is_file() else None


def figure(folder: Path) -> str:
    """The SVG that `pipeline.probe` wrote into `folder`."""
    with reading(folder / "limits.svg", AGAIN) as path:
        return path.read_text(encoding="utf-8")


def read(folder: Path) -> tuple[Tables, Facts]:
    """The tables by name, and the content of probe.json."""
    with reading(folder / "probe.json", AGAIN) as path:
        facts = json.loads(path.read_text(encoding="utf-8"))
    tables = {}
    for name in TABLES:
        with reading(folder / f"{name}.csv", AGAIN) as path:
            tables[name] = pd.read_csv(path)
    return tables, facts


def write(folder: Path, tables: Tables, facts: Facts) -> None:
    """Write the tables, probe.json, limits.md and limits.svg into an existing `folder`.

    Args:
        tables: `gradients`, `clipping`, `recall` and `cost`.
        facts: `settings` and `machine`.
    """
    for name in TABLES:
        path = folder / f"{name}.csv"
        tables[name].to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    (folder / "probe.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    # The texts are from the rounded files, so that a report of these files says the same.
    tables, facts = read(folder)
    page = markdown.limits(summarise(tables, facts))
    (folder / "limits.md").write_text(page, encoding="utf-8")
    (folder / "limits.svg").write_text(draw(tables, facts), encoding="utf-8")


def summarise(tables: Tables, facts: Facts) -> dict[str, Any]:
    """The texts: `how` it was measured, table `rows`, `figure` caption, `notes` and `machine`."""
    cells, clipping = facts["settings"]["cells"], tables["clipping"]
    ratios = at_longest(tables, "ratio")
    template = Template(TEMPLATE.read_text("utf-8"), trim_blocks=True, lstrip_blocks=True)
    text = template.render(
        **facts,
        cells=cells,
        versions=", ".join(map(" ".join, facts["machine"]["versions"].items())),
        bidirectional=any(cell.startswith("bi_") for cell in cells),
        factors=lambda stage: numbers_text(factors(tables, stage), "{:.2f}"),
        halvings=halvings(factors(tables, "initial")),
        gradient=f"{clipping['gradient'].max():,.3g}",
        limit=f"{clipping['limit'].iloc[0]:g}",
        rate=f"{clipping['learning_rate'].iloc[0]:g}",
        steps=numbers_text(clipping.groupby("rule", sort=False)["update"].max(), "{:.3g}"),
        bounded=bounded(clipping),
        recall={
            lag: numbers_text(recalled(tables, lag), "{:.2f}")
            for lag in sorted(tables["recall"]["lag"].unique())
        },
        reach=reach_text(tables, cells),
        length=longest(tables),
        growth=slopes(tables, "milliseconds"),
        slopes=lambda column: numbers_text(slopes(tables, column), "{:.1f}"),
        costs=lambda column, spec: numbers_text(at_longest(tables, column), spec),
        ratios=numbers_text({cell: ratios[cell] for cell in cells[1:]}, "{:.1f}"),
    )
    texts: dict[str, Any] = yaml.safe_load(text)
    rows = [[field.strip() for field in row.split("|")] for row in texts["rows"].splitlines()]
    return {**texts, "rows": rows}


def halvings(values: dict[str, float]) -> str:
    """The number of steps in which each cell's gradient halves, from its factor per step."""
    steps = {
        cell: math.log(0.5) / math.log(value) for cell, value in values.items() if 0 < value < 1
    }
    halved = [f"{cell} halves every {count:.1f} steps" for cell, count in steps.items()]
    return ", ".join(halved + [f"{cell} does not shrink" for cell in values if cell not in steps])


def numbers_text(values: Mapping[str, float] | pd.Series, spec: str) -> str:
    """Names with their numbers; a dash for nan."""
    values = pd.Series(values)
    texts = [spec.format(value) if math.isfinite(value) else "–" for value in values.values]
    return ", ".join(f"{name} {text}" for name, text in zip(values.index, texts, strict=True))


def factors(tables: Tables, stage: str) -> dict[str, float]:
    """The factor of each cell's gradient per step back, geometric mean over seeds."""
    rows = tables["gradients"][tables["gradients"]["stage"] == stage]
    by_seed = {name: log_slope(run) for name, run in rows.groupby(["cell", "seed"], sort=False)}
    slopes = pd.Series(by_seed).groupby(level=0, sort=False)
    return {str(cell): math.exp(np.mean(values.to_numpy())) for cell, values in slopes}


def log_slope(run: pd.DataFrame) -> float:
    """Least-squares slope of log norm against lag, for one seed.

    It excludes both ends: lag 0 involves no recurrence, and the largest lag is that of the symbol.
    """
    inner = run[(run["lag"] > 0) & (run["lag"] < run["lag"].max()) & (run["norm"] > SMALLEST)]
    enough = len(inner) > 1
    return float(np.polyfit(inner["lag"], np.log(inner["norm"]), 1)[0]) if enough else math.nan


def recalled(tables: Tables, lag: int) -> "pd.Series[float]":
    """Each cell's mean accuracy at a lag."""
    recall = tables["recall"][tables["recall"]["lag"] == lag]
    return recall.groupby("cell", sort=False)["accuracy"].mean()


def reach(tables: Tables, cells: list[str]) -> dict[str, int]:
    """The largest lag at which each cell's mean accuracy is above 0.9; 0 if there is none."""
    means = tables["recall"].groupby(["cell", "lag"])["accuracy"].mean()
    return {cell: max(map(int, means[cell][means[cell] > 0.9].index), default=0) for cell in cells}


def reach_text(tables: Tables, cells: list[str]) -> str:
    """`rnn over 4 steps, gru over 16 steps`."""
    lags = reach(tables, cells).items()
    return ", ".join(f"{cell} {f'over {lag} steps' if lag else 'at no lag'}" for cell, lag in lags)


def slopes(tables: Tables, column: str) -> dict[str, float]:
    """Each cell's least-squares growth of a cost per 100 steps of length."""
    groups = tables["cost"].groupby("cell", sort=False)
    fits = {cell: np.polyfit(runs["length"], runs[column], 1) for cell, runs in groups}
    return {str(cell): 100 * float(fit[0]) for cell, fit in fits.items()}


def longest(tables: Tables) -> int:
    """The largest length of the table `cost`."""
    return int(tables["cost"]["length"].max())


def at_longest(tables: Tables, column: str) -> "pd.Series[float]":
    """Each cell's cost at the largest length."""
    cost = tables["cost"]
    return cost[cost["length"] == longest(tables)].set_index("cell")[column]


def bounded(clipping: pd.DataFrame) -> tuple[int, int]:
    """The number of clipped steps within their bound, and of all clipped steps."""
    clipped = clipping[np.isfinite(clipping["bound"])]
    return int((clipped["update"] <= clipped["bound"] * (1 + 1e-4)).sum()), len(clipped)


def draw(tables: Tables, facts: Facts) -> str:
    """The figure as SVG, with one panel each for gradients, recall and milliseconds."""
    cells = [*facts["settings"]["cells"], "dense"]
    looks = dict(zip(cells, map(appearance, range(len(cells))), strict=True))
    gradients, recall, cost = (tables[name] for name in ("gradients", "recall", "cost"))
    with rc_context(STYLE):
        page = Figure(figsize=(WIDTH, 8.2), layout="constrained")
        upper, middle, lower = page.subplots(3, 1)
        above = gradients[gradients["norm"] > SMALLEST]
        for (cell, stage), runs in above.groupby(["cell", "stage"], sort=False):
            norms = np.exp(np.log(runs["norm"]).groupby(runs["lag"]).mean())
            style: dict[str, Any] = {"color": looks[cell][0], "marker": looks[cell][1]}
            style |= {
                "linestyle": LINES[str(stage)],
                "linewidth": 1.6,
                "markersize": 4,
                "markevery": 4,
            }
            upper.plot(norms.index, norms, **style)
        upper.set(xlabel="steps back", ylabel="norm", yscale="log")
        upper.set_title("Gradient (dashed: trained; dotted: scaled rnn)")
        # The default formatter writes powers as mathematics, which STYLE switches off.
        upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
        for cell, runs in recall.groupby("cell", sort=False):
            means, (colour, mark) = runs.groupby("lag")["accuracy"].mean(), looks[str(cell)]
            middle.plot(means.index, means, color=colour, linewidth=1.6)
            style = {"color": colour, "marker": mark, "s": 18, "alpha": 0.65, "linewidths": 0}
            middle.scatter(runs["lag"], runs["accuracy"], **style)
        middle.axhline(facts["settings"]["chance"], color=INK, linewidth=1, linestyle="--")
        middle.set_xscale("log", base=2)
        middle.set(xlabel="lag of the symbol, steps", ylabel="accuracy", ylim=(0, 1.05))
        middle.set_title("Recall (dashed: chance)")
        for cell, runs in cost.groupby("cell", sort=False):
            style = {"color": looks[str(cell)][0], "marker": looks[str(cell)][1], "markersize": 6}
            lower.plot(runs["length"], runs["milliseconds"], linewidth=1.6, **style)
        lower.set(xlabel="length of the sequences, steps", ylabel="ms", ylim=(0, None))
        lower.set_title("A training step")
        for axis, places in ((middle, recall["lag"]), (lower, cost["length"])):
            axis.set_xticks(sorted(places.unique()))
            axis.set_xticks([], minor=True)
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        page.align_ylabels()
        page.legend(handles=handles(cells), loc="outside upper left", ncols=4)
        return svg(page)
