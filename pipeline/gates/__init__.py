"""Sanity gates: faults of a study that can be seen before its budget is spent, each with its remedy. docs/gates.md lists them."""
