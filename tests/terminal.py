"""A command on a real pseudo-terminal, and what stands on its screen."""

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

CONTROL = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """Lines as a terminal would have them, colours still in them: moves up, erased lines and returns are carried out.

    `wrapped` says whether a line was wider than the screen. Raises AssertionError for a code it does not know.
    """

    def __init__(self, columns: int) -> None:
        self.columns, self.lines, self.row, self.at_start, self.wrapped = (
            columns,
            [""],
            0,
            True,
            False,
        )

    def feed(self, text: str) -> None:
        position = 0
        while position < len(text):
            found = CONTROL.match(text, position)
            assert found, f"no terminal code that is known: {text[position : position + 20]!r}"
            position = found.end()
            self._take(found)

    def _take(self, found: re.Match[str]) -> None:
        private, number, code = found.groups()
        if found[0] == "\n":
            self._down()
        elif found[0] == "\r":
            self.at_start = True
        elif code == "A":
            self.row -= int(number or 1)
            assert self.row >= 0
        elif code == "K":
            self.lines[self.row], self.at_start = "", True
        elif code in ("m", None):
            if self.at_start and code is None:
                self.lines[self.row] = "".join(COLOUR.findall(self.lines[self.row]))
            self.at_start = self.at_start and code is not None
            self._write(found[0], code == "m")
        else:
            assert private, found[0]
            assert code in "hl", found[0]

    def _down(self) -> None:
        self.row, self.at_start = self.row + 1, True
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _write(self, text: str, colour: bool) -> None:
        space = self.columns - len(COLOUR.sub("", self.lines[self.row]))
        if colour or len(text) <= space:
            self.lines[self.row] += text
            return
        self.wrapped = True
        self.lines[self.row] += text[:space]
        self._down()
        self.lines[self.row] = ""
        self._write(text[space:], False)

    @property
    def text(self) -> str:
        """The lines without colours, and without spaces at their ends."""
        return "\n".join(COLOUR.sub("", line).rstrip() for line in self.lines)


class Terminal:
    """`words` run with a terminal of `columns` by 40 for input and output, in the environment `env` and `own`."""

    def __init__(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        columns: int = 100,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        ends = {"stdin": slave, "stdout": slave, "stderr": slave}
        unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM")
        plain = {key: value for key, value in env.items() if key not in unset}
        whole = {**plain, "TERM": "xterm-256color", **(own or {})}

        def listen() -> None:
            # A shell starts what it puts in the background deaf to Ctrl-C, and so would its children be.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(words, cwd=cwd, env=whole, preexec_fn=listen, **ends)
        os.close(slave)
        os.set_blocking(self.master, False)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.screen, self.raw, self.rest = Screen(columns), "", ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def read(self) -> bool:
        """Take in what has been written since; false when the other end has been closed."""
        try:
            text = self.decoder.decode(os.read(self.master, 1 << 16))
        except BlockingIOError:
            time.sleep(0.05)
            return True
        except OSError:
            return False
        # A letter or a code may have been cut in two.
        text = self.rest + text
        cut = text.rfind("\x1b")
        cut = cut if cut >= 0 and not CONTROL.match(text, cut) else len(text)
        text, self.rest = text[:cut], text[cut:]
        self.raw += text
        self.screen.feed(text)
        return True

    def until(self, seen: Callable[[str], object], seconds: float = 120) -> str:
        """The screen, as soon as `seen` holds of its text."""
        end = time.monotonic() + seconds
        while not seen(self.screen.text):
            assert self.read() or seen(self.screen.text), self.screen.text
            assert time.monotonic() < end, self.screen.text
        return self.screen.text

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self, seconds: float = 120) -> int:
        """The exit status, once the command has ended and all it wrote is read."""
        end = time.monotonic() + seconds
        while self.read():
            assert time.monotonic() < end, self.screen.text
        return self.process.wait(seconds)
