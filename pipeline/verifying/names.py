"""What a run is called on the command line: ARM/KIND/NUMBER, in separate studies ARM/STUDY/KIND/NUMBER."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.config import Config
from pipeline.errors import FairsweepError, nearest

TRIAL = "trial"


class RunName(NamedTuple):
    """One run of a study: `kind` is `trial`, `tuned` or a recipe's name, `study` the number of its study, None in a pool."""

    arm: str
    kind: str
    number: int
    study: int | None = None

    def __str__(self) -> str:
        parts = (self.arm, *(() if self.study is None else (self.study,)), self.kind, self.number)
        return "/".join(map(str, parts))


def parse(text: str, config: Config) -> RunName:
    """The run that `text` names.

    Raises:
        FairsweepError: if the study of `config` has no such arm or kind, or a number is none.
    """
    separate = config.search.design == "studies"
    parts = text.split("/")
    form = "ARM/STUDY/KIND/NUMBER" if separate else "ARM/KIND/NUMBER"
    example = "/".join([config.cells[0], *(["0"] if separate else []), TRIAL, "3"])
    if len(parts) != (4 if separate else 3):
        raise FairsweepError(f"run={text}: expected {form}, such as run={example}.")
    arm, *study, kind, number = parts
    known(text, "cell", arm, config.cells, config)
    known(text, "kind of run", kind, [TRIAL, "tuned", *config.recipes], config)
    for word in (*study, number):
        if not (word.isascii() and word.isdigit()):
            raise FairsweepError(f"run={text}: {word!r} is no number. Expected {form}, such as run={example}.")
    return RunName(arm, kind, int(number), int(study[0]) if separate else None)


def known(text: str, what: str, word: str, words: Sequence[str], config: Config) -> None:
    """Raise FairsweepError, which names the nearest, unless `word` of the name `text` is one of `words`."""
    if word not in words:
        raise FairsweepError(
            f"run={text}: study {config.name} has no {what} {word!r}{nearest(word, words)}. There are: {', '.join(words)}."
        )
