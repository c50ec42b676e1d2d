"""Measures what limits a recurrent cell, on this machine: gradients that vanish or explode, clipping, memory over time, cost.

  python -m pipeline.probe
  python -m pipeline.probe cells=[rnn,lstm] lags=[4,16,64] lengths=[100,200,400] out=FOLDER

About 3 minutes on one core. No study and no data are needed.

cells      of rnn, gru, lstm, bi_rnn, bi_gru, bi_lstm; bidirectional ones take twice as long
lags       over how many steps a symbol is to be recalled; gradients reach back as far as the largest
lengths    of the sequences that a training step is timed on; at least two
units      of every cell
steps      of each recall training
seeds      how many, for gradients, clipping and recall
out        the folder that takes gradients.csv, clipping.csv, recall.csv, cost.csv, probe.json, limits.md and limits.svg
backend    tensorflow or jax"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .config.cli import command
from .config.schema import limited
from .errors import FairsweepError
from .files import replace_folder
from .models.cells import BACKWARDS, CELLS

FILES = {
    "gradients.csv",
    "clipping.csv",
    "recall.csv",
    "cost.csv",
    "probe.json",
    "limits.md",
    "limits.svg",
}
# From fewer steps back no slope can be told.
FAR = 4
# Lists on the command line, tuples as defaults.
LISTS = ("cells", "lags", "lengths")


@dataclass
class Probe:
    """The keys of this command."""

    cells: tuple[str, ...] = ("rnn", "gru", "lstm")
    lags: tuple[int, ...] = (4, 16, 64)
    lengths: tuple[int, ...] = (100, 200, 400)
    units: int = limited(32, least=1)
    steps: int = limited(300, least=1)
    seeds: int = limited(3, least=1)
    out: str = "results/probe"
    backend: str = limited("tensorflow", choices=("tensorflow", "jax"))


def check(options: Probe) -> Path:
    """Holds what the schema cannot against its limits, before anything is measured.

    Returns:
        The folder that the outputs go to.

    Raises:
        FairsweepError: with the key, what was expected and what to do.
    """
    names = [*CELLS, *(BACKWARDS + name for name in CELLS)]
    unknown = [cell for cell in options.cells if cell not in names]
    if unknown:
        raise FairsweepError(f"cells: there is no {unknown[0]!r}; there are: {', '.join(names)}.")
    for key, fewest in (("cells", 1), ("lags", 1), ("lengths", 2)):
        values: Sequence[Any] = getattr(options, key)
        if len(values) < fewest or len(set(values)) < len(values):
            raise FairsweepError(
                f"{key}={list(values)}: must be at least {fewest}, each once, such as {key}={example(key)}."
            )
        if key != "cells" and min(values) < 1:
            raise FairsweepError(
                f"{key}={list(values)}: each must be at least 1, such as {key}={example(key)}."
            )
    if max(options.lags) < FAR:
        raise FairsweepError(
            f"lags={list(options.lags)}: the largest must be at least {FAR}, for a gradient's slope to be seen, such as "
            f"lags={example('lags')}."
        )
    out = Path(options.out).expanduser().resolve()
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= FILES):
        raise FairsweepError(
            f"out={options.out}: holds something else than a probe, and would be replaced. Give a new folder."
        )
    above = next(folder for folder in out.parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise FairsweepError(
            f"out={options.out}: {above} is no folder that can be written to. Give another one."
        )
    return out


def example(key: str) -> str:
    """The default of a list, as it is typed."""
    return f"[{','.join(map(str, getattr(Probe(), key)))}]"


def machine(backend: str) -> dict[str, Any]:
    """The processor, its cores, and the versions that decide times."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    versions = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("keras", backend, "numpy")},
    }
    return {"cpu": next(named, platform.machine()), "cores": os.cpu_count(), "versions": versions}


def probe(options: Probe) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Measures everything; a line a measurement is printed on the way.

    Returns:
        The rows of the tables `gradients`, `clipping`, `recall` and `cost`; and `settings` and `machine`.
    """
    from .probing import clipping, gradients, network
    from .probing import recall as recalling
    from .training import backend

    backend.use(options.backend)
    lags = sorted(options.lags)
    middle = lags[len(lags) // 2]
    tables: dict[str, list[dict[str, Any]]] = {"gradients": [], "recall": []}
    for cell in options.cells:
        for lag in lags:
            rows, weights = recalling.recall(
                cell, options.units, lag, options.steps, range(options.seeds)
            )
            tables["recall"] += rows
            shares = ", ".join(f"{row['accuracy']:.3f}" for row in rows)
            print(f"recall: {cell}, {lag} steps: {shares} right", flush=True)
            if lag == middle:
                tables["gradients"] += gradients.gradients(
                    cell, options.units, lags[-1], options.seeds, weights
                )
    tables["clipping"] = clipping.clipping(options.units, middle, options.seeds)
    tables["cost"] = costs(options)
    fixed = {
        "symbols": network.SYMBOLS,
        "chance": network.CHANCE,
        "batch": recalling.BATCH,
        "radius": gradients.RADIUS,
    }
    asked = {**asdict(options), **{key: list(getattr(options, key)) for key in LISTS}}
    del asked["out"]
    return tables, {
        "settings": {**asked, "trained_lag": middle, **fixed},
        "machine": machine(options.backend),
    }


def costs(options: Probe) -> list[dict[str, Any]]:
    """Rows of cost.csv, of the cells and the dense layer; `ratio` is milliseconds over those of the first cell, same length."""
    from .probing.cost import DENSE, cost

    rows: list[dict[str, Any]] = []
    first: dict[int, float] = {}
    for cell in (*options.cells, DENSE):
        for length in sorted(options.lengths):
            row = cost(cell, options.units, length, options.backend)
            first.setdefault(length, row["milliseconds"])
            rows.append({**row, "ratio": row["milliseconds"] / first[length]})
            print(
                f"cost: {cell}, length {length}: {row['milliseconds']:.1f} ms, {row['mebibytes']:.0f} MiB",
                flush=True,
            )
    return rows


@command(schema=Probe)
def main(options: Probe) -> None:
    """The command `probe`."""
    out = check(options)
    tables, facts = probe(options)
    # Pandas and matplotlib take a second, which a refusal need not wait for.
    import pandas as pd

    from .rendering import probe_page

    try:
        with replace_folder(out) as folder:
            probe_page.write(
                folder, {name: pd.DataFrame(rows) for name, rows in tables.items()}, facts
            )
    except OSError as error:
        raise FairsweepError(
            f"out={options.out}: cannot be written ({error.strerror}). Give another folder."
        ) from error
    print(f"{options.out}: limits.md tells it")


if __name__ == "__main__":
    main()
