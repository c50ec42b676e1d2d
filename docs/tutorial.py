"""Runs the commands of docs/tutorial.md in their order, in this checkout, and writes what each printed below it.

  python3 docs/tutorial.py

Starts from a fresh clone: the study of the reviews is trained, half an hour on 2 cores. Set IMDB_ARCHIVE to use a copy of the archive.
A block ```console 5+10 keeps the first 5 and the last 10 lines of each output, any other block all of them.
"""

import os
import re
import subprocess
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/tutorial.md"
BLOCK = re.compile(r"^```console *(?:(\d+)\+(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The page is as wide as its text.
WIDE = 132


def printed(command: str) -> tuple[int, list[str]]:
    """Exit status and printed lines of a command, typed in the activated environment; no path of this machine among them."""
    env = {
        **os.environ,
        "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(WIDE),
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    archive = os.environ.get("IMDB_ARCHIVE", str(ROOT))
    told = (
        done.stdout.replace(archive, "/path/aclImdb_v1.tar.gz")
        .replace(f"{ROOT}/", "")
        .replace(str(ROOT), ".")
    )
    return done.returncode, told.rstrip().splitlines()


def shortened(lines: list[str], first: int, last: int) -> list[str]:
    """The first and the last of the lines, and between them how many are left out."""
    left = len(lines) - first - last
    return (
        lines if left <= 1 else [*lines[:first], f"[… {left} lines]", *lines[len(lines) - last :]]
    )


def wrapped(line: str) -> list[str]:
    """A line that is wider than the page as several."""
    return (
        textwrap.wrap(line, WIDE, subsequent_indent="    ", break_on_hyphens=False)
        if len(line) > WIDE
        else [line.rstrip()]
    )


def recorded(block: re.Match[str]) -> str:
    """The block with what its commands print now."""
    made = [block[0].split("\n")[0]]
    for command in re.findall(r"^\$ (.*)", block[3], re.MULTILINE):
        print(f"$ {command}", flush=True)
        status, told = printed(command)
        if status:
            print(f"exit status {status}", *told[-20:], sep="\n", flush=True)
        lines = [part for line in told for part in wrapped(line)]
        made += [
            f"$ {command}",
            *(shortened(lines, int(block[1]), int(block[2])) if block[1] else lines),
        ]
    return "\n".join([*made, "```"])


if __name__ == "__main__":
    # What pip says of a machine is of that machine alone.
    subprocess.run(["make", ".venv/bin/ready"], cwd=ROOT, capture_output=True, check=True)
    PAGE.write_text(BLOCK.sub(recorded, PAGE.read_text("utf-8")), "utf-8")
