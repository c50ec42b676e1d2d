"""A trained model with the vocabulary it reads by: what `predict` and a model server share."""
