"""Score predictions with the sealed labels, and validate the tables in results/STUDY/scores."""
