"""The one exception that commands turn into a message without a traceback."""


class FairsweepError(Exception):
    """A fault the user can mend: the text names the thing, what was expected and what to do."""
