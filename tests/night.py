"""make night: the slowest checks. Writes docs/reliability.json and the table of docs/reliability.md.

    make night                 tests, faults and long_run, about three hours on 2 fast cores
    make night PART=faults     this part alone; reliability.json keeps the figures of the others

tests: the tests of the level night, among them whole studies of real data; those of the reviews need IMDB_ARCHIVE, a local copy
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

from faults import begun_as_coordinator, begun_as_worker, coordinator, fast_study, finished, processes, stores, worker
from study_copy import StudyCopy, files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
KILLS_A_STUDY = 10
# A study of 60 trials takes a minute or two; most moments of it are waited for.
PAUSE_SECONDS = (0.5, 12.0)
END_SECONDS = 90.0
# What must be counted zero times.
BAD = ("lost", "again", "differ", "orphans", "left")
# DVC writes these in place: killed in that moment it leaves them empty, and reads them no more. docs/faq.md says to remove them.
EMPTIED = "files of DVC's own found empty, and removed"
OF_DVC = (".dvc/tmp/rwlock", "dvc.lock")


def victim(copy: StudyCopy, dvc: subprocess.Popen[str], draw: random.Random) -> tuple[str, list[int]]:
    """Whom to kill now: its name and its process ids. Who has not started yet is replaced by any process that has."""
    everyone = {process.pid: process for process in processes(copy)}
    wanted = draw.choice(["worker", "coordinator", "dvc", "whole group", "any process"])
    try:
        chosen = {
            "worker": lambda: [worker(copy).pid],
            "coordinator": lambda: [coordinator(copy).pid],
            "dvc": lambda: [dvc.pid],
            "whole group": lambda: sorted(everyone),
            "any process": lambda: [draw.choice(sorted(everyone))],
        }[wanted]()
    except (StopIteration, ValueError, psutil.Error):
        return "any process", [draw.choice(sorted(everyone))] if everyone else []
    return wanted, chosen


def written(copy: StudyCopy) -> dict[str, int]:
    """{name of a finished run: when its file was written, in ns}."""
    return {path.name: path.stat().st_mtime_ns for path in copy.root.glob(".fairsweep/state/*/trial-*.npz")}


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
        counts["finished runs trained again"] += sum(now[name] != before[name] for name in before.keys() & now.keys())
        before = now
        if code == 0:
            return
        if kills == left:
            sys.exit(f"dvc repro failed, and nothing was killed:\n{copy.root.with_suffix('.output').read_text()[-3000:]}")
        for path in map(copy.root.joinpath, OF_DVC):
            if path.exists() and not path.stat().st_size:
                path.unlink()
                counts[EMPTIED] += 1
        counts["restarts"] += 1


def faults(kills: int, trials: int, seed: int = 0) -> dict[str, int]:
    """The counts over as many studies as `kills` need, each compared with an undisturbed one."""
    draw, counts = random.Random(seed), Counter[str](dict.fromkeys(("orphans", "restarts", EMPTIED), 0))
    with tempfile.TemporaryDirectory() as name:
        calm = fast_study(Path(name) / "calm", trials)
        calm.repro("tune@rnn")
        expected = files(calm.root / "runs/smoke/tune/rnn", "timings.csv")
        for number, start in enumerate(range(0, kills, KILLS_A_STUDY)):
            copy = fast_study(Path(name) / f"hit{number}", trials)
            killed(copy, min(KILLS_A_STUDY, kills - start), draw, counts)
            counts["studies"] += 1
            counts["tables that differ"] += files(copy.root / "runs/smoke/tune/rnn", "timings.csv") != expected
            counts["trials lost"] += trials - finished(copy)
            told = stores(copy)
            counts["trials lost in Optuna"] += trials - told.get("trials COMPLETE", 0)
            counts["trials lost or twice in MLflow"] += abs(trials - told["recorded"])
            counts["MLflow runs left open"] += told.get("runs RUNNING", 0)
            counts["half-written files left"] += sum(path.suffix == ".part" for path in copy.root.rglob(".*.part"))
            print(json.dumps(counts), file=sys.stderr, flush=True)
    return {"kills": sum(number for name, number in counts.items() if name.startswith("kill -9")), **dict(sorted(counts.items()))}


def long_run(trials: int) -> dict[str, Any]:
    """One study of tiny trainings of two shapes: what grows with the number of trials, of each process that lives long."""
    with tempfile.TemporaryDirectory() as name:
        copy = fast_study(Path(name) / "long", trials)
        copy.edit("conf/space/smoke.yaml", "  masking: {choices: [true, false]}\n", "")
        dvc = copy.start("dvc", "repro", "tune@rnn")
        seen: list[tuple[str, int, int, int]] = []
        while dvc.poll() is None:
            done = finished(copy)
            for process in processes(copy):
                try:
                    role = "coordinator" if begun_as_coordinator(process) else "worker" if begun_as_worker(process) else ""
                    if role:
                        seen.append((role, done, process.memory_info().rss, process.num_fds()))
                except (psutil.Error, StopIteration):
                    continue
            time.sleep(5)
        assert dvc.returncode == 0, copy.root.with_suffix(".output").read_text()[-3000:]
        started = sorted(float(line.split(",")[5]) for line in rows(copy))
    found: dict[str, Any] = {"trials": trials}
    for role in ("coordinator", "worker"):
        # Imports and the first programs come before.
        own = np.array([(done, memory, files) for kind, done, memory, files in seen if kind == role and done > trials / 10])
        memory, handles = (np.polyfit(own[:, 0], own[:, column], 1)[0] for column in (1, 2))
        found[role] = {
            "mb": round(float(np.median(own[:, 1])) / 1e6, 1),
            "mb_a_1000_trials": round(float(memory) * 1000 / 1e6, 1),
            "files_a_1000_trials": round(float(handles) * 1000, 2),
        }
    tenth = len(started) // 10
    early, late = np.diff(started[tenth : 2 * tenth]).mean(), np.diff(started[-tenth:]).mean()
    found["seconds_a_trial"] = {"second_tenth": round(float(early), 3), "last_tenth": round(float(late), 3)}
    return found


def rows(copy: StudyCopy) -> list[str]:
    """The lines of timings.csv but the header."""
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
        [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
        if cpu.exists()
        else []
    )
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def rows_of_tests(found: dict[str, Any]) -> list[tuple[str, str]]:
    count = ", ".join(f"{found[name]} {name}" for name in ("passed", "failed", "skipped"))
    return [("tests of the level night", f"{count}, {found['seconds'] / 60:.0f} min")]


def rows_of_faults(found: dict[str, Any]) -> list[tuple[str, str]]:
    killed = ", ".join(f"{name.split(': ')[1]} {number}" for name, number in found.items() if name.startswith("kill -9"))
    return [
        (
            f"processes killed with -9 at random moments of {found['studies']} studies of 60 trials",
            f"{found['kills']} ({killed})",
        ),
        ("`dvc repro` again after them", str(found["restarts"])),
        (EMPTIED, str(found[EMPTIED])),
        *((name, str(found[name])) for name in found if is_loss(name)),
    ]


def rows_of_long_run(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for role in ("coordinator", "worker"):
        own = found[role]
        grown = (
            f"{own['mb']:g} MB, {own['mb_a_1000_trials']:+g} MB and {own['files_a_1000_trials']:+g} open files per 1,000 trials"
        )
        rows.append((f"{'the' if role == 'coordinator' else 'each'} {role} of one study of {found['trials']:,} trainings", grown))
    seconds = found["seconds_a_trial"]
    rows.append(("seconds per trial there, second tenth and last", f"{seconds['second_tenth']:g} and {seconds['last_tenth']:g}"))
    return rows


ROWS = {"tests": rows_of_tests, "faults": rows_of_faults, "long_run": rows_of_long_run}


def is_loss(name: str) -> bool:
    """Whether a count of `faults` must be zero."""
    return any(word in name for word in BAD)


def table(found: dict[str, Any]) -> str:
    """The Markdown of docs/reliability.md: one row per figure, with the date and the machine of its measurement."""
    lines = ["| what | measured | date | machine |", "| --- | --- | --- | --- |"]
    for part, rows in ROWS.items():
        if part in found:
            when = f"{found[part]['date']} | {found[part]['machine']}"
            lines += [f"| {what} | {measured} | {when} |" for what, measured in rows(found[part])]
    return "\n".join(lines)


def with_table(page: str, found: dict[str, Any]) -> str:
    """`page` with the table between its marks."""
    head, _, rest = page.partition("<!-- night:begin -->\n")
    return f"{head}<!-- night:begin -->\n{table(found)}\n<!-- night:end -->{rest.partition('<!-- night:end -->')[2]}"


def main() -> None:
    parts = {"tests": tests, "faults": lambda: faults(50, 60), "long_run": lambda: long_run(2000)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; by default all")
    results = json.loads(RESULTS.read_text())
    wrong = []
    names = parser.parse_args().parts or list(parts)
    if unknown := sorted(set(names) - parts.keys()):
        parser.error(f"no such part: {', '.join(unknown)}. There are: {', '.join(parts)}")
    for name in names:
        found = parts[name]()
        results[name] = {"date": f"{datetime.date.today()}", "machine": machine(), **found}
        wrong += [f"{what}: {number}" for what, number in found.items() if number and (what == "failed" or is_loss(what))]
        # A part is kept as soon as it ends.
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), results))
    print(table(results))
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
