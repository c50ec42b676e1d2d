"""make bench: every promise about speed in one run. Writes benchmarks/results.json and the table of docs/performance.md.

python benchmarks/run.py           three rounds of the search, an hour and a quarter
python benchmarks/run.py --full    six rounds, and 2,000 trials of TPE
python benchmarks/run.py --once    one round
python benchmarks/run.py --short   a few minutes that show that everything runs; writes nothing
python benchmarks/run.py --table   the table again, from results.json
python benchmarks/run.py NAME …    only these benchmarks; the others keep what results.json says
"""

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results.json", HERE.parent / "docs/performance.md"
NAMES = (
    "levers",
    "search",
    "tune_stage",
    "orchestration",
    "commands",
    "plan",
    "throughput",
    "large_report",
)
LIBRARIES = (
    "tensorflow",
    "jax",
    "keras",
    "keras-tuner",
    "optuna",
    "mlflow",
    "distributed",
    "numpy",
)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo")
    models = (
        re.findall(r"model name\s*:\s*(.+)", cpu.read_text())
        if cpu.exists()
        else [platform.processor()]
    )
    return {
        "processor": models[0].strip(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def ran(name: str, options: list[str]) -> dict[str, Any]:
    """What the benchmark `name` found."""
    print(f"{name} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py", *options], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"benchmarks/{name}.py failed")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ratios(search: dict[str, Any], other: str, ours: str) -> list[float]:
    """How many times as many trials an hour `ours` does, a round each."""
    return [round(one[other] / one[ours], 2) for one in search["seconds"]]


def bars(found: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, measured, bar, whether it is met), a row each."""
    rows = []

    def row(
        what: str, value: float, told: str, bar: float, most: bool = True, unit: str = ""
    ) -> None:
        rows.append(
            (
                what,
                told,
                f"{'≤' if most else '≥'} {bar:g}{unit}",
                value <= bar if most else value >= bar,
            )
        )

    if search := found.get("search"):
        for name, other, limits in (
            ("KerasTuner's search, one process", "keras_tuner", {"tensorflow": 2.5, "jax": 4}),
            ("plain Keras, a process a job", "process_a_job", {"tensorflow": 3, "jax": 5}),
        ):
            for backend, limit in limits.items():
                every = ratios(search, other, backend)
                told = f"{median(every):.2f} × ({min(every):.2f} to {max(every):.2f}; rounds: {len(every)})"
                row(
                    f"trials an hour against {name}; {backend}",
                    median(every),
                    told,
                    limit,
                    most=False,
                    unit=" ×",
                )
    if tune := found.get("tune_stage"):
        share = 100 * tune["floor_share"]
        what = (
            f"share of the matrix-multiply floor, tune stage of {tune['trials']} LSTM trials, jax"
        )
        row(what, share, f"{share:.1f} %", 25, most=False, unit=" %")
        row(
            "workers idle in that stage",
            100 * tune["idle"],
            f"{100 * tune['idle']:.1f} %",
            5,
            unit=" %",
        )
    if orchestration := found.get("orchestration"):
        cost = orchestration["seconds_a_trial"]
        row(
            f"orchestration a trial, {orchestration['trials']} trials that do nothing",
            cost,
            f"{cost:.3f} s",
            0.15,
            unit=" s",
        )
        for name in ("random", "tpe"):
            late = orchestration[name]
            what = f"trial {late['trials']} against trial 100, {name}"
            told = f"{late['ratio']:.2f} × ({late['early_ms']:g} to {late['late_ms']:g} ms)"
            if name == "random":
                row(what, late["ratio"], told, 2, unit=" ×")
            else:
                rows.append((what, told, "reported", True))
    if commands := found.get("commands"):
        data = sum(commands["data"].values())
        row("`download` from a local file and `pad`", data, f"{data:.1f} s", 20, unit=" s")
        row(
            "`dvc repro` with nothing to do",
            commands["noop"],
            f"{commands['noop']:.2f} s",
            6,
            unit=" s",
        )
        slowest = max(commands["help"], key=lambda name: commands["help"][name])
        seconds = commands["help"][slowest]
        row(
            "`--help` of any command",
            seconds,
            f"{seconds:.2f} s ({slowest}, the slowest)",
            1.5,
            unit=" s",
        )
    if plan := found.get("plan"):
        row(
            "`pipeline.plan` of the default study",
            plan["plan_seconds"],
            f"{plan['plan_seconds']:.0f} s",
            60,
            unit=" s",
        )
        off = 100 * (plan["ratio"] - 1)
        told = f"{off:+.0f} % ({plan['planned_seconds']:.0f} s planned, {plan['real_seconds']:.0f} s taken)"
        row(
            f"its wall time for {plan['trials']} trials and 6 other runs, against their own",
            abs(off),
            told,
            25,
            unit=" %",
        )
    if large := found.get("large_report"):
        sizes = large["report"]
        largest = max(sizes, key=int)
        told = "; ".join(
            f"{int(size):,}: {one['seconds']:g} s, {one['gib']:g} GiB"
            for size, one in sizes.items()
        )
        row(
            f"report of 6 arms of {int(largest):,} trials",
            sizes[largest]["seconds"],
            told,
            120,
            unit=" s",
        )
        row("its memory", sizes[largest]["gib"], f"{sizes[largest]['gib']:g} GiB", 2, unit=" GiB")
    for workers, trials in found.get("throughput", {"trials_an_hour": {}})[
        "trials_an_hour"
    ].items():
        rows.append(
            (f"short trials an hour, cluster of {workers}", f"{trials:,}", "reported", True)
        )
    rows += [
        (f"`benchmarks/{name}.py`", "not measured yet", "reported", True)
        for name in NAMES
        if name not in found
    ]
    return rows


def table(found: dict[str, Any]) -> str:
    """The Markdown of docs/performance.md."""
    lines = ["| what | measured | bar | met |", "| --- | --- | --- | --- |"]
    for what, measured, bar, met in bars(found):
        lines.append(
            f"| {what} | {measured} | {bar} | {'–' if bar == 'reported' else 'yes' if met else 'no'} |"
        )
    if levers := found.get("levers"):
        ways = list(next(iter(levers["epoch"].values())))
        lines += [
            "",
            f"| seconds, one thread | {' | '.join(ways)} |",
            f"| --- {'| --- ' * len(ways)}|",
        ]
        for name, what in (
            ("epoch", "an epoch of 20,000 reviews"),
            ("predict", "predicting 25,000"),
        ):
            for cell, seconds in levers[name].items():
                lines.append(
                    f"| {cell}: {what} | {' | '.join(f'{seconds[way]:.2f}' for way in ways)} |"
                )
    told = found["machine"]
    libraries = ", ".join(f"{name} {told[name]}" for name in LIBRARIES)
    lines += [
        "",
        f"{told['processor']}, {told['cores']} cores, {told['memory_gib']} GiB; Python {told['python']}, {libraries}.",
    ]
    return "\n".join(lines)


def with_table(page: str, found: dict[str, Any]) -> str:
    """`page` with the table between its marks."""
    head, _, rest = page.partition("<!-- bench:begin -->\n")
    return f"{head}<!-- bench:begin -->\n{table(found)}\n<!-- bench:end -->{rest.partition('<!-- bench:end -->')[2]}"


def main() -> None:
    options = [one for one in sys.argv[1:] if one.startswith("--")]
    names = [one for one in sys.argv[1:] if not one.startswith("--")] or list(NAMES)
    if "--short" in options:
        # gpu.py is measured on another machine, and its table is not among these; that it runs shows here.
        for name in (*names, "gpu") if names == list(NAMES) else names:
            print(json.dumps({name: ran(name, options)}), flush=True)
        return
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if "--table" not in options:
        for name in names:
            found[name] = ran(name, options)
            # What is measured is kept, whatever becomes of the rest.
            RESULTS.write_text(json.dumps({**found, "machine": machine()}, indent=1) + "\n")
        found["machine"] = machine()
    PAGE.write_text(with_table(PAGE.read_text(), found))
    print(table(found))


if __name__ == "__main__":
    main()
