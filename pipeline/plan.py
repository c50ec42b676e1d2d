"""plan: the wall time that a study will take, from a minute of measurements; its power."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import psutil
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from . import tracking
from .config.cli import command
from .config.compose import task_overrides
from .config.schema import Config
from .config.validation import check_design
from .data.arrays import Data
from .planning.power import POWER, Row, earlier_studies, power
from .rendering.format import chance, columns, counted, listed

# Seconds after the start of the command at which the measurements end.
PROBE_SECONDS = 40.0
# Seconds of sample, evaluate and report; of pad and baseline per 50,000 texts; of pad and baseline
# of numbers. Mean share of its epochs that a run uses. Measured on the committed studies.
REPORT, TEXTS, NUMBERS, SHARE = 33.0, 37.0, 8.0, 0.77


def heading(config: Config) -> str:
    """The study and its design."""
    search = config.search
    design = f"shared search of N = {search.trials} trials per cell, budget n = {search.budget}"
    if search.design == "repeated":
        design = (
            f"K = {search.repeats} {search.sampler_name} searches, {search.trials} trials per cell"
        )
    if not search.trials:
        design = f"recipes without a search, {counted(search.replicates, 'seed')} each"
    return f"Study {config.name}: {listed(config.cells)}; {design}; {config.train.backend}."


def times(costs: Mapping[str, NDArray[np.float64]], other: float) -> str:
    """The `costs` of `extrapolate` as a table, and the wall time with `other` seconds."""
    rows = {arm: np.append(cost[:, 0], cost[:, 1:].sum(axis=0)) for arm, cost in costs.items()}
    rows["other stages"] = np.array([0, 0, other, other])
    rows["total"] = sum(rows.values(), np.zeros(4))
    cells = [["arm", "trials", "other runs", "hours", "at most"]]
    for arm, (trials, others, expected, most) in rows.items():
        hours = f"{expected / 3600:.2f}", f"{most / 3600:.2f}"
        cells += [[arm, f"{trials:.0f}", f"{others:.0f}", *hours]]
    seconds = [*rows["total"][2:], *sum(costs.values(), np.zeros((2, 3)))[:, 1]]
    sentence = "Wall time: {} expected, {} at most (tune {}, replicate {}), without the download."
    return columns(cells) + "\n\n" + sentence.format(*(f"{part / 60:.1f} min" for part in seconds))


def assumptions(config: Config, share: float, source: str, busy: float) -> Iterator[str]:
    """What the wall time assumes; `busy` is the mean number of processes that ran before."""
    cluster, cores = config.cluster, counted(CPU_COUNT, "core")
    yield f"Expected: runs that may stop early use {share:.0%} of their epochs, as in {source}."
    if cluster.kind != "local":
        yield f"cluster={cluster.kind}: {cluster.workers} workers, each as fast as one here."
    elif cluster.workers != CPU_COUNT:
        yield f"cluster.workers={cluster.workers}: on {cores}, {CPU_COUNT} workers are the fastest."
    if busy > CPU_COUNT / 2:
        yield f"Warning: this machine is busy (load {busy:.1f}), which makes the times longer."
    if config.search.pruner != "none":
        yield f"search.pruner={config.search.pruner}: pruned runs take less time."


def detected_gaps(config: Config, data: Data, earlier: Sequence[Row], source: str) -> Iterator[str]:
    """The gaps that the study detects, and the earlier studies from which this follows."""
    search, measure = config.search, data.spec.measure
    if not (earlier and search.trials and config.cells[1:]):
        yield "Power: unknown. It needs a search, two cells, and an earlier study of this task."
        return
    keys, rows = ("budget", "search_sd", "row_sd"), len(data.test_inputs)
    budget, error, row_sd = np.median([[row[key] for key in keys] for row in earlier], axis=0)
    smallest, gaps = power(search, error, row_sd, rows)
    yield (
        f"Power: a gap of {measure.points(smallest)} {measure.gaps} between two cells is detected "
        f"with probability {POWER}."
    )
    cells = [["gap", "probability", f"{'N' if search.design == 'shared' else 'K'} for {POWER}"]]
    for gap, likely, size in gaps:
        needed = str(size or "none: the test set is too small")
        cells.append([measure.margin(gap), chance(min(likely, 0.999)), needed])
    yield columns(cells)
    yield (
        f"Assumed: {rows:,} test {measure.examples}, and the errors of {source}: a standard error "
        f"of {measure.points(error)} {measure.gaps} after a search of {budget:.0f} trials per cell."
    )


@command(folder=False)
def main(config: Config) -> None:
    from .planning import cost

    check_design(config)
    began, busy = psutil.Process().create_time(), psutil.getloadavg()[0]
    start, data = time.time() - began, cost.load_rows(config)
    runs = cost.list_runs(config, task_overrides(), data)
    earlier, source = earlier_studies(config, data.spec.metric)
    print(heading(config))
    if runs:
        share = float(np.median([row["share"] for row in earlier] or SHARE))
        probed = cost.probe(runs, data, config.cluster, began + PROBE_SECONDS)
        probed = probed._replace(start=start + tracking.import_seconds() + probed.start)
        print(f"Measured: {len(probed.timings)} configurations, {time.time() - began:.0f} s.\n")
        texts = len(data.train_inputs) + len(data.validation_inputs) + len(data.test_inputs)
        other = REPORT + (NUMBERS if data.spec.features else texts / 50_000 * TEXTS)
        print(times(cost.extrapolate(runs, data, probed, share), other))
        print(*assumptions(config, share, source, busy), sep="\n", end="\n\n")
    else:
        print("Nothing is left to train: all runs are finished.\n")
    print(*detected_gaps(config, data, earlier, source), sep="\n")


if __name__ == "__main__":
    main()
