"""Scores without target labels, and the rule that chooses a checkpoint by them."""
