"""Estimates, intervals, tests and decisions. Functions take arrays and return numbers."""
