"""Two versions of a file: where does what is there differ from what it should be, and in which number?"""

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(r"[-−+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
# What is shown of a line that differs in its words, and of those before a number.
SHOWN, BEFORE = 60, 40
NOTHING = "nothing"
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Edit:
    """One place: `there` is what stands in line `line` of `file` (0: the file as a whole), `again` what was computed anew.

    `what` names the number: a column, a key, or the words before it.
    """

    file: str
    line: int
    what: str
    there: str
    again: str

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        what = f", {self.what}" if self.what else ""
        return f"{place}{what}: {self.there or NOTHING} there, {self.again or NOTHING} recomputed"


def same(there: str, again: str) -> bool:
    """Whether two fields are equal; of two numbers with a point, but for what two machines may differ in."""
    if there == again:
        return True
    try:
        whole = not re.search(r"[.e]", there + again)
        return not whole and math.isclose(_value(there), _value(again), rel_tol=TOLERANCE)
    except ValueError:
        return False


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def of(file: str, there: str, again: str) -> list[Edit]:
    """What differs between two texts of `file`, whose ending says how it is read."""
    if there == again:
        return []
    if file.endswith(".csv"):
        return list(_tables(file, there, again)) or list(_texts(file, there, again))
    names = _keys(again) if file.endswith(".json") else None
    return list(_texts(file, there, again, names))


def _tables(file: str, there: str, again: str) -> Iterator[Edit]:
    """Of two CSV files of equal shape the fields that differ; nothing when their shapes differ."""
    before, after = (list(csv.reader(io.StringIO(text))) for text in (there, again))
    if before[:1] != after[:1] or [*map(len, before)] != [*map(len, after)]:
        return
    for line, (old, new) in enumerate(zip(before, after, strict=True), 1):
        for column, one, other in zip(before[0], old, new, strict=True):
            if not same(one, other):
                yield Edit(file, line, column, one, other)


def _texts(file: str, there: str, again: str, names: list[str] | None = None) -> Iterator[Edit]:
    """Line by line, and in lines of the same words number by number. `names`: what the lines of `again` are called."""
    before, after = there.splitlines(), again.splitlines()
    # Where lines were only changed there is no search for what was moved.
    moved = len(before) != len(after)
    whole = [("replace", 0, len(before), 0, len(after))]
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if moved else whole
    for kind, start, end, begin, finish in blocks:
        if kind == "equal":
            continue
        for step in range(max(end - start, finish - begin)):
            old = before[start + step] if start + step < end else ""
            new = after[begin + step] if begin + step < finish else ""
            name = names[begin + step] if names and begin + step < finish else ""
            if old != new:
                yield from _line(file, min(start + step, max(len(before) - 1, 0)) + 1, old, new, name)


def _line(file: str, line: int, old: str, new: str, name: str) -> Iterator[Edit]:
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        place = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(0, place - BEFORE)
        yield Edit(file, line, name, old[start : start + SHOWN].strip(), new[start : start + SHOWN].strip())
        return
    for one, other in zip(NUMBER.finditer(old), NUMBER.finditer(new), strict=True):
        if not same(one[0], other[0]):
            words = re.sub(r"<[^>]*>", " ", old[max(0, one.start() - BEFORE) : one.start()])
            yield Edit(file, line, name or " ".join(words.split()), one[0], other[0])


def _keys(text: str) -> list[str]:
    """What each line of a JSON text with an indent tells of, as `arms.gru.tuned.mean`."""

    def walk(value: Any, path: str) -> Iterator[str]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        yield path
        for key, one in items:
            yield from walk(one, f"{path}.{key}" if path else str(key))
        if value and isinstance(value, dict | list):
            yield path

    return list(walk(json.loads(text), ""))
