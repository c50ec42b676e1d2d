"""The version of the rules that decide numbers: raise it, with a [Protocol] line in CHANGELOG.md,
when results may move.
"""

PROTOCOL = 1
