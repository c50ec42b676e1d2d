"""Numbers made again from the tables they came from, and held against what is written. `python -m pipeline.audit` tells."""
