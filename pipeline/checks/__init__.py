"""Checks of data and trials, which warn of or stop a study that cannot answer its question."""
