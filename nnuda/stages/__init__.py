"""From two datasets to an adapted model and its predictions, by the commands that a user could type."""
