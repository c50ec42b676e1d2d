"""The one exception that commands turn into a message without a traceback, and what its text is made of."""

import difflib
import re
from collections.abc import Iterable


class FairsweepError(Exception):
    """A fault the user can mend: the text names the thing, what was expected and what to do."""


def masked(text: str) -> str:
    """`text` with `***` for the password of every URL in it."""
    return re.sub(r"(\w://[^\s:/@]*):[^\s@/]+@", r"\1:***@", text)


def nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """`; the nearest is 'gru'` for a misspelt word, empty where none is as like it as `cutoff`, from 0 to 1."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return f"; the nearest is {near[0]!r}" if near else ""
