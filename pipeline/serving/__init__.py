"""Trained models with their vocabulary, for `predict` and model servers."""
