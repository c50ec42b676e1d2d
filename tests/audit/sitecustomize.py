"""Loaded by every Python process that has this folder on its path: notes which of the study's files a stage opens, and who is called."""

import itertools
import os
import sys
from pathlib import Path


def stage() -> str | None:
    """The stage this process works for: the nearest ancestor started as `python -m pipeline.STAGE … [cell=ARM]`."""
    pid = os.getpid()
    while pid > 1:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        for flag, module in itertools.pairwise(words):
            if flag == "-m" and module.startswith("pipeline."):
                cell = [word.removeprefix("cell=") for word in words if word.startswith("cell=")]
                return "@".join([module.removeprefix("pipeline."), *cell])
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return None


def watch(log: str, root: str, name: str) -> None:
    """From here on every file below `root` that Python opens is a line of `log`: stage, r or w, path."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(root + os.sep):
            mode = "r" if arguments[2] & os.O_ACCMODE == os.O_RDONLY else "w"
            os.write(handle, f"{name}\t{mode}\t{os.path.relpath(path, root)}\n".encode())

    sys.addaudithook(note)


def listen(log: str) -> None:
    """From here on every host beyond this machine that Python looks up or calls is a line of `log`: event, host, command."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(event: str, arguments: tuple) -> None:
        if event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
            return
        called = (
            arguments[0]
            if event == "socket.getaddrinfo"
            else arguments[1][0]
            if isinstance(arguments[1], tuple)
            else ""
        )
        host = called.decode() if isinstance(called, bytes) else str(called or "")
        if (
            host
            and not host.startswith(("127.", "/"))
            and host not in ("localhost", "::1", "0.0.0.0", "::")
        ):
            os.write(handle, f"{event}\t{host}\t{' '.join(sys.argv)[:200]}\n".encode())

    sys.addaudithook(note)


if "FAIRSWEEP_AUDIT" in os.environ:
    listen(os.environ["FAIRSWEEP_AUDIT"] + ".called")
if "FAIRSWEEP_AUDIT" in os.environ and (found := stage()):
    watch(os.environ["FAIRSWEEP_AUDIT"], os.environ["FAIRSWEEP_AUDIT_ROOT"], found)
