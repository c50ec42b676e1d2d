"""The synthetic study that `evaluate` has scored."""

from synthetic import results, scores, study

__all__ = ["results", "scores", "study"]
