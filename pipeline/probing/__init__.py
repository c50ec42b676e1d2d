"""Measurements of what limits a recurrent cell: gradients, clipping, memory over time, cost. No study needs them."""
