"""make night: the slowest checks. Writes docs/reliability.json and docs/reliability.md's table.

    make night                 tests, faults and long_run, about three hours on 2 fast cores
    make night PART=faults     this part alone; reliability.json keeps the figures of the others

tests: the tests of the level night, with studies of real data; IMDB needs IMDB_ARCHIVE
faults: 50 processes killed at random moments of studies of 60 trials
long_run: 2,000 trainings in one study
"""

import argparse
import datetime
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from faults import (
    begun_as_coordinator,
    begun_as_worker,
    coordinator,
    fast_study,
    finished,
    processes,
    stores,
    worker,
)
from study_copy import StudyCopy, files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
KILLS_A_STUDY = 10
# A study of 60 trials takes a minute or two, so the kills hit most of its moments.
PAUSE_SECONDS = (0.5, 12.0)
END_SECONDS = 90.0
# Counts that must be zero.
BAD = ("lost", "again", "differ", "orphans", "left")
# DVC writes these in place. If it is killed then, they are empty and it cannot read them;
# docs/faq.md says to remove them.
EMPTIED = "files of DVC's own found empty, and removed"
OF_DVC = (".dvc/tmp/rwlock", "dvc.lock")


def victim(
    copy: StudyCopy, dvc: subprocess.Popen[str], draw: random.Random
) -> tuple[str, list[int]]:
    """Choose the processes to kill: a name and process ids.

    A process that has not started yet is replaced by a running one.
    """
    everyone = {process.pid: process for process in processes(copy)}
    name = draw.choice(["worker", "coordinator", "dvc", "whole group", "any process"])
    try:
        chosen = {
            "worker": lambda: [worker(copy).pid],
            "coordinator": lambda: [coordinator(copy).pid],
            "dvc": lambda: [dvc.pid],
            "whole group": lambda: sorted(everyone),
            "any process": lambda: [draw.choice(sorted(everyone))],
        }[name]()
    except (StopIteration, ValueError, psutil.Error):
        return "any process", [draw.choice(sorted(everyone))] if everyone else []
    return name, chosen


def written(copy: StudyCopy) -> dict[str, int]:
    """{name of a finished run: when its file was written, in ns}."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in copy.root.glob(".fairsweep/state/*/trial-*.npz")
    }


def ended(copy: StudyCopy) -> bool:
    """Whether every process of the study ends by itself."""
    until = time.monotonic() + END_SECONDS
    while list(processes(copy)):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def killed(copy: StudyCopy, kills: int, draw: random.Random, counts: Counter[str]) -> None:
    """Run the study of `copy` to its end, through `kills` kills, and count what happened."""
    left = kills
    before: dict[str, int] = {}
    while True:
        kills = left
        dvc = copy.start("dvc", "repro", "tune@rnn")
        while left and dvc.poll() is None:
            time.sleep(draw.uniform(*PAUSE_SECONDS))
            if dvc.poll() is not None:
                break
            name, pids = victim(copy, dvc, draw)
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if pids:
                left -= 1
                counts[f"kill -9: {name}"] += 1
        code = dvc.wait()
        if not ended(copy):
            counts["orphans"] += len(list(processes(copy)))
            for process in processes(copy):
                process.kill()
        now = written(copy)
        counts["finished runs lost"] += len(before.keys() - now.keys())
        counts["finished runs trained again"] += sum(
            now[name] != before[name] for name in before.keys() & now.keys()
        )
        before = now
        if code == 0:
            return
        if kills == left:
            output = copy.root.with_suffix(".output").read_text()[-3000:]
            sys.exit(f"dvc repro failed, and nothing was killed:\n{output}")
        for path in map(copy.root.joinpath, OF_DVC):
            if path.exists() and not path.stat().st_size:
                path.unlink()
                counts[EMPTIED] += 1
        counts["restarts"] += 1


def faults(kills: int, trials: int, seed: int = 0) -> dict[str, int]:
    """The counts over as many studies as `kills` need, each compared with an undisturbed one."""
    draw, counts = (
        random.Random(seed),
        Counter[str](dict.fromkeys(("orphans", "restarts", EMPTIED), 0)),
    )
    with tempfile.TemporaryDirectory() as name:
        calm = fast_study(Path(name) / "calm", trials)
        calm.repro("tune@rnn")
        expected = files(calm.root / "runs/smoke/tune/rnn", "timings.csv")
        for number, start in enumerate(range(0, kills, KILLS_A_STUDY)):
            copy = fast_study(Path(name) / f"hit{number}", trials)
            killed(copy, min(KILLS_A_STUDY, kills - start), draw, counts)
            counts["studies"] += 1
            counts["tables that differ"] += (
                files(copy.root / "runs/smoke/tune/rnn", "timings.csv") != expected
            )
            counts["trials lost"] += trials - finished(copy)
            stored = stores(copy)
            counts["trials lost in Optuna"] += trials - stored.get("trials COMPLETE", 0)
            counts["trials lost or twice in MLflow"] += abs(trials - stored["recorded"])
            counts["MLflow runs left open"] += stored.get("runs RUNNING", 0)
            counts["half-written files left"] += sum(
                path.suffix == ".part" for path in copy.root.rglob(".*.part")
            )
            print(json.dumps(counts), file=sys.stderr, flush=True)
    return {
        "kills": sum(number for name, number in counts.items() if name.startswith("kill -9")),
        **dict(sorted(counts.items())),
    }


def long_run(trials: int) -> dict[str, Any]:
    """Run one study of tiny trainings, and measure what grows with the number of trials."""
    with tempfile.TemporaryDirectory() as name:
        copy = fast_study(Path(name) / "long", trials)
        copy.edit("conf/space/smoke.yaml", "  masking: {choices: [true, false]}\n", "")
        dvc = copy.start("dvc", "repro", "tune@rnn")
        samples: list[tuple[str, int, int, int]] = []
        while dvc.poll() is None:
            done = finished(copy)
            for process in processes(copy):
                try:
                    role = (
                        "coordinator"
                        if begun_as_coordinator(process)
                        else "worker"
                        if begun_as_worker(process)
                        else ""
                    )
                    if role:
                        samples.append((role, done, process.memory_info().rss, process.num_fds()))
                except (psutil.Error, StopIteration):
                    continue
            time.sleep(5)
        assert dvc.returncode == 0, copy.root.with_suffix(".output").read_text()[-3000:]
        started = sorted(float(line.split(",")[5]) for line in rows(copy))
    figures: dict[str, Any] = {"trials": trials}
    for role in ("coordinator", "worker"):
        # Without the imports and the first programs.
        measured = np.array(
            [
                (done, memory, files)
                for kind, done, memory, files in samples
                if kind == role and done > trials / 10
            ]
        )
        memory, handles = (
            np.polyfit(measured[:, 0], measured[:, column], 1)[0] for column in (1, 2)
        )
        figures[role] = {
            "mb": round(float(np.median(measured[:, 1])) / 1e6, 1),
            "mb_a_1000_trials": round(float(memory) * 1000 / 1e6, 1),
            "files_a_1000_trials": round(float(handles) * 1000, 2),
        }
    tenth = len(started) // 10
    early, late = np.diff(started[tenth : 2 * tenth]).mean(), np.diff(started[-tenth:]).mean()
    figures["seconds_a_trial"] = {
        "second_tenth": round(float(early), 3),
        "last_tenth": round(float(late), 3),
    }
    return figures


def rows(copy: StudyCopy) -> list[str]:
    """The lines of timings.csv without the header."""
    return (copy.root / "runs/smoke/tune/rnn/timings.csv").read_text().splitlines()[1:]


def tests() -> dict[str, int]:
    """Run the tests of the level night and count their outcomes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "results.xml"
        started = time.monotonic()
        subprocess.run(["make", "test", "LEVEL=night", f"ARGS=--junitxml={path}"], cwd=ROOT)
        suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return {
        "passed": count["tests"] - failed - count["skipped"],
        "failed": failed,
        "skipped": count["skipped"],
        "seconds": round(time.monotonic() - started),
    }


def machine() -> str:
    """The processor's name and the number of its cores."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in cpu.read_text().splitlines()
            if line.startswith("model name")
        ]
        if cpu.exists()
        else []
    )
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def rows_of_tests(figures: dict[str, Any]) -> list[tuple[str, str]]:
    count = ", ".join(f"{figures[name]} {name}" for name in ("passed", "failed", "skipped"))
    return [("tests of the level night", f"{count}, {figures['seconds'] / 60:.0f} min")]


def rows_of_faults(figures: dict[str, Any]) -> list[tuple[str, str]]:
    killed = ", ".join(
        f"{name.split(': ')[1]} {number}"
        for name, number in figures.items()
        if name.startswith("kill -9")
    )
    return [
        (
            f"processes killed with -9 at random moments of {figures['studies']} studies of "
            "60 trials",
            f"{figures['kills']} ({killed})",
        ),
        ("`dvc repro` again after them", str(figures["restarts"])),
        (EMPTIED, str(figures[EMPTIED])),
        *((name, str(figures[name])) for name in figures if is_loss(name)),
    ]


def rows_of_long_run(figures: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for role in ("coordinator", "worker"):
        memory, growth, handles = figures[role].values()
        which = "the" if role == "coordinator" else "each"
        name = f"{which} {role} of one study of {figures['trials']:,} trainings"
        grown = f"{growth:+g} MB and {handles:+g} open files per 1,000 trials"
        rows.append((name, f"{memory:g} MB, {grown}"))
    seconds = figures["seconds_a_trial"]
    rows.append(
        (
            "seconds per trial there, second tenth and last",
            f"{seconds['second_tenth']:g} and {seconds['last_tenth']:g}",
        )
    )
    return rows


ROWS = {"tests": rows_of_tests, "faults": rows_of_faults, "long_run": rows_of_long_run}


def is_loss(name: str) -> bool:
    """Whether a count of `faults` must be zero."""
    return any(word in name for word in BAD)


def table(figures: dict[str, Any]) -> str:
    """The table of docs/reliability.md: one row per figure, below the date and machine of its part."""
    lines = ["| what | measured |", "| --- | --- |"]
    for part, rows in ROWS.items():
        if part in figures:
            lines.append(f"| *{part}* | *{figures[part]['date']}, {figures[part]['machine']}* |")
            lines += [f"| {what} | {measured} |" for what, measured in rows(figures[part])]
    return "\n".join(lines)


def with_table(page: str, figures: dict[str, Any]) -> str:
    """`page` with the table between its marks."""
    head, _, rest = page.partition("<!-- night:begin -->\n")
    tail = rest.partition("<!-- night:end -->")[2]
    return f"{head}<!-- night:begin -->\n{table(figures)}\n<!-- night:end -->{tail}"


def main() -> None:
    parts = {"tests": tests, "faults": lambda: faults(50, 60), "long_run": lambda: long_run(2000)}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; by default all")
    results = json.loads(RESULTS.read_text())
    wrong = []
    names = parser.parse_args().parts or list(parts)
    if unknown := sorted(set(names) - parts.keys()):
        parser.error(f"no such part: {', '.join(unknown)}. There are: {', '.join(parts)}")
    for name in names:
        figures = parts[name]()
        results[name] = {"date": f"{datetime.date.today()}", "machine": machine(), **figures}
        wrong += [
            f"{what}: {number}"
            for what, number in figures.items()
            if number and (what == "failed" or is_loss(what))
        ]
        # Write after each part.
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), results))
    print(table(results))
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
