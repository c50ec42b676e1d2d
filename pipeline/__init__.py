"""Fairsweep: which recurrent cell is better on this task, how sure are we, and what did the answer cost?

A Python without the project's packages is told so here, before anything of theirs is imported.
"""

import importlib.util
import os
import sys

if sys.version_info < (3, 11) or importlib.util.find_spec("omegaconf") is None or importlib.util.find_spec("hydra") is None:
    sys.exit(
        f"error: {sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}, without all that Fairsweep needs. Expected Python "
        "3.11 to 3.13 with its packages: `make run` sets that up in .venv, then `. .venv/bin/activate`; or `pip install .`"
    )

# Who started this process, before seconds of imports in which it may die: what is trained for it ends when it has gone.
PARENT = os.getppid()
