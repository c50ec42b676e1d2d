"""A plan as text: tables and sentences."""

from collections.abc import Iterator

from pipeline.evidence.planning import POWER
from pipeline.planning.cost import Amount
from pipeline.planning.plan import Plan
from pipeline.planning.power import Gap, Power
from pipeline.reporting import measure, words
from pipeline.reporting.measure import Measure

# Dask pauses a worker that holds this share of its limit, and ends it a little later.
PAUSED = 0.8
# More processes a core than this, before the probe began, are company.
IDLE = 0.5
# No chance is told as certainty.
SURE = 0.9999


def blocks(plan: Plan) -> Iterator[str]:
    """What is printed, a block at a time."""
    yield "\n".join(heading(plan))
    if plan.probe:
        yield words.columns(budget(plan))
        yield "\n".join([*times(plan), *machine(plan)])
    else:
        yield "Nothing is left to train: every run is finished already."
    yield "\n".join(seen(plan))


def heading(plan: Plan) -> Iterator[str]:
    """The design, and what was measured."""
    config, search = plan.config, plan.config.search
    if not search.trials:
        design = f"recipes alone, {words.counted(search.replicates, 'seed')} each"
    elif search.design == "pool":
        design = f"a pool of N = {search.trials} trials a cell, for a search of n = {search.headline}"
    else:
        design = f"{search.studies} separate studies of {words.counted(search.trials, 'trial')} a cell ({search.asked})"
    yield f"Study {config.name}: {words.listed(config.cells)}; {design}; {config.train.backend}."
    if plan.probe:
        rows = "rows of the study" if plan.inputs.folder else "invented rows of the task's shape, as its data are not here yet"
        taken = words.counted(len(plan.probe.taken), "configuration")
        side = (
            words.counted(plan.probe.workers, "worker") + " of this machine" + (" side by side" if plan.probe.workers > 1 else "")
        )
        yield f"Measured: a part of {taken}, on {rows}, by {side}; {plan.seconds:.0f} s."


def budget(plan: Plan) -> list[list[str]]:
    """The table: an arm a row, the other stages, all together."""
    header = ["arm", "trials", "other runs", "epochs", "at most", "hours", "at most", "memory of a worker", "disk"]
    rows = [
        [
            one.arm.name,
            *(str(sum(kind.left for kind in one.arm.kinds if (kind.name == "trial") is searched)) for searched in (True, False)),
            *(f"{value:,.0f}" for value in (one.epochs.likely, one.epochs.most)),
            *_hours(one.tune + one.replicate),
            _size(one.memory),
            _size(one.disk),
        ]
        for one in plan.arms
    ]
    rest = ["other stages", "", "", "", "", *_hours(Amount(plan.rest, plan.rest)), "", _size(plan.arrays)]
    epochs = [f"{sum(getattr(one.epochs, which) for one in plan.arms):,.0f}" for which in ("likely", "most")]
    counts = [str(sum(int(row[column]) for row in rows)) for column in (1, 2)]
    return [header, *rows, rest, ["together", *counts, *epochs, *_hours(plan.wall), "", _size(plan.bytes)]]


def times(plan: Plan) -> Iterator[str]:
    """How long, and what that rests on."""
    search, kind = plan.config.search, plan.config.cluster.kind
    stages = [sum((getattr(one, stage) for one in plan.arms), Amount(0.0, 0.0)).likely for stage in ("tune", "replicate")]
    yield (
        f"Wall time: {_lasting(plan.wall.likely)} likely, {_lasting(plan.wall.most)} at most "
        f"(tune {_lasting(stages[0])}, replicate {_lasting(stages[1])}), without the download."
    )
    share = f"{100 * plan.share:.0f} %"
    yield f"Likely: runs that may stop early use {share} of their epochs, from {plan.stopping}. At most: none stops early."
    if done := sum(kind.done for one in plan.arms for kind in one.arm.kinds):
        yield f"{words.counted(done, 'run')} of these arms finished earlier and are not counted."
    if plan.machine.load > IDLE * plan.machine.cores:
        yield (
            f"Warning: this machine was busy already (a load of {plan.machine.load:.1f} on {words.counted(plan.machine.cores, 'core')}), "
            "so the times are those of a busy one."
        )
    if search.pruner != "none":
        yield f"search.pruner={search.pruner} ends runs earlier; that is not counted."
    if kind != "local":
        yield (
            f"cluster={kind}: counted as {words.counted(plan.lanes, 'worker')}, each as fast as one of this machine; "
            "cluster.workers=NUMBER counts others."
        )


def machine(plan: Plan) -> Iterator[str]:
    """Workers, memory and disk: what to set, and warnings."""
    here, worker = plan.machine, max(one.memory for one in plan.arms)
    if plan.bytes > here.disk:
        yield f"Warning: {_size(plan.bytes)} of disk are needed and {_size(here.disk)} are free. Make room before you begin."
    if plan.config.cluster.kind != "local":
        yield f"Each worker needs {_size(worker)} of memory, and one core."
        return
    asked, fits = plan.config.cluster.workers, int((here.available - plan.own) // worker)
    best = max(1, min(here.cores, fits))
    there = f"{words.counted(here.cores, 'core')}, {_size(here.available)} of memory free"
    if asked > fits:
        yield (
            f"Warning: {words.counted(asked, 'worker')} of up to {_size(worker)} each will not fit into the memory ({there}). "
            + (
                f"Set cluster.workers={best}."
                if fits
                else "Lower the widths or the length of the inputs, or use a larger machine."
            )
        )
    elif worker > PAUSED * here.limit:
        yield (
            f"Warning: a worker will hold up to {_size(worker)}, and Dask stops one at {100 * PAUSED:.0f} % of {_size(here.limit)}. "
            f"Set cluster.memory={worker / PAUSED / 2**30:.1f}GiB."
        )
    elif asked > here.cores:
        yield f"Workers: {asked} share {words.counted(here.cores, 'core')}, which is no faster: set cluster.workers={best}."
    elif asked < best:
        yield (
            f"Workers: {asked}; this machine can have {best} ({there}), and cluster.workers={best} takes about {asked / best:.0%} of the "
            "time."
        )
    else:
        yield f"Workers: {asked}, as many as this machine can well have ({there})."


def seen(plan: Plan) -> Iterator[str]:
    """Which gaps the study will see."""
    config, told = plan.config, measure.of_form(plan.inputs.form)
    if not config.search.trials:
        yield "Power: none, as a study without a search gives no verdict; recipes are described over their seeds."
    elif len(config.cells) < 2:
        yield "Power: none, as one cell alone is compared with nothing."
    elif plan.power is None or plan.basis is None:
        yield (
            f"Power: not known before the first study of task {config.task.name}, as no earlier one has its metric ({told.name}). Its "
            "report says how many trials would decide each pair."
        )
    else:
        yield f"Power: {gaps(plan.power, plan, told)}"
        basis, others = plan.basis, ""
        if basis.low < basis.high:
            others = f" (from {told.points(basis.low)} in one to {told.points(basis.high)} in another)"
        yield (
            f"That is for one pair of cells, at {100 * POWER:.0f} %, and rests on {basis.source}: there the gap of one search of "
            f"n = {basis.headline} a cell was off by {told.points(basis.search_sd)} {told.gaps}{others}; and on "
            f"{plan.inputs.test:,} test {told.examples}."
        )


def gaps(power: Power, plan: Plan, told: Measure) -> str:
    """What will be seen of the margin and of half of it."""
    search, margin, half = plan.config.search, power.margin, power.half
    pooled = search.design == "pool"
    design = (
        f"N = {search.trials} and n = {search.headline}" if pooled else f"K = {search.studies} studies of {search.trials} trials"
    )

    def sized(gap: Gap) -> str:
        if gap.size is None:
            return f"no number of them shows {told.margin(gap.gap)}, as the test set alone is too small"
        return f"for {told.margin(gap.gap)} plan {'N' if pooled else 'K'} = {gap.size}"

    def odds(gap: Gap) -> str:
        return f"{told.margin(gap.gap)} (chance {words.chance(min(gap.chance, SURE))})"

    if half.chance >= POWER:
        return f"with {design} you will most likely see gaps of {odds(half)}, half the margin."
    if margin.chance >= POWER:
        return f"with {design} you will most likely see gaps of {odds(margin)}, not {odds(half)}; {sized(half)}."
    least = told.points(power.smallest)
    return f"with {design} you will most likely not see gaps of {odds(margin)}, the margin, but of {least} {told.gaps}; {sized(margin)}."


def _hours(seconds: Amount) -> list[str]:
    return [f"{value / 3600:.2f}" for value in (seconds.likely, seconds.most)]


def _lasting(seconds: float) -> str:
    """`45 s`, `16.7 min`, `3.2 h`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(amount: float) -> str:
    """`0.4 GiB`, `35 MiB`."""
    return f"{amount / 2**30:.1f} GiB" if amount > 2**29 else f"{amount / 2**20:.0f} MiB"
