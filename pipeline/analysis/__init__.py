"""The tables of results/STUDY/scores/ turned into the numbers of a report."""
