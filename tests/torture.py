"""make torture: a study that is killed at random moments, and one of 2,000 trainings. Writes docs/reliability.json,
and the table of docs/reliability.md.

python tests/torture.py               50 kills of studies of 60 trials, then 2,000 trainings: about half an hour on 2 quiet cores
python tests/torture.py long_run      only this part (or `faults`); the other keeps what reliability.json says
python tests/torture.py --short       4 kills and 60 trainings; writes nothing
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from faults import begun_as_coordinator, begun_as_worker, coordinator, fast_study, finished, processes, stores, worker
from study_copy import StudyCopy, files

DOCS = Path(__file__).resolve().parents[1] / "docs"
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
        calm = study(Path(name) / "calm", trials)
        calm.repro("tune@rnn")
        expected = files(calm.root / "runs/smoke/tune/rnn", "timings.csv")
        for number, start in enumerate(range(0, kills, KILLS_A_STUDY)):
            copy = study(Path(name) / f"hit{number}", trials)
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


def study(root: Path, trials: int) -> StudyCopy:
    """The fast study with another number of trials."""
    copy = fast_study(root)
    copy.edit("conf/study/smoke.yaml", "trials: 60", f"trials: {trials}")
    return copy


def long_run(trials: int) -> dict[str, Any]:
    """One study of tiny trainings of two shapes: what grows with the number of trials, of each process that lives long."""
    with tempfile.TemporaryDirectory() as name:
        copy = study(Path(name) / "long", trials)
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
            time.sleep(1 if trials < 500 else 5)
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


def table(found: dict[str, Any]) -> str:
    """The Markdown of docs/reliability.md."""
    hit, long = found["faults"], found["long_run"]
    victims = ", ".join(f"{name.split(': ')[1]} {number}" for name, number in hit.items() if ": " in name)
    zero = [name for name in hit if any(word in name for word in BAD)]
    lines = ["| what | measured |", "| --- | --- |"]
    lines.append(
        f"| processes killed with -9 at random moments of {hit['studies']} studies of 60 trials | {hit['kills']} ({victims}) |"
    )
    lines += [f"| `dvc repro` again after them | {hit['restarts']} |", f"| {EMPTIED} | {hit[EMPTIED]} |"]
    lines += [f"| {name} | {hit[name]} |" for name in zero]
    for role in ("coordinator", "worker"):
        own = long[role]
        grown = f"{own['mb']:g} MB, {own['mb_a_1000_trials']:+g} MB and {own['files_a_1000_trials']:+g} open files a 1,000 trials"
        lines.append(f"| a {role} in one study of {long['trials']:,} trainings | {grown} |")
    seconds = long["seconds_a_trial"]
    lines.append(f"| seconds a trial there, second tenth and last | {seconds['second_tenth']:g} and {seconds['last_tenth']:g} |")
    return "\n".join(lines)


def with_table(page: str, found: dict[str, Any]) -> str:
    """`page` with the table between its marks."""
    head, _, rest = page.partition("<!-- torture:begin -->\n")
    return f"{head}<!-- torture:begin -->\n{table(found)}\n<!-- torture:end -->{rest.partition('<!-- torture:end -->')[2]}"


def main() -> None:
    short = "--short" in sys.argv[1:]
    parts = {"faults": lambda: faults(4, 12) if short else faults(50, 60), "long_run": lambda: long_run(60 if short else 2000)}
    named = [name for name in parts if name in sys.argv[1:]]
    found = json.loads(RESULTS.read_text()) if named else {}
    found |= {name: parts[name]() for name in named or parts}
    print(json.dumps(found, indent=1))
    if not short:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), found))
    lost = {name: number for name, number in found["faults"].items() if number and any(word in name for word in BAD)}
    sys.exit(f"lost: {lost}" if lost else 0)


if __name__ == "__main__":
    main()
