"""Fairsweep: which recurrent cell is better on this task, how sure are we, and what did the answer cost?"""

import os

# The process that started this one, noted before imports that take seconds. A command ends when this process has ended.
PARENT = os.getppid()
