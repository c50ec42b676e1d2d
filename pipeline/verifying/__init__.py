"""Recorded runs trained again: are they the same to the bit? `python -m pipeline.verify` tells."""
